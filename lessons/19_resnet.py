# %% [markdown]
# # Residual networks: the same attacks on a deep network
#
# Mirrors: E11.
#
# Before: lessons 0, 2 and 10. Minutes: 45.
#
# You will:
#
# - see what becomes of a gradient in forty layers, and why a shortcut saves it;
# - derive the gradient of batch normalization, and write it in six lines;
# - train a residual network, and attack it as any other;
# - see how one forgotten switch makes an image's attack depend on its batch;
# - read weights that PyTorch wrote, and attack a model of another framework.
#
# Document E attacks a ResNet-18, a network of 18 layers with weights that had learned
# the 1,000 classes of ImageNet. Two ideas make such depth trainable: the *residual
# block*, and *batch normalization*. An attacker meets both. In the terms of the frame:
# untargeted, white box, no pixel changes by more than $\varepsilon$.

# %%
import numpy as np
from lesson import by_data, dataset, measured, rng, save, seed, trained, trained_cnn

from minadv import asarray, external, fgsm, gradcheck, models, plotting, to_numpy, vjp
from minadv.backend import array_module
from minadv.batchnorm import standardize
from minadv.evaluation import predict
from minadv.layers import BatchNorm, Dense, ReLU, Residual, Sequential
from minadv.losses import cross_entropy
from minadv.torch_layout import to_torch
from minadv.training import Adam

d = dataset()
x, y = d.x_test[:500], d.y_test[:500]

# %% [markdown]
# ## The path around
#
# A *plain* network composes layers, $x_{l+1} = F_l(x_l)$. With $J_l = \partial F_l /
# \partial x_l$, the chain rule gives the gradient at the input,
#
# $$\frac{\partial L}{\partial x_0} = \frac{\partial L}{\partial x_n} \, J_{n-1} \cdots
# J_1 J_0, \qquad \Bigl\lVert \frac{\partial L}{\partial x_0} \Bigr\rVert \le \prod_l
# \lVert J_l \rVert \, \Bigl\lVert \frac{\partial L}{\partial x_n} \Bigr\rVert.
# \tag{19.1}$$
#
# If each layer shrinks what passes by a factor $q < 1$, $n$ layers shrink it by $q^n$.
# A *residual* network lets each layer add to what is there, $x_{l+1} = x_l + F_l(x_l)$.
# Then each factor is $I + J_l$. Multiplied out,
#
# $$\frac{\partial L}{\partial x_0} = \frac{\partial L}{\partial x_n} \, (I + J_{n-1})
# \cdots (I + J_0) = \frac{\partial L}{\partial x_n} \Bigl( I + \sum_l J_l + \sum_{l >
# k} J_l J_k + \dots \Bigr). \tag{19.2}$$
#
# One term is the gradient itself, whatever the layers do. It comes along the shortcuts.
# (After each sum stands a ReLU, which lets it pass where the sum is positive.)
#
# Count it, in networks of 64 numbers per layer whose weights are drawn at half of He's
# deviation: $q$ is about a half. Figure 19.1 shows the outcome.


# %%
def layers(depth, residual, draws):
    """Dense layers with ReLU, plain or each with a shortcut."""
    row = []
    for _ in range(depth):
        dense = Dense(64, 64, init="he", rng=draws)
        dense.weight = dense.weight / 2
        row += [Residual(dense)] if residual else [dense, ReLU()]
    return Sequential(*row)


def gradient_length(network, points):
    """The mean length of the gradient at the input, for one of length 1 at the end."""
    value, pull = vjp(network, points)
    g = array_module(value).ones_like(value) / 8  # of length 1: 64 numbers
    return float(np.linalg.norm(to_numpy(pull(g)), axis=1).mean())


