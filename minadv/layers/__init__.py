"""Layers: functions that own arrays.

``layer(x)`` computes with the layer's own arrays, which are constants there. So an attack that
differentiates it differentiates with respect to the image alone. ``layer.apply(parameters, x)``
computes with the arrays given, by name. Training differentiates with respect to those.
Giving ``rng`` to ``apply`` means training: it turns Dropout on, and BatchNorm takes the batch's
statistics. What is kept but not trained by a gradient is in ``layer.arrays``, too.
"""

from minadv.layers.base import Composite, Layer, Sequential
from minadv.layers.dropout import Dropout
from minadv.layers.linear import Conv2D, ConvTranspose2D, Dense, DepthwiseConv2D
from minadv.layers.nonlinear import LeakyReLU, ReLU, Sigmoid, Tanh
from minadv.layers.normalization import BatchNorm, Normalize
from minadv.layers.pooling import AvgPool, GlobalAvgPool, MaxPool
from minadv.layers.residual import Residual
from minadv.layers.shape import Flatten, Reshape

__all__ = [
    "AvgPool",
    "BatchNorm",
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
    "Residual",
    "Sequential",
    "Sigmoid",
    "Tanh",
]
