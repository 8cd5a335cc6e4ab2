# %% [markdown]
# # Solutions: residual networks
#
# All on the small digits, with a small residual network.

# %%
import numpy as np

from minadv import data, fit, models, to_numpy, vjp
from minadv.layers import BatchNorm, Conv2D
from minadv.losses import cross_entropy
from minadv.training import Adam

d = data.digits()
model = models.resnet(1, 10, widths=(8, 16), blocks=(1, 1), rng=0)
fit(
    model,
    d.x_train,
    d.y_train,
    epochs=5,
    batch_size=32,
    optimizer=Adam(0.005),
    rng=0,
    progress=False,
)
x, y = d.x_test[:100], d.y_test[:100]

# %% [markdown]
# ## Exercise 19.1
#
# Normalization takes the factor away again, up to its $\epsilon$: the logits stay. With
# $f(c w) = f(w)$ for every $c$, the chain rule gives $c \, \nabla f(c w) = \nabla
# f(w)$: at ten times the weights the gradient is a tenth. So large weights learn
# slowly.


# %%
def gradient(w):
    """Logits in training, and the gradient by the first convolution's weights."""
    own = model.parameters

    def f(w):
        return model.apply(own | {"0.weight": w}, x, np.random.default_rng(0))

    state = dict(model.arrays)
    z, pull = vjp(f, w)
    _, pull_loss = vjp(lambda z: cross_entropy(z, y).mean(), z)
    slope = pull(pull_loss(z.dtype.type(1)))
    model.arrays = state
    return to_numpy(z), to_numpy(slope)


w = model[0].weight
z, slope = gradient(w)
z_ten, slope_ten = gradient(10 * w)
print(f"logits differ by {abs(z - z_ten).max():.1e} of {abs(z).max():.1f}")
print(f"the gradient is {np.vdot(slope_ten, slope) / np.vdot(slope, slope):.4f} of it")
assert abs(z - z_ten).max() < 0.01 * abs(z).max()
np.testing.assert_allclose(slope_ten, slope / 10, atol=0.01 * abs(slope).max())

# %% [markdown]
# ## Exercise 19.2
#
# In use, channel $k$ becomes $\gamma_k (w_k * x - \mu_k) / s_k + \beta_k$. So the
# kernel is $w_k \gamma_k / s_k$, and the bias $\beta_k - \mu_k \gamma_k / s_k$.

# %%
convolution, norm = model[0], model[1]
assert isinstance(convolution, Conv2D)
assert isinstance(norm, BatchNorm)
factor = norm.weight / np.sqrt(norm.running_var + norm.epsilon)
folded = Conv2D(1, 8, 3, padding=1)
folded.weight = convolution.weight * factor
folded.bias = norm.bias - norm.running_mean * factor
difference = abs(to_numpy(model[2:](folded(x)) - model(x))).max()
print(f"logits differ by at most {difference:.1e}")
assert difference < 1e-4 * abs(to_numpy(model(x))).max()

# %% [markdown]
# ## Exercise 19.3
#
# Of the start $(1 - \alpha)^t$ is left after $t$ batches: less than 1 % from $t = \ln
# 0.01 / \ln 0.9$ on.

# %%
batches = int(np.ceil(np.log(0.01) / np.log(0.9)))
layer, rng = BatchNorm(1, momentum=0.1), np.random.default_rng(0)
pair = np.array([[2.0], [4.0]], np.float32)  # of mean 3
for _ in range(batches - 1):
    layer.apply(layer.parameters, pair, rng)
before = float(abs(layer.running_mean[0] - 3)) / 3  # the share of the start, 0
layer.apply(layer.parameters, pair, rng)
after = float(abs(layer.running_mean[0] - 3)) / 3
print(f"{before:.2%} after {batches - 1} batches, {after:.2%} after {batches}")
assert after < 0.01 < before

# %% [markdown]
# ## Exercise 19.4
#
# Per stage: four 3x3 convolutions, and from the second stage on a shortcut of 1x1; two
# numbers per channel and normalization.

# %%
total = 7 * 7 * 3 * 64 + 2 * 64
c_in = 64
for c in (64, 128, 256, 512):
    total += 9 * c_in * c + 3 * 9 * c * c + 4 * 2 * c
    if c != c_in:
        total += c_in * c + 2 * c
    c_in = c
total += 512 * 1000 + 1000
print(f"{total:,} weights")
assert total == sum(p.size for p in models.resnet18().parameters.values())
