"""The ensemble: who falls to what, that nothing leaves the ball, and AutoAttack of torchattacks."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings

from minadv import inference
from minadv.attacks import (
    AttackResult,
    apgd,
    deepfool,
    ensemble,
    fab,
    fgsm,
    pgd,
    square,
    strongest,
)
from minadv.backend import to_numpy
from minadv.models import LogisticRegression
from tests import peers, strategies
from tests.models import mlp, recording
from tests.strategies import assert_inside, awkward_eps, real

NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])
EPS = {"linf": 0.08, "l2": 0.4}


def quick(eps, norm, *, steps=4, rng=0):
    return {n: partial(a, steps=steps) for n, a in ensemble(eps, norm=norm, rng=rng).items()}


# --- the ball


@NORMS
@given(x=strategies.images(), eps=awkward_eps(1.0))
@settings(max_examples=15)
def test_the_bound_holds_as_real_numbers_for_attacks_that_know_no_bound(norm, x, eps):
    model = mlp(x[0].size, dtype=x.dtype)
    attacks = {"fab": partial(fab, norm=norm, steps=2), "far": partial(fgsm, eps=1.0)}
    r = strongest(model, x, y=model(x).argmax(axis=1), eps=eps, norm=norm, attacks=attacks)
    assert_inside(r.x_adv, x, eps, (0, 1))
    if norm == "l2":
        for before, after in zip(x, r.x_adv, strict=True):
            change = [b - a for a, b in zip(real(before), real(after), strict=True)]
            assert sum(c**2 for c in change) <= Fraction(eps) ** 2


@NORMS
def test_a_minimal_change_counts_only_inside_the_ball(norm):
    """On a hyperplane everything is known: who is nearer than ε falls, and nobody else."""
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=12), 0.3 + 0.4 * rng.random((40, 12))
    b = -float(w @ x.mean(axis=0))
    model = LogisticRegression(w, b)
    dual = np.linalg.norm(w, 1 if norm == "linf" else 2)
    distance = abs(x @ w + b) / dual
    eps = float(np.median(distance))
    for attacks in ({"fab": partial(fab, norm=norm)}, {"d": partial(deepfool, norm=norm)}, None):
        y = model(x).argmax(axis=1)
        r = strongest(model, x, y=y, eps=eps, norm=norm, attacks=attacks, bounds=(-2, 3))
        assert r.success[distance < eps * 0.97].all()
        assert not r.success[distance > eps].any()


# --- who falls to what


def test_names_say_which_attack_found_each():
    """Class 0 falls to whoever raises pixel 0, class 1 to whoever raises pixel 1, and so on."""

    def model(x):  # y = 0 falls where a pixel exceeds its threshold
        over = (x - np.array([0.55, 0.65, 0.75], x.dtype)).max(axis=1)
        return np.stack([0 * over, over], axis=1)

    def raises(pixel):
        def attack(model, x, *, y):
            z = x.copy()
            z[:, pixel] += 0.25
            return AttackResult(x, z, y, y != y, np.full(len(x), pixel + 1))

        return attack

    x = np.array([[0.6, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.6], [0, 0, 0.2]])
    attacks = {f"pixel {i}": raises(i) for i in range(3)}
    r = strongest(lift(model), x, y=0, eps=0.25, attacks=attacks)
    assert r.found_by.tolist() == ["original", "pixel 0", "pixel 1", "pixel 2", ""]
    assert r.success.tolist() == [True, True, True, True, False]
    assert r.steps.tolist() == [0, 1, 1 + 2, 1 + 2 + 3, 1 + 2 + 3]
    assert (
        repr(r) == "EnsembleResult(4 of 5 succeeded: 1 original, 1 pixel 0, 1 pixel 1, 1 pixel 2)"
    )


def lift(model):
    """A model of NumPy's operations as one that can be differentiated: its gradient is 1."""
    from minadv.autograd import raw, record

    return lambda x: record(model(raw(x)), (x, lambda g: np.ones_like(raw(x))))


@NORMS
def test_images_that_fell_leave(norm):
    model, x, y = peers.digits_mlp()
    asked = []

    def watched(name, attack):
        def call(model, x, *, y):
            asked.append((name, len(x)))
            return attack(model, x, y=y)

        return call

    attacks = {n: watched(n, a) for n, a in quick(EPS[norm], norm).items()}
    r = strongest(model, x, y=y, eps=EPS[norm], norm=norm, attacks=attacks)
    left = len(x)
    for name, count in asked:
        assert count == left
        left -= int((r.found_by == name).sum())
    assert left == int((~r.success).sum())
    assert 0 < left < len(x)


@NORMS
def test_it_is_at_least_as_strong_as_each_of_its_attacks(norm):
    model, x, y = peers.digits_mlp()
    eps = EPS[norm]
    several = quick(eps, norm, steps=20)
    r = strongest(model, x, y=y, eps=eps, norm=norm, attacks=several)
    alone = {name: attack(model, x, y=y) for name, attack in several.items()}
    for name, result in alone.items():
        size = getattr(result, norm)
        fell = result.success & (size <= eps)
        assert (r.success | ~fell).all(), name
        assert int(r.success.sum()) >= int(fell.sum())


