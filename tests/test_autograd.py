"""What vjp returns, in what order rules run, what it refuses. The rules are in test_ops.py."""

import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minadv import autograd, ops
from minadv.autograd import Tensor, grad, gradcheck, jacobian, raw, record, value_and_grad, vjp
from minadv.backend import to_numpy
from minadv.conv import avg_pool2d, conv2d, depthwise_conv2d
from tests.strategies import float_arrays

x0 = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])


def counted(calls, name, x, factor=1):
    """``factor`` · x, an operation that notes each use of its rule."""

    def rule(g):
        calls.append(name)
        return g * factor

    return record(raw(x) * factor, (x, rule))


class TestValueAndPull:
    def test_closed_form(self):
        value, pull = vjp(lambda x: x * x, x0)
        np.testing.assert_array_equal(value, x0 * x0)
        np.testing.assert_array_equal(pull(np.ones_like(x0)), 2 * x0)

    def test_one_x_gives_an_array_and_several_a_tuple(self):
        assert isinstance(grad(ops.sum, x0), np.ndarray)
        a, b = grad(lambda a, b: (a * b).sum(), x0, x0 + 1)
        np.testing.assert_array_equal(a, x0 + 1)
        np.testing.assert_array_equal(b, x0)

    def test_pull_again_and_again(self):
        rng = np.random.default_rng(0)
        w = rng.normal(size=(3, 4))
        _, pull = vjp(lambda x: ops.logsumexp(ops.tanh(x @ w) * ops.sigmoid(x @ w), axis=1), x0)
        g, h = rng.normal(size=(2, 2))
        first = pull(g)
        np.testing.assert_allclose(pull(g + 2 * h), first + 2 * pull(h), rtol=1e-13)
        np.testing.assert_array_equal(pull(g), first)

    def test_gradients_are_written_where_the_caller_wants_them(self):
        whole = np.full((3, *x0.shape), np.nan)
        _, (a, b, c) = value_and_grad(
            lambda a, b, unused: (a * a * b).sum(), x0, x0 + 1, x0, out=list(whole)
        )
        np.testing.assert_array_equal(whole, [2 * x0 * (x0 + 1), x0 * x0, 0 * x0])
        assert all(np.shares_memory(view, whole) for view in (a, b, c))

    def test_a_node_used_twice_gets_both_gradients(self):
        np.testing.assert_allclose(
            grad(lambda x: (x * x + x * ops.exp(x)).sum(), x0), 2 * x0 + (1 + x0) * np.exp(x0)
        )
        np.testing.assert_allclose(grad(lambda x: (x / x).sum(), x0), 0, atol=1e-15)

    def test_one_array_as_two_arguments(self):
        a, b = grad(lambda a, b: (a * a * b).sum(), x0, x0)
        np.testing.assert_allclose(a, 2 * x0 * x0)
        np.testing.assert_allclose(b, x0 * x0)

    def test_each_rule_runs_once_however_many_paths_lead_through_it(self):
        calls = []

        def doubled_sixty_times(x):  # 2^60 paths
            for i in range(60):
                x = counted(calls, i, x)
                x = x + x
            return x

        _, pull = vjp(doubled_sixty_times, np.ones(()))
        assert float(pull(1.0)) == 2.0**60
        assert calls == list(reversed(range(60)))

    def test_a_chain_longer_than_the_recursion_limit(self):
        def f(x):
            for _ in range(20_000):
                x = x + 1
            return x

        assert float(grad(f, 0.0)) == 1

    def test_a_node_is_passed_on_only_when_its_whole_gradient_is_there(self):
        # From each y a long and a short path lead on. Were y taken as soon as one of them arrives,
        # it would be taken twice, and what
        # lies before it 4, 8, 16 ... times.
        calls = []

        def f(x):
            for i in range(12):
                y = counted(calls, i, x)
                x = y * 2 + (y * 3 - 1) * 0.5
            return x

        _, pull = vjp(f, np.ones(()))
        assert float(pull(1.0)) == 3.5**12
        assert calls == list(reversed(range(12)))

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_gradients_have_the_dtype_of_their_input(self, dtype):
        value, pull = vjp(lambda x: ops.exp(x) * 2 + 1, x0.astype(dtype))
        assert value.dtype == dtype
        assert pull(np.ones((2, 3))).dtype == dtype

    def test_inputs_of_two_dtypes_each_get_their_own_back(self):
        value, pull = vjp(lambda a, b: a * b, x0.astype(np.float32), x0)
        assert value.dtype == np.float64
        assert [g.dtype for g in pull(np.ones_like(x0))] == [np.float32, np.float64]

    @pytest.mark.parametrize("x", [3.0, np.float32(3), np.array(3.0), [3.0], [[1, 2.5]]])
    def test_numbers_and_lists_are_arrays(self, x):
        gradient = grad(lambda x: (x * x).sum(), x)
        assert isinstance(gradient, np.ndarray)
        assert gradient.shape == np.shape(x)
        np.testing.assert_array_equal(gradient, 2 * np.asarray(x))

    def test_empty_arrays(self):
        value, pull = vjp(lambda x: ops.exp(x) @ np.ones((3, 2)), np.ones((0, 3), np.float32))
        assert value.shape == (0, 2)
        gradient = pull(np.ones((0, 2)))
        assert (gradient.shape, gradient.dtype) == ((0, 3), np.float32)

    def test_what_f_does_not_depend_on_gets_zeros(self):
        value, pull = vjp(lambda x: np.ones(4), x0.astype(np.float32))
        np.testing.assert_array_equal(value, np.ones(4))
        gradient = pull(np.ones(4))
        assert (gradient.shape, gradient.dtype) == ((2, 3), np.float32)
        assert not gradient.any()
        a, b = grad(lambda a, b: (b * 2).sum(), x0, x0)
        assert not a.any()
        assert (b == 2).all()

    def test_identity(self):
        value, pull = vjp(lambda x: x, x0)
        np.testing.assert_array_equal(value, x0)
        np.testing.assert_array_equal(pull(x0 + 1), x0 + 1)

    def test_gradients_are_new_arrays(self):
        """Whoever changes one in place changes neither the other, nor what went in."""
        g = np.ones_like(x0)
        for f in (
            lambda a, b: a + b,
            lambda a, b: a - (-b),
            lambda a, b: a.reshape(3, 2).reshape(2, 3) + b,
        ):
            _, pull = vjp(f, x0, x0)
            a, b = pull(g)
            a *= 2
            assert (b == 1).all()
            b *= 3
            assert (g == 1).all()
        gradient = grad(ops.sum, x0)
        gradient += 1
        assert (gradient == 2).all()

    def test_nothing_given_is_changed(self):
        x, w, g = x0.copy(), np.ones((3, 2)), np.ones((2, 2))
        for array in (x, w, g):
            array.flags.writeable = False
        vjp(lambda x: ops.relu(x @ w) + ops.tanh(x @ w), x)[1](g)

    def test_threads_do_not_disturb_each_other(self):
        rng = np.random.default_rng(0)
        xs = rng.normal(size=(8, 5, 5))
        found = [None] * 8

        def work(i):
            for _ in range(20):
                found[i] = grad(lambda x: (ops.exp(x) * x @ x).sum(), xs[i])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i in range(8):
            np.testing.assert_array_equal(
                found[i], grad(lambda x: (ops.exp(x) * x @ x).sum(), xs[i])
            )

    def test_on_every_backend(self, xp):
        x, w = (
            xp.asarray(x0, dtype=xp.float32),
            xp.asarray(np.arange(6.0).reshape(3, 2), dtype=xp.float32),
        )
        value, pull = vjp(lambda x, w: w.sum() * ops.exp(-(x @ w)), x, w)
        reference, reference_pull = vjp(
            lambda x, w: w.sum() * ops.exp(-(x @ w)), to_numpy(x), to_numpy(w)
        )
        assert isinstance(value, xp.ndarray)
        np.testing.assert_allclose(to_numpy(value), reference, rtol=1e-5)
        for mine, expected in zip(
            pull(xp.ones_like(value)), reference_pull(np.ones((2, 2))), strict=True
        ):
            assert isinstance(mine, xp.ndarray)
            np.testing.assert_allclose(to_numpy(mine), expected, rtol=1e-5)
        unused, _ = pull_unused = vjp(lambda a, b: b * 2, x, x)[1](x)
        assert all(isinstance(g, xp.ndarray) for g in pull_unused)
        assert not to_numpy(unused).any()


