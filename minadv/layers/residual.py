"""The residual block: a branch of layers, and a shortcut around it."""

from __future__ import annotations

from textwrap import indent

import numpy as np

from minadv import ops
from minadv.autograd import raw
from minadv.layers.base import Composite, Layer, Sequential

__all__ = ["Residual"]


class Residual(Composite):
    """``relu(branch(x) + shortcut(x))`` (He et al. 2016, equations 1 and 2).

    The gradient passes the shortcut whatever the branch does to it. Raises :class:`ValueError`
    where what the two give differs in shape.

    Parameters
    ----------
    branch : Layer
        What is learned besides the shortcut.
    shortcut : Layer, optional
        What makes ``x`` of the branch's shape, a 1x1 convolution with the branch's stride.
        Unset: ``x`` itself. The block then has to keep the shape.
    """

    def __init__(self, branch: Layer, shortcut: Layer | None = None):
        self.branch, self.shortcut = branch, Sequential() if shortcut is None else shortcut
        for name, layer in self.children().items():
            if not isinstance(layer, Layer):
                raise TypeError(f"{name} must be a Layer object, got {layer!r}")

    def children(self) -> dict[str, Layer]:
        """``"branch"`` and ``"shortcut"``."""
        return {"branch": self.branch, "shortcut": self.shortcut}

    def apply(self, parameters, x, rng=None):
        own = self.by_child(parameters)
        learned = self.branch.apply(own["branch"], x, rng)
        past = self.shortcut.apply(own["shortcut"], x, rng)
        if raw(learned).shape != raw(past).shape:
            raise ValueError(
                f"branch and shortcut must give one shape, got {raw(learned).shape} "
                f"and {raw(past).shape}"
            )
        return ops.relu(learned + past)

    def activation_bytes(self, shape: tuple, dtype) -> int:
        """The bytes that one example of ``shape`` leaves in branch and shortcut and behind them."""
        x = np.zeros((1, *shape), dtype)
        inside = (getattr(layer, "activation_bytes", None) for layer in self.children().values())
        return self(x).nbytes + sum(known(shape, dtype) for known in inside if known)

    def __repr__(self):
        rows = "".join(f"{name}: {layer!r}\n" for name, layer in self.children().items())
        return f"Residual(\n{indent(rows, '  ')})"
