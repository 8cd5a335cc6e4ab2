r"""Random resizing and padding (E10): Xie et al. 2018, *Mitigating adversarial effects through randomization*.

Each prediction is the mean over many draws of: shrink the image to a random size, put it at a random place in a frame of the old size, flip
it with probability one half. There 299 of 331 pixels is the least size; here the same share of the image at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minadv import ops
from minadv.attacks.common import check_count, check_number
from minadv.autograd import raw
from minadv.backend import like

__all__ = ["RandomResizing", "resize"]


def resize(x, size: tuple[int, int], *, method: str = "bilinear"):
    """Images ``(N, H, W, C)`` resized to ``size`` = (rows, columns), ``"nearest"`` or ``"bilinear"``; differentiable.

    Pixel i of n covers [i, i + 1) / n of the image, and the new pixel's centre says where to look (PyTorch's ``align_corners=False``). Both
    methods are the identity at the same size and linear in the image, and rows and columns are treated alike: A · x · Bᵀ for each channel,
    with one row of weights for each new row or column.
    """
    u = raw(x)
    if u.ndim != 4:
        raise ValueError(f"x must be images (N, H, W, C), got shape {u.shape}")
    rows, columns = (check_count("size", n) for n in size)
    A, B = (like(_weights(old, new, method).astype(u.dtype), u) for old, new in ((u.shape[1], rows), (u.shape[2], columns)))
    channels_first = ops.transpose(x, 0, 3, 1, 2)  # (N, C, H, W)
    return ops.transpose(ops.matmul(ops.matmul(A, channels_first), B.T), 0, 2, 3, 1)


def _weights(old: int, new: int, method: str) -> np.ndarray:
    """How much each of ``old`` pixels counts for each of ``new``: (new, old), rows that add up to 1."""
    centre = (np.arange(new) + 0.5) * old / new
    if method == "nearest":
        return np.eye(old)[np.floor(centre).astype(int)]
    if method == "bilinear":
        position = np.clip(centre - 0.5, 0, old - 1)
        left = np.floor(position).astype(int)
        right, share = np.minimum(left + 1, old - 1), (position - left)[:, None]
        return (1 - share) * np.eye(old)[left] + share * np.eye(old)[right]
    raise ValueError(f"method must be 'nearest' or 'bilinear', got {method!r}")


@dataclass(frozen=True)
class Draw:
    """One random transformation: the size to shrink to, where to put the result, and whether to flip it."""

    size: tuple[int, int]
    corner: tuple[int, int]
    flip: bool

    def __call__(self, x, method: str):
        _, h, w, _ = raw(x).shape
        (rows, columns), (top, left) = self.size, self.corner
        small = resize(x, self.size, method=method)
        small = small[:, :, ::-1] if self.flip else small
        return ops.pad(small, ((0, 0), (top, h - rows - top), (left, w - columns - left), (0, 0)))


class RandomResizing:
    r"""``model`` behind random resizing, padding and flips: logits whose softmax is the mean of the model's over ``draws`` draws.

    One object is one set of draws, made from ``rng``: so it is a function like any model, can be differentiated, and gives the same answer
    again. Make another one for independent draws: an attacker who knows the defence attacks *another* object, averaging the gradient over
    its draws.

    Arguments: ``model``, from images (N, H, W, C) to logits; ``shape``, (H, W, C) or (H, W) of the images; ``draws``, 30 as in E10;
    ``smallest``, the least size as a share (299/331); ``flip``, the probability of a flip (0.5; 0 for images that are not symmetric, such
    as digits); ``method``, see :func:`resize`; ``rng``, Generator or seed.
    """

    def __init__(
        self, model: Callable, shape: tuple, *, draws: int = 30, smallest: float = 299 / 331, flip: float = 0.5, method="bilinear", rng=0
    ):
        self.model, self.method = model, method
        smallest = check_number("smallest", smallest, least=0.0, most=1.0)
        flip = check_number("flip", flip, least=0.0, most=1.0)
        _weights(1, 1, method)
        rng = np.random.default_rng(rng)
        self.draws = [self._draw(shape[0], shape[1], smallest, flip, rng) for _ in range(check_count("draws", draws))]

    @staticmethod
    def _draw(h: int, w: int, smallest: float, flip: float, rng: np.random.Generator) -> Draw:
        share = rng.uniform(smallest, 1)
        rows, columns = (max(1, round(n * share)) for n in (h, w))
        return Draw((rows, columns), (int(rng.integers(h - rows + 1)), int(rng.integers(w - columns + 1))), bool(rng.random() < flip))

    def __call__(self, x):
        log_p = [ops.log_softmax(self.model(draw(x, self.method))) for draw in self.draws]  # each (N, K)
        n, k = raw(log_p[0]).shape
        stacked = ops.concatenate([ops.reshape(p, (1, n, k)) for p in log_p])
        return ops.logsumexp(stacked, axis=0) - float(np.log(len(log_p)))  # log of the mean probability

    def activation_bytes(self, shape: tuple, dtype) -> int:
        """What one example needs, all draws together (for :func:`minadv.parallel.chunk_size`)."""
        one = getattr(self.model, "activation_bytes", lambda shape, dtype: 32 * int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return len(self.draws) * one(shape, dtype)
