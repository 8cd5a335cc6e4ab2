# %% [markdown]
# # Detection: does this look like anything seen before?
#
# Mirrors: D10, A6.
#
# Before: lesson 4, lesson 6, the frame. Minutes: 60.
#
# You will:
#
# - derive the loss of a variational autoencoder, and write it in ten lines;
# - set a threshold whose rate of false alarms is promised, whatever the scores are;
# - see a guard catch nearly all of the attacks that it was tried on;
# - tell the attacker about the guard, and see what is left;
# - build a small SafetyNet, whose gradient is zero, and go around that.
#
# The classifier stays as it is, and a guard stands before it. The guard knows clean
# images. What looks unlike them raises the alarm. In the terms of the frame: white box,
# L∞, untargeted first and targeted later; first the attacker is not told of the guard,
# then they are.

# %%
import numpy as np
from lesson import (
    by_data,
    dataset,
    measured,
    rng,
    save,
    seed,
    slider,
    trained_cnn,
    trained_vae,
)

from minadv import asarray, fgsm, grad, jsma, ops, pgd, plotting, to_numpy
from minadv.attacks.deepfool import deepfool
from minadv.autograd import raw
from minadv.defenses.detection import (
    Detector,
    Guarded,
    divergence,
    reconstruction_score,
    threshold_at,
)
from minadv.defenses.vae import negative_elbo
from minadv.evaluation import accuracy, auc, predict, roc_curve
from minadv.parallel import asking

d = dataset()
model = trained_cnn()
vaes = {latent: trained_vae(latent) for latent in (2, 8)}
order = rng(1).permutation(len(d.x_test))  # clean images: some set the thresholds
half = len(order) // 2
held_out = d.x_test[order[:half]]
judges = order[half : half + 500]  # and others judge them
x, y = d.x_test[judges], d.y_test[judges]

# %% [markdown]
# ## An autoencoder that draws what it knows (D10)
#
# Imagine how an image comes about: first a few numbers $z$, drawn from the normal
# distribution $p(z) = N(0, I)$; then the image $x$, drawn from a distribution $p(x \mid
# z)$ that a network, the *decoder*, computes from $z$. A good decoder makes the
# training images likely, so it has a large
#
# $$\log p(x) = \log \int p(x \mid z) \, p(z) \, dz. \tag{14.1}$$
#
# Almost all $z$ have nothing to do with a given $x$, so this integral is hopeless to
# sample. A second network, the *encoder*, therefore proposes the $z$ that fit $x$: a
# normal distribution $q(z) = N(\mu, \sigma^2)$ whose mean $\mu$ and standard deviation
# $\sigma$ are computed from $x$, one of each per number. Multiply and divide by it:
#
# $$\log p(x) = \log \mathbb{E}_{z \sim q} \left[ \frac{p(x \mid z) \, p(z)}{q(z)}
# \right] \ge \mathbb{E}_{z \sim q} \left[ \log p(x \mid z) + \log \frac{p(z)}{q(z)}
# \right]. \tag{14.2}$$
#
# The step is Jensen's inequality: the logarithm is concave, so the logarithm of a mean
# is at least the mean of the logarithms. The mean of $\log (q / p)$ under $q$ is called
# the *Kullback-Leibler divergence* of $q$ from $p$. So
#
# $$-\log p(x) \le \underbrace{\mathbb{E}_{z \sim q} [-\log p(x \mid
# z)]}_{\text{reconstruction}} + \underbrace{KL(q \,\Vert\, N(0, I))}_{\text{order}}
# =: L(x). \tag{14.3}$$
#
# Minus the right side is the *evidence lower bound*, ELBO. For normal distributions the
# second term is an integral that can be done on paper:
#
# $$KL(N(\mu, \sigma^2) \,\Vert\, N(0, I)) = \tfrac12 \sum_k \left( \mu_k^2 +
# \sigma_k^2 - 1 - \log \sigma_k^2 \right). \tag{14.4}$$
#
# It pulls all the $q$ towards one place around 0, so that few holes stay between them.
# In the first term each pixel is a coin that the decoder's output $\hat x_i$ is the
# bias of, and
#
# $$-\log p(x \mid z) = -\sum_i [x_i \log \hat x_i + (1 - x_i) \log (1 - \hat x_i)].$$
#
# One problem is left. The mean over $z \sim q$ is to be differentiated by $\mu$ and
# $\sigma$, which decide how $z$ is drawn. *Reparameterize*: draw $\epsilon \sim N(0,
# I)$, which depends on nothing, and put
#
# $$z = \mu + \sigma \epsilon, \qquad \nabla_\mu \mathbb{E}_\epsilon [f(\mu + \sigma
# \epsilon)] = \mathbb{E}_\epsilon [f'(\mu + \sigma \epsilon)], \qquad \nabla_\sigma
# \mathbb{E}_\epsilon [f] = \mathbb{E}_\epsilon [f' \epsilon]. \tag{14.5}$$
#
# Now $z$ is a function of $\mu$ and $\sigma$ like any other, and one draw per image
# gives an unbiased gradient. The encoder here has two convolutions of stride 2 with 16
# and 32 filters, 64 hidden units, and a linear layer that gives $\mu$ and $\log
# \sigma^2$. The decoder runs the same way back, with transposed convolutions, and ends
# in a sigmoid. Both were trained together on the clean training images, by Adam. Here
# is the whole loss, by hand and by the library:


