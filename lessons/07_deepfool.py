# %% [markdown]
# # DeepFool: the shortest way out
#
# Mirrors: E7.
#
# Before: lessons 2 and 4. Minutes: 50.
#
# You will:
#
# - derive the shortest step onto a hyperplane, by Lagrange's method;
# - see in the plane which hyperplane counts, and check it by trying all points;
# - write DeepFool line by line as in the paper;
# - find an example for which its answer is not the shortest;
# - compare its changes with FGSM's, in both attackers' own norms.
#
# FGSM is given a size ε and hopes that it suffices. DeepFool asks the other question:
# how far *is* it to the next class? Where straight lines part the classes, the answer
# is a formula. Elsewhere, pretend that they do, step, and look again.

# %%
import numpy as np
from lesson import dataset, measured, rng, save, slider, trained_cnn
from matplotlib.figure import Figure

from minadv import array_module, deepfool, fgsm, jacobian, ops, plotting, to_numpy
from minadv.attacks.deepfool import nearest_hyperplane
from minadv.evaluation import confidence, predict

# %% [markdown]
# ## Two classes, one hyperplane
#
# Let the model say 1 where $f(x) = w \cdot x + b > 0$, else 0. Its border is the
# hyperplane $f = 0$. The smallest change $r$ that leads from $x$ onto it solves
#
# $$\min_r \; \tfrac12 \lVert r \rVert_2^2 \quad \text{where} \quad f(x) + w \cdot r =
# 0. \tag{7.1}$$
#
# By Lagrange's method, the minimum is where the derivatives of
#
# $$\Lambda(r, \mu) = \tfrac12 \lVert r \rVert_2^2 + \mu \, (f(x) + w \cdot r)
# \tag{7.2}$$
#
# are zero. The number $\mu$ is called the *multiplier*. By $r$ and by $\mu$:
#
# $$r + \mu w = 0, \qquad f(x) + w \cdot r = 0. \tag{7.3}$$
#
# The first says $r = -\mu w$: the shortest way runs along $w$, at a right angle to the
# border. Put that into the second, so $f(x) = \mu \lVert w \rVert_2^2$, and
#
# $$r = -\frac{f(x)}{\lVert w \rVert_2^2} \, w, \qquad \lVert r \rVert_2 =
# \frac{|f(x)|}{\lVert w \rVert_2}. \tag{7.4}$$
#
# With $w = (3, 4)$, $b = -15$ and $x = (1, 0.5)$ no computer is needed: $f = -10$ and
# $\lVert w \rVert = 5$, so the border is 2 away.

# %%
w, b, x = np.array([3.0, 4.0]), -15.0, np.array([1.0, 0.5])
f = w @ x + b
r = -f / (w @ w) * w  # (7.4)
print(
    f"f = {f:g}, r = {r}, length {np.linalg.norm(r):g}, f(x + r) = {w @ (x + r) + b:g}"
)
np.testing.assert_allclose([np.linalg.norm(r), w @ (x + r) + b], [2, 0], atol=1e-12)
_, by_minadv = nearest_hyperplane(np.array([[f]]), w[None, None])
np.testing.assert_allclose(by_minadv[0], r)

onto = x + r + np.linspace(-1, 1, 101)[:, None] * np.array([-4.0, 3.0])  # the border
assert np.linalg.norm(onto - x, axis=1).min() >= 2 - 1e-12  # nothing on it is nearer

# %% [markdown]
# ## Four classes, three hyperplanes
#
# Let $y$ be the class of $x$ and $z_k$ the logits. Class $k$ wins against $y$ beyond a
# hyperplane of its own, $f_k = 0$, with
#
# $$f_k = z_k - z_y, \qquad w_k = \nabla z_k - \nabla z_y. \tag{7.5}$$
#
# By (7.4) it is $|f_k| / \lVert w_k \rVert_2$ away. The one to take is the nearest:
#
# $$l = \arg\min_{k \ne y} \frac{|f_k|}{\lVert w_k \rVert_2}, \qquad r =
# \frac{|f_l|}{\lVert w_l \rVert_2^2} \, w_l. \tag{7.6}$$
#
# (Document E calls $f_k$ "the class labels". Class *scores* are meant.) A model that
# can be drawn has four centers $c_k$ in the plane and $z_k = -\lVert x - c_k \rVert^2 /
# s_k$. With all $s_k = 1$ the $\lVert x \rVert^2$ cancels in each $f_k$. Then the
# borders are straight, halfway between the centers.

