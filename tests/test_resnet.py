"""ResNet-18 and its small relatives against PyTorch, and weights in PyTorch's files."""

import sys

import numpy as np
import pytest

from minadv import losses, models
from minadv.attacks.deepfool import deepfool
from minadv.autograd import vjp
from minadv.checks import check_float_dtype
from minadv.defenses import VAE
from minadv.layers import (
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Normalize,
    ReLU,
    Residual,
    Sequential,
)
from minadv.models import load_weights, resnet, resnet18, save_weights
from minadv.torch_layout import from_torch, to_torch


def images(*shape, dtype=np.float32):
    return np.random.default_rng(0).random(shape).astype(dtype)


def peer_of(**how):
    """A network of PyTorch's with weights and statistics that are not trivial."""
    pytest.importorskip("torch")
    from tests.resnet_torch import ResNet, seasoned

    return seasoned(ResNet(**how))


def file_of(network, path):
    """Its weights as torchvision and timm offer them."""
    return pytest.importorskip("safetensors.torch").save_file(network.state_dict(), path) or path


def both(network, model, x, y):
    """Logits and input gradients, of PyTorch and of ours."""
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    expected = network(tensor)
    torch.nn.functional.cross_entropy(expected, torch.tensor(y), reduction="sum").backward()
    value, pull = vjp(model, x)
    _, pull_loss = vjp(lambda z: losses.cross_entropy(z, y).sum(), value)
    slope = tensor.grad.numpy().transpose(0, 2, 3, 1)
    return (expected.detach().numpy(), slope), (value, pull(pull_loss(value.dtype.type(1))))


def apart(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Torch's and ours, for images normalized before, by the file of its weights."""
    network = peer_of()
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    return network, load_weights(resnet18(normalize=False), file_of(network, path))


class TestResNet18:
    @pytest.mark.parametrize("shape", [(224, 224), (65, 90)])
    def test_logits_and_gradients_are_torchs(self, pair, shape):
        network, model = pair
        (z, g), (own_z, own_g) = both(network, model, images(1, *shape, 3), np.array([3]))
        assert z.std() > 1
        np.testing.assert_allclose(own_z, z, atol=1e-4 * np.abs(z).max())
        assert apart(own_g, g) < 1e-3
        np.testing.assert_allclose(own_g, g, atol=1e-3 * np.abs(g).max())

    def test_its_size(self, pair):
        model = pair[1]
        assert sum(a.size for a in model.parameters.values()) == 11_689_512  # as torchvision says
        shapes = [a.shape[1:] for a in model.activations(images(1, 224, 224, 3))]
        assert shapes[:4] == [(112, 112, 64)] * 3 + [(56, 56, 64)]
        assert shapes[4:] == [
            *((56, 56, 64), (28, 28, 128), (14, 14, 256), (7, 7, 512), (512,), (1000,))
        ]

    def test_images_are_normalized_inside(self):
        model = resnet18(2)
        x = images(1, 40, 32, 3)
        mean, std = (np.float32(v) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        np.testing.assert_allclose(model(x), model[1:]((x - mean) / std), rtol=1e-4, atol=1e-4)
        assert "conv1.weight" in to_torch(model)  # as without


class TestSmall:
    @pytest.mark.parametrize(
        "how",
        [
            {"widths": (4, 6), "blocks": (1, 2), "large": False},
            {"widths": (3,), "blocks": (1,), "large": True},
            {"widths": (2, 3, 4), "blocks": (2, 1, 1), "large": False},
        ],
    )
    def test_against_torch(self, tmp_path, how):
        network = peer_of(channels=1, classes=5, **how)
        path = file_of(network, tmp_path / "w.safetensors")
        model = load_weights(resnet(1, 5, **how), path)
        (z, g), (own_z, own_g) = both(network, model, images(3, 28, 27, 1), np.arange(3))
        np.testing.assert_allclose(own_z, z, atol=1e-5 * np.abs(z).max())
        assert apart(own_g, g) < 1e-4

    def test_batch_normalization_of_a_flattened_image_against_torch(self, tmp_path):
        torch, rng = pytest.importorskip("torch"), np.random.default_rng(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.BatchNorm1d(30),
            torch.nn.Linear(30, 3),
        ).eval()  # fmt: skip
        with torch.no_grad():
            for name, a in network.state_dict().items():
                if name.startswith("2.") and a.ndim:
                    a.copy_(torch.from_numpy(rng.uniform(0.5, 2, a.shape)))
        model = Sequential(Conv2D(1, 2, 3), Flatten(), BatchNorm(30), Dense(30, 3))
        load_weights(model, file_of(network, tmp_path / "w.safetensors"))
        (z, g), (own_z, own_g) = both(network, model, images(3, 7, 5, 1), np.arange(3))
        np.testing.assert_allclose(own_z, z, atol=1e-5 * np.abs(z).max())
        assert apart(own_g, g) < 1e-4
        theirs = {n: a.numpy() for n, a in network.state_dict().items() if "tracked" not in n}
        assert all(np.array_equal(a, theirs[name]) for name, a in to_torch(model).items())

    def test_a_flattened_image_of_normalized_channels_against_torch(self, tmp_path):
        torch = pytest.importorskip("torch")
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, 3))
        model = Sequential(Normalize([0.0] * 3, [1.0] * 3), Flatten(), Dense(24, 3))
        load_weights(model, file_of(network, tmp_path / "w.safetensors"))
        (z, g), (own_z, own_g) = both(network, model, images(3, 4, 2, 3), np.arange(3))
        np.testing.assert_allclose(own_z, z, atol=1e-5 * np.abs(z).max())
        assert apart(own_g, g) < 1e-4

    def test_attacks_take_it(self):
        result = deepfool(resnet(1, 3, widths=(4, 4)[:1], blocks=(1,)), images(4, 9, 9, 1))
        assert result.success.all()

    @pytest.mark.parametrize(
        ("how", "error", "message"),
        [
            ({"widths": 3}, ValueError, r"widths must be \(stage 1\), got 3"),
            ({"widths": (), "blocks": ()}, ValueError, r"widths must be \(stage 1\), got \(\)"),
            (
                {"widths": (3, 4)},
                ValueError,
                r"blocks must be \(stage 1, stage 2\), got \(1, 1, 1\)",
            ),
            ({"widths": (3, 0, 1)}, ValueError, "widths must be >= 1, got 0"),
            ({"large": 1}, TypeError, "large must be True or False, got 1"),
            ({"normalize": 0.5}, ValueError, r"normalize must be a pair \(mean, std\), got 0.5"),
            ({"dtype": int}, TypeError, "dtype must be a floating-point one, got int64"),
        ],
    )
    def test_arguments(self, how, error, message):
        with pytest.raises(error, match=message):
            resnet(1, 3, **how)


