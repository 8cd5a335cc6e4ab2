# %% [markdown]
# # Adversarial training: learn from the attacker
#
# Mirrors: A6, B7, D9, E9.
#
# The oldest defence is still the best one known: show the network, with the right label, what an attacker would make of
# each image. This lesson says what exactly is minimized, what it buys, what it costs, and what the documents leave out:
# *on which network* the examples are made decides whether anything is gained at all.

# %%
import numpy as np
from lesson import compare, dataset, on_mnist, save, trained, trained_cnn

from minadv import Adam, array_module, fgsm, ops, plotting, to_numpy
from minadv.attacks.noise import negative
from minadv.attacks.pgd import pgd
from minadv.defenses.adversarial_training import augment, mixed_loss
from minadv.evaluation import accuracy, robust_accuracy
from minadv.losses import margin
from minadv.models import LogisticRegression, cnn, mlp

d = dataset()
xp = array_module(d.x_train)
shape = d.x_train.shape[1:]
x, y = d.x_test[:1000], d.y_test[:1000]
eps, l2 = (
    (0.1, 1.0) if on_mnist() else (0.2, 0.6)
)  # the radius of the ball under the L∞ norm, and under the L2 norm
how = {"batch_size": 128, "epochs": 5} if on_mnist() else {"batch_size": 64, "epochs": 16}


def fgsm_of(eps, **also):
    """The attack in the form that training calls: on a model, for a batch."""
    return lambda model, x, y: fgsm(model, x, y=y, eps=eps, **also)


def pgd_of(eps, steps=5):
    """PGD from the image itself, all steps taken: in training, the worst image is wanted and not the first that fools."""
    return lambda model, x, y: pgd(
        model, x, y=y, eps=eps, steps=steps, random_start=False, early_stop=False
    )


# %% [markdown]
# ## With pencil and paper: a linear model
#
# A logistic regression with labels $s = \pm 1$ has the margin $m = s\,(w \cdot x + b)$ and the loss $\log(1 + e^{-m})$.
# The worst image within $\varepsilon$ of $x$ is FGSM's, $x - \varepsilon s\, \mathrm{sign}(w)$, and takes exactly
# $\varepsilon \lVert w \rVert_1$ off the margin (lesson 1). So training on attacked images *is* training on
#
# $$L_{robust} = \log\left(1 + e^{-(m - \varepsilon \lVert w \rVert_1)}\right),$$
#
# a penalty on $\lVert w \rVert_1$, but inside the loss, where it ends for images that are safe. Threes against eights:

# %%
pair = (d.y_train == 3) | (d.y_train == 8)
threes_eights, is_eight = d.x_train[pair], (d.y_train[pair] == 8).astype(int)
start = LogisticRegression(
    0.01 * np.random.default_rng(0).normal(size=int(np.prod(shape))).astype(np.float32)
)
m = margin(start(threes_eights), is_eight)
by_attack = mixed_loss(start, fgsm_of(eps, bounds=(-1, 2)), weight=1)(
    start, threes_eights, is_eight
)  # wide bounds: no clipping
closed_form = ops.softplus(-m) + ops.softplus(-(m - eps * float(abs(start.weight).sum())))
print(
    f"mean loss: {float(by_attack.mean()):.6f} by attacking, {float(closed_form.mean()):.6f} by the closed form"
)
assert float(abs(by_attack - closed_form).max()) < 1e-4

# %% [markdown]
# Train one on each loss, judge both by the closed form ($m > \varepsilon \lVert w \rVert_1$ is what survives) and look
# at the weights: the robust model gives up what is small and speckled, on which $\varepsilon$ per pixel adds up.

# %%
test = (d.y_test == 3) | (d.y_test == 8)
x_pair, y_pair = d.x_test[test], (d.y_test[test] == 8).astype(int)
weights, survive = {}, {}
for name, weight in (("regular", 0), ("robust", 1)):
    linear = LogisticRegression(to_numpy(start.weight).copy())
    loss = mixed_loss(linear, fgsm_of(eps, bounds=(-1, 2)), weight=weight)
    trained(
        "linear",
        linear,
        threes_eights,
        is_eight,
        objective=loss,
        optimizer=Adam(0.03),
        batch_size=32,
        epochs=3 if on_mnist() else 20,
    )
    weights[name], norm = to_numpy(linear.weight), float(abs(linear.weight).sum())
    survive[name] = float((margin(linear(x_pair), y_pair) > eps * norm).mean())
    attacked = accuracy(
        linear, fgsm(linear, x_pair, y=y_pair, eps=eps, bounds=(-1, 2)).x_adv, y_pair
    )
    clean = accuracy(linear, x_pair, y_pair)
    print(
        f"{name:7}: accuracy {clean:.1%}, ‖w‖₁ = {norm:5.1f}, m > ε‖w‖₁ for {survive[name]:.1%}, accuracy under FGSM {attacked:.1%}"
    )
    assert abs(attacked - survive[name]) < 0.02
