"""What to draw: small whole arrays whose sums are exact, pixels, and floats that rounding trips
over."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

sizes = st.integers(1, 3)


def whole(shape, low: int = -8, high: int = 8):
    """Integers as float64: sums and products are exact."""
    return hnp.arrays(np.int64, shape, elements=st.integers(low, high)).map(
        lambda a: a.astype(float)
    )


def pixels(shape):
    """Multiples of 1/16 in [0, 1]."""
    return whole(shape, 0, 16).map(lambda a: a / 16)


def labels(n: int, k: int):
    """``n`` labels 0..k-1 (int64)."""
    return hnp.arrays(np.int64, n, elements=st.integers(0, k - 1))


def _near(v: float, dtype) -> list:
    v = dtype(v)
    return [float(np.nextafter(v, dtype(-np.inf))), float(v), float(np.nextafter(v, dtype(np.inf)))]


def awkward(dtype, low: float = 0.0, high: float = 1.0):
    """One float of ``dtype`` in [low, high]: anything, often a neighbor of 0, 0.1, 0.5 or 1."""
    dtype = np.dtype(dtype).type
    special = [v for a in (0, 0.1, 0.3, 0.5, 1) for v in _near(a, dtype) if low <= v <= high]
    width = 8 * np.dtype(dtype).itemsize
    ends = [float(v) for v in (low, high)]
    if width == 32:
        ends = [float(np.float32(v)) for v in ends]
    return st.sampled_from(special) | st.floats(*ends, width=width)