def test_a_masked_gradient_falls_to_the_attack_without_one():
    """Rounded logits have a gradient of zero, and look robust to all but the last attack."""
    model, x, y = peers.digits_mlp()

    def flat(x):
        return lift_zero(lambda x: np.round(model(x), 1), x)

    with pytest.warns(UserWarning, match="exactly zero for 100 of 100 images") as caught:
        r = strongest(flat, x, y=y, eps=0.15, attacks=quick(0.15, "linf", steps=200))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert (r.found_by == "square").sum() > 50
    assert set(r.found_by) <= {"square", "apgd margin", "apgd targeted dlr", ""}


def lift_zero(model, x):
    from minadv.autograd import raw, record

    return record(model(raw(x)), (x, lambda g: np.zeros_like(raw(x))))


def test_few_classes_have_an_ensemble_too(xp):
    for classes in (2, 3):
        assert "apgd targeted dlr" not in ensemble(0.1, classes=classes)
        model = mlp(9, classes=classes)
        x = xp.asarray(np.random.default_rng(0).random((6, 9)).astype(np.float32))
        several = ensemble(1.0, classes=classes)
        attacks = {name: partial(attack, steps=5) for name, attack in several.items()}
        r = strongest(model, x, y=model(x).argmax(axis=1), eps=1.0, attacks=attacks)
        assert to_numpy(r.success).any()
    assert ensemble(0.1, classes=5)["apgd targeted dlr"].keywords["restarts"] == 4


def test_an_ensemble_can_be_changed():
    model, x, y = peers.digits_mlp()
    attacks = ensemble(0.08) | {"pgd": partial(pgd, eps=0.08)}
    del attacks["square"]
    r = strongest(model, x[:20], y=y[:20], eps=0.08, attacks=attacks)
    assert list(attacks)[0] == "apgd margin"
    assert set(r.found_by) <= {"", *attacks}


@NORMS
def test_a_batch_is_its_images_one_by_one(norm):
    model, x, y = peers.digits_mlp()
    how = {"eps": EPS[norm], "norm": norm, "attacks": quick(EPS[norm], norm)}
    whole = strongest(model, x[:12], y=y[:12], **how)
    alone = [strongest(model, x[i : i + 1], y=y[i : i + 1], **how) for i in range(12)]
    same = [whole.found_by[i] == alone[i].found_by[0] for i in range(12)]
    assert sum(same) >= 11  # in float32 one may lie on the boundary
    assert len(set(whole.found_by)) > 1


def test_the_model_is_asked_no_more_once_all_have_fallen():
    recorder, seen = recording(mlp(9))
    x = np.random.default_rng(0).random((10, 9)).astype(np.float32)
    strongest(recorder, x, y=(mlp(9)(x).argmax(axis=1) + 1) % 4, eps=0.1)
    assert [len(z) for z in seen] == [10, 10]


@NORMS
def test_it_is_at_least_as_strong_as_autoattack_of_torchattacks(norm):
    torchattacks = pytest.importorskip("torchattacks")
    model, x, y = peers.digits_mlp()
    peer, inputs, labels = peers.in_torch()
    few = 30
    tool = torchattacks.AutoAttack(
        peer, norm=norm.capitalize(), eps=EPS[norm], n_classes=10, version="standard", seed=0
    )
    for attack in tool._autoattack.attacks:
        if hasattr(attack, "n_queries"):
            attack.n_queries = 100
    x_adv = peers.as_ours(tool(inputs[:few], labels[:few]))
    left = int((inference.predict(model, x_adv) == y[:few]).sum())
    ours = strongest(model, x[:few], y=y[:few], eps=EPS[norm], norm=norm)
    assert int((~ours.success).sum()) <= left


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (TypeError, "attacks must be a dictionary {name: attack}, got", {"attacks": [apgd]}),
        (TypeError, "attacks\\['a'\\] must be a function, called as", {"attacks": {"a": 1}}),
        (TypeError, "attacks\\['a'\\] is called as attack", {"attacks": {"a": lambda x: x}}),
        (
            TypeError,
            "attacks\\['a'\\] must return an AttackResult, got ndarray",
            {"attacks": {"a": lambda model, x, y: x}},
        ),
        (ValueError, "norm must be 'linf' or 'l2', got 'l1'", {"norm": "l1"}),
        (TypeError, "progress must be True or False, got 1", {"progress": 1}),
        (TypeError, "rng must be a numpy.random.Generator", {"rng": "seed"}),
    ],
)
def test_wrong_input_is_named(error, message, wrong):
    with pytest.raises(error, match=message):
        strongest(mlp(8), np.full((2, 8), 0.5), y=[0, 1], eps=0.1, **wrong)


def test_square_alone_is_an_ensemble():
    model, x, y = peers.digits_mlp()
    attacks = {"square": partial(square, eps=0.15, steps=100)}
    r = strongest(model, x, y=y, eps=0.15, attacks=attacks)
    assert (r.found_by == "square").sum() == r.success.sum() > 0
