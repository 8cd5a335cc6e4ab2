r"""Convolution, its transpose, depthwise convolution and pooling, by im2col and col2im.

A window of kernel size (kh, kw) slides over images ``(N, H, W, C)`` in steps (sh, sw). *im2col* copies what the window sees at each of the
OH · OW places into one row, and convolution is then one matrix product. *col2im* is its transpose: each row is added back where
it was seen. All gradients here are built from these two.
"""

from __future__ import annotations

import numpy as np

from minadv.autograd import raw, record
from minadv.backend import array_module
from minadv.ops import operands

__all__ = ["avg_pool2d", "conv2d", "conv2d_transpose", "depthwise_conv2d", "max_pool2d"]

# With fewer numbers than this side by side in a window's row, im2col copies tap by tap (long runs along W), not window by window.
SHORT_RUN = 16


# --------------------------------------------------------------------------------------------------------- geometry and windows


def _two(value, name: str, least: int = 1) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= least for v in pair):
        raise ValueError(f"{name} must be an integer or two, each >= {least}, got {value!r}")
    return pair


def padding_widths(
    padding, size: tuple, kernel: tuple, stride: tuple
) -> tuple[tuple[int, int], tuple[int, int]]:
    """``((top, bottom), (left, right))`` for ``"valid"``, ``"same"``, one integer, ``(rows, columns)`` or the four themselves.

    ``"same"`` makes the output ceil(size / stride) and puts the odd row or column at the bottom and right, as TensorFlow does.
    """
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        total = [
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, k, s in zip(size, kernel, stride, strict=True)
        ]
        return tuple((t // 2, t - t // 2) for t in total)
    sides = (padding, padding) if isinstance(padding, int) else padding
    if not isinstance(sides, tuple | list) or len(sides) != 2:
        raise ValueError(
            f"padding must be 'valid', 'same', an integer or two pairs of integers, got {padding!r}"
        )
    return tuple(_two(side, "padding", least=0) for side in sides)


def _output_size(size: tuple, widths: tuple, kernel: tuple, stride: tuple) -> tuple[int, int]:
    out = tuple(
        (n + sum(w) - k) // s + 1 for n, w, k, s in zip(size, widths, kernel, stride, strict=True)
    )
    if min(out) < 1:
        raise ValueError(
            f"a kernel of {kernel} does not fit into images of {tuple(size)} with padding {widths}"
        )
    return out


def _framed(x, widths, value=0):
    if not any(map(any, widths)):
        return x
    (top, bottom), (left, right) = widths
    n, h, w, c = x.shape
    framed = array_module(x).full((n, top + h + bottom, left + w + right, c), value, dtype=x.dtype)
    framed[:, top : top + h, left : left + w] = x
    return framed


def _windows(x, kernel, stride):
    """What the window sees at each place, without a copy: ``(N, OH, OW, kh, kw, C)``."""
    (kh, kw), (sh, sw) = kernel, stride
    n, h, w, c = x.shape
    dn, dh, dw, dc = x.strides
    shape = (n, (h - kh) // sh + 1, (w - kw) // sw + 1, kh, kw, c)
    return array_module(x).lib.stride_tricks.as_strided(
        x, shape, (dn, dh * sh, dw * sw, dh, dw, dc)
    )


def _im2col(x, kernel, stride):
    """One row per place: ``(N, OH·OW, kh·kw·C)``."""
    xp = array_module(x)
    windows = _windows(x, kernel, stride)
    n, oh, ow, kh, kw, c = windows.shape
    if kw * c < SHORT_RUN:
        taps = xp.ascontiguousarray(windows.transpose(0, 3, 4, 5, 1, 2))
        return taps.reshape(n, kh * kw * c, oh * ow).swapaxes(1, 2)
    return xp.ascontiguousarray(windows).reshape(n, oh * ow, kh * kw * c)


def _add_back(part, kernel, places, shape, stride, widths, dtype, xp):
    """Images of ``shape``, that had been padded by ``widths``, from what each tap saw.

    ``part(i, j, count)`` is what ``count`` neighboring taps saw, ``(N, OH, OW, count, C)``. With
    sw columns in a group, what sw taps see lies side by side: one long run to add.
    """
    (kh, kw), (oh, ow), (sh, sw) = kernel, places, stride
    (top, bottom), (left, right) = widths
    n, h, w, c = shape
    groups = -(-(left + w + right) // sw)
    x = xp.zeros((n, top + h + bottom, groups, sw, c), dtype=dtype)
    for i in range(kh):
        for j in range(0, kw, sw):
            count = min(sw, kw - j)
            x[:, i : i + sh * oh : sh, j // sw : j // sw + ow, :count] += part(i, j, count)
    return x.reshape(n, top + h + bottom, groups * sw, c)[:, top : top + h, left : left + w]


def _col2im(windows, shape, stride, widths):
    """Add windows ``(N, OH, OW, kh, kw, C)`` back into images that had been padded by ``widths``."""
    _, oh, ow, kh, kw, _ = windows.shape

    def part(i, j, count):
        return windows[:, :, :, i, j : j + count]

    xp = array_module(windows)
    return _add_back(part, (kh, kw), (oh, ow), shape, stride, widths, windows.dtype, xp)


# --------------------------------------------------------------------------------------------------------------- convolution


def _per_image(rows, matrix):
    """``rows @ matrix``, (N, P, K) and (K, C): one product per image, a size at which BLAS is best.

    So an image's numbers do not depend on its batch. A GPU takes all images at once.
    """
    if array_module(rows) is np:
        return rows @ matrix
    n, places, k = rows.shape
    return (rows.reshape(n * places, k) @ matrix).reshape(n, places, matrix.shape[1])


def _columns_to_output(columns, w, size):
    """``columns @ w`` as images: ``(N, OH, OW, C_out)``."""
    c_out = w.shape[3]
    return _per_image(columns, w.reshape(-1, c_out)).reshape(len(columns), *size, c_out)


def _add_bias(y, b):
    """``y + b``, in place, a whole image at a time: (N, OH, OW, C) as (N, OH·OW·C)."""
    n, oh, ow, c = y.shape
    images = y.reshape(n, oh * ow * c)
    images += array_module(y).tile(b, oh * ow)
    return images.reshape(y.shape)


def _image_gradient(g, w, shape, stride, widths):
    """The transpose of convolution with ``w``: outputs ``(N, OH, OW, C_out)`` to ``shape``."""
    xp = array_module(g)
    (kh, kw, c_in, c_out), (n, oh, ow, _) = w.shape, g.shape
    # Where it pays, by measurement: gathering copies C_out numbers per tap, scattering adds C_in.
    if stride == (1, 1) and c_out <= 2 * c_in and max(map(max, widths)) < min(kh, kw):
        # The transpose is itself a convolution, with the kernel rotated by 180 degrees.
        turned = xp.ascontiguousarray(w[::-1, ::-1].transpose(0, 1, 3, 2))  # (kh, kw, C_out, C_in)
        (top, bottom), (left, right) = widths
        rest = (kh - 1 - top, kh - 1 - bottom), (kw - 1 - left, kw - 1 - right)
        return _columns_to_output(_im2col(_framed(g, rest), (kh, kw), stride), turned, shape[1:3])
    places = g.reshape(n, oh * ow, c_out)
    if kw * c_in < SHORT_RUN:
        columns = w.reshape(-1, c_out) @ places.swapaxes(1, 2)  # (N, kh·kw·C_in, OH·OW)
        windows = columns.reshape(n, kh, kw, c_in, oh, ow).transpose(0, 4, 5, 1, 2, 3)
        return _col2im(windows, shape, stride, widths)
    taps = xp.ascontiguousarray(w.transpose(0, 3, 1, 2))  # (kh, C_out, kw, C_in)

    def part(i, j, count):
        """What ``count`` neighboring taps spread, (N, OH, OW, count, C_in): one product."""
        matrix = taps[i, :, j : j + count].reshape(c_out, count * c_in)
        return _per_image(places, matrix).reshape(n, oh, ow, count, c_in)

    return _add_back(part, (kh, kw), (oh, ow), shape, stride, widths, g.dtype, xp)


def _weight_gradient(columns, g, shape):
    n, places, k = columns.shape
    if array_module(g) is np and places >= k:  # else adding the images' products costs too much
        products = columns.swapaxes(1, 2) @ g.reshape(n, places, shape[3])
        return products.sum(axis=0).reshape(shape)
    return (columns.reshape(n * places, k).T @ g.reshape(-1, shape[3])).reshape(shape)


def _bias_gradient(g):
    rows = g.reshape(-1, g.shape[3])
    return array_module(g).ones(len(rows), dtype=g.dtype) @ rows


def _check(x, channels: int, b, outputs: int):
    if x.ndim != 4:
        raise ValueError(f"x must be images (N, H, W, C), got shape {x.shape}")
    if x.shape[3] != channels:
        raise ValueError(f"x has {x.shape[3]} channels, but the kernel expects {channels}")
    if b is not None and raw(b).shape != (outputs,):
        raise ValueError(
            f"b must have shape ({outputs},), one number per output channel, got {raw(b).shape}"
        )


def conv2d(x, w, b=None, *, stride=1, padding="valid"):
    r"""Cross-correlation, :math:`y_{noqd} = b_d + \sum_{ijc} x_{n,\,o s_h + i,\,q s_w + j,\,c}\, w_{ijcd}`.

    ``x``: images ``(N, H, W, C_in)``; ``w``: ``(kh, kw, C_in, C_out)``; ``b``: ``(C_out,)`` or None; ``stride``: one integer or two;
    ``padding``: see :func:`padding_widths`. Returns ``(N, OH, OW, C_out)``.
    """
    u, v = operands(x, w)
    _check(u, v.shape[2], b, v.shape[3])
    kernel, stride = v.shape[:2], _two(stride, "stride")
    widths = padding_widths(padding, u.shape[1:3], kernel, stride)
    size = _output_size(u.shape[1:3], widths, kernel, stride)
    columns = _im2col(_framed(u, widths), kernel, stride)
    y = _columns_to_output(columns, v, size)
    if b is not None:
        y = _add_bias(y, raw(b))
    return record(
        y,
        (x, lambda g: _image_gradient(g, v, u.shape, stride, widths)),
        (w, lambda g: _weight_gradient(columns, g, v.shape)),
        (b, _bias_gradient),
    )


def conv2d_transpose(x, w, b=None, *, stride=1, padding="valid"):
    """The transpose of :func:`conv2d` with the same ``w`` ``(kh, kw, C_out, C_in)``: maps ``(N, H, W, C_in)`` to larger images of C_out.

    The output is (H − 1)·stride + kernel − padding high; with ``"same"``, H·stride. (A convolution with ``w``, ``stride`` and
    ``padding`` maps that back to H.) ``b``: ``(C_out,)`` or None.
    """
    u, v = operands(x, w)
    _check(u, v.shape[3], b, v.shape[2])
    kernel, stride = v.shape[:2], _two(stride, "stride")
    if padding == "same":
        size = tuple(n * s for n, s in zip(u.shape[1:3], stride, strict=True))
        widths = padding_widths("same", size, kernel, stride)
    else:
        widths = padding_widths(padding, u.shape[1:3], kernel, stride)
        size = tuple(
            (n - 1) * s + k - sum(p)
            for n, s, k, p in zip(u.shape[1:3], stride, kernel, widths, strict=True)
        )
        if min(size) < 1:
            raise ValueError(f"padding {widths} leaves nothing of the output")
    shape = (len(u), *size, v.shape[2])
    y = _image_gradient(u, v, shape, stride, widths)
    if b is not None:
        y += raw(b)

    def columns(g):  # what each place of x was spread over
        return _im2col(_framed(g, widths), kernel, stride)

    return record(
        y,
        (x, lambda g: _columns_to_output(columns(g), v, u.shape[1:3])),
        (w, lambda g: _weight_gradient(columns(g), u, v.shape)),
        (b, _bias_gradient),
    )


def depthwise_conv2d(x, w, b=None, *, stride=1, padding="valid"):
    """Each channel convolved with its own kernel: ``x`` ``(N, H, W, C)``, ``w`` ``(kh, kw, C)``, ``b`` ``(C,)`` or None."""
    u, v = operands(x, w)
    _check(u, v.shape[2], b, v.shape[2])
    kernel, stride = v.shape[:2], _two(stride, "stride")
    widths = padding_widths(padding, u.shape[1:3], kernel, stride)
    oh, ow = _output_size(u.shape[1:3], widths, kernel, stride)
    framed = _framed(u, widths)
    xp = array_module(u)

    def seen(i, j):  # what tap (i, j) sees at every place: (N, OH, OW, C)
        return framed[:, i : i + stride[0] * oh : stride[0], j : j + stride[1] * ow : stride[1]]

    taps = [(i, j) for i in range(kernel[0]) for j in range(kernel[1])]
    y = sum(seen(i, j) * v[i, j] for i, j in taps)
    if b is not None:
        y += raw(b)
    return record(
        y,
        (x, lambda g: _col2im(g[:, :, :, None, None, :] * v, u.shape, stride, widths)),
        (
            w,
            lambda g: xp.stack([(seen(i, j) * g).sum(axis=(0, 1, 2)) for i, j in taps]).reshape(
                v.shape
            ),
        ),
        (b, _bias_gradient),
    )


# ------------------------------------------------------------------------------------------------------------------- pooling


def _pooling(u, size, stride, padding):
    if u.ndim != 4:
        raise ValueError(f"x must be images (N, H, W, C), got shape {u.shape}")
    kernel = _two(size, "size")
    stride = kernel if stride is None else _two(stride, "stride")
    widths = padding_widths(padding, u.shape[1:3], kernel, stride)
    if any(max(sides) >= k for sides, k in zip(widths, kernel, strict=True)):
        raise ValueError(
            f"padding must be smaller than size, {kernel}, or a window sees nothing of the image; got {padding!r}"
        )
    _output_size(u.shape[1:3], widths, kernel, stride)
    return kernel, stride, widths


def max_pool2d(x, size, *, stride=None, padding="valid"):
    """The largest value in each window (``stride`` = ``size`` by default); equal ones share the gradient evenly, padding never wins."""
    u = raw(x)
    kernel, stride, widths = _pooling(u, size, stride, padding)
    windows = _windows(_framed(u, widths, value=-float("inf")), kernel, stride)
    value = windows.max(axis=(3, 4))

    def rule(g):
        largest = windows == value[:, :, :, None, None, :]
        share = g / largest.sum(axis=(3, 4)).astype(g.dtype)
        return _col2im(largest * share[:, :, :, None, None, :], u.shape, stride, widths)

    return record(value, (x, rule))


def avg_pool2d(x, size, *, stride=None, padding="valid"):
    """The mean of each window (``stride`` = ``size`` by default); padding counts as zeros."""
    u = raw(x)
    kernel, stride, widths = _pooling(u, size, stride, padding)
    windows = _windows(_framed(u, widths), kernel, stride)

    def rule(g):
        share = g[:, :, :, None, None, :] / (kernel[0] * kernel[1])
        return _col2im(array_module(u).broadcast_to(share, windows.shape), u.shape, stride, widths)

    return record(windows.mean(axis=(3, 4)), (x, rule))
