"""Every operation: value against NumPy, rules against differences, on any shape and backend."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minadv import ops
from minadv.autograd import grad, gradcheck, raw, vjp
from minadv.backend import to_numpy
from tests.strategies import shapes


def spread(shape, seed=0, low=-2.0, high=2.0):
    """Different numbers in (low, high), none at 0, ±1 or the middle: away from every kink."""
    n = math.prod(shape)
    grid = (np.arange(n) + 0.37) / max(n, 1)
    return low + (high - low) * np.random.default_rng(seed).permutation(grid).reshape(shape)


few = settings(max_examples=30)


def softmax(x, axis=-1):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


# name: (operation, the same in NumPy, where its argument lies)
UNARY = {
    "abs": (ops.abs, np.abs, -2, 2),
    "clip": (lambda x: ops.clip(x, -1, 0.6), lambda x: np.clip(x, -1, 0.6), -2, 2),
    "exp": (ops.exp, np.exp, -2, 2),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.2), lambda x: np.where(x > 0, x, 0.2 * x), -2, 2),
    "log": (ops.log, np.log, 0.1, 3),
    "negative": (ops.negative, np.negative, -2, 2),
    "power 3": (lambda x: ops.power(x, 3), lambda x: x**3, -2, 2),
    "power -2": (lambda x: ops.power(x, -2), lambda x: x**-2.0, 0.5, 2),
    "power 0.5": (lambda x: ops.power(x, 0.5), np.sqrt, 0.1, 2),
    "power 0": (lambda x: ops.power(x, 0), np.ones_like, -2, 2),
    "relu": (ops.relu, lambda x: np.maximum(x, 0), -2, 2),
    "sigmoid": (ops.sigmoid, lambda x: 1 / (1 + np.exp(-x)), -2, 2),
    "softplus": (ops.softplus, lambda x: np.log(1 + np.exp(x)), -2, 2),
    "sqrt": (ops.sqrt, np.sqrt, 0.1, 3),
    "tanh": (ops.tanh, np.tanh, -2, 2),
}
# name: (operation, the same in NumPy)
BINARY = {
    "add": (ops.add, np.add),
    "subtract": (ops.subtract, np.subtract),
    "multiply": (ops.multiply, np.multiply),
    "divide": (ops.divide, np.divide),
    "maximum": (ops.maximum, np.maximum),
    "where": (
        lambda a, b: ops.where(raw(a) < raw(b) - 0.5, a, b),
        lambda a, b: np.where(a < b - 0.5, a, b),
    ),
}
REDUCTIONS = {
    "sum": (ops.sum, np.sum),
    "mean": (ops.mean, np.mean),
    "max": (ops.max, np.max),
    "logsumexp": (ops.logsumexp, lambda x, **kwargs: np.log(np.exp(x).sum(**kwargs))),
}
SOFTMAXES = {
    "softmax": (ops.softmax, softmax),
    "log_softmax": (ops.log_softmax, lambda x, axis: np.log(softmax(x, axis))),
}
# The rest, and one of each kind above, as functions of one (3, 4) array: what must hold for all of
# them is tested on this table.
SQUARE = (np.arange(12.0).reshape(4, 3) - 5.3) / 6
TABLE = {name: f for name, (f, *_) in UNARY.items()}
TABLE |= {
    f"{name} left": lambda x, f=f: f(x, SQUARE.T)
    for name, (f, _) in BINARY.items()
    if name != "where"
}
TABLE |= {
    f"{name} right": lambda x, f=f: f(SQUARE.T + 2, x)
    for name, (f, _) in BINARY.items()
    if name != "where"
}
TABLE |= {
    f"{name} {axis}": lambda x, f=f, axis=axis: f(x, axis=axis)
    for name, (f, _) in REDUCTIONS.items()
    for axis in (None, 0, -1)
}
TABLE |= {
    f"{name} {axis}": lambda x, f=f, axis=axis: f(x, axis=axis)
    for name, (f, _) in SOFTMAXES.items()
    for axis in (0, 1)
}
TABLE |= {
    "where left": lambda x: ops.where(SQUARE.T > 0, x, 2.0),
    "where right": lambda x: ops.where(SQUARE.T > 0, 2, x),
    "matmul left": lambda x: ops.matmul(x, SQUARE),
    "matmul right": lambda x: ops.matmul(SQUARE, x),
    "matmul vector": lambda x: ops.matmul(x, SQUARE[:, 0]),
    "reshape": lambda x: ops.reshape(x, 2, 6),
    "transpose": lambda x: ops.transpose(x),
    "getitem": lambda x: ops.getitem(x, (slice(None), slice(1, 3))),
    "getitem repeated": lambda x: ops.getitem(x, [0, 2, 0, 0]),
    "getitem number": lambda x: x[1],
    "getitem one": lambda x: x[1, 2],
    "concatenate": lambda x: ops.concatenate([x, SQUARE.T, x], axis=0),
    "pad": lambda x: ops.pad(x, ((1, 0), (0, 2)), 0.5),
}
X = spread((3, 4), low=0.1, high=1.9)


def on(xp, monkeypatch):
    """TABLE's constant, moved to ``xp``."""
    monkeypatch.setitem(globals(), "SQUARE", xp.asarray(SQUARE))