# %%
def vae_loss(vae, x, epsilon):
    encoded = vae.encoder(x)
    mu, log_var = encoded[:, : vae.latent], encoded[:, vae.latent :]
    z = mu + np.exp(0.5 * log_var) * epsilon
    drawn = to_numpy(vae.decode(z), dtype=float).clip(1e-12, 1 - 1e-12)
    pixels = x * np.log(drawn) + (1 - x) * np.log(1 - drawn)
    order = 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).sum(axis=1)
    return -pixels.sum(axis=(1, 2, 3)) + order


few = to_numpy(x[:50])
epsilon = rng(2).standard_normal((len(few), 2)).astype(few.dtype)
library = vaes[2].apply(vaes[2].parameters, x[:50], rng(2))  # draws the same epsilon
by_hand = to_numpy(vae_loss(vaes[2], few, epsilon))
by_library = to_numpy(negative_elbo(library, x[:50]))
np.testing.assert_allclose(by_hand, by_library, rtol=1e-3)

# %% [markdown]
# Is (14.2) true of this network? The mean in the middle can be estimated: many draws
# from $q$ for one image, weighted by $p / q$. That estimates $\log p(x)$ from below,
# and the more closely the more draws there are. And (14.4) must agree with the mean of
# $\log(q / p)$ over the draws.

# %%
draws = 200
encoded = to_numpy(vaes[2].encoder(few[:10]), dtype=float)
mu, sigma = encoded[:, :2], np.exp(0.5 * encoded[:, 2:])
epsilon = rng(3).standard_normal((draws, 10, 2))
z = mu + sigma * epsilon  # (draws, images, 2)
log_prior = -0.5 * (z**2).sum(axis=2)  # both without the same constant, log 2π
log_q = -0.5 * (epsilon**2).sum(axis=2) - np.log(sigma).sum(axis=1)
drawn = to_numpy(
    vaes[2].decode(asarray(z.reshape(-1, 2).astype(few.dtype))), dtype=float
)
drawn = drawn.reshape(draws, 10, *few.shape[1:]).clip(1e-12, 1 - 1e-12)
pixels = few[:10] * np.log(drawn) + (1 - few[:10]) * np.log(1 - drawn)
weight = pixels.sum(axis=(2, 3, 4)) + log_prior - log_q  # log of p(x|z) p(z) / q(z)
top = weight.max(axis=0)
log_p = top + np.log(np.exp(weight - top).mean(axis=0))
elbo = pixels.sum(axis=(2, 3, 4)).mean(axis=0)
elbo -= 0.5 * (mu**2 + sigma**2 - 1 - np.log(sigma**2)).sum(axis=1)
by_chance = (weight.mean(axis=0) - elbo).mean()  # (14.4) minus the mean over draws
gap = (log_p - elbo).mean()
measured("D10", "KL divergence by (14.4) minus its mean over draws, nats", by_chance)
measured("D10", "log p(x), estimated, minus its lower bound, nats", gap)
assert abs(by_chance) < 0.2
assert gap > 0.1

