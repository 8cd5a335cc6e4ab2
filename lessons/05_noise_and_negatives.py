# %% [markdown]
# # Noise and negatives: attacks that know nothing
#
# Mirrors: E1, E2, E3.
#
# Before: lesson 2 and the frame. Minutes: 35.
#
# You will:
#
# - turn up random noise until the label changes;
# - derive why noise of the same size is so much weaker than FGSM, and check the
#   formula;
# - attack with the negative image;
# - build a class whose negatives survive, and say why it must.
#
# In the frame's terms (E1) these two attackers know nothing. They see neither weights
# nor answers, and they cannot choose the label that comes out. FGSM sees the weights.
# The difference between them is what knowledge is worth.

# %%
import numpy as np
from lesson import by_data, dataset, measured, rng, save, seed, trained, trained_mlp
from matplotlib.figure import Figure

from minadv import (
    array_module,
    asarray,
    fgsm,
    grad,
    models,
    negative,
    plotting,
    to_numpy,
    uniform_noise,
)
from minadv.evaluation import accuracy, accuracy_curve, confidence, predict
from minadv.losses import margin

d = dataset()
xp = array_module(d.x_test)
model = trained_mlp()
x, y = d.x_test[:1000], d.y_test[:1000]

# %% [markdown]
# ## Noise (E2)
#
# Each pixel moves by a random amount $r_i$, and the sum is clipped to $[0, 1]$:
#
# $$x_{adv} = \min(\max(x + r, 0), 1), \qquad r_i \text{ uniform in } [-\varepsilon,
# \varepsilon]. \tag{5.1}$$
#
# Document E's text draws the noise with `randn`, so from the normal distribution. Its
# code draws it uniformly. That matters: normal noise has no largest change, and so no
# $\varepsilon$. The more pixels, the larger the largest of them.


# %%
def noise_by_hand(x, eps, generator):
    r = generator.uniform(-eps, eps, x.shape).astype(x.dtype)
    return xp.clip(x + asarray(r), 0, 1)  # (5.1)


by_hand = noise_by_hand(x, 0.3, rng(1))
np.testing.assert_allclose(
    to_numpy(by_hand), to_numpy(uniform_noise(x, eps=0.3, rng=rng(1))), atol=1e-6
)
largest = [abs(rng(n).standard_normal(n)).max() for n in (100, 10_000, 1_000_000)]
print("largest of 100, 10,000 and 1,000,000 normal numbers:", *np.round(largest, 1))
assert largest[0] < largest[1] < largest[2]

# %% [markdown]
# ## Turn it up until the label changes
#
# Draw the noise *once* for each image and turn it up. (A generator with the same seed
# draws the same numbers, times $\varepsilon$.) The same for FGSM: one direction, turned
# up. For each image, note the first $\varepsilon$ at which the label is wrong. Figure
# 5.1 shows one image on its way.

# %%
grid = np.linspace(0, 1, 51)
right = predict(model, x) == y
some, labels = x[right][:300], y[right][:300]


def first_wrong(attack):
    """The first ε of the grid at which each label is wrong; infinite if none is."""
    first = np.full(len(some), np.inf)
    for eps in grid[::-1]:
        first[to_numpy(predict(model, attack(eps)) != labels)] = eps
    return first


by_noise = first_wrong(lambda eps: uniform_noise(some, eps=eps, rng=seed()))
by_fgsm = first_wrong(lambda eps: fgsm(model, some, y=labels, eps=eps).x_adv)
needed = {"noise": np.median(by_noise), "FGSM": np.median(by_fgsm)}
unmoved = float(np.isinf(by_noise).mean())
measured("E2", "ε at which FGSM fools half of the images", needed["FGSM"], form=".2f")
measured("E2", "images that no noise up to ε = 1 fools", unmoved, form=".0%")
share = float((by_noise > 3 * by_fgsm).mean())
measured("E2", "images for which noise needs over 3 times FGSM's ε", share, form=".0%")
assert needed["noise"] > 2 * needed["FGSM"]
assert share > 0.55

# %%
n = int(np.flatnonzero(np.isfinite(by_noise) & (by_noise > 0.2))[0])
shown = np.array([0, 0.25, 0.5, 0.75, 1.0])
frames = xp.concatenate(
    [uniform_noise(some, eps=eps, rng=seed())[n : n + 1] for eps in shown]
)
figure = plotting.images(
    frames, labels=predict(model, frames), confidences=confidence(model, frames)
)
save(
    figure,
    "until_the_label_changes",
    alt="One digit five times under noise that grows from left to right",
    caption="The same noise at ε = 0, 0.25, 0.5, 0.75 and 1. Above each image: how it "
    f"is read, and the confidence. The label is wrong for the first time at ε = "
    f"{by_noise[n]:.2f}.",
)
assert int(predict(model, frames[:1])[0]) == int(labels[n])

