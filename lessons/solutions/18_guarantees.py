# %% [markdown]
# # Solutions: guarantees
#
# All on the small digits.

# %%
import numpy as np

from minadv import data, fit, models
from minadv.certify import Smoothed, certified_accuracy, exact_radius, logit_bounds
from minadv.defenses import interval_training
from minadv.evaluation import accuracy, logits
from minadv.layers import Dense, Flatten, ReLU, Sequential
from minadv.training import Adam

d = data.digits()
x, y = d.x_test[:200], d.y_test[:200]
quiet = {"batch_size": 64, "progress": False}

# %% [markdown]
# ## Exercise 18.1
#
# By the Cauchy-Schwarz inequality (1.6) the difference falls by at most $\varepsilon
# \lVert w_y - w_j \rVert_2$, and by exactly this for $r = -\varepsilon (w_y - w_j) /
# \lVert w_y - w_j \rVert_2$: a step along the gradient, as DeepFool takes it. So
#
# $$\rho(x) = \min_{j \ne y} \frac{z_y - z_j}{\lVert w_y - w_j \rVert_2} .$$

# %%
linear = Sequential(Flatten(), Dense(64, 10, rng=0))
fit(linear, d.x_train, d.y_train, epochs=20, optimizer=Adam(0.005), **quiet)
right = logits(linear, x).argmax(axis=1) == y
rho = exact_radius(linear, x, y, norm="l2")
w, b = linear[1].weight.astype(float), linear[1].bias.astype(float)
pixels, every = x.reshape(len(x), -1).astype(float), np.arange(len(x))
z = pixels @ w + b
apart = w.T[y][:, :, None] - w  # w_y - w_j, (N, D, K)
length = np.linalg.norm(apart, axis=1)
length[every, y] = np.inf
nearest = np.where(length < np.inf, (z[every, y][:, None] - z) / length, np.inf).argmin(
    1
)
step = -apart[every, :, nearest] / length[every, nearest][:, None]
for factor in (0.999, 1.001):
    moved = pixels + factor * rho[:, None] * step
    turned = (moved @ w + b).argmax(axis=1) != y
    assert (turned[right] == (factor > 1)).all()

# %% [markdown]
# ## Exercise 18.2
#
# Both units lie in $[0, 1]$, so intervals give $0 - 1 = -1$. In lines the first one
# stands with a positive weight, so it gets its lower line $\alpha x$. The second gets
# its upper line $x / 2 + 1/2$ (here $l = -1$, $u = 1$). Then $h_1 - h_2 \ge \alpha x -
# x/2 - 1/2$. With $\alpha = 0$ the least value is at $x = 1$: $-1$. With $\alpha = 1$
# it is $x / 2 - 1/2$, least at $x = -1$: $-1$. The truth is 0. Lines remember the
# image, but each unit still gets two *different* lines. (If the two units are merged
# into one whose weight is $1 - 1 = 0$, the bound is exact.)

# %%
twins = Sequential(Dense(1, 2, rng=0), ReLU(), Dense(2, 2, rng=0))
twins[0].weight = np.array([[1.0, 1.0]], np.float32)
twins[2].weight = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
for method in ("intervals", "crown"):
    found = logit_bounds(
        twins, np.zeros((1, 1), np.float32), eps=1.0, method=method, bounds=(-1, 1)
    )
    print(f"{method}: h1 - h2 >= {found.low[0, 0]:.4f}")
    assert abs(found.low[0, 0] + 1) < 1e-5

# %% [markdown]
# ## Exercise 18.3
#
# Neither is best for all units: $\alpha = 1$ is better where $u > -l$. The choice unit
# by unit proves at least about as many as the better of the two. (It is the smaller
# area for each unit, which is a good rule and no theorem.)

# %%
regular = models.mlp((8, 8, 1))
fit(regular, d.x_train, d.y_train, epochs=16, optimizer=Adam(0.002), **quiet)
(v, c), (w, b) = (
    (layer.weight.astype(float), layer.bias.astype(float))
    for layer in (regular[1], regular[3])
)


