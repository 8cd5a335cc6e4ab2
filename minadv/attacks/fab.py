"""The fast adaptive boundary attack, FAB.

Croce & Hein 2020, *Minimally distorted adversarial examples with a fast adaptive boundary attack*,
algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from minadv import inference
from minadv.attacks.best import Smallest
from minadv.attacks.goal import Goal, Labels, warn_of_zero_gradients
from minadv.attacks.hyperplanes import NORMS, differences, nearest_hyperplane, onto_hyperplane
from minadv.attacks.result import AttackResult
from minadv.attacks.scores import leads
from minadv.backend import Array, array_module, like
from minadv.checks import (
    check_choice,
    check_count,
    check_images,
    check_number,
    check_rng,
    largest_size,
)
from minadv.numerics import each, length_and_direction, rows
from minadv.parallel import in_chunks

HALVINGS = 10  # of the way back to the boundary, in place of the paper's three secants


def fab(
    model: Callable,
    x: Array,
    *,
    y: Labels | None = None,
    norm: Literal["linf", "l2"] = "linf",
    steps: int = 100,
    restarts: int = 1,
    candidates: int = 10,
    overshoot: float = 0.05,
    alpha_max: float = 0.1,
    beta: float = 0.9,
    rng: np.random.Generator | int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> AttackResult:
    r"""Keep to the boundary and move along it, towards the point that is nearest to the original.

    .. math:: x_{i+1} = \Pi_C\bigl((1 - \alpha)(x_i + \eta \, \delta_i)
        + \alpha (x_{orig} + \eta \, \delta_{orig})\bigr), \quad
        \alpha = \min\left(\frac{\lVert \delta_i \rVert}{\lVert \delta_i \rVert +
        \lVert \delta_{orig} \rVert}, \alpha_{max}\right)

    δ are the shortest ways from :math:`x_i` and from the original onto the nearest boundary of the
    model linearized at :math:`x_i`, inside ``bounds`` (the box C). After each success the search
    goes back a part of the way, :math:`x_{i+1} \leftarrow (1 - \beta) x_{orig} + \beta x_{i+1}`.

    Parameters
    ----------
    y
        The labels to get away from, integers (N,) or one; by default those that the model predicts.
    norm
        ``"linf"`` or ``"l2"``: the size that is kept small.
    steps, restarts
        Steps per restart and how often to start, both >= 1: first from the original, then at
        random, half as far from it as the best success.
    candidates
        How many of the likeliest classes are considered in each step, y included, >= 2.
    overshoot
        η − 1 >= 0, the share by which a step is longer than needed.
    alpha_max, beta
        :math:`\alpha_{max}` and β in [0, 1], the pull to the original, and what is kept of a
        success.
    rng
        A generator or a seed. Each restart draws one direction for all images.
    model, x, bounds
        What all attacks share, and what they raise and warn of: see :mod:`minadv.attacks`.

    Returns
    -------
    AttackResult
        The smallest success of all iterates, moved back onto the boundary. An image without one
        is returned unchanged.
    """
    bounds = check_images(x, bounds)
    check_choice("norm", norm, *NORMS)
    steps, restarts = check_count("steps", steps), check_count("restarts", restarts)
    candidates = check_count("candidates", candidates, least=2)
    eta = 1 + check_number("overshoot", overshoot, least=0, most=largest_size(np.float32))
    alpha_max = check_number("alpha_max", alpha_max, least=0, most=1)
    beta, rng = check_number("beta", beta, least=0, most=1), check_rng(rng)
    logits, xp = inference.logits(model, x), array_module(x)
    goal = Goal.of(x, y=logits.argmax(axis=1) if y is None else y)
    goal.check_range(logits.shape[1])

    def step(x_i, x, y):  # a chunk of the batch
        f_k, w_k = differences(model, x_i, y, candidates)
        s, _ = nearest_hyperplane(f_k, w_k, norm=norm)  # line 7
        n, z, z_orig = xp.arange(len(x)), rows(x_i), rows(x)
        w, f = w_k[n, s], f_k[n, s]
        delta = onto_hyperplane(z, w, -f, bounds, norm)  # line 8
        f_orig = f + (w * (z_orig - z)).sum(axis=1)
        delta_orig = onto_hyperplane(z_orig, w, -f_orig, bounds, norm)  # line 9
        both = (size := length(delta, norm)) + length(delta_orig, norm)
        alpha = xp.minimum(size / (both + (both == 0)), alpha_max)[:, None]  # line 10
        moved = (1 - alpha) * (z + eta * delta) + alpha * (z_orig + eta * delta_orig)
        moved = xp.clip(moved, *bounds).astype(x.dtype).reshape(x.shape)  # line 11
        return moved, (w_k != 0).any(axis=(1, 2))

    best = Smallest(x)
    running = xp.flatnonzero(~goal.reached(logits.argmax(axis=1)))
    x_orig, aim = x[running], goal[running]
    for restart in range(restarts):  # line 2
        x_i = random_start(x_orig, best.size[running], norm, rng, bounds) if restart else x_orig
        for i in range(steps):  # line 6
            x_i, slopes = in_chunks(model, step, x_i, x_orig, aim.label)
            if restart == i == 0:
                warn_of_zero_gradients(slopes, len(x))
            success = try_out(model, aim, best, running, x_i, norm)  # lines 12 to 16
            back = ((1 - beta) * x_orig + beta * x_i).astype(x.dtype)
            x_i = xp.where(each(success, x_i), back, x_i)  # line 17
        best.steps[running] += steps
    walk_back(model, aim, best, running, x_orig, norm)  # line 21
    return AttackResult.judge(model, x, best.x, goal, best.steps)


def length(change: Array, norm: str) -> Array:
    """The size of each row of ``change``, (n,)."""
    if norm == "l2":
        return length_and_direction(change)[0][:, 0]
    return array_module(change).abs(change).max(axis=1)


def try_out(model, goal, best, running, z, norm) -> Array:
    """Ask the model about ``z``, offer what succeeds to ``best``: whether each succeeds, (n,)."""
    success = leads(goal, inference.logits(model, z))
    change = rows(z.astype(np.float64) - best.original[running])
    best.offer(running, z, length(change, norm), success)
    return success


def random_start(x, size, norm, rng, bounds) -> Array:
    """A point half as far away as the best success, in a direction that all images share.

    Without a success, half the width of ``bounds`` away.
    """
    xp, (low, high) = array_module(x), bounds
    draw = (
        rng.uniform(-1, 1, (1, *x.shape[1:]))
        if norm == "linf"
        else rng.standard_normal((1, *x.shape[1:]))
    )
    direction = like(draw / length(rows(draw), norm)[0], x)
    half = xp.where(xp.isfinite(size), size, high - low) / 2
    return xp.clip(x + each(half, x) * direction, low, high).astype(x.dtype)


def walk_back(model, goal, best, running, x, norm) -> None:
    """Halve the way from the original to the best success, again and again."""
    xp = array_module(x)
    inner, outer = x, best.x[running]
    for _ in range(HALVINGS):
        between = inner + (outer - inner) / 2
        success = each(try_out(model, goal, best, running, between, norm), x)
        inner, outer = xp.where(success, inner, between), xp.where(success, between, outer)
