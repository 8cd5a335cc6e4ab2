# %% [markdown]
# # White box and black box
#
# Mirrors: A5, C3, C4, C5, C6, C7.
#
# Before: the frame, lessons 2 and 4. Minutes: 60.
#
# You will:
#
# - take a network's gradient without its weights, by asking it;
# - derive how large the steps of such questions should be, and what kinks change;
# - fool a network with images that were made with another one;
# - test a claim about transfer on 1,000 images, with confidence intervals.
#
# In the terms of the frame: goal untargeted; no value may change by more than
# $\varepsilon$ or leave $[0, 1]$. The knowledge is what varies in this lesson.

# %%
import numpy as np
from lesson import measured, rng, save, seed, trained
from matplotlib.figure import Figure

from minadv import (
    Adam,
    QueryGradient,
    asarray,
    estimate_gradient,
    fgsm,
    grad,
    iterative_fgsm,
    models,
    ops,
    plotting,
    to_numpy,
    uniform_noise,
)
from minadv.data import leaves
from minadv.evaluation import (
    accuracy,
    accuracy_curve,
    confidence,
    logits,
    predict,
    transfer_matrix,
)
from minadv.layers import Dense, Sequential
from minadv.losses import margin

# %% [markdown]
# ## Who may see what (C3)
#
# Every attack so far differentiated the network that it attacked. Who could do that to
# a network behind a website? The frame lists what the documents call a black box.
# Document A means an attacker who has no access to the network "but can query it".
# Document C means an attack that does without "using the target network" at all.
#
# | the attacker | sees | gets a gradient by |
# |---|---|---|
# | white box | architecture and weights | backpropagation |
# | black box of document A | answers to chosen images | asking, many times |
# | black box of document C | nothing of the target | a network of their own |
#
# All three follow, on one task.
#
# ## Two networks by transfer learning (C4)
#
# Document C tells healthy leaves from unhealthy ones, with two networks that were
# trained on ImageNet before: InceptionV3, called $f$, of over 20 million weights, and
# MobileNet, called $g$, of about 2 million. The *base*, all layers but the last, stays
# as it is. Only a new softmax layer with two outputs, the *head*, is trained. This is
# *transfer learning*.
#
# Here the leaves are drawn by a program, in small images. The bases are trained on
# another task first: telling eight species apart. Figure 9.1 shows some of the leaves.

# %%
size, count = 16, 5000  # the same for all choices of --data
species = leaves(count, task="species", size=size, rng=seed())
health = leaves(count, size=size, rng=seed(1))
shape = (size, size, 3)
learned, answers = health.x_train, health.y_train  # for training
x, y = health.x_test[:1000], health.y_test[:1000]  # for all that is measured
seen = {leaf.tobytes() for leaf in to_numpy(learned)}
assert not any(leaf.tobytes() in seen for leaf in to_numpy(x))

