# %% [markdown]
# # Linear models: why a tiny change is enough
#
# Mirrors: A7, A8, A9, A10, A11.
#
# Before: lesson 0, the frame. Minutes: 45.
#
# You will:
#
# - attack a model of six weights with pencil and paper;
# - derive why the sign of the weights is the best direction, by Hölder's inequality;
# - derive what grows with the number of inputs, and what does not;
# - test the claim that networks are close to linear, with a test that can fail.
#
# Almost everything about adversarial examples can be said about one linear function.
# The last part asks how much of it carries over to a network.

# %%
import numpy as np
from lesson import by_data, dataset, measured, rng, save, seed, trained, trained_mlp

from minadv import Adam, asarray, fgsm, grad, jacobian, models, ops, plotting, to_numpy
from minadv.defenses.rbf import rbf_network
from minadv.evaluation import accuracy, predict
from minadv.losses import binary_cross_entropy, margin

# %% [markdown]
# ## Six numbers (A7)
#
# *Logistic regression* is a network without a hidden layer. It has one weight $W_i$ for
# each of the $n$ inputs $x_i$ and a bias $b$. Its *logit* $z$ and the probability $\hat
# y$ of class 1 are
#
# $$z = W \cdot x + b = \sum_{i=1}^n W_i x_i + b, \qquad \hat y = \sigma(z) =
# \frac{1}{1 + e^{-z}}. \tag{1.1}$$
#
# Document A takes $W = (1, 3, -1, 2, 2, 3)$, $b = 0$ and $x = (1, -1, 2, 0, 3, -2)$. So
# $z = 1 - 3 - 2 + 0 + 6 - 6 = -4$. The document gives $\hat y = 0.27$ and so "73 %" for
# class 0. But $\sigma(-4) = 0.018$, which is 98.2 % for class 0. ($0.27$ is
# $\sigma(-1)$.) The model is much surer than the document says, and so the attack is
# stronger than it says.

# %%
W = np.array([1.0, 3.0, -1.0, 2.0, 2.0, 3.0])
x = np.array([1.0, -1.0, 2.0, 0.0, 3.0, -2.0])


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


measured(
    "A7", "probability of class 1 before", sigmoid(W @ x), stated="0.27", form=".3f"
)
assert W @ x == -4
assert round(sigmoid(-4), 3) == 0.018
assert round(sigmoid(-1), 2) == 0.27

# %% [markdown]
# Now move every component by $\varepsilon = 0.4$ in the direction of the sign of its
# weight: $x_{adv} = x + \varepsilon \, \mathrm{sign}(W)$. Each of the six moves raises
# $z$. After it the model says class 1.

# %%
eps = 0.4
x_adv = x + eps * np.sign(W)

print(f"x_adv = {x_adv}, z = {W @ x_adv:+.1f}")
measured(
    "A7", "probability of class 1 after", sigmoid(W @ x_adv), stated="0.69", form=".2f"
)
np.testing.assert_allclose(x_adv, [1.4, -0.6, 1.6, 0.4, 3.4, -1.6])
np.testing.assert_allclose(W @ x_adv, 0.8)

# %% [markdown]
# ## The gradient knows the sign (A10)
#
# Nobody hands us such a $W$ for a network. But there is a loss. For one output $\hat y$
# and a label $y$ of 0 or 1, the cross-entropy is $L = -y \log \hat y - (1 - y) \log(1 -
# \hat y)$. With $\sigma'(z) = \hat y (1 - \hat y)$, one step of the chain rule gives
#
# $$\frac{\partial L}{\partial z} = \left( -\frac{y}{\hat y} + \frac{1 - y}{1 - \hat y}
# \right) \hat y (1 - \hat y) = \hat y - y, \tag{1.2}$$
#
# and the next one, from $z$ to the input,
#
# $$\nabla_x L = \frac{\partial L}{\partial z} \, \nabla_x z = (\hat y - y) \, W.
# \tag{1.3}$$
#
# Here $y = 0$, so $\hat y - y > 0$, and $\mathrm{sign}(\nabla_x L) = \mathrm{sign}(W)$.
# The gradient of the loss knows the sign of the weights. So the rule
#
# $$x_{adv} = x + \varepsilon \, \mathrm{sign}(\nabla_x L(W, x, y)) \tag{1.4}$$
#
# needs no $W$ and makes sense for any network. It is the *fast gradient sign method*,
# FGSM. It costs one gradient. Written out, and then by minadv:


