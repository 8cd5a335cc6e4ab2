"""``python -m lessons``: run the lessons, keep what they print and draw, and say how
each went."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minadv.backend import backend
from minadv.files import write_whole
from minadv.machine import cores

HERE = Path(__file__).resolve().parent
# a lesson says `from lesson import ...`, also when it is run by itself
sys.path.insert(0, str(HERE))

import lesson as lesson_module  # noqa: E402
import tables  # noqa: E402
from runner import Outcome, Runs  # noqa: E402

JOBS = 4  # at most so many lessons at a time, by default: each takes about 400 MB


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
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="so many lessons at a time, each on one core (default: the cores, at most "
        f"{JOBS}); 1: one after the other, on all cores",
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")
    arguments = parser.parse_args()
    alone = arguments.html or arguments.solutions
    if arguments.seeds is not None and (arguments.seeds < 1 or alone):
        parser.error("--seeds: at least 1, and without --html and --solutions")
    if arguments.jobs is not None and arguments.jobs < 1:
        parser.error("--jobs: at least 1")
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

    Returns 0; 1 if a lesson failed or a process died; 2 for a bad call; 130 after
    Ctrl-C.
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
    start = time.perf_counter()
    lesson_module.start(parser, arguments)
    out = arguments.out.resolve()
    seeds = range(arguments.seed, arguments.seed + (arguments.seeds or 1))
    runs = [(script, seed) for script in chosen for seed in seeds]
    if arguments.html or arguments.solutions:
        runs += [(script, arguments.seed) for script in solutions(chosen)]
    progress = sys.stderr.isatty() and not arguments.no_progress
    jobs = arguments.jobs or (min(JOBS, cores()) if backend() is np else 1)
    jobs = min(jobs, len(runs), 60)  # Windows waits for no more processes
    settings = [
        lesson_module.Settings(
            arguments.data,
            out / "seeds" / str(seed) if arguments.seeds else out,
            progress and jobs == 1,
            seed,
            models=out / "models",
        )
        for _, seed in runs
    ]
    todo = Runs([script for script, _ in runs], settings)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tqdm(total=len(runs), unit="lesson", disable=not progress) as bar:
            for names in todo.go(jobs):
                bar.set_description(", ".join(names))
                bar.update(len(todo.outcomes) - bar.n)
    except (KeyboardInterrupt, BrokenProcessPool) as error:
        lost = isinstance(error, BrokenProcessPool)
        said = "a process was killed, or ran out of memory," if lost else "interrupted"
        where = f" in {', '.join(todo.running)}" if todo.running else ""
        print(f"\n{said}{where}", file=sys.stderr)
        if todo.outcomes:
            print(table(todo.in_order()))
        return 1 if lost else 130
    except OSError as error:
        parser.error(f"--out: {error}")
    outcomes = todo.in_order()
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
    beside = f", {jobs} lessons at a time" * (jobs > 1)
    print(f"\n{time.perf_counter() - start:.0f} s{beside}; all of it is in {out}")
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
