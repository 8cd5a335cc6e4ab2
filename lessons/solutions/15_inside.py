# %% [markdown]
# # Solutions: inside the network
#
# All on the small digits, with a small network.

# %%
import numpy as np

from minadv import data, fit, models, to_numpy
from minadv.attacks.iterative_fgsm import iterative_fgsm
from minadv.embedding import (
    conditional_probabilities,
    joint_probabilities,
    kl_divergence,
    kl_gradient,
)
from minadv.evaluation import predict

d = data.digits()
model = models.mlp((8, 8, 1), rng=0)
fit(model, d.x_train, d.y_train, epochs=10, batch_size=8, rng=0, progress=False)
y = to_numpy(d.y_test)
twos = d.x_test[(y == 2) & (to_numpy(predict(model, d.x_test)) == 2)]
represent = model[:-1]
rng = np.random.default_rng(0)

# %% [markdown]
# ## Exercise 15.1
#
# The variance along each of 360 directions; the best one is the first right singular
# vector, up to half a degree and its sign.

# %%
points = rng.normal(size=(200, 2)) @ np.array([[2.0, 1.0], [0.0, 0.5]])
points -= points.mean(axis=0)
angles = np.deg2rad(np.arange(360) / 2)
tried = np.stack([np.cos(angles), np.sin(angles)])
best = tried[:, (points @ tried).var(axis=0).argmax()]
first = np.linalg.svd(points)[2][0]
print(f"cosine between the two: {abs(best @ first):.6f}")
assert abs(best @ first) > np.cos(np.deg2rad(0.5))

# %% [markdown]
# ## Exercise 15.2
#
# In $\sum_i \sum_j (p_{ij} - q_{ij}) k_{ij} (y_i - y_j)$ the terms $(i, j)$ and
# $(j, i)$ cancel. KL depends on differences only, so moving the whole map changes
# nothing.

# %%
h = to_numpy(represent(d.x_test[:60]), dtype=float)
p = joint_probabilities(conditional_probabilities(h, 10))
flat = rng.normal(size=(60, 2))
slope = kl_gradient(p, flat)
np.testing.assert_allclose(slope.sum(axis=0), 0, atol=1e-12)
assert abs(slope).max() > 1e-3
assert abs(kl_divergence(p, flat + 5.0) - kl_divergence(p, flat)) < 1e-9

# %% [markdown]
# ## Exercise 15.3
#
# With a small step KL falls in every step, as for any descent. With a large one it does
# not. The descent is slow: this is why the library adds momentum and exaggeration.

# %%
falls = {}
for eta in (1.0, 300.0):
    flat = rng.normal(size=(60, 2))
    values = []
    for _ in range(200):
        values.append(kl_divergence(p, flat))
        flat = flat - eta * kl_gradient(p, flat)
    falls[eta] = np.diff(values)
    print(
        f"step size {eta}: KL {values[0]:.2f} to {values[-1]:.2f}, "
        f"{(falls[eta] > 0).sum()} steps up"
    )
assert (falls[1.0] < 0).all()
assert (falls[300.0] > 0).any()

# %% [markdown]
# ## Exercise 15.4
#
# The cosine between the way in $h$ and the normal of the plane. A random direction in
# $D$ dimensions has a cosine of about $1 / \sqrt D$. The attack goes along the normal
# far more than that.

# %%
attack = iterative_fgsm(model, twos, target=6, eps=0.3, steps=20)
way = to_numpy(represent(attack.x_adv)) - to_numpy(represent(twos))
last = model[len(model) - 1 :]  # the linear layer alone
unit = np.eye(way.shape[1], dtype=np.float32)
weights = to_numpy(last(unit) - last(0 * unit))  # without b
normal = weights[:, 6] - weights[:, 2]
cosine = way @ normal / np.linalg.norm(way, axis=1) / np.linalg.norm(normal)
chance = 1 / np.sqrt(way.shape[1])
print(f"median cosine {np.median(cosine):.2f}, of a random direction ±{chance:.2f}")
assert np.median(cosine) > 3 * chance

# %% [markdown]
# ## Exercise 15.5
#
# Open. The nearest clean image in $h$, and in pixels, for growing $\varepsilon$: the
# representation turns into a six's long before the pixels do.

# %%
known = to_numpy(represent(d.x_train))
known_pixels = to_numpy(d.x_train).reshape(len(known), -1)
labels = to_numpy(d.y_train)


def nearest(points, among):
    squared = ((points[:, None] - among[None]) ** 2).sum(axis=2)
    return labels[squared.argmin(axis=1)]


shares = {}
for eps in (0.1, 0.2, 0.3, 0.4, 0.6):
    z = iterative_fgsm(model, twos, target=6, eps=eps, steps=20).x_adv
    inside = float((nearest(to_numpy(represent(z)), known) == 6).mean())
    outside = float(
        (nearest(to_numpy(z).reshape(len(z), -1), known_pixels) == 6).mean()
    )
    shares[eps] = inside, outside
    print(f"ε = {eps}: nearest is a six in h: {inside:.0%}, in pixels: {outside:.0%}")
assert shares[0.6][0] > 0.9
assert all(inside >= outside for inside, outside in shares.values())
