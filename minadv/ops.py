"""The operations: each one's value, and the rule (VJP) for each of its arguments, side by side.

Every function takes Tensors, arrays and numbers in any mixture; without a Tensor it returns a plain
array. A constant combined with a Tensor takes the Tensor's dtype, so that float32 stays float32.
Where a function has a kink, the convention is stated.

How to read a rule: ``u`` and ``v`` are the plain values of the arguments (``operands``, ``raw``),
``m`` and ``n`` their shapes; ``g`` is the gradient for the value; and ``record(value, (x, rule),
...)`` keeps a rule for each argument that is a Tensor. What a rule refers to stays in memory until
the pull, so a rule that needs a shape alone refers to the shape. :func:`unbroadcast` undoes the
stretching of a smaller argument.
"""

from __future__ import annotations

import math

from minadv.autograd import Tensor, raw, record
from minadv.backend import array_module

__all__ = [
    "abs",
    "add",
    "clip",
    "concatenate",
    "divide",
    "exp",
    "getitem",
    "leaky_relu",
    "log",
    "log_softmax",
    "logsumexp",
    "matmul",
    "max",
    "maximum",
    "mean",
    "multiply",
    "negative",
    "pad",
    "power",
    "relu",
    "reshape",
    "sigmoid",
    "softmax",
    "softplus",
    "sqrt",
    "subtract",
    "sum",
    "tanh",
    "transpose",
    "where",
]


# --- broadcasting


def unbroadcast(g, shape: tuple):
    """Sum ``g`` over the axes along which an argument of ``shape`` was stretched."""
    if g.shape == shape:
        return g
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(axis for axis, n in enumerate(shape) if n == 1 and g.shape[axis] != 1)
    return g.sum(axis=stretched, keepdims=True) if stretched else g


def operands(a, b):
    """The values of two arguments.

    A constant is converted to the dtype and moved to the device of the Tensor it is combined with.
    """
    u, v = raw(a), raw(b)
    if isinstance(a, Tensor) and not isinstance(b, Tensor):
        v = _constant(v, u)
    elif isinstance(b, Tensor) and not isinstance(a, Tensor):
        u = _constant(u, v)
    return u, v


def _constant(c, beside):
    # Python numbers take the array's dtype; NumPy scalars would widen it (hence type(c), not
    # isinstance: np.float64 is a subclass of float).
    if type(c) in (int, float):
        return c
    xp = array_module(beside, c)
    return xp.asarray(c, dtype=beside.dtype)


def _shape(x) -> tuple:
    return getattr(raw(x), "shape", ())


# --- arithmetic


def add(a, b):
    u, v = operands(a, b)
    m, n = _shape(a), _shape(b)
    return record(u + v, (a, lambda g: unbroadcast(g, m)), (b, lambda g: unbroadcast(g, n)))


def subtract(a, b):
    u, v = operands(a, b)
    m, n = _shape(a), _shape(b)
    return record(u - v, (a, lambda g: unbroadcast(g, m)), (b, lambda g: unbroadcast(-g, n)))


def multiply(a, b):
    u, v = operands(a, b)
    m, n = _shape(a), _shape(b)
    return record(u * v, (a, lambda g: unbroadcast(g * v, m)), (b, lambda g: unbroadcast(g * u, n)))


def divide(a, b):
    u, v = operands(a, b)
    m, n = _shape(a), _shape(b)
    value = u / v
    return record(
        value,
        (a, lambda g: unbroadcast(g / v, m)),
        (b, lambda g: unbroadcast(-g * value / v, n)),
    )


def negative(x):
    return record(-raw(x), (x, lambda g: -g))


def power(x, p):
    """``x ** p`` for a constant number ``p``; right at x = 0, too, for p >= 1 and p = 0."""
    if isinstance(p, Tensor) or getattr(p, "ndim", 0):
        raise TypeError(
            "power: the exponent must be one constant number; write exp(p * log(x)) for another"
        )
    u, p = raw(x), int(p) if float(p).is_integer() else float(p)
    return record(u**p, (x, lambda g: g * (p * u ** (p - 1)) if p else g * 0))


def matmul(a, b):
    r"""``a @ b`` for matrices, vectors and stacks of matrices, as NumPy's ``matmul``."""
    u, v = operands(a, b)
    m, n = _shape(a), _shape(b)

    def rule_a(g):
        if v.ndim == 1:  # (..., k) @ (k,) -> (...)
            return unbroadcast(g[..., None] * v, m) if len(m) > 1 else g * v
        if len(m) == 1:  # (k,) @ (..., k, l) -> (..., l)
            return unbroadcast((g[..., None, :] @ v.swapaxes(-1, -2))[..., 0, :], m)
        return unbroadcast(g @ v.swapaxes(-1, -2), m)

    def rule_b(g):
        if u.ndim == 1:  # (k,) @ (..., k, l) -> (..., l)
            return unbroadcast(u[:, None] * g[..., None, :], n) if len(n) > 1 else g * u
        if len(n) == 1:  # (..., k) @ (k,) -> (...)
            return unbroadcast(u * g[..., None], n)
        return unbroadcast(u.swapaxes(-1, -2) @ g, n)

    # For a small result NumPy's @ keeps the interpreter lock, and all other threads wait.
    matrices = u.ndim == v.ndim == 2 and u.shape[1] == v.shape[0]
    value = array_module(u, v).dot(u, v) if matrices else u @ v
    return record(value, (a, rule_a), (b, rule_b))


