# %% [markdown]
# # Defensive distillation: a defense that hides its gradient
#
# Mirrors: D9.
#
# Before: lesson 2 (its first trap), lesson 4, the frame. Minutes: 60.
#
# You will:
#
# - train a network on the soft answers of another one, at a temperature;
# - see an attack fail on it, and find out that the attack never started;
# - break the defense in four ways, each of which is one line;
# - measure the smallest change that fools it, by the attack of Carlini and Wagner;
# - turn the temperature, and watch the mask thicken while nothing else changes;
# - put an attack through a checklist that shows whether its numbers can be believed.
#
# A network that cannot be attacked looks exactly like one whose attack is broken.
# Defensive distillation was published as cutting the success of an attack from 95 % to
# less than 0.5 % (Papernot et al. 2016). Within a year it was gone (Carlini & Wagner
# 2017). Here are both halves of the story. In the terms of the frame: untargeted, white
# box, no pixel changes by more than $\varepsilon$.

# %%
import numpy as np
from lesson import by_data, dataset, measured, save, seed, slider, trained

from minadv import (
    Adam,
    array_module,
    carlini_wagner,
    fgsm,
    fit,
    grad,
    models,
    ops,
    pgd,
    plotting,
    to_numpy,
)
from minadv.defenses.distillation import distill, soft_labels, tempered_cross_entropy
from minadv.evaluation import accuracy, checklist, logits, predict, robust_accuracy
from minadv.losses import margin

d = dataset()
xp = array_module(d.x_train)
few = by_data(sample=3000, digits=1437, mnist=12000)  # as many suffice here
x_train, y_train = d.x_train[:few], d.y_train[:few]
x, y = d.x_test[:500], d.y_test[:500]
eps = 0.2

# %% [markdown]
# ## Temperature
#
# A network gives one number per class, the logits $z$. Divide them by a *temperature*
# $T$ before the softmax:
#
# $$p_k(T) = \frac{e^{z_k / T}}{\sum_j e^{z_j / T}}. \tag{12.1}$$
#
# Ratios become $p_j / p_k = e^{(z_j - z_k)/T}$. A high $T$ moves all of them towards 1,
# so the answer becomes *soft*: it also says which wrong digits resemble this one. The
# order of the classes stays. By hand, and by the library:


# %%
def softened(z, T):
    z = z / T
    e = np.exp(z - z.max(axis=1, keepdims=True))  # the largest exponent is 0
    return e / e.sum(axis=1, keepdims=True)


def network(name, labels, T, start, make, epochs):
    """A network trained at temperature ``T`` on labels, hard or soft."""
    model = make(d.x_train.shape[1:], rng=seed(start))
    loss = tempered_cross_entropy(T)
    how = {"batch_size": 32, "epochs": epochs, "rng": seed(start), "loss": loss}
    return trained(name, model, x_train, labels, optimizer=Adam(0.002), **how)


epochs = by_data(sample=4, digits=20)
regular = network("regular", y_train, 1, 1, models.cnn, epochs)
eight = x[y == 8][:1]
rows = {T: softened(to_numpy(logits(regular, eight)), T)[0] for T in (1, 5, 20)}
for T, row in rows.items():
    print(f"T = {T:3}:", " ".join(f"{digit}:{p:6.2%}" for digit, p in enumerate(row)))
    by_library = to_numpy(soft_labels(regular, eight, temperature=T))[0]
    np.testing.assert_allclose(row, by_library, rtol=1e-4)
assert max(rows[1]) > max(rows[5]) > max(rows[20])

# %% [markdown]
# On the page, Figure 12.1 has a slider. Turn the temperature up: the bars come closer,
# and none overtakes another.


# %%
def answer(rows):
    """Bars of the ten probabilities, in one color for each temperature."""
    bars = {
        f"T = {T:.3g}": {str(k): float(p) for k, p in enumerate(row)}
        for T, row in rows.items()
    }
    figure = plotting.bars(bars, ylabel="probability", percent=True)
    figure.axes[0].set(xlabel="digit", ylim=(0, 1))
    figure.set_size_inches(7, 3)
    for number in list(figure.axes[0].texts):  # thirty numbers would overlap
        number.remove()
    return figure


