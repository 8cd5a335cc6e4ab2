"""A batch cut into cache-sized chunks, and the chunks run on all cores.

NumPy computes on one core, but for its matrix products; and a whole batch's activations do not fit
a core's cache. So a batch is cut into chunks that do. Each core takes the next chunk, and each
matrix product stays on its core (one BLAS thread). NumPy lets go of the interpreter lock while it
computes, so threads are enough. How a batch is cut depends on the model and the batch alone, never
on the machine, and so do the results.

Only models that are known to stand it are asked by several threads at once: this package's layers,
and what :func:`thread_safe` names. Any other callable may keep state or change its input. It is
asked in the caller's thread, one chunk after the other, and given copies.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minadv.backend import array_module, is_array
from minadv.checks import check_model
from minadv.helpers import Run, is_busy, on_one_core
from minadv.machine import cores as _cores
from minadv.machine import one_blas_thread, reuse_memory

__all__ = [
    "asking",
    "chunk_size",
    "in_chunks",
    "is_thread_safe",
    "map_chunks",
    "on_one_core",
    "one_blas_thread",
    "run_chunks",
    "thread_safe",
]

CHUNK_BYTES = 8 * 2**20  # of activations; with less, threads wait for the lock
LEAST = 16  # examples per chunk; smaller chunks are dominated by Python's overhead
MOST = 512  # examples per chunk; larger ones bring nothing
GPU_CHUNK = 4096  # a GPU takes all at once, but its memory is bounded, too
UNKNOWN_MODEL = 32  # bytes of activations per byte of input, if a model does not report them
HINTS = {
    "torch.Tensor": " of torch: convert it first, x.detach().cpu().numpy()",
    "minadv.autograd.Tensor": ": in a function that is differentiated, call the model itself",
}

# --- thread safety


class thread_safe:
    """``model``, as one that may be asked by several threads at once, and never changes its input.

    ``fgsm(thread_safe(model), x, y=y, eps=0.1)`` uses all cores, where ``model`` alone, being no
    :class:`~minadv.layers.base.Layer`, would be asked from one thread. A class says the same of its
    objects with an attribute ``thread_safe = True``.

    Raises :class:`TypeError` if ``model`` is not callable.
    """

    def __init__(self, model: Callable):
        if not callable(model):
            raise TypeError(f"model must be callable, got {type(model).__name__}")
        self.model = model
        self.thread_safe = True

    def __call__(self, x):
        return self.model(x)

    def __getattr__(self, name):
        if name == "model":  # not yet there while the object is copied
            raise AttributeError(name)
        return getattr(self.model, name)

    def __repr__(self):
        return f"thread_safe({self.model!r})"


def is_thread_safe(model: Callable) -> bool:
    """Whether ``model`` says that it may be asked by several threads at once."""
    return getattr(model, "thread_safe", False) is True


class asking:
    """``f``, a function of a batch that asks ``models``: as thread-safe as they are.

    So a score or a defense that is built on this package's layers uses all cores, as they do. ``f``
    itself must keep no state. For the size of a chunk only what the models keep is counted.
    """

    def __init__(self, f: Callable, *models: Callable):
        self.f, self.models = f, models

    @property
    def thread_safe(self) -> bool:
        return all(map(is_thread_safe, self.models))

    def __call__(self, x):
        return self.f(x)

    def activation_bytes(self, shape: tuple, dtype) -> int:
        """What one example needs in all models (for :func:`chunk_size`)."""
        unknown = UNKNOWN_MODEL * int(np.prod(shape)) * np.dtype(dtype).itemsize
        known = (getattr(model, "activation_bytes", None) for model in self.models)
        return sum(f(shape, dtype) if f else unknown for f in known)


# --- chunks


def chunk_size(model: Callable | None, x) -> int:
    """How many examples of ``x`` one chunk takes.

    The largest power of two for which the activations of ``model`` fit the budget, CHUNK_BYTES, at
    least LEAST; but one if a single example does not fit.
    """
    if array_module(x) is not np:
        return GPU_CHUNK
    per_example = UNKNOWN_MODEL * x[:1].nbytes
    if known := getattr(model, "activation_bytes", None):
        try:
            with np.errstate(all="ignore"):  # it is asked about an image of zeros, which nobody has
                per_example = known(x.shape[1:], x.dtype)
        except Exception:  # what the model says of the images themselves will be clearer
            pass
    if known and per_example > CHUNK_BYTES:  # so much work that the overhead is nothing
        return 1
    return 2 ** int(np.log2(min(max(CHUNK_BYTES // max(per_example, 1), LEAST), MOST)))


def in_chunks(model: Callable | None, f: Callable, *arrays, most: int | None = None):
    """:func:`map_chunks` of ``f``, which asks ``model``, in chunks that suit ``model``.

    Parameters
    ----------
    model
        What ``f`` asks; None if it asks none. Unless it is thread-safe, ``f`` runs in the caller's
        thread and gets copies.
    f
        ``f(*parts)``, from one part of each array to one array, or a tuple of arrays, with one row
        per example.
    arrays
        One or more, with one row per example.
    most
        At most so many examples in a chunk.

    Returns
    -------
    array, or tuple of arrays
    """
    _check_lengths(arrays)
    if model is not None:
        check_model(model)
    chunk = chunk_size(model, arrays[0])
    chunk = chunk if most is None else min(chunk, most)
    if model is None or is_thread_safe(model):
        return map_chunks(f, *arrays, chunk=chunk)
    with one_blas_thread():
        return _joined(
            [f(*(part.copy() for part in parts)) for parts in _parts(arrays, chunk)], arrays
        )


def map_chunks(f: Callable, *arrays, chunk: int):
    """``f(*arrays)``, computed in chunks on all cores.

    ``f`` returns one array, or a tuple of arrays, with one row per example.
    """
    return _joined(run_chunks(f, *arrays, chunk=chunk), arrays)


def _joined(results: list, arrays: tuple):
    if len(results) == 1:
        return results[0]
    xp = array_module(*arrays)
    if isinstance(results[0], tuple):
        return tuple(xp.concatenate(column) for column in zip(*results, strict=True))
    return xp.concatenate(results)


def _check_lengths(arrays: tuple):
    for a in arrays:
        if not is_array(a) or a.ndim == 0:
            kind = type(a)
            hint = HINTS.get(f"{kind.__module__}.{kind.__name__}", "")
            raise TypeError(
                "x must be a batch, a NumPy or CuPy array with one row per example, "
                f"got {kind.__name__}{hint}"
            )
    if any(len(a) != len(arrays[0]) for a in arrays):
        raise ValueError(f"all arrays must have the same length, got {[len(a) for a in arrays]}")


def _parts(arrays: tuple, chunk: int) -> list[tuple]:
    """Consecutive parts of ``chunk`` examples. An empty batch is one empty part."""
    count = max(len(arrays[0]), 1)
    return [tuple(a[i : i + chunk] for a in arrays) for i in range(0, count, chunk)]


def run_chunks(f: Callable, *arrays, chunk: int) -> list:
    """``[f(*parts), ...]`` for consecutive parts of ``chunk`` examples, in order, on all cores.

    The last part may be shorter, and an empty batch is one empty part. Inside a chunk, further
    calls run where they are, one after the other. If parts fail, the first one's exception is
    raised.
    """
    _check_lengths(arrays)
    reuse_memory()
    parts = _parts(arrays, chunk)
    if array_module(*arrays) is not np or is_busy():
        return [f(*part) for part in parts]
    with one_blas_thread():
        helpers = min(_cores(), len(parts)) - 1
        if helpers < 1:
            return [f(*part) for part in parts]
        return Run(f, parts).on(helpers)
