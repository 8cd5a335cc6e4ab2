"""Residual networks (He et al. 2016): a small one for small images, and ResNet-18 (E11)."""

from __future__ import annotations

from typing import Any

import numpy as np

from minadv.checks import check_count, check_counts, check_flag, check_rng
from minadv.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    GlobalAvgPool,
    Layer,
    MaxPool,
    Normalize,
    ReLU,
    Residual,
    Sequential,
)

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "resnet", "resnet18"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of red, green and blue, as torchvision and timm have them
IMAGENET_STD = (0.229, 0.224, 0.225)


def resnet(
    channels: int = 1,
    classes: int = 10,
    *,
    widths: tuple = (16, 32, 64),
    blocks: tuple = (1, 1, 1),
    large: bool = False,
    normalize: tuple | None = None,
    rng=0,
    dtype=np.float32,
) -> Sequential:
    """A residual network for images of any size, ``(N, H, W, channels)``.

    A *stem*, one convolution; stages of basic blocks; the mean over the image; logits. A basic
    block is two 3x3 convolutions, each with batch normalization, and a shortcut around them. Each
    stage but the first starts with stride 2, and halves the image.

    Parameters
    ----------
    channels : int
        Of the images.
    classes : int
        How many logits.
    widths : tuple of int
        Channels in each stage.
    blocks : tuple of int
        How many blocks each stage has.
    large : bool
        Whether the stem reduces the image to a quarter, by a 7x7 convolution and a max-pooling of
        stride 2 each, as for ImageNet. Otherwise it is one 3x3 convolution, as for CIFAR-10.
    normalize : pair (mean, std), optional
        Of each channel. The first layer then is :class:`~minadv.layers.normalization.Normalize`,
        and images stay in [0, 1].
    rng : numpy.random.Generator or int
        Draws the weights.
    dtype : dtype
        Of the weights.

    Notes
    -----
    He, Zhang, Ren & Sun 2016, *Deep residual learning for image recognition*, section 3.3 and
    table 1 (``large``), section 4.2 (not).
    """
    rng, channels = check_rng(rng), check_count("channels", channels)
    classes, large = check_count("classes", classes), check_flag("large", large)
    stages = [f"stage {i}" for i in range(1, len(widths) + 1)] if _is_row(widths) else []
    stages = stages or ["stage 1"]  # at least
    widths = check_counts("widths", widths, *stages)
    blocks = check_counts("blocks", blocks, *stages)
    how: dict[str, Any] = {"bias": False, "rng": rng, "init": "he", "dtype": dtype}
    layers: list[Layer] = []
    if normalize is not None:
        if not _is_row(normalize) or len(normalize) != 2:
            raise ValueError(f"normalize must be a pair (mean, std), got {normalize!r}")
        layers.append(Normalize(*normalize))
    kernel, stride = (7, 2) if large else (3, 1)
    stem = Conv2D(channels, widths[0], kernel, stride=stride, padding=kernel // 2, **how)
    layers += [stem, BatchNorm(widths[0], dtype=dtype), ReLU()]
    if large:
        layers.append(MaxPool(3, stride=2, padding=1))
    c_in = widths[0]
    for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        stage = [_block(c_in, width, 1 if i == 0 else 2, how)]
        stage += [_block(width, width, 1, how) for _ in range(count - 1)]
        layers.append(Sequential(*stage))
        c_in = width
    return Sequential(*layers, GlobalAvgPool(), Dense(c_in, classes, rng=rng, dtype=dtype))


def _is_row(value) -> bool:
    return isinstance(value, tuple | list)


def _block(c_in: int, width: int, stride: int, how: dict) -> Residual:
    """The basic block (He et al. 2016, figure 2, with the batch normalization of section 3.4)."""
    dtype = how["dtype"]
    branch = Sequential(
        Conv2D(c_in, width, 3, stride=stride, padding=1, **how),
        BatchNorm(width, dtype=dtype),
        ReLU(),
        Conv2D(width, width, 3, padding=1, **how),
        BatchNorm(width, dtype=dtype),
    )
    if stride == 1 and c_in == width:
        return Residual(branch)
    shortcut = Conv2D(c_in, width, 1, stride=stride, **how)  # equation 2
    return Residual(branch, Sequential(shortcut, BatchNorm(width, dtype=dtype)))


def resnet18(classes: int = 1000, *, normalize: bool = True, rng=0, dtype=np.float32) -> Sequential:
    """ResNet-18 (E11), of 11.7 million weights: the same function as torchvision's, in NHWC.

    It takes color images ``(N, H, W, 3)``; those of ImageNet have 224 x 224 pixels.
    ``load_weights(resnet18(), "resnet18.safetensors")`` takes the weights of torchvision or timm
    (:func:`minadv.weights.load_weights`).

    Parameters
    ----------
    classes : int
        How many logits.
    normalize : bool
        Whether the first layer subtracts ImageNet's mean and divides by its deviation, so that
        images, bounds and ε stay in [0, 1]. Torchvision leaves this to the caller.
    rng : numpy.random.Generator or int
        Draws the weights.
    dtype : dtype
        Of the weights.
    """
    return resnet(
        3,
        classes,
        widths=(64, 128, 256, 512),
        blocks=(2, 2, 2, 2),
        large=True,
        normalize=(IMAGENET_MEAN, IMAGENET_STD) if check_flag("normalize", normalize) else None,
        rng=rng,
        dtype=dtype,
    )
