import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minadv import losses, ops
from minadv.attacks.forging import ForgeResult, forge, squared_error
from minadv.autograd import raw
from minadv.backend import array_module, like, to_numpy
from minadv.models import mlp
from tests import strategies

SIDE, CLASSES = 6, 3


class Affine:
    """Logits ``x @ weight + bias``, row by row in one order of summation. Keeps the images that it
    is asked about.
    """

    def __init__(self, d=SIDE, classes=CLASSES, *, seed=0, scale=1.0, bias=0.0):
        self.weight = scale * np.random.default_rng(seed).normal(size=(d, classes))
        self.bias = np.broadcast_to(
            float(bias) if np.isscalar(bias) else np.asarray(bias, float), classes
        )
        self.asked = []

    def __call__(self, x):
        self.asked.append(to_numpy(raw(x)).copy())
        weight, bias = (like(a.astype(raw(x).dtype), raw(x)) for a in (self.weight, self.bias))
        return (ops.reshape(x, (*x.shape, 1)) * weight).sum(axis=1) + bias


def smooth(x):
    """A two-layer network of smooth functions, whose derivatives no kink disturbs."""
    rng = np.random.default_rng(7)
    return ops.tanh(x @ rng.normal(size=(SIDE, 8))) @ rng.normal(size=(8, CLASSES))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def objective(model, x, target, reference, weight):
    """The document's formula, written out."""
    p, wanted = softmax(np.asarray(model(x))), np.eye(CLASSES)[target]
    return 0.5 * ((p - wanted) ** 2).sum(axis=1) + weight * ((x - reference) ** 2).sum(axis=1)


def noise(n, d=SIDE, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).random((n, d)).astype(dtype)


class TestObjective:
    @pytest.mark.parametrize("weight", [0.0, 0.7])
    def test_first_step_is_the_gradient_by_finite_differences(self, weight):
        x, reference, target, lr, h = noise(4), noise(4, seed=1), np.array([0, 1, 2, 1]), 1e-2, 1e-6
        expected = np.empty_like(x)
        for i in range(SIDE):
            e = h * np.eye(SIDE)[i]
            sides = [objective(smooth, x + s * e, target, reference, weight) for s in (1, -1)]
            expected[:, i] = (sides[0] - sides[1]) / (2 * h)
        result = forge(
            smooth,
            x,
            target=target,
            reference=reference,
            weight=weight,
            lr=lr,
            steps=1,
            bounds=(-1, 2),
        )
        np.testing.assert_allclose((x - result.x_adv) / lr, expected, atol=1e-7)

    def test_closed_form_on_an_affine_model(self):
        """∂L/∂x = W (diag p − p pᵀ)(p − e_t) + 2λ (x − x_ref)."""
        x, reference, model = noise(1), noise(1, seed=1), Affine()
        p, e = softmax(model(x))[0], np.eye(CLASSES)[2]
        g = model.weight @ (np.diag(p) - np.outer(p, p)) @ (p - e) + 2 * 0.3 * (x - reference)[0]
        result = forge(
            model, x, target=2, reference=reference, weight=0.3, lr=0.1, steps=1, bounds=(-1, 2)
        )
        np.testing.assert_allclose(result.x_adv[0], x[0] - 0.1 * g, rtol=1e-13)

    def test_history_is_of_the_way(self):
        x, reference, model = noise(5), noise(5, seed=1), Affine()
        result = forge(model, x, target=1, reference=reference, weight=0.2, lr=0.5, steps=7)
        way = model.asked[:8]
        np.testing.assert_array_equal(way[0], x)
        np.testing.assert_array_equal(way[-1], result.x_adv)
        assert isinstance(result, ForgeResult)
        assert result.loss.shape == result.distance.shape == (8, 5)
        target = np.ones(5, int)
        np.testing.assert_allclose(
            result.loss, [objective(model, z, target, reference, 0.2) for z in way], rtol=1e-12
        )
        np.testing.assert_allclose(
            result.distance, [np.linalg.norm(z - reference, axis=1) for z in way], rtol=1e-12
        )
        assert result.steps.tolist() == [7] * 5
        assert result.label.tolist() == model(result.x_adv).argmax(axis=1).tolist()
        assert result.success.tolist() == (result.label == 1).tolist()

    def test_the_reference_is_the_start_unless_given(self):
        x = noise(3)
        without, start = (
            forge(Affine(), x, target=1, reference=r, weight=0.1, steps=5) for r in (None, x)
        )
        assert without.x_adv.tolist() == start.x_adv.tolist()
        assert without.distance[0].tolist() == [0, 0, 0]

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_squared_error(self, dtype):
        logits = np.array([[0, 0, 0], [0, 200, 0], [0, 200, 0]], dtype)
        value = squared_error(logits, np.array([1, 1, 0]))
        assert value.dtype == dtype
        np.testing.assert_allclose(value, [0.5 * (4 + 1 + 1) / 9, 0, 1], rtol=1e-6, atol=1e-30)

    def test_another_loss(self):
        x, model, y = noise(4), Affine(), np.array([0, 1, 2, 0])
        result = forge(
            model, x, target=y, loss=losses.cross_entropy, lr=0.1, steps=1, bounds=(-1, 2)
        )
        g = (softmax(model(x)) - np.eye(CLASSES)[y]) @ model.weight.T
        np.testing.assert_allclose(result.x_adv, x - 0.1 * g, rtol=1e-12)


