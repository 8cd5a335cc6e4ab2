# %% [markdown]
# # Inside the network: where an attack does its work
#
# Mirrors: D7, D8.
#
# Before: lessons 2 and 4, the frame; the singular value decomposition. Minutes: 45.
#
# You will:
#
# - look at the numbers that the last layer is given, by PCA and by t-SNE, both written
#   out;
# - learn what such a map may be asked, and ask the rest in all dimensions;
# - follow a change through the network, layer by layer: that of an attack, that of an
#   attack that fails, and that of noise.
#
# Document D opens the network and reports two things. Adversarial examples "are jumping
# from the original cluster to targeted class's cluster". And the change "explodes"
# through the layers, while in some unsuccessful attacks it "tapers off". Both are
# tested here. In the terms of the frame: targeted, white box, no pixel changes by more
# than $\varepsilon$.

# %%
import numpy as np
from lesson import by_data, dataset, measured, rng, save, trained_cnn, trained_mlp
from matplotlib.figure import Figure

from minadv import plotting, to_numpy
from minadv.activations import activation_maps, relative_change
from minadv.attacks.iterative_fgsm import iterative_fgsm
from minadv.backend import like
from minadv.embedding import (
    conditional_probabilities,
    joint_probabilities,
    kl_divergence,
    kl_gradient,
    pca,
    tsne,
)
from minadv.evaluation import predict

d = dataset()
model, other = trained_cnn(), trained_mlp()
x, y = d.x_test[:450], to_numpy(d.y_test[:450])
where = np.flatnonzero((y == 2) & (to_numpy(predict(model, x)) == 2))
twos = x[where]
eps = by_data(sample=0.25, digits=0.4)  # on few pixels each must change by more
sixes = iterative_fgsm(model, twos, target=6, eps=eps, steps=20)
print(f"{len(twos)} twos, ε = {eps}")
measured("D7", "twos read as six", sixes.success.mean(), form=".0%")
assert sixes.success.mean() > 0.8

# %% [markdown]
# ## The representation (D7)
#
# All layers but the last turn the image $x$ into a vector $h(x)$, the *representation*.
# The last layer is linear: its score of class $k$ is $z_k = w_k \cdot h + b_k$. So the
# network reads a six rather than a two exactly if $h$ lies on one side of a plane,
#
# $$(w_6 - w_2) \cdot h + b_6 - b_2 > 0. \tag{15.1}$$
#
# A successful attack has taken $h$ across this plane. That is certain. Whether $h$ now
# lies *among* the sixes is another question, since a plane has much empty space on
# either side.

# %%
represent = model[:-1]  # all layers but the last


def representation(x):
    """What the last layer is given, (N, D)."""
    return to_numpy(represent(x), dtype=float)


clean, after = representation(x), representation(sixes.x_adv)
before = clean[where]
print(f"{clean.shape[1]} numbers per image")

# %% [markdown]
# ## Principal components
#
# Which direction $u$ of length 1 shows most of how the $N$ vectors differ? Center them,
# and write them as the rows of a matrix $X$. Their coordinates along $u$ are $Xu$, with
# variance
#
# $$\frac{\lVert X u \rVert^2}{N - 1} = u^\top C u, \qquad C = \frac{X^\top X}{N - 1}.
# \tag{15.2}$$
#
# The *singular value decomposition* is $X = U S V^\top$, with orthonormal columns in
# $U$ and $V$ and $S$ diagonal. Insert it:
#
# $$C = \frac{V S U^\top U S V^\top}{N - 1} = V \frac{S^2}{N - 1} V^\top, \qquad
# u^\top C u = \sum_k \frac{s_k^2}{N - 1} (v_k \cdot u)^2. \tag{15.3}$$
#
# The numbers $(v_k \cdot u)^2$ are shares: they sum to at most 1. So the sum is largest
# if the whole share goes to the largest $s_k$. The first direction is $v_1$, and the
# next one, at a right angle to it, is $v_2$.


# %%
def pca_by_hand(data, k):
    """Mean, the k directions of most variance, and each one's share of the variance."""
    mean = data.mean(axis=0)
    _, s, vt = np.linalg.svd(data - mean, full_matrices=False)
    return mean, vt[:k], (s**2)[:k] / (s**2).sum()


