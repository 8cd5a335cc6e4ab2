r"""Detection (D10, A6): a score of how adversarial an input looks, and a threshold for it.

D10's score compares an image with its reconstruction by a variational autoencoder that was trained
on clean images only. A6's SafetyNet puts such a detector before the classifier, so that an attacker
must get past both. :class:`Guarded` is the pair as *one* classifier with one class more, and so can
be attacked like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minadv import losses, ops
from minadv.autograd import raw
from minadv.backend import array_module
from minadv.checks import check_array, check_number, check_reals
from minadv.defenses.vae import VAE
from minadv.parallel import asking, in_chunks

__all__ = ["Detector", "Guarded", "divergence", "reconstruction_score", "threshold_at"]

# Added to each pixel, so that ink where the reconstruction is black costs much, but not infinity.
# D10 gives no number; this one is chosen here, well below half a step of 8 bits, 1 / 510.
FLOOR = 1e-4


def divergence(x, reconstruction):
    r"""The divergence of images from their reconstructions, :math:`\sum_i p_i \log (p_i / q_i)`.

    p and q are the two as distributions of their ink. D10 does not say how an image becomes a
    distribution. Here each pixel, plus 0.0001, is divided by the sum of all.

    ``x`` and ``reconstruction``: images (N, ...) of one shape, pixels >= 0. Returns nats, (N,);
    differentiable. Raises :class:`ValueError` for shapes that differ.
    """
    for name, images in (("x", raw(x)), ("reconstruction", raw(reconstruction))):
        if check_array(name, images).dtype.kind != "f":
            raise TypeError(f"{name} must be floating point, got {images.dtype}")
    if raw(x).shape != raw(reconstruction).shape:
        raise ValueError(
            f"reconstruction must have the shape of x, {raw(x).shape}, "
            f"got {raw(reconstruction).shape}"
        )

    def ink(images):
        flat = ops.reshape(images, (len(images), math.prod(raw(images).shape[1:]))) + FLOOR
        return flat / ops.sum(flat, axis=1, keepdims=True)

    return losses.kl(ink(x), ink(reconstruction))


def reconstruction_score(vae: VAE) -> Callable:
    """D10's score: the :func:`divergence` of images from their reconstructions by ``vae``.

    It is a differentiable function of images (N, H, W, C) to (N,). It compares an image with its
    *own* reconstruction. D10 speaks of the divergence "between clean and adversarial sample", but
    a detector never sees the clean one.
    """
    return asking(lambda x: divergence(x, vae.reconstruct(x)), vae)


def threshold_at(scores, false_positive_rate: float) -> float:
    r"""The smallest score of a clean image such that a further clean image exceeds it with
    probability at most ``false_positive_rate``.

    Among n + 1 clean images in random order, every rank is equally likely for the last one. So it
    exceeds the r-th smallest of the first n with probability at most :math:`1 - r / (n + 1)`,
    whatever the distribution of the scores (Vovk, Gammerman & Shafer 2005, *Algorithmic learning
    in a random world*). The only assumption is that future clean images are drawn from the same
    distribution (exchangeability).

    ``scores``: (n,), of images that neither detector nor classifier was trained on.
    ``false_positive_rate``: in [0, 1]. Raises :class:`ValueError` for no scores or scores that are
    not finite, and for a rate below 1 / (n + 1), which n images cannot promise.
    """
    rate = check_number("false_positive_rate", false_positive_rate, least=0, most=1)
    scores = np.sort(_finite(check_reals("scores", scores)))
    n = len(scores)
    exceeded = (n - np.arange(n)) / (n + 1)  # 1 - r / (n + 1) for r = 1, ..., n
    if not (exceeded <= rate).any():
        raise ValueError(
            f"false_positive_rate must be at least 1 / (n + 1) = {1 / (n + 1):.3g} "
            f"with n = {n} scores, got {rate:g}"
        )
    return float(scores[(exceeded <= rate).argmax()])


@dataclass(frozen=True, eq=False)
class Detector:
    """``score(x) > threshold`` means adversarial.

    ``score`` maps images (N, ...) to finite numbers (N,).
    """

    score: Callable
    threshold: float

    def __post_init__(self):
        check_number("threshold", self.threshold)

    @classmethod
    def calibrated(cls, score: Callable, clean, *, false_positive_rate: float) -> Detector:
        """The detector with the :func:`threshold_at` for held-out ``clean`` images."""
        return cls(score, threshold_at(_scores(score, clean), false_positive_rate))

    def scores(self, x):
        """The score of each image, (N,). NaN, which would exceed no threshold, is an error."""
        return _scores(self.score, x)

    def __call__(self, x):
        """Whether each image looks adversarial, (N,) bool."""
        return self.scores(x) > self.threshold


def _scores(score: Callable, x):
    scores = _finite(in_chunks(score, score, x))
    if len(scores) != len(x):
        raise ValueError(
            f"score must return one number per image, ({len(x)},), got shape {scores.shape}"
        )
    return scores


def _finite(scores):
    if scores.ndim != 1 or not bool(array_module(scores).isfinite(scores).all()):
        raise ValueError(
            f"scores must be finite numbers (N,), got shape {scores.shape}"
            + ", some not finite" * (scores.ndim == 1)
        )
    return scores


class Guarded:
    r"""Classifier and detector as one model of K + 1 classes, the last meaning "adversarial".

    .. math:: (z_1 - \max_k z_k, \; \ldots, \; z_K - \max_k z_k, \; s \cdot (score - threshold))

    The last class wins exactly where the detector fires. Elsewhere the classifier's label wins.
    So an attack that makes this model say a wrong one of the K labels has fooled both (A6; Carlini
    & Wagner 2017, *Adversarial examples are not easily detected*). Give the attack a ``target``,
    since without one "adversarial" would be a success, too.

    ``model``: from images to logits z (N, K). ``detector``: a :class:`Detector`. ``sharpness``:
    s > 0, how many logits a unit of the score weighs in an attack's gradient; the labels do not
    depend on it. Raises :class:`ValueError` or :class:`TypeError` for a wrong sharpness.
    """

    def __init__(self, model: Callable, detector: Detector, *, sharpness: float = 10.0):
        self.model, self.detector = model, detector
        self.sharpness = check_number("sharpness", sharpness, above=0)

    @property
    def thread_safe(self) -> bool:
        """As the model and the score are (see :mod:`minadv.parallel`)."""
        return asking(self, self.model, self.detector.score).thread_safe

    def activation_bytes(self, shape: tuple, dtype) -> int:
        """What one example needs (for :func:`minadv.parallel.chunk_size`)."""
        return asking(self, self.model, self.detector.score).activation_bytes(shape, dtype)

    def __call__(self, x):
        z = self.model(x)
        excess = self.sharpness * (self.detector.score(x) - self.detector.threshold)
        return ops.concatenate(
            [z - ops.max(z, axis=1, keepdims=True), ops.reshape(excess, (-1, 1))], axis=1
        )
