"""Iterated FGSM: each step is one of eps / T from the last, the last iterate is returned, and the
bound holds as real numbers.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minadv import ops
from minadv.attacks.fgsm import fgsm
from minadv.attacks.iterative_fgsm import iterative_fgsm
from minadv.backend import asarray, to_numpy
from minadv.models import LogisticRegression
from tests.models import mlp, recording
from tests.strategies import assert_inside, awkward_eps, images


@given(
    images(),
    awkward_eps(1.0),
    st.integers(1, 12),
)
@settings(max_examples=30)
def test_the_bound_holds_as_real_numbers(xp, x, eps, steps):
    given_x = xp.asarray(x)
    r = iterative_fgsm(mlp(x[0].size, dtype=x.dtype), given_x, target=1, eps=eps, steps=steps)
    x_adv = to_numpy(r.x_adv)
    assert np.array_equal(to_numpy(given_x), x)
    assert_inside(x_adv, x, eps, (0, 1))
    assert to_numpy(r.steps).tolist() == [steps] * len(x)


@pytest.mark.parametrize("kind", ["y", "target"])
def test_one_step_is_fgsm(xp, kind):
    x = asarray(np.random.default_rng(0).random((30, 3, 3, 1), dtype=np.float32))
    once, f = (
        iterative_fgsm(mlp(9), x, **{kind: 2}, eps=0.1, steps=1),
        fgsm(mlp(9), x, **{kind: 2}, eps=0.1),
    )
    assert np.array_equal(to_numpy(once.x_adv), to_numpy(f.x_adv))


@pytest.mark.parametrize("kind", ["y", "target"])
def test_each_step_is_fgsm_of_eps_over_t_and_the_last_iterate_is_returned(kind):
    model, seen = recording(mlp(9))
    x = np.random.default_rng(0).random((8, 9), dtype=np.float32)
    r = iterative_fgsm(model, x, **{kind: 2}, eps=0.2, steps=10)
    assert len(seen) == 11
    assert np.array_equal(seen[0], x)
    assert np.array_equal(seen[-1], r.x_adv)
    for z, z_next in zip(seen[:-1], seen[1:], strict=True):
        assert np.allclose(z_next, fgsm(mlp(9), z, **{kind: 2}, eps=0.02).x_adv, rtol=0, atol=1e-7)


def test_document_d_takes_200_steps_of_a_thousandth_towards_its_target():
    """D4: after t steps no pixel is further than t / 1000 from where it was, and all images reach
    the target.
    """
    model, seen = recording(mlp(16))
    x = np.random.default_rng(0).random((10, 16), dtype=np.float32)
    x = x[mlp(16)(x).argmax(axis=1) != 1]
    r = iterative_fgsm(model, x, target=1, eps=0.2, steps=200)
    assert len(x) >= 5
    assert r.success.all()
    assert np.isclose(r.linf.max(), 0.2, rtol=1e-6)
    for t, z in enumerate(seen):
        assert np.abs(z - x).max() <= t / 1000 + 1e-5
        assert 0 <= z.min() <= z.max() <= 1


def test_on_a_linear_model_the_steps_add_up_to_fgsm(xp):
    W = np.random.default_rng(0).normal(size=6)
    x = xp.asarray(np.random.default_rng(1).random((9, 6)))
    many, one = (
        iterative_fgsm(LogisticRegression(W), x, y=0, eps=0.3, steps=steps).x_adv
        for steps in (7, 1)
    )
    assert np.allclose(to_numpy(many), to_numpy(one), rtol=0, atol=1e-15)


def test_turns_back_where_the_loss_turns():
    """A loss that is highest at 0.5: steps of 0.25 from 0.125 lead to 0.375, 0.625, 0.375, 0.625.
    The last counts, not the best.
    """

    def peak(x):
        return ops.concatenate([x * 0, 1 - (x - 0.5) ** 2], axis=1)

    r = iterative_fgsm(peak, np.array([[0.125]]), y=0, eps=1.0, steps=4)
    assert r.x_adv.tolist() == [[0.625]]


def test_zero_gradients_are_reported_once():
    def flat_below_half(x):
        hidden = ops.relu(x - 0.5)
        return ops.concatenate([hidden, -hidden], axis=1)

    with pytest.warns(UserWarning, match="exactly zero for 1 of 4 images [(]25.0%[)]") as caught:
        r = iterative_fgsm(
            flat_below_half, np.array([[0.25], [0.75], [0.625], [1.0]]), y=0, eps=0.0625, steps=4
        )
    assert len(caught) == 1
    assert r.x_adv.tolist() == [[0.25], [0.6875], [0.5625], [0.9375]]
