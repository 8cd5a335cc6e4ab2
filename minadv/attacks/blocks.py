"""A large batch, attacked one block after the other, so that memory does not grow with it."""

from __future__ import annotations

import math
from collections.abc import Callable

from minadv.backend import Array, array_module

# The most pixel values of a block: 16 MB of float32, 4,096 images of 28x28.
VALUES_PER_BLOCK = 2**22


def in_blocks(f: Callable, x: Array, *others) -> tuple:
    """``f(x, *others)``, a tuple of arrays with one row per example, computed block by block.

    ``others`` are whatever an index cuts as it cuts ``x``: arrays, a goal. Blocks are powers of
    two, as chunks are, so that both end at the same places.
    """
    largest = VALUES_PER_BLOCK // max(math.prod(x.shape[1:]), 1)
    block = 2 ** max(largest.bit_length() - 1, 0)
    starts = range(0, max(len(x), 1), block)
    parts = [f(*(a[i : i + block] for a in (x, *others))) for i in starts]
    if len(parts) == 1:
        return parts[0]
    return tuple(array_module(x).concatenate(column) for column in zip(*parts, strict=True))
