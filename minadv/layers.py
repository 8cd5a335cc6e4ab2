"""Layers: functions that own arrays.

``layer(x)`` computes with the layer's own arrays, which are constants there. So an attack that
differentiates it differentiates with respect to the image alone. ``layer.apply(parameters, x)``
computes with the arrays given, by name. Training differentiates with respect to those.
Giving ``rng`` to ``apply`` means training and turns Dropout on.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from minadv import ops
from minadv.autograd import raw
from minadv.backend import array_module, asarray
from minadv.checks import (
    check_choice,
    check_count,
    check_number,
    check_pair,
    check_reals,
    check_rng,
)
from minadv.conv import avg_pool2d, conv2d, conv2d_transpose, depthwise_conv2d, max_pool2d

__all__ = [
    "AvgPool",
    "Composite",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "Layer",
    "LeakyReLU",
    "MaxPool",
    "Normalize",
    "ReLU",
    "Reshape",
    "Sequential",
    "Sigmoid",
    "Tanh",
]


class Layer:
    """A differentiable function of a batch.

    A subclass names its arrays in ``names`` and says in ``apply`` what they do.
    Where it knows how much memory an example needs, ``activation_bytes(shape, dtype)`` says so
    (for :func:`minadv.parallel.chunk_size`).
    """

    names: tuple[str, ...] = ()
    thread_safe = True  # several threads may call it at once: see minadv.parallel

    def places(self) -> dict[str, tuple[Layer, str]]:
        """Where each parameter is kept, by the parameter's name: a layer, and its attribute."""
        return {name: (self, name) for name in self.names}

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

    def places(self) -> dict[str, tuple[Layer, str]]:
        """Where each parameter is kept, by its name ``"<child>.<name>"``."""
        return {
            f"{child}.{name}": place
            for child, layer in self.children().items()
            for name, place in layer.places().items()
        }

    def by_child(self, parameters: dict) -> dict[str, dict]:
        """``parameters`` of the whole, as a dictionary for each child."""
        own: dict[str, dict] = {child: {} for child in self.children()}
        for name, value in parameters.items():
            child, name = name.split(".", 1)
            own[child][name] = value
        return own


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
        raise ValueError("parameters do not fit the model: " + "; ".join(wrong))


# ---- initialization

_layers_without_rng = itertools.count()


def initial_weight(shape: tuple, fan_in: int, fan_out: int, init: str, rng, dtype):
    r"""Draw a layer's first weights by NumPy, and move them to the current backend.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weights.
    fan_in, fan_out : int
        How many numbers one output depends on, and how many outputs one number changes.
    init : {"glorot", "he"}
        ``"glorot"`` (Glorot & Bengio 2010; tanh, sigmoid, linear) is uniform in
        :math:`\pm\sqrt{6 / (fan_{in} + fan_{out})}`. ``"he"`` (He et al. 2015; ReLU) is normal
        of deviation :math:`\sqrt{2 / fan_{in}}`.
    rng : numpy.random.Generator, int or None
        None stands for another seed at each call: 0, 1, 2, ... in the order of the calls.
    dtype : dtype
        A floating-point one.
    """
    try:
        kind = np.dtype(dtype).kind
    except TypeError:
        kind = "?"
    if kind != "f":
        raise TypeError(
            f"dtype must be a floating-point one, got {dtype if kind == '?' else np.dtype(dtype)}"
        )
    check_choice("init", init, "glorot", "he")
    rng = check_rng(next(_layers_without_rng) if rng is None else rng)
    if init == "glorot":
        limit = math.sqrt(6 / (fan_in + fan_out))
        weight = rng.uniform(-limit, limit, shape)
    else:
        weight = rng.normal(0.0, math.sqrt(2 / fan_in), shape)
    return asarray(weight.astype(dtype))


def _zeros(shape, dtype):
    return asarray(np.zeros(shape, dtype))


# ---- layers with weights


