# %% [markdown]
# # Attack an image file in one call
#
# Mirrors: E5, E8.
#
# Everything so far had arrays and labels at hand. An attacker has a picture in a file, and nobody who says what is on
# it. One call reads it, asks the model, attacks, draws the figure and writes the result. And then it turns out that a
# file may not hold what the attack made.

# %%
import warnings
from functools import partial

import numpy as np
from lesson import compare, dataset, save, settings, trained_cnn

from minadv import fgsm, plotting, to_numpy
from minadv.__main__ import main as command_line
from minadv.attacks.deepfool import deepfool
from minadv.attacks.pgd import pgd
from minadv.evaluation import logits, predict
from minadv.images import from_8bit, read_image, save_image, survives_8bit, to_8bit
from minadv.images.attack import attack_image
from minadv.losses import margin
from minadv.models import save_weights

d, model = dataset(), trained_cnn()
files = settings.out / "10_attack_anything" / "files"
names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

# %% [markdown]
# ## One line (E8)
#
# A picture of a seven, as anybody might have it, and the one line:

# %%
seven = save_image(d.x_test[d.y_test == 7][:1], files / "seven.png")

attacked = attack_image(seven, model, partial(fgsm, eps=0.2), class_names=names)

print(attacked)
print("written:", *(path.name for path in attacked.files.values()))
alt = f"A picture read as {attacked.original}, what FGSM adds, and their sum, read as {attacked.adversarial}"
save(attacked.figure, "seven", alt=alt)
assert attacked.original.name == "seven"
assert attacked.success
assert (np.load(attacked.files["exact"]) == to_numpy(attacked.result.x_adv)).all()

# %% [markdown]
# "Confidence" is a probability here, the softmax of the logits. The article prints 20.2 for its gorilla, and 16.4 and
# 11.5 when noise is added: these are the logits themselves, which have no upper end and mean little without the others.

# %%
z = to_numpy(logits(model, read_image(seven)))[0]
p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
print("logits:       ", *(f"{value:6.1f}" for value in z))
print("probabilities:", *(f"{value:6.1%}" for value in p))
compare(
    "E8",
    "confidence in the image as it came",
    "20.2, a logit",
    f"{attacked.original.confidence:.1%}, from a logit of {z.max():.1f}",
)
np.testing.assert_allclose(attacked.original.confidence, p.max(), rtol=1e-4)

# %% [markdown]
# ## Nobody says what is on it (E5)
#
# Without a label, attack the model's own prediction: $Y = \arg\max_k z_k(x)$, then $x + \varepsilon \cdot
# \mathrm{sign}(\nabla_x L(x, Y))$. (The article's listing stores it in `Y`, reads `y`, and its call leaves the network
# out; neither runs as it stands.) Where the model is right, that is the attack with the true label, to the last bit.
# Where it is wrong, it leads away from the error, and now and then to the truth:

# %%
x, y = d.x_test, d.y_test
own = predict(model, x)
right = own == y
blind, informed = (fgsm(model, x, y=label, eps=0.1) for label in (own, y))
repaired = int((blind.label[~right] == y[~right]).sum())
print(
    f"{int(right.sum()):,} of {len(x):,} images are read right: both attacks are the same for them"
)
print(
    f"{int((~right).sum())} are not, and of these the attack on the model's own prediction repairs {repaired}"
)
assert (blind.x_adv[right] == informed.x_adv[right]).all()
assert repaired > 0

# %% [markdown]
# ## To a class by its name (E5)
#
# With a target, the loss towards it is negated, so that climbing leads there. One step arrives for some; PGD, which
# repeats it and stops as soon as it is there, for more.

# %%
attacked = attack_image(seven, model, partial(pgd, eps=0.3), target="three", class_names=names)
print(attacked)
alt = f"A picture read as {attacked.original}, what PGD adds, and their sum, read as {attacked.adversarial}"
save(attacked.figure, "three", alt=alt)
assert attacked.adversarial.name == "three"

others = x[y != 3][:200]
arrived = {
    attack.__name__: float(attack(model, others, target=3, eps=0.2).success.mean())
    for attack in (fgsm, pgd)
}
print(
    "ε = 0.2, read as a three:",
    ", ".join(f"{share:.1%} after {name}" for name, share in arrived.items()),
)
assert arrived["pgd"] > arrived["fgsm"]

