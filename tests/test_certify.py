"""Certificates: never broken by a point of the ball, whatever computes there.

Three independent judges: rational arithmetic, a mixed-integer program, and attacks.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minadv import fgsm, jacobian, layers, models, pgd
from minadv.backend import asarray, to_numpy
from minadv.certify import (
    certified,
    certified_accuracy,
    certified_radius,
    exact_radius,
    logit_bounds,
    margin_bound,
)
from minadv.certify.bounds import Ball
from minadv.evaluation import accuracy, logits, robust_accuracy
from minadv.layers import Sequential
from tests.strategies import float_arrays

METHODS = ["intervals", "crown"]
NORMS = ["linf", "l2"]


# ---- the first judge: networks in rational numbers


def rational(a):
    """An array of floats as an array of Fractions."""
    a = np.asarray(a)
    return np.array([Fraction(float(v)) for v in a.ravel()], dtype=object).reshape(a.shape)


def exactly(model, x, dtype=np.float64):
    """The logits of ``model`` in rational arithmetic; written apart from the package's layers."""
    a = x
    for layer in model:
        kind = type(layer).__name__
        if kind == "Flatten":
            a = a.reshape(len(a), -1)
        elif kind == "Dense":
            a = a @ rational(layer.weight) + rational(layer.bias)
        elif kind == "ReLU":
            a = np.maximum(a, Fraction(0))
        elif kind == "LeakyReLU":
            a = np.maximum(a, Fraction(layer.slope) * a)
        elif kind == "Normalize":
            a = (a - rational(layer.mean.astype(dtype))) / rational(layer.std.astype(dtype))
        elif kind == "GlobalAvgPool":
            a = a.sum(axis=(1, 2)) / Fraction(a.shape[1] * a.shape[2])
        elif kind == "Conv2D":
            a = _slide(a, layer, layer.weight.shape[:2], _convolve)
        elif kind == "DepthwiseConv2D":
            a = _slide(a, layer, layer.weight.shape[:2], _depthwise)
        elif kind == "AvgPool":
            a = _slide(
                a, layer, layer.size, lambda w, _: w.sum((1, 2)) / Fraction(w[0, ..., 0].size)
            )
        elif kind == "MaxPool":
            a = _slide(a, layer, layer.size, lambda w, _: w.max((1, 2)))
        else:
            raise NotImplementedError(kind)
    return a


