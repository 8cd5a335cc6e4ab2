"""Checks with points, run on random examples against a submission in its sandbox.

A homework is a module with ``HOMEWORK = Homework(...)``. A check is a function of one
:class:`~homework.grader.grading.Grading`: it draws examples, calls the student's functions, and
fails with a sentence. Each check runs twice, on public data for 3/5 of its points and on hidden
data for 2/5; an internal error is ours, and gives no score at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from homework.grader.course import Course
from homework.grader.grading import Failed, Grading, Halt
from homework.grader.sandbox import Ended, Raised, Sandbox


@dataclass(frozen=True)
class Check:
    """One line of the report. ``id`` such as "B2"; ``points`` a multiple of 5; ``says`` the
    property in words.

    ``run(grading)`` raises :class:`Failed`. ``calls``: functions of the student that it needs.
    ``replaced``: earlier functions that the reference answers instead, so that an error costs once.
    """

    id: str
    points: int
    says: str
    run: Callable
    calls: tuple[str, ...]
    replaced: tuple[str, ...] = ()


def worth(points: int, says: str, *calls: str, replaced: tuple[str, ...] = ()):
    """Decorator: the function ``b2(grading)`` becomes the check "B2" (see :class:`Check`)."""

    def decorate(run: Callable) -> Check:
        return Check(run.__name__.upper(), points, says, run, calls, replaced)

    return decorate


@dataclass(frozen=True)
class Challenge:
    """What the optional function ``challenge`` of the student's file is ranked by, for no points.

    ``run(grading)`` gives the number, or raises :class:`Failed`. ``order``: "asc" where less is
    better, else "desc".
    """

    name: str
    order: str
    run: Callable


@dataclass(frozen=True)
class Homework:
    """``name`` "hw2"; ``title``; ``hours``; ``needs`` (lessons); ``parts`` {"A": title};
    ``checks``; ``kit`` modules of minadv."""

    name: str
    title: str
    hours: int
    needs: str
    parts: dict
    checks: tuple[Check, ...]
    kit: tuple[str, ...] = ()
    call_seconds: int = 5
    seconds: int = 120
    megabytes: int = 512
    challenge: Challenge | None = None


@dataclass
class Outcome:
    """How one check went on one kind of data. ``status``: ok, failed, not written, not run,
    internal error."""

    check: Check
    hidden: bool
    status: str = "not run"
    failure: Failed | None = None
    notes: list = field(default_factory=list)

    @property
    def most(self) -> int:
        return self.check.points * (2 if self.hidden else 3) // 5

    @property
    def points(self) -> int:
        return self.most if self.status == "ok" else 0


def grade(
    homework: Homework,
    source: bytes | None,
    course: Course,
    *,
    only="",
    public=True,
    hidden=True,
    scale="full",
    report=None,
    call_seconds=None,
    factor: float = 1,
    usage=None,
):
    """Run the checks on a submission and return its outcomes; ``report(outcomes)`` is called after
    each.

    Every check runs, whatever failed before it. ``source``: the file's bytes, or None where there
    is none. ``call_seconds``: instead of the homework's. ``factor``: of all limits of time.
    ``usage``: a dict that gets the child's CPU seconds and peak KiB.
    """
    chosen = [c for c in homework.checks if c.id.startswith(only)]
    outcomes = [Outcome(c, h) for c in chosen for h in (False, True) if (hidden if h else public)]
    report = report or (lambda outcomes: None)
    report(outcomes)
    with _sandbox(homework, source, factor, call_seconds) as box:
        for outcome in outcomes:
            box.forget()
            grading = _grading(homework, box, outcome.check, course, outcome.hidden, scale)
            _run(outcome, grading, box)
            outcome.notes += [f"NumPy said: {w}" for w in grading.warned]
            if outcome.status == "failed" and (printed := box.printed().strip()):
                outcome.notes.append(f"your code printed: {printed}")
            report(outcomes)
    if usage is not None:
        usage |= {"cpu": round(box.spent, 2), "peak": box.peak}
    return outcomes


def measure(homework: Homework, source: bytes | None, course: Course):
    """``(value, why)``: what the student's ``challenge`` reached on hidden data, or why nothing.

    Both are empty where the homework or the file has none.
    """
    if homework.challenge is None or source is None or b"def challenge(" not in source:
        return None, ""
    check = Check("challenge", 0, homework.challenge.name, None, ("challenge",))
    with _sandbox(homework, source, factor=2) as box:
        grading = _grading(homework, box, check, course, hidden=True, scale="full")
        try:
            box.start()
            return float(homework.challenge.run(grading)), ""
        except (Failed, Halt, Raised, Ended) as error:
            return None, getattr(error, "why", str(error))


def _sandbox(homework: Homework, source: bytes | None, factor: float = 1, call_seconds=None):
    return Sandbox(
        source or b"",
        homework.name,
        homework.kit,
        call_seconds=(call_seconds or homework.call_seconds) * factor,
        seconds=int(homework.seconds * factor),
        megabytes=homework.megabytes,
    )


def _grading(homework: Homework, box: Sandbox, check: Check, course: Course, hidden, scale):
    from homework.grader.stubs import reference_of

    return Grading(box, check, course, reference_of(homework.name), hidden=hidden, scale=scale)


def _run(outcome: Outcome, grading: Grading, box: Sandbox):
    try:
        try:
            box.start()
        except Raised as error:
            raise Failed(f"your file cannot be loaded: {error}\n{error.lines}") from None
        except Ended as error:
            raise Halt("failed", str(error)) from None
        missing = [f for f in outcome.check.calls if f not in box.functions]
        if missing:
            raise Failed(f"the file has no function {', '.join(missing)}")
        outcome.check.run(grading)
        outcome.status = "ok"
    except Failed as failure:
        outcome.status, outcome.failure = "failed", failure
    except Halt as halt:
        outcome.status = "not run" if halt.why.startswith("not run") else halt.status
        outcome.failure = Failed(halt.why, None, *grading.last)
    except Exception as error:  # ours: the teacher is told, and no score is given
        outcome.status = "internal error"
        outcome.failure = Failed(f"{type(error).__name__}: {error}")
