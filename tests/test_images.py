"""Files in, bytes out: each rounding against exact fractions, each kind of file against pixels
written down here."""

import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minadv import data
from minadv.attacks.fgsm import fgsm
from minadv.attacks.result import AttackResult
from minadv.backend import array_module, to_numpy
from minadv.data import DataError
from minadv.images import from_8bit, read_image, save_image, survives_8bit, to_8bit
from tests.strategies import BOUNDS, float_arrays

BYTES = np.arange(256, dtype=np.uint8).reshape(1, 256)


def random_pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class TestBytes:
    @given(st.data(), st.sampled_from(BOUNDS), st.sampled_from([np.float32, np.float64]))
    def test_nearest_byte(self, draw, bounds, dtype):
        low, high = (float(dtype(b)) for b in bounds)
        x = draw.draw(float_arrays((1, 7), dtype, low, high))
        before = x.copy()
        for value, byte in zip(
            x.ravel().tolist(), to_8bit(x, bounds=bounds).ravel().tolist(), strict=True
        ):
            exact = 255 * (Fraction(value) - Fraction(low)) / (Fraction(high) - Fraction(low))
            assert abs(byte - exact) <= Fraction(1, 2) + Fraction(1, 10**12)
        assert x.tobytes() == before.tobytes()

    @pytest.mark.parametrize("bounds", BOUNDS)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_every_byte_comes_back_and_the_ends_are_the_bounds(self, bounds, dtype):
        x = from_8bit(BYTES, bounds=bounds, dtype=dtype)
        assert x.dtype == dtype
        assert (x[0, 0], x[0, 255]) == tuple(map(dtype, bounds))
        assert (to_8bit(x, bounds=bounds) == BYTES).all()

    def test_the_pixels_are_those_of_the_data_sets(self):
        assert from_8bit(BYTES).tobytes() == (BYTES.astype(np.float32) / 255).tobytes()

    def test_what_rounding_takes(self):
        x = np.linspace(0, 1, 100_000)[None]
        taken = np.abs(from_8bit(to_8bit(x), dtype=np.float64) - x).max()
        assert 0.999 / 510 < taken <= 1 / 510 + 1e-15

    def test_to_even_and_not_cut_off(self):
        assert to_8bit(np.array([[7.999, 8.5, 9.5]]) / 255).tolist() == [[8, 8, 10]]

    def test_arrays_stay_where_they_are(self, xp):
        x = from_8bit(xp.asarray(BYTES), bounds=(-1, 1))
        assert array_module(x) is xp
        np.testing.assert_array_equal(to_numpy(x), from_8bit(BYTES, bounds=(-1, 1)))
        assert array_module(to_8bit(x, bounds=(-1, 1))) is xp

    @pytest.mark.parametrize(
        ("error", "named", "call"),
        [
            (TypeError, "pixels", lambda: from_8bit(np.zeros((1, 2)))),
            (TypeError, "pixels", lambda: from_8bit([[0, 255]])),
            (ValueError, "bounds", lambda: from_8bit(BYTES, bounds=(1, 0))),
            (TypeError, "uint8", lambda: to_8bit(BYTES)),
            (ValueError, "bounds", lambda: to_8bit(np.full((1, 2), 1.5))),
            (ValueError, "NaN", lambda: to_8bit(np.full((1, 2), np.nan))),
        ],
    )
    def test_wrong_arguments_are_named(self, error, named, call):
        with pytest.raises(error, match=named):
            call()


def thresholds(x):
    """Class 1 where the one pixel is above 100.4 of 255, class 2 where it is above 200.6."""
    value = x.reshape(len(x), 1) * 255
    return value * np.array([0, 1, 2], x.dtype) - np.array([0, 100.4, 301], x.dtype)


