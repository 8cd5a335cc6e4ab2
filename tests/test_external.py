"""Models of other frameworks: every attack gives on them what it gives on the same weights here."""

import importlib.util
import pickle
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest

import minadv
from minadv import QueryGradient, deepfool, external, fgsm, forge, jsma, models, one_pixel, pgd
from minadv.autograd import gradcheck, jacobian, vjp
from minadv.backend import to_numpy
from minadv.inference import logits, predict
from minadv.layers import Conv2D, Dense, Flatten, Sequential, Tanh
from minadv.parallel import is_thread_safe

SHAPE = (5, 4, 3)  # all different, so that no wrong order of the axes goes unseen


def images(count=6, dtype=np.float32):
    return np.random.default_rng(0).random((count, *SHAPE)).astype(dtype)


def network(dtype=np.float32):
    size = 3 * 3 * 4
    return Sequential(
        Conv2D(3, 4, (3, 2), rng=0, dtype=dtype),
        Tanh(),
        Flatten(),
        Dense(size, 5, rng=1, dtype=dtype),
    )


def abroad(model, layout="NHWC", **how):
    """``model`` as its owner sees it: called by functions of NumPy arrays, channels first."""

    def ours(x):
        return x.transpose(0, 2, 3, 1) if layout == "NCHW" else x

    def there(x):
        z, pull = vjp(model, np.ascontiguousarray(ours(x)))
        turn = (0, 3, 1, 2) if layout == "NCHW" else (0, 1, 2, 3)
        return z, lambda g: pull(g).transpose(turn)

    return external(lambda x: model(ours(x)), there, layout=layout, **how)


ATTACKS = {
    "fgsm": partial(fgsm, eps=0.1),
    "pgd": partial(pgd, eps=0.1, steps=5),
    "deepfool": deepfool,
    "jsma": jsma,
    "forge": partial(forge, steps=5),
}


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_those_on_the_model_itself(name, layout):
    model, x = network(), images()
    goal = {"target": 1} if name in ("jsma", "forge") else {"y": predict(model, x)}
    if name == "forge":
        goal |= {"reference": x}
    mine, theirs = (ATTACKS[name](m, x, **goal) for m in (model, abroad(model, layout)))
    np.testing.assert_allclose(theirs.x_adv, mine.x_adv, atol=1e-6)
    np.testing.assert_array_equal(theirs.label, mine.label)
    assert (mine.x_adv != x).any()


def test_values_gradients_and_jacobians():
    model, x = network(np.float64), images(2, np.float64)
    foreign = abroad(model, "NCHW")
    np.testing.assert_array_equal(foreign(x), model(x))
    np.testing.assert_array_equal(jacobian(foreign, x), jacobian(model, x))
    assert gradcheck(foreign, x) < 1e-6


def test_dtypes_are_turned_there_and_back():
    model, x = network(np.float32), images(dtype=np.float64)
    asked = []

    def forward(x):
        asked.append(x.dtype)
        return model(x)

    def there(x):
        z, pull = vjp(forward, x)

        def checked(g):
            asked.append(g.dtype)
            return pull(g)

        return z, checked

    foreign = external(forward, there, dtype="float32")
    z, pull = vjp(foreign, x)
    assert z.dtype == pull(z).dtype == foreign(x).dtype == np.float64
    assert set(asked) == {np.dtype("float32")}
    np.testing.assert_array_equal(foreign(x), model(x.astype(np.float32)))
    assert external(model)(x.astype(np.float32)).dtype == np.float32


def test_arrays_come_back_to_where_the_images_are(xp):
    model, x = network(), xp.asarray(images())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minadv.backend._current", np)
        model = network()
    result = fgsm(abroad(model), x, y=0, eps=0.1)
    assert isinstance(result.x_adv, xp.ndarray)
    np.testing.assert_array_equal(
        to_numpy(result.x_adv), fgsm(model, to_numpy(x), y=0, eps=0.1).x_adv
    )


