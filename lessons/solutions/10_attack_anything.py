# %% [markdown]
# # Solutions: attack an image file in one call
#
# All on the small digits.

# %%
import io

import numpy as np
from PIL import Image

from minadv import asarray, data, deepfool, fgsm, fit, grad, models, to_numpy
from minadv.evaluation import predict
from minadv.images import from_8bit, survives_8bit, to_8bit

d = data.digits()
model = models.mlp((8, 8, 1))
fit(model, d.x_train, d.y_train, epochs=10, batch_size=8, progress=False)
x = from_8bit(to_8bit(d.x_test))
own = predict(model, x)

# %% [markdown]
# ## Exercise 10.1
#
# 16 shades are 15 steps apart. So $|q_i| \le 1/30$, and $255 \sqrt{12} \approx 883$
# becomes $15 \sqrt{12} \approx 52$.

# %%
values = np.linspace(0, 1, 100_001)
error = np.round(15 * values) / 15 - values
assert abs(np.abs(error).max() - 1 / 30) < 1e-4
assert abs(error.std() - 1 / (15 * np.sqrt(12))) < 1e-3

# %% [markdown]
# ## Exercise 10.2
#
# The mean is $-\frac{1}{510}$. The variance is that of a stretch of the same length,
# $\frac{1}{12 \cdot 255^2}$. So $q \cdot \nabla m$ has the mean $-\frac{1}{510} \sum_i
# \partial_i m$: all pixels pull together, and the sum over $n$ pixels can outgrow the
# random part, which grows as $\sqrt n$ only.

# %%
error = np.floor(255 * values) / 255 - values
assert abs(error.mean() + 1 / 510) < 1e-4
assert abs(error.std() - 1 / (255 * np.sqrt(12))) < 1e-4

# %% [markdown]
# ## Exercise 10.3
#
# The label is decided by the difference of two logits, that of the new label and that
# of the old one. So (10.5) is needed for this difference: ask for two standard
# deviations of it, with the slope where DeepFool arrives. With an overshoot of 0.02 the
# difference there is some $g_0$. To first order it grows with the overshoot, so
# multiply 0.02 by what is missing.


# %%
def ahead(v):
    """By how much the logit of the new label exceeds that of the old one, (N,)."""
    z = model(v)
    return z[every, fixed.label] - z[every, own]


every = np.arange(len(x))
fixed = deepfool(model, x, y=own, overshoot=0.02)
slope = to_numpy(grad(lambda v: ahead(v).sum(), fixed.x_adv), dtype=float)
length = np.linalg.norm(slope.reshape(len(x), -1), axis=1)
wanted = 2 * length / (255 * np.sqrt(12))
reached = np.maximum(to_numpy(ahead(fixed.x_adv), dtype=float), 1e-6)
needed = np.clip(0.02 * wanted / reached, 0.02, 1)
share = {}
share["fixed"] = float(survives_8bit(model, fixed, y=own).mean())
kept, sizes = [], []
for i in range(len(x)):
    one = deepfool(model, x[i : i + 1], y=own[i : i + 1], overshoot=float(needed[i]))
    kept.append(bool(survives_8bit(model, one, y=own[i : i + 1])[0]))
    sizes.append(float(one.l2[0]))
share["by (10.5)"] = float(np.mean(kept))
longer = np.median(sizes) / np.median(to_numpy(fixed.l2))
print({name: f"{value:.1%}" for name, value in share.items()}, f"length x {longer:.3f}")
assert share["by (10.5)"] > share["fixed"] + 0.1
assert longer < 1.1

# %% [markdown]
# ## Exercise 10.4
#
# JPEG rounds the cosine coefficients of blocks of 8 by 8 pixels, and coarsely. Its
# error is larger than a shade and is not independent from pixel to pixel. FGSM's large
# steps survive most of the time.

# %%
attacked = fgsm(model, x, y=own, eps=0.2)
wins = np.flatnonzero(to_numpy(attacked.success))
survived = {}
for quality in (90, 70, 50):
    images = []
    for i in wins:
        file = io.BytesIO()
        pixels = to_8bit(attacked.x_adv[i : i + 1])[0, :, :, 0]
        Image.fromarray(to_numpy(pixels)).save(file, "jpeg", quality=quality)
        with Image.open(file) as image:
            images.append(np.asarray(image)[:, :, None])
    read = predict(model, from_8bit(asarray(np.stack(images))))
    survived[quality] = float((read != own[wins]).mean())
    print(f"JPEG of quality {quality}: {survived[quality]:.1%} of the attacks survive")
assert survived[90] > 0.8
assert survived[50] <= survived[90]

# %% [markdown]
# ## Exercise 10.5
#
# Open. One needs a model of the channel: how it shifts, scales, blurs, lights and
# rounds the picture. Then attack the mean over many random draws of it, as lesson 13
# does for random resizing.
