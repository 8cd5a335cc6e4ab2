"""Training: the optimizers, and :func:`fit`.

Each batch is cut into chunks that run on all cores, and their gradients are added up. With batch
normalization an example's value depends on its batch, which then stays whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from minadv import losses
from minadv.autograd import value_and_grad
from minadv.backend import array_module, like
from minadv.checks import (
    check_array,
    check_choice,
    check_count,
    check_flag,
    check_function,
    check_number,
    check_rng,
)
from minadv.layers import Layer
from minadv.parallel import chunk_size, map_chunks, one_blas_thread, run_chunks
from minadv.protocols import LOSS, OBJECTIVE, Array, Loss, Objective

__all__ = ["SGD", "Adam", "History", "fit"]


# ---- optimizers


class SGD:
    r"""Gradient descent with momentum.

    .. math:: v \leftarrow \mu v + g, \quad w \leftarrow w - \eta v

    ``lr``: η > 0. ``momentum``: μ in [0, 1).
    """

    def __init__(self, lr: float = 0.01, *, momentum: float = 0.0):
        self.lr = check_number("lr", lr, above=0)
        self.momentum = check_number("momentum", momentum, least=0, below=1)
        self.v: Any = None

    def step(self, w, g):
        """Change the vector ``w`` of all weights, in place, by its gradient ``g``."""
        xp = array_module(w)
        if self.v is None:
            self.v, self.work = xp.zeros_like(w), xp.empty_like(w)
        _check_same_weights(self.v, w)
        self.v *= self.momentum
        self.v += g
        w -= xp.multiply(self.v, self.lr, out=self.work)


class Adam:
    r"""Adam (Kingma & Ba 2015, algorithm 1): steps of about ``lr``, whatever the gradient's size.

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        w \leftarrow w - \alpha \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    ``lr``: α > 0. ``beta1``, ``beta2``: in [0, 1). ``epsilon``: ε > 0. The defaults are
    the paper's.
    """

    def __init__(
        self, lr: float = 0.001, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
    ):
        self.lr = check_number("lr", lr, above=0)
        self.beta1 = check_number("beta1", beta1, least=0, below=1)
        self.beta2 = check_number("beta2", beta2, least=0, below=1)
        self.epsilon = check_number("epsilon", epsilon, above=0)
        self.t = 0
        self.m: Any = None

    def step(self, w, g):
        """Change the vector ``w`` of all weights, in place, by its gradient ``g``."""
        xp = array_module(w)
        if self.m is None:
            self.m, self.v = xp.zeros_like(w), xp.zeros_like(w)
            self.work = xp.empty_like(w)  # one buffer, so that small networks stay in the cache
        _check_same_weights(self.m, w)
        m, v, work = self.m, self.v, self.work
        # The lines of algorithm 1's loop; line 2, the gradient, is given.
        self.t += 1  # 1: t <- t + 1
        m *= self.beta1  # 3: m <- beta1 m + (1 - beta1) g
        m += xp.multiply(g, 1 - self.beta1, out=work)
        v *= self.beta2  # 4: v <- beta2 v + (1 - beta2) g^2
        xp.multiply(g, g, out=work)
        work *= 1 - self.beta2
        v += work
        # 5, 6 and 7 in the order that the end of the paper's section 2 gives, which divides
        # numbers by the corrections, not vectors:
        #   alpha_t = alpha sqrt(1 - beta2^t) / (1 - beta1^t)
        #   epsilon_t = epsilon sqrt(1 - beta2^t)
        #   w <- w - alpha_t m / (sqrt(v) + epsilon_t)
        root = (1 - self.beta2**self.t) ** 0.5
        xp.sqrt(v, out=work)
        work += self.epsilon * root
        xp.divide(m, work, out=work)
        work *= self.lr * root / (1 - self.beta1**self.t)
        w -= work


def _check_same_weights(state, w):
    if state.shape != w.shape:
        raise ValueError(
            f"optimizer has trained another model, of {state.size} weights instead of {w.size}: "
            "make a new one"
        )


# ---- fit


@dataclass
class History:
    """What each epoch brought.

    ``loss``: the mean training loss. ``validation_loss`` and ``validation_accuracy``: empty
    without validation. ``seconds``: how long each epoch took. ``interrupted``: whether Ctrl-C
    ended the training.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    interrupted: bool = False

    def __len__(self):
        return len(self.loss)


