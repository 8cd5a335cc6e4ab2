"""``python -m tests.planted [LESSON ...]``: run each lesson with each wrong experiment, and say
which were noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tqdm import tqdm

HERE = Path(__file__).resolve().parent
LESSONS = HERE.parent.parent / "lessons"


def noticed(script: Path, plant: dict, folder: Path) -> bool | None:
    """Whether the lesson fails by an assertion once ``plant`` is in it; None if it fails for
    another reason."""
    text = script.read_text(encoding="utf-8")
    if text.count(plant["before"]) != 1:
        raise SystemExit(
            f"{script.name}: found {text.count(plant['before'])} times: {plant['before']!r}"
        )
    copy = folder / "lessons"
    if not copy.exists():
        shutil.copytree(LESSONS, copy, ignore=shutil.ignore_patterns("output", "__pycache__"))
    (copy / script.name).write_text(text.replace(plant["before"], plant["after"]), encoding="utf-8")
    out, data = folder / "out", plant.get("data", "digits")
    done = subprocess.run(
        [sys.executable, str(copy / script.name), "--data", data, "--out", str(out)],
        cwd=LESSONS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    (copy / script.name).write_text(text, encoding="utf-8")
    if done.returncode and "AssertionError" not in done.stderr:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    return done.returncode != 0


def main() -> int:
    """Run what the arguments ask for (all lessons by default); 1 if any planted mistake went
    unnoticed."""
    words, rows = sys.argv[1:], []
    for file in sorted(HERE.glob("*.toml")):
        if words and not any(file.stem.startswith(word.zfill(2)) for word in words):
            continue
        stem = file.stem  # a lesson's number, or its whole name where two share a number
        (script,) = LESSONS.glob(f"{stem}_*.py" if stem.isdigit() else f"{stem}.py")
        with tempfile.TemporaryDirectory() as folder:
            for plant in tqdm(
                tomllib.loads(file.read_text(encoding="utf-8"))["planted"], desc=file.stem
            ):
                rows.append((script.stem, plant["what"], noticed(script, plant, Path(folder))))
    for lesson, what, found in rows:
        print(f"{lesson:28} {({True: 'noticed', False: 'MISSED', None: 'BROKEN'})[found]:8} {what}")
    print(f"{sum(found is True for *_, found in rows)} of {len(rows)} noticed")
    return int(any(found is not True for *_, found in rows))


if __name__ == "__main__":
    sys.exit(main())
