# %% [markdown]
# # Guarantees: what no attack can change
#
# Mirrors: A7, B7.
#
# Before: the frame, lessons 1, 4 and 11. Minutes: 70.
#
# You will:
#
# - turn FGSM on a linear model around, and get the exact distance to the next label;
# - carry a box of images through a network, and prove that none of them is misread;
# - bound a ReLU by two lines, and carry the lines back to the pixels;
# - decide a tiny network exactly, and see why this does not work for a large one;
# - train a network so that it can be proved, and draw the sandwich: proved, true,
#   attacked.
#
# An attack that fails proves nothing. Perhaps the next one succeeds: that is how
# lesson 12 went. In the terms of the frame: goal untargeted; no pixel may change by
# more than $\varepsilon$ or leave $[0, 1]$. The attacker may be *anyone*, with any
# knowledge and any amount of time.

# %%
import warnings
from functools import partial

import numpy as np
from lesson import by_data, dataset, measured, save, seed, trained
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from minadv import Adam, models, pgd, plotting, to_numpy
from minadv.certify import certified, exact_radius, margin_bound
from minadv.defenses import IntervalLoss, mixed_loss
from minadv.evaluation import accuracy, logits, robust_accuracy
from minadv.layers import Dense, Flatten, ReLU, Sequential

d = dataset()
shape = d.x_train.shape[1:]
n = by_data(sample=3000, digits=1437, mnist=12_000)  # how many images to train on
x_train, y_train = d.x_train[:n], d.y_train[:n]
x, y = d.x_test[:300], d.y_test[:300]
eps = by_data(sample=0.1, digits=0.15)  # the radius of the L∞ ball
vectors, labels = to_numpy(x, dtype=float).reshape(len(x), -1), to_numpy(y)
everyone = np.arange(len(labels))
how = {"batch_size": 64, "rng": seed()}

# %% [markdown]
# ## Three numbers
#
# Call an image *safe* at $\varepsilon$ if every image of its ball is read as the true
# label. Three shares of the test images are of interest: those that are *proved* to be
# safe, those that *are* safe, and those on which an attack *failed*. What is proved is
# true, and what is safe cannot be attacked:
#
# $$\text{certified} \; \le \; \text{exact} \; \le \; \text{attacked}. \tag{18.1}$$
#
# Lessons 1 to 17 measured the right-hand side. The middle is what we want to know. This
# lesson builds the left-hand side.
#
# ## A linear model: all three are equal (A7)
#
# Document A attacks logistic regression by $x + \varepsilon \, \mathrm{sign}(w)$.
# Lesson 1 showed that no change of this size moves the logit further. Read that as a
# promise. Let the model be linear with logits $z_k = w_k \cdot x + b_k$. The label $y$
# loses against $j$ if $z_y - z_j$ falls below 0. A change $r$ with $|r_i| \le
# \varepsilon$ lowers this difference by at most (Hölder's inequality, 1.5)
#
# $$-(w_y - w_j) \cdot r \; \le \; \varepsilon \, \lVert w_y - w_j \rVert_1 \qquad
# \text{with equality at} \quad r = -\varepsilon \, \mathrm{sign}(w_y - w_j).
# \tag{18.2}$$
#
# So $y$ and $j$ tie exactly at $\varepsilon = (z_y - z_j) / \lVert w_y - w_j \rVert_1$.
# The nearest other label decides:
#
# $$\rho(x) = \min_{j \ne y} \frac{z_y - z_j}{\lVert w_y - w_j \rVert_1}.
# \tag{18.3}$$
#
# (For now pixels may leave $[0, 1]$, so that the formula stays short.) Below $\rho$ no
# attack succeeds, above it FGSM towards that label does. Check both.

