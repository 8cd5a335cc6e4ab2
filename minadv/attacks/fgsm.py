"""The fast gradient sign method (A10, B5, E5).

Goodfellow, Shlens & Szegedy 2014, *Explaining and harnessing adversarial examples*.
"""

from __future__ import annotations

from collections.abc import Callable

from minadv.attacks.balls import Ball
from minadv.attacks.blocks import in_blocks
from minadv.attacks.goal import Goal, Labels, score_gradient, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.backend import Array, array_module
from minadv.checks import check_images
from minadv.numerics import rows


def fgsm(
    model: Callable,
    x: Array,
    *,
    y: Labels | None = None,
    target: Labels | None = None,
    eps: float,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> AttackResult:
    r"""One step of size ``eps`` along the sign of the loss's gradient, clipped to ``bounds``.

    .. math:: x_{adv} = x + \epsilon \, \mathrm{sign}(\nabla_x L(W, x, y))

    Under the :math:`L_\infty` norm this is the direction of steepest ascent. With ``target``, the
    loss towards the target is descended instead. The sign is taken from the log-odds margin, where
    it is right even if the softmax saturates.

    Parameters
    ----------
    eps
        ε >= 0, the largest change of a pixel value; it holds for every value as real numbers.
    model, x, y, target, bounds
        What all attacks share, and what they raise and warn of: see :mod:`minadv.attacks`.

    Returns
    -------
    AttackResult
        Always after one step, also where an example succeeds already.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, y=y, target=target)

    def step(x, goal):  # a block of the batch
        ball = Ball(x, eps, bounds)
        # the score rises where the loss rises, or falls towards the target
        _, g = score_gradient(model, x, goal)
        x_adv = ball.project(x + ball.eps * array_module(x).sign(g))
        return x_adv, rows(g).any(axis=1)

    x_adv, slopes = in_blocks(step, x, goal)
    warn_of_zero_gradients(slopes, len(x))
    return AttackResult.judge(model, x, x_adv, goal, steps=1)
