"""DeepFool: closed forms on affine models, the paper's algorithm step by step, and what other
implementations got wrong.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minadv import data, inference
from minadv.attacks.deepfool import deepfool, nearest_hyperplane
from minadv.autograd import jacobian
from minadv.backend import asarray, to_numpy
from minadv.layers import Dense, Flatten, Sequential, Tanh
from minadv.models import LogisticRegression, cnn

FAR = (-1000.0, 1000.0)  # bounds that no step reaches
DUAL = {"l2": 2, "linf": 1}
both_norms = pytest.mark.parametrize("norm", DUAL)


def affine(W, b):
    """(N, D) to logits (N, K)."""
    layer = Dense(*W.shape)
    layer.weight, layer.bias = asarray(W), asarray(b)
    return layer


def network(pixels, *, classes=5, rng=0):
    rng = np.random.default_rng(rng)
    layers = (
        Dense(pixels, 16, rng=rng, dtype=np.float64),
        Tanh(),
        Dense(16, classes, rng=rng, dtype=np.float64),
    )
    layers[0].weight *= 3  # far from linear: it takes more than one step
    return Sequential(Flatten(), *layers)


def distances(W, b, x, y, norm):
    """To each other class's hyperplane, (N, K), infinite for y's own: |f_k| / ‖w_k‖."""
    z = x @ W + b
    n, own = np.arange(len(x)), np.arange(W.shape[1]) == y[:, None]
    f = z - z[n, y][:, None]
    w = np.linalg.norm(W[:, None, :] - W[:, y][:, :, None], DUAL[norm], axis=0)  # (N, K)
    return np.where(own, np.inf, np.abs(f) / np.where(own, 1, w))


def size(r, norm):
    return np.linalg.norm(r.reshape(len(r), -1), 2 if norm == "l2" else np.inf, axis=1)


# --- closed forms


@both_norms
@given(
    W=hnp.arrays(float, (7, 4), elements=st.integers(-9, 9)),
    x=hnp.arrays(float, (5, 7), elements=st.integers(-20, 20)),
    b=hnp.arrays(float, 4, elements=st.integers(-9, 9)),
    eta=st.sampled_from([0.02, 0.5, 1e-6]),
)
@settings(max_examples=40)
def test_affine_models_are_fooled_by_the_smallest_change_in_one_step(xp, norm, W, x, b, eta):
    rng = np.random.default_rng(0)
    W, b = (
        W + rng.random(W.shape) / 8,
        b + rng.random(4) / 8,
    )  # no two classes alike, no image on a hyperplane
    y = (x @ W + b).argmax(axis=1)
    model = affine(W, b)
    r = deepfool(model, xp.asarray(x), overshoot=eta, norm=norm, bounds=FAR)
    change = to_numpy(r.x_adv) - x
    nearest = distances(W, b, x, y, norm)
    assert np.allclose(size(change, norm), (1 + eta) * nearest.min(axis=1), rtol=1e-6)
    assert to_numpy(r.steps).tolist() == [1] * 5
    assert to_numpy(r.success).all()
    z = to_numpy(
        model(r.x_adv)
    )  # the overshoot may cross a second hyperplane, so the nearest class need not be the label
    assert (z[range(5), nearest.argmin(axis=1)] > z[range(5), y]).all()
    just_short = to_numpy(model(xp.asarray(x + (1 - 1e-6) / (1 + eta) * change)))
    assert np.array_equal(just_short.argmax(axis=1), y)


@both_norms
def test_102_percent_cross_where_98_do_not(norm):
    rng = np.random.default_rng(0)
    W, b, x = rng.standard_normal((30, 6)), rng.standard_normal(6), rng.random((50, 30))
    model, y = affine(W, b), (x @ W + b).argmax(axis=1)
    r = deepfool(model, x, norm=norm, bounds=FAR).x_adv - x
    assert (model(x + r).argmax(axis=1) != y).all()
    assert (model(x + 0.98 / 1.02 * r).argmax(axis=1) == y).all()


@both_norms
@pytest.mark.parametrize("label", range(4))
@pytest.mark.parametrize("other", range(4))
def test_every_label_and_every_neighbor(norm, label, other):
    """The first class, the last one, and those beside y are where an index is easily lost."""
    if label == other:
        return
    b = np.full(4, -5.0)
    b[label], b[other] = 1, 0
    r = deepfool(affine(np.eye(4), b), np.zeros((1, 4)), norm=norm, bounds=FAR)
    direction = np.eye(4)[other] - np.eye(4)[label]
    assert np.allclose(r.x_adv, 1.02 / 2 * direction)
    assert r.label.tolist() == [other]


def test_a_class_that_is_less_likely_may_be_nearer():
    """Logits (10, 9, 0), but the last one's gradient is 20 times longer."""
    model, x = affine(np.array([[0.0, 1, 0], [0, 0, 20]]), np.array([10.0, 9, 0])), np.zeros((1, 2))
    assert deepfool(model, x, bounds=FAR).x_adv.tolist() == [[0, pytest.approx(1.02 * 0.5)]]
    assert deepfool(model, x, bounds=FAR, candidates=3).label.tolist() == [2]
    assert deepfool(model, x, bounds=FAR, candidates=2).x_adv.tolist() == [
        [pytest.approx(1.02), 0]
    ]  # only the second likeliest


