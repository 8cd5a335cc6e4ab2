"""Certificates: how much is proved, and how fast, next to the same bounds written in PyTorch.

PyTorch's are in float32 and do not count rounding; ours are in float64 and do. They are given the
same weights, and the shares that both prove are printed side by side.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from minadv import data, evaluation, fit, models, pgd
from minadv.certify import certified, margin_bound
from minadv.defenses import interval_training
from minadv.training import Adam
from tests.benchmarks.harness import HEADER, compare, count
from tests.benchmarks.peers import frozen, in_torch

EPS = 0.1


def main():
    """Networks trained regularly and on intervals: what is proved at ε, and how fast."""
    d = data.mnist_sample()
    x, y = d.x_test[:1000], d.y_test[:1000]
    x_train, y_train = d.x_train[: count(10_000, 3000)], d.y_train[: count(10_000, 3000)]
    how = {"batch_size": 64, "progress": False}
    networks = {}
    for name, make in (("MLP", models.mlp), ("CNN", models.cnn)):
        networks[name, "regular"] = make()
        fit(networks[name, "regular"], x_train, y_train, epochs=3, **how)
        networks[name, "on intervals"] = make()
        schedule = {"eps": EPS, "warm_up": 1, "ramp": 5, "epochs": count(12, 8)}
        model = networks[name, "on intervals"]
        interval_training(model, x_train, y_train, optimizer=Adam(0.002), **schedule, **how)
    print("| network | ε | accuracy | intervals | CROWN | PGD-40 failed |\n|" + "---|" * 6)
    for (name, training), model in networks.items():
        few = slice(0, 1000 if name == "MLP" else count(100, 20))
        for eps in (EPS / 5, EPS):
            proved = [
                certified(model, x[few], y[few], eps=eps, method=method).mean()
                for method in ("intervals", "crown")
            ]
            attacked = pgd(model, x[few], y=y[few], eps=eps)
            shares = [evaluation.accuracy(model, x[few], y[few]), *proved]
            shares.append(evaluation.robust_accuracy(model, x[few], y[few], attacked))
            row = " | ".join(f"{share:.1%}" for share in shares)
            print(f"| {name}, trained {training} | {eps:g} | {row} |", flush=True)
    print(f"\n{HEADER}")
    for name in ("MLP", "CNN"):
        model = networks[name, "on intervals"]
        peer = partial(intervals, frozen(in_torch(model)), x, y)
        safe = np.mean((peer() > 0) == certified(model, x, y, eps=EPS, method="intervals"))
        print(f"Intervals, {name}: the same verdict on {safe:.1%} of the images")
        own = partial(margin_bound, model, x, y, eps=EPS, method="intervals")
        compare(f"Intervals, {name}", "PyTorch", own, peer, work=len(x), unit="images/s")
    model = networks["MLP", "on intervals"]
    peer = partial(lines, frozen(in_torch(model)), x, y)
    safe = np.mean((peer() > 0) == certified(model, x, y, eps=EPS))
    print(f"CROWN, MLP: the same verdict on {safe:.1%} of the images")
    own = partial(margin_bound, model, x, y, eps=EPS)
    compare("CROWN, MLP", "PyTorch", own, peer, work=len(x), unit="images/s")


def box_in_torch(x):
    """The ends of the ball, (N, C, H, W)."""
    images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
    return (images - EPS).clip(0, 1), (images + EPS).clip(0, 1)


def passed(layer, low, high):
    """The box after one layer."""
    if not hasattr(layer, "weight"):
        return layer(low), layer(high)
    center, radius = (low + high) / 2, (high - low) / 2
    if isinstance(layer, torch.nn.Linear):
        radius = radius @ layer.weight.abs().T
    else:
        how = {"stride": layer.stride, "padding": layer.padding}
        radius = torch.nn.functional.conv2d(radius, layer.weight.abs(), **how)
    return layer(center) - radius, layer(center) + radius


def against(weight, bias, y):
    """Weights and biases of z_y - z_j, (N, K, D) and (N, K)."""
    labels = torch.from_numpy(y)
    return weight[labels][:, None] - weight, bias[labels][:, None] - bias


def least(margins, y):
    """The least margin against another label."""
    margins = margins.clone()
    margins[torch.arange(len(y)), torch.from_numpy(y)] = torch.inf
    return margins.min(dim=1).values.numpy()


@torch.no_grad()
def intervals(network, x, y):
    """Gowal et al. 2018, the last layer elided."""
    low, high = box_in_torch(x)
    *hidden, last = network
    for layer in hidden:
        low, high = passed(layer, low, high)
    c, b = against(last.weight, last.bias, y)
    center, radius = (low + high) / 2, (high - low) / 2
    margins = torch.einsum("nd,nkd->nk", center, c) - torch.einsum("nd,nkd->nk", radius, c.abs())
    return least(margins + b, y)


@torch.no_grad()
def lines(network, x, y):
    """Zhang et al. 2018 for one hidden layer."""
    first, last = (layer for layer in network if hasattr(layer, "weight"))
    low, high = (end.flatten(1) for end in box_in_torch(x))
    l, u = passed(first, low, high)
    bent = (l < 0) & (u > 0)
    s = torch.where(bent, u / (u - l), (l >= 0).float())
    t = torch.where(bent, -s * l, 0.0)
    alpha = torch.where(bent, (u >= -l).float(), s)
    c, b = against(last.weight, last.bias, y)
    up, down = c.clamp(min=0), c.clamp(max=0)
    a = up * alpha[:, None] + down * s[:, None]
    const = (down * t[:, None]).sum(2) + a @ first.bias + b
    g = a @ first.weight
    ends = (g.clamp(min=0) * low[:, None]).sum(2) + (g.clamp(max=0) * high[:, None]).sum(2)
    return np.maximum(least(ends + const, y), intervals(network, x, y))
