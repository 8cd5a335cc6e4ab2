"""What lessons measured, as tables; ``python -m lessons.tables OUT ...`` joins the runs
kept in the folders ``OUT`` (of ``python -m lessons --seeds N --out OUT``), whatever
their images."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

# NUMBERS: the file in a lesson's folder that keeps what the run measured.
NUMBERS = "measured.json"
HEAD = """# The numbers of the lessons

What each lesson measures, next to what the documents state where they state a number. A
run moves every random number: the first weights, the order of training, the images
drawn, the attacks. For each lesson stands first whether its claims held, then the mean
and the spread of each number, and in how many runs it was measured. To make it again:

```
python -m lessons --seeds 5 --out sample
python -m lessons --data mnist --seeds 3 --out mnist
python -m lessons.tables sample mnist > lessons/NUMBERS.md
```

"""
TITLES = {"sample": "the sample", "digits": "the digits", "mnist": "the full MNIST"}


def _row(*values: str) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(value.replace("|", "\\|") for value in values) + " |"


def _number(lesson: str) -> str:
    """A lesson's number: "2" of "02_fgsm", "F" of the frame."""
    return "F" if lesson.startswith("00_the_frame") else str(int(lesson[:2]))


def comparison(rows: Iterable[tuple]) -> str:
    """A Markdown table of what one run measured, next to what the documents state."""
    lines = ["| lesson | item | what | document | measured |", "|" + "---|" * 5]
    for lesson, item, what, stated, value, form in rows:
        lines.append(_row(_number(lesson), item, what, stated, f"{value:{form}}"))
    return "\n".join(lines)


def keep(folder: Path, **run) -> None:
    """Write what a run of a lesson measured into its folder."""
    (folder / NUMBERS).write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")


def kept(folder: Path) -> list[dict]:
    """The runs that are kept anywhere below ``folder``, in the order of their
    lessons."""
    runs = [json.loads(path.read_text("utf-8")) for path in folder.rglob(NUMBERS)]
    runs = [run for run in runs if not run["lesson"].startswith("solutions/")]
    return sorted(runs, key=lambda run: (run["lesson"], run["seed"]))


def stability(runs: list[dict]) -> str:
    """Of runs with several seeds: what failed, and mean and spread of every number.

    ``runs``: as :func:`keep` got them: ``lesson``, ``data``, ``seed``, ``error``, and
    ``rows`` (lesson, item, what, stated, value, form). Runs on other images stand side
    by side.
    """
    lines = ["The spread is the standard deviation over the runs."]
    for name in dict.fromkeys(run["lesson"] for run in runs):
        these = [run for run in runs if run["lesson"] == name]
        data = [d for d in TITLES if any(run["data"] == d for run in these)]
        said = "; ".join(_held([r for r in these if r["data"] == d]) for d in data)
        lines += ["", f"## {name}", "", f"{said[0].upper()}{said[1:]}.", ""]
        heads = ["item", "what", "document"]
        for images in data:
            heads += [f"mean on {TITLES[images]}", "spread", "runs"]
        lines += [_row(*heads), "|" + "---|" * len(heads)]
        found, states = {}, {}
        for run in these:
            for _, item, what, stated, value, form in run["rows"]:
                values = found.setdefault((item, what, form), {})
                values.setdefault(run["data"], []).append(value)
                states[item, what] = stated or states.get((item, what), "")
        for (item, what, form), values in found.items():
            numbers = [c for d in data for c in _summary(values.get(d, []), form)]
            lines.append(_row(item, what, states[item, what], *numbers))
    return "\n".join(lines)


def _held(runs: list[dict]) -> str:
    """Whether a lesson's claims held in its runs on one kind of images."""
    where = f"on {TITLES[runs[0]['data']]}"
    failed = [f"seed {run['seed']}: {run['error']}" for run in runs if run["error"]]
    if failed:
        return f"{where} {len(failed)} of {len(runs)} runs fail: {', '.join(failed)}"
    return f"{where} all claims hold in {len(runs)} of {len(runs)} runs"


def _summary(values: list[float], form: str) -> tuple[str, str, str]:
    """Mean, standard deviation and number of runs, as they are printed."""
    if not values:
        return "", "", ""
    mean = f"{statistics.fmean(values):{form}}"
    if len(values) == 1:
        return mean, "", "1"
    return mean, f"{statistics.stdev(values):{form.lstrip('+')}}", str(len(values))


def main() -> None:
    """Print the joint table, as a page."""
    print(HEAD + stability([run for out in sys.argv[1:] for run in kept(Path(out))]))


if __name__ == "__main__":
    main()