class TestDescent:
    @given(
        seed=st.integers(0, 10_000), weight=st.floats(0, 2), clip=st.none() | st.floats(1e-3, 0.1)
    )
    @settings(max_examples=30)
    def test_small_steps_never_climb(self, seed, weight, clip):
        """With α at most 1/curvature the loss falls at each step, projected onto the box or not;
        also if steps are shortened.
        """
        x, reference, model = noise(4, seed=seed), noise(4, seed=seed + 1), Affine(seed=seed)
        curvature = (
            2 * weight + 4 * np.linalg.norm(model.weight, 2) ** 2
        )  # generous: the Hessian of the error by the logits is < 4
        target = np.random.default_rng(seed).integers(CLASSES, size=4)
        result = forge(
            model,
            x,
            target=target,
            reference=reference,
            weight=weight,
            lr=1 / curvature,
            steps=40,
            clip=clip,
        )
        assert (np.diff(result.loss, axis=0) <= 1e-13).all()
        assert (result.loss[-1] < result.loss[0]).all()

    def test_from_noise_to_the_target(self):
        x, model = noise(30, 64).reshape(30, 8, 8, 1).astype(np.float32), mlp((8, 8, 1), 4)
        target = np.arange(30) % 4
        result = forge(model, x, target=target, lr=3.0, steps=100)
        assert not (model(x).argmax(axis=1) == target).all()
        assert result.success.all()
        assert (result.loss[-1] < 0.5 * result.loss[0]).all()
        assert result.x_adv.dtype == np.float32
        assert (result.l2 > 0).all()

    def test_weight_trades_distance_against_the_target(self):
        """Of two minima the one with the larger λ is nearer, and its answer further from the
        target.
        """
        x, model = noise(8), Affine(scale=3)
        weights = [0.0, 0.01, 0.1, 1.0]
        results = [
            forge(model, x, target=2, weight=w, lr=0.1, steps=1000, bounds=(-9, 9)) for w in weights
        ]
        distance = np.array([r.distance[-1] for r in results])
        error = np.array(
            [r.loss[-1] - w * r.distance[-1] ** 2 for r, w in zip(results, weights, strict=True)]
        )
        assert (np.diff(distance, axis=0) < 1e-9).all()
        assert (np.diff(error, axis=0) > -1e-9).all()
        assert (distance[0] > 2 * distance[-1]).all()

    def test_the_reference_pulls(self):
        x, reference, model = noise(5), noise(5, seed=1), Affine()
        near = forge(model, x, target=1, reference=reference, weight=100.0, lr=1e-3, steps=200)
        np.testing.assert_allclose(near.x_adv, reference, atol=0.01)
        start = np.linalg.norm(x - reference, axis=1)
        far, some = (
            forge(model, x, target=1, reference=reference, weight=w, lr=0.1, steps=200)
            for w in (0.0, 0.05)
        )
        assert (near.distance[-1] < some.distance[-1]).all()
        assert (some.distance[-1] < np.maximum(start, far.distance[-1])).all()

    def test_an_image_does_not_depend_on_its_batch(self):
        x, reference, model = noise(6), noise(6, seed=1), Affine()
        target = np.arange(6) % CLASSES
        how = {"weight": 0.1, "lr": 2.0, "steps": 20, "clip": 0.05}
        batch = forge(model, x, target=target, reference=reference, **how)
        for i in range(6):
            alone = forge(
                model, x[i : i + 1], target=target[i : i + 1], reference=reference[i : i + 1], **how
            )
            assert alone.x_adv[0].tolist() == batch.x_adv[i].tolist()
            assert alone.loss[:, 0].tolist() == batch.loss[:, i].tolist()
            assert alone.distance[:, 0].tolist() == batch.distance[:, i].tolist()

    def test_many_images_go_in_chunks(self):
        x, model = noise(1500, 8, dtype=np.float32), Affine(8)
        result = forge(model, x, target=1, steps=3)
        assert len(model.asked) > 6
        part = forge(model, x[1400:1410], target=1, steps=3)
        assert result.x_adv[1400:1410].tolist() == part.x_adv.tolist()
        assert result.loss[:, 1400:1410].tolist() == part.loss.tolist()

    def test_no_images(self):
        result = forge(Affine(), np.zeros((0, SIDE)), target=1, steps=4, clip=0.1)
        assert result.x_adv.shape == (0, SIDE)
        assert result.loss.shape == result.distance.shape == (5, 0)

    def test_nothing_given_is_changed(self):
        x, reference, target = noise(3), noise(3, seed=1), np.array([0, 1, 2])
        before = x.copy(), reference.copy(), target.copy()
        forge(Affine(), x, target=target, reference=reference, weight=0.1, steps=3, clip=0.1)
        for array, copy in zip((x, reference, target), before, strict=True):
            np.testing.assert_array_equal(array, copy)


