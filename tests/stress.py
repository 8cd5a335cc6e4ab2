"""Threads, forks and interrupts at random moments: ``python -m tests.stress --seconds 60``.

Not collected by pytest: it runs as long as it is told. Each round asks, in random order and at
random moments, for results that are known, and then looks for what was left behind: a limit of
BLAS, a thread that is not a helper, a call for help without end, a child that hangs. The seed is
printed, but moments are the scheduler's: a round need not fail again.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import threading
import time
import warnings
from collections import Counter

import numpy as np
from threadpoolctl import threadpool_limits

from minadv import helpers, inference, machine, parallel
from minadv.attacks.fgsm import fgsm
from minadv.attacks.pgd import pgd
from minadv.models import cnn, mlp

CHILD_SECONDS = 30  # a child that needs longer hangs


class Stress:
    """The models, what they answer, and what was counted."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.calls: Counter[str] = Counter()
        self.failures: list[str] = []
        self.x = self.rng.random((96, 12, 12, 1)).astype(np.float32)
        self.models = [mlp((12, 12, 1)), cnn((12, 12, 1))]
        for model in self.models:
            model.activation_bytes = lambda *_: parallel.CHUNK_BYTES // 16  # chunks of 16
        self.expected = [self.results(model) for model in self.models]
        self.blas = self.blas_threads()

    def blas_threads(self) -> list[int]:
        return [get(library) for library, get, _ in machine._SHARED]

    def results(self, model) -> list[bytes]:
        """A forward pass, two attacks, and a callable of unknown make."""
        y = np.zeros(len(self.x), int)
        steps = (
            lambda: inference.logits(model, self.x),
            lambda: fgsm(model, self.x, y=y, eps=0.1).x_adv,
            lambda: pgd(model, self.x, y=y, eps=0.1, steps=3, rng=0).x_adv,
            lambda: inference.logits(lambda part: model(part), self.x),
        )
        out = []
        for step in steps:
            out.append(step().tobytes())
            self.calls["computations"] += 1
        return out

    def check(self, what: str, good: bool):
        if not good:
            self.failures.append(what)
            print(f"FAILED: {what}", flush=True)

    def compute(self, what: str):
        i = int(self.rng.integers(len(self.models)))
        self.check(f"{what}: a result differs", self.results(self.models[i]) == self.expected[i])

    # ------------------------------------------------------------------------------- one round each

    def threads(self):
        """Several threads at once, one of which limits BLAS beside the others."""

        def limits():
            for _ in range(5):
                with threadpool_limits(int(self.rng.integers(1, 4)), user_api="blas"):
                    time.sleep(self.rng.random() * 0.01)

        several = [threading.Thread(target=self.compute, args=("threads",)) for _ in range(3)]
        several.append(threading.Thread(target=limits))
        for thread in several:
            thread.start()
        for thread in several:
            thread.join(120)
            self.check("threads: a thread hangs", not thread.is_alive())

    def forks(self):
        """A child, from the main thread or another one, while two threads compute."""
        stop = threading.Event()

        def work():
            while not stop.is_set():
                self.compute("forks")

        busy = [threading.Thread(target=work) for _ in range(2)]
        for thread in busy:
            thread.start()
        for _ in range(4):
            time.sleep(self.rng.random() * 0.03)
            if self.rng.random() < 0.5:
                self.child()
            else:
                forking = threading.Thread(target=self.child)
                forking.start()
                forking.join()
        stop.set()
        for thread in busy:
            thread.join(120)
            self.check("forks: a thread hangs", not thread.is_alive())

    def child(self):
        self.calls["forks"] += 1
        child = os.fork()
        if child == 0:
            code = 1
            try:
                good = all(
                    self.results(m) == e for m, e in zip(self.models, self.expected, strict=True)
                )
                code = 0 if good and self.blas_threads() == self.blas else 2
            finally:
                os._exit(code)
        deadline = time.monotonic() + CHILD_SECONDS
        while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return self.check("forks: a child hangs", False)
            time.sleep(0.002)
        return self.check(f"forks: a child ends with {done[1]}", done[1] == 0)

    def interrupts(self):
        """Ctrl-C after a random time, as the main thread computes; then all must be as before."""
        for _ in range(10):
            timer = threading.Timer(
                self.rng.random() * 0.02, lambda: os.kill(os.getpid(), signal.SIGINT)
            )
            try:
                timer.start()
                while timer.is_alive():
                    self.compute("interrupts")
                timer.join()
                time.sleep(0.001)
            except KeyboardInterrupt:
                self.calls["interrupts"] += 1
            timer.join()
            self.compute("after an interrupt")

    def exceptions(self):
        """An exception raised in another thread at a random moment."""

        def work():
            try:
                while True:
                    self.results(self.models[1])
            except ZeroDivisionError:
                self.calls["exceptions in threads"] += 1

        for _ in range(5):
            thread = threading.Thread(target=work)
            thread.start()
            time.sleep(0.005 + self.rng.random() * 0.02)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident or 0), ctypes.py_object(ZeroDivisionError)
            )
            thread.join(60)
            self.check("exceptions: a thread hangs", not thread.is_alive())

    def left_behind(self, what: str):
        deadline = time.monotonic() + 5  # what was interrupted twice may still finish its part
        while machine._holders and time.monotonic() < deadline:
            time.sleep(0.01)
        self.check(f"{what}: a limit of BLAS is left", not machine._holders)
        self.check(f"{what}: BLAS has {self.blas_threads()}", self.blas_threads() == self.blas)
        self.check(f"{what}: calls for help pile up", helpers._jobs.qsize() < 100)
        others = [t for t in threading.enumerate() if t.name != "minadv"]
        self.check(f"{what}: threads are left, {others}", len(others) == 1)
        self.check(f"{what}: {len(helpers._helpers)} helpers", len(helpers._helpers) < 16)


def main() -> int:
    """Run rounds until the time is over; the exit code says whether all was well."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
    sys.setswitchinterval(1e-4)  # more moments at which threads change places
    parallel._cores = lambda: 3
    print(f"seed {arguments.seed}", flush=True)
    stress = Stress(arguments.seed)
    rounds = [stress.threads, stress.forks, stress.interrupts, stress.exceptions]
    end = time.monotonic() + arguments.seconds
    while time.monotonic() < end:
        one = rounds[int(stress.rng.integers(len(rounds)))]
        one()
        stress.calls["rounds"] += 1
        stress.left_behind(one.__name__)
    print(", ".join(f"{count} {what}" for what, count in sorted(stress.calls.items())))
    print(f"{len(stress.failures)} failures")
    return 1 if stress.failures else 0


if __name__ == "__main__":
    sys.exit(main())