def fit(
    model: Layer,
    x: Array,
    y: Array,
    *,
    loss: Loss = losses.cross_entropy,
    objective: Objective | None = None,
    optimizer: SGD | Adam | None = None,
    epochs: int = 1,
    batch_size: int = 32,
    rng: np.random.Generator | int = 0,
    validation: tuple[Array, Array] | None = None,
    progress: bool = True,
    on_interrupt: str = "raise",
) -> History:
    r"""Minimize the mean of ``loss`` over the weights of ``model``, batch by batch.

    The weights of ``model`` change where they are.

    Parameters
    ----------
    model : Layer
        The model, with at least one weight.
    x : array (N, ...)
        Floating point.
    y : array (N, ...)
        What the loss compares with: labels, soft labels, images; one row per example.
    loss : function
        ``loss(logits, y)``, one number per example, (n,). ``logits`` is what the model returns,
        under differentiation and with Dropout on. See :mod:`minadv.protocols`.
    objective : function, optional
        ``objective(forward, x, y)``, one number per example, instead of ``loss`` where that needs
        the model. ``forward(x)`` is the model with its weights under differentiation and Dropout
        on; ``forward.parameters`` are those weights, by name. An objective may call it several
        times, and may attack ``model`` itself. If it has a method ``at``, ``objective.at(epochs)``
        is called before each batch with the epochs done so far, such as 3.25: for schedules.
    optimizer : SGD or Adam, optional
        ``Adam(0.001)`` by default.
    epochs, batch_size : int
        How often each example is used, and how many make one step.
    rng : numpy.random.Generator or int
        Shuffles and drives Dropout.
    validation : pair of arrays (x, y), optional
        Judged after each epoch.
    progress : bool
        Show a bar on stderr.
    on_interrupt : {"raise", "return"}
        What follows Ctrl-C. The model keeps what was learned, all steps taken so far, either way.
        ``"raise"`` raises :class:`KeyboardInterrupt`. ``"return"`` returns the history with
        ``interrupted=True``.

    Returns
    -------
    History
        Losses, accuracies and seconds by epoch.

    Raises
    ------
    TypeError
        If ``x`` or ``y`` is not an array, or another argument is of a wrong type.
    ValueError
        If lengths differ, ``x`` is empty, or a number is out of range.
    FloatingPointError
        If the loss is no longer finite.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a Layer, whose weights can be trained, got {model!r}")
    _check_pair_of_arrays(x, y, "x", "y")
    if validation is not None:
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            came = type(validation).__name__
            raise TypeError(f"validation must be a pair of arrays (x, y), got {came}")
        _check_pair_of_arrays(*validation, "validation[0]", "validation[1]")
    check_function("loss", loss, LOSS, None, None)
    if objective is not None:
        check_function("objective", objective, OBJECTIVE, None, None, None)
        if loss is not losses.cross_entropy:
            raise ValueError("give loss or objective, not both")
    if optimizer is None:
        optimizer = Adam()
    elif isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        raise TypeError(f"optimizer must be an object such as Adam(0.001), got {optimizer!r}")
    epochs, batch_size = (
        check_count("epochs", epochs, least=0),
        check_count("batch_size", batch_size),
    )
    rng = check_rng(rng)
    progress = check_flag("progress", progress)
    check_choice("on_interrupt", on_interrupt, "raise", "return")
    weights = _Weights(model)
    chunk = batch_size if model.whole_batch else chunk_size(model, x)
    history = History()
    per_example = objective or (lambda forward, x, y: loss(forward(x), y))
    schedule = getattr(objective, "at", None)
    bar = tqdm(
        total=epochs * len(x),
        unit=" examples",
        unit_scale=True,
        desc="training",
        disable=not progress,
        leave=False,
    )
    try:
        with bar, one_blas_thread():
            for _ in range(epochs):
                start, total = time.perf_counter(), 0.0
                order = like(rng.permutation(len(x)), x)
                for i in range(0, len(x), batch_size):
                    if schedule is not None:
                        schedule(len(history) + i / len(x))
                    some = order[i : i + batch_size]
                    batch = x[some], y[some]
                    value, gradient = _batch_gradient(weights, per_example, *batch, chunk, rng)
                    if not np.isfinite(value):
                        raise FloatingPointError(_not_finite(value, len(history) + 1, batch[0]))
                    optimizer.step(weights.vector, gradient)
                    total += value
                    bar.update(len(some))
                if validation is not None:
                    _validate(model, loss, objective, *validation, history)
                history.loss.append(total / len(x))
                history.seconds.append(time.perf_counter() - start)
                bar.set_postfix(loss=f"{history.loss[-1]:.4f}", refresh=False)
    except KeyboardInterrupt:
        if on_interrupt == "raise":
            raise
        history.interrupted = True
    return history


def _check_pair_of_arrays(x, y, name_x: str, name_y: str):
    check_array(name_x, x)
    check_array(name_y, y)
    if x.dtype.kind != "f":
        hint = ": divide by 255 first" if x.dtype == np.uint8 else ""
        raise TypeError(f"{name_x} must be floating point, got {x.dtype}{hint}")
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(
            f"{name_x} and {name_y} must have the same length, at least 1, "
            f"got {len(x)} and {len(y)}"
        )


def _not_finite(value: float, epoch: int, x) -> str:
    finite = bool(array_module(x).isfinite(x).all())
    advice = "lower the learning rate" if finite else "x holds NaN or infinity"
    return f"the loss became {value} in epoch {epoch}: {advice}"


class _Weights:
    """All weights of a model as one vector, of which each layer's array is a view.

    So the optimizer takes one step for all of them. An array that the model uses at several
    places is in the vector once, and its gradient is the sum over the places.
    """

    def __init__(self, model: Layer):
        self.model = model
        own = model.parameters
        if not own:
            raise ValueError("the model has no weights to train")
        arrays = list({id(array): array for array in own.values()}.values())
        self.vector = array_module(*arrays).concatenate([array.reshape(-1) for array in arrays])
        ends = np.cumsum([array.size for array in arrays]).tolist()
        self.places = [
            (slice(end - a.size, end), a.shape) for end, a in zip(ends, arrays, strict=True)
        ]
        self.views = self.split(self.vector)
        number = {id(array): i for i, array in enumerate(arrays)}
        self.number = {name: number[id(array)] for name, array in own.items()}
        model.parameters = self.by_name(self.views)

    def split(self, vector) -> list:
        """A view of ``vector`` for each array, in its shape."""
        return [vector[place].reshape(shape) for place, shape in self.places]

    def by_name(self, arrays) -> dict:
        return {name: arrays[i] for name, i in self.number.items()}

    def gradient(self, f: Callable):
        """``(value, gradient)`` of ``f(parameters)``, the gradient as one vector."""
        gradient = array_module(self.vector).empty_like(self.vector)
        value, _ = value_and_grad(
            lambda *arrays: f(self.by_name(arrays)), *self.views, out=self.split(gradient)
        )
        return value, gradient


@dataclass(frozen=True)
class Forward:
    """The model as an objective sees it: ``forward(x)`` with ``parameters``, Dropout on."""

    model: Layer
    parameters: dict
    rng: np.random.Generator

    def __call__(self, x):
        return self.model.apply(self.parameters, x, self.rng)


def _batch_gradient(
    weights: _Weights, objective: Objective, x, y, chunk: int, rng: np.random.Generator
) -> tuple[float, Array]:
    """The sum of one batch's losses, and the gradient of their mean.

    Each chunk draws from a generator of its own. They all come from one draw per batch, so that
    the shuffles do not depend on the chunks.
    """
    seed = rng.integers(2**63)
    places = like(np.arange(len(x)), x)

    def one(x, y, places):
        def total(parameters):
            chunk_rng = np.random.default_rng([seed, int(places[0])])
            values = objective(Forward(weights.model, parameters, chunk_rng), x, y)
            shape = getattr(values, "shape", None)
            if shape != (len(x),):
                raise ValueError(
                    f"loss must return one value per example, shape ({len(x)},), got {shape}"
                )
            return values.sum()

        return weights.gradient(total)

    parts = run_chunks(one, x, y, places, chunk=chunk)
    value = sum(float(value) for value, _ in parts)
    gradient = parts[0][1]
    for _, part in parts[1:]:
        gradient += part
    gradient /= len(x)
    return value, gradient


def _validate(
    model: Layer, loss: Loss, objective: Objective | None, x, y, history: History
) -> None:
    labeled = y.ndim == 1 and y.dtype.kind in "iu"

    def judge(x, y):
        if objective is not None:
            values = objective(model, x, y)
            return (values, model(x).argmax(axis=1)) if labeled else (values,)
        answer = model(x)
        return (loss(answer, y), answer.argmax(axis=1)) if labeled else (loss(answer, y),)

    values, *labels = map_chunks(judge, x, y, chunk=chunk_size(model, x))
    history.validation_loss.append(float(values.mean()))
    if labeled:
        history.validation_accuracy.append(float((labels[0] == y).mean()))
