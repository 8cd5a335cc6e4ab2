"""What an attack returns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minadv import inference
from minadv.attacks.goal import Goal
from minadv.backend import Array, like, to_numpy
from minadv.numerics import length_and_direction, rows


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack did to a batch of N images.

    ``x``: the originals, the array given. ``x_adv``: what became of them, same shape and dtype.
    ``label``: the model's labels for ``x_adv``, (N,). ``success``: (N,) bool, label ≠ y or
    label = target. ``steps``: (N,) integers, 0 for an image that was returned unchanged because it
    succeeded already. ``queries``: how often a black-box attack queried the model about each
    image, (N,) integers; None for the others.
    """

    x: Array
    x_adv: Array
    label: Array
    success: Array
    steps: Array
    queries: Array | None = None

    @classmethod
    def judge(
        cls, model: Callable, x: Array, x_adv: Array, goal: Goal, steps: Array | int
    ) -> AttackResult:
        """The result of an attack that made ``x_adv``, judged by one more forward pass.

        Warns if the model seems to return probabilities.
        """
        logits = inference.logits(model, x_adv)
        goal.check_range(logits.shape[1])
        if inference.are_probabilities(logits):
            warnings.warn(
                "the model seems to return probabilities: every row is >= 0 and adds up to 1. "
                "Attacks need logits, the numbers before the softmax, whose gradients do not "
                "vanish where the model is sure",
                stacklevel=3,  # the caller of the attack
            )
        label = logits.argmax(axis=1)
        each = np.broadcast_to(to_numpy(steps), len(x)).copy()
        return cls(x, x_adv, label, goal.reached(label), like(each, x))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def perturbation(self) -> Array:
        """``x_adv − x``, in float64: the difference of two float32 of similar size is exact."""
        return self.x_adv.astype(np.float64) - self.x

    @property
    def linf(self) -> Array:
        """The largest change of a value, per example (N,); pixel value."""
        return abs(rows(self.perturbation)).max(axis=1)

    @property
    def l2(self) -> Array:
        """The Euclidean size of the change, per example (N,); pixel value."""
        return length_and_direction(rows(self.perturbation))[0][:, 0]

    @property
    def l0(self) -> Array:
        """How many pixels changed, per example (N,); all channels of one place are one pixel."""
        changed = self.x_adv != self.x
        return rows(changed.any(axis=3) if changed.ndim == 4 else changed).sum(axis=1)

    def __repr__(self) -> str:
        return f"AttackResult({int(self.success.sum())} of {len(self)} succeeded)"
