"""Layers: functions that own arrays.

``layer(x)`` computes with the layer's own arrays, which are constants there: an attack that differentiates it differentiates with
respect to the image alone. ``layer.apply(parameters, x)`` computes with the arrays given, by name, and so can be differentiated with
respect to them: that is what training does. ``rng`` given means training, and turns Dropout on.
"""

from __future__ import annotations

import math

import numpy as np

from minadv import ops
from minadv.autograd import raw
from minadv.backend import array_module, asarray, to_numpy
from minadv.conv import avg_pool2d, conv2d, conv2d_transpose, depthwise_conv2d, max_pool2d

__all__ = [
    "AvgPool",
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
    """A differentiable function of a batch. A subclass names its arrays in ``names`` and says in ``apply`` what they do."""

    names: tuple[str, ...] = ()

    @property
    def parameters(self) -> dict:
        """The arrays that training changes, by name. The arrays themselves, not copies."""
        return {name: getattr(self, name) for name in self.names}

    @parameters.setter
    def parameters(self, values: dict):
        check_parameters(self.parameters, values)
        for name, value in values.items():
            self._set(name, value)

    def _set(self, name: str, value):
        setattr(self, name, value)

    def apply(self, parameters: dict, x, rng: np.random.Generator | None = None):
        """The layer's value for a batch ``x``, computed with ``parameters``; ``rng`` given means training."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it computes")

    def __call__(self, x):
        return self.apply(self.parameters, x)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{name} {value.shape}' for name, value in self.parameters.items())})"


def check_parameters(own: dict, given: dict):
    """Raise a :class:`ValueError` that names each array which is missing, unknown, or of another shape."""
    wrong = [f"{name} is missing" for name in own if name not in given]
    wrong += [f"{name} is unknown" for name in given if name not in own]
    wrong += [
        f"{n} has shape {given[n].shape}, expected {own[n].shape}"
        for n in own
        if n in given and given[n].shape != own[n].shape
    ]
    if wrong:
        raise ValueError("parameters do not fit the model: " + "; ".join(wrong))


# ------------------------------------------------------------------------------------------------------------ initialisation


def initial_weight(shape: tuple, fan_in: int, fan_out: int, init: str, rng, dtype):
    r"""``"glorot"``: uniform in :math:`\pm\sqrt{6 / (fan_{in} + fan_{out})}`; ``"he"``: normal of deviation :math:`\sqrt{2 / fan_{in}}`.

    Glorot & Bengio 2010 (tanh, sigmoid, linear), He et al. 2015 (ReLU). Drawn by NumPy, then moved to the current backend.
    """
    rng = np.random.default_rng(rng)
    if init == "glorot":
        limit = math.sqrt(6 / (fan_in + fan_out))
        weight = rng.uniform(-limit, limit, shape)
    elif init == "he":
        weight = rng.normal(0.0, math.sqrt(2 / fan_in), shape)
    else:
        raise ValueError(f"init must be 'glorot' or 'he', got {init!r}")
    return asarray(weight.astype(dtype))


def _zeros(shape, dtype):
    return asarray(np.zeros(shape, dtype))


# ----------------------------------------------------------------------------------------------------------- layers with weights


class Dense(Layer):
    """``x @ weight + bias``: (N, D_in) -> (N, D_out). ``rng``: Generator or seed."""

    names = ("weight", "bias")

    def __init__(self, d_in: int, d_out: int, *, rng=0, init: str = "glorot", dtype=np.float32):
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
    """Convolution of (N, H, W, C_in) with C_out kernels, see :func:`minadv.conv.conv2d`. ``weight``: (kh, kw, C_in, C_out)."""

    names = ("weight", "bias")

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel=3,
        *,
        stride=1,
        padding="valid",
        rng=0,
        init: str = "glorot",
        dtype=np.float32,
    ):
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.weight = initial_weight(
            (kh, kw, c_in, c_out), kh * kw * c_in, kh * kw * c_out, init, rng, dtype
        )
        self.bias = _zeros(c_out, dtype)
        self.stride, self.padding = stride, padding

    def apply(self, parameters, x, rng=None):
        return conv2d(
            x, parameters["weight"], parameters["bias"], stride=self.stride, padding=self.padding
        )


class ConvTranspose2D(Layer):
    """The transpose of a convolution, (N, H, W, C_in) to larger images of C_out channels. ``weight``: (kh, kw, C_out, C_in)."""

    names = ("weight", "bias")

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel=3,
        *,
        stride=1,
        padding="valid",
        rng=0,
        init: str = "glorot",
        dtype=np.float32,
    ):
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.weight = initial_weight(
            (kh, kw, c_out, c_in), kh * kw * c_in, kh * kw * c_out, init, rng, dtype
        )
        self.bias = _zeros(c_out, dtype)
        self.stride, self.padding = stride, padding

    def apply(self, parameters, x, rng=None):
        return conv2d_transpose(
            x, parameters["weight"], parameters["bias"], stride=self.stride, padding=self.padding
        )


class DepthwiseConv2D(Layer):
    """Each of C channels convolved with its own kernel. ``weight``: (kh, kw, C). A 1x1 :class:`Conv2D` after it mixes the channels."""

    names = ("weight", "bias")

    def __init__(
        self,
        channels: int,
        kernel=3,
        *,
        stride=1,
        padding="valid",
        rng=0,
        init: str = "glorot",
        dtype=np.float32,
    ):
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.weight = initial_weight((kh, kw, channels), kh * kw, kh * kw, init, rng, dtype)
        self.bias = _zeros(channels, dtype)
        self.stride, self.padding = stride, padding

    def apply(self, parameters, x, rng=None):
        return depthwise_conv2d(
            x, parameters["weight"], parameters["bias"], stride=self.stride, padding=self.padding
        )


# -------------------------------------------------------------------------------------------------------- layers without weights


class ReLU(Layer):
    """max(x, 0)."""

    def apply(self, parameters, x, rng=None):
        return ops.relu(x)


class LeakyReLU(Layer):
    """x where x > 0, else ``slope`` · x."""

    def __init__(self, slope: float = 0.01):
        self.slope = slope

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
        self.size, self.stride, self.padding = size, stride, padding

    def apply(self, parameters, x, rng=None):
        return max_pool2d(x, self.size, stride=self.stride, padding=self.padding)


class AvgPool(Layer):
    """The mean of each window; ``stride`` is ``size`` unless given."""

    def __init__(self, size=2, *, stride=None, padding="valid"):
        self.size, self.stride, self.padding = size, stride, padding

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
        if not all(isinstance(n, int) and n > 0 for n in shape):
            raise ValueError(f"shape must be positive integers, got {shape}")
        self.shape = shape

    def apply(self, parameters, x, rng=None):
        return ops.reshape(x, (len(x), *self.shape))


class Normalize(Layer):
    """(x − mean) / std per channel, constants, as the first layer: so attacks, their ε and their bounds stay in pixel space."""

    def __init__(self, mean, std):
        self.mean, self.std = (np.asarray(to_numpy(v), dtype=np.float64) for v in (mean, std))
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
    """While training, each number is zeroed with probability ``p`` and the others grow by 1 / (1 − p); otherwise nothing happens."""

    def __init__(self, p: float = 0.5):
        if not 0 <= p < 1:
            raise ValueError(f"p must be in [0, 1), got {p!r}")
        self.p = p

    def apply(self, parameters, x, rng=None):
        if rng is None or self.p == 0:
            return x
        xp, u = array_module(raw(x)), raw(x)
        keep = xp.asarray(rng.random(u.shape) >= self.p)
        return x * (keep.astype(u.dtype) / u.dtype.type(1 - self.p))


# ---------------------------------------------------------------------------------------------------------------- Sequential


class Sequential(Layer):
    """Layers in a row. ``model[2]`` is a layer, ``model[:3]`` the first three, sharing their arrays; names are ``"2.weight"``."""

    def __init__(self, *layers: Layer):
        self.layers = list(layers)
        self._activation_bytes: dict = {}

    def __len__(self):
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers)

    def __getitem__(self, index):
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    @property
    def parameters(self) -> dict:
        """All layers' arrays, as ``"<layer>.<name>"``. The arrays themselves, not copies."""
        return {
            f"{i}.{name}": value
            for i, layer in enumerate(self.layers)
            for name, value in layer.parameters.items()
        }

    parameters = parameters.setter(Layer.parameters.fset)

    def _set(self, name, value):
        index, name = name.split(".", 1)
        self.layers[int(index)]._set(name, value)

    def apply(self, parameters, x, rng=None):
        for layer, own in zip(self.layers, self._by_layer(parameters), strict=True):
            x = layer.apply(own, x, rng)
        return x

    def _by_layer(self, parameters) -> list[dict]:
        own: list[dict] = [{} for _ in self.layers]
        for name, value in parameters.items():
            index, name = name.split(".", 1)
            own[int(index)][name] = value
        return own

    def activations(self, x) -> list:
        """What each layer makes of ``x``, first to last: ``activations(x)[i] == model[:i + 1](x)``."""
        out = []
        for layer in self.layers:
            x = layer(x)
            out.append(x)
        return out

    def activation_bytes(self, shape: tuple, dtype) -> int:
        """The bytes that one example of ``shape`` leaves in all layers together, measured once (for :func:`minadv.parallel.chunk_size`)."""
        key = (tuple(shape), np.dtype(dtype))
        if key not in self._activation_bytes:
            self._activation_bytes[key] = sum(
                a.nbytes for a in self.activations(np.zeros((1, *shape), dtype))
            )
        return self._activation_bytes[key]

    def __repr__(self):
        return (
            "Sequential(\n"
            + "".join(f"  {i}: {layer!r}\n" for i, layer in enumerate(self.layers))
            + ")"
        )
