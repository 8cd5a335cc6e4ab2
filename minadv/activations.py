"""What an attack does inside a network (D8): how the activations of each layer change."""

from __future__ import annotations

import math

from minadv.backend import array_module
from minadv.checks import check_array, check_count
from minadv.layers import Sequential
from minadv.parallel import in_chunks

__all__ = ["activation_maps", "relative_change"]


def activation_maps(model: Sequential, x, x_adv, *, layer: int):
    r"""Where layer ``layer`` answers differently, :math:`\max_k |a_k(x_{adv}) - a_k(x)|` over its
    kernels k: (N, H, W).

    ``x`` and ``x_adv``: images (N, H, W, C), one batch; ``layer``: the index of a layer whose
    output is images, in ``model``. (D8)
    """
    _check(model, x, x_adv)
    layer = check_count("layer", layer, least=-len(model), most=len(model) - 1)
    part = model[: range(len(model))[layer] + 1]

    def difference(x, x_adv):
        a, b = part(x), part(x_adv)
        if a.ndim != 4:
            raise ValueError(
                f"layer must be one whose output is images, (N, H, W, kernels); layer {layer} "
                f"makes shape {a.shape}"
            )
        return array_module(a).abs(b - a).max(axis=3)

    return in_chunks(part, difference, x, x_adv)


def relative_change(model: Sequential, x, x_adv):
    r"""How much of each layer's answer changes:
    :math:`\lVert a(x_{adv}) - a(x) \rVert_2 / \lVert a(x) \rVert_2`, (N, 1 + layers).

    The first column is the image itself, the last the logits: an attack that works starts small and
    grows with depth (D8). Where the clean activation is all zero, the ratio is infinite if it
    changes, and 0 if it does not.
    """
    _check(model, x, x_adv)
    xp = array_module(x)

    def size(a):
        rows = a.reshape(len(a), math.prod(a.shape[1:]))
        return xp.sqrt((rows * rows).sum(axis=1))

    def ratios(x, x_adv):
        columns = []
        for a, b in zip(
            [x, *model.activations(x)], [x_adv, *model.activations(x_adv)], strict=True
        ):
            change, whole = size(b - a), size(a)
            share = change / xp.where(whole > 0, whole, 1)
            columns.append(
                xp.where((whole == 0) & (change > 0), xp.asarray(xp.inf, dtype=share.dtype), share)
            )
        return xp.stack(columns, axis=1)

    return in_chunks(model, ratios, x, x_adv)


def _check(model, x, x_adv):
    if not isinstance(model, Sequential):
        raise TypeError(
            "model must be a Sequential, whose layers can be looked into, got "
            f"{type(model).__name__}"
        )
    for name, images in (("x", x), ("x_adv", x_adv)):
        if check_array(name, images).dtype.kind != "f":
            raise TypeError(f"{name} must be floating point, got {images.dtype}")
    if x.shape != x_adv.shape:
        raise ValueError(f"x and x_adv must have one shape, got {x.shape} and {x_adv.shape}")
