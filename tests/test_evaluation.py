import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minadv import evaluation as ev
from minadv.attacks.result import AttackResult
from minadv.backend import to_numpy


def answers(x):
    """The model whose logits are its input."""
    return x


def attack_result(x, x_adv, success):
    success = np.asarray(success)
    return AttackResult(
        x, x_adv, label=np.zeros(len(x), int), success=success, steps=np.ones(len(x), int)
    )


def few(draws):
    return settings(max_examples=draws, deadline=None)


def batches(classes=4):
    """Logits (N, K) with ties now and then, and labels (N,)."""
    return st.integers(1, 9).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, (n, classes), elements=st.integers(-4, 4).map(float)),
            arrays(np.int64, n, elements=st.integers(0, classes - 1)),
        )
    )


# Finite scores with many ties, as lists.
scores = st.lists(st.integers(-3, 3).map(lambda i: i / 2), min_size=1, max_size=12)


class TestOneModel:
    @given(batches())
    @few(50)
    def test_against_plain_loops(self, batch):
        z, y = batch
        predicted = [max(range(4), key=lambda k: (row[k], -k)) for row in z]
        assert ev.predict(answers, z).tolist() == predicted
        assert ev.accuracy(answers, z, y) == float(
            Fraction(sum(a == b for a, b in zip(predicted, y, strict=True)), len(y))
        )
        p = np.array([[np.exp(v) / sum(np.exp(w) for w in row) for v in row] for row in z])
        np.testing.assert_allclose(ev.probabilities(answers, z), p, rtol=1e-14)
        np.testing.assert_allclose(ev.confidence(answers, z), p.max(axis=1), rtol=1e-14)
        np.testing.assert_allclose(
            ev.confidence(answers, z, y), [p[n][y[n]] for n in range(len(y))], rtol=1e-14
        )

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_huge_logits_neither_overflow_nor_change_dtype(self, dtype):
        z = np.array([[1e30, 0, -1e30], [-88, -89, -1000]], dtype)
        p = ev.probabilities(answers, z)
        assert p.dtype == dtype
        assert p[0].tolist() == [1, 0, 0]
        np.testing.assert_allclose(p[1], [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0], rtol=1e-6)

    def test_the_predicted_label_is_read_from_the_logits(self):
        z = np.array([[40.0, np.nextafter(np.float32(40), np.float32(50))]], np.float32)
        z = z * np.float32(1e-8)  # the softmax rounds both to 1/2, the logits still differ
        assert np.unique(ev.probabilities(answers, z)).size == 1
        assert ev.predict(answers, z).tolist() == [1]
        assert (
            ev.accuracy(answers, z, 1)
            == ev.accuracy_curve(answers, lambda eps: z, 1, [0]).accuracy[0]
            == 1
        )

    @pytest.mark.parametrize("count", [1, 511, 513, 5000])
    def test_a_batch_in_chunks_is_the_batch(self, count):
        z = np.random.default_rng(0).normal(size=(count, 3))
        seen = []
        assert np.array_equal(ev.logits(lambda x: seen.append(len(x)) or x, z), z)
        assert sum(seen) == count
        assert len(seen) > 1 or count < 1000

    def test_one_integer_stands_for_all_labels(self):
        z = np.array([[0.0, 1], [2, 0], [0, 3]])
        assert ev.accuracy(answers, z, 1) == 2 / 3

    def test_nothing_given_is_changed(self):
        z, y = np.array([[0.0, 1], [2, 0]]), np.array([1, 1])
        z.flags.writeable = y.flags.writeable = False
        (
            ev.accuracy(answers, z, y),
            ev.confidence(answers, z, y),
            ev.robust_accuracy(answers, z, y, z),
        )

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (lambda x: x[0], r"\(N, K\) with N = 2 and K >= 2, got shape \(3,\)"),
            (lambda x: x[:1], r"with N = 2 and K >= 2, got shape \(1, 3\)"),
            (lambda x: x * np.nan, "finite logits"),
            (lambda x: x / np.zeros(1), "finite logits"),
        ],
    )
    def test_logits_that_are_none(self, model, message):
        with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
            ev.predict(model, np.ones((2, 3)))

    @pytest.mark.parametrize(
        ("y", "error", "message"),
        [
            (np.array([0.0, 1.0]), TypeError, "y must hold integers, got dtype float64"),
            (np.array([True, False]), TypeError, "bool"),
            (np.array([0, 1, 2]), ValueError, r"shape \(2,\).*got shape \(3,\)"),
            (np.array([[0], [1]]), ValueError, r"got shape \(2, 1\)"),
            (np.array([0, 3]), ValueError, "y must lie in 0..2.*got 3"),
            (-1, ValueError, "got -1"),
        ],
    )
    def test_labels_that_are_none(self, y, error, message):
        with pytest.raises(error, match=message):
            ev.accuracy(answers, np.ones((2, 3)), y)
        with pytest.raises(error, match=message):
            ev.confidence(answers, np.ones((2, 3)), y)

    def test_the_accuracy_of_nothing_is_undefined(self):
        with pytest.raises(
            ValueError, match=r"x must hold at least one example, got shape \(0, 3\)"
        ):
            ev.accuracy(answers, np.ones((0, 3)), np.ones(0, int))