mean, directions, shares = pca_by_hand(clean, 2)
axes = pca(clean, 2)
same = np.abs((directions * axes.components).sum(axis=1))  # up to the sign of each
np.testing.assert_allclose(same, 1, atol=1e-6)
np.testing.assert_allclose(shares, axes.explained_variance_ratio, atol=1e-6)
u = rng(3).normal(size=(1000, clean.shape[1]))
u /= np.linalg.norm(u, axis=1, keepdims=True)
along = ((clean - mean) @ u.T).var(axis=0, ddof=1)
assert along.max() < axes.explained_variance[0]  # no random direction shows more
kept = float(shares.sum())
measured("D7", "variance on the first two axes", kept, form=".0%")
assert kept < 0.75

# %% [markdown]
# The adversarial representations are put on the axes of the clean ones, in Figure 15.1.


# %%
def drawn(points, adversarial):
    """Clean points by class; ten attacks as arrows from the two to its attack."""
    return plotting.scatter(
        points,
        y,
        class_names=d.classes,
        marked={"attacked": adversarial},
        arrows=(points[where[:10]], adversarial[:10]),
    )


save(
    drawn(axes.transform(clean), axes.transform(after)),
    "pca",
    alt="Points of ten digits in overlapping clouds; circles mark the attacked twos; "
    "ten arrows lead from a two to its attack",
    caption=f"Principal components of the representation: {kept:.0%} of the variance. "
    f"Circles are the twos after the attack. Arrows, for ten of them, start at the "
    f"original.",
)

# %% [markdown]
# ## Ask in all dimensions
#
# Two axes hide the rest of the variance. So ask about distances in all dimensions. How
# far is each point from the mean two and from the mean six? And which clean images are
# its ten nearest ones, its own original left out?


# %%
def squared_distances(a, b):
    """|a - b|² = |a|² - 2 a·b + |b|² for all pairs of rows."""
    return (a**2).sum(axis=1)[:, None] - 2 * a @ b.T + (b**2).sum(axis=1)


def neighbors(points, k=10):
    """Shares of twos and of sixes among the k nearest clean images."""
    squared = squared_distances(points, clean)
    squared[np.arange(len(points)), where] = np.inf  # not the original itself
    near = y[squared.argsort(axis=1)[:, :k]]
    return {digit: float((near == digit).mean()) for digit in (2, 6)}


def far(points, digit):
    """The median distance to the mean of a clean class."""
    middle = clean[y == digit].mean(axis=0)
    return float(np.median(np.linalg.norm(points - middle, axis=1)))


near, distance = {}, {}
for name, points in (("before", before), ("after", after)):
    near[name] = neighbors(points)
    for digit in (2, 6):
        distance[name, digit] = far(points, digit)
        what = f"distance to the mean {digit}, {name} the attack"
        measured("D7", what, distance[name, digit], form=".1f")
        what = f"ten nearest clean images that are a {digit}, {name} the attack"
        measured("D7", what, near[name][digit], form=".0%")
assert distance["after", 6] < 0.85 * distance["before", 6]  # towards the sixes
assert near["before"][2] > 0.5
assert near["before"][6] < 0.1
assert near["after"][6] > near["before"][6] + 0.05

# %% [markdown]
# On all data, the attack moves the representation a good way towards the sixes. Where
# it ends depends on the data. On 8 by 8 pixels, most of the nearest clean images are
# then sixes: "jumping" is right. (But with this $\varepsilon$ many of these images
# resemble a six in their pixels as well, see exercise 15.5.) On the 28 by 28 pixels of
# the sample, fewer than half are sixes. There the attack has crossed the plane (15.1)
# and stopped on the way. The lines above say so for the run that you are reading.

# %%
if by_data(sample=True, digits=False):
    assert near["after"][6] < 0.5
else:
    assert near["after"][6] > 0.7

