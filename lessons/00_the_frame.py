# %% [markdown]
# # The frame: what an attack is, and what a number means
#
# Mirrors: C3, D1, D3, E1.
#
# Before: lesson 0, a gradient in forty lines. Minutes: 40.
#
# You will:
#
# - state a threat model: the attacker's goal, knowledge and allowed changes;
# - write attack and defense as one min-max problem;
# - say what success, accuracy under attack and robust accuracy are, and which is which;
# - see that an attack bounds the robust accuracy from above and a proof from below;
# - find the notation of all lessons on one page.

# %%
import numpy as np
from lesson import by_data, dataset, measured, rng, save, seed, trained_cnn, trained_mlp

from minadv import fgsm, pgd, plotting, to_numpy, uniform_noise
from minadv.evaluation import accuracy, predict, robust_accuracy

d, model = dataset(), trained_mlp()
x, y = d.x_test[:500], d.y_test[:500]
eps = by_data(sample=0.1, digits=0.2)
ROWS = "as it is", "random", "attacked"

# %% [markdown]
# ## The phenomenon
#
# Figure F.1 shows some images of handwritten digits. A small number is added to each
# pixel or subtracted from it. In the second row a coin decides which. In the third row
# an attacker who knows the network decides. No pixel changes by more than the same
# number in either row.

# %%
coin = rng().choice([-1.0, 1.0], size=x.shape)
random_signs = np.clip(x + eps * coin, 0, 1).astype(x.dtype)
attacked = pgd(model, x, y=y, eps=eps, rng=seed())
changes = [float(np.abs(z - x).max()) for z in (random_signs, attacked.x_adv)]
np.testing.assert_allclose(changes, eps, rtol=1e-4)

fooled = (
    (predict(model, x) == y) & attacked.success & (predict(model, random_signs) == y)
)
shown = np.flatnonzero(fooled)[:8]
rows = np.concatenate([x[shown], random_signs[shown], attacked.x_adv[shown]])
label = predict(model, rows)
figure = plotting.images(rows, labels=label, columns=len(shown))
for ax, name in zip(figure.axes[:: len(shown)], ROWS, strict=True):
    ax.set_ylabel(name)
save(
    figure,
    "phenomenon",
    alt="Three rows of digits: as they are, under random noise, and under an attack. "
    "The network's labels are the right ones in the first two rows and wrong in the "
    "third",
    caption=f"The number above an image is what the network reads. Top: the images. "
    f"Middle: every pixel moved by {eps} at random. Bottom: every pixel moved by at "
    f"most {eps} by an attacker. (Images with which the attacker succeeded and chance "
    f"did not.)",
)