# --- values, and rules by differences


@pytest.mark.parametrize("name", UNARY)
@given(shape=shapes(0, 3, 0, 4), seed=st.integers(0, 99))
@few
def test_unary(name, shape, seed):
    f, reference, low, high = UNARY[name]
    x = spread(shape, seed, low, high)
    np.testing.assert_allclose(f(x), reference(x), rtol=1e-12)
    assert gradcheck(f, x, rng=seed) < 1e-6


@pytest.mark.parametrize("name", BINARY)
@given(
    pair=hnp.mutually_broadcastable_shapes(
        num_shapes=2, min_dims=0, max_dims=3, min_side=0, max_side=3
    ),
    seed=st.integers(0, 99),
)
@few
def test_binary_with_broadcasting(name, pair, seed):
    f, reference = BINARY[name]
    a, b = spread(pair.input_shapes[0], seed), spread(pair.input_shapes[1], seed + 1, 0.3, 1.83)
    value, pull = vjp(f, a, b)
    assert value.shape == pair.result_shape
    np.testing.assert_allclose(value, reference(a, b), rtol=1e-12)
    assert [g.shape for g in pull(value)] == [a.shape, b.shape]
    assert gradcheck(f, a, b, rng=seed) < 1e-6
    assert gradcheck(lambda a: f(a, b), a, rng=seed) < 1e-6
    assert gradcheck(lambda b: f(a, b), b, rng=seed) < 1e-6


