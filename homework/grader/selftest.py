"""The table bugs x checks: the solution has all points, the stub and every cheat none, a bug loses
exactly its own."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from homework.grader.course import Course
from homework.grader.engine import grade
from homework.grader.processes import pool
from homework.grader.stubs import load, solution_source, stub

CHEATS = Path(__file__).parent.parent / "cheats"
FEW = "mostly_zero", "unchanged", "zeros"


@dataclass(frozen=True)
class Bug:
    """A wrong solution: ``old`` of the solution, which occurs once, becomes ``new``.

    It ``loses`` these checks, public and hidden, and no others; the reasons that it is given
    contain the words ``says``.
    """

    name: str
    old: str
    new: str
    loses: set
    says: tuple = ()

    def source(self, solution: str) -> str:
        if solution.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.old!r} occurs {solution.count(self.old)} times")
        return solution.replace(self.old, self.new)


def cases(name: str, all_cheats: bool = True) -> list[tuple[str, str, set, tuple]]:
    """``(name, source, lost checks, words)`` of every submission that the self-test grades.

    ``all_cheats``: else those few whose outcome depends on the homework's checks.
    """
    homework, solution = load(name), solution_source(name)
    all_checks = {c.id for c in homework.checks}
    bugs = importlib.import_module(f"homework.{name}.bugs").BUGS
    rows = [
        ("the solution", solution, set(), ()),
        ("the stub", stub(solution, homework.parts), all_checks, ()),
    ]
    rows += [(b.name, b.source(solution), set(b.loses), b.says) for b in bugs]
    functions = "\n".join(f"    {f!r}," for c in homework.checks for f in c.calls)
    for path in sorted(CHEATS.glob("*.py")) if all_cheats else (CHEATS / f"{c}.py" for c in FEW):
        text = path.read_text(encoding="utf-8").replace("# FUNCTIONS", functions)
        text = text.replace("ANSWERS", str((CHEATS.parent / name / "solution.py").resolve()))
        rows.append((f"cheat: {path.stem}", text, all_checks, ()))
    return rows


_course = cache(Course)  # trained once in each process


def run(name: str, case: tuple, scale: str, seed: str = "selftest", hidden=True) -> tuple[str, str]:
    """``(line of the table, what is wrong or nothing)`` for one case. ``hidden``: on hidden data as
    well."""
    title, source, loses, says = case
    homework = load(name)
    limits = {"scale": scale, "call_seconds": 0.5 if title.startswith("cheat") else None}
    outcomes = grade(homework, source.encode(), _course("public"), hidden=False, **limits)
    if hidden:
        outcomes += grade(homework, source.encode(), _course(seed), public=False, **limits)
    marks, wrong = [], []
    for check in homework.checks:
        lost = [o.status != "ok" for o in outcomes if o.check is check]
        marks.append({(False,): ".", (True,): "X"}.get(tuple(set(lost)), "p" if lost[0] else "h"))
        if set(lost) != {check.id in loses}:
            wrong.append(check.id)
    why = " ".join(o.failure.why for o in outcomes if o.failure)
    wrong += [f"does not say {w!r}" for w in says if w not in why]
    wrong += ["internal error: " + o.failure.why for o in outcomes if o.status == "internal error"]
    points = sum(o.points for o in outcomes)
    row = f"{title:<34} {points:>4}  " + " ".join(f"{m:>2}" for m in marks)
    return row, ", ".join(wrong)


def selftest(name: str, scale: str, workers: int = 1, only: str = "", all_cheats=True) -> bool:
    """Print the table of one homework; whether all is as it should be."""
    homework = load(name)
    chosen = [c for c in cases(name, all_cheats) if only in c[0]]
    print(f"{name}: {homework.title}\n{'':<34} pts.  " + " ".join(c.id for c in homework.checks))
    good = True
    with pool(workers) as executor:
        futures = [executor.submit(run, name, case, scale) for case in chosen]
        for future in futures:
            row, wrong = future.result()
            print(row + (f"   WRONG: {wrong}" if wrong else ""), flush=True)
            good &= not wrong
    print(". has its points, X loses them (p: public data only, h: hidden data only)\n")
    return good