class TestFiles:
    """What does not fit is named as in the file, and the model keeps its weights."""

    how = {"widths": (2, 3), "blocks": (1, 1)}  # noqa: RUF012

    def state(self):
        return {
            name: np.ascontiguousarray(a) for name, a in to_torch(resnet(1, 3, **self.how)).items()
        }

    def refuses(self, tmp_path, state, *parts):
        safetensors = pytest.importorskip("safetensors.numpy")
        path, model = tmp_path / "w.safetensors", resnet(1, 3, rng=1, **self.how)
        path.write_bytes(state if isinstance(state, bytes) else safetensors.save(state))
        before = {name: a.copy() for name, a in model.arrays.items()}
        with pytest.raises(ValueError, match="w.safetensors") as caught:
            load_weights(model, path)
        for part in parts:
            assert part in str(caught.value)
        assert all((model.arrays[name] == a).all() for name, a in before.items())

    def test_names(self):
        assert set(self.state()) == {
            "conv1.weight",
            *(f"bn1.{kind}" for kind in ("weight", "bias", "running_mean", "running_var")),
            *(
                f"layer{stage}.0.{name}"
                for stage in (1, 2)
                for name in (
                    "conv1.weight",
                    "conv2.weight",
                    *(f"bn{i}.{kind}" for i in (1, 2)
                      for kind in ("weight", "bias", "running_mean", "running_var")),
                )
            ),
            "layer2.0.downsample.0.weight",
            *(f"layer2.0.downsample.1.{kind}"
              for kind in ("weight", "bias", "running_mean", "running_var")),
            "fc.weight",
            "fc.bias",
        }  # fmt: skip

    def test_missing_unknown_and_of_another_shape(self, tmp_path):
        state = self.state()
        state["layer3.0.conv1.weight"] = state.pop("layer1.0.bn1.running_mean")
        state["fc.weight"] = np.ones((4, 3), np.float32)
        self.refuses(
            tmp_path,
            state,
            "layer1.0.bn1.running_mean is missing",
            "layer3.0.conv1.weight is unknown",
            "fc.weight has shape (4, 3), expected (3, 3)",
        )

    def test_another_network_is_named_in_a_few_words(self, tmp_path):
        state = {f"blocks.{i}.attn.qkv.weight": np.ones(1, np.float32) for i in range(300)}
        self.refuses(tmp_path, state, "conv1.weight is missing", "more")
        with pytest.raises(ValueError, match="more") as caught:
            from_torch(resnet18(), state)
        assert len(str(caught.value)) < 1000

    def test_damaged(self, tmp_path):
        safetensors = pytest.importorskip("safetensors.numpy")
        whole = safetensors.save(self.state())
        for content in (b"", b"junk", whole[:7], whole[:200], whole[:-1], b"\x80\x04K\x01."):
            self.refuses(tmp_path, content, "no readable .safetensors file")

    def test_no_numbers(self, tmp_path):
        self.refuses(tmp_path, self.state() | {"fc.bias": np.ones(3, bool)}, "other things than")

    def test_batches_tracked_are_ignored_and_half_precision_is_widened(self, tmp_path):
        safetensors = pytest.importorskip("safetensors.numpy")
        state = {name: a.astype(np.float16) for name, a in self.state().items()}
        state["layer1.0.bn1.num_batches_tracked"] = np.array(7)
        path = tmp_path / "w.safetensors"
        path.write_bytes(safetensors.save(state))
        model = load_weights(resnet(1, 3, rng=1, **self.how), path)
        assert model[0].weight.dtype == np.float32
        np.testing.assert_allclose(model[0].weight, resnet(1, 3, **self.how)[0].weight, atol=1e-3)

    def test_a_missing_file_and_a_missing_package(self, tmp_path, monkeypatch):
        pytest.importorskip("safetensors")
        with pytest.raises(FileNotFoundError):
            load_weights(resnet(1, 3), tmp_path / "nowhere.safetensors")
        monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
        for call in (load_weights, save_weights):
            with pytest.raises(ModuleNotFoundError, match="pip install safetensors"):
                call(resnet(1, 3), tmp_path / "w.safetensors")

    def test_there_and_back(self, tmp_path, xp):
        pytest.importorskip("safetensors")
        x = xp.asarray(images(2, 9, 9, 1))
        model, other = (resnet(1, 3, rng=i, **self.how) for i in (0, 1))
        again = load_weights(other, save_weights(model, tmp_path / "w.safetensors"))
        assert (again(x) == model(x)).all()


