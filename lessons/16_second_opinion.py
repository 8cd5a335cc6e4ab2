# %% [markdown]
# # A second opinion
#
# Mirrors: D11.
#
# Before: lesson 4, lesson 12, lesson 14. Minutes: 50.
#
# You will:
#
# - write a layer of radial basis functions and its gradient;
# - see what it says far away from all data, and what a ReLU network says there;
# - judge "somewhat immune" by a strong attack, and look for a masked gradient;
# - detect attacks by the disagreement of two models, and ask which second model it
#   takes;
# - attack both models at once.
#
# Document D closes with two ideas. *Ask another model*, one of another kind: if the two
# disagree about an image, something is wrong with it. A network of radial basis
# functions may be the other one, because these are "somewhat immune". And *look at what
# people look at*, shapes instead of imperceptible signals. In the terms of the frame:
# white box, L∞, untargeted and later targeted.

# %%
import numpy as np
from lesson import (
    by_data,
    dataset,
    measured,
    rng,
    save,
    seed,
    trained,
    trained_cnn,
    trained_mlp,
    trained_vae,
)

from minadv import Adam, asarray, fgsm, grad, models, ops, pgd, plotting, to_numpy
from minadv.defenses.detection import Detector, Guarded, reconstruction_score
from minadv.defenses.rbf import RBF, disagreement, rbf_network
from minadv.evaluation import accuracy, confidence, predict, probabilities
from minadv.losses import margin
from minadv.parallel import asking

d = dataset()
model = trained_cnn()
order = rng(1).permutation(len(d.x_test))
half = len(order) // 2
held_out = d.x_test[order[:half]]  # clean images that set the thresholds
judges = order[half : half + 300]  # and others that judge them
x, y = d.x_test[judges], d.y_test[judges]

# %% [markdown]
# ## A unit that knows where it lives
#
# A linear unit $w \cdot x + b$ answers the louder the further $x$ lies on its side of
# the boundary, no matter whether anything was ever seen there. A *radial basis
# function* answers only near its *center* $c_j$:
#
# $$\phi_j(x) = e^{-\gamma_j \lVert x - c_j \rVert^2}, \qquad \gamma_j > 0. \tag{16.1}$$
#
# It is 1 at the center, and practically 0 a few *widths* $1 / \sqrt{\gamma_j}$ away. By
# the chain rule, with $\nabla_x \lVert x - c \rVert^2 = 2 (x - c)$,
#
# $$\nabla_x \phi_j = -2 \gamma_j \, \phi_j(x) \, (x - c_j), \qquad \nabla_{c_j} \phi_j
# = -\nabla_x \phi_j, \qquad \frac{\partial \phi_j}{\partial \gamma_j} = -\lVert x - c_j
# \rVert^2 \, \phi_j(x). \tag{16.2}$$
#
# The gradient points to the center, and is practically zero where $\phi_j$ is. All
# distances at once take one matrix product,
#
# $$\lVert x - c \rVert^2 = \lVert x \rVert^2 - 2 \, x \cdot c + \lVert c \rVert^2.
# \tag{16.3}$$


# %%
def rbf_by_hand(x, c, gamma):
    squared = (x * x).sum(axis=1)[:, None] - 2 * x @ c.T + (c * c).sum(axis=1)
    return np.exp(-gamma * squared)


def gradient_by_hand(x, c, gamma):
    """(16.2) of the sum of all units: (N, D)."""
    phi = rbf_by_hand(x, c, gamma)
    return (-2 * gamma * phi[:, :, None] * (x[:, None] - c)).sum(axis=1)


points, centers = rng(2).normal(size=(6, 3)), rng(3).normal(size=(4, 3))
layer = RBF(asarray(centers), gamma=0.4)
np.testing.assert_allclose(rbf_by_hand(points, centers, 0.4), to_numpy(layer(points)))
by_library = to_numpy(grad(lambda x: ops.sum(layer(x)), asarray(points)))
np.testing.assert_allclose(gradient_by_hand(points, centers, 0.4), by_library)

# %% [markdown]
# The network: one or two hundred units, around training images to begin with, and one
# linear layer on top. Centers and widths are trained like all weights.

# %%
few = by_data(sample=10000, digits=1437, mnist=20000)
rbf = rbf_network(d.x_train[:few], centers=by_data(sample=200, digits=100), rng=seed())
how = {
    "epochs": by_data(sample=10, digits=20),
    "batch_size": by_data(sample=128, digits=32),
    "optimizer": Adam(by_data(sample=0.02, digits=0.01)),
}
rbf = trained("rbf", rbf, d.x_train[:few], d.y_train[:few], rng=seed(), **how)
both = {"convolutions": model, "RBF": rbf}
for name, f in both.items():
    measured("D11", f"accuracy, {name}", accuracy(f, x, y), form=".1%")
