"""Homework 2: what is checked, for how many points, and against what."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from homework.grader.engine import Homework, worth
from homework.grader.grading import Grading
from homework.grader.serve import affine, network
from homework.grader.strategies import whole
from homework.hw2 import cases
from homework.hw2.challenge import CHALLENGE
from minadv import vjp

EARLIER = ("margin_gradient", "ball", "fgsm_step")


@worth(10, "z = W·x + b, and σ(z) without overflow", "logit_and_probability")
def a1(g: Grading):
    def check(W, x, b):
        z, p = g.call("logit_and_probability", W, x, b, parts=[(len(x),)] * 2)
        exact = x @ W + b
        g.close(z, exact, "the logit is W·x + b", tolerance=0)
        right = [
            1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v)) for v in exact
        ]
        g.close(p, right, "the probability is 1 / (1 + exp(-z))", 1e-15 * 4, scale=0)
        said = [w for w in g.warned if "overflow" in w]
        g.expect(
            not said, f"NumPy warned of an overflow: {said}; exp of a large number is infinite"
        )

    check(np.array([1000.0]), np.array([[1.0], [-1.0]]), 0.0)
    check(np.array([1.0, 3, -1, 2, 2, 3]), np.array([[1.0, -1, 2, 0, 3, -2]]), 0.0)

    @g.examples(cases.regressions())
    def _(case):
        check(*case)


def _strongest(g: Grading, norm: str, words: str, length, dual):
    @g.examples(st.integers(1, 5).flatmap(whole), st.sampled_from([0.0, 0.25, 1.0, 3.0]))
    def _(W, eps):
        d = g.call("strongest", W, eps, norm, shape=W.shape)
        size, best = length(d), eps * dual(W)
        right = g.reference.strongest(W, eps, norm)
        g.expect(
            size <= eps * (1 + 1e-12), f"its {words} is {size:.4g}, more than eps = {eps:g}", right
        )
        g.expect(
            abs(W @ d - best) <= 1e-12 * max(1, best),
            f"W·change is {W @ d:.4g}, and a change with {words} {eps:g} can give {best:.4g}",
            right,
        )
        g.expect((d[W == 0] == 0).all(), "the change must be 0 where W is 0", right)


@worth(10, "with every pixel at most eps: W·change is eps * ||W||_1", "strongest")
def b1(g: Grading):
    _strongest(g, "linf", "largest component", lambda v: np.abs(v).max(), lambda W: np.abs(W).sum())


@worth(10, "of length eps: W·change is eps * ||W||_2", "strongest")
def b2(g: Grading):
    def euclid(v):
        return math.sqrt(math.fsum(v * v))

    _strongest(g, "l2", "length", euclid, euclid)


@worth(10, "1 at y, minus the softmax of the others", "margin_gradient")
def c1(g: Grading):
    @g.examples(cases.logits(), st.sampled_from([0.0, 2.0, 1024.0]))
    def _(case, shift):
        z, y = case
        got = g.call("margin_gradient", z + shift, y, shape=z.shape)
        right = cases.margin_gradient(z, y)
        g.close(got, right, "the gradient is 1 at y and minus the softmax of the others elsewhere")
        g.close(got.sum(axis=1), np.zeros(len(z)), "each row adds up to 0")


@worth(5, "it never vanishes, however sure the model is", "margin_gradient")
def c2(g: Grading):
    @g.examples(cases.logits(gaps=(20, 100, 1000, 10000)))
    def _(case):
        z, y = case
        got = g.call("margin_gradient", z, y, shape=z.shape)
        at_y = got[np.arange(len(z)), y]
        right = cases.margin_gradient(z, y)
        g.expect(
            (at_y == 1).all(), "where the model is sure, the entry at y is still exactly 1", right
        )
        g.close(got.sum(axis=1) - at_y, -np.ones(len(z)), "the others add up to -1", 1e-6)


def _ends(g: Grading, case):
    x, eps, bounds = case
    low, high = g.call("ball", x, eps, bounds, parts=[x.shape] * 2)
    for name, z in (("low", low), ("high", high)):
        g.expect(z.dtype == x.dtype, f"{name} is {z.dtype}, expected the dtype of x, {x.dtype}")
    return [
        (name, z, v)
        for name, end in (("low", low), ("high", high))
        for z, v in zip(end[0], x[0], strict=True)
    ]


@worth(15, "both ends are inside the ball, as real numbers, and the bounds", "ball")
def d1(g: Grading):
    def check(case):
        for name, z, v in _ends(g, case):
            why = cases.within(z, v, case[1], case[2])
            right = g.reference.ball(*case)
            g.expect(not why, f"{name} end {float(z)!r} of x = {float(v)!r}: {why}", right)

    check((np.array([[0.2, 0.3, 0.8]]), 0.1, (0.0, 1.0)))  # 0.2 + 0.1 is rounded up
    g.examples(cases.balls())(check)


@worth(10, "the next number beyond either end is outside", "ball")
def d2(g: Grading):
    def check(case):
        for name, z, v in _ends(g, case):
            away = z.dtype.type(-np.inf if name == "low" else np.inf)
            beyond = np.nextafter(z, away)
            right = g.reference.ball(*case)
            inside = not cases.within(beyond, v, case[1], case[2])
            g.expect(
                not inside,
                f"the next number beyond the {name} end {float(z)!r}, {float(beyond)!r}, "
                "is still in the ball: too small",
                right,
            )

    # 0.7 and 0.9 lie below themselves in float32, and the numbers near the end are denser there.
    for eps in (0.7, 0.9):
        check((np.array([[-0.75, 0.75, -0.9375, 0.9375]], np.float32), eps, (-1.0, 1.0)))
    g.examples(cases.balls())(check)


def _step(g: Grading, case, targeted):
    x, v, eps, low, high = case
    z = g.call("fgsm_step", x, v, eps, low, high, targeted, shape=x.shape)
    right = np.clip(x.astype(float) + (-1 if targeted else 1) * eps * np.sign(v), low, high)
    off = np.abs(z - right)
    room = 4 * np.finfo(x.dtype).eps * np.maximum(np.abs(x), eps)
    return z, right, off <= room


@worth(10, "x + eps * sign(g), limited to [low, high]", "fgsm_step")
def e1(g: Grading):
    @g.examples(cases.steps(zeros=False))
    def _(case):
        z, right, good = _step(g, case, False)
        g.expect(((z >= case[3]) & (z <= case[4])).all(), "it leaves [low, high]", right)
        g.expect(good.all(), "it is not x + eps * sign(g), limited to [low, high]", right)


@worth(5, "g = 0 moves nothing; targeted goes the other way", "fgsm_step")
def e2(g: Grading):
    @g.examples(cases.steps(zeros=True), st.booleans())
    def _(case, targeted):
        z, right, good = _step(g, case, targeted)
        still = case[1] == 0
        g.expect(
            (z[still] == case[0][still]).all(),
            "where g is 0 the pixel must stay bit for bit",
            right,
        )
        if targeted:
            g.expect(good.all(), "targeted goes the other way: x - eps * sign(g)", right)


@worth(10, "it fools three networks as often as it should", "fgsm", replaced=EARLIER)
def f1(g: Grading):
    x, y = g.course.x.astype(np.float32), g.course.y
    if not g.hidden:
        x, y = x[::2], y[::2]
    for net in g.course.models:
        z = g.call("fgsm", network(net), x, y=y, eps=0.2, shape=x.shape)
        far = np.abs(z.astype(float) - x).max()
        g.expect(
            far <= 0.2 + 1e-7 and z.min() >= 0 and z.max() <= 1,
            f"it leaves the ball of eps = 0.2: {far:.6g}",
        )
        fooled = int((net(z.astype(np.float32)).argmax(1) != y).sum())
        best = g.reference.fgsm(net, x, y=y, eps=0.2)
        need = int((net(best).argmax(1) != y).sum()) - 6
        g.at_least(
            "images fooled",
            fooled,
            need,
            f"{fooled} of {len(x)} images fool the network, expected at least {need}",
        )


@worth(
    5,
    "one gradient; exactly one of y and target; the target's margin rises",
    "fgsm",
    replaced=EARLIER,
)
def f2(g: Grading):
    x = np.full((1, 2), 0.5)
    y = np.array([0])
    for given in ({}, {"y": y, "target": y}):
        served = affine(np.eye(2), np.zeros(2))
        good = g.raises("ValueError", "fgsm", served, x, eps=0.1, **given)
        words = "both" if given else "neither"
        g.expect(good, f"with {words} of y and target it must raise ValueError")

    @g.examples(cases.affine_cases())
    def _(case):
        W, b, x, y = case
        served = affine(W, b)
        z = g.call("fgsm", served, x, target=y, eps=0.1, shape=x.shape)
        pulls = sum(q[0] == "vjp" for q, _ in served.asked)
        g.expect(pulls == 1, f"vjp's pull was called {pulls} times, expected once")
        slope = vjp(served.answer.model, x)[1](cases.margin_gradient(x @ W.T + b, y))
        rise = ((z - x) * slope).sum(1)
        g.expect((rise >= -1e-12).all(), "the margin of the target must rise")
        room = np.where(slope > 0, 1 - x, x)[np.abs(slope) > 1e-9]
        moved = np.abs(z - x)[np.abs(slope) > 1e-9]
        g.expect(
            (moved >= np.minimum(room, 0.1) - 1e-9).all(),
            "every pixel that matters moves by eps, as far as the bounds let it",
        )


HOMEWORK = Homework(
    name="hw2",
    title="Linear models, and FGSM in the exact ball",
    hours=7,
    needs="lessons 01, 02, 17",
    parts={
        "A": "Logit and probability",
        "B": "The strongest change of a linear model",
        "C": "The gradient of the margin",
        "D": "The exact ball",
        "E": "One step",
        "F": "FGSM",
    },
    kit=("autograd", "ops"),
    challenge=CHALLENGE,
    checks=(a1, b1, b2, c1, c2, d1, d2, e1, e2, f1, f2),
)