temperatures = np.geomspace(1, 100, 21)
z = to_numpy(logits(regular, eight))
soft = [softened(z, T)[0] for T in temperatures]
order = np.argsort(z[0])[::-1]  # from the most to the least probable digit
assert all((np.diff(row[order]) <= 0).all() for row in soft)
slider(
    "soft",
    [answer({T: row}) for T, row in zip(temperatures, soft, strict=True)],
    temperatures,
    [
        f"{order[0]} with {row.max():.1%}, {order[1]} with {row[order[1]]:.1%}."
        for row in soft
    ],
    symbol="T",
    label="temperature T of the softmax",
    still=answer(rows),
    alt="Bars for the ten digits: at temperature 1 one bar takes all, at 20 all ten "
    "are nearly alike",
    caption="What one network says about one eight, at three temperatures.",
)

# %% [markdown]
# ## Teacher and student (D9)
#
# Distillation is four lines. Train a *teacher* with $T$ in the softmax. Label the
# training images by its answers $q = p(T)$. Train a *student* of the same make on these
# labels, also at $T$. Then use the student *without* $T$. Its loss is the
# cross-entropy against soft labels, with the usual gradient, divided by $T$:
#
# $$L(z, q) = -\sum_k q_k \log p_k(T), \qquad \frac{\partial L}{\partial z_k} =
# \frac{1}{T} \bigl(p_k(T) - q_k\bigr). \tag{12.2}$$
#
# Here it is by hand, and then by the library's `distill`: the weights are equal to the
# last bit. (A network of 128 hidden units and one pass through the data will do for
# that.)


# %%
def distill_by_hand(teacher, student, x, T, **how):
    q = ops.softmax(logits(teacher, x) / T)  # soft labels

    def loss(z, q):
        return -(q * ops.log_softmax(z / T)).sum(axis=1)

    fit(student, x, q, loss=loss, **how)  # and used without T from now on


def small(start):
    return models.mlp(d.x_train.shape[1:], rng=seed(start))


one, two = small(5), small(5)
how = {"batch_size": 32, "rng": seed(5), "progress": False}
distill_by_hand(regular, one, x_train[:500], 20, **how)
distill(regular, two, x_train[:500], temperature=20, **how)
for name, weights in one.parameters.items():
    np.testing.assert_allclose(
        to_numpy(weights), to_numpy(two.parameters[name]), atol=1e-6
    )

# %% [markdown]
# Document D describes the student and leaves the temperature out. But the temperature
# does it all, as will be seen. All three networks below are trained alike, on the same
# images, for as long. Only $T$ and the labels differ.


# %%
def pair(T, start, make, epochs):
    """Teacher and student at temperature ``T``."""
    teacher = network(f"teacher-{T}", y_train, T, start, make, epochs)
    q = soft_labels(teacher, x_train, temperature=T)
    return teacher, network(f"student-{T}", q, T, start + 1, make, epochs)


T = 20  # Papernot et al.'s choice for MNIST
teacher, student = pair(T, 1, models.cnn, epochs)
networks = {"regular": regular, "teacher": teacher, "student": student}
size = {}
for name, model in networks.items():
    z = logits(model, x)
    size[name] = float(xp.median(margin(z, y)))
    measured("D9", f"accuracy, {name}", accuracy(model, x, y), form=".1%")
    measured("D9", f"median margin, {name}", size[name], form=".1f")
assert accuracy(student, x, y) > 0.85
assert size["student"] > 5 * size["regular"]

# %% [markdown]
# The student reads about as well. Its margins $m = z_y - \log \sum_{j \ne y} e^{z_j}$
# are many times as large. The reason is (12.2): for the loss at $T$ to be as small as
# usual, $z / T$ must be as large as usual, so $z$ must be $T$ times as large. The
# student has learned to answer *before* a division by 20, and nobody divides any more.
#
# ## It works
#
# FGSM as most code has it takes the gradient of $-\log p_y$ for softmax outputs, in
# float32. By lesson 2 its size is
#
# $$1 - p_y = \frac{1}{1 + e^{m}}. \tag{12.3}$$
#
# A float32 number just below 1 is $1 - 2^{-24}$. So $p_y$ rounds to 1 once $e^{-m} <
# 2^{-25}$, that is for $m > 25 \log 2 \approx 17.3$. From there on the gradient is
# exactly zero.


