# %% [markdown]
# # Homework 7: defenses. Train one, break one
#
# Mirrors: A6, B7, D9.
#
# Before: lessons 11, 12 and 17. Hours: 10.
#
# You will:
#
# - find the worst case of a linear model in closed form, and train against it;
# - train a network on its own attacks;
# - measure where a gradient vanishes, and break a model that hides behind that.
#
# First you train a network that withstands small changes. Then you break a network that only seems
# to. You write six functions in `hw7.py`.
# Each part below says why, and ends with a cell to explore with. The cells say "not written yet"
# until you have written the part.
#
# After each part, run `python -m homework check hw7 .` in this folder.

# %%
import hw7
import numpy as np
from given import images, labels, model, show

from minadv import data, losses, models, vjp

images = images.astype(np.float32)

# %% [markdown]
# ## A. The worst case in closed form
#
# A logistic regression with labels $t = \pm 1$ has the margin $t (W \cdot x + b)$. The loss is
# $\log(1 + e^{-m})$, and falls with the margin $m$. So the worst change of $x$ is the one with the
# smallest margin. A change $d$ moves the margin by $t\, W \cdot d$. If no pixel moves by more than
# $\varepsilon$, that is at least $-\varepsilon \lVert W \rVert_1$, and $d = -t\, \varepsilon\,
# \mathrm{sign}(W)$ attains it. So the worst loss needs no attack:
#
# $$ \frac{1}{N} \sum_i \log(1 + e^{-m_i}), \quad
# m_i = t_i (W \cdot x_i + b) - \varepsilon \lVert W \rVert_1 $$
#
# Its derivative by $m$ is $-1 / (1 + e^{m})$. The derivative of $m_i$ by $W$ is $t_i x_i -
# \varepsilon\, \mathrm{sign}(W)$, and by $b$ it is $t_i$. At $W_j = 0$ the absolute value has a
# corner. Take 0 there, as `numpy.sign` does.
#
# For $m = -10{,}000$ the exponential overflows. Use $\log(1 + e^{-m}) = \max(-m, 0) + \log(1 +
# e^{-|m|})$.

# %%
W, X, t = np.array([1.0, -2.0]), np.array([[1.0, 0.0]]), np.array([1.0])
show(lambda: print("robust loss and gradient:", *hw7.robust_loss(W, 0.0, X, t, 0.5)))

# %% [markdown]
# ## B. Adversarial training
#
# A network has no closed form. So each batch is attacked, and the network is trained on both, the
# clean images and the attacked ones:
#
# $$ L(x, y) + \lambda\, L(x_{adv}, y) $$
#
# Both have the *right* label $y$. The label that the model gives to $x_{adv}$ is its mistake, and
# should not be learned. $x_{adv}$ counts as a constant: it is not differentiated by the weights.
#
# The attack must meet the model as it is at that moment. Images that were made once, before the
# training, are soon harmless to the new weights. The network then learns these images, and nothing
# about others.
#
# A recipe that is enough: one step of FGSM of size $\varepsilon$ in each batch, weight 1, batches
# of 32, 8 epochs, Adam with 0.001. `training.fit(..., objective=f)` calls `f(forward, x, y)`.
# `forward` is the model with its weights under differentiation. Give `forward` to `mixed_loss`, and
# attack `model` itself. The check attacks the result with PGD of 40 steps at $\varepsilon = 0.15$.


# %%
def compare():
    digits = data.digits()
    x_train, y_train = digits.x_train.reshape(-1, 64), digits.y_train.astype(np.int64)
    own = models.mlp((64,))
    own.parameters = hw7.train_robust(x_train, y_train, 0.15, np.random.default_rng(0))
    for name, net in (("clean training", model), ("your training", own)):
        _, pull = vjp(lambda v, net=net: losses.cross_entropy(net(v), labels), images)
        step = np.float32(0.15) * np.sign(pull(np.ones(len(images), np.float32)))
        clean = (net(images).argmax(axis=1) == labels).mean()
        fgsm = (net(np.clip(images + step, 0, 1)).argmax(axis=1) == labels).mean()
        print(f"{name}: clean {clean:.3f}, under FGSM {fgsm:.3f}")


show(compare)

# %% [markdown]
# ## C. Soft labels
#
# Defensive distillation trains with the softmax of $z / T$. A large $T$ makes the labels soft: as
# $T$ grows, each class tends to $1 / K$. The order of the classes stays. Subtract the largest $z /
# T$ of the row first, and nothing overflows.

# %%
show(lambda: print("T = 1: ", hw7.soft_labels(np.array([[10.0, 5.0, 0.0]]), 1.0).round(4)))
show(lambda: print("T = 20:", hw7.soft_labels(np.array([[10.0, 5.0, 0.0]]), 20.0).round(4)))

# %% [markdown]
# ## D. Gradients that vanish
#
# A network that was trained at temperature 20 and is used at temperature 1 has logits that are 20
# times as large. Its labels are the same. But the textbook gradient of the cross-entropy,
# $\mathrm{softmax}(z) - \mathrm{onehot}(y)$, vanishes. In float32 the number $e^{-110}$ is 0, and
# $1 - 10^{-8}$ is 1. Then every entry is exactly 0, and so is the gradient in every pixel. An
# attack that follows it goes nowhere, and the defense looks strong.
#
# `flat` measures that. It computes in the dtype of the logits. In float64 you would see something
# else, and not what happened. (`minadv.losses.cross_entropy` is written so that it does not vanish.
# Here the textbook's formula is asked for.)


# %%
def vanish():
    for factor in (1, 20, 100):
        share = hw7.flat(lambda v, c=factor: model(v) * np.float32(c), images, labels)
        print(f"logits times {factor}: the gradient is exactly 0 at {share:.1%} of the images")


show(vanish)

# %% [markdown]
# ## E. Breaking a masked model
#
# A constant factor changes no label, so it moves no boundary. An attack needs a gradient that does
# not fade. Take the log-odds margin of homework 2: $m = z_y - \log \sum_{j \ne y} e^{z_j}$. Its
# gradient is 1 at $y$, and minus the softmax of the *other* classes elsewhere. However sure the
# model is, the entries other than $y$ add up to $-1$.
#
# With two classes the gradient of $m$ by the logits is $(1, -1)$ at any factor. So the factor
# changes the pulled-back gradient only in length, and its sign not at all. With ten classes a large
# factor makes the softmax of the others a choice of the runner-up.
#
# You do not know the factor. Do not guess one.


# %%
def broken():
    for factor in (1, 20, 100, 1000):
        masked = lambda v, c=factor: model(v) * np.float32(c)  # noqa: E731
        x_adv = hw7.break_masked(masked, images, labels, 0.1)
        wrong = int((model(x_adv).argmax(axis=1) != labels).sum())
        print(f"logits times {factor}: {wrong} of {len(images)} images fool the model")


show(broken)

# %% [markdown]
# ## Written questions
#
# They are in `answers.md`. Hand in `hw7.py` and `answers.md`.
