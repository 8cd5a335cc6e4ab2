"""The documents' models, and weights on disk: whole or not at all, never pickled, and every
mismatch named."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minadv import losses, models
from minadv.autograd import grad, gradcheck, jacobian, vjp
from minadv.backend import to_numpy
from minadv.layers import Conv2D, Dense, Layer, ReLU, Sequential
from minadv.models import LogisticRegression, cnn, load_weights, mlp, save_weights


def images(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).random(shape).astype(dtype)


class TestArchitectures:
    def test_document_d(self):
        model = cnn()
        sizes = [a.shape[1:] for a in model.activations(images(2, 28, 28, 1))]
        assert sizes == [
            (28, 28, 16),
            (28, 28, 16),
            (13, 13, 32),
            (13, 13, 32),
            (6, 6, 64),
            (6, 6, 64),
            (2304,),
            (10,),
        ]
        counts = [p.size for p in model.parameters.values()]
        assert counts == [9 * 16, 16, 9 * 16 * 32, 32, 9 * 32 * 64, 64, 2304 * 10, 10]
        assert {p.dtype for p in model.parameters.values()} == {np.dtype(np.float32)}

    def test_document_b(self):
        model = mlp()
        assert [p.shape for p in model.parameters.values()] == [
            (784, 128),
            (128,),
            (128, 10),
            (10,),
        ]
        assert [a.shape for a in model.activations(images(3, 28, 28, 1))] == [
            (3, 784),
            (3, 128),
            (3, 128),
            (3, 10),
        ]

    @pytest.mark.parametrize("size", [(7, 7), (8, 9), (10, 7), (15, 16)])
    def test_other_sizes_channels_and_classes(self, size):
        assert cnn((*size, 3), 4, filters=(2, 3, 4))(images(2, *size, 3)).shape == (2, 4)
        assert mlp((*size, 3), 4, hidden=5)(images(2, *size, 3)).shape == (2, 4)
        assert mlp((6,), 2)(images(2, 6)).shape == (2, 2)

    @pytest.mark.parametrize("size", [(6, 28), (28, 6), (3, 3)])
    def test_too_small(self, size):
        with pytest.raises(ValueError, match=rf"at least 7 x 7.*got {size[0]} x {size[1]}"):
            cnn((*size, 1))

    @pytest.mark.parametrize("make", [mlp, cnn])
    def test_one_seed_one_model(self, make):
        one, same, other = make(rng=3), make(rng=np.random.default_rng(3)), make(rng=4)
        for name, p in one.parameters.items():
            np.testing.assert_array_equal(p, same.parameters[name])
            assert name.endswith("bias") or (p != other.parameters[name]).any()
        assert (
            make(dtype=np.float64).parameters["1.weight" if make is mlp else "0.weight"].dtype
            == np.float64
        )

    @pytest.mark.parametrize("make", [mlp, cnn])
    def test_float32_and_empty_batches_on_every_backend(self, make, xp):
        model = make((8, 9, 1))
        assert all(isinstance(p, xp.ndarray) for p in model.parameters.values())
        for count in (0, 3):
            x = images(count, 8, 9, 1)
            y = np.arange(count)
            value, pull = vjp(
                lambda x, y=y: losses.cross_entropy(model(x), xp.asarray(y)), xp.asarray(x)
            )
            gradient = pull(xp.ones_like(value))
            assert value.dtype == gradient.dtype == np.float32
            assert gradient.shape == x.shape
            assert model(xp.asarray(x)).shape == (count, 10)
            assert jacobian(model, xp.asarray(x)).shape == (count, 10, 8, 9, 1)
            with pytest.MonkeyPatch.context() as patch:  # the same weights on NumPy
                patch.setattr("minadv.backend._current", np)
                reference = make((8, 9, 1))
            expected = grad(lambda x: losses.cross_entropy(reference(x), y).sum(), x)  # noqa: B023
            np.testing.assert_allclose(to_numpy(gradient), expected, rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("make", [mlp, cnn])
    def test_gradients(self, make):
        options = {"hidden": 4} if make is mlp else {"filters": (2, 2, 2)}
        model = make((7, 7, 1), 3, dtype=np.float64, **options)
        x = images(1, 7, 7, 1, dtype=np.float64)
        names = list(model.parameters)
        rng = np.random.default_rng(1)
        values = [
            rng.normal(size=p.shape) / 2 for p in model.parameters.values()
        ]  # biases that keep away from the kink, too
        assert (
            gradcheck(lambda x, *w: model.apply(dict(zip(names, w, strict=True)), x), x, *values)
            < 1e-6
        )

    def test_against_torch(self):
        torch = pytest.importorskip("torch")
        model = cnn(dtype=np.float64)
        x, y = images(3, 28, 28, 1, dtype=np.float64), np.array([3, 1, 7])
        f = torch.nn.functional
        p = {
            name: torch.tensor(value, requires_grad=True)
            for name, value in model.parameters.items()
        }
        w = {i: p[f"{i}.weight"].permute(3, 2, 0, 1) for i in (0, 2, 4)}
        z = inputs = torch.tensor(x, requires_grad=True)
        z = torch.relu(f.conv2d(z.permute(0, 3, 1, 2), w[0], p["0.bias"], padding=1))
        z = torch.relu(f.conv2d(z, w[2], p["2.bias"], stride=2))
        z = (
            torch.relu(f.conv2d(z, w[4], p["4.bias"], stride=2))
            .permute(0, 2, 3, 1)
            .reshape(3, 2304)
        )
        loss = f.cross_entropy(z @ p["7.weight"] + p["7.bias"], torch.tensor(y), reduction="sum")
        loss.backward()

        names = list(model.parameters)
        value, pull = vjp(
            lambda x, *w: losses.cross_entropy(
                model.apply(dict(zip(names, w, strict=True)), x), y
            ).sum(),
            x,
            *model.parameters.values(),
        )
        assert float(value) == pytest.approx(loss.item(), rel=1e-12)
        for mine, theirs in zip(pull(1.0), (inputs, *p.values()), strict=True):
            np.testing.assert_allclose(mine, theirs.grad.numpy(), atol=1e-12)


class TestLogisticRegression:
    w, b = np.array([1.0, -2, 0.5]), 0.25
    x = np.array([[1.0, 0, 2], [0, 1, 0], [0, 0, 0]])

    def test_closed_form(self):
        model = LogisticRegression(self.w, self.b)
        logit = self.x @ self.w + self.b
        np.testing.assert_array_equal(model(self.x), np.stack([np.zeros(3), logit], axis=1))
        np.testing.assert_allclose(losses.margin(model(self.x), np.ones(3, int)), logit)
        np.testing.assert_allclose(losses.margin(model(self.x), np.zeros(3, int)), -logit)
        np.testing.assert_array_equal(jacobian(model, self.x), [[np.zeros(3), self.w]] * 3)
        np.testing.assert_array_equal(model(self.x.reshape(3, 3, 1, 1)), model(self.x))

    def test_gradients_by_weight(self):
        model = LogisticRegression(self.w, self.b)
        assert (
            gradcheck(
                lambda w, b, x: model.apply({"weight": w, "bias": b}, x),
                self.w,
                np.array(self.b),
                self.x,
            )
            < 1e-6
        )

    def test_float32_on_every_backend(self, xp):
        model = LogisticRegression(self.w.astype(np.float32), self.b)
        assert isinstance(model.weight, xp.ndarray)
        assert model.bias.dtype == np.float32
        for count in (0, 3):
            value, pull = vjp(model, xp.asarray(self.x[:count], dtype=xp.float32))
            assert (value.shape, value.dtype) == ((count, 2), np.float32)
            assert pull(value).dtype == np.float32

    @pytest.mark.parametrize("w", [np.ones((3, 1)), np.ones(3, int), 1.0])
    def test_no_vector(self, w):
        with pytest.raises(ValueError, match=r"weight must be a floating-point vector \(D,\), got"):
            LogisticRegression(w)


# --- weights on disk


def small(rng=0):
    return mlp((4,), 3, hidden=5, rng=rng)


def unchanged(model, before):
    return all((value == before[name]).all() for name, value in model.parameters.items())


class TestSaveAndLoad:
    def test_round_trip_bit_for_bit(self, tmp_path, xp):
        model, path = small(1), tmp_path / "new" / "folder" / "weights.npz"
        assert save_weights(model, path) == path
        other = small(2)
        assert load_weights(other, path) is other
        for name, value in other.parameters.items():
            assert isinstance(value, xp.ndarray)
            assert value.dtype == np.float32
            np.testing.assert_array_equal(to_numpy(value), to_numpy(model.parameters[name]))
        x = xp.asarray(images(2, 4))
        np.testing.assert_array_equal(to_numpy(other(x)), to_numpy(model(x)))

    def test_every_kind_of_model(self, tmp_path):
        for make in (
            lambda rng: cnn((7, 7, 1), rng=rng),
            lambda rng: LogisticRegression(np.random.default_rng(rng).normal(size=3), rng),
            lambda rng: Sequential(Sequential(Dense(2, 3, rng=rng))),
        ):
            model = make(1)
            loaded = load_weights(make(2), save_weights(model, tmp_path / "w.npz"))
            for name, value in model.parameters.items():
                np.testing.assert_array_equal(loaded.parameters[name], value)

    def test_it_is_an_ordinary_npz_that_numpy_reads_without_pickle(self, tmp_path):
        model = small()
        with np.load(save_weights(model, str(tmp_path / "w.npz")), allow_pickle=False) as file:
            assert sorted(file.files) == sorted(model.parameters)

    def test_loaded_arrays_take_the_dtype_of_the_model(self, tmp_path):
        path = save_weights(mlp((4,), 3, hidden=5, dtype=np.float64, rng=1), tmp_path / "w.npz")
        model = load_weights(small(2), path)
        np.testing.assert_array_equal(model[1].weight, small(1)[1].weight)
        assert model[1].weight.dtype == np.float32

    def test_another_ending(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"path must end in \.npz or \.safetensors, got .*weights\.h5"
        ):
            save_weights(small(), tmp_path / "weights.h5")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("moment", ["while writing", "before the rename"])
    @pytest.mark.parametrize("crash", [OSError, KeyboardInterrupt])
    def test_a_crash_leaves_the_old_file_and_nothing_else(
        self, tmp_path, monkeypatch, moment, crash
    ):
        path = save_weights(small(1), tmp_path / "w.npz")
        before = path.read_bytes()
        write = Path.write_bytes

        def fail(path, content):
            if moment == "while writing":
                write(path, content[:9])
            else:
                write(path, content)
            raise crash("no space left")

        monkeypatch.setattr(Path, "write_bytes", fail)
        with pytest.raises(crash, match="no space left"):
            save_weights(small(2), path)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
        with pytest.raises(crash):
            save_weights(small(2), tmp_path / "fresh.npz")
        assert list(tmp_path.iterdir()) == [path]

    def test_a_newer_file_replaces_the_older(self, tmp_path):
        path = save_weights(small(1), tmp_path / "w.npz")
        save_weights(small(2), path)
        np.testing.assert_array_equal(load_weights(small(3), path)[1].weight, small(2)[1].weight)
        assert list(tmp_path.iterdir()) == [path]


class TestDamage:
    """Whatever lies there: a ValueError that names the file, and the model keeps what it had."""

    def refuses(self, path, *parts):
        model = small(5)
        before = {name: value.copy() for name, value in model.parameters.items()}
        with pytest.raises(ValueError, match="w.npz") as caught:
            load_weights(model, path)
        for part in parts:
            assert part in str(caught.value)
        assert unchanged(model, before)

    def test_other_architectures_by_layer_and_shape(self, tmp_path):
        path = tmp_path / "w.npz"
        save_weights(mlp((4,), 3, hidden=6), path)
        self.refuses(
            path,
            "1.weight has shape (4, 6), expected (4, 5)",
            "1.bias has shape (6,), expected (5,)",
            "3.weight has shape (6, 3), expected (5, 3)",
        )
        save_weights(Sequential(Conv2D(1, 2)), path)
        self.refuses(path, "0.weight is unknown", "1.weight is missing", "3.bias is missing")

    def test_a_missing_file_is_a_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere.npz"):
            load_weights(small(), tmp_path / "nowhere.npz")

    def test_a_text_is_refused_without_the_advice_to_unpickle_it(self, tmp_path):
        path = tmp_path / "w.npz"
        path.write_text("hello")
        with pytest.raises(ValueError, match="w.npz is no readable .npz file") as caught:
            load_weights(small(), path)
        assert "pickle" not in str(caught.value)

    def test_truncated_at_any_length(self, tmp_path):
        path = tmp_path / "w.npz"
        whole = save_weights(small(), path).read_bytes()
        for length in {0, 1, 10, *range(0, len(whole), 97), len(whole) - 1}:
            path.write_bytes(whole[:length])
            self.refuses(path, "no readable .npz file of weights")

    @given(st.data())
    @settings(max_examples=100)
    def test_any_byte_damaged_is_refused_or_harmless(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("damage") / "w.npz"
        original = small(1)
        whole = bytearray(save_weights(original, path).read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(whole)
        model = small(5)
        before = {name: value.copy() for name, value in model.parameters.items()}
        try:
            load_weights(model, path)
        except ValueError as error:
            said = str(error)
            assert unchanged(model, before)
        else:  # a byte that says nothing about the weights, such as a date
            said = "w.npz"
            assert unchanged(model, original.parameters)
        assert "w.npz" in said

    def test_pickles_are_never_opened(self, tmp_path):
        path = tmp_path / "w.npz"

        class Bomb:
            def __reduce__(self):
                return (pytest.fail, ("a pickle was opened",))

        path.write_bytes(pickle.dumps(Bomb()))
        self.refuses(path)
        parameters = small().parameters
        np.savez(
            path,
            allow_pickle=True,
            **{**parameters, "3.bias": np.array([Bomb(), Bomb(), Bomb()], object)},
        )
        self.refuses(path, "allow_pickle=False")

    def test_other_files(self, tmp_path):
        path = tmp_path / "w.npz"
        buffer = io.BytesIO()
        np.save(buffer, np.ones(3))  # an .npy file under another name
        path.write_bytes(buffer.getvalue())
        self.refuses(path)
        path.write_text("not found\n")
        self.refuses(path)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("1.weight.npy", b"no array")
        self.refuses(path)
        path.unlink()
        path.mkdir()
        self.refuses(path)

    @pytest.mark.parametrize("content", [np.full((4, 5), "a"), np.ones((4, 5), complex)])
    def test_arrays_that_are_no_numbers(self, tmp_path, content):
        np.savez(tmp_path / "w.npz", **{**small().parameters, "1.weight": content})
        self.refuses(tmp_path / "w.npz")


def test_public_names():
    assert set(models.__all__) == {
        "LogisticRegression",
        "cnn",
        "deep_cnn",
        "mlp",
        "resnet",
        "resnet18",
        "separable_cnn",
        "save_weights",
        "load_weights",
    }


def test_a_layer_used_twice_is_saved_and_loaded_as_one(tmp_path):
    def model(seed):
        twice = Dense(4, 4, rng=seed)
        return Sequential(twice, ReLU(), twice)

    a, b = model(1), model(2)
    load_weights(b, save_weights(a, tmp_path / "w.npz"))
    assert np.array_equal(b[0].weight, a[0].weight)
    assert b.parameters["0.weight"] is b.parameters["2.weight"]
    apart = Sequential(Dense(4, 4, rng=1), ReLU(), Dense(4, 4, rng=2))
    with pytest.raises(ValueError, match=r"0.weight and 2.weight are one array .* but differ"):
        load_weights(b, save_weights(apart, tmp_path / "apart.npz"))
    assert np.array_equal(b[0].weight, a[0].weight)


def test_an_array_may_be_called_file(tmp_path):
    class Odd(Layer):
        names = ("file",)

        def __init__(self, value):
            self.file = np.full(3, value)

    path = save_weights(Odd(1.0), tmp_path / "w.npz")
    assert load_weights(Odd(2.0), path).file.tolist() == [1, 1, 1]
