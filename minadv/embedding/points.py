"""The points of an embedding, checked; and how many rows of an N x N array are made at once."""

from __future__ import annotations

import math

import numpy as np

from minadv.backend import array_module

# Of an N x N array per chunk: measured best on two cores with 2 MiB of cache each.
BLOCK_BYTES = 2**20


def rows_at_a_time(x):
    """How many rows of an N x N array one chunk takes; a GPU takes them all at once."""
    return max(1, BLOCK_BYTES // (len(x) * x.dtype.itemsize)) if array_module(x) is np else len(x)


def check_finite(name, x):
    """Check that ``x`` is a finite batch (N, ...), float32 or float64."""
    if getattr(x, "dtype", None) not in (np.float32, np.float64):
        raise TypeError(
            f"{name} must be a float32 or float64 array, got "
            f"{getattr(x, 'dtype', type(x).__name__)}"
        )
    if x.ndim < 2:
        raise ValueError(
            f"{name} must have at least two axes, the first one for the examples, got shape "
            f"{x.shape}"
        )
    if not bool(array_module(x).isfinite(x).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinite values")


def check_points(x):
    """Check that ``x`` holds at least two finite points."""
    check_finite("x", x)
    if len(x) < 2 or math.prod(x.shape[1:]) == 0:
        raise ValueError(
            f"x must hold at least two examples of at least one feature, got shape {x.shape}"
        )
