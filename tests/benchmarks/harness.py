"""Timing two ways of doing the same work, in turn, so that a drift of the machine's speed hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """How fast ours and a peer's are (work per second), and the ratio ours / peer's: median and range over the rounds."""

    name: str
    peer: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float

    def row(self) -> str:
        ratio = f"**{self.ratio:.2f}** ({self.lowest:.2f}-{self.highest:.2f})"
        return f"| {self.name} | {_figure(self.ours)} | {_figure(self.theirs)} {self.peer} | {self.unit} | {ratio} |"


HEADER = "| what | minadv | peer | unit | minadv / peer, median (range) |\n|---|---|---|---|---|"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def seconds(f: Callable) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def compare(
    name: str,
    peer: str,
    ours: Callable,
    theirs: Callable,
    *,
    work: float,
    unit: str,
    theirs_work: float | None = None,
    rounds: int = 5,
) -> Comparison:
    """Run ours, theirs, ours, theirs, ... after one warm-up each; ``work`` units per call (``theirs_work`` if the peer does less of it)."""
    ours(), theirs()
    rates = [(work / seconds(ours), (theirs_work or work) / seconds(theirs)) for _ in range(rounds)]
    ratios = [a / b for a, b in rates]
    result = Comparison(
        name,
        peer,
        unit,
        *(statistics.median(r) for r in zip(*rates, strict=True)),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )
    print(result.row(), flush=True)
    return result
