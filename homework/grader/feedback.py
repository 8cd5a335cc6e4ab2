"""The report: what was called, what came, what was expected and why, as text."""

from __future__ import annotations

import numpy as np

from homework.grader.engine import Failed, Homework, Outcome
from homework.grader.sandbox import Served

WORDS = {"ok": "ok", "failed": "NO", "not written": "--", "not run": "--", "internal error": "??"}


def numbers(v) -> str:
    """A value in a line: arrays of at most 24 numbers in full, else the shape and the first
    five."""
    if isinstance(v, np.ndarray):
        if v.size > 24:
            first = ", ".join(f"{a:.6g}" for a in v.ravel()[:5])
            return f"array of shape {v.shape}: {first}, ..."
        return np.array2string(v, separator=", ", max_line_width=10**6, floatmode="unique").replace(
            "\n", ""
        )
    if isinstance(v, (tuple, list)):
        return "(" + ", ".join(map(numbers, v)) + ")"
    if isinstance(v, Served):
        return v.source or ("model" if v.kind == "model" else "a function")
    if isinstance(v, np.random.SeedSequence):
        return f"np.random.default_rng({v.entropy})"
    text = repr(v)
    return text if len(text) <= 200 else text[:200] + "..."


def python(v) -> str:
    """``v`` as Python source that makes it bit for bit, or an empty text where that is too long."""
    if isinstance(v, (np.ndarray, np.generic)):
        v = np.asarray(v)
        if v.size > 24:
            return ""
        body = repr(v.tolist()).replace("inf", "np.inf").replace("nan", "np.nan")
        kind = "" if v.dtype in (np.float64,) and v.size else f", np.{v.dtype.name}"
        array = f"np.array({body}{kind})"
        return array if v.size else f"np.zeros({v.shape}, np.{v.dtype.name})"
    if isinstance(v, tuple):
        parts = [python(a) for a in v]
        return f"({', '.join(parts)},)" if all(parts) else ""
    if isinstance(v, Served):
        return v.source
    if isinstance(v, np.random.SeedSequence):
        return f"np.random.default_rng({v.entropy})"
    return repr(v)


def called(failure: Failed, text=numbers) -> str:
    call = failure.call
    pieces = [text(a) for a in call.arguments]
    pieces += [f"{k}={text(a)}" for k, a in call.keywords.items()]
    return f"{call.name}({', '.join(pieces)})" if all(pieces) else ""


def lines_of(
    failure: Failed, homework: Homework, outcome: Outcome, folder: str = "DIR"
) -> list[str]:
    """The lines under a check that failed."""
    why, *more = failure.why.splitlines() or [""]
    lines = []
    if failure.call is not None:
        lines.append(f"called     {called(failure)}")
        if failure.returned is not None:
            lines.append(f"returned   {numbers(failure.returned)}")
    if failure.expected is not None:
        lines.append(f"expected   {numbers(failure.expected)}")
    lines.append(f"why        {why}")
    lines += [f"           {line}" for line in more]
    lines += failure.picture.splitlines()
    if failure.tries:
        lines.append(f"This is the smallest case found in {failure.tries} tries.")
    if not outcome.hidden:
        lines.append(
            f"To repeat it: python -m homework check {homework.name} {folder} --only "
            f"{outcome.check.id}"
        )
    paste = called(failure, python) if failure.call is not None else ""
    if paste:
        name = homework.name
        lines.append(f"or paste:  import numpy as np, {name}; print({name}.{paste})")
    return lines


def report(homework: Homework, outcomes: list[Outcome], folder: str = "DIR") -> str:
    """The whole report, part by part; the same text everywhere."""
    lines = []
    for part, title in homework.parts.items():
        own = [o for o in outcomes if o.check.id[0] == part]
        if not own:
            continue
        score = f"{sum(o.points for o in own)} of {sum(o.most for o in own)}"
        lines += ["", f"{part}  {title:<72} {score:>10}"]
        for o in own:
            says = o.check.says + (" (hidden data)" if o.hidden else "")
            lines.append(
                f"   {WORDS[o.status]}  {o.check.id}  {says:<64} {o.points:>3} of {o.most:>3}"
            )
            if o.status == "not written":
                lines.append("           not written yet")
            elif o.status == "internal error":
                lines.append("           The grader failed here, not you. Tell your teacher.")
            elif o.failure is not None:
                lines += [f"           {line}" for line in lines_of(o.failure, homework, o, folder)]
            if o.status == "failed":
                lines += [f"           {line}" for note in o.notes for line in note.splitlines()]
    return "\n".join(lines[1:]) + "\n"
