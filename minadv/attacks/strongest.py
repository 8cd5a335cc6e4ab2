"""The strongest attack here: several unlike ones, one after the other, on what is still standing.

After AutoAttack: Croce & Hein 2020, *Reliable evaluation of adversarial robustness with an ensemble
of diverse parameter-free attacks*, section 5.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from minadv import inference
from minadv.attacks.apgd import apgd
from minadv.attacks.balls import BALLS
from minadv.attacks.best import Best
from minadv.attacks.fab import fab
from minadv.attacks.goal import Goal, Labels, score_gradient, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.attacks.square import square
from minadv.backend import Array, to_numpy
from minadv.checks import (
    check_bounds,
    check_choice,
    check_count,
    check_flag,
    check_function,
    check_images,
    check_mapping,
    check_number,
    check_rng,
)
from minadv.protocols import ATTACK, Attack

ORIGINAL, NONE = "original", ""
REPEATED = "the gradient is exactly zero|the model seems to return probabilities"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class EnsembleResult(AttackResult):
    """An :class:`AttackResult`, and which attack of several found each success.

    ``found_by``: names (N,), on NumPy: ``"original"`` for an image that succeeds as it came, and
    ``""`` for one that withstood all.
    """

    found_by: np.ndarray

    def __repr__(self) -> str:
        names, counts = np.unique(self.found_by[self.found_by != NONE], return_counts=True)
        found = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
        by = f": {found}" if found else ""
        return f"EnsembleResult({int(self.success.sum())} of {len(self)} succeeded{by})"


def ensemble(
    eps: float,
    *,
    norm: Literal["linf", "l2"] = "linf",
    classes: int = 10,
    rng: np.random.Generator | int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Attack]:
    """The attacks of :func:`strongest`, by name, in their order; each gets a seed from ``rng``.

    ====================  ========================================================================
    name                  attack
    ====================  ========================================================================
    apgd margin           :func:`apgd`, 50 steps on the log-odds
    apgd targeted dlr     :func:`apgd`, 30 steps towards each of the nine likeliest other classes
    fab                   :func:`fab`, 20 steps
    square                :func:`square`, 1000 candidates
    ====================  ========================================================================

    The fastest comes first. Their losses differ, so that what misleads one does not mislead the
    next, and the last one asks for no gradient at all. AutoAttack takes 100, 100, 100 and 5000
    steps, and its FAB heads for nine classes, too.

    Parameters
    ----------
    eps, norm, rng, bounds
        As for :func:`strongest`.
    classes
        How many the model has, >= 2. With fewer than four there is no targeted ratio.

    Returns
    -------
    dict
        ``{name: attack}``, each called as ``attack(model, x, y=y)``.
    """
    eps, classes = check_number("eps", eps, least=0), check_count("classes", classes, least=2)
    check_choice("norm", norm, *BALLS)
    check_bounds(bounds)
    seeds = iter(check_rng(rng).integers(2**31, size=4).tolist())
    ball: dict[str, Any] = {"eps": eps, "norm": norm, "bounds": bounds}
    attacks: dict[str, Attack] = {"apgd margin": partial(apgd, **ball, rng=next(seeds), steps=50)}
    targets: dict[str, Any] = {"loss": "targeted dlr", "restarts": min(classes - 1, 9), "steps": 30}
    if classes > 3:
        attacks["apgd targeted dlr"] = partial(apgd, **ball, rng=next(seeds), **targets)
    attacks["fab"] = partial(fab, norm=norm, bounds=bounds, rng=next(seeds), steps=20)
    attacks["square"] = partial(square, **ball, rng=next(seeds), steps=1000)
    return attacks


def strongest(
    model: Callable,
    x: Array,
    *,
    y: Labels,
    eps: float,
    norm: Literal["linf", "l2"] = "linf",
    attacks: Mapping[str, Attack] | None = None,
    rng: np.random.Generator | int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    progress: bool = False,
) -> EnsembleResult:
    r"""Several attacks in turn, each on the images that withstood all before it.

    .. math:: \text{an image falls, if one of the attacks finds a } z: \quad
        \lVert z - x \rVert \le \epsilon, \quad \arg\max_k z_k(z) \ne y

    So its robust accuracy is at most that of each of them. By default these are :func:`apgd` with
    the log-odds and towards each of nine other classes, :func:`fab`, and :func:`square`. They are
    unlike each other, because each has models on which it fails: a masked gradient stops the first
    three, but not the last one.

    Parameters
    ----------
    eps, norm
        ε >= 0, the radius of the ball under ``"linf"`` or ``"l2"``. It holds as real numbers,
        whatever an attack returns: that is projected onto the ball, and judged there.
    attacks
        By name, in their order, each called as ``attack(model, x, y=y)``. By default
        :func:`ensemble`, whose dictionary can also be changed and given here.
    rng
        A generator or a seed, for the default attacks.
    progress
        Whether to show a bar of the attacks.
    model, x, y, bounds
        What all attacks share, and what they raise and warn of: see :mod:`minadv.attacks`.

    Returns
    -------
    EnsembleResult
        With ``found_by``, the name of the attack that found each success. ``steps`` adds up those
        of all attacks. A failure is the iterate with the highest log-odds.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, y=y)
    check_choice("norm", norm, *BALLS)
    ball, rng = BALLS[norm](x, eps, bounds), check_rng(rng)
    progress = check_flag("progress", progress)
    logits, g = score_gradient(model, x, goal)
    if attacks is None:
        attacks = ensemble(eps, norm=norm, classes=logits.shape[1], rng=rng, bounds=bounds)
    for name, attack in check_mapping("attacks", attacks, "{name: attack}").items():
        check_function(f"attacks[{name!r}]", attack, ATTACK, None, None, y=None)

    best, found_by = Best(x, goal, logits), np.full(len(x), NONE, dtype=object)
    found_by[to_numpy(best.success)] = ORIGINAL
    for name, attack in tqdm(attacks.items(), desc="strongest", disable=not progress):
        running = best.failures()
        if not len(running):
            break
        with warnings.catch_warnings():  # told once, below
            warnings.filterwarnings("ignore", REPEATED, UserWarning)
            result = attack(model, x[running], y=goal.label[running])
        if not isinstance(result, AttackResult):
            got = type(result).__name__
            raise TypeError(f"attacks[{name!r}] must return an AttackResult, got {got}")
        z = ball[running].project(result.x_adv)
        best.offer(running, z, inference.logits(model, z))
        best.steps[running] += result.steps
        found_by[to_numpy(running[best.success[running]])] = name
    warn_of_zero_gradients(g, len(x))
    result = AttackResult.judge(model, x, best.x, goal, best.steps)
    found_by[~to_numpy(result.success)] = NONE  # rounding, in a batch of another size
    return EnsembleResult(**vars(result), found_by=found_by)
