"""Two ways of doing the same work, timed in turn: a drift of the machine's speed hits both."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from minadv.machine import cores

PACKAGES = ("numpy", "threadpoolctl", "torch", "scipy", "foolbox", "torchattacks")
BUSY = 0.25  # load per core, and share of time lost, above which figures are not to be trusted


@dataclass(frozen=True)
class Comparison:
    """How fast ours and a peer's are (work per second), and the ratio ours / peer's.

    The ratio is the median over the rounds, with its range.
    """

    name: str
    peer: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float

    def row(self) -> str:
        """One row of the table under HEADER."""
        ratio = f"**{self.ratio:.2f}** ({self.lowest:.2f}-{self.highest:.2f})"
        theirs = f"{_figure(self.theirs)} {self.peer}"
        return f"| {self.name} | {_figure(self.ours)} | {theirs} | {self.unit} | {ratio} |"


HEADER = "| what | minadv | peer | unit | minadv / peer, median (range) |\n|---|---|---|---|---|"

made: list[Comparison] = []  # all comparisons of this run, in order, for the table and the figure
quick = False  # fewer rounds and less work: see :func:`count` and ``--quick``


def count(full: int, short: int) -> int:
    """``full``, or ``short`` in a quick run."""
    return short if quick else full


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def seconds(f: Callable) -> float:
    """How long one call takes."""
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
    rounds: int = 9,
) -> Comparison:
    """Run ours, theirs, ours, theirs, ... after one warm-up each, and print the row.

    Parameters
    ----------
    name, peer
        What is done, and by whom else.
    ours, theirs
        The two, without arguments.
    work
        Units of work per call.
    unit
        Of the rate, such as ``images/s``.
    theirs_work
        Units per call of the peer, if it does less of it.
    rounds
        How many of each; at most 3 in a quick run.

    Returns
    -------
    Comparison
    """
    ours(), theirs()
    rates = [
        (work / seconds(ours), (theirs_work or work) / seconds(theirs))
        for _ in range(min(rounds, count(rounds, 3)))
    ]
    ratios = [a / b for a, b in rates]
    mine, peers = zip(*rates, strict=True)
    result = Comparison(
        name,
        peer,
        unit,
        statistics.median(mine),
        statistics.median(peers),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )
    made.append(result)
    print(result.row(), flush=True)
    return result


def machine() -> str:
    """Python, packages and cores, in one line."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"Python {platform.python_version()}, {', '.join(found)}; {cores()} cores"


def lost_share(spins: int = 200) -> float:
    """The share of time for which this thread did not get its core, over some 0.2 s of work."""
    start, own = time.perf_counter(), time.thread_time()
    while time.perf_counter() - start < spins / 1000:
        sum(range(1000))
    return max(0.0, 1 - (time.thread_time() - own) / (time.perf_counter() - start))


def quiet() -> tuple[bool, str]:
    """Whether the machine is quiet enough for timings, and what was seen."""
    load = os.getloadavg()[0] / cores() if hasattr(os, "getloadavg") else 0.0
    lost = lost_share()
    seen = f"load {load:.2f} per core, {lost:.0%} of a thread's time lost to others"
    if load <= BUSY and lost <= BUSY:
        return True, f"The machine is quiet: {seen}."
    return False, f"THE MACHINE IS NOT QUIET: {seen}. These figures are not to be trusted."


def write(out: Path, lines: list[str]):
    """The table as ``benchmarks.md`` and the ratios as ``benchmarks.png`` in the folder ``out``."""
    from matplotlib.figure import Figure

    out.mkdir(parents=True, exist_ok=True)
    table = [HEADER, *(c.row() for c in made)] if made else []
    (out / "benchmarks.md").write_text("\n".join([*lines, "", *table, ""]), encoding="utf-8")
    if not made:
        return
    figure = Figure(figsize=(8, 0.35 * len(made) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, c in enumerate(reversed(made)):
        axes.plot([c.lowest, c.highest], [place, place], color="tab:blue", linewidth=2)
        axes.plot(c.ratio, place, "o", color="tab:blue")
    names = [f"{c.name} / {c.peer}" for c in reversed(made)]
    axes.set_yticks(range(len(made)), names, fontsize=8, parse_math=False)
    axes.axvline(1, color="gray", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("minadv / peer: median and range; right of the line minadv is faster")
    figure.savefig(out / "benchmarks.png", dpi=120)
