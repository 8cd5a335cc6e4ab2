"""Gradients from queries: against the white box, per example, counted, inside attacks."""

import copy
import importlib
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minadv import Adam, fgsm, fit, losses, ops
from minadv.attacks.pgd import pgd
from minadv.attacks.query_gradient import QueryGradient, estimate_gradient
from minadv.autograd import raw, vjp
from minadv.backend import array_module, like, to_numpy
from minadv.layers import Dense, Sequential
from minadv.models import deep_cnn, mlp, separable_cnn

module = importlib.import_module("minadv.attacks.query_gradient")
CLASSES = 3


class Affine:
    """Logits ``x @ weight``, row by row in one order of summation. Keeps the batches that it is
    asked about.
    """

    def __init__(self, d, classes=CLASSES, *, seed=0, scale=1.0):
        self.weight = scale * np.random.default_rng(seed).normal(size=(d, classes))
        self.asked = []

    def __call__(self, x):
        self.asked.append(to_numpy(raw(x)).copy())
        flat = ops.reshape(x, (len(x), len(self.weight), 1))
        return (flat * like(self.weight.astype(raw(x).dtype), raw(x))).sum(axis=1)


def smooth(x):
    """A two-layer network of smooth functions, from images of 12 values."""
    rng = np.random.default_rng(7)
    flat = ops.reshape(x, (len(x), 12))
    return ops.tanh(flat @ rng.normal(size=(12, 8)).astype(raw(x).dtype)) @ rng.normal(
        size=(8, CLASSES)
    ).astype(raw(x).dtype)


def entropy_of(model):
    return lambda x, y: losses.cross_entropy(model(x), y)


def images(n, shape=(2, 2, 3), seed=0, dtype=np.float64, low=0.0, high=1.0):
    return np.random.default_rng(seed).uniform(low, high, (n, *shape)).astype(dtype)


def exact(loss, x, *alongside):
    """The gradient by the package's own differentiation."""
    value, pull = vjp(lambda x: loss(x, *alongside), x)
    return pull(np.ones_like(value))


labels = np.array([0, 1, 2, 1, 0])


