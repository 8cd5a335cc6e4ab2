"""Auto-PGD: projected gradient descent that finds its step size by itself.

Croce & Hein 2020, *Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks*, algorithm 1.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from minadv import inference
from minadv.attacks.balls import BALLS
from minadv.attacks.best import Best
from minadv.attacks.goal import Goal, Labels, score_gradient, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.attacks.scores import dlr, dlr_towards
from minadv.backend import Array, array_module
from minadv.checks import (
    check_choice,
    check_count,
    check_flag,
    check_images,
    check_number,
    check_rng,
)
from minadv.numerics import each

# How many classes each loss takes.
LOSSES = {"margin": 2, "dlr": 3, "targeted dlr": 4}
MOMENTUM = 0.75  # α of the paper


def apgd(
    model: Callable,
    x: Array,
    *,
    y: Labels | None = None,
    target: Labels | None = None,
    eps: float,
    norm: Literal["linf", "l2"] = "linf",
    loss: Literal["margin", "dlr", "targeted dlr"] = "margin",
    steps: int = 100,
    restarts: int = 1,
    rho: float = 0.75,
    rng: np.random.Generator | int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    early_stop: bool = True,
) -> AttackResult:
    r"""Climb in steps with momentum, and halve the step size of an image that gets no further.

    .. math:: z_{k+1} = \Pi_B(x_k + \eta \, s(\nabla f(x_k))), \quad
        x_{k+1} = \Pi_B(x_k + \alpha (z_{k+1} - x_k) + (1 - \alpha)(x_k - x_{k-1}))

    B is the ball, s the direction of steepest ascent, f the loss, α = 0.75. The steps start at
    η = 2ε. At checkpoints, an image with few rises or no better maximum than at the last one goes
    on from its best point with η / 2. So there is no step size to choose.

    Parameters
    ----------
    eps, norm
        ε >= 0, the radius of the ball under ``"linf"`` or ``"l2"``. It holds as real numbers.
    loss
        ``"margin"``: the log-odds. Only its order and its direction count here, and the
        cross-entropy has the same. ``"dlr"``: the difference of logits ratio, which does
        not depend on the scale of the logits; with ``target``, its targeted form.
        ``"targeted dlr"``: away from ``y``, each restart towards another class, likeliest first.
    steps, restarts
        Gradients per restart, >= 1, and how often to start, each time from a random point.
    rho
        ρ in [0, 1], the share of steps since the last checkpoint that must rise.
    rng
        A generator or a seed. Each restart draws one start, relative to the original, for all
        images. Thus an image's result does not depend on the rest of the batch.
    early_stop
        Whether an image leaves with its first success. If not, all take all steps, for the
        highest log-odds.
    model, x, y, target, bounds
        What all attacks share, and what they raise and warn of: see :mod:`minadv.attacks`.

    Returns
    -------
    AttackResult
        The best iterate: a success before a failure, then the highest log-odds. ``steps`` counts
        all restarts; 0 if the original or the random start succeeds.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, y=y, target=target)
    check_choice("norm", norm, *BALLS)
    ball = BALLS[norm](x, eps, bounds)
    steps, restarts = check_count("steps", steps), check_count("restarts", restarts)
    rho, rng = check_number("rho", rho, least=0, most=1), check_rng(rng)
    early_stop = check_flag("early_stop", early_stop)
    logits = inference.logits(model, x)
    scores = scores_of(loss, goal, logits)
    checkpoints, best, g = checkpoints_of(steps), Best(x, goal, logits), x[:0]
    for restart in range(restarts):
        running = best.failures() if early_stop else array_module(x).arange(len(x))
        score, *rivals = scores(restart)
        start = ball[running].project(x[running] + ball.offset(rng))
        climb = Climb(start, 2 * ball.eps)
        for k in range(steps):
            if not len(running):
                break
            aim, beside = goal[running], [rival[running] for rival in rivals]
            logits, g = score_gradient(model, climb.x, aim, score, *beside)
            best.offer(running, climb.x, logits)
            climb.look(score(aim, logits, *beside), g)  # lines 7 and 8
            if k in checkpoints:
                climb.check(rho)  # lines 10 to 13
            still = ~best.success[running]
            g = g[still]  # behind the boundary the ratio may be flat
            if early_stop:
                running, climb = running[still], climb[still]
            climb.step(ball[running])  # lines 1, 5 and 6
            best.steps[running] += 1
        if len(running):
            best.offer(running, climb.x, inference.logits(model, climb.x))
    warn_of_zero_gradients(g, len(x))
    return AttackResult.judge(model, x, best.x, goal, best.steps)


