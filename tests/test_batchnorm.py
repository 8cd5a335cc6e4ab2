"""Batch normalization: against its definition, finite differences, PyTorch; its state, in training
and on disk."""

import copy
import warnings

import numpy as np
import pytest

from minadv import fit, losses, models
from minadv.attacks.fgsm import fgsm
from minadv.autograd import gradcheck, vjp
from minadv.backend import to_numpy
from minadv.batchnorm import scale_and_shift, standardize
from minadv.inference import logits
from minadv.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    ReLU,
    Residual,
    Sequential,
)
from minadv.models import load_weights, save_weights
from minadv.training import SGD, Adam

TRAINING = np.random.default_rng(0)  # given to apply, it means training; BatchNorm draws nothing


def numbers(*shape, seed=0, dtype=np.float64):
    return (3 + 2 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def seasoned(layer, dtype=np.float64):
    """The layer, with arrays as training leaves them."""
    rng = np.random.default_rng(1)
    layer.arrays = {
        name: (rng.uniform(0.5, 2, a.shape) if "var" in name else rng.normal(size=a.shape)).astype(
            dtype
        )
        for name, a in layer.arrays.items()
    }
    return layer


class TestOperations:
    @pytest.mark.parametrize("shape", [(7, 3), (2, 3, 5, 4), (64, 2), (3, 8, 8, 5)])
    def test_standardize(self, shape):
        x = numbers(*shape)
        value, mean, variance = standardize(x, 1e-9)
        rows = x.reshape(-1, shape[-1])
        np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(variance, rows.var(axis=0), rtol=1e-12)
        np.testing.assert_allclose(
            value.reshape(rows.shape), (rows - rows.mean(0)) / rows.std(0), rtol=1e-8
        )

    @pytest.mark.parametrize("shape", [(4, 3), (2, 2, 3, 2), (64, 2)])
    def test_gradients(self, shape):
        x, c = numbers(*shape), shape[-1]
        weights = numbers(*shape, seed=1)  # of the sum: a plain sum of ``standardize`` is constant
        assert gradcheck(lambda x: standardize(x, 0.1)[0] * weights, x) < 1e-6
        s, b = numbers(c, seed=2), numbers(c, seed=3)
        assert gradcheck(lambda x, s, b: scale_and_shift(x, s, b) * weights, x, s, b) < 1e-6

    def test_the_gradient_is_blind_to_shift_and_scale(self):
        """What x gains by a constant or a factor, standardize takes away: so g has neither."""
        x, g = numbers(50, 3), numbers(50, 3, seed=1)
        value, pull = vjp(lambda x: standardize(x, 0.0)[0], x)
        slope = pull(g)
        np.testing.assert_allclose(slope.sum(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose((slope * value).sum(axis=0), 0, atol=1e-12)

    def test_float32_is_exact_enough_far_from_zero(self):
        x = (numbers(100_000, 2) + 100).astype(np.float32)
        _, mean, variance = standardize(x, 1e-5)
        np.testing.assert_allclose(mean, x.mean(axis=0, dtype=np.float64), rtol=1e-5)
        np.testing.assert_allclose(variance, x.var(axis=0, dtype=np.float64), rtol=1e-4)

    def test_one_number_has_no_deviation(self):
        with pytest.raises(
            ValueError, match=r"at least two numbers per channel, got shape \(1, 3\)"
        ):
            standardize(np.ones((1, 3)), 1e-5)


class TestLayer:
    def test_inference_is_an_affine_map_per_channel(self):
        layer, x = seasoned(BatchNorm(3)), numbers(2, 4, 5, 3)
        before = {name: a.copy() for name, a in layer.arrays.items()}
        expected = layer.weight * (x - layer.running_mean) / np.sqrt(layer.running_var + 1e-5)
        np.testing.assert_allclose(layer(x), expected + layer.bias, rtol=1e-12)
        np.testing.assert_allclose(layer(x[:1]), layer(x)[:1], rtol=1e-14)
        for name, a in before.items():
            np.testing.assert_array_equal(layer.arrays[name], a)

    @pytest.mark.parametrize("shape", [(6, 3), (2, 2, 3, 3)])
    def test_gradients_in_training_and_in_inference(self, shape):
        layer, x = seasoned(BatchNorm(3, epsilon=0.1)), numbers(*shape)
        weights = numbers(*shape, seed=1)
        for rng in (TRAINING, None):

            def f(x, weight, bias, rng=rng):
                return layer.apply({"weight": weight, "bias": bias}, x, rng) * weights

            assert gradcheck(f, x, layer.weight, layer.bias) < 1e-6

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("shape", [(6, 3), (4, 5, 4, 3)])
    def test_against_torch(self, shape, training):
        torch = pytest.importorskip("torch")
        layer, x, g = seasoned(BatchNorm(3, momentum=0.3)), numbers(*shape), numbers(*shape, seed=1)
        kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
        peer = kind(3, momentum=0.3, dtype=torch.float64).train(training)
        with torch.no_grad():
            for name, a in layer.arrays.items():
                getattr(peer, name).copy_(torch.from_numpy(a))
        there = (lambda a: np.moveaxis(a, -1, 1)) if len(shape) == 4 else lambda a: a
        tensor = torch.tensor(there(x), requires_grad=True)
        expected = peer(tensor)
        expected.backward(torch.tensor(there(g)))
        value, pull = vjp(
            lambda x, w, b: layer.apply(
                {"weight": w, "bias": b}, x, TRAINING if training else None
            ),
            x, layer.weight, layer.bias,
        )  # fmt: skip
        slopes = pull(g)
        np.testing.assert_allclose(there(value), expected.detach().numpy(), rtol=1e-10, atol=1e-12)
        theirs = (tensor.grad, peer.weight.grad, peer.bias.grad)
        for mine, other in zip((there(slopes[0]), *slopes[1:]), theirs, strict=True):
            np.testing.assert_allclose(mine, other.numpy(), rtol=1e-9, atol=1e-12)
        for name in layer.state_names:  # moved in training, not in inference
            np.testing.assert_allclose(
                getattr(layer, name), getattr(peer, name).numpy(), rtol=1e-12
            )

    def test_float32_on_every_backend(self, xp):
        x = numbers(4, 3, 3, 2, dtype=np.float32)
        layer, peer = BatchNorm(2), BatchNorm(2, dtype=np.float64)
        peer.arrays = {name: to_numpy(a).astype(np.float64) for name, a in layer.arrays.items()}
        value, pull = vjp(lambda x: layer.apply(layer.parameters, x, TRAINING), xp.asarray(x))
        expected, expected_pull = vjp(
            lambda x: peer.apply(peer.parameters, x, TRAINING), x.astype(float)
        )
        assert value.dtype == pull(value).dtype == np.float32
        assert all(
            isinstance(a, xp.ndarray) and a.dtype == np.float32 for a in layer.arrays.values()
        )
        np.testing.assert_allclose(to_numpy(value), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            to_numpy(pull(value**3)), expected_pull(expected**3), rtol=1e-3, atol=1e-4
        )
        np.testing.assert_allclose(to_numpy(layer.running_var), peer.running_var, rtol=1e-5)

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: BatchNorm(0), ValueError, "channels must be >= 1, got 0"),
            (lambda: BatchNorm(2, momentum=1.1), ValueError, "momentum must be <= 1, got 1.1"),
            (lambda: BatchNorm(2, epsilon=0), ValueError, "epsilon must be > 0, got 0"),
            (
                lambda: BatchNorm(2, dtype=int),
                TypeError,
                "dtype must be a floating-point one, got int",
            ),
            (
                lambda: BatchNorm(2)(np.ones((3, 4))),
                ValueError,
                r"BatchNorm expects \(N, ..., 2\), got \(3, 4\)",
            ),
            (
                lambda: BatchNorm(2).apply(BatchNorm(2).parameters, np.ones((1, 2)), TRAINING),
                ValueError,
                "at least two numbers per channel",
            ),
        ],
    )
    def test_errors(self, make, error, message):
        with pytest.raises(error, match=message):
            make()


