"""Randomized smoothing: its bound against exact sums and SciPy, its radius against the true one."""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minadv import layers
from minadv.backend import asarray, to_numpy
from minadv.certify import ABSTAIN, Smoothed, exact_radius
from minadv.certify.smoothing import clopper_pearson, upper_tail
from minadv.layers import Sequential


def exact_tail(k, n, p):
    p = Fraction(p)
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


@given(n=st.integers(1, 60), share=st.floats(0, 1), alpha=st.sampled_from([0.001, 0.05, 0.5, 0.9]))
def test_the_bound_holds_in_rational_numbers_and_is_the_largest(n, share, alpha):
    k = round(share * n)
    p = clopper_pearson(k, n, alpha)
    if k == 0:
        assert p == 0
        return
    assert exact_tail(k, n, p) <= Fraction(alpha)
    assert exact_tail(k, n, min(1.0, p + 1e-8)) > Fraction(alpha)
    assert upper_tail(k, n, p) == pytest.approx(float(exact_tail(k, n, p)), rel=1e-11)


def test_the_bound_is_scipys():
    beta = pytest.importorskip("scipy.stats").beta
    for n, hits in ((10, (1, 5, 10)), (1000, (1, 501, 990, 1000)), (100_000, (50_500, 99_990))):
        for k in hits:
            for alpha in (0.001, 0.05):
                theirs = beta.ppf(alpha, k, n - k + 1)
                assert clopper_pearson(k, n, alpha) == pytest.approx(theirs, rel=1e-7)


def linear(weight=(3.0, -4.0), bias=0.0):
    model = Sequential(layers.Dense(2, 2, dtype=np.float64))
    model[0].weight = np.array([[0.0, weight[0]], [0.0, weight[1]]])
    model[0].bias = np.array([0.0, bias])
    return model


def test_a_linear_model_gets_nearly_its_exact_radius_and_never_more():
    """P(f = A) is Φ(m / (σ‖w‖)), so σ Φ⁻¹ of it is the distance m / ‖w‖ from the boundary."""
    model, x = linear(), np.array([[0.3, 0.1], [0.1, 0.3], [0.3, 0.2], [0.4, 0.35]])
    y = model(x).argmax(axis=1)
    exact = exact_radius(model, x, y, norm="l2")
    for seed in range(5):
        found = Smoothed(model, 0.1).certify(x, draws=4000, rng=seed)
        certain = found.label != ABSTAIN
        assert (found.label[certain] == y[certain]).all()
        assert (found.radius <= exact).all()
        assert (found.radius[~certain] == 0).all()
        assert certain[:3].all()
        assert (found.radius[:3] > exact[:3] - 0.02).all()
    assert exact[3] < 0.05


def test_more_draws_give_larger_radii_up_to_what_they_can_show():
    model, x = linear(), np.array([[1.0, 0.0]])
    radii = [Smoothed(model, 0.05).certify(x, draws=n).radius[0] for n in (10, 100, 1000)]
    limits = [0.05 * NormalDist().inv_cdf(0.001 ** (1 / n)) for n in (10, 100, 1000)]
    np.testing.assert_allclose(radii[1:], limits[1:], rtol=1e-6)
    assert radii[0] < radii[1] < radii[2]


def test_it_abstains_where_the_vote_is_close():
    model = linear()
    x = np.array([[0.4, 0.3], [1.0, 0.0]])  # on the boundary, and far from it
    smoothed = Smoothed(model, 0.1)
    assert smoothed.predict(x, draws=200).tolist() == [ABSTAIN, 1]
    found = smoothed.certify(x, draws=200)
    assert found.label.tolist() == [ABSTAIN, 1]
    assert found.radius[0] == 0
    coin = [smoothed.predict(x[:1], draws=50, alpha=0.2, rng=seed)[0] for seed in range(60)]
    assert 0 < sum(label != ABSTAIN for label in coin) < 24  # alpha of 60 is 12


def test_an_image_gets_what_it_gets_alone_and_a_seed_repeats():
    x = np.random.default_rng(0).random((4, 2))
    smoothed = Smoothed(linear(), 0.2)
    whole = smoothed.certify(x, draws=300, rng=3)
    for i in range(4):
        alone = smoothed.certify(x[i : i + 1], draws=300, rng=3)
        assert (alone.label[0], alone.radius[0]) == (whole.label[i], whole.radius[i])
    other = smoothed.certify(x, draws=300, rng=4)
    assert (other.radius != whole.radius).any()
    assert smoothed.certify(x[:0]).radius.shape == smoothed.predict(x[:0]).shape == (0,)


@pytest.mark.parametrize("xp", ["numpy", "strict", "cupy"], indirect=True)
def test_smoothing_on_every_backend(xp):
    model = Sequential(layers.Flatten(), layers.Dense(4, 3, rng=0))
    x = asarray(np.random.default_rng(1).random((2, 2, 2, 1)).astype(np.float32))
    found = Smoothed(model, 0.01).certify(x, draws=100)
    assert to_numpy(found.label).tolist() == to_numpy(model(x)).argmax(axis=1).tolist()
    assert (to_numpy(found.radius) > 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": 0}, "sigma must be > 0, got 0"),
        ({"alpha": 1}, "alpha must be < 1, got 1"),
        ({"draws": 0}, "draws must be >= 1, got 0"),
        ({"choose": 0.5}, "choose must be an integer, got 0.5"),
        ({"rng": None}, "rng must be"),
        ({"x": np.full((1, 2), 3.0)}, "x must lie inside bounds"),
        ({"model": 3}, "model must be a function"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    given = {"model": linear(), "sigma": 0.1, "x": np.zeros((1, 2))} | change
    with pytest.raises((TypeError, ValueError), match=message):
        Smoothed(given.pop("model"), given.pop("sigma")).certify(given.pop("x"), **given)
