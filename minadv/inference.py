"""What a model says of a batch, checked: logits, labels, probabilities."""

from __future__ import annotations

from collections.abc import Callable

from minadv import ops
from minadv.autograd import raw, record
from minadv.backend import array_module
from minadv.checks import check_function, check_model
from minadv.parallel import in_chunks, is_thread_safe

__all__ = ["logits", "on_a_copy", "predict", "probabilities"]


def logits(model: Callable, x):
    """The logits of ``model`` for the batch ``x``, shape (N, K).

    The batch is cut into chunks that fit the cache. This package's layers, and what
    :class:`minadv.parallel.thread_safe` names, are asked from all cores at once. Any other
    callable is asked from one thread, and gets copies.

    Arguments: ``model``, any callable from a batch to logits; ``x``, images of shape (N, ...).
    Raises :class:`ValueError` or :class:`TypeError` unless the model returns one row of at least
    two finite floating-point numbers per example.
    """
    check_called_with_images(model)
    return in_chunks(model, lambda part: check_logits(model(part), len(part)), x)


def predict(model: Callable, x):
    """The labels that ``model`` predicts: ``argmax_k z_k``, (N,). Otherwise as :func:`logits`."""
    return logits(model, x).argmax(axis=1)


def probabilities(model: Callable, x):
    r"""The softmax of the logits, :math:`p_k = e^{z_k} / \sum_j e^{z_j}`, shape (N, K).

    Otherwise as :func:`logits`.
    """
    return ops.softmax(logits(model, x))


def check_called_with_images(model: Callable) -> None:
    """Check that ``model(x)`` is a way to call ``model``.

    What says that it is thread-safe, as this package's layers do, is taken at its word: to read a
    signature takes longer than a small network does.
    """
    if isinstance(model, type) or not is_thread_safe(check_model(model)):
        check_function("model", model, "model(x)", None)


def on_a_copy(model: Callable) -> Callable:
    """``model`` itself if it is thread-safe, else as a function that hands it a copy of its input.

    Differentiable as ``model`` is. For whoever needs the input once more afterwards.
    """
    if is_thread_safe(model):
        return model
    return lambda x: model(record(raw(x).copy(), (x, lambda g: g)))


def check_logits(logits, count: int):
    """Check that a model returned logits: finite floating-point numbers ``(N, K)``."""
    module = type(logits).__module__.partition(".")[0]
    if module in ("torch", "tensorflow", "jax", "jaxlib"):
        raise TypeError(
            "the model must return a NumPy or CuPy array, "
            f"got {type(logits).__name__} of {module}; "
            "convert what it returns (PyTorch: z.detach().cpu().numpy()), or write "
            "minadv.external(forward, vjp), which also has the gradient"
        )
    if getattr(logits, "ndim", None) != 2 or len(logits) != count or logits.shape[1] < 2:
        raise ValueError(
            f"the model must return logits (N, K) with N = {count} and K >= 2, "
            f"got shape {getattr(logits, 'shape', None)}"
        )
    if logits.dtype.kind != "f":
        raise TypeError(f"the model must return logits, floating-point numbers, got {logits.dtype}")
    if not bool(array_module(logits).isfinite(logits).all()):
        raise ValueError("the model must return finite logits, got NaN or infinity")
    return logits


# A softmax in float32 adds up to 1 within 1e-6; rounded to four digits, within 1e-3 for 20 classes.
ROUNDING = 1e-3


def are_probabilities(logits) -> bool:
    """Whether what a model returned looks like probabilities: all rows >= 0, with sum 1."""
    return (
        len(logits) > 0
        and float(logits.min()) >= 0
        and float(abs(logits.sum(axis=1) - 1).max()) < ROUNDING
    )