# %% [markdown]
# ## t-SNE: neighborhoods instead of axes
#
# PCA keeps large distances. *t-SNE* keeps neighbors. It says for all pairs how likely
# one point picks the other one as its neighbor, in all dimensions and on the map, and
# moves the points of the map until the two agree. In all dimensions, with a Gaussian
# around each point:
#
# $$p_{j|i} = \frac{e^{-\beta_i \lVert h_i - h_j \rVert^2}}{\sum_{k \ne i} e^{-\beta_i
# \lVert h_i - h_k \rVert^2}}, \qquad p_{ij} = \frac{p_{j|i} + p_{i|j}}{2N}.
# \tag{15.4}$$
#
# The width $\beta_i$ is chosen so that every point has the same effective number of
# neighbors, the *perplexity* $2^{H_i}$, where $H_i = -\sum_j p_{j|i} \log_2 p_{j|i}$.
# It falls as $\beta_i$ grows, so bisection finds it. On the map, with a kernel that
# falls more slowly:
#
# $$k_{ij} = \frac{1}{1 + \lVert y_i - y_j \rVert^2}, \qquad Z = \sum_{k \ne l} k_{kl},
# \qquad q_{ij} = \frac{k_{ij}}{Z}. \tag{15.5}$$
#
# The map is judged by the *Kullback-Leibler divergence*, which is 0 only if all $q_{ij}
# = p_{ij}$:
#
# $$\mathrm{KL} = \sum_{i \ne j} p_{ij} \log \frac{p_{ij}}{q_{ij}} = \text{const} -
# \sum_{i \ne j} p_{ij} \log k_{ij} + \log Z. \tag{15.6}$$
#
# (The $p_{ij}$ sum to 1, so $\log Z$ stands alone.) Its gradient takes three steps.
# Write $D_{ij} = \lVert y_i - y_j \rVert^2$. Then $\partial \log k_{ij} / \partial
# D_{ij} = -k_{ij}$ and $\partial Z / \partial D_{ij} = -k_{ij}^2$, so
#
# $$\frac{\partial\, \mathrm{KL}}{\partial D_{ij}} = p_{ij} k_{ij} - \frac{k_{ij}^2}{Z}
# = (p_{ij} - q_{ij})\, k_{ij}. \tag{15.7}$$
#
# The point $y_i$ stands in $D_{ij}$ and in $D_{ji}$, each with the derivative
# $2 (y_i - y_j)$. Both sums are equal, since $p$ and $q$ are symmetric:
#
# $$\frac{\partial\, \mathrm{KL}}{\partial y_i} = 4 \sum_j (p_{ij} - q_{ij})\, k_{ij}\,
# (y_i - y_j). \tag{15.8}$$
#
# A descent moves $y_i$ towards $y_j$ if they are closer in all dimensions than on the
# map ($p_{ij} > q_{ij}$), and away from it if not.


# %%
def p_by_hand(h, perplexity):
    """(15.4), each width by bisection."""
    D = squared_distances(h, h)
    p = np.zeros_like(D)
    for i in range(len(h)):
        others = np.arange(len(h)) != i
        low, high = 0.0, 1e6 / D[i, others].mean()
        for _ in range(100):
            beta = (low + high) / 2
            e = np.exp(-beta * (D[i, others] - D[i, others].min()))
            e /= e.sum()
            entropy = -(e * np.log2(np.maximum(e, 1e-300))).sum()
            low, high = (
                (beta, high) if 2**entropy > perplexity else (low, beta)
            )  # too many neighbors: narrower
        p[i, others] = e
    return (p + p.T) / (2 * len(h))


def q_by_hand(flat):
    """(15.5): the kernel and the probabilities on the map."""
    k = 1 / (1 + ((flat[:, None] - flat[None]) ** 2).sum(axis=2))
    np.fill_diagonal(k, 0)
    return k, k / k.sum()


def kl_by_hand(p, flat):
    _, q = q_by_hand(flat)
    pairs = ~np.eye(len(p), dtype=bool)
    return float((p[pairs] * np.log(p[pairs] / q[pairs])).sum())


def gradient_by_hand(p, flat):
    k, q = q_by_hand(flat)
    pull = (p - q) * k
    return 4 * (pull.sum(axis=1)[:, None] * flat - pull @ flat)  # (15.8)


