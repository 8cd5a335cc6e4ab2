# %% [markdown]
# # Random resizing and padding: chance as a defence
#
# Mirrors: E10.
#
# An attack fits its image to the network, pixel by pixel. So never show the network that image: shrink it by a random
# amount, put it at a random place on black, perhaps mirror it, and average the answers over 30 draws. This was second
# in the NeurIPS contest of 2017 (Xie et al. 2018). "And it works", says document E, and that it has not tried. Let us
# try.

# %%
import numpy as np
from lesson import compare, dataset, on_mnist, save, trained, trained_cnn

from minadv import fgsm, plotting, to_numpy
from minadv.attacks.pgd import pgd
from minadv.data import leaves
from minadv.defenses.adversarial_training import augment
from minadv.defenses.resizing import RandomResizing, resize
from minadv.evaluation import accuracy, robust_accuracy
from minadv.models import cnn

d = dataset()
shape = d.x_train.shape[1:]
x, y = d.x_test[:200], d.y_test[:200]
regular = trained_cnn()

# %% [markdown]
# ## Resizing is two matrix products
#
# Spread $n$ old pixels and $n'$ new ones over the same width. The center of new pixel $i$ falls at $c_i = (i +
# \tfrac{1}{2})\, n / n'$ of the old ones. *Nearest* takes the pixel that $c_i$ lies in, *bilinear* mixes the two whose
# centers are next, in proportion. Either way a new row is a weighted sum of old rows, and likewise for columns: $x' = A
# x B^T$, with rows of weights that add up to 1. At the same size $A$ is the identity.

# %%
n, new = 8, 7
place = np.clip(
    (np.arange(new) + 0.5) * n / new - 0.5, 0, n - 1
)  # counted from the first old center
A = np.maximum(0, 1 - abs(place[:, None] - np.arange(n)))  # 1 at a center, falling to 0 at the next
print(np.round(A, 2))
image = np.random.default_rng(0).uniform(size=(1, n, n, 1))
np.testing.assert_allclose(
    resize(image, (new, new))[0, :, :, 0], A @ image[0, :, :, 0] @ A.T, rtol=1e-12
)
np.testing.assert_allclose(A.sum(axis=1), 1)
assert all(
    (resize(image, (n, n), method=method) == image).all() for method in ("nearest", "bilinear")
)

# %% [markdown]
# ## What the network gets to see
#
# In the paper images of 299 pixels become 299 to 330 pixels wide, in a frame of 331. A network with a fixed input keeps
# its own size for the frame, and the image shrinks by the same shares: 299/331 is the least. Shrinking, placing and
# mirroring are still two matrices per draw. A leaf may be mirrored:

# %%
leaf = leaves(5, size=48).x_test[:1]
drawn = RandomResizing(lambda x: x, leaf.shape[1:], draws=7, rng=3).views(leaf)[
    :, 0
]  # (7, 48, 48, 3)
leaf_and_draws = np.concatenate([to_numpy(leaf), to_numpy(drawn)]).clip(
    0, 1
)  # bilinear rounds, too
figure = plotting.images(leaf_and_draws, columns=4, title="A leaf, and seven draws of it")
save(
    figure,
    "draws",
    alt="A leaf, then seven times the same one: a little smaller, at other places on black, some mirrored",
)

# %% [markdown]
# A mirrored 2 is no 2, so the digits are not flipped. And 8 pixels leave little choice: 7 wide, in one of four corners.
# (MNIST's 28 become 25 to 27: 29 places.)

# %%


def defended(model, *, draws=30, rng=1, **how):
    """``model`` behind the defence, with draws of its own."""
    return RandomResizing(model, shape, draws=draws, flip=0, rng=rng, **how)


def kinds(defence):
    """How many different draws there are among those made."""
    return len(
        {(a.tobytes(), b.tobytes()) for a, b in zip(defence.rows, defence.columns, strict=True)}
    )


print(f"{kinds(defended(regular, draws=1000))} different draws; clean accuracy of the CNN:")
print(
    f"  {accuracy(regular, x, y):.1%} as it is, {accuracy(defended(regular), x, y):.1%} behind the defence"
)

# %% [markdown]
# On 8 pixels that is the first bill: this CNN has only seen digits that fill the frame, and an eighth of it is missing.
# (An ImageNet network has seen objects at all places and sizes, and MNIST's digits have four empty pixels around them.)
# So it is trained on draws as well, added to the training images (`augment`).

# %%
few = 5 if on_mnist() else 1  # of MNIST every fifth image: minutes
x_train, y_train = d.x_train[::few], d.y_train[::few]
views = defended(regular, draws=4 if on_mnist() else 8, rng=7).views(x_train)
model = trained(
    "resized",
    cnn(shape),
    *augment(x_train, y_train, *views),
    batch_size=64,
    epochs=3 if on_mnist() else 6,
)
defence = defended(model)
clean = accuracy(defence, x, y)
print(f"trained on draws: {accuracy(model, x, y):.1%} as it is, {clean:.1%} behind the defence")
assert clean > 0.93