depths = np.array([1, 2, 5, 10, 20, 40])
points = asarray(abs(rng(1).normal(size=(50, 64))).astype(np.float32))
lengths = {
    name: np.array([gradient_length(layers(n, r, rng(2)), points) for n in depths])
    for name, r in (("plain", False), ("residual", True))
}
for name, length in lengths.items():
    what = f"length of the gradient below 40 layers, {name}"
    measured("E11", what, length[-1], form=".1e")
figure = plotting.curves(
    {name: (depths, np.log10(length)) for name, length in lengths.items()},
    xlabel="layers",
    ylabel="length of the gradient, power of ten",
)
save(
    figure,
    "depth",
    alt="The power of ten of the gradient's length against the number of layers, up to "
    "40. The plain network's falls on a straight line, the residual one's does not",
    caption="What is left at the input of a gradient of length 1 at the end. In the "
    "plain network each layer takes its share, as in (19.1). Around the residual "
    "layers a path leads to the input, as in (19.2).",
)
assert lengths["plain"][-1] < 1e-9
assert lengths["residual"].min() > 0.3
per_layer = (lengths["plain"][-1] / lengths["plain"][1]) ** (1 / 38)
measured("E11", "factor of each plain layer", per_layer, form=".2f")
assert 0.4 < per_layer < 0.6

# %% [markdown]
# Here the residual gradient even grows, by the many products in (19.2), and so do the
# numbers on the way forward. That is what the second idea is for.
#
# A branch that returns zero changes nothing. For points without negative values the
# block is then the identity, to the last bit, and so is its gradient.

# %%
silent = Dense(64, 64, rng=0)
silent.weight = silent.weight * 0
block = Sequential(*[Residual(silent)] * 40)
value, pull = vjp(block, points)
assert (value == points).all()
assert (pull(points) == points).all()

# %% [markdown]
# ## Batch normalization
#
# Each layer's outputs are brought back to mean 0 and deviation 1, channel by channel,
# over the $m$ numbers that the channel has in a batch (for images, $m = N \cdot H \cdot
# W$):
#
# $$\mu = \frac1m \sum_i x_i, \quad \sigma^2 = \frac1m \sum_i (x_i - \mu)^2, \quad
# \hat x_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}}, \quad y_i = \gamma \hat x_i
# + \beta. \tag{19.3}$$
#
# The small $\epsilon$ is not the attack's; it keeps the root from zero. $\gamma$ and
# $\beta$ are learned. What is the gradient? Let $g_i = \partial L / \partial \hat
# x_i$ and $s = \sqrt{\sigma^2 + \epsilon}$. Each $x_i$ acts on all $\hat x_j$: on its
# own directly, and on all of them by $\mu$ and $s$. Since
#
# $$\frac{\partial \mu}{\partial x_i} = \frac1m, \qquad \frac{\partial s}{\partial x_i}
# = \frac{1}{2s} \cdot \frac{2 (x_i - \mu)}{m} = \frac{\hat x_i}{m}, \tag{19.4}$$
#
# (in $\partial \sigma^2 / \partial x_i$ the part by way of $\mu$ vanishes, because the
# $x_j - \mu$ sum to zero), the quotient rule gives, with $\delta_{ij}$ being 1 for $i =
# j$ and else 0,
#
# $$\frac{\partial \hat x_j}{\partial x_i} = \frac1s \Bigl( \delta_{ij} - \frac1m -
# \frac{\hat x_j \hat x_i}{m} \Bigr), \qquad \frac{\partial L}{\partial x_i} = \frac1s
# \Bigl( g_i - \frac1m \sum_j g_j - \hat x_i \, \frac1m \sum_j g_j \hat x_j \Bigr).
# \tag{19.5}$$
#
# Read it: from $g$ its mean is taken away, and its part along $\hat x$. Adding a
# constant to a channel, or scaling it, would change nothing, so the gradient does not
# ask for it.


# %%
def batch_norm(x, epsilon=1e-5):
    """(19.3) without γ and β for x (m, C), and its pull (19.5)."""
    s = np.sqrt(x.var(axis=0) + epsilon)
    normal = (x - x.mean(axis=0)) / s

    def pull(g):
        along = (g * normal).mean(axis=0)
        return (g - g.mean(axis=0) - normal * along) / s

    return normal, pull