def proved(eps, choose):
    """The share proved by lines; choose(l, u) gives the slopes of the lower lines."""
    pixels = x.reshape(len(x), -1).astype(float)
    low, high = np.clip(pixels - eps, 0, 1), np.clip(pixels + eps, 0, 1)
    mu, r = (low + high) / 2 @ v + c, (high - low) / 2 @ abs(v)
    l, u = mu - r, mu + r
    bent = (l < 0) & (u > 0)
    s = np.where(bent, u / np.where(bent, u - l, 1), l >= 0)
    t = np.where(bent, -s * l, 0)
    alpha = np.where(bent, choose(l, u), l >= 0)
    out = w.T[y][:, None] - w.T
    up, down = np.maximum(out, 0), np.minimum(out, 0)
    a = up * alpha[:, None] + down * s[:, None]
    h = (down @ t[:, :, None])[..., 0] + a @ c + b[y][:, None] - b
    g = a @ v.T
    ends = np.maximum(g, 0) @ low[:, :, None] + np.minimum(g, 0) @ high[:, :, None]
    m = ends[..., 0] + h
    m[np.arange(len(y)), y] = np.inf
    return float((m.min(axis=1) > 0).mean())


shares = {
    "0 everywhere": proved(0.1, lambda l, u: 0),
    "1 everywhere": proved(0.1, lambda l, u: 1),
    "unit by unit": proved(0.1, lambda l, u: u >= -l),
}
print({name: f"{share:.1%}" for name, share in shares.items()})
best = max(shares["0 everywhere"], shares["1 everywhere"])
assert shares["unit by unit"] > best - 0.02

# %% [markdown]
# ## Exercise 18.4
#
# The intervals of an untrained network are so wide that the least loss is that of a
# constant answer, and training stays near it for long. With a schedule it does not.

# %%
how = {**quiet, "epochs": 20, "optimizer": Adam(0.004)}
results = {}
for name, schedule in (
    ("at once", {"kappa": 0.0}),
    ("gently", {"kappa": 0.5, "warm_up": 2, "ramp": 10}),
):
    model = models.mlp((8, 8, 1))
    how["optimizer"] = Adam(0.004)
    interval_training(model, d.x_train, d.y_train, eps=0.15, **schedule, **how)
    right = accuracy(model, x, y)
    results[name] = right, certified_accuracy(model, x, y, eps=0.15)
    print(f"{name}: accuracy {right:.1%}, proved {results[name][1]:.1%}")
assert results["gently"][0] > results["at once"][0] + 0.05

# %% [markdown]
# ## Exercise 18.5
#
# For a linear model of two classes the noise moves the margin $m$ by a normal number of
# deviation $\sigma \lVert w \rVert_2$. So the true label has probability $\Phi(m /
# (\sigma \lVert w \rVert_2))$, and $\sigma \Phi^{-1}$ of it is $m / \lVert w \rVert_2$,
# the exact radius. The probability is estimated from draws, by a bound that is too
# large in one of a thousand cases only. So the radius falls short. More draws come
# nearer, and at most to $\sigma \Phi^{-1}(\alpha^{1/n})$ with $n$ draws.

# %%
two = (d.y_train == 3) | (d.y_train == 8)
pair = Sequential(Flatten(), Dense(64, 2, rng=0))
x_two, y_two = d.x_train[two], (d.y_train[two] == 8).astype(int)
fit(pair, x_two, y_two, epochs=20, optimizer=Adam(0.005), **quiet)
images = x_two[:20]
exact = exact_radius(pair, images, logits(pair, images).argmax(axis=1), norm="l2")
radii = {}
for draws in (100, 1000, 10_000):
    found = Smoothed(pair, 0.5).certify(images, draws=draws)
    radii[draws] = found.radius
    assert (found.radius <= exact).all()
    print(f"{draws} draws: {np.mean(found.radius / exact):.0%} of the exact radius")
assert radii[100].mean() < radii[1000].mean() < radii[10_000].mean()

# %% [markdown]
# ## Exercise 18.6
#
# Open. A good first question: is that ball what the attacker has? A sticker, a rotation
# or another camera leave it. Then: what happens to the other 40 %, and what does a
# wrong answer cost?
