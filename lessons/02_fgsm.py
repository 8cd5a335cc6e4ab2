# %% [markdown]
# # FGSM on handwritten digits
#
# Mirrors: B1, B2, B3, B4, B5, B6, E4, E5.
#
# Before: lesson 0, the frame, and lesson 1. Minutes: 60.
#
# You will:
#
# - train document B's network, and fool it by one gradient step on the image;
# - write FGSM in six lines: against a label, and towards a target;
# - measure what the attack does to the network, to the eye's stand-in and to the four
#   outcomes of a yes-or-no question;
# - see two traps that have made many published numbers worthless.
#
# In the terms of the frame: goal untargeted at first, later targeted; white box; no
# pixel may change by more than $\varepsilon$ or leave $[0, 1]$.

# %%
import numpy as np
from lesson import (
    by_data,
    dataset,
    measured,
    rng,
    save,
    seed,
    settings,
    slider,
    trained_mlp,
)

from minadv import (
    asarray,
    fgsm,
    fit,
    grad,
    models,
    ops,
    plotting,
    to_numpy,
    value_and_grad,
)
from minadv.data import digits
from minadv.evaluation import accuracy, accuracy_curve, confidence, outcomes, predict
from minadv.losses import cross_entropy

d = dataset()
strong = by_data(sample=0.1, digits=0.2)  # an ε at which the attack mostly succeeds

# %% [markdown]
# ## The data and the network (B3, B4)
#
# The images show handwritten digits, one gray value from 0 (black) to 1 (white) per
# pixel. Figure 2.1 shows the first hundred training images.

# %%
save(
    plotting.mosaic(d.x_train[:100]),
    "mosaic",
    alt="A mosaic of ten by ten handwritten digits",
    caption=f"The first 100 of {len(d.x_train):,} training images, of "
    f"{d.x_train.shape[1]} by {d.x_train.shape[2]} pixels.",
)

# %% [markdown]
# The network is the one of lesson 0: the image as a vector, 128 ReLU units, 10 logits,
# a softmax. It is trained as in document B: cross-entropy, the optimizer Adam with step
# size 0.001, 10 *epochs* (passes through the data), batches of 8 (of 16 on the 12,000
# images that come with minadv). Figure 2.2 shows such a training on the smallest data,
# where it takes a second.

# %%
small = digits()
history = fit(
    models.mlp((8, 8, 1), rng=seed(1)),
    small.x_train,
    small.y_train,
    epochs=10,
    batch_size=8,
    validation=(small.x_test, small.y_test),
    rng=seed(1),
    progress=settings.progress,
)
assert history.loss[-1] < 0.3 * history.loss[0]
save(
    plotting.history(history),
    "training",
    alt="Two panels against the epoch: training and validation loss fall and level "
    "off, validation accuracy rises and levels off",
    caption="Descent on the weights: training on 8 by 8 pixels. The validation images "
    "are not trained on.",
)

# %%
model = trained_mlp()
clean = accuracy(model, d.x_test, d.y_test)
measured("B3", "accuracy on the test images", clean, form=".2%")
assert clean > 0.92

# %% [markdown]
# ## Down the weights, up the image (B2, E4)
#
# Training lowers the loss $L(W, x, y)$ by moving the weights. The attack raises it by
# moving the pixels, with the weights as they are:
#
# $$W \leftarrow W - \alpha \nabla_W L, \qquad x \leftarrow x + r. \tag{2.1}$$
#
# Which $r$ is best, if no pixel may change by more than $\varepsilon$? For small
# changes (lesson 0) the loss is linear in $r$,
#
# $$L(W, x + r, y) \approx L(W, x, y) + r \cdot \nabla_x L, \tag{2.2}$$
#
# and the best $r$ for a linear function is known from Hölder's inequality (1.5): every
# pixel goes its full $\varepsilon$ in the direction of the sign,
#
# $$\max_{|r_i| \le \varepsilon} r \cdot \nabla_x L = \varepsilon \lVert \nabla_x L
# \rVert_1 \quad \text{at} \quad r = \varepsilon \, \mathrm{sign}(\nabla_x L).
# \tag{2.3}$$
#
# Document E says that the sign of the gradient is the direction of steepest ascent. For
# a function of one variable that is so. For many variables it depends on how the size
# of $r$ is measured. For the largest component it is the sign. For the Euclidean length
# it is the gradient itself, by (1.6). Compare them on the first seven of the test
# images.

