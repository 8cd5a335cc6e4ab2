# %% [markdown]
# # Adversarial training: learn from the attacker
#
# Mirrors: A6, B7, D9, E9.
#
# Before: the frame, lessons 1, 2 and 4. Minutes: 60.
#
# You will:
#
# - solve the min-max problem with pencil and paper for a linear model;
# - prove in three lines why the attacked image may be treated as a constant;
# - write the mixed loss and its training loop in 15 lines;
# - measure what it buys, what it costs, and against whom;
# - see why it matters on *which* network the examples are made.
#
# In the terms of the frame: goal untargeted; white box; no pixel may change by more
# than $\varepsilon$ or leave $[0, 1]$. The attacker knows the defense.

# %%
from functools import partial

import numpy as np
from lesson import by_data, dataset, measured, rng, save, seed, trained

from minadv import (
    SGD,
    Adam,
    asarray,
    fgsm,
    models,
    negative,
    pgd,
    plotting,
    to_numpy,
    value_and_grad,
)
from minadv.defenses import adversarial_training, augment, mixed_loss
from minadv.evaluation import accuracy, predict, robust_accuracy
from minadv.losses import cross_entropy

d = dataset()
shape = d.x_train.shape[1:]
n = by_data(sample=3000, digits=1437)  # how many images to train on
x_train, y_train = d.x_train[:n], d.y_train[:n]
x, y = d.x_test[:1000], d.y_test[:1000]
eps = by_data(sample=0.1, digits=0.15)  # the radius of the L∞ ball
epochs = by_data(sample=6, digits=16)
how = {
    "batch_size": 64,
    "rng": seed(),
    "optimizer": Adam(by_data(sample=0.003, digits=0.002)),
}

# %% [markdown]
# ## Two players
#
# The frame wrote attack and defense as one problem (F.3). The defender picks the
# weights $W$, then the attacker picks for each image $x$ with label $y$ a change $r$
# from the set $\Delta(x)$ of allowed ones:
#
# $$\min_W \; \mathbb{E}_{(x, y)} \bigl[ \varphi(W, x, y) \bigr], \qquad \varphi(W, x,
# y) = \max_{r \in \Delta(x)} L(W, x + r, y). \tag{11.1}$$
#
# $L$ is the loss, $\mathbb{E}$ the mean over the images, and $\varphi$ the *worst
# case*: the loss at the worst allowed image. Training needs the gradient of $\varphi$
# with respect to $W$. For a linear model we can write $\varphi$ down.
#
# ## With pencil and paper: a linear model
#
# Threes against eights. A logistic regression has one weight per pixel, $w$, and a bias
# $b$. Let the label be $s = -1$ for a three and $s = +1$ for an eight. The margin is $m
# = s \, (w \cdot x + b)$, and the loss $\log(1 + e^{-m})$ falls with it. (For now
# pixels may leave $[0, 1]$, so that the formulas stay short.) By Hölder's inequality
# (1.5) the attacker can lower the margin by
#
# $$\max_{|r_i| \le \varepsilon} \bigl( -s \, w \cdot r \bigr) = \varepsilon \lVert w
# \rVert_1 \qquad \text{at} \qquad r^* = -\varepsilon \, s \, \mathrm{sign}(w).
# \tag{11.2}$$
#
# $\lVert w \rVert_1 = \sum_i |w_i|$. So the worst case is known exactly, and so is the
# share of images that no attacker can turn:
#
# $$\varphi = \log\bigl(1 + e^{-(m - \varepsilon \lVert w \rVert_1)}\bigr), \qquad
# \text{safe if } m > \varepsilon \lVert w \rVert_1. \tag{11.3}$$
#
# Differentiate with respect to $w$, by the chain rule. Write $m^* = m - \varepsilon
# \lVert w \rVert_1$ for the margin that is left, and $\sigma$ for the sigmoid:
#
# $$\nabla_w \varphi = -\sigma(-m^*) \bigl( s x - \varepsilon \, \mathrm{sign}(w) \bigr)
# = -\sigma(-m^*) \, s \, \bigl( x - \varepsilon s \, \mathrm{sign}(w) \bigr) =
# -\sigma(-m^*) \, s \, (x + r^*). \tag{11.4}$$
#
# (The middle step uses $s \cdot s = 1$.) Compare the ordinary gradient of $\log(1 +
# e^{-m})$ at any image $x$: it is $-\sigma(-m) \, s \, x$. So the gradient of the worst
# case is the *ordinary gradient at the attacked image*. Nothing has to be
# differentiated through the attack. Descend with it:


# %%
def three_or_eight(images, labels):
    """Threes and eights as vectors (N, D), and s = -1 or +1."""
    chosen = (labels == 3) | (labels == 8)
    s = np.where(to_numpy(labels[chosen]) == 8, 1.0, -1.0)
    return to_numpy(images[chosen], dtype=float).reshape(len(s), -1), s


def descend(v, s, eps, steps=300, rate=0.5):
    """Gradient descent on the mean worst case: at eps = 0, ordinary training."""
    w, b = 0.01 * rng(1).normal(size=v.shape[1]), 0.0
    for _ in range(steps):
        attacked = v - eps * s[:, None] * np.sign(w)  # x + r*
        left = s * (attacked @ w + b)  # m*
        slope = -s / (1 + np.exp(left))
        w -= rate * (slope @ attacked) / len(v)
        b -= rate * slope.mean()
    return w, b


def safe(v, s, w, b, eps):
    """The share of images that no change of at most eps per pixel turns (11.3)."""
    return float((s * (v @ w + b) > eps * np.abs(w).sum()).mean())


v, s = three_or_eight(d.x_train[:10_000], d.y_train[:10_000])
v_test, s_test = three_or_eight(d.x_test, d.y_test)
linear = {"regular": descend(v, s, 0.0), "robust": descend(v, s, eps)}
share = {}
for name, (w, b) in linear.items():
    turned = v_test - eps * s_test[:, None] * np.sign(w)
    share[name] = safe(v_test, s_test, w, b, eps)
    assert abs(share[name] - safe(turned, s_test, w, b, 0)) < 1e-9
    right = safe(v_test, s_test, w, b, 0)
    measured("A6", f"3 or 8, {name}: accuracy", right, form=".1%")
    measured("A6", f"3 or 8, {name}: safe at ε", share[name], form=".1%")
    measured("A6", f"3 or 8, {name}: sum of all |w|", np.abs(w).sum(), form=".1f")
size = {name: float(np.abs(w).sum()) for name, (w, _) in linear.items()}
assert share["robust"] > share["regular"] + 0.1
assert size["robust"] < 0.8 * size["regular"]

# %% [markdown]
# For a linear model the attack and the proof agree: "safe" here is the robust accuracy
# of the frame itself, not a bound. Look at the weights. A small weight on each of many
# pixels helps a little on clean images and costs $\varepsilon |w_i|$ each under attack.
# The robust model gives it up, as Figure 11.1 shows.

# %%
scale = max(float(np.abs(w).max()) for w, _ in linear.values())
figure = plotting.images(
    np.stack([w.reshape(shape) for w, _ in linear.values()]).astype(np.float32),
    labels=np.arange(2),
    class_names=list(linear),
    bounds=(-scale, scale),
)
save(
    figure,
    "linear",
    alt="Two images of weights. In the robust one more of the pixels are medium gray, "
    "which is zero, and what remains is near the strokes of an eight or a three",
    caption=f"The weights of 3 or 8, from −{scale:.1f} (black: speaks for a three) to "
    f"{scale:.1f} (white: for an eight). Sum of all |w|: {size['regular']:.0f} "
    f"regular, {size['robust']:.0f} robust.",
)

