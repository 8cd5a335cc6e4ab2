# %% [markdown]
# # Iterated FGSM and PGD: many small steps
#
# Mirrors: C1, C2, D1, D2, D4, E6.
#
# FGSM trusts one gradient for its whole way. But the way bends: after a small step the gradient is another one. So take
# many small steps and ask again before each. Two details decide whether that is an attack one can trust: staying inside
# the ball, and keeping the best that was seen.
#
# What makes adversarial examples worth the trouble (D1): they are *imperceptible*; they can be *targeted*, so that the
# attacker picks the answer; they *transfer* to models that were never touched (lesson 9); and nobody has a *theory*
# that explains them all, though lesson 1's linearity explains a good deal. The first two are this lesson's.

# %%
from fractions import Fraction

import numpy as np
from lesson import compare, dataset, on_mnist, save, trained_cnn

from minadv import array_module, fgsm, grad, plotting, to_numpy
from minadv.attacks.balls import Ball
from minadv.attacks.iterative_fgsm import iterative_fgsm
from minadv.attacks.pgd import pgd
from minadv.evaluation import accuracy, predict, robust_accuracy
from minadv.losses import margin
from minadv.models import LogisticRegression

d = dataset()
xp = array_module(d.x_test)

# %% [markdown]
# ## The network (D2)
#
# Three convolutions of 3x3 with ReLU, then one dense layer; Adam 0.001 on the cross-entropy. The first keeps the
# image's size (`same`), the others take every second place (`valid`, stride 2): on MNIST 28x28x16, 13x13x32, 6x6x64.
# (The embedded digits are 8x8, and training on them takes seconds: batches of 32 instead of 256.)

# %%
model = trained_cnn()
sizes = [z.shape[1:] for z in model.activations(d.x_test[:1])][
    1::2
]  # after each ReLU, and the logits
print(" -> ".join("x".join(map(str, size)) for size in [d.x_test.shape[1:], *sizes[:3], (10,)]))
clean = accuracy(model, d.x_test, d.y_test)
print(f"accuracy on {len(d.x_test):,} test images: {clean:.1%}")
if on_mnist():
    assert sizes[:3] == [(28, 28, 16), (13, 13, 32), (6, 6, 64)]
    compare("D2", "accuracy of the CNN on 10,000 test images", "98.7 %", f"{clean:.1%}")
assert clean > 0.95

# %% [markdown]
# ## The algorithm box, line by line (C1, C2)
#
# From a model, a loss $L$ towards the target, $x^0$, $\varepsilon$ and $T$: set $\eta = \varepsilon / T$, then $T$
# times $x \leftarrow x - \eta \cdot \mathrm{sign}(\partial L / \partial x)$. For $L$ take $-m$, minus the target's
# log-odds: the cross-entropy $\log(1 + e^{-m})$ rises with it, so its gradient has the same sign. Ten twos that the
# model reads correctly shall become sixes.

# %%
twos = d.x_test[(d.y_test == 2) & (predict(model, d.x_test) == 2)][:10]
sixes = xp.full(10, 6)
eps, T = (0.2, 200) if on_mnist() else (0.4, 200)


def algorithm(x, project):
    """The box; ``project`` is what it does not mention."""
    eta = eps / T
    for _ in range(T):
        gradient = grad(lambda x: -margin(model(x), sixes).sum(), x)
        x = project(x - eta * xp.sign(gradient))
    return x


attacked = iterative_fgsm(model, twos, target=6, eps=eps, steps=T)
ways = {
    "as in the box": lambda z: z,
    "clipped to [0, 1]": lambda z: xp.clip(z, 0, 1),
    "projected to the exact ball": Ball(twos, eps).project,
}
for name, project in ways.items():
    x_adv = algorithm(twos, project)
    same, furthest = (
        float((x_adv == attacked.x_adv).mean()),
        float(abs(x_adv.astype(float) - twos).max()),
    )
    print(
        f"{name:28}: {same:6.1%} of the pixels as in iterative_fgsm; largest change ε {furthest - eps:+.1e}"
    )
assert (x_adv == attacked.x_adv).all()  # bit for bit

# %% [markdown]
# ## The guarantee $|x^* - x^0| \le \varepsilon$, and rounding (C1)
#
# As real numbers, $T$ steps of $\varepsilon / T$ lead no further than $\varepsilon$. A computer rounds each sum to 24
# bits, up as often as down; so `x + eps * sign` leaves the ball in about half of all places. By very little, but "at
# most ε" is a claim about numbers, and a proof that builds on it falls with it. Count it with exact fractions: $x$ and
# $x_{adv}$ are what the float32 numbers say, and ε is the float32 number next to 0.1. (Take the 0.1 of double precision
# instead, which is a little less, and it is worse.)


# %%
def share_outside(x, x_adv, eps):
    """How often |x_adv − x| > ε, as rational numbers."""
    change = (
        abs(Fraction(float(b)) - Fraction(float(a)))
        for a, b in zip(x.ravel(), x_adv.ravel(), strict=True)
    )
    return np.mean([c > Fraction(float(eps)) for c in change])


