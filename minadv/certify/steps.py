r"""A network as the steps that bounds are carried through, each with its error of rounding.

Every layer that can be bounded is one of four steps. A :class:`Dense` layer is a convolution of an
image of one pixel, and so is a mean over a window, or a division by a constant.

Why the bounds hold in floating point
-------------------------------------
A sum of n products, added up in any order in floating point of unit roundoff u, differs from the
real number by at most :math:`\gamma_n \sum_i |w_i| |a_i|`, :math:`\gamma_n = nu / (1 - nu)`
(Higham 2002, *Accuracy and stability of numerical algorithms*, section 3.1), and by n of the
smallest normal numbers where it underflows. So what the network computes at a step is

.. math:: z = W a + b + e, \qquad |e| \le \gamma_{n + 4}(u) \, (|W| |a| + |b|) + \text{tiny}.

The bounds here are for *every* such e, value by value. So they hold for the network as real numbers
(e = 0), and for what it computes in its own precision, on any machine and in any batch.

They are computed in float64, and its own roundings are charged in the same way. On the way forward,
fewer than n + 16 act on each term. On the way back, coefficients are sums of m products, rounding
them costs :math:`\gamma_m |\Lambda| (|W| |a|)`, a constant is a sum over the step's values, and K
constants are added up. The sum of it all is the ``slack`` of a step: a function with coefficients Λ
of the step's values pays :math:`|\Lambda| \cdot \text{slack}`. One percent more covers what is
quadratic in u, and the roundings of the slack itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from minadv.backend import Array, array_module
from minadv.certify.rows import FLOOR, SAFE, Rows, U
from minadv.conv import conv2d, max_pool2d
from minadv.windows import output_size, padding_widths

Size: TypeAlias = tuple[int, int, int]  # (H, W, C) of a layer's values; (1, 1, D) for vectors
Box: TypeAlias = tuple[Array, Array]

LARGEST = 1e100  # of any value; see rows.FLOOR


@dataclass(frozen=True)
class Precision:
    """How exactly the network itself computes: unit roundoff, and smallest and largest number."""

    u: float
    tiny: float
    largest: float

    @classmethod
    def of(cls, *dtypes) -> Precision:
        """The coarsest of ``dtypes``."""
        all_of = [np.finfo(dtype) for dtype in dtypes]
        return cls(
            max(float(f.eps) for f in all_of) / 2,
            max(float(f.tiny) for f in all_of),
            min(min(float(f.max) for f in all_of) / 2, LARGEST),
        )


@dataclass(frozen=True)
class Affine:
    """``z = W a + b``, a convolution of ``kernel`` (kh, kw, C_in, C_out), all in float64."""

    kernel: Array
    bias: Array
    size: Size  # of the input
    out: Size
    precision: Precision
    stride: tuple[int, int] = (1, 1)
    widths: tuple = ((0, 0), (0, 0))
    steps: int = 1  # of the whole network: so many constants are added up on the way back

    def _map(self, a: Array, kernel: Array, bias: Array) -> Array:
        if self.size[:2] == kernel.shape[:2] == (1, 1):  # one product for the whole batch
            flat = a.reshape(len(a), self.size[2]) @ kernel[0, 0] + bias
            return flat.reshape(len(a), *self.out)
        return conv2d(a, kernel, bias, stride=self.stride, padding=self.widths)

    def slack(self, low: Array, high: Array) -> Array:
        """The largest error of the step, here and in the network, for values in the box."""
        xp = array_module(low)
        most = self._map(xp.maximum(abs(low), abs(high)), abs(self.kernel), abs(self.bias))
        if not bool((most < self.precision.largest).all()):
            raise ValueError(
                "model must not overflow on the ball: sums may reach "
                f"{float(most.max()):.3g}, the largest number is {self.precision.largest:.3g}"
            )
        kh, kw, c_in, c_out = self.kernel.shape
        n, m = kh * kw * c_in, kh * kw * c_out
        theirs = (n + 4) * self.precision.u
        if theirs > 0.5:
            raise ValueError(f"model adds up {n} products in a precision that is too coarse for it")
        ours = (n + m + math.prod(self.out) + self.steps + 16) * U
        share = SAFE * (theirs / (1 - theirs) + ours)
        return share * most + 4 * (n + 4) * self.precision.tiny

    def box(self, low: Array, high: Array, slack: Array) -> Box:
        """Bounds of z: its center, and ``|W|`` times the radius, Gowal et al. 2018, equation 6."""
        xp = array_module(low)
        center = (low + high) / 2
        radius = xp.maximum(high - center, center - low)
        mu = self._map(center, self.kernel, self.bias)
        r = self._map(radius, abs(self.kernel), xp.zeros_like(self.bias)) + slack
        return mu - r, mu + r

    def substitute(self, rows: Rows, low: Array, high: Array, slack: Array) -> Rows:
        """Functions of z as functions of a: the coefficients times W."""
        bias = self.bias.reshape(1, 1, 1, -1)
        pixels = array_module(low).broadcast_to(bias, (1, *self.out))
        const = rows.pay(slack) + rows.dot(rows.coef, pixels)
        rows = rows.through(self.kernel, self.stride, self.widths, self.size)
        return replace(rows, const=const)


@dataclass(frozen=True)
class Bend:
    """``y = max(z, slope z)``, 0 <= slope <= 1: ReLU (slope 0) and LeakyReLU."""

    slope: float
    size: Size
    precision: Precision
    steps: int = 1

    @property
    def out(self) -> Size:
        """The size of what it returns."""
        return self.size

    def _error(self, largest: Array) -> Array:
        """Of slope z, computed in the network's precision and here."""
        if not self.slope:
            return 0 * largest
        return SAFE * 3 * self.precision.u * self.slope * largest + 2 * self.precision.tiny

    def slack(self, low: Array, high: Array) -> Array:
        """The largest error of the step, here and in the network, for values in the box."""
        largest = array_module(low).maximum(abs(low), abs(high))
        ours = (math.prod(self.size) + self.steps + 16) * U
        return SAFE * ours * largest + self._error(largest)

    def box(self, low: Array, high: Array, slack: Array) -> Box:
        """Bounds of y, which rises with z."""
        xp = array_module(low)
        error = self._error(xp.maximum(abs(low), abs(high)))
        low, high = xp.maximum(low, self.slope * low), xp.maximum(high, self.slope * high)
        return low - error, high + error

    def substitute(self, rows: Rows, low: Array, high: Array, slack: Array) -> Rows:
        r"""Functions of y as functions of z, by a line below y and a line above (Zhang et al.).

        On [l, u] with l < 0 < u: :math:`\alpha z \le y \le s z + t`. Here s is rounded, and t then
        the least that is enough at both ends, rounded up: y is convex, so the ends decide. α is 1
        or ``slope``, whichever line leaves the smaller area (CROWN's adaptive choice).
        """
        xp, a = array_module(low), self.slope
        bent = (low < 0) & (high > 0)
        width = xp.where(bent, high - low, 1.0)
        s = xp.clip((high - a * low) / width, a, 1.0)
        s = xp.where(bent, s, xp.where(low >= 0, 1.0, a))
        t = xp.maximum((s - a) * -low, (1 - s) * high) * (1 + 16 * U) + FLOOR
        t = xp.where(bent, t, 0.0)
        alpha = xp.where(bent, xp.where(high >= -low, 1.0, a), s)
        down = xp.minimum(rows.coef, 0)
        const = rows.pay(slack) + rows.dot(down, t)
        coef = (rows.coef - down) * rows.seen(alpha) + down * rows.seen(s)
        return replace(rows, coef=coef, const=const)


