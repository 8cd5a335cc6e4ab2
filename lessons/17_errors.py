# %% [markdown]
# # What the documents get wrong, in numbers
#
# Mirrors: A1, A2, A7, B1, B5, B7, C1, D5, D6, D10, E2, E4, E5, E6, E7.
#
# Five good texts, and some two dozen slips. Each is shown here by a few lines that compute what is so; where a lesson
# treats it at length, it is named. Reading critically is half of the subject: an attack that quietly does nothing looks
# exactly like a defence.

# %%
import math
from fractions import Fraction

import numpy as np
from lesson import compare, dataset, save, trained_cnn, trained_mlp

from minadv import fgsm, grad, ops, plotting, to_numpy
from minadv.attacks.evolution import differential_evolution
from minadv.attacks.one_pixel import one_pixel
from minadv.attacks.saliency import saliency_map
from minadv.evaluation import outcomes, predict
from minadv.losses import cross_entropy, squared_error

d = dataset()
model = trained_cnn()
x, y = d.x_test[:300], d.y_test[:300]

# %% [markdown]
# ## Arithmetic
#
# **A7**: $W \cdot x = -4$, so $\hat y = \sigma(-4)$, not 0.27 (lesson 1). **A2**: a byte has 256 values, and
# $256^{3072} \approx 10^{7398}$; the text's $255^{3072}$ is smaller by five orders of magnitude, and is not $10^{7400}$
# either.

# %%
W, v = np.array([1.0, 3, -1, 2, 2, 3]), np.array([1.0, -1, 2, 0, 3, -2])
print(f"A7: W·x = {W @ v:.0f}, σ(-4) = {ops.sigmoid(W @ v):.3f}; 0.27 = σ(-1)")
digits_256, digits_255 = (math.floor(32 * 32 * 3 * math.log10(n)) for n in (256, 255))
compare(
    "A2",
    "colour images of 32x32, power of ten",
    "255^3072 ≈ 10^7400",
    f"256^3072 ≈ 10^{digits_256}, 255^3072 ≈ 10^{digits_255}",
)
assert (round(float(ops.sigmoid(W @ v)), 3), digits_256) == (0.018, 7398)

# %% [markdown]
# **A1** writes $L(\hat y, y_j) = \frac12 \lVert \hat y - y_i \rVert^2$: two indices for one target. It matters:
# minimised for $i$, the loss says nothing about $j$. And the introduction of **A** has a cat perturbed so that it is
# "classified as a cat"; the figure's iguana is meant. A perturbed image that keeps its label is no attack:

# %%
p, targets = ops.softmax(model(x[:1])), np.eye(10, dtype=np.float32)
losses = [float(squared_error(p, ops.reshape(targets[k], (1, 10)))[0]) for k in range(10)]
print("A1: ½‖ŷ - y_i‖² for each i:", *(f"{loss:.2f}" for loss in losses))
assert len({round(loss, 6) for loss in losses}) > 1

# %% [markdown]
# ## Words
#
# **B1** calls targeted attacks "type 1" and untargeted ones "type 2". Which *error* results (a false positive, a false
# negative) and whether the attacker *picks* the label are two questions: an untargeted attack on everything makes both
# errors at once.

# %%
two = to_numpy(y) == 2
attacked = fgsm(model, x, y=y, eps=0.3)
errors = outcomes(two, to_numpy(attacked.label) == 2)
print(
    f"B1: one untargeted attack, 'is it a two?': {errors.false_negatives} false negatives and {errors.false_positives} false positives"
)
assert errors.false_negatives > 0
assert errors.false_positives > 0

# %% [markdown]
# **E7** says that DeepFool's $f_k$ "are the class labels". Labels have no gradient; $f_k$ are the class *scores*.
# **E4** calls the sign of the gradient the direction of steepest ascent: under the $L_\infty$ norm it is, under the
# Euclidean one the gradient is (lesson 2). **E2** says that its noise is drawn by `randn` and draws it uniformly;
# normal noise has no bound:

# %%
rng = np.random.default_rng(0)
normal, uniform = 0.1 * rng.standard_normal(100_000), rng.uniform(-0.1, 0.1, 100_000)
beyond = float((np.abs(normal) > 0.1).mean())
print(
    f"E2: beyond ±0.1: {beyond:.0%} of normal noise with deviation 0.1, {float((np.abs(uniform) > 0.1).mean()):.0%} of uniform noise"
)
assert beyond > 0.3