class TestNothingUnasked:
    def test_constants_have_no_edge(self):
        constant = ops.exp(x0)  # outside of vjp: a plain array
        assert isinstance(constant, np.ndarray)
        seen = []
        vjp(lambda x: seen.append(x * constant) or seen[0], x0)
        assert len(seen[0].node.edges) == 1

    @pytest.mark.parametrize(
        "operation",
        [
            lambda x: x + 1.0,
            lambda x: 1.0 - x,
            lambda x: -x,
            lambda x: x * 3.0,
            lambda x: x / 3.0,
            lambda x: ops.relu(x),
            lambda x: ops.where(x0 > 0, x, 1.0),
            lambda x: x.sum(axis=0),
            lambda x: x.mean(),
            lambda x: x.reshape(6),
            lambda x: x.T,
            lambda x: x[1],
            lambda x: x[[1, 1]],
            lambda x: ops.pad(x, [(1, 0), (0, 1)]),
            lambda x: ops.concatenate([x, x]),
            lambda x: x @ np.ones((3, 2)),
            lambda x: conv2d(x.reshape(1, 2, 3, 1), np.ones((2, 2, 1, 4)), np.ones(4)),
            lambda x: depthwise_conv2d(x.reshape(1, 2, 3, 1), np.ones((2, 2, 1)), np.ones(1)),
            lambda x: avg_pool2d(x.reshape(1, 2, 3, 1), 2),
        ],
    )
    def test_a_value_that_no_rule_needs_is_freed_at_once(self, operation):
        values = []

        def watched(x):
            values.append(weakref.ref(raw(x)))
            return x

        value, pull = vjp(lambda x: ops.exp(operation(watched(x * 0.1))), x0)
        assert values[0]() is None
        gradcheck(lambda x: ops.exp(operation(x * 0.1)), x0)
        np.testing.assert_array_equal(pull(value), pull(value))

    @pytest.mark.parametrize(("function", "kept"), [(ops.relu, False), (ops.exp, True)])
    def test_what_an_operation_keeps_of_its_own_value(self, function, kept):
        values = []

        def watched(x):
            values.append(weakref.ref(raw(x)))
            return x

        _, pull = vjp(lambda x: watched(function(x)) + 1.0, x0)
        assert (values[0]() is not None) == kept
        np.testing.assert_allclose(pull(x0), x0 * (np.exp(x0) if kept else x0 > 0))

    def test_one_gradient_frees_what_a_rule_keeps_when_it_has_run(self):
        kept, gone = [], []

        def keeping(x):
            array = raw(x) * 1
            kept.append(weakref.ref(array))
            return record(array * 1, (x, lambda g: g * array))

        def looking(x):
            return record(raw(x) * 1, (x, lambda g: gone.append(kept[-1]() is None) or g))

        _, g = value_and_grad(lambda x: ops.exp(keeping(looking(x))).sum(), x0)
        assert gone == [True]
        _, pull = vjp(lambda x: ops.exp(keeping(looking(x))).sum(), x0)
        np.testing.assert_array_equal(pull(1), g)
        assert gone == [True, False]
        np.testing.assert_array_equal(pull(1), g)

    def test_the_rule_of_a_constant_never_runs(self):
        calls = []

        def f(x, w):
            return counted(calls, "w", w) @ ops.sum(counted(calls, "x", x), axis=0)

        w = np.ones((2, 3))
        grad(lambda x: f(x, w).sum(), x0)
        assert calls == ["x"]
        calls.clear()
        grad(lambda w: f(x0, w).sum(), w)
        assert calls == ["w"]

    def test_no_rule_runs_before_a_pull_and_none_off_the_path(self):
        calls = []

        def f(x):
            counted(calls, "unused", x)
            return counted(calls, "used", x)

        _, pull = vjp(f, x0)
        assert calls == []
        pull(x0)
        assert calls == ["used"]

    def test_f_runs_once_whatever_is_pulled(self):
        runs = []
        _, pull = vjp(lambda x: runs.append(1) or x * 2, x0)
        pull(x0), pull(x0)
        jacobian(lambda x: runs.append(1) or x * 2, x0)
        assert len(runs) == 2


