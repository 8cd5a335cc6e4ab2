"""Images with a few pixels repainted, and what a model says of them: the queries of one-pixel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minadv.attacks.black_box import BlackBox
from minadv.attacks.goal import Goal
from minadv.attacks.local import LocalModel
from minadv.backend import array_module, like
from minadv.checks import check_count
from minadv.inference import check_logits

# --- candidates


def grid(x):
    """``(H, W, C)`` of a batch of images; the D values of ``(N, D)`` are pixels in a row."""
    return x.shape[1:] if x.ndim == 4 else (1, x.shape[1], 1)


def gene_bounds(x, pixels: int, bounds: tuple[float, float]):
    """The least and the largest candidate, ``(pixels·(2 + C),)`` each.

    Rows and columns are numbers in [0, H) and [0, W), rounded down: every pixel is as likely as
    another. Values come from all of ``bounds``, both ends included.
    """
    (H, W, C), (low, high) = grid(x), bounds
    if check_count("pixels", pixels) > H * W:
        raise ValueError(f"pixels must be <= {H * W}, all that an image has, got {pixels}")
    lowest = [0, 0, *[low] * C]
    highest = [below(H, x.dtype), below(W, x.dtype), *[high] * C]
    return tuple(like(np.tile(np.array(g, x.dtype), pixels), x) for g in (lowest, highest))


def below(count: int, dtype):
    """The largest number below ``count``: rounded down it is the last index, ``count - 1``."""
    return np.nextafter(np.dtype(dtype).type(count), np.dtype(dtype).type(0))


def places_and_values(genes, channels: int):
    """Candidates ``(n, D)`` as rows and columns ``(n, pixels)``, and values ``(n, pixels, C)``."""
    genes = genes.reshape(len(genes), -1, 2 + channels)
    return genes[..., 0].astype(int), genes[..., 1].astype(int), genes[..., 2:]


def paint(images, genes):
    """Set the pixels of ``images`` ``(n, ...)`` that ``genes`` ``(n, D)`` name, in place."""
    n, (H, W, C) = len(images), grid(images)
    canvas = images.reshape(n, H, W, C)  # a view: at most axes of length 1 are added
    each = array_module(images).arange(n)
    row, column, value = places_and_values(genes, C)
    for pixel in range(row.shape[1]):  # one after the other: the later wins
        canvas[each, row[:, pixel], column[:, pixel]] = value[:, pixel]
    return images


# --- queries


class Queries(BlackBox):
    """What ``predict`` says of the images ``x``, and of candidates for them."""

    def __init__(self, predict: Callable, x, goal: Goal, pixels: int):
        super().__init__(predict, x, goal)
        self.local = LocalModel.of(predict, x, pixels)

    def costs(self, running, trials):
        """What evolution minimizes for ``trials`` ``(B, P, D)``, −log-odds or, for successes, −∞.

        ``running`` ``(B,)``: the indices of their images.
        """
        B, P, D = trials.shape
        owner = array_module(running).repeat(running, P)
        return self.in_blocks(self.cost, trials.reshape(B * P, D), owner).reshape(B, P)

    def cost(self, genes, owner):
        """:meth:`costs` of candidates ``(n, D)`` for the images of the indices ``owner`` (n,)."""
        if self.local:
            places = places_and_values(genes, self.x.shape[3])
            answers = check_logits(self.local(self.x, owner, *places), len(genes))
        else:
            answers = self.answers(paint(self.x[owner], genes))
        xp, goal = array_module(answers), self.goal[owner]
        reached = goal.reached(answers.argmax(axis=1))
        return xp.where(reached, -xp.inf, -goal.score(self.logits(answers)))