@both_norms
@given(
    f=hnp.arrays(float, (3, 4), elements=st.integers(-9, 0)),
    w=hnp.arrays(float, (3, 4, 5), elements=st.integers(-9, 9)),
    beyond=st.sampled_from([0.0, 0.25]),
)
def test_nearest_hyperplane(xp, norm, f, w, beyond):
    l, r = map(to_numpy, nearest_hyperplane(xp.asarray(f), xp.asarray(w), norm=norm, beyond=beyond))
    length = np.linalg.norm(w, DUAL[norm], axis=2)
    for n in range(3):
        reachable = [abs(f[n, k]) / length[n, k] for k in range(4) if length[n, k]]
        if not reachable:
            assert not r[n].any()
            continue
        k = l[n]
        assert abs(f[n, k]) / length[n, k] == pytest.approx(min(reachable))
        assert size(r[n : n + 1], norm)[0] == pytest.approx(min(reachable) + beyond)
        assert f[n, k] + w[n, k] @ r[n] == pytest.approx(
            beyond * length[n, k]
        )  # on the hyperplane, or beyond


@both_norms
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_nearest_hyperplane_at_any_scale_of_the_logits(norm, scale):
    """‖w‖² would under- or overflow in float32."""
    rng = np.random.default_rng(0)
    f, w = -rng.random((6, 3)).astype(np.float32), rng.standard_normal((6, 3, 8)).astype(np.float32)
    l, r = nearest_hyperplane(f, w, norm=norm)
    l_scaled, r_scaled = nearest_hyperplane(f * np.float32(scale), w * np.float32(scale), norm=norm)
    assert np.array_equal(l, l_scaled)
    assert np.allclose(r, r_scaled, rtol=1e-5, atol=0)
    assert r_scaled.dtype == np.float32


def test_a_hyperplane_out_of_reach_is_never_the_nearest():
    f, w = (
        np.float32([[-1, -9]]),
        np.float32([[[0, 0], [3, 4]], [[1e-45, 0], [3, 4]], [[0, 0], [0, 0]]]),
    )
    l, r = nearest_hyperplane(np.repeat(f, 3, axis=0), w)
    assert l[:2].tolist() == [1, 1]
    assert np.allclose(r, [[1.08, 1.44], [1.08, 1.44], [0, 0]])


# --- the algorithm


