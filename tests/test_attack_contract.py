"""What all attacks have in common: one table of attacks, one table of wrong input, and every attack
against every line.

A new attack is one line in ATTACKS. What arguments it takes is read off its signature.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

from minadv import external, losses, ops
from minadv.attacks import (
    QueryGradient,
    apgd,
    carlini_wagner,
    deepfool,
    ensemble,
    fab,
    fgsm,
    forge,
    iterative_fgsm,
    jsma,
    negative,
    one_pixel,
    pgd,
    square,
    strongest,
    uniform_noise,
)
from minadv.autograd import vjp
from minadv.backend import array_module, asarray, to_numpy
from minadv.checks import check_images
from minadv.layers import Dense, Flatten, LeakyReLU, Sequential


@dataclass(frozen=True)
class Attack:
    """An attack, and what a test must know of it."""

    attack: Callable
    settings: dict = field(default_factory=dict)  # beside the model, the images and the goal
    goals: tuple[str, ...] = (
        "y",
        "target",
    )  # how a goal can be given; () for one that asks no model and returns images
    searches: bool = False  # what succeeds already is returned unchanged with 0 steps
    warns: bool = True  # of a model that returns probabilities
    tolerance: float = 0.0  # between an image attacked alone and in a batch, on the model below

    def __call__(self, model, x, **arguments):
        arguments = self.settings | arguments
        return self.attack(model, x, **arguments) if self.goals else self.attack(x, **arguments)

    def goal(self, label) -> dict:
        return dict.fromkeys(self.goals[:1], label)


def fgsm_by_queries(model, x, *, y=None, target=None, eps, bounds=(0.0, 1.0)):
    estimated = QueryGradient(model, h=2.0**-7, bounds=check_images(x, bounds))
    return fgsm(estimated, x, y=y, target=target, eps=eps, bounds=bounds)


# What the last bit of a matrix product leaves in x_adv where minadv.attacks does not promise
# equality to the bit. Which kernel BLAS takes decides whether it shows.
ROUNDING = 1e-6


def fgsm_abroad(model, x, *, y=None, target=None, eps, bounds=(0.0, 1.0)):
    def there(x):  # as another framework is asked, which keeps its arrays where it likes
        return vjp(model, asarray(x))

    foreign = external(lambda x: model(asarray(x)), there)
    return fgsm(foreign, x, y=y, target=target, eps=eps, bounds=bounds)


def quick_strongest(model, x, *, y, eps, norm="linf", rng=0, bounds=(0.0, 1.0)):
    several = ensemble(eps, norm=norm, classes=2, rng=rng, bounds=check_images(x, bounds))
    few = {name: partial(attack, steps=5) for name, attack in several.items()}
    return strongest(model, x, y=y, eps=eps, norm=norm, attacks=few, bounds=bounds)


ATTACKS = {
    "fgsm": Attack(fgsm, {"eps": 0.125}),
    "iterative_fgsm": Attack(iterative_fgsm, {"eps": 0.125, "steps": 4}),
    "pgd": Attack(pgd, {"eps": 0.125, "steps": 4}, searches=True),
    "pgd l2": Attack(
        pgd,
        {"eps": 0.5, "steps": 4, "restarts": 2, "norm": "l2"},
        searches=True,
    ),
    "deepfool": Attack(deepfool, goals=("y",), searches=True, tolerance=ROUNDING),
    "deepfool linf": Attack(
        deepfool, {"norm": "linf"}, goals=("y",), searches=True, tolerance=ROUNDING
    ),
    "jsma": Attack(jsma, {"theta": 0.25, "gamma": 0.5}, goals=("target",), searches=True),
    "jsma pixel": Attack(
        jsma,
        {"theta": -0.25, "gamma": 0.5, "pairs": False, "outputs": "logits"},
        goals=("target",),
        searches=True,
    ),
    "one_pixel": Attack(one_pixel, {"population": 8, "generations": 3}, searches=True, warns=False),
    "forge": Attack(
        forge,
        {"loss": losses.cross_entropy, "lr": 0.01, "steps": 4, "clip": 0.125},
        goals=("target",),
        tolerance=ROUNDING,
    ),
    "carlini_wagner": Attack(
        carlini_wagner,
        {"steps": 10, "search_steps": 3, "lr": 0.1, "initial_const": 0.1},
        searches=True,
        tolerance=1e-6,
    ),
    "apgd": Attack(apgd, {"eps": 0.125, "steps": 6}, searches=True),
    "apgd l2": Attack(apgd, {"eps": 0.5, "steps": 6, "restarts": 2, "norm": "l2"}, searches=True),
    "fab": Attack(fab, {"steps": 3}, goals=("y",), searches=True, tolerance=1e-6),
    "fab l2": Attack(fab, {"steps": 3, "norm": "l2"}, goals=("y",), searches=True, tolerance=1e-6),
    "square": Attack(square, {"eps": 0.125, "steps": 8}, searches=True, warns=False),
    "square l2": Attack(square, {"eps": 0.5, "steps": 8, "norm": "l2"}, searches=True, warns=False),
    "strongest": Attack(quick_strongest, {"eps": 0.125}, goals=("y",), searches=True),
    "fgsm by queries": Attack(fgsm_by_queries, {"eps": 0.125}),
    "fgsm abroad": Attack(fgsm_abroad, {"eps": 0.125}),
    "uniform_noise": Attack(uniform_noise, {"eps": 0.125}, goals=()),
    "negative": Attack(negative, goals=()),
}
ASKING = {name: attack for name, attack in ATTACKS.items() if attack.goals}


class Tensor:
    """What a PyTorch tensor looks like from outside."""

    def __init__(self, values):
        self.dtype, self.shape, self.ndim = "torch.float32", values.shape, values.ndim

    def __len__(self):
        return self.shape[0]


Tensor.__module__ = "torch"
X = np.random.default_rng(0).integers(0, 65, (6, 3, 3, 2)).astype(np.float32) / 64
NAN, INF = float("nan"), float("inf")

# argument: [(error, what its message says, wrong value)]
WRONG = {
    "x": [
        (TypeError, "x must be a NumPy or CuPy array, got list", X.tolist()),
        (
            TypeError,
            "x must be float32 or float64, got uint8: divide by 255 first",
            (X * 255).astype(np.uint8),
        ),
        (TypeError, "x must be float32 or float64, got int64", X.astype(np.int64)),
        (TypeError, "x must be float32 or float64, got float16", X.astype(np.float16)),
        (TypeError, "x must be float32 or float64, got object", X.astype(object)),
        (TypeError, "x must be float32 or float64, got bool", X > 0.5),
        (TypeError, "x must be float32 or float64, got complex64", X.astype(np.complex64)),
        (
            ValueError,
            "(N, H, W, C) or (N, D), got shape (3, 3, 2): write x[None] for a single image",
            X[0],
        ),
        (
            ValueError,
            "(N, H, W, C) or (N, D), got shape (18,): write x[None] for a single image",
            X[0].ravel(),
        ),
        (
            ValueError,
            "(N, H, W, C) or (N, D), got shape (6, 3, 3): write x[None] for a single image, "
            "x[..., None] for gray images (N, H, W)",
            X[..., 0],
        ),
        (ValueError, "(N, H, W, C) or (N, D), got shape ()", X[:1, 0, 0, 0].reshape(())),
        (
            TypeError,
            "x must be a NumPy or CuPy array, got numpy.float32: write numpy.asarray(x)",
            X[0, 0, 0, 0],
        ),
        (
            TypeError,
            "x must be a NumPy or CuPy array, got torch.Tensor: write x.detach().cpu().numpy()",
            Tensor(X),
        ),
        (
            ValueError,
            "(N, H, W, C), got shape (2, 3, 8, 8), which seems to be (N, C, H, W): "
            "write x.transpose(0, 2, 3, 1)",
            np.zeros((2, 3, 8, 8), np.float32),
        ),
        (ValueError, "(N, H, W, C) or (N, D), got shape (6, 0)", X.reshape(6, 18)[:, :0]),
        (ValueError, "x must not contain NaN", np.where(X > 0.5, np.float32(NAN), X)),
        (
            ValueError,
            "x must lie inside bounds (0.0, 1.0), got values from 0.0 to 255.0",
            (X == 1) * np.float32(255),
        ),
        (
            ValueError,
            "x must lie inside bounds (0.0, 1.0), got values from -1.0 to 1.0",
            np.sign(X - 0.5),
        ),
        (
            ValueError,
            "x must lie inside bounds (0.0, 1.0), got values from 0.0 to 1.000000",
            X * np.float32(1 + 6 * 2.0**-23),  # six units in the last place: no rounding error
        ),
        (ValueError, "got values from 0.0 to inf", np.where(X == 1, np.float32(INF), 0)),
    ],
    "bounds": [
        (ValueError, "bounds must be two numbers (low, high), got 1", 1),
        (ValueError, "bounds must be two numbers (low, high), got None", None),
        (ValueError, "bounds must be two numbers (low, high), got (0, 1, 2)", (0, 1, 2)),
        (TypeError, "bounds must be a number, got '0'", ("0", "1")),
        (ValueError, "bounds must be (low, high) with low < high, got (1, 0)", (1, 0)),
        (ValueError, "bounds must be (low, high) with low < high, got (1, 1)", (1, 1)),
        (ValueError, "bounds must be finite, got nan", (0, NAN)),
        (ValueError, "bounds must be finite, got inf", (0, INF)),
        (
            ValueError,
            "bounds must be >= -3.24519e+32, got -1e+38",
            (-1e38, 1),
        ),  # no room for eps beside it in float32
        (ValueError, "x must lie inside bounds (0.0, 0.5), got values from 0.0 to 1.0", (0, 0.5)),
    ],
    "y": [
        (TypeError, "y must be integers, got dtype float64", 1.0),
        (TypeError, "y must be integers, got dtype float64", np.zeros(6)),
        (TypeError, "y must be integers, got dtype bool", True),
        (TypeError, "y must be integers, got dtype <U1", "1"),
        (ValueError, "y must be one integer or 6 of them, got shape (5,)", [0] * 5),
        (
            ValueError,
            "y must be one integer or 6 of them, got shape (6, 2)",
            np.eye(2, dtype=int)[[0] * 6],
        ),
        (
            ValueError,
            "got shape (6, 2): write y.argmax(axis=1) for one-hot labels",
            np.eye(2, dtype=int)[[0] * 6],
        ),
        (
            TypeError,
            "y must be integers, got dtype float32: write y.argmax(axis=1) for one-hot labels",
            np.eye(2, dtype=np.float32)[[0] * 6],
        ),
        (
            TypeError,
            "y must be a NumPy or CuPy array, got torch.Tensor: write y.detach().cpu().numpy()",
            Tensor(np.zeros(6)),
        ),
        (ValueError, "y must not be negative, got -1", -1),
        (ValueError, "y must lie in 0..1, the model's classes, got 2", [0, 1, 2, 0, 0, 0]),
    ],
    "eps": [
        (ValueError, "eps must be >= 0, got -0.1", -0.1),
        (ValueError, "eps must be finite, got nan", NAN),
        (ValueError, "eps must be finite, got inf", INF),
        (ValueError, "eps must be <= 3.24519e+32, got 1e+38", 1e38),
        (TypeError, "eps must be a number, got '0.1'", "0.1"),
        (TypeError, "eps must be a number, got None", None),
        (TypeError, "eps must be a number, got [0.1]", [0.1]),
    ],
    "steps": [
        (ValueError, "steps must be >= 1, got 0", 0),
        (ValueError, "steps must be >= 1, got -3", -3),
        (TypeError, "steps must be an integer, got 2.0", 2.0),
        (TypeError, "steps must be an integer, got True", True),
    ],
    "restarts": [
        (ValueError, "restarts must be >= 1, got 0", 0),
        (TypeError, "restarts must be an integer, got None", None),
    ],
    "alpha": [
        (ValueError, "alpha must be >= 0, got -1", -1),
        (ValueError, "alpha must be finite, got nan", NAN),
        (TypeError, "alpha must be a number, got '1'", "1"),
    ],
    "norm": [
        (ValueError, "norm must be 'l", "l1"),
        (ValueError, "norm must be 'l", 2),
    ],
    "rng": [
        (
            TypeError,
            "rng must be a numpy.random.Generator or a seed, an integer >= 0, got 'seed'",
            "seed",
        ),
        (TypeError, "rng must be a numpy.random.Generator or a seed, an integer >= 0, got -1", -1),
    ],
}
WRONG["target"] = [
    (error, re.sub(r"\by\b(?= must|\.)", "target", message), value)
    for error, message, value in WRONG["y"]
]

ANSWERS = {  # what a model may wrongly return for 6 images
    "one number per image": (
        lambda x: ops.sum(x, axis=(1, 2, 3)),
        ValueError,
        "(N, K) with N = 6 and K >= 2, got shape (6,)",
    ),
    "one class": (
        lambda x: model(x)[:, :1],
        ValueError,
        "(N, K) with N = 6 and K >= 2, got shape (6, 1)",
    ),
    "one row less": (
        lambda x: model(x)[1:],
        ValueError,
        "(N, K) with N = 6 and K >= 2, got shape (5, 2)",
    ),
    "another axis": (
        lambda x: x,
        ValueError,
        "(N, K) with N = 6 and K >= 2, got shape (6, 3, 3, 2)",
    ),
    "NaN": (
        lambda x: model(x) * NAN,
        ValueError,
        "the model must return finite logits, got NaN or infinity",
    ),
    "infinity": (
        lambda x: model(x) + INF,
        ValueError,
        "the model must return finite logits, got NaN or infinity",
    ),
}


def model(x):
    """Small integers and two classes: as long as pixels are, too, no operation rounds, whatever the
    order of additions.
    """
    rng = np.random.default_rng(1)
    layers = Sequential(Flatten(), Dense(18, 8), LeakyReLU(0.125), Dense(8, 2))
    for layer in (layers[1], layers[3]):
        layer.weight = asarray(rng.integers(-4, 5, layer.weight.shape).astype(np.float32))
    return layers(x)


every_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
asking_attack = pytest.mark.parametrize("attack", ASKING.values(), ids=ASKING)
each_goal = pytest.mark.parametrize(
    ("attack", "kind"),
    [
        pytest.param(attack, kind, id=f"{name}-{kind}")
        for name, attack in ASKING.items()
        for kind in attack.goals
    ],
)
WRONG_INPUT = [
    pytest.param(attack, argument, *line, id=f"{name}-{argument}-{i}")
    for name, attack in ATTACKS.items()
    for argument, lines in WRONG.items()
    if argument in inspect.signature(attack.attack).parameters
    for i, line in enumerate(lines)
]


@pytest.mark.parametrize(("attack", "argument", "error", "message", "value"), WRONG_INPUT)
def test_wrong_input_is_named(attack, argument, error, message, value):
    given = (
        {"x": X, argument: value}
        if argument in ("y", "target")
        else {"x": X, **attack.goal(0), argument: value}
    )
    with pytest.raises(error, match=re.escape(message)):
        attack(model, given.pop("x"), **given)


@pytest.mark.parametrize("attack", [attack for attack in ASKING.values() if len(attack.goals) == 2])
def test_exactly_one_of_y_and_target_is_given(attack):
    for goal, got in (({}, "neither"), ({"y": 0, "target": 1}, "both")):
        with pytest.raises(ValueError, match=f"exactly one of y .* and target .*, got {got}"):
            attack(model, X, **goal)


@asking_attack
@pytest.mark.parametrize("answer", ANSWERS)
def test_wrong_answers_of_the_model_are_named(attack, answer):
    wrong, error, message = ANSWERS[answer]
    with np.errstate(invalid="ignore"), pytest.raises(error, match=re.escape(message)):
        attack(wrong, X, **attack.goal(0))


@asking_attack
def test_labels_instead_of_logits_are_named(attack):
    def hard(x):
        return (model(getattr(x, "value", x)) > 0).astype(int)

    with pytest.raises(
        TypeError, match="the model must return logits, floating-point numbers, got int64"
    ):
        attack(hard, X, **attack.goal(0))


@pytest.mark.parametrize("attack", [attack for attack in ASKING.values() if attack.warns])
def test_probabilities_instead_of_logits_are_warned_of_once_where_the_attack_is_called(attack):
    x = np.concatenate([X] * 200)  # more than one chunk
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attack(lambda x: ops.softmax(model(x) * 0.01), x, **attack.goal(0))
    assert [w.category for w in caught] == [UserWarning]
    assert "the model seems to return probabilities" in str(caught[0].message)
    assert caught[0].filename == __file__


# --- right input


@each_goal
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 3, 3, 2), (6, 18)])
def test_result_is_what_it_says(xp, attack, kind, dtype, shape):
    x = xp.asarray(X.reshape(shape).astype(dtype))
    before = to_numpy(x).copy()
    label = np.array([0, 1, 0, 1, 0, 1])
    given_label = xp.asarray(label)
    r = attack(model, x, **{kind: given_label})
    assert r.x is x
    assert np.array_equal(to_numpy(x), before)
    assert np.array_equal(to_numpy(given_label), label)
    assert (r.x_adv.dtype, r.x_adv.shape) == (x.dtype, x.shape)
    assert array_module(r.x_adv, r.label, r.success, r.steps) is xp
    x_adv = to_numpy(r.x_adv)
    assert ((x_adv >= 0) & (x_adv <= 1)).all()
    found = to_numpy(model(r.x_adv)).argmax(axis=1)
    assert np.array_equal(to_numpy(r.label), found)
    assert np.array_equal(
        to_numpy(r.success), found == label if kind == "target" else found != label
    )
    assert to_numpy(r.steps).dtype.kind == "i"
    assert len(r) == len(r.steps) == len(r.linf) == len(r.l2) == len(r.l0) == 6


@each_goal
def test_labels_come_in_every_integer_form(xp, attack, kind):
    x = xp.asarray(X)
    forms = (1, np.int64(1), [1] * 6, np.ones(6, np.uint8), xp.asarray(np.ones(6, np.int32)))
    results = [to_numpy(attack(model, x, **{kind: form}).x_adv) for form in forms]
    assert all(np.array_equal(results[0], other) for other in results)


@every_attack
def test_a_read_only_array_will_do(attack):
    x = X.copy()
    x.setflags(write=False)
    r = attack(model, x, **attack.goal(0))
    assert np.array_equal(x, X)
    assert not np.shares_memory(getattr(r, "x_adv", r), x)


@every_attack
@pytest.mark.parametrize("layout", ["Fortran", "reversed", "channels first", "every other"])
def test_any_memory_layout_will_do(attack, layout):
    x = {
        "Fortran": np.asfortranarray(X),
        "reversed": np.ascontiguousarray(X[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1],
        "channels first": np.ascontiguousarray(X.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
        "every other": np.repeat(X, 2, axis=1)[:, ::2],
    }[layout]
    assert np.array_equal(x, X)
    assert not x.flags.c_contiguous
    usual, other = (attack(model, images, **attack.goal(1)) for images in (X, x))
    for name in ("x_adv", "label", "success", "steps") if attack.goals else ():
        assert np.array_equal(getattr(usual, name), getattr(other, name))
    assert np.array_equal(getattr(usual, "x_adv", usual), getattr(other, "x_adv", other))
    assert np.array_equal(x, X)


@every_attack
def test_images_normalized_in_float32_are_inside_the_right_bounds(attack):
    """MNIST by torchvision: rounding carries black and white one unit beyond what 0 and 1
    become."""
    x = (X.astype(np.float32) - np.float32(0.1307)) / np.float32(0.3081)
    low, high = (0 - 0.1307) / 0.3081, (1 - 0.1307) / 0.3081
    assert x.min() < np.float32(low)
    r = attack(model, x, bounds=(low, high), **attack.goal(0))
    x_adv = getattr(r, "x_adv", r)
    assert x_adv.min() >= min(x.min(), np.float32(low))
    assert x_adv.max() <= max(x.max(), np.float32(high))


@asking_attack
def test_the_model_is_only_asked_about_images_in_their_dtype_and_bounds(attack):
    def asked(x):
        value = getattr(x, "value", x)
        assert value.dtype == np.float32
        assert value.shape[1:] == X.shape[1:]
        assert value.min() >= -1
        assert value.max() <= 1
        return model(x)

    attack(asked, 2 * X - 1, bounds=(-1, 1), **attack.goal(0))


@every_attack
def test_an_empty_batch_has_an_empty_result(xp, attack):
    for shape in ((0, 3, 3, 2), (0, 18)):
        x = xp.asarray(np.zeros(shape, np.float32))
        r = attack(model, x, **attack.goal(np.zeros(0, int)))
        assert getattr(r, "x_adv", r).shape == shape
        if attack.goals:
            assert [len(a) for a in (r.label, r.success, r.steps, r.linf, r.l2, r.l0)] == [0] * 6


@pytest.mark.parametrize("attack", [attack for attack in ASKING.values() if attack.searches])
def test_what_succeeds_already_is_returned_unchanged_with_0_steps(xp, attack):
    x = xp.asarray(X)
    label = to_numpy(model(x)).argmax(axis=1)
    r = attack(model, x, **{attack.goals[-1]: label if attack.goals[-1] == "target" else 1 - label})
    assert np.array_equal(to_numpy(r.x_adv), X)
    assert to_numpy(r.success).all()
    assert not to_numpy(r.steps).any()


@each_goal
def test_a_batch_is_its_examples_one_by_one(xp, attack, kind):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 65, (600, 3, 3, 2)).astype(np.float32) / 64  # more than one chunk
    label = rng.integers(0, 2, 600)
    whole = attack(model, xp.asarray(x), **{kind: label})
    for i in range(0, 600, 41):
        alone = attack(model, xp.asarray(x[i : i + 1]), **{kind: label[i : i + 1]})
        change = to_numpy(whole.x_adv[i : i + 1]) - to_numpy(alone.x_adv)
        assert np.abs(change).max() <= attack.tolerance  # 0: to the bit
        for name in ("label", "success", "steps"):
            assert np.array_equal(
                to_numpy(getattr(whole, name)[i : i + 1]), to_numpy(getattr(alone, name))
            )
