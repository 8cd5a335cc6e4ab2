"""Interval training: its worst logits are those of the certificates, its gradient is right."""

from __future__ import annotations

import numpy as np
import pytest

from minadv import data, fit, layers, models, pgd
from minadv.autograd import gradcheck
from minadv.certify import certified_accuracy, logit_bounds, margin_bound
from minadv.defenses import IntervalLoss, interval_training
from minadv.evaluation import accuracy, robust_accuracy
from minadv.layers import Sequential
from minadv.losses import cross_entropy
from minadv.training import SGD, Adam
from tests.test_certify import MODELS

RNG = np.random.default_rng(0)


def pooled_by_maximum(dtype=np.float32):
    return Sequential(
        layers.Normalize([0.4], [0.3]),
        Sequential(layers.Conv2D(1, 2, 2, rng=0, dtype=dtype), layers.LeakyReLU(0.2)),
        layers.MaxPool(2),
        layers.Flatten(),
        layers.Dense(8, 3, rng=1, dtype=dtype),
    )


def without_bias():
    return Sequential(
        layers.Conv2D(2, 3, 3, stride=2, bias=False, rng=0),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(48, 3, rng=1),
    )


@pytest.mark.parametrize("make", [*MODELS.values(), pooled_by_maximum, without_bias])
def test_worst_logits_are_the_margins_of_the_certificates(make):
    """Gowal's bounds in float32 equal the sound ones in float64, rounding aside."""
    model = make()
    channels = 1 if make is pooled_by_maximum else 2
    x = RNG.random((4, *((5, 5, 1) if channels == 1 else (9, 9, 2)))).astype(np.float32)
    y = np.array([0, 1, 2, 0])
    loss = IntervalLoss(model, eps=0.03)
    worst = loss.worst_logits(model.parameters, x, y)
    assert worst.dtype == np.float32
    np.testing.assert_allclose(worst[np.arange(4), y], 0, atol=1e-6)
    worst[np.arange(4), y] = -np.inf
    sound = margin_bound(model, x, y, eps=0.03, method="intervals")
    np.testing.assert_allclose(-worst.max(axis=1), sound, rtol=1e-3, atol=1e-3)
    assert (logit_bounds(model, x, eps=0.03, method="intervals").low < model(x)).all()


def test_the_loss_weighs_both_and_its_gradient_is_that_of_finite_differences():
    model = pooled_by_maximum(np.float64)
    x, y = RNG.random((3, 5, 5, 1)), np.array([0, 2, 1])
    loss = IntervalLoss(model, eps=0.05, kappa=0.3)
    names = list(model.parameters)

    class Forward:
        def __init__(self, arrays):
            self.parameters = dict(zip(names, arrays, strict=True))

        def __call__(self, x):
            return model.apply(self.parameters, x)

    gradcheck(lambda *arrays: loss(Forward(arrays), x, y), *model.parameters.values(), h=1e-5)
    worst = loss.worst_logits(model.parameters, x, y)
    expected = 0.3 * cross_entropy(model(x), y) + 0.7 * cross_entropy(worst, y)
    np.testing.assert_allclose(loss(model, x, y), expected, rtol=1e-12)
    still = IntervalLoss(model, eps=0.0, kappa=0.3)
    np.testing.assert_allclose(still(model, x, y), cross_entropy(model(x), y), rtol=1e-10)


def test_the_schedules_are_linear_after_the_warm_up():
    loss = IntervalLoss(models.mlp((2, 2, 1)), eps=0.2, kappa=0.5, warm_up=2, ramp=4)
    seen = {}
    for epochs in (0, 1.9, 2, 3, 4.5, 6, 9):
        loss.at(epochs)
        seen[epochs] = (round(loss.eps, 12), round(loss.kappa, 12))
    assert seen == {
        0: (0, 1), 1.9: (0, 1), 2: (0, 1), 3: (0.05, 0.875), 4.5: (0.125, 0.6875), 6: (0.2, 0.5),
        9: (0.2, 0.5),
    }  # fmt: skip
    sudden = IntervalLoss(models.mlp((2, 2, 1)), eps=0.2)
    assert (sudden.eps, sudden.kappa) == (0.2, 0.5)


def test_fit_tells_the_objective_how_far_it_is():
    times = []

    class Objective:
        def at(self, epochs):
            times.append(epochs)

        def __call__(self, forward, x, y):
            assert set(forward.parameters) == set(model.parameters)
            return cross_entropy(forward(x), y)

    model = models.mlp((2, 2, 1), 3, hidden=2)
    x, y = RNG.random((6, 2, 2, 1)).astype(np.float32), np.zeros(6, int)
    history = fit(model, x, y, objective=Objective(), epochs=2, batch_size=4, progress=False)
    np.testing.assert_allclose(times, [0, 4 / 6, 1, 1 + 4 / 6])
    same = models.mlp((2, 2, 1), 3, hidden=2)
    assert fit(same, x, y, epochs=2, batch_size=4, progress=False).loss == history.loss


def test_what_it_is_for():
    """On the digits: much is certified, where the regular network has next to nothing."""
    d = data.digits()
    how = {"epochs": 25, "batch_size": 64, "progress": False}
    regular, trained = models.mlp((8, 8, 1), hidden=64), models.mlp((8, 8, 1), hidden=64)
    fit(regular, d.x_train, d.y_train, optimizer=Adam(0.005), **how)
    history = interval_training(
        trained, d.x_train, d.y_train, eps=0.1, warm_up=2, ramp=13, optimizer=Adam(0.005), **how
    )
    assert len(history) == 25
    x, y = d.x_test, d.y_test
    shares = [certified_accuracy(m, x, y, eps=0.1, method="intervals") for m in (regular, trained)]
    assert shares[0] < 0.05
    assert shares[1] > 0.4
    assert accuracy(trained, x, y) > 0.8
    assert shares[1] <= robust_accuracy(trained, x, y, pgd(trained, x, y=y, eps=0.1))


def test_dropout_is_off_in_the_intervals_and_on_in_the_loss():
    model = Sequential(layers.Flatten(), layers.Dropout(0.5), layers.Dense(4, 3, rng=0))
    x, y = RNG.random((6, 2, 2, 1)).astype(np.float32), np.zeros(6, int)
    worst = IntervalLoss(model, eps=0.1).worst_logits(model.parameters, x, y)
    assert np.isfinite(worst).all()
    interval_training(model, x, y, eps=0.1, optimizer=SGD(0.1), progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": Sequential(layers.Flatten())}, "model must be a Sequential that ends in Dense"),
        ({"model": models.LogisticRegression(np.ones(4))}, "known intervals, got LogisticReg"),
        ({"model": Sequential(layers.LeakyReLU(-1.0), layers.Dense(4, 3))}, "slope >= 0, got -1"),
        ({"eps": -1}, "eps must be >= 0"),
        ({"kappa": 1.5}, "kappa must be <= 1, got 1.5"),
        ({"warm_up": -1}, "warm_up must be >= 0"),
        ({"ramp": "ten"}, "ramp must be a number"),
        ({"bounds": (1, 0)}, "bounds must be"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    given = {"model": models.mlp((2, 2, 1)), "eps": 0.1} | change
    with pytest.raises((TypeError, ValueError), match=message):
        IntervalLoss(given.pop("model"), **given)