few = clean[:40]
p = p_by_hand(few, 10)
np.testing.assert_allclose(
    p, joint_probabilities(conditional_probabilities(few, 10)), atol=1e-6
)
flat = rng(4).normal(size=(len(few), 2))
assert abs(kl_by_hand(p, flat) - kl_divergence(p, flat)) < 1e-8
slope = gradient_by_hand(p, flat)
np.testing.assert_allclose(slope, kl_gradient(p, flat), atol=1e-10)
h = 1e-6
for i, axis in ((0, 0), (7, 1), (39, 0)):  # finite differences (lesson 0)
    step = np.zeros_like(flat)
    step[i, axis] = h
    difference = (kl_by_hand(p, flat + step) - kl_by_hand(p, flat - step)) / (2 * h)
    assert abs(difference - slope[i, axis]) < 1e-6
print("(15.8) agrees with the library and with finite differences")

# %% [markdown]
# The rest is gradient descent. The library's `tsne` adds what makes it quick: momentum,
# a step size per coordinate, and in the first steps $12\, p_{ij}$ for $p_{ij}$, so that
# clusters form. t-SNE has no rule for new points. So clean and attacked images are
# embedded together, in Figure 15.2.

# %%
everything = np.concatenate([clean, after])
start = pca(everything, 30).transform(everything).astype(np.float32)
result = tsne(start, steps=500)
flat = result.embedding
print(f"KL after 0, 50, 100, ... steps: {np.round(result.kl_history, 2)}")
assert result.kl < 0.5 * result.kl_history[0]
on_map = flat[: len(clean)], flat[len(clean) :]
close = squared_distances(*on_map[::-1]).argsort(axis=1)
seen = {k: float((y[close[:, :10]] == k).mean()) for k in (2, 6)}
for k, share in seen.items():
    measured("D7", f"ten nearest on the t-SNE map that are a {k}", share, form=".0%")
save(
    drawn(*on_map),
    "tsne",
    alt=f"Clusters of digits; circles mark the attacked twos; of the ten points that "
    f"are nearest to a circle, {seen[2]:.0%} are twos and {seen[6]:.0%} are sixes",
    caption=f"t-SNE of clean and attacked images together. Of the ten clean points "
    f"nearest to an attacked two, its own original included, {seen[2]:.0%} are twos "
    f"and {seen[6]:.0%} sixes. "
    f"Neighbors mean something here; distances between clusters do not.",
)

# %% [markdown]
# The map also shows what the numbers did not say: attacked images are neighbors of each
# other. They come from one network, one target and one rule, and have more in common
# than with either digit.

# %%
squared = squared_distances(after, everything)
squared[np.arange(len(after)), len(clean) + np.arange(len(after))] = np.inf
among = float((squared.argsort(axis=1)[:, :10] >= len(clean)).mean())
expected = len(after) / len(everything)
measured("D7", "ten nearest of all that are attacked, too", among, form=".0%")
assert among > 2 * expected

# %% [markdown]
# ## Layer by layer (D8)
#
# Let $a_\ell(x)$ be the answer of layer $\ell$, all its numbers in one vector. The
# *relative change* is
#
# $$\rho_\ell = \frac{\lVert a_\ell(x_{adv}) - a_\ell(x) \rVert_2}{\lVert a_\ell(x)
# \rVert_2}, \qquad a_0(x) = x. \tag{15.9}$$
#
# To say what is special about an attack, something else must be of the same size. Here
# are three changes of each two:
#
# - the *attack* on this network, where it succeeds: the label is no longer a two;
# - a *failed attack*: the same attack made on another network, that of lesson 2, and
#   shown to this one, where the label stays a two;
# - *noise*: random signs, scaled so that after clipping the Euclidean length of the
#   change is that of the attack on the same image.

# %%
eps = by_data(sample=0.25, digits=0.2)  # at 0.4 no attack on the digits fails
attacked = iterative_fgsm(model, twos, target=6, eps=eps, steps=20).x_adv
borrowed = iterative_fgsm(other, twos, target=6, eps=eps, steps=20).x_adv


def length(r):
    return np.sqrt((to_numpy(r, dtype=float) ** 2).sum(axis=(1, 2, 3)))


