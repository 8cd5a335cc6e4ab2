# %% [markdown]
# # Random resizing and padding: chance as a defense
#
# Mirrors: E10.
#
# Before: lesson 4, the frame. Minutes: 45.
#
# You will:
#
# - write resizing as two matrix products, and a random draw in ten lines;
# - average predictions over draws, and see why a mean of probabilities counts votes;
# - attack the average: *expectation over transformation*;
# - answer whether the whole defense paid off.
#
# An attack fits its image to the network, pixel by pixel. So never show the network
# that image: shrink it by a random amount, put it at a random place on black, perhaps
# mirror it, and average the predictions over 30 draws. This was second in the NeurIPS
# contest of 2017 (Xie et al. 2018). "And it works!! But, I haven't tested it", says
# document E. Test it. In the terms of the frame: untargeted, white box, L∞; first the
# attacker is not told of the defense, then they are.

# %%
import numpy as np
from lesson import by_data, dataset, measured, rng, save, seed, trained

from minadv import Adam, asarray, grad, ops, pgd, plotting, to_numpy
from minadv.data import leaves
from minadv.defenses.adversarial_training import augment
from minadv.defenses.resizing import RandomResizing, resize
from minadv.evaluation import accuracy, predict, probabilities, robust_accuracy
from minadv.layers import Conv2D, Dense, Flatten, ReLU, Sequential
from minadv.losses import margin

d = dataset()
shape = d.x_train.shape[1:]
n = shape[0]  # pixels in a row
x, y = d.x_test[:120], d.y_test[:120]
least = by_data(sample=25, digits=6)  # pixels in a row of the smallest draw

# %% [markdown]
# ## Resizing is two matrix products
#
# Spread $n$ old pixels and $n'$ new ones over the same width. Count positions from the
# center of the first old pixel. Then the center of new pixel $i$ falls at
#
# $$c_i = \left( i + \tfrac12 \right) \frac{n}{n'} - \tfrac12, \qquad i = 0, \ldots, n'
# - 1. \tag{13.1}$$
#
# (At the border, $c_i$ is clipped to lie between $0$ and $n - 1$.) *Bilinear* resizing
# mixes the two old pixels whose centers are next to $c_i$, the nearer one more:
#
# $$A_{ij} = \max(0, \; 1 - |c_i - j|), \qquad \sum_j A_{ij} = 1. \tag{13.2}$$
#
# So a new row of pixels is a weighted sum of old rows, and the same holds for columns,
# with weights $B$. For one channel $x$, a matrix of pixels, the result is
#
# $$x' = A \, x \, B^T. \tag{13.3}$$


# %%
def weights(n, new):
    """(13.2), one row per new pixel: (new, n)."""
    c = np.clip((np.arange(new) + 0.5) * n / new - 0.5, 0, n - 1)
    return np.maximum(0, 1 - abs(c[:, None] - np.arange(n)))


A = weights(n, least)
np.testing.assert_allclose(A.sum(axis=1), 1)
np.testing.assert_allclose(weights(n, n), np.eye(n))  # the same size: nothing happens
np.testing.assert_allclose(
    to_numpy(resize(x, (least, least))),
    np.einsum("ij,njkc,lk->nilc", A, to_numpy(x), A),
    atol=1e-6,
)

# %% [markdown]
# ## A draw (E10)
#
# In the contest, images of 299 pixels become 299 to 330 pixels wide, in a frame of 331.
# A network whose input has a fixed size keeps that size for the frame, and the image
# shrinks by the same shares. A place in a frame is again a matrix: rows of zeros above
# and below $A$. A flip turns the order of the columns around.


# %%
def draw(n, least, flip, rng):
    """The two matrices (n, n) of one random draw."""
    size = rng.integers(least, n)
    corner = rng.integers(n - size + 1), rng.integers(n - size + 1)
    A, B = np.zeros((n, n)), np.zeros((n, n))
    A[corner[0] : corner[0] + size] = weights(n, size)
    B[corner[1] : corner[1] + size] = weights(n, size)
    return A, B[::-1] if rng.random() < flip else B


