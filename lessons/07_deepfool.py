# %% [markdown]
# # DeepFool: the shortest way out
#
# Mirrors: E7.
#
# FGSM is given a size and hopes that it suffices. DeepFool asks the other question: how far *is* it to the next class?
# Where the classes are parted by straight lines, the answer is a formula; elsewhere, pretend they are, step, and look
# again.

# %%
import numpy as np
from lesson import compare, dataset, save, trained_cnn
from matplotlib.figure import Figure

from minadv import array_module, fgsm, jacobian, ops, plotting, to_numpy
from minadv.attacks.deepfool import deepfool, nearest_hyperplane
from minadv.evaluation import confidence, perturbation_summary, predict

# %% [markdown]
# ## Two classes, one hyperplane
#
# The model says 1 where $f(x) = w \cdot x + b > 0$, else 0. The border is the hyperplane $f = 0$, the vector $w$ stands
# upright on it, and the shortest way there from $x$ is
#
# $$r = -\frac{f(x)}{\lVert w \rVert_2^2} w, \qquad \lVert r \rVert_2 = \frac{|f(x)|}{\lVert w \rVert_2}$$
#
# since $f(x + r) = f(x) + w \cdot r = 0$, and whatever one adds to $r$ along the border only makes it longer. With $w =
# (3, 4)$, $b = -15$ and $x = (1, 0.5)$ all of it can be done in one's head: $f = -10$, $\lVert w \rVert = 5$, so the
# border is 2 away.

# %%
w, b, x = np.array([3.0, 4.0]), -15.0, np.array([1.0, 0.5])
f = w @ x + b
r = -f / (w @ w) * w
print(f"f = {f:g}, r = {r}, length {np.linalg.norm(r):g}, f(x + r) = {w @ (x + r) + b:g}")

_, by_minadv = nearest_hyperplane(np.array([[f]]), w[None, None])
np.testing.assert_allclose(by_minadv[0], r)
np.testing.assert_allclose([np.linalg.norm(r), w @ (x + r) + b], [2, 0], atol=1e-12)

# %% [markdown]
# ## Four classes, three hyperplanes
#
# Let $y$ be the class of $x$. Each other class $k$ wins against it beyond a hyperplane of its own, $f_k = z_k - z_y =
# 0$, with $w_k = \nabla z_k - \nabla z_y$, and the one to take is the *nearest*:
#
# $$l = \arg\min_{k \ne y} \frac{|f_k|}{\lVert w_k \rVert_2}, \qquad r = \frac{|f_l|}{\lVert w_l \rVert_2^2} w_l$$
#
# ($f_k$ and $w_k$ are differences of class *scores* and of their gradients; document E calls $f_k$ "the class labels".)
# A model that can be drawn: four centers in the plane, $z_k = -\lVert x - c_k \rVert^2 / s_k$. With all $s_k = 1$ the
# $\lVert x \rVert^2$ cancels in each difference, and the borders are straight: halfway between the centers.

# %%
centers = np.array([[0.35, 0.45], [0.2, 0.8], [0.85, 0.3], [0.75, 0.85]])


def by_distance(s):
    """The class of the nearest center, distances being measured by rulers of the squared lengths ``s``."""
    return lambda x: -ops.sum((ops.reshape(x, (-1, 1, 2)) - centers) ** 2, axis=2) / s


straight = by_distance(np.ones(4))
x, others = np.array([[0.42, 0.44]]), [1, 2, 3]  # of class 0
z, J = straight(x)[0], jacobian(straight, x)[0]
f, w = z[others] - z[0], J[others] - J[0]  # (3,), (3, 2)
distance = abs(f) / np.linalg.norm(w, axis=1)
feet = x + (abs(f) / (w * w).sum(axis=1))[:, None] * w  # the nearest point of each hyperplane
l, r = nearest_hyperplane(f[None], w[None])
for k in others:
    print(
        f"class {k}: score {f[k - 1]:+.3f} against class 0's, hyperplane {distance[k - 1]:.3f} away"
    )
np.testing.assert_allclose(x + r, feet[l])
assert others[int(l[0])] == others[distance.argmin()] == 2
assert others[f.argmax()] == 1

