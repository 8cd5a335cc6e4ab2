"""``python -m minadv``: what it prints, what it writes, and its exit code."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from minadv import __main__ as command_line
from minadv import data, models
from minadv.images import read_image, save_image
from minadv.layers import Dense, Flatten, Sequential
from minadv.training import fit


def run(capsys, *arguments):
    """(exit code, standard output, standard error) of ``python -m minadv attack ...``."""
    try:
        code = command_line.main(["attack", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small network's weights, and the first test digit, a 0, as a PNG."""
    folder = tmp_path_factory.mktemp("trained")
    d = data.digits()
    model = models.mlp((8, 8, 1))
    fit(model, d.x_train, d.y_train, batch_size=64, epochs=5, progress=False)
    return models.save_weights(model, folder / "mlp.npz"), save_image(
        d.x_test[:1], folder / "digit.png"
    )


@pytest.fixture
def mlp(trained, tmp_path):
    """The arguments for that network and that digit, in a folder of its own."""
    weights, digit = trained
    image = tmp_path / "digit.png"
    image.write_bytes(digit.read_bytes())
    return [image, "--model", "mlp", "--weights", weights]


class TestAttack:
    def test_success(self, capsys, mlp, tmp_path):
        code, out, err = run(capsys, *mlp, "--eps", "0.4", "--out", tmp_path / "out")
        assert (code, err) == (0, "")
        first, *files = out.splitlines()
        assert first.startswith("digit.png: 0 (")
        assert "by at most 0.4 per pixel value" in first
        assert files == [
            str(tmp_path / "out" / f"digit_{name}")
            for name in ("attack.png", "adversarial.npy", "adversarial.png")
        ]
        assert {p.name for p in (tmp_path / "out").iterdir()} == {
            "digit_attack.png",
            "digit_adversarial.npy",
            "digit_adversarial.png",
        }

    def test_failure_is_told_by_the_exit_code(self, capsys, mlp):
        code, out, _ = run(capsys, *mlp, "--eps", "0")
        assert code == 1
        assert out.startswith("digit.png: 0 (")

    @pytest.mark.parametrize(
        "attack",
        [
            ["fgsm", "--eps", "102/255"],
            ["iterative_fgsm", "--eps", "0.4", "--steps", "5"],
            ["pgd", "--eps", "0.4", "--steps", "3", "--no-random-start", "--alpha", "0.2"],
            ["deepfool", "--overshoot", "0.1"],
            ["jsma", "--target", "8"],
            [
                "one_pixel",
                "--pixels",
                "12",
                "--population",
                "40",
                "--rng",
                "1",
                "--mutation",
                "0.8",
            ],
        ],
        ids=lambda words: words[0],
    )
    def test_each_attack(self, capsys, mlp, attack):
        code, out, err = run(capsys, *mlp, "--attack", *attack)
        assert (code, err) == (0, "")
        assert out.startswith("digit.png: 0 (")

    def test_options_arrive(self, capsys, mlp, monkeypatch):
        arrived = {}

        def noted(
            model,
            x,
            *,
            y=None,
            target=None,
            eps: float,
            steps: "int | None" = None,
            loud: "bool" = True,
            bounds: "tuple" = (0, 1),
        ):
            arrived.update(eps=eps, steps=steps, loud=loud, y=y, target=target)
            return command_line.fgsm(model, x, y=y, target=target, eps=eps)

        noted.__annotations__ = {
            "eps": "float",
            "steps": "int | None",
            "loud": "bool",
            "bounds": "tuple[float, float]",
        }
        monkeypatch.setitem(command_line.ATTACKS, "noted", noted)
        run(capsys, *mlp, "--attack", "noted", "--eps", "1e-3")
        assert arrived == {"eps": 0.001, "steps": None, "loud": True, "y": 0, "target": None}
        run(
            capsys,
            *mlp,
            "--attack",
            "noted",
            "--eps",
            "1/8",
            "--steps",
            "3",
            "--no-loud",
            "--target",
            "6",
        )
        assert arrived == {"eps": 0.125, "steps": 3, "loud": False, "y": None, "target": 6}
        run(capsys, *mlp, "--attack", "noted", "--eps", "0", "--y", "5")
        assert (arrived["y"], arrived["target"]) == (5, None)

    def test_names_weights_and_shape(self, capsys, tmp_path):
        image, names, weights = tmp_path / "photo.png", tmp_path / "names.txt", tmp_path / "cnn.npz"
        Image.fromarray(
            np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        ).save(image)
        names.write_text("Healthy\nUnhealthy\n", encoding="utf-8-sig")  # as Notepad does
        models.save_weights(models.cnn((9, 10, 1), 2), weights)
        given = [image, "--weights", weights, "--shape", 9, 10, 1, "--names", names, "--eps", "0.9"]
        code, out, err = run(capsys, *given)
        assert (code, err) == (0, "")
        assert "Healthy (" in out
        assert "Unhealthy (" in out
        aimed, out, _ = run(capsys, *given, "--target", "Unhealthy")
        assert aimed in (0, 1)
        assert np.load(tmp_path / "photo_adversarial.npy").shape == (1, 9, 10, 1)

    def test_resnet18_of_torchvision_and_names_of_imagenet(self, capsys, tmp_path):
        """Random weights, a drawn leaf of another size; the name is that of the likeliest class."""
        pytest.importorskip("safetensors")
        image, weights, names = (tmp_path / n for n in ("l.png", "r18.safetensors", "names.txt"))
        leaf = data.leaves(5, size=96, rng=0).x_train[:1]
        save_image(leaf[:, :, :80], image)
        model = models.resnet18(20, rng=1)
        models.save_weights(model, weights)
        names.write_text("".join(f"a thing, number {i}\n" for i in range(20)))
        given = [image, "--weights", weights, "--names", names, "--eps", "16/255"]
        code, out, err = run(capsys, *given)
        assert err == ""
        seen = read_image(image, (224, 224, 3))
        assert out.startswith(f"l.png: a thing, number {int(model(seen).argmax())} (")
        exact = np.load(tmp_path / "l_adversarial.npy")
        assert exact.shape == (1, 224, 224, 3)
        assert 0 <= exact.min() < exact.max() <= 1  # pixels: the model normalizes inside
        assert code == int(model(exact).argmax() == model(seen).argmax())

    def test_resnet18_needs_weights(self, capsys, mlp):
        given = (mlp[0], "--model", "resnet18", "--eps", "0.1")
        assert_one_line_of_error("--model resnet18 needs --weights", *run(capsys, *given))

    def test_without_safetensors(self, capsys, mlp, monkeypatch):
        monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
        (mlp[0].parent / "w.safetensors").touch()
        given = (mlp[0], "--weights", mlp[0].parent / "w.safetensors", "--eps", "0.1")
        assert_one_line_of_error("pip install safetensors", *run(capsys, *given))

    def test_without_weights_it_trains_on_the_sample(self, capsys, tmp_path, monkeypatch):
        monkeypatch.setitem(
            command_line.MODELS, "mlp", (models.mlp, {"batch_size": 64, "epochs": 1})
        )
        image = save_image(data.mnist_sample().x_test[:1], tmp_path / "seven.png")
        code, out, err = run(capsys, image, "--model", "mlp", "--eps", "0.2")
        assert (code, err) == (0, "")
        assert out.startswith("seven.png: 7 (")

    def test_ctrl_c_while_it_trains_attacks_nothing(self, capsys, mlp, tmp_path, monkeypatch):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(command_line.training, "fit", interrupted)
        code, out, err = run(capsys, mlp[0], "--model", "mlp", "--eps", "0.4")
        assert (code, out) == (130, "")
        assert err == "python -m minadv attack: interrupted: nothing was attacked\n"
        assert [p.name for p in tmp_path.iterdir()] == ["digit.png"]

    def test_a_warning_is_one_line(self, capsys, mlp, monkeypatch):
        """A linear model on the brink: FGSM takes it over by less than rounding takes back."""
        model = Sequential(Flatten(), Dense(64, 10))
        bias = np.full(10, -1e9, np.float32)
        bias[:2] = 0, -np.float32(10.45 / 255 * 64)
        weight = np.zeros((64, 10), np.float32)
        weight[:, 1] = 1
        model.parameters = {"1.weight": weight, "1.bias": bias}
        monkeypatch.setattr(command_line, "load_model", lambda options, names: (model, (8, 8, 1)))
        Image.new("L", (8, 8), 0).save(mlp[0])
        code, _, err = run(capsys, *mlp, "--eps", 10.47 / 255)
        assert code == 0
        assert err.startswith(
            "python -m minadv attack: warning: rounding to 8 bits undoes the attack: "
            "digit_adversarial.png is read as 0"
        )
        assert err.count("\n") == 1


