r"""Defensive distillation (D9): Papernot et al. 2016, *Distillation as a defense to adversarial perturbations against deep neural
networks*.

A teacher is trained with its logits divided by a temperature T, and a student of the same make is trained on the teacher's probabilities at
T. Used without the temperature, the student's logits are about T times as large: its softmax saturates, and the usual gradient underflows.
That is all the defence there is: the log-odds margin still has its gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minadv import losses, ops
from minadv.attacks.common import check_number
from minadv.layers import Layer
from minadv.parallel import chunk_size, map_chunks
from minadv.training import History, fit

__all__ = ["distill", "soft_labels", "tempered_cross_entropy"]


def soft_labels(teacher: Callable, x, *, temperature: float):
    r"""What the teacher knows about ``x``: softmax(z / T), rows of (N, K)."""
    temperature = check_number("temperature", temperature, least=np.finfo(np.float32).tiny)
    return map_chunks(lambda x: ops.softmax(teacher(x) / temperature), x, chunk=chunk_size(teacher, x))


def tempered_cross_entropy(temperature: float) -> Callable:
    r"""Cross-entropy of softmax(z / T), a loss for :func:`minadv.training.fit`; for integer labels or soft ones."""
    temperature = check_number("temperature", temperature, least=np.finfo(np.float32).tiny)

    def loss(forward: Callable, x, y):
        if y.ndim == 1:
            return losses.cross_entropy(forward(x) / temperature, y)
        return losses.soft_cross_entropy(forward(x), y, temperature)

    return loss


def distill(teacher: Layer, student: Layer, x, y, *, temperature: float = 20.0, **how) -> tuple[History, History]:
    """Train ``teacher`` on the labels ``y`` at ``temperature``, then ``student`` on its soft labels; return both histories.

    ``temperature``: 20 is Papernot et al.'s for MNIST. ``how`` goes to :func:`minadv.training.fit`, twice. Both models are used without a
    temperature afterwards.
    """
    loss = tempered_cross_entropy(temperature)
    first = fit(teacher, x, y, loss=loss, **how)
    return first, fit(student, x, soft_labels(teacher, x, temperature=temperature), loss=loss, **how)