# %%
def usual_gradient(model, x, y):
    """∇ₓ of −log p_y, through probabilities, clipped so that no log 0 occurs."""

    def loss(x):
        p = ops.clip(ops.softmax(model(x)), 1e-7, 1)
        return -ops.log(p[xp.arange(len(y)), y]).sum()

    return grad(loss, x)


def along(g, x):
    """One step of FGSM along the gradient ``g``."""
    return xp.clip(x + xp.float32(eps) * xp.sign(g), 0, 1)


def usual_fgsm(model, x, y):
    return along(usual_gradient(model, x, y), x)


masked, zero = {}, {}
for name, model in networks.items():
    g = usual_gradient(model, x, y)
    zero[name] = float((g == 0).all(axis=(1, 2, 3)).mean())
    masked[name] = robust_accuracy(model, x, y, along(g, x))
    what = f"right under the usual FGSM at ε = {eps}, {name}"
    stated = by_data(sample="higher" if name == "student" else "", digits="")
    measured("D9", what, masked[name], stated=stated, form=".1%")
    measured("D9", f"gradient exactly zero, {name}", zero[name], form=".1%")
assert masked["student"] > masked["regular"] + 0.2
assert zero["student"] > zero["regular"] + 0.3
assert zero["student"] > 0.8 * masked["student"]

# %% [markdown]
# That is the success that was published. But look at the last lines. The attack did not
# fail at these images. It never started. And the teacher, which was trained on hard
# labels, is "robust" in the same way: the soft labels are not what does it.

# %%
assert masked["teacher"] > masked["regular"] + 0.2

# %% [markdown]
# ## It is broken: four ways to the same images
#
# 1. *The margin* never saturates; `fgsm` and `pgd` follow it.
# 2. *Undo the temperature*: attack $z / T$ with the usual gradient.
# 3. *Transfer*: attack the regular network, whose gradient nobody has hidden, and show
#    the result to the student.
# 4. *PGD* on the margin, the strongest of the four. Figure 12.2 compares them.


# %%
borrowed = pgd(regular, x, y=y, eps=eps, steps=10, early_stop=False)


def survives(name):
    """The share that stays right under each attack; the usual one is known already."""
    model = networks[name]
    cooled = usual_fgsm(lambda x: model(x) / T, x, y)
    return {
        "clean": accuracy(model, x, y),
        "usual FGSM": masked[name],
        "margin": robust_accuracy(model, x, y, fgsm(model, x, y=y, eps=eps)),
        "z / T": robust_accuracy(model, x, y, cooled),
        "transfer": robust_accuracy(model, x, y, borrowed),
        "PGD": robust_accuracy(model, x, y, pgd(model, x, y=y, eps=eps, steps=10)),
    }


distilled = survives("student")
for attack in ("margin", "z / T", "transfer", "PGD"):
    measured("D9", f"right, distilled, {attack}", distilled[attack], form=".1%")
    assert distilled[attack] < distilled["usual FGSM"] - 0.25, attack
assert distilled["PGD"] < 0.2
save(
    plotting.bars(
        {"regular": survives("regular"), "distilled": distilled},
        ylabel="accuracy",
        percent=True,
    ),
    "broken",
    alt="Pairs of bars, regular and distilled: distillation stands out under the usual "
    "FGSM only, and falls under the four other attacks",
    caption=f"One attack fails, four do not. Distillation at $T = {T}$, "
    f"$\\varepsilon = {eps}$.",
)

# %% [markdown]
# An attack on *another* network does more harm than the usual one on the network
# itself. That is the surest sign of a masked gradient, since whoever sees the weights
# cannot do worse than those who do not.
#
# ## Smoother? (D9)
#
# Document D says that distillation smooths the loss surface. If so, the label would be
# further away. To first order it changes where a step along the sign takes the margin
# to 0 (lesson 1):
#
# $$\varepsilon_1 = m / \lVert \nabla_x m \rVert_1. \tag{12.4}$$
#
# Multiply all logits by 20, and $\varepsilon_1$ stays as it is. So this number sees
# through the mask. It is a linear guess. What PGD finds at small $\varepsilon$ is the
# test.

