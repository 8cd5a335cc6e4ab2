"""ResNet-18 in PyTorch, written out of ``torch.nn`` with torchvision's names (its import needs more
than PyTorch)."""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Module):
    """Torchvision's BasicBlock."""

    def __init__(self, c_in: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or c_in != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(c_in, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Torchvision's ResNet of basic blocks; a small stem for small images if not ``large``."""

    def __init__(
        self,
        channels: int = 3,
        classes: int = 1000,
        widths: tuple = (64, 128, 256, 512),
        blocks: tuple = (2, 2, 2, 2),
        large: bool = True,
    ):
        super().__init__()
        kernel, stride = (7, 2) if large else (3, 1)
        self.conv1 = nn.Conv2d(
            channels, widths[0], kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        c_in = widths[0]
        for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            first = Block(c_in, width, 1 if i == 0 else 2)
            rest = (Block(width, width, 1) for _ in range(count - 1))
            setattr(self, f"layer{i + 1}", nn.Sequential(first, *rest))
            c_in = width
        self.stages = len(widths)
        self.fc = nn.Linear(c_in, classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(x.mean(dim=(2, 3)))


def seasoned(network: nn.Module, seed: int = 0) -> nn.Module:
    """``network`` in inference mode, with random weights and statistics as training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.3, 0.3, generator=generator)
                module.running_mean.uniform_(-0.5, 0.5, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
            elif isinstance(module, nn.Conv2d):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
    return network.eval()
