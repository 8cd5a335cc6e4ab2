"""The saliency map attack (D5): Papernot et al. 2016, *The limitations of deep learning in adversarial settings* (JSMA)."""

from __future__ import annotations

import math
from collections.abc import Callable

from minadv.attacks.balls import rows
from minadv.attacks.checks import largest_size
from minadv.attacks.common import (
    AttackResult,
    Goal,
    check_images,
    check_logits,
    check_number,
    score_gradient,
    warn_of_zero_gradients,
)
from minadv.autograd import vjp
from minadv.backend import array_module
from minadv.parallel import chunk_size, map_chunks

__all__ = ["best_pair", "best_pixel", "forward_derivative", "jsma", "saliency_map"]


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
        z, go, slope = map_chunks(
            step, x_adv[running], x[running], goal.label[running], chunk=chunk_size(model, x)
        )
        if not steps.any():
            warn_of_zero_gradients(slope[:, None], len(x))
        running = running[go]  # those that are done leave the batch
        x_adv[running] = z[go]
        steps[running] += 1
    return AttackResult.judge(model, x, x_adv, goal, steps)


def forward_derivative(model: Callable, x, target, *, outputs: str = "probabilities"):
    r"""``(logits, dF_t, dF_others)``: what the saliency map needs of the Jacobian of F, from one forward pass.

    .. math:: \frac{\partial F_t}{\partial x_i} \quad \text{and} \quad \sum_{j \ne t} \frac{\partial F_j}{\partial x_i}

    With ``outputs="logits"``, F are the logits, as in the paper's experiments and D5's code: two pulls. But a function of x added to all
    logits changes no probability, and changes the map; and of two classes with the logits (0, z) nothing is ever admissible.

    With ``"probabilities"``, F is the softmax. Its derivatives add up to 0, so the second sum is minus the first derivative, the map is a
    square, and one pull is enough. :math:`\partial F_t = F_t (1 - F_t) \, \nabla m`, m being the log-odds margin; ∇m itself is returned:
    it ranks all features and pairs alike, and does not vanish where the softmax saturates. On MNIST, by pairs, it turns all twos into sixes
    with a median of 40 features changed; the logits, 93 % with 64.

    Arguments: as for :func:`jsma`. Both derivatives have the shape of ``x``.
    """
    goal = Goal.of(x, target=target)
    if outputs == "probabilities":
        logits, g = score_gradient(model, x, goal)
        return logits, g, -g
    if outputs != "logits":
        raise ValueError(f"outputs must be 'probabilities' or 'logits', got {outputs!r}")

    def chunk(x, t):
        logits, pull = vjp(model, x)
        check_logits(logits, len(x))
        goal.check_range(logits.shape[1])
        is_t = t[:, None] == array_module(t).arange(logits.shape[1])
        return logits, pull(is_t), pull(~is_t)

    return map_chunks(chunk, x, goal.label, chunk=chunk_size(model, x))


def scaled(g):
    """``g``, (N, ...), as rows (N, D), the largest number of each ±1: all saliencies keep their order, and none under- or overflows."""
    g = rows(g)
    largest = array_module(g).abs(g).max(axis=1, keepdims=True)
    return g / (largest + (largest == 0))


def saliency_map(dF_t, dF_others, theta: float = 1.0):
    r"""How much a change of each feature by ``theta`` > 0 helps the target and hurts the other classes (D5; the paper's equation 8).

    .. math:: S(x, t)[i] = \begin{cases} 0 & \text{if } \frac{\partial F_t}{\partial x_i} < 0 \text{ or } \sum_{j \ne t} \frac{\partial F_j}
        {\partial x_i} > 0 \\ \frac{\partial F_t}{\partial x_i} \left| \sum_{j \ne t} \frac{\partial F_j}{\partial x_i} \right| &
        \text{otherwise} \end{cases}

    With ``theta`` < 0 both conditions are mirrored (the paper's equation 9). ``dF_t``, ``dF_others``: arrays of one shape, the derivatives
    of F_t and of the sum of the others; S has that shape, too. For a pair of features, give the sums of their derivatives.
    """
    helps, hurts = (dF_t, -dF_others) if theta > 0 else (-dF_t, dF_others)
    xp = array_module(dF_t)
    return xp.maximum(helps, 0) * xp.maximum(hurts, 0)


