"""The documents' networks in PyTorch, with our weights, so that both compute the same numbers."""

from __future__ import annotations

import numpy as np
import torch

from minadv.layers import Conv2D, Dense, Flatten, ReLU


class Channels(torch.nn.Module):
    """(N, H, W, C) to PyTorch's (N, C, H, W), without a copy where C = 1."""

    def forward(self, x):
        return x.permute(0, 3, 1, 2).contiguous()


class FlattenAsOurs(torch.nn.Module):
    """(N, C, H, W) to (N, H * W * C), the order of our weights."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x.flatten(1)


def in_torch(model, *, channels_first: bool = True) -> torch.nn.Sequential:
    """``model`` rebuilt in PyTorch with the same weights.

    Takes (N, C, H, W), or our (N, H, W, C) if not ``channels_first``.
    """
    layers = [] if channels_first else [Channels()]
    for layer in model:
        if isinstance(layer, Conv2D):
            kh, kw, c_in, c_out = layer.weight.shape
            padding = (kh // 2, kw // 2) if layer.padding == "same" else 0
            peer = torch.nn.Conv2d(c_in, c_out, (kh, kw), stride=layer.stride, padding=padding)
            weight = layer.weight.transpose(3, 2, 0, 1)
        elif isinstance(layer, Dense):
            peer, weight = torch.nn.Linear(*layer.weight.shape), layer.weight.T
        else:
            layers.append({Flatten: FlattenAsOurs, ReLU: torch.nn.ReLU}[type(layer)]())
            continue
        with torch.no_grad():
            peer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
            peer.bias.copy_(torch.from_numpy(layer.bias))
        layers.append(peer)
    return torch.nn.Sequential(*layers).eval()


def frozen(peer: torch.nn.Module) -> torch.nn.Module:
    """``peer`` without gradients for its weights, as an attack wants it."""
    for p in peer.parameters():
        p.requires_grad_(False)
    return peer
