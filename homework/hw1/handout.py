# %% [markdown]
# # Homework 1: autograd, the chain rule backwards
#
# Before: lessons 1 and 2. Hours: 8.
#
# You will:
#
# - write a vector-Jacobian product for each operation;
# - find out why the order is backwards, and what a shared node needs;
# - measure a derivative, and see where measuring ends;
# - put the parts together, and differentiate a small network.
#
# Every attack of this course needs the derivative of a network by its input. You write the program
# that computes it, in `hw1.py`, with NumPy alone.
# Each part below says why, and ends with a cell to explore with. The cells say "not written yet"
# until you have written the part.
#
# After each part, run `python -m homework check hw1 .` in this folder.

# %%
import math

import hw1
import numpy as np
from given import show

# %% [markdown]
# ## A. One rule per operation
#
# Let $L$ be one number, at the end of a long computation. Somewhere on the way, $r = f(a, b)$.
# Someone gives you $g = \partial L / \partial r$, in the shape of $r$. You answer $g_a = \partial L
# / \partial a$ and $g_b = \partial L / \partial b$. This is a *vector-Jacobian product*: $g$ is the
# vector, and the Jacobian of $f$ is never written down.
#
# What defines $g_a$: a small change $\delta a$ changes $L$ by $\langle g, \delta r \rangle =
# \langle g_a, \delta a \rangle$. Here $\langle u, v \rangle$ is the sum of the products of all
# numbers. Apply that to each operation.
#
# - Sum: $\delta r = \delta a + \delta b$.
# - Product: $\delta r = \delta a \cdot b + a \cdot \delta b$, number by number.
# - Matrix product: $\delta r = \delta A \, B + A \, \delta B$. Write
#   $\langle G, \delta A \, B \rangle = \sum_{ijk} G_{ik} \, \delta A_{ij} B_{jk}$, and collect
#   what belongs to $\delta A_{ij}$. The shapes tell you where the transpose goes.
# - ReLU: $\delta r = \delta a$ where $a > 0$, and 0 elsewhere.
# - Logsumexp: $r = \log \sum_j e^{z_j}$, so $\partial r / \partial z_j = e^{z_j} / \sum_k
#   e^{z_k}$, the softmax. $e^{10000}$ overflows. The softmax does not change when the same number
#   is subtracted from all $z_j$. Which number is safe?
#
# NumPy also *broadcasts*: it stretches an array of shape (3,) to (2, 3) by using it twice. Each
# number then has several copies, and its derivative is the sum over them. `unbroadcast` is that
# sum. NumPy adds new axes in front, and stretches axes of length 1.


# %%
def rules():
    a, b, g = np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]), np.array([[1.0]])
    print("matmul:     ", *(v.tolist() for v in hw1.matmul_vjp(g, a, b)))
    print("unbroadcast:", hw1.unbroadcast(np.ones((2, 3)), (3,)).tolist())
    print("logsumexp:  ", hw1.logsumexp_vjp(np.ones(1), np.array([[1e4, 0.0]])).tolist())


show(rules)

# %% [markdown]
# ## B. Backwards through a graph
#
# A computation is a graph of nodes. Each node knows its parents, the values that it was made of,
# and a rule for each. The chain rule says: the derivative of the output by a node is the sum over
# all paths from the output to it, of the products along the path.
#
# There can be many paths. Let $x \leftarrow x + x$ sixty times: 120 edges, and $2^{60}$ paths. So
# do not walk the paths. Each rule is linear, so the sum can be taken first: collect at each node
# what comes in from all its children, and only then call the rules of its own edges. Each rule is
# so called once.
#
# This needs an order: a node has its turn when all its children have had theirs. That is a
# topological order, backwards. Python allows about 1,000 nested calls, and a chain may have 5,000
# nodes. So keep a stack of your own.


# %%
def shared():
    x = hw1.Node(np.array([3.0]))
    square = hw1.Node(x.value**2, [(x, lambda g: g * x.value), (x, lambda g: g * x.value)])
    print("derivative of x * x at 3:", hw1.backward(square, np.ones(1), [x])[0].tolist())


show(shared)

# %% [markdown]
# ## C. Measuring a derivative
#
# How do you know that a gradient is right? Measure it. Taylor's series gives $f(x \pm h) = f \pm h
# f' + \frac{h^2}{2} f'' \pm \frac{h^3}{6} f''' + \dots$. The forward difference $(f(x + h) - f(x))
# / h$ is off by $\frac{h}{2} f''$. In the central difference the even terms cancel:
#
# $$\frac{f(x + h) - f(x - h)}{2 h} = f' + \frac{h^2}{6} f''' + \dots$$
#
# For $f = x^3$ this is $3 x^2 + h^2$ exactly. Floating point adds an error of its own, which grows
# as $h$ gets smaller: question 2.


# %%
def measured():
    for h in (1e-2, 1e-5, 1e-12):
        slope = hw1.central_difference(lambda x: math.exp(x[0]), np.array([1.0]), 0, h)
        print(f"h = {h:g}: {slope:.12f}, off by {abs(slope - math.e):.1e}")


show(measured)

# %% [markdown]
# ## D. All together
#
# `vjp(f, x, ...)` makes a node of each x, runs `f` on them, and returns the value and `pull`. The
# operations `add`, `multiply`, `matmul` and `relu` are given. They make the nodes, and their rules
# call yours. `pull` is `backward` from the output. It can be called many times, once per row of a
# Jacobian.


# %%
def together():
    rng = np.random.default_rng(1)
    x, W, b = rng.standard_normal((1, 4)), rng.standard_normal((4, 3)), rng.standard_normal((1, 3))
    ones = np.ones((3, 1))

    def network(x, W, b):
        return hw1.matmul(hw1.relu(hw1.add(hw1.matmul(x, W), b)), hw1.Node(ones))

    value, pull = hw1.vjp(network, x, W, b)
    slope = pull(np.ones((1, 1)))[0]

    def plain(v):
        return float((np.maximum(v @ W + b, 0) @ ones)[0, 0])

    near = [hw1.central_difference(plain, x[0], i, 1e-5) for i in range(4)]
    print("by your rules:", slope[0].round(6).tolist())
    print("measured:     ", np.round(near, 6).tolist())


show(together)

# %% [markdown]
# ## Written questions
#
# They are in `answers.md`. Hand in `hw1.py` and `answers.md`.
