"""The gradient from queries alone (A5), and a model whose gradient is estimated so.

With that model, every gradient attack is a black-box attack.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minadv import inference
from minadv.autograd import raw, record
from minadv.backend import array_module, is_array
from minadv.checks import check_bounds, check_choice, check_count, check_flag, check_number
from minadv.numerics import rows

__all__ = ["GradientEstimate", "QueryGradient", "estimate_gradient"]

# The default of ``block`` in pixel values: 4 MB of float32, 1,337 images of 28x28.
VALUES_PER_BLOCK = 2**20
ORDER = {"central": 2, "forward": 1}  # the error falls as h to this power


@dataclass(frozen=True, eq=False)
class GradientEstimate:
    """``gradient``: in the shape and dtype of ``x``; ``queries``: images queried per example."""

    gradient: object
    queries: int


def estimate_gradient(
    loss: Callable,
    x,
    *alongside,
    h: float | None = None,
    scheme: str = "central",
    block: int | None = None,
    bounds: tuple[float, float] | None = None,
) -> GradientEstimate:
    r"""The gradient of a loss of which only values are available, by finite differences.

    .. math:: \frac{\partial L}{\partial x_i} \approx
        \frac{L(x + h e_i) - L(x - h e_i)}{2h} \text{ (central)}, \quad
        \frac{L(x + h e_i) - L(x)}{h} \text{ (forward)}

    Each pixel value is perturbed in turn. Central differences err by :math:`O(h^2)` and take 2D
    queries for an example of D values; forward ones err by O(h) and take D + 1.

    Parameters
    ----------
    loss
        ``loss(images, *alongside)``, one number per image: ``(M, ...)`` to ``(M,)``.
    x
        A batch ``(N, ...)``, float32 or float64.
    alongside
        Arrays with one row per example, such as labels; repeated as the images are.
    h
        The step, a pixel value > 0. Default: ε^(1/3) (central; 0.005 in float32) or ε^(1/2)
        (forward; 0.0003), ε being the precision of the dtype, times the width of ``bounds``. There
        the error of the formula and the cancellation ε / h together are least.
    scheme
        ``"central"`` or ``"forward"``.
    block
        The most images in one call of ``loss``; default 2^20 values. Affects memory only.
    bounds
        If given, no image leaves them: at an edge the difference is taken on the inner side.

    Raises
    ------
    ValueError, TypeError
        If an argument or the loss is not as said here, or h so small that x + h is x.
    """
    if not callable(loss):
        raise TypeError(f"loss must be a function, called as loss(x, *alongside), got {loss!r}")
    low, high, h, block = checked(x, alongside, h, scheme, block, bounds)
    xp, flat = array_module(x), rows(x)  # (N, D)
    above, below = xp.clip(flat + h, low, high), xp.clip(flat - h, low, high)
    if scheme == "forward":  # backward where the upper bound is near
        above, below = xp.where(flat + h <= high, above, below), flat
    distance = above - below  # x ± h is rounded, this difference of close numbers is not
    if not bool((distance != 0).all()):
        raise ValueError(f"h is so small that x + h is x in {x.dtype}, got {h}")

    # All forward differences share one query, x itself.
    moved = xp.concatenate([above, below if scheme == "central" else flat[:, :1]], axis=1)
    values, D = query(loss, x, alongside, moved, block), flat.shape[1]  # (N, 2D) or (N, D + 1)
    gradient = (values[:, :D] - values[:, D:]) / distance
    return GradientEstimate(gradient.astype(x.dtype).reshape(x.shape), moved.shape[1])


class QueryGradient:
    r"""A model known by its outputs alone, as one that can be differentiated.

    Any gradient attack takes it in place of a model:
    ``fgsm(QueryGradient(predict), x, y=y, eps=0.1)``. Forwards it is ``predict``. Backwards, for
    the gradient g that an attack sends to the logits F, it is :func:`estimate_gradient` of
    :math:`x \mapsto \sum_k g_k F_k(x)`: 2D or D + 1 queries per example and pull.

    ``queries`` counts all images that ``predict`` was ever given.

    Parameters
    ----------
    predict
        From images to logits ``(N, K)``, or to probabilities. It is called
        from one thread and gets copies, unless it is :class:`~minadv.parallel.thread_safe`.
    probabilities
        Whether ``predict`` returns probabilities. Their logarithms are logits up to a constant that
        no attack sees. Logits are better: a probability that was rounded to 0 or 1 does not change
        with the pixels.
    h, scheme, block, bounds
        As for :func:`estimate_gradient`; ``bounds`` must be the attack's own.
    """

    def __init__(
        self,
        predict: Callable,
        *,
        probabilities: bool = False,
        h: float | None = None,
        scheme: str = "central",
        block: int | None = None,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ):
        if not callable(predict):
            raise TypeError(f"predict must be callable, got {type(predict).__name__}")
        self.predict, self.probabilities = predict, check_flag("probabilities", probabilities)
        self.how = {"h": h, "scheme": scheme, "block": block, "bounds": bounds}
        checked(np.zeros((0, 1)), (), **self.how)
        self._counts: list[int] = []  # appending needs no lock, and no lock can be pickled

    @property
    def queries(self) -> int:
        """How many images ``predict`` was given."""
        return sum(self._counts)

    def __call__(self, x):
        images = raw(x)

        def weighted(images, g):  # in float64: 1 / h would magnify rounding
            return (self.logits(images).astype(np.float64) * g).sum(axis=1)

        def rule(g):
            return estimate_gradient(weighted, images, g, **self.how).gradient

        return record(self.logits(images), (x, rule))

    def logits(self, images):
        """The logits ``(n, K)`` of ``predict``, counted, in blocks."""
        self._counts.append(len(images))
        n = max(len(images), 1)
        block = self.how["block"] or n
        parts = [inference.logits(self.predict, images[i : i + block]) for i in range(0, n, block)]
        xp = array_module(images)
        answers = xp.concatenate(parts)
        if not self.probabilities:
            return answers
        if len(answers) and not inference.are_probabilities(answers):
            raise ValueError(
                "predict must return probabilities, rows >= 0 that add up to 1, "
                "as probabilities=True says"
            )
        return xp.log(xp.maximum(answers, xp.finfo(answers.dtype).tiny))


# --- queries, checks


def query(loss: Callable, x, alongside: tuple, moved, block: int):
    """The loss ``(N, C)`` of each example with ``moved[:, c]`` put in place ``c mod D``."""
    xp, flat = array_module(x), rows(x)
    (N, C), D = moved.shape, flat.shape[1]
    values = [xp.zeros(0, x.dtype)]
    for start in range(0, N * C, block):
        candidate = xp.arange(start, min(start + block, N * C))
        example, c = candidate // C, candidate % C
        images = flat[example]  # a copy
        images[candidate - start, c % D] = moved[example, c]
        value = loss(images.reshape(-1, *x.shape[1:]), *(a[example] for a in alongside))
        values.append(check_losses(value, len(candidate)))
    return xp.concatenate(values).reshape(N, C)


def check_losses(value, count: int):
    """Check that ``value`` is what a loss returns: one finite number per image."""
    array = isinstance(getattr(value, "dtype", None), np.dtype)
    if not array or value.shape != (count,) or value.dtype.kind != "f":
        got = f"{value.dtype} of shape {value.shape}" if array else type(value).__name__
        raise ValueError(
            f"loss must return one floating-point number per image, ({count},), got {got}"
        )
    if not bool(array_module(value).isfinite(value).all()):
        raise ValueError("loss must be finite, got NaN or infinity")
    return value


def checked(x, alongside, h, scheme, block, bounds) -> tuple[float, float, float, int]:
    """``(low, high, h, block)`` of :func:`estimate_gradient`, its arguments being checked."""
    dtype = getattr(x, "dtype", None)
    if not is_array(x) or dtype not in (np.float32, np.float64):
        got = dtype if isinstance(dtype, np.dtype) else type(x).__name__
        raise TypeError(f"x must be a float32 or float64 array of NumPy or CuPy, got {got}")
    if x.ndim == 0 or not bool(array_module(x).isfinite(x).all()):
        raise ValueError(f"x must be a batch (N, ...) of finite numbers, got shape {x.shape}")
    check_choice("scheme", scheme, *ORDER)
    for a in alongside:
        array = isinstance(getattr(a, "dtype", None), np.dtype)
        if not array or a.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"alongside must be arrays, each with one row per example, {len(x)}, "
                f"got {f'shape {a.shape}' if array else type(a).__name__}"
            )
    low, high = (-math.inf, math.inf) if bounds is None else check_bounds(bounds, x.dtype)
    if not bool(((low <= x) & (x <= high)).all()):
        raise ValueError(f"x must lie inside bounds ({low}, {high})")
    if h is None:
        width = 1 if bounds is None else high - low
        h = float(np.finfo(x.dtype).eps) ** (1 / (ORDER[scheme] + 1)) * width
    h = check_number("h", h, least=0, most=(high - low) / 2)
    images = max(VALUES_PER_BLOCK // max(math.prod(x.shape[1:]), 1), 1)
    return low, high, h, images if block is None else check_count("block", block)
