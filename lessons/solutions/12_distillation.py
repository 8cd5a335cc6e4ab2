# %% [markdown]
# # Solutions to lesson 12: defensive distillation
#
# ## Exercise 12.1
#
# The probability of the true label is $1 / (1 + e^{-m})$. Bisect between a margin at
# which it is below 1 and one at which it is 1.

# %%
import numpy as np
from lesson import by_data, dataset, seed, trained

from minadv import Adam, asarray, fgsm, grad, models, ops
from minadv.defenses.distillation import soft_labels, tempered_cross_entropy
from minadv.evaluation import accuracy, robust_accuracy


def smallest_full_margin(dtype):
    low, high = dtype(0), dtype(100)
    for _ in range(60):
        m = (low + high) / dtype(2)
        full = 1 / (1 + np.exp(-m, dtype=dtype)) == 1
        low, high = (low, m) if full else (m, high)
    return float(high)


found = {
    dtype.__name__: smallest_full_margin(dtype) for dtype in (np.float32, np.float64)
}
print(found)
assert abs(found["float32"] - 24 * np.log(2)) < 1
assert abs(found["float64"] - 53 * np.log(2)) < 1

# %% [markdown]
# About 17 in float32 and 37 in float64, one $\log 2$ for each bit of the significand.
# The last bit depends on how $1 + e^{-m}$ is rounded.
#
# ## Exercise 12.2
#
# The networks of the lesson, trained once more, small.

# %%
d = dataset()
few = by_data(sample=3000, digits=1437)
x_train, y_train = d.x_train[:few], d.y_train[:few]
x, y, eps = d.x_test[:300], d.y_test[:300], 0.2


def network(name, labels, T, start):
    return trained(
        name,
        models.mlp(d.x_train.shape[1:], rng=seed(start)),
        x_train,
        labels,
        loss=tempered_cross_entropy(T),
        epochs=by_data(sample=6, digits=20),
        optimizer=Adam(0.002),
        rng=seed(start),
    )


regular = network("regular", y_train, 1, 1)
teacher = network("teacher", y_train, 20, 1)
student = network("student", soft_labels(teacher, x_train, temperature=20), 20, 2)


def usual_fgsm(model, x, y):
    def loss(x):
        p = ops.softmax(model(x))[np.arange(len(y)), y]
        return -ops.log(ops.clip(p, 1e-300 if x.dtype == np.float64 else 1e-7, 1)).sum()

    return np.clip(x + x.dtype.type(eps) * np.sign(grad(loss, x)), 0, 1)


def as_float64(model):
    copy = models.mlp(d.x_train.shape[1:], dtype=np.float64)
    copy.parameters = {
        name: np.asarray(value, np.float64) for name, value in model.parameters.items()
    }
    return copy


single = robust_accuracy(student, x, y, usual_fgsm(student, x, y))
wide = x.astype(np.float64)
precise = as_float64(student)
double = robust_accuracy(precise, wide, y, usual_fgsm(precise, wide, y))
by_margin = robust_accuracy(student, x, y, fgsm(student, x, y=y, eps=eps))
print(f"usual FGSM: {single:.1%} in float32, {double:.1%} in float64")
print(f"by the margin, in float32: {by_margin:.1%}")
assert double <= single
assert by_margin <= double + 0.02

# %% [markdown]
# float64 takes away a part of the mask only: margins above 37 still round to 1.
#
# ## Exercise 12.3

# %%
works = {}
for T in (1, 2, 5, 10, 20, 50, 100):
    works[T] = robust_accuracy(
        student, x, y, usual_fgsm(lambda x, T=T: student(x) / T, x, y)
    )
    print(f"z / {T}: {works[T]:.1%} stay right")
assert works[20] < works[1] - 0.1
assert works[20] < 0.1

# %% [markdown]
# Once most margins divided by $T$ are below 17. The $T$ of the training is enough.
#
# ## Exercise 12.4
#
# A masked gradient shows where the usual attack leaves many more images right than one
# that does not go through the softmax.


# %%
def masked(model, gap=0.1):
    usual = robust_accuracy(model, x, y, usual_fgsm(model, x, y))
    return usual - robust_accuracy(model, x, y, fgsm(model, x, y=y, eps=eps)) > gap


verdict = {
    name: masked(model)
    for name, model in {
        "regular": regular,
        "teacher": teacher,
        "student": student,
    }.items()
}
print(verdict, f"(accuracy of the student: {accuracy(student, x, asarray(y)):.1%})")
assert verdict == {"regular": False, "teacher": True, "student": True}

# %% [markdown]
# ## Exercise 12.5
#
# One way: train $n$ networks on hard labels and $n$ on soft labels, all at $T = 1$,
# with the same $n$ seeds, and compare the median $\varepsilon_1$ of (12.4) in pairs.
# The soft labels must come from somewhere; take them from a teacher at $T = 1$, and, to
# tell the teacher's knowledge from mere softness, from the hard labels mixed with 1/10.
# In our runs the spread between seeds was a fifth of the value, so an effect of a tenth
# needs some twenty pairs. Confirm what you find with a stronger attack than FGSM.