# %%
close, withstands = 0.05, {}
for name, model in networks.items():
    right = predict(model, x) == y
    m = margin(logits(model, x[right]), y[right])

    def total(x, model=model, label=y[right]):
        return margin(model(x), label).sum()

    slope = abs(grad(total, x[right])).reshape(len(m), -1).sum(axis=1)
    near = pgd(model, x, y=y, eps=close, steps=10)
    measured("D9", f"median ε₁, {name}", float(xp.median(m / slope)), form=".3f")
    what = f"right under PGD at ε = {close}, {name}"
    withstands[name] = robust_accuracy(model, x, y, near)
    measured("D9", what, withstands[name], form=".1%")
assert withstands["student"] < withstands["regular"] + 0.1

# %% [markdown]
# Compare the three lines of each kind. In ten runs of this lesson (five seeds, on the
# sample and on the digits) the distilled network was never harder to fool at this small
# $\varepsilon$ than the regular one, and in nine it was easier. The linear guess
# $\varepsilon_1$ is less steady: once the student's was larger. Smaller networks can
# come out the other way (exercise 12.5). Whatever distillation does to the true
# distance, it is not the factor that the usual FGSM reported.

# %% [markdown]
# ## The attack that broke it (Carlini & Wagner 2017)
#
# Carlini and Wagner do not bound the change. They ask for the smallest one that
# succeeds. As long as the true label $y$ is ahead of all others, its lead costs $c$ for
# each unit. The attack minimizes size and cost together:
#
# $$\min_{x'} \; \lVert x' - x \rVert_2^2 + c \, \max\bigl(z_y - \max_{j \ne y} z_j,
# \; 0\bigr). \tag{12.5}$$
#
# The lead is a difference of logits. No softmax comes between, so nothing can saturate.
# A network whose logits are 20 times as large only needs a smaller $c$, and each image
# gets its own $c$ by binary search.

# %%
both = (predict(regular, x) == y) & (predict(student, x) == y)
few_x, few_y = x[both][:24], y[both][:24]
how = {"lr": 0.05, "steps": 150, "search_steps": 6, "initial_const": 0.01}
smallest = {}
for name, model in {"regular": regular, "student": student}.items():
    result = carlini_wagner(model, few_x, y=few_y, **how)
    fooled = float(result.success.mean())
    smallest[name] = float(xp.median(result.l2[result.success]))
    measured("D9", f"fooled by Carlini and Wagner's attack, {name}", fooled, form=".1%")
    measured("D9", f"median L2 size, {name}", smallest[name], form=".2f")
    assert fooled > 0.9, name
most = by_data(sample=1.2, digits=1.5)
assert smallest["student"] < most * smallest["regular"]

# %% [markdown]
# All images fall. The change that it takes is about as large on the distilled network
# as on the regular one: in five runs on the sample it was a fifth to a quarter smaller,
# in five on the small digits between a tenth smaller and a fifth larger.
# Compare this with what the usual FGSM reported. It is the same network.
#
# ## The temperature is the knob of the mask
#
# The higher $T$, the larger the logits, and the fewer gradients survive the softmax. In
# Figure 12.3 the small network of lesson 2 is distilled at four temperatures.

# %%
knob = [1, 5, 20, 100]
students = [pair(T, 3, models.mlp, by_data(sample=6, digits=20))[1] for T in knob]
right_usual = [robust_accuracy(m, x, y, usual_fgsm(m, x, y)) for m in students]
right_margin = [robust_accuracy(m, x, y, fgsm(m, x, y=y, eps=eps)) for m in students]
lines = {
    "clean": [accuracy(m, x, y) for m in students],
    "usual FGSM": right_usual,
    "FGSM by the margin": right_margin,
}
for i, value in enumerate(knob):
    measured("D9", f"usual FGSM, student at T = {value}", right_usual[i], form=".1%")
    measured("D9", f"margin, student at T = {value}", right_margin[i], form=".1%")
assert right_usual[-1] > right_usual[0] + 0.4
assert max(right_margin) < 0.3
figure = plotting.curves(
    {name: (knob, values) for name, values in lines.items()},
    xlabel="temperature T",
    ylabel="accuracy",
    percent=True,
)
figure.axes[0].set_xscale("log")
save(
    figure,
    "temperature",
    alt="Accuracy against the temperature: clean accuracy is high and falls a little, "
    "that under the usual FGSM climbs towards it, that by the margin stays low",
    caption=f"The temperature thickens the mask: what an attack through the softmax "
    f"reports, and what is there ($\\varepsilon = {eps}$).",
)

