# %% [markdown]
# # White box and black box
#
# Mirrors: A5, C3, C4, C5, C6, C7.
#
# Every attack so far differentiated the model it attacked. Who could do that to a model behind a website? What an
# attacker may see decides what is possible (C3):
#
# | | sees | gets a gradient by |
# |---|---|---|
# | white box | architecture and weights | backpropagation |
# | black box that answers (lecture A) | its answers to images | asking, many times |
# | black box that does not (lecture C) | nothing of it | backpropagation through *another* model, of the attacker's own |
#
# All three, on one task.

# %%
import numpy as np
from lesson import compare, on_mnist, save, trained

from minadv import (
    Adam,
    QueryGradient,
    asarray,
    estimate_gradient,
    fgsm,
    grad,
    iterative_fgsm,
    ops,
    plotting,
    to_numpy,
    uniform_noise,
)
from minadv.data import leaves
from minadv.evaluation import accuracy, accuracy_curve, confidence, logits, predict, transfer_matrix
from minadv.layers import Dense, Sequential
from minadv.losses import margin
from minadv.models import deep_cnn, separable_cnn

# %% [markdown]
# ## Two models by transfer learning (C4)
#
# The lecture tells healthy leaves from unhealthy ones with two networks that were trained on ImageNet before:
# InceptionV3 (f, 20 million weights) and MobileNet (g, 2 million). Their bases are frozen, and only a new softmax layer
# with two outputs is trained. Here the leaves are drawn by code, 16x16 pixels, and the bases are trained on another
# task first: telling eight species apart. (With `--data mnist`: 32x32, and more of them.)
#
# Frozen *by construction*: what is trained is the head, on the numbers that the base makes of the images.

# %%
size, count = (32, 20_000) if on_mnist() else (16, 6000)
species, health = leaves(count, task="species", size=size), leaves(count - 1000, size=size, rng=1)
shape = (size, size, 3)


def by_transfer(name, whole, epochs, lr):
    how = {"epochs": epochs, "batch_size": 16, "optimizer": Adam(lr)}
    base = trained(f"species-{name}", whole, species.x_train, species.y_train, **how)[:-1]
    features = logits(base, health.x_train)  # (N, D): the base is applied once
    how = {"epochs": 30, "batch_size": 64, "optimizer": Adam(0.01)}
    head = trained(
        f"health-{name}",
        Sequential(Dense(features.shape[1], 2, rng=0)),
        features,
        health.y_train,
        **how,
    )
    return Sequential(*base, *head)


f = by_transfer(
    "f", deep_cnn(shape, len(species.classes), filters=(12, 24, 48)), epochs=5, lr=0.004
)
g = by_transfer("g", separable_cnn(shape, len(species.classes)), epochs=3, lr=0.006)
for name, model in (("f", f), ("g", g)):
    weights, right = (
        sum(p.size for p in model.parameters.values()),
        accuracy(model, health.x_test, health.y_test),
    )
    compare("C4", f"accuracy of {name} ({weights:,} weights)", "~95 %", f"{right:.1%}")
    assert right > 0.9
figure = plotting.images(
    health.x_test[:10],
    labels=predict(f, health.x_test[:10]),
    class_names=health.classes,
    title="Ten leaves, and what f says",
)
save(
    figure,
    "leaves",
    alt="Ten small color images of leaves on various backgrounds, each titled Healthy or Unhealthy",
)

# %% [markdown]
# f is deep: five convolutions. g has far fewer weights, and its convolutions are split into one per channel and one
# across channels, as MobileNet's are.
#
# ## White box (C5)
#
# One step of FGSM with f's own gradient, $x + \varepsilon \cdot \mathrm{sign}(\nabla_x L)$. The lecture's images have
# 299x299 pixels, and $\varepsilon = 0.01$ is enough for one of them. The logit moves by up to $\varepsilon \lVert
# \nabla \rVert_1$, a sum over all pixels (lesson 1), and ours have far fewer: so look at $\varepsilon = 0.03$ as well,
# 8 of 255 shades.

# %%
x, y = health.x_test[:300], health.y_test[:300]
clean, eps = accuracy(f, x, y), 0.03
for e in (0.01, eps):
    attacked, noisy = fgsm(f, x, y=y, eps=e), uniform_noise(x, eps=e)
    measured = accuracy(f, attacked.x_adv, y)
    print(
        f"ε = {e}: accuracy {clean:.1%}, with noise {accuracy(f, noisy, y):.1%}, attacked {measured:.1%}"
    )
    if e == 0.01:
        compare(
            "C5",
            "white box, ε = 0.01, T = 1",
            "a correct image becomes a wrong one",
            f"accuracy {clean:.0%} becomes {measured:.0%}",
        )
