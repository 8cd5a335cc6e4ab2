"""What the strategies promise: inside the bounds to the last bit, and the awkward cases really come
up.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from tests.strategies import BOUNDS, EPS, awkward_bounds, awkward_eps, float_arrays, images, shapes

search = settings(
    max_examples=1000, database=None, phases=[Phase.generate]
)  # found is enough, it need not be small


@given(data=st.data(), bounds=awkward_bounds())
def test_images_are_inside_their_bounds(data, bounds):
    low, high = bounds
    assert low < high
    x = data.draw(images(bounds))
    assert x.dtype in (np.float32, np.float64)
    assert x.ndim in (2, 4)
    assert x.size > 0
    assert all(Fraction(low) <= Fraction(float(pixel)) <= Fraction(high) for pixel in x.flat)


@pytest.mark.parametrize("end", [-1, 1])
def test_the_last_float_inside_comes_up_and_no_further(end):
    nearest = np.float32(0.1)  # lies beyond 0.1
    strategy = float_arrays((1,), np.float32, -0.1, 0.1)
    find(
        strategy, lambda x: (end * x == np.nextafter(nearest, np.float32(0))).any(), settings=search
    )
    with pytest.raises(NoSuchExample):
        find(
            strategy,
            lambda x: (end * x >= nearest).any(),
            settings=settings(search, max_examples=200),
        )


@given(eps=awkward_eps(0.3))
def test_eps_is_a_number_within_its_limit(eps):
    assert type(eps) is float
    assert 0 <= eps <= 0.3


def test_the_lists_have_no_repeats():
    assert len(set(EPS)) == len(EPS)
    assert len(set(BOUNDS)) == len(BOUNDS)


def is_denormal(x):
    return ((x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny)).any()


@pytest.mark.parametrize(
    ("strategy", "case"),
    [
        (float_arrays(), lambda x: x.ndim == 0),
        (float_arrays(), lambda x: x.size == 0),
        (float_arrays(), lambda x: x.ndim == 4),
        (float_arrays((2,), "float32"), is_denormal),
        (float_arrays((2,), "float64"), is_denormal),
        (float_arrays((2,), "float32"), lambda x: (np.abs(x) > 1e30).any()),
        (float_arrays((2,), "float32"), lambda x: (np.signbit(x) & (x == 0)).any()),
        (images(dtype="float32"), lambda x: (x == 0).any() and (x == 1).any()),
        (images(dtype="float32"), is_denormal),
        (images(), lambda x: x.ndim == 4 and len(x) > 1),
        (shapes(1, 3, 1), lambda shape: len(shape) == 3),
        (awkward_eps(), lambda eps: 0 < eps < np.finfo(np.float64).tiny),
        (awkward_eps(), lambda eps: eps not in EPS),
        (awkward_bounds(), lambda bounds: bounds not in BOUNDS),
    ],
)
def test_awkward_cases_come_up(strategy, case):
    find(strategy, case, settings=search)