class TestRefusals:
    def test_no_argument(self):
        with pytest.raises(TypeError, match="at least one array"):
            vjp(lambda: x0)

    @pytest.mark.parametrize(
        "x", [np.ones(2, int), np.ones(2, bool), np.ones(2, complex), [1, 2], 3, np.array(["a"])]
    )
    def test_only_floating_point(self, x):
        with pytest.raises(TypeError, match=r"xs\[1\] must be a floating-point array, got dtype"):
            vjp(lambda a, b: a, x0, x)

    @pytest.mark.parametrize("value", [None, 1.0, (x0, x0), [x0]])
    def test_f_returns_one_array(self, value):
        with pytest.raises(TypeError, match=f"f must return one array, got {type(value).__name__}"):
            vjp(lambda x: value, x0)

    @pytest.mark.parametrize("g", [np.ones(2), np.ones((3, 2)), 1.0, np.ones((1, 2, 3))])
    def test_a_cotangent_of_another_shape(self, g):
        _, pull = vjp(lambda x: x * 2, x0)
        with pytest.raises(ValueError, match=r"g must have the shape of the value, \(2, 3\), got "):
            pull(g)

    @pytest.mark.parametrize(
        "out", [[], [np.empty(3)], [x0, x0], [np.empty((2, 3), int)], [[[1, 2, 3], [4, 5, 6]]]]
    )
    def test_places_for_the_gradients_that_are_not_like_the_xs(self, out):
        with pytest.raises(
            ValueError, match=r"out must hold arrays like the xs, \['float64 \(2, 3"
        ):
            value_and_grad(lambda x: (x * 2).sum(), x0, out=out)

    def test_grad_of_more_than_one_number(self):
        for f in (grad, value_and_grad):
            with pytest.raises(ValueError, match=r"f must return one number, got shape \(2, 3\)"):
                f(lambda x: x * 2, x0)

    def test_second_order_is_refused(self):
        with pytest.raises(
            TypeError, match=r"xs\[0\] is already being differentiated.*first order only"
        ):
            grad(lambda x: grad(lambda z: (z * z).sum(), x).sum(), x0)

    def test_second_order_through_a_closure_is_refused_and_not_taken_for_zero(self):
        with pytest.raises(TypeError, match="already being differentiated.*first order only"):
            grad(lambda x: (x * grad(lambda z: (z * z * x).sum(), x0)).sum(), x0)
        with pytest.raises(TypeError, match="first order only"):
            grad(lambda x: (x * grad(lambda z: (z * ops.exp(x * 2)).sum(), x0)).sum(), x0)

    def test_a_gradient_of_other_arrays_inside_is_a_constant(self):
        # x · ∇_z Σ z² at z = x0, as an attack inside a loss: constant for the Tensor x.
        found = grad(lambda x: (x * grad(lambda z: (z * z).sum(), x0)).sum(), x0)
        np.testing.assert_array_equal(found, 2 * x0)

    @pytest.mark.parametrize("f", [bool, np.asarray, np.exp, float, int])
    def test_a_tensor_is_no_array(self, f):
        with pytest.raises(TypeError, match="Tensor"):
            vjp(f, np.ones(()))