# %% [markdown]
# ## Why noise is weak
#
# Let $m(x)$ be the margin of the true label, its log-odds (lesson 2). Let $g = \nabla
# m$. For small $r$, $m(x + r) \approx m(x) + \sum_i g_i r_i$. FGSM takes $r_i =
# -\varepsilon \, \mathrm{sign}(g_i)$, so the margin changes by
#
# $$\Delta_{FGSM} = -\varepsilon \sum_i |g_i| = -\varepsilon \lVert g \rVert_1.
# \tag{5.2}$$
#
# For noise the $r_i$ are independent with mean 0, so the change is 0 on average. A
# uniform number in $[-\varepsilon, \varepsilon]$ has the variance
#
# $$\frac{1}{2 \varepsilon} \int_{-\varepsilon}^{\varepsilon} t^2 \, dt =
# \frac{\varepsilon^2}{3}. \tag{5.3}$$
#
# Variances of independent terms add up. So the standard deviation of the change is
#
# $$\sigma_{noise} = \sqrt{\sum_i g_i^2 \, \frac{\varepsilon^2}{3}} =
# \frac{\varepsilon}{\sqrt 3} \lVert g \rVert_2. \tag{5.4}$$
#
# The ratio of (5.2) and (5.4) is $\sqrt 3 \, \lVert g \rVert_1 / \lVert g \rVert_2$. It
# is $\sqrt{3n}$ if all of the $n$ components of $g$ have the same size, and smaller
# else. FGSM is worth that many standard deviations of luck. Check (5.4) where clipping
# plays no part: 2,000 draws of small noise, on one image at a time.

# %%
tiny, ratios, spread = 1e-3, [], []
g = to_numpy(grad(lambda x: margin(model(x), labels).sum(), some), dtype=float)
g = g.reshape(len(some), -1)
for k in range(10):
    r = rng(k).uniform(-tiny, tiny, (2000, g.shape[1])).astype(np.float32)
    noisy = asarray(to_numpy(some[k]).reshape(1, -1) + r).reshape(-1, *some.shape[1:])
    m = to_numpy(margin(model(noisy), xp.full(2000, int(labels[k]))), dtype=float)
    spread.append(m.std() / (tiny / np.sqrt(3) * np.linalg.norm(g[k])))  # over (5.4)
ratios = np.sqrt(3) * abs(g).sum(axis=1) / np.linalg.norm(g, axis=1)
measured("E2", "spread under noise, measured over (5.4)", np.mean(spread), form=".2f")
measured("E2", "FGSM in standard deviations of noise, (5.2)/(5.4)", np.median(ratios))
print(f"at most √(3n) = {np.sqrt(3 * g.shape[1]):.1f}")
assert 0.9 < np.mean(spread) < 1.1
assert 5 < np.median(ratios) < np.sqrt(3 * g.shape[1])

# %% [markdown]
# Figure 5.2 shows the same over a thousand images and up to large $\varepsilon$, where
# the straight line no longer holds.

# %%
curve_grid = np.linspace(0, 0.5, 11)
curves = {
    "uniform noise": accuracy_curve(
        model, lambda eps: uniform_noise(x, eps=eps, rng=seed()), y, curve_grid
    ),
    "FGSM": accuracy_curve(
        model, lambda eps: fgsm(model, x, y=y, eps=eps), y, curve_grid
    ),
}
noise, attack = curves.values()
measured("E2", "accuracy under noise, ε = 0.2", noise.accuracy[4], form=".1%")
measured("E2", "accuracy under FGSM, ε = 0.2", attack.accuracy[4], form=".1%")
fall = noise.true_confidence[0] - noise.true_confidence[-1]
measured("E2", "fall of the true label's confidence, noise of 0.5", fall, form=".2f")
assert noise.accuracy[4] > attack.accuracy[4] + 0.3
assert fall > 0.03
save(
    plotting.epsilon_curves(curves),
    "noise_or_fgsm",
    alt="Two panels against ε: accuracy, and mean confidence in the predicted label",
    caption="Accuracy (left) under noise and under FGSM of the same ε. Right: the mean "
    "confidence in whatever label is predicted.",
)

