# %% [markdown]
# # Solutions: a second opinion
#
# All on the small digits.

# %%
import numpy as np

from minadv import Adam, data, fgsm, fit, models, ops, to_numpy
from minadv.defenses.detection import Detector
from minadv.defenses.rbf import disagreement, rbf_network
from minadv.evaluation import accuracy, logits

d = data.digits()
held_out, x, y = d.x_test[0::2], d.x_test[1::2], d.y_test[1::2]
quiet = {"batch_size": 32, "progress": False, "rng": 0}
model = models.cnn((8, 8, 1), rng=0)
fit(model, d.x_train, d.y_train, epochs=12, **quiet)
rbf = rbf_network(d.x_train, centers=100, rng=0)
fit(rbf, d.x_train, d.y_train, epochs=12, optimizer=Adam(0.01), **quiet)
dense = models.mlp((8, 8, 1), rng=1)
fit(dense, d.x_train, d.y_train, epochs=12, **quiet)

# %% [markdown]
# ## Exercise 16.1
#
# With the distance $s = \lVert x - c \rVert$, (16.2) has the length $2 \gamma s
# e^{-\gamma s^2}$. Its derivative by $s$ is $2 \gamma e^{-\gamma s^2} (1 - 2 \gamma
# s^2)$, which is zero at $s = 1 / \sqrt{2 \gamma}$: at 0.7 widths.

# %%
gamma = 0.4
s = np.linspace(0, 5, 5001)
length = 2 * gamma * s * np.exp(-gamma * s**2)
assert abs(s[length.argmax()] - 1 / np.sqrt(2 * gamma)) < 0.002

# %% [markdown]
# ## Exercise 16.2
#
# By Jensen's inequality as in (14.2),
#
# $$-\sum_k p_k \log (q_k / p_k) \ge -\log \sum_k p_k (q_k / p_k) = -\log 1 = 0.$$
#
# The logarithm is strictly concave. So both sides are equal only if $q_k / p_k$ is the
# same for all $k$, and then it is 1.

# %%
p, q = np.random.default_rng(0).dirichlet(np.ones(10), size=(2, 1000))
assert (p * np.log(p / q)).sum(axis=1).min() > 0
assert abs(to_numpy(disagreement(model, model)(x))).max() < 1e-5

# %% [markdown]
# ## Exercise 16.3
#
# A unit is below 0.01 where $\gamma \lVert x + t r - c \rVert^2 > \log 100$. By the
# triangle inequality that holds as soon as $t \lVert r \rVert > \sqrt{\log 100 /
# \gamma} + \lVert x - c \rVert$. The widest unit has the smallest $\gamma$.

# %%
units = rbf[1]
narrowest = float(np.exp(to_numpy(units.log_gamma).min()))
flat = to_numpy(x).reshape(len(x), -1)
r = np.random.default_rng(1).uniform(-0.5, 0.5, flat.shape).astype(flat.dtype)
centers = to_numpy(units.center)
far = np.sqrt(((flat[:, None] - centers) ** 2).sum(axis=2)).max()
t = (np.sqrt(np.log(100) / narrowest) + far) / np.linalg.norm(r, axis=1).min()
print(f"t = {t:.1f} is enough")
assert float(units(flat + flat.dtype.type(t) * r).max()) < 0.01

# %% [markdown]
# ## Exercise 16.4
#
# Not on these images. The sum is about as good as either: the two second opinions share
# mistakes, and each adds its own false alarms.

# %%
attacked = fgsm(model, x, y=y, eps=0.1)
one, two = disagreement(model, rbf), disagreement(model, dense)
caught = {}
for name, score in (
    ("RBF", one),
    ("dense", two),
    ("sum", lambda x: one(x) + two(x)),
):
    guard = Detector.calibrated(score, held_out, false_positive_rate=0.05)
    caught[name] = float(guard(attacked.x_adv)[attacked.success].mean())
    alarms = float(guard(x).mean())
    print(f"{name}: {caught[name]:.0%} detected, {alarms:.1%} false alarms")
assert abs(caught["sum"] - max(caught["RBF"], caught["dense"])) < 0.25

# %% [markdown]
# ## Exercise 16.5
#
# The promise is kept by any score. How much is detected depends on it: exchanged, the
# divergence is large where the *second* is sure and the classifier is not.


# %%
def exchanged(x):
    z, w = model(x), rbf(x)
    difference = ops.log_softmax(w) - ops.log_softmax(z)
    return ops.sum(ops.softmax(w) * difference, axis=1)


guard = Detector.calibrated(exchanged, held_out, false_positive_rate=0.05)
rate = float(guard(attacked.x_adv)[attacked.success].mean())
print(f"exchanged: {rate:.0%} detected, {float(guard(x).mean()):.1%} false alarms")
assert float(guard(x).mean()) < 0.14

# %% [markdown]
# ## Exercise 16.6
#
# Open. Some candidates: a network trained on outlines only; one trained on images whose
# texture is exchanged (Geirhos et al. 2019, arXiv:1811.12231); a decoder per class, of
# which the best drawing wins (Schott et al. 2019, arXiv:1805.09190). For each, ask
# first how well it reads clean digits, and then attack it together with the classifier.

# %%
assert accuracy(model, x, y) > 0.9
assert logits(model, x).shape == (len(x), 10)