class Climb:
    """Where each image stands, and where it was highest: algorithm 1, line by line."""

    def __init__(self, start: Array, eta: float):
        xp, n = array_module(start), len(start)
        self.first, self.looks = True, 0  # no momentum yet; losses seen since the last checkpoint
        self.x = self.previous = self.x_max = start
        self.g = self.g_max = xp.zeros_like(start)
        self.f, self.f_max = xp.full(n, np.inf), xp.full(n, -np.inf)
        self.f_before, self.halved = self.f_max, xp.zeros(n, dtype=bool)  # at the last checkpoint
        self.rises = xp.zeros(n, dtype=int)
        self.eta = xp.full(n, eta, start.dtype)

    def look(self, f: Array, g: Array) -> None:
        """Take in the loss ``f`` (n,) and its gradient ``g`` at x."""
        xp, better = array_module(f), f > self.f_max
        self.rises = self.rises + (f > self.f)
        self.x_max = xp.where(each(better, g), self.x, self.x_max)
        self.g_max = xp.where(each(better, g), g, self.g_max)
        self.f_max = xp.maximum(f, self.f_max)
        self.f_before = self.f_max if self.first else self.f_before
        self.f, self.g, self.looks = f, g, self.looks + (not self.first)

    def check(self, rho: float) -> None:
        """At a checkpoint: halve η and go back to the maximum where nothing is gained (line 11)."""
        xp = array_module(self.f)
        few_rises = self.rises < rho * self.looks  # condition 1
        stuck = ~self.halved & (self.f_max == self.f_before)  # condition 2
        halve = few_rises | stuck
        self.eta = xp.where(halve, self.eta / 2, self.eta)  # line 12
        self.x = xp.where(each(halve, self.x), self.x_max, self.x)
        self.g = xp.where(each(halve, self.x), self.g_max, self.g)
        self.f = xp.where(halve, self.f_max, self.f)
        self.halved, self.f_before = halve, self.f_max
        self.rises, self.looks = xp.zeros_like(self.rises), 0

    def step(self, ball) -> None:
        """One step, with momentum but for the first one."""
        x, ahead = self.x, each(self.eta, self.x) * ball.steepest(self.g)
        z = ball.project(x + ahead)  # lines 1 and 5
        if not self.first:
            z = ball.project(
                x + MOMENTUM * (z - x) + (1 - MOMENTUM) * (x - self.previous)
            )  # line 6
        self.previous, self.x, self.first = x, z, False

    def __getitem__(self, index) -> Climb:
        part = copy.copy(self)
        for name, value in vars(self).items():
            if hasattr(value, "shape"):
                setattr(part, name, value[index])
        return part


def checkpoints_of(steps: int) -> set[int]:
    r""":math:`w_j = \lceil p_j N \rceil`, the intervals getting shorter (section 3)."""
    p = [0.0, 0.22]
    while p[-1] < 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    return {math.ceil(round(p_j * steps, 9)) for p_j in p[1:]}  # 0.41 * 100 is above 41


def scores_of(loss: str, goal: Goal, logits: Array) -> Callable[[int], tuple]:
    """From a restart's number to ``(score, *rivals)``; ``score(goal, logits, *rivals)`` is called.

    ``rivals``: none, or one array (N,), the other classes that this restart heads for.
    """
    least, K = LOSSES[check_choice("loss", loss, *LOSSES)], logits.shape[1]
    goal.check_range(K)
    least += loss == "dlr" and goal.targeted
    if least > K:
        raise ValueError(f"loss {loss!r} needs at least {least} classes, got {K}")
    if loss != "targeted dlr":
        return lambda restart: (Goal.score if loss == "margin" else dlr,)
    if goal.targeted:
        raise ValueError("loss 'targeted dlr' takes y; with a target, 'dlr' heads for it")
    xp = array_module(logits)
    own = goal.label[:, None] == xp.arange(K)
    others = xp.where(own, np.inf, -logits).argsort(axis=1)[:, :-1]  # (N, K - 1)
    return lambda restart: (dlr_towards, others[:, restart % (K - 1)])
