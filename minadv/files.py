"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

__all__ = ["write_whole"]


def write_whole(path, content: bytes) -> Path:
    """Write ``content`` to ``path``, whose missing folders are made, and return the path: nobody ever sees half a file there.

    It is written beside first, under a name of its own, and renamed once it is complete; what was there before is replaced only then.
    Raises :class:`OSError` as writing does, and leaves nothing behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid4().hex}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