class TestResidual:
    def test_values_and_names(self):
        branch, x = Sequential(Dense(4, 4, rng=0), BatchNorm(4)), numbers(5, 4, dtype=np.float32)
        block = Residual(branch)
        np.testing.assert_array_equal(block(x), np.maximum(branch(x) + x, 0))
        assert list(block.arrays) == [
            *("branch.0.weight", "branch.0.bias", "branch.1.weight", "branch.1.bias"),
            *("branch.1.running_mean", "branch.1.running_var"),
        ]
        assert block.whole_batch
        assert not Residual(Dense(4, 4)).whole_batch

    def test_a_branch_that_gives_nothing_lets_the_gradient_through(self):
        branch = Dense(4, 4)
        branch.weight = branch.weight * 0
        x, g = 1 + np.abs(numbers(5, 4)), numbers(5, 4, seed=1)
        value, pull = vjp(Sequential(*[Residual(branch) for _ in range(30)]), x)
        np.testing.assert_array_equal(value, x)
        np.testing.assert_array_equal(pull(g), g)

    def test_shapes_that_differ(self):
        with pytest.raises(ValueError, match=r"one shape, got \(2, 3\) and \(2, 4\)"):
            Residual(Dense(4, 3))(np.ones((2, 4)))
        with pytest.raises(TypeError, match="branch must be a Layer object, got 3"):
            Residual(3)

    def test_dropout_inside_hears_of_training(self):
        block = Residual(Dropout(0.5), Dropout(0.9))
        x = np.ones((100, 50))
        assert (block(x) == 2).all()
        assert len(np.unique(block.apply({}, x, np.random.default_rng(0)))) == 4

    def test_its_memory_counts_both_ways(self):
        block = Residual(Sequential(ReLU(), ReLU()), Sequential(ReLU()))
        assert block.activation_bytes((10,), np.float32) == 4 * 10 * 4
        assert Sequential(block, block).activation_bytes((10,), np.float32) == 2 * 4 * 10 * 4


