r"""Defensive distillation (D9).

Papernot et al. 2016, *Distillation as a defense to adversarial perturbations against deep neural
networks*. A teacher is trained with its logits divided by a temperature T. Then a student of the
same architecture is trained on the teacher's probabilities at T::

    fit(teacher, x, y, loss=tempered_cross_entropy(20))
    distill(teacher, student, x, temperature=20)

Both were trained to be evaluated with logits divided by T. Used without that division, the
student's logits are about T times as large as an ordinary model's. Its softmax saturates, and the
gradient of the usual loss underflows. That is all the defense there is: the log-odds margin still
has its gradient (Carlini & Wagner 2016, *Defensive distillation is not robust to adversarial
examples*).
"""

from __future__ import annotations

from minadv import losses, ops
from minadv.backend import array_module
from minadv.checks import check_number
from minadv.inference import logits
from minadv.layers import Layer
from minadv.protocols import Array, Loss, Model
from minadv.training import History, fit

__all__ = ["distill", "soft_labels", "tempered_cross_entropy"]


def soft_labels(teacher: Model, x: Array, *, temperature: float) -> Array:
    r"""The teacher's probabilities, :math:`\mathrm{softmax}(z / T)`: the more even, the higher T.

    ``teacher``: from images to logits z (N, K). ``x``: images (N, ...). ``temperature``: T > 0.
    Returns one distribution per image, (N, K). Raises :class:`ValueError` or :class:`TypeError`
    for a wrong temperature, and unless the teacher returns logits.
    """
    temperature = check_number("temperature", temperature, above=0)
    z = logits(teacher, x) / temperature
    if not bool(array_module(z).isfinite(z).all()):
        raise ValueError(f"temperature is so small that logits overflow, got {temperature}")
    return ops.softmax(z)


def tempered_cross_entropy(temperature: float) -> Loss:
    r"""Cross-entropy of :math:`\mathrm{softmax}(z / T)`, a loss for :func:`minadv.training.fit`.

    It takes labels (N,) or soft labels (N, K). ``temperature``: T > 0.
    """
    temperature = check_number("temperature", temperature, above=0)

    def loss(logits, y):
        if y.ndim == 1:
            return losses.cross_entropy(logits / temperature, y)
        return losses.soft_cross_entropy(logits, y, temperature)

    return loss


def distill(
    teacher: Model, student: Layer, x: Array, *, temperature: float = 20.0, **how
) -> History:
    """Train ``student`` on the soft labels that ``teacher`` gives to ``x``.

    Parameters
    ----------
    teacher : function
        From images to logits (N, K), trained at the same temperature.
    student : Layer
        The model to train.
    x : array (N, ...)
        Images.
    temperature : float
        T > 0, for both. 20 is Papernot et al.'s choice for MNIST.
    **how
        Goes to :func:`minadv.training.fit`.

    Returns
    -------
    History
        As :func:`~minadv.training.fit` returns it.

    Raises
    ------
    ValueError, TypeError
        As :func:`soft_labels` and :func:`~minadv.training.fit` do.
    """
    if not isinstance(student, Layer):
        raise TypeError(f"student must be a Layer, whose weights can be trained, got {student!r}")
    labels = soft_labels(teacher, x, temperature=temperature)
    return fit(student, x, labels, loss=tempered_cross_entropy(temperature), **how)
