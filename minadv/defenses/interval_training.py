r"""Interval training: lower the loss in the worst corner of a box that no attack can leave.

Gowal et al. 2018, *On the effectiveness of interval bound propagation for training verifiably
robust models*. Adversarial training shows the network *some* image of the ball, the worst one that
an attack found. Here it is shown bounds of the logits over the *whole* ball.
"""

from __future__ import annotations

from minadv import layers, losses, ops
from minadv.autograd import raw
from minadv.backend import array_module
from minadv.checks import check_bounds, check_number
from minadv.layers import Layer, Sequential
from minadv.protocols import Array, Model
from minadv.training import History, fit

__all__ = ["IntervalLoss", "interval_training"]

WEIGHTED = (layers.Dense, layers.Conv2D, layers.DepthwiseConv2D)
# Where a larger input never gives a smaller output, the ends of an interval give the ends.
RISING = (
    layers.ReLU, layers.LeakyReLU, layers.MaxPool, layers.AvgPool, layers.GlobalAvgPool,
    layers.Flatten, layers.Reshape, layers.Normalize, layers.Sigmoid, layers.Tanh,
)  # fmt: skip


class IntervalLoss:
    r"""The objective :math:`\kappa L(z, y) + (1 - \kappa) L(\hat z(\epsilon), y)` (equation 12).

    L is the cross-entropy, z the logits, and :math:`\hat z_j` the largest that :math:`z_j - z_y`
    can be by the intervals of the ball of radius ε (:math:`\hat z_y = 0`). It is for
    ``fit(model, x, y, objective=IntervalLoss(model, eps=0.1))``.

    A network that starts with the whole ε has intervals so wide that it learns nothing but a
    constant. So for ``warm_up`` epochs the loss is L alone; then, within ``ramp`` epochs, ε grows
    from 0 and κ falls from 1, both linearly, batch by batch.

    Parameters
    ----------
    model : Sequential
        The model that is trained, ending in Dense.
    eps : float
        ε >= 0, in pixel values, L∞. Train with somewhat more than is to be certified.
    kappa : float
        The weight of the clean images at the end, in [0, 1].
    warm_up, ramp : float
        Epochs, >= 0.
    bounds : (float, float)
        The least and the largest pixel value.

    Raises
    ------
    ValueError, TypeError
        For a model with a layer that no interval is known for, and other wrong arguments.
    """

    def __init__(
        self,
        model: Sequential,
        *,
        eps: float,
        kappa: float = 0.5,
        warm_up: float = 0.0,
        ramp: float = 0.0,
        bounds: tuple[float, float] = (0.0, 1.0),
    ):
        self.layers = _layers(model, "")
        if not self.layers or not isinstance(self.layers[-1][1], layers.Dense):
            raise TypeError(
                "model must be a Sequential that ends in Dense, whose outputs are logits"
            )
        self.last_eps = check_number("eps", eps, least=0)
        self.last_kappa = check_number("kappa", kappa, least=0, most=1)
        self.warm_up = check_number("warm_up", warm_up, least=0)
        self.ramp = check_number("ramp", ramp, least=0)
        self.bounds = check_bounds(bounds)
        self.at(0.0)

    def at(self, epochs: float):
        """Set ε and κ as they are after so many epochs; ``fit`` calls it before each batch."""
        since = epochs - self.warm_up
        share = float(since >= 0) if self.ramp == 0 else min(max(since / self.ramp, 0.0), 1.0)
        self.eps = share * self.last_eps
        self.kappa = 1 - share * (1 - self.last_kappa)

    def __call__(self, forward: Model, x: Array, y: Array):
        """One number per example, (N,)."""
        clean = losses.cross_entropy(forward(x), y)
        if self.kappa == 1:
            return clean
        worst = losses.cross_entropy(self.worst_logits(forward.parameters, x, y), y)  # type: ignore[attr-defined]
        return self.kappa * clean + (1 - self.kappa) * worst

    def worst_logits(self, parameters: dict, x: Array, y: Array):
        r"""The largest that each :math:`z_j - z_y` can be by intervals, (N, K)."""
        xp = array_module(x)
        low, high = (xp.clip(x + x.dtype.type(e), *self.bounds) for e in (-self.eps, self.eps))
        for prefix, layer in self.layers[:-1]:
            low, high = _carried(layer, _own(parameters, prefix, layer), low, high)
        last = _own(parameters, *self.layers[-1])
        weight, bias = last["weight"], last["bias"]  # (D, K), (K,)
        d, k = raw(weight).shape
        # The last layer is elided (section 3): W_j - W_y is bounded, not each of z_j and z_y.
        pairs = weight.reshape(d, k, 1) - weight.reshape(d, 1, k)
        center, radius = (low + high) / 2, (high - low) / 2
        most = center @ pairs.reshape(d, k * k) + radius @ ops.abs(pairs).reshape(d, k * k)
        most = most.reshape(len(x), k, k) + (bias.reshape(k, 1) - bias.reshape(1, k))
        of_y = xp.eye(k, dtype=x.dtype)[y]
        return (most * of_y.reshape(len(x), 1, k)).sum(axis=2)


