"""What a student gets: the stub, the questions, the handout and the data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from homework.grader.course import Course
from homework.grader.engine import Homework
from homework.grader.stubs import ROOT, load, solution_source, stub, student_questions
from lessons.pages.cells import notebook, split

README = """# {h.title}

About {h.hours} hours; needs {h.needs}.

1. Read `handout.py` (or open `handout.ipynb`): why each part is asked for, and a cell to try it.
2. Write the gaps in `{h.name}.py`, one part after the other, and check as often as you like:

       python -m homework check {h.name} .             all public checks
       python -m homework check {h.name} . --only B2   one of them
       python -m homework check {h.name} . --plain     in ASCII

3. Answer the questions in `answers.md`.
4. Hand in `{h.name}.py` and `answers.md`, nothing else.

The command needs the library: `pip install -e ".[homework]"` in its checkout, once.

| check | points | what must hold |
|---|---|---|
{points}

Each check is also run on hidden data, the same property with other numbers: 3/5 of its points
are public, 2/5 hidden.
A function has {h.call_seconds} seconds of CPU time per call. Arguments are read-only: copy them.
You may use NumPy and what `{h.name}.py` imports. Reading the library is allowed, copying from it
is not.
"""


def write_folder(name: str, folder: Path) -> Homework:
    """Write the files of homework ``name`` into ``folder``; never over the student's own work."""
    homework, source = load(name), ROOT / name
    handout = (source / "handout.py").read_text(encoding="utf-8")
    rows = "\n".join(f"| {c.id} | {c.points} | {c.says} |" for c in homework.checks)
    files = {
        f"{name}.py": stub(solution_source(name), homework.parts),
        "answers.md": student_questions((source / "questions.md").read_text(encoding="utf-8")),
        "handout.py": handout,
        "handout.ipynb": notebook(split(handout), figure=None),
        "README.md": README.format(h=homework, points=rows),
    }
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        path = folder / file
        if not (path.exists() and file in (f"{name}.py", "answers.md")):
            path.write_text(text, encoding="utf-8")
    shutil.copyfile(ROOT / "given.py", folder / "given.py")
    course = Course()
    np.savez(folder / "data" / "digits.npz", x=course.x, y=course.y)
    np.savez(folder / "data" / "model.npz", **course.models[0].parameters)
    return homework