@dataclass(frozen=True)
class Unfold:
    """Images (H, W, C) as vectors (1, 1, H W C): nothing is computed."""

    size: Size

    @property
    def out(self) -> Size:
        """The size of what it returns."""
        return 1, 1, math.prod(self.size)

    def slack(self, low: Array, high: Array) -> Array:
        """None at all."""
        return low[:, :1, :1]

    def box(self, low: Array, high: Array, slack: Array) -> Box:
        """The same values."""
        flat = len(low), *self.out
        return low.reshape(flat), high.reshape(flat)

    def substitute(self, rows: Rows, *box: Array) -> Rows:
        """The same coefficients."""
        return replace(rows, coef=rows.coef.reshape(*rows.coef.shape[:3], *self.size))


@dataclass(frozen=True)
class Pool:
    """The largest value in each window. Nothing is rounded."""

    size: Size
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: Any

    @property
    def out(self) -> Size:
        """The size of what it returns."""
        widths = padding_widths(self.padding, self.size[:2], self.window, self.stride)
        return *output_size(self.size[:2], widths, self.window, self.stride), self.size[2]

    def slack(self, low: Array, high: Array) -> Array:
        """None at all."""
        return low[:, :1, :1]

    def box(self, low: Array, high: Array, slack: Array) -> Box:
        """Bounds of a maximum are the maxima of the bounds."""
        how = {"stride": self.stride, "padding": self.padding}
        return max_pool2d(low, self.window, **how), max_pool2d(high, self.window, **how)

    def substitute(self, rows: Rows, *box: Array) -> Rows:
        """Not there: a maximum has no line of the kind that CROWN uses."""
        raise TypeError(
            "model must have no MaxPool for method 'crown', which carries lines through "
            "affine layers, ReLU and LeakyReLU: use method='intervals'"
        )


Step: TypeAlias = Affine | Bend | Unfold | Pool
