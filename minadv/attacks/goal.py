"""What an attack wants, and the gradient that leads there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from minadv import losses
from minadv.autograd import vjp
from minadv.backend import array_module, like
from minadv.inference import check_logits
from minadv.numerics import rows
from minadv.parallel import in_chunks


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

    return in_chunks(model, chunk, x, goal.label)


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