# %% [markdown]
# Figure 14.1 walks over the plane of the $z$. On the page, its slider moves the first
# number, and the ten images side by side are ten values of the second.

# %%
steps = np.linspace(-2, 2, 10, dtype=np.float32)
plane = asarray(np.stack(np.meshgrid(steps, steps), axis=-1).reshape(100, 2))
walk = np.linspace(-2, 2, 33, dtype=np.float32)
rows = [np.stack([np.full_like(steps, first), steps], axis=1) for first in walk]
drawn = [vaes[2].decode(asarray(row)) for row in rows]  # each of ten images
slider(
    "plane",
    [
        np.concatenate(list(to_numpy(images)), axis=1).repeat(2, 0).repeat(2, 1)
        for images in drawn
    ],
    [f"{first:.3g}" for first in walk],
    [
        "From left to right read as "
        + ", ".join(map(str, to_numpy(predict(model, images))))
        + "."
        for images in drawn
    ],
    symbol="first number",
    label="first number of the latent plane",
    still=plotting.mosaic(vaes[2].decode(plane)),
    alt="A mosaic of ten by ten blurred digits that change smoothly into one another",
    caption="What two numbers can say: the first goes from −2 to 2 from left to "
    "right, the second from top to bottom.",
)

# %% [markdown]
# ## What it makes of an attack
#
# FGSM fools the classifier. The autoencoder redraws what FGSM made. Does the classifier
# do better on the drawing? Figure 14.2 shows some.

# %%
eps = 0.2
attacked = fgsm(model, x, y=y, eps=eps)
bad = to_numpy(attacked.success)  # what the classifier falls for


def behind(vae):
    """The classifier, shown what ``vae`` makes of an image."""
    # `asking` names the models inside, so that all cores are used
    return asking(lambda x: model(vae.reconstruct(x)), model, vae)


direct = accuracy(model, attacked.x_adv, y)
redrawn = {}
for latent, vae in vaes.items():
    redrawn[latent] = {
        "clean": accuracy(behind(vae), x, y),
        "attacked": accuracy(behind(vae), attacked.x_adv, y),
    }
    for name, share in redrawn[latent].items():
        stated = "21.8 %" if (latent, name) == (2, "attacked") else ""
        what = f"accuracy on drawings from {latent} numbers, {name}"
        measured("D10", what, share, stated=stated, form=".1%")
measured("D10", "accuracy on adversarial inputs", direct, stated="9.5 %", form=".1%")
assert redrawn[2]["attacked"] > direct + 0.05
assert all(share["clean"] > share["attacked"] + 0.1 for share in redrawn.values())

rows = {"clean": x[:10], f"FGSM {eps}": attacked.x_adv[:10]}
rows |= {f"from {n}": vae.reconstruct(attacked.x_adv[:10]) for n, vae in vaes.items()}


def in_rows(rows):
    """Rows of images with the classifier's reading above each, and the rows' names."""
    pixels = np.concatenate([to_numpy(row) for row in rows.values()])
    columns = len(pixels) // len(rows)
    labels = predict(model, asarray(pixels))
    figure = plotting.images(pixels, labels=labels, columns=columns)
    for ax, name in zip(figure.axes[::columns], rows, strict=False):
        ax.set_ylabel(name)
    return figure


save(
    in_rows(rows),
    "redrawn",
    alt="Four rows of ten digits: clean, noisy after the attack, and two rows of "
    "blurred drawings, not all of them right",
    caption="Clean, attacked, and the attacked images redrawn from 2 and from 8 "
    "numbers. The number above an image is what the classifier reads.",
)

# %% [markdown]
# Redrawing helps a little, and its price is high: clean images, too, are drawn as other
# digits, more often from two numbers than from eight.
#
# Document D expects the low accuracy, because the attack is to fool the autoencoder,
# too. If it fooled it *as* it fooled the classifier, the drawing would show the label
# that the classifier saw. Does it?

