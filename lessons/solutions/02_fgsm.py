# %% [markdown]
# # Solutions: FGSM on handwritten digits
#
# All on the small digits, with the lesson's network.

# %%
import numpy as np

from minadv import data, fgsm, fit, grad, models, to_numpy
from minadv.evaluation import accuracy, predict
from minadv.losses import cross_entropy, margin

d = data.digits()
model = models.mlp((8, 8, 1))
fit(model, d.x_train, d.y_train, epochs=10, batch_size=8, progress=False)
x, y = d.x_test, d.y_test

# %% [markdown]
# ## Exercise 2.1
#
# The model must be told: it divides by 255. The gradient by the pixel in the new unit
# is then smaller by 255, but its sign is the same. So only the bounds and $\varepsilon$
# change.


# %%
def on_bytes(x):
    return model(x / np.float32(255))


small = fgsm(model, x, y=y, eps=0.2)
large = fgsm(on_bytes, x * np.float32(255), y=y, eps=0.2 * 255, bounds=(0, 255))
np.testing.assert_allclose(
    to_numpy(large.x_adv) / 255, to_numpy(small.x_adv), atol=1e-5
)

# %% [markdown]
# ## Exercise 2.2
#
# At one Euclidean length the gradient is the steepest direction, by (1.6). It is the
# stronger attack here as well. (Without clipping, which would change the lengths.)

# %%
g = to_numpy(grad(lambda x: cross_entropy(model(x), y).sum(), x), dtype=float)
sign = 0.1 * np.sign(g)
length = np.linalg.norm(sign.reshape(len(x), -1), axis=1)
own = np.linalg.norm(g.reshape(len(x), -1), axis=1)
scaled = g * (length / own).reshape(-1, 1, 1, 1)
left = {
    name: accuracy(model, (to_numpy(x) + r).astype(np.float32), y)
    for name, r in (("sign", sign), ("gradient", scaled))
}
print({name: f"{share:.1%}" for name, share in left.items()})
assert left["gradient"] < left["sign"]

# %% [markdown]
# ## Exercise 2.3
#
# For two classes and $y = 1$ the sum in (1.9) has one term, so $m = z_1 - \log e^{z_0}
# = z_1 - z_0$. And $\sigma(-m) < \tfrac12$ if and only if $m > 0$, which says $z_1 >
# z_0$.

# %%
z = np.random.default_rng(0).normal(size=(100, 2))
label = np.ones(100, int)
np.testing.assert_allclose(margin(z, label), z[:, 1] - z[:, 0])
factor = 1 / (1 + np.exp(margin(z, label)))
assert ((factor < 0.5) == (z.argmax(axis=1) == label)).all()

# %% [markdown]
# ## Exercise 2.4
#
# With its own prediction FGSM pushes a misread image away from the wrong label. The
# true one is often the next in line.

# %%
read = predict(model, x)
wrong = read != y
after = predict(model, fgsm(model, x[wrong], y=read[wrong], eps=0.1).x_adv)
repaired = float((after == y[wrong]).mean())
print(f"{repaired:.0%} of {int(wrong.sum())} misread images are repaired")
assert repaired > 0.3

# %% [markdown]
# ## Exercise 2.5
#
# Split the step of FGSM by the pixel's value. Black pixels can only become brighter,
# and about half of their steps are clipped away.

# %%
step = to_numpy(small.x_adv) - to_numpy(x)
black = to_numpy(x) == 0
share = {}
for name, part in (("black", black), ("others", ~black)):
    part_only = np.clip(to_numpy(x) + step * part, 0, 1).astype(np.float32)
    share[name] = accuracy(model, part_only, y)
    print(f"only the {name} pixels ({part.mean():.0%} of all): {share[name]:.1%} right")
both = accuracy(model, small.x_adv, y)
print(f"all pixels: {both:.1%} right")
assert both < min(share.values()) - 0.05

# %% [markdown]
# ## Exercise 2.6
#
# Open. Some candidates: the share of several nearest images; a second network, trained
# otherwise (but it may be fooled by the same images, as the frame shows); a distance
# that forgives small shifts; people. Each of them draws another line between
# "adversarial" and "no longer the same digit".
