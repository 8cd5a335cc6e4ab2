"""A class: many submissions over an executor, resumable, one table of grades."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import tempfile
import threading
import time
from concurrent.futures import Executor, Future, as_completed
from pathlib import Path

import numpy as np

from homework.grader.course import Course
from homework.grader.engine import Homework, grade, measure
from homework.grader.feedback import plain, report
from homework.grader.html_report import html, message
from homework.grader.stubs import ROOT, load, solution_source
from homework.grader.submissions import files_of, pick
from homework.grader.tables import write_answers, write_table
from minadv.files import write_whole
from minadv.parallel import on_one_core

SOLUTION = "the solution"


def version_of(name: str) -> str:
    """A digest of the grader and of the homework: a change of either grades everything anew."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "grader").glob("*.py"), *(ROOT / name).glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_ONE = threading.Lock()  # a sandbox kills what its process adopted: one at a time in a process


def task(
    student: str,
    name: str,
    source: bytes,
    seed: str,
    weights: bytes,
    scale: str,
    only: str = "",
    factor: float = 1,
) -> dict:
    """Grade one submission, anywhere: takes and gives plain data. ``weights``: the course's
    ``.npz``."""
    with _ONE, on_one_core(), tempfile.TemporaryDirectory() as folder:
        hidden = Course(seed, Path(folder))
        hidden.path.write_bytes(weights)
        return _task(student, load(name), source, hidden, scale, only, factor)


def _task(student, homework: Homework, source, hidden: Course, scale, only, factor) -> dict:
    started, usage = time.monotonic(), {}
    options = {"scale": scale, "usage": usage, "only": only, "factor": factor}
    outcomes = grade(homework, source, Course(), hidden=False, **options)
    first = dict(usage)
    outcomes += grade(homework, source, hidden, public=False, **options)
    order = {c.id: i for i, c in enumerate(homework.checks)}
    outcomes.sort(key=lambda o: (order[o.check.id], o.hidden))
    broken = [o.failure.why for o in outcomes if o.status == "internal error"]
    value, _ = measure(homework, source, hidden) if not only else (None, "")
    return {
        "status": "not graded" if broken else "ok",
        "why": "; ".join(broken),
        "score": sum(o.points for o in outcomes),
        "public": sum(o.points for o in outcomes if not o.hidden),
        "hidden": sum(o.points for o in outcomes if o.hidden),
        "parts": {p: sum(o.points for o in outcomes if o.check.id[0] == p) for p in homework.parts},
        "lost": sorted({o.check.id for o in outcomes if o.status != "ok"}),
        "challenge": "" if value is None else round(value, 6),
        "report": report(homework, outcomes),
        "html": html(homework, outcomes, student),
        "seconds": round(time.monotonic() - started, 2),
        "cpu_seconds": round(first["cpu"] + usage["cpu"], 2),
        "peak_mib": max(first["peak"], usage["peak"]) >> 10,
    }


def grade_class(
    name: str,
    folder: Path,
    out: Path,
    executor: Executor,
    *,
    seed="public",
    scale="full",
    again=(),
    only="",
    times=None,
    ascii=False,
) -> int:
    """Grade every submission in ``folder``; write ``out`` (a table) and ``reports/`` next to it.

    One subfolder or zip for each student. A report that is there for the same submission, grader
    and course is kept: a run that was ended goes on where it was. The solution is graded first: a
    course on which it loses a point is refused.

    ``again``: names to grade anew. ``only``: a check or part. ``times``: ``{name: factor}`` of CPU
    time for those who need more. ``ascii``: reports in ASCII, and no bar. Returns how many were not
    graded. Raises :class:`ValueError` where ``folder`` holds no submissions.
    """
    homework, reports, times = load(name), out.parent / "reports", times or {}
    reports.mkdir(parents=True, exist_ok=True)
    paths = _submissions(folder)
    if not paths:
        raise ValueError(f"{folder} holds no folder and no zip")
    if unknown := {*again, *times} - {*paths}:
        raise ValueError(f"{folder} holds no {', '.join(sorted(unknown))}")
    weights = _weights(seed, out.parent / "courses")
    version = version_of(name) + hashlib.sha256(weights).hexdigest() + f"{seed}:{scale}:{only}"

    def key_of(source: bytes, factor) -> str:
        text = version + (f":{factor}" if factor != 1 else "")
        return hashlib.sha256(text.encode() + source).hexdigest()

    def arguments(source, factor=1):
        return name, source, seed, weights, scale, only, factor

    rows, answers, waiting = {}, {}, {}
    for student, path in paths.items():
        try:
            files = files_of(path)
            source, why = pick(files, f"{name}.py")
            answers[student] = pick(files, "answers.md")[0] or b""
        except (ValueError, OSError) as error:
            source, why = None, str(error)
        if source is None:
            rows[student] = {"status": "no file", "why": why, "report": why + "\n"}
            _write_reports(reports, student, rows[student] | {"html": message(why, student)}, ascii)
            continue
        factor = times.get(student, 1)
        key = key_of(source, factor)
        kept = _kept(reports / f"{student}.json", key)
        if kept and student not in again:
            rows[student] = kept
        else:
            waiting[student] = (source, key, factor)
    if waiting:
        right = solution_source(name).encode()
        _solve(executor, out.parent / "solution.json", key_of(right, 1), arguments(right))
    tasks = {n: arguments(source, factor) for n, (source, _, factor) in waiting.items()}
    for student, result in _run(executor, tasks, len(rows), bar=not ascii):
        source, key, _ = waiting[student]
        row = result | {"key": key, "sha256": hashlib.sha256(source).hexdigest()}
        row |= _previous(reports / f"{student}.json", row)
        _write_reports(reports, student, row, ascii)
        rows[student] = row
    write_table(out, homework, rows)
    write_answers(out.parent / "answers", name, answers, seed)
    return sum(row["status"] == "not graded" for row in rows.values())


