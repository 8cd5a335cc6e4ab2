r"""Detection (D10, A6): a score for how adversarial an input looks, and a threshold.

D10's score compares the input with its reconstruction by a variational autoencoder that has only ever seen clean images. A6's SafetyNet
idea, a detector in front of the classifier that must be fooled as well, is :class:`Guarded`: the pair as *one* classifier with one class
more, which an attacker can attack as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minadv import losses, ops
from minadv.attacks.common import check_number
from minadv.autograd import raw
from minadv.backend import to_numpy
from minadv.defenses.vae import VAE
from minadv.parallel import chunk_size, map_chunks

__all__ = ["Detector", "Guarded", "divergence", "reconstruction_score", "threshold_at"]

FLOOR = 1e-4  # added to each pixel, so that a black one is no impossibility


def divergence(x, reconstruction):
    r"""KL divergence of images (N, H, W, C) from their reconstructions, (N,): :math:`\sum_i p_i \log (p_i / q_i)`.

    The pixels of each image, divided by their sum, are taken for a distribution (p of the input, q of the reconstruction), as D10 does.
    """

    def distribution(images):
        flat = ops.reshape(images, (len(images), math.prod(raw(images).shape[1:]))) + FLOOR
        return flat / ops.sum(flat, axis=1, keepdims=True)

    return losses.kl(distribution(x), distribution(reconstruction))


def reconstruction_score(vae: VAE) -> Callable:
    """D10's score: the divergence of an image from what ``vae`` makes of it. A function of images (N, H, W, C) to (N,), differentiable."""
    return lambda x: divergence(x, vae.reconstruct(x))


def threshold_at(scores, false_positive_rate: float) -> float:
    """The least threshold that at most the share ``false_positive_rate`` of clean ``scores`` (N,) exceeds; judge it on others."""
    share = check_number("false_positive_rate", false_positive_rate, least=0, most=1)
    scores = np.sort(to_numpy(scores).reshape(-1))
    if not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, at least one, got {scores.size} of them")
    return float(scores[max(len(scores) - 1 - math.floor(share * len(scores)), 0)])


@dataclass(frozen=True, eq=False)
class Detector:
    """``score(x) > threshold`` means adversarial. ``score`` maps images to (N,)."""

    score: Callable
    threshold: float

    @classmethod
    def calibrated(cls, score: Callable, clean, *, false_positive_rate: float) -> Detector:
        """The detector that calls at most the share ``false_positive_rate`` of the held-out ``clean`` images adversarial."""
        scores = map_chunks(score, clean, chunk=chunk_size(score, clean))
        return cls(score, threshold_at(scores, false_positive_rate))

    def scores(self, x):
        """The score of each image, (N,)."""
        return map_chunks(self.score, x, chunk=chunk_size(self.score, x))

    def __call__(self, x):
        """Whether each image looks adversarial, (N,) bool."""
        return self.scores(x) > self.threshold


class Guarded:
    r"""Classifier and detector as one model with K + 1 classes, the last meaning "adversarial" (A6; Carlini & Wagner 2017, *Adversarial
    examples are not easily detected*).

    The last logit is :math:`\max_k z_k + s \cdot (score - threshold) / threshold`: it wins exactly where the detector fires. So any attack
    that makes this model say a wrong class fools both at once. ``sharpness`` s > 0 weighs the detector against the classifier in the
    attack's gradient, nothing else.
    """

    def __init__(self, model: Callable, detector: Detector, *, sharpness: float = 10.0):
        self.model, self.detector = model, detector
        self.sharpness = check_number("sharpness", sharpness, least=np.finfo(np.float32).tiny)

    def __call__(self, x):
        z = self.model(x)
        excess = (self.detector.score(x) - self.detector.threshold) * (self.sharpness / self.detector.threshold)
        return ops.concatenate([z, ops.max(z, axis=1, keepdims=True) + ops.reshape(excess, (-1, 1))], axis=1)
