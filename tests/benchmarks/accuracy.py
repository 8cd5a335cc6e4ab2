"""What training reaches, in what time and memory: the CNN on MNIST. Needs no peer."""

from __future__ import annotations

import resource
from functools import cache

from minadv import Adam, data, evaluation, fit, models
from tests.benchmarks import harness
from tests.benchmarks.harness import say, seconds


@cache
def mnist():
    """All of MNIST; its embedded sample in a quick run, and where MNIST cannot be had."""
    if harness.quick:
        return data.mnist_sample()
    try:
        return data.mnist(progress=False)
    except data.DataError as error:
        say(f"On the embedded sample: {str(error).splitlines()[0]}")
        return data.mnist_sample()


@cache
def trained():
    """Document D's CNN after 10 epochs, judged on the way: the victim of all attacks."""
    d, model, optimizer, before = mnist(), models.cnn(), Adam(), 0.0
    for so_far, epochs in ((3, 3), (10, 7)):

        def train(epochs=epochs):
            fit(
                model,
                d.x_train,
                d.y_train,
                batch_size=256,
                epochs=epochs,
                optimizer=optimizer,
                progress=False,
            )

        before += seconds(train)
        accuracy = evaluation.accuracy(model, d.x_test, d.y_test)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        say(
            f"CNN, batch 256, {so_far} epochs: {accuracy:.2%}, {before / so_far:.1f} s per epoch, "
            f"peak memory {peak:.2f} GiB."
        )
    return model


def main():
    """Train, and say what came of it."""
    trained()
