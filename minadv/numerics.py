"""Arithmetic that rounding, overflow and underflow do not spoil."""

from __future__ import annotations

import math

from minadv.backend import array_module


def rows(a):
    """``a``, (N, ...), as (N, D): the values of one example in one row."""
    return a.reshape(len(a), math.prod(a.shape[1:]))


def each(a, x):
    """``a``, (N,), one number per example, in a shape that goes with ``x``, (N, ...)."""
    return a.reshape(len(x), *[1] * (x.ndim - 1))


def channel_sum(a):
    """The sum for each channel of ``a`` (..., C), as a product with a row of ones: (C,).

    It is fast, and exact enough in float32. ``@`` would keep the interpreter lock.
    """
    xp, flat = array_module(a), a.reshape(-1, a.shape[-1])
    return xp.dot(xp.ones(len(flat), dtype=a.dtype), flat)


def two_sum(a, b):
    """``(s, error)``: the rounded sum and its error, ``a + b == s + error`` exactly (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def length_and_direction(v):
    """Lengths (N, 1) and unit vectors (N, D) of the rows of ``v``; the direction of 0 is 0.

    Each row is divided by its largest value first, so no square overflows or underflows.
    """
    xp = array_module(v)
    largest = xp.abs(v).max(axis=1, keepdims=True)
    v = v / (largest + (largest == 0))
    length = xp.sqrt((v * v).sum(axis=1, keepdims=True))
    return largest * length, v / (length + (length == 0))
