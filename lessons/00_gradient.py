# %% [markdown]
# # A gradient in forty lines
#
# Mirrors: B2, E4.
#
# Before: Python, NumPy and the derivative of a function of one variable. Minutes: 45.
#
# You will:
#
# - write reverse-mode differentiation from nothing, in forty lines;
# - derive the gradient of a small network by hand, for the weights and for the image;
# - see that one backward pass gives both, and that an attack needs only the second;
# - check a gradient by finite differences, and know when such a check misleads.
#
# Training asks: how should the *weights* change so that the loss falls? An attack asks:
# how should the *image* change so that the loss rises? Both questions have the same
# answer, a gradient. This lesson builds the machine that computes it.

# %%
import numpy as np
from lesson import dataset, measured, rng, save, trained_mlp
from matplotlib.figure import Figure

import minadv
from minadv import losses, to_numpy
from minadv.evaluation import confidence

# %% [markdown]
# ## What a gradient says (E4)
#
# Let $f$ take a vector $x = (x_1, \dots, x_n)$ and return one number. Nudge one
# component by a small $\delta$. The *partial derivative* $g_i = \partial f / \partial
# x_i$ says how much $f$ changes for it:
#
# $$f(x_1, \dots, x_i + \delta, \dots, x_n) \approx f(x) + \delta \, g_i. \tag{0.1}$$
#
# The *gradient* $\nabla f = (g_1, \dots, g_n)$ holds all of them. Its sign tells the
# way up: where $g_i > 0$ a nudge upward raises $f$, and where $g_i < 0$ a nudge
# downward does. Document E says that the value increases "by a factor $g$". By (0.1) it
# increases by the *amount* $\delta \, g_i$.
#
# ## The chain rule, forward and backward
#
# A network is a chain of simple functions, such as $f = u(v(x))$. The *chain rule*
# multiplies their derivatives, and where $x$ reaches $f$ along several paths, it adds
# up the paths:
#
# $$\frac{\partial f}{\partial x} = \sum_{v} \frac{\partial f}{\partial v} \,
# \frac{\partial v}{\partial x}, \tag{0.2}$$
#
# the sum going over all intermediate values $v$ that are computed from $x$ directly.
# *Reverse mode* starts at the end, where $\partial f / \partial f = 1$, and walks back.
# At each value it knows $g = \partial f / \partial v$ already. It hands to each parent
# of $v$ its share: $g$ times the local derivative. An operation therefore needs to know
# two things only: its value, and one rule per parent.


# %%
class Node:
    """A value, and one (parent, rule) pair for each node that it was made from."""

    def __init__(self, value, *edges):
        self.value, self.edges = value, edges


def add(a, b):
    return Node(a.value + b.value, (a, lambda g: g), (b, lambda g: g))


def multiply(a, b):
    to_a, to_b = (lambda g: g * b.value), (lambda g: g * a.value)
    return Node(a.value * b.value, (a, to_a), (b, to_b))


def matmul(W, x):  # a matrix times a vector
    to_W, to_x = (lambda g: np.outer(g, x.value)), (lambda g: W.value.T @ g)
    return Node(W.value @ x.value, (W, to_W), (x, to_x))


def relu(a):  # max(a, 0), each component by itself
    return Node(np.maximum(a.value, 0), (a, lambda g: g * (a.value > 0)))


def cross_entropy(z, y):  # -log of the probability of class y, see (0.4) and (0.5)
    p = np.exp(z.value - z.value.max()) / np.exp(z.value - z.value.max()).sum()
    return Node(-np.log(p[y]), (z, lambda g: g * (p - (np.arange(len(p)) == y))))


def gradients(output):
    """The derivative of ``output`` by each node that it was made from."""
    order, seen = [], set()

    def visit(node):  # puts every parent before its children
        if node not in seen:
            seen.add(node)
            for parent, _ in node.edges:
                visit(parent)
            order.append(node)

    visit(output)
    total = dict.fromkeys(order, 0.0)
    total[output] = 1.0
    for node in reversed(order):  # so total[node] is complete when it is passed on
        for parent, rule in node.edges:
            total[parent] = total[parent] + rule(total[node])  # the sum in (0.2)
    return total


# %% [markdown]
# (Not counting blank lines and docstrings, these are fewer than forty lines.) Try it on
# numbers: $f = (a + b) \, b$ at $a = 2$, $b = 3$. By hand $\partial f / \partial a = b
# = 3$. And $b$ reaches $f$ along two paths, so $\partial f / \partial b = b + (a + b) =
# 8$.

