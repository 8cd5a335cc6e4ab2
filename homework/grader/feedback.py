"""The report: what was called, what came, what was expected and why, as text."""

from __future__ import annotations

import re
import textwrap

from homework.grader.engine import Homework, Outcome
from homework.grader.grading import Failed
from homework.grader.values import image_before, numbers, picture, python, worst

WORDS = {"ok": "ok", "failed": "NO", "not written": "--", "not run": "--", "internal error": "??"}
OURS = "The grader failed here, not you. Tell your teacher."
WIDTH, INDENT = 89, " " * 11  # together 100 columns
_ASCII = str.maketrans(
    {"·": "*", "ε": "eps", "σ": "sigma", "‖": "||", "²": "^2", "³": "^3", "≤": "<=", "≥": ">="}
    | {"₁": "_1", "₂": "_2", "×": "x", "–": "-", "’": "'", "∞": "inf"}
)


def plain(text: str) -> str:
    """``text`` in ASCII, for readers and terminals that have nothing else."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def called(failure: Failed, text=numbers) -> str:
    call = failure.call
    pieces = [text(a) for a in call.arguments]
    pieces += [f"{k}={text(a)}" for k, a in call.keywords.items()]
    return f"{call.name}({', '.join(pieces)})" if all(pieces) else ""


def _labeled(label: str, text: str) -> list[str]:
    """``text`` after its label, in lines that stay below 100 columns."""
    lines = textwrap.wrap(text, WIDTH, initial_indent=f"{label:<11}", subsequent_indent=INDENT)
    return lines or [label]


def lines_of(
    failure: Failed, homework: Homework, outcome: Outcome, folder: str = "DIR"
) -> list[str]:
    """The lines under a check that failed."""
    why, *more = failure.why.splitlines() or [""]
    lines = []
    if failure.call is not None:
        lines += _labeled("called", called(failure))
        if failure.returned is not None:
            lines += _labeled("returned", numbers(failure.returned))
    if failure.expected is not None:
        lines += _labeled("expected", numbers(failure.expected))
        if far := worst(failure.returned, failure.expected):
            lines += _labeled("far off at", far)
    lines += _labeled("why", why)
    lines += [INDENT + line for line in more]
    lines += [INDENT + line for line in failure.picture.splitlines() or _picture(failure)]
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


def _picture(failure: Failed) -> list[str]:
    """The picture of an image that came back, the one that the sentence names."""
    if failure.call is None:
        return []
    before = image_before(failure.call.arguments, failure.returned)
    if before is None:
        return []
    named = re.search(r"\bimage (\d+)", failure.why)
    return picture(before, failure.returned, int(named[1]) if named else None)


def details(homework: Homework, o: Outcome, folder: str = "DIR") -> list[str]:
    """What a report says under the line of one check."""
    if o.status == "internal error":
        return [OURS]
    if o.status == "not written" or o.failure is None:
        return []
    lines = lines_of(o.failure, homework, o, folder)
    if o.status == "failed":
        lines += [line for note in o.notes for line in note.splitlines()]
    return lines


def report(homework: Homework, outcomes: list[Outcome], folder: str = "DIR") -> str:
    """The whole report, part by part; the same text everywhere."""
    lines = []
    for part, title in homework.parts.items():
        own = [o for o in outcomes if o.check.id[0] == part]
        if not own:
            continue
        score = f"{sum(o.points for o in own)} of {sum(o.most for o in own)}"
        lines += ["", f"{part}  {title:<80} {score:>12}"]
        for o in own:
            says = o.check.says + (" (hidden)" if o.hidden else "")
            points = f"{o.points:>2} of {o.most:>2}"
            end = "not written" if o.status == "not written" else points
            lines.append(f"   {WORDS[o.status]}  {o.check.id}  {says:<72} {end:>12}")
            lines += [f"           {line}" for line in details(homework, o, folder)]
    return "\n".join(lines[1:]) + "\n"