class TestTensor:
    def test_what_it_shows_of_its_value(self):
        x = Tensor(x0)
        assert (x.shape, x.dtype, x.ndim, x.size, len(x)) == ((2, 3), np.float64, 2, 6, 2)
        assert repr(Tensor(np.array([1.0]))) == "Tensor(array([1.]))"

    def test_rows_in_a_loop(self):
        np.testing.assert_array_equal(
            grad(lambda x: sum((i + 1) * row.sum() for i, row in enumerate(x)), x0),
            [[1] * 3, [2] * 3],
        )

    @pytest.mark.parametrize(
        "left",
        [
            x0,
            x0.astype(np.float32),
            x0.astype(int),
            np.float64(2),
            np.float32(2),
            np.int64(2),
            2,
            2.0,
            True,
        ],
    )
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_whatever_stands_on_the_left(self, left, dtype):
        x, n = (x0 + 5).astype(dtype), np.asarray(left, dtype)
        for f in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b):
            value, pull = vjp(lambda x, f=f: f(left, x), x)
            np.testing.assert_allclose(value, f(n, x), rtol=1e-6)
            assert isinstance(value, np.ndarray)
            assert value.dtype == pull(x).dtype == dtype

    def test_a_matrix_on_the_left(self):
        w = np.arange(4.0).reshape(2, 2)
        for left in (w, w.tolist(), w.astype(int), w.astype(np.float32)):
            value, pull = vjp(lambda x, left=left: left @ x, x0)
            np.testing.assert_array_equal(value, w @ x0)
            np.testing.assert_array_equal(pull(x0), w.T @ x0)

    def test_in_place_operators_make_new_values(self):
        def f(x):
            y = x
            y += 1
            y *= x
            return y.sum()

        np.testing.assert_array_equal(grad(f, x0), 2 * x0 + 1)

    def test_an_array_cannot_take_a_tensor_in_place(self):
        def f(x):
            total = np.zeros((2, 3))
            total += x
            return total

        with pytest.raises(TypeError, match="Tensor"):
            vjp(f, x0)