def slow_deepfool(model, x, norm, eta, bounds, steps=50):
    """The paper's algorithm 2 for one image, with overshoot and clipping in each step, and pixels
    that were stopped left out.
    """
    x_i = x[None]
    y = int(model(x_i)[0].argmax())
    for i in range(steps):
        z, J = model(x_i)[0], jacobian(model, x_i)[0]
        if int(z.argmax()) != y:
            return x_i[0], i
        nearest, r_i = np.inf, None
        for k in range(len(z)):
            w, f = J[k] - J[y], z[k] - z[y]
            for pixel in np.ndindex(x.shape) if i else ():
                if (x_i[0][pixel] == bounds[0] and w[pixel] < 0) or (
                    x_i[0][pixel] == bounds[1] and w[pixel] > 0
                ):
                    w[pixel] = 0
            length = np.linalg.norm(w.ravel(), DUAL[norm])
            if k != y and abs(f) / length < nearest:
                nearest, r_i = (
                    abs(f) / length,
                    abs(f) / length**2 * w if norm == "l2" else abs(f) / length * np.sign(w),
                )
        x_i = np.clip(x_i + (1 + eta) * r_i, *bounds)
    return x_i[0], steps


@both_norms
@pytest.mark.parametrize(
    ("eta", "bounds"), [(0.02, FAR), (0.3, FAR), (0.02, (0.0, 1.0)), (0.1, (0.25, 0.75))]
)
def test_attack_is_the_algorithm_step_by_step(norm, eta, bounds):
    rng, model = np.random.default_rng(1), network(18, rng=2)
    x = np.clip(1.5 * rng.random((20, 3, 3, 2)) - 0.25, *bounds)  # many at a bound
    r = deepfool(model, x, overshoot=eta, norm=norm, bounds=bounds, steps=4)
    for i in range(20):
        x_adv, steps = slow_deepfool(model, x[i], norm, eta, bounds, steps=4)
        assert np.allclose(r.x_adv[i], x_adv, rtol=0, atol=1e-10)
        assert r.steps[i] == steps
    assert r.steps.max() > 1


@both_norms
def test_steps_are_counted_and_limited(norm):
    x, model = np.random.default_rng(1).standard_normal((40, 18)), network(18, rng=2)
    whole = deepfool(model, x, norm=norm, bounds=FAR)
    first = deepfool(model, x, norm=norm, bounds=FAR, steps=1)
    in_one = whole.steps == 1
    assert in_one.any()
    assert not in_one.all()
    assert np.array_equal(first.success, in_one)
    assert np.array_equal(
        first.x_adv[in_one], whole.x_adv[in_one]
    )  # what is done is not perturbed on


@both_norms
def test_a_batch_is_its_images_one_by_one(norm):
    x, model = np.random.default_rng(4).random((20, 18)), network(18, rng=5)
    whole = deepfool(model, x, norm=norm)
    assert len(set(whole.steps.tolist())) > 1
    for i in range(20):
        alone = deepfool(model, x[i : i + 1], norm=norm)
        assert np.allclose(alone.x_adv[0], whole.x_adv[i], rtol=0, atol=1e-12)
        assert alone.steps[0] == whole.steps[i]


def test_what_is_already_wrong_is_returned_unchanged(xp):
    x, model = xp.asarray(np.random.default_rng(0).random((8, 18))), network(18)
    y = to_numpy(model(x)).argmax(axis=1)
    y[::2] = (y[::2] + 1) % 5
    r = deepfool(model, x, y=y)
    assert np.array_equal(to_numpy(r.x_adv)[::2], to_numpy(x)[::2])
    assert not to_numpy(r.steps)[::2].any()
    assert to_numpy(r.success).all()
    assert to_numpy(r.steps)[1::2].all()


def test_y_is_what_the_model_predicts_unless_given(xp):
    x, model = xp.asarray(np.random.default_rng(0).random((8, 18))), network(18)
    y = to_numpy(model(x)).argmax(axis=1)
    assert np.array_equal(
        to_numpy(deepfool(model, x).x_adv), to_numpy(deepfool(model, x, y=y).x_adv)
    )


# --- bounds, rounding


