"""Linear functions of one layer's values: what backward substitution moves through a network.

A value that a convolution returns depends on few pixels. So its coefficients are kept as a window,
which grows by a kernel with each layer on the way back, and not as a row over all pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from minadv.backend import Array, array_module
from minadv.windows import col2im, framed

U = 2.0**-53  # unit roundoff of float64, in which bounds are computed
SAFE = 1.01  # terms in U squared, and the roundings of the error terms themselves, are far less
FLOOR = 1e-200  # more than underflow can take off all products, where no value exceeds 1e100
SHORT = 1e-150  # more than it can take off a length, whose squares are smaller


@dataclass(frozen=True)
class Rows:
    """``coef · a + const`` for D functions at each of P places, a being a layer's values (H, W, C).

    ``coef``: (N, P, D, h, w, C), or 1 for N while all images share it. ``start``: (P, 2), the pixel
    where a window begins, which may lie outside. ``const``: (N, P, D), or one number.
    """

    coef: Array
    start: Array
    const: Array | float

    def seen(self, a: Array) -> Array:
        """What each window sees of ``a`` (N, H, W, C), zero outside: (N, P, 1, h, w, C)."""
        xp = array_module(a)
        (_, height, width, _), (h, w) = a.shape, self.coef.shape[3:5]
        first, last = self.start.min(axis=0), self.start.max(axis=0)
        frame = [
            (max(0, -int(lo)), max(0, int(hi) + n - size))
            for lo, hi, n, size in zip(first, last, (h, w), (height, width), strict=True)
        ]
        a = framed(a, frame)
        if len(self.start) == 1 and a.shape[1:3] == (h, w):
            return a[:, None, None]
        begin = self.start + xp.asarray([frame[0][0], frame[1][0]])
        down = begin[:, 0, None, None] + xp.arange(h)[:, None]  # (P, h, 1)
        right = begin[:, 1, None, None] + xp.arange(w)  # (P, 1, w)
        return a[:, down, right][:, :, None]

    def dot(self, coef: Array, a: Array) -> Array:
        """The sum of ``coef`` times what each window sees of ``a``: (N, P, D)."""
        n, places, count, *window = coef.shape
        seen, numbers = self.seen(a), math.prod(window)
        flat = seen.reshape(len(a), seen.shape[1], numbers, 1)
        return (coef.reshape(n, places, count, numbers) @ flat)[..., 0]

    def pay(self, slack: Array) -> Array | float:
        """``const`` less the most that errors of at most ``slack`` can take off."""
        return self.const - self.dot(abs(self.coef), slack)

    def through(self, kernel: Array, stride: tuple, widths: tuple, size: tuple) -> Rows:
        """The same functions, of the input (H, W, C) = ``size`` of a convolution.

        The transpose of the convolution, for all windows in one matrix product. What lies on the
        padding multiplies zeros, and goes.
        """
        xp = array_module(self.coef)
        (n, places, count, h, w, c_out), (kh, kw, c_in, _) = self.coef.shape, kernel.shape
        matrix = kernel.transpose(3, 0, 1, 2).reshape(c_out, kh * kw * c_in)
        windows = self.coef.reshape(-1, c_out) @ matrix
        grown = (h - 1) * stride[0] + kh, (w - 1) * stride[1] + kw
        windows = windows.reshape(n * places * count, h, w, kh, kw, c_in)
        coef = col2im(windows, (len(windows), *grown, c_in), stride, ((0, 0), (0, 0)))
        coef = coef.reshape(n, places, count, *grown, c_in)
        start = self.start * xp.asarray(stride) - xp.asarray([widths[0][0], widths[1][0]])
        rows = replace(self, coef=coef, start=start)
        outside = bool((start < 0).any())
        outside |= bool((start + xp.asarray(grown) > xp.asarray(size[:2])).any())
        if outside:
            inside = rows.seen(xp.ones((1, *size[:2], 1), dtype=coef.dtype))
            rows = replace(rows, coef=coef * inside)
        return rows

    def whole(self, size: tuple) -> Array:
        """The coefficients of functions at one place, for all of (H, W, C): (D, H, W, C)."""
        xp, (height, width, c) = array_module(self.coef), size
        _, _, count, h, w, _ = self.coef.shape
        out = xp.zeros((count, height, width, c))
        top, left = (int(n) for n in self.start[0])
        a, b = slice(max(0, top), top + h), slice(max(0, left), left + w)
        part = self.coef[0, 0, :, max(0, -top) : height - top, max(0, -left) : width - left]
        out[:, a, b] = part
        return out

    def least(self, low: Array, high: Array) -> Array:
        """At most the least value of each function for values in the box [low, high]: (N, P, D)."""
        xp = array_module(self.coef)
        up, down = xp.maximum(self.coef, 0), xp.minimum(self.coef, 0)
        value = self.const + (self.dot(up, low) + self.dot(down, high))
        return value - self.rounding(xp.maximum(abs(low), abs(high)))

    def least_near(self, x: Array, eps: Array) -> Array:
        r"""At most the least value for values within the Euclidean length ``eps`` of ``x``.

        By the Cauchy-Schwarz inequality, :math:`c \cdot a \ge c \cdot x - \epsilon \lVert c
        \rVert_2`.
        """
        xp = array_module(self.coef)
        length = xp.sqrt((self.coef**2).sum(axis=(3, 4, 5))) + SHORT
        value = self.const + (self.dot(self.coef, x) - eps[..., 0] * length)
        return value - self.rounding(abs(x) + eps)

    def rounding(self, largest: Array) -> Array:
        """What summing at values of at most this size, here in float64, can be wrong by."""
        terms = math.prod(largest.shape[1:]) + 32
        return SAFE * terms * U * self.dot(abs(self.coef), largest) + FLOOR


def each_value(size: tuple, like: Array) -> Rows:
    """Every value of a layer (H, W, C), and every value's negative: P = H W places, D = 2 C."""
    xp = array_module(like)
    height, width, c = size
    eye = xp.eye(c, dtype=like.dtype)
    both = xp.concatenate([eye, -eye])[None, None, :, None, None, :]
    down, right = xp.arange(height).repeat(width), xp.tile(xp.arange(width), height)
    coef = xp.broadcast_to(both, (1, height * width, *both.shape[2:]))
    return Rows(coef, xp.stack([down, right], axis=1), 0.0)