def _submissions(folder: Path) -> dict[str, Path]:
    """``{student: path}``: ``ada`` for the folder ada, or for ada.zip where there is no such
    folder."""
    found = {p.name: p for p in sorted(folder.iterdir()) if p.is_dir()}
    zips = [p for p in sorted(folder.glob("*.zip")) if p.name not in found]
    return found | {p.name if p.stem in found else p.stem: p for p in zips}


def _solve(executor: Executor, path: Path, key: str, arguments: tuple):
    """Grade the solution, unless ``path`` says that it was; refuse a course where it loses."""
    result = _kept(path, key)
    if result is None:
        (_, result), *_ = _run(executor, {SOLUTION: arguments}, 0, bar=False)
        result = {k: v for k, v in result.items() if k not in ("report", "html")} | {"key": key}
        write_whole(path, json.dumps(result, indent=1).encode())
    if result["status"] != "ok":
        raise ValueError(f"the solution could not be graded: {result['why']}")
    if result["lost"]:
        raise ValueError(
            f"on this course the solution itself fails {', '.join(result['lost'])}: choose another "
            f"--course-seed, and please report this one"
        )


def _write_reports(folder: Path, student: str, row: dict, ascii: bool):
    """The student's two reports, and then what marks them as done."""
    text, page = row["report"], row.pop("html", message(row["why"], student))
    write_whole(folder / f"{student}.html", page.encode())
    write_whole(folder / f"{student}.txt", (plain(text) if ascii else text).encode())
    if "key" in row:
        write_whole(folder / f"{student}.json", json.dumps(row, indent=1).encode())


def _weights(seed: str, folder: Path) -> bytes:
    """The models of a course; those that are trained here are kept, so that a run that goes on has
    the same."""
    course, own = Course(seed), Course(seed, folder)
    for path in (course.path, own.path):
        if path.is_file():
            return path.read_bytes()
    weights = trained(course)
    folder.mkdir(exist_ok=True)
    write_whole(own.path, weights)
    return weights


def trained(course: Course) -> bytes:
    """The models of a course as the bytes of a ``.npz``."""
    named = {f"{i}.{k}": v for i, m in enumerate(course.models) for k, v in m.parameters.items()}
    data = io.BytesIO()
    np.savez(data, **named)
    return data.getvalue()


def _read(path: Path) -> dict | None:
    try:
        row = json.loads(path.read_bytes())
        return row if row["status"] == "ok" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _kept(path: Path, key: str) -> dict | None:
    row = _read(path)
    return row if row and row.get("key") == key else None


def _previous(path: Path, row: dict) -> dict:
    """The score that the same submission had before, where it was another."""
    old = _read(path)
    if old is None or old.get("sha256") != row["sha256"] or row["status"] != "ok":
        return {}
    if old["score"] != row["score"]:
        return {"previous": old["score"]}
    return {"previous": old["previous"]} if "previous" in old else {}


def _run(executor: Executor, arguments: dict, done: int, bar: bool):
    """``(student, result)`` as they come; a task whose worker was lost is tried once more."""
    shown = None
    if bar and sys.stderr.isatty():
        from tqdm import tqdm

        shown = tqdm(total=done + len(arguments), initial=done, unit="submission")
    tried = dict.fromkeys(arguments, 0)
    waiting = list(arguments)
    while waiting:
        futures: dict[Future, str] = {}
        for student in waiting:
            tried[student] += 1
            with contextlib.suppress(RuntimeError):  # a broken pool takes no more
                futures[executor.submit(task, student, *arguments[student])] = student
        lost = [s for s in waiting if s not in futures.values()]
        waiting = []
        for future in as_completed(futures):
            student = futures[future]
            try:
                result = future.result()
            except Exception as error:
                if tried[student] < 2:
                    waiting.append(student)
                    continue
                result = _not_graded(f"{type(error).__name__}: {error}")
            if shown is not None:
                shown.update()
            else:
                score = result.get("score", "-")
                print(f"{student}: {result['status']}, {score}", file=sys.stderr, flush=True)
            yield student, result
        yield from ((s, _not_graded("no worker")) for s in lost)
    if shown is not None:
        shown.close()


def _not_graded(why: str) -> dict:
    return {"status": "not graded", "why": why, "report": ""}