class TestSurvives:
    """The one pixel starts at 90, class 0; rounding takes 100.45 and 200.62 either way."""

    AFTER = np.array([90, 100.45, 100.55, 150, 200.45, 200.62, 255]).reshape(-1, 1) / 255
    LABELS = [0, 1, 1, 1, 1, 2, 2]
    STORED = [0, 0, 1, 1, 1, 2, 2]

    def result(self, reached):
        label = np.array(self.LABELS)
        return AttackResult(
            np.full_like(self.AFTER, 90 / 255),
            self.AFTER,
            label,
            reached(label),
            np.ones(len(label), int),
        )

    def test_untargeted(self):
        result = self.result(lambda label: label != 0)
        assert thresholds(self.AFTER).argmax(axis=1).tolist() == self.LABELS
        assert survives_8bit(thresholds, result, y=0).tolist() == [
            label != 0 for label in self.STORED
        ]
        assert result.success.tolist()[1]  # which rounding takes back

    def test_targeted(self):
        for target in (0, 1, 2):
            survived = survives_8bit(
                thresholds, self.result(lambda label, t=target: label == t), target=target
            )
            wanted = [
                before == stored == target
                for before, stored in zip(self.LABELS, self.STORED, strict=True)
            ]
            assert survived.tolist() == wanted

    def test_a_failure_that_rounding_makes_a_success_does_not_count(self):
        x = np.array([[100.39 / 255]])
        result = AttackResult(x, x, np.array([0]), np.array([False]), np.array([1]))
        assert survives_8bit(lambda x: thresholds(x + 0.4 / 255), result, y=1).tolist() == [False]

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_dtypes_and_other_bounds(self, dtype):
        result = self.result(lambda label: label != 0)
        moved = AttackResult(
            *((2 * a - 1).astype(dtype) for a in (result.x, result.x_adv)),
            result.label,
            result.success,
            result.steps,
        )
        seen = []

        def model(x):
            seen.append(x.dtype)
            return thresholds((x + 1) / 2)

        assert survives_8bit(model, moved, y=0, bounds=(-1, 1)).tolist() == [
            label != 0 for label in self.STORED
        ]
        assert seen == [dtype]

    def test_every_module(self, xp):
        x = np.random.default_rng(0).random((40, 5)).astype(np.float32)
        weight = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
        survived = []
        for xp_ in (np, xp):
            w, images = xp_.asarray(weight), xp_.asarray(x)
            y = (images @ w).argmax(axis=1)
            survived.append(
                survives_8bit(
                    lambda x, w=w: x @ w, fgsm(lambda x, w=w: x @ w, images, y=y, eps=0.1), y=y
                )
            )
        assert array_module(survived[1]) is xp
        assert to_numpy(survived[1]).tolist() == survived[0].tolist()

    @given(st.integers(1, 30), st.integers(0, 100))
    @settings(max_examples=20)
    def test_whole_steps_from_whole_bytes_always_do(self, k, seed):
        """ε = k/255 from an image of bytes leads to an image of bytes: nothing is left to round."""
        x = from_8bit(random_pixels(5, 16, seed=seed))
        weight = np.random.default_rng(seed).normal(size=(16, 3)).astype(np.float32)

        def model(x):
            return x @ weight

        y = model(x).argmax(axis=1)
        result = fgsm(model, x, y=y, eps=k / 255)
        moved = to_8bit(result.x_adv).astype(int) - to_8bit(x)
        assert set(
            np.abs(moved[(to_8bit(result.x_adv) > 0) & (to_8bit(result.x_adv) < 255)]).tolist()
        ) <= {0, k}
        assert survives_8bit(model, result, y=y).tolist() == result.success.tolist()

    @pytest.mark.parametrize("goal", [{}, {"y": 0, "target": 1}, {"y": 7}])
    def test_wrong_goals_are_named(self, goal):
        with pytest.raises(ValueError, match="exactly one|y must"):
            survives_8bit(thresholds, self.result(lambda label: label != 0), **goal)


def written(tmp_path, image, **how):
    path = tmp_path / "image.png"
    image.save(path, **how)
    return path


