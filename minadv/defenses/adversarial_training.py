r"""Adversarial training (A6, B7, D9, E9): show the model, while it trains, what an attacker would.

Goodfellow, Shlens & Szegedy 2014, *Explaining and harnessing adversarial examples* (the mixed loss, with FGSM inside); Madry et al. 2018,
*Towards deep learning models resistant to adversarial attacks* (PGD inside).
"""

from __future__ import annotations

from collections.abc import Callable

from minadv import losses
from minadv.backend import array_module
from minadv.checks import check_number
from minadv.layers import Layer
from minadv.training import History, fit

__all__ = ["adversarial_training", "augment", "mixed_loss"]


def mixed_loss(model: Callable, attack: Callable, *, weight: float = 1.0) -> Callable:
    r"""The loss :math:`L(W, x, y) + \lambda L(W, x_{adv}, y)` for :func:`minadv.training.fit`; L is the cross-entropy (A6).

    Each batch is attacked anew. As usual :math:`x_{adv}` counts as a constant: that it would be another with other weights is not
    differentiated.

    Arguments: ``model``, what the examples are crafted on: the model in training, as it is at that moment, or another one;
    ``attack(model, x, y)``, which returns an :class:`~minadv.attacks.result.AttackResult` or images; ``weight``, λ >= 0, which buys
    accuracy on attacked images with accuracy on clean ones. The parts of a batch are attacked on several threads at once: give ``attack``
    a seed, no shared generator. Raises :class:`ValueError` or :class:`TypeError` for a wrong ``weight``, and for attacked images that
    differ from ``x`` in shape or dtype.
    """
    weight = check_number("weight", weight, least=0)

    def loss(forward: Callable, x, y):
        x_adv = _attacked(attack(model, x, y), x)
        return losses.cross_entropy(forward(x), y) + weight * losses.cross_entropy(
            forward(x_adv), y
        )

    return loss


def adversarial_training(
    model: Layer, x, y, *, attack: Callable, weight: float = 1.0, **how
) -> History:
    r"""Train ``model`` on its :func:`mixed_loss`; if it is trained already, this is fine-tuning (E9).

    For FGSM and for PGD, whose best attack is its strongest and not its first success::

        adversarial_training(model, x, y, attack=lambda model, x, y: fgsm(model, x, y=y, eps=0.1))
        adversarial_training(model, x, y, attack=lambda model, x, y: pgd(model, x, y=y, eps=0.1, steps=7, early_stop=False))

    It defends against the attack it was shown, and promises nothing about another (B7).

    Arguments: ``x`` and labels ``y`` as for :func:`minadv.training.fit`, to which ``how`` goes; ``attack`` and ``weight`` as for
    :func:`mixed_loss`. Returns the :class:`~minadv.training.History`. Raises as both do.
    """
    return fit(model, x, y, loss=mixed_loss(model, attack, weight=weight), **how)


def augment(x, y, *others):
    """The training set ``(x, y)`` enlarged by ``others``, each under the labels ``y`` (A6, E9).

    Arguments: ``x``, images (N, ...); ``y``, their labels (N,); ``others``, any number of attack results or images, each of the shape and
    dtype of ``x``: attacked images, negatives, ... Returns all images, and all labels. Raises :class:`ValueError` for others of another
    make, and for labels that do not fit.
    """
    if y.shape[:1] != x.shape[:1]:
        raise ValueError(f"y must hold one label for each of {len(x)} images, got shape {y.shape}")
    images = [x, *(_attacked(other, x) for other in others)]
    return array_module(*images).concatenate(images), array_module(y).concatenate([y] * len(images))


def _attacked(result, x):
    """The images of an attack's result, or those given, if they can stand for ``x``."""
    images = getattr(result, "x_adv", result)
    if not hasattr(images, "dtype") or (images.dtype, images.shape) != (x.dtype, x.shape):
        came = (
            f"{images.dtype} of shape {images.shape}"
            if hasattr(images, "dtype")
            else type(images).__name__
        )
        raise ValueError(
            f"attacked images must be {x.dtype} of shape {x.shape}, as the originals, got {came}"
        )
    return images