# %%
shown = predict(behind(vaes[2]), attacked.x_adv)
shares = {
    "the truth": shown == y,
    "the classifier's mistake": shown == attacked.label,
    "a third digit": (shown != y) & (shown != attacked.label),
}
shares = {name: float(part[bad].mean()) for name, part in shares.items()}
for name, share in shares.items():
    measured(
        "D10", f"drawings of successful attacks that show {name}", share, form=".0%"
    )
assert shares["the classifier's mistake"] < 0.6
assert shares["a third digit"] > 0.15

# %% [markdown]
# Some drawings do, but not most. Many show a third digit. So the autoencoder is not
# fooled as the classifier is. It is confused by the pattern in a way of its own.
#
# ## A score
#
# The document measures the mismatch by a KL divergence. For two lists of positive
# numbers that add up to 1 it is
#
# $$KL(p \,\Vert\, q) = \sum_i p_i \log \frac{p_i}{q_i} \ge 0. \tag{14.6}$$
#
# An image becomes such a list if each pixel is divided by the sum of all: a
# distribution of ink. Let $p$ be the input and $q$ the drawing. (Plus 0.0001 per pixel,
# so that ink where the drawing is black does not cost infinitely much.)


# %%
def ink_divergence(image, drawing):
    p, q = (
        to_numpy(a, dtype=float).reshape(len(a), -1) + 1e-4 for a in (image, drawing)
    )
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    return (p * np.log(p / q)).sum(axis=1)


np.testing.assert_allclose(
    ink_divergence(x, vaes[2].reconstruct(x)),
    to_numpy(divergence(x, vaes[2].reconstruct(x))),
    rtol=2e-3,
)

# %% [markdown]
# The document's last sentence on it speaks of the divergence "between clean and
# corresponding adversarial sample". A guard could not compute that, since it never sees
# the clean image. The document's own figure and code compare an input with *its own*
# drawing, and so does this lesson.
#
# ## A threshold with a promise
#
# Where does the alarm begin? Do not look at attacks for it: the next one will be
# another. Fix the price instead, the share $\alpha$ of *clean* images that are stopped
# for nothing. Let $s_1, \ldots, s_n$ be the scores of $n$ clean images that nothing was
# trained on, and $s_{n+1}$ that of the next clean image. If all come from one source in
# no particular order (they are *exchangeable*), then each of the $n + 1$ ranks is
# equally likely for the last one:
#
# $$P(\text{rank of } s_{n+1} = k) = \frac{1}{n + 1}, \qquad k = 1, \ldots, n + 1.
# \tag{14.7}$$
#
# Let $s_{(r)}$ be the $r$-th smallest of the first $n$. The new score can exceed it
# only with a rank above $r$. There are $n + 1 - r$ of these, so
#
# $$P(s_{n+1} > s_{(r)}) \le \frac{n + 1 - r}{n + 1} = 1 - \frac{r}{n + 1}. \tag{14.8}$$
#
# (Less if scores tie.) Take the smallest $r$ for which this is at most $\alpha$. That
# is a *conformal* threshold. Nothing was assumed about how scores are distributed.


# %%
alpha = 0.05


def threshold_by_hand(scores, alpha):
    n = len(scores)
    r = int(np.ceil((1 - alpha) * (n + 1)))
    return np.sort(scores)[r - 1]


guards = {}
for latent, vae in vaes.items():
    score = reconstruction_score(vae)
    guards[latent] = Detector.calibrated(score, held_out, false_positive_rate=alpha)
    scores = to_numpy(guards[latent].scores(held_out))
    assert threshold_by_hand(scores, alpha) == guards[latent].threshold
guard = guards[2]
false_alarms = {latent: float(each(x).mean()) for latent, each in guards.items()}
deviation = np.sqrt(alpha * (1 - alpha) * (1 / len(x) + 1 / len(held_out)))
for latent, share in false_alarms.items():
    measured("D10", f"false alarms, guard of {latent} numbers", share, form=".1%")
    assert alpha - 4 * deviation < share < alpha + 4 * deviation

