r"""Two pictures of a representation in the plane: PCA, and t-SNE (D7).

PCA is linear: fitted on clean examples, it shows adversarial ones on the same axes. t-SNE keeps
neighbors together and has no axes at all: what is to be compared is embedded together.

The equations numbered below are those of L. van der Maaten and G. Hinton, "Visualizing Data using
t-SNE", JMLR 9, 2008.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from minadv.backend import array_module, like
from minadv.checks import check_array, check_count, check_flag, check_number
from minadv.parallel import map_chunks, one_blas_thread

__all__ = [
    "PCA",
    "TSNE",
    "conditional_probabilities",
    "joint_probabilities",
    "kl_divergence",
    "kl_gradient",
    "pca",
    "tsne",
]

# standard deviation of the first map: so small that the initial positions do not constrain the map
START_SPREAD = 1e-4
HISTORY_EVERY = 50  # steps between two entries of TSNE.kl_history
GAIN_STEP, GAIN_DECAY, GAIN_FLOOR = (
    0.2,
    0.8,
    0.01,
)  # the adaptive step of Jacobs (1988), with the values of the authors' code
ENTROPY_TOLERANCE = (
    1e-5  # of the bisection for the perplexity, in nats: a relative error of 1e-5 in the perplexity
)
BISECTIONS = 100  # at most
BLOCK_BYTES = (
    2**20
)  # of an N x N array per chunk: measured best on two cores with 2 MiB of cache each


@dataclass(frozen=True, eq=False)
class PCA:
    """The axes along which data vary most, made by :func:`pca`. Features may have any shape, images
    included.

    ``mean`` ``(*features)``; ``components`` ``(k, *features)``, orthonormal, the strongest first;
    ``explained_variance`` ``(k,)``, of the data along each component (N - 1 in the denominator);
    ``explained_variance_ratio`` ``(k,)``, its share in the variance of all.
    """

    mean: np.ndarray
    components: np.ndarray
    explained_variance: np.ndarray
    explained_variance_ratio: np.ndarray

    def transform(self, x):
        """The coordinates ``(M, k)`` of ``x`` ``(M, *features)`` on the components."""
        _check_array(x, "x")
        if x.shape[1:] != self.mean.shape:
            raise ValueError(
                f"x must have features of shape {self.mean.shape}, like the fitted data, got "
                f"{x.shape[1:]}"
            )
        components = self.components.reshape(len(self.components), -1)  # (k, D)
        return (x - self.mean).reshape(len(x), -1) @ components.T  # (M, k)

    def inverse_transform(self, z):
        """The points ``(M, *features)`` whose coordinates on the components are ``z`` ``(M, k)``,
        and zero on all others."""
        _check_array(z, "z")
        if z.shape[1:] != self.explained_variance.shape:
            raise ValueError(
                f"z must have one column per component, (M, {len(self.components)}), got shape "
                f"{z.shape}"
            )
        return self.mean + array_module(z).tensordot(z, self.components, axes=1)


def pca(x, components=2) -> PCA:
    r"""Find the orthonormal directions along which ``x`` varies most, by the singular value
    decomposition of the centered data.

    .. math:: x - \bar x = U S V^\top, \qquad \text{components} = V^\top, \qquad
        \text{variance}_k = S_k^2 / (N - 1)

    ``x``: ``(N, *features)``, float32 or float64, N >= 2. ``components``: how many, 1 to min(N, D)
    for D features (default 2). A component's sign is free; here its entry of largest magnitude is
    positive, so that the same data give the same picture.

    Returns a :class:`PCA` in the dtype of ``x``: ``pca(clean).transform(adversarial)`` shows both
    on the same axes. Data that do not vary have a variance ratio of 0. Raises :class:`TypeError`
    and :class:`ValueError` for input that is not this.

    I. T. Jolliffe, "Principal Component Analysis", 2002. D7.
    """
    _check_points(x)
    check_count("components", components, most=min(len(x), math.prod(x.shape[1:])))
    xp = array_module(x)

    # float32 sums of many examples drift; distances from the first one make the mean of equal
    # examples exact
    mean = (x[0] + (x - x[0]).mean(axis=0, dtype=xp.float64)).astype(x.dtype)
    # its many small steps gain little from a second thread, and wait for it where the cores are
    # busy
    with one_blas_thread():
        _, s, vt = xp.linalg.svd(
            (x - mean).reshape(len(x), -1), full_matrices=False
        )  # (min(N, D),), (min(N, D), D)

    vt = vt[:components]
    largest = xp.abs(vt).argmax(axis=1)
    vt = vt * xp.sign(vt[xp.arange(components), largest])[:, None]

    variance = s**2 / (len(x) - 1)
    total = float(variance.sum())
    ratio = variance[:components] / (total if total > 0 else 1.0)
    return PCA(mean, vt.reshape(components, *x.shape[1:]), variance[:components], ratio)


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
    _check_points(x)
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

    return map_chunks(neighbors, xp.arange(len(x)), chunk=_rows_at_a_time(x))


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
        entropy = xp.log(total) + beta * (p * distance).sum(
            axis=1, keepdims=True
        )  # -sum_j p_{j|i} log p_{j|i}
        if bool((xp.abs(entropy - target) <= ENTROPY_TOLERANCE).all()):
            break
        too_many_neighbors = entropy > target
        lower, upper = (
            xp.where(too_many_neighbors, beta, lower),
            xp.where(too_many_neighbors, upper, beta),
        )
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


def kl_divergence(p, y) -> float:
    r"""The Kullback-Leibler divergence of the map's neighborhoods Q from the data's P: what t-SNE
    minimizes.

    .. math::

        KL(P \| Q) = \sum_{i \ne j} p_{ij} \log \frac{p_{ij}}{q_{ij}}, \qquad
        q_{ij} = \frac{(1 + \|y_i - y_j\|^2)^{-1}}{\sum_{k \ne l} (1 + \|y_k - y_l\|^2)^{-1}}

    ``p``: ``(N, N)``, from :func:`joint_probabilities`. ``y``: the map, ``(N, components)``.
    Returns nats, >= 0. Raises
    :class:`ValueError` where the shapes do not fit. van der Maaten and Hinton (2008), section 3.1
    and Eq. 4. D7.
    """
    _check_map(p, y)
    xp = array_module(p, y)

    def partial_sums(i, p):
        kernel = _student_kernel(y, i)  # (n, N)
        ratio = xp.where(p > 0, p, 1) / xp.where(kernel > 0, kernel, 1)  # p log p = 0 at p = 0
        return kernel.sum(axis=1), (p * xp.log(ratio)).sum(axis=1)

    z, kl = map_chunks(partial_sums, xp.arange(len(y)), p, chunk=_rows_at_a_time(y))
    if not float(z.sum()) > 0:
        raise ValueError("y must hold points close enough for their kernel not to vanish")
    return float(kl.sum()) + math.log(
        float(z.sum())
    )  # Eq. 4: q_ij = kernel_ij / z; and the p_ij sum to 1


def kl_gradient(p, y, exaggeration=1.0):
    r"""The gradient of :func:`kl_divergence` in the map: neighbors attract each other, and all
    points repel each other.

    .. math:: \frac{\partial C}{\partial y_i}
        = 4 \sum_j (\alpha p_{ij} - q_{ij}) (y_i - y_j) (1 + \|y_i - y_j\|^2)^{-1}

    ``p``: ``(N, N)``, symmetric, from :func:`joint_probabilities`. ``y``: the map, ``(N,
    components)``. ``exaggeration``: the factor
    :math:`\alpha` on the attraction (default 1: the gradient).

    Returns ``(N, components)``. Raises :class:`ValueError` where the shapes do not fit. van der
    Maaten and Hinton (2008), Eq. 5. D7.
    """
    _check_map(p, y)
    xp = array_module(p, y)
    y1 = xp.concatenate(
        [y, xp.ones((len(y), 1), y.dtype)], axis=1
    )  # weights w_ij times this: sum_j w_ij y_j, and sum_j w_ij

    def partial_sums(i, p):
        kernel = _student_kernel(y, i)  # (n, N)
        return kernel.sum(axis=1), (p * kernel) @ y1, (kernel * kernel) @ y1

    z, attraction, repulsion = map_chunks(
        partial_sums, xp.arange(len(y)), p, chunk=_rows_at_a_time(y)
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
    with (
        one_blas_thread()
    ):  # the matrix products are narrow: a second thread costs more than it computes
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
        _check_array(init, "init")
        if init.shape != shape:
            raise ValueError(f"init must have the shape of the map, {shape}, got {init.shape}")
        return init.astype(x.dtype)
    if init == "pca":
        y = pca(x, components).transform(x)
        spread = float(y[:, 0].std())
        return y * (START_SPREAD / spread) if spread > 0 else y
    if init == "random":
        draw = np.random.default_rng(rng).normal(scale=START_SPREAD, size=shape)
        return like(draw.astype(x.dtype), x)
    raise ValueError(f"init must be 'pca', 'random' or an array of shape {shape}, got {init!r}")


def _perplexity(conditional):
    """``2 ** entropy`` of each row, in bits."""
    xp = array_module(conditional)
    return xp.exp2(-(conditional * xp.log2(xp.where(conditional > 0, conditional, 1))).sum(axis=1))


def _rows_at_a_time(x):
    """How many rows of an N x N array one chunk takes; a GPU takes them all at once."""
    return max(1, BLOCK_BYTES // (len(x) * x.dtype.itemsize)) if array_module(x) is np else len(x)


def _check_array(x, name):
    if getattr(x, "dtype", None) not in (np.float32, np.float64):
        raise TypeError(
            f"{name} must be a float32 or float64 array, got "
            f"{getattr(x, 'dtype', type(x).__name__)}"
        )
    if x.ndim < 2:
        raise ValueError(
            f"{name} must have at least two axes, the first one for the examples, got shape "
            f"{x.shape}"
        )
    if not bool(array_module(x).isfinite(x).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinite values")


def _check_points(x):
    _check_array(x, "x")
    if len(x) < 2 or math.prod(x.shape[1:]) == 0:
        raise ValueError(
            f"x must hold at least two examples of at least one feature, got shape {x.shape}"
        )


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
