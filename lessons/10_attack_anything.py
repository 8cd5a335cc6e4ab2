# %% [markdown]
# # Attack an image file in one call
#
# Mirrors: E5, E8.
#
# Before: lessons 2, 4 and 7. Minutes: 40.
#
# You will:
#
# - attack a picture in a file by one line, and write out what the line does;
# - attack without a label, and towards a class by its name;
# - predict how much a file's 256 shades move a network's answer, and check it;
# - store an adversarial image so that it survives.
#
# In the terms of the frame: goal both; white box; L∞ changes, or the shortest ones; and
# one more condition, *the result must fit into a file*.

# %%
import io
import warnings
from functools import partial

import numpy as np
from lesson import by_data, dataset, measured, save, settings, trained_cnn
from PIL import Image

from minadv import asarray, deepfool, fgsm, grad, pgd, plotting, to_numpy
from minadv.__main__ import main as command_line
from minadv.evaluation import confidence, logits, predict
from minadv.images import (
    attack_image,
    from_8bit,
    read_image,
    save_image,
    survives_8bit,
    to_8bit,
)
from minadv.losses import cross_entropy, margin
from minadv.models import save_weights

d, model = dataset(), trained_cnn()
files = settings.out / "10_attack_anything" / "files"
names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
x, y = d.x_test[:1000], d.y_test[:1000]
own = predict(model, x)
strong = by_data(sample=0.2, digits=0.25)  # an ε at which FGSM mostly succeeds

# %% [markdown]
# ## One line (E8)
#
# So far arrays and labels were at hand. An attacker has a picture in a file. Here is
# one, a seven as a PNG, and the one line. (Of the test images that are sevens, it is
# one that the network reads right and FGSM turns.) Figure 10.1 is what the line draws.

# %%
seven_is = (own == 7) & (y == 7) & fgsm(model, x, y=own, eps=strong).success
which = int(np.flatnonzero(to_numpy(seven_is))[0])
seven = save_image(x[which : which + 1], files / "seven.png")

attacked = attack_image(seven, model, partial(fgsm, eps=strong), class_names=names)

print(attacked)
print("written:", *(path.name for path in attacked.files.values()))
save(
    attacked.figure,
    "seven",
    alt="Three panels: the picture as it was; what FGSM adds; their sum. Each picture "
    "is titled with what the network reads",
    caption=f"One call. The picture is read as {attacked.original}, and after FGSM at "
    f"ε = {strong} as {attacked.adversarial}.",
)
assert attacked.original.name == "seven"
assert attacked.success
assert attacked.adversarial.name != "seven"

# %% [markdown]
# ## What the one line does
#
# A file holds *bytes*, integers from 0 to 255, and the network wants pixel values in
# $[0, 1]$. So there are four steps: bytes to pixels, attack, pixels to bytes, and a
# second look at what was stored.


# %%
def attack_by_hand(path, eps):
    """Read a PNG, attack the model's own prediction, and store what comes out."""
    with Image.open(path) as file:
        pixels = np.asarray(file)[None, :, :, None]  # (1, H, W, 1), integers
    image = asarray(pixels.astype(np.float32) / np.float32(255))
    label = model(image).argmax(axis=1)  # nobody says what is on it
    slope = grad(lambda v: cross_entropy(model(v), label).sum(), image)
    adversarial = np.clip(image + np.float32(eps) * np.sign(slope), 0, 1)
    stored = np.round(255 * to_numpy(adversarial)).astype(np.uint8)
    png = io.BytesIO()
    Image.fromarray(stored[0, :, :, 0]).save(png, "png")
    return adversarial, stored, png


by_hand, stored, png = attack_by_hand(seven, strong)
with Image.open(png) as file:
    assert (np.asarray(file) == stored[0, :, :, 0]).all()  # a PNG keeps every byte
np.testing.assert_allclose(
    to_numpy(by_hand), to_numpy(attacked.result.x_adv), atol=1e-6
)
assert (np.load(attacked.files["exact"]) == to_numpy(attacked.result.x_adv)).all()
assert (to_8bit(read_image(attacked.files["stored"])) == asarray(stored)).all()

# %% [markdown]
# ## Confidence
#
# Document E shows a "confidence" of 20.2 for a gorilla, and of 16.4 and 11.5 after
# noise. A probability cannot be above 1, so these are other numbers; logits would look
# like this. A logit means little without the others: add 100 to all of them, and the
# softmax $p_j = e^{z_j} / \sum_k e^{z_k}$ is the same. Here confidence is the softmax
# probability of the class that was read.

