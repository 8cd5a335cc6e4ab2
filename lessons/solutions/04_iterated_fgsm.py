# %% [markdown]
# # Solutions: iterated FGSM and PGD
#
# All on the small digits, with a network that trains in a second.

# %%
import numpy as np

from minadv import data, fit, grad, iterative_fgsm, losses, pgd, to_numpy
from minadv.attacks.balls import Ball
from minadv.models import mlp

d = data.digits()
model = mlp((8, 8, 1))
fit(model, d.x_train, d.y_train, epochs=8, batch_size=16, progress=False)
x, y = d.x_test[:100], d.y_test[:100]


def margin_gradient(x, labels):
    return grad(lambda x: losses.margin(model(x), labels).sum(), x)


# %% [markdown]
# ## Exercise 4.1
#
# With the loss of the *true* label, go up instead of down: $x + \eta \,
# \mathrm{sign}(\partial L / \partial x)$. As $\partial L / \partial x$ has the sign of
# minus the margin's gradient, the step is minus that sign.

# %%
eps, T = 0.2, 10
ball, z = Ball(x, eps), x
for _ in range(T):
    z = ball.project(z + eps / T * np.sign(-margin_gradient(z, y)))
library = iterative_fgsm(model, x, y=y, eps=eps, steps=T)
assert (z == library.x_adv).all()

# %% [markdown]
# ## Exercise 4.2
#
# For $x = 0.95$ and a step of 0.1, the clip changes nothing, and the sum is 1.05. It
# happens wherever a step leads out of $[0, 1]$: for every second step at a black pixel.

# %%
step = 0.1 * np.random.default_rng(0).choice([-1, 1], size=x.shape)
assert np.clip(0.95, 0, 1) + 0.1 > 1
out = np.clip(to_numpy(x), 0, 1) + step
share = ((out < 0) | (out > 1)).mean()
print(f"outside [0, 1]: {share:.0%} of the pixels")
assert 0.1 < share < 0.6

# %% [markdown]
# ## Exercise 4.3
#
# Let $v' = v - x^0$ be longer than $\varepsilon$. For any $r$ of length at most
# $\varepsilon$, $\lVert v' - r \rVert \ge \lVert v' \rVert - \lVert r \rVert \ge \lVert
# v' \rVert - \varepsilon$, and $r = \varepsilon v' / \lVert v' \rVert$ attains that. So
# $\Pi(v) = x^0 + \min(1, \varepsilon / \lVert v' \rVert) \, v'$.


# %%
def project(v, x0, eps):
    change = (v - x0).reshape(len(v), -1)
    length = np.linalg.norm(change, axis=1, keepdims=True)
    return x0 + (change * np.minimum(1, eps / length)).reshape(v.shape)


g = -margin_gradient(x, y)
length = np.linalg.norm(g.reshape(len(x), -1), axis=1).reshape(-1, 1, 1, 1)
by_hand = project(x + 2.0 * g / length, x, 0.5)
how = {"eps": 0.5, "alpha": 2.0, "steps": 1, "norm": "l2", "bounds": (-9, 9)}
one = pgd(model, x, y=y, random_start=False, early_stop=False, **how)
moved = one.l2 > 0  # else the original is better than the step
np.testing.assert_allclose(by_hand[moved], one.x_adv[moved], atol=1e-5)
assert moved.mean() > 0.8

# %% [markdown]
# ## Exercise 4.4
#
# Small steps do not arrive: ten of them reach $10 \alpha$. From $\alpha = \varepsilon /
# 2$ on nothing is gained, and little is lost. On a nearly linear model the best point
# is a corner of the ball, large steps jump from corner to corner, and the best one is
# kept.

# %%
shares = np.array([0.02, 0.05, 0.1, 0.25, 0.5, 1, 2])
scores = []
for share in shares:
    r = pgd(
        model,
        x,
        y=y,
        eps=0.2,
        alpha=0.2 * share,
        steps=10,
        random_start=False,
        early_stop=False,
    )
    scores.append(float(-losses.margin(model(r.x_adv), y).mean()))
    print(f"α = {share:4.2f} ε: mean score {scores[-1]:+.2f}")
assert scores[0] < max(scores) - 0.5
assert min(scores[-3:]) > max(scores) - 0.5

# %% [markdown]
# ## Exercise 4.5
#
# One way to start: the success for each target, and how far the nearest training image
# of that label is.

# %%
twos = d.x_test[(d.y_test == 2) & (model(d.x_test).argmax(axis=1) == 2)]
flat = twos.reshape(len(twos), -1)
rate, away = [], []
for target in [k for k in range(10) if k != 2]:
    r = iterative_fgsm(model, twos, target=target, eps=0.2, steps=10)
    train = d.x_train[d.y_train == target].reshape(-1, 64)
    nearest = np.linalg.norm(flat[:, None] - train[None], axis=2).min(axis=1).mean()
    rate.append(float(r.success.mean()))
    away.append(nearest)
    print(f"2 → {target}: {rate[-1]:.0%}, nearest training image {nearest:.2f} away")
assert max(rate) > min(rate) + 0.2
print(f"correlation {np.corrcoef(rate, away)[0, 1]:+.2f}")
