"""The one-pixel attack (D6).

Su, Vargas & Sakurai 2019, *One pixel attack for fooling deep neural networks*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from tqdm import trange

from minadv.attacks.evolution import Evolution
from minadv.attacks.goal import Goal
from minadv.attacks.pixels import Queries, gene_bounds, paint
from minadv.attacks.result import AttackResult
from minadv.backend import array_module
from minadv.checks import check_count, check_flag, check_images


def one_pixel(
    predict: Callable,
    x,
    *,
    y=None,
    target=None,
    pixels: int = 1,
    population: int = 400,
    generations: int = 100,
    mutation: float | tuple[float, float] = 0.5,
    recombination: float = 1.0,
    strategy: Literal["rand1", "best1"] = "rand1",
    rng: np.random.Generator | int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    progress: bool = False,
) -> AttackResult:
    r"""Search for the few pixels to repaint, by differential evolution on the model's output.

    .. math:: \min_\delta \; p_y(x + \delta) \text{ (untargeted), or }
        \max_\delta \; p_{target}(x + \delta), \quad \text{at most } pixels \text{ pixels changed}

    A candidate is (row, column, a value per channel) for each pixel; where two of its pixels meet,
    the later wins. Candidates are compared by the label's log-odds, which order them as its
    probability does and never saturate. An image stops with its first success.

    Parameters
    ----------
    predict
        From images to logits or probabilities ``(N, K)``; nothing else is used of it. Rows that are
        >= 0 and add up to 1 are taken for probabilities. Logits are better: probabilities that were
        rounded to 0 and 1 cannot be compared.
    pixels
        How many pixels may change, each in all channels.
    population, generations
        Candidates per image, at least 4 (paper 400, D 5,000), and populations evaluated at most,
        the first, random one included (paper 100, D 400).
    mutation, recombination, strategy
        See :func:`~minadv.attacks.evolution.differential_evolution`.
    progress
        Whether to show a bar of the generations.

    The other arguments, errors: see :mod:`minadv.attacks`. In the result, ``steps`` counts
    generations and ``queries`` is ``population * steps + 2``; a failure is the best candidate.
    """
    bounds, goal = check_images(x, bounds), Goal.of(x, y=y, target=target)
    generations = check_count("generations", generations)
    progress = check_flag("progress", progress)
    lowest, highest = gene_bounds(x, pixels, bounds)
    search = {"mutation": mutation, "recombination": recombination, "strategy": strategy}
    evolution = Evolution(
        lowest, highest, problems=(len(x),), population=population, rng=rng, **search
    )
    ask = Queries(predict, x, goal, pixels)
    xp = array_module(x)

    x_adv, steps = x.copy(), xp.zeros(len(x), dtype=int)
    running = xp.flatnonzero(~goal.reached(ask.label))
    evolution.keep(running)
    for generation in trange(1, generations + 1, desc="one-pixel", disable=not progress):
        if not len(running):
            break
        trials = evolution.ask()  # mutation and recombination: (images, population, genes)
        evolution.tell(trials, ask.costs(running, trials))  # selection
        candidate, cost = evolution.best()
        x_adv[running] = paint(x[running], candidate)
        steps[running] = generation
        unsolved = cost > -xp.inf
        running = running[unsolved]
        evolution.keep(unsolved)

    label = ask.of(x_adv).argmax(axis=1)
    return AttackResult(x, x_adv, label, goal.reached(label), steps, queries=2 + population * steps)
