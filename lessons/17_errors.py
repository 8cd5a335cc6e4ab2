# %% [markdown]
# # Reading critically: what the documents get wrong, in numbers
#
# Mirrors: A1, A2, A7, B1, B5, B7, C1, D5, D6, D10, E2, E4, E5, E6, E7.
#
# Before: the lessons that are named on the way; best read last. Minutes: 45.
#
# You will:
#
# - check a printed number in one line;
# - tell a slip of the pen from an error that changes a result;
# - measure how a guarantee on paper fares in floating point;
# - read code for what it does, not for what it is called.
#
# The five documents are good texts, and each has slips. This is no complaint: every
# text has them, this one too. Reading critically is half of the subject, since an
# attack that quietly does nothing looks exactly like a defense. The errors come in four
# kinds. Each is shown here by a few lines that could have come out otherwise. Where a
# lesson treats one at length, it is named.

# %%
import math
from fractions import Fraction

import numpy as np
from lesson import dataset, measured, rng, save, seed, trained_cnn

from minadv import fgsm, grad, iterative_fgsm, jsma, ops, plotting, to_numpy
from minadv.attacks.evolution import differential_evolution
from minadv.evaluation import accuracy, outcomes, predict
from minadv.losses import cross_entropy

d = dataset()
model = trained_cnn()
x, y = d.x_test[:300], to_numpy(d.y_test[:300])
pixels = to_numpy(x)

# %% [markdown]
# ## Kind 1: arithmetic
#
# **A7** states $\hat y = 0.27$ for a logistic regression, and then 0.69 after the
# attack. Put the printed $W$ and $x$ in, with $\varepsilon = 0.4$ (lesson 1):
#
# $$\hat y = \sigma(W \cdot x), \qquad \sigma(z) = \frac{1}{1 + e^{-z}}. \tag{17.1}$$

# %%
W, v = np.array([1.0, 3, -1, 2, 2, 3]), np.array([1.0, -1, 2, 0, 3, -2])
first, second = (1 / (1 + np.exp(-W @ z)) for z in (v, v + 0.4 * np.sign(W)))
measured("A7", "ŷ before the attack", first, stated="0.27", form=".3f")
measured("A7", "ŷ after it", second, stated="0.69", form=".2f")
slip = 1 / (1 + np.exp(1))  # which z gives the printed number?
assert abs(second - 0.69) < 0.005
assert abs(first - 0.27) > 0.2
assert abs(slip - 0.27) < 0.005

# %% [markdown]
# The second number is right, so the data were not misprinted. The first is
# $\sigma(-1)$, and $W \cdot x = -4$. The lesson of the example becomes stronger: the
# attack starts from 1.8 %, not from 27 %.
#
# **A2** counts the color images of 32 by 32 pixels as $255^{32 \cdot 32 \cdot 3}
# \approx 10^{7400}$. A byte has 256 values. Powers this large are best compared by
# their logarithms.

# %%
powers = {n: 32 * 32 * 3 * math.log10(n) for n in (255, 256)}
for n, power in powers.items():
    measured("A2", f"log₁₀ of {n}³⁰⁷²", power, stated="7400", form=".0f")
assert 10 ** math.floor(powers[256]) < 256**3072 < 10 ** math.ceil(powers[256])
assert 5 < powers[256] - powers[255] < 6
assert max(powers.values()) < 7399