class TestJacobian:
    def test_closed_form(self):
        w = np.random.default_rng(0).normal(size=(3, 4))
        found = jacobian(lambda x: ops.tanh(x @ w), x0)
        np.testing.assert_allclose(found, (1 - np.tanh(x0 @ w) ** 2)[:, :, None] * w.T)
        assert found.shape == (2, 4, 3)

    def test_images(self):
        x = np.random.default_rng(0).normal(size=(2, 3, 4, 1)).astype(np.float32)
        w = np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32)
        found = jacobian(lambda x: x.reshape(len(x), 12) @ w, x)
        assert (found.shape, found.dtype) == ((2, 5, 3, 4, 1), np.float32)
        np.testing.assert_array_equal(found[0], w.T.reshape(5, 3, 4, 1))
        assert jacobian(lambda x: x.reshape(len(x), 12) @ w, x[:0]).shape == (0, 5, 3, 4, 1)

    @pytest.mark.parametrize(
        "f", [lambda x: x.sum(), lambda x: x.sum(axis=1), lambda x: x.sum(axis=0, keepdims=True)]
    )
    def test_other_shapes_are_refused(self, f):
        with pytest.raises(ValueError, match=r"f must map a batch of 2 to shape \(2, K\), got "):
            jacobian(f, x0)

    def test_on_every_backend(self, xp):
        found = jacobian(lambda x: x * x, xp.asarray(x0))
        assert isinstance(found, xp.ndarray)
        np.testing.assert_array_equal(to_numpy(found), [np.diag(2 * row) for row in x0])


class TestGradcheck:
    @given(float_arrays(dtype=np.float32, low=-2, high=2))
    def test_a_right_rule_passes_for_every_shape(self, x):
        assert gradcheck(lambda x: x * x * x - x, x) < 1e-6

    @pytest.mark.parametrize("wrong", [1 + 1e-4, -1, 0, np.nan])
    def test_a_wrong_rule_is_found_and_named(self, wrong):
        def square(x):
            return record(raw(x) ** 2, (x, lambda g: g * 2 * raw(x) * wrong))

        with pytest.raises(
            AssertionError, match=r"xs\[1\] at \(0, 0\): VJP .*, central difference"
        ):
            gradcheck(lambda a, b: a * square(b), x0, x0)

    def test_one_wrong_component_is_found(self):
        mask = np.ones_like(x0)
        mask[1, 1] = 1.001

        def broken(x):
            return record(raw(x) * 2, (x, lambda g: g * 2 * mask))

        with pytest.raises(AssertionError, match=r"at \(1, 1\)"):
            gradcheck(broken, x0)

    def test_it_is_made_in_float64_and_returns_the_largest_error(self):
        assert 0 < gradcheck(lambda x: ops.exp(x), x0.astype(np.float32)) < 1e-8

    def test_zero_dimensional_and_empty(self):
        assert gradcheck(ops.exp, 1.5) < 1e-8
        assert gradcheck(ops.exp, np.ones((0, 2))) == 0

    def test_on_every_backend(self, xp):
        x = xp.asarray(x0)
        before = to_numpy(x).copy()
        assert gradcheck(lambda a, b: a * ops.exp(b), x, x) < 1e-6
        np.testing.assert_array_equal(to_numpy(x), before)


@given(st.data())
def test_random_programs_against_central_differences(data):
    """Straight-line programs in which any value may be used any number of times."""
    steps = [
        lambda a, b: a + b,
        lambda a, b: a * b,
        lambda a, b: a - 2 * b,
        lambda a, b: ops.tanh(a) + b,
        lambda a, b: ops.sigmoid(a * b),
        lambda a, b: a / (2 + ops.tanh(b)),
    ]
    program = data.draw(
        st.lists(
            st.tuples(st.sampled_from(steps), st.integers(0, 99), st.integers(0, 99)),
            min_size=1,
            max_size=8,
        )
    )

    def f(x, y):
        values = [ops.tanh(x), y]
        for step, i, j in program:
            values.append(step(values[i % len(values)], values[j % len(values)]))
        return ops.tanh(values[-1])

    gradcheck(f, np.array([0.3, -0.7]), np.array([0.9, 0.2]), tolerance=1e-5)


def test_public_names():
    assert set(autograd.__all__) >= {
        "Tensor",
        "vjp",
        "grad",
        "value_and_grad",
        "jacobian",
        "gradcheck",
    }


@pytest.mark.parametrize("function", [np.mean, np.sum, np.concatenate, np.where, np.clip])
def test_numpy_functions_name_the_remedy(function):
    with pytest.raises(
        TypeError, match=r"Tensor; inside a differentiated function, use minadv.ops"
    ):
        vjp(lambda x: function((x, x)) if function is np.concatenate else function(x, x, x), X)


X = np.ones((2, 3))
