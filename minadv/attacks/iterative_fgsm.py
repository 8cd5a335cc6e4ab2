"""Iterated FGSM (C1, C2, D4).

Kurakin, Goodfellow & Bengio 2016, *Adversarial examples in the physical world*.
"""

from __future__ import annotations

from collections.abc import Callable

from minadv.attacks.balls import Ball
from minadv.attacks.blocks import in_blocks
from minadv.attacks.goal import Goal, Labels, score_gradient, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.backend import Array, array_module
from minadv.checks import check_count, check_images
from minadv.numerics import rows


def iterative_fgsm(
    model: Callable,
    x: Array,
    *,
    y: Labels | None = None,
    target: Labels | None = None,
    eps: float,
    steps: int,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> AttackResult:
    r"""FGSM with a step of ``eps / steps``, repeated ``steps`` times; returns the last iterate.

    .. math:: x_{t+1} = x_t + \tfrac{\epsilon}{T} \, \mathrm{sign}(\nabla_x L(W, x_t, y)),
        \quad t = 0 \dots T - 1 \qquad \text{(with a target: } - \text{)}

    As real numbers, T such steps lead no further than ε. Because of rounding and ``bounds``, each
    is projected nevertheless. With ``steps=1`` this is FGSM.

    Parameters
    ----------
    eps
        ε >= 0, the largest change of a pixel value; it holds for every value as real numbers.
    steps
        T >= 1. Dahal's 200 steps of 0.001 (D4) are ``eps=0.2, steps=200``.
    model, x, y, target, bounds
        What all attacks share, and what they raise and warn of: see :mod:`minadv.attacks`.

    Returns
    -------
    AttackResult
        Always after all T steps, also where an example succeeds already.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, y=y, target=target)
    T = check_count("steps", steps)

    def climb(x, goal):  # a block of the batch
        z, ball = x, Ball(x, eps, bounds)
        eta = ball.eps / T
        for _ in range(T):
            _, g = score_gradient(model, z, goal)
            z = ball.project(z + eta * array_module(x).sign(g))  # C1
        return z, rows(g).any(axis=1)

    x_adv, slopes = in_blocks(climb, x, goal)
    warn_of_zero_gradients(slopes, len(x))
    return AttackResult.judge(model, x, x_adv, goal, steps=T)
