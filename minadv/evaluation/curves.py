"""Accuracy against eps, and from model to model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from minadv import ops
from minadv.checks import check_flag, check_function, check_reals
from minadv.evaluation.accuracy import accuracy
from minadv.evaluation.judging import at, images_of, judged, mean

__all__ = ["EpsilonCurve", "accuracy_curve", "transfer_matrix"]


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
        z, labels = judged(model, images_of(attack(eps), "attack(eps)"), y)
        p, predicted = ops.softmax(z), z.argmax(axis=1)
        rows.append([mean(predicted == labels), mean(at(p, predicted)), mean(at(p, labels))])
    return EpsilonCurve(epsilons, *np.array(rows).T)


def transfer_matrix(models: Sequence[Callable], attack: Callable, y) -> np.ndarray:
    """The accuracy of ``models[j]`` on images made with ``models[i]``, shape (M, M); the diagonal
    is the white box (C6).

    Arguments: ``models``, M callables; ``attack``, a callable from a model to an
    :class:`AttackResult` or to images (N, ...), called once per model; ``y``, true labels (N,), or
    one integer. Raises as :func:`accuracy`, and :class:`ValueError` without models.
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
        images = images_of(attack(source), "attack(model)")
        rows.append([accuracy(judge, images, y) for judge in models])
    return np.array(rows)
