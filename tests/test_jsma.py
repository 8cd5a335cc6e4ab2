"""JSMA: the map as the equation has it, the best pair by brute force, the attack beside a slow one,
budget, saturation and sign.
"""

from __future__ import annotations

import itertools
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minadv import ops
from minadv.attacks.jsma import jsma
from minadv.attacks.saliency import best_pair, best_pixel, forward_derivative, rivals, saliency_map
from minadv.autograd import jacobian
from minadv.backend import asarray, to_numpy
from minadv.layers import Dense, Flatten, Sequential, Tanh
from minadv.models import LogisticRegression

thetas = st.sampled_from([1.0, -1.0])


def saliency(alpha, beta, theta):
    """D5's equation for one feature (or one pair: sums), word by word."""
    if theta < 0:
        return 0.0 if alpha > 0 or beta < 0 else abs(alpha) * beta
    return 0.0 if alpha < 0 or beta > 0 else alpha * abs(beta)


def all_pairs(alpha, beta, theta, free):
    """The saliency of every pair of free features of one example."""
    pairs = itertools.combinations(np.flatnonzero(free).tolist(), 2)
    return {(p, q): saliency(alpha[p] + alpha[q], beta[p] + beta[q], theta) for p, q in pairs}


@st.composite
def derivatives(draw, most=8):
    """``(alpha, beta, free)``, (N, D): small integers, so that there are ties and nothing is
    rounded.
    """
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, most)))
    numbers = hnp.arrays(
        draw(st.sampled_from([np.float32, np.float64])), shape, elements=st.integers(-6, 6)
    )
    return draw(numbers), draw(numbers), draw(hnp.arrays(bool, shape))


def network(pixels, *, classes=4, rng=0):
    """A smooth network in float64: no two features are ever equally good."""
    rng = np.random.default_rng(rng)
    layers = (
        Dense(pixels, 12, rng=rng, dtype=np.float64),
        Tanh(),
        Dense(12, classes, rng=rng, dtype=np.float64),
    )
    return Sequential(Flatten(), *layers)


# --- the saliency map


@given(derivatives(), thetas)
def test_map_is_the_equation(xp, case, theta):
    alpha, beta, _ = case
    S = to_numpy(saliency_map(xp.asarray(alpha), xp.asarray(beta), theta))
    assert S.dtype == alpha.dtype
    assert S.tolist() == [
        [saliency(a, b, theta) for a, b in zip(*row, strict=True)]
        for row in zip(alpha, beta, strict=True)
    ]


@given(derivatives(), thetas)
def test_best_pixel_has_the_highest_saliency_of_the_free_ones(xp, case, theta):
    alpha, beta, free = case
    i, S = map(to_numpy, best_pixel(*map(xp.asarray, (alpha, beta)), theta, xp.asarray(free)))
    for n in range(len(alpha)):
        one = np.where(
            free[n], [saliency(a, b, theta) for a, b in zip(alpha[n], beta[n], strict=True)], 0
        )
        assert S[n] == one.max() == one[i[n, 0]]


@given(derivatives(), thetas, st.booleans())
@settings(max_examples=150)
def test_best_pair_equals_brute_force(xp, case, theta, all_free):
    alpha, beta, free = case
    free = np.ones_like(free) if all_free else free
    pq, S = map(
        to_numpy,
        best_pair(*map(xp.asarray, (alpha, beta)), theta, None if all_free else xp.asarray(free)),
    )
    assert pq.shape == (len(alpha), 2)
    for n in range(len(alpha)):
        pairs = all_pairs(alpha[n], beta[n], theta, free[n])
        assert S[n] == max(pairs.values(), default=0)
        if S[n] > 0:
            assert pairs[tuple(sorted(pq[n].tolist()))] == S[n]


@pytest.mark.parametrize("slope", [-1, 0, 1])
@pytest.mark.parametrize("theta", [1.0, -1.0])
def test_best_pair_equals_brute_force_among_many_features(slope, theta):
    rng = np.random.default_rng(slope + 1)
    alpha = rng.standard_normal((5, 120))
    beta = slope * alpha + 0.5 * rng.standard_normal((5, 120))
    free = rng.random((5, 120)) < 0.8
    pq, S = best_pair(alpha, beta, theta, free)
    for n in range(5):
        pairs = all_pairs(alpha[n], beta[n], theta, free[n])
        assert np.isclose(S[n], max(pairs.values()), rtol=1e-12)
        assert np.isclose(S[n], pairs[tuple(sorted(pq[n].tolist()))], rtol=1e-12)


def test_rivals_are_the_features_that_fewer_than_two_others_beat():
    a, b = np.random.default_rng(0).standard_normal((2, 6, 90))
    left = [[((a[n] > a[n, i]) & (b[n] > b[n, i])).sum() < 2 for i in range(90)] for n in range(6)]
    found = rivals(a, b)
    assert found.shape == (6, np.sum(left, axis=1).max())
    assert all(set(np.flatnonzero(left[n])) <= set(found[n]) for n in range(6))