def defended(model, *, draws=30, offset=1, **how):
    """``model`` behind the defense, with draws of its own. Digits are not flipped."""
    how = {"smallest": least / n, "flip": 0, "rng": seed(offset)} | how
    return RandomResizing(model, shape, draws=draws, **how)


stream = rng(1)
by_hand = [draw(n, least, 0, stream) for _ in range(30)]
library = defended(lambda x: x)
np.testing.assert_allclose([A for A, _ in by_hand], library.rows, atol=1e-12)
np.testing.assert_allclose([B for _, B in by_hand], library.columns, atol=1e-12)

# %% [markdown]
# Figure 13.1 shows draws with flips, of a leaf.

# %%
leaf = leaves(5, size=48).x_test[:1]
seen = RandomResizing(lambda x: x, leaf.shape[1:], draws=7, rng=seed(3)).views(leaf)[
    :, 0
]
pixels = np.concatenate([to_numpy(leaf), to_numpy(seen)]).clip(0, 1)
figure = plotting.images(pixels, columns=4)
figure.axes[0].set_title("the image")
save(
    figure,
    "draws",
    alt="A leaf, then seven times the same one: a little smaller, at other places on "
    "black, some mirrored",
    caption="A leaf, and seven draws of it. A mirrored leaf is a leaf.",
)

# %% [markdown]
# A mirrored 2 is no 2, so digits are not flipped. How many different draws are there? A
# size of $n - k$ pixels has $(k + 1)^2$ places. With $K = n - n_{min}$ sizes that makes
#
# $$\sum_{k=1}^{K} (k + 1)^2. \tag{13.4}$$
#
# In the contest $K = 32$, and every draw can be flipped. Digits on 28 pixels, shrunk by
# the contest's shares, have $K = 3$. On 8 pixels those shares would leave one size and
# four places. So there the digits shrink further than in the contest, with $K = 2$.
# That makes 29 different draws on 28 pixels and 13 on 8. Both are fewer than the 30
# that are averaged: what is called random here is little more than a fixed average.

# %%
places = {K: sum((k + 1) ** 2 for k in range(1, K + 1)) for K in (32, n - least)}
many = defended(lambda x: x, draws=1000)
pairs = {
    (a.tobytes(), b.tobytes()) for a, b in zip(many.rows, many.columns, strict=True)
}
assert len(pairs) == places[n - least]
measured("E10", "different draws in the contest, without flips", places[32], form="g")
measured("E10", "different draws here", len(pairs), form="g")

# %% [markdown]
# ## Two networks
#
# Both are small CNNs, trained in the same way and equally long. The *plain* one sees
# each training image three times per epoch. The *taught* one sees it once as it is and
# twice by a draw. The contest's networks were not taught: ImageNet shows objects at all
# places and sizes.


# %%
def network():
    """Two convolutions of stride 2 and one linear layer."""
    small = n // 4
    start = rng(5)
    return Sequential(
        Conv2D(1, 12, 3, stride=2, padding="same", rng=start, init="he"),
        ReLU(),
        Conv2D(12, 24, 3, stride=2, padding="same", rng=start, init="he"),
        ReLU(),
        Flatten(),
        Dense(24 * small * small, 10, rng=start),
    )


def scattered(x, offset):
    """The images, each by another of 200 draws."""
    draws = defended(lambda x: x, draws=200, offset=offset)
    i = np.arange(len(x)) % 200
    A, B = draws.rows[i].astype(np.float32), draws.columns[i].astype(np.float32)
    return asarray(np.einsum("nij,njkc,nlk->nilc", A, to_numpy(x), B, optimize=True))


