r"""Defensive distillation (D9): Papernot et al. 2016, *Distillation as a defense to adversarial perturbations against deep neural
networks*.

A teacher is trained with its logits divided by a temperature T, then a student of the same make on the teacher's probabilities at T::

    fit(teacher, x, y, loss=tempered_cross_entropy(20))
    distill(teacher, student, x, temperature=20)

Both have learned to answer after the division by T. Used without it, the student's logits are about T times as large as an ordinary
model's: its softmax saturates, and the gradient of the usual loss underflows. That is all the defence there is: the log-odds margin still
has its gradient (Carlini & Wagner 2016, *Defensive distillation is not robust to adversarial examples*).
"""

from __future__ import annotations

from collections.abc import Callable

from minadv import losses, ops
from minadv.checks import check_number
from minadv.evaluation import logits
from minadv.layers import Layer
from minadv.training import History, fit

__all__ = ["distill", "soft_labels", "tempered_cross_entropy"]


def soft_labels(teacher: Callable, x, *, temperature: float):
    r"""What the teacher knows about ``x``: :math:`\mathrm{softmax}(z / T)`, the more even the higher T.

    Arguments: ``teacher``, from images to logits z (N, K); ``x``, images (N, ...); ``temperature``, T > 0. Returns one distribution per
    image, (N, K). Raises :class:`ValueError` or :class:`TypeError` for a wrong temperature and for answers that are no logits.
    """
    return ops.softmax(logits(teacher, x) / _checked(temperature))


def tempered_cross_entropy(temperature: float) -> Callable:
    r"""Cross-entropy of :math:`\mathrm{softmax}(z / T)`, a loss for :func:`minadv.training.fit`, with labels (N,) or soft ones (N, K)."""
    temperature = _checked(temperature)

    def loss(forward: Callable, x, y):
        if y.ndim == 1:
            return losses.cross_entropy(forward(x) / temperature, y)
        return losses.soft_cross_entropy(forward(x), y, temperature)

    return loss


def distill(teacher: Callable, student: Layer, x, *, temperature: float = 20.0, **how) -> History:
    r"""Train ``student`` on the soft labels that ``teacher`` gives to ``x``, both at ``temperature``.

    Arguments: ``teacher``, trained at the same temperature; ``x``, images (N, ...); ``temperature``, T > 0, 20 being Papernot et al.'s
    choice for MNIST; ``how`` goes to :func:`minadv.training.fit`. Returns the :class:`~minadv.training.History`. Raises as
    :func:`soft_labels` and :func:`~minadv.training.fit` do.
    """
    labels = soft_labels(teacher, x, temperature=temperature)
    return fit(student, x, labels, loss=tempered_cross_entropy(temperature), **how)


def _checked(temperature) -> float:
    if not check_number("temperature", temperature) > 0:
        raise ValueError(f"temperature must be > 0, got {temperature!r}")
    return float(temperature)
