"""Numbers brought to mean 0 and deviation 1."""

from __future__ import annotations

import numpy as np

from minadv.autograd import raw
from minadv.backend import array_module
from minadv.checks import check_reals
from minadv.layers.base import Layer

__all__ = ["Normalize"]


class Normalize(Layer):
    """(x − mean) / std per channel, with constants, as the first layer of a model.

    So attacks, their ε and their bounds stay in pixel space.
    """

    def __init__(self, mean, std):
        self.mean = check_reals("mean", mean).astype(np.float64)
        self.std = check_reals("std", std).astype(np.float64)
        if not (
            np.isfinite(self.mean).all() and np.isfinite(self.std).all() and (self.std > 0).all()
        ):
            raise ValueError(
                f"mean must be finite and std finite and > 0, got {mean!r} and {std!r}"
            )

    def apply(self, parameters, x, rng=None):
        xp, dtype = array_module(raw(x)), raw(x).dtype
        if dtype.kind != "f":
            raise TypeError(f"Normalize expects floating-point images, got {dtype}")
        return (x - xp.asarray(self.mean, dtype=dtype)) / xp.asarray(self.std, dtype=dtype)
