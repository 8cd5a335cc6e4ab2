"""DeepFool (E7): Moosavi-Dezfooli, Fawzi & Frossard 2016, *DeepFool: a simple and accurate method to fool deep neural networks*."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minadv import inference
from minadv.attacks.goal import Goal, warn_of_zero_gradients
from minadv.attacks.result import AttackResult
from minadv.autograd import vjp
from minadv.backend import array_module
from minadv.checks import check_count, check_images, check_number, largest_size
from minadv.inference import check_logits, on_a_copy, predict
from minadv.numerics import length_and_direction, rows
from minadv.parallel import in_chunks

__all__ = ["deepfool", "nearest_hyperplane"]

NORMS = ("l2", "linf")


def deepfool(
    model: Callable,
    x,
    *,
    y=None,
    overshoot: float = 0.02,
    steps: int = 50,
    candidates: int = 10,
    norm: str = "l2",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> AttackResult:
    r"""Step onto the nearest of the hyperplanes that would part the classes if the model were affine, and a bit beyond, until the label
    changes.

    .. math:: x_{i+1} = x_i + (1 + \eta) \, r_i, \quad r_i = \frac{|f_l|}{\lVert w_l \rVert_2^2} w_l, \quad
        l = \arg\min_{k \ne y} \frac{|f_k|}{\lVert w_k \rVert_2}, \quad f_k = z_k - z_y, \quad w_k = \nabla z_k - \nabla z_y

    clipped to ``bounds``, z being the logits at :math:`x_i`. (That is :math:`x_0 + (1 + \eta) \sum r_i`: the overshoot of all that has
    accumulated.) For an affine model one step is exact: no change smaller than :math:`r_0` reaches another class. Under the
    :math:`L_\infty` norm r is sign(w_l) times :math:`|f_l| / \lVert w_l \rVert_1`, the nearest being by that norm, too.

    Arguments: ``model``, from images to logits (N, K); ``x``, images (N, H, W, C) or (N, D), float32 or float64, inside ``bounds``; ``y``,
    the labels to get away from, integers (N,) or one, by default those that the model predicts; ``overshoot``, η >= 0, the share by which
    the change, step by step, is longer than needed; ``steps``, the most that an image may take; ``candidates``, how many of the likeliest
    classes are looked at in each step, y included, >= 2; ``norm``, the size that is kept small, ``"l2"`` or ``"linf"``. An example that
    has another label than ``y`` is returned unchanged with 0 steps. Warns of gradients that are exactly zero. Raises :class:`ValueError` or
    :class:`TypeError` naming a wrong argument.
    """
    low, high = check_images(x, bounds)
    eta = check_number("overshoot", overshoot, least=0, most=largest_size(np.float32))
    steps, candidates = check_count("steps", steps), check_count("candidates", candidates, least=2)
    if norm not in NORMS:
        raise ValueError(f"norm must be 'l2' or 'linf', got {norm!r}")
    xp = array_module(x)
    logits = inference.logits(model, x)
    goal = Goal.of(x, y=logits.argmax(axis=1) if y is None else y)
    goal.check_range(logits.shape[1])
    unit = np.finfo(x.dtype)
    pixels = (
        math.sqrt(math.prod(x.shape[1:])) if norm == "l2" else 1
    )  # the size of a change by 1 everywhere

    def step(x_i, y, i):
        """r_i for a chunk of images that have taken ``i`` steps (n,): algorithm 2, lines 6 to 11."""
        f_k, w_k = differences(model, x_i, y, candidates)
        # Clipping cuts a step short of the hyperplane, and the next one, and so on: 50 plain steps leave a quarter of MNIST's images
        # where they were, just before the boundary. So from the second step on, a pixel that a bound stops is left out of w_k.
        z = rows(x_i)
        stopped = ((z <= low)[:, None] & (w_k < 0)) | ((z >= high)[:, None] & (w_k > 0))
        w_k = xp.where(stopped & (i > 0)[:, None, None], 0, w_k)
        rounding = float(unit.eps) * pixels * xp.abs(z).max(axis=1) + float(
            unit.tiny
        )  # no step is shorter, even if f_l = 0
        _, r_i = nearest_hyperplane(f_k, w_k, norm=norm, beyond=rounding)
        return r_i.reshape(x_i.shape)

    x_adv, taken = x.copy(), xp.zeros(len(x), dtype=int)
    running = xp.flatnonzero(~goal.reached(logits.argmax(axis=1)))
    for i in range(steps):
        if not len(running):
            break
        r_i = in_chunks(model, step, x_adv[running], goal.label[running], taken[running])
        if i == 0:
            warn_of_zero_gradients(r_i, len(x))
        moves = rows(r_i).any(axis=1)
        running, r_i = running[moves], r_i[moves]
        x_adv[running] = xp.clip(x_adv[running] + (1 + eta) * r_i, low, high)  # line 12
        taken[running] += 1
        # One more forward pass, but now those that are done leave (line 5), and a pull for each class costs far more.
        running = running[~goal[running].reached(predict(model, x_adv[running]))]
    return AttackResult.judge(model, x, x_adv, goal, taken)


def differences(model: Callable, x, y, candidates: int):
    """``(f_k, w_k)``, (n, C) and (n, C, D): how far the likeliest other classes' logits lie above that of ``y``, and the gradients."""
    xp = array_module(x)
    f, pull = vjp(on_a_copy(model), x)
    check_logits(f, len(x))
    n, is_y = xp.arange(len(x)), y[:, None] == xp.arange(f.shape[1])
    k = xp.where(is_y, -xp.inf, -f).argsort(axis=1)[
        :, 1:candidates
    ]  # (n, C): the likeliest first, without y
    w_k = []
    for column in k.T:
        e = -is_y.astype(f.dtype)
        e[n, column] = 1
        w_k.append(rows(pull(e)))  # line 7: of the difference at once
    rounding = float(np.finfo(f.dtype).eps) * xp.abs(f).max(axis=1)
    return xp.take_along_axis(f, k, axis=1) - (f[n, y] + rounding)[:, None], xp.stack(
        w_k, axis=1
    )  # line 8