# %% [markdown]
# The slip of 1 in 256 makes a factor of 160,000, and the conclusion (random images are
# the rule) does not depend on it at all.
#
# ## Kind 2: words
#
# Some slips are of the pen, and no experiment is needed. **A1** writes $\frac12 \lVert
# \hat y - y_i \rVert^2$ for a loss that it calls $L(\hat y, y_j)$; one index is meant.
# The introduction of **A** says that a perturbed cat is classified as a cat; the iguana
# of its figure is meant. **E7** says that DeepFool's $f_k$ are class labels; they are
# class *scores*, whose gradients $w_k$ are taken in the next line (lesson 7). **D10**
# speaks of a divergence "between clean and corresponding adversarial sample". Its
# figure shows that between an input and its own reconstruction, and a detector has
# nothing else (lesson 14). **B7** says that adversarial training is "valid only when
# the adversarial examples are crafted on the original model". Lesson 11 measures both
# ways: crafting on the model as it trains is the one that holds.
#
# Other words have consequences. **B1** calls targeted attacks "type 1" and untargeted
# ones "type 2". In statistics these are the names of *false positives* and *false
# negatives*. Are the two questions one? Then an untargeted attack would make errors of
# one kind only. Ask "is it a two?" (lesson 2):

# %%
strong = fgsm(model, x, y=y, eps=0.3)
errors = outcomes(y == 2, to_numpy(strong.label) == 2)
clean_errors = outcomes(y == 2, to_numpy(predict(model, x)) == 2)
for name, o in (("clean", clean_errors), ("untargeted attack", errors)):
    measured("B1", f"false negatives, {name}", o.false_negatives, form=".0f")
    measured("B1", f"false positives, {name}", o.false_positives, form=".0f")
assert errors.false_negatives > clean_errors.false_negatives + 5
assert errors.false_positives > clean_errors.false_positives + 5

# %% [markdown]
# One untargeted attack, and many errors of both kinds.
#
# **E4** says that the sign of the gradient $g$ is the direction of steepest ascent. By
# Hölder and Cauchy-Schwarz (lesson 2), the steepest direction is
#
# $$\arg\max_{\lVert r \rVert_\infty \le 1} g \cdot r = \mathrm{sign}(g), \qquad
# \arg\max_{\lVert r \rVert_2 \le 1} g \cdot r = g / \lVert g \rVert_2. \tag{17.2}$$
#
# So what share of the steepest rise does the sign have, for one Euclidean length?
#
# $$\frac{g \cdot \mathrm{sign}(g)}{\lVert \mathrm{sign}(g) \rVert_2 \, \lVert g
# \rVert_2} = \frac{\lVert g \rVert_1}{\sqrt{n} \, \lVert g \rVert_2}, \qquad n \text{
# the number of } g_i \ne 0. \tag{17.3}$$

# %%
g = to_numpy(grad(lambda z: cross_entropy(model(z), y).sum(), x), dtype=float)
g = g.reshape(len(x), -1)
sign = np.sign(g)
share = (g * sign).sum(axis=1) / (
    np.linalg.norm(sign, axis=1) * np.linalg.norm(g, axis=1)
)
measured(
    "E4", "the sign's share of the steepest rise, L2", np.median(share), form=".0%"
)
formula = abs(g).sum(axis=1) / np.sqrt((g != 0).sum(axis=1)) / np.linalg.norm(g, axis=1)
np.testing.assert_allclose(share, formula, rtol=1e-6)
assert np.median(share) < 0.9

# %% [markdown]
# **E2** says that its noise comes from `randn`, and its code draws uniformly. The two
# differ in the only thing that the frame asks of noise: that it stays within
# $\varepsilon$. Does a normal draw of deviation $\varepsilon$ or a uniform one?

# %%
draws = {
    "normal": 0.1 * rng(1).standard_normal(100_000),
    "uniform": rng(1).uniform(-0.1, 0.1, 100_000),
}
beyond = {name: float((abs(r) > 0.1).mean()) for name, r in draws.items()}
for name, share in beyond.items():
    measured("E2", f"{name} noise beyond ±0.1", share, form=".1%")
assert 0.3 < beyond["normal"] < 0.33  # 2 (1 - Φ(1)) = 31.7 %
assert beyond["uniform"] == 0

