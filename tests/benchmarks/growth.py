"""How time and memory grow with images, pixels, classes, steps and cores. Needs no peer.

Each point runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from minadv import parallel
from minadv.attacks.deepfool import deepfool
from minadv.attacks.fgsm import fgsm
from minadv.attacks.pgd import pgd
from minadv.machine import cores
from minadv.models import cnn, mlp
from tests.benchmarks import harness

IMAGES = (100, 1000, 10_000, 60_000)
SIDES = (28, 56, 112, 224)
CLASSES = (10, 30, 100, 300, 1000)
STEPS = (5, 10, 20, 40)

measured: dict[str, list] = {}  # what -> [[size, seconds, MiB], ...]


def point(what: str, size: int):
    """The work of one point of the curve ``what``, as a function."""
    rng = np.random.default_rng(0)

    def images(count, side=28):
        return rng.random((count, side, side, 1), dtype=np.float32)

    if what == "FGSM, images":
        model, x = cnn(), images(size)
        return lambda: fgsm(model, x, y=0, eps=0.1)
    if what == "FGSM of 64 images, side of the image":
        model, x = cnn((size, size, 1)), images(64, size)
        return lambda: fgsm(model, x, y=0, eps=0.1)
    if what == "DeepFool of 32 images, one step, classes":
        model, x = mlp((28, 28, 1), size), images(32)
        return lambda: deepfool(model, x, steps=1, candidates=size)
    if what == "PGD of 512 images, steps":
        model, x = cnn(), images(512)
        return lambda: pgd(model, x, y=0, eps=0.1, steps=size, early_stop=False)
    if what == "FGSM of 4096 images, cores":
        model, x = cnn(), images(4096)
        parallel._cores = lambda: size
        return lambda: fgsm(model, x, y=0, eps=0.1)
    raise ValueError(f"unknown curve {what!r}")


def main() -> list[str]:
    """Measure all curves, and return the table."""
    curves = {
        "FGSM, images": IMAGES[: harness.count(4, 3)],
        "FGSM of 64 images, side of the image": SIDES[: harness.count(4, 3)],
        "DeepFool of 32 images, one step, classes": CLASSES[: harness.count(5, 3)],
        "PGD of 512 images, steps": STEPS[: harness.count(4, 2)],
        "FGSM of 4096 images, cores": tuple(range(1, cores() + 1)),
    }
    lines = ["", "| what grows | size | seconds | peak memory beyond the input, MiB |"]
    lines.append("|---|---|---|---|")
    for what, sizes in curves.items():
        for size in sizes:
            command = [sys.executable, "-m", "tests.benchmarks.growth", what, str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            took, memory = json.loads(done.stdout)
            measured.setdefault(what, []).append([size, took, memory])
            lines.append(f"| {what} | {size:,} | {took:.3g} | {memory:,.0f} |")
            print(lines[-1], flush=True)
    return lines


def draw(out: Path):
    """Time and memory against size, as ``growth.png`` in ``out``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(measured), 5), layout="constrained")
    columns = figure.subplots(2, len(measured), squeeze=False).T
    for column, (what, rows) in zip(columns, measured.items(), strict=True):
        sizes, took, memory = zip(*rows, strict=True)
        for axes, values, label in zip(column, (took, memory), ("seconds", "MiB"), strict=True):
            axes.plot(sizes, values, "o-")
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel(what, fontsize=7)
            axes.set_ylabel(label)
    figure.savefig(out / "growth.png", dpi=120)


def one(what: str, size: int) -> list[float]:
    """Seconds of the faster of two calls, and the peak beyond what lay there before."""
    work = point(what, size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    took = min(harness.seconds(work) for _ in range(2))
    return [took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], int(sys.argv[2]))))
