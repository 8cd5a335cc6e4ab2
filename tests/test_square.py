"""The Square attack: optima on linear models, what is drawn, the bound as real numbers, queries,
and torchattacks on the same weights."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minadv import inference
from minadv.attacks.apgd import apgd
from minadv.attacks.balls import Ball, L2Ball
from minadv.attacks.goal import Goal
from minadv.attacks.scores import lead
from minadv.attacks.square import anywhere, bumps, moved_square, sides, square, stripes, tiles
from minadv.backend import asarray, to_numpy
from minadv.models import LogisticRegression
from tests import peers, strategies
from tests.models import mlp, recording
from tests.strategies import assert_inside, awkward_eps, real

NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])
KINDS = pytest.mark.parametrize("kind", ["y", "target"])


def images(count, shape=(6, 6, 1), *, seed=0, dtype=np.float32):
    return asarray(np.random.default_rng(seed).random((count, *shape)).astype(dtype))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@NORMS
@given(x=strategies.images(), eps=awkward_eps(1.0), steps=st.integers(1, 12))
@settings(max_examples=15)
def test_the_bound_holds_as_real_numbers(xp, norm, x, eps, steps):
    model, seen = recording(mlp(x[0].size, dtype=x.dtype))
    r = square(model, xp.asarray(x), target=1, eps=eps, norm=norm, steps=steps)
    for z in [*seen, to_numpy(r.x_adv)]:
        whole = x if len(z) == len(x) else None
        if whole is None:
            continue  # some have left: the result shows the rest
        assert_inside(z, x, eps, (0, 1))
        if norm == "l2":
            for before, after in zip(x, z, strict=True):
                change = [b - a for a, b in zip(real(before), real(after), strict=True)]
                assert sum(c**2 for c in change) <= Fraction(eps) ** 2


# --- optima


@KINDS
@pytest.mark.parametrize("shape", [(3, 5, 2), (20,)])
def test_finds_the_best_corner_of_a_linear_model(kind, shape):
    """Class 1 never wins, so the search goes on, for the least margin."""
    W = np.random.default_rng(1).normal(size=int(np.prod(shape))).astype(np.float32)
    x = images(4, shape)
    model = LogisticRegression(W, np.float32(-1000))
    r = square(model, x, **{kind: int(kind == "target")}, eps=0.25, steps=1500)
    ball, up = Ball(x, 0.25), (W > 0).reshape(shape)
    best = np.where(up, to_numpy(ball.high), to_numpy(ball.low))
    assert np.array_equal(to_numpy(r.x_adv), best)
    assert to_numpy(r.steps).tolist() == [1500] * 4
    assert not to_numpy(r.success).any()


def test_comes_near_the_best_point_of_a_linear_model_in_l2():
    W = np.random.default_rng(1).normal(size=16)
    x = 0.5 + 0.1 * (images(6, (4, 4, 1), dtype=np.float64) - 0.5)
    r = square(LogisticRegression(W, -1000.0), x, y=0, eps=0.25, norm="l2", steps=3000)
    gain = r.perturbation.reshape(6, 16) @ W
    assert (gain <= 0.25 * np.linalg.norm(W) * (1 + 1e-9)).all()
    assert (gain >= 0.25 * np.linalg.norm(W) * 0.85).all()


@NORMS
def test_it_comes_near_a_gradient_attack(norm):
    model, x, y = peers.digits_mlp()
    eps = 0.15 if norm == "linf" else 0.8
    blind = square(model, x, y=y, eps=eps, norm=norm, steps=500)
    white = apgd(model, x, y=y, eps=eps, norm=norm)
    assert int(blind.success.sum()) >= 0.6 * int(white.success.sum())


def test_no_gradient_is_needed():
    """Logits rounded to a tenth: their gradient is zero everywhere."""
    model, x, y = peers.digits_mlp()
    r = square(lambda x: np.round(model(x), 1), x, y=y, eps=0.15, steps=500)
    assert r.success.mean() > 0.5


# --- what is drawn


@pytest.mark.parametrize(
    ("share", "past", "shape", "expected"),
    [
        (0.8, 0.0, (28, 28, 1), (25, 25)),
        (0.8, 0.0011, (28, 28, 1), (18, 18)),
        (0.8, 0.81, (28, 28, 1), (2, 2)),
        (0.01, 0.9, (28, 28, 1), (1, 1)),
        (1.0, 0.0, (4, 9, 3), (4, 9)),
        (0.5, 0.0, (100,), (1, 50)),
    ],
)
def test_the_schedule_of_the_paper(share, past, shape, expected):
    assert sides(share, past, np.zeros((1, *shape))) == expected


def test_windows_are_everywhere():
    rng, x = np.random.default_rng(0), np.zeros((1, 5, 4, 1))
    drawn = {(w[0].start, w[1].start) for w in (anywhere(rng, x, 3, 2) for _ in range(300))}
    assert drawn == {(r, s) for r in range(3) for s in range(3)}


def test_first_changes():
    x, rng = np.full((2, 7, 8, 3), 0.5), np.random.default_rng(0)
    first = stripes(x, Ball(x, 0.25), 1, 1, rng)
    assert set(np.unique(first)) == {0.25, 0.75}
    assert (first == first[:1, :1]).all()  # vertical, and the same for all images
    first = tiles(x, L2Ball(x, 0.25), 1, 1, rng)
    assert np.allclose(np.linalg.norm((first - x).reshape(2, -1), axis=1), 0.25)
    assert (first != x).all()


@pytest.mark.parametrize(("h", "w"), [(1, 1), (2, 2), (5, 5), (3, 7), (1, 6)])
def test_bumps_are_two_of_opposite_sign(h, w):
    for seed in range(6):
        eta = bumps(h, w, np.random.default_rng(seed))
        assert eta.shape == (h, w)
        assert np.linalg.norm(eta) == pytest.approx(1)
        if h * w > 1 and h == w:
            assert eta.min() < 0 < eta.max()


def test_a_moved_square_uses_up_the_ball():
    x, rng = np.full((3, 8, 8, 2), 0.5), np.random.default_rng(0)
    ball = L2Ball(x, 0.25)
    z = tiles(x, ball, 1, 1, rng)
    for _ in range(20):
        z = moved_square(z, ball, 3, 3, rng)
        assert np.allclose(np.linalg.norm((z - x).reshape(3, -1), axis=1), 0.25)
    assert (z == x).any()  # where change was taken from
    half = x + (z - x) / 2
    filled = moved_square(half, ball, 3, 3, rng)  # what ε has left goes into the square
    assert np.allclose(np.linalg.norm((filled - x).reshape(3, -1), axis=1), 0.25)


# --- queries


@NORMS
@KINDS
def test_it_goes_from_better_to_better_and_counts_its_queries(norm, kind):
    model, x = mlp(36), images(12)
    recorder, seen = recording(model)
    how = {"eps": 0.1, "norm": norm, "steps": 60, kind: 1}
    r = square(recorder, x, **how)
    assert sum(len(z) for z in seen) == r.queries.sum()
    assert np.array_equal(r.queries, r.steps + 2)
    goal = Goal.of(x, **{kind: 1})

    def score(x_adv):
        z = model(x_adv)
        return goal.score(z) if kind == "target" else lead(goal, z)

    for steps in (1, 10, 30):  # the squares shrink with the share of all steps that is over
        earlier = square(model, x, **how | {"steps": steps})
        assert (r.success | ~earlier.success).mean() > 0.9
    goes_on = ~r.success
    first = square(model, x, **how | {"steps": 1})
    assert (score(r.x_adv) >= score(first.x_adv) - 1e-6)[goes_on].all()
    assert (score(r.x_adv) > score(first.x_adv))[goes_on].any()


def test_images_leave_with_their_first_success():
    recorder, seen = recording(mlp(36))
    x = images(40)
    y = to_numpy(mlp(36)(x)).argmax(axis=1)
    r = square(recorder, x, y=y, eps=0.2, steps=50)
    assert r.success.any()
    assert [len(z) for z in seen[1:-1]] == [
        int((r.steps >= t).sum()) for t in range(1, 51) if (r.steps >= t).any()
    ]


@NORMS
def test_a_batch_is_its_images_one_by_one(norm):
    model, x = mlp(36, dtype=np.float64), images(12, dtype=np.float64)
    how = {"y": 1, "eps": 0.1, "norm": norm, "steps": 40, "rng": 3}
    whole = square(model, x, **how)
    assert len(set(whole.steps.tolist())) > 1
    for i in range(12):
        alone = square(model, x[i : i + 1], **{**how, "y": 1})
        assert np.allclose(alone.x_adv[0], whole.x_adv[i], rtol=0, atol=1e-12)
        assert (alone.steps[0], alone.success[0]) == (whole.steps[i], whole.success[i])


@NORMS
def test_logits_and_probabilities_give_the_same_result(norm):
    model, x = mlp(36, dtype=np.float64), images(12, dtype=np.float64)
    y = model(x).argmax(axis=1)
    how = {"y": y, "eps": 0.1, "norm": norm, "steps": 40}
    logits = square(lambda x: model(x), x, **how)
    probabilities = square(lambda x: softmax(model(x)), x, **how)
    assert np.allclose(logits.x_adv, probabilities.x_adv, rtol=0, atol=1e-9)
    assert np.array_equal(logits.queries, probabilities.queries)


@NORMS
def test_it_is_at_least_as_good_as_torchattacks(norm):
    """On the same weights, as many queries: it fools as many, but for five in a hundred."""
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = peers.digits_mlp()
    peer, inputs, labels = peers.in_torch()
    eps = 0.12 if norm == "linf" else 0.6
    tool = torchattacks.Square(peer, norm=norm.capitalize(), eps=eps, n_queries=200)
    won = inference.predict(model, peers.as_ours(tool(inputs, labels))) != y
    ours = [
        int(square(model, x, y=y, eps=eps, norm=norm, steps=200, rng=rng).success.sum())
        for rng in (0, 1, 2)
    ]
    assert np.median(ours) >= int(won.sum()) - 5


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (ValueError, "share must be > 0, got 0", {"share": 0}),
        (ValueError, "share must be <= 1, got 1.5", {"share": 1.5}),
        (TypeError, "progress must be True or False, got 1", {"progress": 1}),
        (ValueError, "norm must be 'linf' or 'l2', got 'l1'", {"norm": "l1"}),
    ],
)
def test_wrong_input_is_named(error, message, wrong):
    with pytest.raises(error, match=message):
        square(mlp(8), np.full((2, 8), 0.5), y=0, eps=0.1, **wrong)


def test_what_cannot_be_called_is_named():
    with pytest.raises(TypeError, match="predict must be callable, got str"):
        square("model", np.full((2, 8), 0.5), y=0, eps=0.1)
