"""A file from the first mirror that has it, checked and kept in a cache."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

from tqdm import tqdm

from minadv.data.idx import DataError

__all__ = ["fetch"]

LARGEST = 64 * 2**20  # bytes that a download may have; MNIST's largest file has 10 million
LONGEST = 600  # seconds that it may take in all
CHUNK = 1 << 16  # bytes read at once, at most
SILENCE = 30  # seconds that a server may say nothing
STALE = (
    3600  # seconds: a live download ends within LONGEST, so an older temporary file is a dead one
)


def fetch(
    name: str, sha256: str, *, folder: str, mirrors: Sequence[str], progress: bool = True
) -> Path:
    """The path of a file in the cache, downloaded first if it is not there or is damaged.

    The cache is the directory ``MINADV_CACHE``, or else the operating system's place for caches. A
    download goes to a temporary file, which gets its name only once its checksum is right: a
    process killed half-way leaves nothing that is taken for data. It may have 64 MiB and take ten
    minutes at most, and comes by https (by http only from this very machine).

    ``name``: the file's name, in the cache and behind each mirror's address. ``sha256``: its
    checksum, hexadecimal. ``folder``: the cache's folder for it. ``mirrors``: addresses, tried in
    turn. ``progress``: show a progress bar (default yes).

    Raises :class:`DataError`, with every mirror's reason, if none of them delivers the file.
    """
    if isinstance(mirrors, str) or not mirrors:
        raise ValueError(f"mirrors must be a sequence of at least one address, got {mirrors!r}")
    try:
        import certifi
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
                pooch.retrieve(
                    url,
                    sha256,
                    fname=name,
                    path=directory,
                    downloader=Download(progress, certifi.where()),
                )
            )
        except (
            OSError,
            ValueError,
        ) as error:  # no connection, HTTP error, cut short, wrong checksum
            failures.append(f"\n  {url}: {error}")
    raise DataError(
        f"{name}: none of {len(failures)} mirrors delivered it to {directory}" + "".join(failures)
    )


class Download:
    """What pooch calls to fetch one file: bounded in size and in total time, by https alone."""

    def __init__(self, progress: bool, certificates: str):
        self.progress = progress
        self.https = HTTPSHandler(context=ssl.create_default_context(cafile=certificates))

    def __call__(self, url: str, output: str, _pooch) -> None:
        until = time.monotonic() + LONGEST
        check_address(url)
        with (
            build_opener(self.https, CheckedRedirect).open(url, timeout=SILENCE) as answer,
            open(output, "wb") as file,
        ):
            size = int(answer.headers.get("Content-Length") or 0)
            with tqdm(total=size, unit="B", unit_scale=True, disable=not self.progress) as bar:
                while chunk := answer.read1(CHUNK):  # what has come so far, not all of CHUNK
                    file.write(chunk)
                    bar.update(len(chunk))
                    if file.tell() > LARGEST:
                        raise ValueError(f"it has more than the {LARGEST:,} bytes allowed")
                    if time.monotonic() > until:
                        raise ValueError(f"it takes longer than the {LONGEST} seconds allowed")
            if file.tell() < size:
                raise ValueError(f"cut short: {file.tell():,} of {size:,} bytes came")


class CheckedRedirect(HTTPRedirectHandler):
    """Follow a redirection only to where :func:`check_address` allows."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_address(url: str) -> None:
    """Raise :class:`ValueError` unless ``url`` is https, or http of this very machine."""
    parts = urlsplit(url)
    here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise ValueError(f"the protocol must be https, got {url}")


def remove_stale(directory: Path) -> None:
    """Delete the temporary files of downloads that were killed; a running one's is too young to be
    touched."""
    for leftover in directory.glob("tmp*"):
        with suppress(OSError):  # another process was quicker
            if time.time() - leftover.stat().st_mtime > STALE:
                leftover.unlink()