numbers, g = rng(3).normal(3, 2, (200, 5)), rng(4).normal(size=(200, 5))
by_hand, pull_by_hand = batch_norm(numbers)
library, pull_library = vjp(lambda v: standardize(v, 1e-5)[0], numbers)
np.testing.assert_allclose(by_hand, library, atol=1e-9)
slope = pull_by_hand(g)
np.testing.assert_allclose(slope, pull_library(g), atol=1e-9)
assert gradcheck(lambda v: standardize(v, 1e-5)[0] * g, numbers) < 1e-5
np.testing.assert_allclose(slope.mean(axis=0), 0, atol=1e-9)
np.testing.assert_allclose((slope * by_hand).mean(axis=0), 0, atol=1e-6)
assert abs(slope).max() > 0.1

# %% [markdown]
# ## Two modes
#
# A network in use should not read an image by its neighbors. So while it trains, the
# layer keeps *running* averages of $\mu$ and $\sigma^2$; in use it normalizes by these.
# (19.3) is then a fixed affine map per channel, and its gradient is $g \gamma / s$.
# Here `layer.apply(parameters, x, rng)` means training, and `layer(x)` use.

# %%
layer = BatchNorm(5, momentum=0.1)
layer.running_mean = layer.running_mean + 1
pieces = [asarray(p) for p in numbers.astype(np.float32).reshape(10, 20, 5)]
expected = np.ones(5)
for piece in pieces:
    layer.apply(layer.parameters, piece, rng(5))  # r <- 0.9 r + 0.1 mean
    expected = 0.9 * expected + 0.1 * to_numpy(piece).mean(axis=0)
np.testing.assert_allclose(to_numpy(layer.running_mean), expected, rtol=1e-5)
alone, together = layer(pieces[0][:1]), layer(pieces[0])[:1]
np.testing.assert_allclose(to_numpy(alone), to_numpy(together), rtol=1e-6)

# %% [markdown]
# ## A residual network
#
# One convolution, then three stages of one block each. A block is two convolutions of
# 3x3 with batch normalization, and the shortcut. Where a stage halves the image, the
# shortcut is a convolution of 1x1 with the same stride. At the end stands the mean over
# the image. ResNet-18 is the same with four stages of two blocks, more channels, and a
# larger first step.

# %%
resnet = trained(
    "resnet",
    models.resnet(d.x_train.shape[3], widths=(8, 16, 32), blocks=(1, 1, 1), rng=seed()),
    d.x_train,
    d.y_train,
    batch_size=32,
    epochs=by_data(sample=2, digits=12, mnist=1),
    optimizer=Adam(0.005),
    rng=seed(),
)
cnn = trained_cnn()
right = {
    name: float((predict(model, d.x_test) == d.y_test).mean())
    for name, model in (("residual network", resnet), ("CNN", cnn))
}
for name, share in right.items():
    measured("E11", f"test images read right, {name}", share, form=".1%")
assert right["residual network"] > 0.85

# %% [markdown]
# Depth and normalization are no defense, as Figure 19.2 shows; Figure 19.3 has some of
# the images. To the attacker the network is a function with a gradient, like any other.
# Images made on it harm the CNN less than images made with the CNN's own gradient. This
# is transfer, and it is the weaker attack (lesson 9).

# %%
epsilons = np.linspace(0, by_data(sample=0.2, digits=0.3), 6)
accuracy = {"residual network": [], "CNN": [], "CNN, images made on the other": []}
for eps in epsilons:
    made = fgsm(resnet, x, y=y, eps=float(eps))
    own = fgsm(cnn, x, y=y, eps=float(eps))
    accuracy["residual network"].append(float((made.label == y).mean()))
    accuracy["CNN"].append(float((own.label == y).mean()))
    moved = float((predict(cnn, made.x_adv) == y).mean())
    accuracy["CNN, images made on the other"].append(moved)
