"""Defensive distillation: soft labels and the tempered loss in closed form, what a student learns,
and what the defence is worth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minadv import ops
from minadv.attacks.fgsm import fgsm
from minadv.autograd import grad, gradcheck
from minadv.backend import array_module, to_numpy
from minadv.data import digits
from minadv.defenses.distillation import distill, soft_labels, tempered_cross_entropy
from minadv.evaluation import accuracy, logits, probabilities, robust_accuracy
from minadv.layers import Dense, Flatten, Sequential
from minadv.losses import cross_entropy, margin
from minadv.models import mlp
from minadv.training import Adam, fit

QUIET = {"progress": False}
temperatures = st.floats(0.05, 200)
rows = st.integers(2, 5).flatmap(
    lambda k: st.lists(st.lists(st.floats(-30, 30), min_size=k, max_size=k), min_size=1, max_size=3)
)


def answers(x):
    """A model whose logits are its input."""
    return x


def softmax(z, temperature):
    """By its definition, row by row."""
    powers = [[math.exp((v - max(row)) / temperature) for v in row] for row in z]
    return np.array([[p / math.fsum(row) for p in row] for row in powers])


def linear(seed, dtype=np.float64):
    return Sequential(Flatten(), Dense(4, 3, rng=seed, dtype=dtype))


def images(count=60, dtype=np.float64):
    return np.random.default_rng(0).uniform(size=(count, 2, 2, 1)).astype(dtype)


def weights_of(model) -> list:
    return [to_numpy(value).copy() for value in model.parameters.values()]


# --- soft labels


@given(rows, temperatures)
def test_soft_labels_are_the_softmax_of_the_divided_logits(z, temperature):
    p = soft_labels(answers, np.array(z), temperature=temperature)
    np.testing.assert_allclose(p, softmax(z, temperature), rtol=1e-11, atol=1e-300)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)


def test_the_higher_the_temperature_the_more_even():
    z = np.array([[3.0, 1.0, -2.0]])
    largest = [soft_labels(answers, z, temperature=t).max() for t in (0.1, 1, 5, 20, 1e6)]
    assert largest == sorted(largest, reverse=True)
    assert largest[0] > 0.999
    np.testing.assert_allclose(largest[-1], 1 / 3, rtol=1e-5)
    assert np.array_equal(soft_labels(answers, z, temperature=1), probabilities(answers, z))


# --- the loss


@given(rows, temperatures, st.data())
def test_the_loss_is_the_cross_entropy_of_the_tempered_softmax(z, temperature, data):
    y = np.array(
        data.draw(st.lists(st.integers(0, len(z[0]) - 1), min_size=len(z), max_size=len(z)))
    )
    loss = tempered_cross_entropy(temperature)
    hard = loss(np.array(z), y)
    powers = [math.fsum(math.exp((v - max(row)) / temperature) for v in row) for row in z]
    expected = [
        math.log(total) + (max(row) - row[k]) / temperature
        for row, k, total in zip(z, y, powers, strict=True)
    ]
    np.testing.assert_allclose(hard, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        loss(np.array(z), np.eye(len(z[0]))[y]), hard, rtol=1e-9, atol=1e-12
    )  # one-hot
    np.testing.assert_allclose(
        loss(temperature * np.array(z), y),
        cross_entropy(np.array(z), y),
        rtol=1e-9,
        atol=1e-12,
    )


@pytest.mark.parametrize("temperature", [0.5, 1, 20])
def test_its_gradient_is_softmax_minus_labels_over_the_temperature(temperature):
    rng = np.random.default_rng(0)
    z, p = 5 * rng.normal(size=(4, 3)), softmax(rng.normal(size=(4, 3)), 1)
    y, loss = np.array([0, 1, 2, 0]), tempered_cross_entropy(temperature)
    for labels, target in ((p, p), (y, np.eye(3)[y])):
        g = grad(lambda z, labels=labels: loss(z, labels).sum(), z)
        np.testing.assert_allclose(
            g, (softmax(z, temperature) - target) / temperature, rtol=1e-9, atol=1e-12
        )
        gradcheck(lambda z, labels=labels: loss(z, labels), z)


# --- distilling


def test_a_student_of_the_same_make_becomes_the_teacher():
    """A linear student's loss is convex, and least where its tempered probabilities are the
    teacher's."""
    teacher, student, x = linear(1), linear(2), images()
    before = weights_of(teacher)
    history = distill(teacher, student, x, temperature=3, epochs=300, optimizer=Adam(0.05), **QUIET)
    p, q = (soft_labels(model, x, temperature=3) for model in (teacher, student))
    np.testing.assert_allclose(q, p, atol=1e-3)
    np.testing.assert_allclose(
        history.loss[-1], -(p * np.log(p)).sum(axis=1).mean(), rtol=1e-4
    )  # the entropy of the labels
    assert all(np.array_equal(a, b) for a, b in zip(before, weights_of(teacher), strict=True))


