"""Homework 4: JSMA, few pixels. Write the five parts; hand in this file.

Images are flat rows: ``x`` is (N, D), float64. Arguments are read-only: work on copies.
``minadv.vjp(model, x)`` gives ``(logits, pull)``, and ``pull(g)`` is g times the derivative of the
logits by x.
"""

import numpy as np

from minadv import vjp


def forward_derivative(model, x, target, outputs):
    """How the target's output, and the sum of all other outputs, change with each pixel.

    The formula: (dF_t / dx_i, sum_{j != t} dF_j / dx_i). model: images to logits (N, K); x: (N, D);
    target t: (N,) integers; outputs: F is "logits", or "probabilities", their softmax. Returns two
    arrays (N, D). With probabilities the second is minus the first, since all F add up to 1.

    >>> W = np.array([[1.0, 2.0], [0.0, -3.0], [5.0, 0.0]])
    >>> x, t = np.zeros((1, 2)), np.array([1])
    >>> [d.tolist() for d in forward_derivative(lambda x: x @ W.T, x, t, "logits")]
    [[[0.0, -3.0]], [[6.0, 2.0]]]
    """
    # begin solution: A
    logits, pull = vjp(model, x)
    is_t = target[:, None] == np.arange(logits.shape[1])
    if outputs == "logits":
        return pull(is_t.astype(float)), pull((~is_t).astype(float))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p_t = (p * is_t).sum(axis=1, keepdims=True)
    dt = pull(p_t * (is_t - p))
    return dt, -dt
    # end solution


def saliency(dt, do, theta):
    """The saliency map: how much a step of theta at each pixel helps t and hurts the others.

    theta > 0: S = 0 where dt < 0 or do > 0, else dt * |do|. theta < 0: S = 0 where dt > 0 or
    do < 0, else |dt| * do. dt, do: (N, D), the two results of forward_derivative. Returns (N, D).

    >>> dt, do = np.array([[2.0, 2.0, -2.0]]), np.array([[-3.0, 3.0, 3.0]])
    >>> saliency(dt, do, 1.0).tolist(), saliency(dt, do, -1.0).tolist()
    ([[6.0, 0.0, 0.0]], [[0.0, 0.0, 6.0]])
    """
    # begin solution: B
    if theta < 0:
        dt, do = -dt, -do
    inadmissible = (dt < 0) | (do > 0)
    return np.where(inadmissible, 0.0, dt * np.abs(do))
    # end solution


def best_pixel(S, free):
    """The index of the largest S among the free pixels of each image, or -1 if that is 0.

    S: (N, D), no number below 0; free: (N, D) truth values. Returns (N,) integers. Of equal ones
    each is right.

    >>> S = np.array([[1.0, 5.0, 2.0], [0.0, 0.0, 0.0]])
    >>> best_pixel(S, np.array([[True, False, True], [True, True, True]])).tolist()
    [2, -1]
    """
    # begin solution: C
    S = np.where(free, S, 0.0)
    return np.where(S.max(axis=1) > 0, S.argmax(axis=1), -1)
    # end solution


def best_pair(dt, do, free):
    """The two free pixels p < q with the largest (dt_p + dt_q) * |do_p + do_q|, for theta > 0.

    A pair is admissible if dt_p + dt_q > 0 and do_p + do_q < 0. dt, do: (N, D); free: (N, D) truth
    values. Returns (N, 2) integers; -1, -1 where no pair of free pixels is admissible. Of equal
    ones each is right.

    >>> dt, do = np.array([[5.0, -1.0, 1.0]]), np.array([[1.0, -4.0, -1.0]])
    >>> best_pair(dt, do, np.ones((1, 3), bool)).tolist()
    [[0, 1]]
    """
    # begin solution: D
    N, D = dt.shape
    a, b = (v[:, :, None] + v[:, None, :] for v in (dt, do))
    pairs = free[:, :, None] & free[:, None, :] & np.triu(np.ones((D, D), bool), k=1)
    S = np.where(pairs & (a > 0) & (b < 0), a * -b, 0.0).reshape(N, D * D)
    best = S.argmax(axis=1)
    pair = np.stack([best // D, best % D], axis=1)
    return np.where(S.max(axis=1)[:, None] > 0, pair, -1)
    # end solution


def jsma(model, derivative, x, target, theta, budget, bounds):
    """Change one pixel per step, the most salient, until the largest logit is the target's.

    Each step adds theta to the best pixel of each image that is not yet successful, and limits it
    to the bounds. A pixel that is at the end of its way (theta > 0: at the upper bound) is not
    free. At most `budget` pixels of an image change. A pixel that has changed may change again,
    also when the budget is used up. An image stops when it is successful, or when no free pixel has
    a saliency above 0.

    model: images to logits; derivative: a function of (z, target) that gives what
    forward_derivative gives; x: (N, D), inside the bounds; target: (N,) integers; theta: not 0;
    bounds: two numbers. Returns x_adv (N, D).
    """
    # begin solution: E
    low, high = bounds
    z = x.copy()
    for _ in range(x.shape[1] * int(np.ceil((high - low) / abs(theta)))):
        todo = model(z).argmax(axis=1) != target
        free = z < high if theta > 0 else z > low
        moved = z != x
        free = free & (moved | (moved.sum(axis=1, keepdims=True) < budget))
        S = saliency(*derivative(z, target), theta)
        p = best_pixel(S, free & todo[:, None])
        rows = np.flatnonzero(p >= 0)
        if len(rows) == 0:
            break
        z[rows, p[rows]] = np.clip(z[rows, p[rows]] + theta, low, high)
    return z
    # end solution
