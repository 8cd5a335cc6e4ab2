r"""Differential evolution: minimize a function from its values alone, by a population (D6).

Storn & Price 1997. One generation, for each candidate :math:`X_c`, with :math:`p_1, p_2, p_3` drawn
different from :math:`c` and from each other:

.. math::
    V_c &= X_{p_1} + \text{mutation} \cdot (X_{p_2} - X_{p_3})
        && \text{(mutation)} \\
    U_{c,d} &= V_{c,d} \text{ with probability recombination, else } X_{c,d}
        && \text{(recombination)} \\
    X_c &\leftarrow U_c \text{ if } f(U_c) \le f(X_c)
        && \text{(selection)}

:class:`Evolution` is that generation, written once on arrays ``(..., P, D)``: one problem is
``(P, D)``, a batch of B problems is ``(B, P, D)``. :func:`differential_evolution` runs it on one
objective, :func:`~minadv.attacks.one_pixel.one_pixel` on a batch of images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minadv.backend import array_module, like
from minadv.checks import check_choice, check_count, check_number, check_rng, largest_size

__all__ = ["Evolution", "Minimum", "differential_evolution"]

STRATEGIES = ("rand1", "best1")
LEAST_POPULATION = 4  # c, p1, p2 and p3 are four different candidates


@dataclass(frozen=True, eq=False)
class Minimum:
    """What :func:`differential_evolution` found."""

    x: object  # (D,), the best candidate
    value: float  # its objective
    history: np.ndarray  # (generations,), the best objective after each generation: it never rises
    evaluations: int  # candidates that the objective was asked about

    @property
    def generations(self) -> int:
        return len(self.history)


def differential_evolution(
    objective: Callable,
    bounds,
    *,
    population: int = 50,
    generations: int = 200,
    mutation: float | tuple[float, float] = 0.5,
    recombination: float = 0.9,
    strategy: str = "rand1",
    rng: np.random.Generator | int = 0,
    stop: Callable | None = None,
) -> Minimum:
    r"""Minimize ``objective`` within ``bounds`` by differential evolution.

    .. math:: X_c \leftarrow X_{p_1} + \text{mutation} \cdot (X_{p_2} - X_{p_3})
        \quad\text{if that is no worse}

    The first generation is a Latin hypercube: in each dimension, one candidate per P-th of the
    range. A coordinate that leaves the box is set to the bound it crossed. Minima on the boundary,
    which are common in attacks, are thus reached exactly; SciPy redraws such a coordinate and only
    gets close.

    Parameters
    ----------
    objective
        All candidates in one call: ``(P, D)`` to ``(P,)``. Infinity marks a candidate as forbidden;
        NaN is refused.
    bounds
        ``(D, 2)``, the lower and the upper bound of each coordinate, both included. Candidates are
        float64 and live where this array does.
    population
        Candidates P, at least 4. Storn & Price advise 5 to 10 per dimension.
    generations
        Populations evaluated at most, the first included.
    mutation
        Factor of the difference, in [0, 2]. A pair ``(low, high)`` redraws it in each generation.
    recombination
        Share of the coordinates taken from the mutant, in [0, 1]; at least one always is.
    strategy
        ``"rand1"``, the formula above, or ``"best1"``, SciPy's default: the best candidate replaces
        :math:`X_{p_1}`. It is faster on one valley and more easily caught on many.
    rng
        A generator or a seed. The same seed gives the same result.
    stop
        ``stop(x, value)`` is called with the best candidate after each generation; true ends the
        search.

    Returns
    -------
    Minimum

    Raises
    ------
    ValueError, TypeError
        If an argument, or what the objective returns, is not as said here.
    """
    if not callable(objective):
        raise TypeError(f"objective must be callable, got {type(objective).__name__}")
    if stop is not None and not callable(stop):
        raise TypeError(f"stop must be callable or None, got {type(stop).__name__}")
    low, high = check_box(bounds)
    generations = check_count("generations", generations)
    search = {"mutation": mutation, "recombination": recombination, "strategy": strategy}
    evolution = Evolution(low, high, population=population, rng=rng, **search)
    history = []
    for _ in range(generations):
        trials = evolution.ask()
        values = objective(trials.copy())  # a copy: the objective may work in place
        evolution.tell(trials, check_values(values, trials))
        x, value = evolution.best()
        history.append(float(value))
        if stop is not None and stop(x.copy(), history[-1]):
            break
    return Minimum(x, history[-1], np.array(history), evaluations=len(history) * population)


class Evolution:
    """Populations that evolve: ``ask`` for trials ``(..., P, D)``, ``tell`` their values, repeat.

    ``problems`` is the shape in front, ``()`` for one problem and ``(B,)`` for B of them. Random
    numbers are drawn once per generation and shared by all problems: a batch uses the same draws as
    a single problem would, so each problem's run equals that of running it alone with the same
    seed.
    """

    def __init__(
        self,
        low,
        high,
        *,
        problems=(),
        population,
        mutation,
        recombination,
        strategy="rand1",
        rng=0,
    ):
        population = check_count("population", population, least=LEAST_POPULATION)
        check_choice("strategy", strategy, *STRATEGIES)
        xp = array_module(low, high)
        self.low, self.high = low, high  # (D,)
        self.mutation = check_mutation(mutation)
        self.recombination = check_number("recombination", recombination, least=0, most=1)
        self.strategy = strategy
        self.rng = check_rng(rng)
        share = latin_hypercube(self.rng, population, len(low)).astype(low.dtype)  # (P, D)
        share = like(share, low)
        first = xp.clip(low + share * (high - low), low, high)  # rounding may step over a bound
        self.candidates = xp.broadcast_to(first, (*problems, *first.shape))  # (..., P, D)
        self.values = xp.full(self.candidates.shape[:-1], xp.inf, low.dtype)  # (..., P)
        self.generation = 0

    def ask(self):
        """The next trials ``(..., P, D)``: the first population, then a mutant per candidate."""
        if self.generation == 0:
            return self.candidates
        xp = array_module(self.candidates)
        X, (P, D) = self.candidates, self.candidates.shape[-2:]
        p1, p2, p3 = like(distinct_partners(self.rng, P, 3), X)  # (3, P)
        X_base = X[..., p1, :] if self.strategy == "rand1" else self.best()[0][..., None, :]
        factor = self.rng.uniform(*self.mutation)
        V = X_base + factor * (X[..., p2, :] - X[..., p3, :])  # Storn & Price, equation 2; D6
        inherit = self.rng.random((P, D)) < self.recombination
        # Else a trial could equal its parent.
        inherit[np.arange(P), self.rng.integers(D, size=P)] = True
        return xp.clip(xp.where(like(inherit, X), V, X), self.low, self.high)

    def tell(self, trials, values) -> None:
        """Let each trial that is no worse replace its candidate.

        Ties are accepted, so that a population can drift across a plateau.
        """
        xp = array_module(values)
        better = values <= self.values  # (..., P)
        self.candidates = xp.where(better[..., None], trials, self.candidates)
        self.values = xp.where(better, values, self.values)
        self.generation += 1

    def best(self):
        """The best candidate ``(..., D)`` and its value ``(...)``."""
        xp = array_module(self.values)
        c = self.values.argmin(axis=-1)[..., None]  # (..., 1)
        X_best = xp.take_along_axis(self.candidates, c[..., None], axis=-2)[..., 0, :]
        return X_best, xp.take_along_axis(self.values, c, axis=-1)[..., 0]

    def keep(self, unsolved) -> None:
        """Go on with the problems ``unsolved`` only: indices, or a mask ``(B,)``."""
        self.candidates, self.values = self.candidates[unsolved], self.values[unsolved]


def latin_hypercube(rng, P, D):
    """``(P, D)`` points of [0, 1), exactly one in each of the P strata of each coordinate."""
    strata = rng.permuted(np.tile(np.arange(P)[:, None], (1, D)), axis=0)
    return (strata + rng.random((P, D))) / P


def distinct_partners(rng, P, count):
    """``(count, P)`` indices: those in column c differ from c and from each other.

    All such choices are equally likely.
    """
    taken = np.arange(P)[None]  # (1, P): c itself
    for _ in range(count):
        partner = rng.integers(P - len(taken), size=P)  # the rank among those not taken yet
        for index in np.sort(taken, axis=0):  # from the lowest up, skip each that is taken
            partner += partner >= index
        taken = np.concatenate([taken, partner[None]])
    return taken[1:]


def check_box(bounds):
    """``bounds`` as two float64 vectors ``(D,)``, the lower and the upper corner."""
    xp = array_module(bounds)
    try:
        box = xp.asarray(bounds, dtype=float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"bounds must be numbers of shape (D, 2), got {bounds!r}") from error
    if box.ndim != 2 or len(box) == 0 or box.shape[1] != 2:
        raise ValueError(
            "bounds must have shape (D, 2), a lower and an upper bound per coordinate, "
            f"got shape {box.shape}"
        )
    low, high = box[:, 0], box[:, 1]
    largest = largest_size(box.dtype)
    if not ((abs(box) <= largest).all() and (low <= high).all()):  # NaN fails, too
        raise ValueError(
            f"bounds must lie within ±{largest:g}, each lower one <= its upper one, "
            f"got {box.tolist()}"
        )
    return low, high


def check_mutation(mutation):
    """``mutation`` as the range ``(low, high)`` it is drawn from."""
    pair = isinstance(mutation, tuple | list) and len(mutation) == 2
    low, high = mutation if pair else (mutation, mutation)
    low = check_number("mutation", low, least=0, most=2)
    return low, check_number("mutation", high, least=low, most=2)


def check_values(values, trials):
    """The objective's ``values`` for ``trials`` ``(P, D)``, checked, as float64 ``(P,)``."""
    values = array_module(trials).asarray(values)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"objective must return real numbers, got {values.dtype}")
    if values.shape != trials.shape[:1]:
        raise ValueError(
            f"objective must return one value per candidate, shape {trials.shape[:1]}, "
            f"got {values.shape}"
        )
    if (values != values).any():
        raise ValueError("objective must not return NaN; infinity marks a candidate as forbidden")
    return values.astype(trials.dtype)
