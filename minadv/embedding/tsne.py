"""t-SNE (D7): gradient descent on the divergence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from minadv.backend import array_module, like
from minadv.checks import check_count, check_flag, check_number, check_rng
from minadv.embedding.divergence import kl_divergence, kl_gradient
from minadv.embedding.neighbors import conditional_probabilities, joint_probabilities
from minadv.embedding.pca import pca
from minadv.embedding.points import check_finite
from minadv.parallel import one_blas_thread

__all__ = ["TSNE", "tsne"]

# Standard deviation of the first map: so small that the initial positions do not constrain the map.
START_SPREAD = 1e-4
HISTORY_EVERY = 50  # steps between two entries of TSNE.kl_history
# The adaptive step of Jacobs (1988), with the values of the authors' code.
GAIN_STEP, GAIN_DECAY, GAIN_FLOOR = 0.2, 0.8, 0.01


@dataclass(frozen=True, eq=False)
class TSNE:
    """What :func:`tsne` found.

    ``embedding`` ``(N, components)``; ``kl``, the divergence KL(P || Q) reached; ``kl_history``,
    the divergence after 0, 50, 100, ... steps, never exaggerated; ``perplexity`` ``(N,)``, of each
    point's neighbors: what was asked for, unless duplicates forbid it.
    """

    embedding: np.ndarray
    kl: float
    kl_history: np.ndarray
    perplexity: np.ndarray


def tsne(
    x,
    *,
    components=2,
    perplexity=30.0,
    steps=1000,
    learning_rate="auto",
    early_exaggeration=12.0,
    exaggeration_steps=250,
    momentum=(0.5, 0.8),
    init="pca",
    rng=0,
    progress=False,
) -> TSNE:
    r"""Lay out ``x`` in the plane such that neighbors stay neighbors: minimize KL(P || Q) over the
    map by gradient descent.

    .. math:: y^{(t)} = y^{(t-1)} - \eta \, \frac{\partial C}{\partial y}
        + \alpha(t) \, (y^{(t-1)} - y^{(t-2)})

    with a step size per coordinate that grows while the gradient keeps its sign and shrinks when it
    changes. Exact: time and memory grow with N². There is no map for new points; embed clean and
    adversarial examples together.

    ``x``: ``(N, *features)``, float32 or float64. ``components``: dimensions of the map (default
    2). ``perplexity``: effective number of neighbors, 1 to N - 1 (default 30). ``steps``: count
    (default 1000). ``learning_rate``: eta, >= 0; "auto" (default) is N / early_exaggeration, about
    as much as the exaggerated attraction bears (Linderman and Steinerberger 2019; Belkina et al.
    2019). ``early_exaggeration``: factor on P that lets clusters form, >= 1 (default 12), in the
    first ``exaggeration_steps`` (default 250). ``momentum``: alpha in those steps and after them,
    in [0, 1]. ``init``: "pca" (default; needs D >= components) or "random", both of standard
    deviation 1e-4, or a map ``(N, components)``. ``rng``: a Generator or a seed, used by "random"
    alone (default 0). ``progress``: show a bar.

    Returns a :class:`TSNE`, its embedding in the dtype of ``x``, around 0. Raises
    :class:`TypeError` and :class:`ValueError` for input that is not this.

    van der Maaten and Hinton (2008), algorithm 1. D7.
    """
    check_count("components", components, least=1)
    check_count("steps", steps, least=0)
    check_number("early_exaggeration", early_exaggeration, least=1)
    progress = check_flag("progress", progress)
    check_count("exaggeration_steps", exaggeration_steps, least=0)
    if not isinstance(momentum, tuple | list) or len(momentum) != 2:
        raise ValueError(
            f"momentum must be two numbers, before and after the switch, got {momentum!r}"
        )
    for alpha in momentum:
        check_number("momentum", alpha, least=0, most=1)
    conditional = conditional_probabilities(x, perplexity)
    if isinstance(learning_rate, str) and learning_rate == "auto":
        learning_rate = len(x) / early_exaggeration
    check_number("learning_rate", learning_rate, least=0)

    xp = array_module(x)
    p = joint_probabilities(conditional)
    first = y = _first_map(x, components, init, rng)
    velocity, gains = xp.zeros_like(y), xp.ones_like(y)
    history = []
    # the matrix products are narrow: a second thread costs more than it computes
    with one_blas_thread():
        for step in tqdm(range(steps), desc="t-SNE", disable=not progress):
            if step % HISTORY_EVERY == 0:
                history.append(kl_divergence(p, y))
            early = step < exaggeration_steps
            if step == exaggeration_steps and float(y.std()) < START_SPREAD:
                # no clusters at this perplexity: the exaggerated attraction has drawn all points
                # into one; go on as if without it
                y, velocity, gains = first, xp.zeros_like(y), xp.ones_like(y)
            gradient = kl_gradient(p, y, early_exaggeration if early else 1.0)
            downhill = gradient * velocity < 0
            gains = xp.maximum(
                xp.where(downhill, gains + GAIN_STEP, gains * GAIN_DECAY), GAIN_FLOOR
            )
            velocity = momentum[0 if early else 1] * velocity - learning_rate * gains * gradient
            y = y + velocity
            y -= y.mean(axis=0)  # the divergence does not see where the map lies

    kl = kl_divergence(p, y)
    if steps % HISTORY_EVERY == 0:
        history.append(kl)
    return TSNE(y, kl, np.array(history), _perplexity(conditional))


def _first_map(x, components, init, rng):
    """Where the points of ``x`` start, ``(N, components)``."""
    shape = (len(x), components)
    if not isinstance(init, str):
        check_finite("init", init)
        if init.shape != shape:
            raise ValueError(f"init must have the shape of the map, {shape}, got {init.shape}")
        return init.astype(x.dtype)
    if init == "pca":
        y = pca(x, components).transform(x)
        spread = float(y[:, 0].std())
        return y * (START_SPREAD / spread) if spread > 0 else y
    if init == "random":
        draw = check_rng(rng).normal(scale=START_SPREAD, size=shape)
        return like(draw.astype(x.dtype), x)
    raise ValueError(f"init must be 'pca', 'random' or an array of shape {shape}, got {init!r}")


def _perplexity(conditional):
    """``2 ** entropy`` of each row, in bits."""
    xp = array_module(conditional)
    return xp.exp2(-(conditional * xp.log2(xp.where(conditional > 0, conditional, 1))).sum(axis=1))
