"""What a check sees: random examples, the student's functions, and ways to fail with a sentence."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings

from homework.grader.course import Course
from homework.grader.sandbox import Ended, Raised, Sandbox
from homework.grader.serve import Served

MOST_CALLS = 400  # of examples in one check; later ones pass unseen, which ends the shrinking
MOST_SHRINKING = 15  # CPU seconds of the submission, counted from the first failure


class Failed(Exception):
    """A property does not hold: ``why``, ``expected``, and the call that showed it."""

    def __init__(self, why: str, expected=None, call=None, returned=None, picture: str = ""):
        super().__init__(why)
        self.why, self.expected, self.call, self.returned = why, expected, call, returned
        self.picture, self.tries = picture, 0


class Halt(BaseException):
    """The check cannot go on (timeout, death, a missing function); Hypothesis must not catch it."""

    def __init__(self, status: str, why: str):
        super().__init__(why)
        self.status, self.why = status, why


@dataclass(frozen=True)
class Call:
    """What was called, for the report and for the line to paste."""

    name: str
    arguments: tuple
    keywords: dict


class Grading:
    """What a check sees: the course, random examples, and the student's functions."""

    def __init__(self, sandbox: Sandbox, check, course: Course, reference, *, hidden, scale):
        self.sandbox, self.check, self.course, self.reference = sandbox, check, course, reference
        self.hidden = hidden
        self.count = {"full": (60, 200), "small": (20, 40)}[scale][hidden]
        text = f"{course.seed}:{check.id}:{hidden}"
        self.seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        self.rng = np.random.default_rng(self.seed)  # for what is no Hypothesis example
        self.warned: list[str] = []
        self.margins: list[tuple] = []  # (what, value, limit, sign) of each threshold
        self.last: tuple = (None, None)
        self.tries = 0

    def examples(self, *strategies):
        """Decorator: run the function on examples drawn from ``strategies``; the smallest failure
        is raised."""

        def run(f):
            verdicts, end = {}, [math.inf]

            def once(*values):
                key = _key(values)
                if key not in verdicts:
                    if len(verdicts) >= MOST_CALLS or self.sandbox.used() > end[0]:
                        return
                    verdicts[key] = None
                    try:
                        f(*values)
                    except Failed as failure:
                        verdicts[key] = failure
                        end[0] = min(end[0], self.sandbox.used() + MOST_SHRINKING)
                if verdicts[key] is not None:
                    raise verdicts[key]

            configured = settings(
                max_examples=self.count,
                deadline=None,
                database=None,
                report_multiple_bugs=False,
                print_blob=False,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            )
            try:
                configured(
                    seed(self.seed)(given(*strategies)(_positional(once, len(strategies))))
                )()
            except Failed as failure:
                failure.tries = len(verdicts)
                raise failure.with_traceback(None) from None
            return f

        return run

    def call(self, name: str, *arguments, shape=None, kind: str = "f", parts=None, **keywords):
        """The student's ``name(*arguments, **keywords)``, as a finite array of ``shape`` and dtype
        ``kind``.

        ``kind``: "f", "i" (integers) or "any" (no check at all). ``parts``: a list of shapes where
        a tuple of arrays is expected. A :class:`Served` among the arguments is a function of ours.
        """
        call = Call(name, arguments, keywords)
        self.last = (call, None)
        served = {f: Served(getattr(self.reference, f)) for f in self.check.replaced}
        try:
            value, warned = self.sandbox.call(name, *arguments, replaced=served, **keywords)
        except Raised as error:
            if error.kind == "NotImplementedError":
                raise Halt("not written", "not written yet") from None
            where = f"\n{error.lines}" if error.lines else ""
            self.fail(f"your code raised {error.kind}: {error.text}{_advice(error)}{where}")
        except Ended as error:
            raise Halt("failed", str(error)) from None
        self.warned = warned
        self.last = (call, value)
        if kind == "any":
            return value
        if parts is None:
            return self._array(value, shape, kind, "it")
        if not isinstance(value, (tuple, list)) or len(value) != len(parts):
            self.fail(f"it is no tuple of {len(parts)} arrays")
        return tuple(
            self._array(v, s, kind, f"part {i}")
            for i, (v, s) in enumerate(zip(value, parts, strict=True))
        )

    def raises(self, kind: str, name: str, *arguments, **keywords) -> bool:
        """Whether the student's function raises ``kind``, "ValueError" for instance."""
        self.last = (Call(name, arguments, keywords), None)
        served = {f: Served(getattr(self.reference, f)) for f in self.check.replaced}
        try:
            value, _ = self.sandbox.call(name, *arguments, replaced=served, **keywords)
        except Raised as error:
            if error.kind == "NotImplementedError":
                raise Halt("not written", "not written yet") from None
            return error.kind == kind
        except Ended as error:
            raise Halt("failed", str(error)) from None
        self.last = (self.last[0], value)
        return False

    def _array(self, value, shape, kind, what):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = np.asarray(value)
        if value is None:
            self.fail(f"{what} is None: is a return missing?")
        if not isinstance(value, np.ndarray):
            self.fail(f"{what} is of type {type(value).__name__}, expected an array")
        if value.dtype.kind not in {"f": "fiu", "i": "iu"}[kind]:
            self.fail(
                f"{what} is an array of {value.dtype}, expected "
                f"{'numbers' if kind == 'f' else 'integers'}"
            )
        if shape is not None and value.shape != tuple(shape):
            self.fail(f"{what} has shape {value.shape}, expected {tuple(shape)}")
        if not np.isfinite(value).all():
            self.fail(f"{what} holds numbers that are not finite (NaN or infinity)")
        return value

    def fail(self, why: str, expected=None, picture: str = ""):
        """Fail with a sentence, and with the last call and what it returned."""
        raise Failed(why, expected, *self.last, picture=picture)

    def expect(self, holds, why: str, expected=None):
        """Fail unless ``holds``."""
        if not holds:
            self.fail(why, expected)

    def at_least(self, what: str, value: float, limit: float, why: str, expected=None):
        """Fail unless ``value >= limit``. ``what`` names the number, for ``thresholds``."""
        self.margins.append((what, float(value), float(limit), 1))
        self.expect(value >= limit, why, expected)

    def at_most(self, what: str, value: float, limit: float, why: str, expected=None):
        """Fail unless ``value <= limit``."""
        self.margins.append((what, float(value), float(limit), -1))
        self.expect(value <= limit, why, expected)

    def close(self, value, expected, why: str, tolerance: float = 1e-12, scale: float = 1.0):
        """Fail unless ``|value - expected| <= tolerance * max(scale, |expected|)`` everywhere (0:
        equal)."""
        expected = np.asarray(expected)
        off = np.abs(np.asarray(value, float) - expected)
        if not (off <= tolerance * np.maximum(scale, np.abs(expected))).all():
            self.fail(f"{why} (off by {off.max():.3g})", expected)


def _advice(error: Raised) -> str:
    return (
        " (an argument was changed in place: work on a copy)" if "read-only" in error.text else ""
    )


def _key(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (tuple, list)):
        return tuple(_key(v) for v in value)
    return repr(value)


def _positional(f: Callable, count: int):
    """``f`` with ``count`` named arguments: Hypothesis does not take ``*values``."""
    names = ", ".join("abcdefgh"[:count])
    return eval(f"lambda {names}: f({names})", {"f": f})
