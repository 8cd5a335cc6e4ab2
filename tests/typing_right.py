"""User code that a type checker must accept: mypy runs over this file (test_typing.py)."""

from collections.abc import Callable
from functools import partial

import numpy as np

from minadv import (
    apgd,
    carlini_wagner,
    deepfool,
    fab,
    fgsm,
    forge,
    iterative_fgsm,
    jsma,
    losses,
    negative,
    one_pixel,
    pgd,
    square,
    strongest,
)
from minadv import uniform_noise as noise
from minadv.attacks.result import AttackResult
from minadv.protocols import Attack, TargetedAttack


def use(model: Callable, x: np.ndarray, y: np.ndarray) -> float:
    result = fgsm(model, x, y=y, eps=0.1)
    share: float = result.success.mean()
    shape: tuple[int, ...] = result.x_adv.shape
    sizes = [result.linf.max(), result.l2.max(), result.l0.max()]
    if result.queries is not None:
        sizes.append(result.queries.sum())
    iterative_fgsm(model, x, target=6, eps=1, steps=10, bounds=(-1, 1))
    pgd(model, x, y=[3] * len(x), eps=0.1, rng=np.random.default_rng(1), norm="l2")
    deepfool(model, x).steps.max()
    jsma(model, noise(x, eps=0.1), target=y)
    one_pixel(model, negative(x), y=y, mutation=(0.5, 1.0))
    forge(model, x, target=6, reference=x, clip=0.1).distance[-1].min()
    forge(model, x, target=y, loss=losses.cross_entropy)
    apgd(model, x, y=y, eps=0.1, loss="dlr", restarts=2)
    carlini_wagner(model, fab(model, x).x_adv, target=6, confidence=1.0)
    queries = square(model, x, y=y, eps=0.1).queries
    found: list[str] = strongest(model, x, y=y, eps=1, attacks=named).found_by.tolist()
    sizes.append(len(found) + (0 if queries is None else queries.sum()))
    for each in attacks:
        each(model, x, y=y).x_adv.clip(0, 1)
    for aimed in targeted:
        aimed(model, x, target=6)
    return share + len(shape) + len(sizes)


def mine(model: Callable, x: np.ndarray, /, *, y: object) -> AttackResult:
    return fgsm(model, x, y=model(x).argmax(axis=1), eps=0.1)


attacks: list[Attack] = [deepfool, mine, partial(pgd, eps=0.1), partial(fgsm, eps=0.1)]
named: dict[str, Attack] = {"deepfool": deepfool, "pgd": partial(pgd, eps=0.1)}
targeted: list[TargetedAttack] = [jsma, forge, partial(pgd, eps=0.1)]