g = grad(lambda z: cross_entropy(model(z), y[:1]).sum(), x[:1])
unit = {"sign": np.sign(to_numpy(g)), "gradient": to_numpy(g)}
rise = {
    name: float((r / np.linalg.norm(r.ravel()) * to_numpy(g)).sum()) for name, r in unit.items()
}
print(
    f"E4: one Euclidean length raises the loss by {rise['sign']:.3g} (sign), {rise['gradient']:.3g} (gradient), to first order"
)
assert rise["gradient"] > rise["sign"]

# %% [markdown]
# ## Guarantees that rounding breaks
#
# **C1**: $\mathrm{sign} \in \{-1, 1\}$; but sign(0) = 0, and gradients *are* 0 where every ReLU on the way is off.
# **C1** also guarantees $|x^* - x^0| \le \varepsilon$: in real numbers, yes. In floating point `x + eps * sign` lies
# outside for a large share of all pixels (lesson 4). **B5** adds $\varepsilon$ without clipping, and pixels leave $[0,
# 1]$ (lesson 2).

# %%
signs = np.sign(to_numpy(fgsm(model, x, y=y, eps=0.1, bounds=(-1, 2)).perturbation)).astype(
    np.float32
)
naive = to_numpy(x) + np.float32(0.1) * signs
changed = naive != to_numpy(x)
sample = rng.choice(np.flatnonzero(changed), 5000)
pairs = zip(naive.ravel()[sample].tolist(), to_numpy(x).ravel()[sample].tolist(), strict=True)
outside = np.mean([abs(Fraction(a) - Fraction(b)) > Fraction(0.1) for a, b in pairs])
kept = fgsm(model, x, y=y, eps=0.1)
pairs = zip(
    to_numpy(kept.x_adv).ravel()[sample].tolist(), to_numpy(x).ravel()[sample].tolist(), strict=True
)
broken = sum(abs(Fraction(a) - Fraction(b)) > Fraction(0.1) for a, b in pairs)
off = np.sign(grad(lambda z: ops.relu(z).sum(), np.array([-1.0, 2.0])))
print(f"C1: the signs of a gradient through ReLU(-1) and ReLU(2): {off.tolist()}")
print(
    f"C1: of the pixels that x + ε·sign moves, {outside:.0%} move by more than ε; by `fgsm`: {broken} of {len(sample)}"
)
print(
    f"B5: without clipping {float(((naive < 0) | (naive > 1)).mean()):.0%} of all pixels leave [0, 1]"
)
assert off[0] == 0
assert outside > 0.05
assert broken == 0

# %% [markdown]
# **B5** also takes the loss of softmax outputs. In float32 a margin of 17 is enough for $p_y - 1 = 0$: no gradient is
# left (lesson 2).

# %%
for margin in (5.0, 17.0, 30.0):
    logits = np.float32([[margin, 0.0]])
    usual = float(ops.softmax(logits)[0, 0] - np.float32(1))
    exact = float(grad(lambda z: cross_entropy(z, np.array([0])).sum(), logits)[0, 0])
    print(
        f"B5: margin {margin:4.0f}: p - 1 = {usual:.3g}; right is {-1 / (1 + math.exp(margin)):.3g}, minadv says {exact:.3g}"
    )
    assert math.isclose(exact, -1 / (1 + math.exp(margin)), rel_tol=1e-5)
assert usual == 0

# %% [markdown]
# ## Code that does something else
#
# **D5**'s code takes $\partial F_{pred} - \partial F_t$ for $\sum_{j \ne t} \partial F_j$, and the argmax of an
# all-zero map for the best pixel: that is pixel 0, which it then changes again and again (lesson 6).

# %%
nothing = saliency_map(np.float32([[-1, -2, -3]]), np.float32([[1, 2, 3]]))
print(
    f"D5: nothing is admissible, S = {nothing[0].tolist()}, and its argmax is pixel {int(nothing.argmax())}"
)
assert not nothing.any()

