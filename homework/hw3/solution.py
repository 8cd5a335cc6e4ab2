"""Homework 3: iterated FGSM and PGD. Write the six parts; hand in this file.

Images are flat rows: ``x`` is (N, D), float64. Arguments are read-only: work on copies.
``minadv.vjp(model, x)`` gives ``(logits, pull)``, and ``pull(g)`` is g times the derivative of the
logits by x.
"""

import numpy as np

from minadv import vjp


def margin(logits, label):
    """Given: (m, dm), the log-odds of the label (N,), and their derivative by the logits (N, K).

    m = z_y - log sum_{j != y} exp(z_j). logits: (N, K); label: (N,) integers.
    """
    is_label = label[:, None] == np.arange(logits.shape[1])
    others = np.where(is_label, -np.inf, logits)
    top = others.max(axis=1, keepdims=True)
    e = np.exp(others - top)
    total = e.sum(axis=1, keepdims=True)
    m = logits[np.arange(len(logits)), label] - (top + np.log(total))[:, 0]
    return m, is_label - e / total


def iterate(gradient, x, eps, steps, low, high):
    """Iterated FGSM: T = `steps` steps along the sign of the gradient.

    Each is z <- z + (eps / T) sign(gradient(z)), limited to [low, high]. gradient: a function of
    (N, D) that gives (N, D), the gradient of the loss to raise; x: (N, D); eps >= 0; steps >= 1;
    low, high: (N, D), the ends of the ball inside the bounds, as `ball` of homework 2 gives them.
    Asks for T gradients: the first at x, each other one at the newest z. Returns the last z, (N,
    D).

    >>> x = np.array([[0.5, 0.9]])
    >>> iterate(lambda z: np.ones_like(z), x, 0.25, 2, x - 0.25, np.minimum(x + 0.25, 1)).tolist()
    [[0.75, 1.0]]
    """
    # begin solution: A
    z = x
    for _ in range(steps):
        z = np.clip(z + eps / steps * np.sign(gradient(z)), low, high)
    return z
    # end solution


def project_l2(z, x, eps):
    """The nearest point to z with ||p - x||_2 <= eps, image by image.

    z, x: (N, D); eps >= 0. Returns (N, D). A z that is inside stays bit for bit. An image's result
    does not depend on the other images.

    >>> project_l2(np.array([[3.0, 4.0], [0.0, 0.5]]), np.zeros((2, 2)), 1.0).round(12).tolist()
    [[0.6, 0.8], [0.0, 0.5]]
    """
    # begin solution: B
    d = z - x
    length = np.sqrt((d * d).sum(axis=1, keepdims=True))
    outside = length > eps
    return np.where(outside, x + eps * (d / np.where(outside, length, 1)), z)
    # end solution


def steepest(g, norm):
    """The direction of unit size along which a function with the gradient g rises most.

    g: (N, D); norm: "linf" gives sign(g), "l2" gives g / ||g||_2, image by image. Returns (N, D).
    An image whose g is 0 everywhere gets 0. The length is 1 also where the components of g are
    1e-200 or 1e200.

    >>> steepest(np.array([[3.0, -4.0], [0.0, 0.0]]), "l2").round(12).tolist()
    [[0.6, -0.8], [0.0, 0.0]]
    """
    # begin solution: C
    if norm == "linf":
        return np.sign(g)
    largest = np.abs(g).max(axis=1, keepdims=True)
    g = g / np.where(largest > 0, largest, 1)
    length = np.sqrt((g * g).sum(axis=1, keepdims=True))
    return g / np.where(largest > 0, length, 1)
    # end solution


def random_start(x, eps, low, high, norm, rng):
    """A point drawn uniformly from the ball of radius eps around each image.

    It is then limited to [low, high]. x: (N, D), inside the bounds; eps >= 0; low, high: two
    numbers; norm: "linf" or "l2"; rng: a `numpy.random.Generator`, the only source of chance. Each
    image has a draw of its own. Returns (N, D).

    >>> random_start(np.zeros((1, 2)), 0.0, 0.0, 1.0, "l2", np.random.default_rng(7)).tolist()
    [[0.0, 0.0]]
    """
    # begin solution: D
    if norm == "linf":
        d = rng.uniform(-1, 1, x.shape)
    else:
        d = rng.standard_normal(x.shape)
        d /= np.sqrt((d * d).sum(axis=1, keepdims=True))
        d *= rng.uniform(0, 1, (len(x), 1)) ** (1 / x.shape[1])
    return np.clip(x + eps * d, low, high)
    # end solution


def keep_best(best, new):
    """Image by image the better of two candidates.

    Success beats failure; then the higher score wins. best, new: dicts of "success" (N,) truth
    values, "score" (N,), "z" (N, D). Returns such a dict. Where both are equal, either is right.

    >>> a = {"success": np.array([True]), "score": np.array([1.0]), "z": np.array([[0.0]])}
    >>> b = {"success": np.array([False]), "score": np.array([2.0]), "z": np.array([[1.0]])}
    >>> keep_best(a, b)["z"].tolist()
    [[0.0]]
    """
    # begin solution: E
    higher = new["score"] > best["score"]
    better = np.where(new["success"] == best["success"], higher, new["success"])
    return {
        "success": np.where(better, new["success"], best["success"]),
        "score": np.where(better, new["score"], best["score"]),
        "z": np.where(better[:, None], new["z"], best["z"]),
    }
    # end solution


def pgd(model, x, *, y=None, target=None, eps, alpha, steps, rng, norm="linf", low=0.0, high=1.0):
    """Projected gradient descent from one random start: the best of x, the start, and all iterates.

    model: images to logits (N, K); x: (N, D) inside [low, high]; exactly one of y (the label to
    leave) and target (the label to reach), (N,) integers. The score is the margin of the target, or
    minus the margin of y. Success: the largest logit is the target's, or is not y's. One step is z
    + alpha * steepest(gradient of the score), brought back into the ball of radius eps ("linf" or
    "l2") around x, and into [low, high]. Returns x_adv (N, D).
    """
    # begin solution: F
    label, sign = (y, -1.0) if target is None else (target, 1.0)

    def look(z):
        logits, pull = vjp(model, z)
        m, slope = margin(logits, label)
        is_label = logits.argmax(axis=1) == label
        found = {"success": is_label == (target is not None), "score": sign * m, "z": z}
        return found, pull(sign * slope)

    best, _ = look(x)
    z = random_start(x, eps, low, high, norm, rng)
    found, g = look(z)
    best = keep_best(best, found)
    for _ in range(steps):
        z = z + alpha * steepest(g, norm)
        z = np.clip(z, x - eps, x + eps) if norm == "linf" else project_l2(z, x, eps)
        z = np.clip(z, low, high)
        found, g = look(z)
        best = keep_best(best, found)
    return best["z"]
    # end solution
