# %% [markdown]
# # Saliency maps: few pixels, each by much
#
# Mirrors: D3, D5.
#
# Before: lessons 2 and 4, the frame. Minutes: 60.
#
# You will:
#
# - write the saliency map, and the attack built on it (JSMA), in fifteen lines;
# - derive what becomes of the map when the outputs are probabilities;
# - measure which outputs make the stronger attack;
# - count what an attack costs, by the same rules for both sides.
#
# FGSM changes every pixel a little. Papernot and others (2016) do the opposite. They
# change a handful of pixels, each from black to white, and leave all the others exactly
# as they are. Which ones? The *Jacobian* knows, the matrix of all derivatives of all
# outputs.

# %%
import numpy as np
from lesson import by_data, dataset, measured, save, trained_cnn, trained_mlp
from matplotlib.figure import Figure

from minadv import (
    array_module,
    fgsm,
    iterative_fgsm,
    jacobian,
    jsma,
    ops,
    pgd,
    plotting,
    saliency_map,
    to_numpy,
    vjp,
)
from minadv.attacks.saliency import best_pair, forward_derivative
from minadv.evaluation import predict
from minadv.models import LogisticRegression

d = dataset()
xp = array_module(d.x_test)
model = trained_cnn()
pixels = d.x_test[0].size

# %% [markdown]
# ## Two dimensions (D3)
#
# The frame's table has two dimensions: what the attacker wants, and what it sees.
# Document D's figure says that both make the attack harder: wanting one certain label,
# and not seeing the weights. Test it with one step of FGSM of one size. The white box
# takes the CNN's own gradient. The black box takes the gradient of another network, and
# hopes.

# %%
x, y = d.x_test[:300], d.y_test[:300]
goals = {"untargeted": {"y": y}, "targeted": {"target": (y + 1) % 10}}
reached = {}
for box, source in (("white box", model), ("black box", trained_mlp())):
    for goal, label in goals.items():
        read = predict(model, fgsm(source, x, **label, eps=0.15).x_adv)
        hit = read != y if goal == "untargeted" else read == label["target"]
        reached[box, goal] = float(hit.mean())
        measured("D3", f"success, {box}, {goal}", reached[box, goal], form=".0%")
for box in ("white box", "black box"):
    assert reached[box, "untargeted"] > reached[box, "targeted"] + 0.03
for goal in goals:
    assert reached["white box", goal] > reached["black box", goal] + 0.01

# %% [markdown]
# ## The map (D5)
#
# Let $F_j(x)$ be output $j$ of the model and $t$ the target. Document D's code takes
# the logits for $F$, so take them first. (Its text says "gradient of loss". Its
# equation and its code differentiate the outputs.) Write for pixel $i$
#
# $$\alpha_i = \frac{\partial F_t}{\partial x_i}, \qquad \beta_i = \sum_{j \ne t}
# \frac{\partial F_j}{\partial x_i}. \tag{6.1}$$
#
# A pixel is worth raising if that helps the target, $\alpha_i \ge 0$, and taken
# together hurts the others, $\beta_i \le 0$. The *saliency* is the product of the two
# effects:
#
# $$S(x, t)[i] = \begin{cases} 0 & \text{if } \alpha_i < 0 \text{ or } \beta_i > 0, \\
# \alpha_i \, |\beta_i| & \text{otherwise.} \end{cases} \tag{6.2}$$
#
# Take four pixels, three classes and the affine model $F = xW$, whose Jacobian is $W$
# itself. The target is the last class.


# %%
def saliency(alpha, beta):
    """(6.2), pixel by pixel."""
    return xp.where((alpha < 0) | (beta > 0), 0, alpha * abs(beta))