# %% [markdown]
# No training is needed for this "defense". Multiply the logits of *any* network by 20.
# No label changes, and the usual gradient is gone as well.

# %%
loud = robust_accuracy(regular, x, y, usual_fgsm(lambda x: 20 * regular(x), x, y))
measured("D9", "usual FGSM, regular network, logits times 20", loud, form=".1%")
assert loud > masked["regular"] + 0.3

# %% [markdown]
# ## A checklist (D9)
#
# Could this have been noticed without a stronger attack at hand? Yes. Some numbers
# cannot come out of a sound evaluation (Carlini et al. 2019): an accuracy that stays up
# without any bound, or images made for another network that do more harm. `checklist`
# repeats an attack with one thing changed at a time. It judges the attack that is
# handed in, so here is PGD with the usual gradient.


# %%
def usual_pgd(model, x, y, *, eps, steps):
    size, z = xp.float32(eps), x
    for _ in range(steps):
        z = z + xp.float32(2.5 / steps) * size * xp.sign(usual_gradient(model, z, y))
        z = xp.clip(xp.clip(z, x - size, x + size), 0, 1)
    return z


how = {"eps": eps, "steps": 10, "rng": seed(7)}
usual = checklist(
    student, x[:100], y[:100], attack=usual_pgd, substitute=regular, **how
)
print(usual)
assert set(usual.failed) >= {"zero gradients", "gradient", "no bound", "transfer"}

# %% [markdown]
# The lines that fail are those that a masked gradient must fail. More steps and larger
# $\varepsilon$ do not help the model, so those lines pass: an attack that never starts
# is not made weaker by going on. No single line is enough. With PGD on the margin, the
# same network passes these four lines, and so does the regular one. (Now and then
# "restarts" fails there: ten steps from one start leave a few images that other starts
# find.) An attack that passes is not proved to be strong. But the numbers of one that
# fails these four lines are not to be believed.

# %%
for name in ("student", "regular"):
    sound = checklist(networks[name], x[:100], y[:100], **how)
    print(f"{name}, by the margin: {sound.attacked:.1%} right, fails: {sound.failed}")
    assert not set(sound.failed) & {
        "zero gradients",
        "gradient",
        "no bound",
        "transfer",
    }

# %% [markdown]
# ## Summary
#
# Defensive distillation trains with logits divided by $T$ and then drops the $T$, so
# that the logits are about $T$ times too large. In float32 the softmax then rounds to
# 0 and 1, and a gradient taken through it is zero. Four attacks that do not go through
# the saturated softmax break it, and the smallest change that fools it is about as
# large as on the regular network. A checklist finds the broken attack without knowing a
# better one. **Gradient masking is not robustness**: before believing a defense, count
# the zero gradients, try an attack that needs none, check that nothing stays right
# without a bound, and adapt the attack to the defense.
#
# ## Exercises
#
# **12.1** (a few lines) In float32, find by bisection the smallest margin at which
# $p_y$ is 1. Compare it with (12.3). Where is it in float64?
#
# **12.2** (a line of code) Repeat the usual FGSM on the student in float64. How much of
# the mask is left?
#
# **12.3** (an experiment) Put the division back: attack the student behind $z / T$ for
# $T$ from 1 to 100, with the usual FGSM. From which $T$ on does the attack work?
#
# **12.4** (a few lines) Make a detector of masked gradients from two attacks, and try
# it on the three networks of this lesson.
#
# **12.5** (open) Distillation changes the training labels, too. Design an experiment
# that tells whether *soft labels alone* (at $T = 1$ and without a mask) move the label
# further away. How many networks does it take?
#
# ## Read on
#
# - N. Papernot, P. McDaniel, X. Wu, S. Jha, A. Swami: *Distillation as a defense to
#   adversarial perturbations against deep neural networks*, 2016, arXiv:1511.04508.
# - N. Carlini, D. Wagner: *Towards evaluating the robustness of neural networks*, 2017,
#   arXiv:1608.04644; it attacks the logits, and so walks past the mask.
# - A. Athalye, N. Carlini, D. Wagner: *Obfuscated gradients give a false sense of
#   security*, 2018, arXiv:1802.00420.
# - N. Carlini et al.: *On evaluating adversarial robustness*, 2019, arXiv:1902.06705.
