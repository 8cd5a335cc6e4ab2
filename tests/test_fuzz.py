"""Every public function, called with some arguments right and some wrong.

A call may return, without NaN if it was given none, or raise a documented error whose message
names an argument. It never raises anything else, hangs, or changes an array that it was given.

``python -m tests.test_fuzz --examples 2000`` tries more, and goes on after a failure.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import inspect
import math
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minadv
from minadv import (
    activations,
    certify,
    defenses,
    embedding,
    evaluation,
    images,
    inference,
    layers,
    losses,
    models,
    plotting,
)
from minadv.autograd import Tensor
from minadv.defenses import Detector
from minadv.evaluation import EpsilonCurve
from tests.models import mlp

EXAMPLES = int(os.environ.get("MINADV_FUZZ", 12))  # calls of each function in a test run
HANGS = 60  # seconds
ERRORS = (ValueError, TypeError, OSError, minadv.BackendError)  # DataError is a ValueError

# Functions of this kind take what NumPy takes, and their errors are NumPy's.
LIKE_NUMPY = {"array_module", "asarray", "to_numpy", "Tensor", "gaussian_kl", "negative_elbo"}
# Needs the network; nothing but a file of MNIST's, see test_idx.
ELSEWHERE = {"mnist", "read_idx"}


def _public() -> dict[str, Callable]:
    """All public functions, and the classes that are made from settings."""
    found: dict[str, Callable] = {}
    for module in (
        minadv, evaluation, plotting, activations, embedding, images, defenses, losses, models,
        layers, inference, certify,
    ):  # fmt: skip
        for name in getattr(module, "__all__", [n for n in dir(module) if n[0] != "_"]):
            thing = getattr(module, name)
            if not callable(thing) or (isinstance(thing, type) and issubclass(thing, Exception)):
                continue
            home = getattr(thing, "__module__", "")
            result = dataclasses.is_dataclass(thing) and thing is not Detector
            if home.startswith("minadv") and not result and name not in LIKE_NUMPY | ELSEWHERE:
                found.setdefault(name, thing)
    for name in ("leaves", "digits", "mnist_sample"):
        found[name] = getattr(minadv.data, name)
    return found


def _square(*xs):
    return sum((x * x).sum() for x in xs)


@functools.cache
def _scene(shape: tuple[int, ...], dtype: str, many: int) -> dict:
    """Arguments that fit each other: what each name means unless a function says otherwise."""
    rng = np.random.default_rng(0)
    x = rng.random((many, *shape)).astype(dtype)
    model = mlp(math.prod(shape), classes=4, dtype=np.dtype(dtype))
    x_adv = np.clip(x + np.float32(0.05), 0, 1).astype(dtype)
    y = inference.predict(model, x) if many else np.zeros(0, int)
    attack = functools.partial(minadv.fgsm, eps=0.1)
    result = attack(model, x, y=y)
    target = (y + 1) % 4
    logits = model(x)
    score = lambda x: x.reshape(len(x), math.prod(x.shape[1:])).sum(axis=1).astype(np.float64)  # noqa: E731
    detector = Detector(score, 1.0)
    shares = np.linspace(0, 1, 5)
    curve = EpsilonCurve(shares, shares[::-1], shares[::-1], shares[::-1])
    features = x.reshape(many, math.prod(shape))
    near = np.full((many, many), 1 / max(many * (many - 1), 1))
    np.fill_diagonal(near, 0)
    return {
        "x": x, "x_adv": x_adv, "reconstruction": x_adv, "reference": x_adv, "y": y,
        "target": target, "model": model, "predict": model, "teacher": model, "second": model,
        "student": model, "models": [model, model], "attack": attack, "result": result,
        "logits": logits, "p": near, "q": inference.probabilities(model, x_adv) if many else x,
        "a": x, "b": x_adv, "t": x_adv, "score": score, "detector": detector,
        "y_true": (y > 1).astype(int), "y_pred": (y > 0).astype(int), "negatives": shares,
        "positives": shares + 0.3, "quantiles": (0.25, 0.75), "epsilons": (0.0, 0.1),
        "scores": shares, "false_positive_rate": 0.2, "threshold": 1.0, "record": None,
        "dF_t": features.astype(float), "dF_others": -features.astype(float),
        "f": _square, "xs": (features,), "alongside": (), "loss": lambda x, *_: _square(x),
        "objective": lambda v: (v * v).sum(axis=1), "stop": None, "strategy": "rand1",
        "bounds": (0.0, 1.0), "eps": 0.1, "alpha": 0.02, "steps": 3, "norm": "linf",
        "early_stop": True, "random_start": True, "restarts": 1, "rng": 0, "overshoot": 0.02,
        "candidates": 3, "pairs": True, "outputs": "logits", "theta": 0.5, "gamma": 0.3,
        "pixels": 1, "population": 5, "generations": 2, "mutation": 0.5, "recombination": 0.9,
        "progress": False, "weight": 0.5, "lr": 0.1, "clip": None, "h": None,
        "scheme": "central", "block": None, "probabilities": False, "momentum": 0.5,
        "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8, "optimizer": None, "epochs": 1,
        "batch_size": 2, "validation": None, "on_interrupt": "return", "tolerance": 1e-3,
        "name": "numpy", "path": "image.png", "shape": (8, 8, 1), "out": None,
        "class_names": ["a", "$b$", "c", "d"], "label": 1, "labels": y, "confidence": 0.5,
        "confidences": np.full(many, 0.5), "columns": 2, "rows": 2, "title": "Title $1 \\a",
        "xlabel": "x", "ylabel": "y", "percent": False, "lines": {"one": (shares, shares)},
        "series": {"one": {"a": 0.1, "b": 0.2}}, "measured": {"one": curve}, "bins": 3,
        "samples": {"one": shares}, "values": np.eye(3), "numbers": ".2f", "limits": None,
        "points": rng.random((many, 2)), "marked": None, "arrows": None, "alt": "A figure",
        "dpi": 20, "figure": None, "scale": None, "layer": 1, "components": 2,
        "perplexity": 1.5, "conditional": near * many, "exaggeration": 1.0,
        "learning_rate": "auto", "early_exaggeration": 2.0, "exaggeration_steps": 1,
        "init": "random", "dtype": np.float32, "center": features[:2], "latent": 2,
        "filters": (2,), "hidden": 3, "sharpness": 10.0, "draws": 2, "slack": 0.02, "smallest": 0.9,
        "flip": 0.5, "method": "bilinear", "average": "logits", "others": (y,), "temperature": 2.0,
        "mu": features, "log_var": features, "answer": None, "classes": 4, "centers": 2,
        "vae": None, "size": 2, "bias": 0.0, "kernel": 3, "stride": 1, "padding": "same",
        "c_in": 1, "c_out": 2, "channels": 1, "d_in": 4, "d_out": 3, "slope": 0.1, "mean": 0.5,
        "std": 0.2, "layers": (layers.Flatten(),), "attacked": (result,), "count": 4,
        "task": "health", "seeds": (0,), "executor": functools.partial(ThreadPoolExecutor, 1),
        "folder": "results", "retries": 1,
        "forward": model, "vjp": lambda x: minadv.vjp(model, x),
        "layout": "NHWC", "thread_safe": False, "branch": layers.ReLU(), "shortcut": None,
        "widths": (2, 3), "blocks": (1, 1), "large": False, "normalize": None,
        "sigma": 0.1, "kappa": 0.5, "warm_up": 1, "ramp": 2, "most": 0.2,
        "halvings": 3, "rho": 0.75, "search_steps": 2, "initial_const": 0.1, "alpha_max": 0.1,
        "beta": 0.9, "share": 0.5, "attacks": {"FGSM": attack},
    }  # fmt: skip


@functools.cache
def _vae():
    return defenses.VAE((8, 8, 1), latent=2, filters=(2, 2), hidden=4)


@functools.cache
def _figure():
    return plotting.image(np.zeros((4, 4, 1)))


# What a name means to one function only.
OWN: dict[str, Callable[[dict], dict]] = {
    "fit": lambda s: {"loss": losses.cross_entropy, "objective": None,
                      "model": copy.deepcopy(s["model"])},
    "forge": lambda s: {"loss": losses.cross_entropy},
    "adversarial_training": lambda s: {"how": {"progress": False},
                                       "model": copy.deepcopy(s["model"])},
    "interval_training": lambda s: {"how": {"progress": False},
                                    "model": copy.deepcopy(s["model"])},
    "exact_radius": lambda s: {"model": layers.Sequential(
        layers.Flatten(), layers.Dense(s["mu"].shape[1], 4, rng=0))},
    "distill": lambda s: {"how": {"progress": False}, "student": copy.deepcopy(s["model"])},
    "load_weights": lambda s: {"path": "weights.npz", "model": copy.deepcopy(s["model"])},
    "save_weights": lambda s: {"path": "other.npz"},
    "save": lambda s: {"path": "figure.png", "figure": _figure()},
    "save_image": lambda s: {"path": "other.png", "x": s["x"][:1]},
    "image": lambda s: {"x": np.full((4, 4, 1), 0.5)},
    "attack_image": lambda s: {"y": None, "target": None,
                               "model": _scene((8, 8, 1), "float32", 3)["model"]},
    "accuracy_curve": lambda s: {
        "attack": lambda eps: minadv.fgsm(s["model"], s["x"], y=s["y"], eps=eps)},
    "transfer_matrix": lambda s: {
        "attack": lambda model: minadv.fgsm(model, s["x"], y=s["y"], eps=0.1)},
    "checklist": lambda s: {"attack": minadv.fgsm, "substitute": s["model"]},
    "sweep": lambda s: {"models": {"m": s["model"]}, "attacks": {"a": minadv.fgsm}},
    "differential_evolution": lambda s: {"bounds": [(0.0, 1.0), (-1.0, 1.0)]},
    "estimate_gradient": lambda s: {"loss": lambda x, *_: s["score"](x)},
    "vjp": lambda s: {"f": lambda *xs: xs[0] * 2},
    "jacobian": lambda s: {"f": lambda x: x * 2, "x": s["mu"]},
    "heatmap": lambda s: {"rows": list("abc"), "columns": list("abc")},
    "history": lambda s: {"record": minadv.training.History([0.5, 0.4], [], [], [0.1, 0.1])},
    "kl": lambda s: {"p": s["q"]},
    "soft_cross_entropy": lambda s: {"p": s["q"]},
    "kl_divergence": lambda s: {"y": s["points"]},
    "kl_gradient": lambda s: {"y": s["points"]},
    "binary_cross_entropy": lambda s: {"logits": s["x"]},
    "reconstruction_score": lambda s: {"vae": _vae()},
    "negative_elbo": lambda s: {"x": s["x"], "answer": (s["x"], s["points"], s["points"])},
    "tsne": lambda s: {"momentum": (0.5, 0.8), "x": s["mu"]},
    "pca": lambda s: {"x": s["mu"]},
    "conditional_probabilities": lambda s: {"x": s["mu"]},
    "RBF": lambda s: {"gamma": 1.0},
    "VAE": lambda s: {"shape": (8, 8, 1), "filters": (2, 2)},
    "rbf_network": lambda s: {"x": s["x"]},
    "resize": lambda s: {"size": (3, 3)},
    "Reshape": lambda s: {"shape": (2, 2)},
    "LogisticRegression": lambda s: {"weight": np.ones(4)},
    "Normalize": lambda s: {"mean": np.zeros(1), "std": np.ones(1)},
    "leaves": lambda s: {"size": 16, "count": 20},
    "resnet18": lambda s: {"normalize": True},
    "deep_cnn": lambda s: {"shape": (8, 8, 1)},
    "separable_cnn": lambda s: {"shape": (8, 8, 1)},
    "cnn": lambda s: {"shape": (8, 8, 1)},
    "mlp": lambda s: {"shape": (8, 8, 1)},
}  # fmt: skip
for _name in ("Conv2D", "ConvTranspose2D", "Dense", "DepthwiseConv2D"):
    OWN[_name] = lambda s: {"init": "glorot", "rng": 0}
for _name in ("logit_bounds", "margin_bound"):
    OWN[_name] = lambda s: {"method": "crown"}
for _name in ("cnn", "deep_cnn", "separable_cnn"):
    OWN[_name] = lambda s: {"shape": (8, 8, 1), "filters": (2, 2, 2)}

# Whoever asks for 10^12 of these waits, or has no memory for it. That is no error of this package.
COUNTS = {
    "steps", "epochs", "batch_size", "population", "generations", "restarts", "pixels", "draws",
    "hidden", "latent", "filters", "c_in", "c_out", "channels", "d_in", "d_out", "kernel", "size",
    "shape", "columns", "rows", "bins", "dpi", "centers", "classes", "count", "exaggeration_steps",
    "components", "block", "stride", "widths", "blocks",
}  # fmt: skip


def junk(name: str, good) -> list:
    """Values that an argument of this name hardly ever takes."""
    values = [
        None, "", "junk", b"junk", True, False, 0, -1, 1, 2.5, math.nan, math.inf, -math.inf, -0.0,
        1e-320, np.float32(0.1), np.float16(0.1), np.float64(math.nan), np.int64(2), np.uint8(1),
        np.bool_(True), np.str_("a"), 1j, [], (), {}, [1, 2], (0.5, 0.2), (0.0, math.nan),
        [[1.0, 2.0], [3.0]], [None], {"a": None}, {1: 2}, object(), int, len, lambda *_: None,
        lambda *a: a[0], np.zeros(0), np.zeros((0, 3)), np.zeros((3, 0), np.float32),
        np.float64(0.5) * np.ones(()), np.ones(3), np.ones((3, 3)), np.ones((2, 8, 8, 3)) / 2,
        np.array([None, 1]), np.array(["a", "b", "c"]), np.array([1j, 2, 3]), np.arange(3),
        np.array([True, False, True]), np.array([[math.nan, 1.0]]), np.array([3, -1, 2]),
        np.ones((3, 8, 8, 1), np.uint8), np.ones((1, 3), np.float16), iter([1, 2]), range(3),
        slice(None), "1", Path("nowhere"), np.datetime64("2020-01-01"), np.ma.array([1.0, 2.0]),
        np.zeros(2, [("a", int)]), Tensor(np.ones(3)),
    ]  # fmt: skip
    if name not in COUNTS:
        values += [10**6, 1e30, -1e300, 10**400, np.int64(2**62), np.uint64(2**64 - 1)]
    if isinstance(good, np.ndarray):
        values += [
            good.tolist(), good[:-1], good[..., None], good[None], good.astype(object),
            good.astype(np.float16), good.astype(np.complex128), good.astype(np.int8),
            good.astype(">f8"), good * np.nan if good.dtype.kind == "f" else -good, good.ravel(),
            np.asfortranarray(good), good.astype(np.float64) * 1e300, good * 0, good[:0],
            good.astype(np.longdouble), memoryview(np.ascontiguousarray(good)),
        ]  # fmt: skip
    if isinstance(good, tuple | list) and len(good):
        values += [good[:-1], [*good, None], type(good)(reversed(good))]
    if callable(good) or name == "stop":  # what a function says of its arguments is its own affair
        values = [value for value in values if not callable(value)]
    if isinstance(good, dict) and good:
        values += [{"one": None}, {"one": 1}, {"one": ()}, {"one": "ab"}, {None: (1, 2)}]
    return values


class Hang(BaseException):
    """A call did not return."""


@dataclasses.dataclass
class Failure:
    """A call, and what was wrong with it."""

    function: str
    what: str
    call: str
    where: str = ""

    def __str__(self):
        return f"{self.function}: {self.what}\n    {self.call}\n    {self.where}"


def arguments_of(function: Callable, name: str, pick: Callable[[int], int]) -> dict:
    """Arguments for one call: mostly those that fit, some left out, some junk.

    ``pick(n)`` chooses one of 0 .. n - 1.
    """
    shape = ((8, 8, 1), (6,), (5, 4, 3))[pick(3)]
    dtype = ("float32", "float64")[pick(2)]
    scene = dict(_scene(shape, dtype, (3, 1, 5, 0)[pick(4)]))
    own = OWN.get(name, lambda s: {})(scene)
    fitting = scene | own
    chosen = {}
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    # Few wrong arguments at once: the first one would hide the others.
    wrong = {pick(max(len(parameters), 1)) for _ in range(pick(3))}
    for i, parameter in enumerate(parameters):
        if parameter.name not in fitting and parameter.kind is not parameter.VAR_KEYWORD:
            raise LookupError(f"{name}: no value is known that fits {parameter.name}")
        good = fitting.get(parameter.name, {})
        if i in wrong and parameter.kind is not parameter.VAR_KEYWORD:
            values = junk(parameter.name, good)
            value = values[pick(len(values))]
            if parameter.kind is parameter.VAR_POSITIONAL:
                value = (value,)
            chosen[parameter.name] = value
        elif parameter.name == "progress":  # no bars
            chosen["progress"] = False
        elif parameter.default is parameter.empty or pick(2):
            chosen[parameter.name] = good
    return chosen


def arrays_in(value, depth: int = 3):
    """The arrays and floats in a value."""
    if isinstance(value, np.ndarray | np.generic | float):
        yield value
    elif depth and isinstance(value, dict):
        for v in value.values():
            yield from arrays_in(v, depth - 1)
    elif depth and isinstance(value, tuple | list):
        for v in value:
            yield from arrays_in(v, depth - 1)
    elif depth and dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from arrays_in(getattr(value, field.name), depth - 1)


def nan_in(value) -> bool:
    """Whether it holds NaN, or numbers so large that a model without bounds overflows."""
    kinds = (np.asarray(a) for a in arrays_in(value))
    return any(
        a.dtype.kind in "fc" and not (np.isfinite(a) & (abs(a.astype(complex)) < 1e30)).all()
        for a in kinds
    )


def has_nan(value) -> bool:
    return any(
        np.asarray(a).dtype.kind in "fc" and np.isnan(np.asarray(a)).any() for a in arrays_in(value)
    )


def bits(value) -> list:
    return [
        (a.dtype, a.shape, a.tolist() if a.dtype.kind == "O" else a.tobytes())
        for a in arrays_in(value)
        if isinstance(a, np.ndarray)
    ]


def shown(value) -> str:
    if isinstance(value, np.ndarray):
        return f"<{value.dtype} {value.shape}>"
    if isinstance(value, layers.Layer):
        return type(value).__name__
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(shown, value[:4])) + "]"
    return repr(value)[:60]


def attempt(name: str, function: Callable, pick: Callable[[int], int]) -> Failure | None:
    """One call, judged."""
    arguments = arguments_of(function, name, pick)
    parameters = inspect.signature(function).parameters
    positional, keywords = [], {}
    for key, value in arguments.items():
        kind = parameters[key].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            positional += value
        elif kind is inspect.Parameter.VAR_KEYWORD:
            keywords |= value
        elif kind is inspect.Parameter.KEYWORD_ONLY or len(positional) < list(parameters).index(
            key
        ):
            keywords[key] = value
        else:
            positional.append(value)
    call = ", ".join(f"{k}={shown(v)}" for k, v in arguments.items())
    before = bits(arguments)
    finite = not nan_in(arguments)
    main = threading.current_thread() is threading.main_thread()

    def failure(what: str, where: str = "") -> Failure:
        return Failure(name, what, call, where)

    def hang(*_):
        raise Hang

    if main:
        signal.signal(signal.SIGALRM, hang)
        signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = function(*positional, **keywords)
    except ERRORS as error:
        names = [n for n in parameters if n != "self"]
        names += ["x", "y", "attack"] if {"how", "attack"} & set(names) else []
        names += (
            ["expects", "model"] if {"model", "student", "teacher"} & set(names) else []
        )  # its own complaint of what it was given
        said = str(error)
        names += [str(arguments["path"])] if isinstance(arguments.get("path"), str | Path) else []
        if not any(re.search(rf"\b{re.escape(n)}s?\b", said) for n in names):
            return failure(f"the message names no argument: {error!r}", origin(error))
        return None
    except AssertionError as error:
        return None if name == "gradcheck" else failure(repr(error), origin(error))
    except FloatingPointError as error:  # training says so of a loss that is not finite
        return None if "optimizer" in parameters or "how" in parameters else failure(repr(error))
    except Hang as error:
        return failure("hangs", origin(error))
    except Exception as error:
        return failure(f"{error!r}"[:200], origin(error))
    finally:
        if main:
            signal.setitimer(signal.ITIMER_REAL, 0)
    if bits(arguments) != before:
        return failure("an argument has changed")
    if finite and has_nan(result):
        return failure(f"NaN in the result {shown(result)}")
    return None


def origin(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/minadv/" in f.filename] or frames
    return "; ".join(f"{Path(f.filename).name}:{f.lineno}" for f in own[-3:])


PUBLIC = _public()
_QUICK = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def prepare():
    """The files that the names of files mean."""
    images.save_image(np.full((1, 8, 8, 1), 0.5), "image.png")
    models.save_weights(mlp(64), "weights.npz")


@pytest.mark.parametrize("name", PUBLIC)
def test_no_argument_does_harm(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare()

    @_QUICK
    @given(st.data())
    def calls(data):
        failure = attempt(name, PUBLIC[name], lambda n: data.draw(st.integers(0, n - 1)))
        assert failure is None, str(failure)

    try:
        calls()
    finally:
        minadv.use_backend("numpy")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1000, help="calls of each function")
    parser.add_argument("--seconds", type=float, default=30, help="at most for each function")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=PUBLIC, default=list(PUBLIC))
    options = parser.parse_args()
    rng = random.Random(options.seed)

    calls, failures = 0, Counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        prepare()
        for name in options.only:
            start = time.perf_counter()
            for _ in range(options.examples):
                if time.perf_counter() - start > options.seconds:
                    break
                calls += 1
                failure = attempt(name, PUBLIC[name], rng.randrange)
                if failure is not None:
                    key = failure.function, failure.where, failure.what[:40]
                    failures[key] += 1
                    if failures[key] == 1:
                        print(failure, flush=True)
            minadv.use_backend("numpy")
        os.chdir("/")
    print(f"{calls} calls of {len(options.only)} functions, {len(failures)} kinds of failures")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