# %% [markdown]
# ## Kind 3: guarantees that rounding breaks
#
# **C1** guarantees $|x^*_i - x^0_i| \le \varepsilon$. In real numbers that is proved in
# (4.3). A computer adds in float32, where $x + \varepsilon s$ is rounded to the nearest
# number with 24 binary digits. Two different things happen, and it is easy to take one
# for the other:
#
# - the *sum* is rounded, and may end outside by half a unit in its last place;
# - $\varepsilon = 0.1$ itself is no float32. The nearest one is larger by $1.5 \cdot
#   10^{-9}$. So a step from exactly 0, whose sum is exact, ends beyond 0.1 too.
#
# Separate them: count in exact fractions, once with the float32 next to 0.1 as the
# bound, and once with 0.1 as Python has it.

# %%
step = np.float32(0.1)
naive = pixels + step * np.sign(to_numpy(g, dtype=np.float32)).reshape(pixels.shape)
moved = np.flatnonzero((naive != pixels) & (naive > 0) & (naive < 1))  # not clipped
some = rng(2).choice(moved, 5000)


def broken(z, bound):
    """Which of the pixels ``some`` are further than ``bound`` from x, exactly."""
    pairs = zip(z.ravel()[some].tolist(), pixels.ravel()[some].tolist(), strict=True)
    return np.array([abs(Fraction(a) - Fraction(b)) > bound for a, b in pairs])


by_sum = broken(naive, Fraction(float(step)))
by_both = broken(naive, Fraction(0.1))
black = pixels.ravel()[some] == 0
kept = broken(to_numpy(fgsm(model, x, y=y, eps=0.1).x_adv), Fraction(0.1))
measured("C1", "pixels beyond the float32 next to 0.1", by_sum.mean(), form=".0%")
measured("C1", "pixels beyond the double 0.1", by_both.mean(), form=".0%")
measured(
    "C1", "of the black pixels, beyond the float32", by_sum[black].mean(), form=".0%"
)
measured(
    "C1", "of the black pixels, beyond the double", by_both[black].mean(), form=".0%"
)
assert by_sum[~black].mean() > 0.2
assert by_sum[black].mean() == 0  # 0 + ε is exact
assert by_both[black].mean() == 1  # and yet beyond the double
assert not kept.any()

# %% [markdown]
# The rounding of the sum breaks the bound for a good part of the pixels that are not
# black, and for none that are. The rest of the violations are a choice: which
# $\varepsilon$ is meant. All are smaller than $10^{-7}$. They harm nobody, but a test
# `abs(x_adv - x).max() <= eps` fails or passes by them. The library's `fgsm` keeps the
# bound as real numbers (lesson 4 has the details).
#
# **C1** also has sign ∈ {−1, 1}. But sign(0) = 0, and a gradient *is* 0 where every
# ReLU on the way is off. **B5** adds $\varepsilon$ and does not clip.

# %%
where_zero = float((g == 0).mean())
outside = float(((naive < 0) | (naive > 1)).mean())
measured("C1", "pixels whose gradient is exactly 0", where_zero, form=".1%")
measured("B5", "pixels outside [0, 1] without clipping", outside, form=".0%")
assert outside > 0.15
off = np.sign(grad(lambda z: ops.relu(z).sum(), np.array([-1.0, 2.0])))
assert off.tolist() == [0, 1]

# %% [markdown]
# **B5** also takes the gradient from softmax outputs. Its size is $1 - p_y = 1 / (1 +
# e^m)$ for the margin $m$ (lesson 2). In float32, $1 - p_y$ is a difference of rounded
# numbers, as Figure 17.1 shows.

# %%
margins = np.arange(0.0, 31.0)
scores = np.stack([margins, np.zeros(31)], axis=1).astype(np.float32)
through_softmax = 1 - to_numpy(ops.softmax(scores))[:, 0]
from_logits = -to_numpy(
    grad(lambda z: cross_entropy(z, np.zeros(31, int)).sum(), scores)
)[:, 0]
exact = 1 / (1 + np.exp(margins))
np.testing.assert_allclose(from_logits, exact, rtol=1e-5)
gone = int(margins[through_softmax == 0].min())
measured("B5", "margin from which the gradient is 0", gone, form=".0f")
assert 15 < gone < 19
figure = plotting.curves(
    {
        "from the logits": (margins, from_logits),
        "through the softmax": (
            margins[through_softmax > 0],
            through_softmax[through_softmax > 0],
        ),
    },
    xlabel="margin m",
    ylabel="size of the gradient",
)
figure.axes[0].set_yscale("log")
save(
    figure,
    "saturation",
    alt="Two lines that fall together on a log axis; the one through the softmax ends "
    "at a margin of about 17, the one from the logits goes on",
    caption=f"One derivative, computed in two ways in float32. Through the softmax it "
    f"is exactly 0 from the margin {gone} on, which a log axis cannot show.",
)

