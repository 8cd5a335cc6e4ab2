"""Windows and whole images made one number per channel."""

from __future__ import annotations

from minadv import ops
from minadv.checks import check_pair
from minadv.conv import avg_pool2d, max_pool2d
from minadv.layers.base import Layer

__all__ = ["AvgPool", "GlobalAvgPool", "MaxPool"]


class MaxPool(Layer):
    """The largest value in each window; ``stride`` is ``size`` unless given."""

    def __init__(self, size=2, *, stride=None, padding="valid"):
        self.size, self.padding = check_pair("size", size), padding
        self.stride = self.size if stride is None else check_pair("stride", stride)

    def apply(self, parameters, x, rng=None):
        return max_pool2d(x, self.size, stride=self.stride, padding=self.padding)


class AvgPool(Layer):
    """The mean of each window; ``stride`` is ``size`` unless given."""

    def __init__(self, size=2, *, stride=None, padding="valid"):
        self.size, self.padding = check_pair("size", size), padding
        self.stride = self.size if stride is None else check_pair("stride", stride)

    def apply(self, parameters, x, rng=None):
        return avg_pool2d(x, self.size, stride=self.stride, padding=self.padding)


class GlobalAvgPool(Layer):
    """The mean over rows and columns: (N, H, W, C) -> (N, C)."""

    def apply(self, parameters, x, rng=None):
        return ops.mean(x, axis=(1, 2))
