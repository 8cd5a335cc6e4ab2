"""Tasks over an executor that may lose workers: each is done, or it is known why not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from itertools import islice
from queue import SimpleQueue
from typing import Any, TypeAlias

from minadv.evaluation import tasks
from minadv.evaluation.tasks import Failed, Lacking, Task

AT_ONCE = 10_000  # tasks that an executor holds
SUSPECTS = 64  # tasks that are tried again one by one, after a worker was lost

Numbered: TypeAlias = tuple[int, Task]


class Crew:
    """Does tasks over an executor, whatever becomes of its workers.

    An error of a task comes back as its answer. So an exception of a future means that the task was
    lost with its worker, or on the way: it is tried again. Some executors break as a whole when one
    worker ends, and it is not known which task ended it. Those submitted first are suspects. They
    are tried again alone, one after the other, until one breaks the executor alone; then all others
    go on.

    ``executor``: as it is given; a function that makes one, and so replaces it when it breaks; or
    None, for this thread. ``arrays``: from a digest to the array. ``retries``: how often a task is
    tried again.
    """

    def __init__(
        self,
        executor: Executor | Callable[[], Executor] | None,
        arrays: Callable[[str], Any],
        retries: int,
    ):
        self.make = None if isinstance(executor, Executor) else executor
        self.pool = executor if isinstance(executor, Executor) else self.made()
        self.arrays, self.retries = arrays, retries
        self.waiting: dict[Future, Numbered] = {}
        self.ended: SimpleQueue[Future] = SimpleQueue()
        self.again: deque[Numbered] = deque()
        self.suspects: deque[Numbered] = deque()
        self.losses: dict[int, int] = {}  # how often each task was lost

    def results(self, todo: Iterator[Numbered]) -> Generator[tuple[int, dict | Failed], None, None]:
        """The answer to each task, as soon as it is there."""
        finished = False
        try:
            yield from self._results(todo)
            finished = True
        finally:
            self.close(wait=finished)

    def _results(self, todo: Iterator[Numbered]) -> Iterator[tuple[int, dict | Failed]]:
        while True:
            alone = bool(self.suspects)
            if alone:
                self.submit(*self.suspects.popleft())
            else:
                self.fill(todo)
            if not self.waiting:
                return
            broken: list[Numbered] = []
            for i, task, answer in self.answers():
                if isinstance(answer, Lacking):
                    enclosed = {key: self.arrays(key) for key in answer.arrays}
                    queue = self.suspects if alone else self.again
                    queue.appendleft((i, replace(task, enclosed=enclosed)))
                elif isinstance(answer, BrokenExecutor) and not alone:
                    broken.append((i, task))
                elif isinstance(answer, BaseException):
                    yield from self.lose(i, task, answer)
                else:
                    yield i, answer
            broken.sort(key=lambda pair: pair[0])
            self.suspects.extend(broken[:SUSPECTS])
            self.again.extend(broken[SUSPECTS:])
            self.losses |= {i: max(self.losses.get(i, 0), 1) for i, _ in self.suspects}

    def submit(self, i: int, task: Task) -> None:
        """Hand out one task."""
        if self.pool is None:
            future: Future = Future()
            future.set_result(tasks.do(task))
        else:
            try:
                future = self.pool.submit(tasks.do, task)
            except BrokenExecutor as error:  # it broke before anything was submitted
                self.renew(error)
                future = self.pool.submit(tasks.do, task)
        self.waiting[future] = i, task
        future.add_done_callback(self.ended.put)

    def fill(self, todo: Iterator[Numbered]) -> None:
        """Hand out what there is, first what is to be done again."""
        room = (1 if self.pool is None else AT_ONCE) - len(self.waiting)
        again = [self.again.popleft() for _ in range(min(room, len(self.again)))]
        for i, task in (*again, *islice(todo, room - len(again))):
            self.submit(i, task)

    def answers(self) -> Iterator[tuple[int, Task, Any]]:
        """The next answer. If the executor breaks, those of all that are waited for."""
        count, broken = 1, None
        while count:
            future = self.ended.get()
            i, task = self.waiting.pop(future)
            try:
                answer = future.result()
            except Exception as error:
                answer = error
            broken = answer if isinstance(answer, BrokenExecutor) else broken
            count = len(self.waiting) if broken else 0
            yield i, task, answer
        if broken:
            self.renew(broken)

    def lose(self, i: int, task: Task, error: BaseException) -> Iterator[tuple[int, Failed]]:
        """A task was lost: it is tried again, or reported."""
        self.losses[i] = self.losses.get(i, 0) + 1
        guilty = isinstance(error, BrokenExecutor)
        if self.losses[i] <= self.retries:
            (self.suspects if guilty else self.again).appendleft((i, task))
            return
        if guilty:
            self.again.extend(self.suspects)
            self.suspects.clear()
        said = f"{type(error).__name__}: {error}"
        yield i, Failed(f"the worker was lost, {self.losses[i]} times ({said})", "")

    def made(self) -> Executor | None:
        """What the function makes."""
        pool = None if self.make is None else self.make()
        if self.make is not None and not isinstance(pool, Executor):
            raise TypeError(f"executor must be a function that makes an Executor, it made {pool!r}")
        return pool

    def renew(self, error: BaseException) -> None:
        """A new executor in place of one that is broken."""
        if self.make is None:
            raise RuntimeError(
                "executor has lost a worker and is broken. Give a function that makes it instead, "
                "such as functools.partial(ProcessPoolExecutor, 4): then it is replaced, and only "
                "the task that ends its worker is lost"
            ) from error
        self.close(wait=False)
        self.pool = self.made()

    def close(self, *, wait: bool) -> None:
        """Cancel what is not yet begun, and end the executor, if it was made here."""
        for future in self.waiting:
            future.cancel()
        if self.make is not None and self.pool is not None:
            self.pool.shutdown(wait=wait, cancel_futures=True)
