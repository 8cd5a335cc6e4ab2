"""Photographs of leaves, drawn: healthy ones, and ones with spots, scorched edges and yellow
patches.

A leaf has coordinates of its own: s along the midrib, from the base (-1) to the tip (1), and t
across it. In them the outline is the curve f(s, t) = 0 of a function that is positive inside, veins
are lines and spots are discs. Edges are smooth: to first order ``f / |grad f|`` is the distance to
the outline in pixels, and it says what share of a pixel the leaf covers.

A batch is computed at once. Numbers that belong to an image have the shape (N, 1, 1), its colors
(N, 1, 1, 3), and what varies from pixel to pixel (N, H, W), so that they all broadcast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["SPECIES", "TREES", "draw"]


class Species(NamedTuple):
    """The looks of one kind of leaf; lengths in units of half the leaf's length."""

    name: str
    width: float  # half the leaf's width
    sharpness: float  # of both ends: 0.5 is round
    belly: float  # > 0: widest below the middle, < 0: above
    lobes: float  # along each side
    depth: float  # of the lobes, share of the width
    notch: float  # at the base
    veins: float  # on each side
    pattern: str = "plain"  # grown on it in another color, and no illness


TREES = (
    Species("willow", 0.34, 0.80, 0.10, 0.0, 0.00, 0.00, 10),
    Species("beech", 0.62, 0.80, 0.00, 0.0, 0.00, 0.00, 8),
    Species("oak", 0.62, 0.50, -0.30, 3.5, 0.30, 0.00, 6),
    Species("linden", 0.72, 0.55, 0.55, 0.0, 0.00, 0.25, 5),
)
SPECIES = TREES + (
    Species("laurel", 0.52, 0.75, 0.00, 0.0, 0.00, 0.00, 6, "specks"),
    Species("hosta", 0.66, 0.70, 0.35, 0.0, 0.00, 0.10, 8, "margin"),
    Species("croton", 0.56, 0.60, 0.00, 0.0, 0.00, 0.00, 6, "patches"),
    Species("coleus", 0.58, 0.65, 0.25, 8.0, 0.10, 0.00, 6, "center"),
)

# Palettes: rows of red, green, blue
GREENS = np.float32(
    [(0.14, 0.38, 0.10), (0.36, 0.60, 0.16), (0.20, 0.50, 0.14), (0.16, 0.44, 0.24)]
)
YELLOWS = np.float32([(0.80, 0.72, 0.20), (0.70, 0.66, 0.30), (0.78, 0.60, 0.16)])
BROWNS = np.float32([(0.36, 0.22, 0.08), (0.22, 0.13, 0.07), (0.52, 0.36, 0.12)])
PATTERNS = np.float32(
    [
        (0.90, 0.88, 0.66),
        (0.84, 0.76, 0.24),
        (0.46, 0.10, 0.16),
        (0.30, 0.16, 0.10),
        (0.80, 0.45, 0.50),
    ]
)
WATER = np.float32([(0.95, 0.97, 1.00)])
BACKGROUNDS = np.float32(  # the two colors between which each one's texture varies
    [
        [(0.22, 0.15, 0.10), (0.52, 0.40, 0.28)],  # soil
        [(0.35, 0.58, 0.88), (0.90, 0.94, 0.98)],  # sky
        [(0.60, 0.56, 0.50), (0.80, 0.77, 0.72)],  # cloth
        [(0.10, 0.18, 0.08), (0.36, 0.46, 0.22)],  # undergrowth
    ]
)
CLOTH = 2  # its row; cloth is dyed in all colors


