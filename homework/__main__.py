"""``python -m homework``: start a homework, check it, grade a class, and test the grader itself."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

try:
    import hypothesis  # noqa: F401
except ImportError:
    sys.exit('homework needs Hypothesis: pip install "minadv[homework]"')
import numpy as np

import minadv
from homework.grader.classroom import files_of, grade_class, pick
from homework.grader.course import Course
from homework.grader.engine import grade
from homework.grader.feedback import report
from homework.grader.stubs import ROOT, load, names, solution_source, stub, student_questions


def start(name: str, folder: Path, force: bool = False) -> int:
    """Write what a student gets; never over the student's own work."""
    homework = load(name)
    if folder.exists() and any(folder.iterdir()) and not force:
        print(f"{folder} is not empty. Choose a new folder, or add --force: your work stays.")
        return 2
    (folder / "data").mkdir(parents=True, exist_ok=True)
    files = {f"{name}.py": stub(solution_source(name), homework.parts)}
    for file in ("questions.md", "handout.py"):
        path = ROOT / name / file
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            files["answers.md" if file == "questions.md" else file] = (
                student_questions(text) if file == "questions.md" else text
            )
    points = "\n".join(f"| {c.id} | {c.points} | {c.says} |" for c in homework.checks)
    files["README.md"] = README.format(h=homework, points=points, file=f"{name}.py")
    for file, text in files.items():
        path = folder / file
        if not (path.exists() and file in (f"{name}.py", "answers.md")):
            path.write_text(text, encoding="utf-8")
    course = Course()
    np.savez(folder / "data" / "digits.npz", x=course.x, y=course.y)
    np.savez(folder / "data" / "model.npz", **course.models[0].parameters)
    print(f"{homework.title}: about {homework.hours} hours; needs {homework.needs}.")
    print(f"Write {folder / (name + '.py')}, then: python -m homework check {name} {folder}")
    return 0


README = """# {h.title}

Write the gaps in `{file}` and the answers in `answers.md`. Hand in these two files, nothing else.

    python -m homework check {h.name} .             all public checks
    python -m homework check {h.name} . --only B2   one of them

| check | points | what must hold |
|---|---|---|
{points}

Each check is also run on hidden data, the same property with other numbers: 3/5 of its points
are public, 2/5 hidden.
A function has {h.call_seconds} seconds of CPU time per call. Arguments are read-only: copy them.
You may use NumPy and what `{file}` imports. Reading the library is allowed, copying from it is not.
"""


def read_submission(name: str, path: Path) -> tuple[bytes | None, str]:
    """The submission's bytes, or None and a sentence that says what is wrong."""
    try:
        if path.suffix == ".py" and path.is_file() and not path.is_symlink():
            return pick({f"{name}.py": path.read_bytes()}, f"{name}.py")
        if not path.exists():
            return None, f"There is no {path}."
        source, wrong = pick(files_of(path), f"{name}.py")
        return source, wrong and f"{path}: {wrong}."
    except (ValueError, OSError) as error:
        return None, f"{path}: {error}"


def grade_folder(o) -> int:
    """Grade a class over the executor that the options name."""
    if o.dask:
        try:
            from distributed import Client
        except ImportError:
            print("--dask needs the package distributed: pip install distributed")
            return 2
        with Client(o.dask) as client:
            return _grade_over(o, client.get_executor())
    for last in (False, True):  # a lost worker ends the pool: what is left goes to a new one
        with ProcessPoolExecutor(o.workers, mp_context=get_context("spawn")) as pool:
            code = _grade_over(o, pool)
        if code != 1 or last:
            break
        o.regrade = []
    return code


def _grade_over(o, executor) -> int:
    scale = "small" if o.small else "full"
    options = {"seed": o.course_seed, "again": tuple(o.regrade), "only": o.only, "scale": scale}
    try:
        bad = grade_class(o.name, o.folder, o.out, executor, **options)
    except (ValueError, OSError) as error:
        print(error)
        return 2
    print(f"{o.out}; a report for each student in {o.out.parent / 'reports'}")
    if bad:
        print(f"{bad} submissions were not graded: see the column why, then run this again.")
    return 1 if bad else 0


def solutions(name: str) -> int:
    """Print where the solution is, the planted bugs and what each loses, and the solution."""
    print(ROOT / name / "solution.py")
    for bug in importlib.import_module(f"homework.{name}.bugs").BUGS:
        print(f"  {bug.name:<40} loses {', '.join(sorted(bug.loses))}")
    print()
    print(solution_source(name))
    return 0


