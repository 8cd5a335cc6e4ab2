"""Reverse-mode differentiation, functional: gradients are returned, never accumulated.

An operation (see :mod:`minadv.ops`) computes its value. For each parent being differentiated it
records one rule, a vector-Jacobian product (VJP): ``g -> g · ∂value/∂parent``. Only :func:`vjp`,
and what is built on it, makes a :class:`Tensor`. Every other array is a constant, by construction
and without a flag, and nothing is ever computed for it.
"""

from __future__ import annotations

import heapq
import itertools
import numbers
from collections.abc import Callable

import numpy as np

from minadv.backend import array_module, like

__all__ = ["Tensor", "grad", "gradcheck", "jacobian", "raw", "record", "value_and_grad", "vjp"]

_creation = itertools.count()


class Node:
    """Where a value came from: one ``(parent, rule)`` edge for each Node that it was computed from.

    It does not keep the value. What a rule needs of it, the rule keeps, and the rest is freed.
    """

    __slots__ = ("dtype", "edges", "order")

    def __init__(self, dtype, edges: tuple = ()):
        self.dtype = dtype
        self.edges = edges
        self.order = next(_creation)  # a parent is always older than its children


class Tensor:
    """A value that is being differentiated, and its :class:`Node`.

    Its operators are assigned in :mod:`minadv.ops`.
    """

    __slots__ = ("node", "value")
    __array_ufunc__ = None  # so that ``array * tensor`` comes to Tensor.__rmul__

    def __init__(self, value, edges: tuple = ()):
        self.value = value
        self.node = Node(value.dtype, edges)

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)

    def __len__(self):
        return len(self.value)

    def __repr__(self):
        return f"Tensor({self.value!r})"

    def __array__(self, *_, **__):
        raise TypeError(
            "a Tensor cannot become a NumPy array; inside a differentiated function, use minadv.ops"
        )

    def __array_function__(self, function, *_):
        name = function.__name__
        raise TypeError(
            f"np.{name} cannot compute with a Tensor; inside a differentiated function, "
            "use minadv.ops (ops.mean(x), ops.exp(x), ...)"
        )

    def __bool__(self):
        raise TypeError("a Tensor has no truth value: choose with minadv.ops.where")


def raw(x):
    """The plain value of ``x``, which may be a Tensor, an array or a number."""
    return x.value if isinstance(x, Tensor) else x


def record(value, *edges):
    """``value`` as a Tensor, given ``(parent, rule)`` pairs; plain if no parent is a Tensor.

    A rule should refer to arrays that it needs, and to nothing else: they live as long as it does.
    """
    edges = tuple((parent.node, rule) for parent, rule in edges if isinstance(parent, Tensor))
    return Tensor(value, edges) if edges else value


def vjp(f: Callable, *xs):
    r"""``(f(*xs), pull)``, where ``pull(g)`` gives :math:`g \cdot \partial f / \partial x`.

    ``pull`` may be called repeatedly. It returns one array for one ``x`` and a tuple for several,
    each new, in the shape and dtype of its ``x`` (zeros where ``f`` does not depend on it). ``g``
    has the shape of ``value``.

    Raises :class:`TypeError` if an ``x`` is not a floating-point array or is a Tensor, if ``f``
    does not return an array, or if ``f`` uses a Tensor of an outer ``vjp`` (only first derivatives
    are supported). Raises :class:`ValueError` for a ``g`` of another shape.
    """
    value, end, starts, xs = _computed(f, xs)

    def pull(g):
        g = array_module(value).asarray(g, dtype=value.dtype)
        if g.shape != value.shape:
            raise ValueError(f"g must have the shape of the value, {value.shape}, got {g.shape}")
        return _copied(_backward(end, g, starts), _places(xs))

    return value, pull


def value_and_grad(f: Callable, *xs, out=None):
    r"""``(f(*xs), ∇f)`` for an ``f`` that returns one number; a tuple of gradients if several xs.

    This is one pull of :func:`vjp`, with less memory: what a rule keeps is freed when it has run.
    The gradients are written into the arrays ``out`` if given, one like each ``x``.

    Raises :class:`ValueError` if ``f`` returns more than one number; sum or average it, or use
    :func:`vjp`.
    """
    value, end, starts, xs = _computed(f, xs)
    if value.size != 1:
        raise ValueError(f"f must return one number, got shape {value.shape}: sum it, or use vjp")
    places = _places(xs, out)
    one = array_module(value).ones_like(value)
    return value, _copied(_backward(end, one, starts, keep=False), places)


def _computed(f: Callable, xs: tuple) -> tuple:
    """The value of ``f``, the node that it ends at, those that it starts from, and their arrays."""
    if not callable(f):
        raise TypeError(f"f must be a function, got {f!r}")
    if not xs:
        raise TypeError("vjp needs at least one array to differentiate with respect to")
    xs = tuple(_differentiable(x, i) for i, x in enumerate(xs))
    inputs = [Tensor(x) for x in xs]
    output = f(*inputs)
    value = raw(output)
    if not hasattr(value, "dtype"):
        raise TypeError(f"f must return one array, got {type(value).__name__}")
    return value, getattr(output, "node", None), [tensor.node for tensor in inputs], xs


def _copied(gradients: list, places: list):
    """``gradients``, written into ``places``: a rule's own array is never handed out."""
    for place, gradient in zip(places, gradients, strict=True):
        place[...] = gradient
    return places[0] if len(places) == 1 else tuple(places)