# %%
first = np.flatnonzero(to_numpy(d.y_test) == 7)[0]
seven = d.x_test[first : first + 1]
_, g = value_and_grad(
    lambda x: cross_entropy(model(x), asarray(np.array([7]))).sum(), seven
)
g = to_numpy(g, dtype=float).reshape(-1)
rise = {
    (norm, name): g @ r / np.linalg.norm(r, order)
    for norm, order in (("L∞", np.inf), ("L2", 2))
    for name, r in (("sign", np.sign(g)), ("gradient", g))
}
for norm in ("L∞", "L2"):
    ratio = rise[norm, "sign"] / rise[norm, "gradient"]
    measured("E4", f"rise along the sign over rise along the gradient, {norm}", ratio)
assert rise["L∞", "sign"] > 1.5 * rise["L∞", "gradient"]
assert rise["L2", "sign"] < 0.9 * rise["L2", "gradient"]

# %% [markdown]
# ## The attack in six lines (B5, E5)
#
# The result must be an image, so the last step *clips* it: values below 0 become 0, and
# values above 1 become 1. With `toward=True` the label is a target, and the loss
# towards it is *descended*:
#
# $$x_{adv} = \mathrm{clip}\bigl(x \pm \varepsilon \, \mathrm{sign}(\nabla_x L(W, x,
# y))\bigr), \qquad + \text{ for the true label, } - \text{ for a target.} \tag{2.4}$$


# %%
def fgsm_by_hand(model, x, y, eps, toward=False):
    gradient = grad(lambda x: cross_entropy(model(x), y).sum(), x)
    step = np.float32(eps) * np.sign(gradient)
    if toward:
        step = -step
    return np.clip(x + step, 0, 1)


x, y = d.x_test[:1000], d.y_test[:1000]
target = (y + 1) % 10  # the next digit
by_hand = [
    fgsm_by_hand(model, x, y, strong),
    fgsm_by_hand(model, x, target, strong, True),
]
attacked, aimed = (
    fgsm(model, x, y=y, eps=strong),
    fgsm(model, x, target=target, eps=strong),
)
np.testing.assert_allclose(to_numpy(attacked.x_adv), to_numpy(by_hand[0]), atol=1e-6)
np.testing.assert_allclose(to_numpy(aimed.x_adv), to_numpy(by_hand[1]), atol=1e-6)

# %% [markdown]
# Document B attacks the first test image, a seven. At $\varepsilon = 0.05$ its network
# reads a 2 with 85 % confidence, and at 0.1 a 2 with 100 %. Another network has other
# neighbors, so the wrong label may be another one. Figure 2.3 shows ours.

# %%
epsilons = (0.0, 0.05, 0.1, 0.2)
steps = [fgsm(model, seven, y=7, eps=e) for e in epsilons]
adversarial = np.concatenate([step.x_adv for step in steps])
read, sure = predict(model, adversarial), confidence(model, adversarial)
of_seven = confidence(model, adversarial, 7)
for e, label, p, p_seven in zip(epsilons, read, sure, of_seven, strict=True):
    print(f"ε = {e}: read as {int(label)} with {float(p):.1%}")
    stated = {0.05: "2 with 85 %", 0.1: "2 with 100 %"}.get(e, "")
    what = f"the first seven at ε = {e}: probability of a seven"
    measured("B5", what, p_seven, stated=by_data(sample=stated, digits=""), form=".1%")
assert read[0] == 7
assert of_seven[1] < of_seven[0]
assert of_seven[2] < of_seven[0] - 0.05
assert of_seven[3] < 0.5

figure = plotting.images(adversarial, labels=read, confidences=sure, columns=4)
for ax, e in zip(figure.axes, epsilons, strict=False):
    ax.set_xlabel(f"ε = {e}")
save(
    figure,
    "seven",
    alt="The same seven four times, with a growing pattern of gray around it",
    caption="The first seven under FGSM, with what the network reads and how sure it "
    "is.",
)

# %% [markdown]
# On the page, Figure 2.4 has a slider. Move $\varepsilon$ and watch the answer.

# %%
sizes = np.linspace(0, 0.3, 31)
frames = np.concatenate([fgsm(model, seven, y=7, eps=e).x_adv for e in sizes])
says = [
    f"Read as {int(label)}, with probability {float(p):.0%}."
    for label, p in zip(predict(model, frames), confidence(model, frames), strict=True)
]
slider(
    "slider",
    to_numpy(frames),
    sizes,
    says,
    symbol="ε",
    label="size ε of the change",
    alt="The same seven five times, with a pattern around it that grows from nothing "
    "to a gray cloud",
    caption="The first seven under FGSM, from ε = 0 to ε = 0.3.",
)

