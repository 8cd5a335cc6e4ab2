"""Adversarial training: the robust loss of a linear model in closed form, gradients with the
attacked images held constant, and what the attack gets to see."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minadv import ops, training
from minadv.attacks.fgsm import fgsm
from minadv.attacks.pgd import pgd
from minadv.autograd import grad
from minadv.backend import array_module, to_numpy
from minadv.data import digits
from minadv.defenses.adversarial_training import adversarial_training, augment, mixed_loss
from minadv.evaluation import accuracy, robust_accuracy
from minadv.layers import Dense, Flatten, Layer, Sequential, Tanh
from minadv.models import LogisticRegression, mlp
from minadv.training import SGD, fit

QUIET = {"progress": False}
WIDE = (-100.0, 100.0)  # no clipping


def attack_of(eps, bounds=(0.0, 1.0)):
    return lambda model, x, y: fgsm(model, x, y=y, eps=eps, bounds=bounds)


def images(count=12, shape=(3, 3, 1), seed=0, dtype=np.float64):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (count, *shape)).astype(dtype)


def labels(count=12, classes=3):
    return np.arange(count) % classes


def smooth(dtype=np.float64, seed=0):
    """A small network without kinks."""
    rng = np.random.default_rng(seed)
    return Sequential(
        Flatten(), Dense(9, 6, rng=rng, dtype=dtype), Tanh(), Dense(6, 3, rng=rng, dtype=dtype)
    )


def weights_of(model: Layer) -> dict:
    return {name: to_numpy(value).copy() for name, value in model.parameters.items()}


def same(a: dict, b: dict) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


def cross_entropy(z, y):
    """The mean of −log softmax, by its definition."""
    return float(np.mean([np.log(np.exp(row - row[k]).sum()) for row, k in zip(z, y, strict=True)]))


# --- linear models

vectors = st.integers(1, 6).flatmap(
    lambda n: st.tuples(*[st.lists(st.floats(-2, 2), min_size=n, max_size=n)] * 2)
)


@pytest.mark.filterwarnings("ignore:the gradient is exactly zero")  # w = 0
@pytest.mark.filterwarnings("ignore:the model seems to return probabilities")  # logits (0, 1)
@given(
    vectors,
    st.floats(-1, 1),
    st.sampled_from([0.0, 0.1, 0.3, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0, 4.0]),
    st.integers(0, 1),
)
def test_of_a_linear_model_it_is_the_robust_logistic_loss(pair, b, eps, weight, label):
    w, x = map(np.array, pair)
    model = LogisticRegression(w, b)
    m = (w @ x + b) * (1 if label else -1)
    loss = mixed_loss(model, attack_of(eps, WIDE), weight=weight)
    value = loss(model, x[None], np.array([label]))
    robust = np.log1p(np.exp(-(m - eps * np.abs(w).sum())))
    np.testing.assert_allclose(value, [np.log1p(np.exp(-m)) + weight * robust], rtol=1e-9)


def test_the_gradient_for_linear_weights_is_that_of_the_closed_form():
    """Danskin: with the worst image held constant, the gradient is that of the worst case."""
    rng = np.random.default_rng(0)
    w, b, x, y, eps, weight = (
        rng.normal(size=5),
        np.array(0.3),
        rng.normal(size=(8, 5)),
        np.arange(8) % 2,
        0.2,
        0.7,
    )
    model, sign = LogisticRegression(w, float(b)), np.where(y == 1, 1.0, -1.0)
    loss = mixed_loss(model, attack_of(eps, WIDE), weight=weight)

    def mixed(w, b):
        return loss(lambda x: model.apply({"weight": w, "bias": b}, x), x, y).sum()

    def closed(w, b):
        m = sign * (x @ w + b)
        return (ops.softplus(-m) + weight * ops.softplus(-(m - eps * ops.sum(abs(w))))).sum()

    for g, expected in zip(grad(mixed, w, b), grad(closed, w, b), strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-9, atol=1e-12)


# --- gradients


@pytest.mark.parametrize("weight", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("chunk", [5, 512])
def test_one_step_descends_the_mixed_loss_with_the_attacked_images_constant(
    weight, chunk, monkeypatch
):
    monkeypatch.setattr(training, "chunk_size", lambda *_: chunk)
    model, x, y, attack = smooth(), images(), labels(), attack_of(0.1)
    x_adv, before = attack(model, x, y).x_adv, weights_of(model)

    def value(parameters):
        return cross_entropy(model.apply(parameters, x), y) + weight * cross_entropy(
            model.apply(parameters, x_adv), y
        )

    adversarial_training(
        model, x, y, attack=attack, weight=weight, optimizer=SGD(1.0), batch_size=12, **QUIET
    )
    h = 1e-6
    for name, w in before.items():
        step = w - to_numpy(model.parameters[name])  # the gradient, the learning rate being 1
        for index in np.ndindex(w.shape):
            up, down = w.copy(), w.copy()
            up[index] += h
            down[index] -= h
            difference = (value({**before, name: up}) - value({**before, name: down})) / (2 * h)
            assert abs(step[index] - difference) < 1e-8 + 1e-6 * abs(difference), (name, index)


def test_without_weight_it_is_ordinary_training_bit_for_bit():
    x, y, how = images(40), labels(40), {"epochs": 3, "batch_size": 8, "rng": 5, **QUIET}
    plain, mixed = smooth(np.float32), smooth(np.float32)
    fit(plain, x.astype(np.float32), y, **how)
    adversarial_training(mixed, x.astype(np.float32), y, attack=attack_of(0.2), weight=0, **how)
    assert same(weights_of(plain), weights_of(mixed))


# --- what the attack sees


def test_each_batch_is_attacked_anew_on_the_model_as_it_is():
    model, seen = smooth(), []

    def attack(attacked, x, y):
        assert attacked is model
        seen.append((weights_of(model), x.copy(), y.copy()))
        return x

    x, y = images(20), labels(20)
    adversarial_training(model, x, y, attack=attack, epochs=2, batch_size=8, **QUIET)
    assert [len(x) for _, x, _ in seen] == [8, 8, 4] * 2
    assert not any(same(a, b) for (a, *_), (b, *_) in zip(seen, seen[1:], strict=False))
    assert not same(seen[-1][0], weights_of(model))
    for epoch in (seen[:3], seen[3:]):  # each image once, under its own label
        rows = {part.tobytes(): k for _, xs, ys in epoch for part, k in zip(xs, ys, strict=True)}
        assert rows == {part.tobytes(): k for part, k in zip(x, y, strict=True)}


def test_another_model_is_attacked_if_given():
    original, model = smooth(seed=1), smooth(seed=2)
    before, seen = weights_of(original), []

    def attack(attacked, x, y):
        seen.append(attacked)
        return fgsm(attacked, x, y=y, eps=0.1)

    fit(model, images(), labels(), objective=mixed_loss(original, attack), batch_size=12, **QUIET)
    assert seen == [original]
    assert same(before, weights_of(original))


def test_the_loss_is_per_example_and_nothing_given_is_changed():
    model, x, y = smooth(), images(), labels()
    x.flags.writeable = y.flags.writeable = False
    attack = attack_of(0.1)
    value = mixed_loss(model, attack, weight=2.0)(model, x, y)
    x_adv = attack(model, x, y).x_adv
    each = [
        cross_entropy(model(x[[i]]), y[[i]]) + 2 * cross_entropy(model(x_adv[[i]]), y[[i]])
        for i in range(len(x))
    ]
    np.testing.assert_allclose(value, each, rtol=1e-12)


def test_images_do_as_well_as_a_result():
    model, x, y = smooth(), images(), labels()
    result = fgsm(model, x, y=y, eps=0.1)
    a, b = (
        mixed_loss(model, lambda *_, y, given=given: given)(model, x, y)
        for given in (result, result.x_adv)
    )
    assert np.array_equal(a, b)


# --- training


@pytest.mark.parametrize("chunk", [4, 512])
def test_seeds_reproduce(chunk, monkeypatch):
    monkeypatch.setattr(training, "chunk_size", lambda *_: chunk)
    x, y = images(40, dtype=np.float32), labels(40)

    def run(seed):
        model = smooth(np.float32)
        adversarial_training(
            model,
            x,
            y,
            attack=lambda model, x, y: pgd(model, x, y=y, eps=0.1, steps=3, rng=7),
            epochs=2,
            batch_size=16,
            rng=seed,
            **QUIET,
        )
        return weights_of(model)

    assert same(run(0), run(0))
    assert not same(run(0), run(1))


def test_it_goes_on_from_the_weights_that_are_there():
    model, x, y = smooth(), images(40), labels(40)
    before = weights_of(model)
    adversarial_training(model, x, y, attack=attack_of(0.1), epochs=0, **QUIET)
    assert same(before, weights_of(model))
    first = adversarial_training(model, x, y, attack=attack_of(0.1), epochs=30, **QUIET)
    again = adversarial_training(model, x, y, attack=attack_of(0.1), epochs=1, **QUIET)
    assert again.loss[0] < first.loss[0]


def test_validation_gives_the_mixed_loss_and_the_clean_accuracy():
    model, x, y = smooth(), images(40), labels(40)
    attack = attack_of(0.3)
    history = adversarial_training(
        model, x, y, attack=attack, weight=2.0, validation=(x, y), **QUIET
    )
    x_adv = attack(model, x, y).x_adv
    np.testing.assert_allclose(
        history.validation_loss,
        [cross_entropy(model(x), y) + 2 * cross_entropy(model(x_adv), y)],
        rtol=1e-9,
    )
    assert history.validation_accuracy == [accuracy(model, x, y)]


def test_it_makes_a_network_robust():
    d, eps = digits(), 0.15
    robust = {}
    for weight in (0.0, 1.0):
        model = mlp((8, 8, 1), hidden=64)
        adversarial_training(
            model, d.x_train, d.y_train, attack=attack_of(eps), weight=weight, epochs=12, **QUIET
        )
        attacked = pgd(model, d.x_test, y=d.y_test, eps=eps, steps=10)
        robust[weight] = robust_accuracy(model, d.x_test, d.y_test, attacked)
        assert accuracy(model, d.x_test, d.y_test) > 0.9
    assert robust[1.0] > robust[0.0] + 0.25


def test_on_every_backend(xp):
    x, y = xp.asarray(images(20, dtype=np.float32)), xp.asarray(labels(20))
    model = smooth(np.float32)
    history = adversarial_training(model, x, y, attack=attack_of(0.1), batch_size=8, **QUIET)
    assert np.isfinite(history.loss).all()
    assert all(
        array_module(value) is xp and value.dtype == np.float32
        for value in model.parameters.values()
    )
    more, twice = augment(x, y, fgsm(model, x, y=y, eps=0.1), x)
    assert array_module(more) is array_module(twice) is xp
    assert (more.shape, more.dtype, twice.shape) == ((60, 3, 3, 1), np.float32, (60,))


# --- augment


def test_augment_appends_each_batch_under_the_same_labels():
    x, y, model = images(), labels(), smooth()
    attacked = fgsm(model, x, y=y, eps=0.1)
    x.flags.writeable = y.flags.writeable = False
    more, twice = augment(x, y, attacked, 1 - x)
    assert np.array_equal(more, [*x, *attacked.x_adv, *(1 - x)])
    assert np.array_equal(twice, [*y, *y, *y])
    assert more.dtype == x.dtype
    assert twice.dtype == y.dtype
    alone, once = augment(x, y)
    assert np.array_equal(alone, x)
    assert np.array_equal(once, y)
    assert not np.shares_memory(alone, x)


def test_augment_takes_soft_labels_and_vectors():
    x, p = np.zeros((4, 7), np.float32), np.full((4, 3), 1 / 3, np.float32)
    more, twice = augment(x, p, x)
    assert (more.shape, twice.shape) == ((8, 7), (8, 3))


# --- bad input


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (-0.1, ValueError, "weight must be >= 0, got -0.1"),
        (np.nan, ValueError, "weight must be finite"),
        (np.inf, ValueError, "weight must be finite"),
        ("1", TypeError, "weight must be a number, got '1'"),
        (True, TypeError, "weight must be a number"),
    ],
)
def test_weights_that_are_none(weight, error, message):
    with pytest.raises(error, match=message):
        mixed_loss(smooth(), attack_of(0.1), weight=weight)
    with pytest.raises(error, match=message):
        adversarial_training(
            smooth(), images(), labels(), attack=attack_of(0.1), weight=weight, **QUIET
        )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda x: x[:-1],
            r"must be float64 of shape \(12, 3, 3, 1\), as the originals, got float64 of shape "
            r"\(11, 3, 3, 1\)",
        ),
        (lambda x: x.reshape(12, 9), r"got float64 of shape \(12, 9\)"),
        (lambda x: x.astype(np.float32), "got float32 of shape"),
        (lambda x: None, "got NoneType"),
        (lambda x: x.tolist(), "got list"),
    ],
)
def test_attacked_images_that_cannot_stand_for_the_originals(wrong, message):
    x, y = images(), labels()
    with pytest.raises(ValueError, match=message):
        adversarial_training(
            smooth(), x, y, attack=lambda model, x, y: wrong(x), batch_size=12, **QUIET
        )
    with pytest.raises(ValueError, match=message):
        augment(x, y, wrong(x))


def test_augment_counts_the_labels():
    with pytest.raises(
        ValueError, match=r"y must hold one label for each of 12 images, got shape \(11,\)"
    ):
        augment(images(), labels(11))


def test_an_attack_is_called_with_y_by_name_so_partials_do():
    x, y = images(), labels()
    a, b = smooth(), smooth()
    adversarial_training(a, x, y, attack=partial(fgsm, eps=0.1), **QUIET)
    adversarial_training(b, x, y, attack=attack_of(0.1), **QUIET)
    assert same(weights_of(a), weights_of(b))


@pytest.mark.parametrize(
    ("attack", "message"),
    [(fgsm, "attack is called as .* missing a required argument: 'eps'"), ("fgsm", "a function")],
)
def test_what_cannot_be_called_so_is_refused_at_once(attack, message):
    with pytest.raises(TypeError, match=message):
        mixed_loss(smooth(), attack)


def test_the_defenses_are_one_namespace():
    from minadv import defenses

    assert {"adversarial_training", "distill", "Detector", "Guarded", "VAE", "rbf_network"} <= set(
        defenses.__all__
    )
    assert all(callable(getattr(defenses, name)) for name in defenses.__all__)
