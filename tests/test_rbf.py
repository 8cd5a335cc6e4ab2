"""The second opinion: RBF units by loops and finite differences, and a disagreement that never
saturates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minadv import Adam, fit, gradcheck
from minadv.backend import to_numpy
from minadv.data import digits
from minadv.defenses.detection import Detector
from minadv.defenses.rbf import RBF, disagreement, rbf_network, squared_distances
from minadv.evaluation import accuracy, confidence
from minadv.models import load_weights, save_weights
from tests.strategies import float_arrays


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 3)), rng.normal(size=(5, 3))


def logits_of(z):
    """A model whose logits are ``z``, whatever it is shown."""
    return lambda x: z


# --- RBF units


@given(
    st.integers(1, 4).flatmap(
        lambda d: st.tuples(*(float_arrays((n, d), np.float64, -100, 100) for n in (3, 2)))
    )
)
def test_squared_distances_by_loops(both):
    a, b = both
    expected = [
        [sum((p - q) ** 2 for p, q in zip(u, v, strict=True)) for v in b.tolist()]
        for u in a.tolist()
    ]
    np.testing.assert_allclose(squared_distances(a, b), expected, rtol=1e-9, atol=1e-9)


def test_rbf_by_hand(points):
    x, center = points
    layer = RBF(center, 0.3)
    expected = [
        [math.exp(-0.3 * math.dist(u, c) ** 2) for c in center.tolist()] for u in x.tolist()
    ]
    np.testing.assert_allclose(layer(x), expected)
    np.testing.assert_allclose(np.diag(layer(center)), 1)
    layer.parameters = {
        "center": center,
        "log_gamma": np.log(np.arange(1.0, 6.0)),
    }  # a width for each unit
    expected = [
        [math.exp(-(j + 1) * math.dist(u, c) ** 2) for j, c in enumerate(center.tolist())]
        for u in x.tolist()
    ]
    np.testing.assert_allclose(layer(x), expected)


def test_rbf_gradients_by_finite_differences(points):
    x, center = points
    layer = RBF(center)
    log_gamma = np.linspace(-2, 1, 5)
    gradcheck(lambda x, c, g: layer.apply({"center": c, "log_gamma": g}, x), x, center, log_gamma)


def test_rbf_falls_silent_far_away(points):
    """However far: no overflow, no NaN; so a network of them answers with its bias, the same
    wherever it is asked."""
    x, center = points
    far = (x + 1e6 * np.sign(x)).astype(np.float32)
    assert (RBF(center.astype(np.float32))(far) == 0).all()
    network = rbf_network(np.random.default_rng(0).random((20, 3)), 2, centers=5)
    network[2].bias = np.array([0.1, 0.4])
    np.testing.assert_array_equal(network(1e6 + x), [[0.1, 0.4]] * 4)


def test_rbf_copies_what_it_is_given(points):
    center = points[1].astype(np.float32)
    layer = RBF(center)
    layer.center += 1
    np.testing.assert_array_equal(center, points[1].astype(np.float32))
    assert layer(points[0].astype(np.float32)).dtype == np.float32
    assert [p.dtype for p in layer.parameters.values()] == [np.float32] * 2


# --- network


def test_network_starts_around_training_images():
    x = np.random.default_rng(0).random((30, 4, 4, 1), dtype=np.float32)
    network = rbf_network(x, 3, centers=7, rng=5)
    assert network(x).shape == (30, 3)
    center = network[1].center
    images = {image.tobytes() for image in x.reshape(30, -1)}
    assert len({c.tobytes() for c in center} & images) == 7
    others = [
        image for image in x.reshape(30, -1) if image.tobytes() not in {c.tobytes() for c in center}
    ]
    nearest = [min(float(((image - c) ** 2).sum()) for c in center) for image in others]
    np.testing.assert_allclose(np.exp(network[1].log_gamma), 1 / np.median(nearest), rtol=1e-5)
    again, another = rbf_network(x, 3, centers=7, rng=5), rbf_network(x, 3, centers=7, rng=6)
    np.testing.assert_array_equal(again(x), network(x))
    assert (another[1].center != center).any()


def test_network_learns_the_digits_and_is_unsure_of_noise(tmp_path):
    d = digits()
    network = rbf_network(d.x_train, centers=100)
    fit(
        network, d.x_train, d.y_train, optimizer=Adam(0.01), epochs=8, batch_size=32, progress=False
    )
    assert accuracy(network, d.x_test, d.y_test) > 0.9
    noise = np.random.default_rng(0).random((100, 8, 8, 1), dtype=np.float32)
    assert confidence(network, noise).mean() < 0.6 < confidence(network, d.x_test).mean()
    other = load_weights(rbf_network(d.x_train, rng=1), save_weights(network, tmp_path / "rbf.npz"))
    np.testing.assert_array_equal(other(d.x_test), network(d.x_test))


def test_network_runs_where_its_weights_are(xp):
    x = np.random.default_rng(0).random((12, 3, 3, 1), dtype=np.float32)
    y = np.arange(12) % 2
    network = rbf_network(xp.asarray(x), 2, centers=4)
    fit(network, xp.asarray(x), xp.asarray(y), epochs=2, batch_size=4, progress=False)
    here = rbf_network(x, 2, centers=4)
    here.parameters = {name: to_numpy(p) for name, p in here.parameters.items()}
    fit(here, x, y, epochs=2, batch_size=4, progress=False)
    np.testing.assert_allclose(to_numpy(network(xp.asarray(x))), here(x), atol=1e-5)
    detector = Detector(disagreement(network, rbf_network(x, 2, centers=3)), 0.1)
    assert detector.scores(xp.asarray(x)).shape == (12,)


# --- disagreement


@given(*[float_arrays((3, 4), np.float64, -20, 20)] * 2)
def test_disagreement_is_the_divergence_of_the_two_softmaxes(z, w):
    def softmax(row):
        e = [math.exp(v) for v in row]
        return [v / sum(e) for v in e]

    pairs = [(softmax(a), softmax(b)) for a, b in zip(z.tolist(), w.tolist(), strict=True)]
    expected = [sum(p * math.log(p / q) for p, q in zip(*pair, strict=True)) for pair in pairs]
    np.testing.assert_allclose(
        disagreement(logits_of(z), logits_of(w))(None), expected, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(disagreement(logits_of(z), logits_of(z + 3))(None), 0, atol=1e-12)


def test_disagreement_does_not_saturate():
    """Two float32 models that are sure of different labels: their probabilities are 0 and 1, the
    disagreement grows on, with a gradient."""
    z, w = np.float32([[300, 0, 0]]), np.float32([[0, 400, 0]])
    np.testing.assert_allclose(disagreement(logits_of(z), logits_of(w))(None), 400)
    gradcheck(
        lambda z, w: disagreement(logits_of(z), logits_of(w))(None),
        np.array([[30.0, 0, 1]]),
        np.array([[0, 40.0, 2]]),
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: RBF(x),
            ValueError,
            r"center must be floating-point vectors \(M, D\), got float64 of shape \(6, 2, 2, 1\)",
        ),
        (lambda x: RBF(np.ones((2, 3), int)), ValueError, "center must be floating-point vectors"),
        (lambda x: RBF(x.reshape(6, 4), 0), ValueError, "gamma must be > 0, got 0"),
        (lambda x: RBF(x.reshape(6, 4), math.inf), ValueError, "gamma must be finite"),
        (lambda x: RBF(x.reshape(6, 4), "wide"), TypeError, "gamma must be a number"),
        (
            lambda x: RBF(x.reshape(6, 4))(x),
            ValueError,
            r"RBF expects \(N, 4\), got \(6, 2, 2, 1\): is a Flatten missing",
        ),
        (
            lambda x: rbf_network(x, centers=6),
            ValueError,
            "centers must be fewer than the images, 6, got 6",
        ),
        (lambda x: rbf_network(x, centers=0), ValueError, "centers must be >= 1, got 0"),
        (lambda x: rbf_network(x, centers=2.0), TypeError, "centers must be an integer"),
        (lambda x: rbf_network(x * 0, centers=2), ValueError, "x must hold images that differ"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(np.random.default_rng(0).random((6, 2, 2, 1)))