def draw(
    species: np.ndarray, severity: np.ndarray, *, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Images ``(N, size, size, 3)``, float32 in [0, 1], of one leaf each.

    ``species``: ``(N,)``, indices into :data:`SPECIES`. ``severity``: ``(N,)``, how ill each leaf
    is, from 0 (healthy) to 1. From the same state of ``rng`` come the same leaves on the same
    backgrounds, whatever their severity.
    """
    dice = Dice(rng, len(species), size)
    leaf = lay_out(dice, species)
    blade = grow(dice, leaf, species)
    blade = fall_ill(dice, leaf, blade, np.float32(severity)[:, np.newaxis, np.newaxis])
    blade = mix(
        blade,
        dice.color(WATER),
        dice.chance(0.3) * dice.uniform(0.3, 0.8) * dots(dice, leaf, most=3, radius=0.05),
    )

    image = background(dice)
    image = mix(image, dice.color(GREENS), leaf.stem)
    image = mix(image, blade, leaf.cover)
    return light(dice, image)


class Dice:
    """The random numbers of a batch of images."""

    def __init__(self, rng: np.random.Generator, count: int, size: int):
        self.rng, self.count, self.size = rng, count, size
        centers = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
        self.x, self.y = (
            centers[np.newaxis, np.newaxis, :],
            centers[np.newaxis, :, np.newaxis],
        )  # the image is [-1, 1] x [-1, 1]

    def uniform(self, low: float, high: float) -> np.ndarray:
        return self.rng.uniform(low, high, (self.count, 1, 1)).astype(np.float32)

    def chance(self, probability: float) -> np.ndarray:
        return self.uniform(0, 1) < probability

    def color(self, palette: np.ndarray) -> np.ndarray:
        """One color per image, mixed from a palette, mostly from one or two of its rows."""
        shares = self.rng.dirichlet(np.full(len(palette), 0.5), self.count)
        return np.float32(shares @ palette + self.rng.normal(0, 0.04, (self.count, 3)))[
            :, np.newaxis, np.newaxis
        ]

    def noise(self, cells: int) -> np.ndarray:
        """A smooth field with the variance 1 everywhere: ``cells`` x ``cells`` normal numbers,
        blurred."""
        grid = self.rng.standard_normal((self.count, cells, cells), dtype=np.float32)
        pixels, centers = (np.arange(n, dtype=np.float32) + 0.5 for n in (self.size, cells))
        blur = np.exp(
            -((pixels[:, np.newaxis] * (cells / self.size) - centers) ** 2)
        )  # (size, cells)
        blur /= np.linalg.norm(blur, axis=1, keepdims=True)
        return blur @ grid @ blur.T

    def direction(self) -> np.ndarray:
        """A coordinate, from -1 to 1 or a little further, along a random direction."""
        angle = self.uniform(0, 2 * np.pi)
        return np.cos(angle) * self.x + np.sin(angle) * self.y


class Leaf(NamedTuple):
    """Where the parts of the leaves are."""

    s: np.ndarray  # along the midrib
    t: np.ndarray  # across
    half_width: Callable[[np.ndarray], np.ndarray]  # of s
    pixel: np.ndarray  # the size of a pixel in these units
    cover: np.ndarray  # share of the pixel inside the outline
    stem: np.ndarray
    rim: np.ndarray  # from 0 on the midrib to 1 on the edge
    vein: np.ndarray  # 1 on the midrib, less on side veins, 0 between


def lay_out(dice: Dice, species: np.ndarray) -> Leaf:
    """Outline the leaves, then scale, turn, shift and bend them."""
    table = np.float32([kind[1:8] for kind in SPECIES])[species].T[..., np.newaxis, np.newaxis]
    width, sharpness, belly, lobes, depth, notch, veins = table  # (N, 1, 1) each
    width, phase = width * dice.uniform(0.85, 1.15), dice.uniform(-0.5, 0.5)

    def half_width(s):
        plain = np.clip(1 - s * s, 0, None) ** sharpness * np.exp(-belly * s)
        return width * plain * (1 + depth * np.cos(np.pi * lobes * s + phase))

    angle, length, bend = (
        dice.uniform(0, 2 * np.pi),
        dice.uniform(0.85, 1.1),
        dice.uniform(-0.2, 0.2),
    )
    dx, dy = (
        (dice.x + dice.uniform(-0.08, 0.08)) / length,
        (dice.y + dice.uniform(-0.08, 0.08)) / length,
    )
    s = np.cos(angle) * dx + np.sin(angle) * dy
    t = np.cos(angle) * dy - np.sin(angle) * dx + bend * (s * s - 0.3)
    off, pixel = np.abs(t), 2 / dice.size / length

    edge = half_width(s)
    f = np.minimum(
        edge - off, off + 1.2 * (s + 1 - notch)
    )  # within the edge, and outside of the notch
    slope_y, slope_x = np.gradient(f, axis=(1, 2))  # per pixel
    cover = np.clip(0.5 + f / np.sqrt(slope_x**2 + slope_y**2 + 1e-12), 0, 1)
    stem = np.clip(1.5 - off / pixel, 0, 1) * (s < notch - 0.9) * (s > -1.3)

    midrib = np.clip(1.3 - off / (0.9 * pixel), 0, 1)
    row = (s - 0.7 * off) * veins / 2  # whole numbers on side veins, which point forward
    side_veins = np.clip(1 - 4.4 * np.abs(row - np.round(row)), 0, 1)
    return Leaf(
        s,
        t,
        half_width,
        pixel,
        cover,
        stem,
        rim=np.clip(off / np.maximum(edge, 1e-3), 0, 1),
        vein=np.maximum(midrib, 0.6 * side_veins),
    )


def dots(dice: Dice, leaf: Leaf, *, most: int, radius, count=np.inf) -> np.ndarray:
    """Discs of about ``radius`` on the leaf, the first ``count`` (default all) of the ``most`` that
    are drawn: 1 inside, 0 outside."""
    union = np.zeros_like(leaf.s)
    for k in range(most):
        s_k = dice.uniform(-0.7, 0.7)
        t_k = dice.uniform(-0.8, 0.8) * leaf.half_width(s_k)
        r_k = np.maximum(radius * dice.uniform(0.5, 1.3), 0.8 * leaf.pixel)
        disc = np.clip(1.6 - ((leaf.s - s_k) ** 2 + (leaf.t - t_k) ** 2) / r_k**2, 0, 1)
        union = np.maximum(union, disc * (k < count))
    return union


def grow(dice: Dice, leaf: Leaf, species: np.ndarray) -> np.ndarray:
    """The healthy blade ``(N, H, W, 3)``: green, veined, one half a little brighter than the other,
    with its species' pattern."""
    veined = 1 + dice.uniform(0.1, 0.5) * leaf.vein
    folded = 1 + dice.uniform(-0.15, 0.15) * np.clip(8 * leaf.t, -1, 1)
    blade = dice.color(GREENS) * (veined * folded * (1 + 0.08 * dice.noise(6)))[..., np.newaxis]

    extent = dice.uniform(0.3, 1)
    patterns = {
        "plain": np.zeros_like(leaf.s),
        "specks": dots(dice, leaf, most=8, radius=0.03 + 0.1 * extent),
        "margin": np.clip(6 * (leaf.rim - 0.85 + 0.25 * extent), 0, 1),
        "patches": np.clip(2 * dice.noise(5) + extent, 0, 1),
        "center": np.clip(6 * (0.3 + 0.3 * extent - leaf.rim), 0, 1),
    }
    which = np.array([list(patterns).index(kind.pattern) for kind in SPECIES])[species]
    pattern = np.choose(which[:, np.newaxis, np.newaxis], list(patterns.values()))
    return mix(blade, dice.color(PATTERNS), dice.uniform(0.8, 1) * pattern)


def fall_ill(dice: Dice, leaf: Leaf, blade: np.ndarray, severity: np.ndarray) -> np.ndarray:
    """The blade with up to three symptoms: yellow between the veins, brown along the edge, brown
    spots."""
    shares = (
        dice.rng.dirichlet(np.full(3, 0.6), dice.count)
        .astype(np.float32)
        .T[..., np.newaxis, np.newaxis]
    )
    shares /= shares.max(axis=0)  # the main symptom is as strong as the illness
    yellow, scorch, spotting = severity * shares * (shares > 0.25)

    def opacity(strength):
        return (strength > 0) * np.minimum(0.4 + 2 * strength, 1)

    patches = np.clip(0.7 * dice.noise(4) - 0.2 + 1.5 * yellow, 0, 1) * (1 - 0.6 * leaf.vein)
    edge = np.clip(5 * (leaf.rim - 0.95 + 0.6 * scorch + 0.12 * dice.noise(8)), 0, 1)
    spots = dots(
        dice,
        leaf,
        most=7,
        radius=0.08 + 0.14 * spotting,
        count=2 + 6 * spotting * dice.uniform(0.3, 1),
    )

    yellow_color, brown = dice.color(YELLOWS), dice.color(BROWNS)
    blade = mix(blade, yellow_color, opacity(yellow) * patches)
    blade = mix(
        blade, yellow_color, opacity(scorch) * np.minimum(1.2 * edge, 0.6)
    )  # a yellow seam before the brown
    blade = mix(blade, brown, opacity(scorch) * edge)
    return mix(blade, brown, opacity(spotting) * spots)


def background(dice: Dice) -> np.ndarray:
    """What the leaf lies on or hangs before, ``(N, H, W, 3)``."""
    coarse, fine = dice.noise(5), dice.noise(dice.size // 2)
    weave = np.sin(dice.uniform(20, 45) * dice.direction()) + np.sin(
        dice.uniform(20, 45) * dice.direction()
    )
    textures = [
        0.5 + 0.25 * coarse + 0.2 * fine,  # soil
        0.3 + 0.35 * coarse + 0.25 * dice.y,  # sky
        0.5 + 0.25 * weave,  # cloth
        0.5 + 0.4 * coarse + 0.1 * fine,  # undergrowth
    ]
    which = dice.rng.integers(len(BACKGROUNDS), size=dice.count)
    shade, dye = (
        dice.rng.normal(0, 0.05, (dice.count, 2, 3)),
        dice.rng.normal(0, 0.15, (dice.count, 1, 3)),
    )
    colors = np.float32(
        BACKGROUNDS[which] + shade + dye * (which == CLOTH)[:, np.newaxis, np.newaxis]
    )  # (N, 2, 3)
    dark, bright = colors[:, np.newaxis, np.newaxis].transpose(3, 0, 1, 2, 4)  # (N, 1, 1, 3) each
    return mix(dark, bright, np.clip(np.choose(which[:, np.newaxis, np.newaxis], textures), 0, 1))


def light(dice: Dice, image: np.ndarray) -> np.ndarray:
    """The image as a camera sees it: unevenly lit, sometimes half in the shadow, a little noisy."""
    shadow = dice.chance(0.25) * np.clip(6 * (dice.direction() + dice.uniform(-1, 1)), 0, 1)
    exposure = (
        dice.uniform(0.85, 1.15)
        * (1 + dice.uniform(0, 0.25) * dice.direction())
        * (1 - 0.35 * shadow)
    )
    image = image * exposure[..., np.newaxis] + 0.015 * dice.rng.standard_normal(
        image.shape, dtype=np.float32
    )
    return np.clip(image, 0, 1)


def mix(under: np.ndarray, over: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """``over`` laid on ``under``: colors (..., 3), opacity (...) from 0 to 1."""
    return under + (over - under) * opacity[..., np.newaxis]