# %% [markdown]
# One run is one draw from (14.7). To test the promise itself, shuffle all clean test
# images 500 times, set the threshold with one half, and count false alarms in the
# other. And what if the threshold is set with *training* images? They are not
# exchangeable with the next one, because the autoencoder has seen them.

# %%
scores = {
    "unseen": to_numpy(guards[8].scores(d.x_test)),
    "training": to_numpy(guards[8].scores(d.x_train[: len(d.x_test)])),
}
rates = {"unseen": [], "training": []}
for shuffle in range(500):
    new = rng(100 + shuffle).permutation(scores["unseen"])
    known = {"unseen": new[:half], "training": scores["training"]}
    for name, used in known.items():
        rates[name].append((new[half:] > threshold_at(used, alpha)).mean())
for name, share in rates.items():
    what = f"false alarms, threshold set with {name} images, mean of 500"
    measured("D10", what, np.mean(share), form=".2%")
assert abs(np.mean(rates["unseen"]) - alpha) < 0.006
broken = np.mean(rates["training"]) > np.mean(rates["unseen"]) + 0.003
assert by_data(sample=broken, digits=broken, mnist=True)
assert np.std(rates["unseen"]) < 2 * np.sqrt(alpha * (1 - alpha) * 2 / half)

# %% [markdown]
# With training images the promise has no ground. How far it is broken depends on how
# well the autoencoder knows them: clearly after several passes through ten thousand
# images or fewer, hardly or not at all after one pass through sixty thousand.
#
# ## What it catches
#
# Figure 14.3 shows the scores. The document finds clean images from 0 to 0.3 and
# adversarial ones from 0.3 to 1.0. Its scale is not comparable with this one: it does
# not say how an image becomes a distribution. What can be compared is that the two
# separate.

# %%
scores = {
    "clean": guard.scores(x),
    f"FGSM, ε = {eps}": guard.scores(attacked.x_adv[bad]),
}
scores = {name: to_numpy(values) for name, values in scores.items()}
for name, values in zip(("clean", "attacked"), scores.values(), strict=True):
    measured("D10", f"median score, {name}, nats", np.median(values))
caught = float(guard(attacked.x_adv)[bad].mean())
measured("D10", "adversarial images detected", caught, stated="99 to 100 %", form=".1%")
assert caught > 0.85
save(
    plotting.histogram(
        scores,
        threshold=guard.threshold,
        xlabel="KL divergence of the input from its drawing, nats",
    ),
    "histogram",
    alt="Two humps: most clean images left of the threshold, most adversarial ones "
    "right of it",
    caption=f"The guard's score on {len(x)} clean images and on {bad.sum()} "
    f"successful attacks. The dotted line is the threshold for 5 % false alarms.",
)

# %% [markdown]
# A threshold trades false alarms for attacks that are missed. The *ROC curve* in Figure
# 14.4 goes through all thresholds. The area under it is the probability that an
# adversarial image scores higher than a clean one, counted over all pairs.

# %%
lines, areas, counts = {}, {}, []
clean_scores = to_numpy(guard.scores(x))
for size in (0.05, 0.1, eps):
    weaker = fgsm(model, x, y=y, eps=size)
    hit = to_numpy(guard.scores(weaker.x_adv[weaker.success]))
    roc = roc_curve(clean_scores, hit)
    areas[size] = (hit[:, None] > clean_scores).mean()
    assert abs(areas[size] - auc(clean_scores, hit)) < 1e-4  # ties count one half
    measured("D10", f"area under the ROC curve, FGSM, ε = {size}", areas[size])
    name = f"ε = {size}, {len(hit)} attacks"
    lines[name] = 100 * roc.false_positive_rate, 100 * roc.true_positive_rate
save(
    plotting.curves(lines, xlabel="false alarms, %", ylabel="attacks detected, %"),
    "roc",
    alt="Three ROC curves: the larger epsilon, the closer to the upper left corner",
    caption="The guard of two numbers against FGSM: the smaller the change, the less "
    "there is to see. The legend says how many attacks succeeded, so were counted.",
)
assert areas[eps] > areas[0.1] > areas[0.05]
assert areas[eps] > 0.95

