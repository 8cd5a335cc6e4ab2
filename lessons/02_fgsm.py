# %% [markdown]
# # FGSM on handwritten digits
#
# Mirrors: B1, B2, B3, B4, B5, B6, E4, E5.
#
# One gradient step on the *image* makes a trained network misread it. On the way: what the sign of a gradient is good
# for, and two traps that have cost many experiments their meaning.

# %%
import numpy as np
from lesson import compare, dataset, on_mnist, save, settings, trained_mlp

from minadv import fgsm, fit, grad, ops, plotting, value_and_grad
from minadv.data import digits
from minadv.evaluation import accuracy, accuracy_curve, confidence, outcomes, predict
from minadv.losses import cross_entropy
from minadv.models import mlp

d = dataset()
figure = plotting.mosaic(d.x_train[:100], title=f"100 of {len(d.x_train):,} training images")
save(figure, "mosaic", alt="A 10 x 10 mosaic of handwritten digits")

# %% [markdown]
# ## Descent on the weights (B2, B3)
#
# Training moves the weights down the loss, $W \leftarrow W - \alpha \nabla_W L$. The network: the image as a vector,
# 128 ReLU units, 10 logits; Adam 0.001, batches of 8, 10 epochs. (The figure shows the training on the embedded digits,
# where it takes a second.)

# %%
small = digits()
test = small.x_test, small.y_test
history = fit(
    mlp((8, 8, 1)),
    small.x_train,
    small.y_train,
    epochs=10,
    batch_size=8,
    validation=test,
    progress=settings.progress,
)
save(
    plotting.history(history, title="Training on the digits"),
    "training",
    alt="Loss and accuracy against the epoch: both level off",
)

model = trained_mlp()
clean = accuracy(model, d.x_test, d.y_test)
print(f"accuracy on {len(d.x_test):,} test images: {clean:.2%}")
assert clean > 0.95

# %% [markdown]
# ## Ascent on the input (B2, B5, E4)
#
# The attack leaves the weights alone and moves the *pixels* up the loss. Suppose that no pixel may change by more than
# $\varepsilon$. To first order $L(x + r) \approx L(x) + r \cdot \nabla L$, and that is largest for $r = \varepsilon
# \cdot \mathrm{sign}(\nabla_x L)$: each pixel goes its full $\varepsilon$ the way that hurts. So the sign is the
# direction of steepest ascent for the $L_\infty$ ruler, and only for that; for the Euclidean one it is the gradient
# itself.

# %%
seven = d.x_test[d.y_test == 7][:1]
loss, gradient = value_and_grad(lambda x: cross_entropy(model(x), np.array([7])).sum(), seven)
step = 1e-3
rises = {}
for ruler, order in (("L∞", np.inf), ("L2", 2)):
    for name, r in (("sign", np.sign(gradient)), ("gradient", gradient)):
        r = step * r / np.linalg.norm(r.reshape(-1), order)
        rises[ruler, name] = float((r * gradient).sum())
        print(
            f"the same {ruler} size, along the {name:8}: the loss rises by {rises[ruler, name]:.3g}"
        )
assert rises["L∞", "sign"] > rises["L∞", "gradient"]
assert rises["L2", "sign"] < rises["L2", "gradient"]

# %% [markdown]
# `fgsm` is that one step, $x_{adv} = x + \varepsilon \cdot \mathrm{sign}(\nabla_x L(W, x, y))$, kept inside $[0, 1]$.
# On MNIST the article's seven becomes a wrong digit at $\varepsilon = 0.05$ (it saw a 2, 85 %) and a surer one at 0.1
# (100 %). On the small digits, with 64 pixels instead of 784, it takes more.

# %%
for eps in (0.05, 0.1) if on_mnist() else (0.1, 0.2):
    attacked = fgsm(model, seven, y=7, eps=eps)
    sure = float(confidence(model, attacked.x_adv)[0])
    print(
        f"ε = {eps}: the seven ({float(confidence(model, seven)[0]):.0%}) is read as {int(attacked.label[0])} ({sure:.0%})"
    )
    if on_mnist():
        stated = {0.05: "2 (85 %)", 0.1: "2 (100 %)"}[eps]
        compare(
            "B5",
            f"the first test digit, a seven, at ε = {eps}",
            stated,
            f"{int(attacked.label[0])} ({sure:.0%})",
        )
    figure = plotting.attack_figure(attacked, model, title=f"FGSM, ε = {eps}")
    save(
        figure,
        f"seven_{eps}",
        alt=f"A seven, ε·sign of the gradient, and their sum, read as {int(attacked.label[0])}",
    )
assert attacked.label[0] != 7

# %% [markdown]
# ## ε turns the attack up and down (B6)
#
# Random signs of the same size for comparison: it is the direction that does it, not the size.

# %%
x, y = d.x_test[:1000], d.y_test[:1000]
epsilons = np.linspace(0, 0.3, 13)
signs = np.random.default_rng(0).choice(np.float32([-1, 1]), size=x.shape)
measured = {
    "FGSM": accuracy_curve(model, lambda eps: fgsm(model, x, y=y, eps=eps), y, epsilons),
    "random signs": accuracy_curve(
        model, lambda eps: np.clip(x + np.float32(eps) * signs, 0, 1), y, epsilons
    ),
}
for eps, hit, noise in zip(
    epsilons, measured["FGSM"].accuracy, measured["random signs"].accuracy, strict=True
):
    print(f"ε = {eps:.3f}: accuracy {hit:6.1%} under FGSM, {noise:6.1%} under random signs")