drawn = leaves(30, size=64, rng=seed(1))
picked = [np.flatnonzero(to_numpy(drawn.y_train) == k)[:4] for k in (0, 1)]
picked = np.concatenate(picked)
large = to_numpy(drawn.x_train)[picked]
blocks = large.reshape(8, size, 64 // size, size, 64 // size, 3).mean(axis=(2, 4))
coarse = blocks.repeat(64 // size, axis=1).repeat(64 // size, axis=2)
figure = plotting.images(
    np.concatenate([large, coarse]).astype(np.float32),
    labels=np.tile(to_numpy(drawn.y_train)[picked], 2),
    class_names=health.classes,
    columns=8,
)
save(
    figure,
    "leaves",
    alt="Four healthy and four unhealthy leaves in color, fine above and coarse below",
    caption=f"Leaves drawn at 64 by 64 pixels, and what {size} by {size} leave of "
    f"them. The networks get images of {size} by {size}.",
)

# %% [markdown]
# The base is frozen *by construction*: it is applied once to all images, and the head
# is trained on the numbers that come out, the *features*.


# %%
def by_transfer(name, whole, epochs, rate):
    """``whole`` learns the species; its base gets a new head for health."""
    how = {"batch_size": 16, "optimizer": Adam(rate), "rng": seed()}
    x, y = species.x_train, species.y_train
    base = trained(f"species-{name}", whole, x, y, epochs=epochs, **how)[:-1]
    features = logits(base, learned)  # (N, D)
    head = Sequential(Dense(features.shape[1], 2, rng=seed()))
    how = {"batch_size": 64, "optimizer": Adam(0.01), "rng": seed()}
    head = trained(f"health-{name}", head, features, answers, epochs=20, **how)
    return Sequential(*base, *head)


kinds = len(species.classes)
deep = models.deep_cnn(shape, kinds, filters=(12, 24, 48), rng=seed())
f = by_transfer("f", deep, epochs=4, rate=0.004)
g = by_transfer("g", models.separable_cnn(shape, kinds, rng=seed()), 3, rate=0.006)
right = {"f": accuracy(f, x, y), "g": accuracy(g, x, y)}
for name, model in (("f", f), ("g", g)):
    weights = sum(p.size for p in model.parameters.values())
    measured("C4", f"accuracy of {name}", right[name], stated="~95 %", form=".1%")
    measured("C4", f"weights of {name}", weights, form=",.0f")
    assert right[name] > 0.8

# %% [markdown]
# $f$ is deep, with five convolutions. $g$ has another architecture: its convolutions
# are split into one per color channel and one across channels, as MobileNet's are. Both
# are tiny next to document C's.
#
# ## White box (C5)
#
# One step of FGSM with $f$'s own gradient, at document C's $\varepsilon = 0.01$, which
# is 2.6 of 255 shades. Figure 9.2 shows one leaf.

# %%
tiny = 0.01
attacked, noisy = fgsm(f, x, y=y, eps=tiny), uniform_noise(x, eps=tiny, rng=seed(2))
after, by_noise = accuracy(f, attacked.x_adv, y), accuracy(f, noisy, y)
measured("C5", "f's accuracy under FGSM, ε = 0.01, T = 1", after, form=".1%")
measured("C5", "f's accuracy under noise, ε = 0.01", by_noise, form=".1%")
for images in (attacked.x_adv, noisy):  # both move values by ε, and by no more
    assert abs(float(abs(images - x).max()) - tiny) < 1e-6
assert after < right["f"] - 0.05
assert by_noise > right["f"] - 0.03
assert by_noise > after + 0.05

turned = to_numpy((predict(f, x) == y) & attacked.success & (predict(f, noisy) == y))
one = int((to_numpy(confidence(f, x)) * turned).argmax())  # the surest one that turns
three = np.concatenate([m[one : one + 1] for m in (x, noisy, attacked.x_adv)])
figure = plotting.images(
    three,
    labels=predict(f, three),
    confidences=confidence(f, three),
    class_names=health.classes,
)
for ax, name in zip(figure.axes, ("original", "noise", "adversarial"), strict=False):
    ax.set_xlabel(name, fontsize=11)
save(
    figure,
    "white_box",
    alt="The same leaf three times: as it was, with noise, and after FGSM. No "
    "difference can be seen, and the last one is read otherwise",
    caption="Original, noise and adversarial at ε = 0.01, each with f's reading. No "
    "value differs by more than three of 255 shades. Of the leaves that FGSM turns "
    "and noise does not, this is the one that f was surest of.",
)

# %% [markdown]
# Document C shows one leaf that turns. Not all do: $\varepsilon \lVert \nabla_x L
# \rVert_1$, the first-order effect of (2.3), is a sum over all values, and its images
# have 299 by 299 pixels.
#
# ## The gradient by asking (A5)
#
# Let $m(x)$ be any number that the answer tells about an image, here the log-odds
# margin (1.9) of the true label. Document A approximates the gradient by "tiny changes
# to the input", as $(f(x + \varepsilon) - f(x)) / ((x + \varepsilon) - x)$. An image
# has $n$ values, and each needs a change of its own. Let $e_i$ be the image with a one
# at value $i$ and zeros elsewhere, and $h$ the step:
#
# $$\frac{\partial m}{\partial x_i} \approx \frac{m(x + h e_i) - m(x)}{h} \text{
# (forward)} \quad \text{or} \quad \frac{m(x + h e_i) - m(x - h e_i)}{2h} \text{
# (central)}. \tag{9.1}$$
#
# These are *finite differences*. They cost $n + 1$ or $2n$ questions for one gradient.


# %%
def ask(images, labels):
    """All that the attacker sees: one number for each image."""
    return to_numpy(margin(logits(f, images), labels), dtype=float)


def by_asking(image, label, h, places, scheme="central"):
    """The partial derivatives (9.1) at some of the values of one image."""
    moves = np.zeros((len(places), image.size), np.float32)
    moves[np.arange(len(places)), places] = h
    moves = asarray(moves.reshape(-1, *image.shape))
    labels = asarray(np.full(len(places), int(label)))
    if scheme == "central":
        rise = ask(image + moves, labels) - ask(image - moves, labels)
        return rise / (2 * h)
    rise = ask(image + moves, labels) - ask(image[None], labels[:1])
    return rise / h


leaf, label = x[one : one + 1], y[one : one + 1]
everywhere = np.arange(leaf.size)
asked = by_asking(leaf[0], label[0], 0.003, everywhere)
exact = to_numpy(grad(lambda v: margin(f(v), label).sum(), leaf)).reshape(-1)


def loss(images, labels):
    return margin(f(images), labels)


estimate = estimate_gradient(loss, leaf, label, h=0.003)
np.testing.assert_allclose(
    to_numpy(estimate.gradient).reshape(-1), asked, atol=5e-3 * abs(exact).max()
)
agree = float((np.sign(asked) == np.sign(exact)).mean())
measured("A5", "questions for one gradient of one leaf", estimate.queries, form=",.0f")
measured("A5", "signs that come out right", agree, form=".1%")
assert estimate.queries == 2 * leaf.size
assert agree > 0.9

# %% [markdown]
# ## How large a step? Smooth functions first
#
# Move one value by $t$ and look at the function of one variable $q(t) = m(x + t e_i)$.
# If $q$ is smooth, Taylor's formula gives
#
# $$q(\pm h) = q(0) \pm h q'(0) + \frac{h^2}{2} q''(0) \pm \frac{h^3}{6} q'''(0) +
# \dots \tag{9.2}$$
#
# Put it into (9.1). In the central difference the even terms cancel:
#
# $$\text{forward: } q'(0) + \frac{h}{2} q''(0) + \dots, \qquad \text{central: } q'(0) +
# \frac{h^2}{6} q'''(0) + \dots \tag{9.3}$$
#
# The errors are of *order* 1 and 2: ten times smaller $h$, ten or a hundred times
# smaller error. Try it on a function whose derivative is known.

# %%
far = np.array([1e-1, 1e-2, 1e-3])
wrong = {
    "forward": abs((np.exp(far) - 1) / far - 1),
    "central": abs((np.exp(far) - np.exp(-far)) / (2 * far) - 1),
}
orders = {name: -np.diff(np.log10(e)).mean() for name, e in wrong.items()}
for name, order in orders.items():
    print(f"exp at 0, {name}: errors {wrong[name]}, order {order:.2f}")
assert abs(orders["forward"] - 1) < 0.1
assert abs(orders["central"] - 2) < 0.1

# %% [markdown]
# ## Kinks
#
# $f$ is not smooth. It is made of ReLUs, and $\max(a, 0)$ has a *kink* at $a = 0$: the
# slope jumps. Between kinks the logits are linear. With two classes $m$ is the
# difference of two logits (exercise 2.3), so it is linear there too, and finite
# differences are exact. Let there be one kink at $t = \tau$ with $0 < \tau < h$, slope
# $a$ before it and $b$ after it. Then $q(h) - q(0) = a \tau + b (h - \tau)$, and
# $q(0) - q(-h) = a h$, so
#
# $$\text{forward error} = (b - a) \frac{h - \tau}{h}, \qquad
# \text{central error} = (b - a) \frac{h - \tau}{2h}. \tag{9.4}$$
#
# This does not become smaller with $h$: it is any number from 0 to $b - a$, or half of
# that. What becomes smaller is the *chance* to cross a kink. Let there be $\rho$ kinks
# per unit of $t$, few, and at random places. The forward difference looks at a stretch
# of length $h$, the central one at one of length $2h$. With $\tau$ anywhere, the mean
# of $(h - \tau) / h$ is one half, so the mean size of the error is
#
# $$\text{forward: } \rho h \cdot \frac{|b - a|}{2}, \qquad \text{central: } 2 \rho h
# \cdot \frac{|b - a|}{4}. \tag{9.5}$$
#
# They are equal, and both are of order 1. The central difference loses its advantage.
#
# ## Rounding
#
# Why not take $h$ tiny? Each answer is a float32, off by up to some $\delta$. The
# difference divides that by the step:
#
# $$\text{rounding: up to } \frac{2 \delta}{h} \text{ (forward)}, \qquad \frac{2
# \delta}{2h} = \frac{\delta}{h} \text{ (central)}. \tag{9.6}$$
#
# The sum of (9.5) and (9.6) for central differences, $c h + \delta / h$ with $c = \rho
# |b - a| / 2$, is least where its derivative $c - \delta / h^2$ is zero:
#
# $$h_{best} = \sqrt{\delta / c}. \tag{9.7}$$
#
# To the left of it the error grows as $1 / h$, to the right as $h$: a V on log axes.
# Figure 9.3 measures it, on 20 leaves and 40 values of each.

# %%
steps = 10.0 ** np.arange(-6, -0.9, 0.5)
errors = {"forward": np.zeros(len(steps)), "central": np.zeros(len(steps))}
places = rng(3).choice(leaf.size, 40, replace=False)
for i in range(20):
    alone, its = x[i : i + 1], y[i : i + 1]
    true = to_numpy(grad(lambda v, its=its: margin(f(v), its).sum(), alone))
    true = true.reshape(-1)[places]
    for scheme, total in errors.items():
        for k, h in enumerate(steps):
            guess = by_asking(x[i], y[i], float(h), places, scheme)
            total[k] += np.abs(guess - true).mean() / np.abs(true).mean() / 20
right_side = steps > 0.9e-2
slope = {
    name: np.polyfit(np.log10(steps[right_side]), np.log10(e[right_side]), 1)[0]
    for name, e in errors.items()
}
for name, e in errors.items():
    measured("A5", f"{name}: least relative error", e.min(), form=".1%")
    measured("A5", f"{name}: best h, as a power of ten", np.log10(steps[e.argmin()]))
    measured("A5", f"{name}: order of the error for h from 0.01 on", slope[name])
    assert e.min() < 0.3 * e[0]
    assert e.min() < 0.3 * e[-1]
assert errors["central"][0] < errors["forward"][0]
assert slope["central"] < 1.6  # not 2
figure = plotting.curves(
    {f"{name} differences": (steps, e) for name, e in errors.items()},
    xlabel="step h",
    ylabel="relative error of the gradient",
)
figure.axes[0].set_xscale("log")
figure.axes[0].set_yscale("log")
save(
    figure,
    "step_size",
    alt="Two V-shaped curves on log axes, error against step: high at both ends",
    caption="The mean error of finite differences, over the mean size of the "
    "gradient. Left: rounding. Right: kinks.",
)

# %% [markdown]
# ## Every attack becomes a black-box attack
#
# `QueryGradient` turns a function that only answers into a model with a gradient. Then
# FGSM, PGD and the others run as they are. Here it gets $f$'s *probabilities*, as a
# website would send them.

# %%
ten, labels, eps = x[:10], y[:10], 0.03
website = QueryGradient(lambda images: ops.softmax(f(images)), probabilities=True)
by_answers, by_weights = (
    fgsm(website, ten, y=labels, eps=eps),
    fgsm(f, ten, y=labels, eps=eps),
)
same = float((by_answers.x_adv == by_weights.x_adv).mean())
measured("A5", "questions about ten leaves", website.queries, form=",.0f")
measured("A5", "values that come out as with the weights", same, form=".1%")
assert website.queries == 10 * (2 * leaf.size + 2)  # and before, and for the verdict
assert same > 0.85

# %% [markdown]
# The price is the number of questions. At 299 by 299 pixels in color one central
# gradient costs $2 \cdot 268{,}203$ of them, over half a million, and an attack of many
# steps pays it at each step. Whoever counts questions notices.
#
# ## Black box: made with g, tried on f (C6)
#
# What if the network does not answer at all? Document C's strategy: train a network of
# one's own for the same task, make adversarial examples for *it*, and try them on the
# target. This is *transfer*. The yardstick is noise of the same size. Uniform noise in
# $\pm \varepsilon$ is smaller than FGSM's change in most values, so a coin for each
# sign is a second yardstick. Figure 9.4 shows all four.

# %%
epsilons = np.array([0.0, 0.01, 0.02, 0.03, 0.05, 0.08])
some, its = x[:500], y[:500]
coins = asarray(rng(4).choice(np.float32([-1, 1]), size=some.shape))
sources = {
    "white box: FGSM on f": lambda e: fgsm(f, some, y=its, eps=e),
    "black box: FGSM on g": lambda e: fgsm(g, some, y=its, eps=e),
    "random signs": lambda e: np.clip(some + np.float32(e) * coins, 0, 1),
    "uniform noise": lambda e: uniform_noise(some, eps=e, rng=seed(5)),
}
for source in sources.values():  # a fair comparison: each uses all of ε, and no more
    made = source(0.05)
    moved = abs(getattr(made, "x_adv", made) - some)
    assert abs(float(moved.max()) - 0.05) < 1e-4
on_f = {
    name: accuracy_curve(f, source, its, epsilons) for name, source in sources.items()
}
figure = plotting.curves(
    {name: (epsilons, curve.accuracy) for name, curve in on_f.items()},
    xlabel="ε",
    ylabel="f's accuracy",
    percent=True,
)
save(
    figure,
    "transfer",
    alt="f's accuracy against epsilon. The white box falls most, images made with g "
    "fall less, both kinds of noise least",
    caption=f"f on {len(some)} leaves that were changed by at most ε.",
)
at = list(epsilons).index(0.05)
white, black, signs, uniform = (curve.accuracy[at] for curve in on_f.values())
for name, curve in on_f.items():
    value = curve.accuracy[at]
    measured("C6", f"f's accuracy at ε = 0.05, {name}", value, form=".1%")
assert white < black - 0.05
assert black < signs - 0.05
assert black < uniform - 0.05

# %% [markdown]
# What fools $g$ fools $f$ more often than chance does, as document C says: the two have
# learned similar things. Transfer is the weaker attack, in both directions, as Figure
# 9.5 says.

# %%
matrix = transfer_matrix([f, g], lambda model: fgsm(model, x, y=y, eps=0.05), y)
figure = plotting.heatmap(
    matrix,
    rows=["made with f", "made with g"],
    columns=["judged by f", "judged by g"],
    numbers=".0%",
    limits=(0, 1),
)
save(
    figure,
    "transfer_matrix",
    alt="A two by two table of accuracies: low on the diagonal, where a network "
    "judges its own images, higher off it",
    caption="Accuracy after FGSM at ε = 0.05. Rows made the images, columns judge "
    "them.",
)
assert matrix[0, 0] < matrix[1, 0] - 0.05
assert matrix[1, 1] < matrix[0, 1] - 0.05

# %% [markdown]
# ## One step or many? A claim, and how to test it (C7)
#
# In the white box many small steps beat one (lesson 4). Document C saw the reverse in
# the black box: one step transfers *better*, because many overfit the network that they
# are made with.
#
# How many images does such a claim need? Let the same $N$ images be attacked once with
# one step and once with ten. For image $k$ let $D_k$ be 1 if only the ten steps fool
# the judge, $-1$ if only the one step does, and 0 if both do the same. The mean $\bar
# D$ is the *gain* of ten steps over one. Its standard error and a 95 % confidence
# interval are
#
# $$s = \sqrt{\frac{1}{N (N - 1)} \sum_k (D_k - \bar D)^2}, \qquad \bar D \pm 1.96 \, s.
# \tag{9.8}$$
#
# Taking the difference image by image is what makes the interval narrow: an image that
# is easy for both says nothing and adds no noise. A test with 300 images, of which 11
# are fooled by only one of the two, cannot settle a matter of a few percent. Figure 9.6
# shows the four gains and their intervals.


# %%
def gain(judge, one_step, ten_steps):
    """Mean and 95 % confidence interval (9.8) of what ten steps fool beyond one."""
    by_one = to_numpy(predict(judge, one_step) != y).astype(int)
    by_ten = to_numpy(predict(judge, ten_steps) != y).astype(int)
    difference = by_ten - by_one
    half = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
    return difference.mean(), half


gains = {}
for (name, maker), (other, judge) in ((("f", f), ("g", g)), (("g", g), ("f", f))):
    once = iterative_fgsm(maker, x, y=y, eps=0.05, steps=1).x_adv
    often = iterative_fgsm(maker, x, y=y, eps=0.05, steps=10).x_adv
    gains[f"made with {name}, judged by {name}"] = gain(maker, once, often)
    gains[f"made with {name}, judged by {other}"] = gain(judge, once, often)
for name, (mean, half) in gains.items():
    says = "below 0" if name in list(gains)[1::2] else "above 0"
    measured("C7", f"gain of ten steps, {name}", mean, stated=says, form="+.1%")
    measured("C7", f"half the confidence interval, {name}", half, form=".1%")
figure = Figure(figsize=(6.4, 2.8), layout="constrained")
ax = figure.subplots()
rows = np.arange(len(gains))[::-1]
means, halves = np.array(list(gains.values())).T
ax.errorbar(100 * means, rows, xerr=100 * halves, fmt="o", capsize=4, color="black")
ax.axvline(0, color="gray", linestyle="--")
ax.set_yticks(rows, list(gains))
ax.set_xlabel("share that ten steps fool beyond one step, in percentage points")
ax.margins(y=0.2)
save(
    figure,
    "one_or_many",
    alt="Four means with intervals. Those of the network that made the images lie far "
    "to the right of zero, those of the other network near zero",
    caption=f"What ten steps of ε/10 fool beyond one step, at ε = 0.05, on {len(x):,} "
    f"leaves, with 95 % confidence intervals.",
)
own, foreign = list(gains.values())[::2], list(gains.values())[1::2]
assert len(x) >= 1000
for mean, half in own:
    assert mean - half > 0.02
for mean, half in foreign:
    assert half < 0.04
    assert abs(mean) < 0.12
for (mean, half), (other, wide) in zip(own, foreign, strict=True):
    assert mean - half > other + wide  # the two intervals do not even touch
    assert other < 0.4 * mean

# %% [markdown]
# One half of document C's claim is plain: on the network that made the images ten steps
# fool far more. The other half is a small effect, and one run does not settle it. The
# interval (9.8) covers chance in the choice of the *leaves*. It does not cover chance
# in the *training*: another seed makes two other networks. Ten such cases (five seeds,
# both directions) were looked at. The gain on the other network lay between −6 and +3
# percentage points. It was below zero in most of them and above zero in a few, and in
# one of these the interval excluded zero. So document C's reversal is the likelier
# outcome, not a law.
#
# What is safe to say: *what ten steps gain is knowledge of their maker, and hardly any
# of it transfers.*
#
# ## Summary
#
# A gradient can be had by asking, at two questions for each value of the image; the
# step must balance kinks against rounding. An attacker who cannot ask can train a
# stand-in and hope for transfer, which is weaker than the white box and far stronger
# than noise. More steps help on the network that they were made with, and hardly at all
# elsewhere. A claim of a few percent needs a thousand images, an interval, and more
# than one training run.
#
# ## Exercises
#
# **9.1** (a line of code) How many questions do FGSM and PGD with 40 steps need by
# central differences, for one color image of 224 by 224 pixels?
#
# **9.2** (pencil and paper) Derive $h_{best}$ for a *smooth* function and central
# differences: minimize $c h^2 + \delta / h$. Check it on $e^t$ in float32.
#
# **9.3** (a few lines) Ask with random signs instead: for $v$ with entries $\pm 1$ by
# coins, $\frac{m(x + h v) - m(x - h v)}{2h} \, v$ is an estimate of the gradient. Show
# that its mean is the gradient for a linear $m$. How many draws give 80 % of the signs?
#
# **9.4** (an experiment) The website answers with the label only. What do finite
# differences give? Propose another way to ask.
#
# **9.5** (an experiment) Compute (9.8) for 100 images instead of 1,000, ten times. How
# often does the interval exclude zero, and how often the 1,000-image mean?
#
# **9.6** (open) Make the images with two networks at once, to fool a third. What would
# you try first, and against which yardstick?
#
# ## Read on
#
# - N. Papernot, P. McDaniel and I. Goodfellow, *Transferability in machine learning:
#   from phenomena to black-box attacks using adversarial samples*, 2016,
#   arXiv:1605.07277.
# - P.-Y. Chen, H. Zhang, Y. Sharma, J. Yi and C.-J. Hsieh, *ZOO: zeroth order
#   optimization based black-box attacks*, 2017, arXiv:1708.03999: finite differences.
# - A. Ilyas, L. Engstrom, A. Athalye and J. Lin, *Black-box adversarial attacks with
#   limited queries and information*, 2018, arXiv:1804.08598.
# - Y. Liu, X. Chen, C. Liu and D. Song, *Delving into transferable adversarial examples
#   and black-box attacks*, 2016, arXiv:1611.02770.
# - A. Kurakin, I. Goodfellow and S. Bengio, *Adversarial machine learning at scale*,
#   2016, arXiv:1611.01236: one step and many, transferred.
