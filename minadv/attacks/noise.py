"""What fools a model without querying it: noise (E2) and the negative image (E3)."""

from __future__ import annotations

import numpy as np

from minadv.attacks.balls import Ball
from minadv.backend import Array, array_module, like
from minadv.checks import check_images, check_rng
from minadv.numerics import two_sum


def uniform_noise(
    x: Array,
    *,
    eps: float,
    rng: np.random.Generator | int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Array:
    r"""``x`` with noise: what an attack of size ε has to beat (C6, E2).

    Uniform in :math:`\pm\epsilon` and independent for each value, then clipped to ``bounds``.

    Parameters
    ----------
    eps
        ε >= 0, the largest change of a pixel value; it holds for every value as real numbers.
    rng
        A generator or a seed. It draws image after image, so the first images of a batch get the
        same noise whatever follows.
    x, bounds
        As for all attacks: see :mod:`minadv.attacks`.

    Returns
    -------
    Array
        The noisy images, of the shape and dtype of ``x``.
    """
    ball = Ball(x, eps, check_images(x, bounds))
    noise = check_rng(rng).uniform(-ball.eps, ball.eps, x.shape).astype(x.dtype)
    return ball.project(x + like(noise, x))


def negative(x: Array, *, bounds: tuple[float, float] = (0.0, 1.0)) -> Array:
    r"""The negative of ``x``, :math:`low + high - x` (E3); arguments as for all attacks.

    It is 1 − x for pixels in [0, 1], and −x for pixels centered at 0. To a human it shows the same
    thing: a semantic attack (Hosseini et al. 2017, *On the limitation of convolutional neural
    networks in recognizing negative images*). It is right to the last bit: low and high become
    each other, and bounds −b and b give −x exactly.
    """
    low, high = check_images(x, bounds)
    both, error = two_sum(low, high)
    difference, second_error = two_sum(both, -x.astype(np.float64))
    return array_module(x).clip((difference + (error + second_error)).astype(x.dtype), low, high)
