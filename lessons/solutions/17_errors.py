# %% [markdown]
# # Solutions: reading critically

# %%
import numpy as np

from minadv import data, fgsm, fit, models, pgd, to_numpy
from minadv.evaluation import robust_accuracy

d = data.digits()
x, y = d.x_test, d.y_test


def network(start):
    model = models.mlp((8, 8, 1), rng=start)
    fit(model, d.x_train, d.y_train, epochs=10, batch_size=8, rng=start, progress=False)
    return model


model, other = network(0), network(1)

# %% [markdown]
# ## Exercise 17.1
#
# The percentages are right. The odds are $e^{z_0 - z_1}$, so doubling the logits
# *squares* them: from $e$ to $e^2$.


# %%
def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


z = np.array([2.0, 1.0, 0.0])
np.testing.assert_allclose(softmax(z), [0.665, 0.245, 0.090], atol=5e-4)
odds = [p[0] / p[1] for p in (softmax(z), softmax(2 * z))]
print(f"odds {odds[0]:.2f}, doubled logits {odds[1]:.2f}, not {2 * odds[0]:.2f}")
assert np.isclose(odds[1], odds[0] ** 2)
assert not np.isclose(odds[1], 2 * odds[0])

# %% [markdown]
# ## Exercise 17.2
#
# One attack gives an upper limit of the robust accuracy. A stronger one, within the
# same $\varepsilon$, lowers it. The error is "so the robust accuracy *is*".

# %%
eps = 0.1
one = robust_accuracy(model, x, y, fgsm(model, x, y=y, eps=eps))
many = robust_accuracy(model, x, y, pgd(model, x, y=y, eps=eps, steps=20))
print(f"right under FGSM {one:.1%}, under PGD {many:.1%}")
assert many < one - 0.02

# %% [markdown]
# ## Exercise 17.3
#
# The length is $\varepsilon \sqrt n = 2.8$.

# %%
length = np.linalg.norm(np.full(784, 0.1))
print(f"{length:.2f}")
assert np.isclose(length, 0.1 * np.sqrt(784))

# %% [markdown]
# ## Exercise 17.4
#
# The result is within $\varepsilon$ of $x$ (up to rounding), but may leave $[0, 1]$.

# %%
pixels = to_numpy(x)
g = to_numpy(fgsm(model, x, y=y, eps=eps, bounds=(-1, 2)).perturbation)
x_adv = np.clip(pixels + eps * np.sign(g), pixels - eps, pixels + eps)
illegal = float(((x_adv < 0) | (x_adv > 1)).mean())
print(f"{illegal:.0%} of the pixels are no gray values")
assert illegal > 0.1

# %% [markdown]
# ## Exercise 17.5
#
# The attack is made on `other`. What is measured is how well it transfers, and `model`
# looks better than it is.

# %%
borrowed = robust_accuracy(model, x, y, pgd(other, x, y=y, eps=eps).x_adv)
own = robust_accuracy(model, x, y, pgd(model, x, y=y, eps=eps).x_adv)
print(f"attacked through another network {borrowed:.1%}, itself {own:.1%}")
assert borrowed > own + 0.05

# %% [markdown]
# ## Exercise 17.6
#
# Open. Two places to begin: a claim of these lessons about one network that would need
# ten, and a number that depends on the first thousand test images.
