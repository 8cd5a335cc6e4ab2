"""A convolutional model on images of which a few pixels changed: only what they reach is computed.

In the first layer a changed pixel reaches a box of the kernel's size, in the next a bit more, and
so on. Outside the boxes every number is that of the original image, which is computed once. The
first layer of which most is reached, and all after it, are computed in full. On Dahal's CNN (D2)
this takes a seventh of the time, and the logits are the same to the last bit.
"""

from __future__ import annotations

import copy
import math
from functools import cache, partial

import numpy as np

from minadv.conv import padding_widths
from minadv.layers import Conv2D, DepthwiseConv2D, Dropout, LeakyReLU, MaxPool, ReLU, Sequential
from minadv.parallel import chunk_size, map_chunks

POINTWISE = (ReLU, LeakyReLU, Dropout)
WINDOWED = (Conv2D, DepthwiseConv2D, MaxPool)
MOST = 0.75  # the largest share of an output computed in boxes: gathering them takes time, too
CHUNK = 512  # images at once: below, Python's overhead dominates; above, they leave the cache


class LocalModel:
    """A model whose first ``count`` layers are computed in boxes around changed pixels."""

    @classmethod
    def of(cls, model, x, pixels: int) -> LocalModel | None:
        """For images like ``x`` ``(N, H, W, C)``; None if it would not help or not be exact."""
        if type(model) is not Sequential or type(x) is not np.ndarray or x.ndim != 4:
            return None
        count, box, a = 0, (1, 1), np.zeros((1, *x.shape[1:]), x.dtype)
        for i, layer in enumerate(model):
            after = layer(a)
            if type(layer) in WINDOWED:
                window = Window(layer, a, box)
                share = pixels * math.prod(window.box) / math.prod(window.size)
                if share > MOST or not window.is_exact:
                    break
                box = window.box
            elif type(layer) not in POINTWISE:
                break
            count, a = i + 1, after
        return cls(model, count) if box != (1, 1) else None

    def __init__(self, model: Sequential, count: int):
        self.model, self.local, self.rest = model, model[:count], model[count:]

    def __call__(self, x, owner, row, column, value):
        """The logits ``(n, K)`` of the images ``x[owner]`` with pixels changed.

        ``owner``: ``(n,)``; ``row``, ``column``: ``(n, pixels)``; ``value``: ``(n, pixels, C)``.
        Where two pixels meet, the later wins.
        """
        chunk = chunk_size(self.model, x)  # what follows the boxes is cut as if all were computed
        logits = partial(self.logits, x, chunk)
        return map_chunks(logits, owner, row, column, value, chunk=max(chunk, CHUNK))

    def logits(self, x, chunk, owner, row, column, value):
        """:meth:`__call__` for some of the images."""
        unique, owner = np.unique(owner, return_inverse=True)
        a, boxes, top, left = x[unique], value[:, :, None, None], row, column
        for layer in self.local:
            if type(layer) in WINDOWED:
                window = Window(layer, a, boxes.shape[2:4])
                boxes, top, left = window.slide(a, owner, boxes, top, left)
            else:
                boxes = layer(boxes)
            a = layer(a)
        full, (h, w), n = a[owner], boxes.shape[2:4], len(owner)
        rows, columns = steps(top, h)[..., None], steps(left, w)[..., None, :]
        full[np.arange(n)[:, None, None, None], rows, columns] = boxes
        return np.concatenate([self.rest(full[i : i + chunk]) for i in range(0, n, chunk)])


