"""What changes inside a network: against loops over layers, kernels and examples."""

from __future__ import annotations

import numpy as np
import pytest

from minadv.activations import activation_maps, relative_change
from minadv.backend import to_numpy
from minadv.layers import Conv2D, Flatten, ReLU, Sequential
from minadv.models import cnn


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    x = rng.random((5, 9, 8, 2), dtype=np.float32)
    return x, np.clip(x + rng.normal(0, 0.1, x.shape).astype(np.float32), 0, 1)


def test_activation_maps_are_the_largest_change_over_kernels(xp, pair):
    model = cnn((9, 8, 2), rng=0)
    x, x_adv = map(xp.asarray, pair)
    for layer in (0, 1, 2, 4, -3):
        maps = to_numpy(activation_maps(model, x, x_adv, layer=layer))
        a, b = (to_numpy(model.activations(images)[layer]) for images in (x, x_adv))
        expected = np.array(
            [
                [
                    [max(abs(b[n, i, j] - a[n, i, j])) for j in range(a.shape[2])]
                    for i in range(a.shape[1])
                ]
                for n in range(5)
            ]
        )
        np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_relative_change_is_per_example_and_layer(xp, pair):
    model = cnn((9, 8, 2), rng=0)
    x, x_adv = map(xp.asarray, pair)
    measured = to_numpy(relative_change(model, x, x_adv))
    before, after = (
        [to_numpy(a) for a in [images, *model.activations(images)]] for images in (x, x_adv)
    )
    for n in range(5):
        expected = [
            np.linalg.norm((b[n] - a[n]).ravel()) / np.linalg.norm(a[n].ravel())
            for a, b in zip(before, after, strict=True)
        ]
        np.testing.assert_allclose(measured[n], expected, rtol=1e-4)


def test_nothing_changes_is_zero_also_for_dead_layers(pair):
    x = pair[0]
    dead = Sequential(Conv2D(2, 3), ReLU())
    dead[0].bias = np.full(3, -100, np.float32)
    assert (relative_change(dead, x, x) == 0).all()
    dead[0].weight = np.ones_like(dead[0].weight) * 50
    woken = relative_change(dead, np.zeros_like(x), np.ones_like(x))
    assert np.isinf(woken[:, -1]).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: activation_maps(lambda x: x, x, x, layer=0),
            TypeError,
            "model must be a Sequential",
        ),
        (
            lambda x: activation_maps(Sequential(Flatten()), x, x, layer=0),
            ValueError,
            "layer must be one whose output is images",
        ),
        (
            lambda x: activation_maps(Sequential(ReLU()), x, x, layer=3),
            ValueError,
            "layer must be <=",
        ),
        (lambda x: relative_change(Sequential(ReLU()), x, x[:2]), ValueError, "one shape"),
    ],
)
def test_bad_input(pair, call, error, message):
    with pytest.raises(error, match=message):
        call(pair[0])
