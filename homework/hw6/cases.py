"""Homework 6: what the checks draw, and what is right, computed another way."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from homework.grader.strategies import whole

POPULATION, BUDGET, PIXELS = 40, 1040, 3


seeds = st.integers(0, 2**31).map(np.random.SeedSequence)


def chi2(counts) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


@st.composite
def populations(draw):
    n, d = draw(st.integers(4, 6)), draw(st.integers(1, 4))
    rows = st.permutations(range(n)).map(lambda v: v[:3])
    p = np.array([draw(rows) for _ in range(n)])
    return draw(whole((n, d))), p, draw(st.sampled_from([0.5, 0.25, 1.0, 0.0]))


@st.composite
def searches(draw):
    d = draw(st.integers(1, 3))
    low = draw(whole(d, -4, 0))
    high = low + draw(whole(d, 1, 4))
    return (
        low,
        high,
        draw(whole(d, -8, 8)),
        draw(st.integers(4, 6)),
        draw(st.integers(1, 6)),
        draw(seeds),
    )


def paint(image, genes):
    z = image.copy()
    for row, column, value in genes:
        z[math.floor(row), math.floor(column)] = value
    return z


def success(net, images, labels, attack):
    """How many images got another label by a change that is allowed."""
    count = 0
    for s, (x, y) in enumerate(zip(images, labels, strict=True)):
        z = attack(x, int(y), s)
        allowed = (z != x).sum() <= PIXELS and z.min() >= 0 and z.max() <= 1
        count += int(allowed and net(z[None]).argmax() != y)
    return count
