r"""Images in files, and what survives of an attack there.

A PNG stores 256 levels per channel, and an attack may rely on values in between:

.. math:: byte = \mathrm{round}\left(255 \, \frac{x - low}{high - low}\right), \qquad
    x = low + \frac{byte}{255} (high - low)

So each pixel value moves by up to 1/510 of the range, about half of a perturbation of ε = 1/255.
:func:`survives_8bit` says whether an adversarial example is still one after rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from minadv import inference
from minadv.attacks.goal import Goal
from minadv.attacks.result import AttackResult
from minadv.backend import array_module, asarray, to_numpy
from minadv.checks import check_bounds, check_counts, check_images, check_path
from minadv.data.idx import DataError
from minadv.files import write_whole

__all__ = ["from_8bit", "read_image", "save_image", "survives_8bit", "to_8bit"]

GRAY, RGB = 1, 3  # channels
GRAY_MODES = ("1", "L", "LA")  # Pillow's names for the gray ones
TOO_LARGE = (
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # more than Image.MAX_IMAGE_PIXELS, 89 million


# 8 bits.


def to_8bit(x, *, bounds: tuple[float, float] = (0.0, 1.0)):
    """The bytes that a PNG keeps of ``x``: rounded to the nearest of 256 values, ``bounds`` being 0
    and 255.

    Arguments: ``x``, images (N, H, W, C) or (N, D), float32 or float64, inside ``bounds``. Returns
    uint8 of the same shape. (The usual ``(255 * x).astype("uint8")`` does not round but cuts off:
    7.999 becomes 7.) Raises :class:`ValueError` or :class:`TypeError` naming a wrong argument.
    """
    low, high = check_images(x, bounds)
    return array_module(x).rint((x.astype(np.float64) - low) / (high - low) * 255).astype(np.uint8)


def from_8bit(pixels, *, bounds: tuple[float, float] = (0.0, 1.0), dtype=np.float32):
    """The images, of ``dtype`` and inside ``bounds``, that the bytes ``pixels`` (uint8, any shape)
    stand for: ``byte / 255`` in [0, 1].

    Raises :class:`TypeError` or :class:`ValueError` naming a wrong argument.
    """
    if getattr(pixels, "dtype", None) != np.uint8:
        raise TypeError(
            "pixels must be an array of uint8, got "
            f"{getattr(pixels, 'dtype', type(pixels).__name__)}"
        )
    try:
        np.finfo(np.dtype(dtype))
    except (TypeError, ValueError):
        raise TypeError(f"dtype must be a floating-point one, got {dtype!r}") from None
    low, high = check_bounds(bounds, dtype)
    x = low + pixels.astype(np.float64) / 255 * (high - low)
    return array_module(pixels).clip(x.astype(dtype), low, high)


def survives_8bit(
    model: Callable,
    result: AttackResult,
    *,
    y=None,
    target=None,
    bounds: tuple[float, float] = (0.0, 1.0),
):
    """Whether each example of ``result`` succeeds, and still does when it is stored in 8 bits per
    value: booleans (N,).

    Arguments: ``model``, from images to logits (N, K); ``result``, what an attack returned; ``y``
    or ``target`` and ``bounds``, as they were given to the attack. Raises :class:`ValueError` or
    :class:`TypeError` naming a wrong argument.
    """
    if not isinstance(result, AttackResult):
        raise TypeError(f"result must be an AttackResult, got {type(result).__name__}")
    goal = Goal.of(result.x, y=y, target=target)
    stored = from_8bit(
        to_8bit(result.x_adv, bounds=bounds), bounds=bounds, dtype=result.x_adv.dtype
    )
    logits = inference.logits(model, stored)
    goal.check_range(logits.shape[1])
    return result.success & goal.reached(logits.argmax(axis=1))


# Files.


def read_image(
    path, shape: tuple[int, int, int] | None = None, *, bounds: tuple[float, float] = (0.0, 1.0)
):
    """The image in a PNG, JPEG or another file that Pillow reads, as a batch of one: (1, H, W, C),
    float32, inside ``bounds``.

    Without ``shape`` it comes as it is, C = 1 if the file is gray and 3 if it is in color. With
    ``shape`` = (H, W, C) it is made so: channels first (gray is the luma of ITU-R 601), then the
    sides cut off evenly to the proportions of H x W, then resized (bilinear, averaging where it
    shrinks), all in 8 bits. A photo is turned upright as its EXIF data say.

    Raises :class:`~minadv.data.DataError` naming the file, if it is missing, damaged, no image,
    larger than 89 million pixels, of more than 8 bits per pixel of gray (16-bit color Pillow itself
    reduces to 8), or transparent somewhere: what shows through there is not in the file.
    :class:`ValueError` or :class:`TypeError` naming another wrong argument.
    """
    path = check_path("path", path)
    check_bounds(bounds, np.float32)
    size = () if shape is None else check_shape(shape)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                image = converted(ImageOps.exif_transpose(file), *size)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Image.UnidentifiedImageError:
        raise DataError(f"{path}: not an image, or of a format that Pillow does not read") from None
    except TOO_LARGE:
        raise DataError(f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except (
        Exception
    ) as error:  # Pillow's decoders raise whatever a damaged file makes them trip over
        raise DataError(f"{path}: {str(error) or type(error).__name__}") from error
    pixels = np.atleast_3d(np.asarray(image))[None]  # (1, H, W, C)
    return from_8bit(asarray(pixels), bounds=bounds)


def converted(
    image: Image.Image,
    height: int = 0,
    width: int = 0,
    channels: int = 0,
) -> Image.Image:
    """``image`` in Pillow's mode L or RGB, and of the size that is given, if one is (0: none); a
    :class:`ValueError` where that would be a guess."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(
            f"expected 8 bits per pixel of gray, got more (Pillow's mode {image.mode}): convert it "
            "first"
        )
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise ValueError("transparent in some pixels: put it on a background first")
    channels = channels or (GRAY if image.mode in GRAY_MODES else RGB)
    image = image.convert("L" if channels == GRAY else "RGB")
    return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR) if height else image


def save_image(x, path, *, bounds: tuple[float, float] = (0.0, 1.0)) -> Path:
    """Write one image to ``path`` as a PNG of 8 bits per channel, rounded by :func:`to_8bit`, whole
    or not at all; return the path.

    Arguments: ``x``, a batch of one, (1, H, W, 1) or (1, H, W, 3), float32 or float64, inside
    ``bounds``; ``path``, which ends in ".png" and whose missing folders are made. Raises
    :class:`ValueError` or :class:`TypeError` naming a wrong argument.
    """
    path = check_path("path", path)
    if path.suffix != ".png":
        raise ValueError(f"path must end in .png, got {path.name!r}")
    pixels = to_numpy(to_8bit(x, bounds=bounds))
    if pixels.ndim != 4 or len(pixels) != 1 or pixels.shape[3] not in (GRAY, RGB):
        raise ValueError(f"x must be one image, (1, H, W, 1) or (1, H, W, 3), got shape {x.shape}")
    png = BytesIO()
    Image.fromarray(pixels[0, ..., 0] if pixels.shape[3] == GRAY else pixels[0]).save(
        png, format="PNG"
    )
    return write_whole(path, png.getvalue())


def check_shape(shape) -> tuple[int, int, int]:
    """``shape`` as (H, W, C), C being 1 or 3."""
    height, width, channels = check_counts("shape", shape, "H", "W", "C")
    if channels not in (GRAY, RGB):
        raise ValueError(f"shape must be (H, W, 1) or (H, W, 3), got {shape!r}")
    return height, width, channels
