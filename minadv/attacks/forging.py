"""Forging (A1-A4): the weights stay frozen, and the pixels descend until the model sees the target.

Kian Katanforoosh, *Vulnerabilities of neural networks*; Szegedy et al. 2013, *Intriguing
properties of neural networks*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minadv import losses, ops
from minadv.attacks.balls import Ball
from minadv.attacks.goal import Goal, Labels, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.autograd import raw, vjp
from minadv.backend import Array, array_module
from minadv.checks import (
    check_array,
    check_count,
    check_function,
    check_images,
    check_inside,
    check_number,
    largest_size,
)
from minadv.inference import check_logits, on_a_copy
from minadv.numerics import each, rows
from minadv.parallel import in_chunks
from minadv.protocols import LOSS, Loss


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ForgeResult(AttackResult):
    """An :class:`AttackResult` and its way there: row t after t steps, (steps + 1, N).

    ``loss``: the objective, λ's part included. ``distance``: ‖x − x_ref‖₂, in pixel values.
    """

    loss: Array
    distance: Array


def squared_error(logits, target):
    r""":math:`\frac12 \lVert \hat y - y_{target} \rVert^2` (A1), per example.

    ŷ is the softmax of ``logits``, y_target the one-hot ``target``.
    """
    values = raw(logits)
    one_hot = target[:, None] == array_module(values).arange(values.shape[1])  # (N, K)
    return losses.squared_error(ops.softmax(logits), one_hot.astype(values.dtype))


def forge(
    model: Callable,
    x: Array,
    *,
    target: Labels,
    reference: Array | None = None,
    weight: float = 0.0,
    loss: Loss = squared_error,
    lr: float = 0.3,
    steps: int = 200,
    clip: float | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> ForgeResult:
    r"""Gradient descent on the pixels, from any start, until the model takes it for ``target``.

    .. math:: L = \tfrac12 \lVert \hat y - y_{target} \rVert^2 + \lambda \lVert x - x_{ref}
              \rVert^2, \qquad x \leftarrow x - \alpha \, \frac{\partial L}{\partial x}

    The squared error is flat where the model is sure of another class: its slope is −2 p_target by
    the target's logit, and −p_j by that of another class j. So it often fails from a clear image;
    ``loss=losses.cross_entropy`` has a slope of about 1 there, and does not.

    Parameters
    ----------
    reference
        x_ref, what the result is to look like, of the shape and dtype of ``x``, inside ``bounds``;
        by default ``x``.
    weight
        λ >= 0, the price of distance, per squared pixel value. Stable for ``lr`` < 1 / λ only.
    loss
        From logits (N, K) and targets (N,) to one number each, (N,), differentiable.
    lr
        α >= 0, the step size: pixel values per unit of gradient.
    steps
        How many, >= 1; all are taken, also where an example succeeds already.
    clip
        The largest change of a pixel value in one step, >= 0. It holds as real numbers. A longer
        step is shortened as a whole, and so keeps its direction. By default not limited.
    model, x, target, bounds
        What all attacks share, and what they raise and warn of: see :mod:`minadv.attacks`.

    Returns
    -------
    ForgeResult
        With ``loss`` and ``distance``, before the first and after each step.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, target=target)
    reference = x if reference is None else check_reference(reference, x, bounds)
    weight, lr = check_number("weight", weight, least=0), check_number("lr", lr, least=0)
    check_function("loss", loss, LOSS, None, None)
    steps = check_count("steps", steps)
    clip = None if clip is None else check_number("clip", clip, least=0, most=largest_size(x.dtype))

    def objective(z, reference, label):  # L, one number per image
        logits = on_a_copy(model)(z)
        Goal(label, targeted=True).check_range(check_logits(raw(logits), len(label)).shape[1])
        error = loss(logits, label)
        shape = getattr(error, "shape", None)
        if shape != label.shape:
            raise ValueError(
                f"loss must return one number per image, shape {label.shape}, got {shape}"
            )
        return error + 2 * weight * losses.squared_error(z, reference)  # 2 cancels the ½ in it

    def descend(z, reference, label):  # a chunk of the batch, from the first step to the last
        xp = array_module(z)
        L, distance = [], []
        for t in range(steps + 1):
            value, pull = vjp(lambda z: objective(z, reference, label), z)
            L.append(value)
            distance.append(xp.sqrt((rows(z.astype(np.float64) - reference) ** 2).sum(axis=1)))
            if t < steps:
                g = pull(xp.ones_like(value))
                z = step(z, g, lr, clip, bounds)
        return z, g, xp.stack(L, axis=1), xp.stack(distance, axis=1)

    x_adv, g, L, distance = in_chunks(model, descend, x, reference, goal.label)
    result = AttackResult.judge(model, x, x_adv, goal, steps)
    warn_of_zero_gradients(g[~result.success], len(x))
    return ForgeResult(**vars(result), loss=L.T, distance=distance.T)


def step(z: Array, g: Array, lr: float, clip: float | None, bounds: tuple[float, float]) -> Array:
    """``z − lr·g``, shortened as a whole if it is longer than ``clip`` (A4), inside ``bounds``."""
    xp = array_module(z)
    change, (low, high) = lr * g.astype(np.float64), bounds
    if not bool(xp.isfinite(change).all()):
        raise ValueError("the model must have a finite gradient, got NaN or infinity")
    if clip is not None:
        largest = each(xp.abs(rows(change)).max(axis=1), z)
        change = change * (clip / xp.maximum(largest, clip or 1))  # times 1 if it is short enough
        ball = Ball(z, clip, bounds)  # the step's own rounding must not lead further than clip
        low, high = ball.low, ball.high
    return xp.clip(z - change, low, high).astype(z.dtype)


def check_reference(reference: Array, x: Array, bounds: tuple[float, float]) -> Array:
    """``reference``, checked to be a batch of images such as ``x``."""
    check_array("reference", reference)
    if reference.shape != x.shape or reference.dtype != x.dtype:
        raise ValueError(
            f"reference must be {x.dtype} of shape {x.shape}, as x is, got {reference.dtype} of "
            f"shape {reference.shape}"
        )
    array_module(reference, x)  # both on one side
    check_inside("reference", reference, bounds)
    return reference