class TestLimits:
    @given(
        bounds=st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.1, 0.9), (-2.1179, 2.64)]),
        clip=strategies.awkward_eps(),
        lr=st.sampled_from([0.1, 10.0, 1e6]),
        dtype=st.sampled_from([np.float32, np.float64]),
        seed=st.integers(0, 1000),
    )
    @settings(max_examples=60)
    def test_no_step_is_longer_than_clip_and_none_leaves_the_bounds(
        self, bounds, clip, lr, dtype, seed
    ):
        low, high = (float(dtype(b)) for b in bounds)
        x = np.random.default_rng(seed).uniform(low, high, (2, SIDE)).clip(low, high).astype(dtype)
        model = Affine(seed=seed)
        with warnings.catch_warnings(
            action="ignore"
        ):  # a large step may lead to where the softmax is flat
            result = forge(model, x, target=0, lr=lr, steps=4, clip=clip, bounds=bounds)
        way = model.asked[:5]
        assert result.x_adv.dtype == dtype
        for before, after in zip(way, way[1:], strict=False):
            assert after.min() >= low
            assert after.max() <= high
            for a, b in zip(before.ravel(), after.ravel(), strict=True):
                assert abs(Fraction(float(b)) - Fraction(float(a))) <= Fraction(clip)
        for a, b in zip(way[0].ravel(), way[-1].ravel(), strict=True):
            assert abs(Fraction(float(b)) - Fraction(float(a))) <= 4 * Fraction(clip)

    def test_a_step_is_shortened_as_a_whole(self):
        x, model = np.full((1, SIDE), 0.5), Affine()
        free, clipped = (
            forge(model, x, target=1, lr=1.0, steps=1, clip=c, bounds=(-9, 9)).perturbation[0]
            for c in (None, 1e-3)
        )
        assert np.abs(free).max() > 1e-3
        np.testing.assert_allclose(clipped, free * (1e-3 / np.abs(free).max()), rtol=1e-9)

    def test_each_image_has_its_own_step(self):
        """The first image stands on a plain, the second on a slope: what shortens the one leaves
        the other alone.
        """
        model = Affine(2, 2, bias=[0.0, 0.0])
        model.weight = np.array([[9.0, 0.0], [0.0, 9.0]])
        x = np.array([[0.9, 0.1], [0.5, 0.5]])
        result = forge(model, x, target=1, lr=0.5, steps=1, clip=0.1, bounds=(-9, 9))
        free = forge(model, x, target=1, lr=0.5, steps=1, bounds=(-9, 9))
        assert free.linf[0] < 0.1 < free.linf[1]
        assert result.x_adv[0].tolist() == free.x_adv[0].tolist()
        np.testing.assert_allclose(result.linf[1], 0.1, rtol=1e-12)

    def test_a_short_step_stays_as_it_is(self):
        x = noise(4)
        free, clipped = (
            forge(Affine(), x, target=1, lr=1e-3, steps=10, clip=c).x_adv.tolist()
            for c in (None, 0.5)
        )
        assert free == clipped

    def test_clip_zero_moves_nothing(self):
        x = noise(2)
        assert forge(Affine(), x, target=1, lr=9.0, steps=3, clip=0).x_adv.tolist() == x.tolist()


