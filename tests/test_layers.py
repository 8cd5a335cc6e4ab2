"""Layers: what each computes, its gradients, its arrays by name; and that an attack never pays for
the weights."""

import math

import numpy as np
import pytest

from minadv import conv, layers, losses, ops
from minadv.autograd import grad, gradcheck, raw, vjp
from minadv.backend import to_numpy
from minadv.layers import (
    AvgPool,
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    LeakyReLU,
    MaxPool,
    Normalize,
    ReLU,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
)
from minadv.models import cnn

# name: (how to make the layer, the shape of one example, the shape of its value)
TABLE = {
    "Dense": (lambda: Dense(6, 4), (6,), (4,)),
    "Conv2D": (lambda: Conv2D(2, 3, (3, 2), stride=(2, 1), padding="same"), (4, 4, 2), (2, 4, 3)),
    "ConvTranspose2D": (lambda: ConvTranspose2D(2, 3, 2, stride=2), (2, 3, 2), (4, 6, 3)),
    "DepthwiseConv2D": (lambda: DepthwiseConv2D(2, 3, padding="same"), (4, 3, 2), (4, 3, 2)),
    "ReLU": (ReLU, (5,), (5,)),
    "LeakyReLU": (lambda: LeakyReLU(0.2), (5,), (5,)),
    "Sigmoid": (Sigmoid, (2, 3), (2, 3)),
    "Tanh": (Tanh, (5,), (5,)),
    "MaxPool": (lambda: MaxPool(2), (4, 5, 2), (2, 2, 2)),
    "AvgPool": (lambda: AvgPool((2, 1), stride=1, padding="same"), (4, 3, 2), (4, 3, 2)),
    "GlobalAvgPool": (GlobalAvgPool, (3, 4, 2), (2,)),
    "BatchNorm": (lambda: BatchNorm(2), (3, 2, 2), (3, 2, 2)),
    "Residual": (
        lambda: Residual(
            Sequential(Conv2D(1, 2, stride=2, padding=1, bias=False), BatchNorm(2)),
            Sequential(Conv2D(1, 2, 1, stride=2, bias=False)),
        ),
        (4, 3, 1),
        (2, 2, 2),
    ),
    "Flatten": (Flatten, (2, 3, 2), (12,)),
    "Reshape": (lambda: Reshape(3, 2), (6,), (3, 2)),
    "Normalize": (lambda: Normalize([0.1, 0.5], [0.2, 0.3]), (3, 2, 2), (3, 2, 2)),
    "Dropout": (lambda: Dropout(0.4), (5,), (5,)),
    "Sequential": (
        lambda: Sequential(Conv2D(1, 2), Tanh(), Flatten(), Dense(8, 3)),
        (4, 4, 1),
        (3,),
    ),
}


def inputs(shape, count=3):
    """Numbers in (-1, 1), all different: away from kinks."""
    n = count * math.prod(shape)
    return (
        np.random.default_rng(0)
        .permutation((np.arange(n) + 0.4) / max(n, 1) * 2 - 1)
        .reshape(count, *shape)
    )


def randomized(layer, xp=np, dtype=np.float64):
    """The layer with new weights, biases that are not zero, and statistics of some training."""
    rng = np.random.default_rng(1)
    layer.arrays = {
        name: xp.asarray(
            rng.uniform(0.5, 2, p.shape) if name.endswith("var") else rng.normal(size=p.shape),
            dtype=dtype,
        )
        for name, p in layer.arrays.items()
    }
    return layer


def test_every_layer_is_in_the_table():
    assert set(TABLE) == set(layers.__all__) - {"Layer", "Composite"}


