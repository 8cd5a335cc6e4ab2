"""Noise and negatives: the bound as real numbers, the distribution, and negatives that are rounded
once.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minadv.attacks.noise import negative, uniform_noise
from minadv.backend import to_numpy
from minadv.checks import check_bounds
from tests.strategies import assert_inside, attacked, dtypes, float_arrays, shapes


@given(attacked(), st.integers(0, 2**32))
def test_noise_stays_in_the_ball_and_in_bounds(xp, case, seed):
    x, eps, bounds = case
    given_x = xp.asarray(x)
    noisy = to_numpy(uniform_noise(given_x, eps=eps, rng=seed, bounds=bounds))
    assert np.array_equal(to_numpy(given_x), x)
    assert_inside(noisy, x, eps, bounds)


def test_noise_no_larger_than_the_distance_of_two_floats_stays_in_the_ball():
    x = np.random.default_rng(0).uniform(0.5, 1, (10, 100)).astype(np.float32)  # 2^-24 apart
    eps = 1.7 * 2.0**-24
    change = np.abs(uniform_noise(x, eps=eps).astype(float) - x)
    assert change.max() == 2.0**-24


def test_noise_is_uniform_and_independent(xp):
    x = xp.asarray(np.full((100, 50), 0.5))
    noise = to_numpy(uniform_noise(x, eps=0.25)) - 0.5
    share = np.sort(noise.ravel() / 0.5 + 0.5)
    assert np.abs(share - np.linspace(0, 1, 5000)).max() < 0.023  # Kolmogorov and Smirnov, p < 1 %
    assert np.abs(np.corrcoef(noise.T) - np.eye(50)).max() < 0.5
    assert np.abs(np.corrcoef(noise) - np.eye(100)).max() < 0.7


def test_noise_of_a_seed(xp):
    x = xp.asarray(np.full((3, 4), 0.5, np.float32))
    first = to_numpy(uniform_noise(x, eps=0.1, rng=5))
    assert np.array_equal(first, to_numpy(uniform_noise(x, eps=0.1, rng=np.random.default_rng(5))))
    assert not np.array_equal(first, to_numpy(uniform_noise(x, eps=0.1, rng=6)))
    assert np.array_equal(
        first[:2], to_numpy(uniform_noise(x[:2], eps=0.1, rng=5))
    )  # image after image


@given(attacked())
def test_negative_is_right_to_the_last_bit_and_stays_in_bounds(xp, case):
    x, _, bounds = case
    low, high = check_bounds(bounds, x.dtype)
    given_x = xp.asarray(x)
    out = to_numpy(negative(given_x, bounds=(low, high)))
    assert np.array_equal(to_numpy(given_x), x)
    assert (out.dtype, out.shape) == (x.dtype, x.shape)
    assert ((low <= out) & (out <= high)).all()
    for before, after in zip(x.ravel().tolist(), out.ravel(), strict=True):
        exact = Fraction(low) + Fraction(high) - Fraction(before)
        neighbors = [
            Fraction(float(np.nextafter(after, x.dtype.type(to)))) for to in (-np.inf, np.inf)
        ]
        assert all(
            abs(exact - Fraction(float(after))) <= abs(exact - b) * Fraction(1 + 2**-20)
            for b in neighbors
        )  # nearest


@given(attacked())
def test_low_and_high_become_each_other(xp, case):
    x, _, bounds = case
    low, high = check_bounds(bounds, x.dtype)
    ends = xp.asarray(np.array([[low, high]], x.dtype))
    assert to_numpy(negative(ends, bounds=(low, high))).tolist() == [[high, low]]


@given(float_arrays(shapes(2, 2, 1), dtypes, -1.0, 1.0))
def test_negative_of_centered_pixels_is_minus_x(xp, x):
    assert np.array_equal(to_numpy(negative(xp.asarray(x), bounds=(-1, 1))), -x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_twice_negative_is_the_image_where_nothing_is_rounded(xp, dtype):
    dyadic = np.arange(256, dtype=dtype).reshape(1, 256) / 256
    assert np.array_equal(to_numpy(negative(xp.asarray(dyadic))), 1 - dyadic)
    for x, bounds in ((dyadic, (0, 1)), (2 * dyadic - 1, (-1, 1)), (256 * dyadic, (0, 255))):
        given_x = xp.asarray(x)
        assert np.array_equal(
            to_numpy(negative(negative(given_x, bounds=bounds), bounds=bounds)), x
        )


def test_minus_zero_is_zero():
    x = np.full((1, 4), 0.5)
    assert (uniform_noise(x, eps=-0.0) == x).all()