def test_best_pair_may_be_of_two_features_that_are_not_admissible_alone():
    alpha, beta = np.array([[3.0, -1.0, -9.0]]), np.array([[1.0, -3.0, -9.0]])
    assert not saliency_map(alpha, beta).any()
    pq, S = best_pair(alpha, beta)
    assert (sorted(pq[0].tolist()), S[0]) == ([0, 1], 4)


def test_best_pair_needs_memory_linear_in_the_features():
    """On a quarter circle no feature beats another, so that all pairs are tried: 2000² numbers
    would be 32 MB.
    """
    angle = np.linspace(0, np.pi / 2, 2000)
    alpha, beta = np.cos(angle)[None], -np.sin(angle)[None]
    tracemalloc.start()
    pq, S = best_pair(alpha, beta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * alpha.nbytes
    assert set(pq[0].tolist()) == {999, 1000}


def test_best_pair_of_a_large_color_image():
    D = 224 * 224 * 3
    rng = np.random.default_rng(0)
    alpha, beta = rng.standard_normal((2, 1, D)).astype(np.float32)
    tracemalloc.start()
    pq, S = best_pair(alpha, beta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * D  # bytes; all pairs: 84 GiB
    with_each = [saliency_map(alpha[0] + alpha[0, p], beta[0] + beta[0, p]) for p in pq[0]]
    assert with_each[0][pq[0, 1]] == S[0]
    assert all((np.delete(S_p, p) <= S[0]).all() for S_p, p in zip(with_each, pq[0], strict=True))


# --- the forward derivative


def test_forward_derivative_of_logits_is_two_sums_of_the_jacobian(xp):
    model, x = network(6), asarray(np.random.default_rng(0).random((5, 2, 3, 1)))
    t = [0, 1, 2, 3, 1]
    logits, dF_t, dF_others = map(to_numpy, forward_derivative(model, x, t, outputs="logits"))
    J = to_numpy(jacobian(model, x))
    assert np.allclose(logits, to_numpy(model(x)))
    assert np.allclose(dF_t, J[range(5), t])
    assert np.allclose(dF_others, J.sum(axis=1) - J[range(5), t])


def test_forward_derivative_of_probabilities_is_in_units_of_p_times_1_minus_p(xp):
    model, x = network(6), asarray(np.random.default_rng(0).random((5, 2, 3, 1)))
    logits, dF_t, dF_others = map(to_numpy, forward_derivative(model, x, 2))
    p = to_numpy(ops.softmax(model(x)))[:, 2].reshape(5, 1, 1, 1)
    J = to_numpy(jacobian(lambda x: ops.softmax(model(x)), x))
    assert np.allclose(p * (1 - p) * dF_t, J[:, 2])
    assert np.allclose(p * (1 - p) * dF_others, J.sum(axis=1) - J[:, 2])


def test_a_function_added_to_all_logits_changes_nothing():
    """... of the probabilities, and so must not change the attack."""
    model, x = network(30), np.random.default_rng(1).random((4, 30))
    a, b = (
        jsma(f, x, target=3, gamma=1, bounds=(0, 2)).x_adv
        for f in (model, lambda x: model(x) + 10 * x.sum(axis=1, keepdims=True))
    )
    assert np.array_equal(a, b)
    assert not np.array_equal(a, x)


# --- the attack


def slow_jsma(model, x, t, theta, gamma, pairs, outputs, bounds):
    """The paper's algorithm for one image, by the whole Jacobian and all pairs."""
    original, z, steps = x.ravel(), x.ravel().copy(), 0
    budget = int(Fraction(str(gamma)) * z.size)
    F = model if outputs == "logits" else lambda x: ops.softmax(model(x))
    while int(model(z.reshape(1, *x.shape))[0].argmax()) != t:
        J = jacobian(F, z.reshape(1, *x.shape))[0].reshape(-1, z.size)
        alpha, beta = J[t], sum(J[j] for j in range(len(J)) if j != t)
        can_move = z < bounds[1] if theta > 0 else z > bounds[0]
        changed = z != original
        if changed.sum() + (2 if pairs else 1) > budget:
            can_move &= changed
        if pairs:
            S = all_pairs(alpha, beta, theta, can_move)
        else:
            S = {(i,): saliency(alpha[i], beta[i], theta) for i in np.flatnonzero(can_move)}
        if max(S.values(), default=0) <= 0:
            break
        best = list(max(S, key=S.get))
        z[best] = np.clip(z[best] + theta, *bounds)
        steps += 1
    return z.reshape(x.shape), steps


@pytest.mark.parametrize("outputs", ["probabilities", "logits"])
@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize(
    ("theta", "gamma"), [(1.0, 0.5), (0.3, 0.25), (-0.4, 0.3), (-1.0, 1.0), (0.25, 1.0)]
)
def test_attack_is_the_algorithm_step_by_step(outputs, pairs, theta, gamma):
    x = np.random.default_rng(2).random((6, 3, 3, 2))
    target, model, bounds = [0, 1, 2, 3, 0, 1], network(18, rng=3), (0.0, 1.25)
    r = jsma(
        model,
        x,
        target=target,
        theta=theta,
        gamma=gamma,
        pairs=pairs,
        outputs=outputs,
        bounds=bounds,
    )
    for i in range(6):
        z, steps = slow_jsma(model, x[i], target[i], theta, gamma, pairs, outputs, bounds)
        assert np.array_equal(r.x_adv[i], z)
        assert r.steps[i] == steps
    assert r.steps.any()


@given(
    w=hnp.arrays(float, 9, elements=st.integers(1, 99), unique=True),
    b=st.integers(0, 300),
    pairs=st.booleans(),
    target=st.integers(0, 1),
)
@settings(max_examples=30)
def test_closed_form_of_an_affine_model(xp, w, b, pairs, target):
    """The logit w·x − b must turn positive (or, for class 0, negative): with steps of 1, by the
    largest weights, as few as will do.
    """
    b += 0.5  # no tie, and no (0, 1), which look like probabilities
    model = LogisticRegression(w, -b)
    x, theta = (np.zeros((1, 9)), 1.0) if target else (np.ones((1, 9)), -1.0)
    r = jsma(model, xp.asarray(x), target=target, theta=theta, gamma=1, pairs=pairs)
    largest = np.sort(w)[::-1]
    logit = (x @ w)[0] - b + theta * np.append(0, largest.cumsum())  # after 0, 1, ..., 9 changes
    enough = [k for k in range(0, 10, 2 if pairs else 1) if (logit[k] > 0) == bool(target)]
    k = enough[0] if enough else (8 if pairs else 9)
    expected = np.where(np.isin(w, largest[:k]), x + theta, x)
    assert np.array_equal(to_numpy(r.x_adv), expected)
    assert to_numpy(r.success).tolist() == [bool(enough)]
    assert to_numpy(r.steps).tolist() == [k // 2 if pairs else k]


@given(
    theta=st.sampled_from([1.0, 0.3, 0.07, -0.3, -5.0]),
    gamma=st.floats(0, 1),
    pairs=st.booleans(),
    outputs=st.sampled_from(["probabilities", "logits"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=30)
def test_changes_are_few_in_bounds_and_in_the_direction_of_theta(
    xp, theta, gamma, pairs, outputs, seed
):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 5, (5, 2, 2, 3)).astype(np.float32) / 8  # many at a bound
    how = {"theta": theta, "gamma": gamma, "pairs": pairs, "outputs": outputs, "bounds": (0.0, 0.5)}
    r = jsma(network(12, rng=seed), xp.asarray(x), target=rng.integers(0, 4, 5), **how)
    x_adv = to_numpy(r.x_adv)
    assert x_adv.dtype == np.float32
    assert ((x_adv >= 0) & (x_adv <= 0.5)).all()
    assert (np.sign(x_adv - x) * np.sign(theta) >= 0).all()
    changed = (x_adv != x).reshape(5, 12).sum(axis=1)
    assert all(n / 12 <= gamma or n <= Fraction(str(gamma)) * 12 for n in changed.tolist())
    assert (to_numpy(r.l0) <= changed).all()  # pixels, of three features each


@pytest.mark.parametrize("pairs", [True, False])
def test_an_image_without_an_admissible_feature_stops(xp, pairs):
    """Every feature lowers the target's logit, or cannot be raised any more: pixel 0 must not be
    taken for want of a better one.
    """
    model = LogisticRegression(np.array([-1.0, -2, 3, 4]), -100.0)
    x = np.array([[0.5, 0.5, 1, 1], [0.5, 0.5, 1, 0]])
    r = jsma(model, xp.asarray(x), target=1, gamma=1, pairs=pairs)
    expected = x + [
        [0, 0, 0, 0],
        [0.5, 0, 0, 1] if pairs else [0, 0, 0, 1],
    ]  # 4 − 1 > 0: a pair may take along what alone would hurt
    assert to_numpy(r.x_adv).tolist() == expected.tolist()
    assert to_numpy(r.steps).tolist() == [0, 1]
    assert not to_numpy(r.success).any()


@pytest.mark.parametrize(
    ("gamma", "features"),
    [(0.29, 29), (0.57, 57), (0.58, 58), (np.float32(0.29), 29), (Fraction(1, 3), 33), (1, 100)],
)
def test_gamma_counts_as_computed_by_hand(gamma, features):
    """In floating point 0.29 * 100 is 28.999999999999996."""
    model = LogisticRegression(np.ones(100), -1000.0)  # never reached: all that may change does
    r = jsma(model, np.zeros((1, 100)), target=1, gamma=gamma, pairs=False)
    assert r.l0.tolist() == [features]


@pytest.mark.parametrize("pairs", [True, False])
def test_steps_are_limited(pairs):
    model, x = LogisticRegression(np.ones(10), -1000.0), np.zeros((2, 10))
    for steps, taken in ((1, 1), (7, 7), (None, 80)):  # 0.4 of 10 features are 4, 20 steps each
        r = jsma(model, x, target=1, theta=2**-20, gamma=0.4, pairs=pairs, steps=steps)
        assert r.steps.tolist() == [taken] * 2
        assert (r.x_adv.sum(axis=1) == taken * 2**-20 * (2 if pairs else 1)).all()


def test_the_default_limit_does_not_bind_a_theta_of_a_tenth():
    """Eight features in steps of a tenth of the range: all reach the bound, one after the other."""
    model = LogisticRegression(np.arange(1.0, 9), -1000.0)
    r = jsma(model, np.zeros((1, 8)), target=1, theta=0.1, gamma=1, pairs=False)
    assert (r.x_adv == 1).all()


@pytest.mark.parametrize("pairs", [True, False])
def test_a_theta_that_rounding_swallows_ends(pairs):
    r = jsma(network(8), np.full((2, 8), 0.5), target=[1, 2], theta=1e-30, gamma=1, pairs=pairs)
    assert not r.l0.any()
    assert not r.steps.any()


@pytest.mark.parametrize("outputs", ["probabilities", "logits"])
@pytest.mark.parametrize("scale", [2.0**80, 2.0**-80])
def test_no_saliency_overflows_or_underflows(outputs, scale):
    """The square of 2^±60 is a float32, that of 2^±80 is not: both must do the same."""
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((20, 4)).astype(np.float32), rng.random((5, 20)).astype(np.float32)
    target = (x @ W).argmin(axis=1)
    scales = [np.float32(s) for s in (scale**0.75, scale)]
    a, b = (
        jsma(lambda x, s=s: x @ (W * s), x, target=target, gamma=0.2, outputs=outputs).x_adv
        for s in scales
    )
    assert np.array_equal(a, b)
    assert (a != x).any(axis=1).all()


def test_an_image_that_the_model_is_flat_for_is_warned_of():
    model = LogisticRegression(np.zeros(6))
    with pytest.warns(UserWarning, match="exactly zero for 3 of 3 images") as caught:
        r = jsma(model, np.full((3, 6), 0.5), target=1)
    assert caught[0].filename == __file__
    assert not r.steps.any()


@pytest.mark.parametrize("outputs", ["probabilities", "logits"])
def test_each_image_has_its_own_target_and_leaves_alone(outputs):
    x, target = np.random.default_rng(5).random((12, 16)), np.arange(12) % 4
    model = network(16, rng=6)
    r = jsma(model, x, target=target, gamma=0.5, outputs=outputs)
    assert len(set(r.steps.tolist())) > 2
    for i in range(12):
        alone = jsma(model, x[i : i + 1], target=int(target[i]), gamma=0.5, outputs=outputs)
        assert np.array_equal(alone.x_adv[0], r.x_adv[i])
        assert alone.steps[0] == r.steps[i]
    assert np.array_equal(r.x_adv[r.steps == 0], x[r.steps == 0])


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (ValueError, "theta must not be 0", {"theta": 0}),
        (ValueError, "theta must be finite, got nan", {"theta": float("nan")}),
        (TypeError, "theta must be a number, got '1'", {"theta": "1"}),
        (ValueError, "gamma must be >= 0, got -0.1", {"gamma": -0.1}),
        (ValueError, "gamma must be <= 1, got 14.5", {"gamma": 14.5}),
        (TypeError, "gamma must be a number, got None", {"gamma": None}),
        (ValueError, "steps must be >= 1, got 0", {"steps": 0}),
        (TypeError, "steps must be an integer, got 2.5", {"steps": 2.5}),
        (
            ValueError,
            "outputs must be 'probabilities' or 'logits', got 'softmax'",
            {"outputs": "softmax"},
        ),
        (ValueError, "target must lie in 0..3, the model's classes, got 4", {"target": 4}),
        (
            ValueError,
            "target must lie in 0..3, the model's classes, got 4",
            {"target": 4, "outputs": "logits"},
        ),
        (ValueError, "exactly one of y .* and target .*, got neither", {"target": None}),
    ],
)
def test_wrong_input_is_named(error, message, wrong):
    with pytest.raises(error, match=message):
        jsma(network(8), np.full((2, 8), 0.5), **{"target": 1, **wrong})
