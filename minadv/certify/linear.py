r"""The exact radius of linear models: FGSM on logistic regression (A7), turned round.

The margin :math:`m_j = z_y - z_j` of an affine model has one gradient, :math:`w_y - w_j`. By
Hölder's inequality a change r lowers it by at most :math:`\lVert r \rVert_p \lVert w_y - w_j
\rVert_q`, 1/p + 1/q = 1, and some change does. So the smallest that makes them tie has the length

.. math:: \rho_j = m_j \, / \, \lVert w_y - w_j \rVert_q .
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from minadv.backend import Array, array_module
from minadv.certify.bounds import Ball, margins
from minadv.certify.judging import label_array
from minadv.certify.network import size_of, steps_of
from minadv.certify.rows import Rows, U
from minadv.certify.steps import Affine, Unfold
from minadv.checks import check_choice, check_function, check_images, largest_size
from minadv.numerics import rows as flat

DUAL = {"linf": 1, "l2": 2, "l1": np.inf}  # the q that belongs to each p


def exact_radius(
    model: Callable,
    x: Array,
    y: Array | Sequence[int] | int,
    *,
    norm: Literal["linf", "l2", "l1"] = "linf",
) -> Array:
    r"""The length of the smallest change of ``x`` that makes a linear model leave the label ``y``.

    .. math:: \rho(x) = \min_{j \ne y} \frac{z_y(x) - z_j(x)}{\lVert w_y - w_j \rVert_q}

    No bound keeps the pixels in their range here. Where one does, the smallest change can only be
    larger; :func:`margin_bound` knows of ``bounds``, and is exact for linear models, too.

    Parameters
    ----------
    model : Layer
        Affine from image to logits: ``LogisticRegression``, ``Sequential(Flatten(), Dense(...))``,
        also with Normalize, convolutions or average pooling before.
    x : array (N, H, W, C) or (N, D)
        Images, float32 or float64, of any values.
    y : array (N,) or int
        Labels.
    norm : {"linf", "l2", "l1"}
        How a change is measured: largest pixel, Euclidean length, sum of all pixels' changes.

    Returns
    -------
    array (N,), float64
        For the model as real numbers, and never more than the exact radius: float64's roundings
        are taken off (some 1e-13 of it). 0 for what is misread, infinity if no change helps.

    Raises
    ------
    TypeError, ValueError
        For a model with a step that is not affine, and other wrong arguments.
    """
    check_function("model", model, "model(x)", None)
    most = largest_size(np.float64 if getattr(x, "dtype", None) == np.float64 else np.float32)
    check_images(x, (-most, most))
    q = DUAL[check_choice("norm", norm, *DUAL)]
    steps, size = steps_of(model, x, rounds=False), size_of(x)
    affine = [step for step in steps if isinstance(step, Affine | Unfold)]
    if len(affine) < len(steps):
        raise TypeError(
            "model must be affine to have an exact radius, got ReLU or max pooling in it; "
            "certified_radius gives a lower bound"
        )
    xp, y = array_module(x), label_array(y, x, steps)
    here = Ball(x.reshape(len(x), *size), xp.zeros(len(x)), "linf", (-most, most))
    left = xp.maximum(margins(steps, here, y, "intervals"), 0)  # (N, K), infinity at j = y
    w, error = _weights(affine, size, xp)
    up = 1 + 4 * (w.shape[1] + 16) * U  # the norm's own roundings
    apart = [
        xp.linalg.norm(w[k] - w, q, axis=1) * up + xp.linalg.norm(error[k] + error, q, axis=1) * up
        for k in range(len(w))
    ]
    slopes = xp.stack(apart)[y]  # (N, K)
    free = slopes == 0
    radius = xp.where(free & (left > 0), np.inf, left / xp.where(free, 1, slopes))
    return radius.min(axis=1) * (1 - 4 * U)


def _weights(steps: list[Affine | Unfold], size, xp) -> tuple[Array, Array]:
    """The gradient of each logit, (K, D), and how far rounding may have moved each number."""
    found = []
    for absolute in (False, True):
        eye = xp.eye(steps[-1].out[2])[None, None, :, None, None, :]
        rows, count = Rows(eye, xp.zeros((1, 2), dtype=int), 0.0), 16
        for step in reversed(steps):
            if isinstance(step, Unfold):
                rows = step.substitute(rows)
            else:
                kernel = abs(step.kernel) if absolute else step.kernel
                rows = rows.through(kernel, step.stride, step.widths, step.size)
                count += step.kernel.size
        found.append(flat(rows.whole(size)))
    products = sum(isinstance(step, Affine) for step in steps) - 1  # the first takes W as it is
    return found[0], found[1] * (count * U if products else 0.0)
