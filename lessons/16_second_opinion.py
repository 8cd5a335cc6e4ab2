# %% [markdown]
# # A second opinion
#
# Mirrors: D11.
#
# Ask another model, one of another kind: if the two disagree about an image, something is wrong with it. The document
# suggests a network of radial basis functions for the other, because these are "somewhat immune". Are they? And does it
# help?

# %%
import numpy as np
from lesson import compare, dataset, on_mnist, save, trained, trained_cnn, trained_mlp, trained_vae

from minadv import Adam, asarray, fgsm, models, ops, plotting, to_numpy
from minadv.attacks.pgd import pgd
from minadv.defenses.detection import Detector, Guarded, reconstruction_score
from minadv.defenses.rbf import RBF, disagreement, rbf_network
from minadv.evaluation import accuracy, accuracy_curve, confidence, predict

d = dataset()
model = trained_cnn()
held_out = d.x_test[0::2]  # clean images to set thresholds with
every = 50 if on_mnist() else 2
x, y = d.x_test[1::every], d.y_test[1::every]  # and others to judge them on

# %% [markdown]
# ## A unit that knows where it lives
#
# A linear unit $w \cdot x + b$ answers the louder the further $x$ lies on its side, no matter whether anything was ever
# seen there. A radial basis function answers only near its center $c$,
#
# $$\phi(x) = e^{-\gamma \lVert x - c \rVert^2},$$
#
# with 1 at $c$ and practically 0 a few widths $1 / \sqrt\gamma$ away. The network: a hundred of them, around training
# images to begin with, and one linear layer on top. Centers and widths are trained like all weights.

# %%
center, points = asarray([[0.0, 0.0], [3.0, 4.0]]), asarray([[0.0, 0.0], [3.0, 0.0]])
np.testing.assert_allclose(
    to_numpy(RBF(center, gamma=0.1)(points)), np.exp(-0.1 * np.array([[0, 5**2], [3**2, 4**2]]))
)

centers, how = (
    (500, {"epochs": 10, "batch_size": 128})
    if on_mnist()
    else (100, {"epochs": 20, "batch_size": 32})
)
rbf = trained(
    "rbf",
    rbf_network(d.x_train, centers=centers),
    d.x_train,
    d.y_train,
    optimizer=Adam(0.01),
    **how,
)
both = {"convolutions": model, "RBF": rbf}
for name, f in both.items():
    print(f"{name:13} accuracy {accuracy(f, x, y):.1%}")
assert accuracy(rbf, x, y) > 0.9

# %% [markdown]
# Now leave the digits: from each one walk in a random direction, $x + t\,r$, far beyond what an image may be. Along a
# straight line a ReLU network ends up linear in $t$; so the gap between its logits keeps growing, and it becomes
# *sure*. The radial basis functions fall silent one after the other, until only the biases of the last layer speak: the
# same answer everywhere, and not a sure one.

# %%
r = asarray(np.random.default_rng(0).uniform(-0.5, 0.5, x.shape).astype(x.dtype))
t = np.array([0, 0.5, 1, 2, 4, 8, 16], x.dtype)
walk = {
    name: [float(confidence(f, x + far * r).mean()) for far in t.tolist()]
    for name, f in both.items()
}
print("t            ", *(f"{far:5g}" for far in t))
for name, sure in walk.items():
    print(f"{name:13}", *(f"{share:5.0%}" for share in sure))
lines = {name: (t, sure) for name, sure in walk.items()}
figure = plotting.curves(
    lines, xlabel="t", ylabel="mean confidence", percent=True, title="Away from the digits"
)
save(
    figure,
    "walk",
    alt="Confidence against t: that of the convolutions is high to the end, that of the RBF network falls to a floor",
)
assert walk["convolutions"][-1] > 0.8
np.testing.assert_allclose(walk["RBF"][-1], float(ops.softmax(rbf[-1].bias).max()), atol=0.01)

# %% [markdown]
# ## Somewhat immune? (D11)
#
# FGSM on each of the two, by its own gradient. "Somewhat" is the right word: the accuracy holds out a little longer.
# And where it is lost, the radial basis functions stay less sure of their mistakes than the convolutions.

# %%
epsilons = np.array([0, 0.05, 0.1, 0.15, 0.2, 0.3])


def under_fgsm(f):
    """Accuracy and confidence of ``f`` on images made with its own gradient."""
    return accuracy_curve(f, lambda eps: fgsm(f, x, y=y, eps=eps), y, epsilons)


white_box = {name: under_fgsm(f) for name, f in both.items()}
print("ε                       ", *(f"{eps:5g}" for eps in epsilons))
for name, curve in white_box.items():
    print(f"{name:13} accuracy  ", *(f"{share:5.0%}" for share in curve.accuracy))
    print(f"{'':13} confidence", *(f"{share:5.0%}" for share in curve.confidence))
