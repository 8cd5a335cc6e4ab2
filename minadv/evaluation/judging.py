"""What a model says of a batch beside its true labels, checked; and how it is averaged."""

from __future__ import annotations

import numpy as np

from minadv.backend import array_module, like, to_numpy
from minadv.checks import check_array
from minadv.inference import logits


def at(p, labels):
    """``p[n, labels[n]]`` for every example n."""
    return p[array_module(p).arange(len(p)), labels]


def mean(values) -> float:
    """The mean over all examples, in float64."""
    return float(to_numpy(values).mean(dtype=float))


def images_of(attacked, name: str):
    """The images of an attack's result, or the images themselves."""
    return check_array(name, getattr(attacked, "x_adv", attacked))


def judged(model, x, y):
    """Logits (N, K) of at least one example, and its true labels (N,) beside them."""
    if check_array("x", x).ndim == 0 or len(x) == 0:
        raise ValueError(f"x must hold at least one example, got shape {tuple(x.shape)}")
    z = logits(model, x)
    return z, like(labels_of(y, z), z)


def correct(model, x, y):
    """Whether each example is read right, (N,)."""
    z, labels = judged(model, x, y)
    return z.argmax(axis=1) == labels


def labels_of(y, z) -> np.ndarray:
    """``y`` as N labels that index the logits ``z``."""
    count, classes = z.shape
    y = _integers(y, "y")
    if y.shape not in ((), (count,)):
        raise ValueError(
            f"y must be one integer or have shape ({count},), one label per example, got shape "
            f"{y.shape}"
        )
    outside = (y < 0) | (y >= classes)
    if outside.any():
        raise ValueError(
            f"y must lie in 0..{classes - 1}, the labels of the {classes} logits, got "
            f"{y[outside].flat[0]}"
        )
    return np.broadcast_to(y, count)


def _integers(y, name: str) -> np.ndarray:
    try:
        y = to_numpy(y)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must hold integers: {error}") from None
    if y.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {y.dtype}")
    return y
