"""ResNet-18 on 8 images of 224 x 224: FGSM, in images per second and peak memory, next to PyTorch.

Each peak is that of a process of its own, above what the loaded network and images take.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.harness import compare, count, peak_memory, say

EPS, IMAGES = 4 / 255, 8


def ours(weights: str, x, y):
    """FGSM by minadv, as a function."""
    from minadv import fgsm, models

    model = models.load_weights(models.resnet18(normalize=False), weights)
    return lambda: fgsm(model, x, y=y, eps=EPS)


def theirs(weights: str, x, y, channels_last: bool = False):
    """The same in PyTorch: gradient of the cross-entropy, one step, and the labels after it."""
    import torch
    from safetensors.torch import load_file

    from tests.resnet_torch import ResNet

    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = ResNet()
    network.load_state_dict(load_file(weights))
    network = network.eval().requires_grad_(False).to(memory_format=layout)
    images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    labels = torch.from_numpy(y)

    def attack():
        leaf = images.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(network(leaf), labels, reduction="sum")
        (g,) = torch.autograd.grad(loss, leaf)
        with torch.no_grad():
            return network((images + EPS * g.sign()).clamp(0, 1)).argmax(1)

    return attack


WAYS = {
    "minadv": ours,
    "PyTorch": theirs,
    "PyTorch, channels last": lambda *given: theirs(*given, channels_last=True),
}


def images_and_labels():
    """Noise, and labels."""
    x = np.random.default_rng(0).random((IMAGES, 224, 224, 3), dtype=np.float32)
    return x, np.arange(IMAGES)


def memory(name: str, weights: str) -> float:
    """What an attack takes above network and images, in MiB, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.resnet", name, weights]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main():
    """Time as a ratio, and the peaks."""
    from safetensors.torch import save_file

    from tests.resnet_torch import ResNet, seasoned

    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder, "resnet18.safetensors"))
        save_file(seasoned(ResNet()).state_dict(), weights)
        given = (weights, *images_and_labels())
        attack = ours(*given)
        same = (attack().label == theirs(*given)().numpy()).mean()
        say(f"ResNet-18: the same label after the attack for {same:.0%} of the images.")
        for name, way in list(WAYS.items())[1:]:
            what = "ResNet-18: FGSM, 8 images of 224 x 224"
            rounds = count(9, 3)
            compare(what, name, attack, way(*given), work=IMAGES, unit="images/s", rounds=rounds)
        say("\n| FGSM, ResNet-18, 8 images of 224 x 224 | peak memory above the start, MiB |")
        say("|---|---|")
        for name in WAYS:
            say(f"| {name} | {memory(name, weights):,.0f} |")


if __name__ == "__main__":
    attack = WAYS[sys.argv[1]](sys.argv[2], *images_and_labels())
    before = peak_memory()
    attack()
    print(peak_memory() - before)
