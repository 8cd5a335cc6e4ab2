"""FAB: the distance to hyperplanes inside bounds, the paper's algorithm step by step, and other
attacks on the same weights."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minadv import data, deepfool, inference
from minadv.attacks.fab import fab
from minadv.attacks.hyperplanes import onto_hyperplane
from minadv.autograd import jacobian
from minadv.backend import asarray, to_numpy
from minadv.layers import Dense, Flatten, Sequential, Tanh
from minadv.models import LogisticRegression, cnn
from tests import peers
from tests.models import mlp

FAR = (-1000.0, 1000.0)
ORDER = {"l2": 2, "linf": np.inf}
DUAL = {"l2": 2, "linf": 1}
NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


def affine(W, b):
    layer = Dense(*W.shape)
    layer.weight, layer.bias = asarray(W), asarray(b)
    return layer


def network(pixels, *, classes=5, rng=0):
    rng = np.random.default_rng(rng)
    layers = (
        Dense(pixels, 16, rng=rng, dtype=np.float64),
        Tanh(),
        Dense(16, classes, rng=rng, dtype=np.float64),
    )
    layers[0].weight *= 3
    return Sequential(Flatten(), *layers)


def shortest(x, w, gap, bounds, norm):
    """The shortest way onto w·r = gap inside bounds, for one image, by bisection on its length."""
    if gap < 0:
        w, gap = -w, -gap
    direction = w if norm == "l2" else np.sign(w)
    inner, outer = 0.0, 1e4
    for _ in range(60):
        middle = (inner + outer) / 2
        r = np.clip(x + middle * direction, *bounds) - x
        inner, outer = (middle, outer) if w @ r < gap else (inner, middle)
    return np.clip(x + outer * direction, *bounds) - x


def size(change, norm):
    return np.linalg.norm(change.reshape(len(change), -1), ORDER[norm], axis=1)


# --- the projection


@NORMS
@given(
    x=hnp.arrays(float, (4, 6), elements=st.integers(0, 8).map(lambda k: k / 8)),
    w=hnp.arrays(float, (4, 6), elements=st.integers(-4, 4)),
    gap=hnp.arrays(float, 4, elements=st.integers(-30, 30).map(lambda k: k / 4)),
)
@settings(max_examples=15)
def test_the_way_onto_a_hyperplane_is_the_shortest_inside_bounds(xp, norm, x, w, gap):
    r = to_numpy(onto_hyperplane(xp.asarray(x), xp.asarray(w), xp.asarray(gap), (0, 1), norm))
    assert ((x + r >= -1e-12) & (x + r <= 1 + 1e-12)).all()
    most = np.where(w * np.sign(gap)[:, None] > 0, 1 - x, x)
    for n in range(4):
        reachable = (abs(w[n]) * most[n]).sum() >= abs(gap[n])
        if reachable:
            assert w[n] @ r[n] == pytest.approx(gap[n], abs=1e-9)
        expected = shortest(x[n], w[n], gap[n], (0, 1), norm)
        assert np.allclose(r[n], expected, rtol=0, atol=1e-6)


@NORMS
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_way_does_not_depend_on_the_scale_of_the_logits(norm, scale):
    rng = np.random.default_rng(0)
    x, w = rng.random((5, 7)).astype(np.float32), rng.normal(size=(5, 7)).astype(np.float32)
    gap = rng.normal(size=5).astype(np.float32)
    usual = onto_hyperplane(x, w, gap, (0, 1), norm)
    scaled = onto_hyperplane(x, w * np.float32(scale), gap * np.float32(scale), (0, 1), norm)
    assert np.allclose(usual, scaled, rtol=1e-5, atol=1e-7)


# --- closed forms


@NORMS
@pytest.mark.parametrize("steps", [1, 10])
def test_affine_models_are_fooled_by_the_smallest_change(xp, norm, steps):
    rng = np.random.default_rng(0)
    W, b, x = rng.standard_normal((30, 6)), rng.standard_normal(6), rng.random((50, 30))
    y = (x @ W + b).argmax(axis=1)
    r = fab(affine(W, b), xp.asarray(x), norm=norm, steps=steps, bounds=FAR)
    z = x @ W + b
    f = z - z[range(50), y][:, None]
    w = np.linalg.norm(W[:, None, :] - W[:, y][:, :, None], DUAL[norm], axis=0)
    nearest = np.where(f == 0, np.inf, abs(f) / np.where(f == 0, 1, w)).min(axis=1)
    found = to_numpy(getattr(r, norm))
    assert to_numpy(r.success).all()
    assert (found >= nearest).all()
    assert (found <= 1.002 * nearest).all()


@NORMS
def test_the_smallest_change_inside_bounds(norm):
    rng = np.random.default_rng(1)
    w, x = rng.normal(size=12), np.clip(3 * rng.random((20, 12)) - 1, 0, 1)  # many at a bound
    b = -float(w @ x.mean(axis=0))
    r = fab(LogisticRegression(w, b), x, norm=norm, steps=5)
    nearest = size(
        np.array([shortest(x[n], w, -(x[n] @ w + b), (0, 1), norm) for n in range(20)]), norm
    )
    assert (nearest > 1.05 * abs(x @ w + b) / np.linalg.norm(w, DUAL[norm])).any()
    assert r.success.all()
    assert (getattr(r, norm) <= 1.01 * nearest).all()
    assert (getattr(r, norm) >= nearest * (1 - 1e-9)).all()


# --- the algorithm


def slow_fab(model, x, norm, steps, eta, alpha_max, beta, bounds):
    """Algorithm 1 for one image, without its final search: the successes, in their order."""
    c, x_i, found = int(model(x[None])[0].argmax()), x, []
    for _ in range(steps):
        z, J = model(x_i[None])[0], jacobian(model, x_i[None])[0]
        others = [l for l in range(len(z)) if l != c]
        s = min(
            others,
            key=lambda l: abs(z[l] - z[c]) / np.linalg.norm(J[l] - J[c], DUAL[norm]),  # noqa: B023
        )  # line 7
        w, f = J[s] - J[c], z[s] - z[c]
        delta = shortest(x_i, w, -f, bounds, norm)  # line 8
        delta_orig = shortest(x, w, -(f + w @ (x - x_i)), bounds, norm)  # line 9
        a, b = (np.linalg.norm(d, ORDER[norm]) for d in (delta, delta_orig))
        alpha = min(a / (a + b), alpha_max)  # line 10
        x_i = (1 - alpha) * (x_i + eta * delta) + alpha * (x + eta * delta_orig)
        x_i = np.clip(x_i, *bounds)  # line 11
        if int(model(x_i[None])[0].argmax()) != c:  # line 12
            found.append(x_i)
            x_i = (1 - beta) * x + beta * x_i  # line 17
    return found


@NORMS
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-3.0, 3.0)])
def test_attack_is_the_algorithm_step_by_step(norm, bounds, monkeypatch):
    monkeypatch.setattr(importlib.import_module("minadv.attacks.fab"), "HALVINGS", 0)
    rng, model = np.random.default_rng(1), network(8, rng=2)
    x = np.clip(1.5 * rng.random((8, 8)) - 0.25, 0, 1)
    for steps, alpha_max, beta in ((6, 0.1, 0.9), (4, 0.5, 0.6)):
        how = {"steps": steps, "alpha_max": alpha_max, "beta": beta, "overshoot": 0.1}
        r = fab(model, x, norm=norm, bounds=bounds, **how)
        for n in range(len(x)):
            found = slow_fab(model, x[n], norm, steps, 1.1, alpha_max, beta, bounds)
            assert bool(r.success[n]) == bool(found)
            if found:
                expected = min(found, key=lambda z: np.linalg.norm(z - x[n], ORDER[norm]))  # noqa: B023
                assert np.allclose(r.x_adv[n], expected, rtol=0, atol=1e-6)
    assert r.success.mean() > 0.8


@NORMS
def test_it_goes_back_to_the_boundary(norm):
    """A hundredth of the way from the result towards the original, the label is y again."""
    model, x, y = peers.digits_mlp()
    r = fab(model, x, y=y, norm=norm, steps=5)
    assert r.success.all()
    inside = (x + np.float32(0.99) * (r.x_adv - x)).astype(np.float32)
    assert (inference.predict(model, inside) == y).all()


@NORMS
def test_more_steps_and_restarts_are_never_worse(norm):
    model, x, y = peers.digits_mlp()
    few, more, restarted = (
        getattr(fab(model, x, y=y, norm=norm, steps=steps, restarts=restarts), norm)
        for steps, restarts in ((3, 1), (15, 1), (15, 2))
    )
    # a smaller one may lie on another way back
    assert (more <= few * 1.05).all()
    assert (restarted <= more * 1.05).all()
    assert restarted.mean() < more.mean() < few.mean()
    assert (restarted < 0.99 * more).any()


@NORMS
def test_it_is_smaller_than_deepfool(norm):
    model, x, y = peers.digits_mlp()
    ours = getattr(fab(model, x, y=y, norm=norm, steps=15), norm)
    theirs = getattr(deepfool(model, x, y=y, norm=norm), norm)
    assert np.median(ours) < np.median(theirs)
    assert (ours <= theirs * 1.001).mean() > 0.9


@NORMS
def test_it_is_at_least_as_good_as_torchattacks(norm):
    """On the same weights, as many steps: the median size, within 2 %."""
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = peers.digits_mlp()
    peer, inputs, labels = peers.in_torch()
    x, y, inputs, labels = x[:40], y[:40], inputs[:40], labels[:40]
    tool = torchattacks.FAB(peer, norm=norm.capitalize(), eps=10.0, steps=20, n_classes=10)
    x_adv = peers.as_ours(tool(inputs, labels))
    won = inference.predict(model, x_adv) != y
    ours = fab(model, x, y=y, norm=norm, steps=20)
    assert won.mean() > 0.9
    assert ours.success.all()
    assert np.median(getattr(ours, norm)[won]) <= 1.02 * np.median(size(x_adv - x, norm)[won])


# --- who is in the batch, wrong input


@NORMS
def test_the_label_is_the_models_in_any_batch(norm):
    x, model = data.digits().x_test[:100], cnn((8, 8, 1), rng=0)
    r = fab(model, x, norm=norm, steps=3)
    assert r.success.mean() > 0.98
    for count in (1, 7):
        parts = [inference.predict(model, r.x_adv[i : i + count]) for i in range(0, 100, count)]
        assert np.array_equal(np.concatenate(parts), r.label)


@NORMS
def test_a_batch_is_its_images_one_by_one(norm):
    x, model = np.random.default_rng(4).random((20, 18)), network(18, rng=5)
    how = {"norm": norm, "steps": 6, "restarts": 2, "rng": 3}
    whole = fab(model, x, **how)
    for i in range(20):
        alone = fab(model, x[i : i + 1], **how)
        assert np.allclose(alone.x_adv[0], whole.x_adv[i], rtol=0, atol=1e-8)
        assert alone.steps[0] == whole.steps[i]


def test_a_flat_model_is_warned_of_and_left_alone():
    x = np.full((3, 6), 0.5)
    with pytest.warns(UserWarning, match="exactly zero for 3 of 3 images") as caught:
        r = fab(LogisticRegression(np.zeros(6), 2.0), x, steps=3)
    assert caught[0].filename == __file__
    assert np.array_equal(r.x_adv, x)
    assert not r.success.any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_image_that_bounds_hold_back_has_a_gradient(norm):
    """The way to the other class leads out of the box at once; no warning, as of a flat model."""
    r = fab(LogisticRegression(np.full(4, 1.0), 9.0), np.zeros((1, 4)), norm=norm, steps=2)
    assert np.array_equal(r.x_adv, np.zeros((1, 4)))
    assert not r.success.any()


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (ValueError, "overshoot must be >= 0, got -0.02", {"overshoot": -0.02}),
        (ValueError, "candidates must be >= 2, got 1", {"candidates": 1}),
        (ValueError, "alpha_max must be <= 1, got 2", {"alpha_max": 2}),
        (ValueError, "beta must be >= 0, got -1", {"beta": -1}),
        (TypeError, "beta must be a number, got None", {"beta": None}),
        (ValueError, "norm must be 'l2' or 'linf', got 'l1'", {"norm": "l1"}),
        (ValueError, "y must lie in 0..3, the model's classes, got 5", {"y": 5}),
    ],
)
def test_wrong_input_is_named(error, message, wrong):
    with pytest.raises(error, match=message):
        fab(mlp(8), np.full((2, 8), 0.5), **wrong)
