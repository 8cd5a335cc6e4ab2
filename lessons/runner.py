"""Running lessons: one in this process, or several side by side in processes of their
own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lesson as lesson_module
import tables
from pages import cells as cells_module
from tqdm import tqdm

import minadv
from minadv.backend import backend
from minadv.files import write_whole
from minadv.parallel import on_one_core


@dataclass
class Outcome:
    """How one lesson went."""

    name: str
    seconds: float
    figures: int
    error: str  # the last line of the traceback, or nothing
    seed: int = 0
    data: str = ""  # on which images
    rows: list[tuple] = field(default_factory=list)  # what it measured
    cells: list[cells_module.Cell] = field(default_factory=list)  # as it ran

    def numbers(self) -> dict:
        """What :mod:`tables` needs of it."""
        return {
            "lesson": self.name,
            "data": self.data,
            "seed": self.seed,
            "error": self.error,
            "seconds": round(self.seconds, 1),
            "rows": self.rows,
        }


def run(script: Path) -> Outcome:
    """Run one lesson in this process; keep its text and its notebook in
    ``<out>/<lesson>/``."""
    settings = lesson_module.settings
    name = settings.lesson = lesson_module.lesson_name(script)
    folder = settings.out / name
    folder.mkdir(parents=True, exist_ok=True)
    figures, rows = len(settings.figures), len(settings.measured)
    start, error = time.perf_counter(), ""
    cells, problem = cells_module.execute(script, settings)
    seconds = time.perf_counter() - start
    if problem is not None:
        lines = "".join(traceback.format_exception_only(problem)).strip().splitlines()
        error = f"{lines[0]} (line {_line(script, problem)})"
    figures = settings.figures[figures:]
    written = {*figures, folder / "output.txt", folder / f"{script.stem}.ipynb"}
    write_whole(folder / "output.txt", cells_module.text(cells).encode())
    notebook = cells_module.notebook(cells, lambda shown: {"text/html": shown.html()})
    write_whole(folder / f"{script.stem}.ipynb", notebook.encode())
    for path in folder.iterdir():  # left by an earlier run
        if path.suffix in (".png", ".ipynb") and path not in written:
            path.unlink(missing_ok=True)
    outcome = Outcome(
        name,
        seconds,
        len(figures),
        error,
        settings.seed,
        settings.data,
        settings.measured[rows:],
        cells,
    )
    tables.keep(folder, **outcome.numbers())
    return outcome


def _line(script: Path, error: BaseException) -> str:
    """The last line of the lesson itself that the error came through."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == script
    ]
    return str(lines[-1]) if lines else "?"


class Runs:
    """Lessons to be run, each with its settings, and how those that are over went."""

    def __init__(self, scripts: list[Path], settings: list[lesson_module.Settings]):
        self.scripts, self.settings = scripts, settings
        self.outcomes: dict[int, Outcome] = {}
        self.running: list[str] = []

    def in_order(self) -> list[Outcome]:
        """How they went, in the order given, whichever was over first."""
        return [self.outcomes[i] for i in sorted(self.outcomes)]

    def go(self, jobs: int) -> Iterator[list[str]]:
        """Run all, ``jobs`` at a time; at each start, yields the names of those that
        run.

        Raises :class:`~concurrent.futures.process.BrokenProcessPool` if a process dies.
        """
        if jobs > 1:
            yield from self._side_by_side(jobs)
        else:
            for i, script in enumerate(self.scripts):
                self.running = [lesson_module.lesson_name(script)]
                yield self.running
                lesson_module.settings = self.settings[i]
                self.outcomes[i] = run(script)
        self.running = []
        yield self.running

    def _side_by_side(self, jobs: int) -> Iterator[list[str]]:
        context = multiprocessing.get_context("spawn")
        waiting = list(range(len(self.scripts)))[::-1]
        at_work: dict[Future, int] = {}
        pool = ProcessPoolExecutor(
            jobs, context, _begin, (backend().__name__, context.Lock())
        )
        try:
            while waiting or at_work:
                while waiting and len(at_work) < jobs:
                    i = waiting.pop()
                    with _deaf_children():
                        lesson = pool.submit(_run, self.scripts[i], self.settings[i])
                    at_work[lesson] = i
                scripts = [self.scripts[i] for i in at_work.values()]
                self.running = [lesson_module.lesson_name(script) for script in scripts]
                yield self.running
                for done in wait(at_work, return_when=FIRST_COMPLETED).done:
                    self.outcomes[at_work[done]] = done.result()
                    del at_work[done]
        except BaseException:
            for process in multiprocessing.active_children():
                process.kill()
            raise
        finally:
            pool.shutdown()


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started inside never hear Ctrl-C: this one does, and ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(name: str, lock) -> None:
    """What a process does first. It computes with the backend ``name``, as its parent
    does, and ends when the parent ends, even by kill -9."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for Windows, which inherits nothing
    minadv.use_backend(name)
    lesson_module.one_trains = lock
    tqdm.set_lock(threading.RLock())  # its own semaphore would outlive a killed process

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(script: Path, settings: lesson_module.Settings) -> Outcome:
    """One lesson, in a process that has one core for it."""
    lesson_module.settings = settings
    with on_one_core():
        return run(script)
