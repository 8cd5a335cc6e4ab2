"""What every attack shares: the goal, the exact ball, the gradient of the margin, and the result."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from minadv import losses
from minadv.autograd import vjp
from minadv.backend import array_module, like, to_numpy
from minadv.parallel import chunk_size, map_chunks

__all__ = ["AttackResult", "Ball", "Goal", "check_count", "check_images", "check_number", "evaluate", "score_gradient"]


# ------------------------------------------------------------------------------------------------------------- checking arguments


def check_number(name: str, value, *, least: float = -math.inf, most: float = math.inf) -> float:
    """``value`` as a finite float in [least, most]; else a :class:`ValueError` or :class:`TypeError` that names the argument."""
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if not (math.isfinite(number) and least <= number <= most):
        limits = [f">= {least:g}"] * math.isfinite(least) + [f"<= {most:g}"] * math.isfinite(most)
        raise ValueError(f"{name} must be a finite number{' ' if limits else ''}{' and '.join(limits)}, got {value!r}")
    return number


def check_count(name: str, value, *, least: int = 1) -> int:
    """``value`` as an integer >= least; else a :class:`ValueError` or :class:`TypeError` that names the argument."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value.__index__() < least:
        raise ValueError(f"{name} must be >= {least}, got {value!r}")
    return value.__index__()


