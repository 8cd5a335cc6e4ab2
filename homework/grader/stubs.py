"""The stub that a student gets, made from the solution; and the solution as a module."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
MARK = "<!-- your answer -->"  # a student may leave it or write over it
_BEGIN, _END = re.compile(r"( *)# begin solution: ([A-Z])$"), "# end solution"


def solution_source(name: str) -> str:
    return (ROOT / name / "solution.py").read_text(encoding="utf-8")


def stub(solution: str, parts) -> str:
    """The student's file: each gap ``# begin solution: A`` ... ``# end solution`` becomes a
    NotImplementedError.

    Lines that end in ``# solution only`` vanish. Raises :class:`ValueError`, with the line, for
    markers that do not match and for a letter that is not in ``parts``.
    """
    lines, inside = [], 0
    for number, line in enumerate(solution.splitlines(), 1):
        begin = _BEGIN.match(line)
        if begin:
            if inside:
                raise ValueError(f"line {number}: a gap inside the gap of line {inside}")
            if begin[2] not in parts:
                raise ValueError(f"line {number}: there is no part {begin[2]}")
            inside = number
            lines.append(f'{begin[1]}raise NotImplementedError("part {begin[2]}: write this")')
        elif line.strip() == _END:
            if not inside:
                raise ValueError(f"line {number}: the end of no gap")
            inside = 0
        elif not inside and not line.endswith("# solution only"):
            lines.append(line)
    if inside:
        raise ValueError(f"line {inside}: this gap does not end")
    return "\n".join(lines) + "\n"


def student_questions(text: str) -> str:
    """The questions without rubrics and model answers, each with a place for the answer."""
    text = re.sub(r"<!-- rubric -->.*?<!-- end rubric -->\n?", MARK + "\n", text, flags=re.S)
    if "rubric" in text:
        raise ValueError("a rubric does not end")
    return text


def load(name: str):
    """The :class:`~homework.grader.engine.Homework` ``name``."""
    return importlib.import_module(f"homework.{name}.checks").HOMEWORK


@cache
def reference_of(name: str) -> ModuleType:
    """The solution, as a module of ours."""
    return importlib.import_module(f"homework.{name}.solution")


def names() -> list[str]:
    """The homeworks that there are."""
    return sorted(p.parent.name for p in ROOT.glob("hw*/checks.py"))