# %% [markdown]
# ## A threat model has three parts (C3, D3, E1)
#
# Document E says that a threat model sets down what a model is supposed to do and how
# it can be attacked. It then sorts attacks by two questions, as document D does: *black
# box or white box*, and *targeted or untargeted*. That leaves out the most important
# part: what the attacker may change. So a threat model here has three parts. An attack,
# a defense or a number without them has no meaning.
#
# **Goal.** An image $x$ has the true label $y$. The network reads the label $\hat
# y(x)$, the class with the largest score. An *untargeted* attacker wants any other
# label. A *targeted* one wants one particular label $t$:
#
# $$\hat y(x + r) \ne y \qquad \text{or} \qquad \hat y(x + r) = t. \tag{F.1}$$
#
# Here $r$ is the *perturbation*, what the attacker adds. $x_{adv} = x + r$ is the
# *adversarial example*. If (F.1) holds, it is a *success*.
#
# **Knowledge.** In the *white box* the attacker knows the network, weights included,
# and so all gradients. *Black box* is a word for everything less, and the documents do
# not agree on how much less. From most to least:
#
# | the attacker sees | who calls it black box | lessons |
# |---|---|---|
# | probabilities for chosen images | A, D: may query; E: sees no gradients | 8, 9 |
# | only labels for chosen images | A, D, if the label is the output | 9 |
# | nothing, but has data or a stand-in | C: without using the target network | 9 |
# | nothing, and needs nothing | E: no information about the model | 5 |
#
# **Allowed changes.** A set $\Delta(x)$ of perturbations. In most lessons no pixel may
# change by more than $\varepsilon$, and the result must be an image, with pixel values
# from 0 to 1:
#
# $$\Delta(x) = \{ r : |r_i| \le \varepsilon \text{ and } 0 \le x_i + r_i \le 1
# \text{ for all } i \}. \tag{F.2}$$
#
# The largest $|r_i|$ is called $\lVert r \rVert_\infty$, the L∞ size of $r$. All $r$ up
# to a size form a *ball*. Other lessons measure $r$ by another *norm*, a notion of
# size: $\lVert r \rVert_2 = \sqrt{\sum_i r_i^2}$, the Euclidean length; $\lVert r
# \rVert_1 = \sum_i |r_i|$; and $\lVert r \rVert_0$, the number of pixels that change.
# Why a ball and not "what a person would not notice"? Only because a ball can be
# written down.
#
# | lesson | attack | goal | knowledge | allowed changes |
# |---|---|---|---|---|
# | 1, 2 | one step of the gradient's sign | both | white box | L∞ |
# | 3 | forging an image | targeted | white box | any image, at a price |
# | 4 | many steps | both | white box | L∞ |
# | 5 | noise; the negative | untargeted | none needed | L∞; one image |
# | 6 | saliency map | targeted | white box | number of pixels |
# | 7 | DeepFool | untargeted | white box | any, as short as possible |
# | 8 | one pixel | both | probabilities | number of pixels |
# | 9 | queries; a stand-in | both | outputs, or none | L∞ |
#
# Lessons 11 to 16 defend, each against an attacker who is told of the defense.
#
# ## One problem with two players
#
# Let $L(W, x, y)$ be the loss of the network with weights $W$. The attacker picks $r$,
# the defender picks $W$:
#
# $$\min_W \; \mathbb{E}_{(x, y)} \Bigl[ \max_{r \in \Delta(x)} L(W, x + r, y) \Bigr],
# \tag{F.3}$$
#
# with $\mathbb{E}$ for the mean over images and their labels. Read it from the inside.
# The *inner maximum* is the attack: lessons 1 to 10 are ways to solve it. The *outer
# minimum* is training against that attack: lesson 11. Without the inner maximum it is
# ordinary training.
#
# ## What a number means
#
# *Accuracy* is the share of images that are read right. *Robust accuracy* is the share
# that is read right whatever the attacker does within $\Delta$:
#
# $$R = \text{share of } (x, y) \text{ with } \hat y(x + r) = y \text{ for all } r \in
# \Delta(x). \tag{F.4}$$
#
# Nobody can try all $r$. What is measured is the accuracy under *one* attack, or under
# several, where an image is lost if any of them succeeds. An attack that fails on an
# image proves nothing, since a better one may succeed. So
#
# $$\text{share that is proven safe} \; \le \; R \; \le \; \text{accuracy under an
# attack}. \tag{F.5}$$
#
# Both sides are *bounds*. A better attack lowers the right one. A better proof raises
# the left one. "The defense reaches 90 %" is a statement about the right side, and
# often about the attacker's skill.
#
# ### A proof in twelve lines
#
# Let each pixel lie in an interval, with center $c_i$ and half width $s_i$. Then a sum
# $\sum_i w_i x_i + b$ lies in the interval with
#
# $$\text{center } \sum_i w_i c_i + b, \qquad \text{half width } \sum_i |w_i| \, s_i.
# \tag{F.6}$$
#
# And $\max(a, 0)$ of an interval is the interval of the two ends' values, since the
# function never falls. So walk through the network of lesson 0 with intervals instead
# of numbers. If the score of $y$ minus that of every other class has a positive lower
# end, no $r$ in $\Delta$ changes the label. This is *interval bound propagation*.


# %%
def proven_safe(model, x, y, eps):
    """Whether no r of (F.2) changes the label, as far as intervals can tell, (N,)."""
    W1, b1, W2, b2 = (to_numpy(w, dtype=float) for w in model.parameters.values())
    low, high = np.clip(x - eps, 0, 1), np.clip(x + eps, 0, 1)
    low, high = low.reshape(len(x), -1), high.reshape(len(x), -1)
    c, s = (low + high) / 2, (high - low) / 2
    c, s = c @ W1 + b1, s @ np.abs(W1)  # (F.6)
    low, high = np.maximum(c - s, 0), np.maximum(c + s, 0)  # the ReLU
    c, s = (low + high) / 2, (high - low) / 2
    w = W2[None, :, :] - W2.T[y][:, :, None]  # class j minus class y, (N, 128, 10)
    worst = (
        (c[:, :, None] * w + s[:, :, None] * np.abs(w)).sum(axis=1) + b2 - b2[y, None]
    )
    worst[np.arange(len(x)), y] = -np.inf
    return worst.max(axis=1) < 0  # even at worst, every other class stays below y


