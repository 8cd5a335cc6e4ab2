"""The saliency map attack (D5): Papernot et al. 2016, *The limitations of deep learning in adversarial settings* (JSMA)."""

from __future__ import annotations

import math
from collections.abc import Callable

from minadv.attacks.goal import Goal, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.attacks.saliency import best_pair, best_pixel, forward_derivative, scaled
from minadv.backend import array_module
from minadv.checks import check_images, check_number, largest_size
from minadv.numerics import rows
from minadv.parallel import in_chunks


def jsma(
    model: Callable,
    x,
    *,
    target,
    theta: float = 1.0,
    gamma: float = 0.145,
    pairs: bool = True,
    outputs: str = "probabilities",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> AttackResult:
    r"""Change few features, but each by much: step by step the one, or the two, of the highest saliency, until the label is ``target``.

    A feature is one number of an image: a gray pixel, or one channel of a color pixel. An example stops when it succeeds, when no feature
    is admissible (wherever one can still move, the map is 0), and before more features have changed than ``gamma`` allows.

    Arguments: ``model``, from images to logits (N, K); ``x``, images (N, H, W, C) or (N, D), float32 or float64, inside ``bounds``;
    ``target``, the labels to reach, integers (N,) or one; ``theta``, what a step adds to a feature, a pixel value, not 0: negative ones
    darken; ``gamma``, the largest share of features changed, 0 to 1 (by default the paper's for MNIST, 113 of 784); ``pairs``, two features
    per step as in the paper, or one as in D5; ``outputs``, which outputs F the map is of, see :func:`forward_derivative`. An example that
    is the target already is returned unchanged with 0 steps. Warns of gradients that are exactly zero. Raises :class:`ValueError` or
    :class:`TypeError` naming a wrong argument.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, target=target)
    theta = check_number("theta", theta, least=-largest_size(x.dtype), most=largest_size(x.dtype))
    if theta == 0:
        raise ValueError("theta must not be 0")
    budget = int(check_number("gamma", gamma, least=0, most=1) * math.prod(x.shape[1:]))  # features
    xp = array_module(x)

    def step(z, x, t):
        """One step of a chunk from ``z``: where it leads, whether it is taken (n,), and whether the model is not flat there (n,)."""
        logits, dF_t, dF_others = forward_derivative(model, z, t, outputs=outputs)
        moved, changed = xp.clip(z + theta, *bounds), rows(z != x)
        affordable = changed.sum(axis=1) + (2 if pairs else 1) <= budget
        free = rows(moved != z) & (
            changed | affordable[:, None]
        )  # neither saturated nor beyond the budget
        best, S = (best_pair if pairs else best_pixel)(
            scaled(dF_t), scaled(dF_others), theta, free
        )  # equation 10, or 8
        go = (logits.argmax(axis=1) != t) & (
            S > 0
        )  # else the argmax of a map of zeros, feature 0, would be changed
        chosen = (best[:, :, None] == xp.arange(free.shape[1])).any(axis=1) & go[:, None]
        return xp.where(chosen.reshape(z.shape), moved, z), go, rows(dF_t).any(axis=1)

    x_adv, steps = x.copy(), xp.zeros(len(x), dtype=int)
    running = xp.arange(len(x))
    while len(running):
        z, go, slope = in_chunks(model, step, x_adv[running], x[running], goal.label[running])
        if not steps.any():
            warn_of_zero_gradients(slope[:, None], len(x))
        running = running[go]  # those that are done leave the batch
        x_adv[running] = z[go]
        steps[running] += 1
    return AttackResult.judge(model, x, x_adv, goal, steps)
