"""What fools a model that nobody asked: noise (E2) and the negative image (E3)."""

from __future__ import annotations

import numpy as np

from minadv.attacks.balls import Ball
from minadv.backend import array_module, like
from minadv.checks import check_images, check_rng
from minadv.numerics import two_sum

__all__ = ["negative", "uniform_noise"]


def uniform_noise(
    x, *, eps: float, rng: np.random.Generator | int = 0, bounds: tuple[float, float] = (0.0, 1.0)
):
    r"""``x`` with noise, uniform in :math:`\pm\epsilon` and independent for each value, clipped to ``bounds``: what an attack of size ε
    has to beat (C6, E2).

    Arguments: ``x``, images (N, H, W, C) or (N, D), float32 or float64, inside ``bounds``; ``eps``, the largest change of a pixel value,
    >= 0, which holds as real numbers; ``rng``, a generator or a seed. Returns the noisy images. Raises :class:`ValueError` or
    :class:`TypeError` naming a wrong argument.
    """
    ball = Ball(x, eps, check_images(x, bounds))
    noise = check_rng(rng).uniform(-ball.eps, ball.eps, x.shape).astype(x.dtype)
    return ball.project(x + like(noise, x))


def negative(x, *, bounds: tuple[float, float] = (0.0, 1.0)):
    r"""The negative of ``x``, :math:`low + high - x`: 1 − x for pixels in [0, 1], and −x for pixels centred at 0 (E3).

    To a human it shows the same thing: a semantic attack (Hosseini et al. 2017, *On the limitation of convolutional neural networks in
    recognizing negative images*). Right to the last bit: low and high become each other, and bounds −b and b give −x exactly.

    Arguments: ``x``, images (N, H, W, C) or (N, D), float32 or float64, inside ``bounds``. Returns the negative images. Raises
    :class:`ValueError` or :class:`TypeError` naming a wrong argument.
    """
    low, high = check_images(x, bounds)
    both, error = two_sum(low, high)
    difference, second_error = two_sum(both, -x.astype(np.float64))
    return array_module(x).clip((difference + (error + second_error)).astype(x.dtype), low, high)
