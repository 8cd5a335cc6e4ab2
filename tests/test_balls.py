"""The balls hold as real numbers: every claim is checked with Fraction, down to denormals and for
bounds that no binary float holds.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minadv.attacks.balls import Ball, L2Ball
from minadv.backend import to_numpy
from minadv.checks import check_bounds
from minadv.numerics import length_and_direction, two_sum
from tests.strategies import attacked, float_arrays, real, shapes


def neighbor(a, towards):
    return np.nextafter(a, np.array(towards, a.dtype))


@given(attacked(shapes(1, 4, 0)))
def test_ball_is_exactly_what_lies_within_eps_and_bounds(xp, case):
    x, eps, bounds = case
    ball = Ball(xp.asarray(x), eps, bounds)
    low, high = to_numpy(ball.low), to_numpy(ball.high)
    lowest, highest = check_bounds(bounds, x.dtype)
    assert low.dtype == high.dtype == x.dtype
    assert low.shape == high.shape == x.shape
    assert (low <= x).all()
    assert (x <= high).all()
    assert (lowest <= low).all()
    assert (high <= highest).all()
    for center, a, b in zip(real(x), real(low), real(high), strict=True):
        assert center - a <= Fraction(eps)
        assert b - center <= Fraction(eps)
    # and no number beyond its ends is left out that is within eps and bounds
    for center, a, b in zip(
        real(x), real(neighbor(low, -np.inf)), real(neighbor(high, np.inf)), strict=True
    ):
        assert a < lowest or center - a > Fraction(eps)
        assert b > highest or b - center > Fraction(eps)


@given(attacked(shapes(1, 4, 0)), st.data())
def test_projection_is_the_nearest_point(xp, case, data):
    x, eps, bounds = case
    z = data.draw(float_arrays(x.shape, x.dtype))
    ball = Ball(xp.asarray(x), eps, bounds)
    nearest = to_numpy(ball.project(xp.asarray(z)))
    low, high = to_numpy(ball.low), to_numpy(ball.high)
    assert nearest.dtype == x.dtype
    assert np.array_equal(nearest, np.where(z < low, low, np.where(z > high, high, z)))


def test_eps_0_is_the_point_itself(xp):
    x = xp.asarray(np.array([[0.0, 0.1, 1.0, 1e-45]], np.float32))
    ball = Ball(x, 0.0)
    assert np.array_equal(to_numpy(ball.project(x + 1)), to_numpy(x))
    assert np.array_equal(to_numpy(L2Ball(x, 0.0).project(x / 2)), to_numpy(x))


def test_the_formula_of_the_field_leaves_the_ball_and_this_one_does_not():
    x = np.random.default_rng(0).random((1000, 1), dtype=np.float32)
    eps = 0.1
    usual = np.clip(x + eps, x - eps, x + eps)
    outside = [z - center > Fraction(eps) for z, center in zip(real(usual), real(x), strict=True)]
    assert np.mean(outside) > 0.3
    exact = Ball(x, eps).project(x + np.float32(eps))
    assert all(z - center <= Fraction(eps) for z, center in zip(real(exact), real(x), strict=True))


@given(attacked(shapes(2, 4, 1)), st.floats(0, 3), st.integers(0, 2**32))
def test_l2_ball_holds_as_real_numbers(xp, case, reach, seed):
    x, eps, bounds = case
    ball = L2Ball(xp.asarray(x), eps, bounds)
    step = np.random.default_rng(seed).normal(size=x.shape)
    z = (x + reach * eps * step).astype(x.dtype)
    projected = to_numpy(ball.project(xp.asarray(z)))
    low, high = check_bounds(bounds, x.dtype)
    assert projected.dtype == x.dtype
    assert (projected >= low).all()
    assert (projected <= high).all()
    for center, before, after in zip(x, z, projected, strict=True):
        assert length_squared(after, center) <= Fraction(eps) ** 2
        if (
            length_squared(before, center) <= (Fraction(eps) * Fraction(1 - 1e-10)) ** 2
            and eps > 1e-300
        ):
            assert np.array_equal(after, before.clip(low, high))


def length_squared(a, b):
    return sum((u - v) ** 2 for u, v in zip(real(a), real(b), strict=True))


@pytest.mark.parametrize("tiny", [5e-324, 1e-323, 3e-323, 2.3e-308])
def test_l2_ball_of_denormal_size(tiny):
    rng = np.random.default_rng(1)
    for _ in range(50):
        z = rng.integers(-9, 10, (1, 6)) * tiny
        assert (
            length_squared(L2Ball(np.zeros((1, 6)), 3 * tiny, (-1, 1)).project(z), np.zeros(6))
            <= (3 * Fraction(tiny)) ** 2
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_l2_projection_keeps_the_direction_and_almost_all_of_the_length(xp, dtype):
    rng = np.random.default_rng(0)
    x = rng.uniform(0.4, 0.6, (20, 5, 5, 2)).astype(dtype)
    z = x + rng.normal(size=x.shape).astype(dtype) * 0.1
    eps = 0.2
    change = to_numpy(L2Ball(xp.asarray(x), eps).project(xp.asarray(z))).astype(float) - x
    wanted = z.astype(float) - x
    wanted *= eps / np.sqrt((wanted**2).sum(axis=(1, 2, 3), keepdims=True))
    assert np.allclose(
        change, wanted, rtol=1e-13, atol=2 * np.finfo(dtype).eps
    )  # 2e-16 of the length for each of 50 pixels, and 16


def test_steps_of_steepest_ascent_have_size_1_and_ignore_the_scale_of_the_gradient(xp):
    g = np.array([[3.0, 0.0, -4.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
    x = xp.asarray(np.zeros_like(g))
    for scale in (1.0, 2.0**-100, 2.0**100, 1e-30, 1e-38):
        scaled = xp.asarray(g * np.float32(scale))
        linf, l2 = (to_numpy(ball(x, 1.0, (-1, 1)).steepest(scaled)) for ball in (Ball, L2Ball))
        assert linf.dtype == l2.dtype == np.float32
        assert linf.tolist() == [[1, 0, -1], [0, 0, 0], [0, 1, 0]]
        assert np.allclose(l2, [[0.6, 0, -0.8], [0, 0, 0], [0, 1, 0]], rtol=1e-6)


@given(hnp.arrays(float, (3, 5), elements=st.integers(-1000, 1000)), st.integers(-1000, 1000))
@settings(max_examples=30)
def test_lengths_neither_overflow_nor_underflow(v, exponent):
    length, direction = length_and_direction(np.ldexp(v, exponent))
    assert np.allclose(
        np.ldexp(length[:, 0], -exponent), np.sqrt((v**2).sum(axis=1)), rtol=1e-14, atol=0
    )
    assert np.allclose((direction**2).sum(axis=1), v.any(axis=1))


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_two_sum(a, b):
    s, error = two_sum(a, b)
    assert s == a + b
    assert Fraction(s) + Fraction(error) == Fraction(a) + Fraction(b)


def test_offsets_are_uniform_in_the_ball(xp):
    x = xp.asarray(np.zeros((5, 2, 2, 1), np.float32))
    rng = np.random.default_rng(0)
    linf = np.array(
        [to_numpy(Ball(x, 0.5, (-1, 1)).offset(rng)).ravel() for _ in range(2000)]
    )  # (2000, 4)
    l2 = np.array([to_numpy(L2Ball(x, 0.5, (-1, 1)).offset(rng)).ravel() for _ in range(2000)])
    assert linf.dtype == l2.dtype == np.float32
    assert linf.shape == (2000, 4)
    share = np.sort(linf + 0.5, axis=0)  # uniform in [0, 1]
    assert (
        np.abs(share - np.linspace(0, 1, 2000)[:, None]).max() < 0.04
    )  # Kolmogorov and Smirnov, p < 1 %: 0.036
    volume = np.sort(
        (np.sqrt((l2.astype(float) ** 2).sum(axis=1)) / 0.5) ** 4
    )  # the share of the volume within it
    assert volume[-1] <= 1 + 1e-6
    assert np.abs(volume - np.linspace(0, 1, 2000)).max() < 0.04
    assert np.abs((l2 > 0).mean(axis=0) - 0.5).max() < 0.05


@pytest.mark.parametrize("kind", [Ball, L2Ball])
def test_a_part_of_a_ball_is_the_ball_of_the_part(xp, kind):
    rng = np.random.default_rng(0)
    x, z = (xp.asarray(rng.random((6, 3))) for _ in range(2))
    whole = kind(x, 0.1)
    for index in (xp.asarray([4, 0, 0]), xp.asarray(np.arange(6) % 2 == 0)):
        assert np.array_equal(
            to_numpy(whole[index].project(z[index])), to_numpy(whole.project(z)[index])
        )
        assert np.array_equal(
            to_numpy(whole[index].project(z[index])),
            to_numpy(kind(x[index], 0.1).project(z[index])),
        )
