# %% [markdown]
# # Inside the network: the jump into another cluster
#
# Mirrors: D7, D8.
#
# From outside an adversarial two looks like a two. Inside, layer by layer, it turns into a six. Two views of that: a
# map of the last representation, and the size of the change at each depth.

# %%
import numpy as np
from lesson import dataset, on_mnist, save, trained_cnn

from minadv import array_module, plotting, to_numpy
from minadv.activations import activation_maps, relative_change
from minadv.attacks.iterative_fgsm import iterative_fgsm
from minadv.embedding import pca, tsne
from minadv.evaluation import predict
from minadv.parallel import chunk_size, map_chunks

d = dataset()
model = trained_cnn()
x, y = d.x_test[: 1000 if on_mnist() else None], d.y_test[: 1000 if on_mnist() else None]
twos = x[(y == 2) & (predict(model, x) == 2)][:30]
steps, eps = (
    (200, 0.2) if on_mnist() else (40, 0.4)
)  # the small digits have fewer pixels to hide in
sixes = iterative_fgsm(model, twos, target=6, eps=eps, steps=steps)
print(f"{int(sixes.success.sum())} of {len(twos)} twos are read as six (ε = {eps}, {steps} steps)")
assert sixes.success.mean() > 0.9

# %% [markdown]
# ## The representation in two dimensions (D7)
#
# All but the last layer turn an image into a vector, and the last one is a *linear* classifier of these vectors. If its
# answer changes, the vector must have moved to where the sixes are. Principal components: project on the two directions
# in which the clean representations vary most; the adversarial ones are projected on the same.

# %%
represent = model[:-1]  # everything before the last, linear layer


def representation(x):
    """What the last layer is given, (N, D)."""
    return to_numpy(map_chunks(represent, x, chunk=chunk_size(represent, x)))


labels = to_numpy(y)
clean, before, after = representation(x), representation(twos), representation(sixes.x_adv)
axes = pca(clean, 2)
figure = plotting.scatter(
    axes.transform(clean),
    labels,
    class_names=d.classes,
    marked={"twos": axes.transform(before), "adversarial": axes.transform(after)},
    arrows=(axes.transform(before), axes.transform(after)),
    title="PCA of the representation: twos that are read as six",
)
save(
    figure,
    "pca",
    alt="Ten clouds of digits; arrows lead from the cloud of the twos towards that of the sixes",
)
shares = axes.explained_variance_ratio
print(f"the two axes hold {shares.sum():.0%} of the variance: a shadow, not the thing")

# %% [markdown]
# Do they really land *among* the sixes? Ask in all dimensions, not in the picture: how far is it to the mean two and to
# the mean six, and which class is the nearest clean image of? On the small digits it is a six. On MNIST, whose 784 pixels
# allow a much smaller change, each stays nearest to its own original: it has set out towards the sixes, crossed the
# linear classifier's plane, and stopped. "Jumps into the target's cluster" is what two dimensions show of that.

# %%
distances = ((after[:, None] - clean[None]) ** 2).sum(axis=2)
nearest = np.bincount(labels[distances.argmin(axis=1)], minlength=10)
print(
    "nearest clean neighbor of the adversarial twos:",
    {str(k): int(n) for k, n in enumerate(nearest) if n},
)
means = {k: clean[labels == k].mean(axis=0) for k in (2, 6)}
way = {
    (k, name): float(np.median(np.linalg.norm(points - mean, axis=1)))
    for k, mean in means.items()
    for name, points in (("before", before), ("after", after))
}
for k in (2, 6):
    print(
        f"median distance to the mean {k}: {way[k, 'before']:.2f} before, {way[k, 'after']:.2f} after"
    )
assert (
    way[2, "after"] - way[6, "after"] > way[2, "before"] - way[6, "before"]
)  # away from the twos, towards the sixes

# %% [markdown]
# t-SNE keeps neighborhoods instead of axes. It has no rule for new points, so clean and adversarial ones are embedded
# together. Read it with care: which points are neighbors means something, the distance between clusters does not.

# %%
everything = np.concatenate([clean, after])
flat = tsne(pca(everything, 30).transform(everything), steps=500, rng=0).embedding
where = np.flatnonzero((labels == 2) & (to_numpy(predict(model, x)) == 2))[: len(twos)]
figure = plotting.scatter(
    flat[: len(clean)],
    labels,
    class_names=d.classes,
    marked={"adversarial": flat[len(clean) :]},
    arrows=(flat[where], flat[len(clean) :]),
    title="t-SNE: an arrow for each two and its attack",
)
save(
    figure,
    "tsne",
    alt="Ten separate clusters; arrows lead from the twos into the cluster of the sixes",
)

# %% [markdown]
# ## Layer by layer (D8)
#
# For each convolution, how far does the strongest-changing kernel move at each place, $\max_k |a_k(x_{adv}) - a_k(x)|$?
# And how large is the change of the whole layer, $\lVert \Delta a \rVert / \lVert a \rVert$? For comparison, an attack
# that fails: the same number of pixels changed by as much, but with random signs.

# %%
xp = array_module(twos)
signs = np.random.default_rng(0).choice(np.float32([-1, 1]), size=twos.shape)
size = to_numpy(xp.abs(sixes.x_adv - twos))
failed = xp.asarray(np.clip(to_numpy(twos) + signs * size, 0, 1))
print(
    f"random signs of the same size: {int((predict(model, failed) == 6).sum())} of {len(twos)} are read as six"
)

convolutions = (1, 3, 5)  # after the ReLU of each
panels = {"attack": sixes.x_adv[:1], "failed": failed[:1]}
largest = {
    name: [to_numpy(activation_maps(model, twos[:1], images, layer=k))[0] for k in convolutions]
    for name, images in panels.items()
}
for depth in range(3):
    a, b = largest["attack"][depth], largest["failed"][depth]
    print(
        f"convolution {depth + 1}: the largest change is {a.max():.2f} for the attack, {b.max():.2f} for random signs"
    )
    side_by_side = np.concatenate([a, np.zeros((a.shape[0], 1)), b], axis=1)
    figure = plotting.heatmap(
        side_by_side,
        limits=(0, max(a.max(), b.max())),
        title=f"convolution {depth + 1}: attack (left), random signs (right)",
    )
    save(
        figure,
        f"convolution_{depth + 1}",
        alt=f"Change of activation in convolution {depth + 1}, attack left and random signs right",
    )

# %%
names = ["pixels", "conv 1", "conv 2", "conv 3", "logits"]
columns = [0, 2, 4, 6, len(model)]
growth = {
    name: dict(
        zip(
            names,
            np.median(to_numpy(relative_change(model, twos, images)), axis=0)[columns].tolist(),
            strict=True,
        )
    )
    for name, images in (("attack: 2 becomes 6", sixes.x_adv), ("random signs, same size", failed))
}
for name, sizes in growth.items():
    print(f"{name:24}", *(f"{layer} {share:.0%}" for layer, share in sizes.items()), sep="  ")
attack, noise = growth.values()
save(
    plotting.bars(
        growth,
        ylabel="relative change, median",
        percent=False,
        title="The same pixels' worth of change, layer by layer",
    ),
    "depth",
    alt="Bars for pixels, three convolutions and logits: the attack's change grows with depth, that of random signs does not keep up",
)
assert attack["logits"] / attack["pixels"] > 1.2 * noise["logits"] / noise["pixels"]

# %% [markdown]
# Both start with about the same amount of change. The attack's changes point the same way in every layer and add up, as the
# tiny terms of $\varepsilon \lVert W \rVert_1$ did in the first lesson; those of random signs mostly cancel.