# %%
linear = Sequential(Flatten(), Dense(int(np.prod(shape)), 10, rng=seed()))
more = {**how, "epochs": 10, "optimizer": Adam(0.005)}
linear = trained("linear", linear, x_train, y_train, **more)
w, b = (to_numpy(a, dtype=float) for a in (linear[1].weight, linear[1].bias))
z = vectors @ w + b
gaps = z[everyone, labels][:, None] - z  # z_y - z_j, (N, K)
slopes = np.abs(w.T[labels][:, :, None] - w).sum(axis=1)  # (N, K)
slopes[everyone, labels] = np.inf
others = np.where(np.isinf(slopes), np.inf, gaps / slopes)
rho, nearest = others.min(axis=1), others.argmin(axis=1)  # (18.3)
np.testing.assert_allclose(
    to_numpy(exact_radius(linear, x, y)), np.maximum(rho, 0), rtol=1e-9, atol=1e-12
)
right = rho > 0
direction = -np.sign(w.T[labels] - w.T[nearest])
for factor in (0.999, 1.001):
    moved = vectors + factor * rho[:, None] * direction
    turned = (moved @ w + b).argmax(axis=1) != labels
    assert (turned[right] == (factor > 1)).all()
print(f"median radius of the linear model: {np.median(rho[right]):.4f}")
measured("A7", "linear: accuracy", right.mean(), form=".1%")
measured("A7", "linear: median exact radius", np.median(rho[right]), form=".4f")

# %% [markdown]
# That is as good as it gets: one formula, and (18.1) holds with equality. With ReLUs
# between the layers there is no such formula. To decide one image exactly is
# NP-complete (Katz et al. 2017): every known algorithm takes, in the worst case, time
# that grows exponentially with the network. But a *lower* bound of the margin is cheap.
#
# ## Intervals
#
# Let a layer's inputs lie in a box: center $\mu$, radius $r \ge 0$, so $|a_i - \mu_i|
# \le r_i$. A linear layer sends the center to $W\mu + b$, and by the triangle
# inequality
#
# $$\bigl| (Wa + b) - (W\mu + b) \bigr|_k = \Bigl| \sum_i W_{ki} (a_i - \mu_i) \Bigr|
# \le \sum_i |W_{ki}| \, r_i . \tag{18.4}$$
#
# So the outputs lie in a box with center $W\mu + b$ and radius $|W| r$. ReLU never
# falls, so it maps the ends of an interval to the ends. Repeat from layer to layer:
# that is interval bound propagation. At the last layer ask for the margins $m_j = z_y -
# z_j$ at once (one for each label $j$; lesson 1 takes all $j$ together). Each is one
# linear function of the hidden values, with weights $c_j = W_y - W_j$:
#
# $$m_j \; \ge \; c_j \cdot \mu + b_y - b_j - |c_j| \cdot r . \tag{18.5}$$
#
# If all $m_j$ with $j \ne y$ stay positive, every image of the ball is read as $y$.
# Here is all of it. (The code multiplies by the weights from the right, `a @ w`.)


# %%
def weights_of(model):
    """The matrices and biases of a network of dense layers."""
    layers = [layer for layer in model if isinstance(layer, Dense)]
    pairs = ((layer.weight, layer.bias) for layer in layers)
    return [tuple(to_numpy(a, dtype=float) for a in pair) for pair in pairs]


def box(x, eps):
    """All images within eps, inside [0, 1]."""
    return np.clip(x - eps, 0, 1), np.clip(x + eps, 0, 1)


def margins_by_intervals(weights, low, high, y):
    """Lower bounds (N, K) of z_y - z_j for all images of the box [low, high] (N, D)."""
    *hidden, (w, b) = weights
    for v, c in hidden:
        mu, r = (low + high) / 2 @ v + c, (high - low) / 2 @ abs(v)  # (18.4)
        low, high = np.maximum(mu - r, 0), np.maximum(mu + r, 0)
    c = w.T[y][:, :, None] - w  # (N, H, K)
    mu, r = (low + high) / 2, (high - low) / 2
    m = (mu[:, None] @ c - r[:, None] @ abs(c))[:, 0]
    return m + b[y][:, None] - b  # (18.5)