images = to_numpy(d.x_test[:10])
drawn = np.random.default_rng(0).random(images.shape, dtype=np.float32)
single, broken = np.float32(0.1), {}
for name, x in (("test images", images), ("evenly drawn", drawn)):
    naive = x + single * np.random.default_rng(1).choice(np.float32([-1, 1]), size=x.shape)
    exact = to_numpy(Ball(x, float(single)).project(naive))
    usual = np.clip(np.clip(naive, x - single, x + single), 0, 1)  # what attack libraries do
    broken[name] = [share_outside(x, z, single) for z in (naive, usual, exact)]
    print(
        f"{name}: outside {broken[name][0]:.1%}, after the usual clip {broken[name][1]:.1%}, in minadv's ball {broken[name][2]:.0%}"
    )
    print(
        f"{'':{len(name)}}  (of double precision's 0.1: outside {share_outside(x, naive, 0.1):.1%})"
    )
assert 0.4 < broken["evenly drawn"][0] < 0.6
assert all(shares[2] == 0 for shares in broken.values())

# %% [markdown]
# (A black pixel is exact, $0 + \varepsilon = \varepsilon$; that is why the images do better than numbers drawn evenly.)
#
# `Ball` works the ends out once, the largest float32 that is at most $x + \varepsilon$ as a real number and the
# smallest that is at least $x - \varepsilon$; projecting is then a plain clip, and nothing is left to rounding.
#
# One more claim of the box: "sign ∈ {-1, 1}". But $\mathrm{sign}(0) = 0$, and zeros occur: a pixel that the model does
# not look at has gradient 0, and stays where it is.

# %%
blind = LogisticRegression(np.array([2.0, 0.0, -1.0]))  # does not look at its second input
result = fgsm(blind, xp.full((1, 3), 0.5), y=0, eps=0.25)
print(f"the change of three pixels: {to_numpy(result.perturbation)[0]}")
assert to_numpy(result.perturbation)[0].tolist() == [0.25, 0, -0.25]

# %% [markdown]
# ## Ten twos become sixes (D4)
#
# Document D's setting on MNIST: 0.001 per step, 200 steps, clipped to $[0, 1]$. The embedded digits have 64 pixels
# instead of 784, so each must do more: 0.002 per step, and $\varepsilon = 0.4$ is no longer imperceptible.

# %%
print(f"the labels after {T} steps of {eps / T:.3f}: {to_numpy(attacked.label).tolist()}")
compare(
    "D4",
    f"twos read as 6 ({T} steps of {eps / T:.3f})",
    "10 of 10",
    f"{int(attacked.success.sum())} of 10",
)
figure = plotting.attack_figure(attacked, model, title=f"Iterated FGSM, 2 → 6, ε = {eps}")
save(
    figure,
    "twos_to_sixes",
    alt="Ten twos; what the attack adds, spread over most of the image; and the sums, all read as 6",
)
assert attacked.success.all()
assert float(attacked.linf.max()) <= eps

# %% [markdown]
# The document's own figure shows, as "perturbation", what its code returns from the *last* step: ±0.001 everywhere.
# That is not what was added. Over the run signs turn, and pixels at 0 or 1 cannot follow:

# %%
before = iterative_fgsm(model, twos, target=6, eps=eps * (T - 1) / T, steps=T - 1).x_adv
last = -xp.sign(grad(lambda x: -margin(model(x), sixes).sum(), before))
agree = float((last == xp.sign(attacked.perturbation)).mean())
print(f"the last step's sign is that of the whole change in {agree:.0%} of the pixels")
assert agree < 0.9

# %% [markdown]
# ## PGD: until fooled, or until `max_iter` (E6)
#
# Projected gradient descent is for those who do not know $T$ in advance: steps of a size $\alpha$ of their own, until
# the label is no longer $y$ (untargeted) or is the target (targeted), or until `max_iter`. Document E's loop reads
# `while yt == y or i < max_iter`, and never increases `i`: untargeted it never ends, and targeted it goes on *because*
# the target is reached. What was meant, for one image:

# %%
image, y = d.x_test[:1], d.y_test[:1]
eps, alpha, max_iter = 0.3, 0.02, 40
ball, z, i = Ball(image, eps), image, 0
while predict(model, z) == y and i < max_iter:
    gradient = grad(lambda x: -margin(model(x), y).sum(), z)
    z = ball.project(z + alpha * xp.sign(gradient))
    i += 1

result = pgd(model, image, y=y, eps=eps, alpha=alpha, steps=max_iter, random_start=False)
print(
    f"the {int(y[0])} is read as {int(predict(model, z)[0])} after {i} of at most {max_iter} steps"
)
assert (z == result.x_adv).all()
assert (i, True) == (int(result.steps[0]), bool(result.success[0]))

# %% [markdown]
# ## Three things that I-FGSM does not have
#
# "PGD also goes by I-FGSM", says document E. It does not, for three reasons.
#
# **Projection.** $T$ steps of a fixed $\alpha$ reach up to $T \alpha$. Document E's loop without a projection has no ε
# at all; I-FGSM avoids the question with $\alpha = \varepsilon / T$.