turned = (predict(f, x) == y) & attacked.success & (y == 0)
one = int(
    (confidence(f, x) * turned).argmax()
)  # the surest of those that were right and are wrong now
figure = plotting.attack_figure(
    fgsm(f, x[one : one + 1], y=y[one : one + 1], eps=eps),
    f,
    class_names=health.classes,
    title=f"White box: FGSM on f, ε = {eps}",
)
save(
    figure,
    "white_box",
    alt="A healthy leaf, a perturbation like colored noise, and their sum: the same leaf, called Unhealthy",
)
assert measured < clean - 0.3
assert accuracy(f, noisy, y) > clean - 0.05

# %% [markdown]
# ## The gradient by asking (A5)
#
# Whoever may only ask can still move one value a little, $x + h e_i$, and see what the answer does:
#
# $$\frac{\partial m}{\partial x_i} \approx \frac{m(x + h e_i) - m(x - h e_i)}{2h}$$
#
# with $m$ the log-odds of the true label and $e_i$ a one in place i: each value takes questions of its own, which the
# lecture's formula does not say. (It has the one-sided difference, with $m(x)$ as the second term: half the questions.)
# For one leaf, written out:

# %%
leaf, label, h = x[one : one + 1], y[one : one + 1], 0.003
each = np.float32(h) * asarray(np.eye(leaf.size, dtype=np.float32)).reshape(
    -1, *shape
)  # one moved value per image


def answers(images):
    return to_numpy(margin(logits(f, images), label.repeat(len(images))))


by_asking = (answers(leaf + each) - answers(leaf - each)) / (2 * h)
exact = to_numpy(grad(lambda x: margin(f(x), label).sum(), leaf)).reshape(-1)
estimate = estimate_gradient(lambda images, labels: margin(f(images), labels), leaf, label, h=h)
np.testing.assert_allclose(
    to_numpy(estimate.gradient).reshape(-1), by_asking, atol=1e-3 * abs(exact).max()
)
agree = float((np.sign(by_asking) == np.sign(exact)).mean())
print(
    f"{estimate.queries:,} questions, 2 for each of {leaf.size} values; {agree:.1%} of the signs are right"
)
assert agree > 0.95

# %% [markdown]
# How small should $h$ be? Too large, and the formula is wrong, for f is not linear. Too small, and both answers are
# equal but for their rounding, which is then divided by $2h$, or by $h$ in the one-sided difference. (For a smooth
# function the first error is of order $h^2$, or $h$ for the one-sided one. f is piecewise linear: its error is the
# share of kinks that were crossed, and that is of order $h$ for both.)

# %%
steps = 10.0 ** np.arange(-5, -0.9, 0.5)
errors = {}
for scheme in ("central", "forward"):
    errors[scheme] = []
    for h in steps.tolist():
        guess = estimate_gradient(
            lambda images, labels: margin(f(images), labels), leaf, label, h=h, scheme=scheme
        ).gradient
        errors[scheme].append(
            np.abs(to_numpy(guess).reshape(-1) - exact).mean() / np.abs(exact).mean()
        )
    print(
        f"{scheme:8}",
        *(f"h = {h:.0e}: {e:6.1%};" for h, e in list(zip(steps, errors[scheme], strict=True))[::2]),
    )
figure = plotting.curves(
    {f"{scheme} differences": (np.log10(steps), np.log10(e)) for scheme, e in errors.items()},
    xlabel="log10 h",
    ylabel="log10 of the relative error",
    title="A gradient from float32 answers",
)
save(
    figure,
    "step_size",
    alt="Two curves against the step, high at both ends, lowest in between; for small steps central ones are lower",
)
for error in errors.values():
    assert min(error) < 0.3 * error[0]
    assert min(error) < 0.3 * error[-1]
assert errors["central"][0] < errors["forward"][0]

# %% [markdown]
# `QueryGradient` turns a function that only answers into a model with a gradient: then FGSM, PGD and the others run as
# they are. Here it is given f's *probabilities*, as a website would send them:

# %%
ten, labels = x[:10], y[:10]
asked = QueryGradient(lambda images: ops.softmax(f(images)), probabilities=True)
by_answers, by_weights = fgsm(asked, ten, y=labels, eps=eps), fgsm(f, ten, y=labels, eps=eps)
same = float((by_answers.x_adv == by_weights.x_adv).mean())
print(
    f"{asked.queries:,} questions about ten leaves; {same:.1%} of the values come out as with the weights"
)
print(
    f"misread: {int(by_answers.success.sum())} of ten by asking, {int(by_weights.success.sum())} by the weights"
)
assert asked.queries == 10 * (2 * leaf.size + 2)  # and two more: before, and for the verdict
assert same > 0.9

