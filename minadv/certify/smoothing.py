r"""Randomized smoothing: a vote under noise, with a guarantee for any model.

Cohen, Rosenfeld & Kolter 2019, *Certified adversarial robustness via randomized smoothing*.

Why it holds (theorem 1): let the base model answer A under :math:`\mathcal N(x, \sigma^2 I)` with
probability p > 1/2. A shift of x by :math:`\delta` changes the noise's distribution, and by the
Neyman-Pearson lemma the set of images whose probability falls most under it is a half-space. For
it, p becomes :math:`\Phi(\Phi^{-1}(p) - \lVert \delta \rVert_2 / \sigma)`, which exceeds 1/2 while

.. math:: \lVert \delta \rVert_2 < \sigma \, \Phi^{-1}(p) .
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from minadv.backend import Array, like, to_numpy
from minadv.checks import check_count, check_function, check_images, check_number, check_rng
from minadv.inference import logits, predict

ABSTAIN = -1  # the label of images on which the vote is too close
AT_ONCE = 256  # noisy images at a time
ROUNDING = 1e-9  # the share of alpha that the tail's own evaluation may be wrong by


@dataclass(frozen=True)
class SmoothedCertificate:
    """What :meth:`Smoothed.certify` found: ``label`` (N,), ABSTAIN among them, and ``radius``."""

    label: Array
    radius: Array  # (N,), float64, L2; 0 where it abstained


class Smoothed:
    r"""The classifier :math:`g(x) = \arg\max_c P(f(x + \sigma n) = c)`, n standard normal.

    f is any model, and g is another one: what is certified is g. The noise is part of it, so f
    should have been trained on images with such noise. g itself cannot be computed; every answer
    is an estimate from draws, right with probability 1 - ``alpha`` for each image. The noisy images
    are not clipped, and what holds is stated for real numbers, not for floating point.

    Parameters
    ----------
    model : function
        From images (N, ...) to logits (N, K).
    sigma : float
        σ > 0, the noise's standard deviation, in pixel values. Larger: larger radii, fewer right.

    Raises
    ------
    TypeError, ValueError
        Here and in its methods, for arguments that are not as said.
    """

    def __init__(self, model: Callable, sigma: float):
        self.model = check_function("model", model, "model(x)", None)
        self.sigma = check_number("sigma", sigma, above=0)

    def predict(
        self,
        x: Array,
        *,
        draws: int = 1000,
        alpha: float = 0.001,
        rng: np.random.Generator | int = 0,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> Array:
        """The label of g for each image, or ABSTAIN (the paper's PREDICT).

        It is not g's with probability at most ``alpha``: the two most frequent labels are compared
        in a two-sided binomial test, and what a fair coin would explain is no answer.

        Parameters
        ----------
        x, bounds
            Images, as for the attacks.
        draws : int
            How many noisy copies vote.
        alpha : float
            In (0, 1).
        rng : numpy.random.Generator or int
            Draws the noise.

        Returns
        -------
        array (N,) of int
        """
        alpha, generator = self._checked(x, alpha, rng, bounds)
        counts = self._votes(x, check_count("draws", draws), generator)
        second, first = np.sort(counts, axis=1)[:, -2:].T
        coin = [2 * upper_tail(int(a), int(a + b), 0.5) for a, b in zip(first, second, strict=True)]
        sure = np.array(coin).reshape(len(x)) <= alpha * (1 - ROUNDING)
        return like(np.where(sure, counts.argmax(axis=1), ABSTAIN), x)

    def certify(
        self,
        x: Array,
        *,
        choose: int = 100,
        draws: int = 1000,
        alpha: float = 0.001,
        rng: np.random.Generator | int = 0,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> SmoothedCertificate:
        r"""The label of g, and a radius within which g keeps it (the paper's CERTIFY).

        .. math:: R = \sigma \, \Phi^{-1}(\underline{p})

        ``choose`` draws say which label; ``draws`` others, how probable it is at least. The bound
        is Clopper & Pearson's (1934), so label or radius are wrong with probability at most
        ``alpha``. With n draws the radius is at most :math:`\sigma \, \Phi^{-1}(\alpha^{1/n})`.

        Parameters
        ----------
        x, alpha, rng, bounds
            As for :meth:`predict`.
        choose, draws : int
            How many noisy copies choose the label, and how many others count its probability.

        Returns
        -------
        SmoothedCertificate
            ``label``, ABSTAIN where the bound is not above 1/2, and ``radius``, L2, in pixel
            values.
        """
        alpha, generator = self._checked(x, alpha, rng, bounds)
        choose, draws = check_count("choose", choose), check_count("draws", draws)
        label = self._votes(x, choose, generator).argmax(axis=1)
        counts = self._votes(x, draws, generator)[np.arange(len(x)), label]
        p = np.array([clopper_pearson(int(k), draws, alpha) for k in counts]).reshape(len(x))
        sure = p > 0.5
        radius = [self.sigma * NormalDist().inv_cdf(q) for q in np.where(sure, p, 0.5).tolist()]
        found = np.where(sure, label, ABSTAIN), np.array(radius).reshape(len(x)) * (1 - ROUNDING)
        return SmoothedCertificate(*(like(values, x) for values in found))

    def _checked(self, x, alpha, rng, bounds):
        check_images(x, bounds)
        return check_number("alpha", alpha, above=0, below=1), check_rng(rng)

    def _votes(self, x: Array, draws: int, rng: np.random.Generator) -> np.ndarray:
        """How often each class is answered under so many draws of noise: counts (N, K).

        All images share the draws, so an image's counts do not depend on its batch.
        """
        counts = np.zeros((len(x), logits(self.model, x[:1]).shape[1]), dtype=int)
        for start in range(0, draws, AT_ONCE):
            some = min(AT_ONCE, draws - start)
            drawn = self.sigma * rng.standard_normal((some, *x.shape[1:]))
            noise = like(drawn.astype(x.dtype), x)
            for image, count in zip(x, counts, strict=True):
                labels = to_numpy(predict(self.model, image + noise))
                count += np.bincount(labels, minlength=len(count))
        return counts


def clopper_pearson(k: int, n: int, alpha: float) -> float:
    r"""A probability p that is too large with probability at most ``alpha``, from k hits in n.

    It solves :math:`P(X \ge k) = \alpha` for X binomial with n and p, which is the α-quantile of
    the beta distribution with k and n - k + 1; by bisection, and rounded down.
    """
    if k == 0:
        return 0.0
    low, high = 0.0, k / n  # at p = k/n the tail is about a half
    if upper_tail(k, n, high) <= alpha:
        high = 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if upper_tail(k, n, middle) <= alpha * (1 - ROUNDING):
            low = middle
        else:
            high = middle
    return low


def upper_tail(k: int, n: int, p: float) -> float:
    r""":math:`P(X \ge k) = \sum_{i \ge k} \binom{n}{i} p^i (1 - p)^{n - i}`, term by term."""
    if k == 0 or p in (0.0, 1.0):
        return float(k == 0 or p == 1.0)
    factorial, i = _log_factorials(n), np.arange(k, n + 1)
    log_count = factorial[n] - factorial[i] - factorial[n - i]
    terms = log_count + i * math.log(p) + (n - i) * math.log1p(-p)
    return min(1.0, float(np.exp(terms).sum()))


@cache
def _log_factorials(n: int) -> np.ndarray:
    return np.array([math.lgamma(i + 1) for i in range(n + 1)])
