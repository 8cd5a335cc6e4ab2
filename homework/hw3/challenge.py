"""The challenge of homework 3: the most successes with 20 gradients per image."""

from __future__ import annotations

import numpy as np

from homework.grader.engine import Challenge
from homework.grader.grading import Grading
from homework.grader.serve import limited

EPS, GRADIENTS = 0.1, 20


def run(g: Grading) -> float:
    net, x, y = g.course.models[2], g.course.x, g.course.y
    rng = np.random.SeedSequence(int(g.rng.integers(2**31)))
    z = g.call("challenge", limited(net, GRADIENTS), x, y, EPS, rng, shape=x.shape)
    far = float(np.abs(z - x).max())
    inside = far <= EPS + 1e-9 and z.min() >= 0 and z.max() <= 1
    g.expect(inside, f"it leaves the ball of {EPS}, by {far - EPS:.2g}, or the bounds")
    return float((net(z).argmax(axis=1) != y).sum())


CHALLENGE = Challenge("images fooled at eps 0.1 with 20 gradients", "desc", run)
