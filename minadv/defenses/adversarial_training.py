r"""Adversarial training (A6, B7, D9, E9): attack each batch, and train on the result.

Goodfellow, Shlens & Szegedy 2014, *Explaining and harnessing adversarial examples* (the mixed
loss, with FGSM inside). Madry et al. 2018, *Towards deep learning models resistant to adversarial
attacks* (PGD inside).
"""

from __future__ import annotations

from collections.abc import Callable

from minadv import losses
from minadv.backend import array_module, is_array
from minadv.checks import check_array, check_function, check_number
from minadv.layers import Layer
from minadv.protocols import ATTACK, Array, Attack, Model, Objective
from minadv.training import History, fit

__all__ = ["adversarial_training", "augment", "mixed_loss"]


def mixed_loss(model: Model, attack: Attack, *, weight: float = 1.0) -> Objective:
    r"""The objective :math:`L(W, x, y) + \lambda L(W, x_{adv}, y)`; L is the cross-entropy (A6).

    It is for ``fit(model, x, y, objective=mixed_loss(model, attack))``. Each batch is attacked
    anew. As usual, :math:`x_{adv}` is treated as a constant: its dependence on the weights is not
    differentiated.

    ``model``: what is attacked, the model in training as it is at that moment, or another one.
    ``attack``: called as ``attack(model, x, y=y)``, see :mod:`minadv.protocols`; it returns an
    :class:`~minadv.attacks.result.AttackResult` or images. Several threads call it at once on
    parts of a batch, so give it a seed and no shared generator. ``weight``: λ >= 0. A larger one
    favors accuracy on attacked images over accuracy on clean ones.

    Raises :class:`ValueError` or :class:`TypeError` for a wrong ``weight`` or ``attack``, and for
    attacked images that differ from ``x`` in shape or dtype.
    """
    weight = check_number("weight", weight, least=0)
    check_function("attack", attack, ATTACK, None, None, y=None)

    def objective(forward: Callable, x, y):
        x_adv = _attacked(attack(model, x, y=y), x)
        clean = losses.cross_entropy(forward(x), y)
        return clean + weight * losses.cross_entropy(forward(x_adv), y)

    return objective


def adversarial_training(
    model: Layer, x: Array, y: Array, *, attack: Attack, weight: float = 1.0, **how
) -> History:
    """Train ``model`` on its :func:`mixed_loss`. On a trained model this is fine-tuning (E9).

    It defends against the attack that was used, and promises nothing about another (B7). PGD must
    go on after its first success, since the strongest image is needed::

        adversarial_training(model, x, y, attack=partial(fgsm, eps=0.1))
        adversarial_training(model, x, y, attack=partial(pgd, eps=0.1, early_stop=False))

    Parameters
    ----------
    model : Layer
        The model to train.
    x, y : arrays (N, ...) and (N,)
        Images and their labels.
    attack, weight
        As for :func:`mixed_loss`.
    **how
        Goes to :func:`minadv.training.fit`.

    Returns
    -------
    History
        As :func:`~minadv.training.fit` returns it.

    Raises
    ------
    ValueError, TypeError
        As :func:`mixed_loss` and :func:`~minadv.training.fit` do.
    """
    return fit(model, x, y, objective=mixed_loss(model, attack, weight=weight), **how)


def augment(x: Array, y: Array, *others) -> tuple[Array, Array]:
    """The training set ``(x, y)`` enlarged by ``others``, each under the labels ``y`` (A6, E9).

    ``x``: images (N, ...). ``y``: their labels (N,). ``others``: any number of attack results or
    images, such as attacked images or negatives. Returns all images and all labels. Raises
    :class:`ValueError` if an array of ``others`` differs from ``x`` in shape or dtype, and for
    labels that do not fit.
    """
    if check_array("x", x).ndim == 0:
        raise ValueError("x must be images (N, ...), got a single number")
    if check_array("y", y).shape[:1] != x.shape[:1]:
        raise ValueError(f"y must hold one label for each of {len(x)} images, got shape {y.shape}")
    images = [x, *(_attacked(other, x) for other in others)]
    return array_module(*images).concatenate(images), array_module(y).concatenate([y] * len(images))


def _attacked(result, x):
    """The images of an attack's result, or those given, if they can stand for ``x``."""
    images = getattr(result, "x_adv", result)
    if not is_array(images) or (images.dtype, images.shape) != (x.dtype, x.shape):
        came = (
            f"{images.dtype} of shape {images.shape}" if is_array(images) else type(images).__name__
        )
        raise ValueError(
            f"others must be {x.dtype} of shape {x.shape}, as the originals, got {came}"
        )
    return images
