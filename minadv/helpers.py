"""Threads that help a caller with its parts of the work.

Nobody waits for a helper that is not there: a call is done even if none ever comes. So it does not
matter when threads are started, which of them are busy, or that a fork ends them all.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue

from minadv.machine import one_blas_thread

__all__ = ["Run", "is_busy", "on_one_core"]

_here = threading.local()  # busy: this thread computes a part, or is to compute alone
_jobs: SimpleQueue[tuple[Run, Context]] = SimpleQueue()  # calls for help
_helpers: list[threading.Thread] = []


def is_busy() -> bool:
    """Whether this thread computes alone, as inside a part."""
    return getattr(_here, "busy", False)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Inside, this thread computes its chunks alone, and matrix products use one core.

    For whoever has as many tasks as cores. Results do not change.
    """
    before, _here.busy = is_busy(), True
    try:
        with one_blas_thread():
            yield
    finally:
        _here.busy = before


class Run:
    """One call's parts. The caller takes one after the other, and helpers that are free do, too."""

    def __init__(self, f: Callable, parts: list[tuple]):
        self.f, self.parts = f, parts
        self.todo = deque(range(len(parts)))
        self.results: dict[int, object] = {}
        self.failures: dict[int, BaseException] = {}
        self.helping: set[int] = set()  # threads that may hold a part
        self.left: SimpleQueue[None] = SimpleQueue()  # one entry for each helper that has gone
        self.process = os.getpid()

    def on(self, helpers: int) -> list:
        """The results, by the caller and up to so many helpers."""
        try:
            _call(self, helpers)
            self.work()
            while self.helping and not self._is_forked():
                try:
                    self.left.get(timeout=1)
                except Empty:
                    continue
            if self._is_forked() and not self.failures:  # what the helpers had is lost here
                self.todo.extend(i for i in range(len(self.parts)) if i not in self.results)
                self.work()
            if self.failures:
                raise self.failures[min(self.failures)]
            return [self.results[i] for i in range(len(self.parts))]
        finally:
            self.todo.clear()
            while self.helping and not self._is_forked():  # after an interrupt: until they stop
                time.sleep(0.001)
            self.f = repr  # a call for help that is still queued keeps nothing alive
            for kept in (self.parts, self.results, self.failures):
                kept.clear()

    def _is_forked(self) -> bool:
        return os.getpid() != self.process

    def work(self):
        """Take parts until none is left. The first failure ends it: earlier parts are all taken."""
        before, _here.busy = is_busy(), True
        try:
            while self.todo:
                try:
                    i = self.todo.popleft()
                except IndexError:  # another thread was faster
                    break
                try:
                    self.results[i] = self.f(*self.parts[i])
                except Exception as error:
                    self.failures[i] = error
                    self.todo.clear()
        finally:
            _here.busy = before

    def help(self):
        """What a helper does: :meth:`work`, if there still is any."""
        here = threading.get_ident()
        self.helping.add(here)
        try:
            if self.todo:  # else the caller may be gone, and nothing may change any more
                with one_blas_thread():
                    self.work()
        except BaseException as error:  # SystemExit from a model, say
            self.failures[len(self.parts)] = error
            self.todo.clear()
        finally:
            self.helping.discard(here)
            self.left.put(None)


def _call(run: Run, helpers: int):
    """Ask up to so many helpers for help. At the interpreter's end none can be started."""
    try:
        while len(_helpers) < helpers:
            thread = threading.Thread(target=_help, args=(_jobs,), name="minadv", daemon=True)
            thread.start()
            _helpers.append(thread)
    except RuntimeError:
        helpers = len(_helpers)
    if _jobs.qsize() <= 4 * helpers:  # else all helpers are busy, or wait for something for ever
        for _ in range(helpers):
            _jobs.put((run, copy_context()))  # the caller's context: np.errstate


def _help(jobs: SimpleQueue):
    while jobs is _jobs:  # not so in a child that a helper's part forked
        run, context = jobs.get()
        context.run(run.help)


def _after_fork():
    """Threads do not survive a fork, and a queue may be locked by one of them."""
    global _jobs
    _jobs = SimpleQueue()
    _helpers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
