# %% [markdown]
# # Homework 6: differential evolution, and the one-pixel attack
#
# Mirrors: D6.
#
# Before: lesson 8. Hours: 9.
#
# You will:
#
# - write differential evolution: partners, mutants, trials, survivors;
# - minimize functions that you know, to see that it works;
# - fool a black box by three pixels, within a budget of questions.
#
# Here you do not see the model. You send images, and get probabilities. There is no gradient. You
# write seven functions in `hw6.py`.
# Each part below says why, and ends with a cell to explore with. The cells say "not written yet"
# until you have written the part.
#
# After each part, run `python -m homework check hw6 .` in this folder.

# %%
import hw6
import numpy as np
from given import images, labels, model, show


def predict(x):
    """The black box: images (n, 64) to probabilities (n, 10)."""
    z = model(x)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# %% [markdown]
# ## A. Partners
#
# Differential evolution keeps a population of $P$ candidates. Each candidate $c$ meets three
# others, $p_1$, $p_2$ and $p_3$. They are not $c$, and they differ from each other. For $P = 5$ and
# one $c$ there are $4 \cdot 3 \cdot 2 = 24$ choices. All are equally likely. The choice of one row
# says nothing about the choice of another.
#
# One way: random numbers, sorted. The order of $P$ independent random numbers is a random
# permutation. How do you keep $c$ out of the first three?

# %%
show(lambda: print(hw6.partners(5, np.random.default_rng(0))))

# %% [markdown]
# ## B. Mutation, crossover, selection
#
# **Mutation.** The mutant of $c$ is $v = x_{p_1} + F (x_{p_2} - x_{p_3})$. The difference of two
# candidates is a step. While the population is wide, the steps are long. As it contracts, they
# become short. Nobody has to choose a step size.
#
# **Crossover.** Each coordinate of the trial comes from $v$ with probability $CR$, and else from
# $x_c$. One coordinate, drawn uniformly among the $D$, comes from $v$ in any case. Else a trial
# could equal its candidate, and a query would be lost. So a coordinate comes from $v$ with
# probability
#
# $$ \frac{1}{D} + \Bigl(1 - \frac{1}{D}\Bigr) CR = CR + \frac{1 - CR}{D} . $$
#
# **Selection.** The trial takes its candidate's place if it is no worse. A tie counts for the
# trial. On a plateau the population can then move.

# %%
X = np.array([[0.0, 0.0], [1.0, 2.0], [4.0, 4.0], [8.0, 2.0]])
p = np.array([[1, 2, 3]] * 4)
rng = np.random.default_rng(1)
show(lambda: print("mutant:", hw6.mutant(X, p, 0.5)[0], "expected [-1. 3.]"))
show(lambda: print("trials:", hw6.crossover(X, X + 100, 0.5, rng).tolist()))
show(lambda: print("ties:", hw6.select(X[:1], np.array([1.0]), X[1:2], np.array([1.0]))))

# %% [markdown]
# ## C. Differential evolution
#
# The first generation is uniform in the box. Each other generation makes partners, mutants, trials
# and survivors. A trial that leaves the box is clipped to it. Each generation asks for $P$ values,
# so $G$ generations ask for $P \cdot G$. The first one counts. The values of the old population are
# known already: do not ask for them again.
#
# As selection never accepts a worse trial, the best value of a generation never rises.


# %%
def sphere():
    box = np.full(6, -3.0), np.full(6, 3.0)
    rng = np.random.default_rng(0)
    x, history = hw6.differential_evolution(
        lambda X: ((X - 1) ** 2).sum(axis=1), *box, 40, 100, 0.5, 0.9, rng
    )
    print("minimum at", x.round(4))
    print("best value after 1, 10, 50, 100 generations:", history[[0, 9, 49, 99]])


show(sphere)

# %% [markdown]
# ## D. Painting pixels
#
# A candidate has to say which pixels change, and to what. Each gene is (row, column, value). The
# row and the column are numbers in $[0, 8)$, rounded down. So each of the 8 rows owns an interval
# of length 1. If you scaled to 0 to 7 and rounded to nearest, the first and the last row would own
# only half an interval.
#
# Two genes may hit one pixel. Then the later one wins.

# %%
genes = np.array([[0.0, 7.9, 0.5], [3.2, 3.8, 1.0], [3.9, 3.0, 0.25]])
show(lambda: print(hw6.paint(np.zeros((8, 8)), genes)))

# %% [markdown]
# ## E. The attack
#
# The objective is $p_y$, the probability of the right label. Minimize it over the genes. The box is
# $[0, 8)$ for rows and columns, and $[0, 1]$ for values. The box of `differential_evolution`
# includes its upper end. So the upper end for rows and columns is the largest number below 8,
# `np.nextafter(8, 0)`.
#
# Every image that `predict` sees counts, and the grader counts them. With $P = 40$ and a budget of
# 1,040 there are 26 generations.
#
# The check compares the number of fooled images with the reference. Random search fools clearly
# fewer.


# %%
def attack():
    right = np.flatnonzero(predict(images).argmax(axis=1) == labels)[:10]
    fooled = 0
    for i in right:
        rng = np.random.default_rng(i)
        z = hw6.one_pixel(predict, images[i], int(labels[i]), 3, 1040, rng)
        fooled += predict(z[None]).argmax() != labels[i]
    print(f"three pixels fooled the model on {fooled} of {len(right)} images")


show(attack)

# %% [markdown]
# ## Written questions
#
# They are in `answers.md`. Hand in `hw6.py` and `answers.md`.
