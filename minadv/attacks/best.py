"""The best iterate of each image so far: a success before a failure, then the higher score."""

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
