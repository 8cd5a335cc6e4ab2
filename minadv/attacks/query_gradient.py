"""The gradient from queries alone (A5), and a model whose gradient is taken so: with it every attack is a black-box attack."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minadv.autograd import raw, record
from minadv.backend import array_module
from minadv.checks import check_bounds, check_count, check_number
from minadv.inference import are_probabilities, check_logits
from minadv.numerics import rows
from minadv.parallel import in_chunks

__all__ = ["GradientEstimate", "QueryGradient", "estimate_gradient"]

VALUES_PER_CALL = (
    2**20
)  # pixel values that one call of the loss is given at most: 4 MB of float32, 1,337 images of 28x28
ORDER = {"central": 2, "forward": 1}  # the error falls as h to this power


@dataclass(frozen=True, eq=False)
class GradientEstimate:
    """``gradient``: in the shape and dtype of ``x``; ``queries``: how many images were asked about, per example."""

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
    r"""The gradient of a loss that can only be asked, by finite differences: each value of each example is moved by itself.

    .. math:: \frac{\partial L}{\partial x_i} \approx \frac{L(x + h e_i) - L(x - h e_i)}{2h} \text{ (central)}, \quad
              \frac{L(x + h e_i) - L(x)}{h} \text{ (forward)}

    Central differences err by :math:`O(h^2)` and take 2D queries for an example of D values, forward ones err by O(h) and take D + 1. Each
    example has a loss of its own, and its estimate depends on no other.

    The default of ``h`` balances that error against cancellation: L is known to about ε of its size only, ε being the precision of the
    dtype of ``x``, and the difference magnifies that to ε / h. The sum is least near :math:`h = \epsilon^{1/3}` (central; 0.005 in
    float32) and :math:`\epsilon^{1/2}` (forward; 0.0003), for values whose range is 1. The difference is divided by the distance that was
    really moved, x ± h being rounded.

    Parameters
    ----------
    loss
        ``loss(images, *alongside)``, one number per image: (M, ...) -> (M,).
    x
        A batch (N, ...), float32 or float64.
    alongside
        Arrays with one row per example that the loss wants beside the image, such as its label; repeated as the images are.
    h
        The step, a pixel value > 0.
    scheme
        ``"central"`` or ``"forward"``.
    block
        How many images ``loss`` is given at most in one call; 2^20 values' worth unless given. Changes the memory needed, nothing else.
    bounds
        Where given, no image leaves them: at an edge the difference is taken on the inner side. ``h`` is then in units of their width,
        where it is not given, and at most half of it.

    Returns
    -------
    GradientEstimate

    Raises
    ------
    ValueError, TypeError
        If an argument, or what ``loss`` returns, is not as said here; also if ``h`` is so small that x + h is x.
    """
    if not hasattr(x, "dtype") or x.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"x must be a float32 or float64 array, got {getattr(x, 'dtype', type(x).__name__)}"
        )
    if x.ndim == 0 or not bool(array_module(x).isfinite(x).all()):
        raise ValueError(f"x must be a batch (N, ...) of finite numbers, got shape {x.shape}")
    if scheme not in tuple(ORDER):
        raise ValueError(f"scheme must be 'central' or 'forward', got {scheme!r}")
    for a in alongside:
        if not hasattr(a, "dtype") or a.shape[:1] != x.shape[:1]:
            got = f"shape {a.shape}" if hasattr(a, "dtype") else type(a).__name__
            raise ValueError(
                f"what goes alongside x must be an array with one row per example, {len(x)}, got {got}"
            )
    xp, D = array_module(x), math.prod(x.shape[1:])
    low, high = (-math.inf, math.inf) if bounds is None else check_inside(x, bounds)
    if h is None:
        h = float(np.finfo(x.dtype).eps) ** (1 / (ORDER[scheme] + 1)) * (
            1 if bounds is None else high - low
        )
    h = check_number("h", h, least=0, most=(high - low) / 2)
    block = max(VALUES_PER_CALL // max(D, 1), 1) if block is None else check_count("block", block)

    flat = rows(x)  # (N, D)
    above, below = xp.clip(flat + h, low, high), xp.clip(flat - h, low, high)
    if scheme == "forward":
        above, below = (
            xp.where(flat + h <= high, above, below),
            flat,
        )  # backward where the upper bound is near
    distance = above - below  # of close numbers: exact
    if not bool((distance != 0).all()):
        raise ValueError(f"h is so small that x + h is x in {x.dtype}, got {h}")

    base = (
        below if scheme == "central" else flat[:, :1]
    )  # forward differences share one point, x itself
    moved = xp.concatenate(
        [above, base], axis=1
    )  # candidate c of an example is the example with moved[:, c] in its place
    values = ask(loss, x, alongside, moved, block)  # (N, 2D) or (N, D + 1)
    gradient = (values[:, :D] - values[:, D:]) / distance
    return GradientEstimate(gradient.astype(x.dtype).reshape(x.shape), moved.shape[1])


def ask(loss: Callable, x, alongside: tuple, moved, block: int):
    """The loss (N, C) of each example, column c with ``moved[:, c]``, (N, C), put in place ``c mod D``; asked for in blocks."""
    xp, flat = array_module(x), rows(x)
    (N, C), D = moved.shape, flat.shape[1]
    values = [xp.zeros(0, x.dtype)]
    for start in range(0, N * C, block):
        candidate = xp.arange(start, min(start + block, N * C))
        example, c = candidate // C, candidate % C
        images = flat[example]  # a copy
        images[candidate - start, c % D] = moved[example, c]
        value = loss(images.reshape(-1, *x.shape[1:]), *(a[example] for a in alongside))
        values.append(check_values(value, len(candidate)))
    return xp.concatenate(values).reshape(N, C)


def check_values(value, count: int):
    """Check that ``value`` is what a loss returns: one finite number per image."""
    if getattr(value, "shape", None) != (count,) or value.dtype.kind != "f":
        got = (
            f"{value.dtype} of shape {value.shape}"
            if hasattr(value, "dtype")
            else type(value).__name__
        )
        raise ValueError(
            f"loss must return one floating-point number per image, ({count},), got {got}"
        )
    if not bool(array_module(value).isfinite(value).all()):
        raise ValueError("loss must be finite, got NaN or infinity")
    return value


def check_inside(x, bounds) -> tuple[float, float]:
    low, high = check_bounds(bounds, x.dtype)
    if not bool(((low <= x) & (x <= high)).all()):
        raise ValueError(f"x must lie inside bounds ({low}, {high}), and hold no NaN")
    return low, high


class QueryGradient:
    r"""A model known by its answers alone, as one that can be differentiated: its gradient is estimated from queries.

    Any attack by gradients takes it in place of a model, ``fgsm(QueryGradient(predict), x, y=y, eps=0.1)``. Forwards it is ``predict``;
    backwards, for the gradient g that an attack sends to the logits F, it is :func:`estimate_gradient` of
    :math:`x \mapsto \sum_k g_k F_k(x)`: 2D queries per example, or D + 1, each time that an attack pulls a gradient back.

    Arguments: ``predict``, from images to logits (N, K), or with ``probabilities=True`` to probabilities, whose logarithms are logits up
    to a constant that no attack sees. (Logits are better: a probability that was rounded to 0 or 1 does not change with the pixels.)
    ``h``, ``scheme``, ``block`` and ``bounds`` as for :func:`estimate_gradient`; ``bounds`` must be the attack's own.
    ``predict`` is asked from one thread and gets copies, unless it is
    :class:`~minadv.parallel.thread_safe`.

    ``queries`` counts all images that ``predict`` was ever asked about.
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
        self.predict, self.probabilities = predict, probabilities
        self.how = {"h": h, "scheme": scheme, "block": block, "bounds": bounds}
        estimate_gradient(
            predict, np.zeros((0, 1)), **self.how
        )  # nothing is asked, but a wrong argument is named now
        self.queries = 0
        self._counting = threading.Lock()

    def __call__(self, x):
        images = raw(x)

        def weighted(images, g):
            return (self.ask(images).astype(np.float64) * g).sum(
                axis=1
            )  # rounding here would be magnified by 1 / h

        def rule(g):
            return estimate_gradient(weighted, images, g, **self.how).gradient

        return record(self.ask(images), (x, rule))

    def ask(self, images):
        """The logits (n, K) that ``predict`` gives, counted."""
        with self._counting:
            self.queries += len(images)
        answers = in_chunks(
            self.predict,
            lambda part: check_logits(self.predict(part), len(part)),
            images,
            most=self.how["block"],
        )
        if not self.probabilities:
            return answers
        if len(answers) and not are_probabilities(answers):
            raise ValueError(
                "predict must return probabilities, rows >= 0 that add up to 1, as probabilities=True says"
            )
        xp = array_module(answers)
        return xp.log(xp.maximum(answers, xp.finfo(answers.dtype).tiny))