W = np.array(
    [
        [-2.0, -1.0, 2.0],  # pixel 0 helps the target, hurts both others
        [0.5, 0.5, 4.0],  # pixel 1 helps the target most, but the others, too
        [-3.0, -1.0, -1.0],  # pixel 2 hurts all
        [-2.0, 1.0, 3.0],  # pixel 3 hurts the others, taken together
    ]
)
gray = np.full((1, 4), 0.5)
J = jacobian(lambda x: x @ W, gray)[0]  # (3 classes, 4 pixels)
np.testing.assert_allclose(J, W.T)
alpha, beta = J[2], J[0] + J[1]
print("S =", saliency(xp.asarray(alpha), xp.asarray(beta)).tolist())
assert saliency_map(alpha, beta).tolist() == [6, 0, 0, 3]
np.testing.assert_allclose(
    to_numpy(saliency(xp.asarray(alpha), xp.asarray(beta))), [6, 0, 0, 3]
)

# %% [markdown]
# ## The attack (D5)
#
# JSMA, the Jacobian-based saliency map attack, raises the pixel of the highest saliency
# by $\theta = 1$, so to white. Then it computes the map again. It stops when the label
# is the target, when no pixel is admissible any more, or when the budget is used up:
# document D allows 50 pixels. (Of the small digits' 64 pixels, 16.) A pixel that is
# white already cannot be raised.


# %%
def jsma_by_hand(model, x, t, budget, others="all"):
    """D5 for one image (1, H, W, 1): the adversarial image, and the steps taken."""
    z, e_t = x.copy(), np.eye(10, dtype=x.dtype)[t]
    for k in range(budget + 1):
        logits, pull = vjp(model, z)  # pull(v): the gradient of Σ_j v_j F_j, a row each
        label = int(logits.argmax())
        if label == t or k == budget:
            break
        # The sum in (6.1) is the gradient of a sum. (Document D's code: see below.)
        v = 1 - e_t if others == "all" else np.eye(10, dtype=x.dtype)[label] - e_t
        alpha, beta = (pull(xp.asarray(w)[None]).reshape(-1) for w in (e_t, v))
        S = saliency(alpha, beta) * (z.reshape(-1) < 1)  # (6.2)
        if not S.any():
            break
        z.reshape(-1)[int(S.argmax())] = 1
    return z, k


twos = d.x_test[(d.y_test == 2) & (predict(model, d.x_test) == 2)][:30]
budget = by_data(sample=50, digits=16)
how = {"target": 6, "theta": 1.0, "gamma": budget / pixels}
logits = jsma(model, twos, outputs="logits", pairs=False, **how)
same = 0
for n in range(10):
    z, k = jsma_by_hand(model, twos[n : n + 1], 6, budget)
    library = jsma(model, twos[n : n + 1], outputs="logits", pairs=False, **how)
    same += bool((z == library.x_adv).all()) and k == int(library.steps[0])
print(f"the same pixels as in minadv for {same} of 10 twos")
assert same >= 9  # where two pixels all but tie, rounding decides
assert int(logits.l0.max()) <= budget

# %% [markdown]
# ## Logits or probabilities?
#
# Equation (6.2) does not say what $F$ is. Logits have a flaw. Add one and the same
# function $c(x)$ to all logits. The softmax does not change, so no probability and no
# prediction changes. But every $\partial F_j / \partial x_i$ grows by $\partial c /
# \partial x_i$, and the map becomes another one. So the map of the logits depends on
# something that nobody can observe.

# %%
_, _, beta = forward_derivative(model, twos, 6, outputs="logits")
C = float(abs(beta).max()) + 1


def shifted(x):
    """The same classifier: C times the sum of all pixels is added to all ten logits."""
    return model(x) + C * ops.sum(ops.reshape(x, (-1, pixels)), axis=1, keepdims=True)


first, admissible = {}, {}
for name, f in (("model", model), ("shifted", shifted)):
    for outputs in ("logits", "probabilities"):
        S = saliency_map(*forward_derivative(f, twos, 6, outputs=outputs)[1:])
        S = S.reshape(len(twos), -1)
        first[name, outputs] = S.argmax(axis=1)
        admissible[name, outputs] = float((S > 0).mean())
