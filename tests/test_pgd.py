"""PGD: closed forms on linear models, brute force over all its iterates, and the bound as real
numbers in both norms.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minadv import ops
from minadv.attacks.balls import Ball
from minadv.attacks.fgsm import fgsm
from minadv.attacks.goal import Goal
from minadv.attacks.iterative_fgsm import iterative_fgsm
from minadv.attacks.pgd import Best, pgd
from minadv.backend import asarray, to_numpy
from minadv.models import LogisticRegression
from tests import strategies
from tests.models import mlp, recording
from tests.strategies import assert_inside, awkward_eps, real

NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])
KINDS = pytest.mark.parametrize("kind", ["y", "target"])


def images(count, pixels=9, *, seed=0, dtype=np.float32):
    return asarray(np.random.default_rng(seed).random((count, pixels)).astype(dtype))


def log_odds(model, x, **goal):
    """Whether it succeeds, and the log-odds of success: the order of the iterates."""
    goal, logits = Goal.of(x, **goal), model(x)
    return to_numpy(goal.reached(logits.argmax(axis=1))), to_numpy(goal.score(logits))


# --- the ball


@NORMS
@given(
    x=strategies.images(),
    eps=awkward_eps(1.0),
    alpha=st.none() | st.floats(0, 10),
    random_start=st.booleans(),
    steps=st.integers(1, 6),
)
@settings(max_examples=30)
def test_the_bound_holds_as_real_numbers(xp, norm, x, eps, alpha, random_start, steps):
    given_x = xp.asarray(x)
    model, seen = recording(mlp(x[0].size, dtype=x.dtype))
    how = {
        "alpha": alpha,
        "random_start": random_start,
        "steps": steps,
        "norm": norm,
        "early_stop": False,
    }
    r = pgd(model, given_x, target=1, eps=eps, **how)
    assert np.array_equal(to_numpy(given_x), x)
    for z in [*seen, to_numpy(r.x_adv)]:
        assert_inside(z, x, eps, (0, 1))
        if norm == "l2":
            for before, after in zip(x, z, strict=True):
                change = [b - a for a, b in zip(real(before), real(after), strict=True)]
                assert sum(c**2 for c in change) <= Fraction(eps) ** 2


@NORMS
def test_eps_0_changes_nothing(norm):
    x = images(20)
    assert np.array_equal(pgd(mlp(9), x, target=2, eps=0, steps=3, norm=norm).x_adv, x)


# --- closed forms


@KINDS
def test_one_step_is_fgsm(xp, kind):
    x, model = images(60), mlp(9)
    r = pgd(
        model, x, **{kind: 2}, eps=0.1, alpha=0.1, steps=1, random_start=False, early_stop=False
    )
    f = fgsm(model, x, **{kind: 2}, eps=0.1)
    assert np.array_equal(to_numpy(r.x_adv), to_numpy(f.x_adv))
    again = iterative_fgsm(model, x, **{kind: 2}, eps=0.1, steps=1)
    assert np.array_equal(to_numpy(r.x_adv), to_numpy(again.x_adv))


@KINDS
@pytest.mark.parametrize("random_start", [False, True])
def test_reaches_the_best_corner_on_a_linear_model(xp, kind, random_start):
    W = np.random.default_rng(0).normal(size=9).astype(np.float32)
    x = images(30)
    r = pgd(
        LogisticRegression(W), x, **{kind: 0}, eps=0.3, random_start=random_start, early_stop=False
    )
    ball = Ball(x, 0.3)
    up = (W > 0) if kind == "y" else (W < 0)
    assert np.array_equal(to_numpy(r.x_adv), np.where(up, to_numpy(ball.high), to_numpy(ball.low)))


@KINDS
@pytest.mark.parametrize("random_start", [False, True])
def test_reaches_the_point_along_the_gradient_on_a_linear_model_in_l2(xp, kind, random_start):
    W = np.random.default_rng(0).normal(size=9)
    x = images(30, dtype=np.float64)
    how = {
        "random_start": random_start,
        "early_stop": False,
        "norm": "l2",
        "alpha": 0.5,
        "steps": 60,
    }
    r = pgd(LogisticRegression(W), x, **{kind: 0}, eps=0.4, bounds=(-1, 2), **how)
    along = 0.4 * W / np.sqrt(W @ W) * (1 if kind == "y" else -1)
    assert np.allclose(to_numpy(r.x_adv), to_numpy(x) + along, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-60, 2.0**60])
def test_a_tiny_gradient_gets_no_tiny_step(scale):
    """Two classes: the gradient is the difference of their weights, 1e-30 of them, and still each
    step has length alpha.
    """
    W = np.random.default_rng(0).normal(size=9).astype(np.float32)
    x = images(20)
    usual, scaled = (
        pgd(LogisticRegression(w), x, y=0, eps=0.5, norm="l2", early_stop=False)
        for w in (W, W * np.float32(scale))
    )
    assert np.array_equal(usual.x_adv, scaled.x_adv)
    assert usual.l2.min() > 0.3


# --- the best iterate


@NORMS
@KINDS
@pytest.mark.parametrize("restarts", [1, 3])
def test_returns_the_best_of_all_iterates(xp, norm, kind, restarts):
    """Steps too long for the ball, so that good iterates are lost again; the log of the model's
    inputs knows them all.
    """
    model, x = mlp(9, classes=3), images(12)
    recorder, seen = recording(model)
    how = {"alpha": 0.4, "steps": 10, "restarts": restarts, "norm": norm, "early_stop": False}
    r = pgd(recorder, x, **{kind: 1}, eps=0.3, **how)
    candidates = seen[:-1]  # the last is what is returned, being judged
    assert len(candidates) == 1 + restarts * 11
    rank = [log_odds(model, asarray(z), **{kind: 1}) for z in candidates]
    for n in range(len(x)):
        best = max(range(len(candidates)), key=lambda t: (rank[t][0][n], rank[t][1][n]))
        assert np.array_equal(to_numpy(r.x_adv[n]), candidates[best][n])


def test_a_success_is_better_than_a_failure_of_higher_log_odds(xp):
    """Three classes, away from class 0: p = (.40, .30, .30) fails with log-odds .41, p = (.45, .54,
    .01) succeeds with .20.
    """
    p = np.array(
        [
            [0.8, 0.1, 0.1],
            [0.40, 0.30, 0.30],
            [0.45, 0.54, 0.01],
            [0.42, 0.29, 0.29],
            [0.3, 0.6, 0.1],
            [0.4, 0.5, 0.1],
        ]
    )
    x = xp.asarray(np.arange(6.0).reshape(6, 1))
    logits = xp.asarray(np.log(p))
    best = Best(x[:1], Goal.of(x[:1], y=0), logits[:1])
    taken = []
    for t in range(1, 6):
        best.offer(xp.asarray([0]), x[t : t + 1], logits[t : t + 1])
        taken.append(float(best.x[0, 0]))
    assert taken == [1, 2, 2, 4, 4]


def test_an_earlier_iterate_that_succeeded_is_not_lost():
    """A loss that is highest at 0.5: steps of 0.25 from 0.1875 lead to 0.4375, 0.6875, 0.4375,
    0.6875; the best is 0.4375.
    """

    def peak(x):
        return ops.concatenate([x * 0, 0.02 - (x - 0.5) ** 2], axis=1)

    how = {"eps": 1.0, "alpha": 0.25, "steps": 4, "random_start": False}
    for early_stop in (False, True):
        r = pgd(peak, np.array([[0.1875]]), y=0, early_stop=early_stop, **how)
        assert r.x_adv.tolist() == [[0.4375]]
        assert r.success.all()
        assert r.steps.tolist() == [1 if early_stop else 4]


@NORMS
@KINDS
def test_more_steps_and_more_restarts_are_never_worse(norm, kind):
    model, x = mlp(9), images(40)
    earlier = None
    how = {"eps": 0.25, "alpha": 0.2, "norm": norm, "early_stop": False}
    for steps, restarts in [(1, 1), (2, 1), (5, 1), (9, 1), (9, 2), (9, 4)]:
        rank = log_odds(
            model,
            pgd(model, x, **{kind: 3}, steps=steps, restarts=restarts, **how).x_adv,
            **{kind: 3},
        )
        if earlier is not None:
            assert (rank[0] >= earlier[0]).all()
            assert (rank[1] >= earlier[1] - 1e-6)[rank[0] == earlier[0]].all()
        earlier = rank


# --- who is in the batch


@NORMS
@KINDS
def test_images_leave_with_their_first_success(xp, norm, kind):
    model, x = mlp(9), images(60)
    label = (to_numpy(model(x)).argmax(axis=1) + (kind == "target")) % 4
    recorder, seen = recording(model)
    r = pgd(
        recorder, x, **{kind: label}, eps=0.4, alpha=0.05, steps=20, random_start=False, norm=norm
    )
    steps, success = to_numpy(r.steps), to_numpy(r.success)
    assert success.any()
    assert len(np.unique(steps)) > 3
    assert (steps[~success] == 20).all()
    assert [len(z) for z in seen[1:-1]] == [
        int((steps >= t).sum()) for t in range(21) if (steps >= t).any()
    ]
    first = []  # the first success of each image, from one run for each number of steps
    for t in range(21):
        z = (
            x
            if t == 0
            else pgd(
                model,
                x,
                **{kind: label},
                eps=0.4,
                alpha=0.05,
                steps=t,
                random_start=False,
                norm=norm,
            ).x_adv
        )
        first.append(log_odds(model, z, **{kind: label})[0])
    assert np.array_equal(np.where(success, np.argmax(first, axis=0), 20), steps)


@NORMS
def test_what_succeeds_already_is_returned_unchanged_with_0_steps(xp, norm):
    model, x = mlp(9), images(200)
    label = to_numpy(model(x)).argmax(axis=1)
    target = np.where(np.arange(200) % 3, (label + 1) % 4, label)
    r = pgd(model, x, target=target, eps=0.1, steps=3, norm=norm)
    already = target == label
    assert np.array_equal(to_numpy(r.x_adv)[already], to_numpy(x)[already])
    assert (to_numpy(r.steps)[already] == 0).all()
    assert to_numpy(r.success)[already].all()
    assert (to_numpy(r.x_adv)[~already] != to_numpy(x)[~already]).any(axis=1).all()


def test_once_all_have_left_the_model_is_asked_no_more():
    recorder, seen = recording(mlp(9))
    x = images(10)
    label = mlp(9)(x).argmax(axis=1)
    pgd(recorder, x, target=label, eps=0.1, restarts=3)
    assert [len(z) for z in seen] == [10, 10]  # the originals, and the judgement


def test_all_take_all_steps_without_early_stop(xp):
    model, x = mlp(9), images(30)
    label = to_numpy(model(x)).argmax(axis=1)
    r = pgd(model, x, target=label, eps=0.2, steps=4, restarts=2, early_stop=False)
    assert to_numpy(r.steps).tolist() == [8] * 30
    assert (log_odds(model, r.x_adv, target=label)[1] > log_odds(model, x, target=label)[1]).all()


@NORMS
@KINDS
def test_a_batch_is_its_examples_one_by_one_up_to_rounding(norm, kind):
    model, x = mlp(9, dtype=np.float64), images(20, dtype=np.float64)
    how = {kind: 1, "eps": 0.2, "steps": 8, "restarts": 2, "norm": norm, "rng": 3}
    whole = pgd(model, x, **how)
    for n in range(20):
        alone = pgd(model, x[n : n + 1], **how)
        assert np.allclose(whole.x_adv[n], alone.x_adv[0], rtol=0, atol=1e-12)
        assert (whole.steps[n], whole.success[n]) == (alone.steps[0], alone.success[0])


# --- random starts


@NORMS
def test_starts_are_shared_by_the_images_and_differ_between_restarts(norm):
    recorder, seen = recording(mlp(9))
    x = np.full((5, 9), 0.5) + np.arange(5)[:, None] / 64
    pgd(recorder, x, target=3, eps=0.125, steps=2, restarts=3, norm=norm, early_stop=False)
    starts = np.array([seen[t] - x for t in (1, 4, 7)])
    assert np.allclose(starts, starts[:, :1], rtol=0, atol=1e-15)
    assert len(np.unique(starts[:, 0])) == 27


def test_a_seed_means_the_same_each_time(xp):
    model, x = mlp(9), images(20)
    first, same, other = (
        to_numpy(pgd(model, x, target=3, eps=0.1, steps=3, rng=seed).x_adv)
        for seed in (1, np.random.default_rng(1), 2)
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_restarts_without_a_random_start_are_refused():
    with pytest.raises(ValueError, match="restarts must be 1 without random_start, got 2"):
        pgd(mlp(9), images(1), y=0, eps=0.1, random_start=False, restarts=2)


@NORMS
def test_zero_gradients_are_reported_once_with_their_share(norm):
    def flat_below_half(x):
        hidden = ops.relu(x - 0.5)
        return ops.concatenate([hidden, -hidden], axis=1)

    x = np.array([[0.25], [0.75], [0.625], [1.0], [0.125]])
    with pytest.warns(UserWarning, match="exactly zero for 2 of 5 images [(]40.0%[)]") as caught:
        r = pgd(flat_below_half, x, target=1, eps=0.0625, steps=5, restarts=2, norm=norm)
    assert len(caught) == 1
    assert not r.success.any()