# %% [markdown]
# ## Attacks of another shape
#
# FGSM moves every pixel by $\varepsilon$, which no clean image looks like. JSMA (lesson
# 6) changes a few pixels. DeepFool (lesson 7) changes all of them by as little as it
# takes. They do not try to evade the guard. They only are not what it was tried on.
# Figure 14.5 counts.

# %%
some, labels = x[:100], y[:100]
next_digit = (labels + 1) % 10
attacks = {
    f"FGSM {eps}": attacked,
    "FGSM 0.05": fgsm(model, x, y=y, eps=0.05),
    "JSMA": jsma(model, some, target=next_digit, gamma=0.2),
    "DeepFool": deepfool(model, some, y=labels),
}
detected = {
    f"{latent} latent numbers": {
        name: float(each(result.x_adv)[result.success].mean())
        for name, result in attacks.items()
    }
    for latent, each in guards.items()
}
for name, share in detected["2 latent numbers"].items():
    measured("D10", f"detected by the guard of 2 numbers, {name}", share, form=".0%")
bars = "; ".join(
    f"{name}, {', '.join(f'{share:.0%} of {attack}' for attack, share in by.items())}"
    for name, by in detected.items()
)
save(
    plotting.bars(detected, ylabel="successful attacks detected", percent=True),
    "attacks",
    alt=f"Bars, the share of successful attacks detected: {bars}",
    caption="The same thresholds, other attacks.",
)
for rates in detected.values():
    assert rates["DeepFool"] < rates[f"FGSM {eps}"] - 0.3
assert (
    detected["2 latent numbers"]["JSMA"] < detected["2 latent numbers"][f"FGSM {eps}"]
)

# %% [markdown]
# ## An attacker who knows
#
# Document A wants a detector for which it is hard to find an image that is misread
# *and* let through. So look for such an image. Classifier and guard together are one
# function, with one class more than the classifier has:
#
# $$F(x) = \bigl(z_1 - \max_k z_k, \; \ldots, \; z_K - \max_k z_k, \;\; s \cdot
# (\text{score}(x) - \tau)\bigr), \qquad s > 0. \tag{14.9}$$
#
# $z$ are the logits and $\tau$ is the threshold. The largest of the first $K$ entries
# is 0. So the last class, "adversarial", wins exactly where the guard fires, and
# elsewhere the classifier's label wins. If the score is differentiable, so is $F$, and
# PGD needs no new line. Figure 14.6 shows what comes out.


# %%
def guarded(model, score, threshold, s=10.0):
    def both(x):
        z = model(x)
        z = z - ops.max(z, axis=1, keepdims=True)
        alarm = s * (score(x) - threshold)
        return ops.concatenate([z, ops.reshape(alarm, (len(x), 1))], axis=1)

    return both


both = Guarded(model, guard)
by_hand = guarded(model, guard.score, guard.threshold)(some)
np.testing.assert_allclose(to_numpy(by_hand), to_numpy(both(some)), atol=1e-4)
assert ((predict(both, x) == 10) == guard(x)).all()

alone = pgd(model, some, target=next_digit, eps=eps, rng=seed())
joint = {
    latent: pgd(Guarded(model, each), some, target=next_digit, eps=eps, rng=seed())
    for latent, each in guards.items()
}
reached = float(alone.success.mean())
measured(
    "A6", "PGD on the classifier alone reaches the next digit", reached, form=".1%"
)
unseen, evaded = {}, {}
for latent, each in guards.items():
    slips = alone.success & ~each(alone.x_adv)
    unseen[latent], evaded[latent] = (
        float(slips.mean()),
        float(joint[latent].success.mean()),
    )
    past = f"and gets past the guard of {latent} numbers"
    measured("A6", f"{past}, not told", unseen[latent], form=".1%")
    measured("A6", f"{past}, told", evaded[latent], form=".1%")
    assert not bool(each(joint[latent].x_adv)[joint[latent].success].any())
    assert evaded[latent] > unseen[latent] + 0.2
    assert evaded[latent] > 0.5 * reached