def _slide(a, layer, kernel, f):
    if layer.padding == "same":  # stride 1 here: the odd row and column at the end
        more = [(k - 1) // 2 for k in kernel], [k - 1 - (k - 1) // 2 for k in kernel]
        frame = [(0, 0), *zip(*more, strict=True), (0, 0)]
        a = np.pad(a, frame, constant_values=Fraction(0))
    (kh, kw), (sh, sw) = kernel, layer.stride
    return np.array(
        [
            [f(a[:, i : i + kh, j : j + kw], layer) for j in range(0, a.shape[2] - kw + 1, sw)]
            for i in range(0, a.shape[1] - kh + 1, sh)
        ]
    ).transpose(2, 0, 1, 3)


def _convolve(window, layer):
    w = rational(layer.weight)
    flat = window.reshape(len(window), -1) @ w.reshape(-1, w.shape[3])
    return flat + rational(layer.bias)


def _depthwise(window, layer):
    return (window * rational(layer.weight)).sum((1, 2)) + rational(layer.bias)


def fill(model, draw, magnitude):
    """Weights of any size down to the denormals."""
    for name, value in model.parameters.items():
        layer, own = model.places()[name]
        numbers = float_arrays(value.shape, value.dtype, -magnitude, magnitude)
        setattr(layer, own, draw(numbers))
    return model


@st.composite
def networks(draw, pooling=True):
    """Small networks of every kind of layer, (3, 3, 1) or (3,) to 3 logits."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    how = {"rng": 0, "dtype": dtype}
    bend = draw(st.sampled_from([layers.ReLU(), layers.LeakyReLU(0.1), layers.LeakyReLU(1.0)]))
    first = [layers.Normalize([0.3], [0.7])] if draw(st.booleans()) else []
    if draw(st.booleans()):
        shape, d = (3,), draw(st.integers(1, 4))
        parts = [layers.Dense(3, d, **how), bend, layers.Dense(d, 3, **how)]
        if draw(st.booleans()):
            parts[2:] = [layers.Dense(d, 2, **how), layers.ReLU(), layers.Dense(2, 3, **how)]
        first = []
    else:
        shape = (3, 3, 1)
        padding = draw(st.sampled_from(["same", "valid"]))
        parts = [layers.Conv2D(1, 2, 2, padding=padding, **how), bend]
        middle = [
            [layers.AvgPool(2)],
            [layers.DepthwiseConv2D(2, 2, **how), layers.ReLU()],
            [layers.Conv2D(2, 2, 2, stride=2, **how), layers.ReLU()],
            *([[layers.MaxPool(2, stride=1)]] if pooling else []),
        ]
        parts += draw(st.sampled_from(middle))
        if draw(st.booleans()):
            parts += [layers.GlobalAvgPool(), layers.Dense(2, 3, **how)]
        else:
            size = Sequential(*parts)(np.zeros((1, *shape), dtype)).size
            parts += [layers.Flatten(), layers.Dense(size, 3, **how)]
    model = fill(Sequential(*first, *parts), draw, draw(st.sampled_from([1.0, 1e-3, 300.0])))
    x = draw(float_arrays((2, *shape), dtype, 0, 1))
    return model, x


def points(x, eps, norm, draw):
    """Rational points of the ball inside [0, 1]: corners, and others."""
    unit = draw(
        st.lists(st.sampled_from([-1, 1, Fraction(1, 3)]), min_size=x.size, max_size=x.size)
    )
    step = np.array(unit, dtype=object).reshape(x.shape) * Fraction(eps)
    if norm == "l2":  # within the length: |step| <= eps / sqrt(count)
        step = step / Fraction(int(np.ceil(np.sqrt(x[0].size))))
    return np.clip(rational(x) + step, Fraction(0), Fraction(1))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
def test_no_point_of_the_ball_leaves_the_bounds_as_real_numbers(method, norm, data):
    model, x = data.draw(networks(pooling=method == "intervals"))
    eps = data.draw(st.sampled_from([0.0, 1e-12, 1e-3, 0.1, 1.0]))
    found = logit_bounds(model, x, eps=eps, method=method, norm=norm)
    y = data.draw(st.integers(0, 2))
    margin = margin_bound(model, x, y, eps=eps, method=method, norm=norm)
    for _ in range(3):
        z = points(x, eps, norm, data.draw)
        exact = exactly(model, z, x.dtype)
        assert (rational(found.low) <= exact).all()
        assert (exact <= rational(found.high)).all()
        others = np.delete(exact, y, axis=1)
        assert (rational(margin) <= exact[:, y] - others.max(axis=1)).all()
        # what the network itself computes, at the floats of the ball
        floats = np.clip(z.astype(float), 0, 1).astype(x.dtype)
        inside = [abs(Fraction(float(f)) - Fraction(float(c))) <= Fraction(eps) for f, c in
                  zip(floats.ravel(), x.ravel(), strict=True)]  # fmt: skip
        if norm == "linf":
            floats = np.where(np.reshape(inside, x.shape), floats, x)
            computed = rational(model(floats))
            assert (rational(found.low) <= computed).all()
            assert (computed <= rational(found.high)).all()


def test_bounds_are_tight_where_nothing_is_lost():
    """One affine layer, and one ReLU of one neuron: the bounds are the extremes, within 1e-6."""
    model = Sequential(layers.Dense(3, 2, rng=0, dtype=np.float64))
    x, eps = np.array([[0.5, 0.5, 0.5]]), 0.1
    for norm, q in (("linf", 1), ("l2", 2)):
        reach = eps * np.linalg.norm(model[0].weight, q, axis=0)
        for method in METHODS:
            found = logit_bounds(model, x, eps=eps, method=method, norm=norm)
            np.testing.assert_allclose(found.low[0], model(x)[0] - reach, rtol=1e-12)
            np.testing.assert_allclose(found.high[0], model(x)[0] + reach, rtol=1e-12)


def test_lines_are_exact_where_no_relu_bends():
    """Two units are always on and one is off: the logits are 2 x1 + 10 and 2 x2 on the ball."""
    model = Sequential(layers.Dense(2, 3, dtype=np.float64), layers.ReLU(), layers.Dense(3, 2))
    model[0].weight = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
    model[0].bias = np.array([5.0, 5.0, -9.0])
    model[2].weight = np.array([[1.0, 1.0], [1.0, -1.0], [4.0, -4.0]])
    model[2].bias = np.zeros(2)
    found = logit_bounds(model, np.array([[0.5, 0.5]]), eps=0.1)
    np.testing.assert_allclose([found.low[0], found.high[0]], [[10.8, 0.8], [11.2, 1.2]])


def as_dense(model, shape):
    """The same function by dense layers: each convolution as the matrix that it is."""
    parts, x = [layers.Flatten()], np.zeros((1, *shape))
    for layer in model:
        y = layer(x)
        if isinstance(layer, layers.ReLU):
            parts.append(layer)
        elif not isinstance(layer, layers.Flatten):
            zero, flat = np.zeros_like(x), Sequential(layer, layers.Flatten())
            part = layers.Dense(x.size, y.size, dtype=np.float64)
            part.weight = jacobian(flat, zero)[0].reshape(y.size, x.size).T
            part.bias = layer(zero).ravel()
            parts.append(part)
        x = y
    return Sequential(*parts)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("method", METHODS)
def test_convolutions_get_what_their_matrices_get(method, norm):
    how = {"rng": 0, "dtype": np.float64}
    model = Sequential(
        layers.Conv2D(2, 3, 3, padding="same", **how), layers.ReLU(),
        layers.Conv2D(3, 4, 3, stride=2, padding="same", **how), layers.ReLU(),
        layers.Conv2D(4, 3, (2, 3), stride=(1, 2), padding=1, **how), layers.AvgPool(2, stride=1),
        layers.ReLU(), layers.Flatten(), layers.Dense(24, 3, **how),
    )  # fmt: skip
    x = np.random.default_rng(10).random((2, 9, 9, 2))
    model.layers[-1] = layers.Dense(model[:-1](x).shape[1], 3, **how)
    by = [
        logit_bounds(m, x, eps=0.03, method=method, norm=norm)
        for m in (model, as_dense(model, x.shape[1:]))
    ]
    np.testing.assert_allclose(by[0].low, by[1].low, rtol=1e-9)
    np.testing.assert_allclose(by[0].high, by[1].high, rtol=1e-9)


def test_boxes_of_inner_layers_are_refined_by_lines():
    """h1 = h2 = relu(x) = x, so z = h1 - h2 + 0.1 is 0.1: an interval sees a ReLU that bends."""
    how = {"dtype": np.float64}
    model = Sequential(
        layers.Dense(1, 2, **how), layers.ReLU(), layers.Dense(2, 1, **how), layers.ReLU(),
        layers.Dense(1, 2, **how),
    )  # fmt: skip
    model[0].weight, model[2].weight = np.array([[1.0, 1.0]]), np.array([[1.0], [-1.0]])
    model[2].bias, model[4].weight = np.array([0.1]), np.array([[1.0, -1.0]])
    x = np.array([[0.5]])
    lines = logit_bounds(model, x, eps=0.2)
    np.testing.assert_allclose([lines.low[0], lines.high[0]], [[0.1, -0.1]] * 2, atol=1e-12)
    assert logit_bounds(model, x, eps=0.2, method="intervals").high[0, 0] == pytest.approx(0.5)


def test_the_ball_is_no_smaller_than_the_real_one_and_ends_at_the_bounds():
    """In float64 0.1 + 0.2 is more than the real sum, and 0.3 - 0.1 less than the difference."""
    rng = np.random.default_rng(9)
    x, eps = rng.random((1, 6, 6, 1)), 0.1
    ball = Ball(x, np.array([eps]), "linf", (0.0, 1.0))
    for end, sign, bound in ((ball.low, -1, 0), (ball.high, 1, 1)):
        for value, center in zip(rational(end).ravel(), rational(x).ravel(), strict=True):
            true = center + sign * Fraction(eps)
            assert value == bound or (value - true) * sign >= 0
            assert (value - bound) * sign <= 0
    model = Sequential(layers.Dense(2, 2, dtype=np.float64))
    model[0].weight = np.array([[1.0, -1.0], [1.0, -1.0]])
    for method in METHODS:
        found = logit_bounds(model, np.array([[0.1, 0.95]]), eps=0.3, method=method)
        np.testing.assert_allclose([found.low[0], found.high[0]], [[0.65, -1.4], [1.4, -0.65]])


@pytest.mark.parametrize("method", METHODS)
def test_underflow_is_charged(method):
    """1e-25 · 1e-20 is the smallest number of float32, 1.4e-45: both numbers are inside."""
    model = Sequential(layers.Dense(1, 2), layers.ReLU(), layers.Dense(2, 2))
    model[0].weight = np.array([[1e-25, -1e-25]], np.float32)
    model[2].weight = np.eye(2, dtype=np.float32)
    x = np.array([[1e-20]], np.float32)
    found = logit_bounds(model, x, eps=0.0, method=method)
    for z in (rational(model(x)), exactly(model, rational(x))):
        assert (rational(found.low) <= z).all()
        assert (z <= rational(found.high)).all()


def test_lines_of_two_neurons_by_hand():
    """x and z = (x, 1/2 - x) lie in [-0.75, 1.25]: the lines are z and 5/8 z + 15/32.

    Logits relu(z1) + relu(z2) and relu(z1) - relu(z2).
    """
    model = Sequential(layers.Dense(1, 2, dtype=np.float64), layers.ReLU(), layers.Dense(2, 2))
    model[0].weight, model[0].bias = np.array([[1.0, -1.0]]), np.array([0.0, 0.5])
    model[2].weight, model[2].bias = np.array([[1.0, 1.0], [1.0, -1.0]]), np.zeros(2)
    x, how = np.array([[0.25]]), {"eps": 1.0, "bounds": (-2.0, 2.0)}
    found = logit_bounds(model, x, method="intervals", **how)
    np.testing.assert_allclose([found.low[0], found.high[0]], [[0, -1.25], [2.5, 1.25]], atol=1e-12)
    found = logit_bounds(model, x, method="crown", **how)
    # z1 + z2 = 1/2 below, 5/8 · 1/2 + 15/16 above; the second logit's lines are looser than its box
    np.testing.assert_allclose(
        [found.low[0], found.high[0]], [[0.5, -1.25], [1.25, 1.25]], atol=1e-12
    )
    # z_0 - z_1 = 2 relu(z2) >= 0: exact, as the last layer is elided; z_1 - z_0 >= -2 · 1.25
    for method in METHODS:
        for y, least in ((0, 0.0), (1, -2.5)):
            assert margin_bound(model, x, y, method=method, **how) == pytest.approx(
                least, abs=1e-12
            )


# ---- the second judge: a mixed-integer program


def least_margin(model, x, y, eps):
    """The exact minimum of z_y - max z_j on the ball in [0, 1] (Tjeng et al. 2019), by HiGHS."""
    optimize = pytest.importorskip("scipy.optimize")
    *hidden, (w, b) = [(l.weight.astype(float), l.bias.astype(float)) for l in model.layers[::2]]
    low, high = np.clip(x - eps, 0, 1), np.clip(x + eps, 0, 1)
    # The unknowns: the image, and for each hidden layer what it returns, a, and who is active, d.
    ends, before, count, rules = [(low, high, 0)], range(len(x)), len(x), []
    for v, c in hidden:
        l, u = (v.clip(0).T @ p + v.clip(None, 0).T @ q + c for p, q in ((low, high), (high, low)))
        l, u, n = l.clip(None, 0), u.clip(0), len(c)
        a, d = range(count, count + n), range(count + n, count + 2 * n)
        for i in range(n):  # a >= z, a <= z - l (1 - d), a <= u d, where z = v_i · before + c_i
            z = {k: -v[m, i] for m, k in enumerate(before)}
            rules += [
                ({a[i]: 1} | z, c[i], np.inf),
                ({a[i]: 1, d[i]: -l[i]} | z, -np.inf, c[i] - l[i]),
            ]
            rules.append(({a[i]: 1, d[i]: -u[i]}, -np.inf, 0.0))
        low, high, before, count = np.zeros(n), u, a, count + 2 * n
        ends += [(low, high, 0), (low, np.ones(n), 1)]
    matrix = np.zeros((len(rules), count))
    for row, (numbers, _, _) in zip(matrix, rules, strict=True):
        row[list(numbers)] = list(numbers.values())
    limits = optimize.LinearConstraint(matrix, [r[1] for r in rules], [r[2] for r in rules])
    box = optimize.Bounds(*(np.concatenate([end[side] for end in ends]) for side in (0, 1)))
    whole = np.concatenate([np.full(len(end[0]), end[2]) for end in ends])
    found = []
    for j in (j for j in range(len(b)) if j != y):
        goal = np.zeros(count)
        goal[list(before)] = w[:, y] - w[:, j]
        done = optimize.milp(goal, constraints=limits, integrality=whole, bounds=box)
        assert done.success, done.message
        found.append(done.fun + b[y] - b[j])
    return min(found)


@pytest.mark.parametrize("hidden", [(6,), (5, 4)])
def test_certified_exact_attacked_for_every_image(hidden):
    sizes, rng = (4, *hidden), np.random.default_rng(len(hidden))
    parts = [
        part
        for n, m in zip(sizes, sizes[1:], strict=False)
        for part in (layers.Dense(n, m, rng=rng, init="he"), layers.ReLU())
    ]
    model = Sequential(*parts, layers.Dense(sizes[-1], 3, rng=rng))
    for layer in model.layers[::2]:
        layer.bias = rng.normal(0, 0.3, layer.bias.shape).astype(np.float32)
    x = rng.random((8, 4)).astype(np.float32)
    y = model(x).argmax(axis=1)
    shares = []
    for eps in (0.05, 0.2, 0.5):
        exact = np.array(
            [least_margin(model, *one, eps) for one in zip(x.astype(float), y, strict=True)]
        )
        by = {method: margin_bound(model, x, y, eps=eps, method=method) for method in METHODS}
        assert (by["intervals"] <= by["crown"]).all()
        assert (by["crown"] <= exact + 1e-6).all()
        attacked = pgd(model, x, y=y, eps=eps, restarts=3)
        z = logits(model, attacked.x_adv).astype(float)
        own = z[np.arange(len(y)), y]
        z[np.arange(len(y)), y] = -np.inf
        assert (exact <= own - z.max(axis=1) + 1e-6).all()
        certain = by["crown"] > 0
        assert not (certain & attacked.success).any()
        shares.append([certain.sum(), (exact > 0).sum(), (~attacked.success).sum()])
    shares = np.array(shares)
    assert (np.diff(shares, axis=1) >= 0).all()
    assert shares[0, 0] > 0  # something is certified, and at the largest eps not all is
    assert shares[-1, 0] < 8


# ---- the third judge: points of the ball, and attacks


def convolutional(dtype=np.float32):
    return models.cnn((9, 9, 2), 3, filters=(3, 4, 5), dtype=dtype)


def pooled():
    return Sequential(
        layers.Normalize([0.4, 0.5], [0.3, 0.2]), layers.Conv2D(2, 4, 3, rng=0),
        layers.LeakyReLU(0.2), layers.AvgPool(2, padding=1), layers.Dropout(0.5),
        layers.Conv2D(4, 4, 2, rng=1, padding="same"),
        layers.ReLU(), layers.GlobalAvgPool(), layers.Dense(4, 3, rng=2),
    )  # fmt: skip


MODELS = {
    "mlp": lambda: models.mlp((9, 9, 2), 3, hidden=20),
    "cnn": convolutional,
    "pooled": pooled,
    "separable": lambda: models.separable_cnn((9, 9, 2), 3, filters=(3, 4, 5)),
}


@pytest.mark.filterwarnings("ignore:the gradient is exactly zero")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_sampled_and_attacked_points_stay_inside(make, method, norm):
    model, rng = make(), np.random.default_rng(0)
    x = rng.random((4, 9, 9, 2)).astype(np.float32)
    eps = 0.05 if norm == "linf" else 0.3
    found = logit_bounds(model, x, eps=eps, method=method, norm=norm)
    y = logits(model, x).argmax(axis=1)
    least = margin_bound(model, x, y, eps=eps, method=method, norm=norm)
    attacked = [pgd(model, x, y=y, eps=eps, norm=norm).x_adv]
    attacked += [
        pgd(model, x, target=k, eps=eps, norm=norm, early_stop=False).x_adv for k in range(3)
    ]
    for _ in range(20):
        step = rng.choice([-eps, eps], x.shape) if norm == "linf" else rng.normal(size=x.shape)
        if norm == "l2":
            step *= 0.999 * eps / np.linalg.norm(step.reshape(4, -1), axis=1).reshape(4, 1, 1, 1)
        attacked.append(np.clip(x + 0.999 * step, 0, 1).astype(np.float32))
    for images in attacked:
        z = logits(model, images).astype(float)
        assert (found.low <= z).all()
        assert (z <= found.high).all()
        own = z[np.arange(4), y][:, None] - z
        own[np.arange(4), y] = np.inf
        assert (least <= own.min(axis=1)).all()


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_lines_are_never_looser_than_intervals_and_mostly_tighter(make):
    model = make()
    x = np.random.default_rng(1).random((4, 9, 9, 2)).astype(np.float32)
    for norm, eps in (("linf", 0.03), ("l2", 0.2)):
        box, lines = (logit_bounds(model, x, eps=eps, method=m, norm=norm) for m in METHODS)
        assert (lines.low >= box.low).all()
        assert (lines.high <= box.high).all()
        assert (lines.high - lines.low).mean() < 0.9 * (box.high - box.low).mean()
        box, lines = (margin_bound(model, x, 0, eps=eps, method=m, norm=norm) for m in METHODS)
        assert (lines >= box).all()
        assert lines.mean() > box.mean()


@pytest.mark.parametrize("method", METHODS)
def test_l2_bounds_lie_within_those_of_the_box_around_it(method):
    model = convolutional()
    x = np.random.default_rng(1).random((2, 9, 9, 2)).astype(np.float32)
    how = {"eps": 0.1, "method": method}
    ball, box = (logit_bounds(model, x, norm=norm, **how) for norm in ("l2", "linf"))
    assert ((ball.high - ball.low) < 0.7 * (box.high - box.low)).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gets_what_its_images_get_alone(method):
    model, rng = convolutional(), np.random.default_rng(2)
    x = rng.random((5, 9, 9, 2)).astype(np.float32)
    y = np.array([0, 1, 2, 0, 1])
    whole = logit_bounds(model, x, eps=0.02, method=method)
    margin = margin_bound(model, x, y, eps=0.02, method=method)
    for i in range(5):
        alone = logit_bounds(model, x[i : i + 1], eps=0.02, method=method)
        np.testing.assert_allclose(alone.low[0], whole.low[i], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(alone.high[0], whole.high[i], rtol=1e-10, atol=1e-12)
        one = margin_bound(model, x[i : i + 1], int(y[i]), eps=0.02, method=method)
        np.testing.assert_allclose(one[0], margin[i], rtol=1e-10, atol=1e-12)


def test_float64_networks_pay_less_for_rounding():
    x = np.random.default_rng(3).random((2, 9, 9, 2))
    widths = []
    for dtype in (np.float32, np.float64):
        found = logit_bounds(convolutional(dtype), x.astype(dtype), eps=0.0)
        assert found.low.dtype == np.float64
        widths.append((found.high - found.low).max())
    assert 0 < 1e6 * widths[1] < widths[0] < 1e-2


@pytest.mark.parametrize("xp", ["numpy", "strict", "cupy"], indirect=True)
@pytest.mark.parametrize("method", METHODS)
def test_bounds_on_every_backend(xp, method):
    model = models.cnn((9, 9, 1), 3, filters=(2, 3, 3))
    x = asarray(np.random.default_rng(4).random((2, 9, 9, 1)).astype(np.float32))
    for norm in NORMS:
        found = logit_bounds(model, x, eps=0.01, method=method, norm=norm)
        z = to_numpy(model(x))
        assert (to_numpy(found.low) <= z).all()
        assert (z <= to_numpy(found.high)).all()
        assert certified(model, x, asarray(z.argmax(axis=1)), eps=0.0, method=method).all()
    linear = Sequential(layers.Flatten(), layers.Dense(81, 3, rng=0))
    assert (to_numpy(exact_radius(linear, x, model(x).argmax(axis=1))) >= 0).all()


# ---- judging


def test_certified_accuracy_counts_the_certified_and_lies_below_the_robust():
    model = models.mlp((9, 9, 2), 3, hidden=20)
    x = np.random.default_rng(5).random((40, 9, 9, 2)).astype(np.float32)
    y = logits(model, x).argmax(axis=1)
    y[:5] = (y[:5] + 1) % 3  # misread
    safe = certified(model, x, y, eps=0.01)
    assert not safe[:5].any()
    assert certified_accuracy(model, x, y, eps=0.01) == safe.mean() > 0
    assert certified_accuracy(model, x, y, eps=0.0) == accuracy(model, x, y)
    assert safe.mean() <= robust_accuracy(model, x, y, pgd(model, x, y=y, eps=0.01))


def test_a_tie_is_not_certified_for_either_label():
    model = models.LogisticRegression(np.array([1.0]), -0.5)
    x = np.array([[0.5], [0.5 + 1e-6], [0.5 + 1e-6]])
    assert certified(model, x, np.array([0, 0, 1]), eps=0.0).tolist() == [False, False, True]
    assert certified(model, x, 1, eps=2e-6).tolist() == [False] * 3


def test_certified_radius_is_certified_and_nearly_the_largest():
    model = models.mlp((9, 9, 2), 3, hidden=20)
    x = np.random.default_rng(6).random((6, 9, 9, 2)).astype(np.float32)
    y = logits(model, x).argmax(axis=1)
    y[0] = (y[0] + 1) % 3
    radius = certified_radius(model, x, y, most=0.2, halvings=8)
    assert radius[0] == 0
    assert (radius[1:] > 0).any()
    for i in range(1, 6):
        one, label = x[i : i + 1], int(y[i])
        assert radius[i] == 0 or certified(model, one, label, eps=float(radius[i]))[0]
        assert not certified(model, one, label, eps=float(radius[i]) + 0.2 / 2**8)[0]


# ---- linear models


@pytest.mark.parametrize("norm", ["linf", "l1"])
@given(data=st.data())
def test_the_exact_radius_in_rational_numbers(norm, data):
    model = Sequential(layers.Flatten(), layers.Dense(4, 3, rng=0))
    fill(model, data.draw, 10.0)
    x = data.draw(float_arrays((2, 2, 2, 1), np.float32, -2, 2))
    y = data.draw(st.integers(0, 2))
    found = exact_radius(model, x, y, norm=norm)
    w, z = rational(model[1].weight), exactly(model, rational(x))
    size = abs(rational(x)).max() * abs(w).sum() + abs(rational(model[1].bias)).max()
    for i in range(2):
        bounds = []
        for lost in (0, size * Fraction(1e-13)):  # what float64's roundings may take off a margin
            radii = []
            for j in (j for j in range(3) if j != y):
                sizes = abs(w[:, y] - w[:, j])
                slope = sizes.sum() if norm == "linf" else sizes.max()
                margin = max(z[i, y] - z[i, j] - lost, Fraction(0))
                radii.append(margin / slope if slope else np.inf if margin else Fraction(0))
            bounds.append(min(radii))
        if bounds[0] == np.inf:
            assert found[i] == np.inf or bounds[1] == 0
        else:
            assert bounds[1] * (1 - Fraction(1e-12)) <= Fraction(float(found[i])) <= bounds[0]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_exact_radius_is_where_fgsm_begins_to_succeed(norm):
    """A7 turned round: just below no attack succeeds, just above the best one does."""
    rng = np.random.default_rng(7)
    model = Sequential(layers.Flatten(), layers.Dense(12, 2, rng=rng, dtype=np.float64))
    x = rng.random((8, 2, 6, 1))
    y = logits(model, x).argmax(axis=1)
    radius, wide = exact_radius(model, x, y, norm=norm), (-100.0, 100.0)
    for i in range(8):
        one, label = x[i : i + 1], y[i : i + 1]
        for factor, turned in ((1 - 1e-9, False), (1 + 1e-9, True)):
            eps = float(radius[i]) * factor
            if norm == "linf":
                success = fgsm(model, one, y=label, eps=eps, bounds=wide).success
            else:
                success = pgd(
                    model,
                    one,
                    y=label,
                    eps=eps,
                    norm="l2",
                    steps=3,
                    bounds=wide,
                    random_start=False,
                ).success
            assert success[0] == turned


def test_the_radius_of_logistic_regression_and_of_layers_before_it():
    x = np.array([[3.0, 0.0], [1.0, 1.0]])
    model = models.LogisticRegression(np.array([1.0, -2.0]), 0.5)  # margins 3.5 and -0.5 of class 1
    for norm, size in (("linf", 3), ("l2", 5**0.5), ("l1", 2)):
        found = exact_radius(model, x, np.array([1, 0]), norm=norm)
        np.testing.assert_allclose(found, [3.5 / size, 0.5 / size], rtol=1e-12)
        assert exact_radius(model, x, 0, norm=norm)[0] == 0
    chain = Sequential(
        layers.Normalize([0.1], [0.5]),
        layers.Conv2D(1, 2, 2, rng=2, dtype=np.float64),
        layers.Conv2D(2, 2, 3, padding="same", rng=0, dtype=np.float64),
        layers.AvgPool(2), layers.Flatten(), layers.Dense(8, 3, rng=1, dtype=np.float64),
    )  # fmt: skip
    images = np.random.default_rng(8).random((3, 5, 5, 1))
    z, slopes = chain(images), jacobian(chain, images).reshape(3, 3, 25)
    y = z.argmax(axis=1)
    for norm, q in (("linf", 1), ("l2", 2), ("l1", np.inf)):
        gaps = [
            [(z[i, y[i]] - z[i, j]) / np.linalg.norm(slopes[i, y[i]] - slopes[i, j], q)
             for j in range(3) if j != y[i]] for i in range(3)
        ]  # fmt: skip
        np.testing.assert_allclose(
            exact_radius(chain, images, y, norm=norm), np.min(gaps, 1), rtol=1e-10
        )


# ---- wrong arguments


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": lambda x: x}, "model must be made of layers with known bounds.*got <function"),
        ({"model": Sequential(layers.Flatten(), layers.Dense(4, 3, rng=0), layers.Tanh())}, "Tanh"),
        ({"model": Sequential(layers.Flatten(), layers.Dense(5, 3, rng=0))}, "expects 5.*got 4"),
        ({"model": Sequential(layers.Dense(4, 3, rng=0))}, "is a Flatten missing"),
        ({"model": Sequential(layers.Conv2D(1, 2, 2, rng=0))}, r"must return logits \(N, K\)"),
        ({"model": Sequential(layers.Flatten(), layers.Dense(4, 3, rng=0), layers.ReLU())},
         "last layer"),
        ({"model": Sequential(layers.LeakyReLU(-1.0))}, "slope from 0 to 1, got -1"),
        ({"model": Sequential(layers.MaxPool(2), layers.Flatten(), layers.Dense(1, 3, rng=0))},
         "no MaxPool for method 'crown'"),
        ({"eps": -0.1}, "eps must be >= 0, got -0.1"),
        ({"eps": "0.1"}, "eps must be a number"),
        ({"method": "milp"}, "method must be 'intervals' or 'crown', got 'milp'"),
        ({"norm": "l1"}, "norm must be 'linf' or 'l2', got 'l1'"),
        ({"x": np.full((2, 2, 2, 1), 2.0)}, "x must lie inside bounds"),
        ({"x": np.zeros((2, 2, 1))}, "x must be a batch of images"),
        ({"y": 3}, "y must lie in 0..2, got 3..3"),
        ({"y": np.zeros(3, int)}, "y must be 2 integer labels"),
        ({"y": 0.5}, "y must be 2 integer labels"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(change, message):
    right = {
        "model": Sequential(layers.Flatten(), layers.Dense(4, 3, rng=0)),
        "x": np.full((2, 2, 2, 1), 0.5), "y": 0, "eps": 0.1,
    }  # fmt: skip
    margin_bound(**right)
    with pytest.raises((TypeError, ValueError), match=message):
        margin_bound(**(right | change))


def test_a_layer_that_computes_something_of_its_own_is_refused():
    class Twice(layers.Dense):
        def apply(self, parameters, x, rng=None):
            return 2 * super().apply(parameters, x, rng)

    model = Sequential(layers.Flatten(), Twice(4, 3, rng=0))
    with pytest.raises(TypeError, match="known bounds"):
        logit_bounds(model, np.zeros((1, 2, 2, 1)), eps=0.1)


def test_a_network_that_may_overflow_is_refused():
    model = Sequential(layers.Dense(2, 2, rng=0), layers.ReLU(), layers.Dense(2, 2, rng=0))
    for layer in (model[0], model[2]):
        layer.weight = np.full((2, 2), 1e30, np.float32)
    with pytest.raises(ValueError, match="must not overflow"):
        logit_bounds(model, np.zeros((1, 2), np.float32), eps=0.1)


def test_linear_only():
    with pytest.raises(TypeError, match="affine to have an exact radius.*ReLU"):
        exact_radius(models.mlp((2, 2, 1), 3, hidden=2), np.zeros((1, 2, 2, 1)), 0)
    with pytest.raises(ValueError, match="x must hold at least one example"):
        certified_accuracy(models.mlp((2, 2, 1), 3), np.zeros((0, 2, 2, 1)), 0, eps=0.1)


def test_a_convolution_without_bias_has_a_bias_of_zero():
    without, zero = (
        Sequential(
            layers.Conv2D(1, 3, bias=bias, rng=0), layers.Flatten(), layers.Dense(12, 2, rng=1)
        )
        for bias in (False, True)
    )
    x = np.random.default_rng(0).random((2, 4, 4, 1)).astype(np.float32)
    for method in METHODS:
        bounds = (margin_bound(model, x, y=0, eps=0.1, method=method) for model in (without, zero))
        np.testing.assert_array_equal(*bounds)
