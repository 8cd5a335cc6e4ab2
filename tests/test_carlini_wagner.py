"""Carlini and Wagner's attack: the distance to a hyperplane, its confidence, the search for c, and
other libraries on the same weights."""

from __future__ import annotations

import numpy as np
import pytest

from minadv import deepfool, inference, ops
from minadv.attacks.carlini_wagner import carlini_wagner
from minadv.attacks.goal import Goal
from minadv.attacks.scores import lead
from minadv.backend import to_numpy
from minadv.models import LogisticRegression
from tests import peers
from tests.models import mlp, recording

KINDS = pytest.mark.parametrize("kind", ["y", "target"])
QUICK = {"lr": 0.02, "steps": 200, "search_steps": 7, "initial_const": 0.01}


def plane(pixels=12, *, seed=0):
    """Two classes, w·x + b, and images on both sides of the hyperplane."""
    rng = np.random.default_rng(seed)
    w, x = rng.normal(size=pixels), 0.3 + 0.4 * rng.random((20, pixels))
    return w, -float(w @ x.mean(axis=0)), x


def goal_of(kind, model, x):
    label = to_numpy(model(x)).argmax(axis=1)
    return {kind: label if kind == "y" else 1 - label}


@KINDS
def test_comes_within_a_percent_of_the_hyperplane(xp, kind):
    w, b, x = plane()
    model, x = LogisticRegression(w, b), xp.asarray(x[:8])
    r = carlini_wagner(model, x, **goal_of(kind, model, x), steps=300, initial_const=0.01)
    distance = abs(to_numpy(x) @ w + b) / np.linalg.norm(w)
    assert to_numpy(r.success).all()
    assert (to_numpy(r.l2) >= distance * (1 - 1e-9)).all()
    assert (to_numpy(r.l2) <= distance * 1.01 + 1e-4).all()


def test_comes_near_the_nearest_point_of_the_hyperplane_inside_bounds():
    """Pixels that the way would lead out of bounds stay there, and the others go further."""
    w, _, x = plane()
    low, high = 0.2, 0.8
    x = np.clip(3 * x - 1, low, high)  # many at a bound
    b = -float(w @ x.mean(axis=0))
    gap = -(x @ w + b)
    nearest = []
    for x_n, gap_n in zip(x, gap, strict=True):  # clip(x + λ·w) by bisection on λ
        inner, outer = 0.0, np.sign(gap_n) * 100
        for _ in range(100):
            middle = (inner + outer) / 2
            short = abs(w @ (np.clip(x_n + middle * w, low, high) - x_n)) < abs(gap_n)
            inner, outer = (middle, outer) if short else (inner, middle)
        nearest.append(np.linalg.norm(np.clip(x_n + outer * w, low, high) - x_n))
    model = LogisticRegression(w, b)
    how = {"bounds": (low, high), "steps": 500, "initial_const": 0.01}
    r = carlini_wagner(model, x, **goal_of("y", model, x), **how)
    assert (np.array(nearest) > 1.05 * abs(gap) / np.linalg.norm(w)).any()  # bounds matter here
    assert r.success.all()
    assert (r.l2 >= np.array(nearest) * (1 - 1e-6)).all()
    assert (r.l2 <= np.array(nearest) * 1.01 + 0.002).all()


@KINDS
@pytest.mark.parametrize("kappa", [0.5, 3.0])
def test_confidence_is_the_lead_that_is_reached(kind, kappa):
    w, b, x = plane()
    model = LogisticRegression(w, b)
    how = goal_of(kind, model, x)
    r = carlini_wagner(model, x, **how, confidence=kappa, bounds=(-5, 6))
    ahead = lead(Goal.of(x, **how), model(r.x_adv))
    distance = (abs(x @ w + b) + kappa) / np.linalg.norm(w)
    assert (ahead >= kappa).all()
    assert (r.l2 >= distance * (1 - 1e-9)).all()
    assert (r.l2 <= distance * 1.02).all()


def test_a_success_that_is_not_confident_enough_is_attacked():
    model, x = LogisticRegression(np.array([1.0, 1.0]), -1.0), np.array([[0.5, 0.75], [0.9, 0.9]])
    r = carlini_wagner(model, x, target=1, confidence=0.5, **QUICK)
    assert (r.steps > 0).tolist() == [True, False]
    assert (model(r.x_adv)[:, 1] >= 0.5).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_scale_of_the_logits_does_not_matter(scale):
    """Times 1,000, a float32 softmax is 0 and 1 everywhere. Only the c that is found differs."""
    w, b, x = plane()
    x = x[:8].astype(np.float32)
    model = LogisticRegression((scale * w).astype(np.float32), scale * b)
    r = carlini_wagner(model, x, **goal_of("y", model, x))
    distance = abs(x @ w + b) / np.linalg.norm(w)
    assert r.success.all()
    assert (r.l2 <= distance * 1.05 + 1e-4).all()
    assert r.x_adv.dtype == np.float32


