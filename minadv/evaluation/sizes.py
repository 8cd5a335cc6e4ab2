"""The size of a perturbation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minadv.backend import to_numpy
from minadv.checks import check_reals

__all__ = ["PerturbationSummary", "Sizes", "perturbation_summary"]


@dataclass(frozen=True)
class Sizes:
    """The size of successful perturbations in one norm: the median, and ``quantiles[q]``, below
    which lies the share q."""

    median: float
    quantiles: dict[float, float]


@dataclass(frozen=True)
class PerturbationSummary:
    """How many of how many examples an attack won, and by how large a change (pixel values; l0
    counts them)."""

    examples: int
    successes: int
    linf: Sizes
    l2: Sizes
    l0: Sizes


def perturbation_summary(result, quantiles: Sequence[float] = (0.25, 0.75)) -> PerturbationSummary:
    """Median and quantiles of the perturbation's size over the successful examples of ``result``.

    Failed examples are left out, as they have no successful perturbation to measure: read the sizes
    together with ``successes``. What was wrong already, and so came back unchanged, is a success of
    size 0. Between two examples a quantile is interpolated linearly.

    Arguments: ``result``, an :class:`AttackResult`; ``quantiles``, shares from 0 to 1.
    Raises :class:`ValueError` for a share outside [0, 1], and when no example succeeded.
    """
    if not hasattr(result, "success"):
        raise TypeError(f"result must be an AttackResult, got {type(result).__name__}")
    quantiles = check_reals("quantiles", quantiles).ravel().tolist()
    if not all(0 <= q <= 1 for q in quantiles):
        raise ValueError(f"quantiles must lie in [0, 1], got {quantiles}")
    success = to_numpy(result.success)
    if not success.any():
        raise ValueError(
            f"result must hold a success to have a perturbation's size, got 0 of {len(success)}"
        )

    def sizes(per_example) -> Sizes:
        successful = to_numpy(per_example, dtype=float)[success]
        return Sizes(
            float(np.median(successful)), {q: float(np.quantile(successful, q)) for q in quantiles}
        )

    return PerturbationSummary(
        len(success), int(success.sum()), sizes(result.linf), sizes(result.l2), sizes(result.l0)
    )
