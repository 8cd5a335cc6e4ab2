"""Two ways of doing the same work, timed in turn: a drift of the machine's speed hits both."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import threadpoolctl

from minadv.machine import cores
from minadv.parallel import run_chunks

PINS = Path(__file__).with_name("requirements.txt")
BUSY = 0.25  # load per core, and share of time lost, above which figures are not to be trusted
ROUNDS = 9
BETWEEN = 0.05  # seconds between two runs: see :func:`settle`
LONG = 0.25  # seconds that a run lasts at least, by as many calls as that takes
PATIENCE = 40  # seconds for one comparison; a slower machine does fewer rounds, but 3, and says so


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
    gpu: bool = False

    def row(self) -> str:
        """One row of the table under HEADER, without the GPU column."""
        theirs = f"{_figure(self.theirs)} {self.peer}"
        return f"| {self.name} | {_figure(self.ours)} | {theirs} | {self.unit} | {self.ranged()} |"

    def ranged(self) -> str:
        return f"**{self.ratio:.2f}** ({self.lowest:.2f}-{self.highest:.2f})"


HEADER = "| what | minadv | peer | unit | minadv / peer, median (range) |\n|---|---|---|---|---|"

made: list[Comparison] = []  # all comparisons of this run, in order, for the table and the figure
lines: list[str] = []  # what is said beside them
quick = False  # fewer rounds and less work: see :func:`count` and ``--quick``


def say(line: str):
    """Print ``line``, and keep it for the report."""
    print(line, flush=True)
    lines.append(line)


def count(full: int, short: int) -> int:
    """``full``, or ``short`` in a quick run."""
    return short if quick else full


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def seconds(f: Callable, wait: Callable = lambda: None) -> float:
    """How long one call takes, ``wait`` included: until a device is done."""
    start = time.perf_counter()
    f()
    wait()
    return time.perf_counter() - start


def peak_memory() -> float:
    """The most memory that this process has taken, in MiB.

    On Linux not by ``ru_maxrss``, which starts at the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (r for r in status.read_text().splitlines() if r.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def settle():
    """Multiply matrices on all cores for a moment, so that all runs start alike.

    Threads of OpenMP look out for more work for some 0.01 s after a run, at full speed. And a core
    that had nothing to do, of a virtual machine above all, takes as long to come back.
    """
    end, a = time.perf_counter() + BETWEEN, np.ones((128, 128), dtype=np.float32)

    def work(core):
        while time.perf_counter() < end:
            a @ a
        return core

    run_chunks(work, np.arange(cores()), chunk=1)


def compare(
    name: str,
    peer: str,
    ours: Callable,
    theirs: Callable,
    *,
    work: float,
    unit: str,
    theirs_work: float | None = None,
    rounds: int = ROUNDS,
    place=None,
) -> Comparison:
    """Run ours, theirs, ours, theirs, ... after one warm-up each, and print the row.

    A run is one call, or as many as last LONG.

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
    place
        Where both compute; the processor by default.

    Returns
    -------
    Comparison
    """
    wait = place.wait if place else lambda: None

    def runs(f: Callable, work: float) -> Callable:
        """A function that makes one run, and says how much work per second it did."""
        f(), wait()
        calls = count(math.ceil(LONG / seconds(f, wait)), 1)

        def rate() -> float:
            settle()
            return work * calls / seconds(lambda: [f() for _ in range(calls)], wait)

        return rate

    mine, peers = runs(ours, work), runs(theirs, theirs_work or work)
    rates: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(rates) < min(rounds, count(rounds, 3)):
        rates.append((mine(), peers()))
        if len(rates) >= 3 and time.perf_counter() - start > PATIENCE:
            say(f"{name} / {peer}: {len(rates)} rounds only, too slow for more.")
            break
    ratios = [a / b for a, b in rates]
    result = Comparison(
        name,
        peer,
        unit,
        statistics.median(a for a, _ in rates),
        statistics.median(b for _, b in rates),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        gpu=bool(place and place.gpu),
    )
    made.append(result)
    print("GPU " * result.gpu + result.row(), flush=True)
    return result


# --- the machine


def machine() -> list[str]:
    """Processor, versions, and the kernels that NumPy and PyTorch chose, in a few lines."""
    pins = dict(line.split("==") for line in PINS.read_text().split())
    found, other = [f"Python {platform.python_version()}"], []
    for name, pinned in pins.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            other.append(f"{name} is missing")
            continue
        found.append(f"{name} {installed}")
        if installed.partition("+")[0] != pinned:
            other.append(f"{name} is {installed}, not {pinned}")
    said = [f"{_processor()}, {cores()} cores. {', '.join(found)}."]
    said.append(f"Other versions than requirements.txt: {'; '.join(other) or 'none'}.")
    kernels = {
        f"{c['internal_api']} {c['architecture']}"
        for c in threadpoolctl.threadpool_info()
        if c["user_api"] == "blas" and "architecture" in c
    }
    said.append(f"Kernels of NumPy's matrix products: {', '.join(sorted(kernels)) or 'unknown'}.")
    return said


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        named = next(line for line in lines if line.startswith("model name"))
        return named.partition(":")[2].strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def lost_share(spins: int = 200) -> float:
    """The share of time for which this thread did not get its core, over some 0.2 s of work."""
    start, own = time.perf_counter(), time.thread_time()
    while time.perf_counter() - start < spins / 1000:
        sum(range(1000))
    return max(0.0, 1 - (time.thread_time() - own) / (time.perf_counter() - start))


def quiet(itself: bool = False) -> tuple[bool, str]:
    """Whether the machine is quiet enough for timings, and what was seen.

    ``itself``: this program has been computing, so the load is its own.
    """
    load = os.getloadavg()[0] / cores() if hasattr(os, "getloadavg") else 0.0
    lost = lost_share()
    seen = f"load {load:.2f} per core, {lost:.0%} of a thread's time lost to others"
    if lost <= BUSY and load <= BUSY + itself:
        return True, f"The machine is quiet: {seen}."
    return False, f"THE MACHINE IS NOT QUIET: {seen}. These figures are not to be trusted."


# --- the report


def table() -> list[str]:
    """All comparisons, those on a GPU in a column of their own beside those on the processor."""
    on_gpu = {(c.name, c.peer): c for c in made if c.gpu}
    rows = [c for c in made if not c.gpu]
    rows += [c for key, c in on_gpu.items() if key not in {(r.name, r.peer) for r in rows}]
    out = []
    for line, end in zip(HEADER.split("\n"), (" on a GPU |", "---|"), strict=True):
        out.append(line + end)
    for row in rows:
        twin = on_gpu.get((row.name, row.peer))
        cell = f"{_figure(twin.ours)}: {twin.ranged()}" if twin else ""
        blank = f"| {row.name} | | {row.peer} | {row.unit} | |"
        out.append(f"{blank if row.gpu else row.row()} {cell} |")
    return out


def write(out: Path):
    """The table as ``benchmarks.md`` and the ratios as ``benchmarks.png`` in the folder ``out``."""
    from matplotlib.figure import Figure

    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join([*lines, "", *(table() if made else []), ""])
    (out / "benchmarks.md").write_text(text, encoding="utf-8")
    if not made:
        return
    figure = Figure(figsize=(8, 0.3 * len(made) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, c in enumerate(reversed(made)):
        color = "tab:green" if c.gpu else "tab:blue"
        axes.plot([c.lowest, c.highest], [place, place], color=color, linewidth=2)
        axes.plot(c.ratio, place, "o", color=color, markersize=5)
    names = [f"{c.name} / {c.peer}{', GPU' * c.gpu}" for c in reversed(made)]
    axes.set_yticks(range(len(made)), names, fontsize=8, parse_math=False)
    axes.set_ylim(-0.7, len(made) - 0.3)
    axes.axvline(1, color="gray", linewidth=1)
    axes.set_xscale("log")
    least, most = min(c.lowest for c in made), max(c.highest for c in made)
    marks = [m for m in (0.25, 0.5, 1, 2, 3, 5, 10, 20, 50, 100) if least / 1.5 < m < most * 1.5]
    axes.set_xticks(marks, [f"{m:g}" for m in marks])
    axes.xaxis.minorticks_off()
    axes.grid(axis="x", color="0.9")
    axes.set_xlabel("minadv / peer, median and range; above 1 minadv is faster", fontsize=9)
    figure.savefig(out / "benchmarks.png", dpi=120)