def least(m, y):
    """The least margin against another label, (N,)."""
    m = m.copy()
    m[np.arange(len(y)), y] = np.inf
    return m.min(axis=1)


regular = models.mlp(shape, rng=seed())
regular = trained(
    "regular", regular, x_train, y_train, epochs=by_data(sample=6, digits=16), **how
)
weights, small = weights_of(regular), eps / 5
intervals = margins_by_intervals(weights, *box(vectors, small), labels)
by_library = margin_bound(regular, x, y, eps=small, method="intervals")
lost = least(intervals, labels) - to_numpy(by_library)  # to rounding, see below
assert 0 <= lost.min() <= lost.max() < 0.05
shares = {
    "proved by intervals": float((least(intervals, labels) > 0).mean()),
    "PGD failed": robust_accuracy(
        regular, x, y, pgd(regular, x, y=y, eps=small, rng=seed(1))
    ),
}
for name, share in shares.items():
    measured("B7", f"regular, a fifth of ε: {name}", share, form=".1%")
assert shares["proved by intervals"] < shares["PGD failed"] - 0.1

# %% [markdown]
# At a fifth of our $\varepsilon$ there is a wide gap between proof and attack. What
# makes it wide? Intervals forget that all values come from the *same* image. Two hidden
# units may rise together, so that their difference stays small. The box allows one to
# be at its top while the other is at its bottom.
#
# ## Lines
#
# Keep the values as functions of the image. A linear layer keeps linear functions
# linear. Only ReLU bends, so put it between two lines. Let its input lie in $[l, u]$
# with $l < 0 < u$. ReLU is convex, so the chord through both ends lies above it, and
# any line $\alpha z$ with $0 \le \alpha \le 1$ lies below:
#
# $$\alpha z \; \le \; \max(z, 0) \; \le \; s z + t, \qquad s = \frac{u}{u - l}, \quad
# t = -s \, l . \tag{18.6}$$
#
# (At $z = l$ the chord is 0, at $z = u$ it is $u$.) Choose $\alpha = 1$ if $u \ge -l$,
# else 0: it leaves the smaller area. If $l \ge 0$ or $u \le 0$, ReLU is itself a line.
# Figure 18.1 shows both.

# %%
ends = (-1.0, 2.0)
z = np.linspace(*ends, 61)
slope = ends[1] / (ends[1] - ends[0])
figure = Figure(figsize=(7.2, 3), layout="constrained")
for ax, title in zip(figure.subplots(1, 2), ("interval", "lines"), strict=True):
    below, above = (0 * z, 0 * z + ends[1])
    if title == "lines":
        below, above = z, slope * (z - ends[0])
    ax.fill_between(z, below, above, alpha=0.25, color="tab:blue")
    ax.plot(z, np.maximum(z, 0), color="black")
    ax.set(title=title, xlabel="z, what the ReLU is given", xticks=ends)
    ax.set(ylabel="what it returns", yticks=[-1, 0, 2], ylim=(-1.2, 2.4))
save(
    figure,
    "relu",
    alt="ReLU between minus 1 and 2, twice. Left a rectangle holds it. Right a "
    "slim triangle between two slanted lines holds it, a quarter as large",
    caption="What is known of a ReLU (black) with an input in [−1, 2]: an interval, or "
    "the strip between the lines of (18.6). The strip keeps the link between input and "
    "output, and has a quarter of the area.",
)

# %% [markdown]
# Now go *backward*. The margin is $m_j = c_j \cdot a + b_y - b_j$, $a$ being the
# hidden values. Where a weight is positive, the least value comes from the lower line,
# where it is negative from the upper one. Split $c = c^+ + c^-$ into its positive and
# negative part:
#
# $$c \cdot a \; \ge \; \sum_k \bigl( c^+_k \alpha_k + c^-_k s_k \bigr) z_k + \sum_k
# c^-_k t_k . \tag{18.7}$$
#
# Insert $z = W x + b$: the right-hand side is a linear function $g \cdot x + h$ of the
# image. Its least value on the box is known as for any linear model:
#
# $$m_j \; \ge \; \sum_i \bigl( g^+_i \, x^{low}_i + g^-_i \, x^{high}_i \bigr) + h .
# \tag{18.8}$$
#
# This is CROWN (Zhang et al. 2018). With more layers one goes back through each of them
# in the same way. Here it is for one hidden layer.


