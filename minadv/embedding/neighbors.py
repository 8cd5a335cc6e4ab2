"""Who is whose neighbor, as probabilities: what t-SNE preserves (D7)."""

from __future__ import annotations

import math

from minadv.backend import array_module
from minadv.checks import check_array, check_number
from minadv.embedding.points import check_points, rows_at_a_time
from minadv.parallel import map_chunks

__all__ = ["conditional_probabilities", "joint_probabilities"]

# Of the bisection for the perplexity, in nats: a relative error of 1e-5 in the perplexity.
ENTROPY_TOLERANCE = 1e-5
BISECTIONS = 100  # at most


def conditional_probabilities(x, perplexity=30.0):
    r"""How likely each point would pick each other one as its neighbor, under a Gaussian as wide as
    the perplexity demands.

    .. math::

        p_{j|i} = \frac{\exp(-\beta_i \|x_i - x_j\|^2)}{\sum_{k \ne i} \exp(-\beta_i \|x_i -
        x_k\|^2)}, \qquad p_{i|i} = 0, \qquad \beta_i = \frac{1}{2 \sigma_i^2} \text{ such that }
        -\sum_j p_{j|i} \log_2 p_{j|i} = \log_2 \text{perplexity}

    ``x``: ``(N, *features)``, float32 or float64. ``perplexity``: the effective number of
    neighbors, 1 to N - 1 (default 30). Where a point has more nearest neighbors at one distance
    (duplicates, say) than that, these share its probability equally.

    Returns ``(N, N)`` in the dtype of ``x``; row i is the distribution of i's neighbors. It does
    not change when the points are moved, rotated or scaled. Raises :class:`TypeError` and
    :class:`ValueError` for input that is not this.

    van der Maaten and Hinton (2008), Eq. 1. D7.
    """
    check_points(x)
    check_number("perplexity", perplexity, least=1)
    if perplexity > len(x) - 1:
        raise ValueError(
            f"perplexity must be <= N - 1 = {len(x) - 1}, the number of neighbors a point has, got "
            f"{perplexity!r}"
        )
    xp = array_module(x)
    # squared distances are differences of large numbers: they alone are computed in float64, from
    # centered points
    points = x.reshape(len(x), -1).astype(xp.float64)
    points -= points.mean(axis=0)
    squares = (points * points).sum(axis=1)

    def neighbors(i):
        distance = squares[i, None] + squares - 2 * points[i] @ points.T  # (n, N): ||x_i - x_j||²
        return _neighbor_distribution(distance, i, math.log(perplexity), x.dtype)

    return map_chunks(neighbors, xp.arange(len(x)), chunk=rows_at_a_time(x))


def _neighbor_distribution(distance, i, target, dtype):
    """The rows ``i`` of p_{j|i}, of entropy ``target`` (nats), from squared distances ``(n, N)``:
    all rows bisected at once."""
    xp = array_module(distance)
    itself = xp.arange(len(i)), i
    # Eq. 1 stays the same when row i is shifted by its minimum (then no sum is 0) and scaled by its
    # mean (then beta is near 1)
    distance[itself] = xp.inf
    distance -= distance.min(axis=1, keepdims=True)
    distance[itself] = 0
    mean = distance.mean(axis=1, keepdims=True)
    distance = (distance / xp.where(mean > 0, mean, 1)).astype(dtype)

    beta = xp.ones((len(distance), 1), dtype)
    lower, upper = xp.zeros_like(beta), xp.full_like(beta, xp.inf)
    for _ in range(BISECTIONS):
        p = xp.exp(-beta * distance)
        p[itself] = 0
        total = p.sum(axis=1, keepdims=True)
        p /= total
        # -sum_j p_{j|i} log p_{j|i}
        entropy = xp.log(total) + beta * (p * distance).sum(axis=1, keepdims=True)
        if bool((xp.abs(entropy - target) <= ENTROPY_TOLERANCE).all()):
            break
        too_many_neighbors = entropy > target
        lower = xp.where(too_many_neighbors, beta, lower)
        upper = xp.where(too_many_neighbors, upper, beta)
        beta = xp.where(xp.isinf(upper), 2 * beta, (lower + upper) / 2)
    return p


def joint_probabilities(conditional):
    r"""Symmetrize the conditional probabilities ``(N, N)``, so that every point, outliers too, has
    a share of at least 1/(2N).

    .. math:: p_{ij} = \frac{p_{j|i} + p_{i|j}}{2N}

    Returns ``(N, N)``, symmetric, with sum 1. Raises :class:`ValueError` for an array that is not
    square.

    van der Maaten and Hinton (2008), section 3.1. D7.
    """
    if check_array("conditional", conditional).dtype.kind != "f":
        raise TypeError(f"conditional must be floating point, got {conditional.dtype}")
    if conditional.ndim != 2 or conditional.shape[0] != conditional.shape[1]:
        raise ValueError(f"conditional must be (N, N), got shape {conditional.shape}")
    return (conditional + conditional.T) / (2 * len(conditional))
