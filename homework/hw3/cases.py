"""Homework 3: what the checks draw, and what is right, computed another way."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from homework.grader.strategies import pixels, sizes, whole


@st.composite
def ways(draw):
    n, d = draw(sizes), draw(st.integers(1, 3))
    x, c = draw(pixels((n, d))), draw(pixels((n, d)))
    eps, steps = draw(st.sampled_from([0.25, 0.5, 0.1])), draw(st.integers(1, 4))
    return x, c, eps, steps


def ends(x, eps):
    return np.maximum(x - eps, 0), np.minimum(x + eps, 1)


@st.composite
def slopes(draw):
    n, d = draw(sizes), draw(st.integers(1, 4))
    x = draw(st.sampled_from([draw(pixels((n, d))), np.zeros((n, d)), np.ones((n, d))]))
    return (
        x,
        draw(whole((n, d))),
        draw(st.sampled_from([0.0, 0.1, 0.25, 0.3])),
        draw(st.sampled_from([1, 2, 3, 10])),
    )


@st.composite
def outside(draw):
    d = draw(st.integers(1, 5))
    x, way = draw(whole((1, d))), draw(whole((1, d)))
    way[0, 0] += 8 * (way[0, 0] >= 0) - 8 * (way[0, 0] < 0)  # length >= 8
    return x + way, x, draw(st.sampled_from([0.0, 0.25, 1.0, 7.5]))


@st.composite
def companies(draw):
    n, d = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    x, way = draw(whole((n, d))), draw(whole((n, d)))
    return (
        x,
        way,
        draw(st.sampled_from([0.5, 3.5, 6.25])),
    )  # no length of whole numbers is near these


def kolmogorov(u) -> float:
    """The largest distance of the draws' distribution function from the uniform one on [0, 1]."""
    u, n = np.sort(np.clip(u, 0, 1)), len(u)
    return float(max((np.arange(1, n + 1) / n - u).max(), (u - np.arange(n) / n).max()))


def logits(served):
    return [(a, v) for a, v in served.asked if a[0] == "logits"]
