"""The documents' models, and how weights are kept.

Each model is a :class:`~minadv.layers.Sequential` from images to logits (N, K); probabilities are their softmax.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np

from minadv.backend import asarray, like, to_numpy
from minadv.layers import Conv2D, Dense, Flatten, Layer, ReLU, Sequential

__all__ = ["LogisticRegression", "cnn", "load_weights", "mlp", "save_weights"]


class LogisticRegression(Layer):
    r"""Two classes from one linear function (A7): logits :math:`(0, w \cdot x + b)`, so that :math:`P(y = 1) = \sigma(w \cdot x + b)`.

    ``weight``: (D,), ``bias``: one number; ``x``: (N, D) or anything with D numbers per example. The log-odds margin of class 1 is w·x + b
    itself.
    """

    names = ("weight", "bias")

    def __init__(self, weight, bias=0.0):
        self.weight = asarray(weight)
        if self.weight.ndim != 1 or self.weight.dtype.kind != "f":
            raise ValueError(f"weight must be a floating-point vector (D,), got {self.weight.dtype} of shape {self.weight.shape}")
        self.bias = asarray(bias, dtype=self.weight.dtype)

    def apply(self, parameters, x, rng=None):
        flat = Flatten()(x)
        logit = flat @ parameters["weight"] + parameters["bias"]  # (N,)
        return logit.reshape(len(x), 1) * like(np.array([[0, 1]], to_numpy(self.weight).dtype), self.weight)  # (N, 2)


def mlp(shape: tuple = (28, 28, 1), classes: int = 10, *, hidden: int = 128, rng=0, dtype=np.float32) -> Sequential:
    """Document B's network (B3): flatten, ``hidden`` ReLU units, logits. It trains with Adam 0.001, batch 8, 10 epochs."""
    rng = np.random.default_rng(rng)
    return Sequential(
        Flatten(),
        Dense(int(np.prod(shape)), hidden, rng=rng, dtype=dtype),
        ReLU(),
        Dense(hidden, classes, rng=rng, dtype=dtype),
    )


def cnn(shape: tuple = (28, 28, 1), classes: int = 10, *, filters: tuple = (16, 32, 64), rng=0, dtype=np.float32) -> Sequential:
    """Document D's network (D2): three 3x3 convolutions, the first ``same``, the others ``valid`` with stride 2; ReLU; logits.

    On ``shape`` (28, 28, 1): 28x28x16 -> 13x13x32 -> 6x6x64 -> 10. It trains with Adam 0.001, batch 256.
    """
    rng = np.random.default_rng(rng)
    h, w, c = shape
    a, b, d = filters
    size = [(((n - 3) // 2 + 1) - 3) // 2 + 1 for n in (h, w)]
    if min(size) < 1:
        raise ValueError(f"shape must be at least 7 x 7 for three 3x3 convolutions, two of stride 2, got {h} x {w}")
    return Sequential(
        Conv2D(c, a, 3, padding="same", rng=rng, dtype=dtype),
        ReLU(),
        Conv2D(a, b, 3, stride=2, rng=rng, dtype=dtype),
        ReLU(),
        Conv2D(b, d, 3, stride=2, rng=rng, dtype=dtype),
        ReLU(),
        Flatten(),
        Dense(size[0] * size[1] * d, classes, rng=rng, dtype=dtype),
    )


# ---------------------------------------------------------------------------------------------------------- weights on disk


def save_weights(model: Layer, path) -> Path:
    """Write ``model.parameters`` to ``path`` (``.npz``), whole or not at all: a file that is there is replaced only by a complete one."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path must end in .npz, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **{name: to_numpy(value) for name, value in model.parameters.items()})
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return path


def load_weights(model: Layer, path) -> Layer:
    """Put the weights in ``path`` (``.npz``, read without pickle) into ``model``, and return it.

    Raises :class:`FileNotFoundError`, or :class:`ValueError` naming the file and what is wrong: damaged, not weights, or the arrays that
    are missing, unknown, or differ in shape; the model then keeps the weights that it had.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            values = {name: arrays[name] for name in arrays.files}
        if not all(isinstance(value, np.ndarray) and value.dtype.kind in "fiu" for value in values.values()):
            raise ValueError("it holds other things than arrays of numbers")
    except FileNotFoundError:
        raise
    except Exception as error:  # what zipfile and NumPy trip over in a damaged file is of a dozen kinds
        raise ValueError(f"{path} is no readable .npz file of weights: {error}") from error
    own = model.parameters
    try:
        model.parameters = {name: like(v.astype(own[name].dtype), own[name]) if name in own else v for name, v in values.items()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return model
