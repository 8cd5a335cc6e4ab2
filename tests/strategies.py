"""What to try, and how to judge it: real numbers.

Arrays of every shape and magnitude, and the bounds and sizes that rounding trips over.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

# Pixel ranges in use, some whose ends no binary float holds (rounded, they lie inside or outside),
# a huge and a denormal one.
BOUNDS = [
    (0.0, 1.0),
    (-1.0, 1.0),
    (0.0, 255.0),
    (0.1, 0.9),
    (-0.1, 0.1),
    (-2.1179, 2.64),
    (-1e30, 1e30),
    (-1e-40, 1e-40),
]


def _float32_neighbors(x) -> list[float]:
    return [float(np.nextafter(np.float32(x), np.float32(to))) for to in (-np.inf, np.inf)]


# Nothing, everything, the sizes papers use, neighbors of round numbers, the smallest numbers.
EPS = [
    0.0,
    1.0,
    2.0,
    0.1,
    0.25,
    0.3,
    1 / 255,
    8 / 255,
    *_float32_neighbors(1.0),
    *_float32_neighbors(0.25),
]
EPS += [float(np.nextafter(1.0, 0.0)), float(np.nextafter(1.0, 2.0))]
for _type in (np.finfo(np.float32), np.finfo(np.float64)):
    EPS += [
        float(_type.eps),
        float(_type.tiny),
        float(_type.tiny) / 3,
        float(_type.smallest_subnormal),
    ]

dtypes = st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)])


def shapes(min_dims=0, max_dims=4, min_side=0, max_side=4):
    """Shapes, those of 0-d and of empty arrays among them."""
    return hnp.array_shapes(
        min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side
    )


BATCHES = shapes(2, 2, 1) | shapes(4, 4, 1, 3)  # vectors (N, D), and images (N, H, W, C)


@st.composite
def float_arrays(draw, shape=None, dtype=dtypes, low=None, high=None):
    """Finite float32 or float64 arrays of any magnitude down to the denormals.

    Or inside ``[low, high]``, ends included. ``shape`` and ``dtype`` are a value or a strategy.
    """
    shape = draw(
        shape
        if isinstance(shape, st.SearchStrategy)
        else shapes()
        if shape is None
        else st.just(shape)
    )
    dtype = draw(dtype if isinstance(dtype, st.SearchStrategy) else st.just(np.dtype(dtype)))
    first, last = low, high  # the ends may not be floats of this dtype: then the next one inside
    if low is not None:
        first = dtype.type(low)
        first = float(first if float(first) >= low else np.nextafter(first, dtype.type(np.inf)))
    if high is not None:
        last = dtype.type(high)
        last = float(last if float(last) <= high else np.nextafter(last, dtype.type(-np.inf)))
    assume(first is None or last is None or first <= last)
    elements = st.floats(
        first, last, width=8 * dtype.itemsize, allow_nan=False, allow_infinity=False
    )
    return draw(hnp.arrays(dtype, shape, elements=elements))


def images(bounds=(0.0, 1.0), dtype=dtypes):
    """Batches of images ``(N, H, W, C)`` or of vectors ``(N, D)`` inside ``bounds``."""
    return float_arrays(BATCHES, dtype, *bounds)


def awkward_eps(largest=2.0):
    """Sizes of a perturbation in ``[0, largest]``, as Python floats."""
    return st.sampled_from([eps for eps in EPS if eps <= largest]) | st.floats(0.0, largest)


def awkward_bounds():
    """Pixel ranges ``(low, high)``, ``low < high``."""
    ends = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2, unique=True)
    return st.sampled_from(BOUNDS) | ends.map(lambda pair: tuple(sorted(pair)))


@st.composite
def attacked(draw, shape=BATCHES):
    """``(x, eps, bounds)``: images inside bounds as their dtype has them, and a size."""
    dtype, bounds = draw(dtypes), draw(awkward_bounds())
    ends = [float(dtype.type(b)) for b in bounds]
    if ends[0] == ends[1]:  # (0.1, 0.1 + 1e-12) is empty in float32
        bounds, ends = (-1.0, 1.0), (-1.0, 1.0)
    return draw(float_arrays(shape, dtype, *ends)), draw(awkward_eps(1.0)), bounds


def real(a) -> list[Fraction]:
    """The values of an array as real numbers."""
    return [Fraction(v) for v in np.asarray(a).ravel().tolist()]


def assert_inside(x_adv, x, eps, bounds):
    """``|x_adv − x| <= eps`` as real numbers, inside ``bounds``, shape and dtype of ``x``."""
    assert (x_adv.dtype, x_adv.shape) == (x.dtype, x.shape)
    assert (x_adv >= x.dtype.type(bounds[0])).all()
    assert (x_adv <= x.dtype.type(bounds[1])).all()
    for before, after in zip(real(x), real(x_adv), strict=True):
        assert abs(after - before) <= Fraction(eps)
