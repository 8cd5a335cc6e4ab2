"""The fast gradient sign method (A10, B5, E5): Goodfellow, Shlens & Szegedy 2014, *Explaining and harnessing adversarial examples*."""

from __future__ import annotations

from collections.abc import Callable

from minadv.attacks.balls import Ball
from minadv.attacks.goal import Goal, score_gradient, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.backend import array_module
from minadv.checks import check_images

__all__ = ["fgsm"]


def fgsm(
    model: Callable, x, *, y=None, target=None, eps: float, bounds: tuple[float, float] = (0.0, 1.0)
) -> AttackResult:
    r"""One step of size ``eps`` along the sign of the gradient: :math:`x + \epsilon \cdot \mathrm{sign}(\nabla_x L(W, x, y))`, clipped to
    ``bounds``.

    Under the :math:`L_\infty` norm this is the steepest ascent of the loss. With ``target``, the loss towards the target is descended
    instead. The sign is taken from the log-odds margin, where it is right also if the softmax saturates; and :math:`|x_{adv} - x| \le
    \epsilon` holds for every element as real numbers.

    Arguments: ``model``, from images to logits (N, K); ``x``, images (N, H, W, C) or (N, D), float32 or float64, inside ``bounds``; exactly
    one of ``y`` (labels to get away from) and ``target`` (labels to reach), integers (N,) or one; ``eps``, the largest change of a pixel
    value, >= 0. Always takes its one step, also where an example succeeds already. Warns of gradients that are exactly zero. Raises
    :class:`ValueError` or :class:`TypeError` naming a wrong argument.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, y=y, target=target)
    ball = Ball(x, eps, bounds)
    _, g = score_gradient(
        model, x, goal
    )  # the score rises where the loss rises, or falls towards the target
    warn_of_zero_gradients(g, len(x))
    x_adv = ball.project(x + ball.eps * array_module(x).sign(g))
    return AttackResult.judge(model, x, x_adv, goal, steps=1)
