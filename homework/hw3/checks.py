"""Homework 3: what is checked, for how many points, and against what."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from homework.grader.engine import Homework, worth
from homework.grader.grading import Grading
from homework.grader.serve import function
from homework.grader.strategies import pixels, sizes, whole
from homework.hw3 import cases
from homework.hw3.attack_checks import f1, f2
from homework.hw3.challenge import CHALLENGE


@worth(15, "T steps of eps / T, each with the gradient at the newest z", "iterate")
def a1(g: Grading):
    def check(case):
        x, c, eps, steps = case
        low, high = cases.ends(x, eps)
        # Away from x it changes its sign: the way turns.
        slope = function(lambda z: c - z, f"lambda z: np.array({c.tolist()}) - z")
        last = g.call("iterate", slope, x, eps, steps, low, high, shape=x.shape)
        count = len(slope.asked)
        g.expect(
            count == steps, f"it asked for {count} gradients, expected one in each of {steps} steps"
        )
        points = [np.asarray(arguments[0]) for arguments, _ in slope.asked]
        g.expect(points[0].shape == x.shape, "the gradient is asked for images of another shape")
        g.expect((points[0] == x).all(), "the first gradient must be asked at x", x)
        for i, (_, answer) in enumerate(slope.asked):
            here = points[i]
            then, name = (
                (last, "the result") if i + 1 == count else (points[i + 1], f"question {i + 2}")
            )
            g.expect(then.shape == x.shape, f"{name} has the shape {then.shape}")
            right = np.clip(here + eps / steps * np.sign(answer), low, high)
            far = np.abs(then - here).max()
            g.expect(
                far <= eps / steps * (1 + 1e-6),
                f"from question {i + 1} to {name} a pixel moves by {far:.4g}, more than eps / T = "
                f"{eps / steps:.4g}",
                right,
            )
            g.close(
                then,
                right,
                f"{name} must be the newest iterate: question {i + 1} plus eps / T * sign(answer "
                f"{i + 1}), "
                f"limited to [low, high]",
            )

    # A turn, and a wall: the sign changes after one step; the second step would leave [0, 1].
    check((np.array([[0.5]]), np.array([[0.5625]]), 0.5, 4))
    check((np.array([[0.9375]]), np.array([[2.0]]), 0.5, 4))
    g.examples(cases.ways())(check)


@worth(10, "on a linear model: x + eps * sign(W), limited to [low, high]", "iterate")
def a2(g: Grading):
    @g.examples(cases.slopes())
    def _(case):
        x, W, eps, steps = case
        low, high = cases.ends(x, eps)
        slope = function(lambda z: W, f"lambda z: np.array({W.tolist()})")
        z = g.call("iterate", slope, x, eps, steps, low, high, shape=x.shape)
        right = np.clip(x + eps * np.sign(W), low, high)
        g.close(
            z,
            right,
            "the gradient never changes, so it must end at x + eps * sign(gradient), limited to "
            "[low, high]; "
            f"the gradient is {W.tolist()}",
            steps * 1e-12,
        )


@worth(10, "outside: x + eps * (z - x) / ||z - x||", "project_l2")
def b1(g: Grading):
    @g.examples(cases.outside())
    def _(case):
        z, x, eps = case
        p = g.call("project_l2", z, x, eps, shape=x.shape)
        right = x + eps * (z - x) / np.sqrt(((z - x) ** 2).sum())
        far = np.sqrt(((p - x) ** 2).sum())
        g.expect(
            far <= eps + 1e-12 * 20,
            f"its distance from x is {far:.6g}, more than eps = {eps:g}",
            right,
        )
        u = np.random.default_rng(0).standard_normal((20, x.shape[1]))
        q = x + eps * np.vstack(
            [u / np.sqrt((u * u).sum(axis=1, keepdims=True)), (right - x) / (eps or 1)]
        )
        gain = (q - p) @ (z - p)[0]
        i = int(gain.argmax())
        scale = 1e-9 * max(1, float(((z - p) ** 2).sum()))
        g.expect(
            gain[i] <= scale,
            f"it is not the nearest: on the way from it to {q[i].round(4).tolist()}, which is in "
            "the ball, one comes "
            f"nearer to z",
            right,
        )
        g.close(p, right, "the nearest point is x + eps * (z - x) / ||z - x||", scale=20)


@worth(10, "inside: z bit for bit; each image for itself", "project_l2")
def b2(g: Grading):
    def check(case):
        x, way, eps = case
        z = x + way
        p = g.call("project_l2", z, x, eps, shape=x.shape)
        for i in range(len(x)):
            length = float(np.sqrt((way[i] ** 2).sum()))
            inside = length <= eps
            right = np.where(inside, z[i], x[i] + eps * way[i] / max(length, 1e-300))
            name = f"image {i}, with ||z - x|| = {length:.4g} and eps = {eps:g},"
            if inside:
                g.expect(
                    (p[i] == z[i]).all(), f"{name} is inside, and must stay bit for bit", right
                )
            elif len(x) > 1:
                g.close(p[i], right, f"{name} must not depend on the other images", scale=20)

    check((np.zeros((2, 1)), np.array([[3.0], [8.0]]), 3.5))
    check((np.zeros((1, 2)), np.array([[1.0, 2.0]]), 3.5))
    g.examples(cases.companies())(check)


@worth(10, "sign(g), or length 1; 0 stays 0; 1e-200 does not underflow", "steepest")
def c1(g: Grading):
    def check(case):
        v, scale, norm = case
        v = v * scale
        d = g.call("steepest", v, norm, shape=v.shape)
        if norm == "linf":
            g.close(d, np.sign(v), "in the maximum norm it is sign(g)", tolerance=0)
            return
        for i, row in enumerate(v):
            if not row.any():
                g.expect(
                    (d[i] == 0).all(), f"the gradient of image {i} is 0, so its direction is 0"
                )
                continue
            unit = row / np.abs(row).max()
            right = unit / np.sqrt((unit * unit).sum())
            length = np.sqrt((d[i] ** 2).sum())
            g.close(
                length, 1, f"the direction of image {i} has the length {length:.6g}, expected 1"
            )
            g.close(d[i], right, f"the direction of image {i} must be g / ||g||_2")

    check((np.array([[3.0, -4.0], [0.0, 0.0]]), 1.0, "l2"))
    check((np.array([[3.0, -4.0]]), 2.0**-700, "l2"))
    scales = st.sampled_from([1.0, 2.0**-700, 2.0**700])
    shapes = st.tuples(sizes, st.integers(1, 4)).flatmap(whole)
    g.examples(st.tuples(shapes, scales, st.sampled_from(["l2", "linf"])))(check)


@worth(5, "inside the ball and the bounds; the same seed, the same start", "random_start")
def d1(g: Grading):
    def start(x, eps, norm, seed):
        rng = np.random.SeedSequence(seed)
        return g.call("random_start", x, eps, 0.0, 1.0, norm, rng, shape=x.shape)

    gray = np.full((1, 8), 0.5)
    for norm in ("linf", "l2"):
        same = (start(gray, 0.5, norm, 0) == start(gray, 0.5, norm, 1)).all()
        g.expect(not same, "another seed gave the same start: draw from rng")

    @g.examples(
        st.tuples(sizes, st.integers(1, 4)).flatmap(pixels),
        st.sampled_from([0.0, 0.1, 0.5, 3.0]),
        st.sampled_from(["linf", "l2"]),
        st.integers(0, 1000),
    )
    def _(x, eps, norm, seed):
        z = start(x, eps, norm, seed)
        d = z - x
        far = np.abs(d).max() if norm == "linf" else np.sqrt((d * d).sum(axis=1)).max()
        g.expect(
            far <= eps + 1e-12, f"its {norm} distance from x is {far:.6g}, more than eps = {eps:g}"
        )
        g.expect(z.min() >= 0 and z.max() <= 1, "it is outside [low, high]")
        again = start(x, eps, norm, seed)
        g.expect(
            (z == again).all(), "the same seed gave another start: draw from rng, and only there", z
        )


@worth(10, "uniform in the ball, and a draw of its own for each image", "random_start")
def d2(g: Grading):
    n, eps = 4000, 0.5
    for norm, D, _ in itertools.product(["linf", "l2"], [1, 2, 8], [1, 2]):
        x = np.zeros((n, D))
        rng = np.random.SeedSequence(int(g.rng.integers(2**31)))
        z = g.call("random_start", x, eps, -1e6, 1e6, norm, rng, shape=x.shape) / eps
        g.expect(len(np.unique(z, axis=0)) > n // 2, f"{norm}: the images must not share one draw")
        if norm == "linf":
            for i in range(D):
                off = cases.kolmogorov((z[:, i] + 1) / 2)
                g.at_most(
                    "Kolmogorov distance, linf",
                    off,
                    0.06,
                    f"linf: pixel {i} is not uniform in [x - eps, x + eps]: its distribution is "
                    f"off by {off:.2g}",
                )
            continue
        r = np.sqrt((z * z).sum(axis=1))
        off, half = cases.kolmogorov(r**D), float((r <= 0.5).mean())
        g.at_most(
            "Kolmogorov distance, l2 radius",
            off,
            0.06,
            f"l2 in {D} dimensions: {half:.3f} of the draws are within eps / 2, and the ball of "
            "half the radius has "
            f"{0.5**D:.3f} of the volume",
        )
        if D == 2:
            off = cases.kolmogorov((np.arctan2(z[:, 1], z[:, 0]) / np.pi + 1) / 2)
            why = "l2 in 2 dimensions: not all directions are equally likely"
            g.at_most("Kolmogorov distance, l2 direction", off, 0.06, why)


def _candidate(g: Grading, value, n: int, d: int):
    """The student's dict as arrays."""
    if not isinstance(value, dict) or set(value) != {"success", "score", "z"}:
        g.fail('it is no dict with the keys "success", "score", "z"')
    success = np.asarray(value["success"])
    g.expect(
        success.shape == (n,) and success.dtype.kind in "biu",
        f'"success" must be {n} truth values of shape ({n},)',
    )
    score, z = value["score"], value["z"]
    for name, v, shape in (("score", score, (n,)), ("z", z, (n, d))):
        good = isinstance(v, np.ndarray) and v.dtype.kind in "fiu" and v.shape == shape
        g.expect(good, f'"{name}" must be an array of numbers of shape {shape}')
    return success.astype(bool), score, z


