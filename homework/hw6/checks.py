"""Homework 6: what is checked, for how many points, and against what."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from homework.grader.engine import Homework, worth
from homework.grader.grading import Grading
from homework.grader.serve import function
from homework.grader.strategies import pixels, sizes, whole
from homework.hw6 import cases
from homework.hw6.attack_checks import EARLIER, e1, e2
from homework.hw6.challenge import CHALLENGE

TOP = float(np.nextafter(8, 0))


@worth(10, "three partners that differ from c and from each other", "partners")
def a1(g: Grading):
    @g.examples(st.integers(4, 9), cases.seeds)
    def _(P, rng):
        p = g.call("partners", P, rng, shape=(P, 3), kind="i")
        for c, row in enumerate(p.tolist()):
            g.expect(
                all(0 <= v < P for v in row),
                f"row {c} is {row}, expected numbers from 0 to {P - 1}",
            )
            g.expect(c not in row, f"row {c} is {row}: a candidate is its own partner")
            g.expect(
                len(set(row)) == 3, f"row {c} is {row}: the partners must differ from each other"
            )


@worth(5, "all choices are equally likely, and rows are independent", "partners")
def a2(g: Grading):
    """A right solution exceeds 110, with 23 or 15 degrees of freedom, once in 10^12 times."""
    calls = 24 * g.count
    start = int(g.rng.integers(2**31))
    p = np.stack(
        [
            g.call("partners", 5, np.random.SeedSequence(start + i), shape=(5, 3), kind="i")
            for i in range(calls)
        ]
    ).astype(int)
    g.expect(((p >= 0) & (p < 5)).all(), "partners are row numbers from 0 to P - 1")
    for c in range(5):
        triples, counts = np.unique(p[:, c] @ [25, 5, 1], return_counts=True)
        counts = np.concatenate([counts, np.zeros(max(0, 24 - len(triples)))])
        far = cases.chi2(counts)
        g.expect(len(triples) <= 24, f"P = 5: row {c} has {len(triples)} choices, expected 24")
        g.at_most(
            "chi-square of 24 triples",
            far,
            110,
            f"P = 5: in {calls} calls the 24 choices of row {c} came from {counts.min():.0f} to "
            f"{counts.max():.0f} times, expected about {calls / 24:.0f}: not equally likely",
        )
        for d in range(c):
            pairs = np.bincount(5 * p[:, c, 0] + p[:, d, 0], minlength=25).reshape(5, 5)
            pairs = np.delete(np.delete(pairs, c, axis=0), d, axis=1)
            g.at_most(
                "chi-square of 16 pairs",
                cases.chi2(pairs),
                110,
                f"P = 5: the first partners of rows {d} and {c} depend on each other: in {calls} "
                f"calls their 16 pairs came from {pairs.min()} to {pairs.max()} times, expected "
                f"about {calls / 16:.0f}: each row is drawn by itself",
            )


@worth(5, "the mutant is X[p1] + F (X[p2] - X[p3])", "mutant")
def b1(g: Grading):
    @g.examples(cases.populations())
    def _(case):
        X, p, F = case
        right = [[X[i, j] + F * (X[k, j] - X[m, j]) for j in range(X.shape[1])] for i, k, m in p]
        got = g.call("mutant", X, p, F, shape=X.shape)
        g.close(got, right, "the mutant is X[p1] + F (X[p2] - X[p3])", tolerance=0)


@worth(10, "a coordinate comes from V with probability CR, one always", "crossover")
def b2(g: Grading):
    @g.examples(st.integers(1, 5), st.sampled_from([0.0, 0.5, 1.0]), cases.seeds)
    def _(D, CR, rng):
        X, V = np.zeros((3, D)), np.arange(1.0, 3 * D + 1).reshape(3, D)
        U = g.call("crossover", X, V, CR, rng, shape=X.shape)
        g.expect(((U == X) | (U == V)).all(), "a coordinate is neither X's nor V's")
        g.expect(
            (U == V).any(axis=1).all(),
            "a row has no coordinate of V: at least one must come from it",
        )

    for D, CR in ((1, 0.3), (4, 0.0), (4, 0.25), (5, 0.9), (3, 1.0)):
        P = 2000
        rng = np.random.SeedSequence(int(g.rng.integers(2**31)))
        took = g.call("crossover", np.zeros((P, D)), np.ones((P, D)), CR, rng, shape=(P, D))
        expected = CR + (1 - CR) / D
        sd = math.sqrt(expected * (1 - expected) / P)
        for j, share in enumerate(took.mean(axis=0)):
            g.at_most(
                "standard deviations of a share",
                abs(share - expected) / max(sd, 1e-9),
                6,
                f"CR = {CR:g}, D = {D}: coordinate {j} came from V in {share:.3f} of {P} rows, "
                f"expected CR + (1 - CR) / D = {expected:.3f}",
            )


@worth(10, "the trial survives if it is no worse", "select")
def b3(g: Grading):
    @st.composite
    def survivors(draw):
        n, d = draw(sizes), draw(st.integers(1, 3))
        values = whole(n, -1, 1).map(lambda f: np.where(f == 1, np.inf, f))
        return draw(whole((n, d))), draw(values), draw(whole((n, d))), draw(values)

    @g.examples(survivors())
    def _(case):
        X, fX, U, fU = case
        value = g.call("select", X, fX, U, fU, kind="any")
        good = isinstance(value, (tuple, list)) and len(value) == 2
        g.expect(good, "it is no tuple of 2 arrays")
        right = g.reference.select(X, fX, U, fU)
        for v, r, name in zip(value, right, ("rows", "values"), strict=True):
            g.expect(
                isinstance(v, np.ndarray) and v.shape == r.shape and v.dtype.kind in "fiu",
                f"the {name} are no array of numbers of shape {r.shape}",
            )
        rows, values = value
        g.expect((values == right[1]).all(), "a value is not the smaller of fX and fU", right)
        g.expect((rows == right[0]).all(), "the trial stays if it is no worse: a tie counts", right)


@worth(
    10, "P * G rows, all in the box; the best is kept", "differential_evolution", replaced=EARLIER
)
def c1(g: Grading):
    @g.examples(cases.searches())
    def _(case):
        low, high, center, P, G, rng = case

        def f(X):
            if np.ndim(X) != 2 or X.shape[1] != len(low):
                raise ValueError(f"the objective takes (n, {len(low)}), got {np.shape(X)}")
            if len(X) > 20 * P * G:
                raise ValueError("far too many rows")
            return ((X - center) ** 2).sum(axis=1)

        source = f"lambda X: ((X - np.array({center.tolist()}))**2).sum(axis=1)"
        objective = function(f, source)
        x, history = g.call(
            "differential_evolution",
            objective,
            low,
            high,
            P,
            G,
            0.5,
            0.9,
            rng,
            parts=[low.shape, (G,)],
        )
        rows = np.concatenate([q[0] for q, _ in objective.asked] or [np.empty((0, len(low)))])
        g.expect(len(rows) == P * G, f"{len(rows)} rows were asked for, expected P * G = {P * G}")
        out = ((rows < low) | (rows > high)).any(axis=1).sum()
        g.expect(out == 0, f"{out} of {len(rows)} rows are outside the box")
        answers = np.concatenate([a for _, a in objective.asked]).reshape(G, P)
        best = np.minimum.accumulate(answers.min(axis=1))
        g.close(history, best, "history is the best value so far, generation by generation", 0)
        g.close(f(x[None])[0], best[-1], "the value of x is not the best that was found")


def _minimum(g: Grading, f, low, high, seed):
    rng = np.random.SeedSequence(seed)
    objective = function(f)
    x, _ = g.call(
        "differential_evolution",
        objective,
        low,
        high,
        cases.POPULATION,
        100,
        0.5,
        0.9,
        rng,
        parts=[low.shape, (100,)],
    )
    return x


@worth(
    15,
    "it finds the minimum of a sphere and the corner of a box",
    "differential_evolution",
    replaced=EARLIER,
)
def c2(g: Grading):
    for _ in range(5 if g.count > 40 else 2):
        seed = int(g.rng.integers(2**31))
        center = g.rng.uniform(-2, 2, 6)
        box = np.full(6, -3.0), np.full(6, 3.0)
        x = _minimum(g, lambda X, c=center: ((X - c) ** 2).sum(axis=1), *box, seed)
        value = float(((x - center) ** 2).sum())
        g.at_most(
            "squared distance from the minimum",
            value,
            1e-4,
            f"the squared distance to c in 6 dimensions is {value:.3g} after "
            "100 generations of 40, expected below 1e-4",
            center,
        )
        slope = g.rng.choice([-1.0, 1.0], 6) * g.rng.uniform(0.5, 2, 6)
        x = _minimum(g, lambda X, c=slope: X @ c, *box, seed)
        gap = float(np.abs(x - np.where(slope > 0, -3.0, 3.0)).max())
        g.at_most(
            "distance from the corner",
            gap,
            1e-3,
            f"the least of a linear function is in a corner, and x is {gap:.3g} "
            "away from it, expected below 1e-3",
        )


def _painting(g: Grading, genes):
    image = g.course.x[int(g.rng.integers(360))].reshape(8, 8)

    @g.examples(genes)
    def _(genes):
        got = g.call("paint", image, genes, shape=(8, 8))
        right = cases.paint(image, genes)
        off = np.argwhere(got != right)
        where = off[0].tolist() if len(off) else None
        g.expect(
            where is None,
            f"pixel {where} is {got[tuple(where)] if where else 0:g}, "
            f"expected {right[tuple(where)] if where else 0:g}: "
            "rows and columns are rounded down, and the later gene wins",
            right,
        )


@worth(10, "pixels are set, and the later gene wins", "paint")
def d1(g: Grading):
    place = whole((4, 2), 0, 31).map(lambda a: a / 16)  # rows and columns 0 and 1: genes meet
    wide = whole((4, 2), 0, 127).map(lambda a: a / 16)
    k = st.integers(1, 4)
    _painting(
        g,
        st.tuples(place | wide, pixels((4, 1)), k).map(
            lambda v: np.concatenate([v[0], v[1]], axis=1)[: v[2]]
        ),
    )


@worth(5, "places and values at the ends of their range", "paint")
def d2(g: Grading):
    edge = st.sampled_from([v for k in range(8) for v in (float(k), float(np.nextafter(k + 1, 0)))])
    one = st.tuples(edge, edge, st.sampled_from([0.0, 1.0]))
    apart = st.lists(one, min_size=1, max_size=3, unique_by=lambda v: (int(v[0]), int(v[1])))
    _painting(g, apart.map(lambda v: np.array(v)))  # which of two wins is D1's question


HOMEWORK = Homework(
    name="hw6",
    title="Differential evolution, and the one-pixel attack",
    hours=9,
    needs="lesson 08",
    parts={
        "A": "Partners",
        "B": "Mutation, crossover, selection",
        "C": "Differential evolution",
        "D": "Painting pixels",
        "E": "The attack",
    },
    kit=(),
    call_seconds=20,
    seconds=240,
    challenge=CHALLENGE,
    checks=(a1, a2, b1, b2, b3, c1, c2, d1, d2, e1, e2),
)
