r"""Is an evaluation to be believed? What every attack on every model must do.

Carlini et al. 2019, *On evaluating adversarial robustness* (arXiv:1902.06705), section 5: most
published defenses were broken soon after, because the attack they were judged by was. An attack
that fails on a robust model and an attack that is broken report the same accuracy. But a broken one
gives itself away, since some numbers cannot come out of a sound evaluation.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tqdm import tqdm

from minadv.attacks.goal import Labels
from minadv.attacks.pgd import pgd
from minadv.backend import Array
from minadv.checks import check_count, check_flag, check_function, check_number, check_rng
from minadv.evaluation import lines
from minadv.evaluation.lines import Line
from minadv.evaluation.trial import Trial, check_attack

__all__ = ["Checklist", "Line", "checklist"]

WIDTH = 80  # columns of a terminal
MARKS = {True: "ok", False: "FAILS", None: "-"}


@dataclass(frozen=True, eq=False)
class Checklist:
    """What :func:`checklist` found; ``print`` shows it as a table.

    ``images``: how many. ``eps``: of the attack. ``clean``, ``attacked``: the accuracy without and
    under the attack, from 0 to 1. ``lines``: one :class:`Line` each.
    """

    images: int
    eps: float
    clean: float
    attacked: float
    lines: tuple[Line, ...]

    @property
    def passed(self) -> bool:
        """Whether no line failed. It is necessary for a sound evaluation, not sufficient."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the lines that failed."""
        return tuple(line.name for line in self.lines if line.passed is False)

    def __getitem__(self, name: str) -> Line:
        for line in self.lines:
            if line.name == name:
                return line
        raise KeyError(f"{name!r}: the lines are {', '.join(line.name for line in self.lines)}")

    def __str__(self) -> str:
        head = (
            f"{self.images} images: {self.clean:.1%} are read right, {self.attacked:.1%} under the "
            f"attack at eps = {self.eps:g}."
        )
        table = textwrap.wrap(head, WIDTH)
        for line in self.lines:
            said = f"{line.found}." + (f" {line.meaning}" if line.passed is False else "")
            start = f"{MARKS[line.passed]:5}  {line.name:14}  "
            table += textwrap.wrap(start + said, WIDTH, subsequent_indent=" " * len(start))
        return "\n".join(table)


def checklist(
    model: Callable,
    x: Array,
    y: Labels,
    *,
    eps: float,
    attack: Callable = pgd,
    steps: int = 20,
    norm: Literal["linf", "l2"] = "linf",
    substitute: Callable | None = None,
    restarts: int = 3,
    draws: int = 10,
    slack: float = 0.02,
    rng: np.random.Generator | int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    progress: bool = False,
) -> Checklist:
    """Repeat an attack on a model with one thing changed at a time, and judge the attack by it.

    What is judged is the evaluation, not the model: the same model passes with a sound attack and
    fails with a broken one. So hand in the attack that the reported numbers come from. The default
    one says nothing about another::

        print(checklist(model, x, y, eps=0.1))
        print(checklist(model, x, y, eps=0.1, attack=my_attack))

    ==============  ==============================================================================
    line            passes if
    ==============  ==============================================================================
    zero gradients  hardly any gradient that the attack asks for is exactly zero (``slack``)
    gradient        it is parallel to the slope of the margin that queries show (cosine >= 0.9)
    the ball        no change exceeds ``eps``, and no image leaves ``bounds``
    more steps      1, ``steps`` and 2 ``steps`` steps: the model is never helped
    larger eps      eps / 2, eps, 2 eps and no bound: the model is never helped
    no bound        nothing stays right if any image may be made
    restarts        the attack finds no more from other seeds
    transfer        images made for another network do not do better
    random noise    noise of the same size does not do better
    ==============  ==============================================================================

    Parameters
    ----------
    model, x, y
        As :func:`accuracy`; ``x``, images that an attack takes (:mod:`minadv.attacks`).
    eps
        The attack's bound, in pixel values.
    attack
        ``attack(model, x, y=y, eps=eps)`` returns an :class:`~minadv.AttackResult` or images. It is
        also given ``steps``, ``rng``, ``norm`` and ``bounds`` if it takes them. So these are given
        here, not fixed in the attack. A line that needs what it does not take is left out.
    steps
        Of the attack, and of the PGD that makes the images for the line "transfer". If "restarts"
        alone fails, try more steps first.
    norm
        ``"linf"`` or ``"l2"``: of the ball, and of the noise.
    substitute
        Another model, best trained alike, for "transfer". By default a small network that is
        trained here on the labels that ``model`` gives to ``x`` (Papernot et al. 2017).
    restarts, draws
        How many other seeds, and how many draws of noise.
    slack
        What chance may cost a line, as a share of the images, or of the gradients.
    rng
        A generator or a seed, for the attack, the substitute and the noise.
    bounds, progress
        As for all attacks; whether to show a bar.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as said here, no image is read right, or as the attack does.
    """
    check_number("eps", eps, above=0)
    steps, restarts = check_count("steps", steps), check_count("restarts", restarts, least=0)
    draws = check_count("draws", draws)
    slack = check_number("slack", slack, least=0, below=1) + 1e-9  # shares are rounded
    progress = check_flag("progress", progress)
    check_attack("attack", attack, ("eps",), ("steps", "rng", "norm", "bounds"))
    if substitute is not None:
        check_function("substitute", substitute, "model(x)", None)
    rng = check_rng(rng)
    seed, *seeds = (int(s) for s in rng.integers(2**31, size=1 + restarts))
    t = Trial(model, x, y, attack, norm=norm, bounds=bounds, eps=eps, steps=steps, rng=seed)
    images = t.images()
    survivors = t.survive(images)
    base, unbounded = t.of_all(survivors), t.left(eps=t.unbounded)
    to_do: list[Callable[[], Line]] = [
        lambda: lines.zero_gradients(t, slack),
        lambda: lines.gradient(t, rng),
        lambda: lines.bound(t, images),
        lambda: lines.more_steps(t, slack, steps, base),
        lambda: lines.larger_eps(t, slack, base, unbounded),
        lambda: lines.no_bound(t, slack, unbounded),
        lambda: lines.restarts(t, slack, survivors, seeds),
        lambda: lines.transfer(t, slack, base, substitute, steps, seed),
        lambda: lines.noise(t, slack, base, draws, rng),
    ]
    found = tuple(line() for line in tqdm(to_do, desc="checklist", disable=not progress))
    return Checklist(len(x), t.eps, t.share, base, found)
