"""Checks of arguments: an error names the argument, what was expected and what came.

All have one signature: the argument's name first, then its value, then what is allowed.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minadv.backend import Array, array_module, to_numpy


def largest_size(dtype) -> float:
    """The largest bound, eps or step: the largest number of ``dtype`` divided by 2^20.

    So no sum or product of a few of them overflows.
    """
    return float(np.finfo(dtype).max) * 2.0**-20


def check_number(
    name: str,
    value,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """Return ``value`` as a finite float within the limits.

    Parameters
    ----------
    name : str
        What the argument is called.
    value : number
        NumPy's numbers count, bool does not.
    least, most : float
        Closed limits: ``least <= value <= most``.
    above, below : float
        Open limits: ``above < value < below``.

    Raises
    ------
    TypeError
        If ``value`` is not a number.
    ValueError
        If it is not finite or lies outside the limits.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value) + 0.0  # not -0.0
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r}")
    if number < least:
        raise ValueError(f"{name} must be >= {least:g}, got {value!r}")
    if number > most:
        raise ValueError(f"{name} must be <= {most:g}, got {value!r}")
    if number <= above:
        raise ValueError(f"{name} must be > {above:g}, got {value!r}")
    if number >= below:
        raise ValueError(f"{name} must be < {below:g}, got {value!r}")
    return number


def check_count(name: str, value, *, least: int = 1, most: int | None = None) -> int:
    """Return ``value`` as an integer in [least, most]; NumPy's integers count, bool does not.

    Raises :class:`TypeError` if it is not an integer, :class:`ValueError` outside the limits.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    count = int(value)
    if count < least:
        raise ValueError(f"{name} must be >= {least}, got {count}")
    if most is not None and count > most:
        raise ValueError(f"{name} must be <= {most}, got {count}")
    return count


def check_counts(name: str, value, *axes: str, least: int = 1) -> tuple[int, ...]:
    """Return ``value`` as a tuple of integers >= ``least``, one for each of the named ``axes``."""
    if not isinstance(value, tuple | list) or len(value) != len(axes):
        raise ValueError(f"{name} must be ({', '.join(axes)}), got {value!r}")
    return tuple(check_count(name, n, least=least) for n in value)


def check_pair(name: str, value, *, least: int = 1) -> tuple[int, int]:
    """Return ``value``, one integer for both directions or a pair (rows, columns), as a pair."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    whole = all(isinstance(n, numbers.Integral) and not isinstance(n, bool) for n in pair)
    if len(pair) != 2 or not whole or min(pair) < least:
        raise ValueError(f"{name} must be an integer or two, each >= {least}, got {value!r}")
    return int(pair[0]), int(pair[1])


def check_choice(name: str, value, *choices: str) -> str:
    """Return ``value`` if it is one of ``choices``."""
    if not (isinstance(value, str) and value in choices):
        allowed = " or ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return value


def check_function(name: str, value, form: str, *args, **kwargs):
    """Return ``value`` if it can be called with ``args`` and ``kwargs``, which ``form`` shows.

    Nothing is called. ``args`` and ``kwargs`` may hold None: only their number and names count.
    Raises :class:`TypeError`.
    """
    if not callable(value):
        raise TypeError(f"{name} must be a function, called as {form}, got {value!r}")
    try:
        signature = inspect.signature(value)
    except ValueError:  # some built-in functions do not tell theirs
        return value
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name} is called as {form}, but cannot be: {error}") from None
    return value


def check_float_dtype(name: str, dtype) -> np.dtype:
    """``dtype`` as a NumPy dtype, if it is a floating-point one."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.kind != "f":
        raise TypeError(f"{name} must be a floating-point one, got {found or dtype}")
    return found


FRAMEWORKS = ("torch", "jax", "jaxlib", "flax", "equinox", "keras", "tensorflow", "onnxruntime")


def check_model(model):
    """Return ``model`` if it can be called and is not what another framework made."""
    for kind in type(model).__mro__:
        if kind.__module__.partition(".")[0] in FRAMEWORKS:
            raise TypeError(
                f"model must compute with NumPy, got {type(model).__name__} of {kind.__module__}: "
                "write minadv.external(forward, vjp), where forward(x) gives the logits, vjp(x) "
                "them and their pull; help(minadv.external) has the lines for each framework"
            )
    if not callable(model):
        raise TypeError(f"model must be a function, called as model(x), got {model!r}")
    return model


def check_flag(name: str, value) -> bool:
    """Return ``value``, True or False, NumPy's included, as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_text(name: str, value) -> str:
    """Return ``value`` if it is text."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, got {value!r}")
    return value


def check_path(name: str, value) -> Path:
    """``value``, text or a path, as a :class:`~pathlib.Path`."""
    try:
        return Path(value)
    except TypeError:
        raise TypeError(f"{name} must be a path, got {value!r}") from None


def check_reals(name: str, value) -> np.ndarray:
    """``value``, an array or nested lists of real numbers, as a NumPy array of floating point."""
    try:
        array = to_numpy(value)
        if array.dtype.kind not in "fiub" and not (array.dtype == object and array.size):
            raise TypeError(f"dtype {array.dtype}")
        return array if array.dtype.kind == "f" else array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name} must hold real numbers: {error}") from None


def check_mapping(name: str, value, form: str) -> Mapping:
    """Return ``value`` if it is a mapping with texts as keys, such as ``form`` shows."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"{name} must be a dictionary {form}, got {value!r}")
    return value