shown = to_numpy(guard(alone.x_adv) & alone.success & joint[2].success)
shown = np.flatnonzero(shown)[:10]
save(
    in_rows(
        {
            "clean": some[shown],
            "stopped": alone.x_adv[shown],
            "let through": joint[2].x_adv[shown],
        }
    ),
    "let_through",
    alt="Three rows of digits: clean, attacked, and attacked together with the guard; "
    "the last two are about as noisy",
    caption="Both attacks are read as the next digit, as the numbers say, at the same "
    "ε. The guard stops the middle row and lets the lower one through.",
)

# %% [markdown]
# The guard costs this attacker little. There always were adversarial images below the
# threshold. Nobody had looked for them.
#
# Need the attacker know the guard itself? Suppose that it is secret. Then they train an
# autoencoder of their own, not even of the same size, and attack together with that.

# %%
substitute = joint[8].success & ~guards[2](joint[8].x_adv)
transferred = float(substitute.mean())
measured("A6", "past an unknown guard, by way of one of 8", transferred, form=".1%")
assert transferred > unseen[2] + 0.05

# %% [markdown]
# ## SafetyNet in small (A6)
#
# SafetyNet (Lu, Issaranon and Forsyth 2017) is built to have no useful gradient. It
# looks at the classifier's last hidden layer, $a$, and *quantizes* each activation by
# thresholds $t_1 < t_2 < t_3$ to one of four levels:
#
# $$c_i = \sum_k [a_i > t_k] \in \{0, 1, 2, 3\}. \tag{14.10}$$
#
# On these codes works a classifier with radial basis functions, trained on clean and on
# adversarial images:
#
# $$\text{score} = \sum_j \beta_j \, e^{-\gamma \lVert c - c^{(j)} \rVert^2}.
# \tag{14.11}$$
#
# Here the $c^{(j)}$ are the codes of its training images. With targets −1 for clean and
# +1 for adversarial, the weights $\beta$ solve one linear system (ridge regression; the
# paper trains a support vector machine).

# %%
hidden = model[:-1]  # all but the last layer
n = by_data(sample=500, digits=1000)
clean = d.x_train[:n]
crafted = fgsm(model, clean, y=d.y_train[:n], eps=eps).x_adv
a = np.concatenate([to_numpy(hidden(part)) for part in (clean, crafted)])
levels = np.quantile(a[a > 0], [0.0, 0.33, 0.67]).astype(a.dtype)


def hard(a):
    return sum((a > t).astype(a.dtype) for t in levels)


def squared(c, known):
    """Squared distances between the rows of ``c`` and of ``known``."""
    own = ops.sum(c * c, axis=1, keepdims=True)
    return own - 2.0 * (c @ known.T) + (known * known).sum(axis=1)


known = hard(a)
distances = squared(known, known)
gamma = np.float32(1 / np.median(distances))
kernel = np.exp(-gamma * distances)
sides = np.repeat([-1.0, 1.0], n)
beta = np.linalg.solve(kernel + 0.1 * np.eye(2 * n), sides).astype(a.dtype)


def safety_score(quantize):
    def score(x):
        return ops.exp(-gamma * squared(quantize(hidden(x)), known)) @ beta

    return asking(score, hidden)


def hard_codes(a):
    return hard(raw(a))  # a constant: no gradient passes


safety = Detector.calibrated(
    safety_score(hard_codes), held_out, false_positive_rate=alpha
)
false_alarms = float(safety(x).mean())
measured("A6", "SafetyNet in small: false alarms", false_alarms, form=".1%")
assert abs(false_alarms - alpha) < 4 * deviation
rates = {}
for name, result in attacks.items():
    rates[name] = float(safety(result.x_adv)[result.success].mean())
    measured("A6", f"SafetyNet in small detects {name}", rates[name], form=".0%")
assert rates[f"FGSM {eps}"] > 0.4

# %% [markdown]
# Now tell the attacker. The step function in (14.10) is flat wherever it is not
# discontinuous, so its gradient is zero, and (14.9) has nothing to follow in the last
# class. PGD runs into the guard blindly. But a gradient that is hidden hides no image.
# Compute forward with the hard steps, and *backward* with soft ones of width $w$,
#
# $$\frac{\partial c_i}{\partial a_i} \leftarrow \sum_k \sigma' \left( \frac{a_i -
# t_k}{w} \right) \frac{1}{w}, \tag{14.12}$$
#
# with the sigmoid $\sigma$. This is called *backward pass differentiable approximation*
# (Athalye, Carlini and Wagner 2018).