# %%
a, b = Node(2.0), Node(3.0)
f = multiply(add(a, b), b)
total = gradients(f)
print(f"f = {f.value}, by a: {total[a]}, by b: {total[b]}")
assert (f.value, total[a], total[b]) == (15, 3, 8)

# %% [markdown]
# ## A network by hand
#
# The network of document B has one hidden layer. Let $x$ be the image as a vector of
# $n$ pixels. $W_1$ and $W_2$ are matrices of *weights*, $b_1$ and $b_2$ vectors called
# *biases*. The network computes
#
# $$a = W_1 x + b_1, \qquad h = \max(a, 0), \qquad z = W_2 h + b_2. \tag{0.3}$$
#
# The components of $z$ are the *logits*, one score for each of the $K$ classes. The
# *softmax* turns them into probabilities, and the *cross-entropy* $L$ is large where
# the probability of the true class $y$ is small:
#
# $$p_j = \frac{e^{z_j}}{\sum_k e^{z_k}}, \qquad L = -\log p_y = \log \sum_k e^{z_k} -
# z_y. \tag{0.4}$$
#
# Walk back, one step of (0.3) at a time. First the logits:
#
# $$\frac{\partial L}{\partial z_j} = \frac{e^{z_j}}{\sum_k e^{z_k}} - [j = y] = p_j -
# [j = y], \tag{0.5}$$
#
# where $[j = y]$ is 1 if $j = y$ and else 0. Write $e_y$ for the vector of these
# numbers. A component $h_k$ goes into every logit, with the weight $(W_2)_{jk}$, so by
# (0.2) its derivative is a sum over $j$, which is a product with the transposed matrix.
# The ReLU, $\max(a, 0)$, passes on what it let through:
#
# $$\frac{\partial L}{\partial h} = W_2^\top (p - e_y), \qquad \delta_a = \frac{\partial
# L}{\partial a} = \frac{\partial L}{\partial h} \odot [a > 0], \tag{0.6}$$
#
# with $\odot$ for the product component by component. From $a = W_1 x + b_1$ there are
# two ways on:
#
# $$\frac{\partial L}{\partial W_1} = \delta_a \, x^\top, \qquad \frac{\partial
# L}{\partial x} = W_1^\top \delta_a. \tag{0.7}$$
#
# The first is what training needs. The second is what an attack needs. Everything
# before (0.7) is the same for both.

# %%
d, model = dataset(), trained_mlp()
weights = {name: to_numpy(w, dtype=float) for name, w in model.parameters.items()}
W1, b1 = Node(weights["1.weight"].T), Node(weights["1.bias"])
W2, b2 = Node(weights["3.weight"].T), Node(weights["3.bias"])


def loss(x, W1=W1):
    """The loss of one image of the class y, a Node: (0.3) and (0.4)."""
    z = add(matmul(W2, relu(add(matmul(W1, x), b1))), b2)
    return cross_entropy(z, y)


doubt = np.abs(to_numpy(confidence(model, d.x_test[:200], d.y_test[:200])) - 0.9)
n = int(doubt.argmin())  # a digit that is read right, but not with full certainty
image, y = to_numpy(d.x_test[n], dtype=float), int(d.y_test[n])
x = Node(image.reshape(-1))
L = loss(x)
by = gradients(L)

a = W1.value @ x.value + b1.value  # and by hand
z = W2.value @ np.maximum(a, 0) + b2.value
p = np.exp(z) / np.exp(z).sum()
delta_a = (W2.value.T @ (p - (np.arange(10) == y))) * (a > 0)
np.testing.assert_allclose(by[W1], np.outer(delta_a, x.value), atol=1e-12)
np.testing.assert_allclose(by[x], W1.value.T @ delta_a, atol=1e-12)
print(f"one pass: {by[x].size} numbers for the image, {by[W1].size:,} for W1")

# %% [markdown]
# Equation (0.7) says more. Row $k$ of $\partial L / \partial W_1$ is the image $x$
# itself, times one number. So to the weights of a hidden unit, training adds or
# subtracts the images that it sees. The gradient for the image is something else: a
# mixture of the rows of $W_1$, the patterns that the hidden units look for. Figure 0.1
# shows both.

# %%
unit = int(np.abs(delta_a).argmax())  # the hidden unit with the largest derivative
np.testing.assert_allclose(by[W1][unit], delta_a[unit] * x.value)