save(
    plotting.epsilon_curves(measured),
    "epsilon",
    alt="Accuracy falls with ε under FGSM and hardly under random signs",
)
assert measured["FGSM"].accuracy[-1] < 0.2
assert measured["random signs"].accuracy[-1] > measured["FGSM"].accuracy[-1] + 0.3

# %% [markdown]
# ## Four outcomes, two errors (B1)
#
# Ask "is it a seven?". A seven that is missed is a *false negative*, another digit taken for a seven a *false
# positive*. Untargeted FGSM on the sevens forces the first; FGSM with the target 7 on the others forces the second.
# (The article calls them type 1 and type 2 attacks, and type 1 the targeted one. Whether the attacker picks the label
# is another question than which error results.)

# %%
is_seven = y == 7
hidden, faked = (
    fgsm(model, x[is_seven], y=7, eps=0.2).x_adv,
    fgsm(model, x[~is_seven], target=7, eps=0.2).x_adv,
)
for name, images in (("clean", x), ("attacked", np.concatenate([hidden, faked]))):
    truth = is_seven if name == "clean" else np.arange(len(x)) < is_seven.sum()
    o = outcomes(truth, predict(model, images) == 7)
    counts = f"{o.true_positives:4d} TP {o.false_negatives:4d} FN {o.false_positives:4d} FP {o.true_negatives:4d} TN"
    print(
        f"{name:9}: {counts}; missed {o.false_negative_rate:.1%}, false alarms {o.false_positive_rate:.1%}"
    )
assert o.false_negative_rate > 0.5
assert o.false_positive_rate > 0.1

# %% [markdown]
# ## Without labels, and with a target (E5)
#
# An attacker who has no labels takes the model's own prediction for $y$. One who wants a particular label *descends*
# the loss towards it: $x - \varepsilon \cdot \mathrm{sign}(\nabla_x L(W, x, target))$.

# %%
own = fgsm(model, x, y=predict(model, x), eps=0.1)
towards = fgsm(model, x, target=(y + 1) % 10, eps=0.1)
already = float((predict(model, x) == (y + 1) % 10).mean())
print(f"ε = 0.1: {float(own.success.mean()):.1%} changed their label")
print(
    f"ε = 0.1: {float(towards.success.mean()):.1%} are read as the next digit, as {already:.1%} were before"
)
assert towards.success.mean() > already

# %% [markdown]
# ## Trap 1: the loss of softmax outputs
#
# $\partial L / \partial z_y = p_y - 1$. Where the model is sure, $p_y$ rounds to 1 in float32 and the gradient to 0, or
# to noise: the attack does nothing, and the model looks robust. Make the network surer by scaling its last layer, which
# changes no prediction at all:

# %%
saturated = mlp(d.x_test.shape[1:])
saturated.parameters = {
    name: value * (50 if name.startswith("3.") else 1) for name, value in model.parameters.items()
}
right = predict(model, x) == y
correct, labels = x[right], y[right]


def loss_of_probabilities(x):
    """−log p_y, of softmax outputs (clipped as usual, so that no log 0 occurs)."""
    p = ops.clip(ops.softmax(saturated(x)), 1e-7, 1)
    return -ops.log(p[np.arange(len(labels)), labels]).sum()


naive = np.clip(correct + np.float32(0.2) * np.sign(grad(loss_of_probabilities, correct)), 0, 1)
unmoved = float((naive == correct).all(axis=(1, 2, 3)).mean())
through_softmax = accuracy(saturated, naive, labels)
unscaled = accuracy(model, fgsm(model, correct, y=labels, eps=0.2).x_adv, labels)
through_margin = accuracy(saturated, fgsm(saturated, correct, y=labels, eps=0.2).x_adv, labels)
print("accuracy at ε = 0.2, logits times 50:")
print(
    f"  by the loss of softmax outputs {through_softmax:.1%} ({unmoved:.1%} of the images do not change at all)"
)
print(
    f"  by the log-odds margin         {through_margin:.1%} (logits as they were: {unscaled:.1%})"
)
assert unmoved > 0.3
assert through_margin < through_softmax - 0.3

# %% [markdown]
# The way out is algebra. With the margin $m = z_y - \log \sum_{j \ne y} e^{z_j}$ the cross-entropy is $\log(1 +
# e^{-m})$, so its gradient is $-\sigma(-m) \nabla m$: the sign is that of $-\nabla m$ exactly, and $\nabla m$ never
# vanishes. `fgsm` uses that.
#
# ## Trap 2: pixels outside [0, 1]
#
# The article adds $\varepsilon \cdot \mathrm{sign}$ and stops there. What leaves $[0, 1]$ is not an image any more, and
# no camera will ever deliver it.

# %%
unclipped = x + np.float32(0.1) * np.sign(
    fgsm(model, x, y=y, eps=0.1, bounds=(-1, 2)).perturbation
).astype(np.float32)
outside = float(((unclipped < 0) | (unclipped > 1)).mean())
print(
    f"ε = 0.1 without clipping: {outside:.1%} of all pixels leave [0, 1], down to {unclipped.min():.2f} and up to {unclipped.max():.2f}"
)
inside = fgsm(model, x, y=y, eps=0.1)
assert outside > 0.2
assert inside.x_adv.min() >= 0
assert inside.x_adv.max() <= 1
