"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from uuid import uuid4

__all__ = ["write_whole"]

PREFIX, SUFFIX = ".minadv-", ".partial"
ABANDONED = 24 * 3600  # seconds: no single file takes a day to write


def write_whole(path, content: bytes) -> Path:
    """Write ``content`` to ``path`` and return the path: nobody ever sees half a file there.

    Missing folders are made. The content is written beside the file first, under a name of its own,
    and renamed once it is complete. A file that was there is replaced only then, and its
    permissions are kept. If ``path`` is a symbolic link, the file that it points to is replaced.
    What killed runs left beside the file more than a day ago is removed.

    Raises :class:`PermissionError` if the file is there and must not be written, and
    :class:`OSError` as writing does. Nothing is left behind then.
    """
    path = Path(path)
    real = Path(os.path.realpath(path))  # the end of all links, which need not exist
    real.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(real.stat().st_mode) if real.exists() else None
    if mode is not None and not (mode & 0o222 and os.access(real, os.W_OK)):
        raise PermissionError(13, "the file is read-only", str(path))
    _remove_abandoned(real.parent)
    partial = real.with_name(f"{PREFIX}{uuid4().hex}{SUFFIX}")
    try:
        partial.write_bytes(content)
        if mode is not None:
            partial.chmod(mode)
        partial.replace(real)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _remove_abandoned(folder: Path) -> None:
    """Remove what runs that were killed left in ``folder``. What is young may still be written."""
    for partial in folder.glob(f"{PREFIX}{'[0-9a-f]' * 32}{SUFFIX}"):
        with contextlib.suppress(OSError):  # another run was faster, or it is not ours to remove
            if time.time() - partial.stat().st_mtime > ABANDONED:
                partial.unlink()
