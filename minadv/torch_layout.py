"""A model's arrays as PyTorch names them and orders their axes, and back.

What PyTorch calls ``layer1.0.conv1.weight``, (C_out, C_in, kh, kw), is in ResNet-18 here
``5.0.branch.0.weight``, (kh, kw, C_in, C_out).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from minadv.layers import (
    BatchNorm,
    Composite,
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAvgPool,
    Layer,
    Normalize,
    Reshape,
    Residual,
    Sequential,
)
from minadv.layers.base import check_parameters

__all__ = ["from_torch", "to_torch"]


def to_torch(model: Layer) -> dict:
    """All arrays of ``model`` under PyTorch's names, in PyTorch's layout."""
    own = model.arrays
    return {peer.name: peer.there(own[name]) for name, peer in _peers(model).items()}


def from_torch(model: Layer, values: dict) -> dict:
    """``values``, named and laid out as by :func:`to_torch`, as ``model.arrays`` has them.

    Raises :class:`ValueError` that names what does not fit, as PyTorch does.
    """
    check_parameters(to_torch(model), values)
    return {name: peer.here(values[peer.name]) for name, peer in _peers(model).items()}


class Peer(NamedTuple):
    """What an array is called in PyTorch, and how its axes are put in order, there and back."""

    name: str
    there: Callable
    here: Callable


def _peers(model: Layer) -> dict[str, Peer]:
    """The peer of each array of ``model``, by the array's own name."""
    peers = {}
    channels, flattened = None, None  # of the image, and of the image that a Flatten was given
    for ours, theirs, layer in _leaves(model, "", ""):
        if isinstance(layer, Flatten):
            channels, flattened = None, channels
        for name in layer.arrays:
            per_feature = isinstance(layer, BatchNorm)
            ways = _layout(layer, flattened) if name == "weight" or per_feature else (_same, _same)
            peers[ours + name] = Peer(theirs + name, *ways)
        if isinstance(layer, Conv2D | DepthwiseConv2D):
            channels = layer.weight.shape[-1]
        elif isinstance(layer, Normalize):
            channels = layer.mean.shape[-1] if layer.mean.size > 1 else channels
        elif isinstance(layer, ConvTranspose2D):
            channels = layer.weight.shape[2]
        elif isinstance(layer, Dense | GlobalAvgPool | Reshape):
            channels = flattened = None
    return peers


# ---- names

WORDS = {Conv2D: "conv", BatchNorm: "bn", Sequential: "layer", Dense: "fc"}


def _leaves(layer: Layer, ours: str, theirs: str) -> Iterator[tuple[str, str, Layer]]:
    """Each layer that holds no others, with what its arrays' names start with, here and there."""
    if not isinstance(layer, Composite):
        yield ours, theirs, layer
        return
    for here, there, child in _children(layer):
        yield from _leaves(child, f"{ours}{here}.", f"{theirs}{there}.")


def _children(layer: Composite) -> Iterator[tuple[str, str, Layer]]:
    """The children of ``layer`` with their names here and there."""
    if isinstance(layer, Residual) and isinstance(layer.branch, Sequential):
        for here, there, child in _by_kind(layer.branch):  # conv1, bn1, conv2, bn2
            yield f"branch.{here}", there, child
        yield "shortcut", "downsample", layer.shortcut
    elif isinstance(layer, Sequential) and any(map(_is_stage, layer)):
        yield from _by_kind(layer)  # conv1, bn1, layer1 ... fc
    elif isinstance(layer, Sequential):
        counted = 0
        for here, child in layer.children().items():
            yield here, str(counted), child
            counted += not isinstance(child, Normalize)  # there, it is left to the caller
    else:
        yield from ((name, name, child) for name, child in layer.children().items())


def _is_stage(layer: Layer) -> bool:
    return isinstance(layer, Sequential) and any(isinstance(child, Residual) for child in layer)


def _by_kind(layers: Sequential) -> Iterator[tuple[str, str, Layer]]:
    """The layers called by what they are, and counted from 1, but "fc", which is the only one."""
    count = dict.fromkeys(WORDS, 0)
    for i, layer in enumerate(layers):
        kind, there = type(layer), str(i)
        if kind in WORDS:
            count[kind] += 1
            there = WORDS[kind] + (str(count[kind]) if (kind, count[kind]) != (Dense, 1) else "")
        yield str(i), there, layer


# ---- layout


def _same(a):
    return a


def _layout(layer: Layer, flattened: int | None) -> tuple[Callable, Callable]:
    """How the axes of a layer's ``weight`` are put in PyTorch's order, and back.

    ``flattened``: the channels of the image that the layer is given as a row. There, the row is
    (C, H · W), here (H · W, C). This is so for all arrays of a BatchNorm.
    """
    if isinstance(layer, Conv2D | ConvTranspose2D):
        return lambda a: a.transpose(3, 2, 0, 1), lambda a: a.transpose(2, 3, 1, 0)
    if isinstance(layer, DepthwiseConv2D):
        return lambda a: a.transpose(2, 0, 1)[:, None], lambda a: a[:, 0].transpose(1, 2, 0)
    if isinstance(layer, Dense) and flattened:
        d_in, d_out = layer.weight.shape
        here, there = (d_in // flattened, flattened, d_out), (d_out, flattened, d_in // flattened)
        return (
            lambda a: a.reshape(here).transpose(2, 1, 0).reshape(d_out, d_in),
            lambda a: a.reshape(there).transpose(2, 1, 0).reshape(d_in, d_out),
        )
    if isinstance(layer, Dense):
        return (lambda a: a.T,) * 2
    if isinstance(layer, BatchNorm) and flattened:
        return (
            lambda a: a.reshape(-1, flattened).T.reshape(-1),
            lambda a: a.reshape(flattened, -1).T.reshape(-1),
        )
    return _same, _same
