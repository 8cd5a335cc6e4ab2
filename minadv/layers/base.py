"""What a layer is: a function of a batch, and its arrays by name; and layers made of layers."""

from __future__ import annotations

from textwrap import indent

import numpy as np

__all__ = ["Composite", "Layer", "Sequential"]


class Layer:
    """A differentiable function of a batch.

    A subclass names its arrays in ``names`` and says in ``apply`` what they do. Arrays in
    ``state_names`` are kept and saved beside them, but no gradient changes them: ``apply`` itself
    replaces them while the model is trained, such as running statistics.
    Where it knows how much memory an example needs, ``activation_bytes(shape, dtype)`` says so
    (for :func:`minadv.parallel.chunk_size`).
    """

    names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()
    thread_safe = True  # several threads may call it at once: see minadv.parallel
    whole_batch = False  # in training, an example's value depends on its batch, which stays whole

    def places(self, which: str = "names") -> dict[str, tuple[Layer, str]]:
        """Where each array is kept, by its name: a layer, and its attribute.

        ``which``: ``"names"``, the parameters, or ``"state_names"``.
        """
        return {name: (self, name) for name in getattr(self, which)}

    @property
    def parameters(self) -> dict:
        """The arrays that training changes, by name. The arrays themselves, not copies.

        :func:`minadv.training.fit` puts new arrays in their place. A layer that is used twice
        is listed under both names, with the same arrays.
        """
        return {name: getattr(layer, own) for name, (layer, own) in self.places().items()}

    @parameters.setter
    def parameters(self, values: dict):
        check_parameters(self.parameters, values)
        for name, (layer, own) in self.places().items():
            setattr(layer, own, values[name])

    @property
    def arrays(self) -> dict:
        """All arrays by name, those that make the model what it is: parameters and state."""
        return {name: getattr(layer, own) for name, (layer, own) in self._all_places().items()}

    @arrays.setter
    def arrays(self, values: dict):
        check_parameters(self.arrays, values)
        for name, (layer, own) in self._all_places().items():
            setattr(layer, own, values[name])

    def _all_places(self) -> dict[str, tuple[Layer, str]]:
        return self.places() | self.places("state_names")

    def apply(self, parameters: dict, x, rng: np.random.Generator | None = None):
        """The layer's value for a batch ``x``, computed with ``parameters``.

        ``rng`` given means training.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it computes")

    def __call__(self, x):
        return self.apply(self.parameters, x)

    def __repr__(self):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in self.parameters.items())
        return f"{type(self).__name__}({shapes})"


class Composite(Layer):
    """A layer made of layers. A subclass names them in ``children``."""

    def children(self) -> dict[str, Layer]:
        """The layers by name. Names hold no dot."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it is made of")

    @property
    def thread_safe(self) -> bool:  # type: ignore[override]
        """False if a layer says so, one that keeps state between calls."""
        return all(layer.thread_safe for layer in self.children().values())

    @property
    def whole_batch(self) -> bool:  # type: ignore[override]
        """True if a layer says so."""
        return any(layer.whole_batch for layer in self.children().values())

    def places(self, which: str = "names") -> dict[str, tuple[Layer, str]]:
        """Where each array is kept, by its name ``"<child>.<name>"``."""
        return {
            f"{child}.{name}": place
            for child, layer in self.children().items()
            for name, place in layer.places(which).items()
        }

    def by_child(self, parameters: dict) -> dict[str, dict]:
        """``parameters`` of the whole, as a dictionary for each child."""
        own: dict[str, dict] = {child: {} for child in self.children()}
        for name, value in parameters.items():
            child, name = name.split(".", 1)
            own[child][name] = value
        return own


class Sequential(Composite):
    """Layers in a row.

    ``model[2]`` is a layer, and ``model[:3]`` the first three, which share their arrays with
    ``model``. Parameters are called ``"2.weight"``. A layer may be used more than once: its
    weights are the same at each place, and their gradient is the sum over the places.
    """

    def __init__(self, *layers: Layer):
        for layer in layers:
            if not isinstance(layer, Layer):
                hint = ""
                if isinstance(layer, type) and issubclass(layer, Layer):
                    hint = f": write {layer.__name__}(...)"
                elif isinstance(layer, list | tuple):
                    hint = ": write Sequential(*layers)"
                raise TypeError(f"each of layers must be a Layer object, got {layer!r}{hint}")
        self.layers = list(layers)
        self._activation_bytes: dict = {}

    def __len__(self):
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers)

    def __getitem__(self, index):
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def children(self) -> dict[str, Layer]:
        """The layers as ``"0"``, ``"1"``, ..."""
        return {str(i): layer for i, layer in enumerate(self.layers)}

    def apply(self, parameters, x, rng=None):
        for layer, own in zip(self.layers, self.by_child(parameters).values(), strict=True):
            x = layer.apply(own, x, rng)
        return x

    def activations(self, x) -> list:
        """The value of each layer for ``x``: ``activations(x)[i] == model[:i + 1](x)``."""
        out = []
        for layer in self.layers:
            x = layer(x)
            out.append(x)
        return out

    def activation_bytes(self, shape: tuple, dtype) -> int:
        """The bytes that one example of ``shape`` leaves in all layers together, measured once."""
        key = (tuple(shape), np.dtype(dtype))
        if key not in self._activation_bytes:
            x, total = np.zeros((1, *shape), dtype), 0
            for layer in self.layers:
                inside = getattr(layer, "activation_bytes", None)
                before, x = x, layer(x)
                total += inside(before.shape[1:], dtype) if inside else x.nbytes
            self._activation_bytes[key] = total
        return self._activation_bytes[key]

    def __repr__(self):
        rows = "".join(f"{i}: {layer!r}\n" for i, layer in enumerate(self.layers))
        return f"Sequential(\n{indent(rows, '  ')})" if rows else "Sequential()"


MOST_NAMED = 12  # a file of another network may be wrong in hundreds of names


def check_parameters(own: dict, given: dict):
    """Raise a :class:`ValueError` that names each array of ``given`` that does not fit ``own``.

    It is missing, unknown or of another shape, or it differs from another array that the model
    keeps as one with it.
    """
    wrong = [f"{name} is missing" for name in own if name not in given]
    wrong += [f"{name} is unknown" for name in given if name not in own]
    wrong += [
        f"{name} has shape {given[name].shape}, expected {own[name].shape}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    if not wrong:
        first: dict[int, str] = {}  # under which name each array came first
        for name, array in own.items():
            shared = first.setdefault(id(array), name)
            a, b = given[shared], given[name]
            if a is not b and not bool((a == b).all()):
                wrong.append(f"{shared} and {name} are one array in the model, but differ")
    if wrong:
        more = [f"and {len(wrong) - MOST_NAMED} more"] if len(wrong) > MOST_NAMED else []
        listed = "; ".join(wrong[:MOST_NAMED] + more)
        raise ValueError(f"parameters do not fit the model: {listed}")
