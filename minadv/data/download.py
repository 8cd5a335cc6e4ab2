"""A file from the first mirror that has it, checked and kept in a cache."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from minadv.data.idx import DataError

__all__ = ["fetch"]

STALE = 3600  # seconds: a live download writes at least every 30 (pooch's timeout), so an older temporary file is a dead one


def fetch(
    name: str, sha256: str, *, folder: str, mirrors: Sequence[str], progress: bool = True
) -> Path:
    """The path of a file in the cache, downloaded first if it is not there or is damaged.

    The cache is the directory ``MINADV_CACHE``, or else the operating system's place for caches. A download goes to a temporary
    file, which gets its name only once its checksum is right: a process killed half-way leaves nothing that is taken for data.

    ``name``: the file's name, in the cache and behind each mirror's address. ``sha256``: its checksum, hexadecimal.
    ``folder``: the cache's folder for it. ``mirrors``: addresses, tried in turn. ``progress``: show a progress bar (default yes).

    Raises :class:`DataError`, with every mirror's reason, if none of them delivers the file.
    """
    if isinstance(mirrors, str) or not mirrors:
        raise ValueError(f"mirrors must be a sequence of at least one address, got {mirrors!r}")
    try:
        import pooch
    except ImportError as error:
        raise DataError(
            f"{name}: downloading needs pooch, which is not installed: pip install pooch"
        ) from error
    pooch.get_logger().setLevel("INFO" if progress else "WARNING")

    directory = Path(os.environ.get("MINADV_CACHE") or pooch.os_cache("minadv")) / folder
    remove_stale(directory)
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{name}"
        try:
            return Path(
                pooch.retrieve(url, sha256, fname=name, path=directory, progressbar=progress)
            )
        except (
            OSError,
            ValueError,
        ) as error:  # no connection, HTTP error, cut short, wrong checksum
            failures.append(f"\n  {url}: {error}")
    raise DataError(
        f"{name}: none of {len(failures)} mirrors delivered it to {directory}" + "".join(failures)
    )


def remove_stale(directory: Path) -> None:
    """Delete the temporary files of downloads that were killed; a running one's is too young to be touched."""
    for leftover in directory.glob("tmp*"):
        with suppress(OSError):  # another process was quicker
            if time.time() - leftover.stat().st_mtime > STALE:
                leftover.unlink()
