"""What every attack shares: the goal, the gradient of the margin, and the result; from next door the checks and the exact balls."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from minadv import losses
from minadv.attacks.balls import Ball, L2Ball, length_and_direction, rows
from minadv.attacks.checks import (
    are_probabilities,
    check_bounds,
    check_count,
    check_images,
    check_logits,
    check_number,
    check_rng,
)
from minadv.autograd import vjp
from minadv.backend import array_module, like, to_numpy
from minadv.parallel import chunk_size, map_chunks

__all__ = [
    "AttackResult",
    "Ball",
    "Goal",
    "L2Ball",
    "check_bounds",
    "check_count",
    "check_images",
    "check_logits",
    "check_number",
    "check_rng",
    "evaluate",
    "score_gradient",
    "warn_of_zero_gradients",
]


# --------------------------------------------------------------------------------------------------------------------- the goal


@dataclass(frozen=True)
class Goal:
    """What an attack wants: away from ``label`` (untargeted, y) or to it (targeted). ``label``: integers (N,)."""

    label: object
    targeted: bool

    @classmethod
    def of(cls, x, *, y=None, target=None) -> Goal:
        """The goal for the batch ``x`` from exactly one of ``y`` and ``target``: integers (N,), or one integer for all."""
        if (y is None) == (target is None):
            got = "neither" if y is None else "both"
            raise ValueError(
                f"give exactly one of y (the labels to get away from) and target (the labels to reach), got {got}"
            )
        name, label = ("y", y) if target is None else ("target", target)
        if not hasattr(label, "dtype"):
            label = np.asarray(label)
        if label.dtype.kind not in "iu":
            raise TypeError(f"{name} must be integers, got dtype {label.dtype}")
        if label.ndim == 0:
            label = np.full(len(x), int(label))
        if label.shape != (len(x),):
            raise ValueError(
                f"{name} must be one integer or {len(x)} of them, got shape {label.shape}"
            )
        if label.size and int(label.min()) < 0:
            raise ValueError(f"{name} must not be negative, got {int(label.min())}")
        return cls(like(label, x), target is not None)

    def check_range(self, classes: int):
        """Raise if a label is none of the model's ``classes``: known only once the model has answered."""
        if self.label.size and int(self.label.max()) >= classes:
            name = "target" if self.targeted else "y"
            raise ValueError(
                f"{name} must lie in 0..{classes - 1}, the model's classes, got {int(self.label.max())}"
            )

    def reached(self, label):
        """Success per example, stated once: targeted, label = target; untargeted, label ≠ y."""
        return label == self.label if self.targeted else label != self.label

    def score(self, logits):
        """What the attack raises, per example: the log-odds margin of the target, or minus that of y. Differentiable, never saturated."""
        m = losses.margin(logits, self.label)
        return m if self.targeted else -m

    def __getitem__(self, index) -> Goal:
        return replace(self, label=self.label[index])


# ------------------------------------------------------------------------------------------------------------- asking the model


def evaluate(model: Callable, x, goal: Goal | None = None):
    """The model's logits for ``x``, (N, K), in parallel chunks; checked."""
    logits = map_chunks(
        lambda part: check_logits(model(part), len(part)), x, chunk=chunk_size(model, x)
    )
    if goal is not None:
        goal.check_range(logits.shape[1])
    return logits


def score_gradient(model: Callable, x, goal: Goal):
    r"""``(logits, g)``: one forward pass, and :math:`g = \nabla_x` of :meth:`Goal.score`, the direction in which the attack succeeds.

    The score is a log-odds margin m, and the gradient of the cross-entropy is −σ(−m)·∇m: so sign(g) is what FGSM needs, the sign of the
    loss's gradient, but right also where the softmax saturates.
    """

    def chunk(x, label):
        part = replace(goal, label=label)
        logits, pull = vjp(model, x)
        check_logits(logits, len(x))
        part.check_range(logits.shape[1])
        score, pull_score = vjp(part.score, logits)
        g = pull(pull_score(array_module(x).ones_like(score)))
        if not bool(array_module(g).isfinite(g).all()):
            raise ValueError("the model must have a finite gradient, got NaN or infinity")
        return logits, g

    return map_chunks(chunk, x, goal.label, chunk=chunk_size(model, x))


def warn_of_zero_gradients(g, images: int):
    """Warn if the gradient ``g`` is all zero for some of so many ``images``: the model is flat there, which makes it look robust.

    Such an image stays where it is, so the last step's gradient tells of all steps.
    """
    zero = int((~rows(g).any(axis=1)).sum())
    if zero:
        warnings.warn(
            f"the gradient is exactly zero for {zero} of {images} images ({zero / images:.1%}): a gradient attack cannot move them, "
            "which does not make the model robust",
            stacklevel=3,  # the caller of the attack
        )


# ------------------------------------------------------------------------------------------------------------------- the result


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack did to a batch of N images.

    ``x``: the originals; ``x_adv``: what became of them, same shape and dtype; ``label``: the model's labels for ``x_adv``, (N,);
    ``success``: (N,) bool, label ≠ y or label = target; ``steps``: (N,) integers, 0 for an image that was returned unchanged because it
    succeeded already. ``queries``: (N,) integers, how often a black-box attack asked the model about each image; None for the others.
    """

    x: object
    x_adv: object
    label: object
    success: object
    steps: object
    queries: object = None

    @classmethod
    def judge(cls, model: Callable, x, x_adv, goal: Goal, steps, queries=None) -> AttackResult:
        """The result of an attack that made ``x_adv`` in ``steps`` (one number or (N,)), judged by one more forward pass.

        Warns if the model seems to return probabilities.
        """
        logits = evaluate(model, x_adv, goal)
        if are_probabilities(logits):
            warnings.warn(
                "the model seems to return probabilities: every row is >= 0 and adds up to 1. Attacks need logits, the numbers before "
                "the softmax, whose gradients do not vanish where the model is sure",
                stacklevel=3,  # the caller of the attack
            )
        label = logits.argmax(axis=1)
        steps = like(np.broadcast_to(to_numpy(steps), len(x)).copy(), x)
        return cls(x, x_adv, label, goal.reached(label), steps, queries)

    def __len__(self):
        return len(self.x)

    @property
    def perturbation(self):
        """``x_adv − x``, in float64, where the difference of two float32 numbers of one size is exact."""
        return self.x_adv.astype(np.float64) - self.x

    @property
    def linf(self):
        """The largest change of a value, per example (N,); pixel value."""
        return abs(rows(self.perturbation)).max(axis=1)

    @property
    def l2(self):
        """The Euclidean size of the change, per example (N,); pixel value."""
        return length_and_direction(rows(self.perturbation))[0][:, 0]

    @property
    def l0(self):
        """How many pixels changed, per example (N,): all channels of one place count as one pixel."""
        changed = self.x_adv != self.x
        return rows(changed.any(axis=3) if changed.ndim == 4 else changed).sum(axis=1)

    def __repr__(self):
        return f"AttackResult({int(self.success.sum())} of {len(self)} succeeded)"
