"""User code that a type checker must refuse, line by line; mypy runs over it (test_typing.py).

An ignore that is not needed is an error.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from minadv import deepfool, fgsm, forge, iterative_fgsm, pgd, uniform_noise
from minadv.protocols import Attack


def misuse(model: Callable, x: np.ndarray, y: np.ndarray) -> None:
    fgsm(model, x, y=y, eps="0.1")  # type: ignore[arg-type]
    fgsm(model, x, y=y)  # type: ignore[call-arg]
    fgsm(model, x, y=y, epsilon=0.1)  # type: ignore[call-arg]
    fgsm(model, [[0.5]], y=y, eps=0.1)  # type: ignore[arg-type]
    fgsm(model, x, y="3", eps=0.1)  # type: ignore[arg-type]
    fgsm(model, x, y=3.0, eps=0.1)  # type: ignore[arg-type]
    iterative_fgsm(model, x, y=y, eps=0.1, steps=2.5)  # type: ignore[arg-type]
    pgd(model, x, y=y, eps=0.1, bounds=(0, 1, 2))  # type: ignore[arg-type]
    pgd(model, x, y=y, eps=0.1, rng="seed")  # type: ignore[arg-type]
    partial(pgd, eps="0.1")  # type: ignore[arg-type]
    forge(model, x, target=6, loss=lambda logits: logits.sum())  # type: ignore[arg-type]
    deepfool(model, x, target=y)  # type: ignore[call-arg]
    print(uniform_noise(x, eps=0.1).x_adv)  # type: ignore[attr-defined]
    deepfool(model, x).sucess.mean()  # type: ignore[attr-defined]
    deepfool(model, x).queries.sum()  # type: ignore[union-attr]
    deepfool(model, x).label = y  # type: ignore[misc]
    x_adv, success = deepfool(model, x)  # type: ignore[misc]


not_finished: Attack = fgsm  # type: ignore[assignment]