# --- elementwise


def exp(x):
    value = array_module(raw(x)).exp(raw(x))
    return record(value, (x, lambda g: g * value))


def log(x):
    u = raw(x)
    return record(array_module(u).log(u), (x, lambda g: g / u))


def sqrt(x):
    value = array_module(raw(x)).sqrt(raw(x))
    return record(value, (x, lambda g: g / (2 * value)))


def tanh(x):
    u = raw(x)
    value = array_module(u).tanh(u)
    return record(
        value, (x, lambda g: g * (4 * _sigmoid(2 * u) * _sigmoid(-2 * u)))
    )  # 1 - tanh², also where tanh rounds to 1


def _sigmoid(u):
    e = array_module(u).exp(-array_module(u).abs(u))  # never overflows
    return array_module(u).where(u >= 0, 1 / (1 + e), e / (1 + e))


def sigmoid(x):
    r"""σ(x) = 1 / (1 + e^−x), to full relative accuracy on both sides."""
    u = raw(x)
    value = _sigmoid(u)
    return record(value, (x, lambda g: g * (value * _sigmoid(-u))))


def softplus(x):
    r"""log(1 + e^x) = −log σ(−x), without overflow; its derivative is σ(x)."""
    u = raw(x)
    xp = array_module(u)
    value = xp.maximum(u, 0) + xp.log1p(xp.exp(-xp.abs(u)))
    return record(value, (x, lambda g: g * _sigmoid(u)))


def relu(x):
    """max(x, 0); the derivative at 0 is 0."""
    u = raw(x)
    value = array_module(u).clip(u, 0, math.inf)  # NumPy is faster so than with maximum
    if not isinstance(x, Tensor):
        return value
    active = value > 0  # kept in place of the value, which takes four times as much

    def rule(g):
        part = active.astype(g.dtype)  # bool * float is slow
        part *= g
        return part

    return record(value, (x, rule))


def leaky_relu(x, slope: float = 0.01):
    """x where x > 0, else ``slope`` · x; the derivative at 0 is ``slope``."""
    u = raw(x)
    xp = array_module(u)
    slope = float(slope)  # NumPy's own float64 would make float32 wide
    return record(xp.where(u > 0, u, slope * u), (x, lambda g: xp.where(u > 0, g, slope * g)))


def abs(x):
    """``|x|``; the derivative at 0 is 0."""
    u = raw(x)
    xp = array_module(u)
    return record(xp.abs(u), (x, lambda g: g * xp.sign(u)))


def maximum(a, b):
    """The larger of two, element by element; equal ones take half of the gradient each."""
    u, v = operands(a, b)
    m, n = _shape(a), _shape(b)
    xp = array_module(u, v)

    def share(g, mine, other):  # 1 where larger, 1/2 where equal, 0 where smaller
        return (g * (mine > other) + g * (mine >= other)) / 2

    return record(
        xp.maximum(u, v),
        (a, lambda g: unbroadcast(share(g, u, v), m)),
        (b, lambda g: unbroadcast(share(g, v, u), n)),
    )


def clip(x, low, high):
    """x limited to [low, high], constants; the derivative is 1 on the closed interval, else 0."""
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        raise TypeError(
            "clip: low and high must be constants; "
            "write maximum for a lower limit that is differentiated"
        )
    shape = _shape(x)
    u, low = operands(x, low)
    u, high = operands(x, high)
    return record(
        array_module(u).clip(u, low, high),
        (x, lambda g: unbroadcast(g * ((u >= low) & (u <= high)), shape)),
    )


def where(condition, a, b):
    """``a`` where ``condition`` (a constant) holds, else ``b``."""
    u, v = operands(a, b)
    m, n = _shape(a), _shape(b)
    xp = array_module(condition, u, v)
    return record(
        xp.where(condition, u, v),
        (a, lambda g: unbroadcast(xp.where(condition, g, 0), m)),
        (b, lambda g: unbroadcast(xp.where(condition, 0, g), n)),
    )


# --- reductions


def _axes(axis, ndim: int) -> tuple:
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def _stretch(g, shape: tuple, axis, keepdims: bool):
    """A reduction's gradient (or value), its reduced axes put back with length 1."""
    if keepdims:
        return g
    reduced = _axes(axis, len(shape))
    return g.reshape([1 if i in reduced else n for i, n in enumerate(shape)])


def sum(x, axis=None, keepdims: bool = False):
    u = raw(x)
    xp = array_module(u)
    value, shape = xp.asarray(u.sum(axis=axis, keepdims=keepdims)), u.shape
    return record(value, (x, lambda g: xp.broadcast_to(_stretch(g, shape, axis, keepdims), shape)))


def mean(x, axis=None, keepdims: bool = False):
    count = math.prod(_shape(x)[a] for a in _axes(axis, len(_shape(x))))
    return sum(x, axis, keepdims) / count


