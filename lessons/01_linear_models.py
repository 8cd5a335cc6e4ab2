# %% [markdown]
# # Linear models: why a tiny change is enough
#
# Mirrors: A7, A8, A9, A10, A11.
#
# A logistic regression says $\hat y = \sigma(Wx + b)$. Everything about adversarial examples that can be said with
# pencil and paper can be said here.

# %%
import numpy as np
from lesson import compare, dataset, save, trained_mlp

from minadv import fgsm, grad, jacobian, ops, plotting
from minadv.losses import binary_cross_entropy, margin
from minadv.models import LogisticRegression

# %% [markdown]
# ## Six numbers (A7)
#
# With $W = (1, 3, -1, 2, 2, 3)$, $b = 0$ and $x = (1, -1, 2, 0, 3, -2)$, the logit is $Wx = 1 - 3 - 2 + 0 + 6 - 6 =
# -4$.
#
# The lecture gives $\hat y = 0.27$, "class 0 with 73 %". But $\sigma(-4) = 0.018$: class 0 with 98.2 %. And 0.27 is
# $\sigma(-1)$.

# %%
W = np.array([1.0, 3.0, -1.0, 2.0, 2.0, 3.0])
x = np.array([1.0, -1.0, 2.0, 0.0, 3.0, -2.0])

print(
    f"W·x = {W @ x:+.1f}, so ŷ = σ({W @ x:+.0f}) = {ops.sigmoid(W @ x):.3f}; 0.27 is σ(-1) = {ops.sigmoid(np.float64(-1)):.2f}"
)
compare("A7", "probability of class 1 before the attack", "0.27", f"{ops.sigmoid(W @ x):.3f}")
assert W @ x == -4
assert round(float(ops.sigmoid(W @ x)), 3) == 0.018

# %% [markdown]
# ## Move every component in the direction of sign(W)
#
# $x_{adv} = x + \varepsilon \cdot \mathrm{sign}(W)$ with $\varepsilon = 0.4$: each component moves by 0.4 only, and
# each raises the logit. The model, sure at 98 % that this is class 0, now says class 1 with $\sigma(0.8) = 0.69$, as
# the lecture says.

# %%
eps = 0.4
x_adv = x + eps * np.sign(W)

print(f"x_adv = {x_adv}")
print(f"W·x_adv = {W @ x_adv:+.1f}")
compare("A7", "probability of class 1 after it", "0.69", f"{ops.sigmoid(W @ x_adv):.2f}")
np.testing.assert_allclose(x_adv, [1.4, -0.6, 1.6, 0.4, 3.4, -1.6])
assert round(float(ops.sigmoid(W @ x_adv)), 2) == 0.69

# %% [markdown]
# ## The gradient knows sign(W) by itself (A10)
#
# For a network nobody hands us W. But the loss $L = -\log(1 - \hat y)$ of the true class 0 has the gradient $\nabla_x L
# = \hat y\, W$, a positive multiple of $W$: so $\mathrm{sign}(\nabla_x L) = \mathrm{sign}(W)$, and the rule $x +
# \varepsilon \cdot \mathrm{sign}(\nabla_x L)$ makes sense for *any* differentiable model: the fast gradient sign
# method. One gradient is all that it costs.

# %%
gradient = grad(lambda x: binary_cross_entropy((x @ W)[None], np.zeros(1)).sum(), x)
np.testing.assert_allclose(gradient, ops.sigmoid(W @ x) * W)
assert (np.sign(gradient) == np.sign(W)).all()

model = LogisticRegression(W)  # two logits, (0, W·x)
result = fgsm(model, x[None], y=0, eps=eps, bounds=(-4, 4))
np.testing.assert_allclose(result.x_adv[0], x_adv)
print(
    f"by FGSM: label {int(model(x[None]).argmax())} -> {int(result.label[0])}, largest change {float(result.linf[0]):.3f}"
)

# %% [markdown]
# ## Why the sign? (A8)
#
# The logit moves by $W \cdot r$. Among all perturbations $r$ that change no component by more than $\varepsilon$, none
# moves it further than $r = \varepsilon \cdot \mathrm{sign}(W)$ (Hölder: $W \cdot r \le \lVert W \rVert_1 \lVert r
# \rVert_\infty$). If it is the Euclidean length that is limited, the best is $r \propto W$ (Cauchy-Schwarz). So which
# is "better" depends on the ruler; compare them at the same size:

# %%
rows = {"sign(W)": np.sign(W), "W": W}
moves = {
    f"same {norm} size": {
        name: float(W @ (size * r / np.linalg.norm(r, order))) for name, r in rows.items()
    }
    for norm, order, size in [("L∞", np.inf, eps), ("L2", 2, eps * np.sqrt(6))]
}
for ruler, by in moves.items():
    print(
        f"{ruler}: the logit moves by {by['sign(W)']:.2f} along sign(W), by {by['W']:.2f} along W"
    )
assert moves["same L∞ size"]["sign(W)"] > moves["same L∞ size"]["W"]
assert moves["same L2 size"]["sign(W)"] < moves["same L2 size"]["W"]
save(
    plotting.bars(
        {name: {ruler: by[name] for ruler, by in moves.items()} for name in rows},
        ylabel="change of the logit",
        title="ε·sign(W) against ε·W",
    ),
    "sign_or_w",
    alt="Bars: at the same largest component sign(W) moves the logit further; at the same Euclidean length W does",
)

# %% [markdown]
# ## The larger n, the stronger the attack (A9)
#
# Along $\varepsilon \cdot \mathrm{sign}(W)$ the logit moves by exactly $\varepsilon \lVert W \rVert_1$, a sum of $n$
# terms, while no component moves by more than $\varepsilon$. With weights of one size it grows like $n$; random noise
# of the same size, whose terms cancel, only moves it like $\sqrt n$.

# %%
rng = np.random.default_rng(0)
sizes = np.array([10, 30, 100, 300, 1000, 3000])
attack, noise = [], []
for n in sizes:
    w = rng.normal(size=n)
    moved = (
        fgsm(LogisticRegression(w), np.zeros((1, n)), y=0, eps=0.01, bounds=(-1, 1)).x_adv[0] @ w
    )
    np.testing.assert_allclose(moved, 0.01 * np.abs(w).sum())  # exactly ε‖W‖₁
    attack.append(moved)
    noise.append(np.abs((0.01 * rng.choice([-1, 1], size=(200, n))) @ w).mean())
print("n             ", *(f"{n:7d}" for n in sizes))
print("FGSM, ε = 0.01", *(f"{a:7.2f}" for a in attack))
print("random signs  ", *(f"{a:7.2f}" for a in noise))
growth = (
    np.polyfit(np.log(sizes), np.log(attack), 1)[0],
    np.polyfit(np.log(sizes), np.log(noise), 1)[0],
)
print(f"growth: FGSM like n^{growth[0]:.2f}, noise like n^{growth[1]:.2f}")
assert 0.9 < growth[0] < 1.1
assert 0.3 < growth[1] < 0.7
save(
    plotting.curves(
        {"ε·sign(W): ε‖W‖₁": (sizes, attack), "ε·random signs": (sizes, noise)},
        xlabel="number of inputs n",
        ylabel="change of the logit",
        title="Many tiny changes add up, if their signs agree",
    ),
    "growth",
    alt="The change of the logit against n: a straight line for sign(W), almost flat for random signs",
)

# %% [markdown]
# ## Networks are close to linear where they work well (A11)
#
# Goodfellow, Shlens and Szegedy's explanation: ReLU networks are piecewise linear, and well trained ones are almost
# linear over a step of FGSM's size. So predict the loss's argument, the log-odds margin $m$, from its gradient alone,
# $m - \varepsilon \lVert \nabla m \rVert_1$, and compare with what the network of document B really answers after FGSM:

# %%
d = dataset()
network = trained_mlp()
x, y = d.x_test[:200], d.y_test[:200]


def score(x):
    """The log-odds margin of the true label, (N, 1)."""
    return ops.reshape(margin(network(x), y), (-1, 1))


m, slope = score(x)[:, 0], np.abs(jacobian(score, x)).reshape(len(x), -1).sum(axis=1)  # ‖∇m‖₁
epsilons = np.array([0.005, 0.01, 0.02, 0.05, 0.1])
predicted = [float((m - e * slope).mean()) for e in epsilons]
measured = [
    float(score(fgsm(network, x, y=y, eps=e, bounds=(-1, 2)).x_adv).mean()) for e in epsilons
]
for e, p, q in zip(epsilons, predicted, measured, strict=True):
    print(f"ε = {e:.3f}: mean margin {m.mean():.2f} -> {p:.2f} if linear, {q:.2f} measured")
assert abs(measured[1] - predicted[1]) < 0.1 * abs(
    m.mean() - predicted[1]
)  # a tenth of the step at ε = 0.01
save(
    plotting.curves(
        {"linear: m - ε‖∇m‖₁": (epsilons, predicted), "the network": (epsilons, measured)},
        xlabel="ε",
        ylabel="mean log-odds margin",
        title="FGSM works because the network is nearly linear",
    ),
    "nearly_linear",
    alt="The mean margin after FGSM against ε: the network follows its own tangent",
)