few = by_data(sample=3000, digits=1437, mnist=6000)
x_train, y_train = d.x_train[:few], d.y_train[:few]
how = {"batch_size": 32, "optimizer": Adam(0.003), "rng": seed(6)}
how["epochs"] = by_data(sample=3, digits=15)
for_plain = augment(x_train, y_train, x_train, x_train)
for_taught = augment(x_train, y_train, scattered(x_train, 7), scattered(x_train, 8))
plain = trained("plain", network(), *for_plain, **how)
how["optimizer"] = Adam(0.003)
taught = trained("taught", network(), *for_taught, **how)
defense = defended(taught)
reading = {
    "plain network": plain,
    "plain network behind the defense": defended(plain),
    "taught network": taught,
    "taught network behind the defense": defense,
}
right = {
    name: accuracy(model, d.x_test[:500], d.y_test[:500])
    for name, model in reading.items()
}
for name, share in right.items():
    measured("E10", f"accuracy on clean images, {name}", share, form=".1%")
assert right["taught network behind the defense"] > 0.85

# %% [markdown]
# ## The average over draws
#
# Let $T_d$ be draw $d$ of $D$ draws, and $p_y$ the network's probability for label $y$.
# The defense answers with the mean of the probabilities:
#
# $$\bar p_y(x) = \frac{1}{D} \sum_{d=1}^{D} p_y(T_d x). \tag{13.5}$$


# %%
def average_by_hand(model, x, draws):
    p = 0
    for A, B in draws:
        how = {"optimize": True}  # two matrix products, not one sum over j and k
        seen = np.einsum("ij,njkc,lk->nilc", A, to_numpy(x), B, **how).astype(x.dtype)
        p = p + probabilities(model, seen)
    return p / len(draws)


mean = average_by_hand(taught, x, by_hand)
np.testing.assert_allclose(mean, probabilities(defense, x), atol=1e-5)
other = predict(defended(taught, offset=8), x)
same = float((predict(defense, x) == other).mean())
measured("E10", "same label from 30 other draws", same, form=".1%")
assert same > 0.95

# %% [markdown]
# What is the gradient of (13.5)? With the log-odds margin $m$ of lesson 1, $p_y =
# \sigma(m)$, and the sigmoid has the derivative $\sigma' = \sigma (1 - \sigma)$. So
#
# $$\nabla_x \bar p_y = \frac{1}{D} \sum_d w_d \, \nabla_x m(T_d x), \qquad
# w_d = p_y(T_d x) \, \bigl( 1 - p_y(T_d x) \bigr). \tag{13.6}$$
#
# Where the network is sure of a draw, $p_y$ is nearly 0 or 1. Then the mean (13.5) just
# counts votes, and the weight $w_d$ is nearly 0: a small step does not change a vote.
# Only draws that are undecided pull. The mean of the *logits* instead,
#
# $$\bar z(x) = \frac{1}{D} \sum_d z(T_d x), \tag{13.7}$$
#
# has the gradient of every draw with the same weight. An attacker may follow either.

# %%
one = x[:1]
label = int(predict(defense, one)[0])
pulls = 0
for pair in by_hand:
    A, B = (matrix.astype(x.dtype) for matrix in pair)

    def through(x, A=A, B=B):
        """The margin of ``label`` for one draw of one gray image."""
        seen = A @ ops.reshape(x, (n, n)) @ B.T
        z = taught(ops.reshape(seen, (1, n, n, 1)))
        return ops.sum(margin(z, np.array([label])))

    p = 1 / (1 + np.exp(-float(through(one))))
    pulls = pulls + p * (1 - p) * to_numpy(grad(through, one)) / len(by_hand)
direct = grad(lambda x: ops.sum(ops.softmax(defense(x))[:, label]), one)
size = float(abs(direct).max())
np.testing.assert_allclose(pulls, to_numpy(direct), atol=1e-3 * size + 1e-7)
p = probabilities(taught, defense.views(x).reshape(-1, *shape)).max(axis=1)
idle = float((p * (1 - p) < 0.01).mean())
measured("E10", "draws with a weight below 0.01", idle, form=".0%")
assert idle > 0.25