class Window:
    """A layer's window, sliding over images ``a``, and what it makes of a changed ``box``.

    ``size``: the rows and columns of the layer's output; ``box``: those that may have changed.
    """

    def __init__(self, layer, a, box: tuple[int, int]):
        kernel = layer.size if isinstance(layer, MaxPool) else layer.weight.shape[:2]
        stride = kernel if layer.stride is None else layer.stride
        self.kernel, self.stride, self.dtype = pair(kernel), pair(stride), a.dtype
        self.widths = padding_widths(layer.padding, a.shape[1:3], self.kernel, self.stride)
        self.layer = copy.copy(layer)
        self.layer.stride, self.layer.padding = self.kernel, "valid"  # windows side by side
        framed = (n + sum(pad) for n, pad in zip(a.shape[1:3], self.widths, strict=True))
        axes = list(zip(framed, self.kernel, self.stride, box, strict=True))
        self.size = tuple((n - k) // s + 1 for n, k, s, _ in axes)
        # The windows that see part of a box, at least two: BLAS sums a single row in another order.
        reach = (max((b + k - 2) // s + 1, 2) for _, k, s, b in axes)
        self.box = tuple(map(min, reach, self.size))

    @property
    def is_exact(self) -> bool:
        """Whether the layer gives a place the same bits however many places it is computed for."""
        if not isinstance(self.layer, Conv2D):
            return True
        w = self.layer.weight
        return rows_stand_alone(w[..., 0].size, w.shape[3], np.result_type(w, self.dtype))

    def slide(self, a, owner, boxes, top, left):
        """What the layer makes of ``boxes`` in the images ``a[owner]``: new boxes, top and left.

        ``a``: the originals, ``(B, H, W, C)``; ``boxes``: what changed in them, ``(n, pixels, h, w,
        C)``; ``top``, ``left``: where a box starts, ``(n, pixels)``.
        """
        fill = -np.inf if isinstance(self.layer, MaxPool) else 0
        framed = np.pad(a, ((0, 0), *self.widths, (0, 0)), constant_values=fill)
        (_, H, W, C), (n, pixels, h, w, _) = framed.shape, boxes.shape
        table = np.concatenate([framed.reshape(-1, C), boxes.reshape(-1, C)])
        start = len(a) * H * W + h * w * np.arange(n * pixels).reshape(n, pixels)  # of each box
        top, left = top + self.widths[0][0], left + self.widths[1][0]

        # A new box is what the layer makes of a patch; place: where the patch stands in the table.
        new_top, row = self.patch(0, top)  # (n, pixels), (n, pixels, rows)
        new_left, column = self.patch(1, left)
        row, column = row[..., None], column[..., None, :]
        place = (owner[:, None, None, None] * H + row) * W + column
        for pixel in range(pixels):  # the later wins
            box = (slice(None), pixel, None, None, None)
            down, right = row - top[box], column - left[box]
            inside = ((down >= 0) & (down < h)) & ((right >= 0) & (right < w))
            place = np.where(inside, start[box] + down * w + right, place)
        seen = place.reshape(n * pixels, -1).take(self.windows(place.shape[3]), axis=1)
        windows = table.take(seen.reshape(-1, self.kernel[1]), axis=0)[None]  # one high image
        return self.layer(windows).reshape(n, pixels, *self.box, -1), new_top, new_left

    def windows(self, width: int):
        """What each window sees of a patch of this width: indices ``(OH, OW, kh, kw)``."""
        (kh, kw), (sh, sw), (oh, ow) = self.kernel, self.stride, self.box
        i, j = steps(sh * np.arange(oh), kh), steps(sw * np.arange(ow), kw)
        return i[:, None, :, None] * width + j[:, None]

    def patch(self, axis: int, start):
        """The first window that sees a box from ``start`` on, and all indices that its box sees."""
        k, s, box = self.kernel[axis], self.stride[axis], self.box[axis]
        first = -((k - 1 - start) // s)  # (start - k + 1) / s, rounded up
        first = np.clip(first, 0, self.size[axis] - box)
        return first, steps(first * s, (box - 1) * s + k)


def pair(value) -> tuple[int, int]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def steps(start, count: int):
    """``(..., count)``: the indices from ``start`` ``(...)`` on."""
    return start[..., None] + np.arange(count)


@cache
def rows_stand_alone(K: int, C: int, dtype) -> bool:
    """Whether ``(rows, K) @ (K, C)`` gives a row the same bits whatever rows it is multiplied with.

    With BLAS this depends on K and C, and on the processor: a product of another shape may be
    summed in another order. So it is tried, with more and with fewer numbers than the 10^6 up to
    which OpenBLAS takes another path.
    """
    rng = np.random.default_rng(0)
    rows = max(2 * 10**6 // (K * C), 1200)
    a, w = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, K), (K, C)))

    def product(a):  # on one BLAS thread, as everywhere
        return map_chunks(lambda a: a @ w, a, chunk=len(a))

    whole, counts = product(a), (2, 3, 4, 5, 7, 8, 9, 17, 33, 65, 145, 577)
    return all(np.array_equal(product(a[n : 2 * n]), whole[n : 2 * n]) for n in counts)