# %% [markdown]
# ## Kind 4: code that does something else
#
# **D5**'s code takes the argmax of its saliency map, also where the map is all zero
# because no pixel is admissible. The argmax of zeros is pixel 0, so its loop changes
# that pixel again and again. A correct JSMA stops (lesson 6 has the loop). Give it an
# image that is all white, where no pixel can be raised.

# %%
twos = x[(y == 2) & (to_numpy(predict(model, x)) == 2)][:20]
white = np.ones_like(to_numpy(twos[:1]))  # no pixel can be raised any more
stuck = jsma(model, white, target=6, theta=1.0, steps=20)
changed = int((to_numpy(stuck.x_adv) != white).sum())
usual = jsma(model, twos, target=6, theta=1.0, steps=20)
changed_twos = (to_numpy(usual.x_adv) != to_numpy(twos)).sum(axis=(1, 2, 3))
print(f"JSMA changes {changed} pixels of the white image, and of the twos", end=" ")
print(f"{changed_twos.min()} to {changed_twos.max()}")
assert changed == 0
assert changed_twos.min() > 0

# %% [markdown]
# **D6**'s code minimizes the probability of `target_y`, also with `targeted=True`,
# where it should grow. Write both objectives down, and follow each with gradient steps:
# the sign is the difference between an attack and its opposite.

# %%
sixes = np.full(len(twos), 6)


def share_of_six(model_input):
    return to_numpy(ops.softmax(model(model_input)))[:, 6]


down = iterative_fgsm(model, twos, y=sixes, eps=0.3, steps=10).x_adv  # minimizes p₆
up = iterative_fgsm(model, twos, target=6, eps=0.3, steps=10).x_adv  # maximizes p₆
p6 = {
    name: float(share_of_six(z).mean())
    for name, z in (("clean", twos), ("minimized", down), ("maximized", up))
}
for name, p in p6.items():
    measured("D6", f"mean probability of a six, {name}", p, form=".1%")
assert p6["maximized"] > 0.5
assert p6["minimized"] < 0.05

# %% [markdown]
# **D6** also says rand/1 in its equation, and calls SciPy, whose default is best/1.
# The first starts each step at a random candidate, the second at the best one. Is that
# the same algorithm? Minimize a bowl and a landscape with many valleys.


# %%
def bowl(p):
    return (p**2).sum(axis=1)


def valleys(p):
    """Rastrigin's function: the lowest of many valleys is at 0."""
    return (p**2 - 10 * np.cos(2 * np.pi * p) + 10).sum(axis=1)


def reached(function, strategy, start):
    how = {"population": 60, "generations": 40, "rng": seed(start)}
    bounds = [(-5, 5)] * 5
    found = differential_evolution(function, bounds, strategy=strategy, **how)
    return float(found.history[-1])


for name, function in (("bowl", bowl), ("valleys", valleys)):
    best = {
        s: np.median([reached(function, s, k) for k in range(5)])
        for s in ("rand1", "best1")
    }
    for s, value in best.items():
        measured("D6", f"lowest value found, {name}, {s}", value)
    if name == "bowl":
        assert best["best1"] < 0.1 * best["rand1"]

