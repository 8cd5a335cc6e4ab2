"""The best iterate of each image so far: the likeliest one of a ball, or the smallest success."""

from __future__ import annotations

from minadv.attacks.goal import Goal
from minadv.backend import Array, array_module


class Best:
    """The best iterate of each image so far.

    The log-odds alone do not decide success: with more than two classes p_y = 0.4 can be the
    largest probability, and 0.45 need not be.
    """

    def __init__(self, x: Array, goal: Goal, logits: Array):
        self.goal = goal
        self.x = x.copy()
        self.success = goal.reached(logits.argmax(axis=1))
        self.score = goal.score(logits)
        self.steps = array_module(x).zeros(len(x), dtype=int)

    def failures(self) -> Array:
        """The indices of the images without a success."""
        return array_module(self.success).flatnonzero(~self.success)

    def offer(self, running: Array, z: Array, logits: Array) -> None:
        """Take each image of ``z``, ``running`` being their indices, that beats the best so far."""
        goal = self.goal[running]
        success, score = goal.reached(logits.argmax(axis=1)), goal.score(logits)
        before = self.success[running]
        better = (success & ~before) | ((success == before) & (score > self.score[running]))
        k = running[better]
        self.x[k], self.success[k], self.score[k] = z[better], success[better], score[better]


class Smallest:
    """The smallest success of each image so far."""

    def __init__(self, x: Array):
        xp = array_module(x)
        self.original, self.x = x, x.copy()
        self.size = xp.full(len(x), xp.inf)
        self.steps = xp.zeros(len(x), dtype=int)

    def offer(self, running: Array, z: Array, size: Array, success: Array) -> None:
        """Take each image of ``z`` that succeeds and is smaller; ``running`` are their indices."""
        better = success & (size < self.size[running])
        self.x[running[better]], self.size[running[better]] = z[better], size[better]