# %% [markdown]
# ## The negative (E3)
#
# A person reads black on white as well as white on black. For pixels in $[0, 1]$ the
# negative is $1 - x$. For pixels centered at 0, in $[-1, 1]$, it is $-x$. Both show the
# same image, since $1 - x$ centered is $2 (1 - x) - 1 = -(2x - 1)$. (Document E says
# that the pixels "must be centered". Its own code has both cases.) Figure 5.3 shows
# what the network reads.

# %%
negatives = 1 - x
assert (negatives == negative(x)).all()
assert (negative(2 * x - 1, bounds=(-1, 1)) == -(2 * x - 1)).all()

clean, turned = accuracy(model, x, y), accuracy(model, negatives, y)
measured("E3", "accuracy on images", clean, form=".1%")
measured("E3", "accuracy on their negatives", turned, form=".1%")
read = np.bincount(to_numpy(predict(model, negatives)), minlength=10) / len(x)
top = read.argsort()[::-1]
share = float(read[top[:3]].sum())
measured("E3", "negatives read as one of the three commonest labels", share, form=".0%")
print(f"(these labels are {top[0]}, {top[1]} and {top[2]})")
assert turned < 0.5
assert clean > 0.9
assert share > 0.55

first_ten = np.array([int(np.flatnonzero(to_numpy(y) == k)[0]) for k in range(10)])
shown = negatives[first_ten]
figure = plotting.images(
    shown, labels=predict(model, shown), confidences=confidence(model, shown)
)
save(
    figure,
    "negatives",
    alt="The digits 0 to 9 in black on white, each with a label and a confidence",
    caption="The negatives of the digits 0 to 9, and what the network reads. It was "
    f"trained on white strokes only. Over all {len(x):,} test images, {turned:.0%} of "
    "the negatives are read right.",
)

# %% [markdown]
# Three of the ten labels take most of the negatives, whatever is drawn. So a digit
# whose label is among these "survives", but not because anything in it was recognized.
#
# No ε below 1 would allow this change. And nobody is fooled by it but machines: "small"
# is not the only way to be harmless to the eye. Lesson 4's judge, the nearest training
# image in pixels, is such a machine, too.

# %%
train = d.x_train[:10_000].reshape(-1, x[0].size)  # ten thousand are enough
squared = (train**2).sum(axis=1) - 2 * negatives[:200].reshape(200, -1) @ train.T
judged = float((d.y_train[squared.argmin(axis=1)] == y[:200]).mean())
measured(
    "E3", "negatives whose nearest training image has their label", judged, form=".0%"
)
assert judged < 0.5

# %% [markdown]
# ## A class that survives (E3)
#
# Document E's negative gorilla becomes a dog, while its negative maraca stays a maraca.
# The document explains: a negative fails to fool where the class's features are unique
# and the negation preserves them. One case of that can be proved. Let the images of a
# class have the distribution $P$, and let $P$ be *closed under negation*: if $x$ is
# distributed as $P$, so is $1 - x$. Then for any model, with $[\cdot]$ being 1 if the
# statement is true and else 0,
#
# $$\text{share of negatives read right} = E_{x \sim P} [\text{label of } 1 - x \text{
# is right}] = E_{x' \sim P} [\text{label of } x' \text{ is right}], \tag{5.5}$$
#
# where $x' = 1 - x$. So the negatives are read as well as the images. Build two such
# classes: stripes that stand and stripes that lie, with any width and phase. The
# negative of a stripe pattern is the pattern with the phase shifted by half a period,
# so it belongs to the same class. Digits are no such class. Train a network on the
# digits and on both kinds of stripes, as an eleventh and a twelfth class. Figure 5.4
# shows some of them with their negatives.


# %%
def stripes(count, lying, generator):
    """Patterns of black and white stripes, of any width and phase."""
    H, W = d.x_test.shape[1:3]
    v, u = np.mgrid[:H, :W]
    angle = generator.uniform(-0.4, 0.4, (count, 1, 1)) + (np.pi / 2) * lying
    phase = generator.uniform(0, 2 * np.pi, (count, 1, 1))
    period = generator.uniform(H / 4, H / 2, (count, 1, 1))
    wave = (u * np.cos(angle) + v * np.sin(angle)) * 2 * np.pi / period + phase
    return (np.sin(wave) > 0).astype(np.float32)[..., None]


