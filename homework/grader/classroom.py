"""A class: many submissions over an executor, resumable, one table of grades."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import re
import stat
import sys
import tempfile
import threading
import time
import zipfile
from concurrent.futures import Executor, Future, as_completed
from pathlib import Path

import numpy as np

from homework.grader.course import Course
from homework.grader.engine import grade
from homework.grader.feedback import report
from homework.grader.sandbox import MOST_SOURCE
from homework.grader.stubs import ROOT, load
from minadv.files import write_whole
from minadv.parallel import single_thread

MOST_FILES, MOST_UNPACKED = 200, 5 << 20  # of a zip


def read_zip(data: bytes) -> dict[str, bytes]:
    """The regular files of a zip; raises :class:`ValueError` for one too large, with links or with
    ``..``."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [i for i in archive.infolist() if not i.is_dir()]
            if len(entries) > MOST_FILES:
                raise ValueError(f"the zip holds more than {MOST_FILES} files")
            files, left = {}, MOST_UNPACKED
            for entry in entries:
                name = entry.filename
                if name.startswith("/") or ".." in name.split("/"):
                    raise ValueError(f"the zip holds a file outside its folder: {name!r}")
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise ValueError(f"the zip holds a link: {name!r}")
                with archive.open(entry) as file:  # the size that the zip claims may be a lie
                    files[name] = file.read(left + 1)
                left -= len(files[name])
                if left < 0:
                    raise ValueError(f"the zip holds more than {MOST_UNPACKED >> 20} MiB")
            return files
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"the zip cannot be read: {error}") from None


def files_of(path: Path) -> dict[str, bytes]:
    """``hw*.py`` and ``answers.md`` of a folder, or the files of a zip. No links; nothing else is
    read."""
    if path.is_symlink():
        raise ValueError(f"{path.name} is a link")
    if path.is_file():
        if path.stat().st_size > MOST_UNPACKED:
            raise ValueError(f"the zip is larger than {MOST_UNPACKED >> 20} MiB")
        return read_zip(path.read_bytes()) if path.suffix == ".zip" else {}
    found = {}
    for file in sorted([*path.glob("*"), *path.glob("*/*")]):
        if file.is_file() and not file.is_symlink() and not file.parent.is_symlink():
            small = file.stat().st_size <= MOST_SOURCE
            wanted = file.suffix in (".py", ".md")
            found[file.relative_to(path).as_posix()] = (
                file.read_bytes() if small and wanted else b""
            )
            if wanted and not small:
                raise ValueError(f"{file.name} is larger than {MOST_SOURCE >> 10} KiB")
    return found


def pick(files: dict[str, bytes], wanted: str) -> tuple[bytes | None, str]:
    """The file named ``wanted``, at the top or in one subfolder; or None and a sentence."""
    found = [n for n in files if n == wanted] or [
        n for n in files if n.count("/") == 1 and n.endswith("/" + wanted) and "__MACOSX" not in n
    ]
    if len(found) == 1:
        source = files[found[0]]
        try:
            source.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return None, f"{wanted} is not UTF-8: byte {error.start} is {source[error.start]:#x}"
        if len(source) > MOST_SOURCE:
            return None, f"{wanted} is larger than {MOST_SOURCE >> 10} KiB"
        return source, ""
    if found:
        return None, f"there is more than one {wanted}"
    stem = wanted.partition(".")[0]
    near = sorted(n for n in files if stem in n.lower())[:3]
    return None, f"there is no {wanted}" + (f"; found {', '.join(near)}" if near else "")