# %%
def fgsm_by_hand(x, y, eps):
    y_hat = sigmoid(W @ x)  # (1.1)
    gradient = (y_hat - y) * W  # (1.3)
    return x + eps * np.sign(gradient)  # (1.4)


by_minadv = grad(lambda x: binary_cross_entropy((x @ W)[None], np.zeros(1)).sum(), x)
np.testing.assert_allclose(by_minadv, (sigmoid(W @ x) - 0) * W)

model = models.LogisticRegression(W)  # two logits, 0 and W·x
result = fgsm(model, x[None], y=0, eps=eps, bounds=(-4, 4))
np.testing.assert_allclose(result.x_adv[0], fgsm_by_hand(x, 0, eps))
np.testing.assert_allclose(result.x_adv[0], x_adv)
assert result.success[0]

# %% [markdown]
# ## Why the sign? (A8)
#
# A perturbation $r$ moves the logit by $W \cdot r$. Which $r$ moves it most, if no
# component may exceed $\varepsilon$? Replace each term by its absolute value, and then
# each $|r_i|$ by the largest that is allowed:
#
# $$W \cdot r \; \le \; \sum_i |W_i| \, |r_i| \; \le \; \varepsilon \sum_i |W_i| =
# \varepsilon \lVert W \rVert_1. \tag{1.5}$$
#
# This is *Hölder's inequality*. Both steps are equalities if and only if every $r_i$
# has the sign of $W_i$ and the size $\varepsilon$ (where $W_i \ne 0$). So $r =
# \varepsilon \, \mathrm{sign}(W)$ is the best of all. If instead the Euclidean length
# is limited, $\lVert r \rVert_2 \le \rho$, the inequality of Cauchy and Schwarz takes
# its place:
#
# $$W \cdot r \; \le \; \lVert W \rVert_2 \lVert r \rVert_2 \; \le \; \rho \, \lVert W
# \rVert_2, \tag{1.6}$$
#
# with equality for $r = \rho \, W / \lVert W \rVert_2$. Which direction is best depends
# on how size is measured.
#
# Document A compares $\varepsilon \, \mathrm{sign}(W)$ with $\varepsilon W$, at the
# same $\varepsilon$. It says that the sign is less powerful, but keeps every component
# within $\varepsilon$. Both are true here: the logit moves by $\varepsilon \lVert W
# \rVert_1 = 4.8$ for the sign and by $\varepsilon \lVert W \rVert_2^2 = 11.2$ for
# $\varepsilon W$, whose largest component is 1.2. Two fair comparisons scale $W$ to the
# same largest component, and to the same length. Figure 1.1 shows all three.

# %%
directions = {"sign(W)": np.sign(W), "W": W}
same_linf, same_l2 = np.abs(eps * np.sign(W)).max(), np.linalg.norm(eps * np.sign(W))
moves = {
    name: {
        "one ε (document A)": eps * W @ r,
        "one L∞ size": same_linf * W @ r / np.abs(r).max(),
        "one L2 size": same_l2 * W @ r / np.linalg.norm(r),
    }
    for name, r in directions.items()
}
sign, plain = moves["sign(W)"], moves["W"]
measured("A8", "logit's move by ε sign(W)", sign["one ε (document A)"])
measured("A8", "logit's move by ε W", plain["one ε (document A)"])
np.testing.assert_allclose(list(sign.values()), 4.8)
np.testing.assert_allclose(plain["one ε (document A)"], 11.2)
assert plain["one L∞ size"] < 4.8 < plain["one L2 size"]
many = rng(1).uniform(-eps, eps, size=(100_000, 6))  # no other r within ε does better
assert (many @ W).max() < 4.8
save(
    plotting.bars(moves, ylabel="change of the logit"),
    "sign_or_w",
    alt="Three pairs of bars. At one epsilon W moves the logit further, at one "
    "L-infinity size the sign does, at one Euclidean length W does by a little",
    caption="The same two directions, compared at three notions of the same size. The "
    "sign wins where the largest change of a component is what counts.",
)

# %% [markdown]
# "Less powerful" is no law either. $\varepsilon W$ depends on the units of $W$, and
# $\varepsilon \, \mathrm{sign}(W)$ does not. Divide $W$ by ten, and the same comparison
# says the opposite: 0.48 for the sign, 0.112 for $\varepsilon W$.