def check_bounds(bounds, dtype=np.float64) -> tuple[float, float]:
    """``(low, high)``, finite and low < high, as numbers of ``dtype`` (the images' own: 0.1 means what 0.1 is there)."""
    try:
        low, high = (float(np.dtype(dtype).type(b)) for b in bounds)
    except (TypeError, ValueError):
        raise ValueError(f"bounds must be two numbers (low, high), got {bounds!r}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"bounds must be finite and low < high, got {bounds!r}")
    return low, high


def check_images(x, bounds) -> tuple[float, float]:
    """Check that ``x`` is a batch of images, ``(N, H, W, C)`` or ``(N, D)``, float32 or float64, inside ``bounds``; return the bounds."""
    if not hasattr(x, "dtype") or not hasattr(x, "shape"):
        raise TypeError(f"x must be a NumPy or CuPy array, got {type(x).__name__}")
    if x.dtype not in (np.float32, np.float64):
        hint = ": divide by 255 first" if x.dtype == np.uint8 else ""
        raise TypeError(f"x must be float32 or float64, got {x.dtype}{hint}")
    if x.ndim < 2:
        raise ValueError(f"x must be a batch, (N, H, W, C) or (N, D), got shape {x.shape}: write x[None] for a single image")
    low, high = check_bounds(bounds, x.dtype)
    if x.size:
        smallest, largest = float(x.min()), float(x.max())
        if math.isnan(smallest) or math.isnan(largest):
            raise ValueError("x must not contain NaN")
        if smallest < low or largest > high:
            raise ValueError(f"x must lie inside bounds ({low:g}, {high:g}), got values from {smallest:g} to {largest:g}")
    return low, high


def check_logits(logits, count: int):
    """Check that a model returned logits ``(N, K)``, and warn where they look like probabilities."""
    if getattr(logits, "ndim", None) != 2 or len(logits) != count or logits.shape[1] < 2:
        raise ValueError(f"the model must return logits (N, K) with N = {count} and K >= 2, got shape {getattr(logits, 'shape', None)}")
    if not count:
        return logits
    xp = array_module(logits)
    if not bool(xp.isfinite(logits).all()):
        raise ValueError("the model returned logits that are not finite (NaN or infinity)")
    if float(logits.min()) >= 0 and float(xp.abs(logits.sum(axis=1) - 1).max()) < 1e-3:
        warnings.warn(
            "the model seems to return probabilities: every row is >= 0 and adds up to 1. Attacks need logits, the numbers before "
            "the softmax, whose gradients do not vanish where the model is sure",
            stacklevel=4,
        )
    return logits


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
            raise ValueError(f"give exactly one of y (the labels to get away from) and target (the labels to reach), got {got}")
        name, label = ("y", y) if target is None else ("target", target)
        if not hasattr(label, "dtype"):
            label = np.asarray(label)
        if label.dtype.kind not in "iu":
            raise TypeError(f"{name} must be integers, got dtype {label.dtype}")
        if label.ndim == 0:
            label = np.full(len(x), int(label))
        if label.shape != (len(x),):
            raise ValueError(f"{name} must be one integer or {len(x)} of them, got shape {label.shape}")
        if label.size and int(label.min()) < 0:
            raise ValueError(f"{name} must not be negative, got {int(label.min())}")
        return cls(like(label, x), target is not None)

    def check_range(self, classes: int):
        """Raise if a label is none of the model's ``classes``: known only once the model has answered."""
        if self.label.size and int(self.label.max()) >= classes:
            name = "target" if self.targeted else "y"
            raise ValueError(f"{name} must lie in 0..{classes - 1}, the model's classes, got {int(self.label.max())}")

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
    logits = check_logits(map_chunks(model, x, chunk=chunk_size(model, x)), len(x))
    if goal is not None:
        goal.check_range(logits.shape[1])
    return logits


def score_gradient(model: Callable, x, goal: Goal):
    r"""``(logits, g)``: one forward pass, and :math:`g = \nabla_x` of :meth:`Goal.score`, the direction in which the attack succeeds.

    The score is a log-odds margin m, and the gradient of the cross-entropy is −σ(−m)·∇m: so sign(g) is what FGSM needs, the sign of the
    loss's gradient, but right also where the softmax saturates. Warns if it is all zero for some images: a flat model, not a robust one.
    """

    def chunk(x, label):
        part = replace(goal, label=label)

        logits, pull = vjp(model, x)
        check_logits(logits, len(x))
        part.check_range(logits.shape[1])
        score, pull_score = vjp(part.score, logits)
        return logits, pull(pull_score(array_module(x).ones_like(score)))

    logits, g = map_chunks(chunk, x, goal.label, chunk=chunk_size(model, x))
    dead = int((~g.reshape(len(g), -1).any(axis=1)).sum()) if g.size else 0
    if dead:
        warnings.warn(
            f"the gradient is exactly zero for {dead} of {len(g)} images: a gradient attack cannot move them, "
            "which does not make the model robust",
            stacklevel=3,
        )
    return logits, g


# --------------------------------------------------------------------------------------------------------------------- the ball


class Ball:
    r"""The :math:`L_\infty` ball of radius ``eps`` around ``x``, inside ``bounds``, exactly: ``low <= z <= high`` if and only if z is in
    it.

    ``x + eps`` is rounded, and so in about half of all cases lies outside. Here ``high`` is the largest number of the dtype of ``x`` with
    :math:`high - x \le eps` *as real numbers*, eps being the float64 given, and ``low`` likewise. Projection is then a clip (C1).
    """

    def __init__(self, x, eps: float, bounds: tuple[float, float] = (0.0, 1.0)):
        self.eps = eps = check_number("eps", eps, least=0)
        low, high = check_bounds(bounds, x.dtype)
        self.low = array_module(x).maximum(-_round_down_sum(-x, eps, x.dtype), low)
        self.high = array_module(x).minimum(_round_down_sum(x, eps, x.dtype), high)

    def project(self, z):
        """The point of the ball nearest to ``z``."""
        return array_module(z).clip(z, self.low, self.high)


def _round_down_sum(a, b: float, dtype):
    """The largest numbers of ``dtype`` that are <= a + b as real numbers.

    Knuth's TwoSum gives a + b = s + error exactly, s being the rounded sum in float64. Where s, rounded once more to ``dtype``, lies above
    a + b, the next number below does not.
    """
    xp = array_module(a)
    with np.errstate(over="ignore", invalid="ignore"):  # beyond the largest number: infinity, which bounds then cut
        a = a.astype(np.float64)
        s = a + b
        t = s - a
        error = (a - (s - t)) + (b - t)
        rounded = s.astype(dtype)
        above = (rounded > s) | ((rounded == s) & (error < 0))
        return xp.where(above, xp.nextafter(rounded, xp.asarray(-np.inf, dtype=dtype)), rounded)


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
        """The result of an attack that made ``x_adv`` in ``steps`` (one number or (N,)), judged by one more forward pass."""
        label = evaluate(model, x_adv, goal).argmax(axis=1)
        steps = like(np.broadcast_to(to_numpy(steps), len(x)).copy(), x)
        return cls(x, x_adv, label, goal.reached(label), steps, queries)

    def __len__(self):
        return len(self.x)

    @property
    def perturbation(self):
        """``x_adv − x``, in float64, where the difference of two float32 numbers of one size is exact."""
        return self.x_adv.astype(np.float64) - self.x.astype(np.float64)

    def _rows(self):
        return array_module(self.x).abs(self.perturbation).reshape(len(self.x), math.prod(self.x.shape[1:]))

    @property
    def linf(self):
        """The largest change of a value, per example (N,); pixel value."""
        return self._rows().max(axis=1, initial=0) if array_module(self.x) is np else self._rows().max(axis=1)

    @property
    def l2(self):
        """The Euclidean size of the change, per example (N,)."""
        rows = self._rows()
        return array_module(self.x).sqrt((rows * rows).sum(axis=1))

    @property
    def l0(self):
        """How many pixels changed, per example (N,): all channels of one place count as one pixel."""
        changed = self.x_adv != self.x
        if changed.ndim == 4:
            changed = changed.any(axis=3)
        return changed.reshape(len(self.x), -1 if len(self.x) else 0).sum(axis=1)

    def __repr__(self):
        n = len(self.x)
        return f"AttackResult({int(self.success.sum())} of {n} succeeded)"
