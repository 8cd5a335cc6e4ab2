"""How many images nothing in the ball can turn: the counterpart of robust accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minadv.backend import Array, array_module, is_array, like, to_numpy
from minadv.certify.bounds import Method, Norm, images_at_once, margins, prepared
from minadv.certify.steps import Step
from minadv.checks import check_count, check_labels, check_number
from minadv.parallel import in_chunks


def margin_bound(
    model: Callable,
    x: Array,
    y: Array | Sequence[int] | int,
    *,
    eps: float,
    method: Method = "crown",
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Array:
    r"""A number that :math:`\min_{j \ne y} (z_y - z_j)` never falls below within ``eps`` of ``x``.

    Positive: no image of the ball has another label than y, as real numbers or as computed.
    Negative: nothing is known; the bound may be loose, or the label may change.

    Parameters
    ----------
    model, x, eps, method, norm, bounds
        See :mod:`minadv.certify`.
    y : array (N,) or int
        Labels.

    Returns
    -------
    array (N,), float64

    Raises
    ------
    ValueError, TypeError
        For arguments that are not as said there.
    """
    steps, ball, sizes = prepared(model, x, eps, method, norm, bounds)
    return _least(steps, ball, x, label_array(y, x, steps), sizes, method)


def _least(steps, ball, x, y, sizes, method) -> Array:
    def of(x, y, eps):
        return margins(steps, ball(x, eps), y, method).min(axis=1)

    return in_chunks(None, of, x, y, sizes, most=images_at_once(steps, method))


def label_array(y, x, steps: list[Step]) -> Array:
    """``y`` as one label for each of the images ``x``, where they are."""
    try:
        y = y if is_array(y) else np.asarray(y)
    except (TypeError, ValueError) as error:
        raise TypeError(f"y must be integers: {error}") from None
    if y.ndim == 0 and y.dtype.kind in "iu":
        y = np.full(len(x), int(y))
    if not y.size:  # NumPy takes an empty list for floating point
        y = y.astype(int)
    return like(check_labels("y", y, count=len(x), classes=steps[-1].out[2]), x)


def certified(
    model: Callable,
    x: Array,
    y: Array | Sequence[int] | int,
    *,
    eps: float,
    method: Method = "crown",
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Array:
    """Whether every image within ``eps`` of ``x`` has the label ``y``, provably: booleans (N,).

    An image that is misread as it is, is never certified. Arguments and errors are those of
    :func:`margin_bound`.
    """
    return margin_bound(model, x, y, eps=eps, method=method, norm=norm, bounds=bounds) > 0


def certified_accuracy(
    model: Callable,
    x: Array,
    y: Array | Sequence[int] | int,
    *,
    eps: float,
    method: Method = "crown",
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> float:
    """The share of images that are read right, provably so for every image within ``eps``.

    No attack within the same ball and bounds brings the robust accuracy below it. Arguments and
    errors are those of :func:`margin_bound`, and :class:`ValueError` for an empty batch.
    """
    safe = certified(model, x, y, eps=eps, method=method, norm=norm, bounds=bounds)
    if not len(safe):
        raise ValueError("x must hold at least one example, got none")
    return float(to_numpy(safe).mean())


def certified_radius(
    model: Callable,
    x: Array,
    y: Array | Sequence[int] | int,
    *,
    most: float = 1.0,
    halvings: int = 10,
    method: Method = "crown",
    norm: Norm = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Array:
    """The largest eps found for which an image is certified, by bisection of [0, ``most``].

    Parameters
    ----------
    model, x, y, method, norm, bounds
        As for :func:`margin_bound`.
    most : float
        The largest eps that is tried, > 0.
    halvings : int
        Steps of the bisection, 1 to 60. Its last interval is ``most / 2**halvings`` long.

    Returns
    -------
    array (N,), float64
        Each a radius that was certified itself; 0 where none was, also for misread images.

    Raises
    ------
    ValueError, TypeError
        As :func:`margin_bound`.
    """
    most, halvings = check_number("most", most, above=0), check_count("halvings", halvings, most=60)
    steps, ball, sizes = prepared(model, x, most, method, norm, bounds)
    y, xp = label_array(y, x, steps), array_module(x)
    low, high = xp.zeros_like(sizes), sizes
    for _ in range(halvings):
        middle = (low + high) / 2
        safe = _least(steps, ball, x, y, middle, method) > 0
        low, high = xp.where(safe, middle, low), xp.where(safe, high, middle)
    return low