@worth(15, "success beats failure, then the higher score wins", "keep_best")
def e1(g: Grading):
    cases = list(itertools.product([False, True], [False, True], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]))
    words = {True: "success", False: "failure"}

    def check(chosen):
        s_best, s_new, best, new = (np.array(v) for v in zip(*chosen, strict=True))
        n = len(chosen)
        z = np.arange(2.0 * n).reshape(n, 2)
        old = {"success": s_best, "score": best, "z": z}
        value = g.call(
            "keep_best", old, {"success": s_new, "score": new, "z": z + 100.5}, kind="any"
        )
        success, score, got = _candidate(g, value, n, 2)
        for i, (sb, sn, b, v) in enumerate(chosen):
            wins = (sn, v) > (sb, b)
            allowed = [(sn, v, 100.5)] if wins else [(sb, b, 0.0)]
            if (sn, v) == (sb, b):
                allowed.append((sn, v, 100.5))
            is_one = any(
                success[i] == s and score[i] == m and (got[i] == z[i] + shift).all()
                for s, m, shift in allowed
            )
            g.expect(
                is_one,
                f"image {i}: best is a {words[sb]} with score {b:g}, new is a {words[sn]} with "
                f"score {v:g}, "
                f"so {'new' if wins else 'best'} must be kept, all of it",
            )

    for case in cases:
        check([case])
    check([cases[i] for i in g.rng.permutation(len(cases))])


HOMEWORK = Homework(
    name="hw3",
    title="Iterated FGSM and PGD",
    hours=9,
    needs="lesson 04",
    parts={
        "A": "Iterated FGSM",
        "B": "The projection onto the l2 ball",
        "C": "The steepest direction",
        "D": "A random start",
        "E": "Keep the best",
        "F": "PGD",
    },
    kit=("autograd", "ops"),
    challenge=CHALLENGE,
    checks=(a1, a2, b1, b2, c1, d1, d2, e1, f1, f2),
)
