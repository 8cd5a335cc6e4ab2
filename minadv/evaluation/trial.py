"""An attack on a model, repeated with other settings: what the checklist and the sweep run."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from minadv import inference
from minadv.attacks.balls import BALLS, L2Ball
from minadv.attacks.goal import Labels
from minadv.backend import Array, like
from minadv.checks import check_choice, check_function, check_images
from minadv.evaluation.judging import images_of, judged

FORM = "attack(model, x, y=y, eps=eps)"


def accepts(attack: Callable, name: str) -> bool:
    """Whether ``attack`` takes the keyword ``name``."""
    try:
        parameters = inspect.signature(attack).parameters.values()
    except ValueError:  # some built-in functions do not tell theirs
        return False
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(
        p.kind is inspect.Parameter.VAR_KEYWORD or (p.name == name and p.kind in kinds)
        for p in parameters
    )


def check_attack(name: str, attack: Callable, required: tuple, offered: tuple) -> Callable:
    """Check that ``attack`` takes the ``required`` settings, and fixes none that it is offered."""
    if not callable(attack):
        raise TypeError(f"{name} must be a function, called as {FORM}, got {attack!r}")
    settings = [*required, *(setting for setting in offered if accepts(attack, setting))]
    check_function(name, attack, FORM, None, None, y=None, **dict.fromkeys(settings))
    fixed = attack.keywords if isinstance(attack, partial) else {}
    if taken := [setting for setting in settings if setting in fixed]:
        raise ValueError(
            f"{name} must leave {taken[0]} open, as it is called with others: give {taken[0]} "
            f"itself, got {taken[0]}={fixed[taken[0]]!r}"
        )
    return attack


class Trial:
    """An attack on a model at the images that the model reads right, as often as asked.

    ``share``: how many of all images those are. ``left(...)``: the share of all images that the
    model still reads right, in float64.
    """

    def __init__(
        self, model: Callable, x: Array, y: Labels, attack: Callable, *,
        norm: Literal["linf", "l2"], bounds: tuple[float, float], **settings: Any,
    ):  # fmt: skip
        check_function("model", model, "model(x)", None)
        self.bounds = check_images(x, bounds)
        logits, labels = judged(model, x, y)
        right = logits.argmax(axis=1) == labels
        if not bool(right.any()):
            raise ValueError("x must hold an image that the model reads right, got none")
        self.model, self.function = model, attack
        self.every, self.x, self.y = x, x[right], labels[right]
        self.share, self.classes = float(right.mean()), logits.shape[1]
        check_choice("norm", norm, *BALLS)
        self.norm = norm
        self.ball = BALLS[norm]
        offered = settings | {"norm": norm, "bounds": bounds}
        self.settings = {k: v for k, v in offered.items() if accepts(attack, k)}
        self.eps = self.ball(self.x[:0], settings["eps"], self.bounds).eps
        width = self.bounds[1] - self.bounds[0]
        diagonal = float(np.sqrt(np.prod(x.shape[1:]))) if self.ball is L2Ball else 1.0
        self.unbounded = width * diagonal  # from any image to any other

    def images(self, model: Callable | None = None, x=None, y=None, **changed) -> Array:
        """What the attack makes of the images, of all or of those given."""
        x, y = (self.x, self.y) if x is None else (x, y)
        changed = {k: v for k, v in changed.items() if k in self.settings}
        with warnings.catch_warnings():  # the checklist says so itself
            warnings.filterwarnings("ignore", "the gradient is exactly zero")
            result = self.function(model or self.model, x, y=y, **(self.settings | changed))
        images = images_of(result, "attack(model, x, y=y)")
        if images.shape != x.shape or images.dtype.kind != "f":
            raise ValueError(
                f"attack must return images of shape {x.shape}, got {images.dtype} of shape "
                f"{images.shape}"
            )
        return like(images, x)

    def survive(self, images: Array) -> Array:
        """Which images the model still reads right, (n,)."""
        return inference.predict(self.model, images) == self.y

    def left(self, **changed) -> float:
        """The robust accuracy under the attack with changed settings, over all images."""
        return self.of_all(self.survive(self.images(**changed)))

    def of_all(self, survivors: Array) -> float:
        """The share of survivors, as a share of all images."""
        return self.share * float(survivors.mean())