def check_array(name: str, value) -> Array:
    """``value``, a NumPy or CuPy array; else a :class:`TypeError` that says how to make one."""
    if not isinstance(value, array_module(value).ndarray):
        kind = type(value)
        if kind.__module__.partition(".")[0] == "torch":
            hint = f": write {name}.detach().cpu().numpy()"
        else:
            hint = f": write numpy.asarray({name})" if hasattr(value, "__array__") else ""
        got = f"{kind.__module__}.".removeprefix("builtins.") + kind.__qualname__
        raise TypeError(f"{name} must be a NumPy or CuPy array, got {got}{hint}")
    return value


def check_labels(name: str, value, *, count: int, classes: int) -> Array:
    """Return ``value`` if it is an array of ``count`` integer labels in 0..classes - 1."""
    check_array(name, value)
    if value.shape != (count,) or value.dtype.kind not in "iu":
        hint = f": write {name}.argmax(axis=1)" if value.shape == (count, classes) else ""
        came = f"{value.dtype} of shape {value.shape}{hint}"
        raise ValueError(f"{name} must be {count} integer labels, got {came}")
    if count and not (int(value.min()) >= 0 and int(value.max()) < classes):
        came = f"{int(value.min())}..{int(value.max())}"
        raise ValueError(f"{name} must lie in 0..{classes - 1}, got {came}")
    return value


def check_rng(rng) -> np.random.Generator:
    """Return ``rng``, a Generator or a seed, as a Generator; else raise :class:`TypeError`.

    None is refused, because its results could not be reproduced.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, numbers.Integral) and not isinstance(rng, bool) and int(rng) >= 0:
        return np.random.default_rng(int(rng))
    raise TypeError(f"rng must be a numpy.random.Generator or a seed, an integer >= 0, got {rng!r}")


def check_bounds(bounds, dtype=np.float64, *, name: str = "bounds") -> tuple[float, float]:
    """``(low, high)``, low < high, as numbers of ``dtype``, the images' own."""
    try:
        low, high = bounds
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be two numbers (low, high), got {bounds!r}") from None
    most = largest_size(dtype)
    low, high = (
        float(np.dtype(dtype).type(check_number(name, b, least=-most, most=most)))
        for b in (low, high)
    )
    if not low < high:
        raise ValueError(f"{name} must be (low, high) with low < high, got {bounds!r}")
    return low, high


def check_images(x, bounds) -> tuple[float, float]:
    """Check that ``x`` is a batch of images inside ``bounds``; return the bounds.

    That is (N, H, W, C) or (N, D), float32 or float64. Bounds: see :func:`check_inside`.
    """
    check_array("x", x)
    if x.dtype not in (np.float32, np.float64):
        hint = ": divide by 255 first" if x.dtype == np.uint8 else ""
        raise TypeError(f"x must be float32 or float64, got {x.dtype}{hint}")
    if x.ndim not in (2, 4) or 0 in x.shape[1:]:
        hint = ": write x[None] for a single image" if x.ndim in (1, 3) else ""
        hint += ", x[..., None] for gray images (N, H, W)" if x.ndim == 3 else ""
        raise ValueError(
            f"x must be a batch of images, (N, H, W, C) or (N, D), got shape {x.shape}{hint}"
        )
    if x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[2] == x.shape[3] > 4:
        raise ValueError(
            f"x must be a batch of images, (N, H, W, C), got shape {x.shape}, which seems to be "
            "(N, C, H, W): write x.transpose(0, 2, 3, 1)"
        )
    return check_inside("x", x, bounds)


# Rounding carries (x - mean) / std, computed in float32, up to two or three of them beyond a bound.
SPARE_UNITS = 4


def check_inside(name: str, x, bounds) -> tuple[float, float]:
    """``bounds`` as numbers of the dtype of ``x``, widened by rounding errors so as to hold ``x``.

    Values beyond a bound by at most 4 units in the last place (of the larger bound) are accepted,
    and the bounds returned are then those values.
    """
    low, high = check_bounds(bounds, x.dtype)
    if not x.size:
        return low, high
    smallest, largest = float(x.min()), float(x.max())
    if math.isnan(smallest):
        raise ValueError(f"{name} must not contain NaN")
    spare = SPARE_UNITS * float(np.spacing(x.dtype.type(max(-low, high))))
    if smallest < low - spare or largest > high + spare:
        raise ValueError(
            f"{name} must lie inside bounds ({low}, {high}), "
            f"got values from {smallest} to {largest}"
        )
    return min(low, smallest), max(high, largest)
