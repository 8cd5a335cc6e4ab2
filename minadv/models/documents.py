"""The documents' models."""

from __future__ import annotations

from typing import Any

import numpy as np

from minadv.backend import asarray, like
from minadv.checks import check_count, check_counts, check_rng
from minadv.layers import (
    AvgPool,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAvgPool,
    Layer,
    ReLU,
    Sequential,
)

__all__ = [
    "LogisticRegression",
    "cnn",
    "deep_cnn",
    "mlp",
    "separable_cnn",
]


class LogisticRegression(Layer):
    r"""Two classes from one linear function (A7): logits :math:`(0, w \cdot x + b)`.

    So :math:`P(y = 1) = \sigma(w \cdot x + b)`, and the log-odds margin of class 1 is w·x + b.
    ``weight``: (D,). ``bias``: one number. ``x``: (N, D) or anything with D numbers per example.
    """

    names = ("weight", "bias")

    def __init__(self, weight, bias=0.0):
        try:
            self.weight = asarray(weight)
        except (TypeError, ValueError) as error:
            raise TypeError(f"weight must be a floating-point vector (D,): {error}") from None
        if self.weight.ndim != 1 or self.weight.dtype.kind != "f":
            raise ValueError(
                f"weight must be a floating-point vector (D,), "
                f"got {self.weight.dtype} of shape {self.weight.shape}"
            )
        try:
            self.bias = asarray(bias, dtype=self.weight.dtype)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"bias must be a number, got {bias!r}") from None

    def apply(self, parameters, x, rng=None):
        flat = Flatten()(x)
        logit = flat @ parameters["weight"] + parameters["bias"]  # (N,)
        second_only = np.array([[0, 1]], self.weight.dtype)
        return logit.reshape(len(x), 1) * like(second_only, self.weight)  # (N, 2)


def mlp(
    shape: tuple = (28, 28, 1), classes: int = 10, *, hidden: int = 128, rng=0, dtype=np.float32
) -> Sequential:
    """Document B's network (B3): flatten, ``hidden`` ReLU units, logits.

    It trains with Adam 0.001, batch 8, 10 epochs.

    Parameters
    ----------
    shape : (H, W, C)
        Of the images.
    classes : int
        How many logits.
    hidden : int
        How many hidden units.
    rng : numpy.random.Generator or int
        Draws the weights.
    dtype : dtype
        Of the weights.
    """
    rng, classes = check_rng(rng), check_count("classes", classes)
    hidden = check_count("hidden", hidden)
    if not isinstance(shape, tuple | list):
        raise TypeError(f"shape must be a tuple of integers, such as (28, 28, 1), got {shape!r}")
    shape = check_counts("shape", shape, *"HWC" if len(shape) == 3 else ["D"] * len(shape))
    return Sequential(
        Flatten(),
        Dense(int(np.prod(shape)), hidden, rng=rng, dtype=dtype),
        ReLU(),
        Dense(hidden, classes, rng=rng, dtype=dtype),
    )


