"""Training: optimizers, and :func:`fit`, which runs each batch in chunks on all cores and adds the chunks' gradients up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from minadv import losses
from minadv.autograd import value_and_grad
from minadv.backend import array_module, like
from minadv.layers import Layer
from minadv.parallel import chunk_size, map_chunks, one_blas_thread, run_chunks

__all__ = ["SGD", "Adam", "History", "fit"]


# ------------------------------------------------------------------------------------------------------------------ optimizers


def _positive(name: str, value: float) -> float:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
    return value


def _share(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")
    return value


class SGD:
    r"""Gradient descent with momentum: :math:`v \leftarrow \mu v + g`, :math:`w \leftarrow w - \eta v`."""

    def __init__(self, lr: float = 0.01, *, momentum: float = 0.0):
        self.lr, self.momentum = _positive("lr", lr), _share("momentum", momentum)
        self.v = None

    def step(self, w, g):
        """Change the vector ``w`` of all weights, in place, by its gradient ``g``."""
        if self.v is None:
            self.v = array_module(w).zeros_like(w)
        self.v *= self.momentum
        self.v += g
        w -= self.lr * self.v


class Adam:
    r"""Adam (Kingma & Ba 2015): steps of about ``lr`` per weight, whatever the gradient's size.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
              w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}
    """

    def __init__(
        self, lr: float = 0.001, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
    ):
        self.lr, self.epsilon = _positive("lr", lr), _positive("epsilon", epsilon)
        self.beta1, self.beta2 = _share("beta1", beta1), _share("beta2", beta2)
        self.t = 0

    def step(self, w, g):
        """Change the vector ``w`` of all weights, in place, by its gradient ``g``."""
        xp = array_module(w)
        if self.t == 0:
            self.m, self.v, self.work = xp.zeros_like(w), xp.zeros_like(w), xp.empty_like(w)
        self.t += 1
        m, v, work = (
            self.m,
            self.v,
            self.work,
        )  # one buffer, so that the weights of a small network stay in the cache
        xp.multiply(g, 1 - self.beta1, out=work)
        m *= self.beta1
        m += work
        xp.multiply(g, g, out=work)
        work *= 1 - self.beta2
        v *= self.beta2
        v += work
        xp.sqrt(v, out=work)
        correction = (1 - self.beta2**self.t) ** 0.5
        work += self.epsilon * correction
        xp.divide(m, work, out=work)
        work *= self.lr * correction / (1 - self.beta1**self.t)
        w -= work


# ------------------------------------------------------------------------------------------------------------------------- fit


@dataclass
class History:
    """What each epoch brought: mean training loss, validation loss and accuracy (empty without validation), seconds."""

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    interrupted: bool = False

    def __len__(self):
        return len(self.loss)


def cross_entropy(forward: Callable, x, y):
    """The default loss of :func:`fit`: cross-entropy on logits, per example."""
    return losses.cross_entropy(forward(x), y)


def fit(
    model: Layer,
    x,
    y,
    *,
    loss: Callable = cross_entropy,
    optimizer: SGD | Adam | None = None,
    epochs: int = 1,
    batch_size: int = 32,
    rng=0,
    validation: tuple | None = None,
    progress: bool = True,
) -> History:
    r"""Minimise the mean of ``loss`` over the weights of ``model``, batch by batch, and return the :class:`History`.

    Arguments: ``x``, (N, ...), and ``y``, (N, ...), what the loss compares with (labels, soft labels, images), one row each;
    ``loss(forward, x, y)`` gives one loss per example, (n,), where ``forward(x)`` is the model with its weights under differentiation and
    Dropout on (a loss may call it several times, or attack ``model`` itself); ``optimizer`` defaults to ``Adam(0.001)``; ``rng`` (Generator
    or seed) shuffles and drives Dropout; ``validation``, a pair ``(x, y)``, is judged after each epoch; ``progress`` shows a bar.

    The weights of ``model`` are changed where they are. Ctrl-C ends the training and keeps what was learned, all steps taken so far;
    ``history.interrupted`` then says so.

    Raises :class:`TypeError` for lists, :class:`ValueError` for lengths that differ, an empty ``x`` or numbers out of range, and
    :class:`FloatingPointError` if the loss is no longer finite.
    """
    if not (hasattr(x, "dtype") and hasattr(y, "dtype")):
        raise TypeError(f"x and y must be arrays, got {type(x).__name__} and {type(y).__name__}")
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(
            f"x and y must have the same length, at least 1, got {len(x)} and {len(y)}"
        )
    if epochs < 0 or batch_size < 1:
        raise ValueError(
            f"epochs must be >= 0 and batch_size >= 1, got {epochs!r} and {batch_size!r}"
        )
    rng = np.random.default_rng(rng)
    optimizer = Adam() if optimizer is None else optimizer
    weights = _Weights(model)
    chunk = chunk_size(model, x)
    history = History()
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
                    batch = order[i : i + batch_size]
                    value, gradient = _batch_gradient(weights, loss, x[batch], y[batch], chunk, rng)
                    if not np.isfinite(value):
                        raise FloatingPointError(
                            f"the loss became {value} in epoch {len(history) + 1}: lower the learning rate"
                        )
                    optimizer.step(weights.vector, gradient)
                    total += value
                    bar.update(len(batch))
                if validation is not None:
                    _validate(model, loss, *validation, history)
                history.loss.append(total / len(x))
                history.seconds.append(time.perf_counter() - start)
                bar.set_postfix(loss=f"{history.loss[-1]:.4f}", refresh=False)
    except KeyboardInterrupt:
        history.interrupted = True
    return history


class _Weights:
    """All weights of a model as one vector, of which each layer's array is a view: the optimizer takes one step for all of them."""

    def __init__(self, model: Layer):
        self.model = model
        self.parameters = model.parameters
        if not self.parameters:
            raise ValueError("the model has no weights to train")
        xp = array_module(*self.parameters.values())
        self.vector = xp.concatenate([p.reshape(-1) for p in self.parameters.values()])
        ends = np.cumsum([p.size for p in self.parameters.values()]).tolist()
        self.slices = [
            slice(end - p.size, end) for p, end in zip(self.parameters.values(), ends, strict=True)
        ]
        views = [
            self.vector[s].reshape(p.shape)
            for s, p in zip(self.slices, self.parameters.values(), strict=True)
        ]
        self.parameters = model.parameters = dict(zip(self.parameters, views, strict=True))

    def gradient(self, f: Callable):
        """``(value, gradient)`` of ``f(parameters)``, the gradient as one vector."""
        names = list(self.parameters)
        value, parts = value_and_grad(
            lambda *p: f(dict(zip(names, p, strict=True))), *self.parameters.values()
        )
        gradient = array_module(self.vector).empty_like(self.vector)
        for s, part in zip(self.slices, parts if len(names) > 1 else (parts,), strict=True):
            gradient[s] = part.reshape(-1)
        return value, gradient


def _batch_gradient(
    weights: _Weights, loss: Callable, x, y, chunk: int, rng: np.random.Generator
) -> tuple[float, object]:
    """The sum of one batch's losses, and the gradient of their mean. Each chunk draws from a generator of its own."""
    seed, places = (
        rng.integers(2**63),
        like(np.arange(len(x)), x),
    )  # one draw per batch: the shuffles do not depend on the chunks

    def one(x, y, places):
        def total(parameters):
            chunk_rng = np.random.default_rng([seed, int(places[0])])
            values = loss(lambda x: weights.model.apply(parameters, x, chunk_rng), x, y)
            if values.shape != (len(x),):
                raise ValueError(
                    f"loss must return one value per example, shape ({len(x)},), got {values.shape}"
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


def _validate(model: Layer, loss: Callable, x, y, history: History):
    chunk = chunk_size(model, x)
    history.validation_loss.append(
        float(map_chunks(lambda x, y: loss(model, x, y), x, y, chunk=chunk).mean())
    )
    if y.ndim == 1 and y.dtype.kind in "iu":
        labels = map_chunks(model, x, chunk=chunk).argmax(axis=1)
        history.validation_accuracy.append(float((labels == y).mean()))
