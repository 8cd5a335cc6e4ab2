"""The balls that bound a perturbation, and hold as real numbers: rounding never leaves them."""

from __future__ import annotations

import copy
import math

import numpy as np

from minadv.backend import Array, array_module, like
from minadv.checks import check_bounds, check_number, largest_size
from minadv.numerics import each, length_and_direction, rows, two_sum
from minadv.parallel import in_chunks


class Ball:
    r"""The :math:`L_\infty` ball of radius ``eps`` around ``x``, inside ``bounds``, exactly.

    ``z`` is in it if and only if ``low <= z <= high``. ``x + eps`` is rounded, and so in about half
    of all cases lies outside. Here ``high`` is the largest number of the dtype of ``x`` with
    :math:`high - x \le eps` *as real numbers*, eps being the float64 given, and ``low`` likewise.
    Projection is then a clip (C1). An index gives the balls of a part of the batch.
    """

    def __init__(self, x: Array, eps: float, bounds: tuple[float, float] = (0.0, 1.0)):
        self.eps = check_number("eps", eps, least=0, most=largest_size(x.dtype))
        lowest, highest = check_bounds(bounds, x.dtype)
        xp = array_module(x)

        def ends(x):
            low, high = -sum_rounded_down(-x, self.eps), sum_rounded_down(x, self.eps)
            return xp.maximum(low, lowest), xp.minimum(high, highest)

        self.low, self.high = in_chunks(None, ends, x)

    def project(self, z: Array) -> Array:
        """The point of the ball nearest to ``z``."""
        return array_module(z).clip(z, self.low, self.high)

    def steepest(self, g: Array) -> Array:
        """The step of size 1 along which a function of gradient ``g`` rises most: sign(g)."""
        return array_module(g).sign(g)

    def offset(self, rng: np.random.Generator) -> Array:
        """A step from the center to a uniformly drawn place in the ball; of one image's shape."""
        drawn = rng.uniform(-self.eps, self.eps, self.low.shape[1:])
        return like(drawn.astype(self.low.dtype), self.low)

    def __getitem__(self, index) -> Ball:
        part = copy.copy(self)
        part.low, part.high = self.low[index], self.high[index]
        return part


def sum_rounded_down(a: Array, b: float) -> Array:
    """The largest numbers of the dtype of ``a`` that are <= a + b as real numbers.

    If the rounded sum exceeds a + b, take the next smaller number of the dtype.
    """
    xp = array_module(a)
    s, error = two_sum(a.astype(np.float64), b)
    rounded = s.astype(a.dtype)
    above = (rounded > s) | ((rounded == s) & (error < 0))
    return xp.where(above, xp.nextafter(rounded, xp.asarray(-np.inf, dtype=a.dtype)), rounded)


class L2Ball:
    r"""The :math:`L_2` ball of radius ``eps`` around each image of ``x``, inside ``bounds``.

    :math:`\sum_i (z_i - x_i)^2 \le eps^2` holds *as real numbers* for every ``z`` that
    :meth:`project` returns.

    A longer change is scaled to a radius slightly below eps. The margin (2e-13 · eps for 28x28
    pixels) exceeds the sum of all rounding errors. Each pixel is then rounded towards x.
    """

    def __init__(self, x: Array, eps: float, bounds: tuple[float, float] = (0.0, 1.0)):
        self.x = x
        self.eps = check_number("eps", eps, least=0, most=largest_size(x.dtype))
        self.bounds = check_bounds(bounds, x.dtype)
        # D additions and a few more operations, each of which errs by at most half a unit
        errors, unit = math.prod(x.shape[1:]) + 16, np.finfo(np.float64)
        radius = self.eps * (1 - errors * float(unit.eps)) - errors * float(unit.smallest_subnormal)
        self.radius = max(0.0, radius)

    def project(self, z: Array) -> Array:
        """The point of the ball towards ``z``, clipped to bounds; ``z`` itself, if it is inside."""
        return in_chunks(None, self._project, self.x, z)

    def _project(self, x, z):
        xp = array_module(z)
        center = x.astype(np.float64)
        length, direction = length_and_direction(rows(z - center))
        change = (self.radius * direction).reshape(x.shape)
        shorter = (center + change).astype(x.dtype)
        too_long = xp.abs(shorter - center) > xp.abs(change)
        shorter = xp.where(too_long, xp.nextafter(shorter, x), shorter)
        inside = each(length <= self.radius, x)
        return xp.clip(xp.where(inside, z, shorter), *self.bounds)

    def steepest(self, g: Array) -> Array:
        """The step of size 1 along which a function of gradient ``g`` rises most: g / ‖g‖₂."""
        return length_and_direction(rows(g))[1].reshape(g.shape)

    def offset(self, rng: np.random.Generator) -> Array:
        """A step from the center to a uniformly drawn place in the ball; of one image's shape."""
        direction = rng.standard_normal(self.x.shape[1:])
        # the volume within a radius r grows as r^D
        length = self.eps * rng.random() ** (1 / direction.size)
        return like((length * direction / np.linalg.norm(direction)).astype(self.x.dtype), self.x)

    def __getitem__(self, index) -> L2Ball:
        part = copy.copy(self)
        part.x = self.x[index]
        return part


BALLS: dict[str, type[Ball] | type[L2Ball]] = {"linf": Ball, "l2": L2Ball}