strongest = float(epsilons[-1])  # `made` holds its images
for name, shares in accuracy.items():
    measured("E11", f"right at the largest ε, {name}", shares[-1], form=".1%")
figure = plotting.curves(
    {name: (epsilons, np.array(shares)) for name, shares in accuracy.items()},
    xlabel="ε",
    ylabel="accuracy",
    percent=True,
)
save(
    figure,
    "accuracy",
    alt="Accuracy against ε by FGSM, for the residual network, for the CNN, and for "
    "the CNN on the images made on the residual network. All fall",
    caption="FGSM on the residual network, on the CNN of document D, and on the CNN "
    "with the images that were made on the residual network.",
)
assert accuracy["residual network"][-1] < right["residual network"] / 2
assert accuracy["CNN, images made on the other"][-1] > accuracy["CNN"][-1] + 0.1

# %%
shown = np.flatnonzero(to_numpy(made.success))[:6]
figure = plotting.images(
    np.concatenate([to_numpy(x)[shown], to_numpy(made.x_adv)[shown]]),
    labels=np.concatenate([to_numpy(y)[shown], to_numpy(made.label)[shown]]),
    columns=6,
)
save(
    figure,
    "attacked",
    alt="Six images in the upper row, the same attacked in the lower row, each under "
    "the label that it has or is given",
    caption="Above: test images and their labels. Below: FGSM with "
    f"ε = {strongest:.1f} on the residual network, and what it reads.",
)

# %% [markdown]
# ## The wrong mode
#
# In other frameworks a network has a switch, `train()` and `eval()`, and it is easily
# forgotten. What does an attack in the training mode compute? By (19.5) an image's
# gradient then depends on the other images of its batch. Attack the same ten images
# twice, each time in a batch with fifty others, in both modes.


# %%
def signs(company, mode):
    """The signs of FGSM for the first ten images, in a batch with others."""
    batch = array_module(x).concatenate([x[:10], company])
    labels = array_module(y).concatenate([y[:10], y[10 : 10 + len(company)]])

    def loss(v):
        z = resnet.apply(resnet.parameters, v, mode)
        return cross_entropy(z, labels).sum()

    before = dict(resnet.arrays)
    _, pull = vjp(loss, batch)
    sign = np.sign(to_numpy(pull(1.0))[:10])
    resnet.arrays = before  # the training mode has moved the running averages
    return sign


differ = {}
for name, mode in (("training", rng(6)), ("use", None)):
    first, second = signs(x[10:60], mode), signs(x[60:110], mode)
    differ[name] = float((first != second).mean())
    what = f"signs that depend on the batch, in the mode of {name}"
    measured("E11", what, differ[name], form=".1%")
assert differ["training"] > 0.01
assert differ["use"] < 0.001

# %% [markdown]
# The attack on a batch is then no longer the attacks on its images, and the network
# that it was made for is not the one in use. All attacks of this package call
# `model(x)`, the mode of use.
#
# ## Weights from elsewhere (E11)
#
# ResNet-18 with its weights of ImageNet is a file of 47 MB. The library timm offers it
# in the format *safetensors*; its model `resnet18.tv_in1k` has torchvision's weights.
# Such a file is a list of names and shapes, then the numbers. Unlike a pickle, it
# cannot run code. PyTorch holds kernels as (out, in, height, width), and has other
# names for its layers:

