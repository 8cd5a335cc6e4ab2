# %% [markdown]
# # Defensive distillation: a defence that hides its gradient
#
# Mirrors: D9.
#
# A network that cannot be attacked looks exactly like one whose attack is broken. Defensive distillation was published
# as cutting an attack's success from 95 % to less than 0.5 % (Papernot et al. 2016), and within a year it was gone
# (Carlini & Wagner 2016). Here are both halves of the story, on one network and in numbers.

# %%
from lesson import compare, dataset, on_mnist, save, trained, trained_cnn

from minadv import Adam, array_module, fgsm, grad, ops, plotting, to_numpy
from minadv.attacks.pgd import pgd
from minadv.defenses.distillation import soft_labels, tempered_cross_entropy
from minadv.evaluation import accuracy, logits, predict, robust_accuracy
from minadv.losses import margin
from minadv.models import cnn

d = dataset()
xp = array_module(d.x_train)
x_train, y_train = (
    d.x_train[:: 5 if on_mnist() else 1],
    d.y_train[:: 5 if on_mnist() else 1],
)  # of MNIST every fifth image: minutes
x, y = d.x_test[:1000], d.y_test[:1000]
eps = 0.2
regular = trained_cnn()

# %% [markdown]
# ## Temperature
#
# Divide the logits by a temperature $T$ before the softmax, $p = \mathrm{softmax}(z / T)$. A high $T$ makes the answer
# *soft*: it also says which wrong digits resemble this one, which a bare label does not.

# %%
eight = x[y == 8][:1]
temperatures = [1, 5, 20]
rows = [to_numpy(soft_labels(regular, eight, temperature=T)[0]) for T in temperatures]
for T, row in zip(temperatures, rows, strict=True):
    print(f"T = {T:3}:", " ".join(f"{digit}:{p:6.2%}" for digit, p in enumerate(row)))
assert all((row.argsort() == rows[0].argsort()).all() for row in rows)
assert max(rows[0]) > max(rows[1]) > max(rows[2])

# %% [markdown]
# ## Teacher and student (D9)
#
# Train a *teacher* with $T$ in the softmax; label the training images by its answers at $T$; train a *student* of the
# same make on these, also at $T$. Then use the student *without* $T$. Document D describes the student and leaves the
# temperature out. But it is the temperature that does it all, as will be seen. Both networks:

# %%


def taught(labels, T, seed):
    """A CNN trained at temperature ``T`` on labels, hard or soft."""
    how = {"batch_size": 64, "epochs": 6 if on_mnist() else 20, "optimizer": Adam(0.003)}
    return trained(
        f"tempered-{T}",
        cnn(d.x_train.shape[1:], rng=seed),
        x_train,
        labels,
        loss=tempered_cross_entropy(T),
        **how,
    )


def pair(T):
    """``fit(teacher, x, y, loss=tempered_cross_entropy(T))`` and ``distill(teacher, student, x, temperature=T)``, cached."""
    teacher = taught(y_train, T, seed=1)
    return teacher, taught(soft_labels(teacher, x_train, temperature=T), T, seed=2)


T = 20  # Papernot et al.'s choice for MNIST
teacher, student = pair(T)
networks = {"regular": regular, "teacher": teacher, "student": student}
for name, model in networks.items():
    z = logits(model, x)
    size, m = float(abs(z).mean()), float(xp.median(margin(z, y)))
    print(
        f"{name:8}: accuracy {accuracy(model, x, y):.1%}, mean |logit| {size:6.1f}, median margin {m:6.1f}"
    )
assert accuracy(student, x, y) > 0.9
assert float(abs(logits(student, x)).mean()) > 5 * float(abs(logits(regular, x)).mean())

# %% [markdown]
# The student reads as well as the others. Only its logits are many times as large: it has learned to answer *after* a
# division by 20, and nobody divides any more.
#
# ## It works
#
# FGSM as most code has it: the gradient of $-\log p_y$ for softmax outputs, in float32.

# %%


def usual_gradient(model, x, y):
    """∇ₓ of −log p_y, by way of the probabilities (clipped as usual, so that no log 0 occurs)."""

    def loss(x):
        p = ops.clip(ops.softmax(model(x)), 1e-7, 1)
        return -ops.log(p[xp.arange(len(y)), y]).sum()

    return grad(loss, x)


def usual_fgsm(model, x, y, eps):
    return xp.clip(x + xp.float32(eps) * xp.sign(usual_gradient(model, x, y)), 0, 1)


masked = {}
for name, model in networks.items():
    zero = float((usual_gradient(model, x, y) == 0).all(axis=(1, 2, 3)).mean())
    masked[name] = robust_accuracy(model, x, y, usual_fgsm(model, x, y, eps))
    print(
        f"{name:8}: right under the usual FGSM (ε = {eps}) {masked[name]:6.1%}; gradient exactly zero for {zero:6.1%} of the images"
    )
assert masked["student"] > masked["regular"] + 0.3

# %% [markdown]
# That is the success that was published. But look at the last column: the attack did not fail at these images, it never
# started. $\partial L / \partial z_y = p_y - 1$, and from a margin of 17 on $p_y$ *is* 1 in float32. (And the teacher,
# trained on hard labels, is as "robust" as the student: the distilling contributes nothing.)
#
# ## It is broken: four ways to the same images
#
# 1. The *margin* $m = z_y - \log \sum_{j \ne y} e^{z_j}$ never saturates; `fgsm` and `pgd` here follow it.
# 2. *Undo the temperature*: attack $z / T$, with the usual gradient. One division.
# 3. *Transfer*: attack the regular network, whose gradient nobody has hidden, and show the result to the student.
# 4. *PGD* on the margin, the strongest.