# %% [markdown]
# On the bowl they differ by a large factor. "Differential evolution was used" does not
# say what was done. **D6** further takes `z / 256` for whole $z < 256$, so white is
# never reached, and lets SciPy draw row 28 of 0 to 27 (lesson 8).
#
# **E5**'s code computes `Y` and then uses `y`. It would raise a `NameError`, which is
# the best kind of error: it is seen at once. Its call `fgm(i1, adv_x)` passes no
# network.
#
# **E6**'s loop is `while yt == y or i < max_iter`, and `i` is never increased. Suppose
# it is. Then `or` still runs the whole budget although the image is fooled early, and
# goes on for ever if it never is; `and` is meant. (For a target even the comparison
# must be turned around.) How many steps would that waste?

# %%
budget, size = 20, 0.02
z, read, done = x, to_numpy(predict(model, x)), np.full(len(x), budget)
for i in range(budget):
    done = np.where(read != y, np.minimum(done, i), done)
    step = fgsm(model, z, y=y, eps=size)  # no projection, as in document E
    z, read = step.x_adv, to_numpy(step.label)
needless = 1 - done.mean() / budget
measured("E6", f"needless steps of {budget} with `or`", needless, form=".0%")
assert needless > 0.15

# %% [markdown]
# **E6** says that PGD "also goes by I-FGSM". What does the projection change? Steps of
# $\alpha$ without it may go as far as $T \alpha$. The loop above made 20 steps of 0.02.
# Compare with the attack whose $\varepsilon$ is five of these steps.

# %%
far = np.abs(to_numpy(z) - pixels)
ended = float(far.reshape(len(x), -1).max(axis=1).mean())
ball = iterative_fgsm(model, x, y=y, eps=5 * size, steps=budget)
measured("E6", "largest change of a pixel, no projection", ended, form=".2f")
left = {
    "no projection": accuracy(model, z, y),
    "ε = 0.1": accuracy(model, ball.x_adv, y),
}
for name, share in left.items():
    measured("E6", f"accuracy after 20 steps, {name}", share, form=".0%")
assert ended > 2 * 5 * size
assert left["no projection"] < left["ε = 0.1"] - 0.05

# %% [markdown]
# Without the projection the attack looks stronger. It plays by other rules.
#
# ## Summary
#
# A printed number can be checked in a line, and the check often tells where it came
# from. Words such as targeted, steepest or noise have definitions, and each wrong one
# makes a measurable difference. A bound that is proved for real numbers must be
# measured in floating point, with the rounding of the sum and that of $\varepsilon$
# kept apart. Code is what it does: read the sign of the objective, the condition of the
# loop and the default of the library.
#
# ## Exercises
#
# Each of these texts has one error. Find it, and write two lines that show it.
#
# **17.1** "A softmax of the logits (2, 1, 0) gives 66.5 %, 24.5 % and 9.0 %. Doubling
# all logits doubles the odds of the first class against the second."
#
# **17.2** "The attack fooled 90 % of the 1,000 test images, so the robust accuracy is
# 10 %." (One attack was run, FGSM.)
#
# **17.3** "A change of $\varepsilon = 0.1$ in every one of 784 pixels has the Euclidean
# length 0.1."
#
# **17.4** `x_adv = np.clip(x + eps * np.sign(g), x - eps, x + eps)`, "which is a legal
# image within $\varepsilon$ of x".
#
# **17.5** `def robust(model, x, y): return (predict(model, pgd(other, x, y=y,
# eps=0.1).x_adv) == y).mean()`, "the robust accuracy of model".
#
# **17.6** (open) Find an error in these lessons, and report it with two lines that show
# it.
#
# ## Read on
#
# - N. Carlini and others: *On evaluating adversarial robustness*, 2019,
#   arXiv:1902.06705: a checklist for readers and authors.
# - F. Tramèr, N. Carlini, W. Brendel, A. Madry: *On adaptive attacks to adversarial
#   example defenses*, 2020, arXiv:2002.08347.
# - D. Goldberg: *What every computer scientist should know about floating-point
#   arithmetic*, ACM Computing Surveys 23, 1991, doi:10.1145/103162.103163.
