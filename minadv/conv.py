r"""Convolution, its transpose, depthwise convolution and pooling, by im2col and col2im.

With the windows' contents in rows (:mod:`minadv.windows`), convolution is one matrix product, and
all gradients are built from im2col and col2im. An operation's value and rules stand side by side.
"""

from __future__ import annotations

import numpy as np

from minadv.autograd import raw, record
from minadv.backend import array_module
from minadv.numerics import channel_sum
from minadv.ops import operands
from minadv.windows import (
    SHORT_RUN,
    add_back,
    col2im,
    framed,
    im2col,
    output_size,
    padding_widths,
    pair,
    planes_back,
    windows_of,
)

__all__ = ["avg_pool2d", "conv2d", "conv2d_transpose", "depthwise_conv2d", "max_pool2d"]


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
    images += (array_module(y).zeros((oh * ow, c), dtype=b.dtype) + b).reshape(oh * ow * c)
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
        return _columns_to_output(im2col(framed(g, rest), (kh, kw), stride), turned, shape[1:3])
    places = g.reshape(n, oh * ow, c_out)
    if kw * c_in < SHORT_RUN:
        columns = _per_image(places, xp.ascontiguousarray(w.reshape(-1, c_out).T))
        return planes_back(columns, w.shape[:3], (oh, ow), shape, stride, widths)
    taps = xp.ascontiguousarray(w.transpose(0, 3, 1, 2))  # (kh, C_out, kw, C_in)

    def part(i, j, count):
        """What ``count`` neighboring taps spread, (N, OH, OW, count, C_in): one product."""
        matrix = taps[i, :, j : j + count].reshape(c_out, count * c_in)
        return _per_image(places, matrix).reshape(n, oh, ow, count, c_in)

    return add_back(part, (kh, kw), (oh, ow), shape, stride, widths, g.dtype, xp)


def _weight_gradient(columns, g, shape):
    n, places, k = columns.shape
    if array_module(g) is np and places >= k:  # else adding the images' products costs too much
        products = columns.swapaxes(1, 2) @ g.reshape(n, places, shape[3])
        return products.sum(axis=0).reshape(shape)
    return (columns.reshape(n * places, k).T @ g.reshape(-1, shape[3])).reshape(shape)


def _check_images(x):
    if x.ndim != 4:
        hint = ": write x[..., None] for one channel" * (x.ndim == 3)
        raise ValueError(f"x must be images (N, H, W, C), got shape {x.shape}{hint}")


def _check(x, channels: int, b, outputs: int):
    _check_images(x)
    if x.shape[3] != channels:
        hint = "; channels come last: x.transpose(0, 2, 3, 1)" * (x.shape[1] == channels)
        raise ValueError(f"x has {x.shape[3]} channels, but the kernel expects {channels}{hint}")
    if b is not None and raw(b).shape != (outputs,):
        raise ValueError(
            f"b must have shape ({outputs},), one number per output channel, got {raw(b).shape}"
        )


def conv2d(x, w, b=None, *, stride=1, padding="valid"):
    r"""Cross-correlation.

    .. math:: y_{noqd} = b_d + \sum_{ijc} x_{n,\,o s_h + i,\,q s_w + j,\,c}\, w_{ijcd}

    Parameters
    ----------
    x
        Images ``(N, H, W, C_in)``.
    w
        The kernel, ``(kh, kw, C_in, C_out)``.
    b
        ``(C_out,)`` or None.
    stride
        One integer or two.
    padding
        See :func:`minadv.windows.padding_widths`.

    Returns
    -------
    array ``(N, OH, OW, C_out)``

    Raises
    ------
    ValueError
        If shapes do not fit each other.
    """
    u, v = operands(x, w)
    _check(u, v.shape[2], b, v.shape[3])
    kernel, stride = v.shape[:2], pair(stride, "stride")
    widths = padding_widths(padding, u.shape[1:3], kernel, stride)
    size = output_size(u.shape[1:3], widths, kernel, stride)
    shape, columns = u.shape, im2col(framed(u, widths), kernel, stride)
    y = _columns_to_output(columns, v, size)
    if b is not None:
        y = _add_bias(y, raw(b))
    return record(
        y,
        (x, lambda g: _image_gradient(g, v, shape, stride, widths)),
        (w, lambda g: _weight_gradient(columns, g, v.shape)),
        (b, channel_sum),
    )


