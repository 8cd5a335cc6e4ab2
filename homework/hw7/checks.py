"""Homework 7: what is checked, for how many points, and against what."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import strategies as st

from homework.grader.engine import Homework, worth
from homework.grader.grading import Grading
from homework.grader.serve import affine, function, network
from homework.grader.strategies import labels, pixels, sizes, whole
from homework.hw7.challenge import CHALLENGE
from homework.hw7.robust import accuracy, called
from minadv import vjp

EPS = 0.15  # of B2


@st.composite
def _regressions(draw):
    n, d = draw(sizes), draw(st.integers(1, 4))
    scale = draw(st.sampled_from([1.0, 1.0, 0.25, 1000.0]))
    t = draw(labels(n, 2)) * 2.0 - 1
    eps = draw(st.sampled_from([0.0, 0.125, 0.5, 1.0]))
    return (
        draw(whole(d, -4, 4)) * scale,
        float(draw(st.integers(-4, 4))),
        draw(whole((n, d), -2, 2)),
        t,
        eps,
    )


def _softplus(v: float) -> float:
    return max(v, 0) + math.log1p(math.exp(-abs(v)))


def _call_loss(g: Grading, case):
    return g.call("robust_loss", *case, parts=[(), case[0].shape, ()])


@worth(15, "the loss is the worst over the corners of the box", "robust_loss")
def a1(g: Grading):
    def check(case):
        W, b, X, t, eps = case
        loss, _, _ = _call_loss(g, case)
        corners = list(itertools.product((-eps, eps), repeat=len(W)))
        worst = [
            max(_softplus(-float(ti * ((x + d) @ W + b))) for d in corners)
            for x, ti in zip(X, t, strict=True)
        ]
        right = sum(worst) / len(worst)
        g.close(
            loss,
            right,
            f"over all {len(corners)} corners of the box, the worst mean loss is {right:.6g}",
        )

    check((np.array([1.0, -2.0]), 0.0, np.array([[1.0, 0.0]]), np.array([1.0]), 0.5))

    @g.examples(_regressions())
    def _(case):
        check(case)


@worth(10, "its gradient, with the norm's term", "robust_loss")
def a2(g: Grading):
    """The formula in plain Python, which central differences confirm away from W_i = 0."""

    def check(case):
        W, b, X, t, eps = case
        _, g_W, g_b = _call_loss(g, case)
        right_W, right_b = np.zeros(len(W)), 0.0
        for x, ti in zip(X, t, strict=True):
            m = float(ti * (x @ W + b) - eps * np.abs(W).sum())
            e = math.exp(-abs(m))
            slope = -(e if m >= 0 else 1) / (1 + e) / len(X)
            right_W += slope * (ti * x - eps * np.sign(W))
            right_b += slope * ti
        g.close(g_W, right_W, "the gradient by W: mind the derivative of eps * ||W||_1", 1e-11)
        g.close(g_b, right_b, "the gradient by b", 1e-11)

    check((np.array([1.0, -2.0]), 0.0, np.array([[1.0, 0.0]]), np.array([1.0]), 0.5))

    @g.examples(_regressions())
    def _(case):
        check(case)


def _cross_entropy(z, y):
    z = np.asarray(z, float)
    top = z.max(axis=1)
    return np.log(np.exp(z - top[:, None]).sum(axis=1)) + top - z[np.arange(len(z)), y]


@st.composite
def _attacked(draw):
    n, d, k = draw(sizes), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    images = pixels((n, d))
    return (
        draw(whole((k, d))),
        draw(whole(k)),
        draw(images),
        draw(images),
        draw(labels(n, k)),
        draw(st.sampled_from([0.0, 0.5, 1.0, 4.0])),
    )


@worth(10, "L(x) + weight * L(x_adv), one attack, the label y", "mixed_loss")
def b1(g: Grading):
    def check(case):
        W, b, x, x_adv, y, weight = case
        attack, served = function(lambda *_: x_adv), affine(W, b)
        got = g.call("mixed_loss", served, x, y, attack, weight, shape=(len(x),))
        right = _cross_entropy(x @ W.T + b, y) + weight * _cross_entropy(x_adv @ W.T + b, y)
        g.close(got, right, "it is not L(x) + weight * L(x_adv), both with the label y", 1e-6)
        g.expect(
            len(attack.asked) == 1, f"attack was called {len(attack.asked)} times, expected once"
        )
        given = attack.asked[0][0]
        good = len(given) == 2 and np.array_equal(given[0], x) and np.array_equal(given[1], y)
        g.expect(good, "attack must be called as attack(x, y)")
        for name, image in (("x", x), ("x_adv", x_adv)):
            asked = any(np.array_equal(q[1], image) for q, _ in served.asked)
            g.expect(asked, f"the model was not asked about {name}")

    check(
        (
            np.array([[2.0], [-2.0]]),
            np.zeros(2),
            np.array([[1.0]]),
            np.array([[0.0]]),
            np.array([1]),
            1.0,
        )
    )

    @g.examples(_attacked())
    def _(case):
        check(case)


@worth(15, "PGD leaves an accuracy of 0.42 at eps 0.15", "train_robust")
def b2(g: Grading):
    share = accuracy(called(g, "train_robust", EPS), g.course, EPS)
    g.at_least(
        "accuracy under PGD",
        share,
        0.42,
        f"under PGD of 40 steps with eps {EPS} the accuracy is {share:.3f}, "
        "expected at least 0.42: attack the model as it is in each batch",
    )


@worth(5, "clean accuracy is at least 0.90", "train_robust")
def b3(g: Grading):
    net = called(g, "train_robust", EPS)
    share = float((net(g.course.x).argmax(axis=1) == g.course.y).mean())
    why = f"the accuracy on clean images is {share:.3f}, expected at least 0.90"
    g.at_least("accuracy on clean images", share, 0.90, why)


@worth(10, "rows are softmax(z / T), for any z and T", "soft_labels")
def c1(g: Grading):
    @st.composite
    def cases(draw):
        n, k = draw(sizes), draw(st.integers(2, 4))
        scale = draw(st.sampled_from([1.0, 0.25, 1250.0]))
        return draw(whole((n, k))) * scale, draw(st.sampled_from([1.0, 0.5, 4.0, 20.0, 1e9]))

    def check(z, T):
        p = g.call("soft_labels", z, T, shape=z.shape)
        right = []
        for row in z:
            e = [math.exp((v - row.max()) / T) for v in row.tolist()]
            right.append([v / sum(e) for v in e])
        g.close(p, right, "a row is not softmax(z / T)", 1e-12)
        g.close(p.sum(axis=1), np.ones(len(z)), "a row does not add up to 1")

    check(np.array([[1e4, -1e4]]), 1.0)
    check(np.array([[0.0, 4.0]]), 4.0)

    @g.examples(cases())
    def _(case):
        check(*case)


def _masked(net, factor):
    return lambda v: net(v) * np.float32(factor)


@worth(10, "the share of images whose gradient is exactly 0", "flat")
def d1(g: Grading):
    x, y = g.course.x.astype(np.float32), g.course.y
    for net in g.course.models[:2]:
        for factor in (1, 20, 100):
            model = _masked(net, factor)
            got = float(g.call("flat", network(model), x, y, shape=()))
            z, pull = vjp(model, x)
            e = np.exp(z - z.max(axis=1, keepdims=True))
            p = e / e.sum(axis=1, keepdims=True)
            right = (pull(p - np.eye(10, dtype=z.dtype)[y]) == 0).all(axis=1).mean()
            g.at_most(
                "images counted otherwise",
                abs(got - right) * len(x),
                2.5,
                f"logits times {factor}: the share is {got:.3f}, and in the dtype of the logits, "
                f"{z.dtype}, the gradient vanishes at {right:.3f} of the images",
            )


@worth(10, "two classes: the factor changes nothing", "break_masked")
def e1(g: Grading):
    @st.composite
    def cases(draw):
        n, d = draw(sizes), draw(st.integers(1, 3))
        return (
            draw(whole(d, -3, 3)),
            draw(whole(1, -2, 2)),
            draw(pixels((n, d))),
            draw(labels(n, 2)),
        )

    def check(case):
        w, b, x, y = case
        W, c = np.stack([np.zeros_like(w), w]), np.concatenate([np.zeros(1), b])
        first = None
        for k in range(0, 11, 2):
            z = g.call("break_masked", affine(W * 2.0**k, c * 2.0**k), x, y, 0.1, shape=x.shape)
            first = z if first is None else first
            g.expect(
                (z == first).all(),
                f"logits times {2**k} gave another image than logits times 1: "
                "the gradient must not fade",
                first,
            )
        toward = np.where(y[:, None] == 0, w, -w)
        far = np.clip(x + 0.1 * np.sign(toward), 0, 1)
        g.close(first, far, "in two classes the best image moves each pixel by eps against y", 1e-9)

    check((np.array([1.0]), np.zeros(1), np.array([[0.5]]), np.array([0])))
    check((np.array([3.0]), np.zeros(1), np.array([[1.0]]), np.array([1])))

    @g.examples(cases())
    def _(case):
        check(case)


@worth(15, "ten classes: as many images as without the mask", "break_masked")
def e2(g: Grading):
    x, y = g.course.x.astype(np.float32), g.course.y
    for net in g.course.models[: 3 if g.hidden else 2]:
        best = g.reference.break_masked(net, x, y, 0.1)
        need = int((net(best).argmax(axis=1) != y).sum()) - 5
        for factor in (20, 100, 1000):
            z = g.call("break_masked", network(_masked(net, factor)), x, y, 0.1, shape=x.shape)
            far = float(np.abs(z.astype(float) - x).max())
            g.expect(
                far <= 0.1 + 1e-6 and z.min() >= 0 and z.max() <= 1,
                f"a pixel moved by {far:.6g}, more than eps = 0.1, or left [0, 1]",
            )
            fooled = int((net(z.astype(np.float32)).argmax(axis=1) != y).sum())
            g.last = (g.last[0], None)
            g.at_least(
                "images fooled",
                fooled,
                need,
                f"logits times {factor}: {fooled} of {len(x)} images fool the model, "
                f"expected at least {need}",
            )


HOMEWORK = Homework(
    name="hw7",
    title="Defenses: train one, break one",
    hours=10,
    needs="lessons 11, 12, 17",
    parts={
        "A": "The worst case in closed form",
        "B": "Adversarial training",
        "C": "Soft labels",
        "D": "Gradients that vanish",
        "E": "Breaking a masked model",
    },
    kit=("autograd", "ops", "losses", "layers", "models", "training"),
    call_seconds=30,
    seconds=240,
    challenge=CHALLENGE,
    checks=(a1, a2, b1, b2, b3, c1, d1, e1, e2),
)