def _places(xs: tuple, out=None) -> list:
    """``out``, checked to be one array like each of ``xs``; new ones by default."""
    if out is None:
        return [array_module(x).empty_like(x) for x in xs]
    if not isinstance(out, tuple | list):
        raise TypeError(f"out must be a list of arrays, got {type(out).__name__}")
    kinds = [[(getattr(a, "dtype", type(a)), np.shape(a)) for a in some] for some in (xs, out)]
    if kinds[0] != kinds[1]:
        due, came = ([f"{dtype} {shape}" for dtype, shape in kind] for kind in kinds)
        raise ValueError(f"out must hold arrays like the xs, {due}, got {came}")
    return list(out)


def _differentiable(x, position: int):
    if isinstance(x, Tensor):
        raise TypeError(
            f"xs[{position}] is already being differentiated: "
            "minadv differentiates once (first order only)"
        )
    if not isinstance(getattr(x, "dtype", None), np.dtype):
        try:
            x = np.asarray(x)
        except ValueError as error:
            raise TypeError(f"xs[{position}] must be a floating-point array: {error}") from None
    if x.dtype.kind != "f":
        raise TypeError(f"xs[{position}] must be a floating-point array, got dtype {x.dtype}")
    return array_module(x).asarray(x)


def _backward(end: Node | None, g, starts: list[Node], keep: bool = True) -> list:
    """The gradient for each of ``starts``, 0 where ``end`` does not depend on it.

    Visit nodes newest first: by the time a node is reached, all contributions to its gradient have
    arrived. Unless told to ``keep`` them, it takes the rules off the nodes as it goes.
    """
    gradients = {end: g} if end else {}
    queue = [(-node.order, node) for node in gradients]
    while queue:
        node = heapq.heappop(queue)[1]
        if not node.edges:
            continue
        g, edges = gradients.pop(node), node.edges
        node.edges = edges if keep else ()
        for parent, rule in edges:
            part = rule(g)
            if part.dtype != parent.dtype:
                part = part.astype(parent.dtype)
            if parent in gradients:
                gradients[parent] = gradients[parent] + part
            else:
                gradients[parent] = part
                heapq.heappush(queue, (-parent.order, parent))
    if gradients.keys() - starts:  # a Tensor that f found outside
        raise TypeError(
            "f depends on a Tensor that is already being differentiated: "
            "minadv differentiates once (first order only)"
        )
    return [gradients.get(node, 0) for node in starts]


def grad(f: Callable, *xs):
    """The gradient of ``f``, which returns one number, for each ``x`` (a tuple if several)."""
    return value_and_grad(f, *xs)[1]


def jacobian(f: Callable, x):
    r"""The Jacobian of each example.

    .. math:: J_{nk\ldots} = \partial f_{nk} / \partial x_{n\ldots}, \text{ shape } (N, K, *input)

    ``f`` maps a batch ``(N, *input)`` to ``(N, K)``, each row from its own example alone. It takes
    one forward pass, and one pull per column for the whole batch.
    """
    value, pull = vjp(f, x)
    if np.ndim(x) == 0:
        raise ValueError(f"x must be a batch, (N, ...), got {x!r}")
    if value.ndim != 2 or len(value) != len(x) or value.shape[1] == 0:
        raise ValueError(
            f"f must map a batch of {len(x)} to shape ({len(x)}, K), got {value.shape}"
        )
    xp = array_module(value)
    columns = []
    for k in range(value.shape[1]):
        e_k = xp.zeros_like(value)
        e_k[:, k] = 1
        columns.append(pull(e_k))
    return xp.stack(columns, axis=1)


def gradcheck(f: Callable, *xs, h: float = 1e-6, tolerance: float = 1e-6, rng=0) -> float:
    r"""Compare the VJP of ``f`` at ``xs`` with central differences, and return the largest error.

    For a random vector v, each component of :math:`\nabla \langle v, f(x) \rangle` is compared with

    .. math:: (\langle v, f(x + h e_i) \rangle - \langle v, f(x - h e_i) \rangle) / 2h,

    in float64, whatever the dtype of ``xs``.

    Parameters
    ----------
    f
        A function of all ``xs`` that returns one array.
    xs
        Arrays, a few ``h`` away from kinks (ReLU, max, abs).
    h
        The step, > 0.
    tolerance
        The largest error allowed, relative to ``max(1, |difference|)``.
    rng
        Generator or seed; draws v.

    Returns
    -------
    float

    Raises
    ------
    AssertionError
        Naming the array of ``xs`` and the component, if an error exceeds ``tolerance``.
    """
    if not isinstance(h, numbers.Real) or not 0 < h < 1e300:
        raise ValueError(f"h must be a number > 0, got {h!r}")
    if not isinstance(tolerance, numbers.Real) or not tolerance >= 0:
        raise ValueError(f"tolerance must be a number >= 0, got {tolerance!r}")
    try:
        xs = tuple(array_module(x).asarray(x, dtype=np.float64) for x in xs)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"xs must be arrays of real numbers: {error}") from None
    try:
        rng = np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise TypeError(f"rng must be a numpy.random.Generator or a seed: {error}") from None
    value, pull = vjp(f, *xs)
    v = like(rng.standard_normal(value.shape), value)
    gradients = pull(v) if len(xs) > 1 else (pull(v),)
    worst = 0.0
    for position, (x, gradient) in enumerate(zip(xs, gradients, strict=True)):
        for index in np.ndindex(x.shape):
            side = []
            for step in (h, -h):
                moved = x.copy()
                moved[index] += step
                side.append(float((v * raw(f(*xs[:position], moved, *xs[position + 1 :]))).sum()))
            numeric = (side[0] - side[1]) / (2 * h)
            analytic = float(gradient[index])
            error = abs(analytic - numeric) / max(1.0, abs(numeric))
            if not error <= tolerance:
                raise AssertionError(
                    f"xs[{position}] at {index}: "
                    f"VJP {analytic:.9g}, central difference {numeric:.9g}"
                )
            worst = max(worst, error)
    return worst
