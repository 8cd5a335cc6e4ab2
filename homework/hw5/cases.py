"""Homework 5: what the checks draw, and what is right, computed another way."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from homework.grader.strategies import labels, pixels, sizes, whole
from minadv import vjp


@st.composite
def models(draw):
    """``(W, b, x)`` of an affine model with whole weights; its logits and gradients are exact."""
    n, d, k = draw(sizes), draw(st.integers(1, 5)), draw(st.integers(2, 4))
    return draw(whole((k, d))), draw(whole(k)), draw(pixels((n, d)))


@st.composite
def planes(draw, corners=False):
    """``(f, w, y)``; with ``corners``, many w_k are 0 and many f_k are 0."""
    n, d, k = draw(sizes), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    y = draw(labels(n, k))
    f, w = -np.abs(draw(whole((n, k)))), draw(whole((n, k, d), -4, 4))
    if corners:
        w = w * draw(whole((n, k, 1), 0, 1))
        f = f * draw(whole((n, k), 0, 1))
    else:
        f, w = f - 1, np.where(w == 0, 1, w)
    f[np.arange(n), y], w[np.arange(n), y] = 0, 0
    return f, w, y


@st.composite
def decided(draw):
    """An affine model, and images of which it is sure: no two classes share the largest logit."""
    W, b, x = draw(models())
    z = x @ W.T + b
    tie = (z == z.max(axis=1, keepdims=True)).sum(axis=1) > 1
    b = b.copy()
    if tie.any():
        b[0] += 512  # class 0 is ahead everywhere
    return W, b, x


def smallest_fgsm(net, x):
    """The l2 length of the smallest successful FGSM of each image, inf where none of 40 is."""
    logits, pull = vjp(net, x)
    y = logits.argmax(axis=1)
    is_y = y[:, None] == np.arange(logits.shape[1])
    others = np.exp(
        np.where(is_y, -np.inf, logits - np.where(is_y, -np.inf, logits).max(1, keepdims=True))
    )
    sign = np.sign(pull((others / others.sum(1, keepdims=True) - is_y).astype(logits.dtype)))
    best = np.full(len(x), np.inf)
    for eps in np.arange(40, 0, -1) / 80:
        z = np.clip(x + eps * sign, 0, 1)
        best = np.where(net(z).argmax(1) != y, np.sqrt(((z - x) ** 2).sum(1)), best)
    return best