agree = float((predict(shifted, x) == predict(model, x)).mean())
same = first["model", "probabilities"] == first["shifted", "probabilities"]
print(f"the two classifiers give the same label for {agree:.1%} of the images")
measured("D5", "pixels admissible, logits", admissible["model", "logits"], form=".0%")
measured("D5", "the same, shifted", admissible["shifted", "logits"], form=".0%")
measured("D5", "first pixel unchanged, probabilities", same.mean(), form=".0%")
assert agree > 0.99  # rounding: the shift is large
assert admissible["model", "logits"] > 0.01
assert admissible["shifted", "logits"] == 0
assert same.mean() > 0.85

# %% [markdown]
# With probabilities for $F$ the map becomes simpler. Let $z_j$ be the logits and $F_j =
# e^{z_j} / \sum_k e^{z_k}$ the softmax. Take the logarithm, $\log F_j = z_j - \log
# \sum_k e^{z_k}$, and differentiate both sides by $x_i$:
#
# $$\frac{\partial F_j}{\partial x_i} = F_j \Bigl( \frac{\partial z_j}{\partial x_i} -
# \sum_k F_k \frac{\partial z_k}{\partial x_i} \Bigr). \tag{6.3}$$
#
# Probabilities add up to 1, so their derivatives add up to 0:
#
# $$\sum_j \frac{\partial F_j}{\partial x_i} = 0 \quad \Rightarrow \quad \beta_i =
# \sum_{j \ne t} \frac{\partial F_j}{\partial x_i} = -\alpha_i. \tag{6.4}$$
#
# The two conditions of (6.2) are now one, and the map collapses to a square:
#
# $$S(x, t)[i] = \alpha_i^2 \text{ if } \alpha_i > 0, \text{ else } 0. \tag{6.5}$$
#
# The log-odds $m = \log F_t - \log(1 - F_t)$ have the derivative
#
# $$\frac{\partial m}{\partial x_i} = \frac{\alpha_i}{F_t} + \frac{\alpha_i}{1 - F_t} =
# \frac{\alpha_i}{F_t (1 - F_t)}. \tag{6.6}$$
#
# The factor is the same for all pixels. So $(\partial m / \partial x_i)^2$ ranks the
# pixels as (6.5) does. It needs one gradient instead of ten. And it does not vanish
# where the softmax saturates (lesson 2). That is `jsma`'s default. Check (6.3) to (6.6)
# in double precision. Figure 6.1 shows both maps.

# %%
two = twos[:1]
dz = to_numpy(jacobian(model, two), dtype=float).reshape(10, pixels)
z = to_numpy(model(two), dtype=float)[0]
F = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
dF = F[:, None] * (dz - F @ dz)  # (6.3)
_, dm, _ = forward_derivative(model, two, 6)  # outputs="probabilities" is ∇m
by_66 = dF[6] / (F[6] * (F.sum() - F[6]))
scale = abs(by_66).max()
np.testing.assert_allclose(dF.sum(axis=0), 0, atol=1e-12)  # (6.4)
np.testing.assert_allclose(to_numpy(dm).ravel(), by_66, atol=1e-4 * scale)
alpha_now, beta_now = dF[6], dF.sum(axis=0) - dF[6]
np.testing.assert_allclose(
    to_numpy(saliency_map(alpha_now, beta_now)), np.maximum(dF[6], 0) ** 2, atol=1e-12
)
print(f"|∂F_6| is at most {abs(dF[6]).max():.0e}, |∂m| is up to {scale:.1f}")
assert abs(dF[6]).max() < scale / 10

