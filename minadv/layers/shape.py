"""The same numbers in another shape."""

from __future__ import annotations

import math

from minadv import ops
from minadv.autograd import raw
from minadv.checks import check_count
from minadv.layers.base import Layer

__all__ = ["Flatten", "Reshape"]


class Flatten(Layer):
    """(N, ...) -> (N, D)."""

    def apply(self, parameters, x, rng=None):
        return ops.reshape(x, (len(x), math.prod(raw(x).shape[1:])))


class Reshape(Layer):
    """``(N, ...)`` -> ``(N, *shape)``."""

    def __init__(self, *shape: int):
        self.shape = tuple(check_count("shape", n) for n in shape)

    def apply(self, parameters, x, rng=None):
        return ops.reshape(x, (len(x), *self.shape))
