"""What a class gets: one table of grades, and all answers to a question on one page."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from homework.grader.course import Course
from homework.grader.engine import Homework
from homework.grader.stubs import MARK, ROOT, student_questions
from minadv.files import write_whole

MEASURED = ("seconds", "cpu_seconds", "peak_mib")


def write_table(out: Path, homework: Homework, rows: dict):
    """``out``: a row for each student; ``OUT_usage.csv``: what grading took, which varies.

    ``previous``: the score of the same submission before the grader was corrected, where it was
    another.
    """
    written = [f"written_{i}" for i in range(1, len(questions_of(homework.name)) + 1)]
    heads = ["name", "score", "max", "public", "hidden", *homework.parts, *written]
    heads += ["challenge", "status", "why", "previous", "sha256"]
    most = sum(c.points for c in homework.checks)
    table, usage = [heads], [["name", *MEASURED]]
    for student in sorted(rows):
        row = rows[student]
        ok = row["status"] == "ok"
        score, public, hidden = (row[k] if ok else "" for k in ("score", "public", "hidden"))
        parts = [row["parts"][p] if ok else "" for p in homework.parts]
        rest = [row.get(k, "") for k in ("previous", "sha256")]
        told = [row.get("challenge", ""), row["status"], safe(row["why"])]
        cells = [score, most, public, hidden, *parts, *[""] * len(written), *told, *rest]
        table.append([safe(student), *cells])
        usage.append([safe(student), *(row.get(k, "") for k in MEASURED)])
    _write(out, table)
    _write(out.with_name(out.stem + "_usage.csv"), usage)


def _write(path: Path, rows: list[list]):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_whole(path, text.getvalue().encode())


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def questions_of(name: str) -> list[str]:
    path = ROOT / name / "questions.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return re.findall(r"^## (Question \d+.*)$", text, flags=re.M)


def _own(text: str, ours: set[str]) -> str:
    """The student's lines: what follows the mark, or all where it is missing, but ``ours``."""
    text = text.partition(MARK)[2].strip() or text.replace(MARK, "")
    return "\n".join(line for line in text.splitlines() if line.strip() not in ours).strip()


def write_answers(folder: Path, name: str, answers: dict[str, bytes], seed: str):
    """All answers to one question in one file, under numbers instead of names; ``key.csv`` has the
    names. The homework's own lines are left out, and the place for the answer may be missing."""
    asked = (ROOT / name / "questions.md").read_text(encoding="utf-8")
    ours = {line.strip() for line in student_questions(asked).splitlines()} - {""}
    folder.mkdir(parents=True, exist_ok=True)
    students = sorted(answers)
    number = dict(
        zip(students, Course(seed).rng("answers").permutation(len(students)) + 1, strict=True)
    )
    pages: dict[str, list] = {}
    for student in sorted(students, key=lambda s: number[s]):
        whole = answers[student].decode("utf-8", "replace")
        for piece in re.split(r"^## Question ", whole, flags=re.M)[1:]:
            found = re.match(r"\d{1,3}", piece)
            if found:
                body = _own(piece.partition("\n")[2], ours) or "(no answer)"
                pages.setdefault(found[0], []).append(f"## {number[student]}\n\n{body}\n")
    for question, parts in pages.items():
        write_whole(folder / f"question{int(question)}.md", "\n".join(parts).encode())
    _write(folder / "key.csv", [["number", "name"], *([number[s], safe(s)] for s in students)])
