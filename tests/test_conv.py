"""Convolution and pooling against plain loops, central differences, adjointness and PyTorch."""

import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minadv import conv
from minadv.autograd import grad, gradcheck, vjp
from minadv.backend import to_numpy
from minadv.conv import (
    avg_pool2d,
    conv2d,
    conv2d_transpose,
    depthwise_conv2d,
    max_pool2d,
    padding_widths,
)
from minadv.windows import col2im, output_size, planes_back

many = settings(max_examples=60)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def distinct(*shape, seed=0):
    """Numbers that differ by more than a difference quotient's step: no window has two largest."""
    return (
        np.random.default_rng(seed)
        .permutation(np.linspace(-1, 1, int(np.prod(shape))))
        .reshape(shape)
    )


# --- plain loops


def framed(x, padding, kernel, stride, value=0.0):
    """``x`` with its padding around it, the widths computed anew from the definition."""
    if padding == "same":
        widths = []
        for n, k, s in zip(x.shape[1:3], kernel, stride, strict=True):
            total = max((int(np.ceil(n / s)) - 1) * s + k - n, 0)
            widths.append((total // 2, total - total // 2))
    elif padding == "valid":
        widths = [(0, 0), (0, 0)]
    else:
        widths = padding
    return np.pad(x, [(0, 0), *widths, (0, 0)], constant_values=value)


def places(x, kernel, stride):
    """``(row, column, window)`` for each place of the window."""
    rows = range(0, x.shape[1] - kernel[0] + 1, stride[0])
    columns = range(0, x.shape[2] - kernel[1] + 1, stride[1])
    for (r, i), (c, j) in itertools.product(enumerate(rows), enumerate(columns)):
        yield r, c, x[:, i : i + kernel[0], j : j + kernel[1]]


def by_loops(f, x, kernel, stride, channels):
    """An array of what ``f`` makes of each window (N, kh, kw, C)."""
    rows = len(range(0, x.shape[1] - kernel[0] + 1, stride[0]))
    columns = len(range(0, x.shape[2] - kernel[1] + 1, stride[1]))
    y = np.zeros((len(x), rows, columns, channels))
    for r, c, window in places(x, kernel, stride):
        y[:, r, c] = f(window)
    return y


def conv_by_loops(x, w, b, stride, padding):
    x = framed(x, padding, w.shape[:2], stride)

    def one(window):
        y = np.zeros((len(x), w.shape[3])) + b
        for n, i, j, c, d in np.ndindex(len(x), *w.shape):
            y[n, d] += window[n, i, j, c] * w[i, j, c, d]
        return y

    return by_loops(one, x, w.shape[:2], stride, w.shape[3])


# --- geometries


@st.composite
def geometries(draw, largest=6, channels=3):
    """``(size, kernel, stride, padding)`` in which at least one place fits."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride = draw(pair), draw(pair)
    side = st.tuples(st.integers(0, 2), st.integers(0, 2))
    padding = draw(st.sampled_from(["valid", "same"]) | st.tuples(side, side))
    smallest = (
        kernel
        if isinstance(padding, str)
        else [max(k - sum(p), 1) for k, p in zip(kernel, padding, strict=True)]
    )
    size = tuple(draw(st.integers(1 if padding == "same" else s, largest)) for s in smallest)
    return size, kernel, stride, padding


batches = st.integers(0, 2)


class TestConv2D:
    @given(geometries(), batches, st.integers(1, 8), st.integers(1, 3))
    @many
    def test_against_six_loops(self, geometry, n, c_in, c_out):
        size, kernel, stride, padding = geometry
        x, w, b = (
            normal(n, *size, c_in),
            normal(*kernel, c_in, c_out, seed=1),
            normal(c_out, seed=2),
        )
        y = conv2d(x, w, b, stride=stride, padding=padding)
        np.testing.assert_allclose(y, conv_by_loops(x, w, b, stride, padding), atol=1e-13)
        np.testing.assert_allclose(conv2d(x, w, stride=stride, padding=padding) + b, y, atol=1e-13)

    @given(geometries(largest=4), batches, st.sampled_from([1, 2, 6]))
    @many
    def test_gradients(self, geometry, n, c_in):
        size, kernel, stride, padding = geometry
        x, w, b = normal(n, *size, c_in), normal(*kernel, c_in, 2, seed=1), normal(2, seed=2)
        assert (
            gradcheck(lambda x, w, b: conv2d(x, w, b, stride=stride, padding=padding), x, w, b)
            < 1e-6
        )

    @given(geometries(), st.sampled_from([1, 2, 6]), st.integers(1, 3))
    @many
    def test_the_transpose_is_its_adjoint(self, geometry, c_in, c_out):
        """<conv(x), y> = <x, transpose(y)>: they share one w, and each is the other's gradient."""
        size, kernel, stride, padding = geometry
        x, w = normal(2, *size, c_in), normal(*kernel, c_in, c_out, seed=1)
        y, pull = vjp(lambda x: conv2d(x, w, stride=stride, padding=padding), x)
        g = normal(*y.shape, seed=2)
        assert float((y * g).sum()) == pytest.approx(float((x * pull(g)).sum()), rel=1e-9, abs=1e-9)
        widths = padding_widths(padding, size, kernel, stride)
        if (
            tuple(
                (n - 1) * s + k - sum(p)
                for n, s, k, p in zip(y.shape[1:3], stride, kernel, widths, strict=True)
            )
            == size
        ):
            np.testing.assert_allclose(
                conv2d_transpose(g, w, stride=stride, padding=widths), pull(g), atol=1e-12
            )

    @given(geometries(), st.integers(1, 3))
    @many
    def test_it_is_linear_in_x_and_in_w_and_local(self, geometry, c_in):
        size, kernel, stride, padding = geometry
        x, other, w = (
            normal(2, *size, c_in),
            normal(2, *size, c_in, seed=1),
            normal(*kernel, c_in, 2, seed=2),
        )
        f = lambda x, w: conv2d(x, w, stride=stride, padding=padding)  # noqa: E731
        np.testing.assert_allclose(f(x + 2 * other, w), f(x, w) + 2 * f(other, w), atol=1e-12)
        np.testing.assert_allclose(f(x, 3 * w), 3 * f(x, w), atol=1e-12)
        np.testing.assert_allclose(
            f(x, w)[:1], f(x[:1], w), atol=1e-13
        )  # one image does not see the other

    def test_every_way_to_write_a_padding(self):
        x, w = normal(1, 6, 7, 1), normal(3, 2, 1, 1)
        for one, other in [
            ("valid", 0),
            (1, (1, 1)),
            ((1, 2), ((1, 1), (2, 2))),
            ("same", ((1, 1), (0, 1))),
            ([0, [1, 0]], ((0, 0), (1, 0))),
        ]:
            np.testing.assert_array_equal(conv2d(x, w, padding=one), conv2d(x, w, padding=other))
        np.testing.assert_array_equal(conv2d(x, w, stride=2), conv2d(x, w, stride=(2, 2)))

    @pytest.mark.parametrize("size", range(1, 9))
    @pytest.mark.parametrize("stride", [1, 2, 3])
    @pytest.mark.parametrize("kernel", [1, 2, 3, 5])
    def test_same_gives_ceil_of_size_by_stride(self, size, stride, kernel):
        y = conv2d(
            normal(1, size, size + 1, 1),
            normal(kernel, kernel, 1, 1),
            stride=stride,
            padding="same",
        )
        assert y.shape[1:3] == (-(-size // stride), -(-(size + 1) // stride))

    @pytest.mark.parametrize("c_in", [1, 16])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_dtype_order_and_what_was_given_stay(self, dtype, c_in):
        x = np.asfortranarray(normal(2, 5, 6, c_in)).astype(dtype, order="K")
        w, b = normal(3, 3, c_in, 4).astype(dtype), normal(4).astype(dtype)
        view = x[:, ::-1, ::-1]  # negative strides
        for array in (x, w, b):
            array.flags.writeable = False
        value, pull = vjp(lambda x, w, b: conv2d(x, w, b, stride=2, padding="same"), view, w, b)
        expected, expected_pull = vjp(
            lambda x, w, b: conv2d(x, w, b, stride=2, padding="same"), view.copy("C"), w, b
        )
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
        g = np.ones_like(value)
        first, again = pull(g), pull(g)
        for mine, twice, theirs in zip(first, again, expected_pull(g), strict=True):
            assert mine.dtype == dtype
            np.testing.assert_array_equal(mine, twice)
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
        assert (g == 1).all()

    def test_values_and_pulls_of_two_calls_do_not_mix(self):
        """Buffers may be reused, but not while somebody still reads them."""
        w, b = normal(3, 3, 2, 4), normal(4)
        xs = [normal(2, 6, 6, 2, seed=i) for i in range(3)]
        calls = [vjp(lambda x, w: conv2d(x, w, b, padding="same"), x, w) for x in xs]
        gradients = [pull(value) for value, pull in calls]
        for x, (value, _), (gx, gw) in zip(xs, calls, gradients, strict=True):
            alone, pull = vjp(lambda x, w: conv2d(x, w, b, padding="same"), x.copy(), w.copy())
            np.testing.assert_array_equal(value, alone)
            np.testing.assert_array_equal(gx, pull(alone)[0])
            np.testing.assert_array_equal(gw, pull(alone)[1])

    def test_only_the_gradient_that_is_asked_for(self, monkeypatch):
        x, w, b = normal(2, 5, 5, 1), normal(3, 3, 1, 2), normal(2)
        calls = []
        for name in ("_image_gradient", "_weight_gradient", "channel_sum"):
            rule = getattr(conv, name)
            monkeypatch.setattr(
                conv,
                name,
                lambda *a, name=name, rule=rule, **k: calls.append(name) or rule(*a, **k),
            )
        grad(lambda x: conv2d(x, w, b).sum(), x)
        assert calls == ["_image_gradient"]
        calls.clear()
        grad(lambda w, b: conv2d(x, w, b).sum(), w, b)
        assert sorted(calls) == ["_weight_gradient", "channel_sum"]

    def test_against_torch(self):
        torch = pytest.importorskip("torch")
        for stride, padding, c_in in itertools.product([1, 2, (2, 3)], [0, 1, (2, 1)], [1, 2, 6]):
            x, w, b = normal(2, 7, 8, c_in), normal(3, 4, c_in, 5), normal(5)
            tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
            theirs = torch.nn.functional.conv2d(
                tensors[0].permute(0, 3, 1, 2),
                tensors[1].permute(3, 2, 0, 1),
                tensors[2],
                stride=stride,
                padding=padding,
            ).permute(0, 2, 3, 1)
            mine, pull = vjp(partial(conv2d, stride=stride, padding=padding), x, w, b)
            np.testing.assert_allclose(mine, theirs.detach().numpy(), atol=1e-12)
            g = normal(*mine.shape, seed=3)
            theirs.backward(torch.tensor(g))
            for gradient, tensor in zip(pull(g), tensors, strict=True):
                np.testing.assert_allclose(gradient, tensor.grad.numpy(), atol=1e-11)


class TestTranspose:
    @given(geometries(largest=4), batches, st.sampled_from([1, 2, 6]))
    @many
    def test_gradients(self, geometry, n, c_out):
        size, kernel, stride, padding = geometry
        x, w, b = normal(n, *size, 2), normal(*kernel, c_out, 2, seed=1), normal(c_out, seed=2)
        if padding != "same":
            widths = padding_widths(padding, size, kernel, stride)
            if (
                min(
                    (s - 1) * t + k - sum(p)
                    for s, t, k, p in zip(size, stride, kernel, widths, strict=True)
                )
                < 1
            ):
                with pytest.raises(ValueError, match="leaves nothing"):
                    conv2d_transpose(x, w, b, stride=stride, padding=padding)
                return
        assert gradcheck(partial(conv2d_transpose, stride=stride, padding=padding), x, w, b) < 1e-6

    @given(geometries(largest=4), st.integers(1, 3))
    @many
    def test_valid_and_same_by_adding_scaled_kernels(self, geometry, c_out):
        size, kernel, stride, padding = geometry
        if not isinstance(padding, str):
            return
        x, w, b = normal(2, *size, 2), normal(*kernel, c_out, 2, seed=1), normal(c_out, seed=2)
        full = np.zeros(
            (
                2,
                *((n - 1) * s + max(k, s) for n, s, k in zip(size, stride, kernel, strict=True)),
                c_out,
            )
        )
        for n, i, j, c in np.ndindex(x.shape):
            top, left = i * stride[0], j * stride[1]
            full[n, top : top + kernel[0], left : left + kernel[1]] += x[n, i, j, c] * w[:, :, :, c]
        if padding == "same":  # H·stride of it, the odd row left over at the bottom
            cut = [max(k - s, 0) // 2 for k, s in zip(kernel, stride, strict=True)]
            height, width = (n * s for n, s in zip(size, stride, strict=True))
            full = full[:, cut[0] : cut[0] + height, cut[1] : cut[1] + width]
        else:
            full = full[
                :, : (size[0] - 1) * stride[0] + kernel[0], : (size[1] - 1) * stride[1] + kernel[1]
            ]
        np.testing.assert_allclose(
            conv2d_transpose(x, w, b, stride=stride, padding=padding), full + b, atol=1e-12
        )

    def test_against_torch(self):
        torch = pytest.importorskip("torch")
        for stride, padding, c_out in itertools.product([1, 2, (2, 3)], [0, 1, (2, 1)], [1, 2, 6]):
            x, w, b = normal(2, 5, 4, 3), normal(3, 4, c_out, 3), normal(c_out)
            tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
            theirs = torch.nn.functional.conv_transpose2d(
                tensors[0].permute(0, 3, 1, 2),
                tensors[1].permute(3, 2, 0, 1),
                tensors[2],
                stride=stride,
                padding=padding,
            ).permute(0, 2, 3, 1)
            mine, pull = vjp(partial(conv2d_transpose, stride=stride, padding=padding), x, w, b)
            np.testing.assert_allclose(mine, theirs.detach().numpy(), atol=1e-12)
            g = normal(*mine.shape, seed=3)
            theirs.backward(torch.tensor(g))
            for gradient, tensor in zip(pull(g), tensors, strict=True):
                np.testing.assert_allclose(gradient, tensor.grad.numpy(), atol=1e-11)


class TestDepthwise:
    @given(geometries(), batches, st.integers(1, 3))
    @many
    def test_each_channel_is_a_convolution_of_its_own(self, geometry, n, channels):
        size, kernel, stride, padding = geometry
        x, w, b = (
            normal(n, *size, channels),
            normal(*kernel, channels, seed=1),
            normal(channels, seed=2),
        )
        y = depthwise_conv2d(x, w, b, stride=stride, padding=padding)
        for c in range(channels):
            one = conv2d(
                x[..., c : c + 1],
                w[:, :, c, None, None],
                b[c : c + 1],
                stride=stride,
                padding=padding,
            )
            np.testing.assert_allclose(y[..., c : c + 1], one, atol=1e-13)

    @given(geometries(largest=4), batches)
    @many
    def test_gradients(self, geometry, n):
        size, kernel, stride, padding = geometry
        x, w, b = normal(n, *size, 2), normal(*kernel, 2, seed=1), normal(2, seed=2)
        assert (
            gradcheck(
                lambda x, w, b: depthwise_conv2d(x, w, b, stride=stride, padding=padding), x, w, b
            )
            < 1e-6
        )


class TestPooling:
    @given(geometries(), batches, st.integers(1, 3))
    @many
    def test_against_loops(self, geometry, n, c):
        size, kernel, stride, padding = geometry
        assume(
            isinstance(padding, str)
            or all(max(sides) < k for sides, k in zip(padding, kernel, strict=True))
        )
        x = distinct(n, *size, c)
        mean = by_loops(
            lambda window: window.mean(axis=(1, 2)),
            framed(x, padding, kernel, stride),
            kernel,
            stride,
            c,
        )
        np.testing.assert_allclose(
            avg_pool2d(x, kernel, stride=stride, padding=padding), mean, atol=1e-14
        )
        largest = by_loops(
            lambda window: window.max(axis=(1, 2)),
            framed(x, padding, kernel, stride, -np.inf),
            kernel,
            stride,
            c,
        )
        np.testing.assert_array_equal(
            max_pool2d(x, kernel, stride=stride, padding=padding), largest
        )

    @given(geometries(largest=4), batches)
    @many
    def test_gradients(self, geometry, n):
        size, kernel, stride, padding = geometry
        assume(
            isinstance(padding, str)
            or all(max(sides) < k for sides, k in zip(padding, kernel, strict=True))
        )
        x = distinct(n, *size, 2)
        assert gradcheck(lambda x: avg_pool2d(x, kernel, stride=stride, padding=padding), x) < 1e-6
        assert gradcheck(lambda x: max_pool2d(x, kernel, stride=stride, padding=padding), x) < 1e-6

    def test_windows_do_not_overlap_by_default(self):
        x = np.arange(16.0).reshape(1, 4, 4, 1)
        assert max_pool2d(x, 2)[0, :, :, 0].tolist() == [[5, 7], [13, 15]]
        assert avg_pool2d(x, (1, 4))[0, :, :, 0].tolist() == [[1.5], [5.5], [9.5], [13.5]]
        assert max_pool2d(x, 2, stride=1)[0, :, :, 0].tolist() == [
            [5, 6, 7],
            [9, 10, 11],
            [13, 14, 15],
        ]

    def test_equal_ones_share_and_padding_never_wins(self):
        x = np.array([[3.0, 3], [1, 3]])[None, :, :, None]
        np.testing.assert_allclose(
            grad(lambda x: max_pool2d(x, 2).sum(), x)[0, :, :, 0], np.array([[1, 1], [0, 1]]) / 3
        )
        x = -np.ones((1, 2, 2, 1))
        assert (max_pool2d(x, 2, stride=1, padding=1) == -1).all()
        np.testing.assert_allclose(
            grad(lambda x: max_pool2d(x, 2, stride=1, padding=1).sum(), x), 1 + 1 + 0.25
        )

    @pytest.mark.parametrize("pool", [avg_pool2d, max_pool2d])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_dtype_and_what_was_given_stay(self, pool, dtype):
        x = normal(2, 5, 6, 3).astype(dtype)
        x.flags.writeable = False
        value, pull = vjp(lambda x: pool(x, 3, stride=2, padding="same"), x)
        g = np.ones_like(value)
        assert value.dtype == pull(g).dtype == dtype
        np.testing.assert_array_equal(pull(g), pull(g))

    def test_against_torch(self):
        torch = pytest.importorskip("torch")
        for kernel, stride, padding in [(2, 2, 0), (3, 2, 1), ((2, 3), (3, 1), (1, 0)), (3, 1, 0)]:
            x = distinct(2, 7, 8, 3)
            for mine, theirs in [
                (max_pool2d, torch.nn.functional.max_pool2d),
                (avg_pool2d, torch.nn.functional.avg_pool2d),
            ]:
                tensor = torch.tensor(x, requires_grad=True)
                expected = theirs(tensor.permute(0, 3, 1, 2), kernel, stride, padding).permute(
                    0, 2, 3, 1
                )
                found, pull = vjp(lambda x: mine(x, kernel, stride=stride, padding=padding), x)  # noqa: B023
                np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-14)
                g = normal(*found.shape)
                expected.backward(torch.tensor(g))
                np.testing.assert_allclose(pull(g), tensor.grad.numpy(), atol=1e-13)


# --- all of them

TABLE = {
    "conv2d 1": (lambda x, w, b: conv2d(x, w, b, stride=2, padding="same"), (3, 3, 1, 2), 2),
    "conv2d 6": (lambda x, w, b: conv2d(x, w, b, padding=((1, 0), (0, 2))), (2, 3, 6, 2), 2),
    "conv2d_transpose 1": (
        lambda x, w, b: conv2d_transpose(x, w, b, stride=2, padding="same"),
        (3, 3, 2, 1),
        2,
    ),
    "conv2d_transpose 6": (
        lambda x, w, b: conv2d_transpose(x, w, b, stride=2, padding=1),
        (3, 3, 6, 6),
        6,
    ),
    "depthwise_conv2d": (lambda x, w, b: depthwise_conv2d(x, w, b, padding="same"), (3, 3, 2), 2),
    "max_pool2d": (lambda x, w, b: max_pool2d(x, 2, padding="same"), (1, 1, 3), 1),
    "avg_pool2d": (lambda x, w, b: avg_pool2d(x, 3, stride=2, padding="same"), (1, 1, 3), 1),
}


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("name", TABLE)
def test_on_every_backend_also_for_an_empty_batch(name, count, xp):
    f, shape, c_out = TABLE[name]
    c_in = shape[3] if "transpose" in name else shape[2]
    arrays = [
        a.astype(np.float32) for a in (distinct(count, 5, 6, c_in), normal(*shape), normal(c_out))
    ]
    expected, expected_pull = vjp(f, *arrays)
    value, pull = vjp(f, *map(xp.asarray, arrays))
    assert value.dtype == np.float32
    assert len(value) == count
    np.testing.assert_allclose(to_numpy(value), expected, rtol=1e-5, atol=1e-5)
    g = normal(*expected.shape).astype(np.float32)
    for mine, theirs, array in zip(pull(xp.asarray(g)), expected_pull(g), arrays, strict=True):
        assert isinstance(mine, xp.ndarray)
        assert (mine.shape, mine.dtype) == (array.shape, np.float32)
        np.testing.assert_allclose(to_numpy(mine), theirs, rtol=1e-5, atol=1e-5)


IMAGES, KERNEL = np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 5))


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (
            lambda: conv2d(np.ones((4, 4, 2)), KERNEL),
            r"x must be images \(N, H, W, C\), got shape \(4, 4, 2\)",
        ),
        (
            lambda: conv2d(np.ones((1, 4, 4, 3)), KERNEL),
            "x has 3 channels, but the kernel expects 2",
        ),
        (lambda: conv2d_transpose(IMAGES, KERNEL), "x has 2 channels, but the kernel expects 5"),
        (
            lambda: depthwise_conv2d(IMAGES, np.ones((3, 3, 1))),
            "x has 2 channels, but the kernel expects 1",
        ),
        (
            lambda: conv2d(np.ones((1, 2, 4, 2)), KERNEL),
            r"kernel of \(3, 3\) does not fit into images of \(2, 4\)",
        ),
        (
            lambda: conv2d(IMAGES, KERNEL, stride=0),
            "stride must be an integer or two, each >= 1, got 0",
        ),
        (
            lambda: conv2d(IMAGES, KERNEL, stride=(1, 2, 3)),
            r"stride must be an integer or two.*got \(1, 2, 3\)",
        ),
        (
            lambda: conv2d(IMAGES, KERNEL, padding="full"),
            "padding must be 'valid', 'same'.*got 'full'",
        ),
        (
            lambda: conv2d(IMAGES, KERNEL, padding=-1),
            "padding must be an integer or two, each >= 0, got -1",
        ),
        (lambda: conv2d(IMAGES, KERNEL, padding=((0, 0), (0, -1))), "padding must be.*each >= 0"),
        (lambda: conv2d_transpose(IMAGES, np.ones((3, 3, 5, 2)), padding=6), "leaves nothing"),
        (
            lambda: max_pool2d(np.ones((4, 4)), 2),
            r"x must be images \(N, H, W, C\), got shape \(4, 4\)",
        ),
        (lambda: max_pool2d(IMAGES, 5), r"kernel of \(5, 5\) does not fit into images of \(4, 4\)"),
        (lambda: avg_pool2d(IMAGES, 0), "size must be an integer or two, each >= 1, got 0"),
    ],
)
def test_wrong_arguments(f, message):
    with pytest.raises(ValueError, match=message):
        f()


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda: conv2d(IMAGES, KERNEL, stride=1.5), "stride must be"),
        (lambda: conv2d(IMAGES, KERNEL, padding=(1, 2, 3)), "padding must be"),
        (lambda: conv2d(IMAGES, KERNEL, padding=None), "padding must be"),
        (lambda: conv2d(IMAGES, KERNEL, np.ones(1)), "b must"),
        (lambda: max_pool2d(IMAGES, 2, padding=2), "padding"),
    ],
)
def test_wrong_arguments_still_unnamed(f, message):
    with pytest.raises(ValueError, match=message):
        f()