panels = {
    "the image x": image[..., 0],
    "∂L/∂x": by[x].reshape(image.shape)[..., 0],
    "∂L/∂W₁, one row": by[W1][unit].reshape(image.shape)[..., 0],
}
figure = Figure(figsize=(8, 3), layout="constrained")
for i, (ax, (name, values)) in enumerate(
    zip(figure.subplots(1, 3), panels.items(), strict=True)
):
    s = 1 if i == 0 else np.abs(values).max()
    look = {"cmap": "gray", "vmin": 0} if i == 0 else {"cmap": "RdBu_r", "vmin": -s}
    drawn = ax.imshow(values, vmax=s, **look)
    ax.set(title=name, xticks=[], yticks=[])
    ticks = [0, 1] if i == 0 else [-s, 0, s]
    bar = figure.colorbar(drawn, ax=ax, shrink=0.7, ticks=ticks)
    bar.ax.set_yticklabels(["0", "1"] if i == 0 else [f"{-s:.2g}", "0", f"{s:.2g}"])
save(
    figure,
    "two_gradients",
    alt="Three panels: a handwritten digit, a cloud of positive and negative values "
    "around it, and the digit's own shape again in one color",
    caption="One backward pass, two gradients. The weights' gradient (right) is the "
    "image times one number. The image's gradient (middle) is spread over pixels that "
    "are black in the image as well. The color bars give the scales.",
)

# %% [markdown]
# ## Down for the weights, up for the image (B2)
#
# *Gradient descent* moves the weights against their gradient, $W \leftarrow W - \alpha
# \, \partial L / \partial W$, with a small step size $\alpha$. *Gradient ascent* moves
# the image along its own, $x \leftarrow x + \alpha \, \partial L / \partial x$. By
# (0.1), applied to every component at once, the loss falls or rises by about
#
# $$\alpha \sum_i g_i^2 = \alpha \lVert g \rVert_2^2. \tag{0.8}$$
#
# Take steps so small that (0.8) predicts a change of a thousandth of the loss.

# %%
step = {
    name: 1e-3 * L.value / (by[node] ** 2).sum()
    for name, node in (("W1", W1), ("x", x))
}
climbed = loss(Node(x.value + step["x"] * by[x])).value
descended = loss(x, Node(W1.value - step["W1"] * by[W1])).value
fall, rise = (L.value - descended) / L.value, (climbed - L.value) / L.value
measured("B2", "loss after one step down on W1, change", -fall, form="+.3%")
measured("B2", "loss after one step up on the image, change", rise, form="+.3%")
np.testing.assert_allclose([fall, rise], 1e-3, rtol=0.05)

# %% [markdown]
# ## The same from minadv
#
# `minadv.autograd` works as the forty lines do. Its `Tensor` is our `Node`, with the
# same pairs of parent and rule. It knows some thirty operations, works on whole
# batches, and only computes what is asked for: an attack asks for the image's gradient,
# and so no weight's gradient is ever computed. (`losses.cross_entropy` gives one loss
# per image; `grad` wants one number, hence the sum.)

# %%
labels = d.y_test[n : n + 1]
by_minadv = minadv.grad(
    lambda x: losses.cross_entropy(model(x), labels).sum(), minadv.asarray(image[None])
)
np.testing.assert_allclose(
    to_numpy(by_minadv).reshape(-1), by[x], rtol=1e-6, atol=1e-15
)
apart = np.abs(to_numpy(by_minadv).reshape(-1) - by[x]).max() / np.abs(by[x]).max()
measured("0", "largest difference, forty lines and minadv, relative", apart, form=".0e")

# %% [markdown]
# ## A check that needs no derivative
#
# Equation (0.1) also gives a way to *measure* a derivative. The *central difference*
# nudges a component by $h$ to both sides. Write both sides as Taylor series and
# subtract. The even terms cancel:
#
# $$D_h = \frac{f(x + h) - f(x - h)}{2h} = f'(x) + \frac{h^2}{6} f'''(x) + \dots
# \tag{0.9}$$
#
# So the error falls like $h^2$, until rounding takes over. A value $f$ is only known to
# about $u |f|$, with $u = 10^{-16}$ in float64, and (0.9) divides that by $h$. Between
# the two lies the best $h$, near $u^{1/3} \approx 10^{-5}$.
#
# All of this holds for smooth functions. A ReLU has a *kink* at 0. Stand at a distance
# $t > 0$ from it. While $h < t$ the nudges stay on one side, and the difference is
# exact up to rounding. For $h > t$ one nudge crosses the kink:
#
# $$D_h = \frac{(t + h) - 0}{2h}, \qquad f'(t) - D_h = 1 - \frac{t + h}{2h} =
# \frac{h - t}{2h}. \tag{0.10}$$
#
# This error does not fall like $h^2$. It stays near one half, and then it is gone, as
# Figure 0.2 shows.

# %%
steps = np.logspace(-1, -11, 41)
t = 1e-4 * (1 + rng().random())  # how far from the kink we stand