class TestAgainstTheWhiteBox:
    @pytest.mark.parametrize(("scheme", "tolerance"), [("central", 1e-9), ("forward", 1e-6)])
    @pytest.mark.parametrize("bounds", [None, (-1.0, 2.0)])
    def test_smooth_model_in_float64(self, scheme, tolerance, bounds):
        x, loss = images(5), entropy_of(smooth)
        estimate = estimate_gradient(loss, x, labels, scheme=scheme, bounds=bounds)
        expected = exact(loss, x, labels)
        assert estimate.gradient.shape == x.shape
        np.testing.assert_allclose(estimate.gradient, expected, atol=tolerance)

    @pytest.mark.parametrize(("scheme", "tolerance"), [("central", 1e-3), ("forward", 1e-2)])
    def test_float32_stays_float32(self, scheme, tolerance):
        x, loss = images(5, dtype=np.float32), entropy_of(smooth)
        estimate = estimate_gradient(loss, x, labels, scheme=scheme)
        assert estimate.gradient.dtype == np.float32
        np.testing.assert_allclose(
            estimate.gradient, exact(loss, x.astype(np.float64), labels), atol=tolerance
        )

    @given(
        seed=st.integers(0, 1000),
        scheme=st.sampled_from(["central", "forward"]),
        h=st.floats(1e-3, 0.4),
        bounded=st.booleans(),
    )
    @settings(max_examples=30)
    def test_affine_is_exact_for_any_step(self, seed, scheme, h, bounded):
        """Where the function is its own tangent only rounding is left, also at the edges, where the
        step is shorter or backward.
        """
        x = images(3, seed=seed).round(1)  # many at 0 and 1
        weight = images(1, seed=seed + 1)
        estimate = estimate_gradient(
            lambda x: (x * weight).sum(axis=(1, 2, 3)),
            x,
            h=h,
            scheme=scheme,
            bounds=(0.0, 1.0) if bounded else None,
        )
        np.testing.assert_allclose(
            estimate.gradient, np.broadcast_to(weight, x.shape), rtol=1e-10 / h
        )

    @pytest.mark.parametrize(("scheme", "order"), [("central", 2), ("forward", 1)])
    def test_order_of_the_error(self, scheme, order):
        """Half the step: a half of the error (forward), a quarter (central)."""
        x, loss = images(5), entropy_of(smooth)
        expected = exact(loss, x, labels)
        errors = [
            np.abs(
                estimate_gradient(loss, x, labels, scheme=scheme, h=h).gradient - expected
            ).mean()
            for h in (0.02, 0.01, 0.005)
        ]
        ratios = np.divide(errors[:-1], errors[1:])
        np.testing.assert_allclose(ratios, 2**order, rtol=0.1)

    @pytest.mark.parametrize("scheme", ["central", "forward"])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_default_step_is_near_the_best(self, scheme, dtype):
        """Larger, and the formula errs; smaller, and cancellation does. The default is within a
        factor of 5 of the best of a wide grid.
        """
        x, loss = images(20, dtype=dtype), entropy_of(smooth)
        y = np.arange(20) % CLASSES
        expected = exact(loss, x.astype(np.float64), y)

        def error(h):
            return np.abs(
                estimate_gradient(loss, x, y, scheme=scheme, h=h).gradient - expected
            ).mean()

        grid = 10.0 ** np.arange(-9 if dtype == np.float64 else -5, 0, 0.5)
        assert error(None) < 5 * min(error(h) for h in grid)

    def test_the_step_really_taken_divides(self):
        """Near 100 the nearest float32 numbers are 8e-6 apart: x ± 1e-5 is moved by 8e-6 or 1.5e-5,
        and that counts.
        """
        x = np.float32([[100.0, 77.7], [1e-3, 64.1]])
        estimate = estimate_gradient(lambda x: x.astype(np.float64).sum(axis=1), x, h=1e-5)
        np.testing.assert_array_equal(estimate.gradient, np.ones((2, 2)))
        assert estimate.gradient.dtype == np.float32  # though the loss is float64

    @pytest.mark.parametrize("bounds", [None, (0.0, 1.0), (0.0, 255.0)])
    def test_default_step_is_a_share_of_the_range(self, bounds):
        width, model = bounds[1] if bounds else 1.0, Affine(4)
        for scheme, power in (("central", 1 / 3), ("forward", 1 / 2)):
            model.asked.clear()
            estimate_gradient(
                lambda x: model(x)[:, 0], np.full((1, 4), width / 2), scheme=scheme, bounds=bounds
            )
            np.testing.assert_allclose(
                model.asked[0][0, 0] - width / 2, width * 2 ** (-52 * power), rtol=1e-6
            )


class TestPerExample:
    def test_a_huge_neighbor_disturbs_nobody(self):
        """Differences of a batch-summed loss would lose the second image's gradient in the first
        one's loss.
        """
        scale = np.array([1e16, 1.0])
        x = images(2, (4,))
        estimate = estimate_gradient(lambda x, s: s * (x**2).sum(axis=1), x, scale, h=1e-3)
        np.testing.assert_allclose(estimate.gradient, 2 * x * scale[:, None], rtol=1e-9)

    @pytest.mark.parametrize("scheme", ["central", "forward"])
    def test_batch_of_n_is_n_batches_of_one(self, scheme):
        x, model = images(5), Affine(12)
        batch = estimate_gradient(entropy_of(model), x, labels, scheme=scheme).gradient
        for i in range(5):
            alone = estimate_gradient(
                entropy_of(model), x[i : i + 1], labels[i : i + 1], scheme=scheme
            ).gradient
            assert alone[0].tolist() == batch[i].tolist()

    def test_what_goes_alongside_stays_with_its_image(self):
        x, seen = images(4, (3,)), []

        def loss(images, of, vector):
            seen.append((images, of, vector))
            return (images * vector).sum(axis=1)

        vectors = images(4, (3,), seed=1)
        estimate = estimate_gradient(loss, x, np.arange(4), vectors, h=0.1, block=5)
        np.testing.assert_allclose(estimate.gradient, vectors)
        for asked, of, vector in seen:
            assert ((asked != x[of]).sum(axis=1) == 1).all()  # one value is moved
            np.testing.assert_array_equal(vector, vectors[of])

    def test_one_number_per_example(self):
        np.testing.assert_allclose(
            estimate_gradient(lambda x: x**3, np.array([1.0, 2.0])).gradient, [3, 12], rtol=1e-9
        )

    def test_no_images(self):
        def never(x):
            raise AssertionError("asked")

        for scheme in ("central", "forward"):
            assert estimate_gradient(
                never, np.zeros((0, 2, 2, 1)), scheme=scheme
            ).gradient.shape == (0, 2, 2, 1)

    def test_nothing_given_is_changed(self):
        x, y = images(3), labels[:3].copy()
        before = x.copy(), y.copy()
        estimate_gradient(entropy_of(smooth), x, y, bounds=(0.0, 1.0))
        assert x.tolist() == before[0].tolist()
        assert y.tolist() == before[1].tolist()