def nearest_hyperplane(f, w, *, norm: str = "l2", beyond: float = 0.0):
    r"""``(l, r)``: which hyperplane :math:`f_k + w_k \cdot r = 0` is the nearest to r = 0, (N,), and the shortest way r onto it, (N, D).

    .. math:: l = \arg\min_k \frac{|f_k|}{\lVert w_k \rVert_q}, \quad
        r = \frac{|f_l|}{\lVert w_l \rVert_2^2} w_l \; (L_2, q = 2), \quad
        r = \frac{|f_l|}{\lVert w_l \rVert_1} \mathrm{sign}(w_l) \; (L_\infty, q = 1)

    The q-norm is dual to the one that is kept small: the most that f_k can change per unit of r.

    Arguments: ``f``, (N, C), <= 0, as for classes that are not the likeliest; ``w``, (N, C, D); ``norm``, ``"l2"`` or ``"linf"``;
    ``beyond``, how much longer r is, pixel values, a number or (N,). Where no hyperplane can be reached, as all w are 0, r is 0.
    """
    xp = array_module(f)
    n, D = xp.arange(len(f)), w.shape[2]
    if norm == "l2":
        size, unit = (
            v.reshape(*f.shape, -1) for v in length_and_direction(w.reshape(-1, D))
        )  # (N, C, 1), (N, C, D)
    else:
        size, unit = xp.abs(w).sum(axis=2), xp.sign(w)
    size = size.reshape(f.shape)
    out_of_reach = size <= xp.abs(f) / largest_size(f.dtype)
    distance = xp.where(out_of_reach, xp.inf, xp.abs(f) / xp.where(out_of_reach, 1, size))
    l = distance.argmin(axis=1)  # line 10
    length = xp.where(out_of_reach[n, l], 0, distance[n, l] + beyond)
    return l, length[:, None] * unit[n, l]  # line 11
