"""Homework 4: the checks of JSMA, the part that puts the others together."""

from __future__ import annotations

import numpy as np

from homework.grader.engine import worth
from homework.grader.grading import Grading
from homework.grader.serve import function, network
from homework.hw4 import cases

EARLIER = ("saliency", "best_pixel")


def _what_may_change(g: Grading, z, x, t, model, outputs, theta, budget):
    labels_now = model(z).argmax(axis=1)
    S = g.reference.saliency(*cases.reference(model, z, t, outputs), theta)
    S_x = g.reference.saliency(*cases.reference(model, x, t, outputs), theta)
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


@worth(
    15, "whole steps of theta, within the budget, as long as it may go on", "jsma", replaced=EARLIER
)
def e1(g: Grading):
    def check(case):
        W, b, x, t, theta, budget = case
        model, derivative = cases.serve(W, b)
        z = g.call("jsma", model, derivative, x, t, theta, budget, (0.0, 1.0), shape=x.shape)
        _what_may_change(g, z, x, t, model.answer.model, "logits", theta, budget)

    one = np.array([1])
    # One pixel that must move twice; two pixels that must both move; one that is white already.
    check((np.array([[-2.0], [2.0]]), np.array([3.0, 0.0]), np.zeros((1, 1)), one, 0.5, 1))
    W = np.array([[-2.0, -1.0], [2.0, 1.0]])
    check((W, np.array([5.0, 0.0]), np.zeros((1, 2)), one, 1.0, 2))
    check((W, np.array([5.0, 0.0]), np.array([[1.0, 0.0]]), one, 0.5, 2))
    g.examples(cases.attacks())(check)
    net = g.course.models[0]
    some = g.rng.permutation(len(g.course.x))[:12]
    x, t = g.course.x[some], (g.course.y[some] + 1) % 10
    for theta, budget in ((0.5, 4), (-1.0, 1)):
        given = function(lambda z, t: cases.reference(net, z, t, "probabilities"))
        z = g.call("jsma", network(net), given, x, t, theta, budget, (0.0, 1.0), shape=x.shape)
        _what_may_change(g, z, x, t, net, "probabilities", theta, budget)


@worth(10, "it stops at the first success, and where the map is 0", "jsma", replaced=EARLIER)
def e2(g: Grading):
    def check(case):
        W, b, x, t, theta, _ = case
        model, derivative = cases.serve(W, b)
        plain, budget = model.answer.model, x.shape[1]
        z = g.call("jsma", model, derivative, x, t, theta, budget, (0.0, 1.0), shape=x.shape)
        S = cases.map(*cases.reference(plain, x, t, "logits"), theta)
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
    g.examples(cases.attacks())(check)


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
            return cases.reference(net, z, t, outputs)

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
