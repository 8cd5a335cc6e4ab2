"""What an attack is given, checked: an error names the argument, what was expected and what came."""

from __future__ import annotations

import math
import numbers

import numpy as np


def largest_size(dtype) -> float:
    """The largest bound, eps or step: 2^20 times smaller than the largest number, so that no sum or product of a few overflows."""
    return float(np.finfo(dtype).max) * 2.0**-20


def check_number(name: str, value, *, least: float = -math.inf, most: float = math.inf) -> float:
    """``value`` as a finite float in [least, most]; else a :class:`ValueError` or :class:`TypeError` that names the argument."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r}")
    if not least <= number <= most:
        limit = f">= {least:g}" if number < least else f"<= {most:g}"
        raise ValueError(f"{name} must be {limit}, got {value!r}")
    return number


def check_count(name: str, value, *, least: int = 1, most: int | None = None) -> int:
    """``value`` as an integer in [least, most]; else a :class:`ValueError` or :class:`TypeError` that names the argument."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be >= {least}, got {value!r}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be <= {most}, got {value!r}")
    return int(value)


def check_rng(rng) -> np.random.Generator:
    """``rng``, a Generator or a seed, as a Generator; else a :class:`TypeError`.

    None is refused: what came out could not be had again.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, numbers.Integral) and not isinstance(rng, bool) and rng >= 0:
        return np.random.default_rng(int(rng))
    raise TypeError(f"rng must be a numpy.random.Generator or a seed, an integer >= 0, got {rng!r}")


def check_bounds(bounds, dtype=np.float64) -> tuple[float, float]:
    """``(low, high)``, low < high, as numbers of ``dtype`` (the images' own: 0.1 means what 0.1 is there)."""
    try:
        low, high = bounds
    except (TypeError, ValueError):
        raise ValueError(f"bounds must be two numbers (low, high), got {bounds!r}") from None
    most = largest_size(dtype)
    low, high = (
        float(np.dtype(dtype).type(check_number("bounds", b, least=-most, most=most)))
        for b in (low, high)
    )
    if not low < high:
        raise ValueError(f"bounds must be (low, high) with low < high, got {bounds!r}")
    return low, high


def check_images(x, bounds) -> tuple[float, float]:
    """Check that ``x`` is a batch of images, ``(N, H, W, C)`` or ``(N, D)``, float32 or float64, inside ``bounds``; return the bounds."""
    if not hasattr(x, "dtype") or not hasattr(x, "shape"):
        raise TypeError(f"x must be a NumPy or CuPy array, got {type(x).__name__}")
    if x.dtype not in (np.float32, np.float64):
        hint = ": divide by 255 first" if x.dtype == np.uint8 else ""
        raise TypeError(f"x must be float32 or float64, got {x.dtype}{hint}")
    if x.ndim not in (2, 4) or 0 in x.shape[1:]:
        hint = ": write x[None] for a single image" if x.ndim in (1, 3) else ""
        raise ValueError(
            f"x must be a batch of images, (N, H, W, C) or (N, D), got shape {x.shape}{hint}"
        )
    low, high = check_bounds(bounds, x.dtype)
    if len(x):
        smallest, largest = float(x.min()), float(x.max())
        if math.isnan(smallest):
            raise ValueError("x must not contain NaN")
        if smallest < low or largest > high:
            raise ValueError(
                f"x must lie inside bounds ({low}, {high}), got values from {smallest} to {largest}"
            )
    return low, high
