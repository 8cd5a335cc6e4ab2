r"""What batch normalization is made of: channels brought to mean 0 and deviation 1, and scaled.

Both operations take ``(..., C)`` and work on each channel, over all other axes: over the batch,
and over rows and columns for images.
"""

from __future__ import annotations

import math

from minadv.autograd import raw, record
from minadv.backend import array_module
from minadv.numerics import channel_sum
from minadv.ops import operands

__all__ = ["scale_and_shift", "standardize"]

# NumPy is slow where the inner axis is short. So a few places lie side by side in one row, as many
# as divide all of them: (places, C) is computed as (places / BESIDE, BESIDE · C).
BESIDE = 64


def _long(u):
    """``u`` (..., C) as long rows, and ``v -> v`` (C,) as it stands in such a row."""
    beside = math.gcd(math.prod(u.shape[:-1]), BESIDE)
    xp, c = array_module(u), u.shape[-1]
    return u.reshape(-1, beside * c), lambda v: xp.tile(v, beside)


def standardize(x, epsilon: float):
    r"""Each channel with mean 0 and deviation 1, over the batch itself.

    .. math::

        \mu = \frac1m \sum_i x_i, \quad \sigma^2 = \frac1m \sum_i (x_i - \mu)^2, \quad
        \hat x_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}}

    :math:`\mu` and :math:`\sigma` depend on all of the m numbers of a channel, and so

    .. math::

        \frac{\partial L}{\partial x_i} = \frac{1}{\sqrt{\sigma^2 + \epsilon}} \Bigl(
        g_i - \frac1m \sum_j g_j - \hat x_i \frac1m \sum_j g_j \hat x_j \Bigr), \quad
        g_i = \frac{\partial L}{\partial \hat x_i}.

    (Ioffe & Szegedy 2015, section 3.)

    Parameters
    ----------
    x : array (..., C)
        With at least two numbers per channel.
    epsilon : float
        Added to the variance.

    Returns
    -------
    tuple of the value, μ (C,) and σ² (C,)
        The last two are constants: plain arrays.

    Raises
    ------
    ValueError
        If a channel has less than two numbers.
    """
    u = raw(x)
    m = math.prod(u.shape[:-1])
    if m < 2:
        raise ValueError(
            f"batch statistics need at least two numbers per channel, got shape {u.shape}"
        )
    rows, along = _long(u)
    mean = channel_sum(u) / m
    value = rows - along(mean)
    variance = channel_sum((value * value).reshape(u.shape)) / m
    inverse = 1 / array_module(u).sqrt(variance + epsilon)
    value *= along(inverse)
    value = value.reshape(u.shape)

    def rule(g):
        slope, _ = _long(g)
        standard, _ = _long(value)
        gradient = standard * along(channel_sum(g * value) / -m)
        gradient += slope
        gradient -= along(channel_sum(g) / m)
        gradient *= along(inverse)
        return gradient.reshape(value.shape)

    return record(value, (x, rule)), mean, variance


def scale_and_shift(x, scale, shift):
    """``scale · x + shift`` for each channel: ``x`` (..., C), ``scale`` and ``shift`` (C,)."""
    u, s = operands(x, scale)
    _, b = operands(x, shift)
    rows, along = _long(u)
    value = rows * along(s)
    value += along(b)

    def rule(g):
        slope, _ = _long(g)
        return (slope * along(s)).reshape(g.shape)

    return record(
        value.reshape(u.shape),
        (x, rule),
        (scale, lambda g: channel_sum(g * u)),
        (shift, channel_sum),
    )