def test_what_is_handed_over_may_be_changed():
    model = network()

    def spoils(x):
        z = model(x)
        x[:] = 0
        return z

    for layout in ("NHWC", "NCHW"):
        x = images()
        turned = spoils if layout == "NHWC" else lambda x: spoils(x.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(external(turned, layout=layout)(x), model(images()))
        np.testing.assert_array_equal(x, images())


def test_threads():
    here = threading.get_ident()

    def forward(x):
        assert threading.get_ident() == here
        return x.reshape(len(x), -1)

    x = np.zeros((4000, 8, 8, 1), np.float32)
    assert logits(external(forward), x).shape == (4000, 64)
    assert not is_thread_safe(external(forward))
    assert is_thread_safe(external(forward, thread_safe=True))


def test_it_pickles_if_its_functions_do():
    model = network()
    again = pickle.loads(pickle.dumps(external(model, layout="NHWC")))
    np.testing.assert_array_equal(again(images()), model(images()))


class TestWithoutGradient:
    def test_black_box_attacks_take_it(self):
        model, x = network(), images(2)
        y = predict(model, x)
        mine, theirs = (
            one_pixel(m, x, y=y, generations=3, population=10) for m in (model, external(model))
        )
        np.testing.assert_array_equal(theirs.x_adv, mine.x_adv)
        mine, theirs = (fgsm(QueryGradient(m), x, y=y, eps=0.1) for m in (model, external(model)))
        np.testing.assert_array_equal(theirs.x_adv, mine.x_adv)

    def test_gradient_attacks_say_what_is_missing(self):
        with pytest.raises(TypeError, match=r"no gradient: .*vjp, or .*QueryGradient\(model\)"):
            fgsm(external(network()), images(), y=0, eps=0.1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3,), TypeError, r"forward must be a function, called as forward\(x\), got 3"),
        ((lambda: 0,), TypeError, r"forward is called as forward\(x\), but cannot be"),
        ((len, "vjp"), TypeError, r"vjp must be a function, called as vjp\(x\), got 'vjp'"),
        ((len, lambda x, g: 0), TypeError, r"vjp is called as vjp\(x\), but cannot be"),
    ],
)
def test_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        external(*arguments)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"layout": "CHW"}, ValueError, "layout must be 'NHWC' or 'NCHW', got 'CHW'"),
        ({"dtype": "int8"}, TypeError, "dtype must be a floating-point one, got int8"),
        ({"thread_safe": 1}, TypeError, "thread_safe must be True or False, got 1"),
    ],
)
def test_settings(how, error, message):
    with pytest.raises(error, match=message):
        external(len, **how)


def test_vectors_have_no_layout():
    with pytest.raises(ValueError, match=r'"NCHW" is for images .*got a batch of shape \(2, 3\)'):
        external(len, layout="NCHW")(np.zeros((2, 3)))


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "error", "message"),
        [
            (lambda x: "logits", TypeError, "forward must return an array of numbers, got str"),
            (
                lambda x: np.zeros((len(x), 3), int),
                TypeError,
                "must return logits, floating-point .*got int64",
            ),
            (lambda x: None, TypeError, "forward must return an array"),
            (lambda x: [[1.0, 2.0], [1.0]], TypeError, "forward must return an array that NumPy"),
            (lambda x: np.zeros((len(x) + 1, 3)), ValueError, "must return logits .*N = 6"),
            (lambda x: np.full((len(x), 3), np.nan), ValueError, "finite logits, got NaN"),
        ],
    )
    def test_of_forward(self, answer, error, message):
        with pytest.raises(error, match=message):
            external(answer)(images())

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (lambda x: np.zeros((6, 3)), r"vjp must return \(logits, pull\), .*got ndarray"),
            (lambda x: (np.zeros((6, 3)), 3), r"vjp must return \(logits, pull\)"),
            (lambda x: ("z", len), "vjp must return an array of numbers, got str"),
            (lambda x: (np.zeros((6, 3)), lambda g: None), "pull must return an array"),
            (lambda x: (np.zeros((6, 3)), lambda g: x > 0), "pull .* floating-point .*got bool"),
        ],
    )
    def test_of_vjp(self, answer, message):
        with pytest.raises(TypeError, match=message):
            fgsm(external(len, answer), images(), y=0, eps=0.1)

    @pytest.mark.parametrize(
        ("gradient", "message"),
        [
            (
                np.zeros((6, *SHAPE)),
                r"pull .*shape of the images, \(6, 3, 5, 4\), got \(6, 5, 4, 3\)",
            ),
            (np.zeros((5, 3, 5, 4)), r"pull .*\(6, 3, 5, 4\), got \(5, 3, 5, 4\)"),
            (np.full((6, 3, 5, 4), np.inf), "pull must return a finite gradient, got NaN or inf"),
        ],
    )
    def test_of_pull(self, gradient, message):
        z = np.zeros((6, 2), np.float32)
        with pytest.raises(ValueError, match=message):
            fgsm(
                external(len, lambda x: (z, lambda g: gradient), layout="NCHW"),
                images(),
                y=0,
                eps=1,
            )


# --- the recipes


