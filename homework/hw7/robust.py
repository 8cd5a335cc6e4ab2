"""Networks that a student trained, and what an attacker leaves of their accuracy."""

from __future__ import annotations

import numpy as np

from homework.grader.course import Course
from homework.grader.grading import Grading
from minadv import models, vjp


def called(g: Grading, function: str, eps: float):
    """The network of the weights that the student's ``function(x, y, eps, rng)`` returns."""
    x = g.course.digits.x_train.reshape(-1, 64)
    y = g.course.digits.y_train.astype(np.int64)
    rng = np.random.SeedSequence(int(g.rng.integers(2**31)))
    value = g.call(function, x, y, eps, rng, kind="any")
    net = models.mlp((64,))
    shapes = {k: v.shape for k, v in net.parameters.items()}
    g.expect(
        isinstance(value, dict) and set(value) == set(shapes),
        f"it is no dict of the arrays {', '.join(sorted(shapes))}",
    )
    for k, shape in shapes.items():
        v = g._array(value[k], shape, "f", k)
        g.expect(v.dtype.kind == "f", f"{k} is an array of {v.dtype}, expected floating point")
    g.last = (g.last[0], None)  # thousands of weights say nothing
    net.parameters = {k: np.asarray(value[k], v.dtype) for k, v in net.parameters.items()}
    return net


def accuracy(net, course: Course, eps: float, starts=(None,)) -> float:
    """Accuracy on the test images under PGD of 40 steps along the gradient of the margin.

    ``starts``: a generator for each random start, or None to start at the image itself.
    """
    x, y = course.x.astype(np.float32), course.y
    is_y = y[:, None] == np.arange(10)
    low, high = np.clip(x - eps, 0, 1), np.clip(x + eps, 0, 1)
    right = np.ones(len(x), bool)
    for rng in starts:
        z = x if rng is None else rng.uniform(low, high).astype(np.float32)
        for _ in range(41):
            logits, pull = vjp(net, z)
            right &= logits.argmax(axis=1) == y
            others = np.where(is_y, -np.inf, logits)
            e = np.exp(others - others.max(axis=1, keepdims=True))
            g = pull((e / e.sum(axis=1, keepdims=True) - is_y).astype(logits.dtype))
            z = np.clip(z + np.float32(eps / 8) * np.sign(g), low, high)
    return float(right.mean())
