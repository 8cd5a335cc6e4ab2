"""Goal, gradient and result: what all attacks share."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minadv import inference, ops
from minadv.attacks.goal import Goal, score_gradient, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.autograd import grad
from minadv.backend import asarray, to_numpy
from minadv.checks import check_bounds, check_count, check_inside, check_number, check_rng
from minadv.inference import are_probabilities
from minadv.layers import Dense, Flatten, ReLU, Sequential
from minadv.losses import cross_entropy


def mlp(dtype=np.float32, *, classes=4, seed=0, pixels=12):
    return Sequential(
        Flatten(),
        Dense(pixels, 16, rng=seed, dtype=dtype),
        ReLU(),
        Dense(16, classes, rng=seed + 1, dtype=dtype),
    )


def images(count, *, dtype=np.float32, shape=(2, 3, 2), seed=0):
    return asarray(np.random.default_rng(seed).random((count, *shape)).astype(dtype))


# --- checks


@pytest.mark.parametrize("value", [0, 1, 0.25, np.float32(0.5), np.float64(0.1), np.int64(1)])
def test_numbers_of_every_kind_are_taken(value):
    assert check_number("eps", value, least=0, most=1) == float(value)
    assert type(check_number("eps", value)) is float


@pytest.mark.parametrize(
    ("error", "message", "value"),
    [
        (ValueError, "eps must be >= 0, got -0.1", -0.1),
        (ValueError, "eps must be <= 1, got 1.5", 1.5),
        (ValueError, "eps must be finite, got nan", float("nan")),
        (ValueError, "eps must be finite, got inf", float("inf")),
        (ValueError, "eps must be finite, got 1000", 10**400),
        (TypeError, "eps must be a number, got True", True),
        (TypeError, "eps must be a number, got None", None),
        (TypeError, "eps must be a number, got '0.1'", "0.1"),
        (TypeError, "eps must be a number, got 1j", 1j),
        (TypeError, "eps must be a number, got array", np.array([0.1])),
    ],
)
def test_wrong_numbers_are_named(error, message, value):
    with pytest.raises(error, match=message):
        check_number("eps", value, least=0, most=1)


@pytest.mark.parametrize(
    ("error", "message", "value"),
    [
        (ValueError, "steps must be >= 1, got 0", 0),
        (TypeError, "steps must be an integer, got 2.0", 2.0),
        (TypeError, "steps must be an integer, got True", True),
        (TypeError, "steps must be an integer, got array", np.array([2])),
    ],
)
def test_wrong_counts_are_named(error, message, value):
    with pytest.raises(error, match=message):
        check_count("steps", value)


def test_counts_bounds_and_generators():
    assert check_count("steps", np.int32(3)) == 3
    assert check_bounds((0, 1)) == (0.0, 1.0)
    assert check_bounds([0.1, 0.9], np.float32) == (float(np.float32(0.1)), float(np.float32(0.9)))
    generator = np.random.default_rng(3)
    assert check_rng(generator) is generator
    assert check_rng(3).random() == generator.random()
    for wrong in ("seed", 1.5, -1):
        with pytest.raises(TypeError, match="rng must be a numpy.random.Generator or a seed"):
            check_rng(wrong)


# (mean, standard deviation) of torchvision's Normalize: MNIST, CIFAR-10, ImageNet, by channel
NORMALIZATIONS = [
    *[(0.1307, 0.3081), (0.4914, 0.2470), (0.4822, 0.2435), (0.4465, 0.2616)],
    *[(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)],
]


@pytest.mark.parametrize(("mean", "std"), NORMALIZATIONS)
def test_bounds_reach_as_far_as_rounding_carried_a_normalized_image(xp, mean, std):
    pixels = np.arange(256, dtype=np.float32)[None] / np.float32(255)
    x = (pixels - np.float32(mean)) / np.float32(std)
    low, high = check_inside("x", xp.asarray(x), ((0 - mean) / std, (1 - mean) / std))
    assert low == min(x.min(), np.float32((0 - mean) / std))
    assert high == max(x.max(), np.float32((1 - mean) / std))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 1.0), (-4.0, -1.0), (1e-30, 1e30)])
def test_four_units_in_the_last_place_are_rounding_and_six_are_not(dtype, bounds):
    low, high = np.array(bounds, dtype)
    unit = np.spacing(np.abs(np.array(bounds, dtype)).max())
    for end, sign, within in ((low, -1, 0), (high, 1, 1)):
        x = np.array([[low, high, end + sign * 4 * unit]], dtype)
        assert check_inside("x", x, bounds)[within] == x[0, 2]
        x[0, 2] = end + sign * 6 * unit
        with pytest.raises(ValueError, match="x must lie inside bounds"):
            check_inside("x", x, bounds)


def test_probabilities_are_told_from_logits(xp):
    logits = xp.asarray(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))
    assert are_probabilities(ops.softmax(logits))
    assert not are_probabilities(logits)
    assert not are_probabilities(abs(logits))
    assert not are_probabilities(logits[:0])


# --- the goal


def test_success_is_label_is_not_y_or_label_is_target(xp):
    label, x = xp.asarray([0, 1, 2]), xp.asarray(np.zeros((3, 2)))
    assert to_numpy(Goal.of(x, y=[0, 0, 2]).reached(label)).tolist() == [False, True, False]
    assert to_numpy(Goal.of(x, target=1).reached(label)).tolist() == [False, True, False]
    assert to_numpy(
        Goal.of(x, target=np.array([0, 1, 0], np.uint8))[1:].reached(label[1:])
    ).tolist() == [True, False]


def test_goals_can_be_compared():
    goal = Goal.of(np.zeros((2, 3)), y=[0, 1])
    assert goal == goal  # dataclass equality would ask an array for its truth value
    assert goal != Goal.of(np.zeros((2, 3)), y=[0, 1])


@given(hnp.arrays(float, (5, 4), elements=st.floats(-3, 3)), st.integers(0, 3))
def test_score_is_the_log_odds_of_success(xp, logits, k):
    z = xp.asarray(logits)
    p = np.exp(logits)[:, k] / np.exp(logits).sum(axis=1)
    assert np.allclose(to_numpy(Goal.of(z, target=k).score(z)), np.log(p / (1 - p)))
    assert np.allclose(to_numpy(Goal.of(z, y=k).score(z)), np.log((1 - p) / p))


# --- asking the model


@pytest.mark.parametrize("kind", ["y", "target"])
def test_gradient_has_the_direction_of_the_loss_of_each_example_alone(xp, kind):
    model, x = mlp(np.float64), images(40, dtype=np.float64)
    label = np.arange(40) % 4
    goal = Goal.of(x, **{kind: label})
    logits, g = score_gradient(model, x, goal)
    assert np.allclose(to_numpy(logits), to_numpy(model(x)))
    assert g.shape == x.shape
    ascent = to_numpy(grad(lambda x: cross_entropy(model(x), goal.label).sum(), x)) * (
        1 if kind == "y" else -1
    )
    p = to_numpy(ops.softmax(logits))[np.arange(40), label]
    assert np.allclose(
        to_numpy(g), ascent / (1 - p)[:, None, None, None]
    )  # CE = log(1 + e^-m): its gradient is (1 - p) times that of -m


@pytest.mark.parametrize("times", [1, 30, 300])
def test_sign_is_right_where_the_softmax_saturates(times):
    """A linear model's gradient to 500 digits, by the softmax's own formula; the usual float32 one
    is wrong, and then all zero.
    """
    rng = np.random.default_rng(0)
    W = (rng.normal(size=(30, 4)) * times).astype(np.float32)
    x = rng.random((20, 30), dtype=np.float32)
    y = (x @ W).argmax(axis=1)  # the model is right, and sure
    with localcontext(prec=500):
        Wd, xd = ([[Decimal(float(v)) for v in row] for row in a] for a in (W, x))
        exact = []
        for image, label in zip(xd, y, strict=True):
            e = [sum(a * row[k] for a, row in zip(image, Wd, strict=True)).exp() for k in range(4)]
            slope = [e[k] / sum(e) - (k == label) for k in range(4)]  # ∂CE/∂z = p − onehot(y)
            exact.append(
                [float(np.sign(sum(s * w for s, w in zip(slope, row, strict=True)))) for row in Wd]
            )
    _, g = score_gradient(lambda x: ops.matmul(x, W), x, Goal.of(x, y=y))
    assert g.dtype == np.float32
    assert (np.sign(g) == exact).mean() > 0.995  # all but a few that nearly cancel
    usual = (ops.softmax(x @ W) - np.eye(4, dtype=np.float32)[y]) @ W.T
    wrong = (np.sign(usual) != exact).mean()
    assert wrong < 0.01 if times == 1 else wrong > 0.15


def test_a_model_is_asked_in_chunks_and_its_answers_come_in_order(xp):
    seen = []

    def model(x):
        seen.append(len(x))
        return ops.reshape(x, (len(x), 2))

    x = xp.asarray(np.random.default_rng(0).random((1500, 2)))
    target = np.random.default_rng(1).integers(0, 2, 1500)
    assert np.array_equal(to_numpy(inference.logits(model, x)), to_numpy(x))
    logits, g = score_gradient(model, x, Goal.of(x, target=target))
    assert sum(seen) == 3000
    assert len(seen) > 2 or xp is not np
    assert np.array_equal(to_numpy(logits), to_numpy(x))
    assert np.array_equal(to_numpy(g), np.where(target[:, None] == [0, 1], 1, -1))


def test_zero_gradients_are_counted_and_reported_once(recwarn):
    g = np.ones((1200, 2, 2, 1))
    warn_of_zero_gradients(g, len(g))
    warn_of_zero_gradients(g[:0], 0)
    assert not recwarn
    g[::4] = 0
    g[1, 1] = 0  # in one place only
    with pytest.warns(
        UserWarning,
        match="exactly zero for 300 of 1200 images [(]25.0%[)]: .* does not make the model robust",
    ):
        warn_of_zero_gradients(g, len(g))


def test_a_gradient_that_is_not_finite_is_an_error():
    x = np.array([[0.0, 1.0], [0.5, 1.0]])
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match="finite gradient, got NaN or infinity"),
    ):
        score_gradient(ops.sqrt, x, Goal.of(x, y=0))


# --- the result


def result(x, x_adv, **more):
    zero = np.zeros(len(x), int)
    return AttackResult(x, x_adv, **{"label": zero, "success": zero == 0, "steps": zero} | more)


def test_sizes_of_a_change(xp):
    x = np.zeros((3, 2, 2, 3), np.float32)
    x_adv = x.copy()
    x_adv[0, 0, 0] = 3, -4, 0
    x_adv[1, :, :, 0] = 1e-30  # its square is no float32
    r = result(xp.asarray(x), xp.asarray(x_adv))
    assert to_numpy(r.l0).tolist() == [1, 4, 0]  # a color pixel counts once
    assert np.allclose(to_numpy(r.linf), [4, 1e-30, 0], rtol=1e-6, atol=0)
    assert np.allclose(to_numpy(r.l2), [5, 2e-30, 0], rtol=1e-6, atol=0)
    assert r.perturbation.dtype == np.float64
    assert repr(r) == "AttackResult(3 of 3 succeeded)"
    vectors = result(xp.asarray(x.reshape(3, 12)), xp.asarray(x_adv.reshape(3, 12)))
    assert to_numpy(vectors.l0).tolist() == [2, 4, 0]  # without channels each number counts


def test_sizes_of_denormal_and_huge_changes():
    for scale in (1e-310, 1e-200, 1e200):
        r = result(np.zeros((1, 2)), np.array([[3.0, 4.0]]) * scale)
        assert np.allclose(r.l2, 5 * scale, rtol=1e-12, atol=0)


def test_the_change_of_one_float32_into_another_is_exact():
    x, x_adv = (
        np.array([[1.0]], np.float32),
        np.array([[np.nextafter(np.float32(1), np.float32(2))]]),
    )
    assert result(x, x_adv).linf[0] == 2.0**-23


def test_sizes_of_an_empty_batch(xp):
    for shape in ((0, 5), (0, 2, 2, 3)):
        r = result(*[xp.asarray(np.zeros(shape))] * 2, success=xp.asarray(np.zeros(0, bool)))
        assert len(r) == 0
        for size in (r.linf, r.l2, r.l0, r.perturbation):
            assert len(size) == 0
        assert repr(r) == "AttackResult(0 of 0 succeeded)"


def test_judge_asks_the_model_about_the_outcome(xp):
    model, x = mlp(), images(50)
    x_adv = 1 - x
    goal = Goal.of(x, y=2)
    r = AttackResult.judge(model, x, x_adv, goal, steps=7)
    assert np.array_equal(to_numpy(r.label), to_numpy(model(x_adv)).argmax(axis=1))
    assert np.array_equal(to_numpy(r.success), to_numpy(r.label) != 2)
    assert to_numpy(r.steps).tolist() == [7] * 50
    assert r.x is x
    with pytest.raises(AttributeError):
        r.x = x_adv


def test_an_empty_list_labels_an_empty_batch():
    x = np.zeros((0, 4))
    assert Goal.of(x, y=[]).label.dtype.kind == "i"
    assert Goal.of(x, target=[]).label.shape == (0,)