# %%
z = to_numpy(logits(model, read_image(seven)), dtype=float)[0]
p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
shifted = np.exp(z + 100) / np.exp(z + 100).sum()
np.testing.assert_allclose(shifted, p, rtol=1e-9)
np.testing.assert_allclose(attacked.original.confidence, p.max(), rtol=1e-4)
measured("E8", "the seven's largest logit", z.max(), form=".1f")
measured("E8", "the seven's confidence, as a probability", p.max(), form=".1%")

# %% [markdown]
# ## Nobody says what is on it (E5)
#
# Without a label, attack the network's own prediction $\hat y$ in place of $y$:
#
# $$\hat y = \arg\max_k z_k(x), \qquad x_{adv} = \mathrm{clip}\bigl(x + \varepsilon \,
# \mathrm{sign}(\nabla_x L(W, x, \hat y))\bigr). \tag{10.1}$$
#
# Document E's listing does the same, with slips of the pen: it stores the prediction in
# `Y` and reads `y`, and its later call leaves the network out. Where the network is
# right, (10.1) *is* the attack with the true label. Where it is wrong, (10.1) leads
# away from the error, now and then to the truth.

# %%
right = own == y
blind, informed = (fgsm(model, x, y=label, eps=0.1) for label in (own, y))
assert (blind.x_adv[right] == informed.x_adv[right]).all()
changed = float((predict(model, blind.x_adv) != own).mean())
misread = to_numpy(~right)
repaired = to_numpy(predict(model, blind.x_adv) == y)[misread].sum()
measured("E5", "labels that (10.1) changes at ε = 0.1", changed, form=".1%")
measured("E5", "images misread before", misread.sum(), form=".0f")
measured("E5", "of these repaired by the attack", repaired, form=".0f")
assert changed > 0.2
assert misread.sum() > 0

# %% [markdown]
# ## To a class by its name (E5)
#
# A targeted attacker wants the label $t$. Climbing the loss $L(W, x, y)$ leads away
# from $y$. Climbing $-L(W, x, t)$ leads towards $t$, which is descending $L(W, x, t)$:
#
# $$x + \varepsilon \, \mathrm{sign}\bigl(\nabla_x (-L(W, x, t))\bigr) = x -
# \varepsilon \, \mathrm{sign}(\nabla_x L(W, x, t)). \tag{10.2}$$
#
# One step reaches the target for some images. PGD (lesson 4) repeats it, and stops as
# soon as it is there, as in Figure 10.2.

# %%
wide = by_data(sample=0.3, digits=0.4)
steered = attack_image(
    seven, model, partial(pgd, eps=wide, rng=0), target="three", class_names=names
)
print(steered)
save(
    steered.figure,
    "three",
    alt="Three panels: the picture as it was; what PGD adds; their sum. Each picture "
    "is titled with what the network reads",
    caption=f"Towards a three. The picture is read as {steered.original}, and after "
    f"PGD at ε = {wide} as {steered.adversarial}.",
)
assert steered.adversarial.name == "three"

others = x[(y != 3) & (own != 3)][:200]
three = asarray(np.full(len(others), 3))
slope = grad(lambda v: -cross_entropy(model(v), three).sum(), others)
one_step = np.clip(others + np.float32(strong) * np.sign(slope), 0, 1)  # (10.2)
library = fgsm(model, others, target=3, eps=strong)
arrived = {
    "one step by hand": float((predict(model, one_step) == 3).mean()),
    "fgsm": float(library.success.mean()),
    "pgd": float(pgd(model, others, target=3, eps=strong).success.mean()),
}
for name, value in arrived.items():
    measured("E5", f"read as a three after {name}", value, form=".1%")
assert abs(arrived["one step by hand"] - arrived["fgsm"]) < 0.02
assert arrived["pgd"] > arrived["fgsm"] + 0.02

