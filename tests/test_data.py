"""The data sets: what they hold, where they come from, and what happens when that is damaged."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from minadv import data
from minadv.backend import to_numpy, use_backend
from minadv.data import DataError, Dataset, digits, leaves, mnist, mnist_sample, read_idx
from minadv.data.leaves import SPECIES, TREES
from tests.test_download import serve
from tests.test_idx import idx_bytes

MNIST = os.environ.get("MINADV_DATA")
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES = tuple(data.MNIST_SHA256)


def assert_well_formed(dataset: Dataset, image: tuple[int, int, int]):
    for x, y in ((dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test)):
        x, y = to_numpy(x), to_numpy(y)
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        assert x.shape == (len(y), *image)
        assert np.isfinite(x).all()
        assert x.min() >= 0
        assert x.max() <= 1
        assert set(y.tolist()) <= set(range(len(dataset.classes)))
    assert isinstance(dataset.classes, tuple)
    assert all(isinstance(name, str) for name in dataset.classes)


class TestMnistSample:
    def test_it_is_well_formed(self):
        sample = mnist_sample()
        assert_well_formed(sample, (28, 28, 1))
        assert (len(sample.y_train), len(sample.y_test)) == (10_000, 2_000)
        assert set(sample.y_train.tolist()) == set(range(10))
        assert "CC BY-SA 3.0" in mnist_sample.__doc__

    def test_the_file_carries_its_notice_and_no_pickle(self):
        path = Path(data.__file__).with_name("mnist_sample.npz")
        with np.load(path, allow_pickle=False) as archive:
            assert "CC BY-SA 3.0" in str(archive["attribution"])
            assert {archive[name].dtype for name in archive.files if name != "attribution"} == {
                np.dtype(np.uint8)
            }

    @pytest.mark.skipif(
        not (MNIST and (Path(MNIST) / "mnist" / TRAIN_IMAGES).exists()),
        reason="no official MNIST: MINADV_DATA names the folder that holds it",
    )
    def test_it_is_the_first_images_of_the_official_files(self):
        folder, sample = Path(MNIST) / "mnist", mnist_sample()
        for (images, labels), x, y in (
            ((TRAIN_IMAGES, TRAIN_LABELS), sample.x_train, sample.y_train),
            ((TEST_IMAGES, TEST_LABELS), sample.x_test, sample.y_test),
        ):
            official = read_idx(folder / images)[: len(x)]
            assert np.array_equal(np.rint(to_numpy(x)[..., 0] * 255), official)
            assert np.array_equal(to_numpy(x)[..., 0], official.astype(np.float32) / 255)
            assert np.array_equal(to_numpy(y), read_idx(folder / labels)[: len(y)])


class TestDataset:
    def test_it_is_frozen_and_says_what_it_is(self):
        dataset = digits()
        with pytest.raises(dataclasses.FrozenInstanceError):
            dataset.name = "other"
        assert repr(dataset) == "<Dataset digits: 1437 + 360 images of 8x8x1, 10 classes>"

    def test_it_is_made_on_the_backend(self, xp):
        for dataset in (digits(), leaves(10, size=8)):
            for array in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test):
                assert isinstance(array, xp.ndarray)


class TestDigits:
    def test_form(self):
        dataset = digits()
        assert_well_formed(dataset, (8, 8, 1))
        assert (len(dataset.x_train), len(dataset.x_test)) == (1437, 360)
        assert dataset.classes == tuple("0123456789")

    def test_pixels_are_sixteenths(self):
        counts = np.concatenate([digits().x_train, digits().x_test]) * 16
        assert set(np.unique(counts)) == set(range(17))

    def test_every_digit_of_scikit_learn_once_in_the_stated_split(self):
        source = pytest.importorskip("sklearn.datasets").load_digits()
        place, is_test = Counter(), []
        # the rule, one image at a time: by label, then in order; the 1st, 6th, ... is for testing
        for label in source.target:
            is_test.append((np.sum(source.target < label) + place[label]) % 5 == 0)
            place[label] += 1
        is_test = np.array(is_test)
        dataset = digits()
        np.testing.assert_array_equal(dataset.x_test[..., 0] * 16, source.images[is_test])
        np.testing.assert_array_equal(dataset.x_train[..., 0] * 16, source.images[~is_test])
        np.testing.assert_array_equal(dataset.y_test, source.target[is_test])
        np.testing.assert_array_equal(dataset.y_train, source.target[~is_test])

    def test_the_split_is_stratified(self):
        train, test = np.bincount(digits().y_train), np.bincount(digits().y_test)
        assert np.abs(test - (train + test) / 5).max() < 1

    def test_it_is_never_the_same_array_twice(self):
        first = digits()
        first.x_train[:] = 0
        first.y_train[:] = 0
        assert digits().x_train.any()
        assert digits().y_train.any()

    def test_the_file_carries_its_attribution(self):
        with np.load(
            Path(data.__file__).with_name("digits.npz")
        ) as archive:  # no pickle: NumPy's default refuses it
            notice = str(archive["attribution"])
        for part in (
            "Alpaydin",
            "Kaynak",
            "10.24432/C50P49",
            "CC BY 4.0",
            "creativecommons.org/licenses/by/4.0",
        ):
            assert part in notice
            assert part in digits.__doc__


def mnist_files(n_train=30, n_test=20, side=5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    arrays = (
        rng.integers(0, 256, (n_train, side, side)),
        np.arange(n_train) % 10,
        rng.integers(0, 256, (n_test, side, side)),
        np.arange(n_test)[::-1] % 10,
    )
    return {name: array.astype(np.uint8) for name, array in zip(NAMES, arrays, strict=True)}


def compressed(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: gzip.compress(idx_bytes(array), mtime=0) for name, array in arrays.items()}


def assert_holds(dataset: Dataset, arrays: dict[str, np.ndarray]):
    assert_well_formed(dataset, (*arrays[TRAIN_IMAGES].shape[1:], 1))
    for x, name in ((dataset.x_train, TRAIN_IMAGES), (dataset.x_test, TEST_IMAGES)):
        np.testing.assert_array_equal(x[..., 0], (arrays[name] / 255).astype(np.float32))
    np.testing.assert_array_equal(dataset.y_train, arrays[TRAIN_LABELS])
    np.testing.assert_array_equal(dataset.y_test, arrays[TEST_LABELS])


class TestGivenMnist:
    """The files in ``MINADV_DATA``."""

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        folder = tmp_path / "given" / "mnist"
        folder.mkdir(parents=True)
        for name, content in compressed(mnist_files()).items():
            (folder / name).write_bytes(content)
        monkeypatch.setenv("MINADV_DATA", str(folder.parent))
        monkeypatch.setenv("MINADV_CACHE", str(tmp_path / "cache"))
        monkeypatch.setitem(
            sys.modules, "pooch", None
        )  # nothing is downloaded, so it is not needed
        return folder

    def test_they_are_read_and_left_as_they_are(self, folder):
        before = {
            path: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in folder.parent.rglob("*")
            if path.is_file()
        }
        for path in folder.iterdir():
            path.chmod(0o444)
        folder.chmod(0o555)
        assert_holds(mnist(), mnist_files())
        folder.chmod(0o755)
        assert {
            path: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in folder.parent.rglob("*")
            if path.is_file()
        } == before
        assert not (folder.parents[1] / "cache").exists()

    def test_unzipped_files_will_do(self, folder):
        for path in list(folder.iterdir()):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
        assert_holds(mnist(), mnist_files())

    def test_other_sizes_will_do(self, folder):
        arrays = mnist_files(n_train=1, n_test=12, side=3)
        for name, content in compressed(arrays).items():
            (folder / name).write_bytes(content)
        assert_holds(mnist(), arrays)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        "damage",
        [
            lambda b: b[:-1],
            lambda b: b"",
            lambda b: b + b"x",
            lambda b: b[:-8] + b"\0" * 8,
            lambda b: b"<html>" + b,
            None,
        ],
    )
    def test_damaged_or_missing_files_are_named_and_left_as_they_are(self, folder, name, damage):
        path = folder / name
        content = damage(path.read_bytes()) if damage else None
        path.unlink()
        if damage:
            path.write_bytes(content)
        with pytest.raises(DataError, match="ubyte.gz") as caught:
            mnist(mirrors=["http://127.0.0.1:1/"])
        assert str(caught.value).startswith(f"{path}: ")
        assert (path.read_bytes() if damage else path.exists()) == (content if damage else False)

    @pytest.mark.parametrize(
        ("name", "array", "complaint"),
        [
            (
                TRAIN_IMAGES,
                np.zeros((30, 25), np.uint8),
                r"expected uint8 with 3 dimension\(s\), not empty, got uint8 of \(30, 25\)",
            ),
            (TEST_IMAGES, np.zeros((20, 5, 5), np.float32), "expected uint8 .* got float32"),
            (TRAIN_IMAGES, np.zeros((0, 5, 5), np.uint8), "not empty"),
            (TEST_IMAGES, np.zeros((20, 0, 5), np.uint8), "not empty"),
            (TRAIN_LABELS, np.zeros((30, 1), np.uint8), "expected uint8 with 1"),
            (TEST_LABELS, np.zeros(20, np.int32), "expected uint8 .* got int32"),
            (
                TRAIN_LABELS,
                np.zeros(29, np.uint8),
                "29 labels, but train-images-idx3-ubyte.gz has 30 images",
            ),
            (
                TEST_LABELS,
                np.zeros(21, np.uint8),
                "21 labels, but t10k-images-idx3-ubyte.gz has 20 images",
            ),
            (TEST_LABELS, np.full(20, 10, np.uint8), "labels must be 0 to 9, got 10"),
            (
                TEST_IMAGES,
                np.zeros((20, 5, 6), np.uint8),
                r"images of \(5, 6\), but those of train-images-idx3-ubyte.gz are \(5, 5\)",
            ),
        ],
    )
    def test_files_of_another_form_are_refused(self, folder, name, array, complaint):
        (folder / name).write_bytes(gzip.compress(idx_bytes(array)))
        with pytest.raises(DataError, match=complaint) as caught:
            mnist()
        assert str(caught.value).startswith(f"{folder / name}: ")


class TestDownloadedMnist:
    @pytest.fixture
    def files(self, tmp_path, monkeypatch):
        """What good mirrors serve; the cache is empty and not the user's."""
        monkeypatch.delenv("MINADV_DATA", raising=False)
        monkeypatch.setenv("MINADV_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        pytest.importorskip("pooch")
        files = compressed(mnist_files())
        for name, content in files.items():
            monkeypatch.setitem(data.MNIST_SHA256, name, hashlib.sha256(content).hexdigest())
        return files

    @pytest.mark.parametrize("given", [None, ""])
    def test_downloaded_once_then_from_the_cache(self, files, monkeypatch, given):
        if given is not None:
            monkeypatch.setenv("MINADV_DATA", given)  # set to nothing is not set
        with serve(files) as mirror:
            assert_holds(mnist(mirrors=[mirror.url], progress=False), mnist_files())
            assert sorted(mirror.requests) == sorted(f"/{name}" for name in NAMES)
        assert_holds(mnist(mirrors=[mirror.url], progress=False), mnist_files())

    def test_only_the_damaged_file_is_downloaded_again(self, files, tmp_path):
        with serve(files) as mirror:
            mnist(mirrors=[mirror.url], progress=False)
            mirror.requests.clear()
            (tmp_path / "cache" / "mnist" / TEST_LABELS).write_bytes(b"damaged")
            assert_holds(mnist(mirrors=[mirror.url], progress=False), mnist_files())
            assert mirror.requests == [f"/{TEST_LABELS}"]

    def test_each_file_may_come_from_another_mirror(self, files):
        with ExitStack() as stack:
            mirrors = [
                stack.enter_context(serve({name: content})) for name, content in files.items()
            ]
            assert_holds(
                mnist(mirrors=[mirror.url for mirror in mirrors], progress=False), mnist_files()
            )

    def test_the_error_names_every_mirror_and_the_ways_out(self, files, tmp_path):
        with serve({}) as empty, serve(files, "cut") as cut, pytest.raises(DataError) as caught:
            mnist(mirrors=[empty.url, cut.url], progress=False)
        for part in (
            f"{empty.url}{TRAIN_IMAGES}: HTTP Error 404",
            f"{cut.url}{TRAIN_IMAGES}: ",
            "MINADV_DATA",
            "digits needs no download",
        ):
            assert part in str(caught.value)
        assert list((tmp_path / "cache").rglob("*.gz")) == []

    def test_a_published_file_of_another_form_is_refused(self, files, tmp_path, monkeypatch):
        files[TEST_LABELS] = gzip.compress(idx_bytes(np.arange(19, dtype=np.uint8)))
        monkeypatch.setitem(
            data.MNIST_SHA256, TEST_LABELS, hashlib.sha256(files[TEST_LABELS]).hexdigest()
        )
        with serve(files) as mirror, pytest.raises(DataError, match="19 labels"):
            mnist(mirrors=[mirror.url], progress=False)

    def test_pooch_is_not_imported_before_it_is_needed(self, tmp_path):
        script = (
            "import sys, minadv.data; minadv.data.digits(); minadv.data.leaves(5, size=8); "
            "sys.exit('pooch' in sys.modules)"
        )
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        assert (
            subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode
            == 0
        )


@pytest.fixture(scope="module")
def real_mnist():
    return mnist()


@pytest.mark.skipif(not MNIST, reason="MINADV_DATA is not set")
class TestRealMnist:
    def test_form(self, real_mnist):
        assert_well_formed(real_mnist, (28, 28, 1))
        assert (len(real_mnist.x_train), len(real_mnist.x_test)) == (60_000, 10_000)
        assert real_mnist.x_train.max() == 1

    def test_labels(self, real_mnist):
        assert real_mnist.y_test[:3].tolist() == [7, 2, 1]
        assert real_mnist.y_train[:3].tolist() == [5, 0, 4]
        assert np.bincount(real_mnist.y_test).tolist() == [
            980,
            1135,
            1032,
            1010,
            982,
            892,
            958,
            1028,
            974,
            1009,
        ]

    def test_the_mean_that_everyone_quotes(self, real_mnist):
        assert real_mnist.x_train.mean(dtype=float) == pytest.approx(0.1307, abs=5e-5)

    @pytest.mark.parametrize(
        ("name", "sha256"),
        [
            (TRAIN_IMAGES, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            (TRAIN_LABELS, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            (TEST_IMAGES, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            (TEST_LABELS, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ],
    )
    def test_the_content_is_the_published_one(self, name, sha256):
        """However it was compressed: the checksum of the uncompressed file."""
        assert (
            hashlib.sha256(idx_bytes(read_idx(Path(MNIST) / "mnist" / name))).hexdigest() == sha256
        )


class TestLeaves:
    @pytest.mark.parametrize(("task", "classes"), [("health", 2), ("species", 8)])
    def test_form(self, task, classes):
        dataset = leaves(203, task=task, size=12)
        assert_well_formed(dataset, (12, 12, 3))
        assert (len(dataset.x_train), len(dataset.x_test)) == (163, 40)
        assert len(dataset.classes) == classes
        assert dataset.name == f"leaves ({task})"
        frequency = np.bincount(np.concatenate([dataset.y_train, dataset.y_test]))
        assert frequency.max() - frequency.min() <= 1

    def test_classes(self):
        assert leaves(5, size=8).classes == ("Healthy", "Unhealthy")
        assert leaves(5, size=8, task="species").classes == tuple(
            kind.name.capitalize() for kind in SPECIES
        )

    def test_labels_say_what_is_drawn(self, monkeypatch):
        """Every image of an unhealthy leaf was drawn with a severity, every healthy one without;
        species are as labeled."""
        drawn = []

        def record(species, severity, *, size, rng):
            drawn.append((species, severity))
            marked = np.zeros((len(species), size, size, 3), np.float32)
            marked[:, 0, 0, 0], marked[:, 0, 0, 1] = species / 8, severity
            return marked

        monkeypatch.setattr(data, "draw", record)
        monkeypatch.setattr(data, "LEAVES_AT_ONCE", 10 * 64)  # ten at once
        health, species = leaves(95, size=8), leaves(95, size=8, task="species")
        assert [len(s) for s, _ in drawn] == ([10] * 9 + [5]) * 2
        for x, y in ((health.x_train, health.y_train), (health.x_test, health.y_test)):
            severity = x[:, 0, 0, 1]
            np.testing.assert_array_equal(severity > 0, y == 1)
            assert (severity[y == 1] >= 0.2).all()
            assert (x[:, 0, 0, 0] * 8 < len(TREES)).all()
        for x, y in ((species.x_train, species.y_train), (species.x_test, species.y_test)):
            np.testing.assert_array_equal(x[:, 0, 0, 0] * 8, y)
            assert (x[:, 0, 0, 1] == 0).all()

    def test_the_seed_decides(self):
        first, same, other, generator = (
            leaves(10, size=8, rng=rng) for rng in (1, np.int64(1), 2, np.random.default_rng(1))
        )
        for equal in (same, generator):
            np.testing.assert_array_equal(first.x_train, equal.x_train)
            np.testing.assert_array_equal(first.y_train, equal.y_train)
        assert (first.x_train != other.x_train).any()

    def test_the_seed_means_the_same_on_every_backend(self, xp):
        on_backend = leaves(10, size=8)
        use_backend("numpy")
        np.testing.assert_array_equal(to_numpy(on_backend.x_train), leaves(10, size=8).x_train)

    def test_a_generator_goes_on(self):
        rng = np.random.default_rng(1)
        assert (leaves(10, size=8, rng=rng).x_train != leaves(10, size=8, rng=rng).x_train).any()

    @pytest.mark.parametrize(
        ("arguments", "error", "complaint"),
        [
            ({"count": 4}, ValueError, "count must be >= 5, got 4"),
            ({"count": 10.0}, TypeError, "count must be an integer, got 10.0"),
            ({"count": True}, TypeError, "count must be an integer, got True"),
            ({"size": 7}, ValueError, "size must be >= 8, got 7"),
            ({"size": (8, 8)}, TypeError, "size must be an integer"),
            ({"task": "illness"}, ValueError, "task must be 'health' or 'species', got 'illness'"),
            ({"task": None}, ValueError, "task must be"),
            (
                {"rng": -1},
                TypeError,
                "rng must be a numpy.random.Generator or a seed, an integer >= 0, got -1",
            ),
            (
                {"rng": None},
                TypeError,
                "rng must be a numpy.random.Generator or a seed, an integer >= 0, got None",
            ),
            ({"rng": np.random.RandomState(0)}, TypeError, "rng must be"),
        ],
    )
    def test_wrong_arguments(self, arguments, error, complaint):
        with pytest.raises(error, match=complaint):
            leaves(**arguments)
