# %% [markdown]
# # Homework 5: DeepFool, the shortest way out
#
# Mirrors: E7.
#
# Before: lesson 7. Hours: 7.
#
# You will:
#
# - find the nearest of several hyperplanes, in two norms;
# - step onto it, and a little beyond;
# - repeat that on a network, and measure how far its images are from another label.
#
# FGSM fixes the size of the change and asks whether the label changes. DeepFool asks how small the
# change can be. You write three functions in `hw5.py`.
# Each part below says why, and ends with a cell to explore with. The cells say "not written yet"
# until you have written the part.
#
# After each part, run `python -m homework check hw5 .` in this folder. The checks start from small
# cases that you can compute by hand.

# %%
import hw5
import numpy as np
from given import images, model, show

# %% [markdown]
# ## A. Differences of logits
#
# The model says $y$ where $z_y$ is the largest logit. So the boundary to class $k$ is where $f_k(x)
# = z_k(x) - z_y(x)$ is 0. Inside the region of $y$ every $f_k$ is negative. The gradient of $f_k$
# is $w_k = \nabla z_k - \nabla z_y$.
#
# `logits, pull = vjp(model, x)` gives the logits. `pull(g)` is, for each image, $\sum_k g_k \nabla
# z_k$. With $g = e_k$, a row of zeros with a 1 at $k$, it is the gradient of the logit $k$. One
# pull does this for all images at once. So $K$ pulls are enough, however many images there are.
#
# Use the logits and not the probabilities. The probabilities are flat where the model is sure, and
# bend the boundary distances.


# %%
def explore_differences():
    y = model(images[:3]).argmax(axis=1)
    f, w = hw5.differences(model, images[:3], y)
    print("f of the first image:", f[0].round(1))
    print("shape of w:", w.shape)


show(explore_differences)

# %% [markdown]
# ## B. The nearest hyperplane
#
# Close to $x$ the function $f_k$ is almost linear: $f_k(x + r) \approx f_k + w_k \cdot r$. It is 0
# on a hyperplane. How long is the shortest way there? By Cauchy-Schwarz, $w_k \cdot r \le \lVert
# w_k \rVert_2 \lVert r \rVert_2$. The step must gain $|f_k|$. So it is at least $|f_k| / \lVert w_k
# \rVert_2$ long. It is exactly that long where $r$ goes along $w_k$:
#
# $$ r = \frac{|f_k|}{\lVert w_k \rVert_2} \cdot \frac{w_k}{\lVert w_k \rVert_2} $$
#
# The norm divides twice: once for the distance, once to make a direction of $w_k$.
#
# If the largest change of a pixel is to be small, Hölder takes the place of Cauchy-Schwarz: $w_k
# \cdot r \le \lVert w_k \rVert_1 \lVert r \rVert_\infty$. The distance is $|f_k| / \lVert w_k
# \rVert_1$, and the direction is $\mathrm{sign}(w_k)$.
#
# The nearest hyperplane is the one with the smallest *distance*, not with the smallest $|f_k|$.
# Example: $f = (-2, -3)$ and $w = (1, 0), (3, 4)$. The distances are 2 and 3/5. Here the class with
# the smaller logit is nearer.
#
# Two corners. Row $y$ is 0 and no hyperplane. A class with $w_k = 0$ can't be reached by any step.
# Leave both out before you divide.

# %%
f = np.array([[0.0, -2.0, -3.0]])
w = np.array([[[0.0, 0.0], [1.0, 0.0], [3.0, 4.0]]])
show(lambda: print("l2:  ", *hw5.nearest(f, w, np.array([0]), "l2")))
show(lambda: print("linf:", *hw5.nearest(f, w, np.array([0]), "linf")))

# %% [markdown]
# ## C. DeepFool on a linear model
#
# On a linear model the hyperplanes are exact. One step $x + r$ ends on the boundary. A little more,
# $x + (1 + \eta) r$ with the overshoot $\eta = 0.02$, ends beyond it. The label has changed, and
# the change is only 2 % longer than the shortest one. Then stop: take no further step for this
# image.
#
# The label $y$ that you leave is what the model says about $x$. It stays the same in all steps.

# %%
W = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
start = np.array([[2.0, 1.5]])


def linear():
    z = hw5.deepfool(lambda v: v @ W.T, start, bounds=(-9.0, 9.0))
    print("from", start[0], "to", z[0], "label", int((z @ W.T).argmax()))
    print("length:", np.linalg.norm(z - start), "distance:", 0.5 / np.sqrt(2))


show(linear)

# %% [markdown]
# ## D. DeepFool on a network
#
# A network is not linear, so one step may end short of the boundary. Linearize again at the new
# image, and step again, at most 50 times.
#
# There is a trap: pixels must stay in the bounds. Many pixels of a digit are 0 already. If $w_k$
# wants to lower such a pixel, the clip undoes that part of the step. The next step asks for the
# same again. Without care, only about 57 % of the labels change. So before `nearest`, set $w_k$ to
# 0 at each pixel that stands at a bound and would cross it. Then `nearest` finds the best step of
# the pixels that are free.
#
# The formula asks for no small number in the denominators. If all logits are multiplied by 4, the
# boundaries stay where they are. In binary a factor of 4 rounds nothing. So your answer must stay
# the same, bit for bit.


# %%
def lengths():
    x_adv = hw5.deepfool(model, images)
    size = np.linalg.norm(x_adv - images, axis=1)
    changed = (model(x_adv).argmax(axis=1) != model(images).argmax(axis=1)).mean()
    print(f"labels changed: {changed:.1%}; median length {np.median(size):.3f}")
    print(f"robustness, mean of |r| / |x|: {(size / np.linalg.norm(images, axis=1)).mean():.3f}")


show(lengths)

# %% [markdown]
# ## Written questions
#
# They are in `answers.md`. Hand in `hw5.py` and `answers.md`.
