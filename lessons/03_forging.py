# %% [markdown]
# # Forging: an image for a label
#
# Mirrors: A1, A2, A3, A4.
#
# Training looks for weights that turn images into labels. Turn it around: freeze the weights and look for an *image*
# that turns into the label we want. It is the same gradient descent, on other variables.

# %%
import math
from dataclasses import replace

import numpy as np
from lesson import compare, dataset, on_mnist, save, trained_mlp

from minadv import array_module, asarray, forge, grad, ops, plotting, to_numpy
from minadv.evaluation import accuracy, confidence, predict
from minadv.losses import cross_entropy

d = dataset()
xp = array_module(d.x_test)
model = trained_mlp()
shape = d.x_test.shape[1:]
rng = np.random.default_rng(0)
noise = asarray(rng.random((100, *shape)).astype(np.float32))
wanted = asarray(np.arange(100) % 10)  # ten images per digit
print(f"the network reads {accuracy(model, d.x_test, d.y_test):.1%} of the test images correctly")

# %% [markdown]
# ## The recipe (A1)
#
# Feed an image, see how far the answer $\hat y$ (the softmax) is from the one-hot target, and move the pixels downhill:
#
# $$L = \tfrac12 \lVert \hat y - y_{target} \rVert^2, \qquad x \leftarrow x - \alpha \frac{\partial L}{\partial x}$$
#
# (The lecture calls the target $y_j$, then $y_i$; it is one index.) Written out, with the pixels kept inside $[0, 1]$:

# %%
one_hot = (wanted[:, None] == xp.arange(10)).astype(np.float32)


def distance_of_answers(x):
    return (0.5 * (ops.softmax(model(x)) - one_hot) ** 2).sum()


x = noise
for _ in range(3):
    x = xp.clip(x - 0.3 * grad(distance_of_answers, x), 0, 1)
np.testing.assert_allclose(
    to_numpy(forge(model, noise, target=wanted, lr=0.3, steps=3).x_adv), to_numpy(x), atol=1e-3
)

before = float((predict(model, noise) == wanted).mean())
after = float(forge(model, noise, target=wanted, lr=0.3, steps=200).success.mean())
print(f"read as the digit that was ordered: {before:.0%} of the noise, {after:.0%} after 200 steps")
assert after > before

# %% [markdown]
# ## Where the recipe gets stuck
#
# Not all arrive; on MNIST, where the network is surer of itself, few do. Look at $L$ as a function of the logits:
# $\partial L / \partial z_j = p_j (p_j - y_j - \sum_k p_k (p_k - y_k))$. Where the model is sure of a wrong class the
# sum is about 1, so the slope is $-2 p_{target}$ for the target, and $-p_j$ for any other class that is not the sure
# one. Both vanish: a plain. And if the runner-up is more than twice as likely as the target, descent raises *the
# runner-up*.

# %%
logits = np.array([[9.0, 4.0, 0.0]])  # sure of class 0; class 1 is the runner-up; the target is 2
p, y = ops.softmax(logits), np.array([[0.0, 0.0, 1.0]])
by_formula = p * (p - y - (p * (p - y)).sum())
squared = grad(lambda z: 0.5 * ((ops.softmax(z) - y) ** 2).sum(), logits)
np.testing.assert_allclose(squared, by_formula)
entropy = grad(lambda z: cross_entropy(z, np.array([2])).sum(), logits)
print("what descent adds to the logits of (sure, runner-up, target):")
print(f"  by the squared error ({', '.join(f'{-g:+.5f}' for g in squared[0])})")
print(f"  by the cross-entropy ({', '.join(f'{-g:+.5f}' for g in entropy[0])})")
np.testing.assert_allclose(-squared[0, 1:], [p[0, 1], 2 * p[0, 2]], rtol=0.05)
assert -squared[0, 1] > 10 * -squared[0, 2]
assert -entropy[0, 2] > 0.99

# %% [markdown]
# The lecture offers the squared error as an example of a loss. Another example, the cross-entropy $-\log p_{target}$,
# has the slope $p_j - y_j$: almost −1 at the target as long as the target is unlikely. `forge` takes either, by default
# the lecture's. From noise, and from test images that shall become the next digit:

# %%
some = asarray(rng.choice(len(d.x_test), 100, replace=False))
digits, truth = d.x_test[some], d.y_test[some]
arrived = {}
for name, how in (("squared error", {}), ("cross-entropy", {"loss": cross_entropy})):
    from_noise = forge(model, noise, target=wanted, **how)
    from_digits = forge(model, digits, target=(truth + 1) % 10, **how)
    arrived[name] = {
        "from noise": float(from_noise.success.mean()),
        "from other digits": float(from_digits.success.mean()),
    }
    if (
        not how
    ):  # where those that failed are: L = 1 in the plain, 3/4 where two wrong classes share
        stuck = from_digits.loss[-1][~from_digits.success]
        flat = int((stuck > 0.95).sum())
        print(
            f"of 100 digits {len(stuck)} get stuck: {flat} in the plain (L > 0.95), {len(stuck) - flat} further on, or on a border"
        )
for name, by in arrived.items():
    print(
        f"{name}: "
        + ", ".join(f"{share:.0%} {start}" for start, share in by.items())
        + " reach the target"
    )
measured = (
    f"{after:.0%} from noise, {arrived['squared error']['from other digits']:.0%} from other digits"
)
compare("A1", "descent on the squared error makes it the target", "with high probability", measured)
figure = plotting.bars(
    arrived,
    ylabel="images that reach the target",
    percent=True,
    title="The loss decides whether descent arrives",
)
save(
    figure,
    "arrived",
    alt="Bars: with the squared error a part of the images reaches the target, with the cross-entropy practically all",
)
assert min(arrived["cross-entropy"].values()) > 0.95
assert all(
    arrived["squared error"][start] < arrived["cross-entropy"][start]
    for start in ("from noise", "from other digits")
)

# %% [markdown]
# From here on: the cross-entropy.
#
# ## It looks like nothing (A2)
#
# Nothing in $L$ asks for an image that looks like the digit. And among all images, those that look like something are
# lost in the crowd. How many 8-bit color images of 32x32 are there? A byte has 256 values (the lecture's formula has
# 255), so:

# %%
for values in (256, 255):
    count = values ** (32 * 32 * 3)
    exponent = int(
        count.bit_length() * math.log10(2)
    )  # count lies in [10^exponent, 10^(exponent + 1))
    assert 10**exponent <= count < 10 ** (exponent + 1)
    print(f"{values}^(32·32·3) = 10^{exponent} and some: a number of {exponent + 1:,} digits")
compare(
    "A2",
    "color images of 32x32",
    "255^3072 ≈ 10^7400",
    "256^3072 = 10^7398 (255^3072 would be 10^7392)",
)

# %%
forged = forge(model, noise, target=wanted, loss=cross_entropy, steps=100)
sure = confidence(model, forged.x_adv)
title = "Forged from noise: what the network reads, and how sure it is"
figure = plotting.images(
    forged.x_adv[:10], labels=forged.label[:10], confidences=sure[:10], title=title
)
save(
    figure,
    "from_noise",
    alt="Ten images of noise; the network reads them as the digits 0 to 9, almost all with more than 90 %",
)


def nearest(x):
    """The Euclidean distance of each image of ``x`` to the nearest of 1,000 training images."""
    known = d.x_train[:1000].reshape(1000, -1)
    return xp.sqrt(((x.reshape(len(x), 1, -1) - known) ** 2).sum(axis=2)).min(axis=1)


typical, strange = (
    float(xp.median(nearest(d.x_test[:20]))),
    float(xp.median(nearest(forged.x_adv[:20]))),
)
print(
    f"median confidence {float(xp.median(sure)):.1%}; nearest training image at {strange:.2f}, for real test images at {typical:.2f}"
)
assert float(xp.median(sure)) > 0.9
assert strange > 1.5 * typical

# %% [markdown]
# The network has never seen anything like it, and is sure.
#
# ## Let it look like x_ref (A3)
#
# $$L = -\log p_{target} + \lambda \lVert x - x_{ref} \rVert^2$$
#
# Same noise to start from, a seven as $x_{ref}$, a three as target. A larger λ means nearer to the seven, and in the
# end a seven. (Descent on the second term alone multiplies $x - x_{ref}$ by $1 - 2 \alpha \lambda$ per step, so $\alpha
# < 1 / \lambda$ or it explodes.)

# %%
seven = d.x_test[(d.y_test == 7) & (predict(model, d.x_test) == 7)][:1]
weights = [0.0, 0.01, 0.03, 0.1, 1.0, 100.0]


def towards(reference, start, target, weight):
    """Forge with a step that is stable for every λ."""
    lr = min(0.1, 0.02 / max(weight, 1e-9))
    return forge(
        model,
        start,
        target=target,
        reference=reference,
        weight=weight,
        loss=cross_entropy,
        lr=lr,
        steps=200,
    )


