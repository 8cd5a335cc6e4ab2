"""Homework 4: what the checks draw, and what is right, computed another way."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from homework.grader.serve import Served, affine, function
from homework.grader.strategies import labels, pixels, sizes, whole


@st.composite
def models(draw, scales=(1.0,)):
    n, d, k = draw(sizes), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    W, b = draw(whole((k, d))), draw(whole(k)) * draw(st.sampled_from(scales))
    return W, b, draw(pixels((n, d))), draw(labels(n, k))


def map(dt, do, theta):
    """The map from its definition, number by number."""
    S = np.zeros(dt.shape)
    for i in np.ndindex(dt.shape):
        t, o = (dt[i], do[i]) if theta > 0 else (-dt[i], -do[i])
        if t > 0 and o < 0:
            S[i] = t * abs(o)
    return S


def free(shape):
    return hnp.arrays(np.bool_, shape)


@st.composite
def maps(draw):
    shape = draw(sizes), draw(st.integers(1, 4))
    return draw(whole(shape, 0, 8)), draw(free(shape))


def pairs(dt, do, free):
    """Every admissible pair of one image, with its saliency."""
    chosen = itertools.combinations(np.flatnonzero(free), 2)
    sums = {(int(p), int(q)): (dt[p] + dt[q], do[p] + do[q]) for p, q in chosen}
    return {pq: a * -b for pq, (a, b) in sums.items() if a > 0 and b < 0}


@st.composite
def slopes(draw):
    n, d = draw(sizes), draw(st.integers(2, 6))
    dt, do = draw(whole((n, d))), draw(whole((n, d)))
    if draw(st.booleans()):  # the best pair often consists of two inadmissible pixels
        dt[:, 0], do[:, 0] = 8, 1
        dt[:, 1], do[:, 1] = -1, -8
    return dt, do, np.ones((n, d), bool)


@st.composite
def helpful(draw):
    shape = draw(sizes), draw(st.integers(1, 5))
    dt, do = draw(whole(shape, 1, 8)), draw(whole(shape, -8, -1))
    if draw(st.booleans()):
        dt = -dt
    return dt, do, draw(free(shape))


def serve(W, b):
    """An affine model, and its derivative for the logits, with a line to paste."""
    model = affine(W, b)
    plain = model.answer.model
    derivative = function(lambda z, t: reference(plain, z, t, "logits"))
    source = f"lambda z, t: hw4.forward_derivative({model.source}, z, t, 'logits')"
    return model, Served(derivative.answer, source=source if model.source else "")


def reference(model, z, t, outputs):
    from homework.hw4.solution import forward_derivative

    return forward_derivative(model, np.asarray(z), np.asarray(t), outputs)


@st.composite
def attacks(draw):
    case = draw(models())
    d = case[2].shape[1]
    return *case, draw(st.sampled_from([1.0, 0.5, -0.5, 0.25, -1.0])), draw(st.integers(1, d))