# %%
def margins_by_lines(weights, low, high, y):
    """Lower bounds (N, K) of z_y - z_j on the box, by backward substitution."""
    (v, c), (w, b) = weights
    mu, r = (low + high) / 2 @ v + c, (high - low) / 2 @ abs(v)
    l, u = mu - r, mu + r
    bent = (l < 0) & (u > 0)
    s = np.where(bent, u / np.where(bent, u - l, 1), l >= 0)  # (18.6)
    t = np.where(bent, -s * l, 0)
    alpha = np.where(bent, u >= -l, l >= 0)
    out = w.T[y][:, None] - w.T  # (N, K, H), the weights c_j
    up, down = np.maximum(out, 0), np.minimum(out, 0)
    a = up * alpha[:, None] + down * s[:, None]  # (18.7)
    h = (down @ t[:, :, None])[..., 0] + a @ c + b[y][:, None] - b
    g = a @ v.T  # (N, K, D)
    ends = np.maximum(g, 0) @ low[:, :, None] + np.minimum(g, 0) @ high[:, :, None]
    return ends[..., 0] + h  # (18.8)


lines = margins_by_lines(weights, *box(vectors, small), labels)
better = least(np.maximum(lines, intervals), labels)  # the library takes both
by_library = to_numpy(margin_bound(regular, x, y, eps=small))
assert 0 <= (better - by_library).min() <= (better - by_library).max() < 0.05
share = float((by_library > 0).mean())
measured("B7", "regular, a fifth of ε: proved by lines", share, form=".1%")
assert share > shares["proved by intervals"] + 0.1
assert share <= shares["PGD failed"]

# %% [markdown]
# The same network, the same images, the same $\varepsilon$: only the proof is better.
# What is not proved may still be safe.
#
# **Rounding.** A proof about real numbers says nothing yet about a computer's numbers.
# A sum of $n$ products in floating point depends on the order of the sum. It is wrong
# by up to $n u \sum |w_i a_i|$, to first order in $u$, with $u = 2^{-24}$ in float32.
# The library allows for this in every bound, layer by layer. So a bound holds for the
# network as real numbers *and* as computed. Look at $\varepsilon = 0$, where only
# rounding is left.

# %%
one_by_one = np.concatenate([to_numpy(regular(x[i : i + 1])) for i in range(len(x))])
together = to_numpy(logits(regular, x))
moved = np.abs(together - one_by_one).max()
gap = least(together[everyone, labels][:, None] - together, labels)
charged = gap - to_numpy(margin_bound(regular, x, y, eps=0.0))
print(f"alone or in a batch, the logits differ by up to {moved:.1e}")
print(f"the bounds allow for {charged.min():.1e} to {charged.max():.1e}")
assert charged.min() > 2 * moved

# %% [markdown]
# ## Exact, for a tiny network
#
# Where a box cannot be proved, split it. Halve it along each axis and try again: small
# boxes have tight bounds. If the center of a box is misread, the image is *turned*, and
# we have the proof of that. Else go on until every box is proved. This decides every
# image (but for exact ties), and needs no attack.
#
# Let an image have two pixels: how much ink a three or an eight has in the upper and in
# the lower part of its left half. An eight has more.


