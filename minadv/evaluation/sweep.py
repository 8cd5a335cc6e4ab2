r"""A grid of models, attacks, ε and seeds, on one core or on many machines; one table out."""

from __future__ import annotations

import contextlib
import csv
import io
import statistics
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from tqdm import tqdm

from minadv.attacks.goal import Labels
from minadv.backend import Array
from minadv.checks import check_count, check_flag, check_function, check_path
from minadv.evaluation import parcels
from minadv.evaluation.crew import Crew
from minadv.evaluation.grid import Grid
from minadv.evaluation.shelf import Shelf
from minadv.evaluation.tasks import Failed
from minadv.files import write_whole

__all__ = ["Row", "Sweep", "SweepFailure", "sweep"]


@dataclass(frozen=True)
class Row:
    """One task of a sweep, and what came of it.

    ``eps``, ``seed``: None for an attack that takes none. ``images``, ``right``, ``robust``:
    counts: of all, of those read right, of those read right under the attack too. ``linf``,
    ``l2``, ``l0``: the median size of the change over the images that were lost by it, None if
    there are none. ``queries``: per image, None unless the attack or the model counts them.
    """

    model: str
    attack: str
    eps: float | None
    seed: int | None
    images: int
    right: int
    robust: int
    linf: float | None
    l2: float | None
    l0: float | None
    queries: float | None

    @property
    def accuracy(self) -> float:
        """The share of images that the model reads right."""
        return self.right / self.images

    @property
    def robust_accuracy(self) -> float:
        """The share that it reads right under the attack, too."""
        return self.robust / self.images


@dataclass(frozen=True)
class SweepFailure:
    """A task of a sweep that failed: its place in the grid, the error, and where it came from."""

    model: str
    attack: str
    eps: float | None
    seed: int | None
    error: str
    details: str


