"""The data sets: digits and a sample of MNIST (embedded), MNIST (given, cached or downloaded),
leaves (drawn)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from minadv.backend import asarray
from minadv.checks import check_choice, check_count, check_rng
from minadv.data.download import fetch
from minadv.data.idx import DataError, read_idx
from minadv.data.leaves import SPECIES, TREES, draw

__all__ = [
    "MIRRORS",
    "DataError",
    "Dataset",
    "digits",
    "leaves",
    "mnist",
    "mnist_sample",
    "read_idx",
]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_SHA256 = {  # of the compressed files as published
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",  # noqa: E501
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",  # noqa: E501
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
TEN_DIGITS = tuple("0123456789")
HEALTH = ("Healthy", "Unhealthy")
# The severity of an ill leaf, from MILDEST (barely visible) to 1, more often severe than mild:
# chosen by eye, and so that a small CNN is right on about 97 % of the leaves.
MILDEST = 0.2
LEAVES_AT_ONCE = (
    1 << 17
)  # pixels drawn together: what is computed for each of them then fits the cache


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, split once and for all into training and test data.

    ``x_train``, ``x_test``: ``(N, H, W, C)``, float32 in [0, 1]. ``y_train``, ``y_test``: ``(N,)``,
    int64, indices into ``classes``. All four are on the backend that was current when they were
    made.
    """

    name: str
    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        size = "x".join(str(n) for n in self.x_train.shape[1:])
        count = f"{len(self.y_train)} + {len(self.y_test)}"
        return f"<Dataset {self.name}: {count} images of {size}, {len(self.classes)} classes>"


def digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 gray pixels, embedded in the package: 1,437 to train with
    and 360 to test with.

    pixel = count / 16, where count is the number of inked points in a block of 4 x 4 of the
    original bitmap. The split is stratified and deterministic: after a stable sort by label, every
    fifth image (the 1st, the 6th, ...) is a test image.

    Source: E. Alpaydin and C. Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI
    Machine Learning Repository, https://doi.org/10.24432/C50P49, licensed under CC BY 4.0
    (https://creativecommons.org/licenses/by/4.0/). These are the 1,797 images of its test set, with
    values unchanged; the file ``digits.npz`` carries this notice too.
    """
    with (
        resources.files("minadv.data").joinpath("digits.npz").open("rb") as file,
        np.load(file) as archive,
    ):
        images, labels = archive["images"], archive["labels"]
    x = images[..., np.newaxis].astype(np.float32) / 16  # (1797, 8, 8, 1)
    y = labels.astype(np.int64)

    is_test = np.zeros(len(y), bool)
    is_test[np.argsort(y, kind="stable")[::5]] = True
    return _split("digits", x, y, is_test, TEN_DIGITS)


def mnist_sample() -> Dataset:
    """The first 10,000 training and the first 2,000 test images of MNIST, embedded in the package;
    28 x 28 gray pixels.

    The bytes are those of the official files, in their order; pixel = byte / 255.

    Source: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits",
    http://yann.lecun.com/exdb/mnist/. Y. LeCun and C. Cortes hold the copyright of MNIST, a
    derivative work of the original NIST datasets, licensed under CC BY-SA 3.0
    (https://creativecommons.org/licenses/by-sa/3.0/). The file ``mnist_sample.npz`` carries this
    notice, too. Items B3, D2.
    """
    with (
        resources.files("minadv.data").joinpath("mnist_sample.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        x_train, y_train, x_test, y_test = (
            archive[name] for name in ("x_train", "y_train", "x_test", "y_test")
        )
    return Dataset(
        "mnist sample",
        _as_pixels(x_train),
        asarray(y_train, np.int64),
        _as_pixels(x_test),
        asarray(y_test, np.int64),
        TEN_DIGITS,
    )


def mnist(*, mirrors: Sequence[str] = MIRRORS, progress: bool = True) -> Dataset:
    """MNIST: handwritten digits of 28 x 28 gray pixels, 60,000 to train with and 10,000 to test
    with; pixel = byte / 255.

    The four files come from ``MINADV_DATA/mnist/`` if the environment variable ``MINADV_DATA`` is
    set, and are only read. Any files of MNIST's form will do there, zipped or not. Otherwise they
    come from the cache (``MINADV_CACHE`` moves it), where those that are missing or damaged are
    downloaded first (12 MB in all) and checked by SHA-256.

    ``mirrors``: addresses to download from, tried in turn. ``progress``: show a progress bar while
    downloading (default yes).

    Raises :class:`DataError` if a file is missing, damaged or not of MNIST's form, or if no mirror
    delivers it.

    LeCun, Bottou, Bengio and Haffner (1998), "Gradient-based learning applied to document
    recognition". Items B3, D2.
    """
    given = os.environ.get("MINADV_DATA")
    if given:
        train_images, train_labels, test_images, test_labels = (
            _zipped_or_not(Path(given) / "mnist" / name) for name in MNIST_SHA256
        )
    else:
        train_images, train_labels, test_images, test_labels = _downloaded_mnist(mirrors, progress)
    x_train, y_train = _labeled_images(train_images, train_labels)
    x_test, y_test = _labeled_images(test_images, test_labels)
    if x_train.shape[1:] != x_test.shape[1:]:
        raise DataError(
            f"{test_images}: images of {x_test.shape[1:]}, but those of {train_images.name} are "
            f"{x_train.shape[1:]}"
        )
    return Dataset(
        "mnist",
        _as_pixels(x_train),
        asarray(y_train, np.int64),
        _as_pixels(x_test),
        asarray(y_test, np.int64),
        TEN_DIGITS,
    )


def _zipped_or_not(path: Path) -> Path:
    """``path``, a .gz file, or the file without this ending where only that exists."""
    plain = path.with_suffix("")
    return plain if plain.exists() and not path.exists() else path


def _downloaded_mnist(mirrors: Sequence[str], progress: bool) -> list[Path]:
    try:
        return [
            fetch(name, sha256, folder="mnist", mirrors=mirrors, progress=progress)
            for name, sha256 in MNIST_SHA256.items()
        ]
    except DataError as error:
        raise DataError(
            f"{error}\nIf you have the four MNIST files, put them into a folder called mnist and "
            "set MINADV_DATA to the folder that holds it. The data set digits needs no download, "
            "and neither does mnist_sample, 12,000 images of MNIST."
        ) from error


def _labeled_images(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, ndim in ((images_path, images, 3), (labels_path, labels, 1)):
        if array.dtype != np.uint8 or array.ndim != ndim or array.size == 0:
            raise DataError(
                f"{path}: expected uint8 with {ndim} dimension(s), not empty, got {array.dtype} of "
                f"{array.shape}"
            )
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: {len(labels)} labels, but {images_path.name} has {len(images)} images"
        )
    if labels.max() >= len(TEN_DIGITS):
        raise DataError(f"{labels_path}: labels must be 0 to 9, got {labels.max()}")
    return images, labels


def _as_pixels(images: np.ndarray):
    return asarray(images[..., np.newaxis], np.float32) / 255  # (N, H, W, 1)


def leaves(
    count: int = 5000, *, task: str = "health", size: int = 32, rng: int | np.random.Generator = 0
) -> Dataset:
    """RGB images of leaves drawn by code, one leaf each; every fifth image is for testing.

    ``task="health"``: is the leaf "Healthy" (0) or "Unhealthy" (1)? Willow, beech, oak and linden
    leaves, half of them with brown spots, scorched edges or yellow patches, from barely visible to
    severe. ``task="species"``: which of eight species is it? All are healthy; four have patterns of
    specks, margins, patches or a colored center. What a model learns from the species serves to
    tell ill leaves from healthy ones, which makes this the task to pretrain a base on.

    Both vary in form, position, light, shadow, dew and background (soil, sky, cloth, undergrowth).
    The classes are equally frequent. A small CNN reaches about 97 % on health, a new softmax layer
    on a frozen base trained on species about 95 %, and logistic regression on the pixels about 85
    %.

    ``count``: number of images, training and test together. ``size``: height and width in pixels,
    at least 8. ``rng``: a generator, or the seed of one (default 0); equal seeds draw equal images.

    Raises :class:`TypeError` or :class:`ValueError` for a ``count``, ``task``, ``size`` or ``rng``
    that is not this. Item C4.
    """
    check_count("count", count, least=5)
    check_count("size", size, least=8)
    check_choice("task", task, "health", "species")
    rng = check_rng(rng)

    classes = HEALTH if task == "health" else tuple(kind.name.capitalize() for kind in SPECIES)
    y = rng.permutation(np.arange(count) % len(classes))
    if task == "health":
        species, severity = (
            rng.integers(len(TREES), size=count),
            y * (1 - (1 - MILDEST) * rng.random(count) ** 2),
        )
    else:
        species, severity = y, np.zeros(count)
    step = max(1, LEAVES_AT_ONCE // size**2)
    cuts = range(step, count, step)
    parts = zip(np.split(species, cuts), np.split(severity, cuts), strict=True)
    x = np.concatenate([draw(*part, size=size, rng=rng) for part in parts])
    is_test = np.arange(count) % 5 == 4
    return _split(f"leaves ({task})", x, y.astype(np.int64), is_test, classes)


def _split(name: str, x, y, is_test: np.ndarray, classes: tuple[str, ...]) -> Dataset:
    train, test = ~is_test, is_test
    return Dataset(
        name, asarray(x[train]), asarray(y[train]), asarray(x[test]), asarray(y[test]), classes
    )
