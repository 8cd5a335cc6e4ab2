# %% [markdown]
# # Solutions: linear models

# %%
import numpy as np

from minadv import SGD, Adam, asarray, data, fgsm, fit, grad, losses, models, to_numpy
from minadv.defenses.rbf import rbf_network
from minadv.evaluation import accuracy

W = np.array([1.0, 3.0, -1.0, 2.0, 2.0, 3.0])
x = np.array([1.0, -1.0, 2.0, 0.0, 3.0, -2.0])

# %% [markdown]
# ## Exercise 1.1
#
# The logit is $-4$ and rises by $\varepsilon \lVert W \rVert_1 = 12 \varepsilon$. So
# anything above $\varepsilon = 1/3$ will do.

# %%
smallest = -(W @ x) / np.abs(W).sum()
print(f"ε > {smallest:.4f}")
assert smallest == 1 / 3
assert W @ (x + 0.334 * np.sign(W)) > 0 > W @ (x + 0.333 * np.sign(W))

# %% [markdown]
# ## Exercise 1.2
#
# A change $\delta$ of component $i$ moves the logit by $W_i \delta$. The largest weight
# is 3, of the second and of the sixth component, and $\delta$ must exceed $4/3$.

# %%
i = int(np.abs(W).argmax())
delta = -(W @ x) / W[i]
print(f"component {i + 1} by more than {delta:.4f}")
assert abs(W[i]) == 3
assert W @ (x + 1.001 * delta * (np.arange(6) == i)) > 0

# %% [markdown]
# ## Exercise 1.3
#
# $$W \cdot r \le \sum_i |W_i| |r_i| \le \max_i |W_i| \sum_i |r_i| \le \rho \, \lVert W
# \rVert_\infty,$$
#
# with equality if $r$ is $\rho$ times the sign, in a component with the largest weight,
# and 0 elsewhere. No other $r$ of that size does better:

# %%
many = np.random.default_rng(0).normal(size=(100_000, 6))
many /= np.abs(many).sum(axis=1, keepdims=True)  # size 1
assert (many @ W).max() < 3

# %% [markdown]
# ## Exercise 1.4
#
# Each of the 16 copies of a pixel gets the gradient that the pixel had. So the copies'
# weights stay equal, and one step moves the logit 16 times as far. With a step size of
# a sixteenth the two models are the same function: $n$ is 16 times as large, each
# weight a sixteenth, $\lVert W \rVert_1$ the same, and so is the effect of FGSM. What
# matters is $\lVert W \rVert_1$, and $n$ only through it.

# %%
d = data.digits()
train, test = d.y_train < 2, d.y_test < 2
results = {}
for k in (1, 4):
    larger = np.ones((k, k, 1), np.float32)
    x_train = asarray(np.kron(to_numpy(d.x_train)[train], larger))
    x_test = asarray(np.kron(to_numpy(d.x_test)[test], larger))
    model = models.LogisticRegression(np.zeros(64 * k * k, np.float32))
    optimizer = SGD(0.5 / k**2)
    fit(
        model,
        x_train,
        d.y_train[train],
        epochs=5,
        batch_size=len(x_train),
        optimizer=optimizer,
        progress=False,
    )
    y = d.y_test[test]
    attacked = accuracy(model, fgsm(model, x_test, y=y, eps=0.3).x_adv, y)
    size = float(np.abs(to_numpy(model.weight)).sum())
    results[k] = size, accuracy(model, x_test, y), attacked
    print(
        f"n = {64 * k * k}: ‖W‖₁ = {size:.2f}, accuracy {results[k][1]:.0%}", end=", "
    )
    print(f"under FGSM {attacked:.0%}")
np.testing.assert_allclose(results[1], results[4], rtol=0.05)

# %% [markdown]
# (The bias learns a sixteenth as fast, too, which is why the numbers agree to 5 %
# only.)
#
# ## Exercise 1.5
#
# One attempt: the distance from the tangent at the surface of the ball, for random
# signs and for FGSM's, as a share of $\varepsilon \lVert \nabla m \rVert_1$. Both tell
# the two networks apart: curvature is not confined to FGSM's direction.

# %%
images, y = d.x_test[:100], d.y_test[:100]
relu = models.mlp((8, 8, 1))
fit(relu, d.x_train, d.y_train, epochs=10, batch_size=8, progress=False)
rbf = rbf_network(d.x_train, centers=100)
how = {"epochs": 20, "batch_size": 32, "optimizer": Adam(0.01), "progress": False}
fit(rbf, d.x_train, d.y_train, **how)
rng, eps, errors = np.random.default_rng(0), 0.3, {}
for name, model in (("ReLU", relu), ("radial basis functions", rbf)):
    g = grad(lambda x, f=model: losses.margin(f(x), y).sum(), images)
    g = to_numpy(g, dtype=float).reshape(100, -1)
    coin = rng.choice([-1.0, 1.0], size=g.shape)
    for direction, s in (("random", coin), ("FGSM's", -np.sign(g))):
        r = (eps * s).astype(np.float32)
        moved = model(images + asarray(r.reshape(images.shape)))
        change = losses.margin(moved, y) - losses.margin(model(images), y)
        error = np.abs(to_numpy(change) - (r * g).sum(axis=1))
        off = float(np.median(error / (eps * np.abs(g).sum(axis=1))))
        errors[name, direction] = off
        print(f"{name}, {direction} signs: off the tangent by {off:.1%}")
for direction in ("random", "FGSM's"):
    assert errors["radial basis functions", direction] > 2 * errors["ReLU", direction]