def signs_of_length(x, goal):
    """x plus random signs, clipped, at the Euclidean distance ``goal``: bisection."""
    x = to_numpy(x)
    signs = rng(5).choice(np.float32([-1, 1]), size=x.shape)
    low, high = np.zeros_like(goal), np.full_like(goal, 1.0)
    for _ in range(40):
        middle = (low + high) / 2
        z = np.clip(x + np.float32(middle)[:, None, None, None] * signs, 0, 1)
        short = length(z - x) < goal
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return like(z, twos)


noise = signs_of_length(twos, length(attacked - twos))
np.testing.assert_allclose(length(noise - twos), length(attacked - twos), rtol=1e-3)
read = {
    name: to_numpy(predict(model, z))
    for name, z in (("attack", attacked), ("failed", borrowed), ("noise", noise))
}
still = {name: float((label == 2).mean()) for name, label in read.items()}
for name, share in still.items():
    measured("D8", f"still read as two at this ε, {name}", share, form=".0%")
assert still["noise"] > still["attack"] + 0.5


# %%
def change_by_hand(x, x_adv):
    """(15.9) for the image and for every layer in turn, (N, 1 + layers)."""
    columns, a, b = [], x, x_adv
    for layer in (None, *model):
        if layer is not None:
            a, b = layer(a), layer(b)
        A, B = (to_numpy(v).reshape(len(v), -1) for v in (a, b))
        columns.append(np.linalg.norm(B - A, axis=1) / np.linalg.norm(A, axis=1))
    return np.stack(columns, axis=1)


np.testing.assert_allclose(
    change_by_hand(twos, attacked),
    to_numpy(relative_change(model, twos, attacked)),
    rtol=1e-3,
)

# %% [markdown]
# Figure 15.3 shows the median of $\rho_\ell$ in units of $\rho_0$. Above 1 the layers
# amplify the change, below 1 they damp it.

# %%
names = ["pixels", "conv 1", "conv 2", "conv 3", "logits"]
columns = [0, 2, 4, 6, len(model)]  # after the ReLU of each convolution
kinds = {
    "attack, succeeds": (attacked, read["attack"] != 2),
    "attack on another network, fails": (borrowed, read["failed"] == 2),
    "random signs": (noise, read["noise"] == 2),
}
growth = {}
for name, (z, which) in kinds.items():
    assert which.any(), f"no image of the kind: {name}"
    rho = change_by_hand(twos[which], z[which])[:, columns]
    growth[name] = np.median(rho / rho[:, :1], axis=0)
    print(f"{name}: {int(which.sum())} images, ρ₀ = {np.median(rho[:, 0]):.0%}")
    for layer, value in zip(names[1:], growth[name][1:], strict=True):
        measured("D8", f"{layer}, change over that of the pixels, {name}", value)
attack, failed, coins = (g[-1] for g in growth.values())
assert attack > 1.1
damped = growth["random signs"][1:4]  # after each convolution
assert damped.max() < 0.95
assert damped[-1] < 0.85
assert attack > 1.6 * coins
assert failed > 1.2 * coins
assert failed < 0.95 * attack
figure = plotting.curves(
    {name: (np.arange(5), values) for name, values in growth.items()},
    xlabel="layer",
    ylabel="relative change over that of the pixels",
)
figure.axes[0].set_xticks(range(5), names)
figure.axes[0].axhline(1, color="gray", linewidth=0.8)
save(
    figure,
    "depth",
    alt="Three lines from 1 at the pixels to the logits: the attack ends highest and "
    "above 1, the failed attack below it, and random signs lowest, below 1 after every "
    "convolution",
    caption=f"The relative change through the layers, $\\varepsilon = {eps}$. At the "
    f"logits: attack {attack:.2f}, failed attack {failed:.2f}, random signs "
    f"{coins:.2f} times that of the pixels.",
)

# %% [markdown]
# Document D's first claim holds: what the attack changes arrives at the logits
# amplified. The word "explodes" is strong for a factor of one to a few. Its second
# claim, that the change tapers off where an attack fails, holds clearly for *noise*,
# which no network was asked about. For an attack that fails it holds in a weaker form:
# less of the change arrives than from an attack that succeeds, and a good deal more
# than from noise. On the small digits even the failed attack is amplified. (The
# document says "in some unsuccessful attacks", and some are no more than that.) A
# change that stays below what the decision needs is not a change that vanished.
#
# ## Where the change is
#
# The document's picture shows for each place of a convolution the kernel that changed
# most, and Figure 15.4 shows ours:
#
# $$M_\ell = \max_k \bigl| a_{\ell k}(x_{adv}) - a_{\ell k}(x) \bigr|. \tag{15.10}$$


