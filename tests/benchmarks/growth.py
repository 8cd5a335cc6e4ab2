"""How time and memory grow with images, pixels, classes, steps and cores. Needs no peer.

Each point runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

from minadv import evaluation, parallel
from minadv.attacks.deepfool import deepfool
from minadv.attacks.fgsm import fgsm
from minadv.attacks.jsma import jsma
from minadv.attacks.pgd import pgd
from minadv.machine import cores
from minadv.models import cnn, mlp
from tests.benchmarks import harness
from tests.benchmarks.harness import count, say

MOST_MEMORY = 600  # MiB beyond the images and the result, for 60,000 images

# what grows -> sizes, the exponent to expect of the time, and why it may differ
IMAGES = (100, 1000, 10_000, 60_000)
CURVES: dict[str, tuple[tuple[int, ...], float, str]] = {
    "accuracy, images": (IMAGES, 1, "100 images are few chunks: calls count, and cores may wait"),
    "FGSM, images": (IMAGES, 1, "as for accuracy"),
    "PGD-3, images": (IMAGES, 1, "as for accuracy"),
    "FGSM of 64 images, side": (
        (28, 56, 112, 224),
        2,
        "a chunk holds at least 16 images, which leave the cache as they grow",
    ),
    "DeepFool of 32 images, one step, classes": (
        (10, 30, 100, 300, 1000),
        1,
        "one pull per class, beside two forward passes; 32 images are one chunk, on one core",
    ),
    "JSMA of 64 images, one step, classes": (
        (10, 30, 100, 300, 1000),
        0,
        "one pull whatever the classes: only the last layer grows, 11 % of the weights at 10",
    ),
    "PGD of 512 images, steps": ((5, 10, 20, 40), 1, "one more forward pass at either end"),
    "FGSM of 4096 images, cores": (
        tuple(range(1, cores() + 1)),
        -1,
        "the caller joins the parts alone; see the part cores",
    ),
}
measured: dict[str, list] = {}  # what -> [[size, seconds, MiB], ...]


def point(what: str, size: int):
    """The work of one point of the curve ``what``, as a function."""
    rng = np.random.default_rng(0)

    def images(count, side=28):
        return rng.random((count, side, side, 1), dtype=np.float32)

    if what.endswith(", images"):
        model, x = cnn(), images(size)
        return {
            "accuracy, images": partial(evaluation.accuracy, model, x, np.zeros(size, int)),
            "FGSM, images": partial(fgsm, model, x, y=0, eps=0.1),
            "PGD-3, images": partial(pgd, model, x, y=0, eps=0.1, steps=3, early_stop=False),
        }[what]
    if what == "FGSM of 64 images, side":
        return partial(fgsm, cnn((size, size, 1)), images(64, size), y=0, eps=0.1)
    if what == "DeepFool of 32 images, one step, classes":
        return partial(deepfool, mlp((28, 28, 1), size), images(32), steps=1, candidates=size)
    if what == "JSMA of 64 images, one step, classes":
        return partial(jsma, mlp((28, 28, 1), size), images(64), target=1, steps=1)
    if what == "PGD of 512 images, steps":
        return partial(pgd, cnn(), images(512), y=0, eps=0.1, steps=size, early_stop=False)
    if what == "FGSM of 4096 images, cores":
        parallel._cores = lambda: size
        return partial(fgsm, cnn(), images(4096), y=0, eps=0.1)
    raise ValueError(f"unknown curve {what!r}")


def one(what: str, size: int) -> list[float]:
    """Seconds of the fastest call, and the peak beyond the images and the result, MiB."""
    work = point(what, size)
    before = harness.peak_memory()
    first = harness.seconds(work)
    calls = max(1, min(20, int(1 / first)))  # about a second, or once
    took = min([first, *(harness.seconds(work) for _ in range(calls if first < 2 else 0))])
    peak = harness.peak_memory() - before
    returned = 0 if what.startswith("accuracy") else 28 * 28 * 4 * size / 2**20
    return [took, peak - returned if what.endswith(", images") else peak]


def exponent(rows: list, column: int = 1) -> float:
    """p of size^p, by least squares in logarithms over the upper half of the sizes."""
    upper = rows[len(rows) // 2 - 1 :]
    x, y = ([math.log(max(row[i], 1e-9)) for row in upper] for i in (0, column))
    return float(np.polyfit(x, y, 1)[0]) if len(upper) > 1 else math.nan


def main():
    """Measure all curves."""
    say("\n| what grows | size | seconds | peak memory beyond images and result, MiB |")
    say("|---|---|---|---|")
    for what, (sizes, _, _) in CURVES.items():
        for size in sizes[: count(len(sizes), 3)]:
            command = [sys.executable, "-m", "tests.benchmarks.growth", what, str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            took, memory = json.loads(done.stdout)
            measured.setdefault(what, []).append([size, took, memory])
            say(f"| {what} | {size:,} | {took:.3g} | {memory:,.0f} |")
    say("\n| what grows | time grows as size^p, p expected | p measured | what bends the line |")
    say("|---|---|---|---|")
    for what, (_, expected, why) in CURVES.items():
        p = exponent(measured[what])
        say(f"| {what} | {expected} | {p:.2f} | {why} |")
    most = max(memory for what in list(CURVES)[:3] for _, _, memory in measured[what])
    verdict = "under" if most <= MOST_MEMORY else "MORE THAN"
    say(
        f"\nAccuracy, FGSM and PGD of up to {IMAGES[count(4, 3) - 1]:,} images took "
        f"{most:,.0f} MiB beyond the images and the result, {verdict} {MOST_MEMORY}."
    )


def draw(out: Path):
    """Time and memory against size, with the line expected, as ``growth.png`` in ``out``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 11), layout="constrained")
    panels = figure.subplots(4, 4).T.reshape(8, 2) if len(measured) == 8 else None
    if panels is None:
        panels = figure.subplots(len(measured), 2, squeeze=False)
    for pair, (what, rows) in zip(panels, measured.items(), strict=True):
        sizes, took, memory = (np.array(column, float) for column in zip(*rows, strict=True))
        expected = CURVES[what][1]
        line = took[-1] * (sizes / sizes[-1]) ** expected
        time_axes, memory_axes = pair
        time_axes.plot(sizes, line, color="0.7", label=f"size^{expected}")
        time_axes.plot(sizes, took, "o-", color="tab:blue", label="measured")
        time_axes.legend(fontsize=7)
        memory_axes.plot(sizes, np.maximum(memory, 0), "o-", color="tab:orange")
        memory_axes.set_ylim(0, max(1.15 * memory.max(), 20))
        for axes, label in ((time_axes, "seconds"), (memory_axes, "MiB beyond input and result")):
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
            axes.xaxis.minorticks_off()
            axes.tick_params(labelsize=7)
            axes.set_xlabel(what, fontsize=8)
            axes.set_ylabel(label, fontsize=8)
        time_axes.set_yscale("log")
        middle = math.sqrt(took.min() * took.max())  # at least a decade, so that noise looks small
        time_axes.set_ylim(min(took.min() / 1.6, middle / 3.2), max(took.max() * 1.6, middle * 3.2))
    figure.savefig(out / "growth.png", dpi=100)


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], int(sys.argv[2]))))
