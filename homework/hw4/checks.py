"""Homework 4: what is checked, for how many points, and against what."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from homework.grader.engine import Homework, worth
from homework.grader.grading import Grading
from homework.grader.serve import affine
from homework.grader.strategies import sizes, whole
from homework.hw4 import cases
from homework.hw4.attack_checks import e1, e2, e3
from homework.hw4.challenge import CHALLENGE


@worth(10, "logits: the target's derivative, and the sum of the others", "forward_derivative")
def a1(g: Grading):
    @g.examples(cases.models())
    def _(case):
        W, b, x, t = case
        dt, do = g.call(
            "forward_derivative", affine(W, b), x, t, "logits", parts=[x.shape, x.shape]
        )
        g.close(dt, W[t], "the first is the derivative of the target's logit", tolerance=0)
        g.close(
            do,
            W.sum(axis=0) - W[t],
            "the second is the sum of the derivatives of all the other logits",
            tolerance=0,
        )


@worth(10, "probabilities: F_t (1 - F_t) times the slope of the log-odds", "forward_derivative")
def a2(g: Grading):
    @g.examples(cases.models(scales=(1.0, 0.0, 3.0)))
    def _(case):
        W, b, x, t = case
        dt, do = g.call(
            "forward_derivative", affine(W, b), x, t, "probabilities", parts=[x.shape, x.shape]
        )
        right = np.zeros(x.shape)
        for i, (z, label) in enumerate(zip(x @ W.T + b, t, strict=True)):
            others = np.array([j for j in range(len(b)) if j != label])
            top = z[others].max()
            e = np.exp(z[others] - top)
            m = z[label] - top - np.log(e.sum())
            small = np.exp(-abs(m))
            slope = W[label] - (e / e.sum()) @ W[others]
            right[i] = small / (1 + small) ** 2 * slope  # F_t (1 - F_t), and the slope of m
        size = max(1.0, np.abs(W).max())
        g.close(
            dt,
            right,
            "the first is F_t * (1 - F_t) times the derivative of the target's log-odds",
            1e-9,
            scale=size,
        )
        g.close(do, -dt, "the second is minus the first: all F add up to 1", 1e-12, scale=size)


def _saliency(g: Grading, theta, low):
    def check(dt, do):
        S = g.call("saliency", dt, do, theta, shape=dt.shape)
        right = cases.map(dt, do, theta)
        for i in np.ndindex(dt.shape):
            g.expect(
                S[i] == right[i],
                f"theta = {theta:g}, dt = {dt[i]:g}, do = {do[i]:g}: the saliency is {right[i]:g}, "
                "and "
                f"it gives {S[i]:g}",
                right,
            )

    for t, o in itertools.product([2.0, -2.0, 0.0], [-3.0, 3.0, 0.0]):
        check(np.array([[t]]), np.array([[o]]))
    shapes = st.tuples(sizes, st.integers(1, 4))
    g.examples(shapes.flatmap(lambda s: st.tuples(whole(s), whole(s))))(lambda pair: check(*pair))


@worth(10, "theta > 0: each sign of dt and do", "saliency")
def b1(g: Grading):
    _saliency(g, 1.0, 0)


@worth(5, "theta < 0: both conditions mirrored", "saliency")
def b2(g: Grading):
    _saliency(g, -0.5, 0)


@worth(10, "the largest S of a free pixel; -1 if there is none", "best_pixel")
def c1(g: Grading):
    def check(case):
        S, free = case
        best = g.call("best_pixel", S, free, shape=(len(S),), kind="i")
        for i, p in enumerate(best):
            top = np.where(free[i], S[i], 0).max()
            if top == 0:
                g.expect(
                    p == -1,
                    f"image {i}: no free pixel has a saliency above 0, so it is -1, not {p}",
                )
                continue
            g.expect(0 <= p < S.shape[1], f"image {i}: {p} is no pixel; the largest S is {top:g}")
            g.expect(free[i, p], f"image {i}: pixel {p} is not free")
            g.expect(
                S[i, p] == top, f"image {i}: S is {S[i, p]:g} at pixel {p}, and {top:g} elsewhere"
            )

    check((np.zeros((1, 2)), np.ones((1, 2), bool)))
    g.examples(cases.maps())(check)


def _pair(g: Grading, dt, do, free, value):
    best = g.call("best_pair", dt, do, free, shape=(len(dt), 2), kind="i")
    for i, (p, q) in enumerate(best.tolist()):
        every = cases.pairs(dt[i], do[i], free[i])
        if not every:
            g.expect(
                (p, q) == (-1, -1),
                f"image {i}: no pair of free pixels is admissible, so it is (-1, -1), not ({p}, "
                f"{q})",
            )
            continue
        top = max(every, key=every.get)
        right = f"; pair {top} has the saliency {every[top]:g}"
        g.expect(p < q, f"image {i}: ({p}, {q}) is no pair with p < q{right}")
        g.expect(p >= 0 and q < dt.shape[1], f"image {i}: ({p}, {q}) are no pixels{right}")
        g.expect(free[i, p] and free[i, q], f"image {i}: pixel {p} or {q} is not free{right}")
        got = every.get((p, q), 0)
        g.expect(got > 0, f"image {i}: pair ({p}, {q}) is not admissible{right}")
        if value:
            g.expect(
                got == every[top], f"image {i}: pair ({p}, {q}) has the saliency {got:g}{right}"
            )


@worth(15, "no pair has a larger saliency", "best_pair")
def d1(g: Grading):
    def check(case):
        _pair(g, *case, value=True)

    all_free = np.ones((1, 3), bool)
    check((np.array([[8.0, -1.0, 1.0]]), np.array([[1.0, -8.0, -1.0]]), all_free))
    check((np.array([[1.0, 5.0, 1.0]]), np.array([[-1.0, -5.0, -1.0]]), all_free))
    g.examples(cases.slopes())(check)


@worth(5, "two different free pixels; -1, -1 if there is no pair", "best_pair")
def d2(g: Grading):
    def check(case):
        _pair(g, *case, value=False)

    check((np.array([[1.0, 1.0]]), np.array([[-1.0, -1.0]]), np.array([[True, False]])))
    g.examples(cases.helpful())(check)


HOMEWORK = Homework(
    name="hw4",
    title="JSMA: few pixels",
    hours=8,
    needs="lesson 06",
    parts={
        "A": "The forward derivative",
        "B": "The saliency map",
        "C": "The best pixel",
        "D": "The best pair of pixels",
        "E": "JSMA",
    },
    kit=("autograd", "ops"),
    challenge=CHALLENGE,
    checks=(a1, a2, b1, b2, c1, d1, d2, e1, e2, e3),
)
