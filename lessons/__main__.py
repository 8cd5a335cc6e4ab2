"""``python -m lessons``: run the lessons, keep what they print and draw, and say how each went."""

from __future__ import annotations

import contextlib
import os
import runpy
import shutil
import sys
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

import minadv

HERE = Path(__file__).resolve().parent
sys.path.insert(
    0, str(HERE)
)  # a lesson says `from lesson import ...`, also when it is run by itself

import lesson as lesson_module  # noqa: E402


@dataclass
class Outcome:
    """How one lesson went."""

    name: str
    seconds: float
    figures: int
    error: str  # the last line of the traceback, or nothing


def scripts() -> list[Path]:
    """The lessons, in reading order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def named(script: Path, word: str) -> bool:
    """Whether ``word``, a number or a part of a name, means this lesson."""
    return script.stem[:2] == word.zfill(2) if word.isdigit() else word in script.stem


def header(script: Path) -> tuple[str, str]:
    """A lesson's title and the documents' items that it mirrors, from its first lines."""
    title = mirrors = ""
    for line in script.read_text(encoding="utf-8").splitlines():
        if line.startswith("# # ") and not title:
            title = line[4:]
        if line.startswith("# Mirrors: "):
            mirrors = line.removeprefix("# Mirrors: ").rstrip(".")
            break
    return title, mirrors


def run(script: Path) -> Outcome:
    """Run one lesson in this process; what it prints goes to ``<out>/<lesson>/output.txt``."""
    settings = lesson_module.settings
    folder = settings.out / script.stem
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings.lesson = script.stem
    figures, start, error = len(settings.figures), time.perf_counter(), ""
    with (
        (folder / "output.txt").open("w", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
    ):
        try:
            with warnings.catch_warnings():
                runpy.run_path(str(script), run_name="__main__")
        except Exception as problem:
            traceback.print_exc(file=file)
            error = "".join(traceback.format_exception_only(problem)).strip().splitlines()[-1]
            error += f" (line {_line(script, problem)})"
    return Outcome(script.stem, time.perf_counter() - start, len(settings.figures) - figures, error)


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
    lines += [
        f"{o.name:<{width}}  {o.seconds:6.1f}s  {o.figures:7d}  {'FAILED: ' + o.error if o.error else 'ok'}"
        for o in outcomes
    ]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    return "\n".join(line[:columns] for line in lines)


def comparison(rows: list[tuple]) -> str:
    """A Markdown table of what was measured, next to what the documents state."""
    return "\n".join(
        [
            "| lesson | item | what | document | measured |",
            "|---|---|---|---|---|",
            *(
                f"| {lesson[:2]} | {item} | {what} | {stated} | {value:{form}} |"
                for lesson, item, what, stated, value, form in rows
            ),
        ]
    )


def main() -> int:
    """Parse the command line, run what it asks for, print the table; 1 if a lesson failed, 2 for a bad call."""
    parser = lesson_module.options(
        "Run minadv's lessons. What they print and draw is kept in --out."
    )
    parser.prog = "python -m lessons"
    parser.add_argument(
        "--list", action="store_true", help="list the lessons and what they mirror, and stop"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="LESSON",
        help="only these: numbers or parts of names, such as 1 2 deepfool",
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")
    arguments = parser.parse_args()

    chosen = scripts()
    if arguments.only:
        found = {word: [s for s in chosen if named(s, word)] for word in arguments.only}
        if missing := [word for word, matches in found.items() if not matches]:
            parser.error(f"--only: no lesson is called {', '.join(missing)}; see --list")
        chosen = [s for s in chosen if any(s in matches for matches in found.values())]
    if arguments.list:
        for script in chosen:
            print(f"{script.stem:<28}  {': '.join(header(script))}")
        return 0

    try:
        minadv.use_backend(arguments.backend or os.environ.get("MINADV_BACKEND") or "numpy")
        settings = lesson_module.settings = lesson_module.Settings(
            arguments.data, arguments.out.resolve(), not arguments.no_progress, arguments.seed
        )
        settings.out.mkdir(parents=True, exist_ok=True)
        lesson_module.dataset()
    except (minadv.BackendError, minadv.DataError, OSError) as error:
        parser.error(str(error))

    outcomes = []
    bar = tqdm(chosen, unit="lesson", disable=arguments.no_progress or not sys.stderr.isatty())
    try:
        for script in bar:
            bar.set_description(script.stem)
            outcomes.append(run(script))
    except KeyboardInterrupt:
        print(f"\ninterrupted in {chosen[len(outcomes)].stem}", file=sys.stderr)
    if outcomes:
        print(table(outcomes))
        (settings.out / "documents.md").write_text(
            comparison(settings.measured) + "\n", encoding="utf-8"
        )
        print(f"\n{sum(o.seconds for o in outcomes):.0f} s; figures and text in {settings.out}")
    return 1 if len(outcomes) < len(chosen) or any(o.error for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
