"""The challenge of homework 5: the shortest way out with 60 gradients."""

from __future__ import annotations

import numpy as np

from homework.grader.engine import Challenge
from homework.grader.grading import Grading
from homework.grader.serve import limited

GRADIENTS = 60


def run(g: Grading) -> float:
    net = g.course.models[2]
    x = g.course.x[g.rng.permutation(len(g.course.x))[:100]]
    z = g.call("challenge", limited(net, GRADIENTS), x, shape=x.shape)
    g.expect(z.min() >= 0 and z.max() <= 1, "it leaves the bounds 0 and 1")
    out = net(z).argmax(axis=1) != net(x).argmax(axis=1)
    return float(np.median(np.where(out, np.sqrt(((z - x) ** 2).sum(axis=1)), 8.0)))


CHALLENGE = Challenge("median l2 length with 60 gradients", "asc", run)
