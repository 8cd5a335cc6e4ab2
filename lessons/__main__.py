"""``python -m lessons``: run the lessons, keep what they print and draw, and say how
each went."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from minadv.files import write_whole

HERE = Path(__file__).resolve().parent
# a lesson says `from lesson import ...`, also when it is run by itself
sys.path.insert(0, str(HERE))

import lesson as lesson_module  # noqa: E402
import tables  # noqa: E402
from pages import cells as cells_module  # noqa: E402


@dataclass
class Outcome:
    """How one lesson went."""

    name: str
    seconds: float
    figures: int
    error: str  # the last line of the traceback, or nothing
    seed: int = 0
    data: str = ""  # on which images
    rows: list[tuple] = field(default_factory=list)  # what it measured
    cells: list[cells_module.Cell] = field(default_factory=list)  # as it ran

    def numbers(self) -> dict:
        """What :mod:`tables` needs of it."""
        return {
            "lesson": self.name,
            "data": self.data,
            "seed": self.seed,
            "error": self.error,
            "seconds": round(self.seconds, 1),
            "rows": self.rows,
        }


def scripts() -> list[Path]:
    """The lessons, in reading order: lesson 0, the frame, lesson 1, ..."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def solutions(chosen: list[Path]) -> list[Path]:
    """The worked solutions of these lessons."""
    there = (HERE / "solutions" / script.name for script in chosen)
    return [script for script in there if script.exists()]


def named(script: Path, word: str) -> bool:
    """Whether ``word`` means this lesson: a number (0: also the frame), F, or a part of
    its name."""
    if word.isdigit():
        return script.stem.startswith(f"{int(word):02d}_")
    if word == "F":
        return lesson_module.lesson_number(script.stem) == word
    return word in script.stem


def header(script: Path) -> tuple[str, str]:
    """A lesson's title and the documents' items that it mirrors, from its first
    lines."""
    title = mirrors = ""
    for line in script.read_text(encoding="utf-8").splitlines():
        if line.startswith("# # ") and not title:
            title = line[4:]
        if line.startswith("# Mirrors: "):
            mirrors = line.removeprefix("# Mirrors: ").rstrip(".")
            break
    return title, mirrors


def run(script: Path) -> Outcome:
    """Run one lesson in this process; keep its text and its notebook in
    ``<out>/<lesson>/``."""
    settings = lesson_module.settings
    name = settings.lesson = lesson_module.lesson_name(script)
    folder = settings.out / name
    folder.mkdir(parents=True, exist_ok=True)
    figures, rows = len(settings.figures), len(settings.measured)
    start, error = time.perf_counter(), ""
    cells, problem = cells_module.execute(script, settings)
    seconds = time.perf_counter() - start
    if problem is not None:
        lines = "".join(traceback.format_exception_only(problem)).strip().splitlines()
        error = f"{lines[0]} (line {_line(script, problem)})"
    figures = settings.figures[figures:]
    written = {*figures, folder / "output.txt", folder / f"{script.stem}.ipynb"}
    write_whole(folder / "output.txt", cells_module.text(cells).encode())
    notebook = cells_module.notebook(cells, lambda shown: {"text/html": shown.html()})
    write_whole(folder / f"{script.stem}.ipynb", notebook.encode())
    for path in folder.iterdir():  # left by an earlier run
        if path.suffix in (".png", ".ipynb") and path not in written:
            path.unlink(missing_ok=True)
    outcome = Outcome(
        name,
        seconds,
        len(figures),
        error,
        settings.seed,
        settings.data,
        settings.measured[rows:],
        cells,
    )
    tables.keep(folder, **outcome.numbers())
    return outcome


def _line(script: Path, error: BaseException) -> str:
    """The last line of the lesson itself that the error came through."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == script
    ]
    return str(lines[-1]) if lines else "?"


def table(outcomes: list[Outcome]) -> str:
    """Lesson, time, figures, ok or what failed; cut to the terminal's width."""
    width = max(len("lesson"), *(len(o.name) for o in outcomes))
    lines = [f"{'lesson':<{width}}  {'time':>7}  figures  result"]
    seeds = len({o.seed for o in outcomes}) > 1
    lines += [
        f"{o.name:<{width}}  {o.seconds:6.1f}s  {o.figures:7d}  "
        + (f"FAILED: {o.error}" if o.error else "ok")
        + (f"  (seed {o.seed})" if seeds else "")
        for o in outcomes
    ]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    return "\n".join(line[:columns] for line in lines)