@dataclass(frozen=True, eq=False)
class Sweep:
    """What :func:`sweep` found: ``rows`` in the order of the grid, and the ``failures``."""

    rows: tuple[Row, ...]
    failures: tuple[SweepFailure, ...] = ()

    def __repr__(self) -> str:
        return f"Sweep({len(self.rows)} rows, {len(self.failures)} failures)"

    def csv(self) -> str:
        """The table as CSV: one line of names, one line for each row, numbers in full."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = [field.name for field in fields(Row)]
        writer.writerow([*names, "accuracy", "robust_accuracy"])
        for row in self.rows:
            writer.writerow([*astuple(row), row.accuracy, row.robust_accuracy])
        return out.getvalue()

    def save(self, path) -> Path:
        """Write :meth:`csv` to ``path``, whole or not at all; returns the path."""
        return write_whole(check_path("path", path), self.csv().encode())

    def curves(self) -> dict[str, tuple[list[float], list[float]]]:
        """Robust accuracy against ε, for each model and attack; the mean over the seeds.

        Attacks that take no ε are left out. For :func:`minadv.plotting.curves`.
        """
        found: dict[str, dict[float, list[float]]] = {}
        for row in self.rows:
            if row.eps is not None:
                at = found.setdefault(f"{row.model}, {row.attack}", {})
                at.setdefault(row.eps, []).append(row.robust_accuracy)
        return {
            name: (sorted(at), [statistics.fmean(at[eps]) for eps in sorted(at)])
            for name, at in found.items()
        }


def sweep(
    models: Mapping[str, Callable],
    attacks: Mapping[str, Callable],
    x: Array,
    y: Labels,
    *,
    epsilons: Iterable[float],
    seeds: Iterable[int] = (0,),
    executor: Executor | Callable[[], Executor] | None = None,
    folder: str | Path | None = None,
    retries: int = 1,
    bounds: tuple[float, float] = (0.0, 1.0),
    progress: bool = False,
) -> Sweep:
    """Attack every model with every attack at every ε from every seed.

    A row holds what ``attack(model, x, y=y, eps=eps, rng=seed)`` gives by itself. It depends on the
    row's own place in the grid, and on nothing else: not on the executor, on the order in which
    tasks end, or on the other rows. So the table is the same to the bit on one core and on a
    cluster of machines of one kind. Example::

        models = {"regular": f, "trained": g}
        attacks = {"FGSM": fgsm, "PGD": partial(pgd, steps=20)}
        table = sweep(models, attacks, x, y, epsilons=(0.05, 0.1), folder="results",
                      executor=partial(ProcessPoolExecutor, 8), progress=True)
        table.save("sweep.csv")
        plotting.curves(table.curves(), xlabel="eps", ylabel="robust accuracy", percent=True)

    Parameters
    ----------
    models, attacks
        By name. An attack is called with ``eps``, ``rng`` and ``bounds`` if it takes them, so none
        of these may be fixed in it. One that takes no ``eps`` or no ``rng`` is run once for them
        all. Models are taken from the mapping one after the other, and only when needed.
    x, y
        As for all attacks. For many images, call ``sweep`` for a part of them at a time.
    epsilons, seeds
        Numbers >= 0, in pixel values, and integers >= 0.
    executor
        Any :class:`concurrent.futures.Executor`: of threads, of processes, Dask's
        ``client.get_executor()``, ``mpi4py.futures.MPIPoolExecutor``. Or a function that makes one:
        then it is ended afterwards, and replaced if a worker's end breaks it, as it breaks a
        ``ProcessPoolExecutor``. None: one task after the other, here, each on all cores. Otherwise
        a task takes one core. Workers import this package and the modules of your own functions.
    folder
        Where results are kept, one file for each task, under a digest of weights, images, attack,
        settings and this package's version. After a crash, or ``kill -9``, the same call goes on
        from there. A file that is damaged or holds something else is replaced. A digest does not
        see the code of your own functions: take another folder after changing it.
        Large arrays are written to the folder, once each, and workers that see it read them there.
        Those that do not, as on a cluster without a shared disk, or without a folder, ask for what
        they lack and keep it in memory.
    retries
        How often a task that was lost with its worker is tried again; >= 1. Then it is reported as
        a failure. Dask by itself tries four workers first. A task that raises an error fails at
        once.
    bounds
        As for all attacks.
    progress
        Whether to show a bar, where stderr is a terminal.

    Returns
    -------
    Sweep
        A :class:`UserWarning` says so if tasks failed. They are tried anew by the next call.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as said here, or a model or an attack cannot be pickled.
    RuntimeError
        If ``executor`` breaks and cannot be replaced.
    """
    grid = Grid(models, attacks, x, y, epsilons, seeds, bounds)
    retries, progress = check_count("retries", retries), check_flag("progress", progress)
    if executor is not None and not isinstance(executor, Executor):
        check_function("executor", executor, "executor()")
    home = None if folder is None else check_path("folder", folder).absolute()
    if home is not None and home.exists() and not home.is_dir():
        raise ValueError(f"folder must be a folder, got the file {home}")
    shelf = Shelf(home)
    answers: dict[int, dict | Failed] = {}
    parcels.running.append(shelf.arrays)
    try:
        crew = Crew(executor, shelf.array, retries)
        todo = grid.tasks(shelf, answers, alone=executor is None)
        show = tqdm(total=len(grid.places), desc="sweep", disable=None if progress else True)
        with show as bar, contextlib.closing(crew.results(todo)) as results:
            for i, answer in results:
                answers[i] = answer
                if not isinstance(answer, Failed):
                    shelf.keep(grid.keys[i], answer)
                bar.update(len(answers) - bar.n)
            bar.update(len(answers) - bar.n)
    finally:
        parcels.running.remove(shelf.arrays)
    return _table(grid, answers)


def _table(grid: Grid, answers: dict[int, dict | Failed]) -> Sweep:
    """The answers in the order of the grid."""
    rows, failures = [], []
    for i, place in enumerate(grid.places):
        answer = answers[i]
        if isinstance(answer, Failed):
            failures.append(SweepFailure(*place, answer.error, answer.details))
        else:
            rows.append(Row(*place, **answer))
    if failures:
        warnings.warn(
            f"{len(failures)} of {len(grid.places)} tasks failed, the first one "
            f"{failures[0].model}, {failures[0].attack}: {failures[0].error}",
            stacklevel=3,
        )
    return Sweep(tuple(rows), tuple(failures))