class TestRead:
    @pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1), (1, 9, 3)])
    def test_gray_and_color_as_they_are(self, tmp_path, shape):
        pixels = random_pixels(*shape)
        x = read_image(str(written(tmp_path, Image.fromarray(pixels))))
        assert x.dtype == np.float32
        assert x.shape == (1, *shape[:2], 3 if len(shape) == 3 else 1)
        assert (x.reshape(shape) == np.float32(pixels) / 255).all()

    def test_bounds(self, tmp_path):
        pixels = random_pixels(5, 7)
        x = read_image(written(tmp_path, Image.fromarray(pixels)), bounds=(-1, 1))
        np.testing.assert_allclose(x[0, :, :, 0], pixels / 255.0 * 2 - 1, rtol=1e-6)

    def test_one_bit(self, tmp_path):
        bits = random_pixels(5, 7) > 127
        assert (read_image(written(tmp_path, Image.fromarray(bits)))[0, :, :, 0] == bits).all()

    def test_palette(self, tmp_path):
        pixels = random_pixels(4, 4, 3)
        palette = Image.fromarray(pixels).quantize(16)
        x = read_image(written(tmp_path, palette))
        assert (to_8bit(x)[0] == np.asarray(palette.convert("RGB"))).all()

    @pytest.mark.parametrize("channels", [2, 4])
    def test_opaque_alpha_is_no_matter(self, tmp_path, channels):
        pixels = random_pixels(4, 5, channels)
        pixels[..., -1] = 255
        x = read_image(written(tmp_path, Image.fromarray(pixels)))
        assert (to_8bit(x)[0] == pixels[..., :-1]).all()

    @pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB"])
    def test_transparency_is_refused(self, tmp_path, mode):
        if mode in ("LA", "RGBA"):
            pixels = np.full((4, 5, len(mode)), 255, np.uint8)
            pixels[2, 3, -1] = 254
            path = written(tmp_path, Image.fromarray(pixels))
        else:
            image = Image.new(mode, (5, 4))
            path = written(tmp_path, image, transparency=(0, 0, 0) if mode == "RGB" else 0)
        with pytest.raises(DataError, match=r"image\.png: transparent"):
            read_image(path)

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
    def test_more_than_8_bits_are_refused(self, tmp_path, dtype):
        path = tmp_path / "deep.tiff"
        Image.fromarray(np.full((4, 5), 1000, dtype)).save(path)
        with pytest.raises(DataError, match=r"deep\.tiff: expected 8 bits"):
            read_image(path)

    def test_a_photo_is_turned_upright(self, tmp_path):
        pixels = random_pixels(3, 5)
        exif = Image.Exif()
        exif[0x0112] = 6  # "rotate 90 degrees clockwise to see it"
        assert (
            to_8bit(read_image(written(tmp_path, Image.fromarray(pixels), exif=exif)))[0, ..., 0]
            == np.rot90(pixels, -1)
        ).all()

    def test_on_the_backend_in_use(self, tmp_path, xp):
        x = read_image(written(tmp_path, Image.fromarray(random_pixels(3, 5))))
        assert isinstance(x, xp.ndarray)
        assert to_8bit(x).shape == (1, 3, 5, 1)


class TestShape:
    def test_its_own_shape_changes_nothing(self, tmp_path):
        pixels = random_pixels(9, 13, 3)
        path = written(tmp_path, Image.fromarray(pixels))
        assert read_image(path, (9, 13, 3)).tobytes() == read_image(path).tobytes()

    def test_gray_is_luma(self, tmp_path):
        pixels = random_pixels(6, 6, 3)
        gray = to_8bit(read_image(written(tmp_path, Image.fromarray(pixels)), (6, 6, 1)))[0, ..., 0]
        assert np.abs(gray - pixels @ [0.299, 0.587, 0.114]).max() < 0.51

    def test_gray_in_color_is_three_times_the_same(self, tmp_path):
        pixels = random_pixels(6, 6)
        color = to_8bit(read_image(written(tmp_path, Image.fromarray(pixels)), (6, 6, 3)))[0]
        assert (color == pixels[..., None]).all()

    def test_shrinking_averages(self, tmp_path):
        """A fine checkerboard is gray from afar: sampling some of its pixels would make it black or
        white."""
        board = np.uint8(np.indices((64, 64)).sum(axis=0) % 2 * 255)
        assert (
            np.abs(
                to_8bit(read_image(written(tmp_path, Image.fromarray(board)), (8, 8, 1))) - 127.5
            ).max()
            < 4
        )

    def test_the_sides_are_cut_off_evenly(self, tmp_path):
        pixels = random_pixels(6, 6)
        wide = np.pad(pixels, ((0, 0), (4, 4)), constant_values=255)
        tall = np.pad(pixels, ((2, 2), (0, 0)), constant_values=255)
        for padded in (wide, tall):
            assert (
                to_8bit(read_image(written(tmp_path, Image.fromarray(padded)), (6, 6, 1)))[
                    0, ..., 0
                ]
                == pixels
            ).all()

    @pytest.mark.parametrize("shape", [(4, 9, 1), (30, 2, 3), (1, 1, 1)])
    def test_any_size_is_reached_and_a_plain_image_stays_plain(self, tmp_path, shape):
        x = read_image(written(tmp_path, Image.fromarray(np.full((7, 5), 90, np.uint8))), shape)
        assert x.shape == (1, *shape)
        assert (to_8bit(x) == 90).all()

    @pytest.mark.parametrize("shape", [(8, 8), (8, 8, 2), (0, 8, 1), (8, 8, 1, 1), 8, (8, -1, 3)])
    def test_wrong_shapes_are_named(self, tmp_path, shape):
        with pytest.raises(ValueError, match="shape must be"):
            read_image(written(tmp_path, Image.fromarray(random_pixels(3, 3))), shape)