def _parsed() -> tuple[argparse.ArgumentParser, argparse.Namespace, list[Path]]:
    """The command line, and the lessons that it asks for."""
    parser = lesson_module.options(
        "Run minadv's lessons. What they print and draw is kept in --out."
    )
    parser.prog = "python -m lessons"
    parser.add_argument(
        "--list",
        action="store_true",
        help="list the lessons and what they mirror, and stop",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="LESSON",
        help="only these: numbers or parts of names, such as 1 2 deepfool",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="run N times, from --seed on: mean and spread of every number",
    )
    parser.add_argument(
        "--html",
        action="store_true",
        help="make the site in <out>/site as well (extra: docs)",
    )
    parser.add_argument(
        "--solutions",
        action="store_true",
        help="run the worked solutions as well (--html does)",
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")
    arguments = parser.parse_args()
    alone = arguments.html or arguments.solutions
    if arguments.seeds is not None and (arguments.seeds < 1 or alone):
        parser.error("--seeds: at least 1, and without --html and --solutions")
    chosen = scripts()
    if arguments.only:
        found = {word: [s for s in chosen if named(s, word)] for word in arguments.only}
        if missing := [word for word, matches in found.items() if not matches]:
            parser.error(
                f"--only: no lesson is called {', '.join(missing)}; see --list"
            )
        chosen = [s for s in chosen if any(s in matches for matches in found.values())]
    return parser, arguments, chosen


def main() -> int:
    """Do what the command line asks for.

    Returns 0; 1 if a lesson failed; 2 for a bad call; 130 after Ctrl-C.
    """
    if sys.stdout is None:  # closed, by `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    parser, arguments, chosen = _parsed()
    if arguments.list:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")
        for script in chosen:
            print(f"{script.stem:<28}  {': '.join(header(script))}")
        return 0
    if arguments.html:
        try:
            from pages import site
        except ImportError as error:
            parser.error(f'--html needs: pip install "minadv[docs]" ({error})')
    lesson_module.start(parser, arguments)
    out = arguments.out.resolve()
    seeds = range(arguments.seed, arguments.seed + (arguments.seeds or 1))
    runs = [(script, seed) for script in chosen for seed in seeds]
    if arguments.html or arguments.solutions:
        runs += [(script, arguments.seed) for script in solutions(chosen)]
    progress = sys.stderr.isatty() and not arguments.no_progress
    outcomes = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        bar = tqdm(runs, unit="lesson", disable=not progress)
        for script, seed in bar:
            bar.set_description(script.stem)
            lesson_module.settings = lesson_module.Settings(
                arguments.data,
                out / "seeds" / str(seed) if arguments.seeds else out,
                progress,
                seed,
                models=out / "models",
            )
            outcomes.append(run(script))
    except KeyboardInterrupt:
        print(f"\ninterrupted in {runs[len(outcomes)][0].stem}", file=sys.stderr)
        if outcomes:
            print(table(outcomes))
        return 130
    except OSError as error:
        parser.error(f"--out: {error}")
    lessons = [o for o in outcomes if not o.name.startswith("solutions/")]
    if arguments.seeds:
        command = " ".join(["python -m lessons", *sys.argv[1:]])
        table_of_all = tables.stability([o.numbers() for o in lessons])
        name, content = "numbers.md", f"Made by `{command}`. {table_of_all}"
    else:
        rows = [row for o in lessons for row in o.rows]
        name, content = "documents.md", tables.comparison(rows)
    # a part of the lessons never replaces the table of all
    part = (
        "" if not arguments.only else "-".join(["only", *(s.stem[:2] for s in chosen)])
    )
    write_whole(out / part / name, (content + "\n").encode())
    index = site.build(outcomes, out, arguments.data) if arguments.html else None
    print(content if arguments.seeds else table(outcomes))
    print(f"\n{sum(o.seconds for o in outcomes):.0f} s; all of it is in {out}")
    if index:
        print(index)
    return int(any(o.error for o in outcomes))


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
