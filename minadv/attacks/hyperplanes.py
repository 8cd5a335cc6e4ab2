"""The boundaries between the classes of a linearized model, and the shortest way onto one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import numpy as np

from minadv import inference
from minadv.autograd import vjp
from minadv.backend import Array, array_module
from minadv.checks import largest_size
from minadv.numerics import length_and_direction, rows

Norm: TypeAlias = Literal["l2", "linf"]
NORMS = get_args(Norm)


def differences(model: Callable, x: Array, y: Array, candidates: int) -> tuple[Array, Array]:
    """``(f_k, w_k)``, (n, C) and (n, C, D), of the likeliest other classes.

    How far their logits lie above that of ``y``, and the gradients of that (DeepFool, lines 7, 8).
    """
    xp = array_module(x)
    f, pull = vjp(inference.on_a_copy(model), x)
    inference.check_logits(f, len(x))
    n, is_y = xp.arange(len(x)), y[:, None] == xp.arange(f.shape[1])
    k = xp.where(is_y, -xp.inf, -f).argsort(axis=1)[:, 1:candidates]  # (n, C), likeliest first
    w_k = []
    for column in k.T:
        e = -is_y.astype(f.dtype)
        e[n, column] = 1
        w_k.append(rows(pull(e)))  # the gradient of the difference at once
    unit = float(np.finfo(f.dtype).eps) * xp.abs(f).max(axis=1)
    return xp.take_along_axis(f, k, axis=1) - (f[n, y] + unit)[:, None], xp.stack(w_k, axis=1)


def nearest_hyperplane(
    f: Array, w: Array, *, norm: Norm = "l2", beyond: float | Array = 0.0
) -> tuple[Array, Array]:
    r"""``(l, r)``: the hyperplane :math:`f_k + w_k \cdot r = 0` nearest to 0, and the way onto it.

    .. math:: l = \arg\min_k \frac{|f_k|}{\lVert w_k \rVert_q}, \quad
        r = \frac{|f_l|}{\lVert w_l \rVert_2^2} w_l \; (L_2, q = 2), \quad
        r = \frac{|f_l|}{\lVert w_l \rVert_1} \mathrm{sign}(w_l) \; (L_\infty, q = 1)

    The q-norm is dual to the one that is kept small: the most that f_k can change per unit of r.

    Parameters
    ----------
    f
        (N, C), <= 0, as for classes that are not the likeliest.
    w
        (N, C, D).
    norm
        ``"l2"`` or ``"linf"``.
    beyond
        How much longer r is, pixel values, a number or (N,).

    Returns
    -------
    l, r
        (N,) and (N, D). Where no hyperplane can be reached, because all w are 0, r is 0.
    """
    xp = array_module(f)
    n, D = xp.arange(len(f)), w.shape[2]
    if norm == "l2":
        size, unit = length_and_direction(w.reshape(-1, D))
        unit = unit.reshape(w.shape)
    else:
        size, unit = xp.abs(w).sum(axis=2), xp.sign(w)
    size = size.reshape(f.shape)
    out_of_reach = size <= xp.abs(f) / largest_size(f.dtype)
    distance = xp.where(out_of_reach, xp.inf, xp.abs(f) / xp.where(out_of_reach, 1, size))
    l = distance.argmin(axis=1)  # DeepFool, algorithm 2, line 10
    length = xp.where(out_of_reach[n, l], 0, distance[n, l] + beyond)
    return l, length[:, None] * unit[n, l]  # line 11


def onto_hyperplane(x: Array, w: Array, gap: Array, bounds: tuple, norm: Norm) -> Array:
    r"""The shortest r, (n, D), with :math:`w \cdot r = gap` and x + r inside ``bounds``, exactly.

    Every pixel moves by the same amount (``"linf"``), or in proportion to its \|w\| (``"l2"``),
    until a bound stops it; the others go on. So w·r grows piecewise linearly, and the piece where
    it reaches the gap is found by sorting the stops. If none does, all pixels are at a bound.

    ``x``, ``w``: (n, D). ``gap``: (n,), of either sign.
    """
    xp, (low, high) = array_module(x), bounds
    toward = xp.sign(w) * xp.sign(gap)[:, None]
    x, w, gap = (a.astype(np.float64) for a in (x, xp.abs(w), xp.abs(gap)))
    largest = w.max(axis=1)
    largest = largest + (largest == 0)
    w, gap = w / largest[:, None], gap / largest
    room = xp.where(toward > 0, high - x, x - low)  # how far a pixel can go
    speed = w if norm == "l2" else (w > 0).astype(w.dtype)
    stop = xp.where(w > 0, room, 0) / xp.where(w > 0, speed, 1)
    order = stop.argsort(axis=1)
    stop, gain = (xp.take_along_axis(a, order, axis=1) for a in (stop, w * speed))

    zero = xp.zeros((len(x), 1))
    stopped = xp.concatenate([zero, (gain * stop).cumsum(axis=1)], axis=1)  # by the first k pixels
    moving = xp.concatenate([zero, gain[:, ::-1].cumsum(axis=1)], axis=1)[:, ::-1]  # by the others
    reached = stopped[:, 1:] + moving[:, 1:] * stop  # w·r at each stop
    k = (reached < gap[:, None]).sum(axis=1)
    n = xp.arange(len(x))
    slope = xp.where(moving[n, k] > 0, moving[n, k], 1)
    time = xp.where(moving[n, k] > 0, (gap - stopped[n, k]) / slope, stop[:, -1])
    return toward * xp.minimum(time[:, None] * speed, room)
