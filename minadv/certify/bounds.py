r"""Bounds of a network's values over a ball of images: intervals, and lines (CROWN).

Gowal et al. 2018, *On the effectiveness of interval bound propagation for training verifiably
robust models* (intervals). Zhang et al. 2018, *Efficient neural network robustness certification
with general activation functions* (CROWN: lines, and backward substitution).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from minadv.backend import Array, array_module
from minadv.certify.network import size_of, steps_of
from minadv.certify.rows import Rows, each_value
from minadv.certify.steps import Affine, Bend, Box, Pool, Step, Unfold
from minadv.checks import check_choice, check_function, check_images, check_number, largest_size
from minadv.parallel import in_chunks

Method: TypeAlias = Literal["intervals", "crown"]
Norm: TypeAlias = Literal["linf", "l2"]
METHODS, NORMS = get_args(Method), get_args(Norm)
WORK_BYTES = 64 * 2**20  # of coefficients at a time


@dataclass(frozen=True)
class Bounds:
    """Least and largest value of each logit on the ball of each image: (N, K), float64."""

    low: Array
    high: Array


@dataclass(frozen=True)
class Passage:
    """What enters a step: the box of its values, and the slack of what the step makes of them."""

    low: Array
    high: Array
    slack: Array


class Ball:
    r"""All real images within ``eps`` (N,) of each ``x`` (N, H, W, C), inside ``bounds``.

    The box [low, high] around them is rounded outward, where the attacks' balls round inward.
    """

    def __init__(self, x: Array, eps: Array, norm: str, bounds: tuple[float, float]):
        xp = array_module(x)
        self.x, self.eps, self.norm = x.astype(np.float64), eps.reshape(-1, 1, 1, 1), norm
        outward = [xp.asarray(end, dtype=np.float64) for end in (-np.inf, np.inf)]
        self.low, self.high = (
            xp.clip(xp.nextafter(self.x + e, end), *bounds)
            for e, end in zip((-self.eps, self.eps), outward, strict=True)
        )


def logit_bounds(
    model: Callable,
    x: Array,
    *,
    eps: float,
    method: Method = "crown",
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Bounds:
    r"""Numbers between which each logit stays for every image within ``eps`` of ``x``.

    For ``"intervals"``, each layer's box is carried to the next: center and radius become
    :math:`W \mu + b` and :math:`|W| r` (Gowal et al., equation 6). For ``"crown"``, the logits are
    bounded by linear functions of the image, found from the last layer back to the first (Zhang et
    al., theorem 3.2), and so is every value before a ReLU. That is slower, and never looser.

    Parameters
    ----------
    model, x, eps, method, norm, bounds
        See :mod:`minadv.certify`.

    Returns
    -------
    Bounds
        ``low`` and ``high``, (N, K). They hold for the logits as real numbers and as computed.

    Raises
    ------
    ValueError, TypeError
        For arguments that are not as said there.
    """
    steps, ball, sizes = prepared(model, x, eps, method, norm, bounds)

    def of(x, eps):
        around = ball(x, eps)
        passages, (low, high) = trace(steps, around, method)
        if method == "crown" or not any(isinstance(step, Bend | Pool) for step in steps):
            low, high = refined(steps, passages, around, low, high)
        return low[:, 0, 0], high[:, 0, 0]

    return Bounds(*in_chunks(None, of, x, sizes, most=images_at_once(steps, method)))


def prepared(model: Callable, x: Array, eps: float, method: str, norm: str, bounds):
    """The network's steps, the ball of a part of ``x``, and eps for each image; all checked."""
    check_function("model", model, "model(x)", None)
    bounds = check_images(x, bounds)
    check_choice("method", method, *METHODS)
    check_choice("norm", norm, *NORMS)
    eps = check_number("eps", eps, least=0, most=largest_size(x.dtype))
    steps, size = steps_of(model, x), size_of(x)

    def ball(part, eps):
        return Ball(part.reshape(len(part), *size), eps, norm, bounds)

    return steps, ball, array_module(x).full(len(x), eps)


