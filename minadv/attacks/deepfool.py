"""DeepFool (E7).

Moosavi-Dezfooli, Fawzi & Frossard 2016, *DeepFool: a simple and accurate method to fool deep
neural networks*.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from minadv import inference
from minadv.attacks.goal import Goal, Labels, warn_of_zero_gradients
from minadv.attacks.hyperplanes import NORMS, differences, nearest_hyperplane
from minadv.attacks.result import AttackResult
from minadv.attacks.scores import leads
from minadv.backend import Array, array_module
from minadv.checks import check_choice, check_count, check_images, check_number, largest_size
from minadv.numerics import rows
from minadv.parallel import in_chunks


def deepfool(
    model: Callable,
    x: Array,
    *,
    y: Labels | None = None,
    overshoot: float = 0.02,
    steps: int = 50,
    candidates: int = 10,
    norm: Literal["l2", "linf"] = "l2",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> AttackResult:
    r"""Step just beyond the nearest boundary of the linearized model, until the label changes.

    .. math:: x_{i+1} = x_i + (1 + \eta) \, r_i, \quad r_i = \frac{|f_l|}{\lVert w_l \rVert_2^2}
        w_l, \quad l = \arg\min_{k \ne y} \frac{|f_k|}{\lVert w_k \rVert_2}, \quad
        f_k = z_k - z_y, \quad w_k = \nabla f_k

    clipped to ``bounds``, z being the logits at :math:`x_i`. Equivalently
    :math:`x_0 + (1 + \eta) \sum r_i`: the overshoot applies to the accumulated change. For an
    affine model one step is exact: no change smaller than :math:`r_0` reaches another class. For
    the :math:`L_\infty` norm, see :func:`~minadv.attacks.hyperplanes.nearest_hyperplane`.

    An image is done when another logit exceeds that of y by more than rounding. Thus its label is
    not y, in whatever batch, even with overshoot 0.

    Parameters
    ----------
    y
        The labels to get away from, integers (N,) or one; by default those that the model predicts.
    overshoot
        η >= 0, the share by which each step is longer than needed.
    steps
        The most steps that an image may take, >= 1.
    candidates
        How many of the likeliest classes are considered in each step, y included, >= 2.
    norm
        ``"l2"`` or ``"linf"``: the size that is kept small.
    model, x, bounds
        What all attacks share, and what they raise and warn of: see :mod:`minadv.attacks`.

    Returns
    -------
    AttackResult
        An image that has another label than y already is returned unchanged with 0 steps.
    """
    low, high = check_images(x, bounds)
    eta = check_number("overshoot", overshoot, least=0, most=largest_size(np.float32))
    steps, candidates = check_count("steps", steps), check_count("candidates", candidates, least=2)
    check_choice("norm", norm, *NORMS)
    xp, logits = array_module(x), inference.logits(model, x)
    goal = Goal.of(x, y=logits.argmax(axis=1) if y is None else y)
    goal.check_range(logits.shape[1])

    x_adv, taken = x.copy(), xp.zeros(len(x), dtype=int)  # algorithm 2, line 4
    running = xp.flatnonzero(~goal.reached(logits.argmax(axis=1)))
    for i in range(steps):
        if not len(running):  # line 5
            break

        def step(x_i, y, i=i):  # a chunk of the running images
            f_k, w_k = differences(model, x_i, y, candidates)  # lines 6 to 9
            w_k = without_stopped(w_k, x_i, low, high) if i else w_k
            _, r_i = nearest_hyperplane(f_k, w_k, norm=norm, beyond=rounding(x_i, norm))
            return r_i.reshape(x_i.shape)  # lines 10 and 11

        r_i = in_chunks(model, step, x_adv[running], goal.label[running])
        if i == 0:
            warn_of_zero_gradients(r_i, len(x))
        moves = rows(r_i).any(axis=1)
        running, r_i = running[moves], r_i[moves]
        x_adv[running] = xp.clip(x_adv[running] + (1 + eta) * r_i, low, high)  # line 12
        taken[running] += 1
        # This costs one more forward pass, but saves the images that are done a pull per class.
        logits = inference.logits(model, x_adv[running])
        running = running[~leads(goal[running], logits)]
    return AttackResult.judge(model, x, x_adv, goal, taken)


def without_stopped(w: Array, x: Array, low: float, high: float) -> Array:
    """``w``, (n, C, D), with 0 for each pixel of ``x`` that stands at a bound and would cross it.

    Clipping cuts a step short of the hyperplane, then the next one, and so on: 50 plain steps leave
    a quarter of MNIST's images just before the boundary. So from the second step on, stopped
    pixels are left out.
    """
    xp, z = array_module(x), rows(x)[:, None]
    least, most = xp.where(z <= low, 0, -xp.inf), xp.where(z >= high, 0, xp.inf)
    return xp.clip(w, least.astype(w.dtype), most.astype(w.dtype))


def rounding(x: Array, norm: str) -> Array:
    """The size of a change of each image by one unit in the last place everywhere, (n,)."""
    unit, pixels = np.finfo(x.dtype), math.sqrt(math.prod(x.shape[1:])) if norm == "l2" else 1
    return float(unit.eps) * pixels * array_module(x).abs(rows(x)).max(axis=1) + float(unit.tiny)