# %%
x, y = d.x_test[:200], d.y_test[:200]
eps, alpha, steps = 0.1, 0.02, 20
ball = Ball(x, eps)


def iterates(project):
    """x⁰, x¹, ... of steps of α along the sign of the gradient."""
    z = x
    for _ in range(steps):
        yield z
        z = project(z + alpha * xp.sign(grad(lambda x: -margin(model(x), y).sum(), z)))
    yield z


*_, loose = iterates(lambda z: xp.clip(z, 0, 1))
scores = []  # −m, the attacker's score: (steps + 1, N)
for kept in iterates(ball.project):
    scores.append(to_numpy(-margin(model(kept), y)))
far, near = (float(abs(z - x).max()) for z in (loose, kept))
print(
    f"{steps} steps of {alpha}: a pixel moved by up to {far:.2f} (Tα = {steps * alpha}); with projection by {near:.2f}"
)
assert far > 3 * eps

# %% [markdown]
# **The best iterate.** A sign step is all or nothing: close to the top it steps over it, back and forth. So the last
# iterate is often not the best; for some attacks it has lost the success again. `pgd` returns each image's best, which
# is why more steps never do harm.

# %%
scores = np.array(scores)
print(
    f"the last of {steps} steps is not the best for {(scores[-1] < scores.max(axis=0)).mean():.0%} of the images"
)
best = []
for count in (1, 2, 5, 10, 20):
    result = pgd(model, x, y=y, eps=eps, alpha=alpha, steps=count, early_stop=False)
    best.append((to_numpy(result.success), to_numpy(-margin(model(result.x_adv), y))))
    print(
        f"{count:2d} steps: {best[-1][0].mean():.1%} fooled, mean log-odds of the attacker {best[-1][1].mean():+.2f}"
    )
assert (scores[-1] < scores.max(axis=0)).mean() > 0.1
for (success, score), (later, higher) in zip(best, best[1:], strict=False):
    assert (later >= success).all()
    assert (higher >= score - 1e-4)[
        later == success
    ].all()  # (the batch may be cut differently: rounding)

# %% [markdown]
# **The random start.** The original can be a bad place to start from: on a plateau, or at the foot of the wrong hill. A
# start anywhere in the ball costs nothing; and where one misses, several (`restarts`) may not. Here are all three,
# against ε. Robust accuracy counts an image only if the model reads it correctly before *and* after.

# %%
epsilons = np.linspace(0, 0.3, 7)
attacks = {
    "FGSM": lambda eps: fgsm(model, x, y=y, eps=eps),
    "iterated FGSM, 10 steps": lambda eps: iterative_fgsm(model, x, y=y, eps=eps, steps=10),
    "PGD, 10 steps": lambda eps: pgd(model, x, y=y, eps=eps, steps=10),
    "PGD, 10 steps, 5 starts": lambda eps: pgd(model, x, y=y, eps=eps, steps=10, restarts=5),
}
curves = {
    name: [robust_accuracy(model, x, y, attack(eps)) for eps in epsilons]
    for name, attack in attacks.items()
}
print(f"{'ε':24}", *(f"{eps:6.2f}" for eps in epsilons))
for name, shares in curves.items():
    print(f"{name:24}", *(f"{share:6.1%}" for share in shares))
lines = {name: (epsilons, shares) for name, shares in curves.items()}
figure = plotting.curves(
    lines,
    xlabel="ε",
    ylabel="robust accuracy",
    percent=True,
    title="One step, many steps, many starts",
)
save(
    figure,
    "robust_accuracy",
    alt="Robust accuracy falls to 0 as ε grows; FGSM's line is the highest, the others lie together below it",
)
one, *_, many = curves.values()
assert sum(many) < sum(one)
assert all(
    m <= p for m, p in zip(many, curves["PGD, 10 steps"], strict=True)
)  # the first start is the same

# %% [markdown]
# How much many steps gain is a property of the model: as long as it is nearly linear within the ball, FGSM's one
# gradient is right all the way, and there is little to gain. And *one* random start is a lottery ticket, not a promise:
# for an image or two it may do worse than iterated FGSM, which starts at the original.
#
# ## Where the truth is known
#
# On an affine model the worst point of the ball is known: a corner, and there the margin $m = w \cdot x + b$ is $m -
# \varepsilon \lVert w \rVert_1$. An attack that is told to climb must end exactly there, from wherever it starts.

# %%
rng = np.random.default_rng(0)
w, points = rng.normal(size=100), rng.uniform(0.2, 0.8, size=(50, 100))
affine = LogisticRegression(w)
result = pgd(affine, xp.asarray(points), y=1, eps=0.1, early_stop=False)
m, m_adv = points @ w, to_numpy(margin(affine(result.x_adv), xp.ones(50, dtype=int)))
gap = m_adv - (m - 0.1 * abs(w).sum())
print(
    f"margin - (m - ε‖w‖₁), 50 points: between {gap.min():.1e} and {gap.max():.1e}, of a fall by {0.1 * abs(w).sum():.2f}"
)
np.testing.assert_allclose(m_adv, m - 0.1 * abs(w).sum(), atol=1e-12)