# %%
width = a.dtype.type(a[a > 0].std() / 4)


def straight_codes(a):
    """The hard codes, with the gradient of soft ones."""
    soft = sum(ops.sigmoid((a - t) / width) for t in levels)
    return soft + (hard(raw(a)) - raw(soft))


flat, bent = (
    grad(lambda x, codes=codes: ops.sum(safety_score(codes)(x)), some[:20])
    for codes in (hard_codes, straight_codes)
)
assert float(abs(flat).max()) == 0
assert float(abs(bent).max()) > 0
found = {}
for name, codes in (("flat", hard_codes), ("replaced", straight_codes)):
    watched = Detector(safety_score(codes), safety.threshold)
    result = pgd(Guarded(model, watched), some, target=next_digit, eps=eps, rng=seed())
    found[name] = float((result.success & ~safety(result.x_adv)).mean())
slips = float((alone.success & ~safety(alone.x_adv)).mean())
measured("A6", "past SafetyNet in small, not told", slips, form=".1%")
for name, share in found.items():
    measured("A6", f"past SafetyNet in small, its gradient {name}", share, form=".1%")
assert found["replaced"] > slips + 0.1
assert found["replaced"] > found["flat"] + 0.05

# %% [markdown]
# The guard without a gradient stops an attacker who is not told, and one who follows
# its zero gradient. One backward pass with another function in place of the steps gets
# past it. It was not hard to find the images. It was only hard to find them with *that*
# gradient.
#
# ## Summary
#
# A variational autoencoder knows what clean images look like, and the distance of an
# image from its own drawing is a score of how unfamiliar it is. Exchangeability gives
# that score a threshold whose rate of false alarms is promised, without a look at any
# attack. Such a guard catches nearly all of what it was tried on, and far fewer of the
# small or sparse changes that it was not tried on. An attacker who knows of it attacks
# classifier and guard as one function with one class more, and a gradient that is zero
# on purpose only needs to be replaced.
#
# ## Exercises
#
# **14.1** (pencil and paper) Derive (14.4) for one latent number. Which $\mu$ and
# $\sigma$ make it zero?
#
# **14.2** (a few lines) Check (14.5) for $f(z) = z^2$ by 100,000 draws: what must the
# two gradients be?
#
# **14.3** (pencil and paper) How many clean images are needed for a promise of 1 %
# false alarms? What does (14.8) say for fewer?
#
# **14.4** (an experiment) Use the mean squared error between an image and its drawing
# as the score instead of (14.6). Does it detect FGSM as well? Is the promise kept?
#
# **14.5** (an experiment) Take $s = 0.1$ and $s = 1000$ in (14.9). Which labels change,
# and what becomes of the attack?
#
# **14.6** (open) The promise (14.8) is about clean images that come from the same
# source. Which guard could promise something about attacks? What would it have to know
# of them?
#
# ## Read on
#
# - D. P. Kingma and M. Welling, *Auto-encoding variational Bayes*, 2014,
#   arXiv:1312.6114.
# - D. Meng and H. Chen, *MagNet: a two-pronged defense against adversarial examples*,
#   2017, arXiv:1705.09064: an autoencoder as a guard.
# - J. Lu, T. Issaranon and D. Forsyth, *SafetyNet: detecting and rejecting adversarial
#   examples robustly*, 2017, arXiv:1704.00103.
# - N. Carlini and D. Wagner, *Adversarial examples are not easily detected: bypassing
#   ten detection methods*, 2017, arXiv:1705.07263.
# - A. Athalye, N. Carlini and D. Wagner, *Obfuscated gradients give a false sense of
#   security*, 2018, arXiv:1802.00420.
# - V. Vovk, A. Gammerman and G. Shafer, *Algorithmic learning in a random world*, 2005,
#   DOI 10.1007/b106715.
