"""The challenge of homework 6: the fewest questions to a black box."""

from __future__ import annotations

import numpy as np

from homework.grader.engine import Challenge
from homework.grader.grading import Grading
from homework.grader.serve import function
from homework.hw6.black_box import probabilities

PIXELS, BUDGET = 5, 1000


def run(g: Grading) -> float:
    net, spent = g.course.models[2], []
    right = np.flatnonzero(net(g.course.x).argmax(axis=1) == g.course.y)
    for i in g.rng.permutation(right)[:100]:
        x, y = g.course.x[i], int(g.course.y[i])
        predict = function(probabilities(net, BUDGET))
        rng = np.random.SeedSequence(int(g.rng.integers(2**31)))
        z = g.call("challenge", predict, x, y, PIXELS, BUDGET, rng, shape=(64,))
        asked = sum(len(question[0]) for question, _ in predict.asked)
        honest = (z != x).sum() <= PIXELS and z.min() >= 0 and z.max() <= 1
        fooled = honest and net(z[None]).argmax() != y
        spent.append(asked if fooled else BUDGET)
    return float(np.median(spent))


CHALLENGE = Challenge("median number of questions", "asc", run)
