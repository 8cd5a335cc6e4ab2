"""What a task of a sweep costs: ``python -m tests.benchmarks.cost``.

CPU time of one thread, which a busy machine changes less than the clock on the wall. The networks
have random weights: all images take all steps (``early_stop=False``), which is the dearest case.
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np

from minadv import fgsm, models, pgd
from minadv.evaluation import parcels, tasks
from minadv.parallel import on_one_core

STEPS = 20
NETWORKS = {  # network, images per task
    "MLP, 28x28": (lambda: models.mlp(), 512),
    "CNN, 28x28": (lambda: models.cnn(), 128),
    "ResNet-18, 224x224": (lambda: models.resnet18(), 2),
}
ATTACKS = {
    "FGSM": partial(fgsm, eps=0.1),
    f"PGD-{STEPS}": partial(pgd, eps=0.1, steps=STEPS, early_stop=False),
}
MODELS, IMAGES = 10_000, 50_000  # the validation set of ImageNet


def seconds(work) -> float:
    """CPU time of this thread for ``work()``, after one call to warm up."""
    work()
    start = time.thread_time()
    work()
    return time.thread_time() - start


def main():
    for name, (make, count) in NETWORKS.items():
        model = make()
        shape = (28, 28, 1) if "28x28" in name else (224, 224, 3)
        x = np.random.default_rng(0).random((count, *shape), np.float32)
        with on_one_core():
            y = model(x).argmax(axis=1)
            for attack, function in ATTACKS.items():
                each = seconds(lambda: tasks.measure(model, function, x, y, {})) / count  # noqa: B023
                years = each * MODELS * IMAGES / 3600 / 24 / 365
                print(
                    f"{name:20} {attack:7} {1e3 * each:9.3f} ms per image; {MODELS:,} models x ",
                    end="",
                )
                print(f"{IMAGES:,} images: {years:10.4g} core years")
        parcel, arrays = parcels.pack("model", model)
        size = sum(a.nbytes for a in arrays.values()) / 1e6
        hashed = seconds(lambda: parcels.pack("model", model))  # noqa: B023
        print(
            f"{name:20} a task is {len(parcel.content):,} bytes and {size:.1f} MB of weights,",
            end="",
        )
        print(f" which are digested in {1e3 * hashed:.1f} ms")


if __name__ == "__main__":
    main()
