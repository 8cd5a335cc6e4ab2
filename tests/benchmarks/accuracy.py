"""What training reaches, in what time and memory: the CNN on MNIST. Needs no peer."""

from __future__ import annotations

import resource

from minadv import data, evaluation, fit, models
from tests.benchmarks.harness import seconds


def main():
    """Train for 3 epochs, judge, and go on to 10."""
    d = data.mnist()
    for epochs in (3, 10):
        model = models.cnn()
        took = seconds(
            lambda model=model, epochs=epochs: fit(
                model, d.x_train, d.y_train, batch_size=256, epochs=epochs, progress=False
            )
        )
        accuracy = evaluation.accuracy(model, d.x_test, d.y_test)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"CNN, batch 256, {epochs} epochs: {accuracy:.2%}, {took / epochs:.1f} s per epoch, "
            f"peak memory {peak:.2f} GiB",
            flush=True,
        )
