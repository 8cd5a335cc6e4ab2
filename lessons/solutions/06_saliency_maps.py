# %% [markdown]
# # Solutions: saliency maps

# %%
import numpy as np

from minadv import data, fit, jacobian, jsma, saliency_map
from minadv.attacks.saliency import best_pair, forward_derivative
from minadv.models import LogisticRegression, mlp

d = data.digits()
model = mlp((8, 8, 1))
fit(model, d.x_train, d.y_train, epochs=8, batch_size=16, progress=False)
twos = d.x_test[(d.y_test == 2) & (model(d.x_test).argmax(axis=1) == 2)][:20]

# %% [markdown]
# ## Exercise 6.1
#
# Lowering a pixel changes $F_t$ by $-\alpha_i$ and the others by $-\beta_i$. So a pixel
# is admissible if $\alpha_i \le 0$ and $\beta_i \ge 0$. A black pixel cannot be
# lowered.

# %%
J = jacobian(model, twos).reshape(len(twos), 10, 64)
alpha, beta = J[:, 6], J.sum(axis=1) - J[:, 6]
S = np.where((alpha > 0) | (beta < 0), 0, abs(alpha) * beta)
S = S * (twos.reshape(-1, 64) > 0)
how = {"theta": -1.0, "gamma": 1 / 64, "pairs": False, "outputs": "logits"}
changed = jsma(model, twos, target=6, **how).perturbation.reshape(-1, 64) != 0
moves = S.max(axis=1) > 0
assert (changed.sum(axis=1) == moves).all()
assert (changed.argmax(axis=1) == S.argmax(axis=1))[moves].all()

# %% [markdown]
# ## Exercise 6.2
#
# For the target 1, $\beta = \partial 0 / \partial x = 0$, so the product is zero. For
# the target 0, $\alpha = 0$. With probabilities $F_1 = \sigma(z)$, $\alpha = \sigma'(z)
# \, \partial z$ and $\beta = -\alpha$: not zero where $z$ depends on the pixel.

# %%
two_classes, gray = LogisticRegression(np.array([2.0, -1.0])), np.full((1, 2), 0.5)
for target in (0, 1):
    maps = {
        outputs: saliency_map(
            *forward_derivative(two_classes, gray, target, outputs=outputs)[1:]
        )
        for outputs in ("logits", "probabilities")
    }
    assert not maps["logits"].any()
    assert maps["probabilities"].any()

# %% [markdown]
# ## Exercise 6.3

# %%
for n in range(5):
    a, b = alpha[n].astype(float), beta[n].astype(float)
    S = saliency_map(a[:, None] + a, b[:, None] + b)  # all pairs, (64, 64)
    np.fill_diagonal(S, 0)
    pair, value = best_pair(a[None], b[None])
    np.testing.assert_allclose(value[0], S.max())
    if value[0] > 0:
        np.testing.assert_allclose(S[tuple(pair[0])], S.max())

# %% [markdown]
# ## Exercise 6.4
#
# The second best pixel of one map is not the best pixel of the next. So more pixels are
# spent, and fewer gradients.


# %%
def spend(k, budget=24):
    z = twos.copy()
    steps = np.zeros(len(z), dtype=int)
    for _ in range(budget // k):
        todo = np.flatnonzero(model(z).argmax(axis=1) != 6)
        if not len(todo):
            break
        _, dm, _ = forward_derivative(model, z[todo], 6)
        S = (np.maximum(dm, 0) * (z[todo] < 1)).reshape(len(todo), -1)
        for n, row in zip(todo, S, strict=True):
            best = row.argsort()[::-1][:k]
            z[n].reshape(-1)[best[row[best] > 0]] = 1
        steps[todo] += 1
    changed = (z != twos).reshape(len(z), -1).sum(axis=1)
    return (model(z).argmax(axis=1) == 6).mean(), changed.mean(), steps.mean()


results = {k: spend(k) for k in (1, 2, 4, 8)}
for k, (share, pixels, steps) in results.items():
    print(f"{k} at once: {share:.0%}, {pixels:.1f} pixels, {steps:.1f} gradients")
assert results[8][1] > results[1][1]
assert results[8][2] < results[1][2]

# %% [markdown]
# ## Exercise 6.5
#
# One way: a pixel may be raised only if one of its eight neighbors is brighter than
# half.


# %%
def near_ink(z):
    padded = np.pad(z[..., 0] > 0.5, ((0, 0), (1, 1), (1, 1)))
    around = [padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    return np.any(around, axis=0)[..., None]


def count(allowed):
    z = twos.copy()
    for _ in range(24):
        todo = model(z).argmax(axis=1) != 6
        _, dm, _ = forward_derivative(model, z, 6)
        S = np.maximum(dm, 0) * (z < 1) * allowed(z)
        S = S.reshape(len(z), -1)
        for n in np.flatnonzero(todo & (S.max(axis=1) > 0)):
            z[n].reshape(-1)[S[n].argmax()] = 1
    return (model(z).argmax(axis=1) == 6).mean(), (z != twos).sum() / len(z)


free, hidden = count(np.ones_like), count(near_ink)
print(
    f"anywhere {free[0]:.0%} with {free[1]:.1f} pixels; near ink {hidden[0]:.0%}, ",
    end="",
)
print(f"{hidden[1]:.1f}")
assert hidden[0] <= free[0] + 0.1