@st.composite
def reductions(draw, **sizes):
    """``(shape, axis)`` with axis None, a number or a tuple, negative ones among them."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=3, **sizes))
    signed = st.integers(-len(shape), len(shape) - 1)
    axes = st.none() | signed | hnp.valid_tuple_axes(len(shape), min_size=0)
    return shape, draw(axes)


@pytest.mark.parametrize("name", REDUCTIONS)
@given(case=reductions(), keepdims=st.booleans(), seed=st.integers(0, 99))
@few
def test_reductions(name, case, keepdims, seed):
    (f, reference), (shape, axis) = REDUCTIONS[name], case
    x = spread(shape, seed)
    value = f(x, axis=axis, keepdims=keepdims)
    expected = reference(x, axis=axis, keepdims=keepdims)
    assert value.shape == np.shape(expected)
    np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-12)
    assert gradcheck(lambda x: f(x, axis=axis, keepdims=keepdims), x, rng=seed) < 1e-6


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_as_methods_and_by_default(name):
    f, reference = REDUCTIONS[name]
    if name != "logsumexp":  # whose default is the last axis, as softmax's
        np.testing.assert_allclose(f(X), reference(X))
        np.testing.assert_allclose(
            vjp(lambda x: getattr(x, name)(axis=1), X)[0], reference(X, axis=1)
        )
    else:
        np.testing.assert_allclose(f(X), reference(X, axis=-1))


@pytest.mark.parametrize("name", SOFTMAXES)
@given(data=st.data(), shape=hnp.array_shapes(max_dims=3, max_side=4), seed=st.integers(0, 99))
@few
def test_softmaxes(name, data, shape, seed):
    f, reference = SOFTMAXES[name]
    axis = data.draw(
        st.integers(-len(shape), len(shape) - 1) | hnp.valid_tuple_axes(len(shape), min_size=1)
    )
    x = spread(shape, seed)
    np.testing.assert_allclose(f(x, axis=axis), reference(x, axis), rtol=1e-11, atol=1e-14)
    assert gradcheck(lambda x: f(x, axis=axis), x, rng=seed) < 1e-6


@st.composite
def factors(draw):
    """Shapes that matmul takes: matrices, vectors, stacks that broadcast."""
    pair = draw(
        hnp.mutually_broadcastable_shapes(
            signature=np.matmul.signature, max_dims=2, min_side=0, max_side=3
        )
    )
    return pair.input_shapes


@given(factors(), st.integers(0, 99))
@few
def test_matmul(pair, seed):
    a, b = spread(pair[0], seed), spread(pair[1], seed + 1)
    np.testing.assert_allclose(ops.matmul(a, b), a @ b)
    assert gradcheck(ops.matmul, a, b, rng=seed) < 1e-6
    assert gradcheck(lambda a: a @ b, a, rng=seed) < 1e-6
    assert gradcheck(lambda b: a @ b, b, rng=seed) < 1e-6


@given(st.data(), hnp.array_shapes(max_dims=4, max_side=3))
@few
def test_reshape_and_transpose(data, shape):
    x = spread(shape)
    axes = data.draw(st.permutations(range(len(shape))))
    signed = [a - len(shape) if data.draw(st.booleans()) else a for a in axes]
    for f, expected in [
        (lambda x: ops.transpose(x, *signed), x.transpose(axes)),
        (lambda x: ops.transpose(x, signed), x.transpose(axes)),
        (lambda x: ops.transpose(x), x.T),
        (lambda x: ops.reshape(x, -1), x.reshape(-1)),
        (lambda x: ops.reshape(x, (*shape[::-1], 1)), x.reshape(*shape[::-1], 1)),
        (lambda x: ops.reshape(x, *shape[::-1]), x.reshape(shape[::-1])),
    ]:
        np.testing.assert_array_equal(f(x), expected)
        assert gradcheck(f, x) < 1e-6
    assert gradcheck(lambda x: x.T.reshape(x.size), x) < 1e-6


@given(st.data(), hnp.array_shapes(max_dims=3, max_side=4))
@few
def test_getitem(data, shape):
    x = spread(shape)
    index = data.draw(
        hnp.basic_indices(shape, allow_newaxis=True)
        | hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=5))
        | hnp.arrays(bool, shape)
    )
    np.testing.assert_array_equal(vjp(lambda x: x[index], x)[0], x[index])
    assert gradcheck(lambda x: x[index], x) < 1e-6


@given(st.data(), hnp.array_shapes(max_dims=3, min_side=0, max_side=3), st.integers(1, 4))
@few
def test_concatenate(data, shape, count):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    xs = []
    for i in range(count):
        own = list(shape)
        own[axis] = data.draw(st.integers(0, 3))
        xs.append(spread(tuple(own), i))
    np.testing.assert_array_equal(ops.concatenate(xs, axis=axis), np.concatenate(xs, axis=axis))
    assert gradcheck(lambda *xs: ops.concatenate(xs, axis=axis), *xs) < 1e-6
    assert gradcheck(lambda x: ops.concatenate([*xs[1:], x, x], axis=axis), xs[0]) < 1e-6


@given(st.data(), hnp.array_shapes(max_dims=3, min_side=0, max_side=3))
@few
def test_pad(data, shape):
    x = spread(shape)
    widths = data.draw(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 2)),
            min_size=len(shape),
            max_size=len(shape),
        )
    )
    np.testing.assert_array_equal(ops.pad(x, widths, 7.0), np.pad(x, widths, constant_values=7.0))
    assert gradcheck(lambda x: ops.pad(x, widths, 7.0), x) < 1e-6


@pytest.mark.parametrize("name", TABLE)
def test_table(name):
    assert gradcheck(TABLE[name], X) < 1e-6


def test_every_operation_is_in_a_table():
    assert {name.split()[0] for name in [*TABLE]} == set(ops.__all__)


# --- what holds for all of them


@pytest.mark.parametrize("name", TABLE)
def test_plain_arrays_give_plain_arrays_and_the_same_value(name):
    x = X.copy()
    x.flags.writeable = False
    plain = TABLE[name](x) if not name.startswith("getitem ") else raw(vjp(TABLE[name], x)[0])
    value, pull = vjp(TABLE[name], x)
    assert isinstance(plain, np.ndarray | np.float64)
    np.testing.assert_array_equal(plain, value)
    g = np.ones_like(value)
    first = pull(g)
    np.testing.assert_array_equal(pull(g), first)
    assert (g == 1).all()


@pytest.mark.parametrize("name", TABLE)
def test_float32_stays_float32_beside_float64_constants(name):
    value, pull = vjp(TABLE[name], X.astype(np.float32))
    assert value.dtype == np.float32
    gradient = pull(np.ones(value.shape))
    assert gradient.dtype == np.float32
    expected, expected_pull = vjp(TABLE[name], X)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, expected_pull(np.ones(value.shape)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "constant",
    [
        2,
        0.5,
        True,
        np.float64(0.5),
        np.float32(0.5),
        np.int64(2),
        np.array(0.5),
        X,
        X.astype(int) + 1,
    ],
)
@pytest.mark.parametrize("name", BINARY)
def test_no_constant_changes_the_dtype(name, constant):
    f = BINARY[name][0]
    for dtype in (np.float32, np.float64):
        for g in (lambda x: f(x, constant), lambda x: f(constant, x)):  # noqa: B023
            value, pull = vjp(g, X.astype(dtype))
            assert value.dtype == pull(value).dtype == dtype
            gradcheck(g, X + 0.01)


@pytest.mark.parametrize(
    "number", [3, 0.5, np.float64(0.5), np.float32(0.5), np.int64(3), np.array(2.0)]
)
def test_nor_does_a_parameter(number):
    x = X.astype(np.float32)
    for f in (
        lambda x: ops.leaky_relu(x, number),
        lambda x: ops.power(x, number),
        lambda x: ops.clip(x, -number, number),
        lambda x: ops.pad(x, [(1, 1), (0, 0)], number),
    ):
        value, pull = vjp(f, x)
        assert value.dtype == pull(value).dtype == np.float32


@pytest.mark.parametrize("name", TABLE)
def test_on_every_backend(name, xp, monkeypatch):
    expected, expected_pull = vjp(TABLE[name], X.astype(np.float32))
    expected_gradient = expected_pull(np.ones_like(expected))
    on(xp, monkeypatch)
    value, pull = vjp(TABLE[name], xp.asarray(X, dtype=xp.float32))
    gradient = pull(xp.ones_like(value))
    assert isinstance(gradient, xp.ndarray)
    assert value.dtype == gradient.dtype == np.float32
    np.testing.assert_allclose(to_numpy(value), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(to_numpy(gradient), expected_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_zero_dimensional_and_empty_on_every_backend(name, xp):
    f = UNARY[name][0] if name in UNARY else BINARY[name][0]
    for shape in [(), (0,), (0, 3), (2, 0)]:
        xs = [
            xp.asarray(spread(shape, i, 0.2, 1.7), dtype=xp.float32)
            for i in range(1 if name in UNARY else 2)
        ]
        value, pull = vjp(f, *xs)
        for x, gradient in zip(
            xs,
            [pull(xp.ones_like(value))] if name in UNARY else pull(xp.ones_like(value)),
            strict=True,
        ):
            assert isinstance(gradient, xp.ndarray)
            assert (gradient.shape, gradient.dtype) == (x.shape, np.float32)


@pytest.mark.parametrize("name", [*REDUCTIONS, *SOFTMAXES])
def test_reductions_of_an_empty_batch_on_every_backend(name, xp):
    f = (REDUCTIONS | SOFTMAXES)[name][0]
    x = xp.asarray(np.ones((0, 3)))
    for axis in (1, -1):
        value, pull = vjp(lambda x, axis=axis: f(x, axis=axis), x)
        assert value.shape == ((0,) if name in REDUCTIONS else (0, 3))
        assert pull(value).shape == (0, 3)
    assert float(ops.sum(x)) == 0
    assert to_numpy(grad(lambda x: x.sum(), x)).shape == (0, 3)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_one_number(name):
    value, pull = vjp(lambda x: REDUCTIONS[name][0](x, axis=None), np.float32(3))
    assert (float(value), float(pull(1.0)), pull(1.0).dtype) == (3, 1, np.float32)


@pytest.mark.parametrize("name", UNARY)
def test_numbers_are_taken_as_well(name):
    f, reference, *_ = UNARY[name]
    assert float(f(1.25)) == pytest.approx(float(reference(1.25)))


# --- kinks


@pytest.mark.parametrize(
    ("f", "x", "derivative"),
    [
        (ops.relu, [-1, -0.0, 0.0, 1], [0, 0, 0, 1]),
        (lambda x: ops.leaky_relu(x, 0.2), [-1, -0.0, 0.0, 1], [0.2, 0.2, 0.2, 1]),
        (ops.abs, [-2, -0.0, 0.0, 2], [-1, 0, 0, 1]),
        (lambda x: ops.clip(x, 0, 1), [-1, 0, 0.5, 1, 2], [0, 1, 1, 1, 0]),
        (lambda x: ops.maximum(x, 1), [0, 1, 2], [0, 0.5, 1]),
        (lambda x: ops.maximum(1.0, x), [0, 1, 2], [0, 0.5, 1]),
        (lambda x: ops.maximum(x, x), [0, 1, 2], [1, 1, 1]),
        (ops.max, [3, 1, 3, 2, 3, 3], [0.25, 0, 0.25, 0, 0.25, 0.25]),
        (lambda x: ops.power(x, 1), [0, 2], [1, 1]),
        (lambda x: ops.power(x, 2), [0, 3], [0, 6]),
        (lambda x: ops.power(x, 0), [0, 3], [0, 0]),
        (lambda x: x**3, [0, -2], [0, 12]),
    ],
)
def test_conventions(f, x, derivative):
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(
            grad(lambda x: ops.sum(f(x)), np.array(x, dtype)), np.array(derivative, dtype)
        )


def test_several_largest_share_evenly_in_each_row():
    x = np.array([[1.0, 1, 0], [2, 3, 3], [5, 5, 5]])
    expected = np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_array_equal(grad(lambda x: x.max(axis=1).sum(), x), expected)
    np.testing.assert_allclose(grad(lambda x: x.max(axis=(0, 1)).sum(), x), (x == 5) / 3)


def test_an_index_used_twice_gets_both_gradients():
    x, g = np.arange(4.0), np.array([1.0, 10, 100, 1000])
    np.testing.assert_array_equal(vjp(lambda x: x[[1, 1, 3, 1]], x)[1](g), [0, 1011, 0, 100])
    np.testing.assert_array_equal(
        vjp(lambda x: x.reshape(2, 2)[[0, 1, 0, 0], [1, 1, 1, 0]], x)[1](g), [1000, 101, 0, 10]
    )
    np.testing.assert_array_equal(vjp(lambda x: x[x > 1.5], x)[1](g[:2]), [0, 0, 1, 10])


def test_comparisons_give_constants():
    x = np.array([-1.0, 0, 2])
    for other in (x[::-1], 0, np.float64(0), [1, 0, 2]):
        other_array = np.asarray(other)
        for f in (
            lambda a, b: a < b,
            lambda a, b: a <= b,
            lambda a, b: a > b,
            lambda a, b: a >= b,
            lambda a, b: a == b,
            lambda a, b: a != b,
        ):
            np.testing.assert_array_equal(vjp(lambda x: f(x, other), x)[0], f(x, other_array))  # noqa: B023
            np.testing.assert_array_equal(vjp(lambda x: f(other, x), x)[0], f(other_array, x))  # noqa: B023
    np.testing.assert_array_equal(grad(lambda x: (x * x * (x > 0)).sum(), x), [0, 0, 4])


@pytest.mark.parametrize(
    "condition",
    [True, False, np.True_, np.array([1, 0, 2]), np.array([[True], [False]]), [0, 1, 1], 1],
)
def test_whatever_numpy_takes_for_a_condition(condition):
    a, b = np.array([1.0, 2, 3]), np.array([[4.0], [5]])
    value, pull = vjp(lambda a, b: ops.where(condition, a, b), a, b)
    np.testing.assert_array_equal(value, np.where(condition, a, b))
    g = np.arange(6.0).reshape(2, 3)
    truth = np.broadcast_to(np.asarray(condition, bool), (2, 3))
    for found, expected in zip(
        pull(g), [(g * truth).sum(axis=0), (g * ~truth).sum(axis=1, keepdims=True)], strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_what_is_not_chosen_leaves_no_nan():
    x = np.array([-1.0, 0, 4])
    safe = ops.where(x > 0, x, 1.0)
    np.testing.assert_array_equal(ops.sqrt(safe), [1, 1, 2])
    found = grad(
        lambda x: ops.where(x0 > 0, ops.sqrt(ops.where(x0 > 0, x, 1.0)), 0.0).sum(), x0 := x
    )
    np.testing.assert_array_equal(found, [0, 0, 0.25])
    with np.errstate(divide="ignore"):
        g = vjp(lambda a: ops.where(np.array([True, False]), a, 0.0), np.ones(2))[1](
            np.array([1.0, np.inf])
        )
    np.testing.assert_array_equal(g, [1, 0])


# --- accuracy


def exactly(f, x):
    """``f`` in 60 decimal digits, as a float."""
    with localcontext(prec=60):
        return float(f(Decimal(float(x))))


FAR = [
    -700.0,
    -100.0,
    -40.0,
    -17.0,
    -5.0,
    -1e-3,
    -1e-10,
    0.0,
    1e-10,
    1e-3,
    5.0,
    17.0,
    40.0,
    100.0,
    700.0,
]


@pytest.mark.parametrize(
    ("f", "value", "derivative"),
    [
        (ops.sigmoid, lambda x: 1 / (1 + (-x).exp()), lambda x: (-x).exp() / (1 + (-x).exp()) ** 2),
        (ops.softplus, lambda x: (1 + x.exp()).ln(), lambda x: 1 / (1 + (-x).exp())),
        (
            ops.tanh,
            lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
            lambda x: 4 / (x.exp() + (-x).exp()) ** 2,
        ),
    ],
    ids=["sigmoid", "softplus", "tanh"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relative_accuracy_far_into_saturation(f, value, derivative, dtype):
    limit = 350 if dtype == np.float64 else 40  # e^(-2 limit) is still a normal number
    x = np.array([v for v in FAR if abs(v) <= limit], dtype)
    found, pull = vjp(f, x)
    few = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(found, [exactly(value, v) for v in x], rtol=few)
    np.testing.assert_allclose(
        pull(np.ones_like(x)), [exactly(derivative, v) for v in x], rtol=few * 4
    )


@pytest.mark.parametrize(
    "f", [ops.sigmoid, ops.softplus, ops.tanh, ops.relu, ops.abs, lambda x: ops.leaky_relu(x, 0.1)]
)
def test_the_largest_numbers_neither_overflow_nor_warn(f):
    for dtype in (np.float32, np.float64):
        x = np.array([-np.finfo(dtype).max, np.finfo(dtype).max / 4, -np.finfo(dtype).tiny], dtype)
        value, pull = vjp(f, x / 2)
        assert np.isfinite(value).all()
        assert np.isfinite(pull(np.ones_like(x))).all()


@pytest.mark.parametrize("scale", [1, 10, 100, 1000, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logsumexp_and_softmax_of_large_logits(scale, dtype):
    z = (np.array([[0.5, -1, 2, 1.9], [0, 0, 0, -3]]) * scale).astype(dtype)
    value, pull = vjp(ops.logsumexp, z)
    assert value.dtype == dtype
    p = pull(np.ones(2))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(p, ops.softmax(z))
    for row, found, log_p in zip(z, value, ops.log_softmax(z), strict=True):
        with localcontext(prec=60):
            row = [Decimal(float(v)) for v in row]
            top = max(row)
            exact = top + sum((v - top).exp() for v in row).ln()
            expected = [float(v - exact) for v in row]
        np.testing.assert_allclose(found, float(exact), rtol=2 * np.finfo(dtype).eps)
        np.testing.assert_allclose(
            log_p, expected, rtol=4 * np.finfo(dtype).eps, atol=2 * np.finfo(dtype).eps
        )


def test_subtracting_a_constant_from_all_logits_changes_nothing():
    z = spread((4, 5))
    for f in (ops.softmax, ops.log_softmax):
        np.testing.assert_allclose(f(z + 1000), f(z), rtol=1e-10)
        np.testing.assert_allclose(vjp(f, z)[1](spread((4, 5), 1)).sum(axis=1), 0, atol=1e-14)


# --- refusals


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda x: ops.power(2.0, x), TypeError, "exponent must be one constant number"),
        (lambda x: x**X, TypeError, "exponent must be one constant number"),
        (lambda x: ops.clip(1.0, x, 2), TypeError, "low and high must be constants"),
        (lambda x: ops.clip(1.0, 0, x), TypeError, "low and high must be constants"),
        (lambda x: ops.where(x, 1.0, 2.0), TypeError, "Tensor"),
        (lambda x: ops.transpose(x, 0, 3), ValueError, "out of bounds"),
        (lambda x: ops.transpose(x, 0, 0), ValueError, "repeated axis"),
        (lambda x: ops.concatenate([x, x], axis=2), ValueError, "out of bounds"),
        (lambda x: ops.concatenate([x, X[:, :2]]), ValueError, "dimension"),
        (lambda x: ops.sum(x, axis=2), ValueError, "out of bounds"),
        (lambda x: ops.mean(x, axis=2), ValueError, "out of bounds"),
        (lambda x: ops.max(x, axis=-3), ValueError, "out of bounds"),
        (lambda x: ops.reshape(x, 5, 5), ValueError, "reshape"),
        (lambda x: x + np.ones(5), ValueError, "broadcast"),
        (lambda x: x @ X, ValueError, "matmul"),
    ],
)
def test_wrong_arguments(f, error, message):
    with pytest.raises(error, match=message):
        vjp(f, X)


@pytest.mark.parametrize("xp", ["strict", "cupy"], indirect=True)
@pytest.mark.parametrize(
    "f",
    [
        lambda x: x + X,
        lambda x: X * x,
        lambda x: ops.concatenate([x, X]),
        lambda x: x @ X.T,
        lambda x: ops.where(X > 0, x, x),
        lambda x: ops.maximum(x, X),
    ],
)
def test_arrays_of_two_backends_are_refused(f, xp):
    with pytest.raises(TypeError):
        vjp(f, xp.asarray(X))
