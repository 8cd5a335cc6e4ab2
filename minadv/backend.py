"""The NumPy/CuPy switch: the only file that imports CuPy.

Two ideas, kept apart:

* *Where an array is* decides what computes with it. ``xp = array_module(x)`` is ``numpy`` or
  ``cupy``, thus the same line runs on both.
* *The switch* (:func:`use_backend`, or the environment variable ``MINADV_BACKEND``) only says where
  new data and new weights are made.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TypeAlias

import numpy as np

__all__ = ["BackendError", "array_module", "asarray", "backend", "like", "to_numpy", "use_backend"]

BACKENDS = ("numpy", "cupy")
Array: TypeAlias = np.ndarray  # in annotations: an array of NumPy's or CuPy's

_current: ModuleType | None = None


class BackendError(RuntimeError):
    """The backend cannot be used here: CuPy is not installed, or no CUDA device responds."""


def _load(name: str) -> ModuleType:
    if not isinstance(name, str) or name not in BACKENDS:
        raise ValueError(
            "name, the backend (use_backend, MINADV_BACKEND) must be one of "
            f"{', '.join(BACKENDS)}, got {name!r}"
        )
    if name == "numpy":
        return np
    try:
        import cupy
    except ImportError as error:
        raise BackendError(
            f"backend 'cupy' needs CuPy, which cannot be imported ({error}): "
            "pip install cupy-cuda12x (or the CuPy wheel that fits your CUDA version)"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(
            f"backend 'cupy' needs a CUDA device, and none answers: {error}"
        ) from error
    if count == 0:
        raise BackendError("backend 'cupy' needs a CUDA device, and this machine has none")
    return cupy


def use_backend(name: str) -> ModuleType:
    """Make new data and weights on ``name``, ``"numpy"`` or ``"cupy"``, and return that module.

    Existing arrays stay where they are. Raises :class:`ValueError` for an unknown name, and
    :class:`BackendError` if CuPy or a CUDA device is missing; the switch then stays as it was.
    """
    global _current
    _current = _load(name)
    return _current


def backend() -> ModuleType:
    """The module on which new data and weights are made.

    It is ``numpy``, unless the switch or ``MINADV_BACKEND`` says ``cupy``.
    """
    return (
        _current
        if _current is not None
        else use_backend(os.environ.get("MINADV_BACKEND") or "numpy")
    )


def _is_cupy(x) -> bool:
    cupy = sys.modules.get("cupy")  # an array of CuPy's can only exist once CuPy is imported
    return cupy is not None and isinstance(x, cupy.ndarray)


def is_array(x) -> bool:
    """Whether ``x`` is an array of NumPy's or CuPy's."""
    return isinstance(x, np.ndarray) or _is_cupy(x)


def array_module(*arrays) -> ModuleType:
    """``cupy`` if the arrays are CuPy's, else ``numpy``; a mix raises :class:`TypeError`.

    Python numbers go with either.
    """
    if "cupy" not in sys.modules:  # asked at every operation, so the usual answer comes first
        return np
    if not any(_is_cupy(x) for x in arrays):
        return np
    if any(isinstance(x, np.ndarray) for x in arrays):
        raise TypeError(
            "NumPy and CuPy arrays are mixed: move them to one side first "
            "(minadv.to_numpy, minadv.asarray)"
        )
    return sys.modules["cupy"]


def asarray(x, dtype=None):
    """``x`` as an array on the current backend."""
    xp = backend()
    return to_numpy(x, dtype) if xp is np else xp.asarray(x, dtype)


def like(x, reference):
    """``x`` (NumPy or CuPy) moved to where ``reference`` lives, its dtype kept."""
    xp = array_module(reference)
    return to_numpy(x) if xp is np else xp.asarray(x)


def to_numpy(x, dtype=None) -> np.ndarray:
    """``x`` as a NumPy array, copied off the GPU where needed."""
    return np.asarray(sys.modules["cupy"].asnumpy(x) if _is_cupy(x) else x, dtype)
