# %% [markdown]
# # Solutions: forging
#
# All on the small digits, with a network like the lesson's.

# %%
import math

import numpy as np

from minadv import data, fit, forge, grad, models, to_numpy
from minadv.evaluation import confidence, predict
from minadv.losses import cross_entropy

d = data.digits()
model = models.mlp((8, 8, 1))
fit(model, d.x_train, d.y_train, epochs=10, batch_size=8, progress=False)
x, y = d.x_test[:100], d.y_test[:100]
target = (y + 1) % 10

# %% [markdown]
# ## Exercise 3.1
#
# $(1 - 2 \alpha \lambda)^T < 0.01$, with $\alpha \lambda = 10^{-4}$.

# %%
T = math.ceil(math.log(0.01) / math.log(1 - 2 * 0.1 * 0.001))
print(f"{T:,} steps")
assert (1 - 2e-4) ** T < 0.01 < (1 - 2e-4) ** (T - 1)

# %% [markdown]
# ## Exercise 3.2
#
# $L = \tfrac12 (k \cdot \tfrac{1}{k^2} + 1) = \tfrac12 (1 + \tfrac1k)$. Each wrong
# class has $r_j = p_j = 1/k$, and $\sum_k r_k p_k = k \cdot \tfrac{1}{k^2} = \tfrac1k$,
# so the bracket in (3.2) is 0. For the target the factor $p_t = 0$ is.

# %%
for k in (1, 2, 3):
    p = np.array([1 / k] * k + [0.0] * (4 - k))  # the target is the last of 4 classes
    r = p - np.array([0, 0, 0, 1.0])
    np.testing.assert_allclose(p * (r - (r * p).sum()), 0, atol=1e-15)
    np.testing.assert_allclose(0.5 * (r**2).sum(), 0.5 * (1 + 1 / k))

# %% [markdown]
# ## Exercise 3.3
#
# Each image stops by itself: its pixels are moved no more once it is done.


# %%
def forge_until(model, x, t, reference, weight, alpha, steps, sure):
    def L(x):
        distance = ((x - reference) ** 2).sum()
        return cross_entropy(model(x), t).sum() + weight * distance

    for _ in range(steps):
        going = (to_numpy(confidence(model, x, t)) < sure)[:, None, None, None]
        if not going.any():
            break
        moved = np.clip(x - np.float32(alpha) * grad(L, x), 0, 1)
        x = np.where(going, moved, x).astype(np.float32)
    return x


found = forge_until(model, x, target, x, 0.01, 0.1, 200, 0.9)
reached = float((predict(model, found) == target).mean())
plain = forge(model, x, target=target, loss=cross_entropy, lr=0.1, steps=200)
change = np.linalg.norm((to_numpy(found) - to_numpy(x)).reshape(100, -1), axis=1)
print(f"{reached:.0%} reached, change {change.mean():.2f} instead of", end=" ")
print(f"{float(plain.l2.mean()):.2f} without a stop")
assert reached > 0.9
assert change.mean() < float(plain.l2.mean())

# %% [markdown]
# ## Exercise 3.4
#
# The plains are not exactly flat: by (3.3) the target's probability grows, in
# proportion to itself. So descents that failed creep out, at 50 times the cost. On
# these digits all or almost all of them do. Where a network is surer, $p_t$ starts
# lower and it takes longer still.

# %%
short = forge(model, x, target=target, steps=200)
failed = ~to_numpy(short.success)
longer = forge(model, short.x_adv[failed], target=target[failed], steps=2000)
quick = forge(model, x, target=target, loss=cross_entropy, steps=40)
late, soon = float(longer.success.mean()), float(quick.success.mean())
print(f"squared error: {float(short.success.mean()):.0%} reached after 200 steps")
print(f"of the others {late:.0%} after 2,000 more; cross-entropy: {soon:.0%} after 40")
assert soon > 0.95
assert float(short.success.mean()) < soon - 0.05
assert late > 0.5

# %% [markdown]
# ## Exercise 3.5
#
# Open. A start: refuse where the nearest training image is farther away than that of 99
# % of the test images. It refuses all forged noise. But an attacker who is told adds
# the distance to the loss, which is (3.6).

# %%
known = to_numpy(d.x_train, dtype=float).reshape(-1, 64)


def nearest(x):
    x = to_numpy(x, dtype=float).reshape(-1, 1, 64)
    return np.sqrt(((x - known) ** 2).sum(axis=2)).min(axis=1)


threshold = np.quantile(nearest(d.x_test), 0.99)
start = np.random.default_rng(0).random((50, 8, 8, 1)).astype(np.float32)
order = np.arange(50) % 10
noise = forge(model, start, target=order, loss=cross_entropy)
near = forge(
    model,
    start,
    target=order,
    loss=cross_entropy,
    reference=d.x_test[:50],
    weight=0.1,
    lr=0.1,
    steps=400,
)
refused = {
    "forged noise": float((nearest(noise.x_adv) > threshold).mean()),
    "forged near a digit": float((nearest(near.x_adv) > threshold).mean()),
}
print(refused, f"of the latter {float(near.success.mean()):.0%} read as ordered")
assert refused["forged noise"] > 0.95
assert refused["forged near a digit"] < 0.5
assert float(near.success.mean()) > 0.9