def central(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


errors = {
    "exp at 1/2: smooth": np.abs(central(np.exp, 0.5, steps) - np.exp(0.5)),
    "max(x, 0): a kink nearby": np.abs(
        central(lambda x: np.maximum(x, 0), t, steps) - 1
    ),
}
smooth, kink = errors.values()
slope = np.polyfit(np.log(steps[:13]), np.log(smooth[:13]), 1)[0]
best = steps[smooth.argmin()]
measured(
    "0", "error of the central difference falls like h to the power", slope, form=".2f"
)
measured("0", "best h, smooth", best, form=".0e")
assert 1.9 < slope < 2.1
assert 1e-7 < best < 1e-4
np.testing.assert_allclose(kink[steps > t], ((steps - t) / (2 * steps))[steps > t])
assert kink[steps < 0.9 * t].max() < 1e-4  # rounding alone

figure = Figure(figsize=(6.4, 3.8), layout="constrained")
ax = figure.subplots()
for (name, error), marker, line in zip(errors.items(), "os", ("-", "--"), strict=True):
    ax.loglog(
        steps, np.maximum(error, 1e-17), marker=marker, linestyle=line, label=name
    )
ax.axvline(t, color="black", linestyle=":", label="distance to the kink")
ax.set(xlabel="h", ylabel="error of the central difference")
ax.grid(color="0.9")
ax.legend()
save(
    figure,
    "finite_differences",
    alt="Errors against h, both axes logarithmic: one curve falls in a straight line "
    "to the left and rises again; the other stays near one half, then drops at the "
    "kink",
    caption="Read from right to left, h shrinks. The smooth function's error falls "
    "like $h^2$ until rounding lifts it again. Beside a kink the error stays near one "
    "half as long as h reaches over the kink, whatever the order of the method. "
    "(Errors of exactly 0 are drawn at 1e-17.)",
)

# %% [markdown]
# A network of 128 ReLUs has many kinks. So check a gradient with a small $h$ in
# float64, and do not panic over the few components whose nudge crosses one. Here is the
# check, for every pixel of the image.

# %%
h = 1e-6
numeric = np.empty(image.size)
for i in range(image.size):
    nudge = h * (np.arange(image.size) == i)
    sides = [loss(Node(x.value + s * nudge)).value for s in (1, -1)]
    numeric[i] = (sides[0] - sides[1]) / (2 * h)
worst = np.abs(numeric - by[x]).max() / np.abs(by[x]).max()
measured(
    "E4", "central differences against the gradient, largest error", worst, form=".0e"
)
print(f"{2 * image.size:,} evaluations of the loss against one backward pass")
assert worst < 1e-2
np.testing.assert_allclose(np.median(np.abs(numeric - by[x])), 0, atol=1e-6)

# %% [markdown]
# ## Summary
#
# A gradient says by how much a function changes for a small nudge of each input.
# Reverse mode walks a computation backward and hands each value's derivative to its
# parents by one local rule per operation. One pass gives the derivatives by all weights
# and by all pixels; training goes down along the first, an attack goes up along the
# second. Finite differences check it, at the price of two evaluations per pixel, and
# they err where a nudge crosses a kink.
#
# ## Exercises
#
# **0.1** (a line of code) Add the operation `tanh`. Its derivative is $1 - \tanh^2 a$.
# Check it by a central difference.
#
# **0.2** (a few lines) `gradients` visits children before parents. Make it visit the
# nodes in the order in which a stack returns them, without sorting. Find a function for
# which the answer is then wrong, and say why.
#
# **0.3** (pencil and paper) Derive $\partial \ell / \partial z_j$ for the squared error
# $\ell = \tfrac12 \lVert p - e_y \rVert^2$ of the softmax. Lesson 3 needs it.
#
# **0.4** (an experiment) Count the ReLUs of the network that change sign between $x - h
# v$ and $x + h v$, for a random direction $v$ and several $h$. How does the count grow
# with $h$?
#
# **0.5** (open) The forty lines give first derivatives. What would have to change so
# that `gradients` could be applied to its own result? Try it for `add` and `multiply`.
#
# ## Read on
#
# - D. E. Rumelhart, G. E. Hinton and R. J. Williams, *Learning representations by
#   back-propagating errors*, 1986, doi:10.1038/323533a0.
# - A. G. Baydin, B. A. Pearlmutter, A. A. Radul and J. M. Siskind, *Automatic
#   differentiation in machine learning: a survey*, 2018, arXiv:1502.05767.
# - A. Griewank and A. Walther, *Evaluating Derivatives*, 2008,
#   doi:10.1137/1.9780898717761.
