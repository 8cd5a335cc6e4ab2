# %% [markdown]
# # Solutions: adversarial training
#
# All on the small digits.

# %%
from functools import partial

import numpy as np

from minadv import data, fgsm, fit, grad, models, pgd, to_numpy
from minadv.attacks.balls import Ball
from minadv.defenses import mixed_loss
from minadv.evaluation import accuracy, robust_accuracy
from minadv.losses import cross_entropy
from minadv.training import Adam

d = data.digits()
x, y = d.x_test, d.y_test
eps = 0.15


def train(attack=None, x_train=d.x_train, y_train=d.y_train, model=None, epochs=16):
    """Document B's network on the mixed loss, or plainly."""
    model = model or models.mlp((8, 8, 1))
    more = {"optimizer": Adam(0.002), "batch_size": 64, "progress": False}
    if attack is not None:
        more["objective"] = mixed_loss(model, attack)
    fit(model, x_train, y_train, epochs=epochs, **more)
    return model


def under_pgd(model):
    attacked = pgd(model, x, y=y, eps=eps, steps=20, rng=1)
    return robust_accuracy(model, x, y, attacked)


# %% [markdown]
# ## Exercise 11.1
#
# The price of a weight is $\varepsilon |w_i|$, so the sum of all $|w_i|$ falls further.
# Here twice is too much: hardly any of 64 pixels is worth its price, and the accuracy
# falls as well.


# %%
def three_or_eight(images, labels):
    chosen = (labels == 3) | (labels == 8)
    s = np.where(to_numpy(labels[chosen]) == 8, 1.0, -1.0)
    return to_numpy(images[chosen], dtype=float).reshape(len(s), -1), s


def descend(v, s, eps, steps=300, rate=0.5):
    w, b = np.zeros(v.shape[1]), 0.0
    for _ in range(steps):
        attacked = v - eps * s[:, None] * np.sign(w)
        slope = -s / (1 + np.exp(s * (attacked @ w + b)))
        w, b = w - rate * (slope @ attacked) / len(v), b - rate * slope.mean()
    return w, b


v, s = three_or_eight(d.x_train, d.y_train)
v_test, s_test = three_or_eight(x, y)
sizes, rights = [], []
for e in (eps, 2 * eps):
    w, b = descend(v, s, e)
    sizes.append(np.abs(w).sum())
    rights.append((s_test * (v_test @ w + b) > 0).mean())
    print(f"ε = {e}: sum of |w| {sizes[-1]:.1f}, accuracy {rights[-1]:.1%}")
assert sizes[1] < 0.8 * sizes[0]
assert rights[1] < rights[0]

# %% [markdown]
# ## Exercise 11.2
#
# By the Cauchy-Schwarz inequality (1.6) the worst change is $r^* = -\varepsilon \, s \,
# w / \lVert w \rVert_2$, and it takes $\varepsilon \lVert w \rVert_2$ off the margin.
# In (11.4) $w / \lVert w \rVert_2$, the gradient of $\lVert w \rVert_2$, takes the
# place of $\mathrm{sign}(w)$. The result is the same: the ordinary gradient at $x +
# r^*$.

# %%
rng = np.random.default_rng(0)
w, image, sign = rng.normal(size=6), rng.normal(size=6), -1.0


def worst_case(w):
    return np.log1p(np.exp(-(sign * (w @ image) - eps * np.linalg.norm(w))))


attacked = image - eps * sign * w / np.linalg.norm(w)
by_formula = -sign * attacked / (1 + np.exp(sign * (w @ attacked)))
h = 1e-6
by_differences = [
    (worst_case(w + h * e) - worst_case(w - h * e)) / (2 * h) for e in np.eye(6)
]
np.testing.assert_allclose(by_formula, by_differences, atol=1e-8)

# %% [markdown]
# ## Exercise 11.3
#
# The ball's projection is a clip. The random start keeps the network from learning one
# fixed pattern. On the small digits plain FGSM is not far behind.


# %%
def random_fgsm(model, x, *, y):
    ball = Ball(x, eps)
    rng = np.random.default_rng(int(1000 * float(x.sum())))  # no generator is shared
    start = rng.uniform(-eps, eps, x.shape[1:]).astype(np.float32)
    begin = ball.project(x + start)
    g = grad(lambda v: cross_entropy(model(v), y).sum(), begin)
    return ball.project(begin + np.float32(1.25 * eps) * np.sign(g))


robust = {
    "regular": under_pgd(train()),
    "FGSM": under_pgd(train(partial(fgsm, eps=eps))),
    "FGSM from a random start": under_pgd(train(random_fgsm)),
}
print({name: f"{share:.1%}" for name, share in robust.items()})
assert robust["FGSM from a random start"] > robust["regular"] + 0.2
assert abs(robust["FGSM from a random start"] - robust["FGSM"]) < 0.2

# %% [markdown]
# ## Exercise 11.4
#
# In each epoch: attack all training images with the network as it is, then train on
# both. It comes near to "as it trains", since the pattern is renewed 16 times.

# %%
model = train()
once = fgsm(model, d.x_train, y=d.y_train, eps=eps).x_adv
both = np.concatenate([d.x_train, once]), np.concatenate([d.y_train, d.y_train])
robust["crafted once"] = under_pgd(train(None, *both))
model = train(epochs=1)
for _ in range(15):
    anew = fgsm(model, d.x_train, y=d.y_train, eps=eps).x_adv
    train(None, np.concatenate([d.x_train, anew]), both[1], model=model, epochs=1)
robust["crafted each epoch"] = under_pgd(model)
print({name: f"{share:.1%}" for name, share in robust.items()})
assert robust["crafted each epoch"] > robust["crafted once"] + 0.1
assert accuracy(model, x, y) > 0.9

# %% [markdown]
# ## Exercise 11.5
#
# $\max(w, -w) = |w|$. At $w = 0$ both choices are worst, and there is no gradient.
# (11.6) still holds: the slope to the right is at least $+1$ and at least $-1$. What
# fails is the step that needs a gradient. Danskin's theorem asks for *one* worst
# change.

# %%
h = 1e-6
right, left = (abs(0 + h) - 0) / h, (abs(0 - h) - 0) / -h
assert (round(right), round(left)) == (1, -1)

# %% [markdown]
# ## Exercise 11.6
#
# Open. Some ways: attack with both and train on the worse of the two images; train on
# the mean of both losses; take turns. Each costs accuracy on clean images, and the
# network is usually weaker against each attack than one that was trained against that
# attack alone. See F. Tramèr and D. Boneh, *Adversarial training and robustness for
# multiple perturbations*, 2019, arXiv:1904.13000.
