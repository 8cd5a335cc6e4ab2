"""Carlini and Wagner's attack under the L2 norm, which broke defensive distillation (D9).

Carlini & Wagner 2017, *Towards evaluating the robustness of neural networks*, section VI-A.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from minadv.attacks.best import Smallest
from minadv.attacks.goal import Goal, Labels, score_gradient, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.attacks.scores import lead, least_lead
from minadv.backend import Array, array_module
from minadv.checks import check_count, check_images, check_number, largest_size
from minadv.numerics import each, rows
from minadv.parallel import in_chunks

# Values at a bound are moved inside by this share: with the 1e-6 of the authors' code, black pixels
# take five hundred steps to become visible. As there: until an image succeeds, its c grows by
# this factor, up to this value; and a tenth of the steps without this gain ends a descent.
INSIDE, GROWTH, MOST_CONST, GAIN = 1e-3, 10.0, 1e10, 1e-4
BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8  # Adam's usual constants


def carlini_wagner(
    model: Callable,
    x: Array,
    *,
    y: Labels | None = None,
    target: Labels | None = None,
    confidence: float = 0.0,
    lr: float = 0.01,
    steps: int = 1000,
    search_steps: int = 9,
    initial_const: float = 1e-3,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> AttackResult:
    r"""The smallest change under L2 that succeeds, by Adam on the change and the logits at once.

    .. math:: \min_w \lVert x' - x \rVert_2^2 + c \, f(x'), \quad
        x' = \tfrac{low + high}{2} + \tfrac{high - low}{2} \tanh w, \quad
        f(x') = \max\bigl(\max_{j \ne t} z_j - z_t, \; -\kappa\bigr)

    for a target t, and :math:`f = \max(z_y - \max_{j \ne y} z_j, -\kappa)` without one. The
    tanh keeps every pixel inside ``bounds``. Each image has its own c, found by binary search: the
    smallest one that succeeds changes the image least.

    Logits do not saturate. Thus a softmax that rounds to 0 and 1 hides nothing from this attack.
    Without a target it follows the likeliest other class, which need not be the nearest.

    Parameters
    ----------
    confidence
        κ >= 0, by how much another logit must exceed that of y, or the target's all others.
    lr
        The step size of Adam, in units of w, > 0.
    steps
        The most steps of each descent, >= 1. An image leaves a descent early, when a tenth of the
        steps gained less than a ten-thousandth of its objective.
    search_steps
        How many values of c are tried, >= 1.
    initial_const
        The first c > 0, squared pixel values per logit. It grows tenfold until the image succeeds.
    model, x, y, target, bounds
        What all attacks share, and what they raise and warn of: see :mod:`minadv.attacks`.

    Returns
    -------
    AttackResult
        The smallest success of all iterates. An image without one is returned unchanged. ``steps``
        counts those of all descents.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, y=y, target=target)
    kappa = check_number("confidence", confidence, least=0, most=largest_size(x.dtype))
    lr = check_number("lr", lr, above=0, most=largest_size(np.float32))
    steps, search_steps = check_count("steps", steps), check_count("search_steps", search_steps)
    c_0 = check_number("initial_const", initial_const, above=0, most=MOST_CONST)
    xp, (logits, g) = array_module(x), score_gradient(model, x, goal, lead)

    def search(x, label):  # a chunk of the batch, with all its descents
        best, aim = Smallest(x), replace(goal, label=label)
        c, lower, upper = (xp.full(len(x), value, x.dtype) for value in (c_0, 0, MOST_CONST))
        for _ in range(search_steps):
            found = descend(model, x, aim, best, c, kappa, lr, steps, bounds)
            upper = xp.where(found, xp.minimum(upper, c), upper)
            lower = xp.where(found, lower, xp.maximum(lower, c))
            c = xp.where(upper < MOST_CONST, (lower + upper) / 2, GROWTH * lower)
            c = xp.minimum(c, MOST_CONST)
        return best.x, best.steps

    x_adv, taken = x.copy(), xp.zeros(len(x), dtype=int)
    done = goal.reached(logits.argmax(axis=1)) & (lead(goal, logits) >= kappa)
    running = xp.flatnonzero(~done)
    warn_of_zero_gradients(g[running], len(x))
    x_adv[running], taken[running] = in_chunks(model, search, x[running], goal.label[running])
    return AttackResult.judge(model, x, x_adv, goal, taken)


def descend(model, x, goal, best, c, kappa, lr, steps, bounds) -> Array:
    """Adam on :math:`\\lVert x' - x \\rVert^2 + c f(x')`, from x: which images succeeded, (n,).

    Kingma & Ba 2015, algorithm 1. What succeeds on the way is offered to ``best``.
    """
    xp, (low, high), every = array_module(x), bounds, max(steps // 10, 1)
    middle, half = (low + high) / 2, (high - low) / 2
    w = xp.arctanh((x - middle) * ((1 - INSIDE) / half))
    m, v = xp.zeros_like(w), xp.zeros_like(w)
    running, found = xp.arange(len(x)), xp.zeros(len(x), dtype=bool)
    before = lowest = xp.full(len(x), xp.inf)
    for t in range(1, steps + 1):
        tanh = xp.tanh(w)
        z = xp.clip(middle + half * tanh, low, high)
        logits, g = score_gradient(model, z, goal, lead)
        missing = kappa + least_lead(logits) - lead(goal, logits)  # f + κ, before max(·, 0)
        size = (rows(z.astype(np.float64) - x) ** 2).sum(axis=1)
        best.offer(running, z, size, missing <= 0)
        best.steps[running] += 1
        found[running] |= missing <= 0

        price = each(xp.where(missing > 0, c, 0), x)
        g = (2 * (z - x) - price * g) * (half * (1 - tanh) * (1 + tanh))  # the slope by w
        m = BETA_1 * m + (1 - BETA_1) * g
        v = BETA_2 * v + (1 - BETA_2) * g * g
        w = w - lr * (m / (1 - BETA_1**t)) / (xp.sqrt(v / (1 - BETA_2**t)) + TINY)

        lowest = xp.minimum(lowest, size + c * xp.maximum(missing, 0))
        if t % every == 0:
            still = xp.flatnonzero(lowest <= (1 - GAIN) * before)
            running, goal, before = running[still], goal[still], lowest[still]
            lowest, c = lowest[still], c[still]
            x, w, m, v = x[still], w[still], m[still], v[still]
        if not len(running):
            break
    return found