alike = [towards(seven, noise[:1], 3, w) for w in weights]
found = xp.concatenate([r.x_adv for r in alike])
figure = plotting.images(
    found,
    labels=predict(model, found),
    confidences=confidence(model, found),
    columns=6,
    title="From noise to a 3 that looks like a seven: λ = " + ", ".join(f"{w:g}" for w in weights),
)
save(
    figure,
    "reference",
    alt="Six images: noise, then ever more clearly a seven, read as a 3 by the network, the last one as a 7",
)
print("λ       ", *(f"{w:7g}" for w in weights))
print("distance", *(f"{float(r.distance[-1, 0]):7.2f}" for r in alike))
assert alike[0].label[0] == alike[3].label[0] == 3
assert alike[-1].label[0] == 7
assert alike[-1].distance[-1, 0] < 0.1 * alike[0].distance[-1, 0]

# %% [markdown]
# What λ trades, over 100 images: distance against confidence in the target. (At the minimum that is a law: of two λ the
# larger one's minimum is at least as near and no surer.)

# %%
grid = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0])
target = (truth + 1) % 10
near, sure = [], []
for weight in grid:
    r = towards(digits, noise, target, float(weight))
    near.append(float((r.distance[-1] / r.distance[0]).mean()))
    sure.append(float(confidence(model, r.x_adv, target).mean()))
    print(
        f"λ = {weight:5.3f}: {near[-1]:3.0%} of the distance left, the target at {sure[-1]:3.0%}; {float(r.success.mean()):4.0%} arrive"
    )
figure = plotting.curves(
    {
        "distance to x_ref (share of the noise's)": (np.log10(grid), near),
        "probability of the target": (np.log10(grid), sure),
    },
    xlabel="log10 λ",
    ylabel="mean of 100 images",
    percent=True,
    title="What λ trades",
)
save(
    figure,
    "trade",
    alt="Two falling curves against λ: the distance to the reference falls first, the probability of the target later",
)
assert near[0] > 2 * near[-1]
assert sure[0] > sure[-1] + 0.2
assert sure[4] > 0.9  # near and sure at once: that is an adversarial example
assert near[4] < 0.5

# %% [markdown]
# In between lies what is worth having: near the reference *and* read as the target.
#
# ## Imperceptible by clipping (A4)
#
# λ sets a price and no limit. The lecture's trick is to clip the gradient. Here `clip` shortens a step whose largest
# change of a pixel is more than that, so after $T$ steps no pixel is further than $T \cdot clip$ from where it began: a
# guarantee, whatever the model does.

# %%
T = 40
limits = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
free = forge(model, digits, target=target, loss=cross_entropy, steps=T)
print(
    f"no clipping: {float(free.success.mean()):.0%} arrive, the largest change is {float(free.linf.max()):.2f}"
)
arrive = []
for limit in limits:
    r = forge(model, digits, target=target, loss=cross_entropy, steps=T, clip=limit / T)
    arrive.append(float(r.success.mean()))
    print(
        f"T · clip = {limit:.2f}: {arrive[-1]:4.0%} arrive, the largest change is {float(r.linf.max()):.3f}"
    )
    assert float(r.linf.max()) <= limit * (1 + 1e-9)
figure = plotting.curves(
    {
        "clipped": (limits, arrive),
        "not clipped": (limits, [float(free.success.mean())] * len(limits)),
    },
    xlabel="T · clip, the largest change that is possible",
    ylabel="images that reach the target",
    percent=True,
    title="What a limit costs",
)
save(
    figure,
    "clipping",
    alt="The share of images that reach the target rises with the limit, from near 0 towards that without a limit",
)
assert arrive[0] < arrive[-1]

# %%
limit = 0.2 if on_mnist() else 0.4
r = forge(model, digits, target=target, loss=cross_entropy, steps=T, clip=limit / T)
best = xp.flatnonzero(r.success)[:1]
twice = replace(
    r, x=xp.concatenate([digits[best]] * 2), x_adv=xp.concatenate([free.x_adv[best], r.x_adv[best]])
)
figure = plotting.attack_figure(twice, model, title=f"Without a limit, and with {limit}")
save(
    figure,
    "clipped",
    alt="A digit forged twice into the same other one: without a limit by large changes, with one by small ones",
)
print(
    f"largest change: {float(free.linf[best[0]]):.2f} without a limit, {float(r.linf[best[0]]):.2f} with one"
)
assert float(r.linf[best[0]]) < float(free.linf[best[0]])

# %% [markdown]
# (Of 8x8 pixels with 17 shades none can change by 0.4 without being noticed; on MNIST 0.2 is faint. What is
# imperceptible depends on the number of pixels: lesson 1 says why.)