@pytest.mark.parametrize("f", [conv2d, conv2d_transpose])
def test_float64_weights_do_not_widen_float32_images(f):
    w = np.ones((3, 3, 2, 2))
    value, pull = vjp(lambda x: f(x, w, np.ones(2)), np.ones((1, 4, 4, 2), np.float32))
    assert value.dtype == pull(value).dtype == np.float32
    value, pull = vjp(lambda w: f(np.ones((1, 4, 4, 2)), w, np.ones(2)), w.astype(np.float32))
    assert value.dtype == pull(value).dtype == np.float32


class TestMessages:
    def test_images_of_pytorch_and_images_without_channels(self):
        w = normal(3, 3, 1, 2)
        with pytest.raises(ValueError, match=r"channels come last: x.transpose\(0, 2, 3, 1\)"):
            conv2d(normal(2, 1, 8, 8), w)
        with pytest.raises(ValueError, match=r"\(2, 8, 8\): write x\[..., None\] for one channel"):
            conv2d(normal(2, 8, 8), w)

    def test_numpy_integers_are_integers(self):
        x, w = normal(2, 6, 6, 1), normal(3, 3, 1, 2)
        two, one = np.int64(2), np.int32(1)
        expected = conv2d(x, w, stride=2, padding=1)
        np.testing.assert_array_equal(conv2d(x, w, stride=two, padding=one), expected)
        np.testing.assert_array_equal(conv2d(x, w, stride=(two, two), padding=(one, one)), expected)
        np.testing.assert_array_equal(max_pool2d(x, two), max_pool2d(x, 2))


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2),
)
def test_planes_and_pixels_add_back_the_same(kernel, stride, widths):
    (kh, kw, c), size, rng = kernel, (7, 6), np.random.default_rng(0)
    oh, ow = output_size(size, widths, (kh, kw), stride)
    columns = rng.integers(-9, 10, size=(2, oh * ow, kh * kw * c)) / 2  # so that sums are exact
    shape = (2, *size, c)
    by_pixels = col2im(columns.reshape(2, oh, ow, kh, kw, c), shape, stride, widths)
    by_planes = planes_back(columns, kernel, (oh, ow), shape, stride, widths)
    np.testing.assert_array_equal(by_planes, by_pixels)