class TestRobustAccuracy:
    x, y = (
        np.array([[2.0, 0], [2, 0], [0, 2], [0, 2]]),
        np.array([0, 0, 0, 1]),
    )  # right, right, wrong, right
    hits_0, hits_3 = x.copy(), x.copy()
    hits_0[0] = hits_3[3] = [1, 1.5]
    hits_3[3] = [1.5, 1]

    def test_without_an_attack_it_is_the_accuracy(self):
        assert (
            ev.robust_accuracy(answers, self.x, self.y)
            == ev.accuracy(answers, self.x, self.y)
            == 0.75
        )

    def test_an_attack_that_repairs_an_example_earns_nothing(self):
        repaired = self.x.copy()
        repaired[2] = [2, 0]
        assert ev.accuracy(answers, repaired, self.y) == 1
        assert ev.robust_accuracy(answers, self.x, self.y, repaired) == 0.75

    def test_the_worst_of_several_attacks_counts_per_example(self):
        assert ev.robust_accuracy(answers, self.x, self.y, self.hits_0) == 0.5
        assert ev.robust_accuracy(answers, self.x, self.y, self.hits_0, self.hits_3) == 0.25
        assert ev.robust_accuracy(answers, self.x, self.y, self.hits_3, self.hits_0) == 0.25

    @given(batches(), st.integers(0, 2**32 - 1))
    @few(50)
    def test_it_is_one_minus_mean_success_of_an_untargeted_search(self, batch, seed):
        x, y = batch
        wrong = ev.predict(answers, x) != y
        x_adv = np.where(
            wrong[:, None], x, x + np.random.default_rng(seed).normal(size=x.shape) * 2
        )
        result = attack_result(x, x_adv, success=ev.predict(answers, x_adv) != y)
        robust = ev.robust_accuracy(answers, x, y, result)
        assert robust == pytest.approx(1 - result.success.mean())
        assert robust <= ev.accuracy(answers, x, y)

    def test_other_images_are_refused(self):
        with pytest.raises(
            ValueError, match=r"attacked must have the shape of x, \(4, 2\), got \(3, 2\)"
        ):
            ev.robust_accuracy(answers, self.x, self.y, self.x[:3])