# %% [markdown]
# ## An attacker who knows nothing of it
#
# attacks the network itself, with FGSM or PGD. The image is fitted to one place, the network looks at others:

# %%
epsilons = [0.1, 0.15, 0.2, 0.25] if on_mnist() else [0.05, 0.1, 0.15, 0.2]
lines = {
    "no defence: PGD": [],
    "unaware: FGSM": [],
    "unaware: PGD": [],
    "aware: FGSM": [],
    "aware: PGD": [],
}
for eps in epsilons:
    by_fgsm, by_pgd = (
        fgsm(model, x, y=y, eps=eps),
        pgd(model, x, y=y, eps=eps, steps=10, early_stop=False),
    )
    lines["no defence: PGD"].append(robust_accuracy(model, x, y, by_pgd))
    lines["unaware: FGSM"].append(robust_accuracy(defence, x, y, by_fgsm))
    lines["unaware: PGD"].append(robust_accuracy(defence, x, y, by_pgd))
    bare, behind = lines["no defence: PGD"][-1], lines["unaware: PGD"][-1]
    print(
        f"ε = {eps}: under PGD the network is right for {bare:.1%}, behind the defence for {behind:.1%}"
    )
assert (
    max(b - a for a, b in zip(lines["no defence: PGD"], lines["unaware: PGD"], strict=True)) > 0.1
)

# %% [markdown]
# ## An attacker who knows
#
# cannot know the draws, but can make some too. The image is to fool the network *on average* over draws $T$, so follow
# the average gradient,
#
# $$g = \nabla_x \frac{1}{D} \sum_{d=1}^{D} f(T_d x), \qquad T_d \text{ drawn by the attacker},$$
#
# "expectation over transformation" (Athalye et al. 2018). `RandomResizing` is a function like any other model, so this
# is `fgsm` and `pgd` on an object with another seed. (Two details decide. The attacker averages *logits*: the mean of
# probabilities of a sure network only counts votes, and is flat. And goes on after the first success: an image that has
# just fooled ten draws has not yet fooled thirty others.)

# %%
attacker = defended(model, draws=10, rng=2, average="logits")
for eps in epsilons:
    by_pgd = pgd(attacker, x, y=y, eps=eps, steps=10, random_start=False, early_stop=False)
    lines["aware: FGSM"].append(robust_accuracy(defence, x, y, fgsm(attacker, x, y=y, eps=eps)))
    lines["aware: PGD"].append(robust_accuracy(defence, x, y, by_pgd))
print("ε              ", *(f"{eps:6}" for eps in epsilons))
for name, values in lines.items():
    print(f"{name:15}", *(f"{value:6.1%}" for value in values))
figure = plotting.curves(
    {"clean": (epsilons, [clean] * len(epsilons))}
    | {name: (epsilons, values) for name, values in lines.items()},
    xlabel="ε",
    ylabel="accuracy",
    percent=True,
    title="Random resizing: the attacker's knowledge decides",
)
save(
    figure,
    "knowledge",
    alt="Accuracy against ε: the defence helps against unaware attackers; against aware ones most of that is gone",
)
gained = [b - a for a, b in zip(lines["no defence: PGD"], lines["unaware: PGD"], strict=True)]
kept = [b - a for a, b in zip(lines["no defence: PGD"], lines["aware: PGD"], strict=True)]
i = int(np.argmax(gained))
stated, measured = (
    "it works (not tested)",
    f"{gained[i]:+.0%} if the attacker does not know it, {kept[i]:+.0%} if so",
)
compare("E10", f"accuracy gained under PGD, ε = {epsilons[i]}", stated, measured)
assert gained[i] > 0.1
assert kept[i] < gained[i] / 2

# %% [markdown]
# ## The price of a chance
#
# What does one draw do, without an average, and one success, without going on? And did the *whole* defence pay off,
# training included, against the plain CNN?

# %%
eps = epsilons[i]
plain = {"steps": 10, "random_start": False}
tries = {
    "one draw": pgd(
        defended(model, draws=1, rng=2, average="logits"),
        x,
        y=y,
        eps=eps,
        early_stop=False,
        **plain,
    ),
    "ten draws, first success": pgd(attacker, x, y=y, eps=eps, **plain),
    "ten draws": pgd(attacker, x, y=y, eps=eps, early_stop=False, **plain),
}
for name, result in tries.items():
    print(f"{name:25}: {robust_accuracy(defence, x, y, result):.1%} stay right at ε = {eps}")
undefended = robust_accuracy(regular, x, y, pgd(regular, x, y=y, eps=eps, steps=20))
print(f"the plain CNN, never trained on draws, nothing in front, under PGD: {undefended:.1%}")
assert robust_accuracy(defence, x, y, tries["ten draws"]) < robust_accuracy(
    defence, x, y, tries["one draw"]
)

# %% [markdown]
# Chance costs the attacker ten times the passes, and the defender thirty times. Most of what it seemed to buy was the
# attacker's ignorance: on the digits all of it; on MNIST a third is left at $\varepsilon = 0.1$, since an average over
# places has a little more room to err, and nothing at 0.2. What is random about an answer can be averaged away, and the
# average is a network like any other, with a gradient like any other.
