# %% [markdown]
# # Noise and negatives: attacks without a gradient
#
# Mirrors: E1, E2, E3.
#
# | | the attacker picks the label | any other label will do |
# |---|---|---|
# | sees the weights (white box) | targeted FGSM, JSMA | FGSM, DeepFool |
# | sees only answers (black box) | one pixel, estimated gradients | the same, and *noise* and *negatives* |
#
# The two simplest attacks need neither weights nor answers (E1): random noise, and the negative of an image.

# %%
import numpy as np
from lesson import compare, dataset, on_mnist, save, trained_mlp

from minadv import fgsm, plotting, to_numpy
from minadv.attacks.noise import negative, uniform_noise
from minadv.evaluation import accuracy, accuracy_curve, confidence, predict

d = dataset()
model = trained_mlp()
x, y = d.x_test[:1000], d.y_test[:1000]

# %% [markdown]
# ## Turn the noise up until the label changes (E2)
#
# Each pixel moves by a random amount, uniform in $[-\varepsilon, \varepsilon]$. (The text says normal noise, `randn`;
# its code draws uniformly. It matters: normal noise has no largest change, so no $\varepsilon$.) Take an image that the
# model reads correctly, draw noise *once*, and turn it up.

# %%
right = np.flatnonzero(to_numpy(predict(model, x) == y))
image, label = x[right[:1]], int(y[right[0]])
epsilons = np.linspace(0, 1, 41)
steps = [uniform_noise(image, eps=eps, rng=0) for eps in epsilons]
read = [int(predict(model, noisy)[0]) for noisy in steps]
sure = [float(confidence(model, noisy, label)[0]) for noisy in steps]
first = next((i for i, k in enumerate(read) if k != label), None)
if first is None:
    print(
        f"a {label} is still read as {label} under noise of ±1, as large as the whole range of gray"
    )
else:
    print(f"a {label} ({sure[0]:.0%}) is read as {read[first]} from ε = {epsilons[first]:.3f} on")
shown = [0, 10, 20, 30, 40]
captions = {
    "labels": [read[i] for i in shown],
    "confidences": [float(confidence(model, steps[i])[0]) for i in shown],
}
figure = plotting.images(
    np.concatenate([to_numpy(steps[i]) for i in shown]),
    **captions,
    title="Noise of ε = 0, 0.25, 0.5, 0.75 and 1",
)
save(
    figure,
    "noise",
    alt="A digit under growing uniform noise, with the predicted label and its confidence",
)

# %% [markdown]
# One image proves little. Over a thousand, next to FGSM with the *same* $\varepsilon$: noise spends its budget in all
# directions at once, and in $n$ dimensions almost all of them are harmless (lesson 1: the logit moves by $\varepsilon
# \sqrt{n}$ instead of $\varepsilon n$).

# %%
grid = np.linspace(0, 0.5, 11)
measured = {
    "uniform noise": accuracy_curve(model, lambda eps: uniform_noise(x, eps=eps, rng=0), y, grid),
    "FGSM": accuracy_curve(model, lambda eps: fgsm(model, x, y=y, eps=eps), y, grid),
}
for eps, noise, attack in zip(
    grid, measured["uniform noise"].accuracy, measured["FGSM"].accuracy, strict=True
):
    print(f"ε = {eps:.2f}: accuracy {noise:6.1%} under noise, {attack:6.1%} under FGSM")
save(
    plotting.epsilon_curves(measured),
    "noise_or_fgsm",
    alt="Accuracy against ε: a slow decline under noise, a collapse under FGSM",
)
curve = measured["uniform noise"]
assert curve.accuracy[4] > measured["FGSM"].accuracy[4] + 0.3  # ε = 0.2
assert curve.true_confidence[-1] < curve.true_confidence[0]  # confidence falls on the way

# %% [markdown]
# ## The negative (E3)
#
# A person reads white on black as well as black on white. For pixels in $[0, 1]$ the negative is $1 - x$ (in general
# low + high $- x$); for pixels centered around 0, in $[-1, 1]$, it is simply $-x$. The two are the same image:

# %%
negatives = negative(x)
centered = negative(2 * x - 1, bounds=(-1, 1))
np.testing.assert_allclose(to_numpy(centered), to_numpy(2 * negatives - 1), atol=1e-6)
assert (to_numpy(centered) == -to_numpy(2 * x - 1)).all()

clean, turned = accuracy(model, x, y), accuracy(model, negatives, y)
print(
    f"accuracy {clean:.1%} on the images, {turned:.1%} on their negatives; mean change {float(abs(negatives - x).mean()):.2f}"
)
if on_mnist():
    compare("E3", "accuracy on negatives", "fails", f"{turned:.1%}")
first_ten = [int(np.flatnonzero(to_numpy(y) == k)[0]) for k in range(10)]
shown = negatives[np.array(first_ten)]
captions = {"labels": predict(model, shown), "confidences": confidence(model, shown)}
figure = plotting.images(shown, **captions, title="Negatives, and what the model reads")
save(
    figure,
    "negatives",
    alt="The digits 0 to 9 black on white, each with the label that the model gives it, most of them wrong",
)
assert turned < 0.5 < clean

# %% [markdown]
# It works where a class has no features of its own: to a network that has only seen white strokes, a black stroke is
# the *absence* of one, and the white ground around it a huge stroke. A color that belongs to one class alone would
# survive. No bound on $\varepsilon$ would ever allow this change; and yet nobody is fooled by it but the machine:
# "small" is not the only way to be harmless to the eye. (Lesson 11 trains on negatives.)