def interval_training(
    model: Sequential,
    x: Array,
    y: Array,
    *,
    eps: float,
    kappa: float = 0.5,
    warm_up: float = 0.0,
    ramp: float = 0.0,
    bounds: tuple[float, float] = (0.0, 1.0),
    **how,
) -> History:
    """Train ``model`` with :class:`IntervalLoss`, so that much of it can be certified afterwards.

    ``interval_training(model, x, y, eps=0.1, warm_up=2, ramp=10, epochs=20)``, and then
    ``certified_accuracy(model, x_test, y_test, eps=0.1, method="intervals")``.

    Parameters
    ----------
    model, x, y, **how
        As for :func:`minadv.training.fit`. Give ``epochs`` more than ``warm_up + ramp``.
    eps, kappa, warm_up, ramp, bounds
        As for :class:`IntervalLoss`.

    Returns
    -------
    History
        As :func:`~minadv.training.fit` returns it.
    """
    schedule = {"kappa": kappa, "warm_up": warm_up, "ramp": ramp, "bounds": bounds}
    return fit(model, x, y, objective=IntervalLoss(model, eps=eps, **schedule), **how)  # type: ignore[arg-type]


def _layers(model, prefix: str) -> list[tuple[str, Layer]]:
    """The layers one after the other, each with the prefix of its parameters' names."""
    if isinstance(model, Sequential):
        parts = (_layers(layer, f"{prefix}{name}.") for name, layer in model.children().items())
        return [layer for part in parts for layer in part]
    if isinstance(model, layers.Dropout):  # the intervals are of the network without it
        return []
    if not isinstance(model, WEIGHTED + RISING):
        raise TypeError(f"model must be a Sequential of layers with known intervals, got {model!r}")
    if isinstance(model, layers.LeakyReLU) and model.slope < 0:
        raise ValueError(f"model: LeakyReLU must have a slope >= 0, got {model.slope}")
    return [(prefix, model)]


def _own(parameters: dict, prefix: str, layer: Layer) -> dict:
    return {name: parameters[prefix + name] for name in layer.names}


def _carried(layer: Layer, own: dict, low, high):
    """The interval of the layer's outputs, one wide enough, from that of its inputs."""
    if not isinstance(layer, WEIGHTED):
        return layer.apply(own, low), layer.apply(own, high)
    size = {"weight": ops.abs(own["weight"])}
    if "bias" in own:  # it moves both ends, and so the center alone
        size["bias"] = array_module(raw(own["bias"])).zeros_like(raw(own["bias"]))
    center = layer.apply(own, (low + high) / 2)
    radius = layer.apply(size, (high - low) / 2)
    return center - radius, center + radius
