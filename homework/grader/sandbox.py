"""The parent's side of a submission: start the child, call it, answer it, limit it and end it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from homework.grader import processes, worker
from homework.grader.launch import launch
from homework.grader.serve import Served, check_size

MOST_SOURCE = 1 << 18  # bytes of a submission
MOST_ASKED = 1 << 29  # bytes of the questions and answers of one call, which are all kept


class Ended(Exception):
    """The child is gone, or was ended: a sentence for the student."""


class Raised(Exception):
    """The student's function raised: ``kind`` (the class's name), ``text``, its own ``lines``."""

    def __init__(self, kind: str, text: str, lines: str, warned: list):
        super().__init__(f"{kind}: {text}")
        self.kind, self.text, self.lines, self.warned = kind, text, lines, warned


class Sandbox:
    """One submission, in a folder, a process and a session of its own. Use as a context manager.

    ``source``: bytes of the student's file; ``name``: ``"hw2"``; ``kit``: modules of minadv it may
    see; ``call_seconds``: CPU limit of one call (wall: 4 times that); ``seconds``: CPU limit of all
    calls together (wall: 2.5 times that).
    """

    def __init__(
        self, source: bytes, name: str, kit=(), *, call_seconds=5, seconds=120, megabytes=512
    ):
        self.source, self.name, self.kit = source, name, kit
        self.call_seconds, self.seconds, self.megabytes = call_seconds, seconds, megabytes
        self.deaths = 0
        self.spent = 0.0  # CPU seconds of the processes that ended, and of our answers to them
        self.peak = 0  # KiB, the largest that a process was, where the system says
        self._end = time.monotonic() + 2.5 * seconds
        self.process = self.folder = self._printed = self._unloadable = None
        self._last_printed, self._forgotten = "", 0
        self.functions: list[str] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def start(self):
        """Start the child if none runs. Raises :class:`Raised` where the file cannot be loaded."""
        if self.process is not None:
            return
        if self._unloadable is not None:  # the next try would end as the first did
            raise self._unloadable
        if self.deaths >= 3:
            raise Ended("not run: your program ended 3 times before")
        if self.spent >= self.seconds or time.monotonic() > self._end:
            raise Ended(
                f"not run: all {self.seconds} CPU seconds, or "
                f"{2.5 * self.seconds:g} seconds, are used up"
            )
        self.folder = Path(tempfile.mkdtemp(prefix="homework-"))
        try:
            self._launch()
        except BaseException:
            self.end()
            raise

    def _launch(self):
        home = self.folder / "home"
        home.mkdir()
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._printed, self._forgotten = os.open(home / "printed", flags, 0o600), 0
        processes.adopt_orphans()
        self._strangers = processes.children()
        limits = self.seconds, self.megabytes
        self.process = launch(self.folder, self.source, self.name, self.kit, limits)
        self._buffer = bytearray()
        self._deadline(10 + self.call_seconds)
        kind, data = self._receive("while it was loaded")
        if kind == "raised":
            self._unloadable = self._raised(data)
            raise self._unloadable
        good = kind == "ready" and len(data) == 1 and isinstance(data[0], list)
        if not good or not all(isinstance(f, str) for f in data[0]):
            self._die("your program sent something that is no answer")
        self.functions = data[0]

    def call(self, name: str, *arguments, replaced: dict | None = None, **keywords):
        """``(value, warned)`` of the student's function. ``replaced``: ``{name: Served}`` to use
        instead of theirs."""
        self.start()
        served = dict(replaced or {})

        def serve(v):
            if isinstance(v, np.random.SeedSequence):
                return {"$": "rng", "v": int(v.entropy)}
            if not isinstance(v, Served):
                raise TypeError(f"cannot send {type(v).__name__}")
            key = f"served {len(served)}"
            served[key] = v
            return {"$": v.kind, "v": key}

        message = worker.encode(
            "call", name, list(replaced or {}), tuple(arguments), keywords, serve=serve
        )
        self._deadline(self.call_seconds)
        self._send(message)
        while True:
            kind, data = self._receive(f"in {name}")
            if kind == "ask":
                self._send(self._answer(served, data))
            elif kind == "result" and len(data) == 2:
                return data[0], _texts(data[1])
            elif kind == "raised":
                raise self._raised(data)
            else:
                self._die("your program sent something that is no answer")

    def printed(self) -> str:
        """The last 2,000 characters that the student's code printed since :meth:`forget`."""
        if self._printed is None:
            return self._last_printed
        start = max(self._forgotten, os.fstat(self._printed).st_size - 2000)
        os.lseek(self._printed, start, os.SEEK_SET)
        return _printable(os.read(self._printed, 2000).decode("utf-8", "replace"))

    def forget(self):
        """What was printed so far belongs to an earlier check."""
        self._last_printed = ""
        if self._printed is not None:
            self._forgotten = os.fstat(self._printed).st_size

    def end(self):
        """Kill the child and all that it started, and remove its folder."""
        if self.process is not None:
            self.spent = self.used()
            self.peak = max(self.peak, processes.peak(self.process.pid))
            processes.kill_all(self.process, self._strangers)
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None
        if self._printed is not None:
            os.close(self._printed)
            self._printed = None
        if self.folder is not None:
            processes.remove(self.folder)
            self.folder = None

    # ----------------------------------------------------------------------------------- the wire

    def _answer(self, served: dict, data: list) -> bytes:
        """The answer to one question. Its CPU time counts as the student's, and its time waiting
        for a processor as nobody's."""
        wall, cpu = time.monotonic(), time.thread_time()
        try:
            f = served[data[0]]
            check_size(data)
            value = f.answer(*data[1:])
            f.asked.append((data[1:], value))
            self._asked += sum(v.nbytes for v in (*data, value) if isinstance(v, np.ndarray))
            message = worker.encode("value", value)
        except Exception as error:  # a question that makes no sense: the student hears why
            message = worker.encode("error", f"{type(error).__name__}: {error}"[:1000])
        self.spent += time.thread_time() - cpu
        self._wall_end += time.monotonic() - wall
        if self._asked > MOST_ASKED:
            self._die(f"one call asked for more than {MOST_ASKED >> 20} MiB of numbers")
        return message

    def _raised(self, data: list) -> Raised:
        if len(data) != 4 or not all(isinstance(v, str) for v in data[:3]):
            self._die("your program sent something that is no answer")
        return Raised(*(_printable(v[:2000]) for v in data[:3]), _texts(data[3]))

    def _deadline(self, seconds: float):
        self._limit = seconds
        self._cpu_end = min(self.used() + seconds, self.seconds)
        self._asked = 0  # bytes of questions and answers
        self._wall_end = min(time.monotonic() + 4 * seconds, self._end)
        self._looked, self._next_look = time.monotonic(), 0.0
        self._began = self._looked, self.used()

    def used(self) -> float:
        """CPU seconds so far."""
        return self.spent + (processes.cpu_seconds(self.process.pid) if self.process else 0)

    def _send(self, message: bytes):
        with contextlib.suppress(BrokenPipeError):  # the next _receive says what happened
            view = memoryview(message)
            while view:
                view = view[self._ready(self.process.stdin, view) :]

    def _ready(self, pipe, view=None):
        """Read from or write to ``pipe`` as soon as it can be, within the limits."""
        while True:
            if sys.platform == "win32":  # no select on pipes: no limits either
                return pipe.write(view) if view is not None else os.read(pipe.fileno(), 1 << 16)
            if time.monotonic() > self._next_look:  # a program that asks and asks must end, too
                self._look()
            ended = (
                self.process.poll() is not None
            )  # looked at first: what it wrote is here by then
            lists = ([], [pipe], []) if view is not None else ([pipe], [], [])
            if any(select.select(*lists, 0.1)):
                if view is not None:
                    return os.write(pipe.fileno(), view[: select.PIPE_BUF])
                return os.read(pipe.fileno(), 1 << 16)
            if ended and view is None:  # what it started may hold the pipe open
                return b""
            if ended:
                raise BrokenPipeError

    def _look(self):
        """End the child where it is past a limit."""
        now = time.monotonic()
        held_up = now - self._looked
        if held_up > 1:  # we did not run ourselves: the machine was busy, or suspended
            self._wall_end += held_up
            self._end += held_up
        self._looked, self._next_look = now, now + 0.1
        if now > self._end or self.used() >= self.seconds:
            self._end = 0  # no further call
            self._die(
                f"all calls together took more than {self.seconds} CPU seconds, or "
                f"{2.5 * self.seconds:g} seconds"
            )
        if self.used() > self._cpu_end:
            self._die(f"took more than {self._limit:g} CPU seconds")
        # One that could run and waits for its turn is not late, nor one that asks and computes, if
        # slowly: the machine is busy. It ends by its CPU time.
        began, used = self._began
        idle = self.used() - used < (now - began) / 40
        if now > self._wall_end and idle and not processes.runnable(self.process.pid):
            self._die(f"took more than {4 * self._limit:g} seconds")

    def _receive(self, where: str):
        def fill(enough):
            while not enough():
                more = self._ready(self.process.stdout)
                if not more:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self.process.wait(1)
                    code = self.process.poll()
                    self._die(f"your program ended {where} (exit status {code})")
                self._buffer.extend(more)

        def take(n):
            data = bytes(self._buffer[:n])
            del self._buffer[:n]
            return data

        def read_line(n):
            fill(lambda: b"\n" in self._buffer or len(self._buffer) > n)
            return take(self._buffer.find(b"\n") + 1)

        def read(n):
            fill(lambda: len(self._buffer) >= n)
            return take(n)

        try:
            return worker.decode(read_line, read)
        except worker.Malformed:
            self._die("your program sent something that is no answer")

    def _die(self, why: str):
        self._last_printed = self.printed()
        self.end()
        self.deaths += 1
        raise Ended(why)


def _texts(v) -> list[str]:
    found = [t for t in v if isinstance(t, str)] if isinstance(v, list) else []
    return [_printable(t[:200]) for t in found[:5]]


def _printable(text: str) -> str:
    """Nothing that a terminal obeys, and nothing that cannot be written to a file."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
