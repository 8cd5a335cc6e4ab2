"""Differential evolution: known minima, SciPy beside it, each equation, the draws."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minadv.attacks.evolution import (
    Evolution,
    differential_evolution,
    distinct_partners,
    latin_hypercube,
)
from minadv.backend import array_module, to_numpy


def sphere(X):
    return ((X - 0.25) ** 2).sum(axis=-1)


def rosenbrock(X):
    return (100 * (X[..., 1:] - X[..., :-1] ** 2) ** 2 + (1 - X[..., :-1]) ** 2).sum(axis=-1)


def rastrigin(X):
    return (X**2 - 10 * np.cos(2 * np.pi * X) + 10).sum(axis=-1)


def ackley(X):
    return (
        20
        + np.e
        - 20 * np.exp(-0.2 * np.sqrt((X**2).mean(axis=-1)))
        - np.exp(np.cos(2 * np.pi * X).mean(axis=-1))
    )


def corner(X):
    return X.sum(axis=-1)  # least where every coordinate is at its lower bound


class Recorder:
    """An objective that keeps what it was asked."""

    def __init__(self, objective):
        self.objective, self.asked = objective, []

    def __call__(self, X):
        self.asked.append(X.copy())
        return self.objective(X)


class TestMinima:
    @pytest.mark.parametrize(
        ("objective", "box", "minimum", "strategy"),
        [
            (sphere, (-5, 3), 0.25, "rand1"),
            (sphere, (-5, 3), 0.25, "best1"),
            (rosenbrock, (-2, 2), 1.0, "rand1"),
            (rosenbrock, (-2, 2), 1.0, "best1"),
            (ackley, (-20, 30), 0.0, "rand1"),
            (ackley, (-20, 30), 0.0, "best1"),
            (corner, (-2, 7), -2.0, "rand1"),
            (corner, (-2, 7), -2.0, "best1"),
            (rastrigin, (-5.12, 5.12), 0.0, "rand1"),  # ten valleys a side, which often catch best1
        ],
        ids=lambda value: getattr(value, "__name__", None),
    )
    def test_known_minimum_is_found(self, objective, box, minimum, strategy):
        found = differential_evolution(
            objective, [box] * 3, population=60, generations=250, strategy=strategy
        )
        np.testing.assert_allclose(found.x, minimum, atol=1e-4)
        assert found.value == objective(found.x)

    def test_minimum_in_a_corner_is_reached_exactly(self):
        lower_corner = np.array([0.1, -1 / 3, 2.7])
        for sign, reached in ((1, lower_corner), (-1, lower_corner + 0.7)):
            found = differential_evolution(
                lambda X, sign=sign: sign * X.sum(axis=1),
                np.stack([lower_corner, lower_corner + 0.7], axis=1),
            )
            assert found.x.tolist() == reached.tolist()

    @pytest.mark.parametrize("strategy", ["rand1", "best1"])
    def test_as_good_as_scipy_at_equal_evaluations(self, strategy):
        scipy_optimize = pytest.importorskip("scipy.optimize")
        P, generations, D, seeds = 40, 80, 4, range(6)

        def ours(objective, box, seed):
            result = differential_evolution(
                objective,
                [box] * D,
                population=P,
                generations=generations,
                mutation=0.5,
                recombination=0.9,
                strategy=strategy,
                rng=seed,
            )
            assert result.evaluations == P * generations
            return result.value

        def scipys(objective, box, seed):
            asked = Recorder(objective)
            result = scipy_optimize.differential_evolution(
                lambda x: asked(x.T),
                [box] * D,
                popsize=P // D,
                maxiter=generations - 1,
                mutation=0.5,
                recombination=0.9,
                seed=seed,
                strategy=f"{strategy}bin",
                vectorized=True,
                updating="deferred",
                polish=False,
                tol=0,
                atol=0,
            )
            assert sum(map(len, asked.asked)) == P * generations
            return result.fun

        # SciPy does not reach a bound. Rosenbrock's valley catches best1, ours and SciPy's, about
        # every other time.
        problems = [(sphere, (-5, 3), 10), (ackley, (-20, 30), 10), (corner, (0, 1), 1e-3)]
        if strategy == "rand1":
            problems.append((rosenbrock, (-2, 2), 10))
        for objective, box, factor in problems:
            we = np.median([ours(objective, box, seed) for seed in seeds])
            they = np.median([scipys(objective, box, seed) for seed in seeds])
            assert we <= factor * they


class TestOneGeneration:
    """The equations, checked against every choice of partners that they allow."""

    def generation(self, strategy, mutation=0.7, recombination=0.5, seed=0, P=6, D=4):
        settings = {
            "population": P,
            "mutation": mutation,
            "recombination": recombination,
            "strategy": strategy,
            "rng": seed,
        }
        evolution = Evolution(np.full(D, -1.0), np.ones(D), **settings)
        X = evolution.ask()
        evolution.tell(X, rosenbrock(X))
        return X, evolution.ask()

    @pytest.mark.parametrize("strategy", ["rand1", "best1"])
    @pytest.mark.parametrize("seed", range(5))
    def test_each_trial_mixes_its_parent_with_a_mutant_of_three_others(self, strategy, seed):
        X, U = self.generation(strategy, seed=seed)
        best = X[rosenbrock(X).argmin()]
        for c in range(len(X)):
            mutants = [
                np.clip((X[p1] if strategy == "rand1" else best) + 0.7 * (X[p2] - X[p3]), -1, 1)
                for p1, p2, p3 in itertools.permutations(set(range(len(X))) - {c}, 3)
            ]
            mixes = [np.isclose(U[c], V, rtol=0, atol=1e-14) | (U[c] == X[c]) for V in mutants]
            assert any(mix.all() for mix in mixes)
            assert (U[c] != X[c]).any()

    @pytest.mark.parametrize(("recombination", "inherited"), [(0.0, {1}), (1.0, {4})])
    def test_recombination_says_how_many_coordinates_change(self, recombination, inherited):
        X, U = self.generation("rand1", recombination=recombination)
        assert set((X != U).sum(axis=1).tolist()) == inherited

    def test_share_of_inherited_coordinates(self):
        X, U = self.generation("rand1", recombination=0.3, P=400, D=20)
        expected = 0.3 + 0.7 / 20  # one of the 20 is always taken
        changed = (X != U).mean()
        assert abs(changed - expected) < 5 * np.sqrt(expected * (1 - expected) / U.size)

    def test_dither_draws_one_factor_per_generation_from_its_range(self):
        factors = set()
        for seed in range(10):
            X, U = self.generation(
                "rand1", mutation=(0.2, 0.4), recombination=1.0, seed=seed, P=5, D=4
            )
            per_candidate = []
            for c in range(5):
                fits = set()
                for p1, p2, p3 in itertools.permutations(set(range(5)) - {c}, 3):
                    inside = np.abs(U[c]) < 1  # not clipped
                    ratio = (U[c] - X[p1])[inside] / (X[p2] - X[p3])[inside]
                    if inside.sum() > 1 and np.ptp(ratio) < 1e-9:
                        fits.add(
                            round(abs(float(ratio[0])), 9)
                        )  # exchanging p2 and p3 turns its sign
                per_candidate.append(fits)
            (factor,) = set.intersection(*[fits for fits in per_candidate if fits])
            assert 0.2 <= factor <= 0.4
            factors.add(factor)
        assert len(factors) == 10

    def test_a_trial_that_is_no_worse_replaces_its_candidate(self):
        evolution = Evolution(
            np.zeros(2), np.ones(2), population=4, mutation=0.5, recombination=0.9
        )
        X = evolution.ask()
        evolution.tell(X, np.array([1.0, 1.0, 1.0, np.inf]))
        U = evolution.ask()
        evolution.tell(U, np.array([0.5, 1.0, 1.5, np.inf]))
        assert evolution.candidates.tolist() == [
            U[0].tolist(),
            U[1].tolist(),
            X[2].tolist(),
            U[3].tolist(),
        ]
        assert evolution.values.tolist() == [0.5, 1.0, 1.0, np.inf]
        best, value = evolution.best()
        assert best.tolist() == U[0].tolist()
        assert value == 0.5


class TestDraws:
    @given(P=st.integers(4, 30), seed=st.integers(0, 2**32))
    @settings(max_examples=50, deadline=None)
    def test_partners_differ_from_their_candidate_and_each_other(self, P, seed):
        partners = distinct_partners(np.random.default_rng(seed), P, 3)
        assert partners.shape == (3, P)
        for c, column in enumerate(partners.T.tolist()):
            assert len({c, *column}) == 4
            assert set(column) <= set(range(P))

    def test_all_choices_of_partners_are_equally_likely(self):
        rng, P, draws = np.random.default_rng(0), 5, 4000
        columns = np.concatenate(
            [distinct_partners(rng, P, 3) for _ in range(draws)], axis=1
        ).T.reshape(draws, P, 3)
        for c in range(P):
            choices, counts = np.unique(columns[:, c], axis=0, return_counts=True)
            assert len(choices) == 24
            chi_square = ((counts - draws / 24) ** 2 / (draws / 24)).sum()
            assert chi_square < 60  # 23 degrees of freedom: exceeded once in 30,000 draws

    @given(P=st.integers(1, 40), D=st.integers(1, 6), seed=st.integers(0, 2**32))
    @settings(max_examples=50, deadline=None)
    def test_first_population_has_one_candidate_per_stratum(self, P, D, seed):
        share = latin_hypercube(np.random.default_rng(seed), P, D)
        assert (np.sort(np.floor(share * P), axis=0) == np.arange(P)[:, None]).all()

    def test_strata_are_shuffled_independently(self):
        share = latin_hypercube(np.random.default_rng(0), 2000, 3)
        assert np.abs(np.corrcoef(share.T) - np.eye(3)).max() < 5 / np.sqrt(2000)


class TestSearch:
    @given(
        st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)), min_size=1, max_size=4),
        st.floats(0, 2),
        st.floats(0, 1),
        st.sampled_from(["rand1", "best1"]),
        st.integers(0, 2**32),
    )
    @settings(max_examples=60, deadline=None)
    def test_whatever_the_settings(self, box, mutation, recombination, strategy, seed):
        bounds = np.array([[low, low + width] for low, width in box])
        objective = Recorder(lambda X: np.abs(X - bounds[:, 1] / 3).sum(axis=1))
        arguments = {
            "population": 7,
            "generations": 12,
            "mutation": mutation,
            "recombination": recombination,
            "strategy": strategy,
        }
        found = differential_evolution(objective, bounds, **arguments, rng=seed)
        asked = np.array(objective.asked)
        assert asked.shape == (12, 7, len(box))  # a population per call
        assert found.evaluations == 12 * 7
        assert found.generations == 12
        assert ((bounds[:, 0] <= asked) & (asked <= bounds[:, 1])).all()
        values = np.array([objective.objective(X) for X in asked])
        assert found.history.tolist() == np.minimum.accumulate(values.min(axis=1)).tolist()
        assert found.value == found.history[-1] == objective.objective(found.x[None])[0]

    def test_same_seed_same_result(self):
        def run(rng):
            return differential_evolution(
                rastrigin, [(-5, 5)] * 3, population=20, generations=20, rng=rng
            )

        assert run(3).x.tolist() == run(3).x.tolist() == run(np.random.default_rng(3)).x.tolist()
        assert run(3).history.tolist() == run(3).history.tolist()
        assert run(3).x.tolist() != run(4).x.tolist()

    def test_a_pair_of_equal_factors_is_that_factor(self):
        one = differential_evolution(rastrigin, [(-5, 5)] * 3, generations=20, mutation=0.6)
        pair = differential_evolution(rastrigin, [(-5, 5)] * 3, generations=20, mutation=(0.6, 0.6))
        assert one.x.tolist() == pair.x.tolist()

    def test_stop_is_asked_about_the_best_and_ends_the_search(self):
        full = differential_evolution(sphere, [(-5, 3)] * 3, generations=60)
        seen = []

        def good_enough(x, value):
            assert value == sphere(x)
            seen.append(value)
            x[:] = 99  # what it is shown is its own
            return value < 1e-3

        found = differential_evolution(sphere, [(-5, 3)] * 3, generations=60, stop=good_enough)
        assert seen == found.history.tolist() == full.history[: found.generations].tolist()
        assert found.value < 1e-3 <= found.history[-2]
        assert found.evaluations == found.generations * 50 < full.evaluations
        assert (found.x != 99).all()

    def test_one_generation_is_the_first_population(self):
        objective = Recorder(sphere)
        found = differential_evolution(objective, [(-1, 1)] * 2, population=9, generations=1)
        assert found.evaluations == 9
        assert found.value == sphere(objective.asked[0]).min()

    def test_forbidden_candidates_are_left(self):
        """Least x + y outside a forbidden disk around the origin's corner: on the circle's end, at
        (0.5, 0) or (0, 0.5).
        """
        found = differential_evolution(
            lambda X: np.where((X**2).sum(axis=1) < 0.25, np.inf, X.sum(axis=1)), [(0, 1)] * 2
        )
        np.testing.assert_allclose(np.sort(found.x), [0, 0.5], atol=1e-3)

    def test_a_coordinate_without_room_stays(self):
        found = differential_evolution(sphere, [(-1, 1), (0.1, 0.1)], generations=50)
        assert found.x[1] == 0.1

    def test_an_objective_that_works_in_place_harms_nothing(self):
        def in_place(X):
            X -= 0.25
            X *= X
            return X.sum(axis=1)

        assert (
            differential_evolution(in_place, [(-5, 3)] * 3).x.tolist()
            == differential_evolution(sphere, [(-5, 3)] * 3).x.tolist()
        )

    def test_bounds_are_left_as_they_were_and_integers_do(self):
        bounds = np.array([[-5, 3], [-5, 3]])
        found = differential_evolution(lambda X: np.floor(10 * sphere(X)).astype(int), bounds)
        assert bounds.tolist() == [[-5, 3], [-5, 3]]
        assert found.x.dtype == np.float64
        assert found.value == 0


class TestManyProblems:
    """``(B, P, D)``: each problem's run is the one it would have had alone."""

    @pytest.mark.parametrize("strategy", ["rand1", "best1"])
    def test_batch_equals_single_runs_also_when_some_leave(self, strategy):
        goals, low, high = np.array([-0.5, 0.1, 0.8]), np.full(2, -1.0), np.ones(2)
        settings = {
            "population": 8,
            "mutation": (0.4, 0.9),
            "recombination": 0.8,
            "strategy": strategy,
            "rng": 5,
        }
        batch = Evolution(low, high, problems=(3,), **settings)
        kept = np.arange(3)
        for generation in range(1, 16):
            trials = batch.ask()  # (B, P, D)
            batch.tell(trials, ((trials - goals[kept, None, None]) ** 2).sum(axis=-1))
            x, value = batch.best()
            for i, b in enumerate(kept):
                alone = differential_evolution(
                    lambda X, b=b: ((X - goals[b]) ** 2).sum(axis=-1),
                    np.stack([low, high], axis=1),
                    generations=generation,
                    **settings,
                )
                assert x[i].tolist() == alone.x.tolist()
                assert value[i] == alone.value
            if generation in (4, 9):
                stay = np.arange(len(kept)) != 1
                batch.keep(stay)
                kept = kept[stay]

    def test_float32_stays_float32(self):
        low, high = np.zeros(3, np.float32), np.full(3, 0.1, np.float32)
        batch = Evolution(low, high, problems=(2,), population=5, mutation=0.7, recombination=0.9)
        for _ in range(3):
            trials = batch.ask()
            assert trials.dtype == np.float32
            assert ((trials >= low) & (trials <= high)).all()
            batch.tell(trials, trials.sum(axis=-1))

    def test_every_module_finds_the_same(self, xp):
        def rosenbrock_of(X):
            return ((X[:, 1:] - X[:, :-1] ** 2) ** 2).sum(axis=1) + ((1 - X[:, :-1]) ** 2).sum(
                axis=1
            )

        bounds = np.array([[-2.0, 2.0], [-1.0, 3.0], [-2.0, 0.5]])
        for strategy in ("rand1", "best1"):
            search = {
                "generations": 30,
                "strategy": strategy,
                "recombination": 0.7,
                "stop": lambda x, value: value < 0.3,
            }
            expected = differential_evolution(rosenbrock_of, bounds, **search)
            found = differential_evolution(rosenbrock_of, xp.asarray(bounds), **search)
            assert array_module(found.x) is xp
            np.testing.assert_allclose(to_numpy(found.x), expected.x, rtol=1e-12)
            np.testing.assert_allclose(found.history, expected.history, rtol=1e-12)