def network(dtype=np.float32, rng=0):
    return Sequential(
        Conv2D(1, 4, 3, stride=2, bias=False, rng=rng, dtype=dtype),
        BatchNorm(4, dtype=dtype),
        ReLU(),
        GlobalAvgPool(),
        Dense(4, 3, rng=1, dtype=dtype),
    )


class TestTraining:
    x = np.random.default_rng(0).random((90, 8, 8, 1))
    y = np.random.default_rng(1).integers(0, 3, 90)

    def test_a_convolution_without_bias(self):
        layer = Conv2D(1, 4, bias=False)
        assert list(layer.parameters) == ["weight"]
        assert layer.bias is None
        assert not layer(np.zeros((1, 5, 5, 1), np.float32)).any()

    def test_a_step_is_that_of_torch(self):
        """Batches of 30, which stay whole; statistics and weights after each step."""
        torch = pytest.importorskip("torch")
        model = network(np.float64)
        nn = torch.nn
        peer = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
        ).double()  # fmt: skip
        with torch.no_grad():
            peer[0].weight.copy_(torch.from_numpy(model[0].weight.transpose(3, 2, 0, 1).copy()))
            peer[5].weight.copy_(torch.from_numpy(model[4].weight.T.copy()))
            peer[5].bias.zero_()
        optimizer = torch.optim.SGD(peer.parameters(), lr=0.1)
        fit(
            model,
            self.x,
            self.y,
            batch_size=30,
            epochs=2,
            optimizer=SGD(0.1),
            progress=False,
            rng=5,
        )
        rng = np.random.default_rng(5)
        for _ in range(2):
            order = rng.permutation(90)
            for i in range(0, 90, 30):
                some = order[i : i + 30]
                rng.integers(2**63)
                optimizer.zero_grad()
                answer = peer(torch.from_numpy(self.x[some].transpose(0, 3, 1, 2).copy()))
                nn.functional.cross_entropy(answer, torch.from_numpy(self.y[some])).backward()
                optimizer.step()
        np.testing.assert_allclose(model[1].running_mean, peer[1].running_mean, rtol=1e-9)
        np.testing.assert_allclose(model[1].running_var, peer[1].running_var, rtol=1e-9)
        np.testing.assert_allclose(model[1].weight, peer[1].weight.detach(), rtol=1e-9)
        np.testing.assert_allclose(model[4].weight.T, peer[5].weight.detach(), rtol=1e-9)

    def test_a_batch_stays_whole_however_large_its_activations(self, monkeypatch):
        sizes = []

        class Seen(BatchNorm):
            def apply(self, parameters, x, rng=None):
                sizes.append(len(x)) if rng is not None else None
                return super().apply(parameters, x, rng)

        monkeypatch.setattr("minadv.parallel.CHUNK_BYTES", 1)
        model = Sequential(Residual(Sequential(Flatten(), Dense(64, 64), Seen(64)), Flatten()))
        fit(
            model,
            self.x,
            self.x,
            loss=lambda z, x: (z**2).sum(axis=1),
            batch_size=40,
            progress=False,
        )
        assert sizes == [40, 40, 10]

    def test_chosen_seed_same_bits(self):
        def run():
            model = network()
            fit(model, self.x.astype(np.float32), self.y, batch_size=32, epochs=2, progress=False)
            return [a.tobytes() for a in model.arrays.values()]

        assert run() == run()

    def test_attacks_leave_the_statistics_alone(self):
        model = network()
        before = copy.deepcopy(model.arrays)
        x = self.x.astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fgsm(model, x, y=self.y, eps=0.1)
        assert all((model.arrays[name] == a).all() for name, a in before.items())

    def test_a_small_residual_network_learns(self):
        d = np.random.default_rng(0)
        y = d.integers(0, 2, 200)
        x = d.random((200, 8, 8, 1)).astype(np.float32) * 0.5
        x[y == 1, :, 3] += 0.5  # a line
        model = models.resnet(1, 2, widths=(4, 8), blocks=(1, 1))
        history = fit(model, x, y, batch_size=20, epochs=8, optimizer=Adam(0.01), progress=False)
        assert history.loss[-1] < history.loss[0] / 3
        assert (logits(model, x).argmax(axis=1) == y).mean() > 0.98

    def test_saved_and_loaded_with_the_weights(self, tmp_path):
        model = seasoned(network(), np.float32)
        x = self.x.astype(np.float32)
        for ending in ("npz", "safetensors"):
            if ending == "safetensors":
                pytest.importorskip("safetensors")
            path = save_weights(model, tmp_path / f"w.{ending}")
            again = load_weights(network(rng=9), path)
            np.testing.assert_array_equal(again(x), model(x))
            np.testing.assert_array_equal(again[1].running_var, model[1].running_var)


def test_the_loss_of_a_whole_network_in_training():
    model = network(np.float64)
    x, y = TestTraining.x[:4], TestTraining.y[:4]
    names = list(model.parameters)

    def f(x, *values):
        z = model.apply(dict(zip(names, values, strict=True)), x, TRAINING)
        return losses.cross_entropy(z, y)

    assert gradcheck(f, x, *seasoned(model).parameters.values()) < 1e-5