@both_norms
@given(data=st.data())
@settings(max_examples=25)
def test_result_lies_in_bounds(xp, norm, data):
    x = data.draw(hnp.arrays(np.float32, (4, 3, 3, 1), elements=st.integers(0, 4)))
    low, high = data.draw(st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.1, 0.9)]))
    x = np.clip(np.float32(low) + x / 4 * np.float32(high - low), np.float32(low), np.float32(high))
    r = deepfool(
        network(9, rng=data.draw(st.integers(0, 9))), xp.asarray(x), norm=norm, bounds=(low, high)
    )
    x_adv = to_numpy(r.x_adv)
    assert x_adv.dtype == np.float32
    assert ((x_adv >= np.float32(low)) & (x_adv <= np.float32(high))).all()


@both_norms
def test_clipping_does_not_keep_it_from_crossing(norm):
    """Black pixels that a step would darken: each plain step loses the same share of what is
    missing, and none ever crosses.
    """
    model = LogisticRegression(np.array([-3.0, -3, 1, 1]), -1.0)
    r = deepfool(model, np.array([[0.0, 0, 0, 0], [0, 0, 0.25, 0.5]]), norm=norm)
    assert r.success.all()
    assert r.steps.tolist() == [2, 2]


def test_an_image_on_the_boundary_crosses(xp):
    """All logits are equal: f_k = 0, and r_i = 0 would stay there."""
    model = network(6)
    r = deepfool(model, xp.asarray(np.zeros((1, 6))))
    assert to_numpy(r.success).all()
    assert 0 < float(r.l2[0]) < 1e-12


@both_norms
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_overshoot_the_size_is_that_of_the_nearest(norm, dtype):
    rng = np.random.default_rng(0)
    W, b, x = (
        rng.standard_normal((30, 6)).astype(dtype),
        rng.standard_normal(6).astype(dtype),
        rng.random((50, 30)).astype(dtype),
    )
    r = deepfool(affine(W, b), x, overshoot=0, norm=norm, bounds=FAR)
    nearest = distances(W, b, x, (x @ W + b).argmax(axis=1), norm).min(axis=1)
    assert np.allclose(size(r.x_adv - x, norm), nearest, rtol=3e4 * np.finfo(dtype).eps)
    assert r.success.all()


@both_norms
def test_the_label_is_the_models_in_any_batch_also_without_overshoot(norm):
    """A matrix product of one row rounds otherwise than one of many: it must not undo a success."""
    x, model = data.digits().x_test, cnn((8, 8, 1), rng=0)
    r = deepfool(model, x, overshoot=0, norm=norm)
    assert r.success.all()
    for size in (1, 7):
        parts = [inference.predict(model, r.x_adv[i : i + size]) for i in range(0, len(x), size)]
        assert np.array_equal(np.concatenate(parts), r.label)


def test_a_flat_model_is_warned_of_and_left_alone():
    x = np.full((3, 6), 0.5)
    with pytest.warns(UserWarning, match="exactly zero for 3 of 3 images") as caught:
        r = deepfool(LogisticRegression(np.zeros(6), 2.0), x)
    assert caught[0].filename == __file__
    assert np.array_equal(r.x_adv, x)
    assert not r.steps.any()
    assert not r.success.any()


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (ValueError, "overshoot must be >= 0, got -0.02", {"overshoot": -0.02}),
        (TypeError, "overshoot must be a number, got None", {"overshoot": None}),
        (ValueError, "candidates must be >= 2, got 1", {"candidates": 1}),
        (TypeError, "candidates must be an integer, got 2.5", {"candidates": 2.5}),
        (ValueError, "norm must be 'l2' or 'linf', got 'l1'", {"norm": "l1"}),
        (ValueError, "y must lie in 0..4, the model's classes, got 5", {"y": 5}),
    ],
)
def test_wrong_input_is_named(error, message, wrong):
    with pytest.raises(error, match=message):
        deepfool(network(8), np.full((2, 8), 0.5), **wrong)
