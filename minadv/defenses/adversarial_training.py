r"""Adversarial training (A6, B7, D9, E9): show the model, while it trains, what an attacker would.

Goodfellow, Shlens & Szegedy 2014 (the mixed loss); Madry et al. 2018, *Towards deep learning models resistant to adversarial attacks* (PGD
inside).
"""

from __future__ import annotations

from collections.abc import Callable

from minadv import losses
from minadv.attacks.common import check_number
from minadv.backend import array_module
from minadv.layers import Layer
from minadv.training import History, fit

__all__ = ["adversarial_training", "augment", "mixed_loss"]


def mixed_loss(model: Callable, attack: Callable, *, weight: float = 1.0) -> Callable:
    r"""The loss :math:`L(W, x, y) + \lambda L(W, x_{adv}, y)` for :func:`minadv.training.fit`, cross-entropy being L.

    ``attack(model, x, y)`` crafts the examples, anew for each batch, on ``model`` as it is at that moment: an
    :class:`~minadv.attacks.common.AttackResult` or images. ``weight`` is λ >= 0, which buys robustness with accuracy on clean images.
    As usual :math:`x_{adv}` counts as a constant: what the attack would do with other weights is not differentiated.
    """
    weight = check_number("weight", weight, least=0)

    def loss(forward: Callable, x, y):
        attacked = attack(model, x, y)
        clean = losses.cross_entropy(forward(x), y)
        return clean + weight * losses.cross_entropy(forward(getattr(attacked, "x_adv", attacked)), y)

    return loss


def adversarial_training(model: Layer, x, y, *, attack: Callable, weight: float = 1.0, **how) -> History:
    """``fit(model, x, y, loss=mixed_loss(model, attack, weight=weight), **how)``; on a trained model, this is fine-tuning (E9).

    For example ``attack=lambda model, x, y: fgsm(model, x, y=y, eps=0.1)``. A defence against that attack: it promises nothing about
    another (B7).
    """
    return fit(model, x, y, loss=mixed_loss(model, attack, weight=weight), **how)


def augment(x, y, *others):
    """The training set ``(x, y)`` enlarged under its own labels (A6, E9).

    ``others`` are batches of the shape of ``x`` that are appended, each under the labels ``y``: attacked images, negatives, ...
    """
    xp = array_module(x)
    images = [getattr(other, "x_adv", other) for other in others]
    for other in images:
        if other.shape != x.shape:
            raise ValueError(f"others must have the shape of x, {x.shape}, got {other.shape}")
    return xp.concatenate([x, *images]), xp.concatenate([y] * (1 + len(images)))
