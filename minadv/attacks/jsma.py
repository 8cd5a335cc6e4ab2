"""JSMA (D5): Papernot et al. 2016, *The limitations of deep learning in adversarial settings*."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

from minadv.attacks.goal import Goal, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.attacks.saliency import best_pair, best_pixel, forward_derivative, scaled
from minadv.backend import array_module
from minadv.checks import check_count, check_flag, check_images, check_number, largest_size
from minadv.numerics import rows
from minadv.parallel import in_chunks

STEPS_PER_FEATURE = 20  # the default limit: enough for a theta of a tenth of the range, or less


def jsma(
    model: Callable,
    x,
    *,
    target,
    theta: float = 1.0,
    gamma: float = 0.145,
    pairs: bool = True,
    outputs: Literal["probabilities", "logits"] = "probabilities",
    steps: int | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> AttackResult:
    r"""Change few features, each by much: in each step the pair of the highest saliency.

    .. math:: x \leftarrow x + \theta (e_p + e_q), \quad (p, q) = \arg\max_{p, q \in \Gamma}
        S(\nabla F_t, \textstyle\sum_{j \ne t} \nabla F_j)[p, q]

    A feature is one number of an image: a gray pixel, or one channel of a color pixel. An image
    stops when its label is ``target``, when no feature is admissible (the map is 0 at every feature
    that can still move), or when ``gamma`` or ``steps`` allows no more.

    Parameters
    ----------
    theta
        What a step adds to a feature, a pixel value, not 0; negative values darken.
    gamma
        The largest share of the features that may change, 0 to 1. Default: the paper's for MNIST,
        113 of 784.
    pairs
        Whether to change two features per step, as the paper does, or one, as D5 does.
    outputs
        Which outputs F are: ``"probabilities"`` or ``"logits"``; see
        :func:`~minadv.attacks.saliency.forward_derivative`.
    steps
        The most steps for an image. Default: 20 for each feature that ``gamma`` allows to change.

    The other arguments, the result, warnings and errors: see :mod:`minadv.attacks`.
    """
    bounds = check_images(x, bounds)
    goal = Goal.of(x, target=target)
    theta = check_number("theta", theta, least=-largest_size(x.dtype), most=largest_size(x.dtype))
    if theta == 0:
        raise ValueError("theta must not be 0")
    check_number("gamma", gamma, least=0, most=1)
    budget = share(gamma, math.prod(x.shape[1:]))  # features
    default = STEPS_PER_FEATURE * max(budget, 1)
    steps = default if steps is None else check_count("steps", steps)
    best, size = (best_pair, 2) if check_flag("pairs", pairs) else (best_pixel, 1)
    xp = array_module(x)

    def step(z, x, t):
        """Lines 6 to 11 of algorithm 2 for a chunk: z after a step, whether it is taken, slopes."""
        changed, raised = rows(z != x), xp.clip(rows(z) + theta, *bounds)
        affordable = changed.sum(axis=1) + size <= budget
        domain = (raised != rows(z)) & (changed | affordable[:, None])  # Γ, lines 2, 10 and 11
        logits, dF_t, dF_others = forward_derivative(model, z, t, outputs=outputs)  # line 7
        p, S = best(scaled(dF_t), scaled(dF_others), theta, domain)  # line 8: equation 10 (or 8)
        chosen = xp.zeros(domain.shape, dtype=bool)
        chosen[xp.arange(len(z))[:, None], p] = True
        moved = xp.where(chosen, raised, rows(z)).reshape(z.shape)  # line 9
        # Without S > 0 the argmax of a map of zeros, feature 0, would be changed.
        return moved, (logits.argmax(axis=1) != t) & (S > 0), rows(dF_t).any(axis=1)

    x_adv, taken = x.copy(), xp.zeros(len(x), dtype=int)
    running = xp.arange(len(x))
    for i in range(steps):
        if not len(running):
            break
        z, go, slopes = in_chunks(model, step, x_adv[running], x[running], goal.label[running])
        if i == 0:
            warn_of_zero_gradients(slopes, len(x))
        running = running[go]  # line 6
        x_adv[running] = z[go]
        taken[running] += 1
    return AttackResult.judge(model, x, x_adv, goal, taken)


def share(gamma: float, features: int) -> int:
    """The most features whose share is at most ``gamma``, as written (0.29 of 100 is 29) or as
    computed (50/784 of 784 is 50); neither is so for the product of the rounded numbers."""
    nearest = round(float(gamma) * features)
    as_written = nearest <= Fraction(str(gamma)) * features
    return nearest if as_written or nearest / features <= gamma else nearest - 1
