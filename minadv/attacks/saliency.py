"""The saliency map of JSMA (D5), and the features and pairs of features of the highest saliency."""

from __future__ import annotations

from collections.abc import Callable

from minadv.attacks.goal import Goal, score_gradient
from minadv.autograd import vjp
from minadv.backend import array_module
from minadv.checks import check_array, check_choice, check_number
from minadv.inference import check_logits
from minadv.numerics import rows
from minadv.parallel import in_chunks


def saliency_map(dF_t, dF_others, theta: float = 1.0):
    r"""How much a change of each feature by ``theta`` > 0 helps the target and hurts the others.

    .. math:: S(x, t)[i] = \begin{cases}
        0 & \text{if } \frac{\partial F_t}{\partial x_i} < 0
            \text{ or } \sum_{j \ne t} \frac{\partial F_j}{\partial x_i} > 0 \\
        \frac{\partial F_t}{\partial x_i}
            \left| \sum_{j \ne t} \frac{\partial F_j}{\partial x_i} \right| & \text{otherwise}
        \end{cases}

    This is D5's map, the paper's equation 8. With ``theta`` < 0 both conditions are mirrored
    (equation 9). ``dF_t`` and ``dF_others`` are arrays of one shape, the derivatives of F_t and of
    the sum of the others; S has that shape, too. For pairs, give the sums of their derivatives.
    """
    theta = check_number("theta", theta)
    for name, value in (("dF_t", dF_t), ("dF_others", dF_others)):
        if check_array(name, value).dtype.kind != "f" or value.shape != dF_t.shape:
            came = f"{value.dtype} of shape {value.shape}"
            raise ValueError(f"{name} must be floating point, in the shape of dF_t, got {came}")
    helps, hurts = (dF_t, -dF_others) if theta > 0 else (-dF_t, dF_others)
    xp = array_module(dF_t)
    return xp.maximum(helps, 0) * xp.maximum(hurts, 0)


def forward_derivative(model: Callable, x, target, *, outputs: str = "probabilities"):
    r"""What the saliency map needs of the Jacobian of F, from one forward pass.

    .. math:: \frac{\partial F_t}{\partial x_i} \quad \text{and} \quad
        \sum_{j \ne t} \frac{\partial F_j}{\partial x_i}

    With ``"logits"``, F are the logits, as in the paper's experiments and D5's code. This takes two
    pulls. However, adding the same function of x to all logits leaves the probabilities unchanged
    but alters the map. Of two classes with the logits (0, z), no feature is ever admissible.

    With ``"probabilities"``, F is the softmax. Its derivatives sum to 0, so the second sum is minus
    the first derivative: the map is a square, and one pull is enough. Since
    :math:`\nabla F_t = F_t (1 - F_t) \nabla m`, where m is the log-odds margin, ∇m itself is
    returned. It ranks all features and pairs alike, and does not vanish where the softmax
    saturates. On MNIST, by pairs, this turns all twos into sixes and changes a median of 40
    features; with the logits it is 93 %, and 64 features.

    Parameters
    ----------
    model, x
        As for :func:`~minadv.attacks.jsma.jsma`.
    target
        The class t: integers ``(N,)``, or one for all.
    outputs
        ``"probabilities"`` or ``"logits"``.

    Returns
    -------
    tuple
        ``(logits, dF_t, dF_others)``: ``(N, K)``, and two arrays in the shape of ``x``.
    """
    goal = Goal.of(x, target=target)
    if check_choice("outputs", outputs, "probabilities", "logits") == "probabilities":
        logits, g = score_gradient(model, x, goal)
        return logits, g, -g

    def two_pulls(x, t):
        logits, pull = vjp(model, x)
        check_logits(logits, len(x))
        goal.check_range(logits.shape[1])
        is_t = t[:, None] == array_module(t).arange(logits.shape[1])
        return logits, pull(is_t), pull(~is_t)

    return in_chunks(model, two_pulls, x, goal.label)


def scaled(g):
    """``g`` as rows ``(N, D)``, each divided by its largest absolute value.

    All saliencies keep their order, and none underflows or overflows.
    """
    g = rows(g)
    largest = array_module(g).abs(g).max(axis=1, keepdims=True)
    return g / (largest + (largest == 0))


def best_pixel(dF_t, dF_others, theta: float = 1.0, free=None):
    """The feature of the highest saliency among the ``free`` ones.

    Parameters
    ----------
    dF_t, dF_others, theta
        As for :func:`saliency_map`; derivatives ``(N, D)``.
    free
        Which features may be chosen: booleans ``(N, D)``. Default: all.

    Returns
    -------
    tuple
        The indices ``(N, 1)``, and their saliencies ``(N,)``, 0 if no feature is admissible.
    """
    xp = array_module(dF_t)
    S = saliency_map(dF_t, dF_others, theta)
    S = S if free is None else xp.where(free, S, 0)
    i = S.argmax(axis=1)[:, None]
    return i, xp.take_along_axis(S, i, axis=1)[:, 0]