# %% [markdown]
# Figure 2.5 shows what is added.

# %%
one = fgsm(model, seven, y=7, eps=strong)
save(
    plotting.attack_figure(one, model),
    "attack",
    alt="Three panels: a seven; a pattern of plus and minus epsilon and zero; their "
    "sum",
    caption=f"Original, perturbation and sum at ε = {strong}. A pixel of the "
    f"perturbation is 0 where the image would have left the range from 0 to 1.",
)

# %% [markdown]
# ## ε turns the attack up and down (B6)
#
# Three questions for each $\varepsilon$. What does the network read? What does it read
# if coins choose the signs? And would the eye still agree with the true label? The
# stand-in for the eye is the nearest training image in pixels, as in the frame. Figure
# 2.6 answers all three.


# %%
def nearest_label(x):
    """The label of the nearest of 5,000 training images, pixel by pixel, (N,)."""
    known = d.x_train[:5000].reshape(len(d.x_train[:5000]), -1)
    squared = (known**2).sum(axis=1) - 2 * x.reshape(len(x), -1) @ known.T
    return d.y_train[squared.argmin(axis=1)]


epsilons = np.linspace(0, 0.3, 7)
coins = asarray(rng(1).choice(np.float32([-1, 1]), size=x.shape))


def noisy(eps):
    return np.clip(x + np.float32(eps) * coins, 0, 1)


curves = {
    "FGSM": accuracy_curve(model, lambda e: fgsm(model, x, y=y, eps=e), y, epsilons),
    "random signs": accuracy_curve(model, noisy, y, epsilons),
}
moved = [
    float(np.abs(z - x).mean())
    for z in (noisy(0.2), fgsm(model, x, y=y, eps=0.2).x_adv)
]
np.testing.assert_allclose(*moved, rtol=0.3)  # the yardstick is of the same size
eye = []
for e in epsilons:
    pixels = fgsm(model, x[:500], y=y[:500], eps=e).x_adv
    eye.append(float((nearest_label(pixels) == y[:500]).mean()))
at = {e: int(np.abs(epsilons - e).argmin()) for e in (0.05, 0.1, 0.2, 0.3)}
for e, i in at.items():
    measured(
        "B6", f"accuracy under FGSM at ε = {e}", curves["FGSM"].accuracy[i], form=".1%"
    )
    measured("B6", f"nearest image still right at ε = {e}", eye[i], form=".1%")
hit, coin = curves["FGSM"].accuracy, curves["random signs"].accuracy
sure = curves["FGSM"].confidence
measured("B6", "accuracy under random signs at ε = 0.3", coin[-1], form=".1%")
measured("B6", "mean confidence under FGSM at ε = 0.3", sure[-1], form=".0%")
assert hit[at[0.2]] < 0.15
assert coin[at[0.2]] > hit[at[0.2]] + 0.5
assert eye[at[0.1]] > hit[at[0.1]] + 0.25
assert eye[at[0.3]] < eye[0] - 0.1
assert sure[-1] > 0.6

figure = plotting.curves(
    {
        "network, FGSM": (epsilons, hit),
        "network, random signs": (epsilons, coin),
        "nearest training image, FGSM": (epsilons, eye),
        "network's confidence, FGSM": (epsilons, sure),
    },
    xlabel="ε",
    ylabel="right answers, or confidence",
    percent=True,
)
save(
    figure,
    "epsilon",
    alt="Four curves against epsilon. The network's accuracy under FGSM falls to "
    "zero; under random signs it falls much less; that of the nearest training image "
    "falls later; the confidence stays high",
    caption="Direction matters, not size: random signs do far less. Between the "
    "falling curve of the network and the later one of the nearest image lies what "
    "deserves the name adversarial. The network stays sure of its wrong answers.",
)

# %% [markdown]
# For small $\varepsilon$ the pixels still tell the right digit, and the network does
# not. For large $\varepsilon$ the pixels do not tell it either, and a wrong label is no
# surprise. On 8 by 8 pixels this comes earlier than on 28 by 28, by (1.7): fewer pixels
# must each change more.
#
# ## Four outcomes, two errors (B1)
#
# Ask a network a question with yes or no: "is it a seven?" There are four outcomes. A
# seven that is found is a *true positive*, one that is missed a *false negative*.
# Another digit is a *true negative* if it is not taken for a seven and a *false
# positive* if it is. Untargeted FGSM on the sevens forces false negatives. FGSM with
# the target 7 on the others forces false positives.
#
# (Document B also calls attacks "type 1", where the content changes and the label
# stays, and "type 2", where the label changes and the content stays. It then calls type
# 1 targeted and type 2 untargeted. These are two different questions. A targeted attack
# is one where the attacker picks the label.)

