from functools import partial

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from minadv import data, inference, models, plotting
from minadv.attacks.fgsm import fgsm
from minadv.attacks.one_pixel import one_pixel
from minadv.attacks.result import AttackResult
from minadv.backend import array_module, to_numpy
from minadv.images import from_8bit, read_image, save_image
from minadv.images.attack import attack_image
from minadv.layers import Dense, Flatten, Sequential
from minadv.training import fit

NAMES = ["cat", "dog", "African chameleon"]
FILES = {"cat_attack.png", "cat_adversarial.npy", "cat_adversarial.png"}


def brightness(x):
    """Three classes: darker than 100.4 of 255 on average, up to 200.6, brighter."""
    value = x.reshape(len(x), -1).mean(axis=1, keepdims=True) * 255
    return value * np.array([0, 1, 2], np.float32) - np.array([0, 100.4, 301], np.float32)


def shift(by, asked=None):
    """An attack that adds ``by`` of 255 to every pixel value, and notes in ``asked`` how it was
    called."""

    def attack(model, x, **arguments):
        if asked is not None:
            asked.append(arguments)
        x_adv = (x + np.float32(by / 255)).clip(0, 1)
        label = model(x_adv).argmax(axis=1)
        targeted = "target" in arguments
        success = label == arguments["target"] if targeted else label != arguments["y"]
        return AttackResult(x, x_adv, label, success, np.ones(len(x), int))

    return attack


@pytest.fixture
def cat(tmp_path):
    """A gray image, class 0, in a folder of its own."""
    return save_image(
        from_8bit(np.full((1, 4, 5, 1), 90, np.uint8)), tmp_path / "images" / "cat.png"
    )


def others(path):
    return {p.name for p in path.parent.iterdir()} - {path.name}


