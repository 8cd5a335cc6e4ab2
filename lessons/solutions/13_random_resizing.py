# %% [markdown]
# # Solutions: random resizing and padding
#
# All on the small digits.

# %%
import numpy as np

from minadv import data, fit, grad, models, ops, pgd, to_numpy
from minadv.defenses.adversarial_training import augment
from minadv.defenses.resizing import RandomResizing, resize
from minadv.evaluation import robust_accuracy

d = data.digits()
shape = d.x_train.shape[1:]
x, y = d.x_test[:100], d.y_test[:100]


def defended(model, *, draws=30, rng=1, **how):
    """Draws of 6 and 7 pixels in 8, without flips."""
    how = {"smallest": 6 / 8, "flip": 0, **how}
    return RandomResizing(model, shape, draws=draws, rng=rng, **how)


views = defended(lambda x: x, draws=6, rng=7).views(d.x_train)
model = models.mlp(shape, rng=0)
xs, ys = augment(d.x_train, d.y_train, *views)
fit(model, xs, ys, epochs=4, batch_size=32, rng=0, progress=False)
defense = defended(model)

# %% [markdown]
# ## Exercise 13.1
#
# Row $i$ of the matrix has a single 1, at the old pixel that contains $(i + \tfrac12) n
# / n'$.


# %%
def nearest(n, new):
    return np.eye(n)[((np.arange(new) + 0.5) * n / new).astype(int)]


A = nearest(8, 6)
np.testing.assert_allclose(
    to_numpy(resize(x, (6, 6), method="nearest")),
    np.einsum("ij,njkc,lk->nilc", A, to_numpy(x), A),
    atol=1e-6,
)

# %% [markdown]
# ## Exercise 13.2
#
# Let $j \le c_i \le j + 1$. Only $j$ and $j + 1$ are nearer than 1, so the row adds up
# to $1 - (c_i - j) + 1 - (j + 1 - c_i) = 1$. No weight is negative. So a new pixel is a
# mean of old ones, and a mean lies between the smallest and the largest. Black around
# it is 0. (In floating point, a mean can be off by a rounding.)

# %%
assert to_numpy(defense.views(x)).min() >= 0
assert to_numpy(defense.views(x)).max() <= 1 + 1e-6

# %% [markdown]
# ## Exercise 13.3
#
# $\sum_{j=1}^{m} j^2 = m (m + 1) (2m + 1) / 6$. Here $j = k + 1$ runs from 2 to $K +
# 1$, so it is $(K + 1)(K + 2)(2K + 3) / 6 - 1$. For $K = 32$ that is 12,528.

# %%
K = 32
assert (K + 1) * (K + 2) * (2 * K + 3) // 6 - 1 == 12528

# %% [markdown]
# ## Exercise 13.4
#
# The weights in (13.6) vanish where all draws are decided. The gradient of (13.5) is
# then next to nothing. That of (13.7) is not.


# %%
def loud(x):
    return 50 * model(x)


silent = {}
for average in ("probabilities", "logits"):
    f = defended(loud, average=average)

    def loss(x, f=f):
        z = f(x)
        p = ops.softmax(z) if f.average == "probabilities" else z
        return ops.sum(p[np.arange(len(y)), y])

    g = to_numpy(grad(loss, x))
    silent[average] = float((abs(g) < 1e-4).all(axis=(1, 2, 3)).mean())
    print(f"mean of {average}: {silent[average]:.0%} of the gradients are below 0.0001")
assert silent["probabilities"] > 0.1
assert silent["logits"] == 0

# %% [markdown]
# ## Exercise 13.5
#
# The first few draws do most.

# %%
left = {}
for draws in (1, 2, 5, 10, 20):
    attacker = defended(model, draws=draws, rng=2, average="logits")
    how = {"steps": 10, "random_start": False, "early_stop": False}
    result = pgd(attacker, x, y=y, eps=0.1, **how)
    left[draws] = robust_accuracy(defense, x, y, result)
    print(f"{draws:2} draws: {left[draws]:.0%} stay right")
assert left[10] < left[1]
assert left[1] - left[5] > left[5] - left[20] - 0.05

# %% [markdown]
# ## Exercise 13.6
#
# Open. Whatever is drawn, the defense's answer has a mean, and the mean can be
# estimated by anybody who can draw. So the change must be hard to *attack* on average,
# not hard to average. Gaussian noise is such a change: for it one can prove a radius
# within which the averaged label stays (Cohen, Rosenfeld and Kolter 2019,
# arXiv:1902.02918). Then the draws are no secret, but part of a proof.