assert accuracy(rbf, x, y) > 0.8

# %% [markdown]
# (The document wishes for a better generalization of RBF networks. The accuracies say
# how much of that wish is left.) Now leave the digits. From each one walk in a random
# direction $r$, to $x + t \, r$, far beyond what an image may be. Along a straight line
# a ReLU network ends up linear in $t$,
#
# $$z(x + t \, r) = u + t \, v \quad \text{for large } t, \tag{16.4}$$
#
# because from some $t$ on no unit is switched on or off any more. So the gaps between
# its logits keep growing, and by the softmax it becomes *sure*. The radial basis
# functions fall silent one after the other, until only the biases $b$ of the last layer
# speak: $z \to b$, the same answer everywhere. Figure 16.1 shows both.

# %%
r = asarray(rng(4).uniform(-0.5, 0.5, x.shape).astype(x.dtype))
t = [0, 0.5, 1, 2, 4, 8, 16, 32]
walk = {
    name: [float(confidence(f, x + x.dtype.type(far) * r).mean()) for far in t]
    for name, f in both.items()
}
silence = float(ops.softmax(rbf[-1].bias).max())
for name, sure in walk.items():
    measured("D11", f"mean confidence at t = 32, {name}", sure[-1], form=".0%")
measured("D11", "confidence of the RBF network's biases", silence, form=".0%")
save(
    plotting.curves(
        {name: (t, sure) for name, sure in walk.items()},
        xlabel="t",
        ylabel="mean confidence",
        percent=True,
    ),
    "walk",
    alt="Confidence against t: that of the convolutions is high at the end, that of "
    "the RBF network falls to a floor",
    caption="Away from the digits, in random directions: the convolutions are sure of "
    "what they never saw. The RBF network says the same everywhere.",
)
assert walk["convolutions"][-1] > 0.8
assert abs(walk["RBF"][-1] - silence) < 0.01
assert walk["RBF"][-1] < walk["convolutions"][-1] - 0.2

# %% [markdown]
# ## Somewhat immune? (D11)
#
# Attack each of the two by its own gradient. FGSM takes one step. PGD takes 20. Figure
# 16.2 shows both attacks on both networks.

# %%
some, labels = x[:100], y[:100]
epsilons = (0.05, 0.1, 0.2)


def left(f, eps, attack):
    """The share of images that no attack turns."""
    if attack == "FGSM":
        return 1 - float(fgsm(f, some, y=labels, eps=eps).success.mean())
    result = pgd(f, some, y=labels, eps=eps, steps=20, rng=seed())
    return 1 - float(result.success.mean())


curves = {}
for name, f in both.items():
    start = accuracy(f, some, labels)
    for attack in ("FGSM", "PGD"):
        shares = [left(f, eps, attack) for eps in epsilons]
        curves[f"{name}, {attack}"] = (0, *epsilons), (start, *shares)
        for eps, share in zip(epsilons, shares, strict=True):
            measured("D11", f"{name} under {attack}, ε = {eps}", share, form=".1%")
save(
    plotting.curves(curves, xlabel="ε", ylabel="accuracy", percent=True),
    "immune",
    alt="Four falling curves of accuracy against epsilon: under PGD both networks "
    "fall to nearly nothing",
    caption="Each network under its own FGSM and its own PGD.",
)
under_pgd = {name: curves[f"{name}, PGD"][1] for name in both}
under_fgsm = {name: curves[f"{name}, FGSM"][1] for name in both}
assert under_pgd["RBF"][-1] < 0.15
assert all(
    under_pgd[name][i] < under_fgsm[name][i] + 0.03 for name in both for i in range(4)
)

# %% [markdown]
# At $\varepsilon = 0.2$ next to nothing is left of either. How immune the RBF network
# looks depends on the attack: one step is a poor judge.
#
# Does the exponential in (16.1) hide the gradient, as the softmax did in lesson 12?
# Apply that lesson's checklist. Are gradients zero? Does an attack with more steps do
# more harm than one step? Does an attack on *another* network do more harm than the
# white box?

# %%
g = to_numpy(grad(lambda x: ops.sum(margin(rbf(x), labels)), some))
zero = float((g == 0).all(axis=(1, 2, 3)).mean())
foreign = pgd(model, some, y=labels, eps=0.1, steps=20, rng=seed(), early_stop=False)
transferred = accuracy(rbf, foreign.x_adv, labels)
measured("D11", "RBF network: gradients that are zero", zero, form=".1%")
measured("D11", "RBF network under PGD on the CNN, ε = 0.1", transferred, form=".1%")
assert zero < 0.01
assert transferred > under_pgd["RBF"][2]