class TestOneCall:
    def test_the_files(self, cat):
        before = cat.read_bytes()
        attacked = attack_image(cat, brightness, shift(60), class_names=NAMES)
        assert others(cat) == FILES
        assert {key: path.name for key, path in attacked.files.items()} == {
            "figure": "cat_attack.png",
            "exact": "cat_adversarial.npy",
            "stored": "cat_adversarial.png",
        }
        assert cat.read_bytes() == before
        exact = np.load(attacked.files["exact"], allow_pickle=False)
        assert exact.dtype == np.float32
        assert exact.tobytes() == attacked.result.x_adv.tobytes()
        assert (np.asarray(Image.open(attacked.files["stored"])) == 150).all()
        with Image.open(attacked.files["figure"]) as figure:
            assert figure.text["Description"].startswith("cat.png as it was, read as cat (")
            assert "read as dog (" in figure.text["Description"]

    def test_what_the_model_sees(self, cat):
        attacked = attack_image(cat, brightness, shift(60), class_names=NAMES)
        x = read_image(cat)
        for seen, image in (
            (attacked.original, x),
            (attacked.adversarial, x + np.float32(60 / 255)),
        ):
            z = brightness(image)[0].astype(float)
            assert (seen.label, seen.name) == (z.argmax(), NAMES[z.argmax()])
            assert seen.confidence == pytest.approx(np.exp(z.max()) / np.exp(z).sum(), rel=1e-4)
        assert attacked.success is True
        assert attacked.survives_8bit is True
        assert (
            str(attacked)
            == "cat.png: cat (100.0%) -> dog (100.0%), by at most 0.235 per pixel value; "
            "stored in 8 bits dog (100.0%)"
        )

    def test_three_panels(self, cat):
        figure = attack_image(cat, brightness, shift(60), class_names=NAMES).figure
        assert isinstance(figure, Figure)
        titles = [ax.get_title() for ax in figure.axes[:3]]
        assert [title.splitlines()[0] for title in titles] == [
            "original",
            "perturbation",
            "adversarial",
        ]
        assert "cat, 100.0%" in titles[0]
        assert "dog, 100.0%" in titles[2]
        assert figure.get_suptitle() == "cat.png"

    def test_into_another_folder(self, cat, tmp_path):
        attack_image(str(cat), brightness, shift(60), out=str(tmp_path / "new" / "folder"))
        assert others(cat) == set()
        assert {p.name for p in (tmp_path / "new" / "folder").iterdir()} == FILES

    def test_a_failure_is_kept_too(self, cat):
        attacked = attack_image(cat, brightness, shift(5))
        assert (attacked.success, attacked.survives_8bit) == (False, False)
        assert others(cat) == FILES

    def test_color_and_the_models_own_shape(self, tmp_path):
        path = tmp_path / "photo.jpg"
        Image.new("RGB", (40, 30), (90, 90, 90)).save(path)
        shapes = []

        def model(x):
            shapes.append(x.shape[1:])
            return brightness(x)

        attack_image(path, model, shift(60))
        attack_image(path, model, shift(60), shape=(6, 7, 1))
        assert set(shapes) == {(30, 40, 3), (6, 7, 1)}
        assert (tmp_path / "photo_jpg_adversarial.png").exists()

    def test_other_bounds(self, cat):
        model = Sequential(Flatten(), Dense(20, 3))
        attacked = attack_image(cat, model, partial(fgsm, eps=20 / 255 * 2), bounds=(-1, 1))
        np.testing.assert_allclose(attacked.result.x, 90 / 255 * 2 - 1, rtol=1e-6)
        stored = np.asarray(Image.open(attacked.files["stored"]))
        assert set(stored.ravel().tolist()) == {70, 110}
        assert read_image(attacked.files["stored"], bounds=(-1, 1)).shape == (1, 4, 5, 1)

    def test_on_every_backend(self, tmp_path, xp):
        d = data.digits()
        path = save_image(d.x_test[:1], tmp_path / "digit.png")
        model = models.mlp((8, 8, 1))
        fit(model, d.x_train, d.y_train, batch_size=64, epochs=2, progress=False)
        attacked = attack_image(path, model, partial(fgsm, eps=0.3))
        assert array_module(attacked.result.x_adv) is xp
        assert attacked.success is True
        own = inference.logits(model, read_image(path)).argmax(axis=1)
        assert attacked.original.label == int(own[0])
        assert (
            np.load(attacked.files["exact"]).tobytes() == to_numpy(attacked.result.x_adv).tobytes()
        )


class TestGoal:
    def test_the_models_own_prediction_by_default(self, cat):
        asked = []
        attack_image(cat, brightness, shift(60, asked))
        assert asked == [{"y": 0}]

    @pytest.mark.parametrize("target", [2, "African chameleon", np.int64(2)])
    def test_a_target_by_label_or_by_name(self, cat, target):
        asked = []
        attacked = attack_image(
            cat, brightness, shift(150, asked), target=target, class_names=NAMES
        )
        assert asked == [{"target": 2}]
        assert attacked.success
        assert attacked.adversarial.name == "African chameleon"

    def test_names_are_numbers_by_default(self, cat):
        assert attack_image(cat, brightness, shift(150), target="2").adversarial.name == "2"

    @pytest.mark.parametrize("y", [1, "dog"])
    def test_a_label_that_the_model_does_not_see(self, cat, y):
        asked = []
        attacked = attack_image(cat, brightness, shift(60, asked), y=y, class_names=NAMES)
        assert asked == [{"y": 1}]
        assert not attacked.success  # 0 was no 1, and now it is one

    def test_an_attack_of_the_package(self, cat):
        attacked = attack_image(
            cat, brightness, partial(one_pixel, pixels=20, population=10, generations=20)
        )
        assert attacked.success
        assert attacked.adversarial.label == 1


