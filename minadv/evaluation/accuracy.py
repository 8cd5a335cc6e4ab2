"""How often a model is right, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable

from minadv import ops
from minadv.backend import like
from minadv.evaluation.judging import at, correct, images_of, labels_of, mean
from minadv.inference import logits

__all__ = ["accuracy", "confidence", "robust_accuracy"]


def confidence(model: Callable, x, y=None):
    """The probability that ``model`` gives to one label per example, shape (N,): to the predicted
    label, or to ``y`` if given.

    Arguments: ``model`` and ``x`` as :func:`logits`; ``y``, integers (N,), or one integer for all.
    Raises :class:`TypeError` or :class:`ValueError` for labels that are not integers from 0 to
    K - 1, one per example.
    """
    z = logits(model, x)
    labels = z.argmax(axis=1) if y is None else like(labels_of(y, z), z)
    return at(ops.softmax(z), labels)


def accuracy(model: Callable, x, y) -> float:
    """The share of examples whose predicted label is the true one.

    Arguments: ``model`` and ``x`` as :func:`logits`; ``y``, true labels (N,), or one integer for
    all. Raises :class:`TypeError` or :class:`ValueError` for labels that do not fit, and for an
    empty batch.
    """
    return mean(correct(model, x, y))


def robust_accuracy(model: Callable, x, y, *attacked) -> float:
    """The share of examples that ``model`` gets right as they are *and* after every attack.

    An attacker may always leave an image as it is, so an example that was wrong before counts as
    lost even where an attack happens to repair it (one FGSM step can). For one untargeted attack
    that returns what is already wrong unchanged, this is 1 - mean success. For a targeted attack it
    is not: another wrong label loses the example too.

    Arguments: ``model``, ``x``, ``y`` as :func:`accuracy`; ``attacked``, one :class:`AttackResult`
    or batch of images, shape of ``x``, per attack. With none this is the accuracy. Raises as
    :func:`accuracy`.
    """
    robust = correct(model, x, y)
    for images in (images_of(one, "attacked") for one in attacked):
        if images.shape != x.shape:
            raise ValueError(
                f"attacked must have the shape of x, {tuple(x.shape)}, got {tuple(images.shape)}"
            )
        robust = robust & correct(model, images, y)
    return mean(robust)
