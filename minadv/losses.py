r"""Losses, one value per example: ``(N,)``. Average or sum them where they are used.

The sign attacks rest on two of them. For logits z and a label y the *log-odds margin* is

.. math:: m = z_y - \log \sum_{j \ne y} e^{z_j} = \log \frac{p_y}{1 - p_y},

and the cross-entropy is a function of it alone, :math:`CE = -\log p_y = \log(1 + e^{-m})`.
So :math:`\nabla CE = -\sigma(-m) \nabla m`, which is parallel to :math:`\nabla m`.
But σ(−m) underflows where the model is confident, and ∇m never does.
"""

from __future__ import annotations

import numpy as np

from minadv import ops
from minadv.autograd import raw, record
from minadv.backend import array_module
from minadv.checks import check_array, check_labels, check_number

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "kl",
    "margin",
    "soft_cross_entropy",
    "squared_error",
]


def _numbers(name: str, value):
    """The array of ``value``, an array of numbers or a Tensor."""
    array = check_array(name, raw(value))
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


def margin(logits, y):
    r"""The log-odds margin :math:`m = z_y - \log \sum_{j \ne y} e^{z_j}`, (N,).

    It is positive where the label has more than half of the probability.
    ``logits``: (N, K), K >= 2. ``y``: integers (N,), constants. The derivatives are
    :math:`\partial m / \partial z_y = 1` and, for the other classes,
    :math:`\partial m / \partial z_j = -e^{z_j} / \sum_{i \ne y} e^{z_i}`.
    The latter add up to −1 however confident the model is.

    Raises :class:`ValueError` or :class:`TypeError` for anything but logits and their labels.
    """
    z = _numbers("logits", logits)
    if z.ndim != 2 or z.shape[1] < 2 or z.dtype.kind != "f":
        raise ValueError(
            f"logits must be floating-point (N, K) with K >= 2, got {z.dtype} of shape {z.shape}"
        )
    check_labels("y", y, count=z.shape[0], classes=z.shape[1])
    xp = array_module(z)
    n, is_y = xp.arange(len(z)), y[:, None] == xp.arange(z.shape[1])
    others = z.copy()
    others[n, y] = -xp.inf
    highest = others.max(axis=1, keepdims=True)
    e = xp.exp(others - highest)  # 0 at y
    total = e.sum(axis=1, keepdims=True)
    # Close logits cancel exactly, since the highest is subtracted from both terms.
    m = z[n, y] - highest[:, 0] - xp.log(total)[:, 0]
    return record(m, (logits, lambda g: g[:, None] * (is_y - e / total)))


def cross_entropy(logits, y):
    r"""−log p_y of the softmax, computed as :math:`\log(1 + e^{-m})` of the :func:`margin`, (N,).

    So the gradient keeps its sign and its relative accuracy: the true class's term is
    :math:`-\sum_{j \ne y} p_j`, never ``p_y - 1``. ``logits``: (N, K). ``y``: integers (N,).
    """
    return ops.softplus(-margin(logits, y))


def soft_cross_entropy(logits, p, temperature: float = 1.0):
    r""":math:`-\sum_k p_k \log \mathrm{softmax}(z / T)_k`, (N,), for distillation (D9).

    ``p``: soft labels (N, K), whose rows add up to 1. ``temperature``: T > 0.
    """
    temperature = check_number("temperature", temperature, above=0)
    if _numbers("logits", logits).ndim != 2:
        raise ValueError(f"logits must be (N, K), got shape {raw(logits).shape}")
    if _numbers("p", p).shape != raw(logits).shape:
        raise ValueError(
            f"p must have the shape of the logits, {raw(logits).shape}, got {raw(p).shape}"
        )
    return -ops.sum(p * ops.log_softmax(logits / temperature), axis=1)


def squared_error(a, b):
    r""":math:`\tfrac{1}{2} \lVert a - b \rVert^2` over all that belongs to one example (A1)."""
    if _numbers("a", a).shape != _numbers("b", b).shape:
        raise ValueError(f"a and b must have one shape, got {raw(a).shape} and {raw(b).shape}")
    difference = ops.subtract(a, b)
    return 0.5 * ops.sum(difference * difference, axis=tuple(range(1, raw(a).ndim)))


def binary_cross_entropy(logits, t):
    r""":math:`-t \log \sigma(z) - (1 - t) \log \sigma(-z)` of logits z and ``t`` in [0, 1].

    It is summed over all that belongs to one example.
    """
    _numbers("logits", logits)
    if _numbers("t", t).shape != raw(logits).shape:
        raise ValueError(
            f"t must have the shape of the logits, {raw(logits).shape}, got {raw(t).shape}"
        )
    ones = ops.multiply(t, ops.softplus(-logits))
    zeros = ops.multiply(ops.subtract(1, t), ops.softplus(logits))
    return ops.sum(ops.add(ones, zeros), axis=tuple(range(1, raw(logits).ndim)))


def kl(p, q):
    r""":math:`\sum_k p_k \log (p_k / q_k)` of distributions along the last axis.

    0 · log 0 counts as 0. The result is infinite where q = 0 < p.
    """
    if _numbers("p", p).shape != _numbers("q", q).shape:
        raise ValueError(f"p and q must have one shape, got {raw(p).shape} and {raw(q).shape}")
    support = raw(p) > 0
    with np.errstate(divide="ignore"):  # q = 0
        ratio = ops.subtract(
            ops.log(ops.where(support, p, 1.0)), ops.log(ops.where(support, q, 1.0))
        )
    return ops.sum(ops.multiply(p, ratio), axis=-1)