# %%
centers = np.array([[0.35, 0.45], [0.2, 0.8], [0.85, 0.3], [0.75, 0.85]])


def by_distance(s):
    """The class of the nearest center, with squared distances divided by ``s``."""
    return lambda x: -ops.sum((ops.reshape(x, (-1, 1, 2)) - centers) ** 2, axis=2) / s


def hyperplanes(model, x):
    """The classes other than that of x (1, 2), and their f_k and w_k, see (7.5)."""
    z, J = model(x)[0], jacobian(model, x)[0]
    y = int(z.argmax())
    others = [k for k in range(4) if k != y]
    return others, z[others] - z[y], J[others] - J[y]


straight = by_distance(np.ones(4))
x = np.array([[0.42, 0.44]])
others, f, w = hyperplanes(straight, x)
distance = abs(f) / np.linalg.norm(w, axis=1)
feet = x + (abs(f) / (w * w).sum(axis=1))[:, None] * w  # the nearest point of each
for k, score, away in zip(others, f, distance, strict=True):
    print(f"class {k}: score {score:+.3f} against class 0's, {away:.3f} away")
l, r = nearest_hyperplane(f[None], w[None])
np.testing.assert_allclose(x + r, feet[l])
assert others[int(l[0])] == others[distance.argmin()] == 2
assert others[f.argmax()] == 1

# %% [markdown]
# Document E says "the closest hyperplane (most similar class after the true class)".
# Here class 1 has the highest score after class 0, and yet class 2 is nearer. A score
# alone is no distance. It has to be divided by how fast it grows. Figure 7.1 shows the
# three hyperplanes.


# %%
square = np.stack(np.meshgrid(*[np.linspace(0, 1, 401)] * 2), axis=-1)  # (401, 401, 2)


