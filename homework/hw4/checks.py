"""Homework 4: what is checked, for how many points, and against what."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from homework.grader.engine import Homework, worth
from homework.grader.grading import Grading
from homework.grader.sandbox import Served
from homework.grader.serve import affine, function, network
from homework.grader.strategies import labels, pixels, sizes, whole
from homework.hw4.challenge import CHALLENGE

EARLIER = ("saliency", "best_pixel")


@st.composite
def _models(draw, scales=(1.0,)):
    n, d, k = draw(sizes), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    W, b = draw(whole((k, d))), draw(whole(k)) * draw(st.sampled_from(scales))
    return W, b, draw(pixels((n, d))), draw(labels(n, k))


@worth(10, "logits: the target's derivative, and the sum of the others", "forward_derivative")
def a1(g: Grading):
    @g.examples(_models())
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
    @g.examples(_models(scales=(1.0, 0.0, 3.0)))
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


def _map(dt, do, theta):
    """The map from its definition, number by number."""
    S = np.zeros(dt.shape)
    for i in np.ndindex(dt.shape):
        t, o = (dt[i], do[i]) if theta > 0 else (-dt[i], -do[i])
        if t > 0 and o < 0:
            S[i] = t * abs(o)
    return S


def _saliency(g: Grading, theta, low):
    def check(dt, do):
        S = g.call("saliency", dt, do, theta, shape=dt.shape)
        right = _map(dt, do, theta)
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


def _free(shape):
    return hnp.arrays(np.bool_, shape)


@st.composite
def _maps(draw):
    shape = draw(sizes), draw(st.integers(1, 4))
    return draw(whole(shape, 0, 8)), draw(_free(shape))


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
    g.examples(_maps())(check)


def _pairs(dt, do, free):
    """Every admissible pair of one image, with its saliency."""
    chosen = itertools.combinations(np.flatnonzero(free), 2)
    sums = {(int(p), int(q)): (dt[p] + dt[q], do[p] + do[q]) for p, q in chosen}
    return {pq: a * -b for pq, (a, b) in sums.items() if a > 0 and b < 0}


def _pair(g: Grading, dt, do, free, value):
    best = g.call("best_pair", dt, do, free, shape=(len(dt), 2), kind="i")
    for i, (p, q) in enumerate(best.tolist()):
        every = _pairs(dt[i], do[i], free[i])
        if not every:
            g.expect(
                (p, q) == (-1, -1),
                f"image {i}: no pair of free pixels is admissible, so it is (-1, -1), not ({p}, "
                f"{q})",
            )
            continue
        top = max(every, key=every.get)
        right = f"; pair {top} has {every[top]:g}"
        g.expect(p < q, f"image {i}: ({p}, {q}) is no pair with p < q{right}")
        g.expect(p >= 0 and q < dt.shape[1], f"image {i}: ({p}, {q}) are no pixels{right}")
        g.expect(free[i, p] and free[i, q], f"image {i}: pixel {p} or {q} is not free{right}")
        got = every.get((p, q), 0)
        g.expect(got > 0, f"image {i}: pair ({p}, {q}) is not admissible{right}")
        if value:
            g.expect(
                got == every[top], f"image {i}: pair ({p}, {q}) has the saliency {got:g}{right}"
            )


@st.composite
def _slopes(draw):
    n, d = draw(sizes), draw(st.integers(2, 6))
    dt, do = draw(whole((n, d))), draw(whole((n, d)))
    if draw(st.booleans()):  # the best pair often consists of two inadmissible pixels
        dt[:, 0], do[:, 0] = 8, 1
        dt[:, 1], do[:, 1] = -1, -8
    return dt, do, np.ones((n, d), bool)


@worth(15, "no pair has a larger saliency", "best_pair")
def d1(g: Grading):
    def check(case):
        _pair(g, *case, value=True)

    all_free = np.ones((1, 3), bool)
    check((np.array([[8.0, -1.0, 1.0]]), np.array([[1.0, -8.0, -1.0]]), all_free))
    check((np.array([[1.0, 5.0, 1.0]]), np.array([[-1.0, -5.0, -1.0]]), all_free))
    g.examples(_slopes())(check)


@st.composite
def _helpful(draw):
    shape = draw(sizes), draw(st.integers(1, 5))
    dt, do = draw(whole(shape, 1, 8)), draw(whole(shape, -8, -1))
    if draw(st.booleans()):
        dt = -dt
    return dt, do, draw(_free(shape))


@worth(5, "two different free pixels; -1, -1 if there is no pair", "best_pair")
def d2(g: Grading):
    def check(case):
        _pair(g, *case, value=False)

    check((np.array([[1.0, 1.0]]), np.array([[-1.0, -1.0]]), np.array([[True, False]])))
    g.examples(_helpful())(check)


def _serve(W, b):
    """An affine model, and its derivative for the logits, with a line to paste."""
    model = affine(W, b)
    plain = model.answer.model
    derivative = function(lambda z, t: _reference(plain, z, t, "logits"))
    source = f"lambda z, t: hw4.forward_derivative({model.source}, z, t, 'logits')"
    return model, Served(derivative.answer, source=source if model.source else "")


def _reference(model, z, t, outputs):
    from homework.hw4.solution import forward_derivative

    return forward_derivative(model, np.asarray(z), np.asarray(t), outputs)


def _what_may_change(g: Grading, z, x, t, model, outputs, theta, budget):
    labels_now = model(z).argmax(axis=1)
    S = g.reference.saliency(*_reference(model, z, t, outputs), theta)
    S_x = g.reference.saliency(*_reference(model, x, t, outputs), theta)
    for i in range(len(x)):
        moved = np.flatnonzero(z[i] != x[i])
        for p in moved:
            k = max(1, int(np.ceil(abs(z[i, p] - x[i, p]) / abs(theta) - 1e-9)))
            right = float(np.clip(x[i, p] + k * theta, 0, 1))
            g.expect(
                abs(z[i, p] - right) <= 1e-9,
                f"image {i}, pixel {p}: {x[i, p]:g} became {z[i, p]:g}; {k} steps of theta = "
                f"{theta:g} "
                f"give {right:g}",
            )
        g.expect(
            len(moved) <= budget, f"image {i}: {len(moved)} pixels changed, the budget is {budget}"
        )
        open_ = x[i] < 1 if theta > 0 else x[i] > 0
        top = np.where(open_, S_x[i], 0).max()
        if budget == 1 and len(moved) and top > 1e-9:
            p = moved[0]
            g.expect(
                S_x[i, p] >= top * (1 - 1e-6),
                f"image {i}: it chose pixel {p} with saliency {S_x[i, p]:.4g}, and the largest is "
                f"{top:.4g}",
            )
        if labels_now[i] == t[i]:
            continue
        free = (z[i] < 1) if theta > 0 else (z[i] > 0)
        if len(moved) >= budget:
            free &= z[i] != x[i]
        left = np.where(free, S[i], 0)
        p = int(left.argmax())
        g.expect(
            left[p] <= 1e-9,
            f"image {i}: it stopped without success after {len(moved)} changed pixels of {budget}; "
            f"pixel {p}, now "
            f"{z[i, p]:g}, has the saliency {left[p]:.4g} and may change",
        )


@st.composite
def _attacks(draw):
    case = draw(_models())
    d = case[2].shape[1]
    return *case, draw(st.sampled_from([1.0, 0.5, -0.5, 0.25, -1.0])), draw(st.integers(1, d))


@worth(
    15, "whole steps of theta, within the budget, as long as it may go on", "jsma", replaced=EARLIER
)
def e1(g: Grading):
    def check(case):
        W, b, x, t, theta, budget = case
        model, derivative = _serve(W, b)
        z = g.call("jsma", model, derivative, x, t, theta, budget, (0.0, 1.0), shape=x.shape)
        _what_may_change(g, z, x, t, model.answer.model, "logits", theta, budget)

    one = np.array([1])
    # One pixel that must move twice; two pixels that must both move; one that is white already.
    check((np.array([[-2.0], [2.0]]), np.array([3.0, 0.0]), np.zeros((1, 1)), one, 0.5, 1))
    W = np.array([[-2.0, -1.0], [2.0, 1.0]])
    check((W, np.array([5.0, 0.0]), np.zeros((1, 2)), one, 1.0, 2))
    check((W, np.array([5.0, 0.0]), np.array([[1.0, 0.0]]), one, 0.5, 2))
    g.examples(_attacks())(check)
    net = g.course.models[0]
    some = g.rng.permutation(len(g.course.x))[:12]
    x, t = g.course.x[some], (g.course.y[some] + 1) % 10
    for theta, budget in ((0.5, 4), (-1.0, 1)):
        given = function(lambda z, t: _reference(net, z, t, "probabilities"))
        z = g.call("jsma", network(net), given, x, t, theta, budget, (0.0, 1.0), shape=x.shape)
        _what_may_change(g, z, x, t, net, "probabilities", theta, budget)


@worth(10, "it stops at the first success, and where the map is 0", "jsma", replaced=EARLIER)
def e2(g: Grading):
    def check(case):
        W, b, x, t, theta, _ = case
        model, derivative = _serve(W, b)
        plain, budget = model.answer.model, x.shape[1]
        z = g.call("jsma", model, derivative, x, t, theta, budget, (0.0, 1.0), shape=x.shape)
        S = _map(*_reference(plain, x, t, "logits"), theta)
        before, after = plain(x).argmax(axis=1), plain(z).argmax(axis=1)
        for i in range(len(x)):
            same = (z[i] == x[i]).all()
            if before[i] == t[i]:
                g.expect(same, f"image {i} is of class {t[i]} already, and must stay as it is", x)
            if not S[i].any():
                g.expect(same, f"image {i}: the map is 0 everywhere, so nothing may change", x)
            if same or after[i] != t[i]:
                continue
            undone = []
            for p in np.flatnonzero(z[i] != x[i]):
                k = int(np.ceil(abs(z[i, p] - x[i, p]) / abs(theta) - 1e-9))
                back = z[i].copy()
                back[p] = x[i, p] + (k - 1) * theta
                undone.append(plain(back[None]).argmax() != t[i])
            g.expect(
                any(undone),
                f"image {i}: whichever last step one undoes, the label is still {t[i]}: it went on "
                "after the success",
            )

    W = np.array([[-3.0, -2.0, -1.0], [3.0, 2.0, 1.0]])
    check((W, np.array([2.0, 0.0]), np.zeros((1, 3)), np.array([1]), 1.0, 3))
    check((W, np.array([0.0, 2.0]), np.zeros((1, 3)), np.array([1]), 1.0, 3))
    check((W, np.array([2.0, 0.0]), np.zeros((1, 3)), np.array([1]), -1.0, 3))
    g.examples(_attacks())(check)


@worth(10, "12 pixels turn digits into others, as often as they should", "jsma", replaced=EARLIER)
def e3(g: Grading):
    source, target = (2, 6) if not g.hidden else g.course.rng("hw4 pair").permutation(10)[:2]
    net = g.course.models[1 if g.hidden else 0]
    x = g.course.x[(g.course.y == source) & (net(g.course.x).argmax(axis=1) == g.course.y)]
    t = np.full(len(x), target)

    def share(z):
        return int((net(z).argmax(axis=1) == target).sum())

    for outputs in ("probabilities", "logits"):

        def given(z, t, outputs=outputs):
            return _reference(net, z, t, outputs)

        z = g.call("jsma", network(net), function(given), x, t, 1.0, 12, (0.0, 1.0), shape=x.shape)
        most = int((z != x).sum(axis=1).max())
        g.expect(most <= 12, f"{most} pixels of an image changed, the budget is 12")
        need = share(g.reference.jsma(net, given, x, t, 1.0, 12, (0.0, 1.0))) - 4
        g.at_least(
            f"images that become the target, {outputs}",
            share(z),
            need,
            f"with {outputs}, {share(z)} of {len(x)} images of a {source} become a {target}, "
            "expected "
            f"at least {need}",
        )


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