# %%
tenth = W / 10
assert eps * tenth @ np.sign(tenth) > eps * tenth @ tenth

# %% [markdown]
# ## The larger n, the stronger the attack (A9)
#
# By (1.5) the logit moves by $\varepsilon \lVert W \rVert_1$, a sum of $n$ terms. Let
# the weights be of one typical size, with mean $\mu$ of $|W_i|$ and mean $s^2$ of
# $W_i^2$. Then
#
# $$\text{attack:} \quad \varepsilon \lVert W \rVert_1 = \varepsilon \, \mu \, n.
# \tag{1.7}$$
#
# Now take random signs instead, each $r_i = \pm \varepsilon$ by a coin. The terms have
# mean 0, and the variances of independent terms add up:
#
# $$\text{noise:} \quad \sqrt{\mathbb{E} (W \cdot r)^2} = \sqrt{\sum_i \varepsilon^2
# W_i^2} = \varepsilon \, s \sqrt n. \tag{1.8}$$
#
# So an attack is stronger than noise of the same size by a factor that grows like
# $\sqrt n$. No component moved by more than $\varepsilon$ in either case. Figure 1.2
# measures both powers.

# %%
sizes = np.array([10, 30, 100, 300, 1000, 3000, 10000])
attack, noise, gen = [], [], rng(2)
for n in sizes:
    w = gen.normal(size=n)
    origin = np.zeros((1, n))
    moved = fgsm(models.LogisticRegression(w), origin, y=0, eps=0.01, bounds=(-1, 1))
    np.testing.assert_allclose(moved.x_adv[0] @ w, 0.01 * np.abs(w).sum())  # (1.7)
    attack.append(moved.x_adv[0] @ w)
    noise.append(
        np.sqrt((((0.01 * gen.choice([-1, 1], size=(400, n))) @ w) ** 2).mean())
    )
np.testing.assert_allclose(noise[-1], 0.01 * np.linalg.norm(w), rtol=0.2)  # (1.8)
powers = [np.polyfit(np.log(sizes), np.log(v), 1)[0] for v in (attack, noise)]
measured("A9", "the attack's move grows like n to the power", powers[0], form=".2f")
measured("A9", "the noise's move grows like n to the power", powers[1], form=".2f")
assert 0.9 < powers[0] < 1.1
assert 0.4 < powers[1] < 0.6

figure = plotting.curves(
    {
        "ε sign(W): grows like n": (sizes, attack),
        "random signs: like √n": (sizes, noise),
    },
    xlabel="number of inputs n",
    ylabel="change of the logit",
)
figure.axes[0].set(xscale="log", yscale="log")
save(
    figure,
    "growth",
    alt="Two straight lines on logarithmic axes; the attack's is twice as steep as "
    "the noise's",
    caption="On logarithmic axes a power of $n$ is a straight line, and the power is "
    "its slope: 1 for the attack, ½ for noise. (ε = 0.01, weights drawn from a normal "
    "distribution.)",
)

# %% [markdown]
# Take care with the word "larger". Equation (1.7) says what happens if $n$ grows and
# the weights keep their size. If an image is only stored with more pixels, a trained
# model's weights shrink, and nothing is gained for the attacker. Exercise 1.4 is about
# that.
#
# ## Are networks close to linear? (A11)
#
# Document A reports the explanation of Goodfellow, Shlens and Szegedy: adversarial
# examples come from the *linearity* of networks. Networks were designed to be nearly
# linear, because that makes them easy to train. ReLUs are linear on each side of their
# kink. Where sigmoid or tanh is used, the initial weights are chosen so that the units
# start in their linear part. Easy to train is easy to attack.
#
# What would be a test of this? For a network, follow the *log-odds margin* of the label
# $y$, the logarithm of the odds for it. Since $p_j = e^{z_j} / \sum_k e^{z_k}$,
#
# $$m = \log \frac{p_y}{1 - p_y} = \log \frac{e^{z_y}}{\sum_{j \ne y} e^{z_j}} = z_y -
# \log \sum_{j \ne y} e^{z_j}. \tag{1.9}$$
#
# For logistic regression $m$ is $z$ or $-z$ itself, a linear function. In general let
# $s = -\mathrm{sign}(\nabla_x m)$ be FGSM's direction, and walk along it. If $m$ were
# linear it would fall on a straight line:
#
# $$m(x + \varepsilon s) = m(x) - \varepsilon \lVert \nabla_x m \rVert_1. \tag{1.10}$$
#
# Comparing both sides at a *small* $\varepsilon$ tests nothing. Every differentiable
# function follows its tangent for a while. So look at how long the slope lasts. The
# slope at $\varepsilon$, as a share of the slope at the start, is
#
# $$\rho(\varepsilon) = \frac{\nabla_x m(x + \varepsilon s) \cdot s}{\nabla_x m(x) \cdot
# s}, \tag{1.11}$$
#
# which is 1 for all $\varepsilon$ if $m$ is linear. Three networks take the test.
# Document B's ReLU network, trained. The same before training. And one that is *not*
# built from linear parts: its hidden units are $e^{-\gamma \lVert x - c \rVert^2}$,
# which answer only near a center $c$ (radial basis functions, lesson 16). Figure 1.3 is
# the result.