# %%
_, alpha, beta = forward_derivative(model, two, 6, outputs="logits")
maps = {
    "of the logits, (6.2)": saliency_map(alpha, beta) * (two < 1),
    "of the log-odds, (∂m)²": saliency_map(dm, -dm) * (two < 1),
}
figure = Figure(figsize=(8.4, 3), layout="compressed")
axes = figure.subplots(1, 3)
axes[0].imshow(to_numpy(two)[0, ..., 0], cmap="gray", vmin=0, vmax=1)
axes[0].set_title("the two")
for ax, (name, S) in zip(axes[1:], maps.items(), strict=True):
    S = to_numpy(S)[0, ..., 0]
    drawn = ax.imshow(S / S.max(), cmap="cividis", vmin=0, vmax=1)
    row, column = np.unravel_index(S.argmax(), S.shape)
    look = {"marker": "s", "markerfacecolor": "none", "markeredgecolor": "red"}
    ax.plot(column, row, markersize=9, markeredgewidth=2, **look)
    ax.set_title(f"map {name}")
for ax in axes:
    ax.set(xticks=[], yticks=[])
figure.colorbar(drawn, ax=axes, shrink=0.8, label="share of the largest")
save(
    figure,
    "maps",
    alt="A two, and two saliency maps of it, dark except for a few bright patches, one "
    "pixel framed in each",
    caption="A two and its saliency for the target 6, of the logits and of the "
    "log-odds, each divided by its largest value. The frame marks the pixel that is "
    "raised first.",
)
for S in maps.values():
    assert 0 < float((S > 0).mean()) < 0.6

# %% [markdown]
# ## Which is stronger?
#
# Both attack the same twos with the same budget. (Figure 6.2 shows ten of them, by the
# log-odds.) *Pairs* is the paper's own version: it raises two pixels per step, those
# whose sums $\alpha_p + \alpha_q$ and $\beta_p + \beta_q$ have the highest saliency.
# What one pixel spoils, the other may repair. So there may be an admissible pair where
# no single pixel is admissible:

# %%
a, b = np.array([[3.0, -1.0, 0.5]]), np.array([[1.0, -3.0, 2.0]])  # α, β
pair, value = best_pair(a, b)
print(f"alone {saliency_map(a, b)[0].tolist()}, pair {sorted(pair[0].tolist())}")
assert not saliency_map(a, b).any()
assert sorted(pair[0].tolist()) == [0, 1]
assert value[0] == (3 - 1) * abs(1 - 3)

# %%
attacks = {
    "logits": logits,
    "logits, pairs": jsma(model, twos, outputs="logits", **how),
    "log-odds": jsma(model, twos, pairs=False, **how),
    "log-odds, pairs": jsma(model, twos, **how),
}
rate = {}
for name, r in attacks.items():
    rate[name] = float(r.success.mean())
    said = "high" if name == "logits" else ""
    measured("D5", f"twos read as 6, {name}", rate[name], stated=said, form=".0%")
    if r.success.any():
        few = np.median(to_numpy(r.l0)[to_numpy(r.success)])
        measured("D5", f"pixels changed by a success, median, {name}", few, form=".0f")
    assert int(r.l0.max()) <= budget
assert min(rate["log-odds"], rate["log-odds, pairs"]) > by_data(sample=0.4, digits=0.08)
assert rate["log-odds"] >= rate["logits"]
gain = rate["log-odds"] - rate["logits"]
pairs = [rate[f"{name}, pairs"] - rate[name] for name in ("logits", "log-odds")]
assert by_data(sample=gain > max(0.1, *np.abs(pairs)), digits=True)

best = attacks["log-odds"]
figure = plotting.attack_figure(
    type(best)(twos[:10], best.x_adv[:10], best.label[:10], best.success[:10], None),
    model,
    title=f"JSMA by the log-odds, 2 → 6, at most {budget} pixels",
)
save(
    figure,
    "twos_to_sixes",
    alt="Three rows of ten images: twos, the few pixels that are raised, and the sums, "
    "twos with white specks",
    caption="JSMA towards 6 by the log-odds. Above each image: how it is read, and the "
    f"confidence. Of all {len(twos)} twos {rate['log-odds']:.0%} become sixes.",
)

