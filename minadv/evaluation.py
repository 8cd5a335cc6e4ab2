r"""How good is a model, and how good is an attack: every number the documents report.

Images come from a data set, from an attack or from a random generator; a model judges them. So each
function takes the judge first, then where its images come from, then the true labels::

    accuracy(f, x, y)
    robust_accuracy(f, x, y, fgsm(f, x, y=y, eps=0.1), pgd(f, x, y=y, eps=0.1))
    certified_accuracy(f, x, y, eps=0.1)
    accuracy_curve(f, lambda eps: fgsm(g, x, y=y, eps=eps), y, epsilons)
    transfer_matrix([f, g], lambda model: fgsm(model, x, y=y, eps=0.1), y)

What is one value per example stays where the model's logits are (NumPy or CuPy); what is counted
over examples comes back as Python numbers or NumPy arrays. A statistic of nothing (no example, no
success, 0/0) raises
:class:`ValueError`; nothing here returns NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from minadv import ops
from minadv.backend import array_module, like, to_numpy
from minadv.certify import certified_accuracy
from minadv.checks import check_array, check_flag, check_function, check_reals
from minadv.inference import logits, predict, probabilities

__all__ = [
    "EpsilonCurve",
    "Outcomes",
    "PerturbationSummary",
    "RocCurve",
    "Sizes",
    "accuracy",
    "accuracy_curve",
    "auc",
    "certified_accuracy",
    "confidence",
    "logits",
    "outcomes",
    "perturbation_summary",
    "predict",
    "probabilities",
    "robust_accuracy",
    "roc_curve",
    "transfer_matrix",
]


def confidence(model: Callable, x, y=None):
    """The probability that ``model`` gives to one label per example, shape (N,): to the predicted
    label, or to ``y`` if given.

    Arguments: ``model`` and ``x`` as :func:`logits`; ``y``, integers (N,), or one integer for all.
    Raises
    :class:`TypeError` or :class:`ValueError` for labels that are not integers from 0 to K - 1, one
    per example.
    """
    z = logits(model, x)
    labels = z.argmax(axis=1) if y is None else like(_labels(y, z), z)
    return _at(ops.softmax(z), labels)


def accuracy(model: Callable, x, y) -> float:
    """The share of examples whose predicted label is the true one.

    Arguments: ``model`` and ``x`` as :func:`logits`; ``y``, true labels (N,), or one integer for
    all. Raises :class:`TypeError` or :class:`ValueError` for labels that do not fit, and for an
    empty batch.
    """
    return _mean(_correct(model, x, y))


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
    robust = _correct(model, x, y)
    for images in (_images(one, "attacked") for one in attacked):
        if images.shape != x.shape:
            raise ValueError(
                f"attacked must have the shape of x, {tuple(x.shape)}, got {tuple(images.shape)}"
            )
        robust = robust & _correct(model, images, y)
    return _mean(robust)


# Against eps, and from model to model.


@dataclass(frozen=True, eq=False)
class EpsilonCurve:
    """What :func:`accuracy_curve` measures at each of E values of eps; all shares from 0 to 1,
    shape (E,)."""

    epsilons: np.ndarray
    accuracy: np.ndarray  # of the predicted labels
    confidence: np.ndarray  # mean probability of the predicted label
    true_confidence: np.ndarray  # mean probability of the true label


def accuracy_curve(
    model: Callable, attack: Callable, y, epsilons: Iterable[float], *, progress: bool = False
) -> EpsilonCurve:
    """Accuracy and confidence of ``model`` against eps (B6).

    Attack ``model`` itself and it is the white-box curve; attack another model and it is the
    transfer curve (C6), to be read next to random noise of the same size::

        accuracy_curve(f, lambda eps: fgsm(f, x, y=y, eps=eps), y, epsilons)
        accuracy_curve(f, lambda eps: fgsm(g, x, y=y, eps=eps), y, epsilons)
        accuracy_curve(f, lambda eps: uniform_noise(x, eps=eps), y, epsilons)

    Arguments: ``model``, the judge; ``attack``, a callable from eps to an :class:`AttackResult` or
    to images (N, ...); ``y``, true labels (N,), or one integer; ``epsilons``, E finite numbers >=
    0, in pixel values; ``progress``, whether to show a bar (off by default). Raises
    :class:`ValueError` for a bad eps, and as :func:`accuracy`.
    """
    check_function("attack", attack, "attack(eps)", None)
    try:
        epsilons = list(epsilons)
    except TypeError:
        raise TypeError(f"epsilons must be one or more numbers, got {epsilons!r}") from None
    epsilons, progress = check_reals("epsilons", epsilons), check_flag("progress", progress)
    if (
        epsilons.ndim != 1
        or epsilons.size == 0
        or not np.isfinite(epsilons).all()
        or (epsilons < 0).any()
    ):
        raise ValueError(
            f"epsilons must be one or more finite numbers >= 0, got {epsilons.tolist()}"
        )
    rows = []
    for eps in tqdm(epsilons.tolist(), desc="eps", disable=not progress):
        z, labels = _judge(model, _images(attack(eps), "attack(eps)"), y)
        p, predicted = ops.softmax(z), z.argmax(axis=1)
        rows.append([_mean(predicted == labels), _mean(_at(p, predicted)), _mean(_at(p, labels))])
    return EpsilonCurve(epsilons, *np.array(rows).T)


def transfer_matrix(models: Sequence[Callable], attack: Callable, y) -> np.ndarray:
    """The accuracy of ``models[j]`` on images made with ``models[i]``, shape (M, M); the diagonal
    is the white box (C6).

    Arguments: ``models``, M callables; ``attack``, a callable from a model to an
    :class:`AttackResult` or to images (N, ...), called once per model; ``y``, true labels (N,), or
    one integer. Raises as :func:`accuracy`, and
    :class:`ValueError` without models.
    """
    if not isinstance(models, Iterable) or isinstance(models, np.ndarray):
        raise TypeError(f"models must be a list of models, got {models!r}")
    models = list(models)
    for model in models:
        check_function("models", model, "model(x)", None)
    if not models:
        raise ValueError("models must hold at least one model, got none")
    check_function("attack", attack, "attack(model)", None)
    rows = []
    for source in models:
        images = _images(attack(source), "attack(model)")
        rows.append([accuracy(judge, images, y) for judge in models])
    return np.array(rows)


# The size of a perturbation.


@dataclass(frozen=True)
class Sizes:
    """The size of successful perturbations in one norm: the median, and ``quantiles[q]``, below
    which lies the share q."""

    median: float
    quantiles: dict[float, float]


@dataclass(frozen=True)
class PerturbationSummary:
    """How many of how many examples an attack won, and by how large a change (pixel values; l0
    counts them)."""

    examples: int
    successes: int
    linf: Sizes
    l2: Sizes
    l0: Sizes


def perturbation_summary(result, quantiles: Sequence[float] = (0.25, 0.75)) -> PerturbationSummary:
    """Median and quantiles of the perturbation's size over the successful examples of ``result``.

    Failed examples are left out, as they have no successful perturbation to measure: read the sizes
    together with ``successes``. What was wrong already, and so came back unchanged, is a success of
    size 0. Between two examples a quantile is interpolated linearly.

    Arguments: ``result``, an :class:`AttackResult`; ``quantiles``, shares from 0 to 1.
    Raises :class:`ValueError` for a share outside [0, 1], and when no example succeeded.
    """
    if not hasattr(result, "success"):
        raise TypeError(f"result must be an AttackResult, got {type(result).__name__}")
    quantiles = check_reals("quantiles", quantiles).ravel().tolist()
    if not all(0 <= q <= 1 for q in quantiles):
        raise ValueError(f"quantiles must lie in [0, 1], got {quantiles}")
    success = to_numpy(result.success)
    if not success.any():
        raise ValueError(
            f"result must hold a success to have a perturbation's size, got 0 of {len(success)}"
        )

    def sizes(per_example) -> Sizes:
        successful = to_numpy(per_example, dtype=float)[success]
        return Sizes(
            float(np.median(successful)), {q: float(np.quantile(successful, q)) for q in quantiles}
        )

    return PerturbationSummary(
        len(success), int(success.sum()), sizes(result.linf), sizes(result.l2), sizes(result.l0)
    )


# Two classes: a yes or no, and a score with a threshold.


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
        right, wrong = (
            self.true_positives + self.true_negatives,
            self.false_positives + self.false_negatives,
        )
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
    thresholds: (
        np.ndarray
    )  # falling from infinity, where nothing is positive, through every score that occurs


def roc_curve(negatives, positives) -> RocCurve:
    """The receiver operating characteristic of a score, from (0, 0) to (1, 1).

    Arguments: ``negatives`` and ``positives``, the finite scores of examples that are truly
    negative, shape (N,), and truly positive, shape (P,); higher means more positive. Raises
    :class:`ValueError` for scores that are empty or not finite.
    """
    negatives, positives = (
        _sorted_scores(negatives, "negatives"),
        _sorted_scores(positives, "positives"),
    )
    thresholds = np.append(np.inf, np.unique(np.append(negatives, positives))[::-1])
    false_positives = len(negatives) - np.searchsorted(
        negatives, thresholds
    )  # how many scores are >= each threshold
    true_positives = len(positives) - np.searchsorted(positives, thresholds)
    return RocCurve(false_positives / len(negatives), true_positives / len(positives), thresholds)


def auc(negatives, positives) -> float:
    """The area under the ROC curve, ``P(positive > negative) + P(positive = negative) / 2`` over
    all pairs of scores.

    This is the Mann-Whitney statistic U / (N P), counted in integers and divided once, so that ties
    are exact. Arguments and errors as :func:`roc_curve`. (Hanley and McNeil 1982, "The meaning and
    use of the area under a receiver operating characteristic (ROC) curve")
    """
    negatives, positives = (
        _sorted_scores(negatives, "negatives"),
        _sorted_scores(positives, "positives"),
    )
    below = int(
        np.searchsorted(negatives, positives, side="left").sum()
    )  # pairs with negative < positive
    not_above = int(
        np.searchsorted(negatives, positives, side="right").sum()
    )  # pairs with negative <= positive
    return (below + not_above) / (2 * len(negatives) * len(positives))


# Helpers.


def _at(p, labels):
    """``p[n, labels[n]]`` for every example n."""
    return p[array_module(p).arange(len(p)), labels]


def _mean(values) -> float:
    return float(to_numpy(values).mean(dtype=float))


def _images(attacked, name: str):
    """The images of an attack's result, or the images themselves."""
    return check_array(name, getattr(attacked, "x_adv", attacked))


def _judge(model, x, y):
    """Logits (N, K) of at least one example, and its true labels (N,) beside them."""
    if check_array("x", x).ndim == 0 or len(x) == 0:
        raise ValueError(f"x must hold at least one example, got shape {tuple(x.shape)}")
    z = logits(model, x)
    return z, like(_labels(y, z), z)


def _correct(model, x, y):
    z, labels = _judge(model, x, y)
    return z.argmax(axis=1) == labels


def _labels(y, z) -> np.ndarray:
    """``y`` as N labels that index the logits ``z``."""
    count, classes = z.shape
    y = _integers(y, "y")
    if y.shape not in ((), (count,)):
        raise ValueError(
            f"y must be one integer or have shape ({count},), one label per example, got shape "
            f"{y.shape}"
        )
    outside = (y < 0) | (y >= classes)
    if outside.any():
        raise ValueError(
            f"y must lie in 0..{classes - 1}, the labels of the {classes} logits, got "
            f"{y[outside].flat[0]}"
        )
    return np.broadcast_to(y, count)


def _integers(y, name: str) -> np.ndarray:
    try:
        y = to_numpy(y)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must hold integers: {error}") from None
    if y.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {y.dtype}")
    return y


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