def chunk(name, content):
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def bomb(width, height):
    """A PNG that says it is so large, and begins with some black pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


class TestDamage:
    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match="nowhere.png: no such file"):
            read_image(tmp_path / "nowhere.png")

    def test_folder(self, tmp_path):
        with pytest.raises(DataError, match="directory|Permission"):
            read_image(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", bytes(1000)])
    def test_no_image(self, tmp_path, content):
        path = tmp_path / "text.png"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"text\.png: not an image"):
            read_image(path)

    @pytest.mark.parametrize(
        "side", [10_000, 60_000]
    )  # Pillow warns of the first and refuses the second
    def test_decompression_bomb(self, tmp_path, side):
        path = tmp_path / "bomb.png"
        path.write_bytes(bomb(side, side))
        with pytest.raises(DataError, match=r"bomb\.png: more than [\d,]+ pixels"):
            read_image(path)

    @pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
    def test_cut_short_or_scrambled_it_is_read_or_named(self, tmp_path, ending):
        path, rng = tmp_path / f"image.{ending}", np.random.default_rng(0)
        Image.fromarray(random_pixels(9, 11, 3)).save(path)
        whole = path.read_bytes()
        errors = []
        for i in range(60):
            damaged = np.frombuffer(whole, np.uint8).copy()
            if i % 2:
                damaged = damaged[: rng.integers(len(whole))]
            else:
                damaged[rng.integers(len(whole), size=4)] = rng.integers(256, size=4)
            path.write_bytes(damaged.tobytes())
            try:
                assert read_image(path, (8, 8, 1)).shape == (1, 8, 8, 1)
            except DataError as error:
                errors.append(str(error))
        assert len(errors) > 15
        assert all(
            error.startswith(f"{path}: ") and len(error) > len(f"{path}: ") for error in errors
        )


class TestSave:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_what_is_saved_is_read(self, tmp_path, channels):
        pixels = random_pixels(1, 5, 7, channels)
        x = from_8bit(pixels, bounds=(-1, 1))
        path = save_image(x, str(tmp_path / "new" / "image.png"), bounds=(-1, 1))
        assert path == tmp_path / "new" / "image.png"
        assert (np.asarray(Image.open(path)).reshape(pixels.shape) == pixels).all()
        assert read_image(path, bounds=(-1, 1)).tobytes() == x.tobytes()

    def test_a_digit(self, tmp_path, xp):
        x = data.digits().x_test[:1]
        back = read_image(save_image(x, tmp_path / "digit.png"))
        assert isinstance(back, xp.ndarray)
        assert np.abs(to_numpy(back) - to_numpy(x)).max() <= 0.5 / 255 + 1e-7

    @pytest.mark.parametrize(
        ("error", "named", "x", "name"),
        [
            (ValueError, r"end in \.png", np.zeros((1, 2, 2, 1)), "image.jpg"),
            (ValueError, "one image", np.zeros((2, 2, 2, 1)), "image.png"),
            (ValueError, "one image", np.zeros((1, 2, 2, 2)), "image.png"),
            (ValueError, "one image", np.zeros((1, 4)), "image.png"),
            (ValueError, "bounds", np.full((1, 2, 2, 1), 2.0), "image.png"),
            (TypeError, "uint8", np.zeros((1, 2, 2, 1), np.uint8), "image.png"),
        ],
    )
    def test_wrong_arguments_are_named(self, tmp_path, error, named, x, name):
        with pytest.raises(error, match=named):
            save_image(x, tmp_path / name)
        assert list(tmp_path.iterdir()) == []