names = [*"0123456789", "standing", "lying"]
digits, labels = d.x_train[:10_000], d.y_train[:10_000]  # ten thousand are enough
count = len(digits) // 10
both_x = [to_numpy(digits), stripes(count, 0, rng(5)), stripes(count, 1, rng(6))]
both_x = np.concatenate(both_x)
both_y = np.concatenate([to_numpy(labels), np.repeat([10, 11], count)])
order = rng(7).permutation(len(both_x))
twelve = trained(
    "stripes",
    models.mlp(d.x_test.shape[1:], classes=12, rng=seed()),
    asarray(both_x[order]),
    asarray(both_y[order]),
    epochs=by_data(sample=4, digits=20),
    batch_size=32,
    rng=seed(),
)

# %%
test = {"digits": (x, y)}
for label, name in ((10, "standing stripes"), (11, "lying stripes")):
    drawn = asarray(stripes(500, label - 10, rng(label)))
    test[name] = drawn, asarray(np.full(500, label))
shares = {
    name: (accuracy(twelve, images, is_so), accuracy(twelve, 1 - images, is_so))
    for name, (images, is_so) in test.items()
}
for name, (as_is, turned) in shares.items():
    measured("E3", f"{name} read right", as_is, form=".1%")
    measured("E3", f"negatives of {name} read right", turned, form=".1%")
    assert as_is > 0.85
    if name == "digits":
        assert turned < 0.4
    else:
        assert abs(turned - as_is) < 0.1  # (5.5), up to chance
taken = float((predict(twelve, 1 - x) >= 10).mean())
measured("E3", "negatives of digits read as stripes", taken, form=".1%")

figure = Figure(figsize=(7.2, 3), layout="compressed")
shown = [test[name][0][:2] for name in ("standing stripes", "lying stripes", "digits")]
shown = xp.concatenate(shown)
rows = zip(figure.subplots(2, 6), (shown, 1 - shown), strict=True)
for (row, images), kind in zip(rows, ("image", "negative"), strict=True):
    row[0].set_ylabel(kind)
    labels = to_numpy(predict(twelve, images))
    for ax, picture, label in zip(row, to_numpy(images), labels, strict=True):
        ax.imshow(picture[..., 0], cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], title=names[label])
save(
    figure,
    "survivors",
    alt="Two patterns of standing stripes, two of lying stripes and two digits; below "
    "them their negatives",
    caption="Images (top) and their negatives (bottom), each under the label that the "
    "network of twelve classes gives it. Of the negatives of standing stripes "
    f"{shares['standing stripes'][1]:.0%} are read right, of lying stripes "
    f"{shares['lying stripes'][1]:.0%}, of digits {shares['digits'][1]:.0%}.",
)

# %% [markdown]
# What the network learned of digits are white strokes, and a negative has none. What it
# learned of stripes, their direction, holds for the negative as well: it still tells
# standing from lying. (A negative digit goes to whatever class has much white.) So the
# negative attack is a question about the class, not about the size of the change. The
# cure is in (5.5), too: make the training distribution closed under negation. Lesson 11
# trains on negatives.
#
# ## Summary
#
# Noise and negatives need no knowledge of the model. Noise spreads its ε over all
# directions, and FGSM puts it into one; (5.2) and (5.4) give the ratio, up to $\sqrt{3
# n}$. A negative changes every pixel by as much as possible, and people do not mind. It
# fools a network about classes that look different in negative, and cannot fool it
# about a class that is closed under negation.
#
# ## Exercises
#
# **5.1** (a line of code) Replace uniform noise by the corners, $r_i = \pm \varepsilon$
# with equal chances. How does (5.4) change?
#
# **5.2** (a few lines) Draw noise 100 times for one image at one ε and keep the worst
# draw. How much does that help? Compare with the FGSM of the same ε.
#
# **5.3** (an experiment) Blend slowly: $x_c = (1 - c) x + c (1 - x)$. At which contrast
# $c$ does the accuracy collapse? What is special about $c = 1/2$?
#
# **5.4** (an experiment) Write a judge that does not care about negation: the nearest
# training image to $x$ *or* to $1 - x$. How well does it read negatives, and images?
#
# **5.5** (open) Which other transformations $T$ leave a digit readable for people? For
# which of them is the class of all digits closed, and for which only some digits?
#
# ## Read on
#
# - H. Hosseini, B. Xiao, M. Jaiswal and R. Poovendran, *On the limitation of
#   convolutional neural networks in recognizing negative images*, 2017,
#   arXiv:1703.06857.
# - A. Fawzi, S. Moosavi-Dezfooli and P. Frossard, *Robustness of classifiers: from
#   adversarial to random noise*, 2016, arXiv:1608.08967.
# - R. Geirhos and others, *ImageNet-trained CNNs are biased towards texture*, 2019,
#   arXiv:1811.12231.