# %% [markdown]
# ## What a file forgets
#
# A PNG keeps 256 shades per pixel. Rounding moves each pixel to the nearest one, by at
# most half a step:
#
# $$q_i = \frac{\mathrm{round}(255 \, x_i)}{255} - x_i, \qquad |q_i| \le \frac{1}{510}
# \approx 0.002. \tag{10.3}$$
#
# How far does that move the margin $m$ (1.9)? To first order by $q \cdot \nabla m$, and
# at worst, by Hölder's inequality (1.5), by $\lVert \nabla m \rVert_1 / 510$. But
# rounding does not aim. Take each $q_i$ as drawn at random from $[-\frac{1}{510},
# \frac{1}{510}]$, independently. Its mean is 0 and its variance
#
# $$\mathrm{Var}(q_i) = 255 \int_{-1/510}^{1/510} u^2 \, du = \frac{1}{12 \cdot 255^2}.
# \tag{10.4}$$
#
# Variances of independent numbers add up, $\mathrm{Var}(q \cdot \nabla m) = \sum_i
# (\partial_i m)^2 \, \mathrm{Var}(q_i)$. So the margin moves by about
#
# $$\sqrt{\mathrm{Var}(q \cdot \nabla m)} = \frac{1}{255 \sqrt{12}} \, \lVert \nabla m
# \rVert_2, \tag{10.5}$$
#
# the L2 norm over the pixels that are between two shades. Check it on images that
# DeepFool (lesson 7) changed.

# %%
source = from_8bit(to_8bit(x[:300]))  # images as they come from files
before = predict(model, source)
overshoots = np.array([0.0, 0.01, 0.02, 0.05, 0.1, 0.2])
by_deepfool = {
    overshoot: deepfool(model, source, y=before, overshoot=float(overshoot))
    for overshoot in overshoots
}
made = by_deepfool[0.02].x_adv  # the usual overshoot; see below
rounded = from_8bit(to_8bit(made))
moved = to_numpy(
    margin(logits(model, rounded), before) - margin(logits(model, made), before),
    dtype=float,
)
slope = to_numpy(grad(lambda v: margin(model(v), before).sum(), made), dtype=float)
between = np.abs(to_numpy(rounded - made)) > 1e-6
flat = (slope * between).reshape(len(slope), -1)
aimless = np.linalg.norm(flat, axis=1) / (255 * np.sqrt(12))
worst = np.abs(flat).sum(axis=1) / 510
typical = np.sqrt((moved**2).mean()) / np.sqrt((aimless**2).mean())
measured("E8", "change of the margin by rounding, over (10.5)", typical)
measured("E8", "the same over the worst case", np.abs(moved).max() / worst.max())
assert 0.6 < typical < 1.6
assert np.abs(moved).max() < 0.7 * worst.max()

# %% [markdown]
# So rounding moves the margin a little, up or down. An attack that goes far beyond the
# border does not notice. DeepFool stops just behind it. Its *overshoot* is the share by
# which it goes too far: to first order, the difference of the two logits that decide is
# then minus the overshoot times what it was at the start. The larger the overshoot, the
# fewer attacks are undone.
#
# And the usual `(255 * x).astype("uint8")` does not round, it cuts off. The error then
# lies between 0 and a whole step, and always makes the image darker. Figure 10.3
# compares the two.

# %%
undone = {"rounded": [], "cut off": []}
for result in by_deepfool.values():
    cut = from_8bit((255 * result.x_adv).astype("uint8"))
    won = int(result.success.sum())
    kept = int(survives_8bit(model, result, y=before).sum())
    undone["rounded"].append(1 - kept / won)
    kept = int((result.success & (predict(model, cut) != before)).sum())
    undone["cut off"].append(1 - kept / won)
for how, shares in undone.items():
    for overshoot, share in zip(overshoots, shares, strict=True):
        what = f"DeepFool undone, overshoot {overshoot}, {how}"
        measured("E8", what, share, form=".1%")
figure = plotting.curves(
    {how: (overshoots, np.array(shares)) for how, shares in undone.items()},
    xlabel="overshoot",
    ylabel="attacks undone",
    percent=True,
)
save(
    figure,
    "eight_bits",
    alt="The share of attacks undone by 8 bits, against the overshoot. Both curves "
    "fall, and the one of rounded values lies lower",
    caption="DeepFool's images, stored in 8 bits: what share of the successes is gone?",
)
assert undone["rounded"][0] > 0.1
assert undone["rounded"][-1] < 0.12
assert undone["rounded"][-1] < undone["rounded"][0] / 2
assert sum(undone["cut off"]) > sum(undone["rounded"])

# %% [markdown]
# So `attack_image` looks again at what it has stored, and warns. The exact image is in
# the `.npy` file. The next picture is the one that rounding carries back furthest.

# %%
result = by_deepfool[0.0]
again = from_8bit(to_8bit(result.x_adv))
lost = to_numpy(margin(logits(model, again), before), dtype=float)
worst_one = int(np.where(to_numpy(result.success), lost, -np.inf).argmax())
brink = save_image(source[worst_one : worst_one + 1], files / "brink.png")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    edge = attack_image(brink, model, partial(deepfool, overshoot=0.0))
print(edge)
print("warning:", *(str(warning.message) for warning in caught))
assert len(caught) == 1
assert edge.success
assert not edge.survives_8bit

