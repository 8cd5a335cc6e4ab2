"""``autograder.zip`` for Gradescope: what sets its machine up, and what it runs there."""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import re
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import minadv
from homework.grader.classroom import trained
from homework.grader.course import Course
from homework.grader.engine import Outcome, grade, measure
from homework.grader.grading import Failed
from homework.grader.results import write_results
from homework.grader.stubs import ROOT, load
from homework.grader.submissions import files_of, pick
from minadv.files import write_whole

SETUP = """#!/usr/bin/env bash
# Gradescope runs this once, as root, when the image is built.
set -euo pipefail
apt-get update
apt-get install -y python3 python3-venv
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {{
    apt-get install -y python3.11 python3.11-venv
    ln -sf "$(command -v python3.11)" /usr/local/bin/python3
}}
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install {packages}
id student >/dev/null 2>&1 || useradd --no-create-home student
mkdir -p /autograder/results
chmod 700 /autograder/source /autograder/results
"""

RUN = """#!/usr/bin/env bash
# Gradescope runs this for each submission. Zeros first: whatever happens, there is a valid result.
root=${{1:-/autograder}}
python=${{2:-/autograder/venv/bin/python}}
mkdir -p "$root/results"
chmod 700 "$root/source" "$root/results"
echo '{{"score": 0, "output": "The grader did not start. Tell your teacher."}}' \\
    > "$root/results/results.json"
cd "$root/source"
export PYTHONPATH="$root/source" OMP_NUM_THREADS=1
exec "$python" -m homework.grader.gradescope --root "$root" {options} "${{@:3}}"
"""


def write(name: str, seed: str, out: Path) -> int:
    """Write ``out``, all that Gradescope needs to grade the homework on the course of ``seed``."""
    course = Course(seed)
    public = Course()
    versions = " ".join(_pinned())
    files = {"setup.sh": SETUP.format(packages=versions)}
    files["run_autograder"] = RUN.format(options=f"--homework {name}")
    files["course.json"] = json.dumps({"homework": name, "seed": seed})
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in files.items():
            info = zipfile.ZipInfo(file, (2020, 1, 1, 0, 0, 0))
            info.external_attr = 0o755 << 16
            archive.writestr(info, text)
        for path in _sources(name):
            base = ROOT.parent if path.is_relative_to(ROOT) else Path(minadv.__file__).parent.parent
            archive.write(path, path.relative_to(base).as_posix())
        for c in {public.seed: public, seed: course}.values():
            weights = c.path.read_bytes() if c.path.is_file() else trained(c)
            archive.writestr(f"homework/courses/{c.path.name}", weights)
    print(
        f"{out}: upload it as the autograder, Ubuntu 22.04 or later. Keep the course's seed secret."
    )
    return 0


def _sources(name: str) -> list[Path]:
    package = Path(minadv.__file__).parent
    own = [ROOT / "__init__.py", *(ROOT / "grader").glob("*.py"), *(ROOT / name).glob("*")]
    library = [p for p in package.rglob("*") if p.suffix in (".py", ".npz", ".json", ".typed")]
    return sorted(p for p in own + library if p.is_file() and "__pycache__" not in p.parts)


def _pinned() -> list[str]:
    """What the library needs, in the versions that are installed here."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w.-]+", d)[0] for d in project["dependencies"]] + ["hypothesis"]
    return [f"{n}=={importlib.metadata.version(n)}" for n in names]


def run(root: Path, name: str, visible: bool = False, scale: str = "full"):
    """Grade ``root/submission`` and keep ``root/results/results.json`` up to date."""
    started = time.monotonic()
    homework = load(name)
    source_root = root / "source"
    seed = json.loads((source_root / "course.json").read_text(encoding="utf-8"))["seed"]
    folder, path = source_root / "homework" / "courses", root / "results" / "results.json"
    zeros = [Outcome(c, h) for c in homework.checks for h in (False, True)]
    extra = {"course": name, "times": _times(root / "submission_metadata.json")}
    write_results(path, homework, zeros, done=False, visible=visible, **extra)
    try:
        source, why = pick(files_of(root / "submission"), f"{name}.py")
    except (ValueError, OSError) as error:
        source, why = None, str(error)
    if source is None:
        for outcome in zeros:
            outcome.failure = Failed(f"{why}. Hand in {name}.py.")
        write_results(path, homework, zeros, done=True, visible=visible, **extra)
        return
    extra["sha256"] = hashlib.sha256(source).hexdigest()

    def keep(outcomes):
        seen = {(o.check.id, o.hidden): o for o in outcomes}
        for i, o in enumerate(zeros):
            zeros[i] = seen.get((o.check.id, o.hidden), o)
        write_results(path, homework, zeros, done=False, visible=visible, **extra)

    grade(homework, source, Course(folder=folder), hidden=False, scale=scale, report=keep)
    hidden = Course(seed, folder)
    grade(homework, source, hidden, public=False, scale=scale, report=keep)
    extra["challenge"], extra["challenge_why"] = measure(homework, source, hidden)
    extra["seconds"] = time.monotonic() - started
    write_results(path, homework, zeros, done=True, visible=visible, **extra)


def _times(path: Path) -> dict:
    """When it was handed in and when it was due: shown, and no points are taken."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        due = told.get("assignment", {}).get("due_date")
        return {"created_at": str(told.get("created_at")), "due_date": str(due)}
    except (OSError, ValueError, AttributeError):
        return {}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/autograder"))
    parser.add_argument("--homework", required=True)
    parser.add_argument("--hidden", choices=("visible", "after"), default="after")
    parser.add_argument("--small", action="store_true")
    o = parser.parse_args(arguments)
    scale = "small" if o.small else "full"
    try:
        run(o.root, o.homework, o.hidden == "visible", scale)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        result = {
            "output": "The grader failed. This is no fault of the submission: tell your teacher.",
            "tests": [],
        }
        write_whole(o.root / "results" / "results.json", json.dumps(result).encode())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
