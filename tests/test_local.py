"""What a few changed pixels reach, computed alone: the same to the last bit as the whole model."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minadv import inference, models
from minadv.attacks.local import LocalModel, rows_stand_alone
from minadv.attacks.one_pixel import one_pixel
from minadv.layers import (
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LeakyReLU,
    MaxPool,
    ReLU,
    Sequential,
)

module = importlib.import_module("minadv.attacks.local")
sides = st.tuples(st.integers(1, 4), st.integers(1, 4))


@pytest.fixture
def everywhere_exact(monkeypatch):
    """As if BLAS summed all rows alike: which layers are local then depends on shapes alone."""
    monkeypatch.setattr(module, "rows_stand_alone", lambda K, C, dtype: True)


@st.composite
def networks(draw):
    """``(model, image shape, dtype)``: windows of all kinds in front, everything in sight after."""
    dtype, rng = draw(st.sampled_from([np.float32, np.float64])), np.random.default_rng(0)
    shape = draw(st.tuples(st.integers(4, 18), st.integers(4, 18), st.integers(1, 3)))
    layers, channels = [], shape[2]
    for kind in draw(st.lists(st.sampled_from(["conv", "depthwise", "pool"]), min_size=1)):
        kernel, stride = draw(sides), draw(sides)
        padding = draw(st.sampled_from(["valid", "same", 1, (0, 2), ((1, 0), (2, 1))]))
        how = {"stride": stride, "padding": padding, "rng": rng, "dtype": dtype}
        if kind == "conv":
            count = draw(st.sampled_from([16, 32, 3]))
            layers.append(Conv2D(channels, count, kernel, **how))
            channels = count
            layers[-1].bias = rng.standard_normal(count).astype(dtype)
        elif kind == "depthwise":
            layers.append(DepthwiseConv2D(channels, kernel, **how))
        else:
            inside = "same" if draw(st.booleans()) else "valid"
            stride = draw(st.sampled_from([None, stride]))
            layers.append(MaxPool(kernel, stride=stride, padding=inside))
        layers += draw(st.sampled_from([[], [ReLU()], [LeakyReLU(0.1), Dropout(0.5)]]))
    try:
        size = Sequential(*layers, Flatten())(np.zeros((1, *shape), dtype)).shape[1]
    except ValueError:  # smaller than the kernel
        assume(False)
    end = draw(st.sampled_from([[Flatten(), Dense(size, 3, rng=rng, dtype=dtype)], None]))
    end = end or [GlobalAvgPool(), Dense(channels, 3, rng=rng, dtype=dtype)]
    return Sequential(*layers, *end), shape, dtype


def queries(shape, n, pixels, *, seed=0, dtype=np.float32):
    """Four images, and n times changed pixels: half of them at the borders, some in one place."""
    rng, (H, W, C) = np.random.default_rng(seed), shape
    x, owner = rng.random((4, *shape)).astype(dtype), np.sort(rng.integers(0, 4, n))
    row, column = (
        np.where(rng.random((n, pixels)) < 0.5, rng.integers(0, m, (n, pixels)), e)
        for m, e in ((H, rng.choice([0, H - 1], (n, pixels))), (W, rng.choice([0, W - 1])))
    )
    return x, owner, row, column, rng.random((n, pixels, C)).astype(dtype)


def painted(x, owner, row, column, value):
    images = x[owner]
    for image, rows, columns, values in zip(images, row, column, value, strict=True):
        for i, j, v in zip(rows, columns, values, strict=True):
            image[i, j] = v
    return images


@given(networks(), st.sampled_from([1, 2, 7, 300]), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_logits_are_the_whole_model_s_to_the_last_bit(network, n, pixels, seed):
    model, shape, dtype = network
    local = LocalModel.of(model, np.zeros((1, *shape), dtype), pixels)
    assume(local is not None)
    asked = queries(shape, n, pixels, seed=seed, dtype=dtype)
    whole = inference.logits(model, painted(*asked))
    found = local(*asked)
    assert found.dtype == whole.dtype
    assert found.tobytes() == whole.tobytes()


@pytest.mark.parametrize("pixels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [models.cnn, models.deep_cnn, models.separable_cnn])
def test_the_documents_models(make, dtype, pixels):
    shape = (28, 28, 1)
    model = make(shape, dtype=dtype)
    local = LocalModel.of(model, np.zeros((1, *shape), dtype), pixels)
    if local is None:
        pytest.skip("this BLAS sums rows in another order in each shape of product")
    asked = queries(shape, 700, pixels, dtype=dtype)
    assert local(*asked).tobytes() == inference.logits(model, painted(*asked)).tobytes()


def test_few_places_are_computed(everywhere_exact, monkeypatch):
    """One pixel reaches 3x3 of 28x28 places, then of 13x13, and then of 6x6."""
    windows, conv2d = [], importlib.import_module("minadv.layers.linear").conv2d

    def counting(x, w, *args, **how):
        y = conv2d(x, w, *args, **how)
        windows.append(y.shape[0] * y.shape[1] * y.shape[2])
        return y

    monkeypatch.setattr("minadv.layers.linear.conv2d", counting)
    local = LocalModel.of(models.cnn(), np.zeros((1, 28, 28, 1), np.float32), 1)
    asked = queries((28, 28, 1), 256, 1)
    local(*asked)
    assert windows[-6:] == [256 * 9, 4 * 28**2, 256 * 9, 4 * 13**2, 256 * 9, 4 * 6**2]


def test_layers_are_local_as_long_as_it_helps(everywhere_exact):
    image = np.zeros((1, 28, 28, 1), np.float32)
    for pixels, layers in ((1, 6), (3, 6), (4, 4), (15, 2)):
        assert len(LocalModel.of(models.cnn(), image, pixels).local) == layers
    assert LocalModel.of(models.cnn(), image, 80) is None
    assert LocalModel.of(models.mlp(), image, 1) is None


class Shifted(Conv2D):
    """Not the layer that it is derived from: the output depends on the place."""

    def apply(self, parameters, x, rng=None):
        y = super().apply(parameters, x, rng)
        return y + np.arange(y.shape[2], dtype=np.float32)[:, None]


class Squared(Sequential):
    def apply(self, parameters, x, rng=None):
        return super().apply(parameters, x, rng) ** 2


def test_what_is_not_known_is_computed_in_full(everywhere_exact):
    image = np.zeros((1, 9, 9, 1), np.float32)
    conv, end = Conv2D(1, 16), (Flatten(), Dense(49 * 16, 3))
    assert LocalModel.of(Sequential(conv, *end), image, 1) is not None
    assert LocalModel.of(Sequential(Shifted(1, 16), *end), image, 1) is None
    assert LocalModel.of(Squared(conv, *end), image, 1) is None
    assert LocalModel.of(lambda x: x, image, 1) is None
    assert LocalModel.of(Sequential(*end), image.reshape(1, 81), 1) is None


def test_on_a_gpu_all_is_computed(everywhere_exact, xp):
    """There the many small steps would cost more than they save."""
    local = LocalModel.of(models.cnn(), xp.asarray(np.zeros((1, 28, 28, 1), np.float32)), 1)
    assert (local is None) == (xp is not np)


def test_products_whose_rows_depend_on_each_other_are_left_alone(monkeypatch):
    monkeypatch.setattr(module, "rows_stand_alone", lambda K, C, dtype: K == 9)
    local = LocalModel.of(models.cnn(), np.zeros((1, 28, 28, 1), np.float32), 1)
    assert len(local.local) == 2  # the second convolution has K = 9 * 16


def test_a_product_is_tried_not_trusted(monkeypatch):
    """A product of 17 rows that is a bit off: then no box may be computed alone."""
    assert rows_stand_alone.__wrapped__(1, 16, np.dtype(np.float32))  # nothing to add up

    def moody(f, a, chunk):
        return f(a) * np.float32(1 + 2**-20 if len(a) == 17 else 1)

    monkeypatch.setattr(module, "map_chunks", moody)
    assert not rows_stand_alone.__wrapped__(1, 16, np.dtype(np.float32))


@pytest.mark.parametrize("pixels", [1, 3])
@pytest.mark.parametrize("goal", [{"y": None}, {"target": 3}], ids=["y", "target"])
def test_the_attack_is_the_same(pixels, goal, monkeypatch):
    x = np.random.default_rng(0).random((5, 12, 12, 2)).astype(np.float32)
    model = models.cnn((12, 12, 2), 5)
    goal = goal if "target" in goal else {"y": model(x).argmax(axis=1)}
    search = {"pixels": pixels, "population": 30, "generations": 8, **goal}
    local = one_pixel(model, x, **search)
    monkeypatch.setattr(LocalModel, "of", lambda *arguments: None)
    whole = one_pixel(model, x, **search)
    for field in ("x_adv", "label", "success", "steps", "queries"):
        assert getattr(local, field).tobytes() == getattr(whole, field).tobytes()


def test_a_wrong_image_is_refused_as_by_the_model():
    with pytest.raises(ValueError, match="x has 2 channels, but the kernel expects 1"):
        one_pixel(models.cnn(), np.zeros((1, 28, 28, 2), np.float32), y=0)
    with pytest.raises(ValueError, match="does not fit into images"):
        one_pixel(models.cnn(), np.zeros((1, 3, 3, 1), np.float32), y=0)
