"""All cores against one: ours, PyTorch's, and as many processes that share nothing but memory.

The last is what the machine gives at best: what threads lose beyond it, they lose to each other.
"""

from __future__ import annotations

import platform
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context

import numpy as np

from minadv import fit, inference, models, parallel
from minadv.attacks.deepfool import deepfool
from minadv.attacks.goal import Goal, score_gradient
from minadv.attacks.pgd import pgd
from minadv.machine import cores
from tests.benchmarks.harness import ROUNDS, compare, count, say, seconds

try:
    import torch

    from tests.benchmarks.peers import frozen, in_torch
except ImportError:  # as on a free-threaded Python
    torch = None

IMAGES = 4096


@contextmanager
def limited(count: int):
    """As if the machine had so many cores, for ours and for PyTorch."""
    before, parallel._cores = parallel._cores, lambda: count
    threads = torch and torch.get_num_threads()
    if torch:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        parallel._cores = before
        if torch:
            torch.set_num_threads(threads)


def on(count: int, f):
    def run():
        with limited(count):
            return f()

    return run


def work(what: str, images: int):
    """The work called ``what`` on random images, as a function: ours, and PyTorch's or None."""
    model, rng = models.cnn(), np.random.default_rng(0)
    x, y = rng.random((images, 28, 28, 1), dtype=np.float32), rng.integers(0, 10, images)
    if torch:
        inputs, labels = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y)
        peer = frozen(in_torch(model))

    def forward():
        with torch.no_grad():
            return [peer(part) for part in inputs.split(256)]

    def gradient():
        for part, label in zip(inputs.split(256), labels.split(256), strict=True):
            part = part.clone().requires_grad_(True)
            torch.autograd.grad(torch.nn.functional.cross_entropy(peer(part), label), part)

    return {
        "forward pass": (partial(inference.logits, model, x), forward),
        "input gradient": (partial(score_gradient, model, x, Goal.of(x, y=y)), gradient),
        "training, batch 256": (partial(fit, model, x, y, batch_size=256, progress=False), None),
        "PGD-10, all steps": (
            partial(pgd, model, x[: images // 8], y=0, eps=0.1, steps=10, early_stop=False),
            None,
        ),
        "DeepFool, one step": (partial(deepfool, model, x[: images // 8], steps=1), None),
    }[what]


def in_process(what: str, images: int):
    """Do it once, on one core: what a process of :func:`processes` is asked."""
    key = (what, images)
    if key not in _kept:
        _kept[key] = on(1, work(what, images)[0])
        _kept[key]()
    _kept[key]()


_kept: dict = {}


def processes(what: str, images: int, n: int):
    """How many times as much ``n`` processes do at once as one alone: median and range."""
    pools = [ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in range(n)]

    def ask(pools):
        for done in [pool.submit(in_process, what, images) for pool in pools]:
            done.result()

    ask(pools)  # warm-up
    ratios = [
        n * seconds(partial(ask, pools[:1])) / seconds(partial(ask, pools))
        for _ in range(count(ROUNDS, 3))
    ]
    for pool in pools:
        pool.shutdown()
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def main():
    """Ours on all cores against one, with what PyTorch and separate processes reach beside it."""
    n, images = cores(), count(IMAGES, 1024)
    if n == 1:
        say("One core: nothing to compare.")
        return
    if gil := getattr(sys, "_is_gil_enabled", None):
        say(f"Python {platform.python_version()}, interpreter lock {'on' if gil() else 'off'}.")
    for what in (
        *("forward pass", "input gradient", "training, batch 256"),
        *("PGD-10, all steps", "DeepFool, one step"),
    ):
        ours, theirs = work(what, images)
        row = partial(compare, work=images, unit="images/s")
        row(f"CNN: {what}, {n} cores", "minadv on one core", on(n, ours), on(1, ours))
        if theirs and torch:
            row(f"PyTorch: {what}, {n} cores", "PyTorch on one core", on(n, theirs), on(1, theirs))
        if theirs:
            reached = processes(what, images, n)
            say(f"CNN: {what}, {n} processes / one, each on one core: {reached}.")