# %% [markdown]
# The price is in the questions: 2D for one gradient of an image of D values, for the lecture's 299x299x3 half a
# million; and PGD with 40 steps pays it 40 times. Whoever counts questions would notice. So what if the model does not
# answer at all?
#
# ## Black box: made with g, tried on f (C6)
#
# Make the images with a model of one's own, which knows the task but nothing of f, and hope. Noise of the same size is
# the yardstick: uniform in $\pm\varepsilon$, and random signs, which are as large as FGSM in every value.

# %%
epsilons = np.array([0.0, 0.01, 0.02, 0.03, 0.05, 0.08])
signs = asarray(np.random.default_rng(0).choice(np.float32([-1, 1]), size=x.shape))
sources = {
    "white box: FGSM on f": lambda e: fgsm(f, x, y=y, eps=e),
    "black box: FGSM on g": lambda e: fgsm(g, x, y=y, eps=e),
    "random signs": lambda e: (x + np.float32(e) * signs).clip(0, 1),
    "uniform noise": lambda e: uniform_noise(x, eps=e),
}
on_f = {name: accuracy_curve(f, source, y, epsilons) for name, source in sources.items()}
print(" " * 21, *(f"{e:6.2f}" for e in epsilons))
for name, curve in on_f.items():
    print(f"{name:21}", *(f"{a:6.1%}" for a in curve.accuracy))
figure = plotting.epsilon_curves(on_f, title="f on leaves that were changed by at most ε")
save(
    figure,
    "transfer",
    alt="Accuracy of f against ε: lowest for the white box, then for images made with g, highest for noise",
)
white, black, random, uniform = (curve.accuracy[4] for curve in on_f.values())
compare(
    "C6",
    "f's accuracy at ε = 0.05: made with g, noise",
    "drops more than by noise",
    f"{black:.0%}, {uniform:.0%}",
)
assert white < black < random - 0.05
assert black < uniform - 0.1

# %% [markdown]
# What fools g fools f more often than chance: the two have learned similar things. (And one long step can be too long:
# at $\varepsilon = 0.08$ it leads past the place where f errs.) Transfer is the weaker attack, in both directions; rows
# made the images, columns judge them:

# %%
matrix = transfer_matrix([f, g], lambda model: fgsm(model, x, y=y, eps=0.05), y)
figure = plotting.heatmap(
    matrix,
    rows=["made with f", "made with g"],
    columns=["judged by f", "judged by g"],
    numbers=".0%",
    limits=(0, 1),
    title="Accuracy after FGSM, ε = 0.05",
)
save(
    figure,
    "transfer_matrix",
    alt="A 2 x 2 matrix of accuracies: low on the diagonal, where a model judges its own images, higher off it",
)
print(matrix.round(3))
assert matrix[0, 0] < matrix[1, 0]
assert matrix[1, 1] < matrix[0, 1]

# %% [markdown]
# ## One step or many? (C7)
#
# In the white box many small steps beat one, for they follow the bend of the loss (lesson 4). The lecture saw the
# reverse in the black box: with many steps the images overfit g, and transfer less. Does it hold here, at $\varepsilon
# = 0.05$?

# %%
Ts = np.array([1, 3, 10])
by_steps = {f"{how}: made with {name}": [] for how in ("white box", "black box") for name in "fg"}
for T in Ts:
    for (name, source), (_, other) in zip((("f", f), ("g", g)), (("g", g), ("f", f)), strict=True):
        x_adv = iterative_fgsm(source, x, y=y, eps=0.05, steps=int(T)).x_adv
        by_steps[f"white box: made with {name}"].append(accuracy(source, x_adv, y))
        by_steps[f"black box: made with {name}"].append(accuracy(other, x_adv, y))
for name, right in by_steps.items():
    print(
        f"{name}: accuracy", ", ".join(f"{a:.1%} (T = {T})" for T, a in zip(Ts, right, strict=True))
    )
figure = plotting.curves(
    {name: (Ts, right) for name, right in by_steps.items()},
    xlabel="T, steps of ε / T each",
    ylabel="accuracy of the judge",
    percent=True,
    title="What more steps do to the maker, and to the other",
)
save(
    figure,
    "one_or_many",
    alt="Accuracy against the number of steps: it falls for the model that made the images, and for the other it does not",
)
gain = {
    name: right[0] - right[-1] for name, right in by_steps.items()
}  # how much accuracy nine more steps cost the judge
white, black = gain["white box: made with f"], gain["black box: made with g"]
measured = f"accuracy {-white:+.0%} in the white box, {-black:+.0%} in the black box"
compare(
    "C7",
    "ten steps instead of one, against f",
    "stronger in the white box, weaker in the black box",
    measured,
)
assert white > 0.1
assert (
    max(black, gain["black box: made with f"]) < 0.05
)  # elsewhere the nine steps gain nothing to speak of

# %% [markdown]
# The lecture is right here, by a few points: ten steps are far stronger on the model that they were made with, and on
# the other one no stronger, rather a little weaker: what they gain is knowledge of their maker.
