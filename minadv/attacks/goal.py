"""What an attack wants, and the gradient that leads there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from minadv import losses
from minadv.autograd import vjp
from minadv.backend import Array, array_module, like
from minadv.checks import check_array
from minadv.inference import check_called_with_images, check_logits
from minadv.numerics import rows
from minadv.parallel import in_chunks

Labels: TypeAlias = Array | Sequence[int] | int  # integers (N,), or one integer for all


@dataclass(frozen=True, eq=False)
class Goal:
    """What an attack wants: away from ``label`` (untargeted, y) or to it (targeted).

    ``label``: integers (N,), where the images are. An index gives the goal of a part of the batch.
    """

    label: Array
    targeted: bool

    @classmethod
    def of(cls, x: Array, *, y: Labels | None = None, target: Labels | None = None) -> Goal:
        """The goal for the batch ``x`` from exactly one of ``y`` and ``target``."""
        if (y is None) == (target is None):
            got = "neither" if y is None else "both"
            raise ValueError(
                "give exactly one of y (the labels to get away from) and target (the labels to "
                f"reach), got {got}"
            )
        name, label = ("y", y) if target is None else ("target", target)
        if not hasattr(label, "dtype") or isinstance(label, np.generic):
            try:
                label = np.asarray(label)
            except ValueError as error:
                raise ValueError(f"{name} must be integers: {error}") from None
            if not label.size:  # NumPy takes an empty list for floating point
                label = label.astype(int)
        label = check_array(name, label)
        one_hot = label.ndim == 2 and len(label) == len(x)
        hint = f": write {name}.argmax(axis=1) for one-hot labels" if one_hot else ""
        if label.dtype.kind not in "iu":
            raise TypeError(f"{name} must be integers, got dtype {label.dtype}{hint}")
        if label.ndim == 0:
            label = np.full(len(x), int(label))
        if label.shape != (len(x),):
            raise ValueError(
                f"{name} must be one integer or {len(x)} of them, got shape {label.shape}{hint}"
            )
        if label.size and int(label.min()) < 0:
            raise ValueError(f"{name} must not be negative, got {int(label.min())}")
        return cls(like(label, x), target is not None)

    def check_range(self, classes: int) -> None:
        """Raise if a label is not one of the model's classes, known only from its logits."""
        if self.label.size and int(self.label.max()) >= classes:
            raise ValueError(
                f"{'target' if self.targeted else 'y'} must lie in 0..{classes - 1}, the model's "
                f"classes, got {int(self.label.max())}"
            )

    def reached(self, label: Array) -> Array:
        """Success per example, stated once: targeted, label = target; untargeted, label ≠ y."""
        return label == self.label if self.targeted else label != self.label

    def score(self, logits):
        """What the attack raises, per example: the log-odds margin of the target, or minus y's.

        It can be differentiated, and never saturates.
        """
        m = losses.margin(logits, self.label)
        return m if self.targeted else -m

    def __getitem__(self, index) -> Goal:
        return replace(self, label=self.label[index])


def score_gradient(
    model: Callable, x: Array, goal: Goal, score: Callable = Goal.score, *alongside: Array
) -> tuple[Array, Array]:
    r"""``(logits, g)`` from one forward pass, :math:`g = \nabla_x` of :meth:`Goal.score`.

    ``g`` is the direction in which the attack succeeds. The score is a log-odds margin m, and the
    gradient of the cross-entropy is −σ(−m)·∇m. Thus sign(g) is what FGSM needs, the sign of the
    loss's gradient, and is right also where the softmax saturates.

    Another ``score``, from ``scores.py`` say, is called as ``score(goal, logits, *alongside)``;
    ``alongside`` are arrays with one row per image.
    """
    check_called_with_images(model)

    def ascent(x, label, *alongside):
        part = replace(goal, label=label)
        logits, pull = vjp(model, x)
        part.check_range(check_logits(logits, len(x)).shape[1])
        value, pull_score = vjp(lambda logits: score(part, logits, *alongside), logits)
        g = pull(pull_score(array_module(x).ones_like(value)))
        if not bool(array_module(g).isfinite(g).all()):
            raise ValueError("the model must have a finite gradient, got NaN or infinity")
        return logits, g

    return in_chunks(model, ascent, x, goal.label, *alongside)


def warn_of_zero_gradients(slopes: Array, images: int) -> None:
    """Warn if some of so many ``images`` have a gradient of zeros: ``slopes`` is 0 there.

    ``slopes``: (N, ...), the gradients, or booleans that say whether a gradient is not all zero.
    The model is flat there, which makes it look robust. Such an image never moves, so it is
    enough to look at one step's gradient.
    """
    zero = int((~rows(slopes).any(axis=1)).sum())
    if zero:
        warnings.warn(
            f"the gradient is exactly zero for {zero} of {images} images ({zero / images:.1%}): "
            "a gradient attack cannot move them, which does not make the model robust",
            stacklevel=3,  # the caller of the attack
        )
