"""Models of ours that a submission may ask, and that count what was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from minadv import vjp

MOST_PAIRS = 1 << 27  # of the longest sides of two arrays: what an answer may take, stays small


@dataclass
class Served:
    """A function of ours that the student may call: ``answer(*arrays)``; ``asked`` keeps each
    question and answer.

    ``kind``: ``"f"`` for a plain function, ``"model"`` for logits that ``minadv.vjp``
    differentiates. ``source``: Python for the line that the student pastes, or nothing.
    """

    answer: Callable
    kind: str = "f"
    source: str = ""
    asked: list = field(default_factory=list)


def check_size(data: list):
    """Refuse a question whose arrays could be stretched against each other to something huge."""
    sides = sorted(max(v.shape, default=1) for v in data if isinstance(v, np.ndarray))[-2:]
    if len(sides) == 2 and sides[0] * sides[1] > MOST_PAIRS:
        raise ValueError(f"a question of {sides[1]} rows is too large: ask for fewer at a time")


class _Differentiable:
    """Answers ``("logits", x)`` and ``("vjp", x, g)`` of a model."""

    def __init__(self, model):
        self.model = model

    def __call__(self, what: str, x, g=None):
        value, pull = vjp(self.model, x)
        return value if what == "logits" else pull(g)


def network(model) -> Served:
    """A minadv model that the student may evaluate and differentiate."""
    return Served(_Differentiable(model), "model")


def limited(model, most: int) -> Served:
    """The same, that gives at most ``most`` gradients: a question is one of a whole batch."""
    answer, count = _Differentiable(model), [0]

    def ask(what: str, x, g=None):
        count[0] += what == "vjp"
        if count[0] > most:
            raise ValueError(f"BudgetUsed: gradient {most + 1} of {most} was asked for")
        return answer(what, x, g)

    return Served(ask, "model")


def affine(W, b) -> Served:
    """The model ``x @ W.T + b``; W (K, D) and b (K,) whole, so that its answers are exact."""
    w = np.ascontiguousarray(W.T)
    source = f"lambda x: x @ np.array({w.tolist()}) + np.array({b.tolist()})"
    return Served(_Differentiable(lambda x: x @ w + b), "model", source if w.size <= 24 else "")


def function(f, source: str = "") -> Served:
    """A plain function of arrays; ``asked`` holds its questions and answers.

    ``source``: the same as a Python expression, for the line that a student pastes.
    """
    return Served(f, source=source)
