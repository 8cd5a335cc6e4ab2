# %% [markdown]
# # Solutions: white box and black box
#
# On the small digits where a network is needed.

# %%
import numpy as np

from minadv import (
    QueryGradient,
    data,
    fgsm,
    fit,
    grad,
    iterative_fgsm,
    models,
    to_numpy,
)
from minadv.evaluation import accuracy, logits, predict
from minadv.losses import margin

d = data.digits()
x, y = d.x_test, d.y_test


def network(hidden, seed):
    model = models.mlp((8, 8, 1), hidden=hidden, rng=seed)
    fit(model, d.x_train, d.y_train, epochs=10, batch_size=8, rng=seed, progress=False)
    return model


f, g, other = network(128, 0), network(48, 1), network(64, 2)

# %% [markdown]
# ## Exercise 9.1
#
# $n = 224 \cdot 224 \cdot 3 = 150{,}528$ values, so FGSM needs $2n = 301{,}056$
# questions and PGD forty times as many, 12 million. A few more are asked before the
# attack and for the verdict; count them on a small image.

# %%
n = 224 * 224 * 3
assert (2 * n, 40 * 2 * n) == (301_056, 12_042_240)
website = QueryGradient(lambda images: to_numpy(f(images)))
fgsm(website, x[:1], y=y[:1], eps=0.1)
print(f"{website.queries} questions for 64 pixels")
assert website.queries == 2 * 64 + 2

# %% [markdown]
# ## Exercise 9.2
#
# The derivative $2ch - \delta / h^2$ is zero at $h = \sqrt[3]{\delta / 2c}$. For $e^t$
# at 0, (9.3) has $c = 1/6$. A float32 near 1 is off by up to $\delta = 6 \cdot
# 10^{-8}$. So $h_{best} = \sqrt[3]{3 \delta} \approx 0.006$.

# %%
steps = 10.0 ** np.arange(-5, -0.4, 0.25)
up, down = np.exp(steps).astype(np.float32), np.exp(-steps).astype(np.float32)
error = np.abs((up.astype(float) - down) / (2 * steps) - 1)
best = (3 * 6e-8) ** (1 / 3)
near = np.abs(np.log10(steps / best)) < 0.8
print(f"by the formula {best:.4f}, measured {steps[error.argmin()]:.4f}")
assert error[near].mean() < 0.1 * error[~near].mean()

# %% [markdown]
# ## Exercise 9.3
#
# For $m(x) = a \cdot x$ the estimate is $(a \cdot v) v$. Its component $i$ is $\sum_j
# a_j v_j v_i$, and the mean of $v_j v_i$ is 1 for $j = i$ and 0 else. So the mean is
# $a_i$. The other terms are noise, which the mean over $k$ draws makes smaller as $1 /
# \sqrt k$. Asking pixel by pixel costs 64 draws and gives nearly all signs.

# %%
image, label = x[:1], y[:1]
exact = to_numpy(grad(lambda v: margin(f(v), label).sum(), image)).reshape(-1)
rng = np.random.default_rng(0)
v = rng.choice(np.float32([-1, 1]), size=(4096, *image.shape[1:]))
h = np.float32(0.001)
up = to_numpy(margin(logits(f, image + h * v), label.repeat(len(v))), dtype=float)
down = to_numpy(margin(logits(f, image - h * v), label.repeat(len(v))), dtype=float)
each = ((up - down) / (2 * h))[:, None] * v.reshape(len(v), -1)
right = {}
for k in (16, 64, 256, 1024, 4096):
    right[k] = float((np.sign(each[:k].mean(axis=0)) == np.sign(exact)).mean())
print({k: f"{share:.0%}" for k, share in right.items()})
assert right[16] < right[4096]
assert right[4096] > 0.8

# %% [markdown]
# ## Exercise 9.4
#
# The label does not change under small steps, so all differences are zero. One way:
# measure how far one can go. From an image of another class walk towards $x$ until the
# label changes, by bisection; the distance to the border is a number that changes with
# the direction. This is the idea of the boundary attack (W. Brendel, J. Rauber and M.
# Bethge, 2017, arXiv:1712.04248).

# %%
tiny = 0.005 * np.eye(64, dtype=np.float32).reshape(64, 8, 8, 1)
assert (predict(f, x[:1] + tiny) == predict(f, x[:1])).all()
a, b = x[:1], x[y != y[0]][:1]
for _ in range(20):
    middle = (a + b) / 2
    if bool(predict(f, middle)[0] == predict(f, x[:1])[0]):
        a = middle
    else:
        b = middle
size = float(np.abs(to_numpy(b - x[:1])).max())
print(
    f"bisection: read as another digit after a change of at most {size:.2f} per pixel"
)
assert bool(predict(f, b)[0] != predict(f, x[:1])[0])
assert bool(predict(f, a)[0] == predict(f, x[:1])[0])

# %% [markdown]
# ## Exercise 9.5
#
# An interval of 95 % misses the truth once in twenty, and with few images it is wide.
# The half width falls as $1 / \sqrt N$: with a tenth of the images it is about three
# times as wide. (Here 360 digits and parts of 36.)

# %%
once = iterative_fgsm(g, x, y=y, eps=0.15, steps=1).x_adv
often = iterative_fgsm(g, x, y=y, eps=0.15, steps=10).x_adv
one, ten = (to_numpy(predict(f, images) != y).astype(int) for images in (once, often))
gain = ten - one


def half(part):
    return 1.96 * part.std(ddof=1) / np.sqrt(len(part))


parts = gain.reshape(10, 36)
excludes = sum(abs(p.mean()) > half(p) for p in parts)
widths = [half(p) for p in parts]
print(
    f"all: {gain.mean():+.1%} ± {half(gain):.1%}; {excludes} of 10 parts exclude zero"
)
assert 2 < np.mean(widths) / half(gain) < 4

# %% [markdown]
# ## Exercise 9.6
#
# Open. First try the mean of the two losses (or of the margins). The yardsticks: the
# better of the two networks alone, at the same $\varepsilon$, and noise.


# %%
def both(images):
    return f(images) + g(images)  # the mean of the logits, but for a factor


left = {
    name: accuracy(other, fgsm(maker, x, y=y, eps=0.15).x_adv, y)
    for name, maker in (("f", f), ("g", g), ("both", both))
}
print({name: f"{share:.1%}" for name, share in left.items()})
assert left["both"] < max(left["f"], left["g"])