class TestTorch:
    @pytest.fixture
    def pair(self):
        """The CNN of D2 here, and the same in PyTorch, by the recipe of the docstring."""
        torch = pytest.importorskip("torch")
        from tests.benchmarks.peers import in_torch

        ours, device = models.cnn(rng=1), "cpu"
        net = in_torch(ours).eval().requires_grad_(False)

        def tensor(a):
            return torch.from_numpy(a).to(device)

        def forward(x):
            with torch.no_grad():
                return net(tensor(x))

        def there(x):
            x = tensor(x).requires_grad_()
            z = net(x)
            return z, lambda g: torch.autograd.grad(z, x, tensor(g), retain_graph=True)[0]

        return ours, external(forward, there, layout="NCHW", dtype="float32")

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("name", ["fgsm", "pgd", "deepfool", "jsma"])
    def test_attacks_within_rounding(self, pair, name, dtype):
        ours, theirs = pair
        x = np.random.default_rng(0).random((20, 28, 28, 1)).astype(dtype)
        y = predict(ours, x)
        attack = partial(jsma, gamma=0.02) if name == "jsma" else ATTACKS[name]
        goal = {"target": (y + 1) % 10} if name == "jsma" else {"y": y}
        mine, other = (attack(model, x, **goal) for model in (ours, theirs))
        assert other.x_adv.dtype == dtype
        np.testing.assert_array_equal(other.label, mine.label)
        np.testing.assert_array_equal(other.steps, mine.steps)
        apart = np.abs(other.x_adv - mine.x_adv) > 1e-4  # a sign, where the gradient is near zero
        assert apart.mean() < 1e-3
        assert (mine.x_adv != x).any()

    @pytest.mark.parametrize("name", ["fgsm", "pgd", "deepfool", "jsma", "forge", "one_pixel"])
    def test_a_module_alone_is_told_how(self, name):
        torch = pytest.importorskip("torch")
        net, x = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(60, 3)), images()
        attack = {**ATTACKS, "one_pixel": one_pixel}[name]
        goal = {"y": 0} if name in ("fgsm", "pgd", "deepfool", "one_pixel") else {"target": 0}
        goal |= {"reference": x} if name == "forge" else {}
        with pytest.raises(
            TypeError, match=r"got Sequential of torch.nn.*external\(forward, vjp\)"
        ):
            attack(net, x, **goal)
        with pytest.raises(TypeError, match=r"help\(minadv.external\)"):
            predict(net, x)
        assert "torch.autograd.grad(z, x, tensor(g), retain_graph=True)" in minadv.external.__doc__

    def test_tensors_of_half_precision_come_back_as_the_images_are(self, pair):
        torch = pytest.importorskip("torch")
        model = external(lambda x: torch.ones((len(x), 3), dtype=torch.float16, requires_grad=True))
        assert model(images()).dtype == np.float32


JAX = """
import jax, numpy as np
from minadv import deepfool, external, fgsm, models

x = np.random.default_rng(0).random((6, 5, 4, 3)).astype(np.float32)
ours = models.mlp((5, 4, 3), 4, hidden=8)
w, a, v, b = ours.parameters.values()

def net(x):
    return jax.numpy.maximum(x.reshape(len(x), -1) @ w + a, 0) @ v + b

theirs = external(jax.jit(net), lambda x: jax.vjp(net, x), dtype="float32")
for dtype in (np.float32, np.float64):
    mine, other = (deepfool(m, x.astype(dtype)) for m in (ours, theirs))
    np.testing.assert_allclose(other.x_adv, mine.x_adv, atol=1e-5)
    assert mine.success.all() and other.x_adv.dtype == dtype
try:
    fgsm(jax.jit(net), x, y=0, eps=0.1)
except TypeError as error:
    assert "write minadv.external" in str(error)
else:
    raise AssertionError("a function of JAX was taken")
"""


def test_jax():
    """In a process of its own: once imported, JAX warns whoever forks."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("could not import 'jax'")
    subprocess.run([sys.executable, "-c", JAX], check=True)


def test_onnx_runtime():
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    ours, x = Sequential(Flatten(), Dense(60, 3, rng=0)), images()
    helper = onnx.helper
    weight = ours[1].weight.reshape(*SHAPE, 3).transpose(2, 0, 1, 3).reshape(60, 3)  # NCHW
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["v"]), helper.make_node("MatMul", ["v", "w"], ["z"])],
        "linear",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 5, 4])],
        [helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N", 3])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = runtime.InferenceSession(model.SerializeToString())
    name = session.get_inputs()[0].name
    theirs = external(lambda x: session.run(None, {name: x})[0], layout="NCHW", dtype="float32")
    np.testing.assert_allclose(theirs(x), ours(x), atol=1e-5)
    mine, other = (pgd(QueryGradient(m), x, y=0, eps=0.05, steps=2) for m in (ours, theirs))
    np.testing.assert_allclose(other.x_adv, mine.x_adv, atol=1e-5)
