"""A network that tells its probabilities, counts its rows, and ends after so many."""

from __future__ import annotations

import numpy as np


def probabilities(net, most: int):
    """``predict`` of a network; a row after the first ``most`` is refused."""
    count = [0]

    def predict(x):
        if np.ndim(x) != 2 or x.shape[1] != 64:
            raise ValueError(f"predict takes images (n, 64), got an array of shape {np.shape(x)}")
        count[0] += len(x)
        if count[0] > most:
            raise ValueError(f"BudgetUsed: row {most + 1} of {most} was asked for")
        z = net(x)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    return predict
