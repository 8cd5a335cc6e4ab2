"""Downloads into a cache, from real servers on the loopback interface: good, damaged, cut short,
dead, and killed half-way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from minadv.data import download
from minadv.data.download import STALE, fetch
from minadv.data.idx import DataError

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATIENCE = 60  # seconds until a test gives up on another process


@dataclass
class Mirror:
    """A server of files. ``cut`` closes the connection after half of a file, ``stall`` falls silent
    there until ``go_on``."""

    files: dict[str, bytes]
    manner: str = "whole"
    requests: list[str] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(request.path)
        content = self.files.get(request.path.lstrip("/"))
        if content is None:
            request.send_error(404)
            return
        if self.manner == "moved":
            request.send_response(302)
            request.send_header("Location", "http://example.invalid/file")
            request.end_headers()
            return
        request.send_response(200)
        if self.manner in ("endless", "slow"):  # no length is announced
            request.end_headers()
            with suppress(OSError):
                while not self.go_on.wait(0.02 if self.manner == "slow" else 0):
                    request.wfile.write(b"x" if self.manner == "slow" else b"x" * 65536)
            return
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content if self.manner == "whole" else content[: len(content) // 2])
        if self.manner == "stall":
            self.go_on.wait(PATIENCE)


@contextmanager
def serve(files: dict[str, bytes], manner: str = "whole"):
    mirror = Mirror(files, manner)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            mirror.answer(self)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # closing the server waits for its threads
    mirror.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield mirror
    finally:
        mirror.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


def dead_mirror() -> str:
    with serve({}) as mirror:
        return mirror.url  # nobody listens there any more


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache that is not the user's; the folder in it is for a data set called ``set``."""
    pytest.importorskip("pooch")
    monkeypatch.setenv("MINADV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache" / "set"


def get(*mirrors: str, name="file", sha256=SHA256, progress=False) -> Path:
    return fetch(name, sha256, folder="set", mirrors=mirrors, progress=progress)


def run_fetch(name: str, mirror: str, *, progress=False) -> subprocess.Popen:
    """Another process that fetches a file."""
    call = f"fetch({name!r}, {SHA256!r}, folder='set', mirrors=[{mirror!r}], progress={progress})"
    command = [sys.executable, "-c", f"from minadv.data.download import fetch; {call}"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_once(cache):
    with serve({"file": CONTENT}) as mirror:
        path = get(mirror.url)
        assert path == cache / "file"
        assert path.read_bytes() == CONTENT
        assert get(mirror.url) == path
        assert mirror.requests == ["/file"]
    assert get(mirror.url) == path  # the server is gone
    assert files_in(cache) == ["file"]


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_an_address_may_end_in_a_slash(cache, slashes):
    with serve({"file": CONTENT}) as mirror:
        get(mirror.url.rstrip("/") + slashes)
        assert mirror.requests == ["/file"]


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT + b"x", b"<html>"])
def test_a_damaged_file_in_the_cache_is_downloaded_again(cache, damage):
    cache.mkdir(parents=True)
    (cache / "file").write_bytes(damage)
    with serve({"file": CONTENT}) as mirror:
        assert get(mirror.url).read_bytes() == CONTENT
        get(mirror.url)
        assert mirror.requests == ["/file"]
    assert files_in(cache) == ["file"]


@pytest.mark.parametrize("manner", ["wrong", "missing", "cut", "dead"])
def test_the_next_mirror_is_asked(cache, manner):
    bad = (
        {"file": b"not this"}
        if manner == "wrong"
        else {}
        if manner == "missing"
        else {"file": CONTENT}
    )
    with (
        serve(bad, "cut" if manner == "cut" else "whole") as first,
        serve({"file": CONTENT}) as second,
        serve({"file": CONTENT}) as third,
    ):
        path = get(dead_mirror() if manner == "dead" else first.url, second.url, third.url)
        assert path.read_bytes() == CONTENT
        assert len(first.requests) == (manner != "dead")
        assert (len(second.requests), len(third.requests)) == (1, 0)
    assert files_in(cache) == ["file"]


