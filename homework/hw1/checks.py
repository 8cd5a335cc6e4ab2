"""Homework 1: what is checked, for how many points, and against what."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from homework.grader.engine import Homework, worth
from homework.grader.grading import Grading
from homework.grader.serve import function
from homework.grader.strategies import sizes, whole
from homework.hw1 import cases
from homework.hw1.challenge import CHALLENGE

EARLIER = ("unbroadcast", "add_vjp", "multiply_vjp", "matmul_vjp", "relu_vjp")
GRAPH = ("backward", "run_graph")


@worth(10, "unbroadcast: the sum over all copies, in the shape asked for", "unbroadcast")
def a1(g: Grading):
    def check(case):
        v, shape = case
        place = np.broadcast_to(np.arange(int(np.prod(shape))).reshape(shape), v.shape)
        right = np.bincount(place.ravel(), v.ravel(), minlength=1).reshape(shape)
        got = g.call("unbroadcast", v, shape)
        g.expect(
            got.shape == shape, f"it has the shape {got.shape}, and was asked for {shape}", right
        )
        g.close(
            got,
            right,
            f"each number of an array {shape} that is stretched to {v.shape} gets the sum of the g "
            "of its copies",
            tolerance=0,
        )

    check((np.array([[1.0, 2.0], [3.0, 4.0]]), (2,)))
    g.examples(cases.stretched())(check)


def _bilinear(g: Grading, name, f, a, b, v):
    """Fail unless <v, f(a + da, b) - f(a, b)> is <g_a, da> for each unit da; the same for b."""
    g_a, g_b = g.call(name, v, a, b, parts=[a.shape, b.shape])
    for who, at, got in (("a", a, g_a), ("b", b, g_b)):
        for i in np.ndindex(at.shape):
            step = np.zeros(at.shape)
            step[i] = 1
            moved = f(a + step, b) if who == "a" else f(a, b + step)
            right = float((v * (moved - f(a, b))).sum())
            place = ", ".join(map(str, i))
            g.expect(
                got[i] == right,
                f"{who}[{place}] + 1 changes the sum of g * result by {right:g}, and "
                f"g_{who}[{place}] is {got[i]:g}",
            )


@worth(10, "add and multiply: g_a tells how the result changes with a", "add_vjp", "multiply_vjp")
def a2(g: Grading):
    @g.examples(
        st.tuples(sizes, sizes).flatmap(lambda s: st.tuples(whole(s), whole(s), whole(s))),
        st.sampled_from(["add", "multiply"]),
    )
    def _(case, name):
        v, a, b = case
        _bilinear(g, f"{name}_vjp", getattr(np, name), a, b, v)


@worth(10, "matmul: g_a tells how the result changes with a", "matmul_vjp")
def a3(g: Grading):
    def check(case):
        a, b, v = case
        _bilinear(g, "matmul_vjp", np.matmul, a, b, v)

    square = np.array([[1.0, 2.0], [3.0, 4.0]])  # a product in the wrong order has its shape
    check((square, square + 4, np.array([[1.0, 0.0], [0.0, 0.0]])))
    g.examples(cases.matrices())(check)


@worth(10, "relu and logsumexp, at 0 and at 10,000", "relu_vjp", "logsumexp_vjp")
def a4(g: Grading):
    @g.examples(st.tuples(sizes, sizes).flatmap(lambda s: st.tuples(whole(s), whole(s))))
    def _(case):
        v, a = case
        got = g.call("relu_vjp", v, a, shape=a.shape)
        right = np.where(a > 0, v, 0)
        g.close(got, right, "relu: g where a > 0, and 0 elsewhere, at a = 0 too", tolerance=0)

    def check(case):
        v, z, shift = case
        got = g.call("logsumexp_vjp", v, z + shift, shape=z.shape)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        right = v[:, None] * e / e.sum(axis=1, keepdims=True)
        g.close(got, right, "logsumexp: g times the softmax of the row", scale=8)
        g.close(got.sum(axis=1), v, "logsumexp: each row adds up to g", scale=8)

    check((np.array([1.0]), np.array([[1e4, -1e4]]), 0.0))
    g.examples(cases.rows())(check)


def _gradients(g: Grading, sizes_, edges, factors, output, v, inputs, times=1, rule=None):
    """What backward gave on a graph: ``times`` lists of arrays in the shapes of the inputs."""
    edges = np.array(edges, np.int64).reshape(-1, 2)
    arguments = np.array(sizes_), edges, np.array(factors, float), output, v, tuple(inputs)
    value = g.call("run_graph", *arguments, kind="any", times=times, rule=rule)
    good = isinstance(value, list) and len(value) == times
    good = good and all(isinstance(v, list) and len(v) == len(inputs) for v in value)
    g.expect(good, "backward must return a list of one array per input")
    for some in value:
        for k, array in zip(inputs, some, strict=True):
            good = isinstance(array, np.ndarray) and array.dtype.kind in "fiu"
            g.expect(good, f"the derivative by node {k} is no array of numbers")
            g.expect(
                array.shape == (sizes_[k],),
                f"the derivative by node {k} has the shape {array.shape}, the node has "
                f"{(sizes_[k],)}",
            )
    return value


@worth(10, "the sum over all paths of the products of their factors", *GRAPH)
def b1(g: Grading):
    def check(case):
        n, edges, factors = case
        inputs = list(range(n))
        value = _gradients(g, [1] * n, edges, factors, n - 1, np.ones(1), inputs)[0]
        for node, paths in cases.paths(n, edges, factors).items():
            products = [int(np.prod([factors[e] for e in p], dtype=object)) for p in paths]
            shown = " + ".join(map(str, products[:8])) or "0"
            g.expect(
                value[node][0] == sum(products),
                f"the derivative by node {node} is the sum over {len(paths)} paths of the products "
                "of their "
                f"factors, {shown} = {sum(products)}, not {value[node][0]:g}",
            )

    check((2, [(1, 0), (1, 0)], [2, 3]))
    check((4, [(1, 0), (2, 0), (3, 2), (3, 1)], [2, 3, 1, 1]))
    g.examples(cases.graphs(8 if g.hidden else 6))(check)


@worth(10, "each rule once: 60 times x = x + x gives 2^60", *GRAPH)
def b2(g: Grading):
    deep = 60
    edges = [(k + 1, k) for k in range(deep) for _ in range(2)]
    count = dict.fromkeys(range(len(edges)), 0)

    def rule(e, v):
        count[int(e)] += 1
        if sum(count.values()) > 1000:
            raise ValueError(f"a graph of {len(edges)} edges, and a rule is called the 1001st time")
        return v

    v = np.full(1, 3.0 if g.hidden else 1.0)
    value = _gradients(
        g, [1] * (deep + 1), edges, [1] * len(edges), deep, v, [0], rule=function(rule)
    )
    often = max(count.values())
    g.expect(often <= 1, f"60 times x = x + x: one rule was called {often} times, expected once")
    right = v * 2.0**deep
    g.expect((value[0][0] == right).all(), "60 times x = x + x: the derivative is 2^60", [right])


@worth(5, "0 for what is not used; g for the output; a second call", *GRAPH)
def b3(g: Grading):
    @g.examples(st.integers(1, 3), st.integers(1, 3), st.integers(-4, 4))
    def _(size, other, factor):
        v = np.arange(1.0, size + 1)
        # 0 -> 2 is the chain; 1 is an input that the output does not depend on.
        first, second = _gradients(
            g, [size, other, size], [(2, 0)], [factor], 2, v, [0, 1, 2], times=2
        )
        g.expect((first[1] == 0).all(), "the output does not depend on node 1: its derivative is 0")
        g.expect((first[2] == v).all(), "the output is itself an input: its derivative is g")
        g.expect((first[0] == factor * v).all(), f"the derivative by node 0 is {factor} * g")
        same = all((a == b).all() for a, b in zip(first, second, strict=True))
        g.expect(
            same, "a second call gives something else: nothing may be left in the nodes", first
        )


@worth(5, "a chain of 5,000 nodes", *GRAPH)
def b4(g: Grading):
    deep = 5000
    edges = [(k + 1, k) for k in range(deep)]
    factors = np.where(np.arange(deep) % 7 == (2 if g.hidden else 1), -1.0, 1.0)
    value = _gradients(g, [1] * (deep + 1), edges, factors, deep, np.ones(1), [0])
    right = float(np.prod(factors))
    g.expect(
        value[0][0][0] == right,
        f"a chain of 5,000 nodes with factors 1 and -1: the derivative is {right:g}",
    )


@worth(10, "(f(x + h e_i) - f(x - h e_i)) / 2h, exactly", "central_difference")
def c1(g: Grading):
    @g.examples(
        st.integers(1, 3).flatmap(lambda d: st.tuples(whole(d, -16, 16), st.integers(0, d - 1)))
    )
    def _(case):
        x, i = case[0] / 4, case[1]
        h = 1 / 16
        cube = function(
            lambda x: float((np.asarray(x) ** 3).sum()), "lambda x: float((x**3).sum())"
        )
        got = float(g.call("central_difference", cube, x, i, h, shape=()))
        v = float(x[i])
        known = {
            3 * v * v
            + 3 * v * h
            + h * h: "this is the forward difference (f(x + h e_i) - f(x)) / h",
            3 * v * v - 3 * v * h + h * h: "this is the backward difference",
            6 * v * v + 2 * h * h: "this is twice as much: divide by 2 h",
            3 * v * v: "this is the derivative itself, not the difference",
        }
        right = 3 * v * v + h * h
        if got != right:
            why = known.get(
                got, f"f is the sum of cubes, and the central difference is 3 x² + h² = {right:g}"
            )
            g.fail(why, np.float64(right))


@worth(20, "pull agrees with forward mode on whole numbers", "vjp", "run_program", replaced=EARLIER)
def d1(g: Grading):
    def check(case):
        steps, xs, gs = case
        value = g.call("run_program", steps, xs, gs, kind="any")
        good = isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], list)
        good = good and all(isinstance(v, list) and len(v) == len(xs) for v in value[1])
        g.expect(good, "vjp must give (value, pull), and pull(g) one array per x")
        got, pulled = value
        right, _ = cases.forward(steps, xs, 0, (0, 0))
        right = right.astype(float)
        g.expect(
            isinstance(got, np.ndarray) and got.shape == right.shape,
            "the value must be the array that f gives",
            right,
        )
        g.close(got, right, "the value must be the array that f gives", tolerance=0)
        for count, (v, arrays) in enumerate(zip(gs, pulled, strict=True), 1):
            for k, x in enumerate(xs):
                good = isinstance(arrays[k], np.ndarray) and arrays[k].dtype.kind in "fiu"
                g.expect(
                    good and arrays[k].shape == x.shape,
                    f"pull {count}: the derivative by x{k} must have its shape {x.shape}",
                )
                for i in np.ndindex(x.shape):
                    slope = int((v.astype(int) * cases.forward(steps, xs, k, i)[1]).sum())
                    g.expect(
                        arrays[k][i] == slope,
                        f"pull {count}: the derivative by x{k}[{i[0]}, {i[1]}] is {slope} in "
                        "forward mode, and "
                        f"{arrays[k][i]:g} backwards",
                    )

    one = np.ones((1, 1))
    check(([("multiply", 0, 0)], [3 * one], [one]))  # x is shared
    check(([("multiply", 0, 1), ("add", 2, 0)], [3 * one, 4 * one], [one, 2 * one]))
    g.examples(cases.programs())(check)


HOMEWORK = Homework(
    name="hw1",
    title="Autograd: the chain rule, backwards",
    hours=8,
    needs="lessons 01, 02",
    parts={
        "A": "One rule per operation",
        "B": "Backwards through a graph",
        "C": "Measuring a derivative",
        "D": "All together",
    },
    kit=(),
    challenge=CHALLENGE,
    checks=(a1, a2, a3, a4, b1, b2, b3, b4, c1, d1),
)