def best_pixel(dF_t, dF_others, theta: float = 1.0, free=None):
    """``(i, S)``: the feature of the highest saliency, (N, 1), among the ``free`` ones, and its saliency (N,), 0 if none is admissible.

    Arguments: derivatives (N, D); ``free``, booleans (N, D), default all.
    """
    xp = array_module(dF_t)
    S = saliency_map(dF_t, dF_others, theta)
    S = S if free is None else xp.where(free, S, 0)
    i = S.argmax(axis=1)[:, None]
    return i, xp.take_along_axis(S, i, axis=1)[:, 0]


def best_pair(dF_t, dF_others, theta: float = 1.0, free=None):
    r"""``(pq, S)``: the two features, (N, 2), whose sums have the highest saliency, and that saliency (N,), 0 if no pair is admissible.

    .. math:: \max_{p \ne q} \; (\alpha_p + \alpha_q) \, |\beta_p + \beta_q| \quad \text{where} \quad \alpha_p + \alpha_q > 0, \;
        \beta_p + \beta_q < 0

    with α = ∂F_t/∂x, β = Σ ∂F_j/∂x; both with opposite signs if ``theta`` < 0 (the paper's equation 10). Exact, in memory linear in D:
    few features can be in such a pair (see :func:`rivals`), and those are tried with each other, some rows at a time.

    Arguments: derivatives (N, D); ``free``, booleans (N, D), default all.
    """
    xp = array_module(dF_t)
    helps, hurts = (dF_t, -dF_others) if theta > 0 else (-dF_t, dF_others)
    if free is not None:
        helps, hurts = xp.where(free, helps, -xp.inf), xp.where(free, hurts, -xp.inf)
    rival = rivals(helps, hurts)  # (N, R)
    helps, hurts = (
        xp.take_along_axis(helps, rival, axis=1),
        xp.take_along_axis(hurts, rival, axis=1),
    )

    (N, R), D = rival.shape, dF_t.shape[1]
    S, pq = xp.zeros(N, dtype=dF_t.dtype), xp.zeros((N, 2), dtype=int)
    some = max(1, D // R)
    for start in range(0, R, some):
        alpha, minus_beta = (
            v[:, start : start + some, None] + v[:, None, :] for v in (helps, hurts)
        )  # (N, some, R)
        here = saliency_map(alpha, -minus_beta)
        p = xp.arange(alpha.shape[1])
        here[:, p, start + p] = 0  # a feature is no pair with itself
        here = here.reshape(N, -1)
        i = here.argmax(axis=1)[:, None]
        highest = xp.take_along_axis(here, i, axis=1)[:, 0]
        pq = xp.where((highest > S)[:, None], xp.concatenate([start + i // R, i % R], axis=1), pq)
        S = xp.maximum(S, highest)
    return xp.take_along_axis(rival, pq, axis=1), S


def rivals(a, b):
    """Those of D features that may be in a pair with the largest (a_p + a_q)(b_p + b_q), both sums positive: (N, R), R as small as can be.

    A feature that two others beat both in a and in b is left out: in any pair, one of the two could replace it. On MNIST some 20 of 784
    remain. An example with fewer than the others is filled up with features that were beaten.
    """
    xp = array_module(a)
    order = (-a).argsort(axis=1)  # all that beat a feature in a come before it
    b = xp.take_along_axis(b, order, axis=1)
    best = running_max(b)
    second = running_max(
        xp.minimum(b[:, 1:], best[:, :-1])
    )  # the second largest b up to each place
    beaten = xp.zeros(b.shape, dtype=bool)
    beaten[:, 2:] = b[:, 2:] <= second[:, :-1]
    R = int((~beaten).sum(axis=1).max())
    return xp.take_along_axis(order, beaten.argsort(axis=1, kind="stable")[:, :R], axis=1)


def running_max(v):
    """The largest number up to each place along axis 1: over 2, 4, 8, ... places (CuPy has no ``maximum.accumulate``)."""
    xp, shift = array_module(v), 1
    while shift < v.shape[1]:
        v = xp.concatenate([v[:, :shift], xp.maximum(v[:, shift:], v[:, :-shift])], axis=1)
        shift *= 2
    return v