# %%
def two_pixels(images, names):
    """Threes (0) and eights (1) as images of two pixels, (N, 1, 2, 1)."""
    chosen = (names == 3) | (names == 8)
    some, rows = images[chosen], images.shape[1] // 2
    left = some[:, :, : images.shape[2] // 2]
    ink = [
        to_numpy(part).mean(axis=(1, 2, 3)) for part in (left[:, :rows], left[:, rows:])
    ]
    tiny = np.clip(2 * np.stack(ink, axis=1), 0, 1).astype(np.float32)
    return tiny.reshape(-1, 1, 2, 1), (to_numpy(names[chosen]) == 8).astype(int)


def decide(weights, x, y, eps, most=14):
    """Split until decided: 1 safe, -1 turned, 0 not yet; and the proved boxes."""
    low, high = box(x[None], eps)
    proved = []
    for _ in range(most):
        of = np.full(len(low), y)
        center = (low + high) / 2
        if (margins_by_intervals(weights, center, center, of).min(axis=1) < 0).any():
            return -1, proved  # m_y is 0, so the least is negative where y loses
        safe = least(margins_by_intervals(weights, low, high, of), of) > 0
        proved += list(zip(low[safe], high[safe], strict=True))
        low, high, center = low[~safe], high[~safe], center[~safe]
        if not len(low):
            return 1, proved
        corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], bool)
        parts = [np.where(c, center, low) for c in corners]
        ends = [np.where(c, high, center) for c in corners]
        low, high = np.concatenate(parts), np.concatenate(ends)
    return 0, proved


tiny_x, tiny_y = two_pixels(d.x_train[:10_000], d.y_train[:10_000])
sizes = zip((2, 16, 16), (16, 16, 2), strict=True)
dense = [Dense(*size, rng=seed(i), init="he") for i, size in enumerate(sizes)]
tiny = Sequential(Flatten(), dense[0], ReLU(), dense[1], ReLU(), dense[2])
more = {**how, "epochs": by_data(sample=20, digits=60), "optimizer": Adam(0.01)}
tiny = trained("tiny", tiny, tiny_x, tiny_y, **more)
few_x, few_y = (part[:60] for part in two_pixels(d.x_test, d.y_test))
pairs, tiny_weights = few_x.reshape(-1, 2).astype(float), weights_of(tiny)
radii = np.linspace(0, 0.3, 11)
found: dict = {"proved by intervals": [], "proved by lines": [], "exact": []}
found |= {"PGD failed": []}
undecided = 0
for radius in radii:
    attack = {"eps": float(radius), "steps": 20, "restarts": 5, "rng": seed(2)}
    per_image = {
        "proved by intervals": certified(
            tiny, few_x, few_y, eps=float(radius), method="intervals"
        ),
        "proved by lines": certified(tiny, few_x, few_y, eps=float(radius)),
    }
    verdict = [
        decide(tiny_weights, *one, radius)[0] for one in zip(pairs, few_y, strict=True)
    ]
    per_image["exact"] = np.array(verdict) > 0
    with warnings.catch_warnings():  # PGD says so where the network is flat
        warnings.simplefilter("ignore")
        per_image["PGD failed"] = ~pgd(tiny, few_x, y=few_y, **attack).success
    undecided += verdict.count(0)
    for name, images in per_image.items():
        found[name].append(images)
    for inner, outer in zip(found.values(), list(found.values())[1:], strict=False):
        assert not (inner[-1] & ~outer[-1]).any()  # (18.1), image by image
curves = {name: np.mean(images, axis=1) for name, images in found.items()}
measured("B7", "tiny network: accuracy", accuracy(tiny, few_x, few_y), form=".1%")
for name, values in curves.items():
    measured("B7", f"tiny network: {name}, mean over ε", values.mean(), form=".1%")
figure = plotting.curves(
    {name: (radii, values) for name, values in curves.items()},
    xlabel="ε",
    ylabel="images",
    percent=True,
)
save(
    figure,
    "tiny",
    alt="Four falling curves against epsilon. The lowest is proved by intervals, then "
    "proved by lines, then exact, and PGD failed is on top of exact or just above it",
    caption="The sandwich for a network with two pixels: proved by intervals and by "
    "lines, decided by splitting, and attacked. Where the upper two coincide, PGD with "
    "five restarts missed nothing.",
)
assert undecided <= 2
assert (curves["exact"] - curves["proved by intervals"]).max() > 0.1
assert (curves["PGD failed"] - curves["exact"]).max() < 0.1
assert curves["proved by lines"].mean() > curves["proved by intervals"].mean() + 0.02

