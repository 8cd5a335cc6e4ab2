"""How far a map's neighborhoods are from the data's, and where to move its points (D7)."""

from __future__ import annotations

import math

from minadv.backend import array_module
from minadv.checks import check_array, check_number
from minadv.embedding.points import rows_at_a_time
from minadv.parallel import map_chunks

__all__ = ["kl_divergence", "kl_gradient"]


def kl_divergence(p, y) -> float:
    r"""The Kullback-Leibler divergence of the map's neighborhoods Q from the data's P: what t-SNE
    minimizes.

    .. math::

        KL(P \| Q) = \sum_{i \ne j} p_{ij} \log \frac{p_{ij}}{q_{ij}}, \qquad
        q_{ij} = \frac{(1 + \|y_i - y_j\|^2)^{-1}}{\sum_{k \ne l} (1 + \|y_k - y_l\|^2)^{-1}}

    ``p``: ``(N, N)``, from :func:`joint_probabilities`. ``y``: the map, ``(N, components)``.
    Returns nats, >= 0. Raises :class:`ValueError` where the shapes do not fit. van der Maaten and
    Hinton (2008), section 3.1 and Eq. 4. D7.
    """
    _check_map(p, y)
    xp = array_module(p, y)

    def partial_sums(i, p):
        kernel = _student_kernel(y, i)  # (n, N)
        ratio = xp.where(p > 0, p, 1) / xp.where(kernel > 0, kernel, 1)  # p log p = 0 at p = 0
        return kernel.sum(axis=1), (p * xp.log(ratio)).sum(axis=1)

    z, kl = map_chunks(partial_sums, xp.arange(len(y)), p, chunk=rows_at_a_time(y))
    if not float(z.sum()) > 0:
        raise ValueError("y must hold points close enough for their kernel not to vanish")
    # Eq. 4: q_ij = kernel_ij / z; and the p_ij sum to 1
    return float(kl.sum()) + math.log(float(z.sum()))


def kl_gradient(p, y, exaggeration=1.0):
    r"""The gradient of :func:`kl_divergence` in the map: neighbors attract each other, and all
    points repel each other.

    .. math:: \frac{\partial C}{\partial y_i}
        = 4 \sum_j (\alpha p_{ij} - q_{ij}) (y_i - y_j) (1 + \|y_i - y_j\|^2)^{-1}

    ``p``: ``(N, N)``, symmetric, from :func:`joint_probabilities`. ``y``: the map, ``(N,
    components)``. ``exaggeration``: the factor :math:`\alpha` on the attraction (default 1: the
    gradient).

    Returns ``(N, components)``. Raises :class:`ValueError` where the shapes do not fit. van der
    Maaten and Hinton (2008), Eq. 5. D7.
    """
    _check_map(p, y)
    xp = array_module(p, y)
    # weights w_ij times this: sum_j w_ij y_j, and sum_j w_ij
    y1 = xp.concatenate([y, xp.ones((len(y), 1), y.dtype)], axis=1)

    def partial_sums(i, p):
        kernel = _student_kernel(y, i)  # (n, N)
        return kernel.sum(axis=1), (p * kernel) @ y1, (kernel * kernel) @ y1

    z, attraction, repulsion = map_chunks(
        partial_sums, xp.arange(len(y)), p, chunk=rows_at_a_time(y)
    )
    # Eq. 4: q_ij = kernel_ij / z; so these sums have the weights w_ij = (alpha p_ij - q_ij)
    # kernel_ij
    exaggeration = check_number("exaggeration", exaggeration, least=0)
    sums = exaggeration * attraction - repulsion / z.sum()  # (N, components + 1)
    return 4 * (sums[:, -1:] * y - sums[:, :-1])  # Eq. 5


def _student_kernel(y, i):
    """``(1 + ||y_i - y_j||²)^-1`` for the points ``i`` and all points j, ``(n, N)``; 0 where j =
    i."""
    xp = array_module(y)
    # coordinate by coordinate: no cancellation as in |a|² + |b|² - 2ab, and no (n, N, components)
    # array
    kernel = xp.ones((len(i), len(y)), y.dtype)
    for coordinate in y.T:
        kernel += (coordinate[i, None] - coordinate) ** 2
    kernel = 1 / kernel
    kernel[xp.arange(len(i)), i] = 0
    return kernel


def _check_map(p, y):
    for name, array in (("p", p), ("y", y)):
        if check_array(name, array).dtype.kind != "f":
            raise TypeError(f"{name} must be floating point, got {array.dtype}")
    if y.ndim and len(y) < 2:
        raise ValueError(f"y must hold at least two points, got shape {y.shape}")
    if y.ndim != 2 or p.shape != (len(y), len(y)):
        raise ValueError(
            f"p must be (N, N) and y (N, components), got shapes {p.shape} and {y.shape}"
        )