def version_of(name: str) -> str:
    """A digest of the grader and of the homework: a change of either grades everything anew."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "grader").glob("*.py"), *(ROOT / name).glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_ONE = threading.Lock()  # a sandbox kills what its process adopted: one at a time in a process


def task(name: str, source: bytes, seed: str, weights: bytes, scale: str, only: str = "") -> dict:
    """Grade one submission, anywhere: takes and gives plain data. ``weights``: the course's
    ``.npz``."""
    with _ONE, single_thread():
        return _task(name, source, seed, weights, scale, only)


def _task(name, source, seed, weights, scale, only) -> dict:
    homework = load(name)
    started, usage = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{seed}.npz").write_bytes(weights)
        hidden = Course(seed, Path(folder))
        options = {"scale": scale, "usage": usage, "only": only}
        outcomes = grade(homework, source, Course(), hidden=False, **options)
        first = dict(usage)
        outcomes += grade(homework, source, hidden, public=False, **options)
    order = {c.id: i for i, c in enumerate(homework.checks)}
    outcomes.sort(key=lambda o: (order[o.check.id], o.hidden))
    broken = [o.failure.why for o in outcomes if o.status == "internal error"]
    return {
        "status": "not graded" if broken else "ok",
        "why": "; ".join(broken),
        "score": sum(o.points for o in outcomes),
        "public": sum(o.points for o in outcomes if not o.hidden),
        "hidden": sum(o.points for o in outcomes if o.hidden),
        "parts": {p: sum(o.points for o in outcomes if o.check.id[0] == p) for p in homework.parts},
        "report": report(homework, outcomes),
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
) -> int:
    """Grade every submission in ``folder``; write ``out`` (a table) and ``reports/`` next to it.

    One subfolder or zip for each student. A report that is there for the same submission, grader
    and course is kept: a run that was ended goes on where it was. ``again``: names to grade anew.
    ``only``: a check or part. Returns how many were not graded. Raises :class:`ValueError` where
    ``folder`` holds no submissions.
    """
    homework, reports = load(name), out.parent / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    paths = sorted(p for p in folder.iterdir() if p.is_dir() or p.suffix == ".zip")
    if not paths:
        raise ValueError(f"{folder} holds no folder and no zip")
    course = Course(seed)
    weights = course.path.read_bytes() if course.path.is_file() else _trained(course)
    version = version_of(name) + hashlib.sha256(weights).hexdigest() + f"{seed}:{scale}:{only}"
    rows, answers, waiting = {}, {}, {}
    for path in paths:
        student = path.name
        try:
            files = files_of(path)
            source, why = pick(files, f"{name}.py")
            answers[student] = pick(files, "answers.md")[0] or b""
        except (ValueError, OSError) as error:
            source, why = None, str(error)
        if source is None:
            rows[student] = {"status": "no file", "why": why, "report": why + "\n"}
            continue
        key = hashlib.sha256(version.encode() + source).hexdigest()
        kept = _kept(reports / f"{student}.json", key)
        if kept and student not in again:
            rows[student] = kept
        else:
            waiting[student] = (source, key)
    arguments = {
        n: (name, source, seed, weights, scale, only) for n, (source, _) in waiting.items()
    }
    for student, result in _run(executor, arguments, len(rows)):
        row = rows[student] = result | {"key": waiting[student][1]}
        row["sha256"] = hashlib.sha256(waiting[student][0]).hexdigest()
        write_whole(reports / f"{student}.json", json.dumps(row, indent=1).encode())
        write_whole(reports / f"{student}.txt", row["report"].encode())
    for student, row in rows.items():
        if row["status"] == "no file":
            write_whole(reports / f"{student}.txt", row["report"].encode())
    _write_table(out, homework, rows)
    _write_answers(out.parent / "answers", answers, seed)
    return sum(row["status"] == "not graded" for row in rows.values())


def _trained(course: Course) -> bytes:
    named = {f"{i}.{k}": v for i, m in enumerate(course.models) for k, v in m.parameters.items()}
    data = io.BytesIO()
    np.savez(data, **named)
    return data.getvalue()


def _kept(path: Path, key: str) -> dict | None:
    try:
        row = json.loads(path.read_bytes())
        return row if row["key"] == key and row["status"] == "ok" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _run(executor: Executor, arguments: dict, done: int):
    """``(student, result)`` as they come; a task whose worker was lost is tried once more."""
    futures: dict[Future, str] = {}
    bar = None
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(total=done + len(arguments), initial=done, unit="submission")
    tried = dict.fromkeys(arguments, 0)
    waiting = list(arguments)
    while waiting:
        futures = {}
        for student in waiting:
            tried[student] += 1
            with contextlib.suppress(RuntimeError):  # a broken pool takes no more
                futures[executor.submit(task, *arguments[student])] = student
        waiting = [s for s in waiting if s not in futures.values()]
        failed = [(s, {"status": "not graded", "why": "no worker", "report": ""}) for s in waiting]
        waiting = []
        for future in as_completed(futures):
            student = futures[future]
            try:
                result = future.result()
            except Exception as error:
                if tried[student] < 2:
                    waiting.append(student)
                    continue
                why = f"{type(error).__name__}: {error}"
                result = {"status": "not graded", "why": why, "report": ""}
            if bar is not None:
                bar.update()
            else:
                score = result.get("score", "-")
                print(f"{student}: {result['status']}, {score}", file=sys.stderr, flush=True)
            yield student, result
        yield from failed
    if bar is not None:
        bar.close()


def _write_table(out: Path, homework, rows: dict):
    questions = _questions(homework.name)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    written = [f"written_{i}" for i in range(1, len(questions) + 1)]
    measured = ["seconds", "cpu_seconds", "peak_mib"]
    most = sum(c.points for c in homework.checks)
    table.writerow(
        [
            "name",
            "score",
            "max",
            "public",
            "hidden",
            *homework.parts,
            *written,
            "status",
            "why",
            "sha256",
        ]
    )
    usage = io.StringIO()
    measures = csv.writer(usage, lineterminator="\n")
    measures.writerow(["name", *measured])
    for student in sorted(rows):
        row = rows[student]
        ok = row["status"] == "ok"
        scores = [row[k] if ok else "" for k in ("score", "public", "hidden")]
        parts = [row["parts"][p] if ok else "" for p in homework.parts]
        cells = [scores[0], most, *scores[1:], *parts, *[""] * len(written)]
        table.writerow(
            [_safe(student), *cells, row["status"], _safe(row["why"]), row.get("sha256", "")]
        )
        measures.writerow([_safe(student), *(row.get(k, "") for k in measured)])
    write_whole(out, text.getvalue().encode())
    write_whole(out.with_name(out.stem + "_usage.csv"), usage.getvalue().encode())


def _safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _questions(name: str) -> list[str]:
    path = ROOT / name / "questions.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return re.findall(r"^## (Question \d+.*)$", text, flags=re.M)


def _write_answers(folder: Path, answers: dict[str, bytes], seed: str):
    """All answers to one question in one file, under numbers instead of names; ``key.csv`` has the
    names."""
    folder.mkdir(parents=True, exist_ok=True)
    students = sorted(answers)
    number = dict(
        zip(students, Course(seed).rng("answers").permutation(len(students)) + 1, strict=True)
    )
    pages: dict[str, list] = {}
    for student in sorted(students, key=lambda s: number[s]):
        text = answers[student].decode("utf-8", "replace")
        for piece in re.split(r"^## Question ", text, flags=re.M)[1:]:
            found = re.match(r"\d{1,3}", piece)
            if found:
                body = piece.partition("<!-- your answer -->")[2].strip() or piece.strip()
                pages.setdefault(found[0], []).append(f"## {number[student]}\n\n{body}\n")
    for question, parts in pages.items():
        write_whole(folder / f"question{int(question)}.md", "\n".join(parts).encode())
    lines = "".join(f'{number[s]},"{_safe(s)}"\n' for s in students)
    write_whole(folder / "key.csv", ("number,name\n" + lines).encode())