# %% [markdown]
# Image by image the order of (18.1) holds. With two pixels PGD misses hardly anything,
# and the proofs miss much (Figure 18.2). How many boxes did one image take? Figure 18.3
# shows them.

# %%
counts = {}
for i, (pair, label) in enumerate(zip(pairs, few_y, strict=True)):
    verdict, proved = decide(tiny_weights, pair, label, 0.15)
    counts[i] = len(proved) if verdict > 0 else 0
example = max(counts, key=counts.__getitem__)
low, high = box(pairs[example], 0.15)
grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 201)] * 2), axis=-1).reshape(
    -1, 1, 2, 1
)
read = to_numpy(tiny(grid.astype(np.float32))).argmax(axis=1).reshape(201, 201)
figure = Figure(figsize=(5.4, 4.6), layout="constrained")
ax = figure.subplots()
ax.contourf(
    *[np.linspace(0, 1, 201)] * 2,
    read,
    levels=[-0.5, 0.5, 1.5],
    colors=["0.95", "0.75"],
)
for a, b in decide(tiny_weights, pairs[example], few_y[example], 0.15)[1]:
    side = [a[0], b[0], b[0], a[0], a[0]], [a[1], a[1], b[1], b[1], a[1]]
    ax.plot(*side, color="tab:blue", linewidth=0.8)
ax.plot(*pairs[example], "o", color="tab:orange")
ax.set(xlabel="ink in the upper left", ylabel="ink in the lower left")
save(
    figure,
    "split",
    alt="A square around a point, divided into boxes that become smaller towards a "
    "border between a light and a dark region, which no box crosses",
    caption=f"Light: read as a three; gray: as an eight. The ball of one image (dot), "
    f"ε = 0.15, in the {counts[example]} boxes that prove it safe. They are small "
    "where the border is near.",
)
print(f"boxes for this image: {counts[example]}")
assert counts[example] > 3

# %% [markdown]
# Halving two pixels makes 4 boxes, halving 784 pixels makes $2^{784}$. Better
# algorithms split ReLUs instead of pixels, or hand the question to an integer program
# with one yes-or-no variable for each bent ReLU (Tjeng et al. 2019). They decide
# networks with some hundreds or thousands of units; the worst case stays exponential.
#
# ## Train for the proof
#
# For a large network change the question: not how to prove what a network is, but how
# to get a network that is easily proved. The margins (18.5) are a differentiable
# function of the weights. Let $\hat m_j(\varepsilon)$ be these bounds ($\hat m_y = 0$),
# and put them where the margins stand in the cross-entropy:
#
# $$L(z, y) = \log \sum_j e^{-(z_y - z_j)}, \qquad \hat L = \log \sum_j e^{-\hat
# m_j(\varepsilon)} \ge \max_{|r_i| \le \varepsilon} L(z(x + r), y) . \tag{18.9}$$
#
# (The sum has smaller margins in every place, so it is larger for every $r$.) That is
# the min-max problem of lesson 11 with the inner maximum bounded from *above*. An
# attack bounds it from below. Gowal et al. (2018) minimize
#
# $$\kappa \, L + (1 - \kappa) \, \hat L(\varepsilon), \tag{18.10}$$
#
# and begin gently. The intervals of an untrained network are so wide that only a nearly
# constant answer has a small $\hat L$, and training stays near it for long (exercise
# 18.4). So first $\kappa = 1$ (regular training), and then
# $\varepsilon$ grows from 0 and $\kappa$ falls to $1/2$, both linearly.