# %%
large = models.resnet18()
there = to_torch(large)
count = sum(w.size for w in large.parameters.values())
print(*(f"{name} {w.shape}" for name, w in list(there.items())[:7]), sep="\n")
measured("E11", "weights of ResNet-18", count, form=",.0f")
assert count == 11_689_512
assert there["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
assert there["fc.weight"].shape == (1000, 512)

# %% [markdown]
# With the file and the list of the 1,000 names at hand, document E's experiment is one
# line (`pip install safetensors`):
#
# ```sh
# python -m minadv attack photo.jpg --weights resnet18.safetensors \
#     --names imagenet.txt --attack fgsm --eps 4/255
# ```
#
# or, in Python,
#
# ```python
# model = models.load_weights(models.resnet18(), "resnet18.safetensors")
# attack_image("photo.jpg", model, partial(fgsm, eps=4 / 255), shape=(224, 224, 3))
# ```
#
# ImageNet's mean and deviation are subtracted inside, by the first layer. So
# $\varepsilon$ stays in pixel values.
#
# ## A model from elsewhere
#
# A network that stays in its own framework is two functions of arrays. One returns the
# logits; the other returns the logits and their pull. `external` makes of them a model
# that every attack takes. Here the residual network plays the network from elsewhere:
# it takes images channels first, and only arrays go in and out.
# (`help(minadv.external)` has the lines for PyTorch and JAX.)


# %%
def forward(images):
    """Logits of images (N, C, H, W), as another framework would compute them."""
    return resnet(channels_last(images))


def with_pull(images):
    """The logits, and the function that pulls a gradient back to the images."""
    z, pull = vjp(resnet, channels_last(images))
    return z, lambda g: pull(array_module(z).asarray(g)).transpose(0, 3, 1, 2)


def channels_last(images):
    """Channels last, where the weights are."""
    return array_module(x).asarray(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))


foreign = external(forward, with_pull, layout="NCHW")
abroad = fgsm(foreign, x, y=y, eps=0.1)
home = fgsm(resnet, x, y=y, eps=0.1)
same = float((to_numpy(abroad.x_adv) == to_numpy(home.x_adv)).mean())
measured("E11", "pixels that are the same, home and abroad", same, form=".2%")
assert same > 0.999
assert (predict(foreign, abroad.x_adv) == abroad.label).all()

# %% [markdown]
# ## Summary
#
# A shortcut adds the identity to each layer's Jacobian. So the gradient has a path to
# the input around all layers, for training and for the attacker alike. Batch
# normalization removes from a gradient its mean and its part along the normalized
# values; in use it is an affine map. The residual network falls to the attack of lesson
# 2 without a change. Attack in the mode of use, or an image's attack depends on its
# batch.
#
# ## Exercises
#
# **19.1** (a few lines) Multiply the weights of a convolution before batch
# normalization by ten. What becomes of the logits in training, and of the gradient with
# respect to the weights?
#
# **19.2** (a few lines) In use, a convolution with batch normalization after it equals
# one convolution. Find its kernel and its bias, and check the logits.
#
# **19.3** (pencil and paper) The running averages start at 0 and 1. Let $\alpha$ be
# `momentum`, the weight of a new batch. After how many batches is less than 1 % of the
# start left, for $\alpha = 0.1$?
#
# **19.4** (pencil and paper) Count the weights of ResNet-18 from its shapes.
#
# **19.5** (open) Attack with the gradient of the shortcuts alone, or with the branches'
# part scaled down. Do the images transfer better to the CNN? (Wu et al. find that they
# do, on ImageNet.)
#
# ## Read on
#
# - K. He, X. Zhang, S. Ren, J. Sun: *Deep residual learning for image recognition*,
#   2016, arXiv:1512.03385; and *Identity mappings in deep residual networks*, 2016,
#   arXiv:1603.05027, with (19.2).
# - S. Ioffe, C. Szegedy: *Batch normalization*, 2015, arXiv:1502.03167.
# - S. Santurkar, D. Tsipras, A. Ilyas, A. Madry: *How does batch normalization help
#   optimization?*, 2018, arXiv:1805.11604.
# - D. Wu, Y. Wang, S.-T. Xia, J. Bailey, X. Ma: *Skip connections matter: on the
#   transferability of adversarial examples generated with ResNets*, 2020,
#   arXiv:2002.05990.