# %%
d = dataset()
how = by_data(
    sample={"batch_size": 64, "epochs": 10},
    digits={"batch_size": 32, "epochs": 20},
    mnist={"batch_size": 128, "epochs": 5},
)
start = rbf_network(d.x_train, centers=100, rng=seed())
rbf = trained(
    "rbf", start, d.x_train, d.y_train, optimizer=Adam(0.01), rng=seed(), **how
)
networks = {
    "ReLU, trained": trained_mlp(),
    "ReLU, untrained": models.mlp(d.x_train.shape[1:], rng=seed(7)),
    "radial basis functions": rbf,
}
x, y = d.x_test[:200], d.y_test[:200]


def follow(network, epsilons):
    """The margin's true fall over (1.10)'s, and the slope left (1.11); medians."""
    label = predict(network, x)

    def m(x):
        return ops.reshape(margin(network(x), label), (-1, 1))

    def flat(a):
        return to_numpy(a, dtype=float).reshape(len(x), -1)

    gradient = jacobian(m, x)[:, 0]
    s, steepness = -np.sign(flat(gradient)), np.abs(flat(gradient)).sum(axis=1)
    fell, slope = [], []
    for e in epsilons:
        moved = x + asarray((e * s).astype(np.float32).reshape(x.shape))
        fall = to_numpy(m(x) - m(moved), dtype=float)[:, 0]
        fell.append(np.median(fall / (e * steepness)))
        along = (flat(jacobian(m, moved)[:, 0]) * s).sum(axis=1)
        slope.append(np.median(along / -steepness))
    return np.array(fell), np.array(slope)