# %% [markdown]
# ## What a file forgets
#
# A PNG keeps 256 values per pixel, so each is moved by up to 1/510. FGSM's 0.2 does not notice. But an attack that goes
# just over the border, and no further, like DeepFool, may be carried back. How often depends on its overshoot, the
# share by which it goes too far. And the usual `(255 * x).astype("uint8")` is worse: it does not round but cuts off.

# %%
x = from_8bit(to_8bit(d.x_test[:300]))  # images as they come from files
own = predict(model, x)
overshoots = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2]
undone = {"rounded": [], "cut off": []}
for overshoot in overshoots:
    result = deepfool(model, x, y=own, overshoot=overshoot)
    cut = from_8bit((255 * result.x_adv).astype("uint8"))
    won = int(result.success.sum())
    undone["rounded"].append(1 - int(survives_8bit(model, result, y=own).sum()) / won)
    undone["cut off"].append(1 - int((result.success & (predict(model, cut) != own)).sum()) / won)
    lost = ", ".join(f"{share[-1]:5.1%} undone {how}" for how, share in undone.items())
    print(f"DeepFool, overshoot {overshoot:4}: {won} of {len(x)} succeed; {lost}")
lines = {how: (np.array(overshoots), np.array(share)) for how, share in undone.items()}
figure = plotting.curves(
    lines, xlabel="overshoot", ylabel="attacks undone", percent=True, title="Stored in 8 bits"
)
save(
    figure,
    "eight_bits",
    alt="The share of attacks undone by 8 bits falls with the overshoot, and is higher where values are cut off",
)
assert undone["rounded"][0] > 0.1
assert undone["rounded"][-1] < undone["rounded"][0] / 2
assert all(c >= r for r, c in zip(undone["rounded"], undone["cut off"], strict=True))

# %% [markdown]
# So `attack_image` looks again at what it has stored, and warns; and the exact image is there, in the `.npy` file. For
# arrays the same check is `survives_8bit`.

# %%
result = deepfool(model, x, y=own)
i = int(
    margin(logits(model, from_8bit(to_8bit(result.x_adv))), own).argmax()
)  # what rounding carries back furthest
brink = save_image(x[i : i + 1], files / "brink.png")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    attacked = attack_image(brink, model, deepfool)
print(attacked)
print("warning:", *(str(warning.message) for warning in caught))
assert len(caught) == 1
assert attacked.success
assert not attacked.survives_8bit

# %% [markdown]
# Better still, attack in steps that a file can hold: with $\varepsilon = k/255$ FGSM leads from one image of bytes to
# another, and nothing is left to round. Cutting off spoils that, too: the exact ball stops a hair below $k/255$ in many
# pixels, as it must, and the hair costs a whole step.

# %%
k = 24
result = fgsm(model, x, y=own, eps=k / 255)
steps = to_8bit(result.x_adv).astype(int) - to_8bit(x)
cut = (255 * result.x_adv).astype("uint8").astype(int)
kept, won = int(survives_8bit(model, result, y=own).sum()), int(result.success.sum())
print(
    f"FGSM, ε = {k}/255: {won} succeed, {kept} of them in 8 bits; no byte moves by more than {int(abs(steps).max())}"
)
print(
    f"cut off instead of rounded, {float((cut != to_8bit(result.x_adv)).mean()):.1%} of the bytes are others"
)
assert kept == won
assert int(abs(steps).max()) == k

# %% [markdown]
# ## From the command line
#
# The same without a line of Python, here `python -m minadv attack seven.png --weights cnn.npz --attack pgd --eps
# 8/255`; the options of an attack are its arguments, `--attack pgd --help` lists them. The exit code is 0 if the model
# is fooled, 1 if it is not, and 2 for an error.

# %%
weights = save_weights(model, files / "cnn.npz")
for eps in ("8/255", "80/255"):
    code = command_line(
        [
            "attack",
            str(seven),
            "--weights",
            str(weights),
            "--attack",
            "pgd",
            "--eps",
            eps,
            "--out",
            str(files),
        ]
    )
    print(f"exit code {code}")
assert code == 0
