"""A model that remembers the gradients it was asked for."""

from __future__ import annotations

from collections.abc import Callable

from minadv.autograd import Tensor, record, vjp
from minadv.backend import Array, array_module
from minadv.numerics import rows
from minadv.parallel import is_thread_safe


class Watched:
    """``model``, with a memory: ``seen`` holds each batch and the gradient that was pulled there.

    So the gradient is the one that an attack follows, whatever its loss.
    """

    def __init__(self, model: Callable):
        self.model, self.thread_safe = model, is_thread_safe(model)
        self.seen: list[tuple[Array, Array]] = []  # appending needs no lock

    def __call__(self, x):
        if not isinstance(x, Tensor):
            return self.model(x)
        z, pull = vjp(self.model, x.value)
        images = x.value.copy()

        def rule(g):
            gradient = pull(g)
            self.seen.append((images, gradient))
            return gradient

        return record(z, (x, rule))

    def __getattr__(self, name):
        if name == "model":  # not yet there while the object is copied
            raise AttributeError(name)
        return getattr(self.model, name)

    def zero_share(self) -> float | None:
        """The share of gradients that are exactly zero; None if none was asked for."""
        zero = [(~rows(g).any(axis=1)) for _, g in self.seen]
        return float(array_module(*zero).concatenate(zero).mean()) if zero else None