# %% [markdown]
# ## Any network: Danskin's theorem
#
# Was (11.4) luck? No. Let $r^*$ be a worst change at the weights $W$, so $\varphi(W) =
# L(W, x + r^*, y)$. At other weights $W + hV$ ($V$ a direction, $h > 0$ small) $r^*$ is
# still *one* of the allowed changes, perhaps no longer the worst:
#
# $$\varphi(W + hV) \ge L(W + hV, x + r^*, y). \tag{11.5}$$
#
# Subtract $\varphi(W) = L(W, x + r^*, y)$ on both sides and divide by $h$. As $h \to
# 0$,
#
# $$\frac{\varphi(W + hV) - \varphi(W)}{h} \ge \frac{L(W + hV, x + r^*, y) - L(W, x +
# r^*, y)}{h} \to V \cdot \nabla_W L(W, x + r^*, y). \tag{11.6}$$
#
# If $\varphi$ has a gradient at $W$, the left side tends to $V \cdot \nabla_W \varphi$.
# So $V \cdot \nabla_W \varphi \ge V \cdot \nabla_W L$ for *every* direction $V$, and
# for $-V$ as well. That leaves only
#
# $$\nabla_W \varphi(W) = \nabla_W L(W, x + r^*, y), \qquad r^* \text{ held fixed.}
# \tag{11.7}$$
#
# Danskin's theorem adds when $\varphi$ has a gradient: if $r^*$ is the only worst
# change, and $\nabla_W L$ is continuous. One caution. FGSM and PGD find *some* $r$, not
# always the worst one. Then (11.7) is the gradient of the loss at that image, and the
# worst case may be elsewhere. How good the attack inside is, decides what is learned.
#
# ## The algorithm (A6, D9)
#
# Document A's loss mixes clean and attacked images, with a weight $\lambda \ge 0$ that
# "balances model robustness versus performance towards real data":
#
# $$L_{mixed}(W) = L(W, x, y) + \lambda \, L(W, x_{adv}, y), \qquad x_{adv} =
# \text{attack}(W, x, y), \text{ held fixed.} \tag{11.8}$$
#
# Each batch is attacked anew, with the weights of that moment. Here is all of it, with
# plain gradient descent. `model.apply(weights, images)` is the network with the weights
# as an argument, so that they can be differentiated.


# %%
def train_by_hand(model, x, y, attack, weight, rate, batch, order):
    """One epoch on the mixed loss (11.8)."""
    for i in range(0, len(x), batch):
        some = order[i : i + batch]
        images, labels = x[some], y[some]
        x_adv = attack(model, images, y=labels).x_adv  # a constant from here on
        names = list(model.parameters)

        def mixed(*arrays, names=names, images=images, x_adv=x_adv, labels=labels):
            weights = dict(zip(names, arrays, strict=True))
            clean = cross_entropy(model.apply(weights, images), labels)
            attacked = cross_entropy(model.apply(weights, x_adv), labels)
            return (clean + weight * attacked).mean()

        _, gradients = value_and_grad(mixed, *model.parameters.values())
        new = [
            w - rate * g
            for w, g in zip(model.parameters.values(), gradients, strict=True)
        ]
        model.parameters = dict(zip(names, new, strict=True))


few, labels = x_train[:512], y_train[:512]
order = asarray(np.random.default_rng(seed(2)).permutation(len(few)))
by_hand, library = (models.mlp(shape, rng=seed(2)) for _ in range(2))
start = to_numpy(by_hand.parameters[next(iter(by_hand.parameters))]).copy()
inside = partial(fgsm, eps=eps)
train_by_hand(by_hand, few, labels, inside, 1.0, 0.1, 64, order)
adversarial_training(
    library,
    few,
    labels,
    attack=inside,
    weight=1.0,
    optimizer=SGD(0.1),
    batch_size=64,
    rng=seed(2),
    progress=False,
)
for name, weights in by_hand.parameters.items():
    same = to_numpy(library.parameters[name])
    np.testing.assert_allclose(to_numpy(weights), same, atol=1e-4)
first = to_numpy(by_hand.parameters[next(iter(by_hand.parameters))])
assert float(np.abs(first - start).max()) > 1e-2  # both have moved, and alike

# %% [markdown]
# From here on the library trains, with the optimizer Adam. Inside is FGSM, or PGD with
# three steps from the image itself. PGD must not stop at its first success, since the
# *worst* image is wanted.
#
# ## On whose network? (A6, B7)
#
# The simplest recipe in the documents is another one. Attack the training images once,
# add them under their own labels, train on both (`augment`). Document B says that
# adversarial training is "valid only when the adversarial examples are crafted on the
# original model". Read literally, that is this recipe: the original model is attacked
# once, and a new network learns from its examples. Compare it with crafting them as
# training goes: Figure 11.2 is the table.