def test_distilled_into_itself_a_model_stays():
    model, x = linear(1), images()
    before = weights_of(model)
    distill(model, model, x, temperature=5, epochs=2, optimizer=Adam(1e-6), **QUIET)
    for a, b in zip(before, weights_of(model), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_it_is_training_on_soft_labels():
    x, teacher, a, b = images(), linear(1), linear(2), linear(2)
    how = {"epochs": 3, "batch_size": 8, "rng": 4, **QUIET}
    distill(teacher, a, x, temperature=7, **how)
    fit(b, x, softmax(teacher(x), 7), loss=tempered_cross_entropy(7), **how)
    c = linear(2)
    distill(teacher, c, x, temperature=7, **how)
    for w, v, again in zip(weights_of(a), weights_of(b), weights_of(c), strict=True):
        np.testing.assert_allclose(w, v, rtol=1e-9)
        assert np.array_equal(w, again)


def test_on_every_backend(xp):
    x, y = xp.asarray(images(dtype=np.float32)), xp.asarray(np.arange(60) % 3)
    teacher, student = linear(1, np.float32), linear(2, np.float32)
    fit(teacher, x, y, loss=tempered_cross_entropy(np.float64(20)), **QUIET)
    distill(teacher, student, x, temperature=np.float64(20), **QUIET)
    labels = soft_labels(teacher, x, temperature=np.float64(20))
    for array in (labels, *teacher.parameters.values(), *student.parameters.values()):
        assert array_module(array) is xp
        assert array.dtype == np.float32


# --- what the defence is worth


def test_it_masks_the_gradient_of_the_softmax_and_not_that_of_the_margin():
    d, eps = digits(), 0.2
    teacher, student = (mlp((8, 8, 1), hidden=64, rng=seed) for seed in (0, 1))
    how = {"epochs": 12, **QUIET}
    fit(
        teacher,
        d.x_train,
        d.y_train,
        loss=tempered_cross_entropy(100),
        optimizer=Adam(0.003),
        **how,
    )
    distill(teacher, student, d.x_train, temperature=100, optimizer=Adam(0.003), **how)
    right = student(d.x_test).argmax(axis=1) == d.y_test
    x, y = d.x_test[right], d.y_test[right]
    assert right.mean() > 0.8

    def usual(x):
        return -ops.log(ops.clip(ops.softmax(student(x)), 1e-7, 1)[np.arange(len(y)), y]).sum()

    masked = ~grad(usual, x).any(axis=(1, 2, 3))
    revealed = grad(lambda x: margin(student(x), y).sum(), x)
    assert masked.mean() > 0.4
    assert revealed[masked].any(axis=(1, 2, 3)).all()
    assert (
        robust_accuracy(
            student, x[masked], y[masked], fgsm(student, x[masked], y=y[masked], eps=eps)
        )
        < 0.3
    )
    assert accuracy(student, x[masked], y[masked]) == 1


# --- bad input


@pytest.mark.parametrize(
    ("temperature", "error", "message"),
    [
        (0, ValueError, "temperature must be > 0, got 0"),
        (-1.0, ValueError, "temperature must be > 0, got -1.0"),
        (np.nan, ValueError, "temperature must be finite"),
        (np.inf, ValueError, "temperature must be finite"),
        ("20", TypeError, "temperature must be a number, got '20'"),
        (True, TypeError, "temperature must be a number"),
    ],
)
def test_temperatures_that_are_none(temperature, error, message):
    x, student = images(), linear(2)
    before = weights_of(student)
    for call in (
        lambda: soft_labels(linear(1), x, temperature=temperature),
        lambda: tempered_cross_entropy(temperature),
        lambda: distill(linear(1), student, x, temperature=temperature, **QUIET),
    ):
        with pytest.raises(error, match=message):
            call()
    assert all(np.array_equal(a, b) for a, b in zip(before, weights_of(student), strict=True))


def test_answers_that_are_no_logits():
    with pytest.raises(ValueError, match="model must return finite logits"):
        soft_labels(lambda x: logits(answers, x) * np.nan, np.ones((2, 3)), temperature=2)
    with pytest.raises(ValueError, match=r"model must return logits \(N, K\) with N = 2"):
        distill(lambda x: x[:1], linear(2), np.ones((2, 4)), temperature=2, **QUIET)