class TestQueries:
    @pytest.mark.parametrize(("scheme", "queries"), [("central", 24), ("forward", 13)])
    @pytest.mark.parametrize("block", [1, 7, 24, 1000, None])
    def test_counted_and_in_blocks(self, scheme, queries, block):
        x, model = images(5), Affine(12)
        estimate = estimate_gradient(entropy_of(model), x, labels, scheme=scheme, block=block)
        assert estimate.queries == queries
        assert sum(map(len, model.asked)) == 5 * queries
        assert max(map(len, model.asked)) <= (block or 5 * queries)
        whole = estimate_gradient(entropy_of(model), x, labels, scheme=scheme, block=10_000)
        assert estimate.gradient.tolist() == whole.gradient.tolist()

    def test_the_default_block_bounds_the_memory(self, monkeypatch):
        monkeypatch.setattr(module, "VALUES_PER_BLOCK", 12 * 9)
        model = Affine(12)
        estimate_gradient(entropy_of(model), images(5), labels)
        assert max(map(len, model.asked)) == 9

    @pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.1, 0.9), (-2.1179, 2.64), (0.0, 255.0)])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("scheme", ["central", "forward"])
    def test_no_image_leaves_the_bounds(self, bounds, dtype, scheme):
        low, high = (float(dtype(b)) for b in bounds)
        x = np.linspace(low, high, 12).clip(low, high).astype(dtype).reshape(1, 12)
        model = Affine(12)
        for h in (None, (high - low) / 3):
            estimate_gradient(lambda x: model(x)[:, 0], x, h=h, scheme=scheme, bounds=bounds)
        for asked in model.asked:
            assert low <= asked.min()
            assert asked.max() <= high

    def test_forward_steps_go_up_but_at_the_upper_edge(self):
        x, model = np.array([[0.0, 0.5, 0.75, 1.0]]), Affine(4)
        estimate_gradient(lambda x: model(x)[:, 0], x, h=0.25, scheme="forward", bounds=(0.0, 1.0))
        np.testing.assert_array_equal(
            model.asked[0] - x, np.vstack([np.diag([0.25, 0.25, 0.25, -0.25]), np.zeros(4)])
        )