# %%
steps = partial(
    pgd, eps=eps, steps=3, alpha=eps / 2, random_start=False, early_stop=False
)
longer = max(1, epochs // 3)


def network(name, attack=None, *, weight=1.0, start=None, images=None, epochs=epochs):
    """Document B's network, trained on the mixed loss, or plainly on ``images``."""
    model = models.mlp(shape, rng=seed())
    if start is not None:
        model.parameters = {name: w.copy() for name, w in start.parameters.items()}
    more = {**how, "optimizer": Adam(how["optimizer"].lr), "epochs": epochs}
    if attack is not None:
        more["objective"] = mixed_loss(model, attack, weight=weight)
    return trained(name, model, *(images or (x_train, y_train)), **more)


original = network("regular")
crafted = fgsm(original, x_train, y=y_train, eps=eps)
networks = {
    "regular": original,
    "crafted once": network("once", images=augment(x_train, y_train, crafted)),
    "FGSM as it trains": network("fgsm", inside),
    "PGD as it trains": network("pgd", steps),
    "fine-tuned with PGD": network("tuned", steps, start=original, epochs=longer),
}
old = fgsm(original, x, y=y, eps=eps)  # the original's examples of new images


def judged(model):
    """What stays right: clean, on the original's examples, under its own attacks."""
    one = fgsm(model, x, y=y, eps=eps)
    many = pgd(model, x, y=y, eps=eps, steps=20, rng=seed(3))
    return {
        "clean images": accuracy(model, x, y),
        "the original's examples": robust_accuracy(model, x, y, old),
        "its own FGSM": robust_accuracy(model, x, y, one),
        "its own FGSM and PGD": robust_accuracy(model, x, y, one, many),
    }


shares = {name: judged(model) for name, model in networks.items()}
for name, row in shares.items():
    for column, value in row.items():
        measured("B7", f"{name}: right on {column}", value, form=".1%")
figure = plotting.heatmap(
    [list(row.values()) for row in shares.values()],
    rows=list(shares),
    columns=list(shares["regular"]),
    numbers=".0%",
    limits=(0, 1),
)
save(
    figure,
    "who",
    alt="A table of accuracies: five networks by four kinds of images. The network "
    "whose examples were crafted once is good in the column of the original's "
    "examples and bad in the columns of its own",
    caption=f"Right answers at ε = {eps}. Rows: how the network was trained. Columns: "
    f"what it is judged on. An image counts as right if it is right before and after.",
)
worst = {name: row["its own FGSM and PGD"] for name, row in shares.items()}
fooled = shares["crafted once"]
assert fooled["the original's examples"] > worst["crafted once"] + 0.3
assert fooled["the original's examples"] > fooled["its own FGSM"] + 0.25
assert worst["PGD as it trains"] > worst["crafted once"] + 0.15
assert worst["PGD as it trains"] > worst["regular"] + 0.25
assert worst["fine-tuned with PGD"] > worst["regular"] + 0.15
assert worst["PGD as it trains"] < shares["PGD as it trains"]["clean images"] - 0.15

# %% [markdown]
# Crafted once, it looks solved, and it is not. The new network has learned to undo one
# fixed pattern. It has weak spots of its own, and the same attack finds many of them in
# the same single step. An attacker attacks the network that is *there*. So document B's
# sentence is true only if "the original model" means the one being trained.
#
# Crafted as it trains, the network withstands far more. It does not *hold*: the last
# column is well below the first. Fine-tuning a trained network (E9) takes a third of
# the epochs and comes part of the way or all of it.
#
# ## One step inside, or several? (D9)
#
# FGSM is one guess at the worst image. A network that saw only FGSM is judged too well
# by FGSM: PGD finds more. This is (11.7)'s caution. If the guess is poor the network
# can learn to make the guess fail instead of becoming robust. On images of 28 by 28
# pixels PGD finds more in the network that saw FGSM than in the one that saw PGD. On 8
# by 8 pixels the two are about alike.
#
# Is the gradient only masked (lesson 12)? A sign of that: examples made on *another*
# network do more harm than its own. Here they do less.

# %%
gap = {
    name: shares[name]["its own FGSM"] - worst[name]
    for name in ("FGSM as it trains", "PGD as it trains")
}
for name, value in gap.items():
    measured("D9", f"{name}: what PGD finds beyond FGSM", value, form=".1%")
assert gap["FGSM as it trains"] > 0.02
if d.x_train.shape[1] == 28:  # on 8 by 8 pixels both gaps are about the same
    assert gap["FGSM as it trains"] > gap["PGD as it trains"] + 0.02
for name in ("FGSM as it trains", "PGD as it trains", "fine-tuned with PGD"):
    assert shares[name]["the original's examples"] > worst[name] + 0.02

# %% [markdown]
# ## What the robust network looks at
#
# Draw the gradient $\nabla_x L$ for both networks: which pixels would the attacker
# change? Figure 11.3 shows some.

# %%
robust = networks["PGD as it trains"]


def slopes(model, images, labels):
    """The gradient of the loss for each image."""
    _, g = value_and_grad(lambda v: cross_entropy(model(v), labels).sum(), images)
    return to_numpy(g)


both = to_numpy((predict(original, x) == y) & (predict(robust, x) == y))
shown = [np.flatnonzero(both & (to_numpy(y) == k))[0] for k in (0, 2, 3, 4, 7, 9)]
pictures = [to_numpy(x[shown])]
for model in (original, robust):
    g = slopes(model, x[shown], y[shown])
    most = np.abs(g).max(axis=(1, 2, 3), keepdims=True)
    pictures.append(0.5 + 0.5 * g / most)
figure = plotting.images(np.concatenate(pictures), columns=len(shown))
for row, label in zip((0, 1, 2), ("image", "regular", "robust"), strict=True):
    figure.axes[row * len(shown)].set_ylabel(label, fontsize=11)
save(
    figure,
    "gradients",
    alt="Six digits, and below each the gradient of the regular and of the robust "
    "network as gray images, where medium gray is zero",
    caption="Test images, and the gradient of the loss by the regular and the robust "
    "network. Each gradient has its own scale: medium gray is 0, black and white are "
    "the largest values.",
)
dark = d.x_train.mean(axis=0) < 0.05  # pixels that hardly ever belong to a digit
sums = {}
for name, model in (("regular", original), ("robust", robust)):
    g = np.abs(slopes(model, x, y)).mean(axis=0)
    sums[name] = float(g[to_numpy(dark)].sum() / g.sum())
    what = f"{name}: share of the gradient on pixels that are almost always black"
    measured("A6", what, sums[name], form=".1%")
assert sums["robust"] < sums["regular"]

# %% [markdown]
# ## A heuristic, no guarantee (B7)
#
# Document B: adversarial training is "a heuristic defence", and "there is no guarantee
# of defence against all attacks". The network was shown one kind of change of one size.
# Figure 11.4 shows it others.

# %%
far = by_data(sample=1.5, digits=0.6)  # an L2 ball
other = {}
for name in ("regular", "PGD as it trains"):
    model = networks[name]
    attacked = {
        "twice the ε": pgd(model, x, y=y, eps=2 * eps, steps=20, rng=seed(3)),
        "three times the ε": pgd(model, x, y=y, eps=3 * eps, steps=20, rng=seed(3)),
        "the L2 ball": pgd(model, x, y=y, eps=far, norm="l2", steps=20, rng=seed(3)),
        "the negative": negative(x),
    }
    other[name] = {
        what: robust_accuracy(model, x, y, images) for what, images in attacked.items()
    }
    for what, value in other[name].items():
        measured("B7", f"{name}: right under {what}", value, form=".1%")
figure = plotting.bars(other, ylabel="right answers", percent=True)
save(
    figure,
    "others",
    alt="Bars for two networks under four kinds of change that training did not show",
    caption=f"Changes that training did not show. It showed ε = {eps} in the L∞ norm. "
    f"The L2 ball has radius {far}.",
)
unseen = other["PGD as it trains"]
assert unseen["twice the ε"] < 0.5 * worst["PGD as it trains"]
assert unseen["the L2 ball"] > other["regular"]["the L2 ball"] + 0.03
assert unseen["three times the ε"] < 0.25
assert unseen["the negative"] < 0.3

# %% [markdown]
# Twice the $\varepsilon$ undoes most of what was gained, and three times undoes nearly
# all. The negative, which lies in none of these balls, is hardly ever read right.
# Against the L2 ball something is gained: the two balls have many images in common.
# For how many images there *is* a guarantee, and how to train for one, is lesson 18.
#
# ## What λ trades (A6)
#
# Now vary $\lambda$ in (11.8), all else being equal. The outcome is Figure 11.5.

# %%
lambdas = (0, 0.1, 1, 10)
rows = [
    shares["regular"],
    judged(network("little", steps, weight=0.1)),
    shares["PGD as it trains"],
    judged(network("much", steps, weight=10)),
]
lines = {
    name: (np.array(lambdas), np.array([row[key] for row in rows]))
    for name, key in (
        ("clean images", "clean images"),
        ("under FGSM", "its own FGSM"),
        ("under FGSM and PGD", "its own FGSM and PGD"),
    )
}
for name, (_, values) in lines.items():
    for weight, value in zip(lambdas, values, strict=True):
        measured("A6", f"λ = {weight}: right, {name}", value, form=".1%")
figure = plotting.curves(
    lines, xlabel="λ (0, then a log scale)", ylabel="right answers", percent=True
)
axis = figure.axes[0]
axis.set_xscale("symlog", linthresh=0.1)
axis.set_xticks(lambdas, [f"{weight:g}" for weight in lambdas])
axis.set_xlim(-0.03, 14)
axis.minorticks_off()
save(
    figure,
    "trade",
    alt="Three curves against lambda. The two under attack rise steeply from lambda 0 "
    "to 1, the one of clean images changes little in comparison",
    caption=f"What λ buys and costs at ε = {eps}, PGD inside. λ = 0 is regular "
    f"training.",
)
clean, under = lines["clean images"][1], lines["under FGSM and PGD"][1]
assert under[1] > under[0] + 0.1
assert under[2] > under[1] + 0.05
assert under[3] - under[2] < 0.5 * (under[1] - under[0])
assert clean[3] < clean[:3].max()
assert under[3] - under[0] > 5 * (clean[0] - clean[3])

# %% [markdown]
# The first tenth of $\lambda$ buys much. Under attack the curve then flattens, while
# the clean images pay: with $\lambda = 10$ they hardly count any more. Even so most of
# them are read, since the attacked images lie near them.
#
# Document E warns: a network trained on adversarial images *only* "will fail to
# classify regular images", and adds that "this might not be the case with all attacks".
# At $\lambda = 10$ it is not the case. Here is the attack that it speaks of.
#
# ## Four curves: fine-tuned on negatives, or trained on nothing else (E9)
#
# Take a CNN that was trained on regular images, and fine-tune it on the negatives $1 -
# x$ (lesson 5) of some training images. Or train a new CNN on those negatives alone.
# Each is judged on regular and on negative test images: that makes document E's four
# curves, in Figure 11.6. (The CNN is document D's with half the maps.)

# %%
counts = by_data(
    sample=[10, 100, 1000],
    digits=[10, 30, 100, 300, 1000],
    mnist=[10, 100, 1000, 10_000],
)
tuned = by_data(sample=6, digits=12)  # epochs
chosen = asarray(rng(2).permutation(len(d.x_train))[: counts[-1]])
x_chosen, y_chosen = d.x_train[chosen], d.y_train[chosen]


def convolutional(name, images, labels, start=None, epochs=tuned):
    """A CNN after training on ``images``: a new one, or a copy of ``start``."""
    model = models.cnn(shape, filters=(8, 16, 32), rng=seed())
    if start is not None:
        model.parameters = {name: w.copy() for name, w in start.parameters.items()}
    more = {"epochs": epochs, "batch_size": 32, "optimizer": Adam(0.003)}
    return trained(name, model, images, labels, rng=seed(), **more)


before = convolutional("cnn", x_train, y_train, epochs=by_data(sample=4, digits=10))
found = {}
for name, start in (("fine-tuned", before), ("from scratch", None)):
    tried = [
        convolutional(f"negatives-{k}", negative(x_chosen[:k]), y_chosen[:k], start)
        for k in counts
    ]
    for kind, images in (("regular", x), ("negative", negative(x))):
        found[f"{name}, {kind} images"] = [accuracy(m, images, y) for m in tried]
regular, inverted = accuracy(before, x, y), accuracy(before, negative(x), y)
measured("E9", "the CNN before, regular images", regular, form=".1%")
measured("E9", "the CNN before, negative images", inverted, form=".1%")
says = {
    "fine-tuned, regular images": "that it drops",
    "fine-tuned, negative images": "that it rises",
    "from scratch, regular images": "that it does not do well",
    "from scratch, negative images": by_data(
        sample="that it rises", digits="that it rises", mnist="close to 100 % with 10^4"
    ),
}
for name, values in found.items():
    what = f"{name}, after the most negatives"
    measured("E9", what, values[-1], stated=says[name], form=".1%")
figure = plotting.curves(
    {name: (counts, values) for name, values in found.items()},
    xlabel="number of negative images",
    ylabel="right answers",
    percent=True,
)
figure.axes[0].set_xscale("log")
save(
    figure,
    "negatives",
    alt="Four curves against the number of negatives, on a log axis. Both curves on "
    "negative images rise. On regular images the fine-tuned network falls, and the "
    "network from scratch stays low",
    caption=f"Trained on negatives only. Before, the CNN is right on {regular:.0%} of "
    f"the regular and {inverted:.0%} of the negative images.",
)
last = {name: values[-1] for name, values in found.items()}
assert last["fine-tuned, negative images"] > inverted + 0.5
assert (
    last["from scratch, negative images"]
    > found["from scratch, negative images"][0] + 0.3
)
assert last["from scratch, negative images"] > 0.8
assert last["fine-tuned, regular images"] < regular - 0.05
assert last["from scratch, regular images"] < 0.4

# %% [markdown]
# Both learn the negatives. What the first knew of regular images it loses, and the
# second never learns them: nothing in the loss asks for the old answer. How fast it is
# lost depends on the images. So ask for both, with `augment`. This is (11.8) with
# $\lambda = 1$, for an attack that ignores the network.

# %%
asked = convolutional(
    "both", *augment(x_chosen, y_chosen, negative(x_chosen)), start=before
)
kept = accuracy(asked, x, y)
learned = accuracy(asked, negative(x), y)
measured("E9", "fine-tuned on both, regular images", kept, form=".1%")
measured("E9", "fine-tuned on both, negative images", learned, form=".1%")
assert kept > last["fine-tuned, regular images"] + 0.02
assert kept > regular - 0.05
assert learned > 0.8

# %% [markdown]
# ## Summary
#
# Adversarial training minimizes the worst case: attack each batch with the weights of
# the moment, and train on what comes out. By Danskin's theorem the attacked image may
# be treated as a constant, if it is the worst one. It helps clearly against the attack
# that was shown, leaves many images fooled, and promises nothing about other sizes,
# norms and kinds of change. Examples that were crafted once, on another network, give a
# robustness that vanishes when the attacker looks at the new network.
#
# ## Exercises
#
# **11.1** (a line of code) Train the linear model with $\varepsilon$ twice as large as
# in the lesson. What happens to $\lVert w \rVert_1$, and to the accuracy?
#
# **11.2** (pencil and paper) Replace the L∞ ball by an L2 ball in (11.2) to (11.4).
# Which norm of $w$ appears? Check the gradient by finite differences.
#
# **11.3** (a few lines) Add a random start to FGSM inside the training: begin at a
# random point of the ball, take one step of $1.25 \varepsilon$, project. Judge it by
# PGD against plain FGSM inside.
#
# **11.4** (an experiment) Craft the examples anew after each epoch instead of for each
# batch. Does it come nearer to "crafted once" or to "as it trains"?
#
# **11.5** (pencil and paper) $\varphi(w) = \max(w, -w)$ is a worst case of two choices.
# Where does (11.7) fail, and why is that no contradiction?
#
# **11.6** (open) How would you train a network that withstands L∞ and L2 changes at
# once? What would you give up?
#
# ## Read on
#
# - I. Goodfellow, J. Shlens and C. Szegedy, *Explaining and harnessing adversarial
#   examples*, 2014, arXiv:1412.6572: the mixed loss.
# - A. Madry, A. Makelov, L. Schmidt, D. Tsipras and A. Vladu, *Towards deep learning
#   models resistant to adversarial attacks*, 2018, arXiv:1706.06083: PGD inside, and
#   Danskin's theorem in its appendix.
# - F. Tramèr and others, *Ensemble adversarial training: attacks and defenses*, 2017,
#   arXiv:1705.07204: networks that learn to make FGSM fail.
# - E. Wong, L. Rice and J. Z. Kolter, *Fast is better than free: revisiting adversarial
#   training*, 2020, arXiv:2001.03994: FGSM with a random start.
# - D. Tsipras and others, *Robustness may be at odds with accuracy*, 2018,
#   arXiv:1805.12152.
# - H. Hosseini, B. Xiao, M. Jaiswal and R. Poovendran, *On the limitation of
#   convolutional neural networks in recognizing negative images*, 2017,
#   arXiv:1703.06857.