class TestCurves:
    """A line in one dimension: x is of class 1 where x > 0, and the strongest attack moves it left
    by eps."""

    x, y = np.array([[0.05], [0.15], [0.25], [0.35], [-0.1]]), np.array([1, 1, 1, 1, 1])

    @staticmethod
    def model(x):
        return np.concatenate([np.zeros_like(x), 8 * x], axis=1)

    def test_closed_form(self):
        curve = ev.accuracy_curve(
            self.model, lambda eps: self.x - eps, self.y, [0, 0.1, 0.2, 0.3, 0.4]
        )
        assert curve.accuracy.tolist() == [0.8, 0.6, 0.4, 0.2, 0]
        true = 1 / (
            1 + np.exp(-8 * (self.x - curve.epsilons))
        )  # (N, E): the logistic function of the log-odds
        np.testing.assert_allclose(curve.true_confidence, true.mean(axis=0), rtol=1e-13)
        np.testing.assert_allclose(
            curve.confidence, np.maximum(true, 1 - true).mean(axis=0), rtol=1e-13
        )

    def test_a_result_and_its_images_are_the_same(self):
        def attack(eps):
            return attack_result(self.x, self.x - eps, [True] * 5)

        left = ev.accuracy_curve(self.model, attack, self.y, np.float32([0, 0.25]))
        right = ev.accuracy_curve(self.model, lambda eps: attack(eps).x_adv, self.y, (0, 0.25))
        for field in dataclasses.fields(left):
            assert getattr(left, field.name).tolist() == getattr(right, field.name).tolist()

    def test_the_attack_gets_python_numbers_in_order(self):
        seen = []
        ev.accuracy_curve(
            self.model, lambda eps: seen.append(eps) or self.x, self.y, np.linspace(0, 1, 3)
        )
        assert seen == [0, 0.5, 1]
        assert {type(eps) for eps in seen} == {float}

    def test_a_bar_is_shown_only_when_asked(self, capsys):
        ev.accuracy_curve(self.model, lambda eps: self.x, self.y, [0, 1])
        assert capsys.readouterr() == ("", "")
        ev.accuracy_curve(self.model, lambda eps: self.x, self.y, [0, 1], progress=True)
        assert "2/2" in capsys.readouterr().err

    @pytest.mark.parametrize("epsilons", [[], [-0.1], [np.nan], [np.inf], [[0.1]]])
    def test_bad_epsilons(self, epsilons):
        with pytest.raises(
            ValueError, match="epsilons must be one or more finite numbers >= 0, got"
        ):
            ev.accuracy_curve(self.model, lambda eps: self.x, self.y, epsilons)

    def test_transfer_matrix_has_sources_in_rows_and_judges_in_columns(self):
        # Model i reads feature i as the log-odds of class 1; an attack on it spoils the first (i +
        # 1) examples in that feature.
        x, y = np.ones((4, 3)), np.ones(4, int)
        models = [lambda x, i=i: np.stack([np.zeros(len(x)), x[:, i]], axis=1) for i in range(3)]

        def attack(model):
            x_adv, i = x.copy(), models.index(model)
            x_adv[: i + 1, i] = -1
            x_adv[0, 2] = -1  # every attack happens to hit model 2 a little
            return attack_result(x, x_adv, [True] * 4)

        expected = [[0.75, 1, 0.75], [1, 0.5, 0.75], [1, 1, 0.25]]
        assert ev.transfer_matrix(models, attack, y).tolist() == expected
        with pytest.raises(ValueError, match="at least one model"):
            ev.transfer_matrix([], attack, y)