class TestRounding:
    """The threshold is at 100.4: a mean of 100.45 is beyond it, and its rounded 100 is not."""

    def test_what_rounding_undoes_is_told(self, cat):
        with pytest.warns(
            UserWarning,
            match=r"undoes the attack: cat_adversarial.png is read as cat .* read as dog",
        ):
            attacked = attack_image(cat, brightness, shift(10.45), class_names=NAMES)
        assert attacked.success
        assert not attacked.survives_8bit
        assert (attacked.adversarial.name, attacked.stored.name) == ("dog", "cat")
        assert brightness(np.load(attacked.files["exact"])).argmax() == 1
        assert brightness(read_image(attacked.files["stored"])).argmax() == 0

    @pytest.mark.parametrize("by", [5, 10.35, 10.55, 60])  # pytest makes an error of any warning
    def test_nothing_is_said_where_nothing_is_lost(self, cat, by):
        attacked = attack_image(cat, brightness, shift(by))
        assert attacked.survives_8bit == attacked.success == (by > 10.4)

    def test_targeted(self, cat):
        with pytest.warns(UserWarning, match="undoes"):
            attack_image(cat, brightness, shift(10.45), target=1)
        assert not attack_image(cat, brightness, shift(10.45), target=2).success

    def test_beyond_the_target_is_undone_too(self, cat):
        with pytest.warns(UserWarning, match="read as 2 .* read as 1"):
            attacked = attack_image(
                cat, brightness, shift(110.55), target=1
            )  # 200.55 is a 1, and 201 a 2
        assert attacked.success
        assert not attacked.survives_8bit


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "named", "arguments"),
        [
            (
                ValueError,
                "target must name a class: no class is called 'dg', there is dog",
                {"target": "dg"},
            ),
            (
                ValueError,
                "y must name a class: no class is called 'bird', there is cat, dog",
                {"y": "bird"},
            ),
            (
                ValueError,
                "more than one class is called 'dog'",
                {"target": "dog", "class_names": ["cat", "dog", "dog"]},
            ),
            (ValueError, "class_names must be 3 names", {"class_names": ["cat", "dog"]}),
            (ValueError, "class_names must be 3 names", {"class_names": [1, 2, 3]}),
            (
                ValueError,
                "exactly one",
                {"y": 0, "target": 1, "attack": partial(one_pixel, population=4)},
            ),
            (
                ValueError,
                "target must lie in",
                {"target": 3, "attack": partial(one_pixel, population=4)},
            ),
            (TypeError, "attack must be callable, got 'fgsm'", {"attack": "fgsm"}),
            (
                TypeError,
                r"callable as attack\(model, x, y=...\): missing a required .*'eps'",
                {"attack": fgsm},
            ),
            (
                TypeError,
                "callable as attack.*'target'",
                {"attack": lambda model, x, *, target: None},
            ),
            (
                TypeError,
                "must return an AttackResult, got ndarray",
                {"attack": lambda model, x, **_: x},
            ),
            (ValueError, "shape must be", {"shape": (4, 5)}),
            (ValueError, "no such file", {"path": "nowhere.png"}),
            (TypeError, "path|str", {"path": 3}),
            (ValueError, "bounds", {"bounds": (1, 0)}),
            (ValueError, "logits", {"model": lambda x: x}),
        ],
    )
    def test_wrong_arguments_are_named_and_nothing_is_written(self, cat, error, named, arguments):
        given = {
            "path": cat,
            "model": brightness,
            "attack": shift(60),
            "class_names": NAMES,
            **arguments,
        }
        with pytest.raises(error, match=named):
            attack_image(**given)
        assert others(cat) == set()

    def test_an_error_in_the_attack_is_its_own(self, cat):
        def attack(model, x, **_):
            raise TypeError("inside")

        with pytest.raises(TypeError, match="^inside$"):
            attack_image(cat, brightness, attack)

    def test_each_file_is_whole(self, cat, monkeypatch):
        def save(*_, **__):
            raise OSError("disk full")

        monkeypatch.setattr(plotting, "save", save)
        with pytest.raises(OSError, match="disk full"):
            attack_image(cat, brightness, shift(60))
        assert others(cat) == set()
