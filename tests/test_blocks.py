"""Large batches go block by block: the same result, in memory that does not grow with the batch."""

import tracemalloc
import warnings
from functools import partial

import numpy as np
import pytest

from minadv import fgsm, iterative_fgsm, models, pgd
from minadv.attacks import blocks
from minadv.layers import Dense, Flatten, Sequential

ATTACKS = {
    "fgsm": partial(fgsm, eps=0.1),
    "iterative_fgsm": partial(iterative_fgsm, eps=0.1, steps=3),
    "pgd": partial(pgd, eps=0.1, steps=3, restarts=2),
    "pgd of all steps": partial(pgd, eps=0.1, steps=3, early_stop=False),
    "pgd, l2": partial(pgd, eps=0.5, steps=3, norm="l2", early_stop=False),
}


@pytest.fixture
def small(monkeypatch):
    """Blocks of 32 images of 8x8."""
    monkeypatch.setattr(blocks, "VALUES_PER_BLOCK", 32 * 64)


def images(n: int):
    return np.random.default_rng(0).random((n, 8, 8, 1), dtype=np.float32)


class TestInBlocks:
    @pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 100])
    def test_rows_in_order(self, small, n):
        x, seen = images(n), []

        def f(x, k):
            seen.append(len(x))
            return 2 * x, k

        twice, k = blocks.in_blocks(f, x, np.arange(n))
        np.testing.assert_array_equal(twice, 2 * x)
        np.testing.assert_array_equal(k, np.arange(n))
        assert sum(seen) == n
        assert max(seen) <= 32

    def test_a_block_is_a_power_of_two(self, monkeypatch):  # so that chunks end where blocks do
        monkeypatch.setattr(blocks, "VALUES_PER_BLOCK", 50 * 64)
        seen = []
        blocks.in_blocks(lambda x: (seen.append(len(x)), x)[1:], images(70))
        assert seen == [32, 32, 6]

    def test_an_image_larger_than_a_block(self, monkeypatch):
        monkeypatch.setattr(blocks, "VALUES_PER_BLOCK", 10)
        (same,) = blocks.in_blocks(lambda x: (x,), images(3))
        np.testing.assert_array_equal(same, images(3))


@pytest.mark.parametrize("name", ATTACKS)
class TestAttacks:
    def test_the_same_as_at_once(self, monkeypatch, name):
        model, x, y = models.mlp((8, 8, 1), 3, hidden=8), images(100), np.arange(100) % 3
        model.layers[1].weight *= 8  # surer, so that some images take more steps than others
        whole = ATTACKS[name](model, x, y=y)
        monkeypatch.setattr(blocks, "VALUES_PER_BLOCK", 32 * 64)
        parts = ATTACKS[name](model, x, y=y)
        np.testing.assert_allclose(parts.x_adv, whole.x_adv, atol=1e-6)
        np.testing.assert_array_equal(parts.steps, whole.steps)
        np.testing.assert_array_equal(parts.success, whole.success)

    def test_memory(self, small, name):
        model, x = models.mlp((8, 8, 1), 3, hidden=8), images(8192)
        y = np.zeros(len(x), int)
        ATTACKS[name](model, x[:64], y=y[:64])
        tracemalloc.start()
        try:
            result = ATTACKS[name](model, x, y=y)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # the blocks' results, while they are joined; at once it would be four times that and more
        assert peak - result.x_adv.nbytes < 1.8 * x.nbytes

    def test_flat_images_are_counted_over_all_blocks(self, small, name):
        model = Sequential(Flatten(), Dense(64, 2))
        model.layers[1].weight[:] = 0
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            ATTACKS[name](model, images(40), y=np.zeros(40, int))
        assert any("exactly zero for 40 of 40 images" in str(w.message) for w in seen)
