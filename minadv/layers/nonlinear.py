"""Nonlinear functions of single numbers."""

from __future__ import annotations

from minadv import ops
from minadv.checks import check_number
from minadv.layers.base import Layer

__all__ = ["LeakyReLU", "ReLU", "Sigmoid", "Tanh"]


class ReLU(Layer):
    """max(x, 0)."""

    def apply(self, parameters, x, rng=None):
        return ops.relu(x)


class LeakyReLU(Layer):
    """x where x > 0, else ``slope`` · x."""

    def __init__(self, slope: float = 0.01):
        self.slope = check_number("slope", slope)

    def apply(self, parameters, x, rng=None):
        return ops.leaky_relu(x, self.slope)


class Sigmoid(Layer):
    """1 / (1 + e^−x)."""

    def apply(self, parameters, x, rng=None):
        return ops.sigmoid(x)


class Tanh(Layer):
    """The hyperbolic tangent."""

    def apply(self, parameters, x, rng=None):
        return ops.tanh(x)
