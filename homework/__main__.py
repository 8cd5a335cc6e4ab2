"""``python -m homework``: start a homework, check it, grade a class, and test the grader itself."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from pathlib import Path

try:
    import hypothesis  # noqa: F401
except ImportError:
    sys.exit('homework needs Hypothesis: pip install "minadv[homework]"')
import numpy as np

import minadv
from homework.grader.classroom import grade_class
from homework.grader.course import Course
from homework.grader.engine import grade, measure
from homework.grader.feedback import plain, report
from homework.grader.processes import pool
from homework.grader.start import write_folder
from homework.grader.stubs import ROOT, load, names, solution_source
from homework.grader.submissions import files_of, pick


def start(name: str, folder: Path, force: bool = False) -> int:
    """Write what a student gets; never over the student's own work."""
    if folder.exists() and any(folder.iterdir()) and not force:
        print(f"{folder} is not empty. Choose a new folder, or add --force: your work stays.")
        return 2
    homework = write_folder(name, folder)
    print(f"{homework.title}: about {homework.hours} hours; needs {homework.needs}.")
    print(f"Read {folder / 'handout.py'}, write {folder / (name + '.py')}, then:")
    print(f"python -m homework check {name} {folder}")
    return 0


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
            print("--dask needs the package distributed: pip install 'minadv[class]'")
            return 2
        with Client(o.dask) as client:
            return _grade_over(o, client.get_executor())
    for last in (False, True):  # a lost worker ends the pool: what is left goes to a new one
        with pool(o.workers) as executor:
            code = _grade_over(o, executor)
        if code != 1 or last:
            break
        o.regrade = []
    return code


def _grade_over(o, executor) -> int:
    scale = "small" if o.small else "full"
    options = {"seed": o.course_seed, "again": tuple(o.regrade), "only": o.only, "scale": scale}
    options |= {"times": dict(o.time), "ascii": o.plain}
    try:
        bad = grade_class(o.name, o.folder, o.out, executor, **options)
    except (ValueError, OSError) as error:
        print(error)
        return 2
    print(f"{o.out}; a report for each student in {o.out.parent / 'reports'}")
    if bad:
        print(f"{bad} submissions were not graded: see the column why, then run this again.")
    return 1 if bad else 0


def _factor(text: str) -> tuple[str, float]:
    """``STUDENT=2`` as a pair."""
    name, found, number = text.rpartition("=")
    try:
        factor = float(number)
        if found and 0 < factor < 100:
            return name, factor
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected STUDENT=FACTOR such as ada=2, got {text!r}")


def solutions(name: str) -> int:
    """Print where the solution is, the planted bugs and what each loses, and the solution."""
    print(ROOT / name / "solution.py")
    for bug in importlib.import_module(f"homework.{name}.bugs").BUGS:
        print(f"  {bug.name:<40} loses {', '.join(sorted(bug.loses))}")
    print()
    print(solution_source(name))
    return 0


def check(name: str, folder: Path, only: str, scale: str, ascii: bool = False) -> int:
    """The public checks, all of them, with every failure."""
    homework, course = load(name), Course()
    say = (lambda text: print(plain(text))) if ascii else print
    source, wrong = read_submission(name, folder)
    if source is None:
        say(wrong)
        return 1
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    say(f"{versions}, minadv {minadv.__version__}, data {course.digest}\n")
    outcomes = grade(homework, source, course, only=only, hidden=False, scale=scale)
    if not outcomes:
        say(f"There is no check {only!r}. There are: {', '.join(c.id for c in homework.checks)}.")
        return 2
    say(report(homework, outcomes, str(folder)))
    for o in outcomes:
        if o.status == "internal error":
            print(f"for the teacher: {o.check.id}: {o.failure.why}", file=sys.stderr)
    if folder.is_dir():
        _keep_failures(folder / "failures", outcomes)
    got, most = sum(o.points for o in outcomes), sum(o.most for o in outcomes)
    say(f"public {got} of {most}; what is hidden: the same checks on other data")
    if not only:
        value, why = measure(homework, source, course)
        if value is not None or why:
            say(f"challenge (no points): {homework.challenge.name} {why or format(value, '.6g')}")
    return 0 if all(o.status == "ok" for o in outcomes) else 1


def _keep_failures(folder: Path, outcomes):
    """Write the arrays that a failed check called with as ``B2.npz``; old ones go."""
    try:
        for o in outcomes:
            path = folder / f"{o.check.id}.npz"
            path.unlink(missing_ok=True)
            if o.status != "failed" or not o.failure.call:
                continue
            named = {f"argument{i}": a for i, a in enumerate(o.failure.call.arguments)}
            named |= o.failure.call.keywords
            arrays = {k: a for k, a in named.items() if isinstance(a, np.ndarray)}
            if arrays:
                folder.mkdir(exist_ok=True)
                np.savez(path, **arrays)
    except OSError:  # a read-only folder: the report says all
        return


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
    p.add_argument("folder", type=Path, nargs="?", default=Path(), help="this one if not given")
    p.add_argument("--only", default="", help="a check or a part: B2, B")
    p.add_argument("--plain", action="store_true", help="the report in ASCII")
    p.add_argument("--small", action="store_true", help="fewer examples")
    p = commands.add_parser("selftest", help="the solution, the stub, planted bugs and cheats")
    p.add_argument("name", nargs="?")
    p.add_argument("--small", action="store_true", help="fewer examples")
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--only", default="", help="cases whose name contains this")
    p = commands.add_parser("thresholds", help="how far the solution stays from each threshold")
    p.add_argument("name")
    p.add_argument("--only", default="", help="a check or a part: E1, E")
    p.add_argument("--seeds", type=int, default=20)
    p.add_argument("--courses", type=int, default=1, help="of which each trains its own models")
    p.add_argument("--small", action="store_true", help="fewer examples")
    p = commands.add_parser("grade", help="grade a folder of submissions")
    p.add_argument("name")
    p.add_argument("folder", type=Path)
    p.add_argument("--out", type=Path, default=Path("grades.csv"))
    p.add_argument("--course-seed", default="public", help="keep it secret until grades are out")
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--dask", default="", help="the address of a Dask scheduler")
    p.add_argument("--only", default="", help="a check or a part: B2, B")
    p.add_argument("--regrade", nargs="+", default=[], metavar="STUDENT")
    p.add_argument("--time", nargs="+", default=[], type=_factor, metavar="STUDENT=2",
                   help="more CPU time for these: 2 is twice as much")  # fmt: skip
    p.add_argument("--plain", action="store_true", help="reports in ASCII, and no bar")
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
        return check(o.name, o.folder, o.only, scale, o.plain)
    if o.command == "thresholds":
        run = importlib.import_module("homework.grader.thresholds").thresholds
        return 1 if run(o.name, o.only, o.seeds, o.courses, scale) else 0
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
    try:
        status = main()
        print(end="", flush=True)  # what is left, while the error below can be caught
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
