"""What a model says of a batch: logits, labels, probabilities; checked, and in chunks on all cores."""

from __future__ import annotations

from collections.abc import Callable

from minadv import ops
from minadv.backend import array_module
from minadv.parallel import in_chunks


def logits(model: Callable, x):
    """The logits of ``model`` for the batch ``x``, shape (N, K).

    The batch is cut into chunks that fit the cache, and the chunks run on all cores.

    Arguments: ``model``, any callable from a batch to logits; ``x``, images of shape (N, ...).
    Raises :class:`ValueError` or :class:`TypeError` unless the model returns one row of at least two
    finite floating-point numbers per example.
    """
    return in_chunks(model, lambda part: check_logits(model(part), len(part)), x)


def predict(model: Callable, x):
    """The labels that ``model`` predicts: ``argmax_k z_k``, shape (N,). Otherwise as :func:`logits`."""
    return logits(model, x).argmax(axis=1)


def probabilities(model: Callable, x):
    r"""The softmax of the logits, ``p_k = e^{z_k} / sum_j e^{z_j}``, shape (N, K). Otherwise as :func:`logits`."""
    return ops.softmax(logits(model, x))


def check_logits(logits, count: int):
    """Check that a model returned logits: finite floating-point numbers ``(N, K)``."""
    if getattr(logits, "ndim", None) != 2 or len(logits) != count or logits.shape[1] < 2:
        raise ValueError(
            f"the model must return logits (N, K) with N = {count} and K >= 2, got shape {getattr(logits, 'shape', None)}"
        )
    if logits.dtype.kind != "f":
        raise TypeError(f"the model must return logits, floating-point numbers, got {logits.dtype}")
    if not bool(array_module(logits).isfinite(logits).all()):
        raise ValueError("the model must return finite logits, got NaN or infinity")
    return logits


def are_probabilities(logits) -> bool:
    """Whether what a model returned looks like probabilities: every row is >= 0 and adds up to 1."""
    return (
        len(logits) > 0
        and float(logits.min()) >= 0
        and float(abs(logits.sum(axis=1) - 1).max()) < 1e-3
    )
