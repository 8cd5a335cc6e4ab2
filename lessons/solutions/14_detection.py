# %% [markdown]
# # Solutions: detection
#
# All on the small digits.

# %%
import numpy as np

from minadv import Adam, data, fgsm, fit, models, ops, pgd, to_numpy
from minadv.defenses.detection import (
    Detector,
    Guarded,
    reconstruction_score,
    threshold_at,
)
from minadv.defenses.vae import VAE, gaussian_kl, negative_elbo
from minadv.evaluation import auc, predict

d = data.digits()
model = models.cnn((8, 8, 1), rng=0)
fit(model, d.x_train, d.y_train, epochs=10, batch_size=32, progress=False)
vae = VAE((8, 8, 1), latent=8, filters=(16, 32), rng=0)
how = {"epochs": 15, "batch_size": 32, "optimizer": Adam(0.003)}
fit(vae, d.x_train, d.x_train, loss=negative_elbo, progress=False, **how)
held_out, x, y = d.x_test[0::2], d.x_test[1::2], d.y_test[1::2]
attacked = fgsm(model, x, y=y, eps=0.2)

# %% [markdown]
# ## Exercise 14.1
#
# $\log(q / p) = -\log \sigma - \tfrac12 \epsilon^2 + \tfrac12 (\mu + \sigma
# \epsilon)^2$ with $\epsilon = (z - \mu) / \sigma$. Its mean uses $\mathbb{E}[\epsilon]
# = 0$ and $\mathbb{E}[\epsilon^2] = 1$: it is $-\log \sigma - \tfrac12 + \tfrac12
# (\mu^2 + \sigma^2)$, which is (14.4). By $\mu$ the derivative is $\mu$, by $\sigma$ it
# is $\sigma - 1 / \sigma$. So the minimum 0 is at $\mu = 0$, $\sigma = 1$: at the
# prior.

# %%
grid = np.linspace(-2, 2, 41)
kl = gaussian_kl(*(a.reshape(-1, 1) for a in np.meshgrid(grid, grid)))
assert kl.argmin() == 20 * 41 + 20
assert abs(kl.min()) < 1e-12

# %% [markdown]
# ## Exercise 14.2
#
# $\mathbb{E}[z^2] = \mu^2 + \sigma^2$, so the gradients are $2 \mu$ and $2 \sigma$. And
# $f'(z) = 2z$.

# %%
mu, sigma = 0.7, 1.5
epsilon = np.random.default_rng(0).standard_normal(100_000)
by_mu = (2 * (mu + sigma * epsilon)).mean()
by_sigma = (2 * (mu + sigma * epsilon) * epsilon).mean()
print(f"by mu {by_mu:.3f}, by sigma {by_sigma:.3f}")
assert abs(by_mu - 2 * mu) < 0.05
assert abs(by_sigma - 2 * sigma) < 0.05

# %% [markdown]
# ## Exercise 14.3
#
# With $r = n$ the bound is $1 / (n + 1)$, the smallest there is. So $n \ge 99$. With
# fewer images, only the threshold infinity keeps the promise: never raise the alarm.

# %%
assert threshold_at(np.arange(99.0), 0.01) == 98
try:
    threshold_at(np.arange(98.0), 0.01)
except ValueError as error:
    print(error)
else:
    raise AssertionError("98 images cannot promise 1 %")

# %% [markdown]
# ## Exercise 14.4
#
# The promise is kept by every score: nothing in (14.7) depends on it. How much is
# detected does depend on it: most pixels are black, and a little gray on many of them
# is little in squares and much in ink.


# %%
def squared_error(x):
    return ops.mean((x - vae.reconstruct(x)) ** 2, axis=(1, 2, 3))


caught = {}
for name, score in (("KL", reconstruction_score(vae)), ("square", squared_error)):
    guard = Detector.calibrated(score, held_out, false_positive_rate=0.05)
    clean, hit = guard.scores(x), guard.scores(attacked.x_adv)[attacked.success]
    caught[name] = auc(clean, hit)
    print(f"{name}: area {caught[name]:.3f}, false alarms {float(guard(x).mean()):.1%}")
    assert float(guard(x).mean()) < 0.14
assert caught["KL"] > 0.8
assert caught["square"] < caught["KL"] - 0.05

# %% [markdown]
# ## Exercise 14.5
#
# No label changes: $s > 0$ does not change the sign of the last entry, and the others
# have 0 for their largest. The attack does change. It moves along the gradient of
# whatever entry matters most at the moment.

# %%
guard = Detector.calibrated(
    reconstruction_score(vae), held_out, false_positive_rate=0.05
)
labels = [predict(Guarded(model, guard, sharpness=s), x) for s in (0.1, 10, 1000)]
assert (labels[0] == labels[1]).all()
assert (labels[1] == labels[2]).all()
for s in (0.1, 10, 1000):
    both = Guarded(model, guard, sharpness=s)
    result = pgd(both, x[:60], target=(y[:60] + 1) % 10, eps=0.2, steps=20, rng=0)
    assert not to_numpy(guard(result.x_adv)[result.success]).any()
    print(f"s = {s}: {float(result.success.mean()):.0%} reach the target unseen")

# %% [markdown]
# ## Exercise 14.6
#
# Open. A promise needs a source of attacks that later attacks come from, too. An
# attacker who reads the promise leaves that source. What can be proved instead is that
# the score changes by no more than a given number within the ball, as in the frame:
# then no attack within the ball gets from a high score to below the threshold.
