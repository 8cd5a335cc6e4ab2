r"""What a sliding window sees, and its transpose: *im2col* and *col2im*.

A window of kernel size (kh, kw) slides over images ``(N, H, W, C)`` in steps (sh, sw). *im2col*
copies what the window sees at each of the OH · OW places into one row. *col2im* is its transpose:
each row is added back where it was seen.
"""

from __future__ import annotations

import numpy as np

from minadv.backend import array_module

# If one row of a window holds fewer contiguous numbers than this, im2col copies one kernel tap at a
# time (long runs along W) instead of one window at a time.
SHORT_RUN = 16


def pair(value, name: str, least: int = 1) -> tuple[int, int]:
    """``value``, one integer or two, as two Python integers; NumPy's integers are integers."""
    two = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(two) != 2 or not all(isinstance(v, int | np.integer) and v >= least for v in two):
        raise ValueError(f"{name} must be an integer or two, each >= {least}, got {value!r}")
    return int(two[0]), int(two[1])


def padding_widths(
    padding, size: tuple, kernel: tuple, stride: tuple
) -> tuple[tuple[int, int], tuple[int, int]]:
    """``((top, bottom), (left, right))`` of a ``padding``.

    Parameters
    ----------
    padding
        ``"valid"`` (none), ``"same"``, one integer, ``(rows, columns)``, or the four themselves.
        ``"same"`` makes the output ceil(size / stride) and puts the odd row or column at the
        bottom and right, as TensorFlow does.
    size, kernel, stride
        Two integers each, rows and columns.

    Returns
    -------
    tuple of two pairs of integers

    Raises
    ------
    ValueError
        If ``padding`` is none of these.
    """
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        total = [
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, k, s in zip(size, kernel, stride, strict=True)
        ]
        return (total[0] // 2, total[0] - total[0] // 2), (total[1] // 2, total[1] - total[1] // 2)
    sides = (padding, padding) if isinstance(padding, int | np.integer) else padding
    if not isinstance(sides, tuple | list) or len(sides) != 2:
        raise ValueError(
            f"padding must be 'valid', 'same', an integer or two pairs of integers, got {padding!r}"
        )
    return pair(sides[0], "padding", least=0), pair(sides[1], "padding", least=0)


def output_size(size: tuple, widths: tuple, kernel: tuple, stride: tuple) -> tuple[int, int]:
    out = tuple(
        (n + sum(w) - k) // s + 1 for n, w, k, s in zip(size, widths, kernel, stride, strict=True)
    )
    if min(out) < 1:
        raise ValueError(
            f"a kernel of {kernel} does not fit into images of {tuple(size)} with padding {widths}"
        )
    return out


def framed(x, widths, value=0):
    if not any(map(any, widths)):
        return x
    (top, bottom), (left, right) = widths
    n, h, w, c = x.shape
    xp = array_module(x)
    out = xp.full((n, top + h + bottom, left + w + right, c), value, dtype=x.dtype)
    out[:, top : top + h, left : left + w] = x
    return out


def windows_of(x, kernel, stride):
    """What the window sees at each place, without a copy: ``(N, OH, OW, kh, kw, C)``."""
    (kh, kw), (sh, sw) = kernel, stride
    n, h, w, c = x.shape
    dn, dh, dw, dc = x.strides
    shape = (n, (h - kh) // sh + 1, (w - kw) // sw + 1, kh, kw, c)
    strides = (dn, dh * sh, dw * sw, dh, dw, dc)
    if isinstance(x, np.ndarray) and x.flags.c_contiguous:  # as_strided takes ten times as long
        return np.ndarray(shape, x.dtype, x, 0, strides)
    return array_module(x).lib.stride_tricks.as_strided(x, shape, strides)


def im2col(x, kernel, stride):
    """One row per place: ``(N, OH·OW, kh·kw·C)``."""
    xp = array_module(x)
    windows = windows_of(x, kernel, stride)
    n, oh, ow, kh, kw, c = windows.shape
    if kw * c < SHORT_RUN:
        taps = xp.ascontiguousarray(windows.transpose(0, 3, 4, 5, 1, 2))
        return taps.reshape(n, kh * kw * c, oh * ow).swapaxes(1, 2)
    return xp.ascontiguousarray(windows).reshape(n, oh * ow, kh * kw * c)


def add_back(part, kernel, places, shape, stride, widths, dtype, xp):
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
            view = x[:, i : i + sh * oh : sh, j // sw : j // sw + ow, :count]
            if i < sh and j == 0:  # nothing is there yet
                view[...] = part(i, j, count)
            else:
                view += part(i, j, count)
    return x.reshape(n, top + h + bottom, groups * sw, c)[:, top : top + h, left : left + w]


def planes_back(columns, kernel, places, shape, stride, widths):
    """:func:`col2im` for few channels, plane by plane, so that runs along W are long.

    ``columns``: (N, OH·OW, kh·kw·C). Whole rows are added first, and then kw columns of them.
    """
    (kh, kw, c), (oh, ow), (sh, sw) = kernel, places, stride
    (top, bottom), (left, right) = widths
    n, h, w, _ = shape
    xp = array_module(columns)
    taps = xp.ascontiguousarray(columns.swapaxes(1, 2)).reshape(n, kh, kw * c, oh, ow)
    rows = xp.zeros((n, kw * c, top + h + bottom, ow), dtype=columns.dtype)
    for i in range(kh):
        rows[:, :, i : i + sh * oh : sh] += taps[:, i]
    x = xp.zeros((n, c, top + h + bottom, left + w + right), dtype=columns.dtype)
    for j in range(kw):
        x[..., j : j + sw * ow : sw] += rows[:, j * c : (j + 1) * c]
    return x[:, :, top : top + h, left : left + w].transpose(0, 2, 3, 1)


def col2im(windows, shape, stride, widths):
    """Add windows ``(N, OH, OW, kh, kw, C)`` back into images padded by ``widths``."""
    _, oh, ow, kh, kw, _ = windows.shape

    def part(i, j, count):
        return windows[:, :, :, i, j : j + count]

    xp = array_module(windows)
    return add_back(part, (kh, kw), (oh, ow), shape, stride, widths, windows.dtype, xp)
