# %% [markdown]
# # Solutions: the frame

# %%
import numpy as np

from minadv import data, fgsm, fit, models, to_numpy
from minadv.evaluation import robust_accuracy

# %% [markdown]
# ## Exercise F.1
#
# An image counts only if it was right at first and no attack succeeds. Images 0, 1 and
# 3 are lost to an attack, and image 2 was lost already.

# %%
right = np.array([True, True, False, True])
first = np.array([True, True, False, False])
second = np.array([False, True, False, True])
print((right & ~first & ~second).mean())
assert (right & ~first & ~second).mean() == 0

# %% [markdown]
# ## Exercise F.2
#
# (a) Untargeted. The knowledge is open: a car may be bought and taken apart. The
# changes are any pixel values, but in a small area, and they must survive distance and
# light.
#
# (b) Targeted: one particular person. The attacker can try, and sees yes or no, a few
# times until the phone locks. Any image is allowed, since no person looks at it.
#
# (c) Targeted (the label is "no spam"), labels only, by queries. Allowed is what a
# reader still understands. None of these is an L∞ ball.
#
# ## Exercise F.3
#
# Let the label be 1, so $z > 0$. By Hölder (lesson 1) no allowed $r$ lowers $z$ by more
# than $\varepsilon \lVert w \rVert_1$, and $r = -\varepsilon \, \mathrm{sign}(w)$ does.
# So the proof "$z > \varepsilon \lVert w \rVert_1$" and the attack agree on every
# image. (Away from the borders 0 and 1, which would only help the defender.)

# %%
rng = np.random.default_rng(0)
w, x, eps = rng.normal(size=20), rng.normal(size=(1000, 20)), 0.05
y = (x @ w > 0).astype(int)
proven = np.abs(x @ w) > eps * np.abs(w).sum()
model = models.LogisticRegression(w)
attacked = robust_accuracy(model, x, y, fgsm(model, x, y=y, eps=eps, bounds=(-9, 9)))
print(f"proven {proven.mean():.3f}, under attack {attacked:.3f}")
assert 0.2 < attacked < 0.98
assert proven.mean() == attacked

# %% [markdown]
# ## Exercise F.4
#
# Every hidden unit adds its width to the intervals, whether or not the widths can occur
# together. So more units mean wider intervals: fewer images are proven safe, though the
# networks are about equally accurate.


# %%
def proven_safe(model, x, y, eps):
    W1, b1, W2, b2 = (to_numpy(w, dtype=float) for w in model.parameters.values())
    low, high = np.clip(x - eps, 0, 1), np.clip(x + eps, 0, 1)
    low, high = low.reshape(len(x), -1), high.reshape(len(x), -1)
    c, s = (low + high) / 2, (high - low) / 2
    c, s = c @ W1 + b1, s @ np.abs(W1)
    low, high = np.maximum(c - s, 0), np.maximum(c + s, 0)
    c, s = (low + high) / 2, (high - low) / 2
    w = W2[None, :, :] - W2.T[y][:, :, None]
    worst = (c[:, :, None] * w + s[:, :, None] * np.abs(w)).sum(axis=1)
    worst += b2 - b2[y, None]
    worst[np.arange(len(x)), y] = -np.inf
    return worst.max(axis=1) < 0


d = data.digits()
shares = []
for hidden in (16, 64, 1024):
    model = models.mlp((8, 8, 1), hidden=hidden)
    fit(model, d.x_train, d.y_train, epochs=10, batch_size=16, progress=False)
    shares.append(float(proven_safe(model, d.x_test, d.y_test, 0.04).mean()))
    print(f"{hidden} hidden units: {shares[-1]:.1%} proven safe at ε = 0.04")
assert shares[2] < shares[0] - 0.05

# %% [markdown]
# ## Exercise F.5
#
# Where a white pixel comes to lie on a black one, the change is 1, the largest there
# is. A $\Delta$ that contains all shifts by up to $s$ pixels is a finite set: the
# attacker tries all $(2s + 1)^2$. It can be combined with (F.2): first shift, then move
# each pixel by up to $\varepsilon$. See Engstrom and others, 2019, arXiv:1712.02779.

# %%
shifted = np.roll(to_numpy(d.x_test), 1, axis=2)
largest = np.abs(shifted - to_numpy(d.x_test)).reshape(len(shifted), -1).max(axis=1)
print(f"a shift by one pixel: largest change {np.median(largest):.2f} (median)")
assert np.median(largest) > 0.9
