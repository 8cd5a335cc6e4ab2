r"""A second opinion (D11): a model of another kind, and how far it disagrees with the first.

The output of a linear unit grows with the distance from its boundary, even far from all data. A
radial basis function responds only near its center. So a network of them says nothing far from
everything that it was trained on. Goodfellow et al. 2014, *Explaining and harnessing adversarial
examples*, section 7. Vidnerová & Neruda 2018, *Deep networks with RBF layers to prevent adversarial
examples*.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minadv import ops
from minadv.autograd import raw
from minadv.backend import asarray, to_numpy
from minadv.checks import check_array, check_count, check_number, check_rng
from minadv.layers import Dense, Flatten, Layer, Sequential
from minadv.parallel import asking

__all__ = ["RBF", "disagreement", "rbf_network"]


class RBF(Layer):
    r"""Radial basis functions, (N, D) -> (N, M).

    :math:`\phi_j(x) = e^{-\gamma_j \lVert x - c_j \rVert^2}` is 1 at its
    center :math:`c_j`. Centers and widths are both trained. The parameter is
    :math:`\log \gamma_j`, so that γ stays positive.

    ``center``: floating-point vectors (M, D) to start from. ``gamma``: > 0, one over the square of
    a width, to start from. Raises :class:`ValueError` or :class:`TypeError` for a wrong argument.
    """

    names = ("center", "log_gamma")

    def __init__(self, center, gamma: float = 1.0):
        try:
            self.center = asarray(center).copy()
        except (TypeError, ValueError) as error:
            raise TypeError(f"center must be floating-point vectors (M, D): {error}") from None
        if self.center.ndim != 2 or self.center.dtype.kind != "f":
            raise ValueError(
                f"center must be floating-point vectors (M, D), "
                f"got {self.center.dtype} of shape {self.center.shape}"
            )
        gamma = check_number("gamma", gamma, above=0)
        self.log_gamma = asarray(np.full(len(self.center), math.log(gamma), self.center.dtype))

    def apply(self, parameters, x, rng=None):
        d = raw(parameters["center"]).shape[1]
        if raw(x).ndim != 2 or raw(x).shape[1] != d:
            raise ValueError(f"RBF expects (N, {d}), got {raw(x).shape}: is a Flatten missing?")
        return ops.exp(
            -ops.exp(parameters["log_gamma"]) * squared_distances(x, parameters["center"])
        )


def squared_distances(a, b):
    r"""Squared distances of all pairs of rows, (N, D) and (M, D) -> (N, M), by one matrix product.

    :math:`\lVert a_n - b_m \rVert^2 = \lVert a_n \rVert^2 - 2 a_n \cdot b_m + \lVert b_m \rVert^2`
    """
    return (
        ops.sum(a * a, axis=1, keepdims=True)
        - 2.0 * (a @ ops.transpose(b))
        + ops.sum(b * b, axis=1)
    )


def rbf_network(x, classes: int = 10, *, centers: int = 100, rng=0) -> Sequential:
    """An untrained network of :class:`RBF` units around ``centers`` of the images ``x``.

    It maps images to logits, like the others. All γ start as one over the median of the images'
    squared distances from the nearest center, so wide that most images lie inside a unit.

    Parameters
    ----------
    x : array (N, ...)
        Training images, floating point.
    classes : int
        How many logits.
    centers : int
        How many units, fewer than images.
    rng : numpy.random.Generator or int
        Draws the centers and the weights of the last layer.

    Raises
    ------
    ValueError
        If there are too many centers, or all images are alike.
    """
    rng = check_rng(rng)
    check_count("classes", classes)
    if check_array("x", x).ndim < 2 or 0 in x.shape or x.dtype.kind != "f":
        raise ValueError(f"x must be floating-point images, got {x.dtype} of shape {x.shape}")
    flat = to_numpy(x).reshape(len(x), -1)
    if check_count("centers", centers) >= len(flat):
        raise ValueError(f"centers must be fewer than the images, {len(flat)}, got {centers}")
    order = rng.permutation(len(flat))
    center = flat[order[:centers]]
    others = flat[order[centers:][:1000]]  # enough for a median
    width = float(np.median(squared_distances(others, center).min(axis=1)))  # squared
    if not width > 0:
        raise ValueError("x must hold images that differ, got copies of the same few")
    return Sequential(
        Flatten(), RBF(center, 1 / width), Dense(centers, classes, rng=rng, dtype=flat.dtype)
    )


def disagreement(model: Callable, second: Callable) -> Callable:
    r"""How far the ``second`` opinion q is from the ``model``'s p.

    It is :math:`\sum_k p_k \log (p_k / q_k)`.
    The result is a differentiable function of images to (N,), a score for
    :class:`~minadv.defenses.detection.Detector`. It grows with another label, and also with another
    confidence in the same label. It is finite even where both are confident. Both models map images
    to logits (N, K).
    """

    def score(x):
        z, w = model(x), second(x)
        return ops.sum(ops.softmax(z) * (ops.log_softmax(z) - ops.log_softmax(w)), axis=1)

    return asking(score, model, second)