def test_when_all_fail_every_mirror_is_named_with_its_reason(cache):
    dead = dead_mirror()
    with (
        serve({"file": b"not this"}) as wrong,
        serve({}) as missing,
        serve({"file": CONTENT}, "cut") as cut,
    ):
        with pytest.raises(DataError) as caught:
            get(wrong.url, missing.url, cut.url, dead, "gopher://nowhere/")
        message = str(caught.value)
    lines = message.splitlines()
    assert lines[0].startswith("file: none of 5 mirrors")
    reasons = [
        (wrong.url, "hash"),
        (missing.url, "404"),
        (cut.url, "cut short"),
        (dead, "refused"),
        ("gopher://nowhere/", "protocol"),
    ]
    for line, (url, reason) in zip(lines[1:], reasons, strict=True):
        assert line.strip().startswith(f"{url}file: ")
        assert reason in line
    assert files_in(cache) == []


@pytest.mark.parametrize(
    ("manner", "reason"),
    [("endless", "more than the 1,000,000 bytes"), ("slow", "longer than the 1 seconds")],
)
def test_a_download_is_bounded(cache, monkeypatch, manner, reason):
    monkeypatch.setattr(download, "LARGEST", 1_000_000)
    monkeypatch.setattr(download, "LONGEST", 1)
    with serve({"file": CONTENT}, manner) as mirror:
        with pytest.raises(DataError, match=reason):
            get(mirror.url)
        mirror.go_on.set()
    assert files_in(cache) == []


def test_only_https_is_asked(cache):
    with pytest.raises(DataError, match="the protocol must be https"):
        get("http://example.invalid/")


def test_a_redirection_leads_to_no_other_protocol(cache):
    error = pytest.raises(DataError, match=r"must be https, got http://example.invalid/file")
    with serve({"file": CONTENT}, "moved") as mirror, error:
        get(mirror.url)


def test_a_cache_that_cannot_be_made(cache):
    cache.parent.write_text("a file where the folder should be")
    with serve({"file": CONTENT}) as mirror, pytest.raises(DataError, match="cache"):
        get(mirror.url)
    assert cache.parent.read_text() == "a file where the folder should be"


def test_a_process_killed_half_way_leaves_nothing_that_is_taken_for_data(cache):
    with serve({"file": CONTENT}, "stall") as stalling:
        with run_fetch("file", stalling.url) as process:
            deadline = time.monotonic() + PATIENCE
            while not any(
                path.stat().st_size > 1000 for path in cache.glob("*")
            ):  # some of the file has been written
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
            process.wait()
        (leftover,) = cache.iterdir()
        assert leftover.name != "file"
        assert 0 < leftover.stat().st_size < len(CONTENT)

    with serve({"file": CONTENT}) as mirror:
        assert get(mirror.url).read_bytes() == CONTENT
        assert leftover.exists()  # as far as we can tell, someone may still be writing it
        long_ago = time.time() - STALE - 10
        os.utime(leftover, (long_ago, long_ago))
        get(mirror.url)
        assert files_in(cache) == ["file"]
        assert len(mirror.requests) == 1


def test_only_stale_temporary_files_are_removed(cache):
    cache.mkdir(parents=True)
    ages = {"tmpold": STALE + 10, "tmpnew": 10, "other": STALE + 10}
    for name, age in ages.items():
        (cache / name).write_bytes(b"x")
        os.utime(cache / name, (time.time() - age,) * 2)
    with serve({"file": CONTENT}) as mirror:
        get(mirror.url)
    assert files_in(cache) == ["file", "other", "tmpnew"]


def test_progress_can_be_turned_off(cache):
    with serve({"file": CONTENT, "other": CONTENT}) as mirror:
        silent = run_fetch("file", mirror.url, progress=False)
        loud = run_fetch("other", mirror.url, progress=True)
        with silent, loud:
            assert silent.communicate(timeout=PATIENCE) == (b"", b"")
            out, err = loud.communicate(timeout=PATIENCE)
        assert (silent.returncode, loud.returncode) == (0, 0)
    assert out == b""
    assert b"100%" in err
    assert mirror.url.encode() in err


@pytest.mark.parametrize("mirrors", ["http://one.as.a.string/", (), []])
def test_mirrors_must_be_a_sequence_of_addresses(cache, mirrors):
    with pytest.raises(ValueError, match="mirrors must be a sequence of at least one address"):
        fetch("file", SHA256, folder="set", mirrors=mirrors)


def test_without_pooch_the_error_says_so(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match="file: downloading needs pooch"):
        get("http://127.0.0.1:1/")