def trace(steps: list[Step], ball: Ball, method: str) -> tuple[list[Passage], Box]:
    """The box of what enters each step, and of what the last one returns.

    With ``"crown"``, the box before a bend is made smaller by backward substitution from there.
    Before the first bend an interval is exact in the box of ``"linf"``, and lines help with
    ``"l2"``.
    """
    low, high = ball.low, ball.high
    passages: list[Passage] = []
    bent = False
    for step in steps:
        if isinstance(step, Bend | Pool):
            helpful = method == "crown" if bent else ball.norm == "l2"
            if helpful and passages:
                low, high = refined(steps, passages, ball, low, high)
            bent = True
        passages.append(Passage(low, high, step.slack(low, high)))
        low, high = step.box(low, high, passages[-1].slack)
    return passages, (low, high)


def refined(steps: list[Step], passages: list[Passage], ball: Ball, low, high) -> Box:
    """The box [low, high] of what the last of ``passages`` returns, made smaller by lines."""
    xp, c = array_module(low), low.shape[3]
    least = least_values(steps, passages, each_value(low.shape[1:], low), ball)
    by_lines = (side.reshape(low.shape) for side in (least[:, :, :c], -least[:, :, c:]))
    return xp.maximum(low, next(by_lines)), xp.minimum(high, next(by_lines))


def least_values(
    steps: list[Step], passages: list[Passage], rows: Rows, ball: Ball, stop: int = 0
) -> Array:
    """Lower bounds (N, P, D) of ``rows``, linear functions of what the last passage returns.

    Backward substitution: from functions of a step's output to functions of its input that are
    never larger. At the input of step ``stop`` their least value is known; at 0 this is the image.
    """
    for step, seen in reversed(list(zip(steps, passages, strict=False))[stop:]):
        rows = step.substitute(rows, seen.low, seen.high, seen.slack)
    least = rows.least(passages[stop].low, passages[stop].high)
    if stop == 0 and ball.norm == "l2":
        least = array_module(least).maximum(least, rows.least_near(ball.x, ball.eps))
    return least


def margins(steps: list[Step], ball: Ball, y: Array, method: str) -> Array:
    r"""Lower bounds (N, K) of :math:`z_y - z_j` on the ball; infinity at j = y.

    The difference is one linear function, and is carried back as one: through the affine layers at
    the end (Gowal et al., section 3, elide the last layer), and to the image for ``"crown"``.
    """
    passages, (low, _) = trace(steps, ball, method)
    xp = array_module(low)
    eye = xp.eye(low.shape[3])
    coef = (eye[y][:, None] - eye)[:, None, :, None, None, :]  # (N, 1, K, 1, 1, K)
    rows = Rows(coef, xp.zeros((1, 2), dtype=int), 0.0)
    bends = [k + 1 for k, step in enumerate(steps) if isinstance(step, Bend | Pool)]
    after_bends = bends[-1] if bends else 0
    found = least_values(steps, passages, rows, ball, stop=after_bends)
    if method == "crown" and after_bends:
        found = xp.maximum(found, least_values(steps, passages, rows, ball))
    return xp.where(eye[y] > 0, np.inf, found[:, 0])


def images_at_once(steps: list[Step], method: str) -> int:
    """So many that the coefficients of one layer's functions fit WORK_BYTES."""
    largest = 1
    for k, last in enumerate(steps):
        if not isinstance(last, Bend) or method != "crown":
            continue
        places, window = last.size[0] * last.size[1], (1, 1)
        for step in reversed(steps[:k]):
            if isinstance(step, Unfold):
                window = step.size[:2]
            if isinstance(step, Affine):
                taps = math.prod(step.kernel.shape[:3])
                largest = max(largest, 16 * places * last.size[2] * math.prod(window) * taps)
                (h, w), (sh, sw), (kh, kw) = window, step.stride, step.kernel.shape[:2]
                window = (h - 1) * sh + kh, (w - 1) * sw + kw
    return max(1, min(256, WORK_BYTES // largest))