figure = plotting.epsilon_curves(white_box, title="Each under its own FGSM")
save(
    figure,
    "immune",
    alt="Left, accuracy against ε: both fall. Right, confidence: that of the RBF network ends far lower",
)
left = {name: 1 - float(pgd(f, x, y=y, eps=0.1).success.mean()) for name, f in both.items()}
measured = f"{left['RBF']:.0%} withstand PGD with ε = 0.1, of the CNN {left['convolutions']:.0%}"
compare("D11", "RBF networks and adversarial samples", "somewhat immune", measured)
assert white_box["RBF"].confidence[-1] < white_box["convolutions"].confidence[-1]
assert white_box["RBF"].accuracy[-1] < 0.5

# %% [markdown]
# ## Two who disagree
#
# "If the prediction label and confidence between these networks have high mismatch, the input might be adversarial."
# Label and confidence together: $KL(p \Vert q)$ of the classifier's probabilities $p$ from the second opinion's $q$.
# The threshold as in lesson 14: 5 % false alarms on held-out clean images.
#
# Does it take an RBF network? For comparison, two other second opinions: the network of document B, and a *twin*, the
# same convolutions trained from other initial weights. And the autoencoder of lesson 14.

# %%
how = {"batch_size": 256, "epochs": 5} if on_mnist() else {"batch_size": 32, "epochs": 20}
twin = trained("twin", models.cnn(d.x_train.shape[1:], rng=1), d.x_train, d.y_train, **how)
seconds = {"RBF network": rbf, "document B's network": trained_mlp(), "twin": twin}
scores = {name: disagreement(model, f) for name, f in seconds.items()} | {
    "autoencoder": reconstruction_score(trained_vae(8))
}
detectors = {
    name: Detector.calibrated(score, held_out, false_positive_rate=0.05)
    for name, score in scores.items()
}

sizes = (0.05, 0.1, 0.15, 0.2, 0.3)
attacks = {eps: fgsm(model, x, y=y, eps=eps) for eps in sizes}
detected = {
    name: [float(guard(a.x_adv)[a.success].mean()) for a in attacks.values()]
    for name, guard in detectors.items()
}
print("detected, FGSM with ε =", *(f"{eps:5g}" for eps in sizes), "  false alarms")
for name, rates in detected.items():
    print(
        f"{name:22}",
        *(f"{rate:5.0%}" for rate in rates),
        f"  {float(detectors[name](x).mean()):.1%}",
    )
lines = {name: (np.array(sizes), rates) for name, rates in detected.items()}
figure = plotting.curves(
    lines,
    xlabel="ε of FGSM",
    ylabel="successes detected",
    percent=True,
    title="Four guards, 5 % false alarms each",
)
save(
    figure,
    "guards",
    alt="Share of attacks detected against ε: that of the autoencoder rises, those of second opinions fall in the end",
)

# %% [markdown]
# As the attack gets cruder, the autoencoder gets better, and in the end the second opinions get worse. Why? Because
# adversarial examples transfer (D1), and large perturbations do so best: the second model makes the same mistake, and
# two who are wrong alike agree. So the second should differ from the first as much as it can; the twin falls deepest.

# %%
print(
    "share of successful attacks that the second reads as the same wrong digit, ε =",
    *(f"{eps:5g}" for eps in sizes),
)
for name, f in seconds.items():
    same = [float((predict(f, a.x_adv) == a.label)[a.success].mean()) for a in attacks.values()]
    print(f"{name:22}", *(f"{share:5.0%}" for share in same))
    assert same[-1] > same[0]
    assert detected[name][-1] < detected["autoencoder"][-1]
assert detected["RBF network"][-1] > detected["twin"][-1]

# %% [markdown]
# ## An attacker who asks both
#
# As in lesson 14, classifier and guard are one function with one class more, and PGD aims at the next digit. The factor
# $s$ before the guard's excess changes no label, only what the gradient looks at first: a large one makes PGD jump to
# and fro at the threshold, a small one lets it run into the guard. So try several. An image is lost if *any* of the
# attacks finds a way.

# %%
eps, next_digit = 0.2, (y + 1) % 10
guard = detectors["RBF network"]
alone = pgd(model, x, target=next_digit, eps=eps)
unseen = float((alone.success & ~guard(alone.x_adv)).mean())
print(
    f"PGD, ε = {eps}, on the classifier alone: {float(alone.success.mean()):.1%} reach the next digit, {unseen:.1%} unseen by the guard"
)
lost, found = alone.success & False, {}
for sharpness in (0.1, 1, 10):
    result = pgd(
        Guarded(model, guard, sharpness=sharpness), x, target=next_digit, eps=eps, steps=100
    )
    lost, found[sharpness] = lost | result.success, float(result.success.mean())
    print(f"  on both, s = {sharpness:4}: {found[sharpness]:.1%} reach it unseen")
print(f"  by any of these: {float(lost.mean()):.1%}")
assert lost.mean() > 1.5 * unseen
assert lost.mean() > min(found.values()) + 0.02

# %% [markdown]
# This guard is dearer than the autoencoder: some images hold out, for the attack must convince two models that look at
# different things. But see how much the number depends on how well the attack is made. A defender in a hurry would have
# taken one of these lines and reported it. What a defense is worth is what the *best* attack leaves, and nobody knows
# the best attack; so read every such number, these included, as an upper limit of what it protects.