class TestPlain:
    """Where the model is sure of another class, the squared error of its softmax is flat."""

    x = np.full((1, SIDE), 0.5, np.float32)

    def test_an_exact_zero_is_said(self):
        sure = Affine(bias=[200.0, 0.0, 0.0])
        with pytest.warns(UserWarning, match="exactly zero for 1 of 1") as caught:
            result = forge(sure, self.x, target=1, steps=3)
        assert caught[0].filename == __file__
        assert result.x_adv.tolist() == self.x.tolist()
        assert not result.success.any()

    def test_a_target_that_is_reached_for_sure_is_no_failure(self):
        sure = Affine(bias=[200.0, 0.0, 0.0])
        assert forge(sure, self.x, target=0, steps=3).success.all()

    def test_cross_entropy_has_a_slope_there(self):
        sure = Affine(bias=[200.0, 0.0, 0.0], scale=30)
        assert forge(
            sure, self.x, target=1, loss=losses.cross_entropy, lr=0.01, steps=300, bounds=(-9, 9)
        ).success.all()

    def test_descent_goes_to_the_runner_up(self):
        """∂L/∂z_j is about −p_j of another class, and −2 p_t of the target: the likelier other
        class is raised, not the target.
        """
        model = Affine(CLASSES)
        model.weight, model.bias = np.eye(CLASSES), np.array([10.0, 3.0, 0.0])
        x = np.zeros((1, CLASSES))
        p = softmax(model(x))[0]
        change = forge(model, x, target=2, lr=1.0, steps=1, bounds=(-9, 9)).perturbation[0]
        np.testing.assert_allclose(change[1:], [p[1], 2 * p[2]], rtol=0.01)
        assert change[1] > 9 * change[2]


def test_every_module_forges_the_same(xp):
    x, reference, target = noise(5), noise(5, seed=1), np.arange(5) % CLASSES
    how = {"weight": 0.1, "lr": 1.0, "steps": 10, "clip": 0.05}
    expected = forge(Affine(), x, target=target, reference=reference, **how)
    found = forge(Affine(), xp.asarray(x), target=target, reference=xp.asarray(reference), **how)
    for field in ("x_adv", "label", "success", "steps", "loss", "distance"):
        assert array_module(getattr(found, field)) is xp
        np.testing.assert_allclose(
            to_numpy(getattr(found, field)), getattr(expected, field), rtol=1e-12
        )


@pytest.mark.parametrize(
    ("error", "named", "arguments"),
    [
        (
            TypeError,
            "reference must be a NumPy or CuPy array, got list",
            {"reference": [[0.5] * SIDE] * 2},
        ),
        (ValueError, "reference must be float64 of shape", {"reference": np.full((1, SIDE), 0.5)}),
        (
            ValueError,
            "reference must be float64 of shape",
            {"reference": np.full((2, SIDE), 0.5, np.float32)},
        ),
        (ValueError, "reference must lie inside", {"reference": np.full((2, SIDE), 1.5)}),
        (ValueError, "reference must not contain NaN", {"reference": np.full((2, SIDE), np.nan)}),
        (ValueError, "weight must be >= 0", {"weight": -1.0}),
        (ValueError, "weight must be finite", {"weight": np.nan}),
        (TypeError, "weight must be a number", {"weight": "1"}),
        (ValueError, "lr must be >= 0", {"lr": -0.1}),
        (ValueError, "lr must be finite", {"lr": np.inf}),
        (ValueError, "clip must be >= 0", {"clip": -1e-9}),
        (ValueError, "clip must be finite", {"clip": np.nan}),
        (
            ValueError,
            "loss must return one number per image",
            {"loss": lambda logits, y: squared_error(logits, y).sum()},
        ),
        (
            ValueError,
            "model must have a finite gradient",
            {"model": lambda x: ops.sqrt(x[:, :3] * 0)},
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_wrong_arguments_are_named(error, named, arguments):
    correct = {"model": Affine(), "x": np.full((2, SIDE), 0.5), "target": 1, "steps": 2}
    with pytest.raises(error, match=named):
        forge(**{**correct, **arguments})