# %% [markdown]
# ## An attacker who is not told, and one who is
#
# The first attacks the network itself, with PGD. The image is fitted to one place, and
# the network looks at others.
#
# The second cannot know the defender's draws, but can make some too. The image is to
# fool the network *on average* over draws, so follow the gradient of the average:
#
# $$x \leftarrow \Pi \Bigl( x + \alpha \, \mathrm{sign} \, \nabla_x \, \mathbb{E}_T [m(T
# x)] \cdot (-1) \Bigr), \qquad \mathbb{E}_T [\cdot] \approx \text{mean over the
# attacker's own draws}, \tag{13.8}$$
#
# with the projection $\Pi$ of lesson 4. This is *expectation over transformation*
# (Athalye et al. 2018). The average is a function like any other, so it is `pgd` on
# (13.7) with draws from another seed. The attack must go on after its first success: an
# image that has just fooled ten draws has not yet fooled thirty others. Figure 13.2
# compares the two attackers.

# %%
attacker = defended(taught, draws=10, offset=2, average="logits")
epsilons = (0.05, 0.1, 0.15)
to_the_end = {"steps": 10, "random_start": False, "early_stop": False}


def attacked(source):
    """What PGD on ``source`` makes of the images, for each ε."""
    return {eps: pgd(source, x, y=y, eps=eps, **to_the_end) for eps in epsilons}


def left(model, made):
    """The share that ``model`` reads right, for each ε."""
    return [robust_accuracy(model, x, y, images) for images in made.values()]


on_plain, not_told, told = (attacked(f) for f in (plain, taught, attacker))
lines = {
    "plain network, no defense": left(plain, on_plain),
    "taught network, no defense": left(taught, not_told),
    "defense, attacker not told": left(defense, not_told),
    "defense, attacker told": left(defense, told),
}
start = {
    name: accuracy(model, x, y)
    for name, model in zip(lines, (plain, taught, defense, defense), strict=True)
}
for name, values in lines.items():
    for eps, value in zip(epsilons, values, strict=True):
        measured("E10", f"{name}, PGD, ε = {eps}", value, form=".1%")
curves = {
    name: ((0, *epsilons), (start[name], *values)) for name, values in lines.items()
}
save(
    plotting.curves(curves, xlabel="ε", ylabel="accuracy under PGD", percent=True),
    "knowledge",
    alt="Four falling curves of accuracy against epsilon; that of the defense against "
    "an attacker who is not told is the highest",
    caption=f"Accuracy on {len(x)} images under PGD of ten steps. The gap between the "
    f"two curves of the defense is what the attacker's ignorance was worth.",
)

# %% [markdown]
# Is (13.8) worth its price, ten times the passes through the network? Figure 13.3
# compares attackers of the same defense at one $\varepsilon$: with one draw; with ten,
# but stopping at the first success; with ten and the mean of the probabilities; and
# with ten as in (13.8).

# %%
eps = 0.1
every = defended(taught, draws=10, offset=2)
attackers = {
    "not told": not_told[eps],
    "one draw": pgd(defended(taught, draws=1, offset=2), x, y=y, eps=eps, **to_the_end),
    "ten draws, first success": pgd(
        attacker, x, y=y, eps=eps, **(to_the_end | {"early_stop": True})
    ),
    "ten draws, probabilities": pgd(every, x, y=y, eps=eps, **to_the_end),
    "ten draws": told[eps],
}
stays = {
    name: robust_accuracy(defense, x, y, result) for name, result in attackers.items()
}
for name, share in stays.items():
    measured("E10", f"right at ε = 0.1, attacker: {name}", share, form=".1%")
save(
    plotting.bars({"defense": stays}, ylabel="accuracy of the defense", percent=True),
    "price",
    alt="Bars, accuracy of the defense: "
    + ", ".join(f"{name} {share:.0%}" for name, share in stays.items()),
    caption="What stays right at ε = 0.1 against five attackers.",
)
assert stays["ten draws"] < stays["one draw"] - 0.05
assert stays["ten draws"] < stays["ten draws, first success"] - 0.03
assert stays["ten draws"] < stays["not told"] - 0.1
assert abs(stays["ten draws"] - stays["ten draws, probabilities"]) < 0.15

