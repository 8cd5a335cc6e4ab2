"""How far the solution stays from each threshold that depends on chance: over many seeds.

A check that calls ``at_least`` or ``at_most`` compares a number with a limit. Here such checks run
with the solution itself, in this process, on fresh seeds; each number is shown with its limit and
the distance between them in standard deviations.
"""

from __future__ import annotations

import copy

import numpy as np

from homework.grader.course import Course
from homework.grader.engine import Check
from homework.grader.grading import Failed, Grading
from homework.grader.sandbox import Raised
from homework.grader.serve import Served
from homework.grader.stubs import load, reference_of
from minadv.autograd import raw, record
from minadv.parallel import on_one_core


class Direct:
    """Stands for a sandbox: calls a module of ours as the worker calls a submission."""

    def __init__(self, module):
        self.module = module

    def used(self) -> float:
        return 0.0

    def call(self, name: str, *arguments, replaced=None, **keywords):
        arguments = [_received(a) for a in arguments]
        keywords = {k: _received(v) for k, v in keywords.items()}
        try:
            return getattr(self.module, name)(*arguments, **keywords), []
        except Exception as error:
            raise Raised(type(error).__name__, str(error), "", []) from error


def _received(v):
    if isinstance(v, np.random.SeedSequence):
        return np.random.default_rng(v.entropy)
    if not isinstance(v, Served):
        return v

    def ask(*question):
        answer = v.answer(*question)
        v.asked.append((question, answer))
        return answer

    if v.kind != "model":
        return ask
    return lambda x: record(ask("logits", raw(x)), (x, lambda g: ask("vjp", raw(x), g)))


def margins(check: Check, name: str, course: Course, hidden: bool, scale: str) -> list[tuple]:
    """``(what, value, limit, sign)`` of one run of ``check`` with the solution."""
    reference = reference_of(name)
    box = Direct(reference)
    grading = Grading(box, check, course, reference, hidden=hidden, scale=scale)
    try:
        check.run(grading)
    except Failed as failure:
        print(f"{check.id}, seed {course.seed}: {failure.why}", flush=True)
    return grading.margins


def with_seed(course: Course, seed: str) -> Course:
    """The same models, and other random numbers."""
    other = copy.copy(course)
    other.seed = seed
    return other


def thresholds(name: str, only: str, seeds: int, courses: int, scale: str) -> int:
    """Print a line for each threshold of a homework; returns how many runs failed.

    ``seeds``: runs on each of ``courses`` courses, the first of which is "public"; every other one
    has models of its own, trained here.
    """
    failed = 0
    print(f"{'':4}{'':42}{'runs':>7}{'limit':>10}{'worst':>10}{'mean':>10}{'sd':>11}{'slack':>10}")
    for check in (c for c in load(name).checks if c.id.startswith(only)):
        found: dict[str, list] = {}
        with on_one_core():
            for i in range(courses):
                course = Course("public" if i == 0 else f"thresholds {i}")
                for k in range(seeds):
                    course = with_seed(course, f"{course.seed} {k}")
                    runs = margins(check, name, course, bool((i + k) % 2), scale)
                    if not runs:
                        break
                    for what, value, limit, sign in runs:
                        found.setdefault(what, []).append((value, limit, sign))
        for what, rows in found.items():
            failed += _line(check, what, np.array(rows))
    return failed


def _line(check: Check, what: str, rows: np.ndarray) -> int:
    """Print one threshold; returns how often it was missed."""
    value, limit, sign = rows.T
    slack = sign * (value - limit)  # limits may vary with the run: what counts is the distance
    sd = slack.std()
    far = f"{slack.mean() / sd:.1f} sd" if sd > 1e-12 * abs(limit[0]) else "exact"
    worst = slack.argmin()
    cells = [f"{v:.4g}" for v in (limit[worst], value[worst], value.mean(), sd)]
    print(
        f"{check.id:<4}{what:<42}{len(rows):>7}{cells[0]:>10}{cells[1]:>10}{cells[2]:>10}"
        f"{cells[3]:>11}{far:>10}",
        flush=True,
    )
    return int((slack < 0).sum())
