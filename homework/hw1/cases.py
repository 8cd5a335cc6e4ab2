"""Homework 1: what the checks draw, and what is right, computed another way."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from homework.grader.strategies import sizes, whole


@st.composite
def stretched(draw):
    big = tuple(draw(st.lists(sizes, max_size=3)))
    shape = big[draw(st.integers(0, len(big))) :]
    shape = tuple(1 if draw(st.booleans()) else n for n in shape)
    return draw(whole(big)), shape


@st.composite
def matrices(draw):
    n, m, k = draw(sizes), draw(sizes), draw(sizes)
    return draw(whole((n, m))), draw(whole((m, k))), draw(whole((n, k)))


@st.composite
def rows(draw):
    n, k = draw(sizes), draw(st.integers(1, 4))
    scale, shift = draw(st.sampled_from([1.0, 1250.0])), draw(st.sampled_from([0.0, 2.0, 1024.0]))
    return draw(whole(n)), draw(whole((n, k))) * scale, shift


@st.composite
def graphs(draw, most):
    n = draw(st.integers(2, most))
    edges = []
    for child in range(1, n):
        edges += [
            (child, parent)
            for parent in draw(st.lists(st.integers(0, child - 1), min_size=1, max_size=3))
        ]
    return n, edges, draw(st.lists(st.integers(-3, 3), min_size=len(edges), max_size=len(edges)))


def paths(n, edges, factors):
    """Paths from the last node to each, as ``{node: [the edges of a path, ...]}``."""
    found, open_ = {k: [] for k in range(n)}, [(n - 1, ())]
    while open_:
        node, path = open_.pop()
        found[node].append(path)
        open_ += [(parent, (*path, e)) for e, (child, parent) in enumerate(edges) if child == node]
    return found


NAMES = "add", "multiply", "matmul", "relu"


@st.composite
def programs(draw):
    n = draw(st.integers(1, 2))
    shapes = st.sampled_from([(n, n), (1, n), (n, 1)])
    xs = [draw(whole(draw(shapes), -2, 2)) for _ in range(draw(st.integers(1, 3)))]
    values, degrees, steps = list(xs), [1] * len(xs), []
    for _ in range(draw(st.integers(1, 5))):
        name = draw(st.sampled_from(NAMES))
        i, j = (draw(st.integers(0, len(values) - 1)) for _ in range(2))
        if name in ("multiply", "matmul") and degrees[i] + degrees[j] > 6:
            name = "add"  # so that all numbers stay whole
        if name == "matmul" and values[i].shape[1] != values[j].shape[0]:
            name = "add"
        steps.append((name, i, j))
        values.append(apply(name, values[i], values[j]))
        degrees.append(
            degrees[i] + degrees[j]
            if name in ("multiply", "matmul")
            else max(degrees[i], degrees[j])
        )
    v = draw(whole(values[-1].shape, -2, 2))
    return steps, xs, [v, v + 1]


def apply(name, a, b):
    return np.maximum(a, 0) if name == "relu" else getattr(np, name)(a, b)


def forward(steps, xs, k, i):
    """The derivative of the program by number ``i`` of ``xs[k]``, in forward mode on Python's
    integers."""
    values = [np.vectorize(int, otypes=[object])(x) for x in xs]
    slopes = [v * 0 for v in values]
    slopes[k][i] = 1
    for name, p, q in steps:
        a, b, da, db = values[p], values[q], slopes[p], slopes[q]
        match name:
            case "add":
                value, slope = a + b, da + db
            case "multiply":
                value, slope = a * b, da * b + a * db
            case "matmul":
                value, slope = a @ b, da @ b + a @ db
            case "relu":
                value, slope = a * (a > 0), da * (a > 0)
        values.append(value)
        slopes.append(slope)
    return values[-1], slopes[-1]
