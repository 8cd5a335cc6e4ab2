"""Homework 1: autograd, the chain rule backwards. Write the four parts; hand in this file.

Arguments are read-only: work on copies. All numbers are float64. A VJP (vector-Jacobian product) of
an operation turns g, the derivative of some number by its result, into the derivatives of that
number by its operands.
"""

import numpy as np


class Node:
    """Given: a value, and where it came from.

    value: an array. parents: a tuple of (Node, rule); rule(g) is what this edge adds to the
    derivative by the parent, when g is the derivative by this node.
    """

    def __init__(self, value, parents=()):
        self.value, self.parents = value, tuple(parents)


def unbroadcast(g, shape):
    """The sum of g over the axes along which an array of `shape` was stretched to g's shape.

    g: any array whose shape `shape` broadcasts to. Returns an array of exactly `shape`.

    >>> unbroadcast(np.array([[1.0, 2.0], [3.0, 4.0]]), (2,)).tolist()
    [4.0, 6.0]
    >>> unbroadcast(np.array([[1.0, 2.0], [3.0, 4.0]]), (2, 1)).tolist()
    [[3.0], [7.0]]
    """
    # begin solution: A
    new = g.ndim - len(shape)
    g = g.sum(axis=tuple(range(new)))
    ones = tuple(i for i, n in enumerate(shape) if n == 1)
    return g.sum(axis=ones, keepdims=True)
    # end solution


def add_vjp(g, a, b):
    """(g_a, g_b) of a + b: three arrays of one shape; returns two arrays of that shape.

    >>> [v.tolist() for v in add_vjp(np.array([2.0]), np.array([3.0]), np.array([4.0]))]
    [[2.0], [2.0]]
    """
    # begin solution: A
    return g, g
    # end solution


def multiply_vjp(g, a, b):
    """(g_a, g_b) of a * b, number by number: three arrays of one shape; returns two of that shape.

    >>> [v.tolist() for v in multiply_vjp(np.array([2.0]), np.array([3.0]), np.array([4.0]))]
    [[8.0], [6.0]]
    """
    # begin solution: A
    return g * b, g * a
    # end solution


def matmul_vjp(g, a, b):
    """(g_a, g_b) of a @ b. a: (n, m), b: (m, k), g: (n, k); returns arrays (n, m) and (m, k).

    >>> g, a, b = np.array([[1.0]]), np.array([[2.0, 3.0]]), np.array([[4.0], [5.0]])
    >>> [v.tolist() for v in matmul_vjp(g, a, b)]
    [[[4.0, 5.0]], [[2.0], [3.0]]]
    """
    # begin solution: A
    return g @ b.T, a.T @ g
    # end solution


def relu_vjp(g, a):
    """g_a of max(a, 0), in the shape of a. The derivative at 0 is 0.

    >>> relu_vjp(np.array([5.0, 5.0, 5.0]), np.array([-1.0, 0.0, 1.0])).tolist()
    [0.0, 0.0, 5.0]
    """
    # begin solution: A
    return g * (a > 0)
    # end solution


def logsumexp_vjp(g, z):
    """g_z of log sum_j exp(z_j), row by row. z: (N, K), g: (N,); returns (N, K).

    Finite for |z| up to 1e4.

    >>> logsumexp_vjp(np.array([2.0]), np.array([[7.0, 7.0]])).tolist()
    [[1.0, 1.0]]
    """
    # begin solution: A
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return g[:, None] * e / e.sum(axis=1, keepdims=True)
    # end solution