def best_pair(dF_t, dF_others, theta: float = 1.0, free=None):
    r"""The two features whose sums have the highest saliency among the ``free`` ones.

    .. math:: \max_{p \ne q} \; (\alpha_p + \alpha_q) \, |\beta_p + \beta_q|
        \quad \text{where} \quad \alpha_p + \alpha_q > 0, \; \beta_p + \beta_q < 0

    with α = ∂F_t/∂x and β = Σ ∂F_j/∂x; both with opposite signs if ``theta`` < 0 (the paper's
    equation 10). Exact, in memory linear in D. Where β = −α, as with probabilities, the map is a
    square, and the best pair are the two largest. Otherwise few features can be in the best pair
    (see :func:`rivals`), and all pairs of these are tried, some rows at a time.

    Parameters
    ----------
    dF_t, dF_others, theta, free
        As for :func:`best_pixel`.

    Returns
    -------
    tuple
        The indices ``(N, 2)``, and their saliencies ``(N,)``, 0 if no pair is admissible.
    """
    xp = array_module(dF_t)
    helps, hurts = (dF_t, -dF_others) if theta > 0 else (-dF_t, dF_others)
    if free is not None:
        helps, hurts = xp.where(free, helps, -xp.inf), xp.where(free, hurts, -xp.inf)
    if bool((helps == hurts).all()):
        return two_largest(helps)
    rival = rivals(helps, hurts)  # (N, R)
    helps, hurts = (xp.take_along_axis(v, rival, axis=1) for v in (helps, hurts))

    (N, R), D = rival.shape, dF_t.shape[1]
    S, pq = xp.zeros(N, dtype=dF_t.dtype), xp.zeros((N, 2), dtype=int)
    some = max(1, D // R)
    for start in range(0, R, some):
        alpha, minus_beta = (
            v[:, start : start + some, None] + v[:, None, :] for v in (helps, hurts)
        )  # (N, some, R)
        here = saliency_map(alpha, -minus_beta)
        p = xp.arange(alpha.shape[1])
        here[:, p, start + p] = 0  # a feature is not a pair with itself
        here = here.reshape(N, -1)
        i = here.argmax(axis=1)[:, None]
        highest = xp.take_along_axis(here, i, axis=1)[:, 0]
        pq = xp.where((highest > S)[:, None], xp.concatenate([start + i // R, i % R], axis=1), pq)
        S = xp.maximum(S, highest)
    return xp.take_along_axis(rival, pq, axis=1), S


def two_largest(v):
    """``(pq, S)`` of :func:`best_pair` if both derivatives rank the features by ``v``, (N, D)."""
    xp, n = array_module(v), array_module(v).arange(len(v))
    p = v.argmax(axis=1)
    others = v.copy()
    others[n, p] = -xp.inf
    q = others.argmax(axis=1)
    alpha = v[n, p] + others[n, q]
    return xp.stack([p, q], axis=1), saliency_map(alpha, -alpha)


def rivals(a, b):
    """The features that can be part of the best pair: indices ``(N, R)``, R minimal.

    The best pair maximizes (a_p + a_q)(b_p + b_q), both sums positive. A feature that two others
    beat both in a and in b is left out: in any pair, one of the two could replace it. On MNIST
    about 20 of 784 remain. Rows with fewer are filled up with features that were beaten.
    """
    xp = array_module(a)
    near = unbeaten(a, b)  # sorting these few is faster
    a, b = (xp.take_along_axis(v, near, axis=1) for v in (a, b))
    order = (-a).argsort(axis=1)  # all that beat a feature in a come before it
    b = xp.take_along_axis(b, order, axis=1)
    best = running_max(b)
    second = running_max(xp.minimum(b[:, 1:], best[:, :-1]))  # second largest b up to each place
    beaten = xp.zeros(b.shape, dtype=bool)
    beaten[:, 2:] = b[:, 2:] <= second[:, :-1]
    R = int((~beaten).sum(axis=1).max())
    few = xp.take_along_axis(order, beaten.argsort(axis=1, kind="stable")[:, :R], axis=1)
    return xp.take_along_axis(near, few, axis=1)


def unbeaten(a, b):
    """Indices ``(N, R)`` that hold all but some of the features that two others beat.

    Two features have both numbers >= t. They beat each feature of which both are below t.
    """
    xp, D = array_module(a), a.shape[1]
    t = xp.partition(xp.minimum(a, b), max(D - 2, 0), axis=1)[:, max(D - 2, 0), None]
    larger = xp.maximum(a, b)
    R = int((larger >= t).sum(axis=1).max()) if len(a) else D
    return xp.argpartition(-larger, R - 1, axis=1)[:, :R]


def running_max(v):
    """The largest number up to each place along axis 1.

    Over 2, 4, 8, ... places, since CuPy has no ``maximum.accumulate``.
    """
    xp, shift = array_module(v), 1
    while shift < v.shape[1]:
        v = xp.concatenate([v[:, :shift], xp.maximum(v[:, shift:], v[:, :-shift])], axis=1)
        shift *= 2
    return v