def conv2d_transpose(x, w, b=None, *, stride=1, padding="valid"):
    """The transpose of :func:`conv2d` with the same ``w``: small images to larger ones.

    Parameters
    ----------
    x
        Images ``(N, H, W, C_in)``.
    w
        The kernel, ``(kh, kw, C_out, C_in)``.
    b
        ``(C_out,)`` or None.
    stride, padding
        As for :func:`conv2d`, which with these maps the result back to the size of ``x``.

    Returns
    -------
    array ``(N, (H - 1) * stride + kernel - padding, ..., C_out)``
        With ``"same"``, H * stride high.

    Raises
    ------
    ValueError
        If shapes do not fit each other.
    """
    u, v = operands(x, w)
    _check(u, v.shape[3], b, v.shape[2])
    kernel, stride = v.shape[:2], pair(stride, "stride")
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
        return im2col(framed(g, widths), kernel, stride)

    return record(
        y,
        (x, lambda g: _columns_to_output(columns(g), v, u.shape[1:3])),
        (w, lambda g: _weight_gradient(columns(g), u, v.shape)),
        (b, channel_sum),
    )


def depthwise_conv2d(x, w, b=None, *, stride=1, padding="valid"):
    """Each channel convolved with its own kernel.

    Parameters
    ----------
    x
        Images ``(N, H, W, C)``.
    w
        The kernels, ``(kh, kw, C)``.
    b
        ``(C,)`` or None.
    stride, padding
        As for :func:`conv2d`.

    Returns
    -------
    array ``(N, OH, OW, C)``
    """
    u, v = operands(x, w)
    _check(u, v.shape[2], b, v.shape[2])
    kernel, stride = v.shape[:2], pair(stride, "stride")
    widths = padding_widths(padding, u.shape[1:3], kernel, stride)
    oh, ow = output_size(u.shape[1:3], widths, kernel, stride)
    shape, padded = u.shape, framed(u, widths)
    xp = array_module(u)

    def seen(i, j):  # what tap (i, j) sees at every place: (N, OH, OW, C)
        return padded[:, i : i + stride[0] * oh : stride[0], j : j + stride[1] * ow : stride[1]]

    taps = [(i, j) for i in range(kernel[0]) for j in range(kernel[1])]
    y = sum(seen(i, j) * v[i, j] for i, j in taps)
    if b is not None:
        y += raw(b)
    return record(
        y,
        (x, lambda g: col2im(g[:, :, :, None, None, :] * v, shape, stride, widths)),
        (
            w,
            lambda g: xp.stack([(seen(i, j) * g).sum(axis=(0, 1, 2)) for i, j in taps]).reshape(
                v.shape
            ),
        ),
        (b, channel_sum),
    )


# --- pooling


def _pooling(u, size, stride, padding):
    _check_images(u)
    kernel = pair(size, "size")
    stride = kernel if stride is None else pair(stride, "stride")
    widths = padding_widths(padding, u.shape[1:3], kernel, stride)
    if any(max(sides) >= k for sides, k in zip(widths, kernel, strict=True)):
        raise ValueError(
            f"padding must be smaller than size, {kernel}, or a window sees nothing of the image; "
            f"got {padding!r}"
        )
    output_size(u.shape[1:3], widths, kernel, stride)
    return kernel, stride, widths


def max_pool2d(x, size, *, stride=None, padding="valid"):
    """The largest value in each window; ``stride`` is ``size`` by default.

    Equal values share the gradient evenly; padding never wins. ``size``: one integer or two.
    """
    u = raw(x)
    kernel, stride, widths = _pooling(u, size, stride, padding)
    windows = windows_of(framed(u, widths, value=-float("inf")), kernel, stride)
    value = windows.max(axis=(3, 4))

    def rule(g):
        largest = windows == value[:, :, :, None, None, :]
        share = g / largest.sum(axis=(3, 4)).astype(g.dtype)
        return col2im(largest * share[:, :, :, None, None, :], u.shape, stride, widths)

    return record(value, (x, rule))


def avg_pool2d(x, size, *, stride=None, padding="valid"):
    """The mean of each window; padding counts as zeros. Otherwise as :func:`max_pool2d`."""
    u = raw(x)
    kernel, stride, widths = _pooling(u, size, stride, padding)
    windows, shape = windows_of(framed(u, widths), kernel, stride), u.shape
    seen = windows.shape

    def rule(g):
        share = g[:, :, :, None, None, :] / (kernel[0] * kernel[1])
        return col2im(array_module(g).broadcast_to(share, seen), shape, stride, widths)

    return record(windows.mean(axis=(3, 4)), (x, rule))
