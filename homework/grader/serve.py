"""Models of ours that a submission may ask, and that count what was asked."""

from __future__ import annotations

import numpy as np

from homework.grader.sandbox import Served
from minadv import vjp


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
