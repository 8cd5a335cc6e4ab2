"""Start the child process of a submission, in a folder that holds all that it may see."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import minadv
from homework.grader import processes, worker
from homework.grader.kit import write_kit

FORBIDDEN = Path(__file__).parent.parent, Path(minadv.__file__).parent  # where the answers are


def launch(folder: Path, source: bytes, name: str, kit, limits) -> subprocess.Popen:
    """``folder/home`` is there; ``folder/kit`` is written here. ``limits``: CPU seconds, MiB."""
    home = folder / "home"
    write_kit(folder / "kit", kit)
    script = Path(shutil.copyfile(worker.__file__, folder / "kit" / "worker.py"))
    (home / f"{name}.py").write_bytes(source)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    if sys.platform == "win32":
        environment |= {"SYSTEMROOT": os.environ.get("SYSTEMROOT", "")}
    owner = processes.other_user(folder, home)
    forbidden = os.pathsep.join(os.path.realpath(f) for f in FORBIDDEN)
    arguments = [name, folder, forbidden, *limits, *owner]
    return subprocess.Popen(
        [sys.executable, "-I", "-B", str(script), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=home,
        env=environment,
        start_new_session=True,
        bufsize=0,
    )
