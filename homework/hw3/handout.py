# %% [markdown]
# # Homework 3: iterated FGSM and PGD
#
# Mirrors: C1, C2, D4, E6.
#
# Before: lesson 4. Hours: 9.
#
# You will:
#
# - take many small steps instead of one, and ask for the gradient before each;
# - project onto a ball, and draw from it uniformly;
# - keep the best of all that was seen;
# - put them together as PGD, and turn twos into sixes.
#
# You write six functions in `hw3.py`.
# Each part below says why, and ends with a cell to explore with. The cells say "not written yet"
# until you have written the part.
#
# After each part, run `python -m homework check hw3 .` in this folder.

# %%
import hw3
import numpy as np
from given import images, labels, model, show

from minadv import vjp

# %% [markdown]
# ## A. Iterated FGSM
#
# FGSM trusts one gradient for its whole way of $\varepsilon$. Iterated FGSM takes $T$ steps of
# $\varepsilon / T$, and asks for the gradient again before each:
#
# $$z_0 = x, \qquad z_{t+1} = \mathrm{clip}\left(z_t + \frac{\varepsilon}{T} \,
# \mathrm{sign}(\nabla L(z_t)), \; \mathrm{low}, \; \mathrm{high}\right)$$
#
# $T$ steps of $\varepsilon / T$ never go farther than $\varepsilon$. So `low` and `high`, the ends
# of the ball inside the bounds, matter at the bounds and for the last rounding. Limit each step and
# not the sum: the next gradient must belong to an image that exists. Where the gradient is the same
# everywhere, all $T$ give the same result. Why?

# %%
x = np.full((1, 2), 0.5)
low, high = x - 0.4, x + 0.4


def valley(z):
    """The gradient of a loss that first rises with the first pixel, and then with the second."""
    return np.where(z[:, :1] < 0.6, [[1.0, 0.0]], [[0.0, 1.0]])


show(lambda: print("T = 1:", hw3.iterate(valley, x, 0.4, 1, low, high)))
show(lambda: print("T = 8:", hw3.iterate(valley, x, 0.4, 8, low, high)))

# %% [markdown]
# ## B. The projection onto the l2 ball
#
# A step may leave the ball. Then take the nearest point $p$ of the ball to $z$. Write $d = z - x$.
# Every point of the ball is $x + q$ with $\lVert q \rVert_2 \le \varepsilon$, and by the triangle
# inequality $\lVert d - q \rVert_2 \ge \lVert d \rVert_2 - \varepsilon$. The point $q = \varepsilon
# d / \lVert d \rVert_2$ attains the bound. If $z$ is inside, it is its own nearest point.
#
# A test of it that needs no formula: no point $q$ of the ball lies on $z$'s side of $p$,
# $\langle z - p, q - p \rangle \le 0$.
#
# `x` holds many images. Each has its own length.

# %%
z = np.array([[3.0, 4.0], [0.0, 0.5]])
show(lambda: print("projection:", hw3.project_l2(z, np.zeros((2, 2)), 1.0).tolist()))

# %% [markdown]
# ## C. The steepest direction
#
# A small step $d$ changes the loss by $g \cdot d$. Homework 2 showed which $d$ of size 1 makes that
# largest: $\mathrm{sign}(g)$ if no component exceeds 1 (Hölder), and $g / \lVert g \rVert_2$ if the
# length is 1 (Cauchy-Schwarz). The gradient of a sure model is tiny. The square of $10^{-200}$ is 0
# in floating point, and $0 / 0$ is not a number. Divide by the largest component first, where there
# is one.

# %%
g = np.array([[3e-200, -4e-200], [0.0, 0.0]])
show(lambda: print("steepest:", hw3.steepest(g, "l2").tolist()))

# %% [markdown]
# ## D. A random start
#
# At $x$ itself the gradient may lead nowhere. A start elsewhere in the ball looks at another side
# of it. In the maximum norm the ball is a cube, so draw each pixel for itself. In the Euclidean
# norm, draw a direction and a radius. A normal vector has no preferred direction. The ball of
# radius $r$ has the share $(r / \varepsilon)^D$ of the volume, so $P(\mathrm{radius} \le r) = (r /
# \varepsilon)^D$. If $u$ is uniform in $[0, 1]$, then $P(\varepsilon u^{1/D} \le r) = P(u \le (r /
# \varepsilon)^D)$ is the same. So the radius is $\varepsilon u^{1/D}$: in 64 dimensions nearly all
# of the ball is near its surface.


# %%
def radii():
    start = hw3.random_start(np.zeros((1000, 64)), 1.0, -9.0, 9.0, "l2", np.random.default_rng(7))
    inner, middle = np.quantile(np.sqrt((start**2).sum(axis=1)), [0.01, 0.5])
    print(f"1 % of the starts are within {inner:.3f} of the center, half within {middle:.3f}")


show(radii)

# %% [markdown]
# ## E. Keep the best
#
# The last iterate need not be the best. An attack wants success first. Between two successes, or
# two failures, the higher score is better. The score alone does not tell: question 3 asks for an
# example.

# %%
old = {"success": np.array([True]), "score": np.array([1.0]), "z": np.array([[0.0]])}
new = {"success": np.array([False]), "score": np.array([2.0]), "z": np.array([[1.0]])}
show(lambda: print("the better one:", hw3.keep_best(old, new)))

# %% [markdown]
# ## F. PGD
#
# Now put B to E together. Start at random. Repeat: step along the steepest direction, project onto
# the ball, limit to the bounds. After each step compare with the best so far, and let $x$ itself
# take part. The score is the margin of the target, or minus the margin of $y$; `margin` is given. A
# step $\alpha$ larger than $\varepsilon / T$ lets PGD reach the surface of the ball and move along
# it.


# %%
def success():
    twos = images[(labels == 2) & (model(images).argmax(axis=1) == 2)]
    six = np.full(len(twos), 6)
    low, high = np.maximum(twos - 0.4, 0), np.minimum(twos + 0.4, 1)

    def slope(z):
        logits, pull = vjp(model, z)
        return pull(hw3.margin(logits, six)[1])

    for steps in (1, 5, 20):
        plain = model(hw3.iterate(slope, twos, 0.4, steps, low, high)).argmax(axis=1)
        x_adv = hw3.pgd(
            model,
            twos,
            target=six,
            eps=0.4,
            alpha=0.8 / steps,
            steps=steps,
            rng=np.random.default_rng(7),
        )
        best = model(x_adv).argmax(axis=1)
        print(
            f"T = {steps:>2}: iterated FGSM turns {(plain == 6).mean():.0%} of the twos into sixes,"
            f" PGD {(best == 6).mean():.0%}"
        )


show(success)

# %% [markdown]
# ## Written questions
#
# They are in `answers.md`. Hand in `hw3.py` and `answers.md`.
