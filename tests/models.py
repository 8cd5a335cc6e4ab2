"""Small models for the tests of the attacks."""

from __future__ import annotations

import numpy as np

from minadv.backend import to_numpy
from minadv.layers import Dense, Flatten, LeakyReLU, Sequential


def mlp(pixels, *, classes=4, dtype=np.float32):
    """Random weights, always the same ones."""
    return Sequential(
        Flatten(),
        Dense(pixels, 32, rng=0, dtype=dtype),
        LeakyReLU(0.1),
        Dense(32, classes, rng=1, dtype=dtype),
    )


def recording(model):
    """The model, and the list of the batches that it is queried about."""
    seen = []

    def recorder(x):
        seen.append(to_numpy(getattr(x, "value", x)))
        return model(x)

    return recorder, seen
