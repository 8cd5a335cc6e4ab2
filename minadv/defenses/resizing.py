r"""Random resizing and padding (E10).

Xie et al. 2018, *Mitigating adversarial effects through randomization*. Each prediction is the mean
over many draws. A draw resizes the image at random, puts it at a random place in a frame of zeros,
and flips it with probability one half. In the paper the frame is 331 pixels wide and the image 299
to 330. Here the frame has the image's own size, and the image shrinks by the same shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minadv import ops
from minadv.autograd import raw
from minadv.backend import like
from minadv.checks import check_choice, check_count, check_counts, check_number, check_rng
from minadv.parallel import UNKNOWN_MODEL, is_thread_safe

__all__ = ["RandomResizing", "resize"]


def resize(x, size: tuple[int, int], *, method: str = "bilinear"):
    r"""Images resized to ``size`` = (rows, columns): :math:`A x B^T` for each channel.

    A and B have one row of weights for each new row or column. Pixel i of n covers [i, i + 1) / n
    of the image, and the new pixel's center says where to look. ``"nearest"`` takes the pixel that
    the center lies in. ``"bilinear"`` weighs the two closest centers. These are PyTorch's
    ``nearest-exact``, and its ``bilinear`` with ``align_corners=False``. Nothing is smoothed before
    an image shrinks. At the same size this is the identity.

    ``x``: images (N, H, W, C), floating point. Returns images (N, rows, columns, C);
    differentiable. Raises :class:`ValueError` or :class:`TypeError` naming a wrong argument.
    """
    n, h, w, c = _check_images(x)
    rows, columns = check_counts("size", size, "rows", "columns")
    A, B = _weights(h, rows, method), _weights(w, columns, method)
    return (
        x
        if (rows, columns) == (h, w)
        else ops.reshape(_products(A[None], x, B[None]), (n, rows, columns, c))
    )


def _weights(old: int, new: int, method: str) -> np.ndarray:
    """How much each of ``old`` pixels counts for each of ``new``: (new, old). Rows add up to 1."""
    check_choice("method", method, "nearest", "bilinear")
    center = (np.arange(new) + 0.5) * old / new
    if method == "nearest":
        return np.eye(old)[np.floor(center).astype(int)]
    position = np.clip(center - 0.5, 0, old - 1)
    left = np.floor(position).astype(int)
    right, share = np.minimum(left + 1, old - 1), (position - left)[:, None]
    return (1 - share) * np.eye(old)[left] + share * np.eye(old)[right]


def _products(A: np.ndarray, x, B: np.ndarray):
    """:math:`A_d x_n B_d^T` for all pairs of matrices d and images n.

    (D, h, H), (N, H, W, C), (D, w, W) -> (D, N, h, w, C).
    """
    u = raw(x)
    A, B = (like(M[:, None, None].astype(u.dtype), u) for M in (A, B))  # (D, 1, 1, ., .)
    channels_first = ops.transpose(x, 0, 3, 1, 2)  # (N, C, H, W)
    return ops.transpose(
        ops.matmul(ops.matmul(A, channels_first), B.swapaxes(-1, -2)), 0, 1, 3, 4, 2
    )


class RandomResizing:
    r"""``model`` behind random resizing, padding and flips.

    It returns logits whose softmax is the mean of the model's over all draws. One object is one set
    of draws, made from ``rng``. So it is a function like any other model, can be differentiated,
    and gives the same answer again. Another seed makes independent draws.

    An attacker who knows the defense, but not the draws, attacks an object of their own, and so
    follows a gradient averaged over draws (Athalye et al. 2018, *Synthesizing robust adversarial
    examples*). They take ``average="logits"``. Where the model is confident in each draw, the mean
    of the probabilities only counts votes, and its gradient underflows. The mean of the logits,
    :math:`\tfrac{1}{D} \sum_d f(T_d x)`, has a gradient wherever the model has one.

    Parameters
    ----------
    model : function
        f, from images (N, H, W, C) to logits.
    shape : (H, W, C)
        Of the images.
    draws : int
        How many draws (E10: 30).
    smallest : float
        The least size as a share (E10: 299/331). The largest is one pixel less than the image.
    flip : float
        The probability of a flip (E10: 0.5). Take 0 where mirror images mean something else, as
        for digits.
    method : {"bilinear", "nearest"}
        As for :func:`resize`.
    average : {"probabilities", "logits"}
        What is averaged (E10: the probabilities).
    rng : numpy.random.Generator or int
        Makes the draws.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument, which is named.
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
        self.model = model
        self.shape = check_counts("shape", shape, "H", "W", "C")
        self.average = check_choice("average", average, "probabilities", "logits")
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
        """What the model sees of images ``x`` (N, H, W, C), draw by draw: (D, N, H, W, C)."""
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
        # The log of the mean probability:
        return ops.logsumexp(ops.log_softmax(z), axis=0) - math.log(d)

    def activation_bytes(self, shape: tuple, dtype) -> int:
        """What one example needs, all draws together (for :func:`minadv.parallel.chunk_size`)."""
        image = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return len(self.rows) * getattr(
            self.model, "activation_bytes", lambda *_: UNKNOWN_MODEL * image
        )(shape, dtype)


def _framed(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``weights`` (new, old) at a random place in a frame of zeros of the old size: (old, old)."""
    new, old = weights.shape
    frame, corner = np.zeros((old, old)), rng.integers(old - new + 1)
    frame[corner : corner + new] = weights
    return frame


def _check_images(x) -> tuple[int, int, int, int]:
    """The shape of images ``x``, which must be (N, H, W, C), floating point."""
    u = raw(x)
    if not hasattr(u, "dtype") or u.ndim != 4 or 0 in u.shape[1:]:
        raise ValueError(
            f"x must be images (N, H, W, C), got {getattr(u, 'shape', type(u).__name__)}"
        )
    if u.dtype.kind != "f":
        raise TypeError(f"x must be floating point, got {u.dtype}")
    return u.shape
