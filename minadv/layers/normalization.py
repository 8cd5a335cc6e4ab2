"""Numbers brought to mean 0 and deviation 1."""

from __future__ import annotations

import math

import numpy as np

from minadv.autograd import raw
from minadv.backend import array_module, asarray
from minadv.batchnorm import scale_and_shift, standardize
from minadv.checks import check_count, check_float_dtype, check_number, check_reals
from minadv.layers.base import Layer

__all__ = ["BatchNorm", "Normalize"]


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


class BatchNorm(Layer):
    r"""Batch normalization (Ioffe & Szegedy 2015): :math:`y = \gamma \hat x + \beta` per channel.

    .. math:: \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}

    In training (``rng`` given to ``apply``) μ and σ² are those of the batch, over all axes but
    the last, and the running statistics follow them:

    .. math:: r \leftarrow (1 - \alpha) \, r + \alpha \, s,

    with s the batch's mean, or its variance divided by m − 1 instead of m. Otherwise μ and σ² are
    the running statistics, and an example's value does not depend on its batch.

    Parameters
    ----------
    channels : int
        The length C of the last axis.
    momentum : float
        α in [0, 1], how fast the running statistics follow.
    epsilon : float
        Added to the variance, > 0.
    dtype : dtype
        Of all arrays, floating point.

    Attributes
    ----------
    weight, bias : array (C,)
        γ and β, which training changes by their gradient. They start as 1 and 0.
    running_mean, running_var : array (C,)
        The state. It starts as 0 and 1.
    """

    names = ("weight", "bias")
    state_names = ("running_mean", "running_var")
    whole_batch = True

    def __init__(
        self, channels: int, *, momentum: float = 0.1, epsilon: float = 1e-5, dtype=np.float32
    ):
        channels, dtype = check_count("channels", channels), check_float_dtype("dtype", dtype)
        self.momentum = check_number("momentum", momentum, least=0, most=1)
        self.epsilon = check_number("epsilon", epsilon, above=0)
        self.weight, self.running_var = (asarray(np.ones(channels, dtype)) for _ in range(2))
        self.bias, self.running_mean = (asarray(np.zeros(channels, dtype)) for _ in range(2))

    def apply(self, parameters, x, rng=None):
        weight, bias = parameters["weight"], parameters["bias"]
        shape, channels = raw(x).shape, len(raw(weight))
        if len(shape) < 2 or shape[-1] != channels:
            raise ValueError(f"BatchNorm expects (N, ..., {channels}), got {shape}")
        if rng is None:
            scale = weight / array_module(self.running_var).sqrt(self.running_var + self.epsilon)
            return scale_and_shift(x, scale, bias - scale * self.running_mean)
        standard, mean, variance = standardize(x, self.epsilon)
        m = math.prod(shape[:-1])
        self.running_mean = self._follow(self.running_mean, mean)
        self.running_var = self._follow(self.running_var, variance * (m / (m - 1)))
        return scale_and_shift(standard, weight, bias)

    def _follow(self, running, now):
        return ((1 - self.momentum) * running + self.momentum * now).astype(running.dtype)