class TestPerturbationSummary:
    def test_sizes_of_the_successful_ones(self):
        x = np.zeros((5, 3), np.float32)
        x_adv = np.array([[3, 4, 0], [0, 0, 1], [9, 9, 9], [0, 0, 0], [2, 0, 0]], np.float32)
        result = attack_result(x, x_adv, [True, True, False, True, True])
        summary = ev.perturbation_summary(result, quantiles=(0, 0.25, 1))
        assert (summary.examples, summary.successes) == (5, 4)
        assert summary.linf == ev.Sizes(1.5, {0: 0, 0.25: 0.75, 1: 4})  # 0 1 2 4
        assert summary.l2 == ev.Sizes(1.5, {0: 0, 0.25: 0.75, 1: 5})  # 0 1 2 5
        assert summary.l0 == ev.Sizes(1, {0: 0, 0.25: 0.75, 1: 2})  # 0 1 1 2

    @given(
        st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=9),
        st.integers(0, 4),
    )
    @few(50)
    def test_quantiles_against_fractions(self, examples, quarters):
        sizes, success = np.array(examples).T
        result = attack_result(
            np.zeros((len(sizes), 1)), sizes[:, None].astype(float), success.astype(bool)
        )
        successful = sorted(int(size) for size, hit in examples if hit)
        if not successful:
            with pytest.raises(ValueError, match=f"got 0 of {len(examples)}"):
                ev.perturbation_summary(result)
            return
        place = Fraction(quarters, 4) * (len(successful) - 1)
        low, high = successful[int(place)], successful[min(int(place) + 1, len(successful) - 1)]
        expected = low + (place - int(place)) * (high - low)
        assert ev.perturbation_summary(result, [quarters / 4]).l2.quantiles == {
            quarters / 4: float(expected)
        }

    def test_a_share_in_percent_is_refused(self):
        with pytest.raises(ValueError, match=r"quantiles must lie in \[0, 1\], got \[50.0\]"):
            ev.perturbation_summary(
                attack_result(np.zeros((1, 1)), np.ones((1, 1)), [True]), quantiles=[50]
            )


class TestOutcomes:
    @given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12))
    @few(50)
    def test_against_counting(self, pairs):
        truth, prediction = np.array(pairs, bool).reshape(-1, 2).T
        got = ev.outcomes(truth, prediction.astype(int))
        expected = [
            pairs.count(pair)
            for pair in [(True, True), (False, True), (True, False), (False, False)]
        ]
        assert list(dataclasses.astuple(got)) == expected

    def test_rates(self):
        found = ev.Outcomes(
            true_positives=6, false_positives=2, false_negatives=3, true_negatives=14
        )
        assert found.accuracy == 20 / 25
        assert found.precision == 6 / 8
        assert found.recall == 6 / 9
        assert found.false_positive_rate == 2 / 16
        assert found.false_negative_rate == 3 / 9

    @pytest.mark.parametrize(
        "rate", ["accuracy", "precision", "recall", "false_positive_rate", "false_negative_rate"]
    )
    def test_no_rate_of_nothing(self, rate):
        with pytest.raises(ValueError, match=rf"{rate} is undefined \(0/0\)"):
            getattr(ev.outcomes([], []), rate)

    def test_against_scikit_learn(self):
        metrics = pytest.importorskip("sklearn.metrics")
        rng = np.random.default_rng(0)
        truth, prediction = rng.integers(0, 2, (2, 100))
        got = ev.outcomes(truth, prediction)
        (tn, fp), (fn, tp) = metrics.confusion_matrix(truth, prediction)
        assert dataclasses.astuple(got) == (tp, fp, fn, tn)
        assert got.precision == pytest.approx(metrics.precision_score(truth, prediction))
        assert got.recall == pytest.approx(metrics.recall_score(truth, prediction))

    def test_bad_labels(self):
        with pytest.raises(ValueError, match=r"y_true must hold labels 0 and 1.*\[0, 2\]"):
            ev.outcomes([0, 2], [0, 1])
        with pytest.raises(ValueError, match="y_pred must hold labels 0 and 1"):
            ev.outcomes([0, 1], [[0, 1]])
        with pytest.raises(ValueError, match=r"shape of y_true, \(2,\), got \(3,\)"):
            ev.outcomes([0, 1], [0, 1, 1])


