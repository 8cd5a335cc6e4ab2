# %% [markdown]
# # Homework 2: linear models, and FGSM in the exact ball
#
# Mirrors: A7, A8, A9, A10, B5, C1.
#
# Before: lessons 1, 2 and 17. Hours: 7.
#
# You will:
#
# - find the strongest change of a linear model, in two norms;
# - write a gradient that never vanishes, however sure the model is;
# - compute a ball that holds as real numbers;
# - put them together as FGSM.
#
# You write six functions in `hw2.py`.
# Each part below says why, and ends with a cell to explore with. The cells say "not written yet"
# until you have written the part.
#
# After each part, run `python -m homework check hw2 .` in this folder.

# %%
import hw2
import numpy as np
from given import images, labels, model, show

images = images.astype(np.float32)

# %% [markdown]
# ## A. Logit and probability
#
# A logistic regression has the logit $z = W \cdot x + b$ and the probability
# $\sigma(z) = 1 / (1 + e^{-z})$. For $z = -1000$ the exponential overflows. Multiply numerator and
# denominator by $e^{z}$, and it does not. Which form is safe for which sign?

# %%
W = np.array([1.0, 3.0, -1.0, 2.0, 2.0, 3.0])
x = np.array([[1.0, -1.0, 2.0, 0.0, 3.0, -2.0]])
show(lambda: print("logit and probability:", *hw2.logit_and_probability(W, x, 0.0)))

# %% [markdown]
# ## B. The strongest change
#
# A change $d$ moves the logit by $W \cdot d$. If every component is at most $\varepsilon$, at most
# by $\varepsilon \lVert W \rVert_1$ (Hölder). If its length is at most $\varepsilon$, at most by
# $\varepsilon \lVert W \rVert_2$ (Cauchy-Schwarz). Find a change that attains each bound. What does
# it do where $W$ is 0?

# %%
show(lambda: print("linf:", hw2.strongest(W, 0.4, "linf")))
show(lambda: print("l2:  ", hw2.strongest(W, 0.4, "l2")))

# %% [markdown]
# ## C. The gradient of the margin
#
# The log-odds margin of the label is $m = z_y - \log \sum_{j \ne y} e^{z_j}$. Its derivative by
# $z_y$ is 1. Its derivatives by the others are minus their softmax among themselves. Where the
# model is sure, the gradient of the cross-entropy underflows, and this one does not.

# %%
sure = np.array([[0.0, 200.0, 1.0]], np.float32)
show(lambda: print("gradient of the margin:", hw2.margin_gradient(sure, np.array([1]))))

# %% [markdown]
# ## D. The exact ball
#
# The ball holds every $z$ with $|z - x| \le \varepsilon$, as real numbers. The floating-point sum
# $x + \varepsilon$ is rounded, and may be outside. `fractions.Fraction` computes exactly, and
# `numpy.nextafter` gives the next number.

# %%
show(lambda: print("ends:", *hw2.ball(np.array([[0.1, 0.5, 0.99]]), 0.1, (0.0, 1.0))))

# %% [markdown]
# ## E. One step
#
# $x + \varepsilon \cdot \mathrm{sign}(g)$, limited to the ball. Towards a target, the sign changes.
# A pixel with the gradient 0 stays as it is.

# %%
row = np.full((1, 3), 0.5)
g = np.array([[2.0, 0.0, -1.0]])
show(lambda: print("step:", hw2.fgsm_step(row, g, 0.25, row - 0.25, row + 0.25, False)))

# %% [markdown]
# ## F. FGSM
#
# One `vjp` of the model, pulled back from the gradient of the margin, and one step. Raise
# ValueError unless exactly one of `y` and `target` is given.


# %%
def success():
    for eps in (0.05, 0.1, 0.2):
        x_adv = hw2.fgsm(model, images, y=labels, eps=eps)
        wrong = (model(x_adv).argmax(axis=1) != labels).mean()
        print(f"eps = {eps}: the network is wrong on {wrong:.0%} of the images")


show(success)

# %% [markdown]
# ## Written questions
#
# They are in `answers.md`. Hand in `hw2.py` and `answers.md`.