class TestOtherNetworks:
    """A ``torch.nn.Sequential`` of the same layers."""

    def test_against_torch(self):
        torch = pytest.importorskip("torch")
        nn = torch.nn
        peer = nn.Sequential(
            nn.Conv2d(3, 4, (3, 2), stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=4),
            nn.ConvTranspose2d(4, 5, 2, stride=2), nn.BatchNorm2d(5), nn.Flatten(),
            nn.Linear(5 * 6 * 8, 7), nn.ReLU(), nn.Linear(7, 2),
        ).eval()  # fmt: skip
        model = Sequential(
            Normalize([0.1, 0.2, 0.3], [0.5, 0.4, 0.3]),  # there left to the caller
            Conv2D(3, 4, (3, 2), stride=2), ReLU(), DepthwiseConv2D(4, 3, padding=1),
            ConvTranspose2D(4, 5, 2, stride=2), BatchNorm(5), Flatten(),
            Dense(5 * 6 * 8, 7), ReLU(), Dense(7, 2),
        )  # fmt: skip
        state = {name: a.numpy() for name, a in peer.state_dict().items() if "num_" not in name}
        model.arrays = from_torch(model, state)
        x = images(3, 8, 9, 3)
        x = x[:, :8, :9]
        given = torch.from_numpy(model[0](x).transpose(0, 3, 1, 2).copy())
        np.testing.assert_allclose(model(x), peer(given).detach().numpy(), rtol=1e-4, atol=1e-5)
        for name, a in to_torch(model).items():
            np.testing.assert_array_equal(a, state[name])

    @pytest.mark.parametrize(
        "make",
        [
            models.mlp,
            models.cnn,
            models.deep_cnn,
            models.separable_cnn,
            lambda **k: VAE((8, 8, 1), latent=2, filters=(2, 2), hidden=3, **k),
            lambda **k: Sequential(Residual(Dense(3, 3, **k), Dense(3, 3, **k)), Dense(3, 2, **k)),
        ],
    )
    def test_all_models_go_there_and_back(self, make, tmp_path):
        pytest.importorskip("safetensors")
        model, other = make(rng=0), make(rng=1)
        load_weights(other, save_weights(model, tmp_path / "w.safetensors"))
        for name, a in model.arrays.items():
            np.testing.assert_array_equal(other.arrays[name], a)


@pytest.mark.parametrize("dtype", ["junk", int, None, "float", 3])
def test_a_dtype_is_a_floating_point_one(dtype):
    if dtype in ("float", None):  # NumPy takes None for float64
        assert check_float_dtype("dtype", dtype) == np.float64
    else:
        with pytest.raises(TypeError, match="dtype must be a floating-point one, got"):
            check_float_dtype("dtype", dtype)