# %% [markdown]
# No sign of a mask: the numbers of PGD may be believed as far as any number of one
# attack.
#
# ## Two who disagree
#
# "If the prediction label and confidence between these networks have high mismatch, the
# input might be adversarial." The KL divergence (14.6) of the classifier's
# probabilities $p$ from the second opinion's $q$ looks at label and confidence at once:
#
# $$\text{score}(x) = \sum_k p_k(x) \, \log \frac{p_k(x)}{q_k(x)}. \tag{16.5}$$


# %%
def score_by_hand(x, second):
    p, q = (to_numpy(probabilities(f, x), dtype=float) for f in (model, second))
    return (p * np.log(p / q)).sum(axis=1)


np.testing.assert_allclose(
    score_by_hand(x, rbf), to_numpy(disagreement(model, rbf)(x)), rtol=0.01, atol=1e-4
)

# %% [markdown]
# The threshold as in lesson 14: 5 % false alarms on clean images, by (14.8).
#
# Does it take an RBF network? For comparison, other second opinions: the network of
# document B; a *twin*, the classifier's own architecture trained anew from another
# start; and the document's second idea, in small. An autoencoder of lesson 14 knows
# shapes and hardly anything else, since it has only eight numbers to draw with. So let
# the second opinion be the classifier's own reading of the *drawing*: what does the
# shape say? And the guard of lesson 14 for a yardstick.

# %%
vae = trained_vae(8)
twin = models.cnn(d.x_train.shape[1:], rng=seed(1))
how = {"epochs": by_data(sample=2, digits=20), "batch_size": 32, "rng": seed(1)}
twin = trained("twin", twin, d.x_train[:few], d.y_train[:few], **how)
seconds = {
    "RBF network": rbf,
    "document B's network": trained_mlp(),
    "twin": twin,
    "reading of the drawing": asking(lambda x: model(vae.reconstruct(x)), model, vae),
}
scores = {name: disagreement(model, f) for name, f in seconds.items()}
scores["autoencoder, lesson 14"] = reconstruction_score(vae)
detectors = {
    name: Detector.calibrated(score, held_out, false_positive_rate=0.05)
    for name, score in scores.items()
}
spread = np.sqrt(0.05 * 0.95 * (1 / len(x) + 1 / half))
sizes = (0.05, 0.1, 0.2, 0.3)
attacks = {eps: fgsm(model, x, y=y, eps=eps) for eps in sizes}
detected, alike = {}, {}
for name, guard in detectors.items():
    alarms = float(guard(x).mean())
    measured("D11", f"false alarms, {name}", alarms, form=".1%")
    assert abs(alarms - 0.05) < 4 * spread
    detected[name] = [float(guard(a.x_adv)[a.success].mean()) for a in attacks.values()]
    for eps, share in zip(sizes, detected[name], strict=True):
        measured("D11", f"detected by {name}, FGSM, ε = {eps}", share, form=".0%")
save(
    plotting.curves(
        {name: (sizes, rates) for name, rates in detected.items()},
        xlabel="ε of FGSM",
        ylabel="successful attacks detected",
        percent=True,
    ),
    "guards",
    alt="Share of attacks detected against epsilon, five curves: "
    + "; ".join(
        f"{name} from {rates[0]:.0%} to {rates[-1]:.0%}"
        for name, rates in detected.items()
    ),
    caption="Five guards with 5 % false alarms each, against FGSM on the classifier.",
)
for name, f in seconds.items():
    alike[name] = [
        float((predict(f, a.x_adv) == a.label)[a.success].mean())
        for a in attacks.values()
    ]
    for eps, share in zip(sizes, alike[name], strict=True):
        measured("D11", f"same wrong digit as {name}, ε = {eps}", share, form=".0%")

# %% [markdown]
# The two kinds of guards age differently, as Figure 16.3 shows. As the attack gets
# cruder, the autoencoder gets better. In the end it beats all of the second opinions.
# Why do the three networks not get better? Adversarial examples *transfer* (lesson 9),
# and large perturbations do so best: the second network makes the same mistake, and two
# that are wrong alike agree. Averaged over the four $\varepsilon$, the twin makes the
# same mistakes most often.

# %%
networks = ("RBF network", "document B's network", "twin")
for name in networks:
    assert alike[name][-1] > alike[name][0] - 0.05
    assert detected[name][-1] < detected["autoencoder, lesson 14"][-1] - 0.2
same = {name: float(np.mean(alike[name])) for name in networks}
assert same["twin"] > max(same["RBF network"], same["document B's network"])
assert (
    detected["reading of the drawing"][-1]
    < detected["autoencoder, lesson 14"][-1] - 0.2
)
assert alike["reading of the drawing"][-1] < alike["twin"][-1] - 0.2
mean = {name: np.mean(rates) for name, rates in detected.items()}
measured(
    "D11",
    "mean of detected: document B's network minus RBF network",
    mean["document B's network"] - mean["RBF network"],
    form="+.0%",
)
assert mean["document B's network"] > mean["RBF network"] - 0.25