class Dense(Layer):
    """``x @ weight + bias``: (N, D_in) -> (N, D_out).

    Parameters
    ----------
    d_in, d_out : int
        Numbers per example, before and after.
    rng : numpy.random.Generator or int, optional
        Draws the weights. By default each layer draws others, the same in each run of a program
        that builds its layers in the same order. The bias starts as zero.
    init : {"glorot", "he"}
        How the weights are drawn, see :func:`initial_weight`.
    dtype : dtype
        Of the weights, floating point.
    """

    names = ("weight", "bias")

    def __init__(self, d_in: int, d_out: int, *, rng=None, init: str = "glorot", dtype=np.float32):
        d_in, d_out = check_count("d_in", d_in), check_count("d_out", d_out)
        self.weight = initial_weight((d_in, d_out), d_in, d_out, init, rng, dtype)
        self.bias = _zeros(d_out, dtype)

    def apply(self, parameters, x, rng=None):
        d_in = raw(parameters["weight"]).shape[0]
        if raw(x).ndim != 2 or raw(x).shape[1] != d_in:
            raise ValueError(
                f"Dense expects (N, {d_in}), got {raw(x).shape}: is a Flatten missing?"
            )
        return x @ parameters["weight"] + parameters["bias"]


class Conv2D(Layer):
    """Convolution of images (N, H, W, C_in) with C_out kernels, see :func:`minadv.conv.conv2d`.

    ``weight`` has shape (kh, kw, C_in, C_out).

    Parameters
    ----------
    c_in, c_out : int
        Channels before and after.
    kernel, stride : int or pair of int
        Size and step of the window, in pixels, for rows and columns.
    padding : "valid", "same", int or pair
        See :func:`minadv.conv.padding_widths`.
    rng, init, dtype
        As for :class:`Dense`.
    """

    names = ("weight", "bias")

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel=3,
        *,
        stride=1,
        padding="valid",
        rng=None,
        init: str = "glorot",
        dtype=np.float32,
    ):
        c_in, c_out = check_count("c_in", c_in), check_count("c_out", c_out)
        kh, kw = check_pair("kernel", kernel)
        self.weight = initial_weight(
            (kh, kw, c_in, c_out), kh * kw * c_in, kh * kw * c_out, init, rng, dtype
        )
        self.bias = _zeros(c_out, dtype)
        self.stride, self.padding = check_pair("stride", stride), padding

    def apply(self, parameters, x, rng=None):
        return conv2d(
            x, parameters["weight"], parameters["bias"], stride=self.stride, padding=self.padding
        )


class ConvTranspose2D(Layer):
    """The transpose of a convolution: (N, H, W, C_in) to larger images of C_out channels.

    ``weight`` has shape (kh, kw, C_out, C_in).

    Parameters
    ----------
    c_in, c_out : int
        Channels before and after.
    kernel, stride : int or pair of int
        Size and step of the window, in pixels, for rows and columns.
    padding : "valid", "same", int or pair
        See :func:`minadv.conv.padding_widths`.
    rng, init, dtype
        As for :class:`Dense`.
    """

    names = ("weight", "bias")

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel=3,
        *,
        stride=1,
        padding="valid",
        rng=None,
        init: str = "glorot",
        dtype=np.float32,
    ):
        c_in, c_out = check_count("c_in", c_in), check_count("c_out", c_out)
        kh, kw = check_pair("kernel", kernel)
        self.weight = initial_weight(
            (kh, kw, c_out, c_in), kh * kw * c_in, kh * kw * c_out, init, rng, dtype
        )
        self.bias = _zeros(c_out, dtype)
        self.stride, self.padding = check_pair("stride", stride), padding

    def apply(self, parameters, x, rng=None):
        return conv2d_transpose(
            x, parameters["weight"], parameters["bias"], stride=self.stride, padding=self.padding
        )


class DepthwiseConv2D(Layer):
    """Convolution of each of C channels with its own kernel.

    ``weight`` has shape (kh, kw, C). A 1x1 :class:`Conv2D` after it mixes the channels.

    Parameters
    ----------
    channels : int
        How many.
    kernel, stride : int or pair of int
        Size and step of the window, in pixels, for rows and columns.
    padding : "valid", "same", int or pair
        See :func:`minadv.conv.padding_widths`.
    rng, init, dtype
        As for :class:`Dense`.
    """

    names = ("weight", "bias")

    def __init__(
        self,
        channels: int,
        kernel=3,
        *,
        stride=1,
        padding="valid",
        rng=None,
        init: str = "glorot",
        dtype=np.float32,
    ):
        channels = check_count("channels", channels)
        kh, kw = check_pair("kernel", kernel)
        self.weight = initial_weight((kh, kw, channels), kh * kw, kh * kw, init, rng, dtype)
        self.bias = _zeros(channels, dtype)
        self.stride, self.padding = check_pair("stride", stride), padding

    def apply(self, parameters, x, rng=None):
        return depthwise_conv2d(
            x, parameters["weight"], parameters["bias"], stride=self.stride, padding=self.padding
        )


