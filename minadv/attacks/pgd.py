"""Projected gradient descent (E6): Madry et al. 2018, *Towards deep learning models resistant to adversarial attacks*."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minadv import inference
from minadv.attacks.balls import Ball, L2Ball
from minadv.attacks.goal import Goal, score_gradient, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.backend import array_module
from minadv.checks import check_count, check_images, check_number, check_rng, largest_size

__all__ = ["pgd"]

BALLS = {"linf": Ball, "l2": L2Ball}
REACH = 2.5  # the default steps together, in radii: from any start, enough to get anywhere and to turn (Madry et al.)


def pgd(
    model: Callable,
    x,
    *,
    y=None,
    target=None,
    eps: float,
    alpha: float | None = None,
    steps: int = 40,
    random_start: bool = True,
    restarts: int = 1,
    rng: np.random.Generator | int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    norm: str = "linf",
    early_stop: bool = True,
) -> AttackResult:
    r"""Climb the loss in small steps of steepest ascent, and after each return to the nearest point of the ball around the original.

    .. math::
        x_{t+1} = \Pi_{B(x, \epsilon)} \left( x_t + \alpha \, \mathrm{sign} \, g_t \right), \quad g_t = \nabla_x L(W, x_t, y)
        \qquad \text{(under } L_2: \; x_t + \alpha \, g_t / \lVert g_t \rVert_2 \text{)}

    With ``target``, the loss towards the target is descended instead. The gradient is the log-odds margin's, which points the same way and
    never saturates. Each image gets its best iterate, the original being one of them: a success before a failure, then the highest
    log-odds. :math:`\lVert x_{adv} - x \rVert \le \epsilon` holds as real numbers.

    Parameters
    ----------
    model
        From images to logits ``(N, K)``.
    x
        Images ``(N, H, W, C)`` or ``(N, D)``, float32 or float64, inside ``bounds``.
    y, target
        Exactly one: the labels to get away from, or those to reach; integers ``(N,)`` or one for all.
    eps
        The radius of the ball: the largest change of a pixel value (``"linf"``), or the largest Euclidean length of all (``"l2"``).
    alpha
        The size of a step in the same norm; by default ``2.5 * eps / steps``.
    steps
        Steps per restart, at least 1.
    random_start
        Whether to start anywhere in the ball (clipped to ``bounds``), all places being equally likely, or else at the original.
    restarts
        How often to start. More than once needs ``random_start``.
    rng
        A generator or a seed. Each restart draws one start, relative to the original, for all images: so an image's result does not depend
        on its company.
    bounds
        The least and the largest pixel value.
    norm
        ``"linf"`` or ``"l2"``.
    early_stop
        Whether an image leaves with its first success, and at once if it succeeds as it is. If not, all take all steps, for the highest
        log-odds.

    Returns
    -------
    AttackResult
        ``steps``: those taken over all restarts; 0 where the original succeeds, which is then returned unchanged, or the random start does.

    Warns
    -----
    UserWarning
        Of gradients that are exactly zero in the end, and of a model that seems to return probabilities.

    Raises
    ------
    ValueError, TypeError
        If an argument, or what the model returns, is not as said here.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, y=y, target=target)
    if norm not in tuple(BALLS):
        raise ValueError(f"norm must be 'linf' or 'l2', got {norm!r}")
    ball = BALLS[norm](x, eps, bounds)
    steps, restarts, rng = (
        check_count("steps", steps),
        check_count("restarts", restarts),
        check_rng(rng),
    )
    if restarts > 1 and not random_start:
        raise ValueError(
            f"restarts must be 1 without random_start, all being the same, got {restarts}"
        )
    alpha = (
        REACH * ball.eps / steps
        if alpha is None
        else check_number("alpha", alpha, least=0, most=largest_size(x.dtype))
    )

    logits = inference.logits(model, x)
    goal.check_range(logits.shape[1])
    best = Best(x, goal, logits)
    g = x[:0]
    for _ in range(restarts):
        i = (
            best.failures() if early_stop else array_module(x).arange(len(x))
        )  # the images in the batch
        z = ball.project(x + ball.offset(rng))[i] if random_start else x[i]
        ball_i, goal_i = ball[i], goal[i]
        for _ in range(steps):
            if not len(i):
                break
            logits, g = score_gradient(model, z, goal_i)
            best.offer(i, z, logits)
            if early_stop:
                stay = ~best.success[i]
                i, z, g, ball_i, goal_i = (each[stay] for each in (i, z, g, ball_i, goal_i))
            z = ball_i.project(z + alpha * ball_i.steepest(g))
            best.steps[i] += 1
        if len(i):
            best.offer(i, z, inference.logits(model, z))
    warn_of_zero_gradients(g, len(x))
    return AttackResult.judge(model, x, best.x, goal, best.steps)


class Best:
    """The best iterate of each image so far. Log-odds alone do not tell: p_y = 0.4 may still be the largest, and 0.45 not."""

    def __init__(self, x, goal: Goal, logits):
        self.goal = goal
        self.x = x.copy()
        self.success = goal.reached(logits.argmax(axis=1))
        self.score = goal.score(logits)
        self.steps = array_module(x).zeros(len(x), dtype=int)

    def failures(self):
        """The indices of the images without a success."""
        return array_module(self.success).flatnonzero(~self.success)

    def offer(self, i, z, logits):
        """Take each image of ``z``, whose indices are ``i``, that is better than the best so far."""
        goal = self.goal[i]
        success, score = goal.reached(logits.argmax(axis=1)), goal.score(logits)
        better = (success & ~self.success[i]) | (
            (success == self.success[i]) & (score > self.score[i])
        )
        k = i[better]
        self.x[k], self.success[k], self.score[k] = z[better], success[better], score[better]