# %%


def attacks(model):
    """What stays right under each attack."""
    by_pgd = pgd(regular, x, y=y, eps=eps, steps=20, early_stop=False)
    return {
        "usual FGSM": robust_accuracy(model, x, y, usual_fgsm(model, x, y, eps)),
        "z / T": robust_accuracy(model, x, y, usual_fgsm(lambda x: model(x) / T, x, y, eps)),
        "margin": robust_accuracy(model, x, y, fgsm(model, x, y=y, eps=eps)),
        "transfer": robust_accuracy(model, x, y, by_pgd),
        "PGD": robust_accuracy(model, x, y, pgd(model, x, y=y, eps=eps, steps=20)),
    }


survives = {
    name: {"clean": accuracy(model, x, y)} | attacks(model)
    for name, model in (("regular", regular), ("distilled", student))
}
for name, row in survives.items():
    print(f"{name:10}", "  ".join(f"{attack}: {share:6.1%}" for attack, share in row.items()))
figure = plotting.bars(
    survives,
    ylabel="accuracy",
    percent=True,
    title=f"Distillation at T = {T}: one attack fails, ε = {eps}",
)
save(
    figure,
    "broken",
    alt="Bars: distillation stands out under the usual FGSM only; under all other attacks both networks fall",
)
distilled = survives["distilled"]
usual, by_margin = (
    f"{survives['regular'][attack]:.0%} to {distilled[attack]:.0%}"
    for attack in ("usual FGSM", "margin")
)
compare(
    "D9",
    f"accuracy under FGSM, ε = {eps}, by distillation",
    "higher",
    f"usual {usual}, by the margin {by_margin}",
)
for attack in ("z / T", "margin", "transfer", "PGD"):
    assert distilled[attack] < distilled["usual FGSM"] - 0.3, attack

# %% [markdown]
# That an attack on *another* network does more harm than the usual one on the network itself is the surest sign of a
# masked gradient: whoever sees the weights cannot do worse than those who do not.
#
# ## Smoother? (D9)
#
# Document D says that distillation smooths the loss. If it did, the label would be further away. To first order it
# changes at $\varepsilon = m / \lVert \nabla m \rVert_1$ (lesson 1), a number that no scaling of the logits changes:

# %%
distance = {}
for name, model in networks.items():
    right = predict(model, x) == y
    m, slope = (
        margin(logits(model, x[right]), y[right]),
        grad(lambda x, model=model, k=y[right]: margin(model(x), k).sum(), x[right]),
    )
    distance[name] = float(xp.median(m / abs(slope).reshape(len(m), -1).sum(axis=1)))
    print(f"{name:8}: half of the labels change within ε = {distance[name]:.3f}, to first order")
assert distance["student"] < 1.5 * distance["regular"]
assert distance["student"] < 1.2 * distance["teacher"]

# %% [markdown]
# About as far as before. (On MNIST somewhat further, for the teacher as for the student: so it is not the soft labels,
# and under PGD nothing is left of it.)
#
# ## The temperature is the knob of the mask
#
# The higher $T$, the larger the logits, the fewer gradients survive the softmax. What the margin finds hardly changes.

# %%
knob = [1, 5, 20, 100]
students = [pair(T)[1] for T in knob]
lines = {
    "clean": [accuracy(model, x, y) for model in students],
    "under the usual FGSM": [
        robust_accuracy(model, x, y, usual_fgsm(model, x, y, eps)) for model in students
    ],
    "under FGSM by the margin": [
        robust_accuracy(model, x, y, fgsm(model, x, y=y, eps=eps)) for model in students
    ],
}
for i, T in enumerate(knob):
    print(f"T = {T:3}:", "  ".join(f"{name}: {values[i]:6.1%}" for name, values in lines.items()))
figure = plotting.curves(
    {name: (knob, values) for name, values in lines.items()},
    xlabel="temperature T",
    ylabel="accuracy",
    percent=True,
    title=f"The temperature masks, ε = {eps}",
)
figure.axes[0].set_xscale("log")
save(
    figure,
    "temperature",
    alt="With T the accuracy under the usual FGSM climbs up to the clean one; by the margin it stays low",
)
assert lines["under the usual FGSM"][-1] > lines["under the usual FGSM"][0] + 0.4
assert max(lines["under FGSM by the margin"]) < 0.3

# %% [markdown]
# No training is needed for this "defence": multiply the logits of *any* network by 20 (its labels stay) and the usual
# gradient is gone as well.

# %%
loud = robust_accuracy(regular, x, y, usual_fgsm(lambda x: 20 * regular(x), x, y, eps))
print(
    f"regular network, logits times 20: {loud:.1%} under the usual FGSM instead of {survives['regular']['usual FGSM']:.1%}"
)
assert loud > survives["regular"]["usual FGSM"] + 0.3

# %% [markdown]
# **Gradient masking is not robustness.** Before believing a defence: count the zero gradients; try an attack that needs
# none (transfer, lesson 9's queries); check that more steps and more $\varepsilon$ always do more harm; and adapt the
# attack to the defence (Athalye, Carlini & Wagner 2018, *Obfuscated gradients give a false sense of security*).
