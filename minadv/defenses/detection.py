r"""Detection (D10, A6): a score that says how adversarial an input looks, and a threshold that says when to stop it.

D10's score compares an image with what a variational autoencoder, which has only ever seen clean images, makes of it. A6's SafetyNet puts
such a detector before the classifier, so that an attacker must get past both; :class:`Guarded` is the pair as *one* classifier with one
class more, and so can be attacked like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minadv import losses, ops
from minadv.autograd import raw
from minadv.backend import array_module, to_numpy
from minadv.checks import check_number
from minadv.defenses.vae import VAE
from minadv.parallel import in_chunks

__all__ = ["Detector", "Guarded", "divergence", "reconstruction_score", "threshold_at"]

FLOOR = 1e-4  # added to each pixel, so that ink where the reconstruction is black costs much, but no infinity


def divergence(x, reconstruction):
    r"""How far images are from their reconstructions: :math:`KL(p \Vert q) = \sum_i p_i \log (p_i / q_i)`, p and q being the two as
    distributions of their ink.

    D10 does not say how an image becomes a distribution. Here each pixel, plus 0.0001, is divided by the sum of all.

    Arguments: ``x`` and ``reconstruction``, images (N, ...) of one shape, pixels >= 0. Returns nats, (N,); differentiable. Raises
    :class:`ValueError` for shapes that differ.
    """
    if raw(x).shape != raw(reconstruction).shape:
        raise ValueError(
            f"reconstruction must have the shape of x, {raw(x).shape}, got {raw(reconstruction).shape}"
        )

    def ink(images):
        flat = ops.reshape(images, (len(images), math.prod(raw(images).shape[1:]))) + FLOOR
        return flat / ops.sum(flat, axis=1, keepdims=True)

    return losses.kl(ink(x), ink(reconstruction))


def reconstruction_score(vae: VAE) -> Callable:
    """D10's score, a differentiable function of images (N, H, W, C) to (N,): the :func:`divergence` from what ``vae`` makes of them.

    It compares an image with its *own* reconstruction. D10 speaks of the divergence "between clean and adversarial sample"; but a detector
    never sees the clean one.
    """
    return lambda x: divergence(x, vae.reconstruct(x))


def threshold_at(scores, false_positive_rate: float) -> float:
    r"""The least of the ``scores`` of clean images that one more clean image exceeds with probability at most ``false_positive_rate``.

    Among n + 1 clean images in random order the last is as likely to be of any rank; so it exceeds the r-th smallest of the first n with
    probability at most :math:`1 - r / (n + 1)`, whatever the distribution of the scores (Vovk, Gammerman & Shafer 2005, *Algorithmic
    learning in a random world*). That the clean images to come are drawn as these were is the one thing it takes.

    Arguments: ``scores``, (n,), of images that neither detector nor classifier was trained on; ``false_positive_rate``, a share. Raises
    :class:`ValueError` for scores that are none or not finite, and for a rate below 1 / (n + 1), which n images cannot promise.
    """
    rate = check_number("false_positive_rate", false_positive_rate, least=0, most=1)
    scores = np.sort(_checked(to_numpy(scores)))
    n = len(scores)
    exceeded = (n - np.arange(n)) / (n + 1)  # 1 - r / (n + 1) for r = 1, ..., n
    if not (exceeded <= rate).any():
        raise ValueError(
            f"false_positive_rate must be at least 1 / (n + 1) = {1 / (n + 1):.3g} with n = {n} scores, got {rate:g}"
        )
    return float(scores[(exceeded <= rate).argmax()])


@dataclass(frozen=True, eq=False)
class Detector:
    """``score(x) > threshold`` means adversarial; ``score`` maps images (N, ...) to finite numbers (N,)."""

    score: Callable
    threshold: float

    def __post_init__(self):
        check_number("threshold", self.threshold)

    @classmethod
    def calibrated(cls, score: Callable, clean, *, false_positive_rate: float) -> Detector:
        """The detector with the threshold that :func:`threshold_at` finds for held-out ``clean`` images."""
        return cls(score, threshold_at(_scores(score, clean), false_positive_rate))

    def scores(self, x):
        """The score of each image, (N,), in parallel chunks; checked: NaN would exceed no threshold."""
        return _scores(self.score, x)

    def __call__(self, x):
        """Whether each image looks adversarial, (N,) bool."""
        return self.scores(x) > self.threshold


def _scores(score: Callable, x):
    scores = _checked(in_chunks(score, score, x))
    if len(scores) != len(x):
        raise ValueError(
            f"score must return one number per image, ({len(x)},), got shape {scores.shape}"
        )
    return scores


def _checked(scores):
    if scores.ndim != 1 or not bool(array_module(scores).isfinite(scores).all()):
        raise ValueError(
            f"scores must be finite numbers (N,), got shape {scores.shape}"
            + ", some not finite" * (scores.ndim == 1)
        )
    return scores


class Guarded:
    r"""Classifier and detector as one model of K + 1 classes, the last meaning "adversarial".

    .. math:: (z_1 - \max_k z_k, \; \ldots, \; z_K - \max_k z_k, \; s \cdot (score - threshold))

    The last wins exactly where the detector fires; elsewhere the classifier's label does. So an attack that makes this model say a wrong
    one of the K labels has fooled both (A6; Carlini & Wagner 2017, *Adversarial examples are not easily detected*). Give it a ``target``:
    away from ``y``, "adversarial" would be a success, too.

    Arguments: ``model``, from images to logits z (N, K); ``detector``; ``sharpness``, s > 0, how many logits a unit of the score weighs in
    an attack's gradient; the labels do not depend on it. Raises :class:`ValueError` or :class:`TypeError` for a wrong sharpness.
    """

    def __init__(self, model: Callable, detector: Detector, *, sharpness: float = 10.0):
        self.model, self.detector = model, detector
        if not check_number("sharpness", sharpness) > 0:
            raise ValueError(f"sharpness must be > 0, got {sharpness!r}")
        self.sharpness = float(sharpness)

    def __call__(self, x):
        z = self.model(x)
        excess = self.sharpness * (self.detector.score(x) - self.detector.threshold)
        return ops.concatenate(
            [z - ops.max(z, axis=1, keepdims=True), ops.reshape(excess, (-1, 1))], axis=1
        )