# ---- layers without weights


class ReLU(Layer):
    """max(x, 0)."""

    def apply(self, parameters, x, rng=None):
        return ops.relu(x)


class LeakyReLU(Layer):
    """x where x > 0, else ``slope`` · x."""

    def __init__(self, slope: float = 0.01):
        self.slope = check_number("slope", slope)

    def apply(self, parameters, x, rng=None):
        return ops.leaky_relu(x, self.slope)


class Sigmoid(Layer):
    """1 / (1 + e^−x)."""

    def apply(self, parameters, x, rng=None):
        return ops.sigmoid(x)


class Tanh(Layer):
    """The hyperbolic tangent."""

    def apply(self, parameters, x, rng=None):
        return ops.tanh(x)


class MaxPool(Layer):
    """The largest value in each window; ``stride`` is ``size`` unless given."""

    def __init__(self, size=2, *, stride=None, padding="valid"):
        self.size, self.padding = check_pair("size", size), padding
        self.stride = self.size if stride is None else check_pair("stride", stride)

    def apply(self, parameters, x, rng=None):
        return max_pool2d(x, self.size, stride=self.stride, padding=self.padding)


class AvgPool(Layer):
    """The mean of each window; ``stride`` is ``size`` unless given."""

    def __init__(self, size=2, *, stride=None, padding="valid"):
        self.size, self.padding = check_pair("size", size), padding
        self.stride = self.size if stride is None else check_pair("stride", stride)

    def apply(self, parameters, x, rng=None):
        return avg_pool2d(x, self.size, stride=self.stride, padding=self.padding)


class GlobalAvgPool(Layer):
    """The mean over rows and columns: (N, H, W, C) -> (N, C)."""

    def apply(self, parameters, x, rng=None):
        return ops.mean(x, axis=(1, 2))


class Flatten(Layer):
    """(N, ...) -> (N, D)."""

    def apply(self, parameters, x, rng=None):
        return ops.reshape(x, (len(x), math.prod(raw(x).shape[1:])))


class Reshape(Layer):
    """``(N, ...)`` -> ``(N, *shape)``."""

    def __init__(self, *shape: int):
        self.shape = tuple(check_count("shape", n) for n in shape)

    def apply(self, parameters, x, rng=None):
        return ops.reshape(x, (len(x), *self.shape))


class Normalize(Layer):
    """(x − mean) / std per channel, with constants, as the first layer of a model.

    So attacks, their ε and their bounds stay in pixel space.
    """

    def __init__(self, mean, std):
        self.mean = check_reals("mean", mean).astype(np.float64)
        self.std = check_reals("std", std).astype(np.float64)
        if not (
            np.isfinite(self.mean).all() and np.isfinite(self.std).all() and (self.std > 0).all()
        ):
            raise ValueError(
                f"mean must be finite and std finite and > 0, got {mean!r} and {std!r}"
            )

    def apply(self, parameters, x, rng=None):
        xp, dtype = array_module(raw(x)), raw(x).dtype
        if dtype.kind != "f":
            raise TypeError(f"Normalize expects floating-point images, got {dtype}")
        return (x - xp.asarray(self.mean, dtype=dtype)) / xp.asarray(self.std, dtype=dtype)


class Dropout(Layer):
    """During training, zero each number with probability ``p`` and scale the rest by 1 / (1 − p).

    Otherwise the identity. ``p`` is in [0, 1).
    """

    def __init__(self, p: float = 0.5):
        self.p = check_number("p", p, least=0, below=1)

    def apply(self, parameters, x, rng=None):
        if rng is None or self.p == 0:
            return x
        xp, u = array_module(raw(x)), raw(x)
        keep = xp.asarray(rng.random(u.shape) >= self.p)
        return x * (keep.astype(u.dtype) / u.dtype.type(1 - self.p))


# ---- layers in a row


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

    @property
    def thread_safe(self) -> bool:  # type: ignore[override]
        """False if a layer says so, one that keeps state between calls."""
        return all(layer.thread_safe for layer in self.layers)

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
            self._activation_bytes[key] = sum(
                a.nbytes for a in self.activations(np.zeros((1, *shape), dtype))
            )
        return self._activation_bytes[key]

    def __repr__(self):
        rows = "".join(f"  {i}: {layer!r}\n" for i, layer in enumerate(self.layers))
        return f"Sequential(\n{rows})"
