"""One pixel: optima against all candidates, what is painted, success, queries, reproducibility."""

import importlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minadv.attacks import black_box
from minadv.attacks.one_pixel import one_pixel
from minadv.backend import array_module, like, to_numpy
from minadv.models import cnn
from tests.strategies import BOUNDS

module = importlib.import_module("minadv.attacks.pixels")
QUICK = {"population": 20, "generations": 10}


class Linear:
    """Logits ``x @ weight + bias``, row by row in one order of summation: so they do not depend on
    the batch. Keeps what it is asked.
    """

    def __init__(self, shape, classes=3, *, seed=0, scale=1.0, bias=0.0):
        self.weight = scale * np.random.default_rng(seed).normal(
            size=(int(np.prod(shape)), classes)
        )
        self.bias = np.broadcast_to(bias, classes)
        self.asked = []

    def __call__(self, x):
        self.asked.append(to_numpy(x).copy())
        return (x.reshape(len(x), -1, 1) * like(self.weight, x)).sum(axis=1) + like(self.bias, x)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def random_images(shape, seed=0, dtype=np.float64, bounds=(0.0, 1.0)):
    return np.random.default_rng(seed).uniform(*bounds, shape).clip(*bounds).astype(dtype)


def stubborn(shape, seed=0):
    """Two classes, of which the second never wins: the search goes on to the end, for the least
    margin.
    """
    return Linear(shape, 2, seed=seed, bias=[1000.0, 0.0])


class TestExhaustive:
    """On a tiny image all candidates can be listed. A linear margin is least where each value is at
    one of its bounds.
    """

    @pytest.mark.parametrize(
        ("shape", "pixels"),
        [((4, 5, 1), 1), ((3, 3, 3), 1), ((3, 4, 1), 2), ((12,), 1), ((12,), 2)],
    )
    @pytest.mark.parametrize("goal", ["y", "target"])
    def test_optimum_is_found(self, shape, pixels, goal):
        x = random_images((1, *shape), seed=1)
        model = stubborn(shape)
        grid = shape if len(shape) == 3 else (1, *shape, 1)
        listed = []
        for places in itertools.combinations(np.ndindex(grid[:2]), pixels):
            for values in itertools.product(
                itertools.product([0.0, 1.0], repeat=grid[2]), repeat=pixels
            ):
                image = x[0].reshape(grid).copy()
                for place, value in zip(places, values, strict=True):
                    image[place] = value
                listed.append(image.reshape(shape))
        margins = np.subtract(*model(np.array(listed)).T)
        aim = {goal: 0 if goal == "y" else 1}
        result = one_pixel(
            model,
            x,
            **aim,
            pixels=pixels,
            population=80,
            generations=80,
            mutation=0.8,
            recombination=0.5,
        )
        assert result.x_adv[0].tolist() == listed[margins.argmin()].tolist()
        assert result.steps.tolist() == [80]
        assert result.label.tolist() == [0]
        assert result.success.tolist() == [False]

    @pytest.mark.parametrize("goal", [{"y": 0}, {"target": 1}], ids=str)
    @pytest.mark.parametrize("answers", ["logits", "probabilities"])
    def test_no_candidate_of_a_fine_grid_is_better_on_a_network(self, goal, answers):
        x, rng = random_images((1, 4, 4, 1)), np.random.default_rng(2)
        hidden, out = rng.normal(size=(16, 30)), rng.normal(size=(30, 3)) / 3

        def network(x):  # p_0 rounds to 1
            return np.maximum(x.reshape(len(x), 16) @ hidden, 0) @ out + [50, 0, 0]

        def wanted(x):  # the larger, the better: odds of the target, or against y
            e = np.exp(network(x))
            return (
                e[:, 1] / (e[:, 0] + e[:, 2]) if "target" in goal else (e[:, 1] + e[:, 2]) / e[:, 0]
            )

        fine = np.repeat(x, 16 * 101, axis=0)  # each of 16 pixels at each of 101 values
        place, value = np.divmod(np.arange(16 * 101), 101)
        fine.reshape(-1, 16)[np.arange(16 * 101), place] = value / 100
        predict = network if answers == "logits" else lambda x: softmax(network(x))
        result = one_pixel(predict, x, **goal, population=60, generations=60)
        assert wanted(result.x_adv)[0] >= wanted(fine).max() * (1 - 1e-12)


