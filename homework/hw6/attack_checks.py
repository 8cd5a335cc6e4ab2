"""Homework 6: the checks of the attack, the part that puts the others together."""

from __future__ import annotations

import math

import numpy as np

from homework.grader.engine import worth
from homework.grader.grading import Grading
from homework.grader.serve import function
from homework.hw6 import cases
from homework.hw6.black_box import probabilities
from homework.hw6.cases import BUDGET, PIXELS

EARLIER = ("mutant", "select")


def _right(g: Grading, count):
    net = g.course.models[1 if g.hidden else 0]
    i = np.flatnonzero(net(g.course.x).argmax(axis=1) == g.course.y)
    i = g.rng.permutation(i)[:count]
    return net, g.course.x[i], g.course.y[i]


_needed = {}  # course, hidden, scale: what the reference reaches


@worth(15, "three pixels change the label as often as they should", "one_pixel", replaced=EARLIER)
def e1(g: Grading):
    """Runs of a right solution have a standard deviation of 2 to 3 images."""
    full = g.count > 40
    net, images, labels = _right(g, 170 if full else 40)
    first = int(g.rng.integers(2**30))
    key = g.course.seed, g.hidden, full
    if key not in _needed:
        runs = [
            cases.success(
                net,
                images,
                labels,
                lambda x, y, s, r=r: g.reference.one_pixel(
                    probabilities(net, BUDGET),
                    x,
                    y,
                    PIXELS,
                    BUDGET,
                    np.random.default_rng([first, r, s]),
                ),
            )
            for r in range(4 if full else 1)
        ]
        _needed[key] = math.floor(np.median(runs)) - (14 if full else 8)
    need = _needed[key]
    fooled = cases.success(
        net,
        images,
        labels,
        lambda x, y, s: g.call(
            "one_pixel",
            function(probabilities(net, 2 * BUDGET)),
            x,
            y,
            PIXELS,
            BUDGET,
            np.random.SeedSequence(first + s),
            shape=(64,),
        ),
    )
    g.at_least(
        "images fooled",
        fooled,
        need,
        f"{fooled} of {len(images)} images got another label by {PIXELS} pixels inside 0 and 1, "
        f"expected at least {need}",
    )


@worth(5, "few pixels, inside 0 and 1, within the budget", "one_pixel", replaced=EARLIER)
def e2(g: Grading):
    net, images, labels = _right(g, 8)
    for s, (x, y) in enumerate(zip(images, labels, strict=True)):
        for pixels_, budget in ((PIXELS, BUDGET), (1, 160 + 40 * s)):
            predict = function(probabilities(net, 10**9))
            rng = np.random.SeedSequence(s)
            z = g.call("one_pixel", predict, x, int(y), pixels_, budget, rng, shape=(64,))
            rows = sum(len(q[0]) for q, _ in predict.asked)
            g.expect(rows <= budget, f"{rows} images were asked about, and the budget is {budget}")
            tried = 2 * rows >= budget or net(z[None]).argmax() != y
            g.expect(tried, f"it gave up after {rows} of {budget} questions, without success")
            changed = int((z != x).sum())
            g.expect(changed <= pixels_, f"{changed} pixels changed, and {pixels_} may")
            g.expect(
                z.min() >= 0 and z.max() <= 1,
                f"pixels are from {z.min():.4g} to {z.max():.4g}, outside 0 and 1",
            )