# %%
def maps(x, x_adv, layer):
    """(15.10): one number for each place."""
    a, b = (to_numpy(model[: layer + 1](v)) for v in (x, x_adv))
    return np.abs(b - a).max(axis=3)


rows = {"attack": attacked, "other network's": borrowed, "random signs": noise}
layers = {"conv 1": 1, "conv 2": 3, "conv 3": 5}
shown = {}
for row, z in rows.items():
    for column, layer in layers.items():
        shown[row, column] = maps(twos, z, layer)
        by_library = to_numpy(activation_maps(model, twos, z, layer=layer))
        np.testing.assert_allclose(shown[row, column], by_library, atol=1e-4)
peak = {key: float(np.median(m.max(axis=(1, 2)))) for key, m in shown.items()}
for (row, column), value in peak.items():
    print(f"{column}, largest change, median of all twos, {row}: {value:.2f}")
for column in ("conv 2", "conv 3"):
    assert peak["attack", column] > 1.15 * peak["random signs", column]

example = int(np.flatnonzero(read["attack"] != 2)[0])
figure = Figure(figsize=(7, 6.4), layout="constrained")
panels = figure.subplots(3, 3)
for line, row in zip(panels, rows, strict=True):
    for ax, column in zip(line, layers, strict=True):
        top = max(float(shown[r, column][example].max()) for r in rows)
        image = ax.imshow(shown[row, column][example], cmap="viridis", vmin=0, vmax=top)
        ax.set(xticks=[], yticks=[])
        if row == "attack":
            ax.set_title(column)
        if column == "conv 1":
            ax.set_ylabel(row)
for i in range(len(layers)):
    scale = panels[0, i].images[0]
    figure.colorbar(scale, ax=panels[:, i], orientation="horizontal", shrink=0.8)
save(
    figure,
    "maps",
    alt="Nine maps in three rows (attack, the other network's attack, random signs) "
    "and three columns (convolutions 1 to 3), bright where the activations change",
    caption="The largest change over all kernels at each place, for one two. Each "
    "column has one scale, at its foot. Deeper maps have fewer places.",
)

# %% [markdown]
# ## Summary
#
# The last layer is linear, so a successful attack has moved the representation across a
# plane. Whether it lands among the target's images is a question for distances in all
# dimensions, and the answer differs between 8 by 8 and 28 by 28 pixels. PCA keeps
# the directions of most variance, t-SNE keeps neighborhoods, and both can be written in
# a few lines. The layers amplify an attack's change, the convolutions damp
# noise of the same length, and an attack that fails fares between the two.
#
# ## Exercises
#
# **15.1** (a few lines) The first principal component of $N$ points in the plane: find
# it by trying 360 directions, and compare it with the SVD.
#
# **15.2** (pencil and paper) Show that the gradients (15.8) of all points sum to zero.
# Which symmetry of KL is behind it?
#
# **15.3** (an experiment) Run a plain descent with (15.8) on 60 points, without
# momentum and exaggeration. Does KL fall in every step?
#
# **15.4** (a few lines) How much of the way in $h$ goes along the normal $w_6 - w_2$ of
# the plane (15.1)? Compare with a random direction.
#
# **15.5** (open) Give the attack more $\varepsilon$ than it needs. From where on does
# it land among the sixes, and does it still look like a two?
#
# ## Read on
#
# - L. van der Maaten, G. Hinton: *Visualizing data using t-SNE*, Journal of Machine
#   Learning Research 9, 2008.
# - M. Wattenberg, F. Viégas, I. Johnson: *How to use t-SNE effectively*, Distill, 2016,
#   doi:10.23915/distill.00002.
# - F. Liao, M. Liang, Y. Dong, T. Pang, X. Hu, J. Zhu: *Defense against adversarial
#   attacks using high-level representation guided denoiser*, 2018, arXiv:1712.02976,
#   which measures how changes grow through the layers.
