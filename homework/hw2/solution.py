"""Homework 2: linear models, and FGSM in the exact ball. Write the six parts; hand in this file.

Images are flat rows: ``x`` is (N, D). Arguments are read-only: work on copies. ``minadv.vjp(model,
x)`` gives ``(logits, pull)``, and ``pull(g)`` is g times the derivative of the logits by x.
"""

import numpy as np

from minadv import vjp


def logit_and_probability(W, x, b):
    """The logit z = W·x + b of a logistic regression, and the probability σ(z) = 1 / (1 + exp(-z)).

    W: (D,), x: (N, D), b: one number. Returns (z, p), two arrays (N,). No z makes exp overflow.

    >>> z, p = logit_and_probability(np.array([1.0, 3.0]), np.array([[1.0, -1.0]]), 2.0)
    >>> z.tolist(), p.tolist()
    ([0.0], [0.5])
    """
    # begin solution: A
    z = x @ W + b
    e = np.exp(-np.abs(z))
    return z, np.where(z >= 0, 1 / (1 + e), e / (1 + e))
    # end solution


def strongest(W, eps, norm):
    """The change d with ||d|| <= eps that raises W·d most.

    W: (D,); eps >= 0; norm: "linf" (no component above eps) or "l2" (length at most eps). Returns
    (D,); 0 where W is 0.

    >>> strongest(np.array([3.0, -4.0]), 1.0, "linf").tolist()
    [1.0, -1.0]
    """
    # begin solution: B
    if norm == "linf":
        return eps * np.sign(W)
    length = np.sqrt((W * W).sum())
    return eps * (W / length) if length > 0 else np.zeros_like(W)
    # end solution


def margin_gradient(logits, y):
    """The derivative by the logits of m = z_y - log sum_{j != y} exp(z_j), the log-odds of the
    label.

    logits: (N, K), y: (N,) integers. Returns (N, K) in the dtype of the logits: 1 at y, and minus
    the softmax over the other classes elsewhere. The others add up to -1 however sure the model is.

    >>> margin_gradient(np.array([[5.0, 2.0, 2.0]]), np.array([0])).tolist()
    [[1.0, -0.5, -0.5]]
    """
    # begin solution: C
    is_y = y[:, None] == np.arange(logits.shape[1])
    others = np.where(is_y, -np.inf, logits)
    e = np.exp(others - others.max(axis=1, keepdims=True))
    return (is_y - e / e.sum(axis=1, keepdims=True)).astype(logits.dtype)
    # end solution


def ball(x, eps, bounds):
    """The farthest numbers (low, high) with |z - x| <= eps, as real numbers, that lie inside the
    bounds.

    x: (N, D) of float32 or float64, inside the bounds; eps: a float64 >= 0; bounds: two numbers
    that x's dtype holds. Returns two arrays in the shape and dtype of x. The next number beyond
    either breaks the ball or the bounds.

    >>> low, high = ball(np.array([[0.5, 1.0]]), 0.25, (0.0, 1.0))
    >>> low.tolist(), high.tolist()
    ([[0.25, 0.75]], [[0.75, 1.0]])
    """
    # begin solution: D
    start, eps = x.astype(np.float64), float(eps)

    def inside(z, sign):  # z - x is s + e exactly: s is rounded, and e is what the rounding lost
        z = z.astype(np.float64)
        s = z - start
        t = s - z
        e = (z - (s - t)) - (start + t)
        return (sign * s < eps) | ((sign * s == eps) & (sign * e <= 0))

    def ends(sign):
        back, on = x.dtype.type(-sign * np.inf), x.dtype.type(sign * np.inf)
        z = (start + sign * eps).astype(x.dtype)
        for _ in range(3):
            z = np.where(inside(z, sign), z, np.nextafter(z, back))
        for _ in range(3):
            beyond = np.nextafter(z, on)
            z = np.where(inside(beyond, sign), beyond, z)
        return z

    low, high = np.asarray(bounds, x.dtype)
    return np.maximum(ends(-1), low), np.minimum(ends(1), high)
    # end solution


def fgsm_step(x, g, eps, low, high, targeted):
    """One step x + eps·sign(g) (targeted: x - eps·sign(g)), limited to [low, high].

    x, g, low, high: (N, D) in one dtype. g is the gradient of the loss to raise (targeted: to
    lower). Where g is 0 the pixel stays as it is. Returns (N, D) in the dtype of x.

    >>> x, g = np.array([[0.5, 0.5]]), np.array([[2.0, 0.0]])
    >>> fgsm_step(x, g, 0.25, x - 0.25, x + 0.25, False).tolist()
    [[0.75, 0.5]]
    """
    # begin solution: E
    step = np.sign(g) * x.dtype.type(eps)
    return np.clip(x - step if targeted else x + step, low, high)
    # end solution


def fgsm(model, x, *, y=None, target=None, eps, bounds=(0.0, 1.0)):
    """FGSM: one gradient, and one step against the margin of y, or towards the margin of the
    target.

    model: images to logits (N, K); x: (N, D); exactly one of y and target, (N,) integers, else
    ValueError; eps and bounds as in ball. Calls vjp once. Returns x_adv (N, D), in the exact ball.
    """
    # begin solution: F
    if (y is None) == (target is None):
        raise ValueError("give exactly one of y and target")
    label = y if target is None else target
    logits, pull = vjp(model, x)
    g = -pull(margin_gradient(logits, label))
    low, high = ball(x, eps, bounds)
    return fgsm_step(x, g, eps, low, high, target is not None)
    # end solution
