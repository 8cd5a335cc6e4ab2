"""Forward pass, input gradient and training epoch of the documents' networks, next to PyTorch."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from minadv import data, fit, inference, models
from minadv.attacks.goal import Goal, score_gradient
from tests.benchmarks import harness
from tests.benchmarks.harness import compare, count
from tests.benchmarks.peers import frozen, in_torch

BATCH = 256  # what PyTorch is given at a time: about its best here


def passes(name: str, model, d):
    """Logits, and the gradient of the loss for the images alone."""
    few = count(len(d.x_test), 4096)
    x, y = d.x_test[:few], d.y_test[:few]
    for layout in ("", " channels_last") if name == "CNN" else ("",):
        peer = frozen(in_torch(model))
        images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
        if layout:
            peer, images = (
                peer.to(memory_format=torch.channels_last),
                images.contiguous(memory_format=torch.channels_last),
            )
        labels = torch.from_numpy(y)

        def forward(peer=peer, images=images):
            with torch.no_grad():
                return torch.cat([peer(part) for part in images.split(BATCH)])

        def gradient(peer=peer, images=images, labels=labels):
            parts = []
            for part, label in zip(images.split(BATCH), labels.split(BATCH), strict=True):
                part = part.detach().clone().requires_grad_(True)
                loss = torch.nn.functional.cross_entropy(peer(part), label, reduction="sum")
                parts.append(torch.autograd.grad(loss, part)[0])
            return torch.cat(parts)

        np.testing.assert_allclose(
            inference.logits(model, x), forward().numpy(), rtol=1e-3, atol=1e-3
        )  # the same network
        compare(
            f"{name}: forward pass",
            f"PyTorch{layout}",
            lambda: inference.logits(model, x),
            forward,
            work=len(x),
            unit="images/s",
        )
        ours = partial(score_gradient, model, x, Goal.of(x, y=y))
        compare(
            f"{name}: input gradient",
            f"PyTorch{layout}",
            ours,
            gradient,
            work=len(x),
            unit="images/s",
        )


def training_epoch(name: str, make, d, batch_size: int, images: int):
    """One epoch of Adam on so many images."""
    x, y = d.x_train[:images], d.y_train[:images]
    model, peer = make(), in_torch(make())
    inputs, labels = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y)
    optimizer = torch.optim.Adam(peer.parameters(), lr=0.001)

    def theirs():
        order = torch.randperm(len(x))
        for index in order.split(batch_size):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(peer(inputs[index]), labels[index]).backward()
            optimizer.step()

    ours = partial(fit, model, x, y, batch_size=batch_size, progress=False)
    compare(
        f"{name}: training epoch, batch {batch_size}",
        "PyTorch",
        ours,
        theirs,
        work=len(x),
        unit="images/s",
    )


def main():
    """Everything, on the real MNIST; on its embedded sample in a quick run."""
    d = data.mnist_sample() if harness.quick else data.mnist()
    for name, make in (("CNN", models.cnn), ("MLP", models.mlp)):
        model = make()
        fit(model, d.x_train, d.y_train, batch_size=256, epochs=1, progress=False)
        passes(name, model, d)
    training_epoch("CNN", models.cnn, d, 256, count(60_000, 4096))
    training_epoch("MLP", models.mlp, d, 256, count(60_000, 8192))
    training_epoch("MLP", models.mlp, d, 8, count(16_000, 4096))
