# %% [markdown]
# # Solutions: DeepFool

# %%
import numpy as np

from minadv import data, deepfool, fit, to_numpy
from minadv.models import mlp

d = data.digits()
model = mlp((8, 8, 1))
fit(model, d.x_train, d.y_train, epochs=8, batch_size=16, progress=False)
right = model(d.x_test).argmax(axis=1) == d.y_test
x, y = d.x_test[right][:100], d.y_test[right][:100]
result = deepfool(model, x)
assert result.success.all()

# %% [markdown]
# ## Exercise 7.1
#
# $f = 3$. In $L_2$ the distance is $3 / \sqrt 5$, in $L_\infty$ it is $3 / (1 + 2) =
# 1$.

# %%
w, f = np.array([1.0, -2.0]), 3.0
assert np.isclose(f / np.linalg.norm(w), 3 / np.sqrt(5))
assert f / abs(w).sum() == 1

# %% [markdown]
# ## Exercise 7.2
#
# As in (7.7), $|w \cdot r| \le \max_i |w_i| \sum_i |r_i|$. So $\lVert r \rVert_1 \ge
# |f| / \max_i |w_i|$, and equality holds if only the pixel of the largest $|w_i|$
# changes. One pixel: that recalls JSMA's step, and the one-pixel attack.

# %%
generator = np.random.default_rng(0)
w, f = generator.normal(size=20), -1.0
i = abs(w).argmax()
r = np.zeros(20)
r[i] = -f / w[i]
np.testing.assert_allclose(w @ r, -f)
tries = generator.normal(size=(10_000, 20))
tries *= (-f / (tries @ w))[:, None]  # each on the border
assert (abs(tries).sum(axis=1) >= abs(r).sum()).all()

# %% [markdown]
# ## Exercise 7.3
#
# Little is gained: at most the overshoot of 2 % where the border is where the gradient
# promised it, and less where the last step had only just come across. The direction
# stays, so this does not find the shortest way.

# %%
low, high = np.zeros(len(x)), np.ones(len(x))
for _ in range(20):
    middle = (low + high) / 2
    z = x + middle.astype(x.dtype).reshape(-1, 1, 1, 1) * (result.x_adv - x)
    wrong = model(z).argmax(axis=1) != y
    low, high = np.where(wrong, low, middle), np.where(wrong, middle, high)
print(f"shorter by {1 - np.median(high):.1%} (median), {1 - high.min():.0%} (largest)")
assert 0 < 1 - high.min() < 0.5
assert 1 - np.median(high) < 0.05

# %% [markdown]
# ## Exercise 7.4

# %%
direction = generator.normal(size=(50, *x.shape))
length = np.sqrt((direction**2).sum(axis=(2, 3, 4), keepdims=True))
size = to_numpy(result.l2).reshape(1, -1, 1, 1, 1)
noisy = (x + size * direction / length).astype(x.dtype)
fooled = (model(noisy.reshape(-1, 8, 8, 1)).argmax(axis=1).reshape(50, -1) != y).mean()
print(f"random changes of DeepFool's size fool {fooled:.1%}")
assert fooled < 0.1

# %% [markdown]
# ## Exercise 7.5
#
# Let $\lVert W \rVert$ be the largest singular value. The ReLU never lengthens a
# change. So $f_k$ changes by at most $\lVert v_k \rVert_2 \lVert W_1 \rVert \lVert r
# \rVert_2$, with $v_k$ the difference of the rows $k$ and $y$ of $W_2$. To reach $f_k =
# 0$, $\lVert r \rVert_2 \ge |f_k| / (\lVert v_k \rVert_2 \lVert W_1 \rVert)$.

# %%
weights = {name: to_numpy(w, dtype=float) for name, w in model.parameters.items()}
W1, W2 = weights["1.weight"], weights["3.weight"].T  # (64, 128), (10, 128)
z, n = model(x).astype(float), np.arange(len(x))
f = z[n, y][:, None] - z
v = np.linalg.norm(W2[None] - W2[y][:, None], axis=2)
v[n, y], f[n, y] = 1, np.inf
lower = (f / v).min(axis=1) / np.linalg.norm(W1, 2)
upper = to_numpy(result.l2)
print(f"medians: at least {np.median(lower):.3f}, at most {np.median(upper):.3f}")
assert (lower <= upper).all()
assert np.median(upper / lower) < 30