# %%
is_seven = to_numpy(y) == 7
hidden = fgsm(model, x[is_seven], y=7, eps=strong).x_adv
faked = fgsm(model, x[~is_seven], target=7, eps=strong).x_adv
answers = {
    "clean": [predict(model, x[is_seven]) == 7, predict(model, x[~is_seven]) == 7],
    "attacked": [predict(model, hidden) == 7, predict(model, faked) == 7],
}
truth = np.arange(len(x)) < is_seven.sum()
for name, answer in answers.items():
    o = outcomes(truth, np.concatenate(answer))
    print(
        f"{name:8}: {o.true_positives:4d} TP {o.false_negatives:4d} FN "
        f"{o.false_positives:4d} FP {o.true_negatives:4d} TN"
    )
    measured("B1", f"sevens missed, {name}", o.false_negative_rate, form=".1%")
    measured(
        "B1", f"others taken for sevens, {name}", o.false_positive_rate, form=".1%"
    )
assert o.false_negative_rate > 0.6
assert o.false_positive_rate > 0.4

# %% [markdown]
# ## Without labels, and with a target (E5)
#
# Document E's FGSM takes no label. It uses the model's own prediction $\hat y$ in place
# of $y$. There are two reasons. An attacker may not know the label. And a defender who
# trains on FGSM examples made with true labels may teach the network to read the
# *label* from the pattern: the gradient depends on it. This is called *label leaking*.
# The two attacks differ only where the network is wrong to begin with.

# %%
own = predict(model, x)
without = fgsm_by_hand(model, x, own, strong)
changed = float((predict(model, without) != own).mean())
same = (to_numpy(without) == to_numpy(by_hand[0])).all(axis=(1, 2, 3))
reached = float((predict(model, by_hand[1]) == target).mean())
already = float((predict(model, x) == target).mean())
measured("E5", "labels changed, by the model's own prediction", changed, form=".1%")
measured("E5", "read as the target, before", already, form=".1%")
measured("E5", "read as the target, after", reached, form=".1%")
assert (same == to_numpy(own == y)).all()
assert changed > 0.8
assert reached > already + 0.25

# %% [markdown]
# One step reaches a given target less often than it leaves the true label. Lesson 4
# takes many steps.
#
# ## Trap 1: the loss of softmax outputs
#
# Document B's model ends in a softmax, and its attack differentiates the loss of the
# probabilities. On paper nothing is wrong with that. In float32 there is. By (0.5) and
# since probabilities add up to 1,
#
# $$\frac{\partial L}{\partial z_y} = p_y - 1 = -\sum_{j \ne y} p_j. \tag{2.5}$$
#
# If the network is sure, $p_y$ is so near 1 that it *rounds* to 1, and $p_y - 1$ to 0.
# The gradient that is left is wrong, or all zero. Then the attack does nothing, and the
# network looks robust. When does it happen? The log-odds margin (1.9) gives $1 - p_y$
# directly:
#
# $$m = \log \frac{p_y}{1 - p_y} \;\Rightarrow\; p_y = \frac{1}{1 + e^{-m}}, \qquad 1 -
# p_y = \sigma(-m) \approx e^{-m}. \tag{2.6}$$
#
# Near 1, float32 has steps of $6 \cdot 10^{-8}$. So from $m \approx 17$ on, $p_y$ is 1.

# %%
for m in (5, 10, 15, 20):
    z = np.array([[m, 0.0]], np.float32)  # two classes, so the margin is m
    lost = float(ops.softmax(z)[0, 0] - np.float32(1))
    print(f"m = {m:2}: p_y - 1 is {-1 / (1 + np.exp(m)):.3e}, in float32 {lost:.3e}")
assert lost == 0

# %% [markdown]
# The way out is algebra. Put (2.6) into the loss, and differentiate:
#
# $$L = -\log p_y = \log(1 + e^{-m}), \qquad \nabla_x L = \frac{-e^{-m}}{1 + e^{-m}}
# \nabla_x m = -\sigma(-m) \, \nabla_x m. \tag{2.7}$$
#
# The factor $\sigma(-m)$ is positive. So
#
# $$\mathrm{sign}(\nabla_x L) = -\mathrm{sign}(\nabla_x m), \tag{2.8}$$
#
# exactly. And $\nabla m$ does not fade: $\partial m / \partial z_y = 1$, however sure
# the network is. minadv's attacks take the sign from $m$. To see the difference,
# multiply all logits by 50. No prediction changes, only the certainty.