def assert_one_line_of_error(named, code, out, err):
    assert (code, out) == (2, "")
    assert err.startswith("python -m minadv")
    assert "error: " in err
    assert named in err
    assert err.count("\n") == 1


class TestErrors:
    @pytest.mark.parametrize(
        ("named", "arguments"),
        [
            ("required: --eps", []),
            ("required: --target", ["--attack", "jsma"]),
            ("unrecognized arguments: --target 3", ["--attack", "deepfool", "--target", "3"]),
            ("unrecognized arguments: --pixels 3", ["--eps", "0.1", "--pixels", "3"]),
            ("unrecognized arguments: --ep 0.1", ["--eps", "0.1", "--ep", "0.1"]),
            ("invalid choice: 'fgms'", ["--attack", "fgms", "--eps", "0.1"]),
            ("--attack: expected one argument", ["--eps", "0.1", "--attack"]),
            ("invalid number value: 'much'", ["--eps", "much"]),
            ("invalid number value: '1/0'", ["--eps", "1/0"]),
            ("invalid number value: 'nan'", ["--eps", "nan"]),
            ("invalid number value: '1e999'", ["--eps", "1e999"]),
            ("eps must be >= 0, got -0.1", ["--eps", "-0.1"]),
            ("target must lie in 0..9", ["--eps", "0.1", "--target", "10"]),
            ("no class is called 'bird'", ["--eps", "0.1", "--target", "bird"]),
            ("exactly one of y", ["--eps", "0.1", "--target", "3", "--y", "0"]),
            ("weights.npz", ["--eps", "0.1", "--weights", "weights.npz"]),
            ("test_command_line.py", ["--eps", "0.1", "--weights", __file__]),
            ("expected (100, 128)", ["--eps", "0.1", "--shape", "10", "10", "1"]),
            ("names.txt", ["--eps", "0.1", "--names", "names.txt"]),
            ("at least 7 x 7", ["--eps", "0.1", "--model", "cnn", "--shape", "3", "3", "1"]),
        ],
    )
    def test_one_clear_line(self, capsys, mlp, named, arguments, tmp_path):
        assert_one_line_of_error(named, *run(capsys, *mlp, *arguments))
        assert [p.name for p in tmp_path.iterdir()] == ["digit.png"]

    @pytest.mark.parametrize(
        ("named", "image"),
        [("no such file", "nowhere.png"), ("not an image", __file__), ("irectory", ".")],
    )
    def test_no_image(self, capsys, mlp, named, image):
        assert_one_line_of_error(named, *run(capsys, image, *mlp[1:], "--eps", "0.1"))

    def test_no_gpu(self, capsys, mlp, monkeypatch):
        monkeypatch.setitem(sys.modules, "cupy", None)
        assert_one_line_of_error(
            "needs CuPy", *run(capsys, *mlp, "--eps", "0.1", "--backend", "cupy")
        )

    def test_shape_without_weights(self, capsys, mlp):
        given = [mlp[0], "--eps", "0.1", "--shape", "8", "8", "1"]
        assert_one_line_of_error("--shape is for the model of --weights", *run(capsys, *given))


class TestAsAProgram:
    def python(self, folder, *arguments):
        command = [sys.executable, "-W", "error", "-m", "minadv", *map(str, arguments)]
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        return subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            timeout=100,
        )

    def test_attack(self, mlp, tmp_path):
        done = self.python(tmp_path, "attack", *mlp, "--eps", "0.4")
        assert done.stderr == ""
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 4
        assert (tmp_path / "digit_attack.png").exists()

    def test_help_names_the_options_of_the_attack(self, tmp_path):
        done = self.python(tmp_path, "attack", "--attack", "pgd", "--help")
        assert done.returncode == 0
        assert "options of pgd" in done.stdout
        assert "--restarts" in done.stdout
        assert "--pixels" not in done.stdout

    def test_no_command(self, tmp_path):
        done = self.python(tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
