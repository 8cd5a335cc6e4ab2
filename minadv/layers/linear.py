"""Layers with weights, linear in their input: dense layers and convolutions."""

from __future__ import annotations

import itertools
import math

import numpy as np

from minadv import ops
from minadv.autograd import raw
from minadv.backend import asarray
from minadv.checks import (
    check_choice,
    check_count,
    check_flag,
    check_float_dtype,
    check_pair,
    check_rng,
)
from minadv.conv import conv2d, conv2d_transpose, depthwise_conv2d
from minadv.layers.base import Layer

__all__ = ["Conv2D", "ConvTranspose2D", "Dense", "DepthwiseConv2D", "initial_weight"]

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
    dtype = check_float_dtype("dtype", dtype)
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
        return ops.matmul(x, parameters["weight"]) + parameters["bias"]


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
        See :func:`minadv.windows.padding_widths`.
    bias : bool
        Whether a number per output channel is added. Without, ``bias`` is None: a
        :class:`BatchNorm` that follows would take it away again.
    rng, init, dtype
        As for :class:`Dense`.
    """

    names: tuple[str, ...] = ("weight", "bias")

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel=3,
        *,
        stride=1,
        padding="valid",
        bias: bool = True,
        rng=None,
        init: str = "glorot",
        dtype=np.float32,
    ):
        c_in, c_out = check_count("c_in", c_in), check_count("c_out", c_out)
        kh, kw = check_pair("kernel", kernel)
        self.weight = initial_weight(
            (kh, kw, c_in, c_out), kh * kw * c_in, kh * kw * c_out, init, rng, dtype
        )
        self.bias = _zeros(c_out, dtype) if check_flag("bias", bias) else None
        self.names = ("weight", "bias")[: 1 + bias]
        self.stride, self.padding = check_pair("stride", stride), padding

    def apply(self, parameters, x, rng=None):
        weight, bias = parameters["weight"], parameters.get("bias")
        return conv2d(x, weight, bias, stride=self.stride, padding=self.padding)


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
        See :func:`minadv.windows.padding_widths`.
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
        See :func:`minadv.windows.padding_widths`.
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
