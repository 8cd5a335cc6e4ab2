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
    data = [name for name in TITLES if any(run["data"] == name for run in runs)]
    lines = ["The spread is the standard deviation over the runs.", ""]
    for name in dict.fromkeys(run["lesson"] for run in runs):
        said = []
        for images in data:
            these = [r for r in runs if (r["lesson"], r["data"]) == (name, images)]
            failed = [f"seed {r['seed']}: {r['error']}" for r in these if r["error"]]
            holds = f"all {len(these)} seeds hold"
            if these:
                said.append(f"on {TITLES[images]} {'; '.join(failed) or holds}")
        lines.append(f"- {name}: {', '.join(said)}")
    found, states = {}, {}
    for run in runs:
        for lesson, item, what, stated, value, form in run["rows"]:
            values = found.setdefault((lesson, item, what, form), {})
            values.setdefault(run["data"], []).append(value)
            states[lesson, item, what] = stated or states.get((lesson, item, what), "")
    heads = ["lesson", "item", "what", "document"]
    for images in data:
        heads += [f"mean on {TITLES[images]}", "spread", "runs"]
    lines += ["", _row(*heads), "|" + "---|" * len(heads)]
    for (lesson, item, what, form), values in found.items():
        cells = [_number(lesson), item, what, states[lesson, item, what]]
        for images in data:
            v = values.get(images, [])
            spread = statistics.stdev(v) if len(v) > 1 else 0.0
            mean = statistics.fmean(v) if v else 0.0
            shown = f"{mean:{form}}", f"{spread:{form.lstrip('+')}}", str(len(v))
            cells += shown if v else ("", "", "")
        lines.append(_row(*cells))
    return "\n".join(lines)


if __name__ == "__main__":
    print(stability([run for folder in sys.argv[1:] for run in kept(Path(folder))]))