@pytest.mark.parametrize("name", TABLE)
class TestEachLayer:
    def test_shapes_and_gradients(self, name):
        make, shape, value_shape = TABLE[name]
        layer, x = randomized(make()), inputs(shape)
        value, pull = vjp(layer, x)
        assert value.shape == (3, *value_shape)
        np.testing.assert_array_equal(layer(x), value)
        names = list(layer.parameters)

        def f(x, *values):
            return layer.apply(dict(zip(names, values, strict=True)), x)

        assert gradcheck(f, x, *layer.parameters.values()) < 1e-6
        assert (
            gradcheck(lambda *values: f(x, *values), *layer.parameters.values()) < 1e-6
            if names
            else True
        )
        np.testing.assert_array_equal(pull(value), pull(value))

    def test_float32_on_every_backend_also_for_an_empty_batch(self, name, xp):
        make, shape, value_shape = TABLE[name]
        reference = randomized(make())
        layer = randomized(make(), xp, xp.float32)
        assert all(
            isinstance(p, xp.ndarray) for p in make().parameters.values()
        )  # where new weights are made
        for count in (0, 3):
            x = inputs(shape, count)
            value, pull = vjp(layer, xp.asarray(x, dtype=xp.float32))
            gradient = pull(xp.ones_like(value))
            assert value.shape == (count, *value_shape)
            assert value.dtype == gradient.dtype == np.float32
            assert isinstance(gradient, xp.ndarray)
            expected, expected_pull = vjp(reference, x)
            np.testing.assert_allclose(to_numpy(value), expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(
                to_numpy(gradient), expected_pull(np.ones_like(expected)), rtol=1e-4, atol=1e-5
            )

    def test_nothing_given_is_changed(self, name):
        make, shape, _ = TABLE[name]
        layer, x = randomized(make()), inputs(shape)
        for array in (x, *layer.parameters.values()):
            array.flags.writeable = False
        value, pull = vjp(layer, x)
        pull(value)
        layer.apply(layer.parameters, x, np.random.default_rng(0))

    def test_each_example_alone(self, name):
        make, shape, _ = TABLE[name]
        layer, x = randomized(make()), inputs(shape)
        for n in range(3):
            np.testing.assert_allclose(layer(x[n : n + 1])[0], layer(x)[n], rtol=1e-12, atol=1e-13)

    def test_its_name_is_in_its_repr(self, name):
        assert repr(TABLE[name][0]()).startswith(name)


class TestValues:
    def test_dense(self):
        layer = Dense(2, 3, dtype=np.float64)
        layer.weight, layer.bias = np.arange(6.0).reshape(2, 3), np.array([10.0, 20, 30])
        assert layer(np.array([[1.0, 2]])).tolist() == [[16, 29, 42]]
        assert repr(layer) == "Dense(weight (2, 3), bias (3,))"

    def test_layers_are_their_operations(self):
        x = inputs((4, 4, 2))
        for layer, f in [
            (ReLU(), ops.relu),
            (LeakyReLU(), lambda x: ops.leaky_relu(x, 0.01)),
            (LeakyReLU(0.3), lambda x: ops.leaky_relu(x, 0.3)),
            (Sigmoid(), ops.sigmoid),
            (Tanh(), ops.tanh),
            (MaxPool(), lambda x: conv.max_pool2d(x, 2)),
            (
                MaxPool(3, stride=1, padding="same"),
                lambda x: conv.max_pool2d(x, 3, stride=1, padding="same"),
            ),
            (AvgPool(), lambda x: conv.avg_pool2d(x, 2)),
            (AvgPool(3, stride=2, padding=1), lambda x: conv.avg_pool2d(x, 3, stride=2, padding=1)),
            (GlobalAvgPool(), lambda x: x.mean(axis=(1, 2))),
            (Flatten(), lambda x: x.reshape(3, 32)),
            (Reshape(8, 4), lambda x: x.reshape(3, 8, 4)),
            (Normalize([0, 1], [2, 4]), lambda x: (x - [0, 1]) / [2, 4]),
            (Normalize(0.5, 0.5), lambda x: 2 * x - 1),
        ]:
            np.testing.assert_allclose(layer(x), f(x), rtol=1e-14, err_msg=repr(layer))

    def test_convolutions_pass_on_stride_padding_and_bias(self):
        x = inputs((4, 5, 2))
        for make, f in [(Conv2D, conv.conv2d), (ConvTranspose2D, conv.conv2d_transpose)]:
            layer = randomized(make(2, 3, (2, 3), stride=2, padding="same"))
            np.testing.assert_array_equal(
                layer(x), f(x, layer.weight, layer.bias, stride=2, padding="same")
            )
        layer = randomized(DepthwiseConv2D(2, (2, 3), stride=2, padding="same"))
        np.testing.assert_array_equal(
            layer(x), conv.depthwise_conv2d(x, layer.weight, layer.bias, stride=2, padding="same")
        )

    def test_weight_shapes(self):
        shapes = {
            Dense(5, 7): (5, 7),
            Conv2D(2, 7, (3, 4)): (3, 4, 2, 7),
            ConvTranspose2D(2, 7, (3, 4)): (3, 4, 7, 2),
            DepthwiseConv2D(5, (3, 4)): (3, 4, 5),
        }
        for layer, shape in shapes.items():
            assert layer.weight.shape == shape
            assert layer.weight.dtype == layer.bias.dtype == np.float32
            assert not layer.bias.any()


class TestInitialization:
    @pytest.mark.parametrize(
        ("make", "fan_in", "fan_out"),
        [
            (lambda **k: Dense(300, 100, **k), 300, 100),
            (lambda **k: Conv2D(40, 60, (5, 3), **k), 40 * 15, 60 * 15),
            (lambda **k: ConvTranspose2D(40, 60, (5, 3), **k), 40 * 15, 60 * 15),
        ],
    )
    def test_glorot_and_he(self, make, fan_in, fan_out):
        w = make(dtype=np.float64).weight
        limit = math.sqrt(6 / (fan_in + fan_out))
        assert np.abs(w).max() <= limit
        assert np.abs(w).max() > 0.999 * limit
        assert w.var() == pytest.approx(limit**2 / 3, rel=0.03)
        assert abs(w.mean()) < 5 * limit / math.sqrt(3 * w.size)
        w = make(init="he", dtype=np.float64).weight
        assert w.std() == pytest.approx(math.sqrt(2 / fan_in), rel=0.03)
        kurtosis = ((w - w.mean()) ** 4).mean() / w.var() ** 2
        assert kurtosis == pytest.approx(3, rel=0.1)  # normal, not uniform (1.8)

    def test_a_seed_and_its_generator_give_the_same_and_a_generator_goes_on(self):
        one = Dense(4, 3, rng=7).weight
        np.testing.assert_array_equal(one, Dense(4, 3, rng=np.random.default_rng(7)).weight)
        assert (one != Dense(4, 3, rng=8).weight).any()
        rng = np.random.default_rng(7)
        assert (Dense(4, 3, rng=rng).weight != Dense(4, 3, rng=rng).weight).any()

    def test_the_same_numbers_on_every_backend_and_in_both_dtypes(self, xp):
        made = Conv2D(2, 3, rng=5).weight
        assert isinstance(made, xp.ndarray)
        wide = to_numpy(Conv2D(2, 3, rng=5, dtype=np.float64).weight)
        np.testing.assert_array_equal(to_numpy(made), wide.astype(np.float32))

    def test_unknown(self):
        with pytest.raises(ValueError, match="init must be 'glorot' or 'he', got 'xavier'"):
            Dense(2, 2, init="xavier")


class TestDropout:
    x = np.ones((50, 1000), np.float32)

    def test_off_unless_training(self):
        assert Dropout(0.5)(self.x) is self.x
        model = Sequential(Dropout(0.9), Dense(1000, 2))
        np.testing.assert_array_equal(model(self.x), model[1](self.x))
        np.testing.assert_array_equal(grad(lambda x: Dropout(0.9)(x).sum(), self.x), self.x)

    @pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
    def test_zeroes_a_share_and_keeps_the_expectation(self, p):
        y, pull = vjp(lambda x: Dropout(p).apply({}, x, np.random.default_rng(0)), self.x)
        assert y.dtype == np.float32
        deviation = math.sqrt(p * (1 - p) / self.x.size)
        assert (y == 0).mean() == pytest.approx(p, abs=5 * deviation)
        assert y.mean() == pytest.approx(1, abs=5 * deviation / (1 - p))
        np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-6)
        np.testing.assert_array_equal(
            pull(self.x), y
        )  # the same numbers are dropped on the way back

    def test_draws_from_the_generator_given(self):
        one, same, other = (
            Dropout(0.5).apply({}, self.x, np.random.default_rng(seed)) for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()
        rng = np.random.default_rng(1)
        model = Sequential(Dropout(0.5), Dropout(0.5))
        y = model.apply({}, self.x, rng)  # two layers, two draws
        assert (y == 0).mean() == pytest.approx(0.75, abs=0.02)

    def test_zero_is_the_identity_and_draws_nothing(self):
        rng = np.random.default_rng(1)
        assert Dropout(0).apply({}, self.x, rng) is self.x
        assert rng.random() == np.random.default_rng(1).random()

    def test_the_same_on_every_backend(self, xp):
        y = Dropout(0.5).apply({}, xp.asarray(self.x), np.random.default_rng(3))
        np.testing.assert_array_equal(
            to_numpy(y), Dropout(0.5).apply({}, self.x, np.random.default_rng(3))
        )

    @pytest.mark.parametrize("p", [1, -0.1, 2, np.nan])
    def test_other_shares(self, p):
        with pytest.raises(ValueError, match=r"p must be (>= 0|< 1|finite), got"):
            Dropout(p)


class TestSequential:
    def model(self):
        return Sequential(Conv2D(1, 2), ReLU(), Sequential(Flatten(), Dense(8, 3)), Dense(3, 2))

    def test_it_is_its_layers_in_a_row(self):
        model, x = self.model(), inputs((4, 4, 1))
        y = x
        for layer in model:
            y = layer(y)
        np.testing.assert_array_equal(model(x), y)
        assert len(model) == 4
        np.testing.assert_array_equal(Sequential()(x), x)

    def test_indexing_shares_the_arrays(self):
        model = self.model()
        assert isinstance(model[0], Conv2D)
        assert isinstance(model[-1], Dense)
        assert len(model[1:]) == 3
        assert model[:2].parameters["0.weight"] is model[0].weight
        with pytest.raises(IndexError):
            model[4]

    def test_names(self):
        model = self.model()
        assert list(model.parameters) == [
            "0.weight",
            "0.bias",
            "2.1.weight",
            "2.1.bias",
            "3.weight",
            "3.bias",
        ]
        assert model.parameters["2.1.weight"] is model[2][1].weight

    def test_apply_uses_what_it_is_given_and_not_its_own(self):
        model, x = self.model(), inputs((4, 4, 1))
        other = randomized(self.model(), dtype=np.float32).parameters
        y = model.apply(other, x)
        before = {name: p.copy() for name, p in model.parameters.items()}
        assert np.abs(y - model(x)).max() > 0.1
        for name, p in model.parameters.items():
            np.testing.assert_array_equal(p, before[name])
        model.parameters = other
        np.testing.assert_array_equal(model(x), y)
        assert model[2][1].weight is other["2.1.weight"]

    def test_activations(self):
        model, x = self.model(), inputs((4, 4, 1))
        for i, activation in enumerate(model.activations(x)):
            np.testing.assert_array_equal(activation, model[: i + 1](x))

    def test_activation_bytes_are_those_of_one_example(self):
        model = Sequential(Flatten(), Dense(4, 8), ReLU())
        assert model.activation_bytes((2, 2, 1), np.float32) == 4 * (4 + 8 + 8)
        assert model.activation_bytes((2, 2, 1), np.float32) == sum(
            a.nbytes for a in model.activations(np.zeros((1, 2, 2, 1), np.float32))
        )

    def test_repr_shows_every_layer(self):
        shown = repr(Sequential(Dense(2, 3), ReLU()))
        assert shown == "Sequential(\n  0: Dense(weight (2, 3), bias (3,))\n  1: ReLU()\n)"

    def test_repr_of_layers_in_layers_is_indented(self):
        shown = repr(Sequential(Residual(Sequential(ReLU()))))
        assert shown.splitlines() == [
            "Sequential(",
            "  0: Residual(",
            "    branch: Sequential(",
            "      0: ReLU()",
            "    )",
            "    shortcut: Sequential()",
            "  )",
            ")",
        ]

    def test_parameters_that_do_not_fit_are_all_named_and_none_is_set(self):
        model = self.model()
        before = model.parameters
        wrong = {**before, "3.weight": np.ones((3, 4)), "9.weight": np.ones(1)}
        del wrong["0.bias"]
        with pytest.raises(ValueError, match="do not fit the model") as caught:
            model.parameters = wrong
        for part in (
            "0.bias is missing",
            "9.weight is unknown",
            "3.weight has shape (3, 4), expected (3, 2)",
        ):
            assert part in str(caught.value)
        for name, p in model.parameters.items():
            assert p is before[name]


class TestNothingUnasked:
    """A rule runs for what is differentiated, and for nothing else."""

    @pytest.fixture
    def runs(self, monkeypatch):
        """Each rule that runs, as the plain value of the parent it runs for."""
        runs = []

        def counting(record):
            def spied(value, *edges):
                def counted(parent, rule):
                    return parent, lambda g: runs.append(raw(parent)) or rule(g)

                return record(value, *(counted(*edge) for edge in edges))

            return spied

        for module in (ops, conv, losses):
            monkeypatch.setattr(module, "record", counting(module.record))
        return runs

    def models(self):
        yield cnn((8, 8, 1), rng=0)
        yield Sequential(
            ConvTranspose2D(1, 2),
            DepthwiseConv2D(2),
            Normalize(0.5, 0.5),
            Dropout(),
            Flatten(),
            Dense(128, 4),
        )

    def test_no_weight_gradient_during_an_input_gradient(self, runs):
        x, y = inputs((8, 8, 1)).astype(np.float32), np.array([0, 1, 2])
        for model in self.models():
            runs.clear()
            grad(lambda x: losses.cross_entropy(model(x), y).sum(), x)  # noqa: B023
            owned = [p for p in model.parameters.values() if any(value is p for value in runs)]
            assert owned == []
            assert sum(value is x for value in runs) == 1
            assert len(runs) >= len(model.layers)

    def test_no_image_gradient_of_the_first_layer_while_training(self, runs):
        x, y = inputs((8, 8, 1)).astype(np.float32), np.array([0, 1, 2])
        for model in self.models():
            runs.clear()
            names, values = zip(*model.parameters.items(), strict=True)
            grad(
                lambda *p, model=model, names=names: losses.cross_entropy(
                    model.apply(dict(zip(names, p, strict=True)), x), y
                ).sum(),
                *values,
            )  # noqa: B023
            assert not any(value is x for value in runs)
            for p in values:
                assert sum(value is p for value in runs) == 1

    def test_by_name_in_the_convolution(self, monkeypatch):
        calls = []
        for name in ("_weight_gradient", "channel_sum"):
            monkeypatch.setattr(conv, name, lambda *_, name=name, **__: calls.append(name))
        grad(lambda x: cnn((8, 8, 1))(x).sum(), inputs((8, 8, 1)).astype(np.float32))
        assert calls == []

    def test_a_layer_in_the_middle_may_be_differentiated_alone(self, runs):
        model, x = cnn((8, 8, 1)), inputs((8, 8, 1)).astype(np.float32)
        w = model[2].weight
        grad(lambda w: model.apply({**model.parameters, "2.weight": w}, x).sum(), w)
        assert sum(value is w for value in runs) == 1
        assert not any(
            value is p for value in runs for p in model.parameters.values() if p is not w
        )


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (
            lambda: Dense(3, 2)(np.ones((2, 3, 1))),
            ValueError,
            r"Dense expects \(N, 3\), got \(2, 3, 1\): is a Flatten missing\?",
        ),
        (lambda: Dense(3, 2)(np.ones((2, 4))), ValueError, r"Dense expects \(N, 3\), got \(2, 4\)"),
        (lambda: Dense(3, 2)(np.ones(3)), ValueError, r"Dense expects \(N, 3\), got \(3,\)"),
        (
            lambda: Conv2D(3, 2)(np.ones((1, 4, 4, 1))),
            ValueError,
            "x has 1 channels, but the kernel expects 3",
        ),
        (lambda: Reshape(-1, 2), ValueError, "shape must be >= 1, got -1"),
        (lambda: Reshape((2, 3)), TypeError, "shape must be an integer"),
        (lambda: Normalize(0, 0), ValueError, "std finite and > 0, got 0 and 0"),
        (lambda: Normalize(np.nan, 1), ValueError, "mean must be finite"),
        (lambda: Normalize(0.5, [1, -1]), ValueError, "std finite and > 0"),
        (
            lambda: Normalize(0.5, 0.5)(np.ones((1, 2), np.uint8)),
            TypeError,
            "floating-point images, got uint8",
        ),
        (lambda: Layer()(np.ones(1)), NotImplementedError, "Layer does not say what it computes"),
    ],
)
def test_wrong_arguments(f, error, message):
    with pytest.raises(error, match=message):
        f()


