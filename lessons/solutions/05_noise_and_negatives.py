# %% [markdown]
# # Solutions: noise and negatives

# %%
import numpy as np

from minadv import data, fgsm, fit, grad, losses, uniform_noise
from minadv.models import mlp

d = data.digits()
model = mlp((8, 8, 1))
fit(model, d.x_train, d.y_train, epochs=8, batch_size=16, progress=False)
x, y = d.x_test, d.y_test


def accuracy(x):
    return float((model(x).argmax(axis=1) == y).mean())


# %% [markdown]
# ## Exercise 5.1
#
# A number that is $\pm\varepsilon$ with equal chances has the variance $\varepsilon^2$
# instead of $\varepsilon^2 / 3$. So the spread is $\varepsilon \lVert g \rVert_2$,
# larger by $\sqrt 3$.

# %%
g = grad(lambda x: losses.margin(model(x), y[:1]).sum(), x[:1]).ravel()
signs = np.random.default_rng(0).choice(np.float32([-1, 1]), size=(4000, 8, 8, 1))
m = losses.margin(model(x[:1] + np.float32(1e-3) * signs), np.full(4000, y[0]))
ratio = float(m.std()) / (1e-3 * np.linalg.norm(g))
print(f"measured over predicted: {ratio:.2f}")
assert 0.9 < ratio < 1.1

# %% [markdown]
# ## Exercise 5.2
#
# The best of $k$ normal numbers is about $\sqrt{2 \ln k}$ standard deviations up, so 3
# for a hundred draws. FGSM is worth ten (lesson 5). The gain is real and small.

# %%
eps = 0.25
draws = [uniform_noise(x, eps=eps, rng=k) for k in range(100)]
right = np.array([model(z).argmax(axis=1) == y for z in draws])
one, worst = right[0].mean(), right.all(axis=0).mean()
by_fgsm = accuracy(fgsm(model, x, y=y, eps=eps).x_adv)
print(f"accuracy: one draw {one:.0%}, worst of 100 {worst:.0%}, FGSM {by_fgsm:.0%}")
assert by_fgsm < worst < one

# %% [markdown]
# ## Exercise 5.3
#
# At $c = 1/2$ every image is the same gray, so the network gives one label to all. Its
# accuracy is the share of that label, about a tenth.

# %%
contrast = np.linspace(0, 1, 11, dtype=np.float32)
shares = [accuracy((1 - c) * x + c * (1 - x)) for c in contrast]
print(*(f"{share:.0%}" for share in shares))
labels = model(0.5 * x + 0.5 * (1 - x)).argmax(axis=1)
assert len(np.unique(labels)) == 1
assert shares[0] > 0.9
assert shares[5] < 0.2

# %% [markdown]
# ## Exercise 5.4
#
# The judge gives $x$ and $1 - x$ the same label, so both are read equally well.


# %%
def judge(x):
    train = d.x_train.reshape(-1, 64).astype(float)

    def squared(z):
        return (train**2).sum(axis=1) - 2 * z @ train.T + (z**2).sum(axis=1)[:, None]

    z = x.reshape(len(x), -1).astype(float)
    return d.y_train[np.minimum(squared(z), squared(1 - z)).argmin(axis=1)]


as_is, negated = (judge(x) == y).mean(), (judge(1 - x) == y).mean()
print(f"read right: images {as_is:.1%}, negatives {negated:.1%}")
assert as_is > 0.9
assert abs(as_is - negated) < 0.01

# %% [markdown]
# ## Exercise 5.5
#
# One candidate is the mirror image. Zeros, ones and eights are nearly symmetric, so
# these classes are nearly closed under it. The others are not.

# %%
hit = model(x[:, :, ::-1]).argmax(axis=1) == y
by_class = np.array([hit[y == k].mean() for k in range(10)])
print("read right in the mirror, 0 to 9:", *by_class.round(2))
symmetric = np.isin(np.arange(10), (0, 1, 8))
assert by_class[symmetric].mean() > by_class[~symmetric].mean() + 0.1
