"""How functions that are handed in are called. These are the only forms that minadv uses.

* A **model** is called as ``model(x)`` and returns logits (N, K).
* An **attack** is called as ``attack(model, x, y=y)``, or with ``target=`` where it is targeted.
  So ``functools.partial(pgd, eps=0.1)`` is one, and so is any attack without required settings.
* A **loss** is called as ``loss(logits, y)`` and returns one number per example, (N,).
  The logits are whatever the model returns: for an autoencoder, its reconstruction.
* An **objective** is a loss that needs the model itself, for instance on attacked images.
  It is called as ``objective(forward, x, y)``, where ``forward(x)`` is the model's answer, and
  ``forward.parameters`` are the weights that it is computed with, by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from minadv.backend import Array as Array

if TYPE_CHECKING:
    from minadv.attacks.goal import Labels
    from minadv.attacks.result import AttackResult

Model: TypeAlias = Callable[[Any], Any]
Objective: TypeAlias = Callable[[Model, Any, Any], Any]


class Attack(Protocol):
    """``attack(model, x, y=y)`` returns an :class:`~minadv.AttackResult`."""

    def __call__(self, model: Model, x: Array, /, *, y: Labels) -> AttackResult: ...


class TargetedAttack(Protocol):
    """``attack(model, x, target=target)``, as :class:`Attack`."""

    def __call__(self, model: Model, x: Array, /, *, target: Labels) -> AttackResult: ...


class Loss(Protocol):
    """``loss(logits, y)`` returns one number per example, (N,)."""

    def __call__(self, logits: Any, y: Any, /) -> Any: ...


ATTACK = "attack(model, x, y=y)"  # how checks.check_function shows the forms
LOSS = "loss(logits, y)"
OBJECTIVE = "objective(forward, x, y)"