# %% [markdown]
# **D6**: `z / 256` for $z < 256$ never reaches white, and SciPy's bounds (0, 28) allow row 28 of 28; the targeted mode
# *minimises* the target's probability; and SciPy's default is best/1 while the equation is rand/1. Here the largest
# value, 1.0, is found when it is the best:

# %%
print(
    f"D6: the largest value of z / 256 is {255 / 256:.4f} for whole z; `int` of a draw of 28.0 is row {int(28.0)} of 0..27"
)


def brighter(images):
    """A 'model' that says 1 when the brightest pixel is white, and 0 otherwise."""
    brightest = to_numpy(images).reshape(len(images), -1).max(axis=1)
    return np.stack([np.zeros(len(brightest)), 100 * (brightest - 0.9999)], axis=1)


white = one_pixel(
    brighter, np.zeros((1, 4, 4, 1), np.float32), target=1, population=50, generations=50, rng=0
)
print(
    f"D6: `one_pixel` reaches {float(white.x_adv.max())}, by raising the target's score: success {bool(white.success[0])}"
)
assert white.x_adv.max() == 1
assert white.success.all()

rosenbrock = lambda p: 100 * (p[:, 1] - p[:, 0] ** 2) ** 2 + (1 - p[:, 0]) ** 2  # noqa: E731
how = {"population": 30, "generations": 60}
rules = {
    s: differential_evolution(rosenbrock, [(-2, 2)] * 2, strategy=s, **how).history
    for s in ("rand1", "best1")
}
print(
    "D6: rand/1 and best/1 after 60 generations on Rosenbrock's valley:",
    *(f"{name} {h[-1]:.2g}" for name, h in rules.items()),
)
lines = {name: (np.arange(len(h)), np.log10(np.maximum(h, 1e-30))) for name, h in rules.items()}
figure = plotting.curves(
    lines,
    xlabel="generation",
    ylabel="log₁₀ of the best value",
    title="Two rules, not one: rand/1 and best/1",
)
save(
    figure,
    "strategies",
    alt="The best value against the generation: best/1 falls faster than rand/1 on this valley",
)

# %% [markdown]
# **E5**'s code uses `y` where `Y` was set and calls `fgm(i1, adv_x)` without the network. **E6**'s loop is `while yt ==
# y or i < max_iter`, and `i` is never increased: as it stands it cannot end. With the increase added, `or` still means
# "go on while the label holds *or* budget is left": an image fooled at step 3 is attacked to the end of the budget, and
# one that cannot be fooled, for ever. `and` is meant.

# %%


def steps_taken(goes_on, fooled_at, max_iter=10, patience=1000):
    """How many steps a loop takes; ``goes_on(still_right, budget_left)`` is its condition."""
    i = 0
    while goes_on(i < fooled_at, i < max_iter) and i < patience:
        i += 1
    return i


for name, goes_on in (
    ("or", lambda right, budget: right or budget),
    ("and", lambda right, budget: right and budget),
):
    soon, never = steps_taken(goes_on, fooled_at=3), steps_taken(goes_on, fooled_at=math.inf)
    print(
        f"E6: with `{name}`: fooled at step 3, it takes {soon} steps; never fooled, {never}{' (stopped by us)' if never == 1000 else ''}"
    )
assert (soon, never) == (3, 10)

# %% [markdown]
# **E6** also says that PGD "also goes by I-FGSM". Without projection, $T$ steps of $\alpha$ reach $T\alpha$:

# %%
w = np.array([1.0, -2.0])
z = np.zeros(2)
for _ in range(20):
    z = z + 0.1 * np.sign(w)
print(f"E6: 20 steps of 0.1 without projection end {np.abs(z).max():.1f} away; ε was to be 0.1")
assert np.abs(z).max() > 1.9

# %% [markdown]
# **B7** says that adversarial training is valid only with examples crafted on the *original* model; lesson 11 compares
# both and finds the usual way, crafting on the model as it trains, better. **D10** describes its score as a divergence
# "between clean and adversarial sample"; no detector has the clean sample. It is between the input and its own
# reconstruction (lesson 14).

# %%
own = predict(trained_mlp(), x)
print(
    f"E5: `fgsm` with the model's own prediction: {float(fgsm(trained_mlp(), x, y=own, eps=0.2).success.mean()):.0%} change their label"
)