class TestWhatIsPainted:
    @given(
        shape=st.sampled_from([(1, 1, 1), (4, 3, 1), (2, 5, 3), (7,)]),
        pixels=st.integers(1, 5),
        bounds=st.sampled_from(BOUNDS),
        dtype=st.sampled_from([np.float32, np.float64]),
        seed=st.integers(0, 1000),
        recombination=st.floats(0, 1),
        mutation=st.floats(0, 2),
        strategy=st.sampled_from(["rand1", "best1"]),
    )
    @settings(max_examples=60)
    def test_never_beyond_the_budget_the_bounds_or_the_image(
        self, shape, pixels, bounds, dtype, seed, recombination, mutation, strategy
    ):
        bounds = tuple(float(dtype(b)) for b in bounds)
        pixels = min(pixels, int(np.prod(shape[:2])))
        x = random_images((2, *shape), seed, dtype, bounds)
        before = x.copy()
        model = Linear(shape, seed=seed, scale=1 / (bounds[1] - bounds[0]))
        search = {
            "mutation": mutation,
            "recombination": recombination,
            "strategy": strategy,
            "rng": seed,
        }
        result = one_pixel(
            model,
            x,
            y=model(x).argmax(axis=1),
            pixels=pixels,
            bounds=bounds,
            population=6,
            generations=5,
            **search,
        )
        assert x.tobytes() == before.tobytes()
        assert result.x is x
        assert result.x_adv.dtype == dtype
        assert (result.l0 <= pixels).all()
        for asked in model.asked:
            assert asked.dtype == dtype
            assert ((bounds[0] <= asked) & (asked <= bounds[1])).all()
            changed = (
                (asked[:, None] != x)
                .reshape(len(asked), 2, -1, shape[2] if len(shape) == 3 else 1)
                .any(axis=-1)
                .sum(axis=-1)
            )
            assert (changed.min(axis=1) <= pixels).all()  # from the image it was made of

    @pytest.mark.parametrize("bounds", BOUNDS)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_black_and_white_are_reached_exactly(self, bounds, dtype):
        low, high = (float(dtype(b)) for b in bounds)
        x = np.full((1, 3, 3, 1), (low + high) / 2, dtype)
        for sign, end in ((1, high), (-1, low)):

            def model(x, sign=sign):
                return np.stack(
                    [9 - sign * ((x - low) / (high - low)).sum(axis=(1, 2, 3)), 0 * x[:, 0, 0, 0]],
                    axis=1,
                )

            result = one_pixel(model, x, target=1, bounds=bounds, population=20, generations=40)
            assert np.sort(result.x_adv.ravel())[0 if end == low else -1] == end
            assert result.l0.tolist() == [1]

    def test_every_pixel_is_drawn_equally_often_and_none_outside(self):
        H, W, P = 7, 5, 35_000
        model = stubborn((H, W, 1))
        x = np.full((1, H, W, 1), 2.0)  # nothing that is painted is a 2
        one_pixel(model, x, y=0, population=P, generations=1, bounds=(0.0, 2.0))
        painted = (model.asked[1] != 2)[..., 0]  # (P, H, W)
        assert (painted.sum(axis=(1, 2)) == 1).all()
        counts = painted.sum(axis=0)
        assert counts.sum(axis=1).tolist() == [P // H] * H  # the strata of the hypercube
        assert counts.sum(axis=0).tolist() == [P // W] * W
        assert np.abs(counts - P / (H * W)).max() < 6 * np.sqrt(P / (H * W))

    def test_values_are_drawn_from_the_whole_range(self):
        model = stubborn((1, 1, 1))
        one_pixel(
            model,
            np.full((1, 1, 1, 1), 0.5),
            y=0,
            population=1000,
            generations=1,
            bounds=(-1.0, 3.0),
        )
        values = np.sort(model.asked[1].ravel())
        assert (np.abs(values - np.linspace(-1, 3, 1000, endpoint=False)) <= 4 / 1000).all()

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("count", [1, 2, 28, 224, 4096])
    def test_last_row_is_the_last_index(self, count, dtype):
        assert int(module.below(count, dtype)) == count - 1
        assert np.nextafter(module.below(count, dtype), dtype(np.inf)) == count

    @given(st.integers(0, 1000))
    @settings(max_examples=20)
    def test_paint_against_a_loop(self, seed):
        rng = np.random.default_rng(seed)
        n, pixels, (H, W, C) = 5, 4, (2, 3, 2)
        images, genes = random_images((n, H, W, C), seed), rng.random((n, pixels, 2 + C))
        genes[..., :2] *= [H, W]
        expected = images.copy()
        for image, candidate in zip(expected, genes, strict=True):
            for row, column, *value in candidate:  # six places, four pixels: some meet
                image[int(row), int(column)] = value
        assert module.paint(images, genes.reshape(n, -1)).tolist() == expected.tolist()


class TestSuccess:
    def test_targeted_raises_the_target_and_stops_at_nothing_else(self):
        """Any bright pixel makes it a 1; only one that is bright, and far down and right, a 2;
        nothing makes it a 3.
        """
        x = np.zeros((1, 6, 6, 1))
        place = np.add.outer(np.arange(6), np.arange(6)) / 10

        def model(x):
            brightest, corner = x[..., 0].max(axis=(1, 2)), (place * x[..., 0]).max(axis=(1, 2))
            return np.stack(
                [0 * brightest + 0.5, brightest, 1.9 * corner - 0.8, brightest - 9], axis=1
            )

        untargeted = one_pixel(model, x, y=0, **QUICK)
        assert untargeted.label.tolist() == [1]
        assert untargeted.steps.tolist() == [1]
        targeted = one_pixel(model, x, target=2, population=20, generations=60)
        assert targeted.label.tolist() == [2]
        assert targeted.success.tolist() == [True]
        assert targeted.steps[0] > 1
        unreachable = one_pixel(model, x, target=3, **QUICK)
        assert unreachable.label.tolist() == [1]  # misread, but not as wanted
        assert unreachable.success.tolist() == [False]
        assert unreachable.steps.tolist() == [10]

    def test_steps_are_the_generations_until_the_first_success(self):
        """Of ten classes the first often has less than half of the probability: fewer than even
        odds are no success yet.
        """
        x = random_images((30, 4, 4, 1))
        model = Linear((4, 4, 1), classes=10, scale=0.3)
        y = model(x).argmax(axis=1)
        result = one_pixel(model, x, y=y, **QUICK)
        assert len(set(result.steps.tolist())) > 3
        assert result.success.any()
        assert not result.success.all()
        for i in range(len(x)):
            model.asked.clear()
            one_pixel(model, x[i : i + 1], y=y[i : i + 1], **QUICK)
            wins = [
                bool((model(population).argmax(axis=1) != y[i]).any())
                for population in model.asked[1:-1]
            ]
            assert result.steps[i] == len(wins)
            assert wins == [False] * (len(wins) - 1) + [bool(result.success[i])]
            assert result.success[i] or result.steps[i] == QUICK["generations"]
            assert result.label[i] == model(result.x_adv[i : i + 1]).argmax()

    @pytest.mark.parametrize("goal", ["y", "target"])
    def test_what_succeeds_already_is_returned_unchanged(self, goal):
        x = random_images((4, 3, 3, 1))
        model = Linear((3, 3, 1))
        label = model(x).argmax(axis=1)
        given_label = label if goal == "target" else (label + 1) % 3
        result = one_pixel(model, x, **{goal: given_label}, **QUICK)
        assert result.x_adv.tobytes() == x.tobytes()
        assert result.x_adv is not x
        assert result.success.all()
        assert result.steps.tolist() == [0] * 4
        assert result.queries.tolist() == [2] * 4

    def test_one_label_serves_all_images(self):
        x = random_images((3, 3, 3, 1))
        model = Linear((3, 3, 1))
        one, all_ = (
            one_pixel(model, x, target=target, **QUICK)
            for target in (2, np.array([2, 2, 2], np.uint8))
        )
        assert one.x_adv.tolist() == all_.x_adv.tolist()

    def test_a_model_of_the_package(self):
        x = random_images((5, 8, 8, 1), dtype=np.float32)
        model = cnn((8, 8, 1), 4)
        result = one_pixel(
            model, x, y=model(x).argmax(axis=1), pixels=3, population=50, generations=10
        )
        assert result.x_adv.dtype == np.float32
        assert result.success.any()
        np.testing.assert_array_equal(model(result.x_adv).argmax(axis=1), result.label)

    def test_any_memory_layout(self):
        x, model = random_images((3, 4, 5, 2)), Linear((4, 5, 2))
        y = model(x).argmax(axis=1)
        expected = one_pixel(model, x, y=y, **QUICK)
        for same in (
            np.asfortranarray(x),
            np.repeat(x, 2, axis=2)[:, :, ::2],
            x.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1),
        ):
            assert not same.flags.c_contiguous
            assert one_pixel(model, same, y=y, **QUICK).x_adv.tolist() == expected.x_adv.tolist()
        flat, row = np.asfortranarray(x.reshape(3, -1)), stubborn((40,))
        one_pixel(row, flat, y=0, **QUICK)
        assert any((asked[:, None] != flat).any(axis=-1).all() for asked in row.asked)  # painted

    def test_no_images(self):
        result = one_pixel(cnn((8, 8, 1)), np.zeros((0, 8, 8, 1), np.float32), y=0, **QUICK)
        assert result.x_adv.shape == (0, 8, 8, 1)
        assert len(result.steps) == len(result.queries) == len(result.success) == 0


class TestQueries:
    def test_each_generation_of_all_images_is_one_call(self):
        x = random_images((6, 3, 3, 1))
        model = stubborn((3, 3, 1))
        result = one_pixel(model, x, y=0, **QUICK)
        assert [len(asked) for asked in model.asked] == [6, *[6 * 20] * 10, 6]
        assert result.queries.tolist() == [2 + 20 * 10] * 6

    def test_queries_are_counted(self):
        x = random_images((20, 4, 4, 1))
        model = Linear((4, 4, 1), scale=2)
        result = one_pixel(model, x, y=1, **QUICK)
        assert result.queries.sum() == sum(len(asked) for asked in model.asked)
        assert len(set(result.queries.tolist())) > 2

    def test_blocks_bound_the_memory_and_change_nothing(self, monkeypatch):
        x = random_images((3, 3, 3, 1))
        model = Linear((3, 3, 1))
        y = model(x).argmax(axis=1)
        whole = one_pixel(model, x, y=y, **QUICK)
        monkeypatch.setattr(black_box, "VALUES_PER_CALL", 7 * 9)
        model.asked.clear()
        cut = one_pixel(model, x, y=y, **QUICK)
        assert max(len(asked) for asked in model.asked) == 7
        assert cut.x_adv.tolist() == whole.x_adv.tolist()
        assert cut.steps.tolist() == whole.steps.tolist()


class TestReproducible:
    @pytest.mark.parametrize("goal", ["y", "target"])
    @pytest.mark.parametrize(("strategy", "mutation"), [("rand1", 0.5), ("best1", (0.3, 0.9))])
    def test_an_image_does_not_depend_on_its_batch(self, goal, strategy, mutation):
        x = random_images((12, 4, 4, 1))
        model = Linear((4, 4, 1), scale=2)
        label = (model(x).argmax(axis=1) + np.arange(12) // 10) % 3
        search = {
            **QUICK,
            "pixels": 2,
            "strategy": strategy,
            "mutation": mutation,
            "recombination": 0.7,
            "rng": 7,
        }
        batch = one_pixel(model, x, **{goal: label if goal == "y" else (label + 1) % 3}, **search)
        assert len(set(batch.steps.tolist())) > 3
        for order in (np.arange(12)[::-1], *np.arange(12)[:, None]):
            aim = label[order] if goal == "y" else (label[order] + 1) % 3
            part = one_pixel(model, x[order], **{goal: aim}, **search)
            for field in ("x_adv", "label", "success", "steps", "queries"):
                np.testing.assert_array_equal(getattr(part, field), getattr(batch, field)[order])

    def test_same_seed_same_result(self):
        x = random_images((3, 4, 4, 1))

        def x_adv(rng):
            return one_pixel(
                stubborn((4, 4, 1)), x, y=0, population=8, generations=3, rng=rng
            ).x_adv.tolist()

        assert x_adv(1) == x_adv(1) == x_adv(np.random.default_rng(1))
        assert x_adv(1) != x_adv(2)


class TestAnswers:
    def test_logits_and_probabilities_give_the_same_result(self):
        x = random_images((6, 4, 4, 1))
        model = Linear((4, 4, 1), scale=2)
        y = model(x).argmax(axis=1)
        from_logits = one_pixel(model, x, y=y, pixels=2, **QUICK)
        shifted = one_pixel(lambda x: model(x) + 3, x, y=y, pixels=2, **QUICK)
        from_probabilities = one_pixel(lambda x: softmax(model(x)), x, y=y, pixels=2, **QUICK)
        assert (
            from_logits.steps.tolist()
            == from_probabilities.steps.tolist()
            == shifted.steps.tolist()
        )
        np.testing.assert_array_equal(from_logits.x_adv, from_probabilities.x_adv)
        np.testing.assert_array_equal(from_logits.x_adv, shifted.x_adv)

    def test_saturated_logits_still_lead(self):
        """The probabilities of these logits are 0 and 1 in float32, everywhere but in a band that a
        random pixel rarely hits.
        """
        x = np.zeros((1, 1, 1, 1), np.float32)

        def model(x):
            value = x[:, 0, 0, 0]
            return np.stack([0 * value, 1e6 * (value - 0.9999)], axis=1).astype(np.float32)

        result = one_pixel(model, x, y=0, population=20, generations=60)
        assert result.success.all()
        assert result.steps[0] > 1

    def test_probabilities_of_zero_and_one_are_legal(self):
        x = random_images((2, 3, 3, 1), dtype=np.float32)
        result = one_pixel(
            lambda x: np.eye(3, dtype=x.dtype)[np.zeros(len(x), int)], x, target=2, **QUICK
        )
        assert result.label.tolist() == [0, 0]
        assert (result.l0 <= 1).all()

    def test_a_model_that_works_in_place_harms_nothing(self):
        """Many preprocess so: the images, the result and the next call stay as they should."""
        x, model = random_images((4, 3, 3, 1)), Linear((3, 3, 1))

        def in_place(images):
            images -= 0.5
            images *= 7
            return model(images)

        before = x.copy()
        expected = one_pixel(lambda x: model((x - 0.5) * 7), x, y=0, **QUICK)
        found = one_pixel(in_place, x, y=0, **QUICK)
        assert x.tolist() == before.tolist()
        assert found.x_adv.tolist() == expected.x_adv.tolist()

    def test_lists_will_do(self):
        x, model = random_images((2, 3, 3, 1)), stubborn((3, 3, 1))
        as_lists = one_pixel(lambda x: model(x).tolist(), x, y=0, **QUICK)
        assert as_lists.x_adv.tolist() == one_pixel(model, x, y=0, **QUICK).x_adv.tolist()

    def test_torch_will_do(self):
        torch = pytest.importorskip("torch")
        x, model = random_images((2, 3, 3, 1)), stubborn((3, 3, 1))
        as_tensors = one_pixel(lambda x: torch.from_numpy(model(x)), x, y=0, **QUICK)
        assert as_tensors.x_adv.tolist() == one_pixel(model, x, y=0, **QUICK).x_adv.tolist()

    def test_every_module_finds_the_same(self, xp):
        x = random_images((6, 4, 3, 2))
        model = Linear((4, 3, 2), scale=3)
        y = model(x).argmax(axis=1)
        search = {"pixels": 2, "strategy": "best1", "recombination": 0.8, **QUICK}
        expected = one_pixel(model, x, y=y, **search)
        found = one_pixel(model, xp.asarray(x), y=y, **search)
        for field in ("x_adv", "label", "success", "steps", "queries"):
            assert array_module(getattr(found, field)) is xp
            np.testing.assert_allclose(
                to_numpy(getattr(found, field)), getattr(expected, field), rtol=1e-12
            )

    def test_progress_is_shown_on_request(self, capsys):
        x, model = random_images((1, 3, 3, 1)), stubborn((3, 3, 1))
        one_pixel(model, x, y=0, **QUICK)
        assert capsys.readouterr() == ("", "")
        one_pixel(model, x, y=0, **QUICK, progress=True)
        assert "one-pixel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "named", "arguments"),
    [
        (TypeError, "uint8", {"x": np.zeros((1, 3, 3, 1), np.uint8)}),
        (TypeError, "x must", {"x": [[0.5]]}),
        (ValueError, "x must", {"x": np.full((1, 3, 3, 1), 1.5)}),
        (ValueError, "x must", {"x": np.full((1, 3, 3, 1), np.nan)}),
        (ValueError, "x must", {"x": np.full((1, 3, 3), 0.5)}),
        (ValueError, "exactly one", {"y": None}),
        (ValueError, "exactly one", {"target": 1}),
        (ValueError, "y must", {"y": 3}),
        (ValueError, "y must", {"y": -1}),
        (TypeError, "y must", {"y": 0.5}),
        (ValueError, "y must", {"y": [0, 1, 2]}),
        (ValueError, "target must", {"y": None, "target": 7}),
        (ValueError, "pixels", {"pixels": 0}),
        (ValueError, "pixels", {"pixels": 10}),
        (TypeError, "pixels", {"pixels": 1.0}),
        (ValueError, "population", {"population": 3}),
        (TypeError, "population", {"population": 8.5}),
        (ValueError, "generations", {"generations": 0}),
        (ValueError, "generations", {"generations": -5}),
        (ValueError, "mutation", {"mutation": -1.0}),
        (ValueError, "recombination", {"recombination": 1.5}),
        (ValueError, "strategy", {"strategy": "rand2"}),
        (ValueError, "bounds", {"bounds": (1.0, 0.0)}),
        (ValueError, "bounds", {"bounds": (0.0, np.inf)}),
        (ValueError, "bounds", {"bounds": 1.0}),
        (ValueError, "model must return", {"predict": lambda x: np.zeros(len(x))}),
        (ValueError, "model must return", {"predict": lambda x: np.zeros((len(x), 1))}),
        (ValueError, "model must return", {"predict": lambda x: np.zeros((len(x) + 1, 3))}),
        (ValueError, "model must return", {"predict": lambda x: np.full((len(x), 3), np.nan)}),
        (ValueError, "model must return", {"predict": lambda x: np.full((len(x), 3), -np.inf)}),
        (TypeError, "model must return", {"predict": lambda x: np.zeros((len(x), 3), int)}),
        (TypeError, "predict", {"predict": None}),
    ],
)
def test_wrong_arguments_are_named(error, named, arguments):
    correct = {
        "predict": lambda x: x.reshape(len(x), 9)[:, :3],
        "x": np.full((2, 3, 3, 1), 0.5),
        "y": 0,
        **QUICK,
    }
    with pytest.raises(error, match=named):
        one_pixel(**{**correct, **arguments})


def test_arguments_are_checked_before_the_first_query():
    predict = Linear((3, 3, 1))
    for wrong in (
        {"population": 2},
        {"mutation": 9.0},
        {"recombination": -1.0},
        {"pixels": 99},
        {"generations": 0},
        {"strategy": ""},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            one_pixel(predict, np.full((1, 3, 3, 1), 0.5), y=0, **{**QUICK, **wrong})
    assert predict.asked == []