# %%
half = IntervalLoss(regular, eps=small, kappa=0.5)
hand = np.log(
    np.exp(-margins_by_intervals(weights, *box(vectors, small), labels)).sum(1)
)
clean = np.log(np.exp(together - together[everyone, labels][:, None]).sum(1))
np.testing.assert_allclose(
    to_numpy(half(regular, x, y)), (clean + hand) / 2, rtol=1e-3, atol=1e-3
)
attacked = pgd(regular, x, y=y, eps=small, early_stop=False, rng=seed(3)).x_adv
z = to_numpy(logits(regular, attacked))
assert (hand >= np.log(np.exp(z - z[everyone, labels][:, None]).sum(1)) - 1e-4).all()

robust = models.mlp(shape, rng=seed())
inside = partial(
    pgd, eps=eps, steps=3, alpha=eps / 2, random_start=False, early_stop=False
)
more = {**how, "epochs": by_data(sample=6, digits=16)}
more |= {"optimizer": Adam(by_data(sample=0.003, digits=0.002))}
robust = trained(
    "pgd", robust, x_train, y_train, objective=mixed_loss(robust, inside), **more
)
provable = models.mlp(shape, rng=seed())
epochs = by_data(sample=20, digits=40)
more = {**how, "epochs": epochs, "optimizer": Adam(by_data(sample=0.003, digits=0.004))}
schedule = {"kappa": 0.5, "warm_up": 2, "ramp": epochs / 2}
provable = trained(
    "interval",
    provable,
    *(x_train, y_train),
    objective=IntervalLoss(provable, eps=eps, **schedule),
    **more,
)

# %% [markdown]
# ## The sandwich
#
# Three networks of the same shape (B3): trained regularly, on PGD's images as in lesson
# 11, and on intervals. For each $\varepsilon$: what is proved by lines, and where PGD
# failed. The truth is somewhere in the colored band of Figure 18.4.

# %%
networks = {"regular": regular, "PGD inside": robust, "intervals inside": provable}
sizes = eps * np.array([0, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.25, 1.5])
proved: dict = {name: [] for name in networks}
failed: dict = {name: [] for name in networks}
for name, model in networks.items():
    for size in sizes.tolist():
        safe = certified(model, x, y, eps=size)
        result = pgd(model, x, y=y, eps=size, steps=20, rng=seed(4))
        assert not (safe & result.success).any()  # for every image
        proved[name].append(float(safe.mean()))  # as `certified_accuracy` does
        failed[name].append(robust_accuracy(model, x, y, result))
