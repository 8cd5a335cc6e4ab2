"""The losses: closed forms, exact references in 60 decimal digits on saturated logits, PyTorch, and
every backend."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minadv import losses, ops
from minadv.autograd import gradcheck, vjp
from minadv.backend import to_numpy
from minadv.losses import (
    binary_cross_entropy,
    cross_entropy,
    kl,
    margin,
    soft_cross_entropy,
    squared_error,
)

few = settings(max_examples=30)
rng = np.random.default_rng(0)
Z = rng.normal(size=(4, 5)) * 2
Y = np.array([0, 4, 2, 2])
P = ops.softmax(rng.normal(size=(4, 5)))
T = rng.random((4, 5))

# name: (loss of its first argument, that argument, the constant that it is compared with)
TABLE = {
    "cross_entropy": (cross_entropy, Z, Y),
    "margin": (margin, Z, Y),
    "soft_cross_entropy": (lambda z, p: soft_cross_entropy(z, p, temperature=3.0), Z, P),
    "soft_cross_entropy p": (lambda p, z: soft_cross_entropy(z, p), P, Z),
    "squared_error": (squared_error, Z, T),
    "squared_error b": (lambda b, a: squared_error(a, b), T, Z),
    "binary_cross_entropy": (binary_cross_entropy, Z, T),
    "binary_cross_entropy t": (lambda t, z: binary_cross_entropy(z, t), T, Z),
    "kl": (kl, P, ops.softmax(Z)),
    "kl q": (lambda q, p: kl(p, q), P, ops.softmax(Z)),
}


@st.composite
def labelled(draw):
    """Logits (N, K) of very different sizes, and labels."""
    n, k = draw(st.integers(0, 4)), draw(st.integers(2, 5))
    z = draw(hnp.arrays(np.float64, (n, k), elements=st.floats(-1, 1))) * draw(
        st.sampled_from([1, 10, 100])
    )
    y = draw(hnp.arrays(np.int64, n, elements=st.integers(0, k - 1)))
    return z, y


# --- exact references


def exact(z, y):
    """``(margin, cross-entropy, ∂margin, ∂cross-entropy)`` of one row in 60 digits, as Decimals;
    their logarithms never overflow."""
    z = [Decimal(float(v)) for v in z]
    e = [v.exp() for v in z]
    others = sum(e) - e[y]
    m = z[y] - others.ln()
    saturation = 1 / (1 + m.exp())  # sigma(-m) = 1 - p_y
    dm = [Decimal(1) if j == y else -e[j] / others for j in range(len(z))]
    return m, (1 + (-m).exp()).ln(), dm, [-saturation * d for d in dm]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1, 10, 100])
def test_margin_and_cross_entropy_keep_sign_and_relative_accuracy(scale, dtype):
    z = (np.random.default_rng(scale).normal(size=(20, 10)) * scale).astype(dtype)
    y = np.random.default_rng(1).integers(0, 10, size=20)
    y[::2] = z[::2].argmax(axis=1)  # half of them classified rightly, and with large margins
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    m, pull_m = vjp(lambda z: margin(z, y), z)
    ce, pull_ce = vjp(lambda z: cross_entropy(z, y), z)
    dm, dce = pull_m(np.ones(20)), pull_ce(np.ones(20))
    # e^z has the rounding error of z, so accuracy is relative to the size of the logits
    rtol = 4 * eps * (1 + float(np.abs(z).max()))
    with localcontext(prec=60):
        for n in range(20):
            exact_m, exact_ce, exact_dm, exact_dce = exact(z[n], y[n])
            assert float(m[n]) == pytest.approx(
                float(exact_m), rel=4 * eps, abs=4 * eps * np.log(10)
            )  # whatever the logits' size
            for found, reference in [
                (ce[n], exact_ce),
                *zip(dm[n], exact_dm, strict=True),
                *zip(dce[n], exact_dce, strict=True),
            ]:
                assert float(found) == pytest.approx(float(reference), rel=rtol, abs=tiny * 1e3)
                if abs(reference) > tiny:
                    assert (float(found) > 0) == (reference > 0)
                    assert (float(found) < 0) == (reference < 0)


@pytest.mark.parametrize("scale", [1, 17, 104, 1e4, 1e30])
def test_the_margin_never_saturates_in_float32(scale):
    z = np.array([[1, 0, -1], [0, -2, 1], [3, 0, 0]], np.float32) * np.float32(scale)
    y = np.array([0, 2, 0])
    value, pull = vjp(lambda z: margin(z, y), z)
    g = pull(np.ones(3))
    assert np.isfinite(value).all()
    assert g[np.arange(3), y].tolist() == [1, 1, 1]
    np.testing.assert_allclose(g.sum(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(g[2, 1:], [-0.5, -0.5])


def test_the_gradient_of_the_cross_entropy_has_no_p_minus_one():
    """At a margin of 20 in float32, p_y rounds to 1; the true class's term is still minus the sum
    of the others."""
    z = np.array([[20.0, 0, 0.5]], np.float32)
    assert ops.softmax(z)[0, 0] == 1
    g = vjp(lambda z: cross_entropy(z, np.array([0])), z)[1](np.ones(1))[0]
    assert g[0] < 0
    assert g[0] == pytest.approx(-(g[1] + g[2]), rel=1e-6)
    assert g[0] == pytest.approx(-(np.exp(-20.0) + np.exp(-19.5)), rel=1e-6)


@given(labelled())
@few
def test_cross_entropy_is_a_function_of_the_margin(case):
    z, y = case
    m, pull_m = vjp(lambda z: margin(z, y), z)
    ce, pull_ce = vjp(lambda z: cross_entropy(z, y), z)
    np.testing.assert_allclose(ce, np.logaddexp(0, -m), rtol=1e-12)
    ones = np.ones(len(z))
    np.testing.assert_allclose(
        pull_ce(ones), -(1 / (1 + np.exp(m)))[:, None] * pull_m(ones), rtol=1e-10, atol=1e-300
    )
    np.testing.assert_allclose(ce, -ops.log_softmax(z)[np.arange(len(z)), y], rtol=1e-9, atol=1e-12)


@given(labelled(), st.floats(-1e3, 1e3))
@few
def test_a_constant_added_to_all_logits_changes_nothing(case, c):
    z, y = case
    np.testing.assert_allclose(margin(z + c, y), margin(z, y), atol=1e-10)


def test_large_logits_that_are_close_cost_the_margin_no_accuracy():
    """In float32, numbers near 10,000 are 0.001 apart; their differences are exact."""
    z = np.array([[10000.25, 10000, 9990], [-10000, -10000.5, -10000.5]], np.float32)
    exact = [0.25 - np.log1p(np.exp(-10)), 0.5 - np.log(2)]
    np.testing.assert_allclose(margin(z, np.array([0, 0])), exact, rtol=1e-6)


def test_the_margin_is_positive_where_the_label_has_more_than_half():
    z = np.log(np.array([[0.6, 0.3, 0.1], [0.5, 0.25, 0.25], [0.4, 0.35, 0.25]]))
    np.testing.assert_allclose(
        margin(z, np.array([0, 0, 0])), np.log([0.6 / 0.4, 1, 0.4 / 0.6]), atol=1e-15
    )


@pytest.mark.parametrize("t", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_keeps_sign_and_relative_accuracy(t, dtype):
    z = np.array([[-80.0], [-20], [-17], [-1], [0], [1], [17], [20], [80]], dtype)
    value, pull = vjp(lambda z: binary_cross_entropy(z, np.full(z.shape, t)), z)
    g = pull(np.ones(len(z)))
    eps = float(np.finfo(dtype).eps)
    with localcontext(prec=60):
        for n, (row,) in enumerate(z):
            wrong = Decimal(float(row)) * (1 if t == 0 else -1)  # -log sigma(-wrong)
            assert float(value[n]) == pytest.approx(float((1 + wrong.exp()).ln()), rel=8 * eps)
            derivative = 1 / (1 + (-wrong).exp()) * (1 if t == 0 else -1)
            assert float(g[n, 0]) == pytest.approx(float(derivative), rel=8 * eps)


# --- closed forms


def test_squared_error():
    a, b = np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0], [0, 0]])
    assert squared_error(a, b).tolist() == [2, 12.5]
    assert squared_error(a[0], b[0]).tolist() == [0, 2]  # one number per example
    assert squared_error(np.ones((2, 3, 3, 1)), np.zeros((2, 3, 3, 1))).tolist() == [4.5, 4.5]
    np.testing.assert_array_equal(vjp(lambda a: squared_error(a, b), a)[1](np.ones(2)), a - b)


def test_soft_cross_entropy_of_hard_labels_is_cross_entropy():
    np.testing.assert_allclose(soft_cross_entropy(Z, np.eye(5)[Y]), cross_entropy(Z, Y), rtol=1e-12)


@given(st.floats(0.1, 50))
@few
def test_soft_cross_entropy_divides_by_the_temperature(temperature):
    log_p = Z / temperature - np.log(np.exp(Z / temperature).sum(axis=1, keepdims=True))
    value, pull = vjp(lambda z: soft_cross_entropy(z, P, temperature), Z)
    np.testing.assert_allclose(value, -(P * log_p).sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(pull(np.ones(4)), (np.exp(log_p) - P) / temperature, atol=1e-12)


def test_soft_cross_entropy_is_least_at_its_own_labels_and_kl_is_the_difference():
    entropy = -(P * np.log(P)).sum(axis=1)
    np.testing.assert_allclose(soft_cross_entropy(np.log(P) * 2, P, temperature=2.0), entropy)
    np.testing.assert_allclose(
        vjp(lambda z: soft_cross_entropy(z, P), np.log(P))[1](np.ones(4)), 0, atol=1e-15
    )
    np.testing.assert_allclose(kl(P, ops.softmax(Z)), soft_cross_entropy(Z, P) - entropy, rtol=1e-9)


def test_binary_cross_entropy_is_cross_entropy_of_two_classes():
    z, t = Z[:, :1], np.array([[0], [1], [1], [0]])
    two = np.concatenate([np.zeros_like(z), z], axis=1)
    np.testing.assert_allclose(binary_cross_entropy(z, t), cross_entropy(two, t[:, 0]), rtol=1e-12)
    np.testing.assert_allclose(
        binary_cross_entropy(Z, T),
        (-T * np.log(ops.sigmoid(Z)) - (1 - T) * np.log(ops.sigmoid(-Z))).sum(axis=1),
        rtol=1e-12,
    )
    assert binary_cross_entropy(
        np.zeros(3), np.array([True, False, True])
    ).tolist() == pytest.approx([np.log(2)] * 3)


class TestKL:
    def test_closed_forms(self):
        assert float(kl(np.array([0.5, 0.5]), np.array([0.25, 0.75]))) == pytest.approx(
            0.5 * np.log(2) + 0.5 * np.log(2 / 3)
        )
        assert kl(P, P).tolist() == [0, 0, 0, 0]
        assert kl(P.reshape(2, 2, 5), P[::-1].reshape(2, 2, 5)).shape == (2, 2)

    def test_zeros(self):
        p, q = (
            np.array([[1.0, 0], [0, 1], [0.5, 0.5], [1, 0]]),
            np.array([[0.5, 0.5], [0, 1], [1, 0], [0, 1]]),
        )
        assert kl(p, q).tolist() == pytest.approx([np.log(2), 0, np.inf, np.inf])
        g = vjp(lambda q: kl(p[:2], q), q[:2])[1](np.ones(2))
        np.testing.assert_array_equal(g, [[-2, 0], [0, -1]])
        g = vjp(lambda p: kl(p, q[:2]), p[:2])[1](np.ones(2))
        assert np.isfinite(g).all()

    @given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=5), st.data())
    @few
    def test_never_negative(self, p, data):
        q = data.draw(st.lists(st.floats(1e-6, 1), min_size=len(p), max_size=len(p)))
        p, q = np.array(p) / sum(p), np.array(q) / sum(q)
        assert float(kl(p, q)) >= -1e-15
        assume(np.abs(p - q).max() > 1e-3)
        assert float(kl(p, q)) > 0


# --- all of them


@pytest.mark.parametrize("name", TABLE)
def test_gradients(name):
    f, x, constant = TABLE[name]
    assert gradcheck(lambda x: f(x, constant), x) < 1e-6


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("count", [0, 1, 4])
def test_on_every_backend_in_float32_one_value_per_example(name, count, xp):
    f, x, constant = TABLE[name]
    x, constant = x[:count], constant[:count]
    expected, expected_pull = vjp(lambda x: f(x, constant), x)
    here = xp.asarray(constant)  # float64 or int64: no reason to leave float32
    value, pull = vjp(lambda x: f(x, here), xp.asarray(x, dtype=xp.float32))
    gradient = pull(xp.ones_like(value))
    assert isinstance(gradient, xp.ndarray)
    assert (value.shape, gradient.shape) == ((count,), x.shape)
    assert value.dtype == gradient.dtype == np.float32
    np.testing.assert_allclose(to_numpy(value), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        to_numpy(gradient), expected_pull(np.ones(count)), rtol=1e-5, atol=1e-6
    )
    plain = f(xp.asarray(x), here)
    assert isinstance(plain, xp.ndarray)
    np.testing.assert_array_equal(to_numpy(plain), expected)


@pytest.mark.parametrize("name", TABLE)
def test_each_example_counts_alone_and_nothing_is_changed(name):
    f, x, constant = TABLE[name]
    x, constant = x.copy(), constant.copy()
    x.flags.writeable = constant.flags.writeable = False
    value, pull = vjp(lambda x: f(x, constant), x)
    for n in range(4):
        np.testing.assert_allclose(
            f(x[n : n + 1], constant[n : n + 1]), value[n : n + 1], rtol=1e-13
        )
        g = pull(np.eye(4)[n])
        assert not np.delete(g, n, axis=0).any()


def test_every_loss_is_in_the_table():
    assert {name.split()[0] for name in TABLE} == set(losses.__all__)


def test_against_torch():
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    log_p = lambda z: f.log_softmax(z, dim=1)  # noqa: E731
    for name, x, theirs in [
        ("cross_entropy", Z, lambda z: f.cross_entropy(z, torch.tensor(Y), reduction="none")),
        (
            "soft_cross_entropy",
            Z,
            lambda z: f.cross_entropy(z / 3, torch.tensor(P), reduction="none"),
        ),
        ("squared_error", Z, lambda z: f.mse_loss(z, torch.tensor(T), reduction="none").sum(1) / 2),
        (
            "binary_cross_entropy",
            Z,
            lambda z: f.binary_cross_entropy_with_logits(z, torch.tensor(T), reduction="none").sum(
                1
            ),
        ),
        ("kl", P, lambda p: (p * (p.log() - log_p(torch.tensor(Z)))).sum(1)),
        (
            "kl q",
            P,
            lambda q: f.kl_div(q.log(), torch.tensor(ops.softmax(Z)), reduction="none").sum(1),
        ),
    ]:
        tensor = torch.tensor(x, requires_grad=True)
        expected = theirs(tensor)
        loss, _, constant = TABLE[name]
        value, pull = vjp(lambda x: loss(x, constant), x)  # noqa: B023
        np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-10, err_msg=name)
        g = np.array([1.0, -2, 0.5, 3])
        expected.backward(torch.tensor(g))
        np.testing.assert_allclose(
            pull(g), tensor.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("loss", [cross_entropy, margin])
@pytest.mark.parametrize(
    ("z", "y", "error", "message"),
    [
        (
            np.ones(3),
            Y[:3],
            ValueError,
            r"logits must be floating-point \(N, K\) with K >= 2, got float64 of shape \(3,\)",
        ),
        (np.ones((4, 1)), Y, ValueError, r"K >= 2, got float64 of shape \(4, 1\)"),
        (np.ones((4, 5), int), Y, ValueError, "logits must be floating-point.*got int64"),
        (Z, Y[:3], ValueError, r"y must be 4 integer labels, got int64 of shape \(3,\)"),
        (Z, Y[:, None], ValueError, r"got int64 of shape \(4, 1\)"),
        (Z, Y.astype(float), ValueError, r"y must be 4 integer labels, got float64"),
        (Z, Y > 1, ValueError, "got bool"),
        (Z, Y + 1, ValueError, r"y must lie in 0..4, got 1..5"),
        (Z, Y - 1, ValueError, r"y must lie in 0..4, got -1..3"),
        (Z, Y.tolist(), TypeError, "y must be a NumPy or CuPy array, got list"),
        (Z, 1, TypeError, "y must be a NumPy or CuPy array, got int"),
    ],
)
def test_wrong_logits_and_labels(loss, z, y, error, message):
    with pytest.raises(error, match=message):
        loss(z, y)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (
            lambda: soft_cross_entropy(Z, P[:, :4]),
            r"p must have the shape of the logits, \(4, 5\), got \(4, 4\)",
        ),
        (
            lambda: soft_cross_entropy(Z, P, temperature=0),
            "temperature must be > 0, got 0",
        ),
        (
            lambda: soft_cross_entropy(Z, P, temperature=np.inf),
            "temperature must be finite, got inf",
        ),
        (lambda: soft_cross_entropy(Z, P, temperature=-1.0), "temperature.*got -1.0"),
        (
            lambda: squared_error(Z, Z[:, :1]),
            r"a and b must have one shape, got \(4, 5\) and \(4, 1\)",
        ),
        (
            lambda: binary_cross_entropy(Z, T[0]),
            r"t must have the shape of the logits, \(4, 5\), got \(5,\)",
        ),
        (lambda: kl(P, P[0]), r"p and q must have one shape, got \(4, 5\) and \(5,\)"),
    ],
)
def test_wrong_arguments(f, message):
    with pytest.raises(ValueError, match=message):
        f()


def test_labels_of_any_integer_type():
    for dtype in (np.int8, np.uint8, np.int32, np.uint64):
        np.testing.assert_array_equal(cross_entropy(Z, Y.astype(dtype)), cross_entropy(Z, Y))
