# %% [markdown]
# # Solutions: a gradient in forty lines
#
# The lesson's nodes and operations, as far as they are needed here.

# %%
import numpy as np

from minadv import data, fit, losses, ops, to_numpy, vjp
from minadv.models import mlp


class Node:
    def __init__(self, value, *edges):
        self.value, self.edges = value, edges


def add(a, b):
    return Node(a.value + b.value, (a, lambda g: g), (b, lambda g: g))


def multiply(a, b):
    to_a, to_b = (lambda g: g * b.value), (lambda g: g * a.value)
    return Node(a.value * b.value, (a, to_a), (b, to_b))


def gradients(output):
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent, _ in node.edges:
                visit(parent)
            order.append(node)

    visit(output)
    total = dict.fromkeys(order, 0.0)
    total[output] = 1.0
    for node in reversed(order):
        for parent, rule in node.edges:
            total[parent] = total[parent] + rule(total[node])
    return total


# %% [markdown]
# ## Exercise 0.1
#
# One line. The rule can use the value that was just computed.


# %%
def tanh(a):
    return Node(np.tanh(a.value), (a, lambda g: g * (1 - np.tanh(a.value) ** 2)))


a, h = Node(0.7), 1e-5
difference = (np.tanh(0.7 + h) - np.tanh(0.7 - h)) / (2 * h)
np.testing.assert_allclose(gradients(tanh(a))[a], difference, rtol=1e-8)

# %% [markdown]
# ## Exercise 0.2
#
# In $f = v b + v$ with $v = a^2$, the node $v$ is used twice. A stack returns it before
# the product $v b$ has handed over its share. So $v$ passes on an incomplete
# derivative.


# %%
def unsorted_gradients(output):
    stack, seen, total = [output], set(), {output: 1.0}
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for parent, rule in node.edges:
            total[parent] = total.get(parent, 0.0) + rule(total[node])
            stack.append(parent)
    return total


a, b = Node(2.0), Node(3.0)
v = multiply(a, a)
f = add(multiply(v, b), v)
print("right:", gradients(f)[a], "unsorted:", unsorted_gradients(f)[a])
assert gradients(f)[a] == 2 * 2 * (3 + 1)
assert unsorted_gradients(f)[a] != gradients(f)[a]

# %% [markdown]
# ## Exercise 0.3
#
# The softmax has the derivative $\partial p_k / \partial z_j = p_k ([j = k] - p_j)$.
# With $r_k = p_k - [k = y]$,
#
# $$\frac{\partial \ell}{\partial z_j} = \sum_k r_k \, p_k ([j = k] - p_j) = p_j
# \Bigl(r_j - \sum_k r_k p_k\Bigr).$$

# %%
z, y = np.array([[2.0, -1.0, 0.5]]), 1
p = ops.softmax(z)
r = p - (np.arange(3) == y)
_, pull = vjp(
    lambda z: losses.squared_error(ops.softmax(z), 1.0 * (np.arange(3) == y)[None]), z
)
np.testing.assert_allclose(pull(np.ones(1)), p * (r - (r * p).sum()))

# %% [markdown]
# ## Exercise 0.4
#
# Near $x$ a hidden unit's input is $a + h (W_1 v)$. It changes sign between $\pm h$ if
# $|a| < h |W_1 v|$. For small $h$ the number of such units is proportional to $h$.

# %%
d = data.digits()
model = mlp((8, 8, 1))
fit(model, d.x_train, d.y_train, epochs=3, progress=False)
W1, b1 = (
    to_numpy(model.parameters[name], dtype=float) for name in ("1.weight", "1.bias")
)
x = to_numpy(d.x_test, dtype=float).reshape(-1, 64)
v = np.random.default_rng(0).standard_normal((len(x), 64))
v /= np.linalg.norm(v, axis=1, keepdims=True)
a, change = x @ W1 + b1, v @ W1
steps = np.array([1e-3, 1e-2, 1e-1])
crossed = np.array([(np.abs(a) < h * np.abs(change)).sum(axis=1).mean() for h in steps])
print("units that cross, per image:", crossed.round(4))
growth = np.polyfit(np.log(steps), np.log(crossed), 1)[0]
assert 0.85 < growth < 1.15

# %% [markdown]
# ## Exercise 0.5
#
# A rule must return a `Node`, made of operations, instead of a number. Then the result
# of `gradients` has edges of its own. For $f = a^3$ the second derivative is $6a$. What
# grows is memory: every pass back is recorded too.


# %%
def add2(a, b):
    return Node(a.value + b.value, (a, lambda g: g), (b, lambda g: g))


def multiply2(a, b):
    to_a, to_b = (lambda g: multiply2(g, b)), (lambda g: multiply2(g, a))
    return Node(a.value * b.value, (a, to_a), (b, to_b))


def gradient_nodes(output, x):
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent, _ in node.edges:
                visit(parent)
            order.append(node)

    visit(output)
    total = {output: Node(1.0)}
    for node in reversed(order):
        for parent, rule in node.edges:
            share = rule(total[node])
            total[parent] = add2(total[parent], share) if parent in total else share
    return total[x]


a = Node(2.0)
first = gradient_nodes(multiply2(multiply2(a, a), a), a)
second = gradient_nodes(first, a)
print("f' =", first.value, "f'' =", second.value)
assert (first.value, second.value) == (3 * 2**2, 6 * 2)
