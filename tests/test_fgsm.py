"""FGSM: closed forms on linear models, the bound as real numbers, and the document's example."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minadv import ops
from minadv.attacks.fgsm import fgsm
from minadv.backend import to_numpy
from minadv.layers import Dense, Flatten, Sequential
from minadv.models import LogisticRegression, cnn
from tests.strategies import assert_inside, attacked


def linear(pixels, *, classes=3, dtype=np.float32):
    return Sequential(Flatten(), Dense(pixels, classes, rng=1, dtype=dtype))


@given(attacked(), st.integers(0, 2))
def test_the_bound_holds_as_real_numbers_and_the_result_lies_in_bounds(xp, case, target):
    x, eps, bounds = case
    given_x = xp.asarray(x)
    unit = x.dtype.type(1 / max(1, *map(abs, bounds)))  # finite logits also for pixels of 1e30
    model = linear(x[0].size, dtype=x.dtype)
    r = fgsm(lambda x: model(x * unit), given_x, target=target, eps=eps, bounds=bounds)
    x_adv = to_numpy(r.x_adv)
    assert np.array_equal(to_numpy(given_x), x)
    assert_inside(x_adv, x, eps, bounds)
    if eps == 0:
        assert np.array_equal(x_adv, x)


def test_example_of_document_a(xp):
    """A7: W·x = −4, and 0.4·‖W‖₁ = 4.8 carry the logit to 0.8."""
    W, x = [1.0, 3, -1, 2, 2, 3], np.array([[1.0, -1, 2, 0, 3, -2]])
    model = LogisticRegression(np.array(W))
    r = fgsm(model, xp.asarray(x), y=0, eps=0.4, bounds=(-5, 5))
    assert np.allclose(to_numpy(model(r.x_adv)), [[0, 0.8]])
    assert to_numpy(r.label).tolist() == [1]
    assert to_numpy(r.success).tolist() == [True]
    assert to_numpy(r.steps).tolist() == [1]
    assert np.allclose(to_numpy(r.x_adv), x + 0.4 * np.sign(W))


@pytest.mark.parametrize("kind", ["y", "target"])
@given(
    W=hnp.arrays(float, 7, elements=st.integers(-9, 9).filter(bool)),
    x=hnp.arrays(float, (3, 7), elements=st.integers(0, 1024)),
    eps=st.integers(0, 1024),
)
@settings(max_examples=30)
def test_logit_moves_by_exactly_eps_times_the_1_norm(xp, kind, W, x, eps):
    """A9, in integers: nothing is rounded."""
    model = LogisticRegression(W)
    bounds, label = (-2000, 3000), np.array([0, 1, 0])
    r = fgsm(model, xp.asarray(x), **{kind: label}, eps=eps, bounds=bounds)
    moved = to_numpy(model(r.x_adv))[:, 1] - x @ W
    up = label == (1 if kind == "target" else 0)
    assert np.array_equal(moved, np.where(up, 1, -1) * eps * np.abs(W).sum())


@given(hnp.arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32)), st.floats(0, 0.5))
@settings(max_examples=30)
def test_logit_moves_by_eps_times_the_1_norm_up_to_rounding(xp, x, eps):
    W = np.random.default_rng(0).normal(size=5).astype(np.float32)
    model = LogisticRegression(W)
    r = fgsm(model, xp.asarray(x), y=0, eps=eps, bounds=(-1, 2))
    moved = to_numpy(model(r.x_adv) - model(xp.asarray(x)))[:, 1]
    assert np.allclose(moved, eps * np.abs(W).sum(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", ["y", "target"])
def test_no_corner_of_the_ball_is_better_on_a_linear_model(kind):
    rng = np.random.default_rng(0)
    model, x = linear(6, classes=2, dtype=np.float64), rng.random((1, 6))
    r = fgsm(model, x, **{kind: 0}, eps=0.3)
    corners = 0.3 * (np.indices((3,) * 6).reshape(6, -1).T - 1)  # each pixel down, kept, up
    logits = model(np.clip(x + corners, 0, 1))
    margin = (logits[:, 0] - logits[:, 1]) * (1 if kind == "target" else -1)
    best = model(r.x_adv)[0] @ ([1, -1] if kind == "target" else [-1, 1])
    assert np.isclose(best, margin.max(), rtol=1e-12)


def test_a_batch_is_its_examples_one_by_one_up_to_rounding():
    model = cnn((10, 10, 1), filters=(3, 4, 5))
    x = np.random.default_rng(0).random((40, 10, 10, 1), dtype=np.float32)
    whole = fgsm(model, x, y=3, eps=0.1)
    alone = np.concatenate([fgsm(model, x[i : i + 1], y=3, eps=0.1).x_adv for i in range(40)])
    assert (
        (whole.x_adv == alone).mean() > 0.999
    )  # where a gradient nearly cancels, its sign may depend on the order of additions


@pytest.mark.parametrize("kind", ["y", "target"])
def test_a_larger_scale_of_the_logits_changes_nothing(kind):
    """The sign of the margin's gradient does not depend on how sure the model is; with two classes
    not even by rounding.
    """
    model = linear(12, classes=2)
    x = np.random.default_rng(0).random((50, 12), dtype=np.float32)
    usual = fgsm(model, x, **{kind: 0}, eps=0.1)
    sure = fgsm(lambda x: model(x) * 2.0**20, x, **{kind: 0}, eps=0.1)
    assert np.array_equal(usual.x_adv, sure.x_adv)
    assert (usual.x_adv != x).mean() > 0.9


def test_always_takes_its_step_also_where_it_succeeds_already():
    model, x = linear(5), np.full((1, 5), 0.5, np.float32)
    label = int(model(x).argmax())
    r = fgsm(model, x, target=label, eps=0.1)
    assert r.l0[0] == 5
    assert r.success.all()


def test_sign_of_zero_is_zero():
    """C1's ±1 leaves it out: a pixel that the model does not look at stays as it is."""
    r = fgsm(LogisticRegression(np.array([1.0, 0.0, -1.0])), np.full((1, 3), 0.5), y=0, eps=0.25)
    assert r.x_adv.tolist() == [[0.75, 0.5, 0.25]]


def test_zero_gradients_are_reported_with_their_share():
    def flat_below_half(x):
        hidden = ops.relu(x - 0.5)
        return ops.concatenate([hidden, -hidden], axis=1)

    x = np.array([[0.2], [0.7], [0.3], [0.9]])
    with pytest.warns(UserWarning, match="exactly zero for 2 of 4 images [(]50.0%[)]"):
        r = fgsm(flat_below_half, x, y=0, eps=0.125)
    assert np.array_equal(r.x_adv, x - [[0], [0.125], [0], [0.125]])