def cnn(
    shape: tuple = (28, 28, 1),
    classes: int = 10,
    *,
    filters: tuple = (16, 32, 64),
    rng=0,
    dtype=np.float32,
) -> Sequential:
    """Document D's network (D2): three 3x3 convolutions with ReLU, and logits.

    The first convolution is ``same``, the others are ``valid`` with stride 2. On ``shape``
    (28, 28, 1): 28x28x16 -> 13x13x32 -> 6x6x64 -> 10. It trains with Adam 0.001, batch 256.

    Parameters
    ----------
    shape : (H, W, C)
        Of the images.
    classes : int
        How many logits.
    filters : tuple of three int
        Channels of the convolutions.
    rng : numpy.random.Generator or int
        Draws the weights.
    dtype : dtype
        Of the weights.
    """
    rng, classes = check_rng(rng), check_count("classes", classes)
    h, w, c = check_counts("shape", shape, "H", "W", "C")
    a, b, d = check_counts("filters", filters, "first", "second", "third")
    size = [(((n - 3) // 2 + 1) - 3) // 2 + 1 for n in (h, w)]
    if min(size) < 1:
        raise ValueError(
            f"shape must be at least 7 x 7 for three 3x3 convolutions, two of stride 2, "
            f"got {h} x {w}"
        )
    return Sequential(
        Conv2D(c, a, 3, padding="same", rng=rng, dtype=dtype),
        ReLU(),
        Conv2D(a, b, 3, stride=2, rng=rng, dtype=dtype),
        ReLU(),
        Conv2D(b, d, 3, stride=2, rng=rng, dtype=dtype),
        ReLU(),
        Flatten(),
        Dense(size[0] * size[1] * d, classes, rng=rng, dtype=dtype),
    )


def deep_cnn(
    shape: tuple = (32, 32, 3),
    classes: int = 2,
    *,
    filters: tuple = (16, 32, 64),
    rng=0,
    dtype=np.float32,
) -> Sequential:
    """Document C's f (C4), of many layers and many weights.

    Five 3x3 convolutions with ReLU, two of them of stride 2; the mean over the image; logits.
    The last layer is the head, and ``model[:-1]`` the base that another head can be put on.

    Parameters
    ----------
    shape : (H, W, C)
        Of the images.
    classes : int
        How many logits.
    filters : tuple of three int
        Channels of the convolutions.
    rng : numpy.random.Generator or int
        Draws the weights.
    dtype : dtype
        Of the weights.
    """
    rng, classes = check_rng(rng), check_count("classes", classes)
    _, _, c = check_counts("shape", shape, "H", "W", "C")
    a, b, d = check_counts("filters", filters, "first", "second", "third")
    layers: list[Layer] = []
    for c_out, stride in ((a, 1), (b, 2), (b, 1), (d, 2), (d, 1)):
        layers += [
            Conv2D(c, c_out, 3, stride=stride, padding="same", rng=rng, init="he", dtype=dtype),
            ReLU(),
        ]
        c = c_out
    return Sequential(*layers, GlobalAvgPool(), Dense(d, classes, rng=rng, dtype=dtype))


def separable_cnn(
    shape: tuple = (32, 32, 3),
    classes: int = 2,
    *,
    filters: tuple = (16, 32, 64),
    rng=0,
    dtype=np.float32,
) -> Sequential:
    """Document C's g (C4), small, as MobileNet is.

    One convolution, and two that are split into 3x3 per channel and 1x1 across channels.
    So split, 32 -> 64 channels take 32·9 + 32·64 weights instead of 32·9·64. The last layer is the
    head, as in :func:`deep_cnn`.

    Parameters
    ----------
    shape : (H, W, C)
        Of the images.
    classes : int
        How many logits.
    filters : tuple of three int
        Channels of the convolutions.
    rng : numpy.random.Generator or int
        Draws the weights.
    dtype : dtype
        Of the weights.
    """
    rng, classes = check_rng(rng), check_count("classes", classes)
    h, w, c = check_counts("shape", shape, "H", "W", "C")
    if min(h, w) < 5:
        raise ValueError(
            f"shape must be at least 5 x 5 for two steps of stride 2 and one pooling, got {h} x {w}"
        )
    how: dict[str, Any] = {"padding": "same", "rng": rng, "init": "he", "dtype": dtype}
    a, b, d = check_counts("filters", filters, "first", "second", "third")
    layers: list[Layer] = [Conv2D(c, a, 3, **how), ReLU()]
    for c_in, c_out in ((a, b), (b, d)):
        layers += [DepthwiseConv2D(c_in, 3, stride=2, **how), Conv2D(c_in, c_out, 1, **how), ReLU()]
    # Pixels left by the strides, which round up, and by the pooling, which rounds down:
    places = -(-h // 4) // 2 * (-(-w // 4) // 2)
    return Sequential(
        *layers, AvgPool(2), Flatten(), Dense(places * d, classes, rng=rng, dtype=dtype)
    )