def max(x, axis=None, keepdims: bool = False):
    """The largest along ``axis``; where several are equal they share the gradient evenly."""
    u = raw(x)
    xp = array_module(u)
    value = xp.asarray(u.max(axis=axis, keepdims=keepdims))

    def rule(g):
        largest = u == _stretch(value, u.shape, axis, keepdims)
        count = largest.sum(axis=axis, keepdims=True).astype(u.dtype)
        return largest * (_stretch(g, u.shape, axis, keepdims) / count)

    return record(value, (x, rule))


def _softmax(u, axis):
    e = array_module(u).exp(u - u.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def logsumexp(x, axis=-1, keepdims: bool = False):
    r"""log Σ e^x along ``axis``, without overflow; its derivative is softmax(x)."""
    u = raw(x)
    xp = array_module(u)
    m = u.max(axis=axis, keepdims=True)
    value = m + xp.log(xp.exp(u - m).sum(axis=axis, keepdims=True))  # reduced axes of length 1
    value = (
        value
        if keepdims
        else value.reshape([n for i, n in enumerate(u.shape) if i not in _axes(axis, u.ndim)])
    )
    return record(value, (x, lambda g: _stretch(g, u.shape, axis, keepdims) * _softmax(u, axis)))


def softmax(x, axis=-1):
    p = _softmax(raw(x), axis)
    return record(p, (x, lambda g: p * (g - (g * p).sum(axis=axis, keepdims=True))))


def log_softmax(x, axis=-1):
    r"""x − log Σ e^x along ``axis``: exact where softmax has long underflowed."""
    u = raw(x)
    xp = array_module(u)
    shifted = u - u.max(axis=axis, keepdims=True)
    value = shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))
    return record(value, (x, lambda g: g - xp.exp(value) * g.sum(axis=axis, keepdims=True)))


# --- shape


def reshape(x, *shape):
    before = _shape(x)
    shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    return record(raw(x).reshape(shape), (x, lambda g: g.reshape(before)))


def transpose(x, *axes):
    """The axes in the order given (a permutation), or reversed."""
    u = raw(x)
    axes = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    axes = axes or tuple(reversed(range(u.ndim)))
    back = sorted(range(u.ndim), key=lambda i: axes[i] % u.ndim)
    return record(u.transpose(axes), (x, lambda g: g.transpose(back)))


def getitem(x, index):
    """``x[index]``, by slices, numbers, masks or arrays; one used twice gets both gradients."""
    u, shape = raw(x), _shape(x)
    xp = array_module(u)
    parts = index if isinstance(index, tuple) else (index,)
    basic = all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in parts)

    def rule(g):
        out = xp.zeros(shape, dtype=g.dtype)
        if basic:
            out[index] = g
        else:
            xp.add.at(out, index, g)
        return out

    return record(xp.asarray(u[index]), (x, rule))


def concatenate(xs, axis: int = 0):
    xs = list(xs)
    beside = next((x for x in xs if isinstance(x, Tensor)), None)
    values = [operands(x, beside)[0] for x in xs]
    value = array_module(*values).concatenate(values, axis=axis)
    axis = axis % value.ndim
    edges, start = [], 0
    for x, u in zip(xs, values, strict=True):
        here = (slice(None),) * axis + (slice(start, start + u.shape[axis]),)
        edges.append((x, lambda g, here=here: g[here]))
        start += u.shape[axis]
    return record(value, *edges)


def pad(x, widths, value: float = 0.0):
    """``x`` framed by a constant; ``widths`` is one ``(before, after)`` pair per axis."""
    u = raw(x)
    inside = tuple(
        slice(before, before + n) for (before, _), n in zip(widths, u.shape, strict=True)
    )
    return record(array_module(u).pad(u, widths, constant_values=value), (x, lambda g: g[inside]))


# --- operators

_operators = {
    "__add__": add,
    "__radd__": lambda x, other: add(other, x),
    "__sub__": subtract,
    "__rsub__": lambda x, other: subtract(other, x),
    "__mul__": multiply,
    "__rmul__": lambda x, other: multiply(other, x),
    "__truediv__": divide,
    "__rtruediv__": lambda x, other: divide(other, x),
    "__matmul__": matmul,
    "__rmatmul__": lambda x, other: matmul(other, x),
    "__pow__": power,
    "__neg__": negative,
    "__abs__": abs,
    "__lt__": lambda x, other: raw(x) < raw(other),  # comparisons give plain booleans: constants
    "__le__": lambda x, other: raw(x) <= raw(other),
    "__gt__": lambda x, other: raw(x) > raw(other),
    "__ge__": lambda x, other: raw(x) >= raw(other),
    "__eq__": lambda x, other: raw(x) == raw(other),  # not in the class: that would end its hash
    "__ne__": lambda x, other: raw(x) != raw(other),
    "__getitem__": getitem,
    "sum": sum,
    "mean": mean,
    "max": max,
    "reshape": reshape,
    "transpose": transpose,
    "T": property(transpose),
}
for _name, _operator in _operators.items():
    setattr(Tensor, _name, _operator)
