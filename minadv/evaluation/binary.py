"""Two classes: a yes or no, and a score with a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minadv.backend import to_numpy
from minadv.checks import check_reals

__all__ = ["Outcomes", "RocCurve", "auc", "outcomes", "roc_curve"]


@dataclass(frozen=True)
class Outcomes:
    """The four outcomes of a binary classifier, as counts (B1).

    ===================  ====================  ====================
    .                    predicted 1           predicted 0
    ===================  ====================  ====================
    truly 1              ``true_positives``    ``false_negatives``
    truly 0              ``false_positives``   ``true_negatives``
    ===================  ====================  ====================

    A rate whose denominator is 0 is undefined, and raises :class:`ValueError`.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def accuracy(self) -> float:
        """The share of all examples that is predicted right."""
        right = self.true_positives + self.true_negatives
        wrong = self.false_positives + self.false_negatives
        return _share(right, wrong, "accuracy", "there is no example")

    @property
    def precision(self) -> float:
        """The share of predicted positives that is truly positive."""
        return _share(
            self.true_positives, self.false_positives, "precision", "nothing is predicted positive"
        )

    @property
    def recall(self) -> float:
        """The share of true positives that is found: the true-positive rate."""
        return _share(
            self.true_positives, self.false_negatives, "recall", "nothing is truly positive"
        )

    @property
    def false_positive_rate(self) -> float:
        """The share of true negatives that raises a false alarm."""
        return _share(
            self.false_positives,
            self.true_negatives,
            "false_positive_rate",
            "nothing is truly negative",
        )

    @property
    def false_negative_rate(self) -> float:
        """The share of true positives that is missed."""
        return _share(
            self.false_negatives,
            self.true_positives,
            "false_negative_rate",
            "nothing is truly positive",
        )


def outcomes(y_true, y_pred) -> Outcomes:
    """Count the four outcomes of a binary classifier (B1); an attack turns true ones into false
    ones of either kind.

    Arguments: ``y_true`` and ``y_pred``, labels 0 and 1 (or booleans), shape (N,). One class of
    many against the rest is ``outcomes(y == 7, predicted == 7)``. Raises :class:`ValueError` for
    other labels and for shapes that differ.
    """
    truth, prediction = _binary(y_true, "y_true"), _binary(y_pred, "y_pred")
    if truth.shape != prediction.shape:
        raise ValueError(
            f"y_pred must have the shape of y_true, {truth.shape}, got {prediction.shape}"
        )
    return Outcomes(
        true_positives=int((truth & prediction).sum()),
        false_positives=int((~truth & prediction).sum()),
        false_negatives=int((truth & ~prediction).sum()),
        true_negatives=int((~truth & ~prediction).sum()),
    )


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Both rates of a detector that says "positive" when its score is >= a threshold, at T
    thresholds; shape (T,)."""

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    # falling from infinity, where nothing is positive, through every score that occurs
    thresholds: np.ndarray


def roc_curve(negatives, positives) -> RocCurve:
    """The receiver operating characteristic of a score, from (0, 0) to (1, 1).

    Arguments: ``negatives`` and ``positives``, the finite scores of examples that are truly
    negative, shape (N,), and truly positive, shape (P,); higher means more positive. Raises
    :class:`ValueError` for scores that are empty or not finite.
    """
    negatives = _sorted_scores(negatives, "negatives")
    positives = _sorted_scores(positives, "positives")
    thresholds = np.append(np.inf, np.unique(np.append(negatives, positives))[::-1])
    # how many scores are >= each threshold
    false_positives = len(negatives) - np.searchsorted(negatives, thresholds)
    true_positives = len(positives) - np.searchsorted(positives, thresholds)
    return RocCurve(false_positives / len(negatives), true_positives / len(positives), thresholds)


def auc(negatives, positives) -> float:
    """The area under the ROC curve, ``P(positive > negative) + P(positive = negative) / 2`` over
    all pairs of scores.

    This is the Mann-Whitney statistic U / (N P), counted in integers and divided once, so that ties
    are exact. Arguments and errors as :func:`roc_curve`. (Hanley and McNeil 1982, "The meaning and
    use of the area under a receiver operating characteristic (ROC) curve")
    """
    negatives = _sorted_scores(negatives, "negatives")
    positives = _sorted_scores(positives, "positives")
    # pairs with negative < positive, and with negative <= positive
    below, not_above = (
        int(np.searchsorted(negatives, positives, side=side).sum()) for side in ("left", "right")
    )
    return (below + not_above) / (2 * len(negatives) * len(positives))


def _binary(y, name: str) -> np.ndarray:
    try:
        y = to_numpy(y)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must hold labels 0 and 1: {error}") from None
    if y.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold labels 0 and 1, got dtype {y.dtype}")
    if y.ndim != 1 or not ((y == 0) | (y == 1)).all():
        raise ValueError(
            f"{name} must hold labels 0 and 1, shape (N,), got {np.unique(y).tolist()[:5]}, shape "
            f"{y.shape}"
        )
    return y.astype(bool)


def _share(part: int, rest: int, name: str, reason: str) -> float:
    if part + rest == 0:
        raise ValueError(f"{name} is undefined (0/0): {reason}")
    return part / (part + rest)


def _sorted_scores(scores, name: str) -> np.ndarray:
    scores = check_reals(name, scores)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"{name} must be one or more scores, shape (N,), got shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{name} must be finite scores, got {scores[~np.isfinite(scores)][0]}")
    return np.sort(scores)