class TestScores:
    @given(scores, scores)
    @few(100)
    def test_auc_over_all_pairs(self, negatives, positives):
        wins = sum(Fraction((p > n) - (p < n) + 1, 2) for p in positives for n in negatives)
        assert ev.auc(negatives, positives) == float(wins / (len(negatives) * len(positives)))

    @given(scores, scores)
    @few(100)
    def test_roc_curve_at_every_threshold(self, negatives, positives):
        roc = ev.roc_curve(negatives, positives)
        assert roc.thresholds.tolist() == [np.inf, *sorted({*negatives, *positives}, reverse=True)]
        for rate, values in [
            (roc.false_positive_rate, negatives),
            (roc.true_positive_rate, positives),
        ]:
            assert rate.tolist() == [
                sum(value >= t for value in values) / len(values) for t in roc.thresholds
            ]
            assert (rate[0], rate[-1]) == (0, 1)
        area = np.trapezoid(roc.true_positive_rate, roc.false_positive_rate)
        assert area == pytest.approx(ev.auc(negatives, positives))

    def test_against_scikit_learn(self):
        metrics = pytest.importorskip("sklearn.metrics")
        rng = np.random.default_rng(0)
        negatives, positives = rng.normal(size=80).round(1), rng.normal(1, 1, size=60).round(1)
        truth, values = np.repeat([0, 1], [80, 60]), np.append(negatives, positives)
        assert ev.auc(negatives, positives) == pytest.approx(
            metrics.roc_auc_score(truth, values), rel=1e-14
        )
        fpr, tpr, thresholds = metrics.roc_curve(truth, values, drop_intermediate=False)
        got = ev.roc_curve(negatives, positives)
        np.testing.assert_allclose(
            [got.false_positive_rate, got.true_positive_rate], [fpr, tpr], rtol=1e-14
        )
        assert got.thresholds.tolist() == thresholds.tolist()

    @pytest.mark.parametrize("function", [ev.auc, ev.roc_curve])
    def test_bad_scores(self, function):
        with pytest.raises(ValueError, match="negatives must be one or more scores"):
            function([], [1.0])
        with pytest.raises(ValueError, match=r"positives must be one or more scores.*\(1, 1\)"):
            function([1.0], [[1.0]])
        with pytest.raises(ValueError, match="positives must be finite scores, got nan"):
            function([1.0], [1.0, np.nan])


class TestOnEveryBackend:
    """Per example: arrays where the images are. Over examples: Python numbers and NumPy arrays, the
    same everywhere."""

    z = np.array([[0.5, 2, -1], [3, 0, 1], [0, 0, 4], [1, 2, 0]], np.float32)
    y = np.array([1, 0, 1, 0])

    def test_per_example(self, xp):
        z, y = xp.asarray(self.z), xp.asarray(self.y)
        p = np.exp(self.z) / np.exp(self.z).sum(axis=1, keepdims=True)
        for got, expected in [
            (ev.logits(answers, z), self.z),
            (ev.predict(answers, z), [1, 0, 2, 1]),
            (ev.probabilities(answers, z), p),
            (ev.confidence(answers, z), p.max(axis=1)),
            (ev.confidence(answers, z, y), p[range(4), self.y]),
        ]:
            assert isinstance(got, xp.ndarray)
            np.testing.assert_allclose(to_numpy(got), expected, rtol=1e-6)

    @pytest.mark.parametrize("labels_on_gpu", [True, False])
    def test_over_examples(self, xp, labels_on_gpu):
        z, y = xp.asarray(self.z), xp.asarray(self.y) if labels_on_gpu else self.y
        flipped = AttackResult(z, z[:, ::-1], label=y, success=z[:, 0] > 0.7, steps=y)
        assert ev.accuracy(answers, z, y) == 0.5
        assert type(ev.accuracy(answers, z, y)) is float
        assert ev.robust_accuracy(answers, z, y, flipped) == 0.25
        curve = ev.accuracy_curve(answers, lambda eps: z - eps * z, y, [0, 0.5, 2])
        assert type(curve.accuracy) is np.ndarray
        assert curve.accuracy.tolist() == [0.5, 0.5, 0]
        matrix = ev.transfer_matrix([answers, lambda x: -x], lambda model: model(z), y)
        assert matrix.tolist() == [[0.5, 0], [0, 0.5]]
        summary = ev.perturbation_summary(flipped)
        assert (summary.examples, summary.successes, summary.linf.median, summary.l0.median) == (
            4,
            2,
            1.5,
            2,
        )
        assert ev.auc(z[:, 0], z[:, 1]) == 7 / 16
        assert dataclasses.astuple(ev.outcomes(z[:, 0] > 0.7, y == 0)) == (2, 0, 0, 2)