epsilons = np.array([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
followed = {name: follow(network, epsilons) for name, network in networks.items()}
for name, (fell, slope) in followed.items():
    measured("A11", f"{name}: slope left at ε = 0.3", slope[3], form=".0%")
    print(f"    ε = 0.01: fall / (1.10) {fell[0]:.2f}; ε = 10: slope {slope[-1]:.2f}")
trained_slope, untrained_slope, rbf_slope = (slope for _, slope in followed.values())
assert all(abs(fell[0] - 1) < 0.05 for fell, _ in followed.values())  # tests nothing
assert trained_slope[3] > 0.5
assert untrained_slope[3] > rbf_slope[3] + 0.15
assert abs(rbf_slope[3]) < 0.25
assert abs(rbf_slope[-1]) < 0.05
assert trained_slope[-1] > 0.4

figure = plotting.curves(
    {name: (epsilons, slope) for name, (_, slope) in followed.items()},
    xlabel="ε (no limit at the borders of the image)",
    ylabel="slope left, ρ(ε)",
)
figure.axes[0].set_xscale("log")
figure.axes[0].axhline(1, color="black", linewidth=1, linestyle=":")
save(
    figure,
    "slope_left",
    alt="Three curves against epsilon on a logarithmic axis. All start near 1. The "
    "two ReLU networks level off well above 0, the radial basis functions fall to 0",
    caption="How much of the slope is left after a walk along FGSM's direction. A "
    "linear function would stay on the dotted line. All three follow their tangents "
    "at small ε. Only those built from ReLUs still do at large ε. (Medians of 200 "
    "images.)",
)

# %% [markdown]
# The ReLU network keeps most of its slope at $\varepsilon = 0.3$, a change that
# everybody sees, and keeps it still far outside the images. Out there it must: a
# network of ReLUs is *piecewise linear*, and beyond the last kink the slope stays as it
# is. The radial basis functions have lost theirs. So there is something to "close to
# linear": it tells these networks apart. The untrained ReLU network is on the same side
# as the trained one, so this comes with the design, as the document says, before
# anything is learned.
#
# Is it the *reason* for adversarial examples? Then the third network should be safe.

# %%
before = accuracy(rbf, x, y)
after = accuracy(rbf, fgsm(rbf, x, y=y, eps=by_data(sample=0.1, digits=0.2)).x_adv, y)
measured("A11", "radial basis functions: accuracy", before, form=".0%")
measured("A11", "radial basis functions: accuracy under FGSM", after, form=".0%")
assert before > 0.75
assert after < before - 0.2

# %% [markdown]
# It is not. At the size of an attack it is steep and follows its tangent like the
# others. That is enough to be fooled. Linearity over long distances explains why *one
# large step* works so well on ReLU networks. It is not needed for adversarial examples
# to exist.
#
# Last, the document's remark about initial weights. A tanh unit passes on a gradient by
# its slope, $1 - \tanh^2(a)$, which is 1 in the linear part near $a = 0$. Xavier
# Glorot's initial weights are uniform within $\pm\sqrt{6 / (n_{in} + n_{out})}$, for
# $n_{in}$ inputs and $n_{out}$ units. Take these, and ten times these.

# %%
images = to_numpy(d.x_test[:500], dtype=float)
flat = images.reshape(len(images), -1)
limit = np.sqrt(6 / (flat.shape[1] + 128))
drawn = rng(3).uniform(-limit, limit, size=(flat.shape[1], 128))
slopes = [(1 - np.tanh(scale * flat @ drawn) ** 2).mean() for scale in (1, 10)]
measured("A11", "mean slope of tanh units, Glorot's weights", slopes[0], form=".2f")
measured("A11", "mean slope of tanh units, ten times these", slopes[1], form=".2f")
assert slopes[0] > 2 * slopes[1]

# %% [markdown]
# With Glorot's weights the gradient comes through. With larger ones most of it is lost
# on the first layer already, for training as for an attack. (The document also names
# LSTMs and batch normalization; they are not tried here.)
#
# ## Summary
#
# A linear model moves by the sum of many small agreeing changes, $\varepsilon \lVert W
# \rVert_1$, while random changes of the same size mostly cancel. Under a limit on every
# component the sign of the gradient is the best direction, and under a limit on the
# length the gradient itself. The advantage over noise grows like $\sqrt n$ as long as
# the weights keep their size. ReLU networks keep their slope over long distances, which
# helps a single step, but a network that does not can be fooled as well.
#
# ## Exercises
#
# **1.1** (a line of code) What is the smallest $\varepsilon$ for which $x + \varepsilon
# \, \mathrm{sign}(W)$ turns document A's six numbers into class 1?
#
# **1.2** (a line of code) Only one of the six components may change, by any amount.
# Which one, and by how much? This is the L0 question of lessons 6 and 8.
#
# **1.3** (pencil and paper) Derive the best $r$ under $\lVert r \rVert_1 \le \rho$.
#
# **1.4** (an experiment) Train a logistic regression to tell zeros from ones, on the
# digits and on the same digits with every pixel repeated four by four times. Compare
# $n$, $\lVert W \rVert_1$ and the effect of FGSM.
#
# **1.5** (open) Which other tests could tell a nearly linear network from another? Try
# the largest distance from the tangent inside the ball, for random directions.
#
# ## Read on
#
# - I. Goodfellow, J. Shlens and C. Szegedy, *Explaining and harnessing adversarial
#   examples*, 2014, arXiv:1412.6572.
# - C.-J. Simon-Gabriel and others, *First-order adversarial vulnerability of neural
#   networks and input dimension*, 2018, arXiv:1802.01421.
# - T. Tanay and L. Griffin, *A boundary tilting perspective on the phenomenon of
#   adversarial examples*, 2016, arXiv:1608.07690: against linearity.
# - X. Glorot and Y. Bengio, *Understanding the difficulty of training deep feedforward
#   neural networks*, AISTATS 2010.
