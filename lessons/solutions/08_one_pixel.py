# %% [markdown]
# # Solutions: one pixel, by differential evolution

# %%
import numpy as np

from minadv import data, differential_evolution, fit, losses, one_pixel
from minadv.models import mlp

d = data.digits()
model = mlp((8, 8, 1))
fit(model, d.x_train, d.y_train, epochs=8, batch_size=16, progress=False)
twos = d.x_test[(d.y_test == 2) & (model(d.x_test).argmax(axis=1) == 2)][:10]


def log_odds(images):
    return losses.margin(model(images), np.full(len(images), 2))


# %% [markdown]
# ## Exercise 8.1
#
# The best candidate is one fixed vector, so it adds no variance: $2 \mu^2 \Sigma$, half
# of the population's for $\mu = 0.5$. The challengers are narrower than the population.

# %%
generator = np.random.default_rng(0)
X = generator.normal(size=(4000, 2))
p2, p3 = generator.permutation(4000), generator.permutation(4000)
V = X[0] + 0.5 * (X[p2] - X[p3])
print(f"variance over the population's: {V.var(axis=0) / X.var(axis=0)}")
np.testing.assert_allclose(V.var(axis=0) / X.var(axis=0), 0.5, rtol=0.1)


# %% [markdown]
# ## Exercise 8.2


# %%
def egg_box(X):
    return (10 + X**2 - 10 * np.cos(2 * np.pi * X)).sum(axis=1)


box = np.array([[-5.0, 4.0], [-4.0, 5.0]])
by_luck, evolved = [], []
for k in range(20):
    generator = np.random.default_rng(k)
    by_luck.append(egg_box(generator.uniform(*box.T, size=(40 * 61, 2))).min())
    how = {"population": 40, "generations": 61, "recombination": 1.0}
    evolved.append(differential_evolution(egg_box, box, rng=k, **how).value)
print(f"medians: random {np.median(by_luck):.2g}, evolution {np.median(evolved):.1g}")
assert np.median(evolved) < np.median(by_luck) / 10

# %% [markdown]
# ## Exercise 8.3
#
# It does: five times all $64 \cdot 2$ ways (the ends are enough) cost 640 questions per
# image. On an image of $28 \cdot 28$ pixels they cost 7,840.

# %%
greedy = twos.copy()
for _ in range(5):
    for n in range(len(twos)):
        ways = np.repeat(greedy[n : n + 1], 128, axis=0)
        ways.reshape(128, 64)[np.arange(128), np.arange(128) % 64] = (
            np.arange(128) // 64
        )
        greedy[n] = ways[log_odds(ways).argmin()]
assert ((greedy != twos).reshape(len(twos), -1).sum(axis=1) <= 5).all()
evolved = one_pixel(model, twos, y=2, pixels=5, population=64, generations=10)
pair = [float((model(z).argmax(axis=1) != 2).mean()) for z in (greedy, evolved.x_adv)]
print(
    f"misread: greedy {pair[0]:.0%}, evolution {pair[1]:.0%}, both with 640 questions"
)
assert pair[0] >= pair[1]

# %% [markdown]
# ## Exercise 8.4
#
# A few places matter, and most hardly do.

# %%
two = twos[:1]
white = np.repeat(two, 64, axis=0)
white.reshape(64, 64)[np.arange(64), np.arange(64)] = 1
lost = (log_odds(two) - log_odds(white)).reshape(8, 8)
print(lost.round(1))
assert lost.max() > 3 * np.median(abs(lost))

# %% [markdown]
# ## Exercise 8.5
#
# Three values of 256 each, at $32 \cdot 32$ places: $32 \cdot 32 \cdot 256^3 \approx
# 1.7 \cdot 10^{10}$. At a million answers per second that is five hours. So it is
# possible, if the network is one's own, and not through somebody's interface. With
# black and white only there are $32 \cdot 32 \cdot 2^3 = 8{,}192$ ways, and they are
# the ones to try first.

# %%
all_ways = 32 * 32 * 256**3
print(f"{all_ways:.1e} ways, {all_ways / 1e6 / 3600:.1f} hours at a million per second")
assert 4 < all_ways / 1e6 / 3600 < 5