figure = Figure(figsize=(8.6, 3.2), layout="constrained")
panels = figure.subplots(1, 3, sharey=True)
for ax, name in zip(panels, networks, strict=True):
    ax.fill_between(sizes, proved[name], failed[name], alpha=0.25, color="tab:blue")
    ax.plot(sizes, failed[name], "--", color="tab:orange", label="PGD failed")
    ax.plot(sizes, proved[name], color="tab:blue", label="proved")
    ax.axvline(eps, color="0.6", linewidth=1, linestyle=":")
    ax.set(title=name, xlabel="ε", ylim=(0, 1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
panels[0].set_ylabel("share of test images")
panels[2].legend(loc="lower left")
save(
    figure,
    "sandwich",
    alt="Three panels with a falling dashed curve, PGD failed, and a falling solid one "
    "below it, proved. The band between them is wide for the regular network and for "
    "PGD inside, and narrow for intervals inside",
    caption=f"Proved, and not broken by PGD; the exact share lies in the band. Dotted: "
    f"ε = {eps}, which the two trainings were given.",
)
at = sizes.tolist().index(eps)
for name in networks:
    measured("B7", f"{name}: accuracy", proved[name][0], form=".1%")
    measured("B7", f"{name}: proved at ε", proved[name][at], form=".1%")
    measured("B7", f"{name}: PGD failed at ε", failed[name][at], form=".1%")
    band = float(np.max(np.subtract(failed[name], proved[name])))
    measured("B7", f"{name}: widest gap", band, form=".1%")
gap = {name: failed[name][at] - proved[name][at] for name in networks}
assert proved["regular"][at] < 0.1
assert failed["PGD inside"][at] > failed["regular"][at] + 0.2
assert gap["PGD inside"] > 0.2
assert proved["intervals inside"][at] > proved["PGD inside"][at] + 0.2
assert gap["intervals inside"] < gap["PGD inside"] - 0.1
assert proved["intervals inside"][0] > proved["regular"][0] - 0.1

# %% [markdown]
# ## What "heuristic" means (B7)
#
# Document B calls adversarial training "a heuristic defence" without a guarantee. Now
# the word has a size. On the network with PGD inside, the attack fails for many images
# at $\varepsilon$, and only for a part of them there is a proof. For all others nobody
# knows: either a better attack breaks them, or a better proof saves them. That band is
# the heuristic part. On the network with intervals inside it is narrow. What this
# network withstands is proved, against everyone.
#
# A guarantee has limits, too. It holds for this ball only: this norm, this
# $\varepsilon$. It says nothing about an image outside of the ball, or about one whose
# true label is not known. And an attacker in front of a camera may change an object by
# more than a small $\varepsilon$.
#
# ## Summary
#
# For a linear model the distance to the next label is a formula, and attack and proof
# meet. For a network, intervals or lines give a lower bound of the margin on the whole
# ball, lines the better one, and it holds against every attacker. Between what is
# proved and what was attacked lies the truth, which splitting finds for tiny networks
# only.
# Training on the bounds themselves makes the band narrow, where adversarial training
# leaves it wide.
#
# ## Exercises
#
# **18.1** (pencil and paper) Replace the L∞ ball in (18.2) and (18.3) by an L2 ball.
# Which norm appears, and which attack is exact?
#
# **18.2** (pencil and paper) Two hidden units are equal, $h_1 = h_2 = \max(x, 0)$, and
# the margin is $h_1 - h_2$. Which lower bound do intervals give for $x \in [-1, 1]$?
# Which do lines give, with $\alpha = 0$ and with $\alpha = 1$?
#
# **18.3** (a few lines) In (18.6) try $\alpha = 0$ everywhere, and $\alpha = 1$
# everywhere, for the regular network. Which choice proves more images?
#
# **18.4** (an experiment) Train on intervals with the whole $\varepsilon$ from the
# first step and $\kappa = 0$. What happens?
#
# **18.5** (an experiment) Any model can be smoothed: let it vote under noise, as in
# `certify.Smoothed`. Compare the certified L2 radius of a smoothed *linear* model with
# the exact radius. Why is it never larger, and what do more draws bring?
#
# **18.6** (open) A network is proved safe at $\varepsilon = 0.1$ for 60 % of the test
# images. Would you call it secure? Which question would you ask first?
#
# ## Read on
#
# - S. Gowal and others, *On the effectiveness of interval bound propagation for
#   training verifiably robust models*, 2018, arXiv:1810.12715.
# - H. Zhang, T.-W. Weng, P.-Y. Chen, C.-J. Hsieh and L. Daniel, *Efficient neural
#   network robustness certification with general activation functions*, 2018,
#   arXiv:1811.00866: CROWN.
# - V. Tjeng, K. Xiao and R. Tedrake, *Evaluating robustness of neural networks with
#   mixed integer programming*, 2019, arXiv:1711.07356: the exact share.
# - G. Katz and others, *Reluplex: an efficient SMT solver for verifying deep neural
#   networks*, 2017, arXiv:1702.01135: it is NP-complete.
# - J. Cohen, E. Rosenfeld and J. Z. Kolter, *Certified adversarial robustness via
#   randomized smoothing*, 2019, arXiv:1902.02918.
# - K. Jia and M. Rinard, *Exploiting verified neural networks via floating point
#   numerical error*, 2021, arXiv:2003.03021: proofs that rounding breaks.
