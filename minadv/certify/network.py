"""A model's layers as the steps that bounds are carried through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from minadv import layers, models
from minadv.backend import Array, array_module
from minadv.certify.rows import FLOOR
from minadv.certify.steps import Affine, Bend, Pool, Precision, Size, Step, Unfold
from minadv.inference import check_logits
from minadv.layers import Layer
from minadv.windows import output_size, padding_widths

KNOWN = (
    "Dense, Conv2D, DepthwiseConv2D, ReLU, LeakyReLU (slope from 0 to 1), AvgPool, MaxPool, "
    "GlobalAvgPool, Flatten, Normalize, Dropout (which is off), LogisticRegression, and "
    "Sequential of these"
)


def steps_of(model: Callable, x: Array, *, rounds: bool = True) -> list[Step]:
    """The steps of ``model`` for images like ``x``, (N, H, W, C) or (N, D).

    ``rounds``: whether bounds are to hold for what it computes, too, or for real numbers alone.
    Raises :class:`TypeError` that names the first layer that no step stands for.
    """
    found = list(_known(model))
    weights = [p.dtype for layer in found for p in layer.parameters.values()]
    precision = Precision.of(x.dtype, *weights)
    if not rounds:
        precision = replace(precision, u=0.0, tiny=FLOOR)
    how = {"precision": precision, "steps": len(found) + 2}
    size: Size = size_of(x)
    steps: list[Step] = []
    for layer in found:
        for step in STEPS[_kind(layer)](layer, size, how, x):  # type: ignore[index]
            steps.append(step)
            size = step.out
    check_logits(model(x[:1]), len(x[:1]))
    if not steps or isinstance(steps[-1], Bend | Pool):
        raise TypeError(f"model must end in logits, got {found[-1:]} as the last layer")
    return steps


def size_of(x: Array) -> Size:
    """(H, W, C) of a batch of images, (1, 1, D) of vectors."""
    return x.shape[1:] if x.ndim == 4 else (1, 1, x.shape[1])


def _known(model) -> Iterator[Layer]:
    """The layers one after the other, without the Sequentials around them."""
    if isinstance(model, layers.Sequential) and type(model).apply is layers.Sequential.apply:
        for layer in model:
            yield from _known(layer)
    elif _kind(model) is None:
        raise TypeError(f"model must be made of layers with known bounds, {KNOWN}; got {model!r}")
    elif isinstance(model, layers.LeakyReLU) and not 0 <= model.slope <= 1:
        raise TypeError(f"model: LeakyReLU must have a slope from 0 to 1, got {model.slope}")
    else:
        yield model


def _kind(layer) -> type | None:
    """The known layer that ``layer`` computes as; None if it computes something of its own."""
    kinds = (kind for kind in STEPS if isinstance(layer, kind))
    return next((kind for kind in kinds if type(layer).apply is vars(kind)["apply"]), None)


# What each layer is. Each function: (layer, size of its input, precision and steps, images x).


def _convolution(kernel, bias, size: Size, how: dict, stride=(1, 1), padding: Any = "valid"):
    if size[2] != kernel.shape[2]:
        raise ValueError(f"model expects {kernel.shape[2]} channels or numbers, got {size[2]}")
    widths = padding_widths(padding, size[:2], kernel.shape[:2], stride)
    out = (*output_size(size[:2], widths, kernel.shape[:2], stride), kernel.shape[3])
    kernel, bias = kernel.astype(np.float64), bias.astype(np.float64)
    yield Affine(kernel, bias, size, out, stride=stride, widths=widths, **how)


def _dense(layer, size, how, x):
    if size[:2] != (1, 1):
        raise ValueError(f"Dense expects vectors, got images {size}: is a Flatten missing?")
    return _convolution(layer.weight[None, None], layer.bias, size, how)


def _conv(layer, size, how, x):
    bias = array_module(x).zeros(layer.weight.shape[3]) if layer.bias is None else layer.bias
    return _convolution(layer.weight, bias, size, how, layer.stride, layer.padding)


def _per_channel(weight):
    """The kernel (kh, kw, C, C) that convolves each channel with its own, (kh, kw, C)."""
    return weight[..., None] * array_module(weight).eye(weight.shape[2], dtype=weight.dtype)


def _depthwise(layer, size, how, x):
    kernel = _per_channel(layer.weight)
    return _convolution(kernel, layer.bias, size, how, layer.stride, layer.padding)


def _mean(window: tuple[int, int], size: Size, how: dict, x, stride=None, padding="valid"):
    xp, c = array_module(x), size[2]
    kernel = _per_channel(xp.full((*window, c), 1 / (window[0] * window[1])))
    return _convolution(kernel, xp.zeros(c), size, how, stride or window, padding)


def _average(layer, size, how, x):
    return _mean(layer.size, size, how, x, layer.stride, layer.padding)


def _global_average(layer, size, how, x):
    return _mean(size[:2], size, how, x)


def _normalize(layer, size, how, x):
    xp = array_module(x)
    # as the layer computes: rounded to the images' dtype first
    both = (xp.asarray(a.astype(x.dtype), dtype=np.float64) for a in (layer.mean, layer.std))
    try:
        mean, std = (xp.broadcast_to(a, (size[2],)) for a in both)
    except ValueError:
        raise ValueError(
            f"model: Normalize must have one mean and std for each of {size[2]} channels, got "
            f"shapes {layer.mean.shape} and {layer.std.shape}"
        ) from None
    return _convolution(_per_channel((1 / std)[None, None]), -mean / std, size, how)


def _logistic(layer, size, how, x):
    xp = array_module(layer.weight)
    if size[:2] != (1, 1):
        yield Unfold(size)
        size = (1, 1, size[0] * size[1] * size[2])
    weight = xp.stack([xp.zeros_like(layer.weight), layer.weight], axis=1)
    bias = xp.stack([xp.zeros_like(layer.bias), layer.bias])
    yield from _convolution(weight[None, None], bias, size, how)


def _bend(layer, size, how, x):
    yield Bend(getattr(layer, "slope", 0.0), size, **how)


def _flatten(layer, size, how, x):
    if size[:2] != (1, 1):
        yield Unfold(size)


def _max(layer, size, how, x):
    yield Pool(size, layer.size, layer.stride, layer.padding)


STEPS: dict[type, Callable[..., Iterator[Step]]] = {
    layers.Dense: _dense,
    layers.Conv2D: _conv,
    layers.DepthwiseConv2D: _depthwise,
    layers.ReLU: _bend,
    layers.LeakyReLU: _bend,
    layers.AvgPool: _average,
    layers.GlobalAvgPool: _global_average,
    layers.MaxPool: _max,
    layers.Flatten: _flatten,
    layers.Normalize: _normalize,
    layers.Dropout: lambda layer, size, how, x: iter(()),
    models.LogisticRegression: _logistic,
}
