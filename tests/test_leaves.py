"""The drawn leaves: the outline's area against its integral, edges against sharper drawings, and
illness as an isolated change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minadv.data.leaves import SPECIES, TREES, Dice, dots, draw, fall_ill, grow, lay_out, mix

NAMES = [kind.name for kind in SPECIES]


def each_species(times=1):
    return np.repeat(np.arange(len(SPECIES)), times)


def laid_out(species, size, seed=0):
    dice = Dice(np.random.default_rng(seed), len(species), size)
    return dice, lay_out(dice, species)


def block_means(field, blocks):
    n, size, _ = field.shape
    return field.reshape(n, blocks, size // blocks, blocks, size // blocks).mean(axis=(2, 4))


class TestOutline:
    def test_the_area_is_the_integral_of_the_half_width(self):
        """For leaves without a notch that lie inside the image: the area is twice the integral of
        w(s) ds, bent or not."""
        species = np.flatnonzero([kind.notch == 0 for kind in SPECIES]).repeat(30)
        dice, leaf = laid_out(species, 128)
        inside = (
            leaf.cover[:, [0, -1], :].sum(axis=(1, 2)) + leaf.cover[:, :, [0, -1]].sum(axis=(1, 2))
            == 0
        )
        assert inside.sum() > 30
        s = np.linspace(-1, 1, 2001, dtype=np.float32)
        integral = 2 * np.trapezoid(leaf.half_width(s[np.newaxis, np.newaxis]), s)[:, 0]
        area = leaf.cover.sum(axis=(1, 2)) * leaf.pixel[:, 0, 0] ** 2
        np.testing.assert_allclose(area[inside], integral[inside], rtol=0.03)

    def test_edges_are_smooth(self):
        """Coverage at 32 pixels is what averaging a sharper drawing of the same leaves gives;
        taking it or leaving it is not."""
        (_, coarse), (_, fine) = laid_out(each_species(8), 32), laid_out(each_species(8), 256)
        exact = block_means((fine.cover > 0.5).astype(np.float32), 32)
        smooth, hard = (
            np.abs(coarse.cover - exact).mean(),
            np.abs((coarse.cover > 0.5) - exact).mean(),
        )
        assert smooth < 0.5 * hard
        assert smooth < 0.01

    @pytest.mark.parametrize("size", [8, 9, 31, 64])
    def test_shares_are_shares(self, size):
        _, leaf = laid_out(each_species(3), size)
        for field in (leaf.cover, leaf.stem, leaf.rim, leaf.vein):
            assert field.dtype == np.float32
            assert field.shape == (3 * len(SPECIES), size, size)
            assert np.isfinite(field).all()
            assert field.min() >= 0
            assert field.max() <= 1
        assert (
            leaf.cover.reshape(len(leaf.cover), -1).max(axis=1) == 1
        ).all()  # each leaf is in the picture

    def test_kinds_differ_in_form(self):
        """The mean share of the image that is covered orders the species as their widths do."""
        _, leaf = laid_out(each_species(100), 16)
        area = dict(
            zip(
                NAMES,
                leaf.cover.mean(axis=(1, 2)).reshape(len(SPECIES), -1).mean(axis=1),
                strict=True,
            )
        )
        assert area["willow"] < area["laurel"] < area["beech"] < area["linden"]


class TestDots:
    def test_none_and_all(self):
        dice, leaf = laid_out(each_species(), 32)
        assert not dots(dice, leaf, most=4, radius=0.1, count=0).any()
        assert (dots(dice, leaf, most=4, radius=0.1).max(axis=(1, 2)) > 0.5).all()

    def test_one_dot_is_a_disc_of_its_radius(self):
        """Half opaque at r sqrt(1.1): the area of that disc, for radii drawn uniformly from 0.5 to
        1.3 times 0.2."""
        dice, leaf = laid_out(np.full(800, NAMES.index("linden")), 48)
        union = dots(dice, leaf, most=1, radius=0.2)
        area = (union > 0.5).sum(axis=(1, 2)) * leaf.pixel[:, 0, 0] ** 2
        expected = np.pi * 1.1 * 0.2**2 * (1.3**3 - 0.5**3) / (3 * 0.8)
        assert area.mean() == pytest.approx(expected, rel=0.05)

    def test_they_lie_on_the_leaf(self):
        dice, leaf = laid_out(each_species(20), 64)
        speck = dots(dice, leaf, most=5, radius=1e-6)  # a pixel each
        center = speck == 1
        assert center.sum() > 300
        assert (leaf.cover[center] > 0.9).mean() > 0.95


class TestIllness:
    def test_severity_zero_changes_nothing(self):
        dice, leaf = laid_out(each_species(4), 32)
        blade = grow(dice, leaf, each_species(4))
        ill = fall_ill(dice, leaf, blade, np.zeros((len(blade), 1, 1), np.float32))
        np.testing.assert_array_equal(ill, blade)

    def test_only_the_leaf_changes(self):
        species = each_species(16) % len(TREES)
        _, leaf = laid_out(species, 32)
        healthy, ill = (
            draw(species, np.full(len(species), severity), size=32, rng=np.random.default_rng(0))
            for severity in (0, 1)
        )
        changed = (healthy != ill).any(axis=-1)
        assert not changed[leaf.cover == 0].any()
        assert (changed.sum(axis=(1, 2)) >= 3).all()  # and every leaf shows something

    @pytest.mark.parametrize("most", [1.0, 0.2])
    def test_the_worse_the_more(self, most):
        species, steps = np.arange(200) % len(TREES), np.linspace(0, most, 5)
        pictures = [
            draw(species, np.full(200, severity), size=16, rng=np.random.default_rng(1))
            for severity in steps
        ]
        change = [np.abs(picture - pictures[0]).mean() for picture in pictures]
        assert change[0] == 0
        assert (np.diff(change) > 0).all()

    def test_ill_leaves_are_less_green(self):
        """Excess green, 2 g - r - b, on the leaf: the sign of it that a person would see."""
        species = np.arange(400) % len(TREES)
        _, leaf = laid_out(species, 16, seed=2)
        excess = []
        for severity in (0, 0.6):
            image = draw(species, np.full(400, severity), size=16, rng=np.random.default_rng(2))
            excess.append(
                ((2 * image[..., 1] - image[..., 0] - image[..., 2]) * leaf.cover).sum(axis=(1, 2))
            )
        assert (excess[1] < excess[0]).mean() > 0.95


class TestDraw:
    @given(st.integers(0, 2**32), st.integers(1, 9), st.integers(8, 24))
    def test_images_are_images(self, seed, count, size):
        rng = np.random.default_rng(seed)
        species, severity = rng.integers(len(SPECIES), size=count), rng.random(count)
        kept = species.copy(), severity.copy()
        image = draw(species, severity, size=size, rng=rng)
        assert image.shape == (count, size, size, 3)
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        np.testing.assert_array_equal((species, severity), kept)

    def test_no_two_are_alike(self):
        image = draw(np.zeros(50, int), np.zeros(50), size=8, rng=np.random.default_rng(0))
        assert len(np.unique(image.reshape(50, -1), axis=0)) == 50

    def test_patterned_species_differ_from_plain_ones_and_trees_are_plain(self):
        assert all(kind.pattern == "plain" for kind in TREES)
        for kind in range(len(SPECIES)):
            species = np.full(40, kind)
            dice, leaf = laid_out(species, 16)
            state = dice.rng.bit_generator.state
            blade = grow(dice, leaf, species)
            dice.rng.bit_generator.state = state
            plain = grow(dice, leaf, np.zeros(40, int))
            differs = (blade != plain).any(axis=(1, 2, 3))
            assert differs.all() if SPECIES[kind].pattern != "plain" else not differs.any()

    def test_noise_has_the_variance_one_everywhere(self):
        noise = Dice(np.random.default_rng(0), 20_000, 8).noise(5)
        np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.04)
        np.testing.assert_allclose(noise.var(axis=0), 1, atol=0.06)

    def test_mix(self):
        under, over = np.float32([[[1, 0, 0]]]), np.float32([[[0, 1, 0.5]]])
        np.testing.assert_array_equal(
            mix(under, over, np.float32([[0.25]])), np.float32([[[0.75, 0.25, 0.125]]])
        )


def test_pixels_alone_do_not_tell_health():
    """A linear classifier of the pixels stays well below what the task allows, so that a lesson's
    CNN has something to learn."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    ill = np.arange(1500) % 2
    species, severity = rng.integers(len(TREES), size=1500), ill * (1 - 0.8 * rng.random(1500) ** 2)
    x = draw(species, severity, size=12, rng=rng).reshape(1500, -1)
    model = linear_model.RidgeClassifier(alpha=30).fit(x[:1000], ill[:1000])
    assert 0.6 < model.score(x[1000:], ill[1000:]) < 0.9