def check(name: str, folder: Path, only: str, scale: str) -> int:
    """The public checks, all of them, with every failure."""
    homework = load(name)
    source, wrong = read_submission(name, folder)
    if source is None:
        print(wrong)
        return 1
    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, minadv {minadv.__version__}\n"
    )
    outcomes = grade(homework, source, Course(), only=only, hidden=False, scale=scale)
    print(report(homework, outcomes, str(folder)))
    failures = folder / "failures" if folder.is_dir() else None
    for o in outcomes if failures else ():
        arrays = {}
        if o.status == "failed" and o.failure.call:
            arrays = {
                f"argument{i}": a
                for i, a in enumerate(o.failure.call.arguments)
                if isinstance(a, np.ndarray)
            }
            arrays |= {
                k: a for k, a in o.failure.call.keywords.items() if isinstance(a, np.ndarray)
            }
        if arrays:
            try:
                failures.mkdir(exist_ok=True)
                np.savez(failures / f"{o.check.id}.npz", **arrays)
            except OSError:  # a read-only folder: the report above says all
                break
    got, most = sum(o.points for o in outcomes), sum(o.most for o in outcomes)
    print(f"public {got} of {most}; what is hidden: the same checks on other data")
    return 0 if all(o.status == "ok" for o in outcomes) else 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m homework", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="the homeworks")
    p = commands.add_parser("start", help="write a homework's files into a new folder")
    p.add_argument("name")
    p.add_argument("folder", type=Path, nargs="?")
    p.add_argument("--out", type=Path, help="the same as FOLDER")
    p.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    p = commands.add_parser("check", help="run the public checks on a folder")
    p.add_argument("name")
    p.add_argument("folder", type=Path)
    p.add_argument("--only", default="", help="a check or a part: B2, B")
    p.add_argument("--small", action="store_true", help="fewer examples")
    p = commands.add_parser("selftest", help="the solution, the stub, planted bugs and cheats")
    p.add_argument("name", nargs="?")
    p.add_argument("--small", action="store_true", help="fewer examples")
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--only", default="", help="cases whose name contains this")
    p = commands.add_parser("grade", help="grade a folder of submissions")
    p.add_argument("name")
    p.add_argument("folder", type=Path)
    p.add_argument("--out", type=Path, default=Path("grades.csv"))
    p.add_argument("--course-seed", default="public", help="keep it secret until grades are out")
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--dask", default="", help="the address of a Dask scheduler")
    p.add_argument("--only", default="", help="a check or a part: B2, B")
    p.add_argument("--regrade", nargs="+", default=[], metavar="STUDENT")
    p.add_argument("--small", action="store_true", help="fewer examples")
    p = commands.add_parser("gradescope", help="write an autograder.zip")
    p.add_argument("name")
    p.add_argument("--course-seed", default="public")
    p.add_argument("--out", type=Path, default=Path("autograder.zip"))
    p = commands.add_parser("solutions", help="the solution, and what planted bugs lose")
    p.add_argument("name")
    o = parser.parse_args(arguments)
    if getattr(o, "name", None) and o.name.isdigit():
        o.name = f"hw{o.name}"
    if o.command not in (None, "list") and o.name and o.name not in names():
        print(f"There is no homework {o.name!r}. There are: {', '.join(names())}.")
        return 2
    if o.command == "start":
        folder = o.folder or o.out or Path(o.name)
        return start(o.name, folder, o.force)
    scale = "small" if getattr(o, "small", False) else "full"
    if o.command == "grade":
        return grade_folder(o)
    if o.command == "gradescope":
        return importlib.import_module("homework.grader.gradescope").write(
            o.name, o.course_seed, o.out
        )
    if o.command == "solutions":
        return solutions(o.name)
    if o.command == "check":
        return check(o.name, o.folder, o.only, scale)
    if o.command == "selftest":
        selftest = importlib.import_module("homework.grader.selftest").selftest
        chosen = [o.name] if o.name else names()
        # How a cheat ends does not depend on the homework: at the small scale, all of them on one.
        every = [scale == "full" or n == chosen[0] for n in chosen]
        good = [
            selftest(n, scale, o.workers, o.only, e) for n, e in zip(chosen, every, strict=True)
        ]
        return 0 if all(good) else 1
    for name in names():
        h = load(name)
        print(f"{name}  {h.title} (about {h.hours} hours; {h.needs})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
