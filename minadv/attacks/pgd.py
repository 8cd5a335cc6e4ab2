"""Projected gradient descent (E6).

Madry et al. 2018, *Towards deep learning models resistant to adversarial attacks*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from minadv import inference
from minadv.attacks.balls import BALLS
from minadv.attacks.best import Best
from minadv.attacks.blocks import in_blocks
from minadv.attacks.goal import Goal, Labels, score_gradient, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.backend import Array, array_module
from minadv.checks import (
    check_choice,
    check_count,
    check_flag,
    check_images,
    check_number,
    check_rng,
    largest_size,
)
from minadv.numerics import rows

# Total length of the default steps, in units of eps: enough to cross the ball from any start and
# to change direction (Madry et al.).
REACH = 2.5


def pgd(
    model: Callable,
    x: Array,
    *,
    y: Labels | None = None,
    target: Labels | None = None,
    eps: float,
    alpha: float | None = None,
    steps: int = 40,
    random_start: bool = True,
    restarts: int = 1,
    rng: np.random.Generator | int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    norm: Literal["linf", "l2"] = "linf",
    early_stop: bool = True,
) -> AttackResult:
    r"""Climb the loss in small steps, each projected onto the ball around the original.

    .. math:: x_{t+1} = \Pi_{B(x, \epsilon)} (x_t + \alpha \, \mathrm{sign}(\nabla_x L(x_t, y)))
        \qquad \text{(under } L_2: \; \nabla_x L / \lVert \nabla_x L \rVert_2 \text{)}

    With ``target``, the loss towards the target is descended instead. Each image gets its best
    iterate, the original included: a success before a failure, then the highest log-odds.

    Parameters
    ----------
    eps
        ε >= 0, the radius of the ball: the largest change of a pixel value (``"linf"``), or the
        Euclidean length of the change (``"l2"``). Either holds as real numbers.
    alpha
        The size of a step in the same norm; by default ``2.5 * eps / steps``.
    steps, restarts
        Steps per restart, and how often to start, both >= 1. Restarts need ``random_start``.
    random_start
        Start uniformly in the ball (clipped to ``bounds``), or else at the original.
    rng
        A generator or a seed. Each restart draws one start, relative to the original, for all
        images. Thus an image's result does not depend on the rest of the batch.
    norm
        ``"linf"`` or ``"l2"``.
    early_stop
        Whether an image leaves with its first success. If not, all take all steps, for the
        highest log-odds.
    model, x, y, target, bounds
        What all attacks share, and what they raise and warn of: see :mod:`minadv.attacks`.

    Returns
    -------
    AttackResult
        ``steps`` counts all restarts; 0 if the original or the random start succeeds.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, y=y, target=target)
    check_choice("norm", norm, *BALLS)
    ball = BALLS[norm](x[:1], eps, bounds)
    steps, restarts = check_count("steps", steps), check_count("restarts", restarts)
    rng, random_start = check_rng(rng), check_flag("random_start", random_start)
    early_stop = check_flag("early_stop", early_stop)
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts must be 1 without random_start, got {restarts}")
    alpha = REACH * ball.eps / steps if alpha is None else alpha
    alpha = check_number("alpha", alpha, least=0, most=largest_size(x.dtype))
    starts = [ball.offset(rng) for _ in range(restarts)] if random_start else [0.0]

    def climb(x, goal):  # a block of the batch
        xp, ball = array_module(x), BALLS[norm](x, eps, bounds)
        logits = inference.logits(model, x)
        goal.check_range(logits.shape[1])
        best, slopes = Best(x, goal, logits), xp.ones(len(x), dtype=bool)
        for start in starts:
            running = best.failures() if early_stop else xp.arange(len(x))
            z = ball.project(x + start) if random_start else x.copy()
            for _ in range(steps):
                if not len(running):
                    break
                logits, g = score_gradient(model, z[running], goal[running])
                best.offer(running, z[running], logits)
                if early_stop:
                    still = ~best.success[running]
                    running, g = running[still], g[still]
                # Madry et al., the equation for x^{t+1}
                z[running] = ball[running].project(z[running] + alpha * ball.steepest(g))
                best.steps[running] += 1
            if len(running):
                best.offer(running, z[running], inference.logits(model, z[running]))
                slopes[running] = rows(g).any(axis=1)
        return best.x, best.steps, slopes

    x_adv, taken, slopes = in_blocks(climb, x, goal)
    warn_of_zero_gradients(slopes, len(x))
    return AttackResult.judge(model, x, x_adv, goal, taken)