# %% [markdown]
# On 784 pixels the log-odds win clearly. The sum over nine other logits, $\beta$, gives
# as much weight to a class that is out of the race as to the one that leads. The
# log-odds weigh each class by its probability, by (6.3). Single pixels or pairs make
# less of a difference.
#
# ## At what price?
#
# Document D: JSMA changes far fewer pixels than FGSM, but at a higher cost. Count the
# cost in gradients per image, since seconds depend on the machine. The rules must be
# the same for both. Each may stop at its first success. Iterated FGSM that may stop is
# PGD without a random start, with steps of $\varepsilon / 10$. JSMA by the log-odds
# needs one gradient per step. So does FGSM. (Document D's code takes no such stop. It
# asks for ten rows of the Jacobian, fifty times, so for 500 gradients, whatever the
# image.)

# %%
eps = by_data(sample=0.2, digits=0.4)
stops = pgd(
    model, twos, target=6, eps=eps, alpha=eps / 10, steps=50, random_start=False
)
full = iterative_fgsm(model, twos, target=6, eps=eps, steps=50)
rows = {"JSMA": best, "FGSM, may stop": stops, "FGSM, 50 steps": full}
print(f"{'medians of all':16} read as 6  gradients  pixels    L2    L∞")
cost, changed = {}, {}
for name, r in rows.items():
    sizes = (np.median(to_numpy(s)) for s in (r.steps, r.l0, r.l2, r.linf))
    cost[name], changed[name], l2, linf = sizes
    share = float(r.success.mean())
    print(
        f"{name:16} {share:9.0%} {cost[name]:10.1f} {changed[name]:7.0f}"
        f" {l2:5.2f} {linf:5.2f}"
    )
fewer = changed["JSMA"] / changed["FGSM, may stop"]
dearer = cost["JSMA"] / cost["FGSM, may stop"]
measured("D5", "pixels, JSMA over FGSM", fewer, stated="far fewer", form=".2f")
measured("D5", "gradients, JSMA over FGSM", dearer, stated="higher", form=".1f")
assert fewer < 0.3
assert by_data(sample=dearer > 1.5, digits=dearer > 0.3)

# %% [markdown]
# So the document is right about both on 784 pixels. The price is what one expects: JSMA
# needs about one gradient for each pixel that it changes. On 64 pixels it changes so
# few that the costs are close. Whether a few white specks are "far less detectable"
# than a little change everywhere, as the document has it, Figures 6.2 and 4.1 let you
# judge. Each norm has its own idea of small.
#
# ## The code's first difference: which sum?
#
# Where (6.2) has the sum over all $j \ne t$, document D's code has `grad_other`
# $= \partial F_{pred} - \partial F_t$ for $\beta$, with $pred$ the predicted class. So
# it asks only that the target gains on the class that leads. That is another map. Is it
# a worse attack?

# %%
ten = twos[:10]
won = {"equation": int(logits.success[:10].sum()), "code": 0}
for n in range(10):
    z, _ = jsma_by_hand(model, ten[n : n + 1], 6, budget, others="leader")
    won["code"] += int(predict(model, z)[0]) == 6


def map_of_the_code(z):
    """The saliency of each pixel (N, D), with the code's term in place of the sum."""
    logits, pull = vjp(model, z)
    rows = np.eye(10, dtype=z.dtype)
    e_t, e_label = rows[np.full(len(z), 6)], rows[to_numpy(logits.argmax(axis=1))]
    alpha, beta = (pull(xp.asarray(v)) for v in (e_t, e_label - e_t))
    return (saliency(alpha, beta) * (z < 1)).reshape(len(z), -1)


_, alpha, beta = forward_derivative(model, ten, 6, outputs="logits")
by_sum = (saliency(alpha, beta) * (ten < 1)).reshape(10, -1).argmax(axis=1)
other = float((by_sum != map_of_the_code(ten).argmax(axis=1)).mean())
measured("D5", "of ten twos, read as 6 by the equation", won["equation"], form=".0f")
measured("D5", "of ten twos, read as 6 by the code's map", won["code"], form=".0f")
measured("D5", "twos whose first pixel is another one", other, form=".0%")
assert won["code"] >= won["equation"] - 1
assert other > 0.05

