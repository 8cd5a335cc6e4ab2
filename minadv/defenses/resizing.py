r"""Random resizing and padding (E10): Xie et al. 2018, *Mitigating adversarial effects through randomization*.

Each prediction is the mean over many draws of: resize the image at random, put it at a random place in a frame of zeros, flip it with
probability one half. There the frame is 331 pixels wide and the image 299 to 330; here the frame is the image's own size, and the image
shrinks by the same shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minadv import ops
from minadv.autograd import raw
from minadv.backend import like
from minadv.checks import check_count, check_number, check_rng
from minadv.parallel import UNKNOWN_MODEL, is_thread_safe

__all__ = ["RandomResizing", "resize"]


def resize(x, size: tuple[int, int], *, method: str = "bilinear"):
    r"""Images resized to ``size`` = (rows, columns): :math:`A x B^T` for each channel, one row of weights for each new row or column.

    Pixel i of n covers [i, i + 1) / n of the image, and the new pixel's center says where to look: at the pixel it lies in
    (``"nearest"``), or in proportion between the two next centers (``"bilinear"``). This is PyTorch's ``nearest-exact``, and its
    ``bilinear`` with ``align_corners=False``; where an image shrinks, nothing is smoothed before. At the same size it is the identity.

    Arguments: ``x``, images (N, H, W, C), floating point; ``size``, two counts; ``method``. Returns images (N, rows, columns, C);
    differentiable. Raises :class:`ValueError` or :class:`TypeError` naming a wrong argument.
    """
    n, h, w, c = _check_images(x)
    rows, columns = _check_counts("size", size, "rows", "columns")
    A, B = _weights(h, rows, method), _weights(w, columns, method)
    return (
        x
        if (rows, columns) == (h, w)
        else ops.reshape(_products(A[None], x, B[None]), (n, rows, columns, c))
    )


def _weights(old: int, new: int, method: str) -> np.ndarray:
    """How much each of ``old`` pixels counts for each of ``new``: (new, old), rows that add up to 1."""
    center = (np.arange(new) + 0.5) * old / new
    if method == "nearest":
        return np.eye(old)[np.floor(center).astype(int)]
    if method == "bilinear":
        position = np.clip(center - 0.5, 0, old - 1)
        left = np.floor(position).astype(int)
        right, share = np.minimum(left + 1, old - 1), (position - left)[:, None]
        return (1 - share) * np.eye(old)[left] + share * np.eye(old)[right]
    raise ValueError(f"method must be 'nearest' or 'bilinear', got {method!r}")


def _products(A: np.ndarray, x, B: np.ndarray):
    """:math:`A_d x_n B_d^T` for all pairs of matrices d and images n: (D, h, H), (N, H, W, C), (D, w, W) -> (D, N, h, w, C)."""
    u = raw(x)
    A, B = (like(M[:, None, None].astype(u.dtype), u) for M in (A, B))  # (D, 1, 1, ., .)
    channels_first = ops.transpose(x, 0, 3, 1, 2)  # (N, C, H, W)
    return ops.transpose(
        ops.matmul(ops.matmul(A, channels_first), B.swapaxes(-1, -2)), 0, 1, 3, 4, 2
    )


class RandomResizing:
    r"""``model`` behind random resizing, padding and flips: logits whose softmax is the mean of the model's over all draws.

    One object is one set of draws, made from ``rng``; so it is a function like any other model, can be differentiated, and gives the same
    answer again. Another seed makes independent draws. An attacker who knows the defence, but not the draws, attacks an object of their
    own, and so follows a gradient averaged over draws (Athalye et al. 2018, *Synthesizing robust adversarial examples*). They take
    ``average="logits"``: where the model is sure of each draw, the mean of the probabilities only counts votes, and its gradient
    underflows; the mean of the logits, :math:`\tfrac{1}{D} \sum_d f(T_d x)`, has one wherever the model has.

    Arguments: ``model`` f, from images (N, H, W, C) to logits; ``shape``, (H, W, C); ``draws``, how many (E10: 30); ``smallest``, the least
    size as a share (E10: 299/331), the largest being one pixel less than the image; ``flip``, the probability of a flip (E10: 0.5; take 0
    where mirror images mean something else, as for digits); ``method``, as for :func:`resize`; ``average``, of "probabilities" (E10) or
    "logits"; ``rng``, a generator or a seed. Raises :class:`ValueError` or :class:`TypeError` naming a wrong argument.
    """

    def __init__(
        self,
        model: Callable,
        shape: tuple[int, int, int],
        *,
        draws: int = 30,
        smallest: float = 299 / 331,
        flip: float = 0.5,
        method: str = "bilinear",
        average: str = "probabilities",
        rng: np.random.Generator | int = 0,
    ):
        if average not in ("probabilities", "logits"):
            raise ValueError(f"average must be 'probabilities' or 'logits', got {average!r}")
        self.model, self.shape, self.average = (
            model,
            _check_counts("shape", shape, "H", "W", "C"),
            average,
        )
        h, w, _ = self.shape
        least = max(1, round(h * check_number("smallest", smallest, least=0, most=1)))
        flip = check_number("flip", flip, least=0, most=1)
        rng = check_rng(rng)

        def draw() -> tuple[np.ndarray, np.ndarray]:
            rows = int(rng.integers(least, max(h, least + 1)))
            columns = max(1, round(w * rows / h))
            A, B = (
                _framed(_weights(old, new, method), rng) for old, new in ((h, rows), (w, columns))
            )
            return A, B[::-1] if rng.random() < flip else B

        pairs = [draw() for _ in range(check_count("draws", draws))]
        self.rows, self.columns = (
            np.stack(matrices) for matrices in zip(*pairs, strict=True)
        )  # (D, H, H) and (D, W, W)

    @property
    def thread_safe(self) -> bool:
        """As the model is (see :mod:`minadv.parallel`)."""
        return is_thread_safe(self.model)

    def views(self, x):
        """What the model gets to see of images ``x`` (N, H, W, C), draw by draw: (D, N, H, W, C)."""
        if _check_images(x)[1:] != self.shape:
            raise ValueError(
                f"x must be images (N, {', '.join(map(str, self.shape))}), got shape {raw(x).shape}"
            )
        return _products(self.rows, x, self.columns)

    def __call__(self, x):
        d, n = len(self.rows), len(x)
        z = self.model(ops.reshape(self.views(x), (d * n, *self.shape)))
        z = ops.reshape(z, (d, n, raw(z).shape[-1]))
        if self.average == "logits":
            return ops.mean(z, axis=0)
        return ops.logsumexp(ops.log_softmax(z), axis=0) - math.log(
            d
        )  # the log of the mean probability

    def activation_bytes(self, shape: tuple, dtype) -> int:
        """What one example needs, all draws together (for :func:`minadv.parallel.chunk_size`)."""
        image = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return len(self.rows) * getattr(
            self.model, "activation_bytes", lambda *_: UNKNOWN_MODEL * image
        )(shape, dtype)


def _framed(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``weights`` (new, old) at a random place in a frame of the old size: (old, old), zeros elsewhere."""
    new, old = weights.shape
    frame, corner = np.zeros((old, old)), rng.integers(old - new + 1)
    frame[corner : corner + new] = weights
    return frame


def _check_counts(name: str, value, *axes: str) -> tuple[int, ...]:
    """``value`` as positive integers, one for each of ``axes``."""
    if not isinstance(value, tuple | list) or len(value) != len(axes):
        raise ValueError(f"{name} must be ({', '.join(axes)}), got {value!r}")
    return tuple(check_count(name, n) for n in value)


def _check_images(x) -> tuple[int, int, int, int]:
    """The shape of images ``x``, which must be (N, H, W, C), floating point."""
    u = raw(x)
    if getattr(u, "ndim", None) != 4 or 0 in u.shape[1:]:
        raise ValueError(
            f"x must be images (N, H, W, C), got {getattr(u, 'shape', type(u).__name__)}"
        )
    if u.dtype.kind != "f":
        raise TypeError(f"x must be floating point, got {u.dtype}")
    return u.shape
