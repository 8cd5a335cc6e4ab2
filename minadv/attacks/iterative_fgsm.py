"""Iterated FGSM (C1, C2, D4): Kurakin, Goodfellow & Bengio 2016, *Adversarial examples in the physical world*."""

from __future__ import annotations

from collections.abc import Callable

from minadv.attacks.balls import Ball
from minadv.attacks.goal import Goal, score_gradient, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.backend import array_module
from minadv.checks import check_count, check_images

__all__ = ["iterative_fgsm"]


def iterative_fgsm(
    model: Callable,
    x,
    *,
    y=None,
    target=None,
    eps: float,
    steps: int,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> AttackResult:
    r"""FGSM with a step of ``eps / steps``, ``steps`` times, each from where the last one led; the last iterate is returned.

    .. math:: x \leftarrow x + \tfrac{\epsilon}{T} \, \mathrm{sign}(\nabla_x L), T \text{ times} \qquad \text{(with a target: } - \text{)}

    As real numbers T such steps lead no further than ε; rounding and ``bounds`` are why each is projected. Document D's steps of 0.001,
    200 times, are ``eps=0.2, steps=200``. With ``steps=1`` this is FGSM.

    Arguments: ``steps``, T >= 1; the others, what is warned of and what is raised as for :func:`~minadv.attacks.fgsm.fgsm`. Always takes
    all its steps, also where an example succeeds already.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, y=y, target=target)
    ball = Ball(x, eps, bounds)
    T = check_count("steps", steps)
    eta = ball.eps / T

    z = x
    for _ in range(T):
        _, g = score_gradient(model, z, goal)
        z = ball.project(z + eta * array_module(x).sign(g))  # C1
    warn_of_zero_gradients(g, len(x))
    return AttackResult.judge(model, x, z, goal, steps=T)