assert abs(weights["robust"]).sum() < abs(weights["regular"]).sum()
assert survive["robust"] > survive["regular"] + 0.1
scale = max(float(abs(w).max()) for w in weights.values())
figure = plotting.images(
    np.stack([w.reshape(shape) for w in weights.values()]),
    labels=np.arange(2),
    class_names=list(weights),
    bounds=(-scale, scale),
    title=f"The weights of 3 or 8, from −{scale:.1f} (black) to {scale:.1f}",
)
save(figure, "linear", alt="Two images of weights: the robust ones are smaller and fewer")

# %% [markdown]
# ## Add labelled adversarial examples to the training set (A6, B7)
#
# The simplest recipe: attack the training images once, append them under their own labels (`augment`), train a new
# network on both. Document B says that adversarial training is *valid only when the examples are crafted on the
# original model*. That is this recipe. Document B's network, and FGSM:

# %%
original = trained("regular", mlp(shape), d.x_train, d.y_train, **how)
x_more, y_more = augment(d.x_train, d.y_train, fgsm(original, d.x_train, y=d.y_train, eps=eps))
once = trained("once", mlp(shape), x_more, y_more, **how)
old = fgsm(
    original, x, y=y, eps=eps
)  # the original's adversarial examples, of images that nobody was trained on
print(
    f"{len(x_more):,} images instead of {len(d.x_train):,}; on the original's adversarial test images (ε = {eps})"
)
print(
    f"  the original is right for {robust_accuracy(original, x, y, old):.1%}, the new network for {robust_accuracy(once, x, y, old):.1%}"
)
white_box = {
    name: robust_accuracy(model, x, y, fgsm(model, x, y=y, eps=eps))
    for name, model in (("original", original), ("new", once))
}
print(
    f"and on their own: the original for {white_box['original']:.1%}, the new network for {white_box['new']:.1%}"
)
assert robust_accuracy(once, x, y, old) > 0.8
assert white_box["new"] < white_box["original"] + 0.1

# %% [markdown]
# It looked solved and nothing was: the new network has learned to undo one fixed pattern, and has another of its own,
# which the same attack finds in the same single step. An attacker attacks the model that is *there*.
#
# ## Craft them on the model as it trains (A6, D9)
#
# So each batch is attacked anew, with the weights of that moment:
#
# $$L(W, x, y) + \lambda\, L(W, x_{adv}(W), y).$$
#
# $x_{adv}$ counts as a constant in the gradient. That is no shortcut: if $x_{adv}$ is the worst image in the ball, the
# gradient of the worst case is the gradient at $x_{adv}$ (Danskin's theorem), as with $\varepsilon \lVert w \rVert_1$
# above. FGSM is one guess at the worst image; PGD is a better one, and costs as many passes as it has steps. And one
# may start from the trained network, *fine-tune* it (E9), in a third of the epochs:

# %%


def robust(name, attack, *, weight=1.0, start=None, epochs=how["epochs"]):
    """``adversarial_training`` of a new network, or of a copy of ``start``; its weights are kept for the next run."""
    model = mlp(shape)
    if start is not None:
        model.parameters = {name: value.copy() for name, value in start.parameters.items()}
    return trained(
        name,
        model,
        d.x_train,
        d.y_train,
        objective=mixed_loss(model, attack, weight=weight),
        **{**how, "epochs": epochs},
    )


