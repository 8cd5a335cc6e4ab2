"""One run of all lessons on the small digits, with the site, for all tests that look at it.

``MINADV_SITE=FOLDER`` names the ``--out`` of a run made before, for work on the pages themselves.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE_PACKAGES = ("sphinx", "sphinx_codeautolink", "myst_nb", "furo", "math_core", "ziamath")
HAS_DOCS = all(importlib.util.find_spec(name) for name in SITE_PACKAGES)


@dataclass(frozen=True)
class Run:
    """What the run gave."""

    out: Path
    status: int
    stdout: str
    stderr: str


def lessons(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """``python -m lessons ...`` in a process of its own."""
    env = {name: value for name, value in os.environ.items() if name != "MINADV_BACKEND"}
    env |= {"PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-m", "lessons", *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="session")
def whole_run(request, tmp_path_factory) -> Run:
    """All lessons and solutions, on the digits; with the site where its packages are there.

    Only those that are tested, without a site, where nothing else is: ``-k deepfool``.
    """
    if made := os.environ.get("MINADV_SITE"):
        return Run(Path(made), 0, "", "")
    out = tmp_path_factory.mktemp("lessons")
    using = [item for item in request.session.items if "whole_run" in item.fixturenames]
    more = ["--html"] if HAS_DOCS else ["--solutions"]
    if all("script" in item.fixturenames for item in using):
        scripts = [item.callspec.params["script"] for item in using]
        more = ["--only", *dict.fromkeys(script.stem for script in scripts)]
        if any(script.parent.name == "solutions" for script in scripts):
            more.append("--solutions")
    done = lessons("--data", "digits", "--out", str(out), *more)
    return Run(out, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def site(whole_run: Run) -> Path:
    """The folder of the site."""
    if not HAS_DOCS:
        pytest.skip('no site: pip install "minadv[docs]"')
    assert (whole_run.out / "site" / "index.html").exists(), whole_run.stderr
    return whole_run.out / "site"