# %% [markdown]
# So, does it take an RBF network? No. A plain network of another architecture finds
# about as much, and where the RBF network reads digits less well, more. What counts is
# that the second makes *other* mistakes.
#
# The reading of the drawing shares fewer mistakes than the twin. Shape is a signal of
# its own, as the document hopes. But a guard also needs a second that agrees on *clean*
# images: wherever the drawing shows another digit, the threshold must let the mismatch
# pass. That is why this guard misses many attacks all the same.
#
# ## An attacker who asks both
#
# As in (14.9), classifier and guard become one function with one class more. The factor
# $s$ before the guard's excess changes no label, only what the gradient looks at first.
# A large one makes PGD jump to and fro at the threshold. A small one lets it run into
# the guard. So try several. An image is lost if *any* of the attacks finds a way.

# %%
eps = 0.2
some, next_digit = x[:80], (y[:80] + 1) % 10
guard = detectors["RBF network"]
alone = pgd(model, some, target=next_digit, eps=eps, rng=seed())
unseen = float((alone.success & ~guard(alone.x_adv)).mean())
measured(
    "D11", "PGD on the classifier alone reaches the next digit", alone.success.mean()
)
measured("D11", "and is not seen by the RBF network's guard", unseen, form=".1%")
lost, found = alone.success & False, {}
for sharpness in (0.1, 1, 10):
    pair = Guarded(model, guard, sharpness=sharpness)
    result = pgd(pair, some, target=next_digit, eps=eps, rng=seed())
    assert not bool((result.success & guard(result.x_adv)).any())
    lost = lost | result.success
    found[sharpness] = float(result.success.mean())
    what = f"reach it unseen, attack on both, s = {sharpness}"
    measured("D11", what, found[sharpness], form=".1%")
of_any = float(lost.mean())
measured("D11", "reach it unseen, by any of the three", of_any, form=".1%")
assert of_any > unseen + 0.1
assert of_any >= max(found.values())
assert max(found.values()) > min(found.values()) + 0.02

# %% [markdown]
# Some images hold out, for the attack must convince two models that look at different
# things. But the number depends on how well the attack is made. A defender in a hurry
# would have taken one of these lines and reported it. What a defense is worth is what
# the *best* attack leaves, and nobody knows the best attack. So read every such number,
# these included, as the upper bound of (F.5).
#
# ## Summary
#
# A radial basis function is silent far from its center, so a network of them is unsure
# where nothing was ever seen, while a ReLU network becomes sure. Near the data this
# makes it at most somewhat harder to attack, and a strong attack leaves next to nothing
# at $\varepsilon = 0.2$. Two models that disagree reveal many attacks, but no RBF
# network is needed for that, and models that resemble each other make the same
# mistakes. An attacker who knows of the second opinion asks it, too.
#
# ## Exercises
#
# **16.1** (a line of code) At which distance from the center is $\lVert \nabla_x \phi
# \rVert_2$ largest? Find it on a grid, and by (16.2).
#
# **16.2** (pencil and paper) Show that (16.5) is zero exactly where both models give
# the same probabilities.
#
# **16.3** (a few lines) Which $t$ does the RBF network need in (16.4) until all its
# units are below 0.01? Take the widest unit.
#
# **16.4** (an experiment) Ask *two* second opinions, and sum their scores. Does the sum
# detect more than the better one, at the same rate of false alarms?
#
# **16.5** (an experiment) Exchange $p$ and $q$ in (16.5). Is the promise on false
# alarms kept? Is as much detected?
#
# **16.6** (open) The reading of the drawing hopes for the signals that people use.
# Propose a second opinion that looks at shape and reads clean digits nearly as well as
# the classifier.
#
# ## Read on
#
# - I. Goodfellow, J. Shlens and C. Szegedy, *Explaining and harnessing adversarial
#   examples*, 2014, arXiv:1412.6572, section 7: RBF networks.
# - P. Vidnerová and R. Neruda, *Deep networks with RBF layers to prevent adversarial
#   examples*, 2018: document D's source, DOI 10.1007/978-3-319-91253-0_25.
# - D. Meng and H. Chen, *MagNet: a two-pronged defense against adversarial examples*,
#   2017, arXiv:1705.09064: a classifier on an image and on its drawing.
# - M. Hein, M. Andriushchenko and J. Bitterwolf, *Why ReLU networks yield
#   high-confidence predictions far away from the training data*, 2019,
#   arXiv:1812.05720.
# - F. Tramèr, N. Carlini, W. Brendel and A. Madry, *On adaptive attacks to adversarial
#   example defenses*, 2020, arXiv:2002.08347.
