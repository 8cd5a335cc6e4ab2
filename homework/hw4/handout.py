# %% [markdown]
# # Homework 4: JSMA, few pixels
#
# Mirrors: D5.
#
# Before: lesson 6. Hours: 8.
#
# You will:
#
# - compute how each pixel moves the target and all other classes;
# - rank pixels, and pairs of pixels, by their saliency;
# - put them together as JSMA, and turn twos into sixes by a few pixels.
#
# You write five functions in `hw4.py`.
# Each part below says why, and ends with a cell to explore with. The cells say "not written yet"
# until you have written the part.
#
# After each part, run `python -m homework check hw4 .` in this folder.

# %%
import hw4
import numpy as np
from given import draw, images, labels, model, show

two = images[(labels == 2) & (model(images).argmax(axis=1) == 2)][:1]
six = np.array([6])

# %% [markdown]
# ## A. The forward derivative
#
# FGSM changes every pixel a little. JSMA changes few pixels a lot. So it must know what each pixel
# does: how it moves the output $F_t$ of the target, and how it moves all the others together,
#
# $$\frac{\partial F_t}{\partial x_i} \quad \text{and} \quad
# \sum_{j \ne t} \frac{\partial F_j}{\partial x_i}.$$
#
# `pull(g)` gives $\sum_j g_j \, \partial z_j / \partial x$. So one pull with a 1 at the target
# gives the first, and one with a 1 everywhere else gives the second.
#
# With the probabilities $F = \mathrm{softmax}(z)$ one pull is enough. The derivative of the softmax
# is $\partial F_t / \partial z_j = F_t (\delta_{tj} - F_j)$, where $\delta_{tj}$ is 1 for $j = t$
# and 0 elsewhere. And since all $F_j$ add up to 1, the second sum is minus the first derivative.
# With the log-odds $m$ of the target, $F_t = \sigma(m)$, so $\nabla F_t = F_t (1 - F_t) \nabla m$.


# %%
def derivatives():
    for outputs in ("logits", "probabilities"):
        dt, do = hw4.forward_derivative(model, two, six, outputs)
        print(f"{outputs}: dt goes up to {dt.max():.3g}, do goes down to {do.min():.3g}")


show(derivatives)

# %% [markdown]
# ## B. The saliency map
#
# A pixel that is made brighter should raise the target and lower the others. Where it does both,
# its saliency is the product; elsewhere it is 0:
#
# $$S_i = 0 \;\text{ if }\; \frac{\partial F_t}{\partial x_i} < 0 \;\text{ or }\;
# \sum_{j \ne t} \frac{\partial F_j}{\partial x_i} > 0, \qquad
# S_i = \frac{\partial F_t}{\partial x_i} \left| \sum_{j \ne t} \frac{\partial F_j}{\partial x_i}
# \right| \;\text{ otherwise}.$$
#
# If $\theta < 0$ the pixel is made darker, and everything has the opposite sign.

# %%
dt, do = np.array([[2.0, 2.0, -2.0, 1.0]]), np.array([[-3.0, 3.0, 3.0, -1.0]])
show(lambda: print("brighter:", hw4.saliency(dt, do, 1.0).tolist()))
show(lambda: print("darker:  ", hw4.saliency(dt, do, -1.0).tolist()))

# %% [markdown]
# ## C. The best pixel
#
# Some pixels are not free: they are at the bound, or the budget is used up. Take the largest $S$ of
# the free ones. If the map is 0 on all of them, `argmax` answers 0, the corner pixel, which helps
# nobody. Answer -1 instead, so that the attack can stop.

# %%
S = np.array([[1.0, 5.0, 2.0], [0.0, 0.0, 0.0]])
free = np.array([[True, False, True], [True, True, True]])
show(lambda: print("best pixels:", hw4.best_pixel(S, free).tolist()))

# %% [markdown]
# ## D. The best pair of pixels
#
# With the logits, few single pixels help the target and hurt the others. The paper so looks at
# pairs and asks the conditions of the sums: a pixel that helps much and hurts nobody goes with one
# that hurts the others much. A pair of two inadmissible pixels can so be the best one. There are
# $D(D-1)/2$ pairs, 2,016 of 64 pixels: try them all. A pixel is no pair with itself.

# %%
dt, do = np.array([[5.0, -1.0, 1.0]]), np.array([[1.0, -4.0, -1.0]])
show(lambda: print("best pair:", hw4.best_pair(dt, do, np.ones((1, 3), bool)).tolist()))

# %% [markdown]
# ## E. JSMA
#
# Repeat for each image that is not yet successful: compute the map, take the best free pixel, add
# $\theta$, and limit it to the bounds. `derivative(z, target)` gives the two derivatives at `z`, so
# that your attack does not know which outputs it uses.
#
# When is a pixel free? It is not at the end of its way. And it has changed already, or fewer than
# `budget` pixels have. Count pixels and not steps: with $\theta = 0.5$ a pixel may move twice.
#
# An image is done when its largest logit is the target's, or when no free pixel has a saliency
# above 0. From then on it must not change.


# %%
def few_pixels():
    twos = images[(labels == 2) & (model(images).argmax(axis=1) == 2)]
    t = np.full(len(twos), 6)
    for outputs in ("logits", "probabilities"):

        def derivative(z, target, outputs=outputs):
            return hw4.forward_derivative(model, z, target, outputs)

        x_adv = hw4.jsma(model, derivative, twos, t, 1.0, 12, (0.0, 1.0))
        good = model(x_adv).argmax(axis=1) == 6
        count = np.median((x_adv != twos).sum(axis=1))
        print(f"{outputs}: {good.mean():.0%} of the twos are sixes, median {count:.0f} pixels")
    draw(twos[0])
    print("becomes")
    draw(x_adv[0])


show(few_pixels)

# %% [markdown]
# ## Written questions
#
# They are in `answers.md`. Hand in `hw4.py` and `answers.md`.
