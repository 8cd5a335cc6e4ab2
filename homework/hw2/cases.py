"""Homework 2: what the checks draw, and what is right, computed another way."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from homework.grader.strategies import awkward, labels, pixels, sizes, whole


@st.composite
def regressions(draw):
    n, d = draw(sizes), draw(st.integers(1, 5))
    scale = draw(st.sampled_from([1.0, 10.0]))
    return draw(whole(d)) * scale, draw(whole((n, d))), float(draw(st.integers(-8, 8)))


@st.composite
def logits(draw, gaps=None):
    n, k = draw(sizes), draw(st.integers(2, 4))
    y = draw(labels(n, k))
    z = draw(whole((n, k)))
    if gaps is not None:
        z = z.astype(np.float32)
        z[np.arange(n), y] += np.float32(draw(st.sampled_from(gaps)))
    return z, y


def margin_gradient(z, y):
    right = np.zeros(z.shape)
    for i, label in enumerate(y):
        others = [j for j in range(z.shape[1]) if j != label]
        e = np.exp(z[i, others].astype(float) - z[i, others].max())
        right[i, others] = -e / e.sum()
        right[i, label] = 1
    return right


@st.composite
def balls(draw):
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    low, high = draw(st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.25, 0.75)]))
    x = draw(st.lists(awkward(dtype, low, high), min_size=1, max_size=3))
    eps = draw(st.sampled_from([0.0, 0.1, 0.3, 8 / 255, 1 / 3, 1e-9, 0.25]) | st.floats(0, 1))
    return np.array([x], dtype), float(eps), (low, high)


def within(z, v, eps, bounds) -> str:
    """Why ``z`` is outside, or nothing."""
    far = abs(Fraction(float(z)) - Fraction(float(v))) - Fraction(eps)
    if far > 0:
        return f"|z - x| is more than eps, by {float(far):.3g}"
    if not bounds[0] <= z <= bounds[1]:
        return f"it is outside the bounds {bounds}"
    return ""


@st.composite
def steps(draw, zeros: bool):
    shape = draw(sizes), draw(st.integers(1, 4))
    x, v = draw(pixels(shape)), draw(whole(shape)) / 16
    if not zeros:
        v = np.where(v == 0, 1 / 16, v)
    eps = draw(st.sampled_from([0.0, 0.1, 0.25, 0.3, 1.0]))
    low, high = np.maximum(x - eps, 0), np.minimum(x + eps, 1)
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    return *(a.astype(dtype) for a in (x, v)), eps, low.astype(dtype), high.astype(dtype)


@st.composite
def affine_cases(draw):
    n, d, k = draw(sizes), draw(st.integers(1, 5)), draw(st.integers(2, 4))
    return draw(whole((k, d))), draw(whole(k)), draw(pixels((n, d))), draw(labels(n, k))