def test_each_image_gets_its_own_c():
    """Among images a hundred times as far away, a near one is changed as little as alone."""
    w = np.array([1.0, -1.0, 0.5])
    x = 0.5 + np.outer([0.002, *[0.2] * 9], np.sign(w))
    model = LogisticRegression(w, -0.25)
    batch = carlini_wagner(model, x, y=1, **QUICK)
    alone = carlini_wagner(model, x[:1], y=1, **QUICK)
    assert np.allclose(batch.l2[0], alone.l2[0], rtol=1e-9)
    assert batch.l2[0] < batch.l2[1:].min() / 20


def test_more_descents_and_more_steps_are_never_worse():
    """Each descent starts anew: the first ones are the same, and the smallest success is kept."""
    model, x, y = peers.digits_mlp()
    sizes = [
        np.where((r := carlini_wagner(model, x, y=y, **QUICK | more)).success, r.l2, np.inf)
        for more in ({"search_steps": 1}, {"search_steps": 3}, {"search_steps": 6})
    ]
    assert (sizes[1] <= sizes[0] + 1e-6).all()
    assert (sizes[2] <= sizes[1] + 1e-6).all()
    found = [np.isfinite(size).sum() for size in sizes]
    assert found[0] < found[1] == found[2] == len(x)


def test_images_leave_a_descent_where_nothing_is_gained_and_steps_are_counted():
    recorder, seen = recording(mlp(9, dtype=np.float64))
    x = np.random.default_rng(0).random((30, 9))
    y = to_numpy(mlp(9, dtype=np.float64)(x)).argmax(axis=1)
    r = carlini_wagner(recorder, x, y=y, lr=0.05, steps=400, search_steps=3)
    asked = sum(len(z) for z in seen)
    assert asked == r.steps.sum() + 2 * len(x)  # the originals, and the judgement
    assert r.steps.max() <= 3 * 400
    assert len(set(r.steps.tolist())) > 1
    assert r.steps.mean() < 0.8 * 3 * 400


def test_an_image_without_a_success_is_returned_unchanged():
    def stubborn(x):  # class 0 wins by 5 at least
        flat = ops.reshape(x, (len(x), 4))
        first = ops.sum(flat, axis=1)
        return ops.concatenate(
            [ops.reshape(first * 0 + 9, (-1, 1)), ops.reshape(first, (-1, 1))], 1
        )

    x = np.full((3, 4), 0.5, np.float32)
    r = carlini_wagner(stubborn, x, y=0, **QUICK)
    assert np.array_equal(r.x_adv, x)
    assert not r.success.any()
    assert r.steps.min() >= 6 * 10


def test_a_flat_model_is_warned_of():
    with pytest.warns(UserWarning, match="exactly zero for 3 of 3 images"):
        r = carlini_wagner(LogisticRegression(np.zeros(6), 2.0), np.full((3, 6), 0.5), y=1, **QUICK)
    assert not r.success.any()


def test_the_best_of_all_targets_is_smaller_than_deepfool():
    model, x, y = peers.digits_mlp()
    x, y = x[:20], y[:20]
    smallest = np.full(len(x), np.inf)
    for target in range(10):
        r = carlini_wagner(model, x, target=target, **QUICK)
        assert r.success.mean() > 0.9
        smallest = np.minimum(smallest, np.where((target != y) & r.success, r.l2, np.inf))
    assert np.median(smallest) < np.median(deepfool(model, x, y=y).l2)


def test_it_is_at_least_as_good_as_torchattacks_and_foolbox():
    """On the same weights: all succeed, and the median change is no larger than 1.02 of theirs."""
    torchattacks, foolbox = pytest.importorskip("torchattacks"), pytest.importorskip("foolbox")
    model, x, y = peers.digits_mlp()
    peer, inputs, labels = peers.in_torch()
    x, y, inputs, labels = x[:20], y[:20], inputs[:20], labels[:20]
    ours = carlini_wagner(model, x, y=y, **QUICK)
    tool = torchattacks.CW(peer, c=1, steps=100, lr=0.02)
    fool = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=5, steps=100, stepsize=0.02, initial_const=0.1
    )
    wrapped = foolbox.PyTorchModel(peer, bounds=(0, 1), device="cpu")
    theirs = {
        "torchattacks": tool(inputs, labels),
        "Foolbox": fool(wrapped, inputs, labels, epsilons=None)[0],
    }
    assert ours.success.all()
    for x_adv in map(peers.as_ours, theirs.values()):
        won = inference.predict(model, x_adv) != y
        size = np.linalg.norm((x_adv.astype(float) - x).reshape(len(x), -1), axis=1)
        assert np.median(ours.l2[won]) <= 1.02 * np.median(size[won])


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (ValueError, "confidence must be >= 0, got -1", {"confidence": -1}),
        (TypeError, "confidence must be a number, got None", {"confidence": None}),
        (ValueError, "lr must be > 0, got 0", {"lr": 0}),
        (ValueError, "search_steps must be >= 1, got 0", {"search_steps": 0}),
        (TypeError, "search_steps must be an integer, got 2.5", {"search_steps": 2.5}),
        (ValueError, "initial_const must be > 0, got 0.0", {"initial_const": 0.0}),
        (ValueError, "initial_const must be <= 1e\\+10, got 100000000000", {"initial_const": 1e11}),
    ],
)
def test_wrong_input_is_named(error, message, wrong):
    with pytest.raises(error, match=message):
        carlini_wagner(mlp(8), np.full((2, 8), 0.5), y=0, **wrong)