# %% [markdown]
# It is not worse. The class that leads is the one to overtake, and the code looks at it
# alone. So the "high success rate" that document D observed is that of its code. On 784
# pixels, the equation with logits does not reach it.
#
# ## The code's second difference: the largest of zeros
#
# `argmax` of an all-zero map is 0. So where no pixel is admissible, the code raises
# pixel 0, the upper left corner. That is the rule, not the exception. As soon as the
# target *is* the predicted class, `grad_other` is $\partial F_t - \partial F_t = 0$ and
# the map is all zero. The loop does not stop on success, and so it whitens the corner
# of each image that it has won.

# %%
z = ten.copy()
for _ in range(budget):  # as in the code: the whole budget, no question asked
    highest = map_of_the_code(z).argmax(axis=1)
    z.reshape(10, -1)[xp.arange(10), highest] = 1
is_six = predict(model, z) == 6
corner = (z != ten)[:, 0, 0, 0]
print(f"read as 6: {int(is_six.sum())}, with a white corner: {int(corner.sum())}")
if is_six.any():
    spoiled = float(corner[is_six].mean())
    measured("D5", "of those the code wins, with a white corner", spoiled, form=".0%")
    assert spoiled > 0.6

# %% [markdown]
# `jsma` stops an example on success, and where nothing is admissible. In this model
# every pixel speaks against the target. The code's rule would whiten pixel 0 all the
# same, and take the image *further* from the target.

# %%
against = LogisticRegression(np.array([-1.0, -2.0, -0.5]))
gray = xp.full((1, 3), 0.5)
_, alpha, beta = forward_derivative(against, gray, 1)
stopped = jsma(against, gray, target=1, gamma=1)
print(f"saliency {to_numpy(saliency_map(alpha, beta))[0].tolist()}")
print(f"argmax: pixel {int(saliency_map(alpha, beta).argmax())}, changed by jsma: none")
assert not saliency_map(alpha, beta).any()
assert int(stopped.l0[0]) == 0
assert not bool(stopped.success[0])

# %% [markdown]
# ## Summary
#
# The saliency map ranks pixels by how much raising them helps the target and hurts the
# other classes. JSMA raises the best pixel, computes the map again, and stops on
# success, on an empty map, or at its budget. With probabilities the map collapses to
# the square of one gradient, that of the log-odds, which no one can shift and which
# makes the stronger attack. JSMA changes far fewer pixels than FGSM and pays for it
# with about one gradient per pixel.
#
# ## Exercises
#
# **6.1** (a line of code) Turn JSMA around: lower white pixels with $\theta = -1$.
# Which signs in (6.2) change? Compare with `jsma(theta=-1)`.
#
# **6.2** (pencil and paper) Two classes with the logits $(0, z)$. Show that with logits
# for $F$ the map (6.2) is zero everywhere for either target, and with probabilities it
# is not.
#
# **6.3** (a few lines) Find the best pair of pixels by trying all pairs, for the map of
# one small digit. Compare with `best_pair`.
#
# **6.4** (an experiment) JSMA spends one pixel per gradient. Spend $k$ at once, the $k$
# best of one map. How do success and the number of pixels depend on $k$?
#
# **6.5** (open) Make the specks less visible: let a pixel be raised only where the
# image is already bright nearby. What does that cost in pixels?
#
# ## Read on
#
# - N. Papernot, P. McDaniel, S. Jha, M. Fredrikson, Z. B. Celik and A. Swami, *The
#   limitations of deep learning in adversarial settings*, 2016, arXiv:1511.07528.
# - N. Carlini and D. Wagner, *Towards evaluating the robustness of neural networks*,
#   2017, arXiv:1608.04644.
# - K. Simonyan, A. Vedaldi and A. Zisserman, *Deep inside convolutional networks:
#   visualising image classification models and saliency maps*, 2014, arXiv:1312.6034.