BOX = [(-1.0, 1.0)] * 2


@pytest.mark.parametrize(
    ("error", "named", "arguments"),
    [
        (TypeError, "objective", {"objective": 3}),
        (TypeError, "stop", {"stop": 0.1}),
        (ValueError, "population", {"population": 3}),
        (TypeError, "population", {"population": 10.0}),
        (TypeError, "population", {"population": True}),
        (ValueError, "generations", {"generations": 0}),
        (ValueError, "generations", {"generations": -1}),
        (TypeError, "generations", {"generations": "many"}),
        (ValueError, "mutation", {"mutation": -0.1}),
        (ValueError, "mutation", {"mutation": 2.1}),
        (ValueError, "mutation", {"mutation": np.nan}),
        (ValueError, "mutation", {"mutation": (0.9, 0.5)}),
        (ValueError, "mutation", {"mutation": (0.9, 3.0)}),
        (TypeError, "mutation", {"mutation": (0.1, 0.5, 0.9)}),
        (TypeError, "mutation", {"mutation": "0.5"}),
        (ValueError, "recombination", {"recombination": 1.1}),
        (ValueError, "recombination", {"recombination": -0.1}),
        (ValueError, "recombination", {"recombination": np.nan}),
        (TypeError, "recombination", {"recombination": None}),
        (ValueError, "strategy", {"strategy": "best1bin"}),
        (TypeError, "rng", {"rng": "seed"}),
        (TypeError, "rng", {"rng": 1.5}),
        (TypeError, "rng", {"rng": -1}),
        (ValueError, "bounds", {"bounds": (-1.0, 1.0)}),
        (ValueError, "bounds", {"bounds": np.zeros((0, 2))}),
        (ValueError, "bounds", {"bounds": [(-1, 0, 1)]}),
        (ValueError, "bounds", {"bounds": [(1.0, -1.0)]}),
        (ValueError, "bounds", {"bounds": [(-1.0, np.nan)]}),
        (ValueError, "bounds", {"bounds": [(-np.inf, 1.0)]}),
        (ValueError, "bounds", {"bounds": [(-1.7e308, 1.7e308)]}),
        (ValueError, "bounds", {"bounds": None}),
        (TypeError, "bounds", {"bounds": [("low", "high")]}),
        (ValueError, "objective", {"objective": lambda X: X.sum()}),
        (ValueError, "objective", {"objective": lambda X: X}),
        (ValueError, "objective", {"objective": lambda X: X.sum(axis=1)[:-1]}),
        (ValueError, "NaN", {"objective": lambda X: X.sum(axis=1) * np.nan}),
        (TypeError, "objective", {"objective": lambda X: X.sum(axis=1) + 1j}),
        (TypeError, "objective", {"objective": lambda X: ["good"] * len(X)}),
    ],
)
def test_wrong_arguments_are_named(error, named, arguments):
    with pytest.raises(error, match=named):
        differential_evolution(
            **{"objective": sphere, "bounds": BOX, "generations": 2, **arguments}
        )