# %% [markdown]
# Averaging pays, and so does going on after the first success. Which mean is followed
# matters little here: PGD takes the *sign* of (13.6), which small weights do not change
# unless all of them vanish. (Exercise 13.4 makes them vanish.)
#
# ## Did the whole defense pay off?
#
# The defense is the draws and the training for them. So the fair yardstick is not the
# taught network without the draws. It is the plain network with nothing in front of it.

# %%
gains = {}
for i, size in enumerate(epsilons):
    ours = {name: values[i] for name, values in lines.items()}
    base = ours["plain network, no defense"]
    gains[size] = {
        "not told": ours["defense, attacker not told"] - base,
        "told": ours["defense, attacker told"] - base,
    }
    for name, gain in gains[size].items():
        what = f"accuracy gained over the plain network, ε = {size}, attacker {name}"
        measured("E10", what, gain, form="+.1%")
    print(
        f"ε = {size}: {base:.0%} without any defense, "
        f"{ours['defense, attacker told']:.0%} with it, if the attacker knows of it"
    )
assert gains[0.1]["not told"] > 0.1
assert gains[0.1]["told"] < gains[0.1]["not told"] - 0.1
assert gains[0.15]["told"] < 0.15
assert by_data(sample=gains[0.1]["told"] > 0.05, digits=gains[0.1]["told"] < 0.1)
behind = robust_accuracy(defended(plain), x, y, on_plain[0.1])
measured(
    "E10", "plain network behind the defense, ε = 0.1, not told", behind, form=".1%"
)

# %% [markdown]
# The document's "it works" holds for an attacker who is not told. For one who is told,
# see the numbers. On 8 by 8 pixels the answer is no: there is no gain, and often a
# loss, because the taught network is easier to attack than the plain one. On 28 by 28
# pixels the answer is: partly. Something is left up to $\varepsilon = 0.1$, and next to
# nothing at 0.15. And by (F.5) all of these are upper bounds: they only say what *this*
# attack leaves.
#
# What is random about an answer can be averaged away. The average is a network like any
# other, with a gradient like any other.
#
# ## Summary
#
# Resizing and padding are products with two matrices, so a random draw is a linear map
# of the image. The defense averages the network's answers over draws, which costs it
# thirty passes and the training for shrunken images. An attack that is not told of it
# loses much of its strength, because it is fitted to one place. An attack on the
# average over draws of its own gets most of that back.
#
# ## Exercises
#
# **13.1** (a line of code) Write the matrix of *nearest* resizing, where each new pixel
# is a copy of the old pixel that its center lies in.
#
# **13.2** (pencil and paper) Show that $A$ in (13.2) has rows that add up to 1. Why can
# a resized image never leave $[0, 1]$?
#
# **13.3** (pencil and paper) Sum (13.4) to a formula, and check the contest's number.
#
# **13.4** (an experiment) Multiply the network's logits by 50, as in lesson 2. What
# becomes of the gradients of (13.5) and of (13.7)?
#
# **13.5** (an experiment) How many draws does an attacker need? Plot the accuracy that
# is left against 1, 2, 5, 10 and 20 draws.
#
# **13.6** (open) Replace resizing by a change that an average cannot undo. Is there
# one?
#
# ## Read on
#
# - C. Xie, J. Wang, Z. Zhang, Z. Ren and A. Yuille, *Mitigating adversarial effects
#   through randomization*, 2018, arXiv:1711.01991.
# - A. Athalye, L. Engstrom, A. Ilyas and K. Kwok, *Synthesizing robust adversarial
#   examples*, 2018, arXiv:1707.07397: expectation over transformation.
# - A. Athalye, N. Carlini and D. Wagner, *Obfuscated gradients give a false sense of
#   security*, 2018, arXiv:1802.00420.