def backward(output, g, inputs):
    """The derivatives by the inputs, when g is the derivative by the output: the chain rule.

    output: a Node; g: an array in its shape; inputs: a list of Nodes. Returns a list of arrays, one
    per input, in its shape. 0 where the output does not depend on it. Where the output is itself an
    input: g, and nothing else. Calls each rule at most once. The nodes stay as they are, so a
    second call gives the same. Works in a chain of 5,000 nodes.

    >>> x = Node(np.array([3.0]))
    >>> y = Node(x.value * 2, [(x, lambda g: 2 * g)])
    >>> [v.tolist() for v in backward(y, np.array([1.0]), [x, y])]
    [[2.0], [1.0]]
    """
    # begin solution: B
    order, seen, stack = [], set(), [(output, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.parents)
    sums = {id(output): g}
    for node in reversed(order):
        for parent, rule in node.parents:
            part = rule(sums[id(node)])
            k = id(parent)
            sums[k] = sums[k] + part if k in sums else part
    return [sums.get(id(x), np.zeros_like(x.value)) for x in inputs]
    # end solution


def central_difference(f, x, i, h):
    """The derivative of f by x_i, measured: (f(x + h e_i) - f(x - h e_i)) / (2 h).

    f: from (D,) to a number; x: (D,), unchanged; i: an index; h > 0. Returns a number.

    >>> float(central_difference(lambda x: x[0] ** 2, np.array([3.0]), 0, 0.5))
    6.0
    """
    # begin solution: C
    step = np.zeros_like(x)
    step[i] = h
    return (f(x + step) - f(x - step)) / (2 * h)
    # end solution


def vjp(f, *xs):
    """(value, pull) of f at xs; pull(g) is the tuple of the derivatives by the xs.

    f: maps one Node per x to one Node, by add, multiply, matmul, relu below. xs: arrays. value: the
    array that f gives. pull can be called again and again; each g has the shape of the value.

    >>> value, pull = vjp(lambda x, y: add(multiply(x, y), x), np.array([3.0]), np.array([4.0]))
    >>> value.tolist(), [v.tolist() for v in pull(np.array([1.0]))]
    ([15.0], [[5.0], [3.0]])
    """
    # begin solution: D
    nodes = [Node(x) for x in xs]
    output = f(*nodes)
    return output.value, lambda g: tuple(backward(output, g, nodes))
    # end solution


def _elementwise(value, rules, a, b):
    """Given: the Node of an operation of a and b that stretches both to one shape."""
    x, y = np.broadcast_arrays(a.value, b.value)

    def edge(k, node):
        return node, lambda g: unbroadcast(rules(g, x, y)[k], node.value.shape)

    return Node(value(x, y), [edge(0, a), edge(1, b)])


def add(a, b):
    """Given: the Node a + b."""
    return _elementwise(np.add, lambda *v: add_vjp(*v), a, b)


def multiply(a, b):
    """Given: the Node a * b."""
    return _elementwise(np.multiply, lambda *v: multiply_vjp(*v), a, b)


def matmul(a, b):
    """Given: the Node a @ b."""
    edges = [(v, lambda g, k=k: matmul_vjp(g, a.value, b.value)[k]) for k, v in enumerate((a, b))]
    return Node(a.value @ b.value, edges)


def relu(a):
    """Given: the Node max(a, 0)."""
    return Node(np.maximum(a.value, 0), [(a, lambda g: relu_vjp(g, a.value))])


def run_graph(sizes, edges, factors, output, g, inputs, times=1, rule=None):
    """Given, for the grader: build a graph, call backward `times` times, and return what it gave.

    Node k holds sizes[k] zeros. Edge e leads from node edges[e, 0] to its parent edges[e, 1]; its
    rule multiplies by factors[e], or asks rule(e, g).
    """

    def rule_of(e):
        return (lambda g: factors[e] * g) if rule is None else (lambda g: rule(e, g))

    parents = {}
    for e, (child, parent) in enumerate(np.asarray(edges).tolist()):
        parents.setdefault(child, []).append((parent, rule_of(e)))
    nodes = []
    for k, n in enumerate(np.asarray(sizes).tolist()):
        nodes.append(Node(np.zeros(n), [(nodes[p], r) for p, r in parents.get(k, [])]))
    return [list(backward(nodes[output], g, [nodes[k] for k in inputs])) for _ in range(times)]


def run_program(steps, xs, gs):
    """Given, for the grader: vjp of the program `steps` at xs, and its pull at each of the gs.

    A step is (name, i, j): an operation above of two earlier results, the xs first.
    """
    operations = {"add": add, "multiply": multiply, "matmul": matmul}

    def f(*nodes):
        nodes = list(nodes)
        for name, i, j in steps:
            nodes.append(relu(nodes[i]) if name == "relu" else operations[name](nodes[i], nodes[j]))
        return nodes[-1]

    value, pull = vjp(f, *xs)
    return value, [list(pull(g)) for g in gs]