class TestQueryGradient:
    def test_forwards_it_is_the_model(self):
        x = images(4)
        assert QueryGradient(smooth)(x).tolist() == smooth(x).tolist()

    @pytest.mark.parametrize("scheme", ["central", "forward"])
    def test_backwards_it_is_the_jacobian_by_differences(self, scheme):
        x, g = images(5), np.random.default_rng(1).normal(size=(5, CLASSES))
        value, pull = vjp(QueryGradient(smooth, scheme=scheme), x)
        expected_value, expected_pull = vjp(smooth, x)
        assert value.tolist() == expected_value.tolist()
        np.testing.assert_allclose(pull(g), expected_pull(g), atol=1e-6)
        np.testing.assert_allclose(pull(2 * g), 2 * expected_pull(g), atol=1e-6)

    def test_answers_are_not_rounded_on_the_way_to_a_difference(self):
        """Logits that are exact in float32, times weights whose products with them are not."""
        x, g = np.float32([[0.25, 0.75]]), np.float32([[0.1, 0.7]])
        _, pull = vjp(QueryGradient(lambda x: raw(x) + np.float32(1024), h=2**-6), x)
        np.testing.assert_allclose(pull(g), g, rtol=1e-6)

    def test_inside_another_function(self):
        """The image need not be what is differentiated: here it is a function of it."""
        x = images(5, low=0.3, high=0.7)
        queried, white = (
            vjp(lambda x, f=f: losses.margin(f(x * x), labels), x)[1](np.ones(5))
            for f in (QueryGradient(smooth), smooth)
        )
        np.testing.assert_allclose(queried, white, atol=1e-8)

    @pytest.mark.parametrize(
        "goal", [{"y": labels}, {"target": (labels + 1) % 3}], ids=["y", "target"]
    )
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_fgsm_by_it_is_fgsm(self, goal, dtype):
        x, model = images(5, dtype=dtype), Affine(12)
        white, black = (fgsm(f, x, **goal, eps=0.1) for f in (model, QueryGradient(model)))
        for field in ("x_adv", "label", "success"):
            assert getattr(black, field).tolist() == getattr(white, field).tolist()
        assert black.x_adv.dtype == dtype

    def test_pgd_by_it_is_pgd(self):
        x, model = images(5), Affine(12, scale=0.3)
        white, black = (
            pgd(f, x, target=(labels + 1) % 3, eps=0.2, steps=8)
            for f in (model, QueryGradient(model))
        )
        assert black.x_adv.tolist() == white.x_adv.tolist()
        assert black.steps.tolist() == white.steps.tolist()

    @pytest.mark.parametrize(("scheme", "per_gradient"), [("central", 24), ("forward", 13)])
    def test_queries_are_counted(self, scheme, per_gradient):
        x, model = images(5), Affine(12)
        black = QueryGradient(model, scheme=scheme)
        fgsm(black, x, y=labels, eps=0.1)
        assert (
            black.queries == 5 * (1 + per_gradient + 1) == sum(map(len, model.asked))
        )  # before, for the gradient, for the verdict

    def test_queries_are_counted_across_threads(self):
        x, model = images(3000, (4,)), Affine(4)
        black = QueryGradient(model)
        fgsm(black, x, y=0, eps=0.1)
        assert black.queries == 3000 * (1 + 8 + 1) == sum(map(len, model.asked))

        def ask():
            for _ in range(200):
                black(x[:1])

        before, threads = black.queries, [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert black.queries == before + 8 * 200

    @pytest.mark.parametrize("send", [copy.deepcopy, lambda q: pickle.loads(pickle.dumps(q))])
    def test_it_can_be_sent_to_another_process(self, send):
        """... and counts on there, apart from the one that was sent."""
        x, black = images(4), QueryGradient(Affine(12), scheme="forward", h=0.01)
        value = black(x)
        there = send(black)
        assert there(x).tolist() == value.tolist()
        assert (black.queries, there.queries) == (4, 8)
        assert there.how == black.how

    def test_no_batch_is_larger_than_block(self):
        x, model = images(50), Affine(12)
        fgsm(QueryGradient(model, block=7), x, y=0, eps=0.1)
        assert max(map(len, model.asked)) == 7

    def test_of_probabilities_the_logarithm_is_taken(self):
        x = images(5)
        soft = QueryGradient(lambda x: ops.softmax(smooth(x)), probabilities=True)
        np.testing.assert_allclose(soft(x), ops.log_softmax(smooth(x)))
        white, black = (fgsm(f, x, y=labels, eps=0.1) for f in (smooth, soft))
        assert black.x_adv.tolist() == white.x_adv.tolist()

    def test_probabilities_of_zero_and_one(self):
        x = images(2, dtype=np.float32)
        black = QueryGradient(
            lambda x: np.eye(3, dtype=x.dtype)[np.zeros(len(x), int)], probabilities=True
        )
        with pytest.warns(UserWarning, match="exactly zero for 2 of 2"):
            result = fgsm(black, x, y=0, eps=0.1)
        assert result.x_adv.tolist() == x.tolist()

    def test_probabilities_that_nobody_announced_are_warned_of(self):
        with pytest.warns(UserWarning, match="seems to return probabilities"):
            fgsm(QueryGradient(lambda x: ops.softmax(smooth(x))), images(2), y=0, eps=0.1)

    def test_a_model_of_the_package(self):
        """The step is small next to the distance between kinks: almost all signs are those of the
        true gradient.
        """
        x, model = images(20, (8, 8, 1), dtype=np.float32), mlp((8, 8, 1))
        white, black = (fgsm(f, x, y=0, eps=0.1) for f in (model, QueryGradient(model)))
        assert (white.x_adv == black.x_adv).mean() > 0.98

    def test_every_module_finds_the_same(self, xp):
        x, model = images(5), Affine(12)
        for scheme in ("central", "forward"):
            expected = fgsm(QueryGradient(model, scheme=scheme), x, y=labels, eps=0.1)
            found = fgsm(QueryGradient(model, scheme=scheme), xp.asarray(x), y=labels, eps=0.1)
            assert array_module(found.x_adv) is xp
            np.testing.assert_allclose(to_numpy(found.x_adv), expected.x_adv, rtol=1e-12)
            gradient = estimate_gradient(
                entropy_of(model), xp.asarray(x), xp.asarray(labels), scheme=scheme
            ).gradient
            assert array_module(gradient) is xp
            np.testing.assert_allclose(
                to_numpy(gradient), exact(entropy_of(model), x, labels), atol=1e-6
            )


class TestTwoArchitectures:
    """The models of document C's black box: f deep, g small and of another make."""

    def test_f_is_deep(self):
        model = deep_cnn()
        sizes = [a.shape[1:] for a in model.activations(images(2, (32, 32, 3), dtype=np.float32))]
        assert sizes[1::2] == [
            (32, 32, 16),
            (16, 16, 32),
            (16, 16, 32),
            (8, 8, 64),
            (8, 8, 64),
            (2,),
        ]
        counts = [p.size for name, p in model.parameters.items() if name.endswith("weight")]
        assert counts == [9 * 3 * 16, 9 * 16 * 32, 9 * 32 * 32, 9 * 32 * 64, 9 * 64 * 64, 64 * 2]

    def test_g_is_small_and_separable(self):
        model = separable_cnn()
        sizes = [a.shape[1:] for a in model.activations(images(2, (32, 32, 3), dtype=np.float32))]
        assert sizes == [
            *[(32, 32, 16)] * 2,
            (16, 16, 16),
            *[(16, 16, 32)] * 2,
            (8, 8, 32),
            *[(8, 8, 64)] * 2,
            (4, 4, 64),
            (1024,),
            (2,),
        ]
        counts = [p.size for name, p in model.parameters.items() if name.endswith("weight")]
        assert counts == [9 * 3 * 16, 9 * 16, 16 * 32, 9 * 32, 32 * 64, 1024 * 2]
        assert 10 * sum(counts) < sum(p.size for p in deep_cnn().parameters.values())

    @pytest.mark.parametrize("make", [deep_cnn, separable_cnn])
    @pytest.mark.parametrize("size", [(5, 5), (6, 9), (16, 15), (24, 7)])
    def test_other_sizes(self, make, size):
        model = make((*size, 1), 4, filters=(2, 3, 4), dtype=np.float64)
        x = images(3, (*size, 1))
        assert model(x).shape == (3, 4)
        assert {p.dtype for p in model.parameters.values()} == {np.dtype(np.float64)}
        np.testing.assert_array_equal(
            model(x),
            make((*size, 1), 4, filters=(2, 3, 4), rng=np.random.default_rng(0), dtype=np.float64)(
                x
            ),
        )
        assert (
            model(x) != make((*size, 1), 4, filters=(2, 3, 4), rng=1, dtype=np.float64)(x)
        ).all()

    def test_too_small(self):
        with pytest.raises(ValueError, match="at least 5 x 5.*got 4 x 9"):
            separable_cnn((4, 9, 3))

    @pytest.mark.parametrize("make", [deep_cnn, separable_cnn])
    def test_only_a_new_head_is_trained(self, make):
        """The base is frozen by construction: what trains is the head alone, on what the base makes
        of the images.
        """
        x, y = images(40, (8, 8, 3), dtype=np.float32), np.arange(40) % 2
        base = make((8, 8, 3), 5, filters=(2, 3, 4))[:-1]
        before = {name: p.copy() for name, p in base.parameters.items()}
        features = base(x)
        head = Sequential(Dense(features.shape[1], 2))
        history = fit(head, features, y, epochs=5, optimizer=Adam(0.01), progress=False)
        model = Sequential(*base, *head)
        assert history.loss[-1] < history.loss[0]
        np.testing.assert_array_equal(model(x), head(base(x)))
        for name, p in base.parameters.items():
            assert p.tolist() == before[name].tolist()
            assert model.parameters[name] is p


@pytest.mark.parametrize(
    ("error", "named", "arguments"),
    [
        (TypeError, "x must be a float32 or float64", {"x": np.zeros((2, 4), int)}),
        (TypeError, "x must be a float32 or float64", {"x": [[0.5]]}),
        (ValueError, "x must be a batch", {"x": np.array(0.5)}),
        (ValueError, "x must be a batch", {"x": np.full((2, 4), np.nan)}),
        (ValueError, "x must lie inside bounds", {"x": np.full((2, 4), 1.5), "bounds": (0.0, 1.0)}),
        (ValueError, "scheme must be", {"scheme": "backward"}),
        (ValueError, "scheme must be", {"scheme": ["central"]}),
        (ValueError, "h must be >= 0", {"h": -0.1}),
        (ValueError, "h is so small", {"h": 0}),
        (ValueError, "h is so small", {"h": 1e-18}),
        (ValueError, "h must be finite", {"h": np.inf}),
        (ValueError, "h must be <= 0.5", {"h": 0.6, "bounds": (0.0, 1.0)}),
        (TypeError, "h must be a number", {"h": "0.1"}),
        (ValueError, "block must be >= 1", {"block": 0}),
        (TypeError, "block must be an integer", {"block": 2.5}),
        (ValueError, "bounds must be", {"bounds": (1.0, 0.0)}),
        (ValueError, "loss must return one", {"loss": lambda x: x.sum()}),
        (ValueError, "loss must return one", {"loss": lambda x: x}),
        (ValueError, "loss must return one", {"loss": lambda x: [0.5] * len(x)}),
        (ValueError, "loss must return one", {"loss": lambda x: np.ones(len(x), int)}),
        (ValueError, "loss must be finite", {"loss": lambda x: x.sum(axis=1) * np.nan}),
    ],
)
def test_wrong_arguments_are_named(error, named, arguments):
    correct = {"loss": lambda x: x.sum(axis=1), "x": np.full((2, 4), 0.5)}
    with pytest.raises(error, match=named):
        estimate_gradient(**{**correct, **arguments})


@pytest.mark.parametrize("alongside", [np.zeros(3, int), [0, 1], 0])
def test_what_goes_alongside_has_a_row_per_example(alongside):
    with pytest.raises(
        ValueError, match="alongside must be arrays, each with one row per example, 2"
    ):
        estimate_gradient(lambda x, y: x.sum(axis=1), np.full((2, 4), 0.5), alongside)


@pytest.mark.parametrize(
    ("error", "named", "arguments"),
    [
        (TypeError, "predict must be callable", {"predict": None}),
        (ValueError, "h must be >= 0", {"h": -0.1}),
        (ValueError, "scheme must be", {"scheme": "both"}),
        (ValueError, "block must be", {"block": 0}),
        (ValueError, "bounds must be", {"bounds": (1.0, 0.0)}),
    ],
)
def test_a_wrong_query_gradient_is_never_made(error, named, arguments):
    with pytest.raises(error, match=named):
        QueryGradient(**{"predict": smooth, **arguments})


@pytest.mark.parametrize(
    ("named", "predict", "how"),
    [
        ("must return logits", lambda x: np.zeros(len(x)), {}),
        ("must return finite", lambda x: np.full((len(x), 3), np.nan), {}),
        ("must return probabilities", lambda x: np.zeros((len(x), 3)), {"probabilities": True}),
        (
            "must return probabilities",
            lambda x: np.full((len(x), 2), [-0.5, 1.5]),
            {"probabilities": True},
        ),
    ],
)
def test_wrong_answers_are_named(named, predict, how):
    with pytest.raises(ValueError, match=named):
        fgsm(QueryGradient(predict, **how), images(2), y=0, eps=0.1)


def test_images_outside_its_bounds_are_named():
    with pytest.raises(ValueError, match=r"x must lie inside bounds \(0.0, 1.0\)"):
        fgsm(QueryGradient(smooth), -images(2), y=0, eps=0.1, bounds=(-1, 1))