networks = {
    "regular": original,
    "crafted once, on the original": once,
    "FGSM as it trains": robust("fgsm", fgsm_of(eps)),
    "PGD as it trains": robust("pgd", pgd_of(eps)),
    "regular, then PGD": robust(
        "tuned", pgd_of(eps), start=original, epochs=-(-how["epochs"] // 3)
    ),
}


def judged(model):
    """The share that stays right: clean, under the original's examples, and under attacks on this very model."""
    own = fgsm(model, x, y=y, eps=eps), pgd(model, x, y=y, eps=eps, steps=20, restarts=2)
    shares = {
        "clean": accuracy(model, x, y),
        "the original's examples": robust_accuracy(model, x, y, old),
    }
    return shares | {
        "FGSM": robust_accuracy(model, x, y, own[0]),
        "PGD": robust_accuracy(model, x, y, *own),
    }


shares = {name: judged(model) for name, model in networks.items()}
for name, share in shares.items():
    print(f"{name:30}", "  ".join(f"{column}: {value:6.1%}" for column, value in share.items()))
figure = plotting.bars(
    shares,
    ylabel="accuracy",
    percent=True,
    title=f"Who is robust at ε = {eps}? It depends on who attacks what",
)
save(
    figure,
    "who",
    alt="Bars: crafted once leads on the original's examples and is last on its own; as it trains holds on both",
)
fooled_once, holds = (
    shares["crafted once, on the original"]["PGD"],
    shares["PGD as it trains"]["PGD"],
)
what = f"accuracy under PGD, ε = {eps}, trained on examples of the original, or of itself"
compare("B7", what, "valid only with the original's", f"{fooled_once:.0%}, {holds:.0%}")
assert holds > fooled_once + 0.25
assert holds > shares["regular"]["PGD"] + 0.25
assert shares["FGSM as it trains"]["PGD"] <= shares["FGSM as it trains"]["FGSM"]
assert shares["regular, then PGD"]["PGD"] > shares["regular"]["PGD"] + 0.1
assert shares["PGD as it trains"]["the original's examples"] > shares["PGD as it trains"]["PGD"]

# %% [markdown]
# Crafted as it trains, the network holds. PGD still finds more than FGSM, above all if training saw FGSM alone: one
# step is a guess. But nothing here looks like a masked gradient (lesson 12). Behind one, examples made on *another*
# network do more harm than a model's own; in the three last rows they do less.
#
# ## A heuristic, no guarantee (B7)
#
# It holds against what it was shown. A larger $\varepsilon$, another norm, another kind of change are other attacks:

# %%
print("accuracy under attacks that training did not show:")
others = {}
for name in ("regular", "PGD as it trains"):
    model = networks[name]
    others[name] = {
        "PGD, 2ε": robust_accuracy(model, x, y, pgd(model, x, y=y, eps=2 * eps, steps=20)),
        f"PGD, L2 norm {l2}": robust_accuracy(
            model, x, y, pgd(model, x, y=y, eps=l2, norm="l2", steps=20)
        ),
        "negative": robust_accuracy(model, x, y, negative(x)),
    }
    print(
        f"{name:17}", "  ".join(f"{column}: {value:6.1%}" for column, value in others[name].items())
    )
assert others["PGD as it trains"]["PGD, 2ε"] < holds - 0.2
assert others["PGD as it trains"]["negative"] < 0.2

# %% [markdown]
# ## What λ trades (A6)
#
# Document A calls $\lambda$ a balance between robustness and performance on real data. Here it is, for the same
# training with $\lambda$ from 0 to 10. A network that $\varepsilon$ per pixel must not move may not rely on what is
# smaller than that, even where it tells clean images apart.

# %%
lambdas = [0, 0.1, 1, 10]
balanced = [original, *(robust("fgsm", fgsm_of(eps), weight=weight) for weight in lambdas[1:])]
trade = [judged(model) for model in balanced]
for weight, share in zip(lambdas, trade, strict=True):
    print(
        f"λ = {weight:5}:",
        "  ".join(f"{name}: {share[name]:6.1%}" for name in ("clean", "FGSM", "PGD")),
    )
percent = {name: [100 * share[name] for share in trade] for name in ("clean", "FGSM", "PGD")}
figure = plotting.curves(
    {
        f"under {name}": (np.array(percent["clean"]), np.array(percent[name]))
        for name in ("FGSM", "PGD")
    },
    xlabel="accuracy on clean images, %",
    ylabel="accuracy under attack, %",
    title=f"What λ trades, ε = {eps}",
)
for weight, *point in zip(lambdas, percent["clean"], percent["PGD"], strict=True):
    figure.axes[0].annotate(
        f"λ = {weight}", point, xytext=(-6, -8), textcoords="offset points", ha="right", fontsize=8
    )
figure.axes[0].margins(x=0.15)
save(
    figure,
    "trade",
    alt="Accuracy under attack against clean accuracy: with λ the first rises steeply and the second falls a little",
)
assert trade[-1]["PGD"] > trade[0]["PGD"] + 0.25
assert trade[-1]["clean"] < trade[0]["clean"]

# %% [markdown]
# With $\lambda = 10$ the clean images hardly count any more, and still most of them are read: FGSM's images lie near
# the clean ones. Document E warns that a network trained on adversarial images *alone* fails on regular ones, and adds
# that this may depend on the attack. It does. Here is the attack it speaks of.
#
# ## Four curves: fine-tuned on negatives, or trained on nothing else (E9)
#
# Take the CNN, trained on regular images, and fine-tune it on the negatives ($1 - x$, lesson 5) of $n$ of them; or
# train a new one on those $n$ negatives alone. Ten epochs each. How well does each read regular and negative test
# images?

# %%
counts = [10, 100, 1000, 10000] if on_mnist() else [10, 30, 100, 300, 1000]
regular = trained_cnn()
chosen = xp.asarray(np.random.default_rng(0).permutation(len(d.x_train))[: counts[-1]])
x_chosen, y_chosen = d.x_train[chosen], d.y_train[chosen]


def tuned(name, x, y, start=None):
    """A CNN after ten epochs on ``x``: a copy of ``start``, or a new one."""
    model = cnn(shape, rng=1)
    if start is not None:
        model.parameters = {name: value.copy() for name, value in start.parameters.items()}
    return trained(name, model, x, y, batch_size=32, epochs=10)


found = {}
for name, start in (("fine-tuned", regular), ("from scratch", None)):
    models = [tuned(f"negative-{n}", negative(x_chosen[:n]), y_chosen[:n], start) for n in counts]
    for kind, images in (("regular", x), ("negative", negative(x))):
        found[f"{name}: {kind} images"] = [accuracy(model, images, y) for model in models]
before = f"{accuracy(regular, x, y):.1%} on regular images, {accuracy(regular, negative(x), y):.1%} on negative ones"
print(f"the CNN before: {before}")
print("number of negatives           ", *(f"{n:7,}" for n in counts))
for name, values in found.items():
    print(f"{name:30}", *(f"{value:7.1%}" for value in values))
figure = plotting.curves(
    {name: (counts, values) for name, values in found.items()},
    xlabel="number of negative images",
    ylabel="accuracy",
    percent=True,
    title="Trained on negatives only",
)
figure.axes[0].set_xscale("log")
save(
    figure,
    "negatives",
    alt="Four curves: with more negatives both CNNs learn them, and the fine-tuned one forgets the regular images",
)
last = {name: values[-1] for name, values in found.items()}
compare(
    "E9",
    "negatives, from scratch",
    "close to 100 % with 10^4",
    f"{last['from scratch: negative images']:.0%} with {counts[-1]:,}",
)
compare(
    "E9",
    "regular images, after fine-tuning on negatives",
    "drops",
    f"{before[:5]} to {last['fine-tuned: regular images']:.0%}",
)
assert last["fine-tuned: negative images"] > 0.85
assert last["from scratch: negative images"] > 0.85
assert last["fine-tuned: regular images"] < accuracy(regular, x, y) - 0.1
assert last["from scratch: regular images"] < 0.5

# %% [markdown]
# Both learn the negatives. What they knew of regular images they lose, or never learn: what is ink in the one is paper
# in the other, and nothing in the loss asks for the old answer. (MNIST's CNN, trained on 60,000 images, forgets more
# slowly.) So ask for it, by showing both: $\lambda = 1$ for negatives, which is `augment`.

# %%
both = tuned("both", *augment(x_chosen, y_chosen, negative(x_chosen)), start=regular)
print(
    f"fine-tuned on both: {accuracy(both, x, y):.1%} on regular images, {accuracy(both, negative(x), y):.1%} on negative ones"
)
assert accuracy(both, x, y) > 0.9
assert accuracy(both, negative(x), y) > 0.85

# %% [markdown]
# In one call, without a cache, all of the above is
#
# ```python
# adversarial_training(model, x, y, attack=lambda model, x, y: fgsm(model, x, y=y, eps=0.1), weight=1.0, epochs=15)
# ```