def class_map(model, x, title):
    """Each class's part of the square, named, and x as a large dot: figure and axes."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    ax = figure.subplots()
    label = model(square.reshape(-1, 2)).argmax(axis=1).reshape(401, 401)
    u, v = square[..., 0], square[..., 1]
    look = {"colors": plotting.COLORS[:4], "alpha": 0.2}
    ax.contourf(u, v, label, levels=np.arange(5) - 0.5, **look)
    ax.contour(u, v, label, levels=np.arange(4) + 0.5, colors="0.4", linewidths=0.5)
    for k in range(4):
        middle = square[label == k].mean(axis=0)
        paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
        ax.text(*middle, f"class {k}", ha="center", va="center", bbox=paper)
    ax.plot(*x[0], "ko", markersize=8)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=title)
    ax.set(xlabel="first pixel", ylabel="second pixel")
    return figure, ax


def line(ax, point, normal, **look):
    """The straight line through a point, at a right angle to ``normal``."""
    ax.axline(point, point + np.array([-normal[1], normal[0]]), **look)


# %%
figure, ax = class_map(straight, x, "The projection onto the nearest hyperplane")
styles = ["--", "-.", (0, (1, 1))]
for k, foot, w_k, style in zip(others, feet, w, styles, strict=True):
    look = {"color": plotting.COLORS[k], "linestyle": style}
    line(ax, foot, w_k, label=f"class {k} as likely as 0", **look)
    ax.plot(*np.stack([x[0], foot]).T, color="0.4", linewidth=1)
arrow = {"arrowstyle": "-|>", "color": "black", "linewidth": 2, "shrinkA": 0}
ax.annotate("", feet[l[0]], x[0], arrowprops=arrow | {"shrinkB": 0})
ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
save(
    figure,
    "plane",
    alt="Four classes in a square; from a point of class 0 lines lead to three "
    "hyperplanes, an arrow along the shortest, towards class 2",
    caption="The image (dot) lies in class 0. Each other class has a hyperplane (lines "
    "in three styles). The arrow is the step (7.6), to the nearest of them.",
)

# %% [markdown]
# At the foot of the *nearest* hyperplane no third class can have won, since its own
# hyperplane lies further away. So one step is exact. Check that by trying: among
# 160,000 points of the square, none of another class is nearer.


# %%
def nearest_by_trying(model, x):
    """The point of another class that is nearest to x, among those 1/400 apart."""
    u = square.reshape(-1, 2)
    u = u[model(u).argmax(axis=1) != model(x).argmax()]
    return u[np.linalg.norm(u - x, axis=1).argmin()]


result = deepfool(straight, x, overshoot=1e-6)
tried = np.linalg.norm(nearest_by_trying(straight, x) - x)
print(
    f"DeepFool {result.l2[0]:.4f} in {result.steps[0]} step, "
    f"(7.6) {distance.min():.4f}, by trying {tried:.4f}"
)
np.testing.assert_allclose(result.l2[0], distance.min(), rtol=1e-5)
assert distance.min() <= tried < distance.min() + 2 / 400
assert (result.label[0], result.steps[0]) == (2, 1)

# %% [markdown]
# ## Where the borders bend
#
# Give the classes different $s_k$, and the borders are circles. DeepFool believes in
# the straight line that its gradients promise. It steps onto it, and 2 % beyond (the
# `overshoot`). It sees that it is still in class 0, and starts again from there, step
# by step in Figure 7.2.

# %%
bent = by_distance(np.array([1.0, 0.05, 0.3, 0.1]))
x = np.array([[0.25, 0.2]])
result = deepfool(bent, x)
path = [x] + [deepfool(bent, x, steps=i + 1).x_adv for i in range(result.steps[0])]
path, nearest = np.concatenate(path), nearest_by_trying(bent, x)


def up_to(step):
    """The picture after so many steps."""
    figure, ax = class_map(bent, x, "Believe, step, and look again")
    for point in path[: step + 1][: len(path) - 1]:
        _, f, w = hyperplanes(bent, point[None])
        _, r = nearest_hyperplane(f[None], w[None])
        line(ax, point + r[0], r[0], color="0.4", linestyle="--", linewidth=1)
    ax.plot([], [], color="0.4", linestyle="--", label="where the border\nshould be")
    ax.plot(*path[: step + 1].T, "ko-", markersize=4, label="DeepFool's steps")
    way = np.stack([x[0], nearest])
    ax.plot(*way.T, color="black", linestyle=":", marker="s", label="the shortest way")
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return figure


sizes, tried = np.linalg.norm(path - x, axis=1), np.linalg.norm(nearest - x)
classes = bent(path).argmax(axis=1)
slider(
    "bent",
    [up_to(i) for i in range(len(path))],
    [f"step {i}" for i in range(len(path))],
    [f"{s:.3f} from the start, class {k}" for s, k in zip(sizes, classes, strict=True)],
    symbol="",
    label="DeepFool's steps",
    alt="Three round islands in class 0; DeepFool's shrinking steps lead to one of "
    "them; another island is nearer",
    caption="Each dashed line is where the gradients at one point promise a border. "
    f"DeepFool ends {sizes[-1]:.3f} away. The dotted way is the shortest, {tried:.3f}.",
)

# %%
print("away from the start after each step:", *(f"{size:.3f}" for size in sizes[1:]))
over = sizes[-1] / tried - 1
measured(
    "E7", "DeepFool's way in the plane, longer than the shortest by", over, form=".0%"
)
assert len(path) > 3
assert 0.1 < over < 2
assert (classes[:-1] == 0).all()
assert classes[-1] != 0

# %% [markdown]
# Document E writes of "the minimal amount of perturbation possible". For affine models
# that is a theorem, by (7.4). For others DeepFool gives an *upper* bound of the
# minimum: the first straight lines pick the direction, and what looks nearest from the
# start may not be.
#
# ## The algorithm, line by line (E7)
#
# Here is the paper's Algorithm 2 for one image and a real network.

# %%
d = dataset()
xp = array_module(d.x_test)
model = trained_cnn()
right = predict(model, d.x_test) == d.y_test
x, y = d.x_test[right][:100], d.y_test[right][:100]
wide = (-1.0, 2.0)  # no pixel gets there: clipping comes later


def algorithm(x0, overshoot=0.02):
    """DeepFool for one image (1, H, W, C): the adversarial image, and the steps."""
    x, i = x0, 0
    k0 = int(model(x0).argmax())
    k = xp.asarray([k for k in range(10) if k != k0])
    while int(model(x).argmax()) == k0:  # line 5
        f, J = model(x)[0], jacobian(model, x)[0]
        f_k, w_k = f[k] - f[k0], (J[k] - J[k0]).reshape(9, -1)  # lines 6 to 9, (7.5)
        l = int((abs(f_k) / xp.sqrt((w_k**2).sum(axis=1))).argmin())  # line 10, (7.6)
        r = abs(f_k[l]) / (w_k[l] ** 2).sum() * w_k[l]  # line 11
        x, i = x + (1 + overshoot) * r.reshape(x.shape), i + 1  # lines 12 and 13
    return x, i


result = deepfool(model, x[:10], bounds=wide)
same = 0
for n in range(10):
    z, i = algorithm(x[n : n + 1])
    same += i == int(result.steps[n])
    assert abs(i - int(result.steps[n])) <= 1  # on a border up to rounding: one more
    np.testing.assert_allclose(to_numpy(z[0]), to_numpy(result.x_adv[n]), atol=1e-3)
assert same >= 8
print(f"ten images, {to_numpy(result.steps).tolist()} steps: as in minadv")
more = float((result.steps > 1).mean())
measured("E7", "of ten images, share that one step does not fool", more, form=".0%")

# %% [markdown]
# `deepfool` does it for a whole batch and lets images that are done leave. It also
# stays inside $[0, 1]$: from the second step on it leaves out the pixels that a bound
# holds back. How much does it matter to take the nearest hyperplane instead of the
# likeliest class? Look at the first step.

# %%
n = xp.arange(len(x))
k = xp.asarray([[k for k in range(10) if k != label] for label in y.tolist()])  # (N, 9)
z, J = model(x), jacobian(model, x).reshape(len(x), 10, -1)
f_k = z[n[:, None], k] - z[n, y][:, None]
w_k = J[n[:, None], k] - J[n, y][:, None]
distance = abs(f_k) / xp.sqrt((w_k**2).sum(axis=2))
nearest, likeliest = distance.argmin(axis=1), f_k.argmax(axis=1)
chosen, _ = nearest_hyperplane(f_k, w_k)
other = float((nearest != likeliest).mean())
measured("E7", "images whose nearest class is not the likeliest", other, form=".0%")
assert (chosen == nearest).mean() > 0.98
assert 0.01 < other < 0.6

# %% [markdown]
# ## The step under L∞
#
# FGSM's size is the largest change of a pixel, $\lVert r \rVert_\infty = \max_i |r_i|$.
# DeepFool can keep that small instead. For any $r$,
#
# $$|w \cdot r| \le \sum_i |w_i| \, |r_i| \le \lVert r \rVert_\infty \lVert w \rVert_1.
# \tag{7.7}$$
#
# To reach the border, $|w \cdot r|$ must be $|f|$. So $\lVert r \rVert_\infty \ge |f| /
# \lVert w \rVert_1$, and equality holds for
#
# $$r = \frac{|f|}{\lVert w \rVert_1} \, \mathrm{sign}(w). \tag{7.8}$$
#
# That is a step of FGSM, just long enough.

# %%
w, f = rng(1).normal(size=20), -1.0
_, r = nearest_hyperplane(np.array([[f]]), w[None, None], norm="linf")
np.testing.assert_allclose(r[0], abs(f) / abs(w).sum() * np.sign(w))  # (7.8)
np.testing.assert_allclose(w @ r[0], -f)

# %% [markdown]
# ## How much smaller than FGSM's?
#
# FGSM has to be told ε. Give it every advantage: for *each* image the smallest ε, in
# steps of 0.005, that fools the model. Some images no ε fools, since FGSM takes one
# gradient for the whole way. For them the size is infinite, and medians still compare.
# Figure 7.3 shows the sizes of all.

# %%
found = {"l2": deepfool(model, x), "linf": deepfool(model, x, norm="linf")}
best = {norm: np.full(len(x), np.inf) for norm in found}
left = np.arange(len(x))
for eps in np.arange(0.005, 0.6, 0.005):
    if not len(left):
        break
    r = fgsm(model, x[left], y=y[left], eps=eps)
    won = to_numpy(r.success)
    for norm, sizes in best.items():
        sizes[left[won]] = to_numpy(getattr(r, norm))[won]
    left = left[~won]

name = {"l2": "L2", "linf": "L∞"}
for norm, r in found.items():
    own, given = np.median(to_numpy(getattr(r, norm))), np.median(best[norm])
    print(f"median {name[norm]}: DeepFool {own:.3f}, FGSM {given:.3f}")
    measured(
        "E7", f"FGSM's change over DeepFool's, {name[norm]}", given / own, form=".2f"
    )
    assert float(r.success.mean()) > 0.98
    assert {"l2": 1.2, "linf": 0.95}[norm] < given / own < {"l2": 4, "linf": 2}[norm]

# %%
figure = Figure(figsize=(8.4, 3.4), layout="constrained")
for ax, (norm, r) in zip(
    figure.subplots(1, 2, sharey=True), found.items(), strict=True
):
    series = {"DeepFool": to_numpy(getattr(r, norm)), "FGSM, own ε each": best[norm]}
    for (who, sizes), style in zip(series.items(), ("-", "--"), strict=True):
        fooled = np.arange(1, len(x) + 1) / len(x)
        ax.step(np.sort(sizes), fooled, style, where="post", label=who)
    ax.set(xlabel=f"{name[norm]} size of the change", ylim=(0, 1.02))
    ax.set_xlim(left=0)
    ax.locator_params(axis="x", nbins=5)
    ax.grid(color="0.9")
    ax.legend(loc="lower right")
figure.axes[0].set_ylabel("share of images fooled")
save(
    figure,
    "sizes",
    alt="Two panels of rising curves, for L2 and for L∞ sizes, DeepFool's and FGSM's",
    caption="The share of images that are fooled by a change of at most so much. The "
    "further left a curve, the smaller the changes. In $L_2$ (left) the gap is wide. "
    "In $L_\\infty$ (right), FGSM's own norm, it is narrower.",
)
gap = {
    norm: np.median(best[norm]) / np.median(to_numpy(getattr(r, norm)))
    for norm, r in found.items()
}
assert gap["l2"] > gap["linf"]

# %% [markdown]
# In $L_2$ the difference is large. DeepFool moves a pixel by as much as it matters, and
# FGSM moves all of them alike. In $L_\infty$ an FGSM that is told each image's ε comes
# close, by (7.8). DeepFool did not have to be told.
#
# And it stops as soon as the border is crossed, where two classes are about equally
# likely, as above the images of Figure 7.4. A label is all it is after.

# %%
before, after = (
    float(np.median(to_numpy(confidence(model, z)))) for z in (x, found["l2"].x_adv)
)
measured("E7", "median confidence before", before, form=".0%")
measured("E7", "median confidence after DeepFool", after, form=".0%")
assert after < 0.65
assert before > 0.9
figure = plotting.attack_figure(deepfool(model, x[:10]), model, title="DeepFool")
save(
    figure,
    "digits",
    alt="Ten digits; what DeepFool adds, strong in few places; and the sums",
    caption="DeepFool on ten test images, with the labels and confidences before and "
    "after. The changes share one scale.",
)

# %% [markdown]
# ## Summary
#
# The shortest step onto a hyperplane is (7.4), by Lagrange's method. DeepFool takes the
# nearest of the hyperplanes that the gradients promise, steps onto it, and repeats
# until the label changes. For affine models its change is the smallest possible; for
# networks it is an upper bound of it. In $L_2$ it is far smaller than FGSM's, and it
# leaves the network undecided between two labels.
#
# ## Exercises
#
# **7.1** (a line of code) How far from the border is $x = (0, 0)$ for $w = (1, -2)$ and
# $b = 3$, in $L_2$ and in $L_\infty$?
#
# **7.2** (pencil and paper) Keep $\lVert r \rVert_1 = \sum_i |r_i|$ small instead. Find
# the shortest step. How many pixels does it change, and which attack does that recall?
#
# **7.3** (a few lines) After DeepFool, walk back: shorten the whole change by bisection
# as long as the label stays wrong. How much is gained, and why so little or so much?
#
# **7.4** (an experiment) Random changes of the same $L_2$ size: which share of them
# fools the network? Compare with lesson 5.
#
# **7.5** (open) DeepFool gives an upper bound of the distance to the border. For the
# network of two layers, find a *lower* bound, for instance from the norms of its
# weights. How far apart are the two?
#
# ## Read on
#
# - S. Moosavi-Dezfooli, A. Fawzi and P. Frossard, *DeepFool: a simple and accurate
#   method to fool deep neural networks*, 2016, arXiv:1511.04599.
# - N. Carlini and D. Wagner, *Towards evaluating the robustness of neural networks*,
#   2017, arXiv:1608.04644.
# - M. Hein and M. Andriushchenko, *Formal guarantees on the robustness of a classifier
#   against adversarial manipulation*, 2017, arXiv:1705.08475.