def test_against_torch():
    torch = pytest.importorskip("torch")
    x = inputs((9, 8, 2))
    model = randomized(
        Sequential(
            Normalize([0.1, 0.2], [0.5, 2]),
            Conv2D(2, 4, 3, stride=2, padding=1),
            LeakyReLU(0.1),
            MaxPool(2),
            ConvTranspose2D(4, 3, 2, stride=2),
            Tanh(),
            AvgPool(2),
            Flatten(),
            Dense(12, 5),
            Sigmoid(),
        )
    )
    p = {name: torch.tensor(value, requires_grad=True) for name, value in model.parameters.items()}
    images, f = torch.tensor(x, requires_grad=True), torch.nn.functional
    mean, std = torch.tensor([[0.1, 0.2], [0.5, 2]], dtype=torch.float64)
    z = ((images - mean) / std).permute(0, 3, 1, 2)
    z = f.conv2d(z, p["1.weight"].permute(3, 2, 0, 1), p["1.bias"], stride=2, padding=1)
    z = f.max_pool2d(f.leaky_relu(z, 0.1), 2)
    z = f.conv_transpose2d(z, p["4.weight"].permute(3, 2, 0, 1), p["4.bias"], stride=2)
    z = f.avg_pool2d(torch.tanh(z), 2).permute(0, 2, 3, 1).reshape(3, 12)
    z = torch.sigmoid(z @ p["8.weight"] + p["8.bias"])

    names = list(model.parameters)
    value, pull = vjp(
        lambda x, *w: model.apply(dict(zip(names, w, strict=True)), x),
        x,
        *model.parameters.values(),
    )
    np.testing.assert_allclose(value, z.detach().numpy(), atol=1e-13)
    g = np.random.default_rng(0).normal(size=value.shape)
    z.backward(torch.tensor(g))
    for mine, theirs in zip(pull(g), (images, *p.values()), strict=True):
        np.testing.assert_allclose(mine, theirs.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dense(4, 4),
        lambda: Conv2D(2, 2),
        lambda: ConvTranspose2D(2, 2),
        lambda: DepthwiseConv2D(4),
    ],
)
def test_layers_without_rng_start_apart(make):
    weights = [make().weight for _ in range(3)]
    assert not np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[1], weights[2])


def test_integers_of_numpy_are_integers():
    layer = Conv2D(np.int64(1), np.int32(2), np.int64(3), stride=np.int64(2), rng=np.int64(0))
    x = np.ones((1, 7, 7, 1), np.float32)
    assert np.array_equal(layer(x), Conv2D(1, 2, 3, stride=2, rng=0)(x))
    assert MaxPool(np.int64(2))(x).shape == (1, 3, 3, 1)
    assert Reshape(np.int64(49))(x).shape == (1, 49)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Dense(2, 2, dtype=int),
            TypeError,
            "dtype must be a floating-point one, got int64",
        ),
        (lambda: Dense(2, 2.0), TypeError, "d_out must be an integer, got 2.0"),
        (lambda: Conv2D(1, 1, stride=0), ValueError, "stride must be an integer or two, each >= 1"),
        (lambda: Sequential([ReLU()]), TypeError, r"write Sequential\(\*layers\)"),
        (
            lambda: Sequential(Flatten),
            TypeError,
            r"must be a Layer object, .* write Flatten\(...\)",
        ),
    ],
)
def test_mistakes_are_named_at_once(make, error, message):
    with pytest.raises(error, match=message):
        make()
