"""Auto-PGD: closed forms, the paper's algorithm step by step, its losses, the bound as real
numbers, and torchattacks on the same weights."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minadv import grad, inference, losses
from minadv.attacks.apgd import apgd, checkpoints_of
from minadv.attacks.balls import BALLS, Ball
from minadv.attacks.goal import Goal
from minadv.attacks.pgd import pgd
from minadv.attacks.scores import dlr, dlr_towards, lead
from minadv.backend import asarray, to_numpy
from minadv.models import LogisticRegression
from tests import peers, strategies
from tests.models import mlp, recording
from tests.strategies import assert_inside, awkward_eps, real

NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])
KINDS = pytest.mark.parametrize("kind", ["y", "target"])
LOSSES = pytest.mark.parametrize("loss", ["margin", "dlr", "targeted dlr"])


def images(count, pixels=9, *, seed=0, dtype=np.float32):
    return asarray(np.random.default_rng(seed).random((count, pixels)).astype(dtype))


# --- the ball


@NORMS
@given(x=strategies.images(), eps=awkward_eps(1.0), steps=st.integers(1, 8))
@settings(max_examples=15)
def test_the_bound_holds_as_real_numbers(xp, norm, x, eps, steps):
    model, seen = recording(mlp(x[0].size, dtype=x.dtype))
    how = {"eps": eps, "norm": norm, "steps": steps, "early_stop": False}
    r = apgd(model, xp.asarray(x), target=1, **how)
    for z in [*seen, to_numpy(r.x_adv)]:
        assert_inside(z, x, eps, (0, 1))
        if norm == "l2":
            for before, after in zip(x, z, strict=True):
                change = [b - a for a, b in zip(real(before), real(after), strict=True)]
                assert sum(c**2 for c in change) <= Fraction(eps) ** 2


# --- closed forms


@KINDS
@pytest.mark.parametrize("steps", [1, 30])
def test_reaches_the_best_corner_on_a_linear_model(xp, kind, steps):
    W = np.random.default_rng(0).normal(size=9).astype(np.float32)
    x = images(30)
    r = apgd(LogisticRegression(W), x, **{kind: 0}, eps=0.3, steps=steps, early_stop=False)
    ball = Ball(x, 0.3)
    up = (W > 0) if kind == "y" else (W < 0)
    assert np.array_equal(to_numpy(r.x_adv), np.where(up, to_numpy(ball.high), to_numpy(ball.low)))


@KINDS
@pytest.mark.parametrize("scale", [2.0**-60, 1.0, 2.0**60])
def test_reaches_the_point_along_the_gradient_on_a_linear_model_in_l2(xp, kind, scale):
    W = scale * np.random.default_rng(0).normal(size=9)
    x = images(30, dtype=np.float64)
    how = {"eps": 0.4, "norm": "l2", "early_stop": False, "bounds": (-1, 2)}
    r = apgd(LogisticRegression(W), x, **{kind: 0}, **how)
    along = 0.4 * W / np.sqrt(W @ W) * (1 if kind == "y" else -1)
    assert np.allclose(to_numpy(r.x_adv), to_numpy(x) + along, rtol=0, atol=1e-7)


# --- the algorithm


def slow_apgd(model, x, goal, score, eps, norm, steps, rho, rng):
    """Algorithm 1 for one image, with its line numbers."""
    ball, alpha, eta = BALLS[norm](x, eps), 0.75, 2 * eps
    p = [0.0, 0.22]
    while p[-1] < 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    W = [math.ceil(round(p_j * steps, 9)) for p_j in p]

    def f(z):
        return float(score(goal, model(z))[0])

    def gradient(z):
        return grad(lambda z: score(goal, model(z)).sum(), z)

    xs = [ball.project(x + ball.offset(rng))]
    xs.append(ball.project(xs[0] + eta * ball.steepest(gradient(xs[0]))))  # line 1
    fs = [f(z) for z in xs]
    f_max, x_max = max((fs[0], xs[0]), (fs[1], xs[1]), key=lambda pair: pair[0])  # lines 2, 3
    at, last, tried = {0: (eta, fs[0])}, 0, [*zip(fs, xs, strict=True)]
    rises = [fs[1] > fs[0]]
    for k in range(1, steps + 1):  # line 4, and one more, whose point is not used
        if k in W:  # lines 10 to 14, before x(k+1) is computed from what they leave
            few = sum(rises[last:k]) < rho * (k - last)
            at[k] = (eta, f_max)
            if few or at[last] == at[k]:
                eta, xs[k], fs[k] = eta / 2, x_max, f_max
            last = k
        if k == steps:
            break
        z = ball.project(xs[k] + eta * ball.steepest(gradient(xs[k])))  # line 5
        x_k, before = xs[k], xs[k - 1]
        xs.append(ball.project(x_k + alpha * (z - x_k) + (1 - alpha) * (x_k - before)))  # line 6
        fs.append(f(xs[-1]))
        rises.append(fs[-1] > fs[-2])
        if fs[-1] > f_max:  # line 7
            x_max, f_max = xs[-1], fs[-1]  # line 8
        tried.append((fs[-1], xs[-1]))
    return max(tried, key=lambda pair: pair[0])


@NORMS
@KINDS
@pytest.mark.parametrize("rho", [0.75, 0.4])
def test_attack_is_the_algorithm_step_by_step(norm, kind, rho):
    model, x = mlp(9, dtype=np.float64), images(10, dtype=np.float64)
    halved = 0
    for steps in (9, 30):
        how = {"eps": 0.5, "norm": norm, "steps": steps, "rho": rho, "early_stop": False}
        r = apgd(model, x, **{kind: 1}, **how, rng=5)
        for n in range(len(x)):
            goal = Goal.of(x[n : n + 1], **{kind: 1})
            best, x_max = slow_apgd(
                model, x[n : n + 1], goal, Goal.score, 0.5, norm, steps, rho,
                np.random.default_rng(5),
            )  # fmt: skip
            found = float(goal.score(model(r.x_adv[n : n + 1]))[0])
            reached = bool(goal.reached(model(x_max).argmax(axis=1))[0])
            assert bool(r.success[n]) >= reached
            if bool(r.success[n]) == reached:
                assert found == pytest.approx(best, abs=1e-9)
                halved += np.allclose(r.x_adv[n], x_max[0], rtol=0, atol=1e-9)
    assert halved > 16  # the same point, too


def test_checkpoints_are_those_of_the_paper():
    assert sorted(checkpoints_of(100))[:5] == [22, 41, 57, 70, 80]
    assert sorted(checkpoints_of(10))[:3] == [3, 5, 6]


@NORMS
@LOSSES
def test_it_is_better_than_pgd_with_its_default_step(norm, loss):
    """On a trained network, of equal effort: the median log-odds after 40 gradients."""
    model, x, y = peers.digits_mlp()
    eps = 0.1 if norm == "linf" else 0.5
    how = {"y": y, "eps": eps, "norm": norm, "early_stop": False}
    auto, plain = apgd(model, x, steps=40, loss=loss, **how), pgd(model, x, steps=40, **how)
    assert int(auto.success.sum()) >= int(plain.success.sum()) - 1
    if loss == "margin":
        goal = Goal.of(x, y=y)
        gain = goal.score(model(auto.x_adv)) - goal.score(model(plain.x_adv))
        assert np.median(gain) > -1e-3


# --- losses


def test_dlr_by_hand():
    """z = (5, 4, 2, 1): away from 0, (4 − 5) / (5 − 2); towards 2, (2 − 5) / (5 − (2 + 1) / 2)."""
    z, x = np.array([[5.0, 4, 2, 1]]), np.zeros((1, 1))
    assert dlr(Goal.of(x, y=0), z) == pytest.approx(-1 / 3)
    assert dlr(Goal.of(x, y=1), z) == pytest.approx(1 / 3)  # a success already
    assert dlr(Goal.of(x, target=2), z) == pytest.approx(-3 / 3.5)
    assert dlr(Goal.of(x, target=0), z) == pytest.approx(1 / 3.5)
    assert dlr_towards(Goal.of(x, y=0), z, np.array([3])) == pytest.approx(-4 / 3.5)
    assert lead(Goal.of(x, y=0), z) == [-1]
    assert lead(Goal.of(x, target=1), z) == [-1]


@given(
    z=strategies.float_arrays((6, 5), np.float64, -9, 9),
    scale=st.sampled_from([0.25, 3.0, 1e3]),
    shift=st.floats(-5, 5),
)
def test_dlr_does_not_depend_on_scale_and_shift(z, scale, shift):
    x = np.zeros((6, 1))
    z = z + np.arange(5) / 8  # no five equal ones
    for goal in (Goal.of(x, y=[0, 1, 2, 3, 4, 0]), Goal.of(x, target=1)):
        assert np.allclose(dlr(goal, scale * z + shift), dlr(goal, z), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["y", "target"])
def test_losses_are_differentiated(kind):
    z = np.random.default_rng(0).normal(size=(6, 5))
    goal, h = Goal.of(np.zeros((6, 1)), **{kind: [0, 1, 2, 3, 4, 0]}), 1e-6
    for score in (lead, dlr, lambda goal, z: dlr_towards(goal, z, np.array([1, 2, 3, 4, 0, 2]))):
        g = grad(lambda z, score=score: score(goal, z).sum(), z)
        for k in range(5):
            e = h * np.eye(5)[k]
            numeric = (score(goal, z + e) - score(goal, z - e)) / (2 * h)
            assert np.allclose(g[:, k], numeric, rtol=0, atol=1e-8)


def test_equal_logits_have_a_finite_ratio_and_gradient():
    goal, z = Goal.of(np.zeros((1, 1)), y=0), np.zeros((1, 4), np.float32)
    assert np.isfinite(dlr(goal, z)).all()
    assert np.isfinite(grad(lambda z: dlr(goal, z).sum(), z)).all()


def test_targeted_dlr_heads_for_each_class_in_turn_the_likeliest_first():
    """Pixel k decides class k: where a restart ends shows what it was heading for."""

    def model(x):
        return x * np.array([9, 3, 2, 1], x.dtype)

    x = np.full((1, 4), 0.5)
    recorder, seen = recording(model)
    apgd(recorder, x, y=0, eps=0.25, loss="targeted dlr", steps=9, restarts=4, early_stop=False)
    ends = [seen[10 * restart] for restart in (1, 2, 3, 4)]
    assert [int(z[0, 1:].argmax()) + 1 for z in ends] == [1, 2, 3, 1]


def test_margin_is_cross_entropy():
    """Same order, same direction: the log-odds give the iterates of the cross-entropy."""
    model, x = mlp(9, dtype=np.float64), images(8, dtype=np.float64)
    z = model(x)
    goal = Goal.of(x, y=1)
    entropy = losses.cross_entropy(z, goal.label)
    assert (np.argsort(entropy) == np.argsort(goal.score(z))).all()
    one = grad(lambda x: losses.cross_entropy(model(x), goal.label).sum(), x)
    other = grad(lambda x: goal.score(model(x)).sum(), x)
    assert np.array_equal(np.sign(one), np.sign(other))


def test_losses_that_need_more_classes_say_so():
    model, x = mlp(9, classes=3), images(3)
    apgd(model, x, y=0, eps=0.1, loss="dlr", steps=2)
    for loss, goal, least in (("dlr", "target", 4), ("targeted dlr", "y", 4)):
        with pytest.raises(
            ValueError, match=f"loss '{loss}' needs at least {least} classes, got 3"
        ):
            apgd(model, x, **{goal: 0}, eps=0.1, loss=loss)
    with pytest.raises(ValueError, match="loss 'dlr' needs at least 3 classes, got 2"):
        apgd(LogisticRegression(np.ones(9, np.float32)), x, y=0, eps=0.1, loss="dlr")
    with pytest.raises(ValueError, match="loss 'targeted dlr' takes y"):
        apgd(mlp(9), x, target=0, eps=0.1, loss="targeted dlr")


# --- who is in the batch


@NORMS
def test_images_leave_with_their_first_success(norm):
    recorder, seen = recording(mlp(9))
    x = images(60)
    y = to_numpy(mlp(9)(x)).argmax(axis=1)
    r = apgd(recorder, x, y=y, eps=0.2, norm=norm, steps=20)
    assert r.success.any()
    assert (r.steps[~r.success] == 20).all()
    assert (r.steps[r.success] < 20).any()
    assert sum(len(z) for z in seen[1:-1]) == r.steps.sum() + 60


@NORMS
@LOSSES
def test_a_batch_is_its_examples_one_by_one_up_to_rounding(norm, loss):
    model, x = mlp(9, dtype=np.float64), images(20, dtype=np.float64)
    how = {"y": 1, "eps": 0.2, "steps": 12, "restarts": 3, "norm": norm, "rng": 3, "loss": loss}
    whole = apgd(model, x, **how)
    for n in range(20):
        alone = apgd(model, x[n : n + 1], **how)
        assert np.allclose(whole.x_adv[n], alone.x_adv[0], rtol=0, atol=1e-9)
        assert (whole.steps[n], whole.success[n]) == (alone.steps[0], alone.success[0])


def test_restarts_start_elsewhere_and_are_never_worse():
    model, x = mlp(9), images(40)
    how = {"y": 3, "eps": 0.25, "steps": 5, "early_stop": False}
    one, three = (apgd(model, x, restarts=n, **how) for n in (1, 3))
    goal = Goal.of(x, y=3)
    assert (three.success >= one.success).all()
    same = three.success == one.success
    assert (goal.score(model(three.x_adv)) >= goal.score(model(one.x_adv)))[same].all()
    assert (three.x_adv != one.x_adv).any()


@NORMS
def test_it_is_at_least_as_good_as_torchattacks(norm):
    """On the same weights, as many steps: it fools as many, but for one in a hundred."""
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = peers.digits_mlp()
    peer, inputs, labels = peers.in_torch()
    eps = 0.1 if norm == "linf" else 0.5
    for loss in ("ce", "dlr"):
        tool = torchattacks.APGD(peer, norm=norm.capitalize(), eps=eps, steps=30, loss=loss)
        won = inference.predict(model, peers.as_ours(tool(inputs, labels))) != y
        how = {"loss": loss.replace("ce", "margin"), "steps": 30}
        ours = apgd(model, x, y=y, eps=eps, norm=norm, **how)
        assert int(ours.success.sum()) >= int(won.sum()) - 1


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (ValueError, "loss must be 'margin' or 'dlr' or 'targeted dlr', got 'ce'", {"loss": "ce"}),
        (ValueError, "rho must be <= 1, got 1.5", {"rho": 1.5}),
        (TypeError, "rho must be a number, got None", {"rho": None}),
        (TypeError, "early_stop must be True or False, got 1", {"early_stop": 1}),
    ],
)
def test_wrong_input_is_named(error, message, wrong):
    with pytest.raises(error, match=message):
        apgd(mlp(8), np.full((2, 8), 0.5), y=0, eps=0.1, **wrong)