# %% [markdown]
# ## Steps that a file can hold
#
# Better: leave nothing to round. With $\varepsilon = k / 255$ and an image of bytes,
# every value of FGSM's result is a byte again, $k$ shades away or at an end of the
# range. What is stored is what was made, as in Figure 10.4. Cutting off spoils it:
# float32 values a hair below a shade lose a whole shade.

# %%
k = by_data(sample=24, digits=48)
result = fgsm(model, source, y=before, eps=k / 255)
by_shades = to_8bit(result.x_adv).astype(int) - to_8bit(source).astype(int)
cut = (255 * result.x_adv).astype("uint8")
won = int(result.success.sum())
kept = int(survives_8bit(model, result, y=before).sum())
others = float((cut != to_8bit(result.x_adv)).mean())
measured("E8", "FGSM by whole shades: successes lost in 8 bits", won - kept, form=".0f")
measured("E8", "bytes that cutting off changes", others, form=".1%")
assert won > 50
assert kept >= won - 1
assert int(abs(by_shades).max()) == k
assert others > 0.05

figure = plotting.images(
    np.concatenate([source[:6], result.x_adv[:6]]),
    labels=np.concatenate([before[:6], result.label[:6]]),
    confidences=np.concatenate(
        [confidence(model, source[:6]), confidence(model, result.x_adv[:6])]
    ),
    columns=6,
)
for row, label in ((0, "as it came"), (6, "by whole shades")):
    figure.axes[row].set_ylabel(label, fontsize=9)
save(
    figure,
    "shades",
    alt="Six digits as they came, and below each the same after FGSM, titled with "
    "what the network reads",
    caption=f"Six images, and the same after FGSM with ε = {k}/255, each titled with "
    f"what the network reads. A PNG holds them exactly.",
)

# %% [markdown]
# ## From the command line
#
# The same without a line of Python:
#
# ```
# python -m minadv attack seven.png --weights cnn.npz --attack pgd --eps 8/255
# ```
#
# The options of an attack are its arguments; `--attack pgd --help` lists them. The exit
# code is 0 if the network is fooled, 1 if it is not, and 2 for an error.

# %%
weights = save_weights(model, files / "cnn.npz")
words = ["attack", str(seven), "--weights", str(weights), "--attack", "pgd"]
codes = {
    eps: command_line([*words, "--eps", eps, "--out", str(files)])
    for eps in ("0.0001", f"{int(255 * wide)}/255")
}
print("exit codes:", codes)
assert list(codes.values()) == [1, 0]

# %% [markdown]
# ## Summary
#
# An attack on a file is four steps: bytes to pixels, attack, pixels to bytes, look
# again. Without a label one attacks the network's own prediction, with a target one
# descends the loss towards it. Rounding to 256 shades moves the margin at random, by
# about the gradient's length over 883, and undoes attacks that stop just behind the
# border. Attacks by whole shades, and rounding instead of cutting off, keep what was
# made.
#
# ## Exercises
#
# **10.1** (a line of code) A file has 16 shades instead of 256. What takes the place of
# 1/510 in (10.3), and what of 883 in the summary?
#
# **10.2** (pencil and paper) Cutting off has an error drawn from $[-\frac{1}{255}, 0]$.
# Find its mean and variance. What does the mean do to $q \cdot \nabla m$?
#
# **10.3** (a few lines) Choose the overshoot for each image by (10.5), applied to the
# difference of the two logits that decide, so that rounding undoes few attacks and the
# change stays small. Compare it with a fixed overshoot of 0.02.
#
# **10.4** (an experiment) Store FGSM's images as JPEG of quality 90, 70 and 50. How
# many survive? Why does (10.5) not apply?
#
# **10.5** (open) A photograph of a printed picture is a far coarser channel than a PNG.
# What would you have to know to attack through it?
#
# ## Read on
#
# - A. Kurakin, I. Goodfellow and S. Bengio, *Adversarial examples in the physical
#   world*, 2016, arXiv:1607.02533: through a camera.
# - A. Athalye, L. Engstrom, A. Ilyas and K. Kwok, *Synthesizing robust adversarial
#   examples*, 2017, arXiv:1707.07397: attacks that survive a change of view.
# - N. Carlini and D. Wagner, *Towards evaluating the robustness of neural networks*,
#   2016, arXiv:1608.04644: rounding to integers, in its section on discretization.