# %% [markdown]
# Now both sides of (F.5), for several $\varepsilon$. Three attackers bound from above:
# noise, one step (FGSM, lesson 2) and many steps (PGD, lesson 4). Each row takes the
# attacks before it along.

# %%
epsilons = by_data(
    sample=(0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1),
    digits=(0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
)
names = ["under noise", "... and one step", "... and many steps", "proven safe"]
shares = {name: [] for name in names}
overlap = 0
for e in epsilons:
    noise = uniform_noise(x, eps=e, rng=rng(1))
    attacks = [noise, fgsm(model, x, y=y, eps=e), pgd(model, x, y=y, eps=e, rng=seed())]
    safe = proven_safe(model, x, y, e)
    overlap += int((safe & (predict(model, attacks[2].x_adv) != y)).sum())
    bounds = [robust_accuracy(model, x, y, *attacks[: k + 1]) for k in range(3)]
    for name, share in zip(names, [*bounds, safe.mean()], strict=True):
        shares[name].append(float(share))
    print(f"ε = {e:5.3f}: " + ", ".join(f"{n} {s[-1]:.1%}" for n, s in shares.items()))

upper, lower = np.array(shares["... and many steps"]), np.array(shares["proven safe"])
widest = int((upper - lower).argmax())
measured("frame", "images both proven safe and fooled", overlap, form=".0f")
measured(
    "frame", "widest gap between the two bounds", (upper - lower)[widest], form=".1%"
)
assert overlap == 0
assert (lower <= upper).all()
assert lower[0] == upper[0]  # with nothing allowed, both are the accuracy
assert lower[2] > 0.5
assert (upper - lower)[widest] > 0.4
assert shares["under noise"][-1] > upper[-1] + 0.3

figure = plotting.curves(
    {name: (epsilons, share) for name, share in shares.items()},
    xlabel="ε",
    ylabel="share of images",
    percent=True,
)
figure.axes[0].fill_between(epsilons, lower, upper, color="0.85")
save(
    figure,
    "bounds",
    alt="Four falling curves against ε. Noise hardly lowers the accuracy, one step "
    "does, many steps a little more; the share proven safe falls much earlier",
    caption="The robust accuracy lies somewhere in the gray area. Judged by noise "
    "alone the network would look robust.",
)

# %% [markdown]
# In the gray area of Figure F.2 nobody knows. Networks that are trained for it can be
# proven safe for larger $\varepsilon$; see *Read on*.
#
# ## Four properties (D1)
#
# Document D names four attributes of adversarial attacks: imperceptible, targeted,
# transferable, and without an accepted theory. Three of them can be measured, within
# the frame and for the network at hand.
#
# *Imperceptible.* A program cannot see. Two numbers stand in for the eye: how long $r$
# is, compared with $x$, and whether the *nearest training image*, in Euclidean distance
# between the pixels, still shows the true digit.


# %%
def nearest_label(x):
    """The label of the nearest of 5,000 training images, pixel by pixel, (N,)."""
    known = d.x_train[:5000].reshape(len(d.x_train[:5000]), -1)
    flat = x.reshape(len(x), -1)
    squared = (known**2).sum(axis=1) - 2 * flat @ known.T  # and |x|^2, the same for all
    return d.y_train[squared.argmin(axis=1)]


size = float(np.linalg.norm(attacked.perturbation) / np.linalg.norm(x))
before = float((nearest_label(x) == y).mean())
after = float((nearest_label(attacked.x_adv) == y).mean())
network = accuracy(model, attacked.x_adv, y)
measured("D1", "length of the change, relative to the image", size, form=".0%")
measured("D1", "nearest training image has the true label, before", before, form=".1%")
measured("D1", "nearest training image has the true label, after", after, form=".1%")
measured("D1", "the network reads the true label, after", network, form=".1%")
assert after > before - 0.1
assert after > network + 0.5

# %% [markdown]
# Judged by their pixels, nearly all images are still what they were. It is the network
# that sees something else.
#
# *Targeted.* The target is the next digit, $t = y + 1$, and 0 after 9. *Transferable.*
# The images were made with one network, of one hidden layer. A convolutional network
# (document D's, lesson 4) reads them. A single step is used. (Lesson 9 compares it with
# many.) Document D adds that different networks often agree on the wrong label, so that
# is counted too. The yardstick is a coin for each pixel, of the same size.

# %%
cnn = trained_cnn()
target = (y + 1) % 10
told = pgd(model, x, target=target, eps=eps, rng=seed())
hit = float((predict(model, told.x_adv) == target).mean())
chance = float((predict(model, random_signs) == target).mean())
measured("D1", "read as the target", hit, form=".1%")
measured("D1", "read as the target, under random signs", chance, form=".1%")
assert hit > chance + 0.3

step = fgsm(model, x, y=y, eps=eps)
lost = accuracy(cnn, random_signs, y) - accuracy(cnn, step.x_adv, y)
measured(
    "D1", "accuracy of the other network that the transfer costs", lost, form=".1%"
)
by_both = step.success & (predict(cnn, step.x_adv) != y)
agree = float((step.label == predict(cnn, step.x_adv))[by_both].mean())
measured("D1", "the same wrong label, where both are fooled", agree, form=".0%")
assert lost > 0.03
assert agree > 2 / 9  # twice as often as by chance among nine wrong labels

# %% [markdown]
# *Without an accepted theory* cannot be measured. Lesson 1 examines the best known
# attempt, linearity.
#
# ## Notation
#
# | symbol | what it is |
# |---|---|
# | $x$, $x_i$ | an image; one of its $n$ pixel values, from 0 to 1 |
# | $y$, $t$, $\hat y$ | the true label; a target; what the network reads or predicts |
# | $K$ | the number of classes |
# | $W$, $b$ | weights and biases; $W$ alone often means all of them |
# | $z$, $z_j$ | the logits, one score per class, before the softmax |
# | $p$, $p_j$ | the softmax probabilities, $p_j = e^{z_j} / \sum_k e^{z_k}$ |
# | $\sigma(u)$ | the sigmoid, $1 / (1 + e^{-u})$ |
# | $L$ | the loss; by default the cross-entropy $-\log p_y$ |
# | $m$ | the log-odds margin, $\log \frac{p_y}{1 - p_y}$: above 0 if $p_y$ is above ½ |
# | $\nabla_x L$ | the gradient of $L$ with respect to the image |
# | $r$, $x_{adv}$ | the perturbation; the adversarial example $x + r$ |
# | $\varepsilon$, $\Delta$ | largest change of a pixel; set of allowed changes |
# | $T$, $\alpha$ | the number of steps; the size of one (document C: $\eta$) |
# | $\lambda$ | the price of something in a loss |
# | sign, $\odot$ | −1, 0 or 1 for each component; the product by components |
#
# A rule for reading the documents: in A and in lesson 1, $\hat y$ is a probability.
#
# ## Summary
#
# A threat model says what the attacker wants, knows and may change. Attack and defense
# are the two halves of one min-max problem. An attack that is tried bounds the robust
# accuracy from above, a proof bounds it from below, and between them lies what is not
# known. Adversarial examples change the pixels little, can be aimed at a label, and
# fool networks that they were not made for.
#
# ## Exercises
#
# **F.1** (a line of code) Two attacks were run on four images. The first succeeds on
# images 0 and 1, the second on 1 and 3. Image 2 was misread from the start. What is the
# accuracy under both?
#
# **F.2** (words) Give goal, knowledge and allowed changes: (a) stickers on a stop sign,
# so that it is not read as one; (b) a photograph that unlocks another person's phone;
# (c) spam with misspelled words, sent until some of it arrives.
#
# **F.3** (pencil and paper) For a linear model, $z = w \cdot x + b$ with label 1 where
# $z > 0$, show that both sides of (F.5) can be made equal. Check it in code.
#
# **F.4** (an experiment) How does the share proven safe change if the network has more
# hidden units? Train three widths on the digits.
#
# **F.5** (open) A person does not notice that a whole image is shifted by one pixel.
# How large is this change in the L∞ norm? Propose a $\Delta$ that contains it.
#
# ## Read on
#
# - A. Madry, A. Makelov, L. Schmidt, D. Tsipras and A. Vladu, *Towards deep learning
#   models resistant to adversarial attacks*, 2018, arXiv:1706.06083: the min-max
#   problem.
# - N. Carlini and others, *On evaluating adversarial robustness*, 2019,
#   arXiv:1902.06705.
# - S. Gowal and others, *On the effectiveness of interval bound propagation for
#   training verifiably robust models*, 2018, arXiv:1810.12715.
# - C. Szegedy and others, *Intriguing properties of neural networks*, 2013,
#   arXiv:1312.6199.
