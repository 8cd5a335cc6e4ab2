"""Homework 5: what is checked, for how many points, and against what."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from homework.grader.engine import Homework, worth
from homework.grader.grading import Grading
from homework.grader.serve import affine, network
from homework.grader.strategies import labels, whole
from homework.hw5 import cases
from homework.hw5.challenge import CHALLENGE

DUAL = {"l2": lambda v: math.sqrt(math.fsum(v * v)), "linf": lambda v: float(np.abs(v).sum())}
SIZE = {"l2": DUAL["l2"], "linf": lambda v: float(np.abs(v).max())}


@worth(15, "f_k = z_k - z_y and its gradient, with at most K pulls", "differences")
def a1(g: Grading):
    @g.examples(
        cases.models().flatmap(lambda m: st.tuples(st.just(m), labels(len(m[2]), len(m[0]))))
    )
    def _(case):
        (W, b, x), y = case
        served = affine(W, b)
        k = len(W)
        f, w = g.call("differences", served, x, y, parts=[(len(x), k), (len(x), k, x.shape[1])])
        z = x @ W.T + b
        right = z - z[np.arange(len(x)), y][:, None]
        g.close(f, right, "f_k is z_k - z_y, the logits themselves and not probabilities", 0)
        g.close(w, W[None] - W[y][:, None], "w_k is the gradient of z_k - z_y by x", tolerance=0)
        pulls = sum(q[0] == "vjp" for q, _ in served.asked)
        g.expect(pulls <= k, f"pull was called {pulls} times, and {k}, one per class, are enough")


def _nearest(g: Grading, case, norm):
    """Call ``nearest``, and fail unless r is on hyperplane k and as short as can be."""
    f, w, y = case
    both = g.call("nearest", f, w, y, norm, kind="any")
    g.expect(isinstance(both, (tuple, list)) and len(both) == 2, "it is no pair (k, r)")
    k, r = both
    k = g._array(k, y.shape, "i", "k")
    r = g._array(r, (len(f), w.shape[2]), "f", "r")
    right = g.reference.nearest(f, w, y, norm)
    for i in range(len(f)):
        ways = {
            j: abs(f[i, j]) / DUAL[norm](w[i, j])
            for j in range(f.shape[1])
            if j != y[i] and w[i, j].any()
        }
        where = f"image {i}"
        if not ways:
            g.expect(k[i] == y[i], f"{where}: every other w_k is 0, so k must be y", right)
            g.expect(not r[i].any(), f"{where}: every other w_k is 0, so r must be 0", right)
            continue
        g.expect(k[i] != y[i], f"{where}: k is y, and y's own row is no hyperplane", right)
        g.expect(k[i] in ways, f"{where}: k = {k[i]} has w_k = 0: r can never reach it", right)
        least = min(ways.values())
        size = SIZE[norm](r[i])
        rest = float(f[i, k[i]] + w[i, k[i]] @ r[i])
        room = 1e-9 * DUAL["l2"](w[i, k[i]]) * DUAL["l2"](r[i])
        g.expect(
            abs(rest) <= room,
            f"{where}: r is not on hyperplane {k[i]}: f_k + w_k·r is {rest:.4g}, expected 0",
            right,
        )
        g.expect(
            abs(size - least) <= 1e-12 * max(1, least),
            f"{where}: the {norm} size of r is {size:.6g}, and the nearest hyperplane is "
            f"{least:.6g} away",
            right,
        )


NEAR = (  # the smallest |f| is 2, and the nearest hyperplane is 0.6 (linf: 3/7) away
    np.array([[0.0, -2.0, -3.0]]),
    np.array([[[0.0, 0.0], [1.0, 0.0], [3.0, 4.0]]]),
    np.array([0]),
)


@worth(20, "l2: r reaches the nearest hyperplane, and is |f_k| / ||w_k||_2 long", "nearest")
def b1(g: Grading):
    _nearest(g, NEAR, "l2")

    @g.examples(cases.planes())
    def _(case):
        _nearest(g, case, "l2")


@worth(10, "linf: r reaches the nearest hyperplane, and is |f_k| / ||w_k||_1 large", "nearest")
def b2(g: Grading):
    _nearest(g, NEAR, "linf")

    @g.examples(cases.planes())
    def _(case):
        _nearest(g, case, "linf")


@worth(10, "y and classes with w_k = 0 are never chosen; nothing is divided by 0", "nearest")
def b3(g: Grading):
    def check(case, norm="l2"):
        _nearest(g, case, norm)
        said = [w for w in g.warned if "divide" in w or "invalid" in w]
        g.expect(not said, f"NumPy warned: {said}; skip the classes with w_k = 0 before dividing")

    zero = np.zeros((1, 2, 1))
    check((np.array([[0.0, -1.0]]), zero, np.array([0])))
    check((np.zeros((1, 2)), np.array([[[0.0], [2.0]]]), np.array([0])))

    @g.examples(cases.planes(corners=True))
    def _(case):
        check(case)


FAR = {"bounds": (-1e6, 1e6), "steps": 4}  # on a linear model one step is enough


@worth(
    15,
    "affine: one step, (1 + overshoot) times the distance to the boundary",
    "deepfool",
    replaced=("nearest",),
)
def c1(g: Grading):
    @g.examples(cases.decided(), st.sampled_from([0.02, 0.25, 0.5]))
    def _(case, overshoot):
        W, b, x = case
        served = affine(W, b)
        z = g.call("deepfool", served, x, overshoot=overshoot, **FAR, shape=x.shape)
        right = g.reference.deepfool(served.answer.model, x, overshoot=overshoot, **FAR)
        logits = x @ W.T + b
        reachable = False
        for i, y in enumerate(logits.argmax(axis=1)):
            ways = [
                (logits[i, y] - logits[i, k]) / DUAL["l2"](W[k] - W[y])
                for k in range(len(W))
                if (W[k] != W[y]).any()
            ]
            size = DUAL["l2"](z[i] - x[i])
            if not ways:
                g.expect(
                    size == 0, f"image {i}: no class can be reached, so it must not change", right
                )
                continue
            reachable = True
            least = (1 + overshoot) * min(ways)
            stays = int((W @ z[i] + b).argmax()) == y
            g.expect(
                not stays and abs(size - least) <= 1e-9 * max(1, least),
                f"image {i}: the change is {size:.6g} long"
                f"{f' and its label is still {y}' if stays else ''}; the nearest boundary is "
                f"{min(ways):.6g} away, and with overshoot {overshoot:g} that is {least:.6g}",
                right,
            )
        pulls = sum(q[0] == "vjp" for q, _ in served.asked)
        most = len(W) + 1
        if reachable and all((W[k] != W[j]).any() for k in range(len(W)) for j in range(k)):
            g.expect(
                pulls <= most,
                f"pull was called {pulls} times; one step needs at most {most}: "
                "the label has changed, so stop",
            )


def _as_long(g: Grading, z, x, best):
    """Fail where the changes have nothing to do with the shortest way: that is worth no points."""
    size, right = (np.median(np.sqrt(((v - x) ** 2).sum(axis=1))) for v in (z, best))
    g.expect(
        right / 3 <= size <= 3 * right,
        f"the median l2 length of the changes is {size:.4g}, and the way out is about {right:.4g} "
        "long",
    )


@worth(
    10,
    "logits times 4, or all plus the same function: the same answer",
    "deepfool",
    replaced=("nearest",),
)
def c2(g: Grading):
    count = 20 if g.hidden else 10
    x = g.course.x[g.rng.permutation(len(g.course.x))[:count]]
    for net in g.course.models[:2]:
        one = g.call("deepfool", network(net), x, shape=x.shape)
        four = g.call("deepfool", network(lambda v, net=net: net(v) * 4.0), x, shape=x.shape)
        off = int((one != four).any(axis=1).sum())
        g.expect(
            off == 0,
            f"all logits times 4 have the same boundaries, and {off} of {count} images came out "
            "differently: did you use probabilities, or add a small number?",
        )
        _as_long(g, one, x, g.reference.deepfool(net, x))

    @g.examples(cases.decided().flatmap(lambda m: st.tuples(st.just(m), whole(m[0].shape[1]))))
    def _(case):
        (W, b, x), more = case
        one = g.call("deepfool", affine(W, b), x, **FAR, shape=x.shape)
        two = g.call("deepfool", affine(W + more, b + 3), x, **FAR, shape=x.shape)
        g.expect(
            (one == two).all(),
            "the same function added to every logit moves no boundary, and the answer changed",
            one,
        )


def _networks(g: Grading):
    """``(model, x, x_adv, x_adv of the reference)`` for each network of the course."""
    count = 120 if g.hidden else 80
    x = g.course.x[g.rng.permutation(len(g.course.x))[:count]]
    for net in g.course.models:
        z = g.call("deepfool", network(net), x, shape=x.shape)
        yield net, x, z, g.reference.deepfool(net, x)


@worth(
    10, "at least 98 % of the labels change, inside the bounds", "deepfool", replaced=("nearest",)
)
def d1(g: Grading):
    for net, x, z, best in _networks(g):
        low, high = z.min(), z.max()
        g.expect(
            low >= 0 and high <= 1,
            f"pixels are from {low:.4g} to {high:.4g}, outside the bounds 0 and 1",
        )
        changed = int((net(z).argmax(1) != net(x).argmax(1)).sum())
        need = math.ceil(0.98 * len(x))
        g.at_least(
            "labels changed",
            changed,
            need,
            f"the label of {changed} of {len(x)} images changed, expected at least {need}",
        )
        _as_long(g, z, x, best)


@worth(
    10,
    "the changes are as short as they should be, and shorter than FGSM's",
    "deepfool",
    replaced=("nearest",),
)
def d2(g: Grading):
    for net, x, z, best in _networks(g):
        size, right = (np.median(np.sqrt(((v - x) ** 2).sum(1))) for v in (z, best))
        changed = int((net(z).argmax(1) != net(x).argmax(1)).sum())
        g.expect(
            2 * changed >= len(x), f"only {changed} of {len(x)} labels changed: no sizes to compare"
        )
        g.at_most(
            "median length, of the reference's",
            size / right,
            1.2,
            f"the median l2 length of the changes is {size:.4g}, "
            f"expected at most 1.2 * {right:.4g}",
        )
        fgsm = np.median(cases.smallest_fgsm(net, x))
        g.at_least(
            "FGSM's median length, of this one's",
            fgsm / size,
            1.2,
            f"the smallest FGSM has the median length {fgsm:.4g}, "
            f"less than 1.2 times your {size:.4g}",
        )


HOMEWORK = Homework(
    name="hw5",
    title="DeepFool: the shortest way out",
    hours=7,
    needs="lesson 07",
    parts={
        "A": "Differences of logits",
        "B": "The nearest hyperplane",
        "C": "DeepFool on a linear model",
        "D": "DeepFool on a network",
    },
    kit=("autograd", "ops"),
    call_seconds=20,
    challenge=CHALLENGE,
    checks=(a1, b1, b2, b3, c1, c2, d1, d2),
)
