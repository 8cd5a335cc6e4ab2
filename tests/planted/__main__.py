"""``python -m tests.planted [LESSON ...]``: run each lesson with each wrong experiment, and say
which were noticed."""

from __future__ import annotations

import sys
import tempfile
import tomllib
import traceback
from pathlib import Path

from tqdm import tqdm

HERE = Path(__file__).resolve().parent
LESSONS = HERE.parent.parent / "lessons"
sys.path.insert(0, str(LESSONS))

import lesson  # noqa: E402
from pages import cells  # noqa: E402


def noticed(script: Path, plant: dict, folder: Path) -> bool | None:
    """Whether the lesson fails by an assertion once ``plant`` is in it; None if it fails for
    another reason."""
    text = script.read_text(encoding="utf-8")
    if text.count(plant["before"]) != 1:
        raise SystemExit(
            f"{script.name}: found {text.count(plant['before'])} times: {plant['before']!r}"
        )
    copy = folder / script.name
    copy.write_text(text.replace(plant["before"], plant["after"]), encoding="utf-8")
    data = plant.get("data", "digits")
    lesson.settings = lesson.Settings(data, folder, False, lesson=script.stem)
    _, error = cells.execute(copy, lesson.settings)
    if error is None or isinstance(error, AssertionError):
        return error is not None
    traceback.print_exception(error)
    return None


def main() -> int:
    """Run what the arguments ask for (all lessons by default); 1 if any planted mistake went
    unnoticed."""
    words, rows = sys.argv[1:], []
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted(HERE.glob("*.toml")):
            if words and not any(file.stem.startswith(word.zfill(2)) for word in words):
                continue
            stem = file.stem  # a lesson's number, or its whole name where two share a number
            (script,) = LESSONS.glob(f"{stem}_*.py" if stem.isdigit() else f"{stem}.py")
            plants = tomllib.loads(file.read_text(encoding="utf-8"))["planted"]
            for plant in tqdm(plants, desc=stem):
                rows.append((script.stem, plant["what"], noticed(script, plant, Path(folder))))
    for name, what, found in rows:
        print(f"{name:28} {({True: 'noticed', False: 'MISSED', None: 'BROKEN'})[found]:8} {what}")
    print(f"{sum(found is True for *_, found in rows)} of {len(rows)} noticed")
    return int(any(found is not True for *_, found in rows))


if __name__ == "__main__":
    sys.exit(main())
