"""Forward pass, input gradient and training of the documents' networks, next to PyTorch."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from minadv import fit, inference, models
from minadv.attacks.fgsm import fgsm
from minadv.attacks.goal import Goal, score_gradient
from minadv.backend import array_module, to_numpy
from minadv.defenses.adversarial_training import adversarial_training
from tests.benchmarks.accuracy import mnist
from tests.benchmarks.harness import compare, count, say
from tests.benchmarks.peers import frozen, in_torch
from tests.benchmarks.place import CPU, gpu

BATCH = 256  # what PyTorch is given at a time: about its best here
GPU_BATCH = 4096  # the same on a device
EPS = 0.1
FGSM = partial(fgsm, eps=EPS)  # labels its images, and keeps inside the ball exactly
cross_entropy = torch.nn.functional.cross_entropy


def passes(name: str, model, d, place=CPU, batch: int = BATCH):
    """Logits, and the gradient of the loss for the images alone."""
    images = count(len(d.x_test), 4096)
    x, y = d.x_test[:images], d.y_test[:images]
    ours, goal = place.model(model), Goal.of(place.array(x), y=y)
    for layout in ("", " channels_last") if name == "CNN" else ("",):
        peer, inputs, labels = frozen(in_torch(model)), place.tensor(x), place.tensor(y)
        peer = peer.to(place.device)
        if layout:
            peer = peer.to(memory_format=torch.channels_last)
            inputs = inputs.contiguous(memory_format=torch.channels_last)

        def forward(peer=peer, inputs=inputs):
            with torch.no_grad():
                return torch.cat([peer(part) for part in inputs.split(batch)])

        def gradient(peer=peer, inputs=inputs, labels=labels):
            parts = []
            for part, label in zip(inputs.split(batch), labels.split(batch), strict=True):
                part = part.detach().clone().requires_grad_(True)
                loss = cross_entropy(peer(part), label, reduction="sum")
                parts.append(torch.autograd.grad(loss, part)[0])
            return torch.cat(parts)

        logits = partial(inference.logits, ours, place.array(x))
        ascent = partial(score_gradient, ours, place.array(x), goal)
        np.testing.assert_allclose(
            to_numpy(logits()), forward().cpu().numpy(), rtol=1e-3, atol=1e-3
        )  # the same network
        row = partial(compare, work=len(x), unit="images/s", place=place)
        row(f"{name}: forward pass", f"PyTorch{layout}", logits, forward)
        row(f"{name}: input gradient", f"PyTorch{layout}", ascent, gradient)


def small_batches(name: str, model, d, place=CPU):
    """The input gradient of so few images that the time goes into calls, not into numbers."""
    ours, peer = place.model(model), frozen(in_torch(model)).to(place.device)
    for images in (1, 8, 64):
        x, y = place.array(d.x_test[:images]), d.y_test[:images]
        inputs, labels = place.tensor(d.x_test[:images]), place.tensor(y)
        goal, calls = Goal.of(x, y=y), count(1024, 256) // images

        def mine(x=x, goal=goal, calls=calls):
            for _ in range(calls):
                score_gradient(ours, x, goal)

        def theirs(inputs=inputs, labels=labels, calls=calls):
            for _ in range(calls):
                part = inputs.detach().clone().requires_grad_(True)
                torch.autograd.grad(cross_entropy(peer(part), labels, reduction="sum"), part)

        compare(
            f"{name}: input gradient, {images} at a time",
            "PyTorch",
            mine,
            theirs,
            work=images * calls,
            unit="images/s",
            place=place,
        )


def sign_step(model, x, *, y):
    """What PyTorch's loop below does: the images alone, with no label and no exact ball."""
    xp = array_module(x)
    _, g = score_gradient(model, x, Goal.of(x, y=y))
    return xp.clip(x + EPS * xp.sign(g), 0, 1)


def training(name: str, make, d, batch_size: int, images: int, place=CPU, attack=None):
    """Steps of Adam on so many images; with an ``attack``, on its images, too."""
    x, y = d.x_train[:images], d.y_train[:images]
    model, peer = place.model(make()), in_torch(make()).to(place.device)
    inputs, labels = place.tensor(x), place.tensor(y)
    optimizer = torch.optim.Adam(peer.parameters(), lr=0.001)

    def theirs():
        for index in torch.randperm(len(x), device=place.device).split(batch_size):
            batch, label = inputs[index], labels[index]
            if attack:
                moved = batch.clone().requires_grad_(True)
                (g,) = torch.autograd.grad(cross_entropy(peer(moved), label), moved)
                moved = (batch + EPS * g.sign()).clamp(0, 1)
            optimizer.zero_grad()
            loss = cross_entropy(peer(batch), label)
            if attack:
                loss = loss + cross_entropy(peer(moved), label)
            loss.backward()
            optimizer.step()

    train, kind = fit, "training"
    if attack:
        train = partial(adversarial_training, attack=attack)
        kind = f"adversarial training ({'fgsm' if attack is FGSM else 'the same loop'})"
    compare(
        f"{name}: {kind}, batch {batch_size}",
        "PyTorch",
        partial(
            train, model, place.array(x), place.array(y), batch_size=batch_size, progress=False
        ),
        theirs,
        work=len(x),
        unit="images/s",
        place=place,
    )


def main():
    """Everything, on the processor, and on a GPU where there is one."""
    d = mnist()
    device, said = gpu()
    say(said)
    for name, make in (("CNN", models.cnn), ("MLP", models.mlp)):
        model = make()
        fit(model, d.x_train[:12_800], d.y_train[:12_800], batch_size=256, progress=False)
        for place, batch in ((CPU, BATCH), (device, GPU_BATCH)):
            if place:
                passes(name, model, d, place, batch)
                small_batches(name, model, d, place)
    for place in filter(None, (CPU, device)):
        training("CNN", models.cnn, d, 256, count(12_800, 2048), place)
        for attack in (FGSM, sign_step):
            training("CNN", models.cnn, d, 256, count(6400, 1024), place, attack)
        training("MLP", models.mlp, d, 256, count(60_000, 5000), place)
        training("MLP", models.mlp, d, 8, count(4000, 1000), place)
