"""Layers: functions that own arrays.

``layer(x)`` computes with the layer's own arrays, which are constants there. So an attack that
differentiates it differentiates with respect to the image alone. ``layer.apply(parameters, x)``
computes with the arrays given, by name. Training differentiates with respect to those.
Giving ``rng`` to ``apply`` means training and turns Dropout on.
"""

from minadv.layers.base import Composite, Layer, Sequential
from minadv.layers.dropout import Dropout
from minadv.layers.linear import Conv2D, ConvTranspose2D, Dense, DepthwiseConv2D
from minadv.layers.nonlinear import LeakyReLU, ReLU, Sigmoid, Tanh
from minadv.layers.normalization import Normalize
from minadv.layers.pooling import AvgPool, GlobalAvgPool, MaxPool
from minadv.layers.shape import Flatten, Reshape

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