# %% [markdown]
# Class 1 is the likeliest after class 0 ("the most similar class", as document E has it), and yet class 2 is nearer. A
# score alone is no distance: it has to be divided by how fast it grows.
#
# To draw it, a map of the classes, in which straight lines can be drawn:


# %%
square = np.stack(np.meshgrid(*[np.linspace(0, 1, 401)] * 2), axis=-1)  # (401, 401, 2)


def class_map(model, x, title):
    """Each class's part of the square in its color, and the image x, a large dot; the figure and its axes."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    ax = figure.subplots()
    label = model(square.reshape(-1, 2)).argmax(axis=1).reshape(401, 401)
    ax.contourf(
        square[..., 0],
        square[..., 1],
        label,
        levels=np.arange(5) - 0.5,
        colors=plotting.COLORS[:4],
        alpha=0.2,
    )
    for k in range(4):
        middle = square[label == k].mean(axis=0)
        paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
        ax.text(
            *middle,
            f"class {k}",
            color=plotting.COLORS[k],
            ha="center",
            va="center",
            weight="bold",
            bbox=paper,
        )
    ax.plot(*x[0], "ko", markersize=8)
    ax.set(
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
        xlabel="first pixel",
        ylabel="second pixel",
        title=title,
    )
    return figure, ax


def line(ax, point, normal, **look):
    """The straight line through a point, upright on ``normal``."""
    ax.axline(point, point + np.array([-normal[1], normal[0]]), **look)


# %%
figure, ax = class_map(straight, x, "The projection onto the nearest hyperplane")
styles = ["--", "-.", (0, (1, 1))]
for k, foot, w_k, style in zip(others, feet, w, styles, strict=True):
    line(
        ax, foot, w_k, color=plotting.COLORS[k], linestyle=style, label=f"class {k} as likely as 0"
    )
    ax.plot(*np.stack([x[0], foot]).T, color="0.4", linewidth=1)
ax.annotate(
    "",
    feet[l[0]],
    x[0],
    arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 2, "shrinkA": 0, "shrinkB": 0},
)
ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
save(
    figure,
    "plane",
    alt="Four classes in a square; from a point of class 0 lines lead to three hyperplanes, an arrow along the shortest",
)

# %% [markdown]
# At the foot of the *nearest* hyperplane no third class can have won: its own hyperplane lies further away. So one step
# is exact. Check it by brute force: among 160,000 points of the square, none of another class is nearer.


# %%
def nearest_by_trying(model, x):
    """The point of another class that is nearest to x, among those 1/400 apart."""
    u = square.reshape(-1, 2)
    u = u[model(u).argmax(axis=1) != model(x).argmax()]
    return u[np.linalg.norm(u - x, axis=1).argmin()]


result = deepfool(straight, x, overshoot=1e-6)
tried = np.linalg.norm(nearest_by_trying(straight, x) - x)
print(
    f"DeepFool {result.l2[0]:.4f} in {result.steps[0]} step, by the formula {distance.min():.4f}, by trying {tried:.4f}"
)
np.testing.assert_allclose(result.l2[0], distance.min(), rtol=1e-5)
assert distance.min() <= tried < distance.min() + 2 / 400
assert (result.label[0], result.steps[0]) == (2, 1)

# %% [markdown]
# ## Where the borders bend
#
# Give the classes different rulers, and the borders are circles. DeepFool believes in the straight line that its
# gradients promise, steps onto it (and 2 % beyond: `overshoot`), sees that it is still in class 0, and starts again
# from there.

# %%
bent = by_distance(np.array([1.0, 0.05, 0.3, 0.1]))
x = np.array([[0.25, 0.2]])
result = deepfool(bent, x)
path = np.concatenate(
    [x, *(deepfool(bent, x, steps=i).x_adv for i in range(1, result.steps[0] + 1))]
)
nearest = nearest_by_trying(bent, x)

figure, ax = class_map(bent, x, "Believe, step, and look again")
for point in path[:-1]:
    z, J = bent(point[None])[0], jacobian(bent, point[None])[0]
    l, r = nearest_hyperplane((z[others] - z[0])[None], (J[others] - J[0])[None])
    line(ax, point + r[0], r[0], color=plotting.COLORS[others[l[0]]], linestyle="--", linewidth=1)
ax.plot(
    [], [], color="0.4", linestyle="--", label="where the border\nshould be, in its\nclass's color"
)
ax.plot(*path.T, "ko-", markersize=4, label="DeepFool's steps")
ax.plot(
    *np.stack([x[0], nearest]).T, color="black", linestyle=":", marker="s", label="the shortest way"
)
ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
save(
    figure,
    "bent",
    alt="Three round islands in class 0; DeepFool's shrinking steps to one, each onto a dashed line; another is nearer",
)

sizes, tried = np.linalg.norm(path - x, axis=1), np.linalg.norm(nearest - x)
print("away from the start after each step:", *(f"{size:.3f}" for size in sizes[1:]))
print(
    f"class {result.label[0]}, {sizes[-1]:.3f} away; by trying: class {bent(nearest[None]).argmax()}, {tried:.3f} away"
)
assert len(path) > 3
assert sizes[-1] > 1.1 * tried

# %% [markdown]
# So "the minimal amount of perturbation possible", as document E has it, is a theorem for affine models, and for others
# a good guess: the first straight lines pick the direction, and what looked nearest from the start may not be.
#
# ## The algorithm, line by line (E7)
#
# For one image and a real network. Its differences of logits stand in for $f_k$, their gradients for $w_k$; one
# Jacobian per step has them all.

# %%
d = dataset()
xp = array_module(d.x_test)
model = trained_cnn()
right = predict(model, d.x_test) == d.y_test
x, y = d.x_test[right][:200], d.y_test[right][:200]
wide = (-1.0, 2.0)  # no pixel gets there: clipping is another story


def algorithm(x0, overshoot=0.02):
    """Algorithm 2 of the paper, for one image (1, H, W, C): the adversarial image, and the steps taken."""
    x, i = x0, 0
    k0 = int(model(x0).argmax())
    k = xp.asarray([k for k in range(10) if k != k0])
    while int(model(x).argmax()) == k0:  # line 5
        f, J = model(x)[0], jacobian(model, x)[0]
        f_k, w_k = f[k] - f[k0], (J[k] - J[k0]).reshape(9, -1)  # lines 6 to 9
        l = int((abs(f_k) / xp.sqrt((w_k**2).sum(axis=1))).argmin())  # line 10
        r = abs(f_k[l]) / (w_k[l] ** 2).sum() * w_k[l]  # line 11
        x, i = x + (1 + overshoot) * r.reshape(x.shape), i + 1  # lines 12 and 13
    return x, i


result = deepfool(model, x[:10], bounds=wide)
for n in range(10):
    z, i = algorithm(x[n : n + 1])
    assert i == int(result.steps[n])
    np.testing.assert_allclose(to_numpy(z[0]), to_numpy(result.x_adv[n]), atol=1e-4)
print(
    f"ten images, {to_numpy(result.steps).tolist()} steps, sizes {to_numpy(result.l2).round(2).tolist()}: as in minadv"
)

# %% [markdown]
# `deepfool` does it for a whole batch, looks only at the likeliest `candidates`, lets images that are done leave, and
# stays inside $[0, 1]$: from the second step on it leaves out the pixels that a bound holds back.
#
# ## Scores, not labels; the nearest, not the likeliest
#
# What if $f_k$ were class labels, as document E says? Then the "distance" would be $|k - y| / \lVert w_k \rVert$: how
# the classes happen to be numbered would decide where to go.

# %%
n, k = (
    xp.arange(len(x))[:, None],
    xp.asarray([[k for k in range(10) if k != label] for label in y.tolist()]),
)  # (N, 9)
z, J = model(x), jacobian(model, x).reshape(len(x), 10, -1)
f_k, w_k = z[n, k] - z[n, y[:, None]], J[n, k] - J[n, y[:, None]]
by_scores, _ = nearest_hyperplane(f_k, w_k)
by_labels, _ = nearest_hyperplane(-abs(k - y[:, None]).astype(f_k.dtype), w_k)
print(
    f"labels instead of scores: another class for {float((by_labels != by_scores).mean()):.0%} of the images"
)
print(
    f"the likeliest instead of the nearest: for {float((f_k.argmax(axis=1) != by_scores).mean()):.0%}"
)
assert (by_labels != by_scores).mean() > 0.3

# %% [markdown]
# ## How much smaller than FGSM's?
#
# FGSM has to be told ε. Give it every advantage: for *each* image the smallest ε (in steps of 0.002) that fools the
# model. Or be fair, and give it one ε for all, the smallest that fools nine in ten. DeepFool runs for the $L_2$ norm,
# and for $L_\infty$, where the step is $|f_l| / \lVert w_l \rVert_1 \cdot \mathrm{sign}(w_l)$: much like FGSM's, and
# just far enough.

# %%
found = {"l2": deepfool(model, x), "linf": deepfool(model, x, norm="linf")}
best = {"l2": xp.full(len(x), xp.inf), "linf": xp.full(len(x), xp.inf)}
left, fixed = xp.arange(len(x)), None
for eps in np.arange(0.002, 0.6, 0.002):
    r = fgsm(model, x[left], y=y[left], eps=eps)
    for norm, sizes in best.items():
        sizes[left[r.success]] = getattr(r, norm)[r.success]
    left = left[~r.success]
    if fixed is None and len(left) <= 0.1 * len(x):
        fixed = fgsm(model, x, y=y, eps=eps)

for norm, r in found.items():
    own, each, one = (
        np.median(to_numpy(size)) for size in (getattr(r, norm), best[norm], getattr(fixed, norm))
    )
    against = (
        f"{each / own:.1f} times as large with each image's ε, {one / own:.1f} with one ε for all"
    )
    print(f"median {norm}: DeepFool {own:.3f}, FGSM {each:.3f} and {one:.3f}")
    compare(
        "E7", f"FGSM's change next to DeepFool's ({norm}, median)", "DeepFool's is minimal", against
    )
    assert own < min(1.05 * each, 0.8 * one)

# %%
name = {"l2": "L2", "linf": "L∞"}
seen = {
    "l2": "DeepFool's lie clearly further left than FGSM's",
    "linf": "DeepFool's and FGSM's overlap, DeepFool's end further left",
}
for norm, r in found.items():
    sizes = {
        "DeepFool": getattr(r, norm),
        "FGSM, each image's ε": best[norm][xp.isfinite(best[norm])],
    }
    medians = ", ".join(
        f"{np.median(to_numpy(v)):.2f} ({key.split(',')[0]})" for key, v in sizes.items()
    )
    figure = plotting.histogram(
        sizes,
        xlabel=f"{name[norm]} size of the change that fools the model",
        title=f"Medians: {medians}",
    )
    save(figure, f"sizes_{norm}", alt=f"Histograms of {name[norm]} sizes: {seen[norm]}")
half = perturbation_summary(found["l2"]).l2.quantiles
print(f"all are fooled, half of them by an L2 change of {half[0.25]:.2f} to {half[0.75]:.2f}")
assert all(r.success.all() for r in found.values())

# %% [markdown]
# In $L_2$ the difference is large: DeepFool moves a pixel as much as it matters, FGSM moves all of them alike. In
# $L_\infty$, which is FGSM's own norm, an FGSM that knows each image's ε is nearly as good where the model is nearly
# linear; DeepFool did not have to be told.
#
# And it stops as soon as the border is crossed, where two classes are about equally likely: a label is all it is after.

# %%
sure = np.median(to_numpy(confidence(model, found["l2"].x_adv)))
print(f"median confidence {np.median(to_numpy(confidence(model, x))):.0%} before, {sure:.0%} after")
assert sure < 0.6
figure = plotting.attack_figure(deepfool(model, x[:10]), model, title="DeepFool")
save(
    figure,
    "digits",
    alt="Ten digits; what DeepFool adds, strong in few places; and the sums, each read as another digit",
)