# %%
def scaled(x):
    return 50 * model(x)


def loss_of_probabilities(x, y):
    """-log p_y from softmax outputs, kept above 1e-7 so that no log 0 occurs."""
    p = ops.clip(ops.softmax(scaled(x)), 1e-7, 1)
    return -ops.log(p[np.arange(len(y)), y]).sum()


right = predict(model, x) == y
correct, labels = x[right], y[right]
gradient = grad(lambda x: loss_of_probabilities(x, labels), correct)
by_softmax = np.clip(correct + np.float32(strong) * np.sign(gradient), 0, 1)
unmoved = float((by_softmax == correct).all(axis=(1, 2, 3)).mean())
by_margin = fgsm(scaled, correct, y=labels, eps=strong).x_adv
looks, truly = accuracy(scaled, by_softmax, labels), accuracy(scaled, by_margin, labels)
measured("B5", "images that the softmax's gradient does not move", unmoved, form=".1%")
measured("B5", "accuracy, gradient through the softmax", looks, form=".1%")
measured("B5", "accuracy, gradient of the margin", truly, form=".1%")
assert unmoved > 0.5
assert looks > truly + 0.5

# %% [markdown]
# The same network, the same attack on paper. One number says "robust".
#
# ## Trap 2: pixels outside [0, 1]
#
# Document B adds $\varepsilon \, \mathrm{sign}(\nabla_x L)$ and stops there. Pixels
# that were black become negative. No camera delivers that, and no file stores it. So it
# is not in $\Delta$, the set of allowed changes.

# %%
gradient = grad(lambda x: cross_entropy(model(x), y).sum(), x)
unclipped = x + np.float32(strong) * np.sign(gradient)
outside = float(((unclipped < 0) | (unclipped > 1)).mean())
forbidden = accuracy(model, unclipped, y)
allowed = accuracy(model, np.clip(unclipped, 0, 1), y)
measured("B5", "pixels outside [0, 1] without clipping", outside, form=".1%")
measured("B5", "accuracy without clipping", forbidden, form=".1%")
measured("B5", "accuracy with clipping", allowed, form=".1%")
assert outside > 0.15
assert forbidden <= allowed + 0.02
assert float(attacked.x_adv.min()) >= 0
assert float(attacked.x_adv.max()) <= 1
assert float(attacked.linf.max()) <= strong

# %% [markdown]
# ## Summary
#
# FGSM linearizes the loss at the image and takes the best step within the L∞ ball:
# every pixel moves by $\varepsilon$ along the sign of the gradient. One gradient
# suffices to make a network misread most digits, while the pixels of most of them still
# tell the right one. With a minus sign it aims at a target, and with the network's own
# prediction it needs no label. Take the gradient from the margin and keep the result an
# image, or the numbers mean nothing.
#
# ## Exercises
#
# **2.1** (a line of code) Write FGSM for pixels from 0 to 255 with $\varepsilon$ in the
# same unit. What must be changed besides the bounds of the clip?
#
# **2.2** (a few lines) Replace the sign by the gradient, scaled to the same Euclidean
# length as the sign's step. Which is stronger at the same L2 size? Does it agree with
# (1.6)?
#
# **2.3** (pencil and paper) For two classes, show that the margin is $z_1 - z_0$, and
# that the factor in (2.7) lies below ½ exactly where the network is right.
#
# **2.4** (an experiment) How often does FGSM with the model's own prediction *repair*
# an image that was misread?
#
# **2.5** (an experiment) Change only the pixels that are black, or only the others.
# Which half of the attack does more?
#
# **2.6** (open) The nearest training image is a poor eye. Propose a better stand-in,
# and say what it would call adversarial in Figure 2.6.
#
# ## Read on
#
# - I. Goodfellow, J. Shlens and C. Szegedy, *Explaining and harnessing adversarial
#   examples*, 2014, arXiv:1412.6572.
# - A. Kurakin, I. Goodfellow and S. Bengio, *Adversarial machine learning at scale*,
#   2016, arXiv:1611.01236: label leaking.
# - N. Carlini and D. Wagner, *Defensive distillation is not robust to adversarial
#   examples*, 2016, arXiv:1607.04311: trap 1 in the wild.
