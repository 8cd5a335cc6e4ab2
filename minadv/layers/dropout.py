"""Dropout: some numbers left out while the network learns."""

from __future__ import annotations

from minadv.autograd import raw
from minadv.backend import array_module
from minadv.checks import check_number
from minadv.layers.base import Layer

__all__ = ["Dropout"]


class Dropout(Layer):
    """During training, zero each number with probability ``p`` and scale the rest by 1 / (1 − p).

    Otherwise the identity. ``p`` is in [0, 1).
    """

    def __init__(self, p: float = 0.5):
        self.p = check_number("p", p, least=0, below=1)

    def apply(self, parameters, x, rng=None):
        if rng is None or self.p == 0:
            return x
        xp, u = array_module(raw(x)), raw(x)
        keep = xp.asarray(rng.random(u.shape) >= self.p)
        return x * (keep.astype(u.dtype) / u.dtype.type(1 - self.p))
