"""A stand-in for CuPy that runs without a GPU and is at least as strict.

Code that is right on NumPy breaks on CuPy for a handful of reasons: it converts implicitly, it
mixes arrays of the two modules, it expects a number where CuPy returns a 0-d array, it uses a
function or a keyword that CuPy does not have. Here it breaks the same way, on any machine. NumPy
computes: a call unwraps its arrays, runs, and wraps what comes back (:func:`_call`); the strictness
is what this refuses to unwrap.

It also refuses a little that CuPy lets pass, because it is probably a mistake: a NumPy array as an
index (a hidden copy to the GPU), different values assigned to one place (which of them stays is
undefined on a GPU), and ``cupy.random`` (draw from a ``numpy.random.Generator`` and move). The
tables below were read off CuPy 13.6 and 14.2 beside NumPy 2.4; where CuPy is installed, with or
without a GPU, ``test_backend.py`` reads them again.
"""

from __future__ import annotations

from collections import namedtuple
from functools import partial, reduce
from types import ModuleType, SimpleNamespace

import numpy as np

# Functions and types of NumPy's that CuPy 13 or 14 lacks.
LACKING = {
    "numpy": """acos acosh apply_over_axes asin asinh astype atan atan2 atanh bitwise_count
        bitwise_invert bitwise_left_shift bitwise_right_shift block bool busday_count
        busday_offset bytes_ character clongdouble complex256 concat cumulative_prod
        cumulative_sum datetime64 datetime_as_string einsum_path flexible float128 geomspace
        histogram_bin_edges insert is_busday isnat long longdouble matrix_transpose matvec
        nanpercentile nanquantile object_ permute_dims polyder polydiv polyint pow
        put_along_axis record spacing str_ timedelta64 trapezoid ulong unique_all
        unique_counts unique_inverse unique_values unstack vecdot vecmat void""",
    "numpy.linalg": """cond cross diagonal eig eigvals matmul matrix_norm matrix_transpose multi_dot
        outer svdvals tensordot trace vecdot vector_norm""",
    "numpy.ndarray": "byteswap ctypes getfield mT resize setfield setflags to_device",
}
# Those it has and the stand-in leaves out: text and files, Python called per element, the raw
# memory.
LEFT_OUT = {
    "numpy": """apply_along_axis array2string array_repr array_str packbits piecewise save savetxt
        savez savez_compressed trim_zeros unpackbits""",
    "numpy.ndarray": "data device dump dumps flat tofile tobytes",
}
# Ufuncs and functions that dispatch on their arrays are there of themselves; anything else only if
# it is named here.
ALSO_FUNCTIONS = "ascontiguousarray asfortranarray as_strided"
CREATE = "arange empty eye identity indices ones tri tril_indices triu_indices diag_indices zeros"
AS_THEY_ARE = """broadcast_shapes dtype e euler_gamma finfo iinfo index_exp inf isscalar issubdtype
        nan ndindex newaxis pi promote_types s_ LinAlgError"""
SUBMODULES = "numpy.fft numpy.lib numpy.lib.stride_tricks numpy.linalg"

# nowhere in CuPy, but in copyto(where=)
NO_KEYWORD = "correction device initial like mean stable subok where writeable"
NO_KEYWORD_IN = {
    "axis": "lexsort",
    "casting": "astype",
    "copy": "asanyarray asarray reshape",
    "keepdims": "count_nonzero",
    "kind": "argpartition isin partition",
    "max": "clip",
    "min": "clip",
    "mode": "take",
    "ndmax": "array",
    "order": "argpartition argsort partition sort",
    "shape": "reshape",
    "sorted": "unique",
    "sparse": "indices",
    "start_or_stop": "arange",
    "weights": "percentile quantile",
}
UFUNC_METHODS = {
    "accumulate": "add multiply",
    "at": "add bitwise_and bitwise_or bitwise_xor maximum minimum subtract",
    "reduce": "add multiply",
}
COMPARISONS = "equal greater greater_equal less less_equal not_equal"
NO_ARRAY_NEEDED = "can_cast linspace logspace min_scalar_type ndim result_type shape"
# the rest are lengths, and an array, even a 0-d one, is no length
ONE_ARRAY_ONLY = "broadcast_to repeat reshape"
ZERO_DIMENSIONAL = (
    "allclose array_equal array_equiv count_nonzero"  # where NumPy returns Python's bool or int
)


def _arrays_in(x) -> list:
    """The arrays, of either module, in nested lists, tuples and dictionaries."""
    if isinstance(x, (ndarray, np.ndarray)):
        return [x]
    items = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
    return [array for item in items for array in _arrays_in(item)]


def _unwrap(x):
    if isinstance(x, ndarray):
        return x._array
    return type(x)(map(_unwrap, x)) if isinstance(x, (list, tuple)) else x


def _wrap(x, given=()):
    """NumPy's arrays and scalars as arrays of ours; one that was ``given`` (``out=``) comes back as
    the object it was."""
    if isinstance(x, (np.ndarray, np.generic)):
        return next((array for array in given if array._array is x), ndarray(np.asarray(x)))
    if isinstance(x, (list, tuple)):
        items = [_wrap(item, given) for item in x]
        return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
    return x


def _check_keywords(name, keywords):
    for keyword in keywords:
        nowhere = keyword in NO_KEYWORD.split() and (name, keyword) != ("copyto", "where")
        if nowhere or name in NO_KEYWORD_IN.get(keyword, "").split():
            raise TypeError(f"{name}() got an unexpected keyword argument {keyword!r}")


def _check_operand(name, x):
    if not isinstance(x, (ndarray, bool, int, float, complex, np.number, np.bool_)):
        raise TypeError(f"{name}: Unsupported type {type(x)}")


def _call(function, name, /, *args, **kwargs):
    """NumPy's ``function`` on the arrays inside, if CuPy would take these arguments."""
    _check_keywords(name, kwargs)
    given = _arrays_in((args, kwargs))
    for array in given:
        _check_operand(name, array)  # none of NumPy's
    if isinstance(function, np.ufunc):
        for operand in args:
            _check_operand(name, operand)
    elif not given and name not in NO_ARRAY_NEEDED.split():
        raise TypeError(
            f"{name}: expected a cupy.ndarray, got {', '.join(type(x).__name__ for x in args)}"
        )
    if len(given) > 1 and name in ONE_ARRAY_ONLY.split():
        raise TypeError(f"{name}: 'ndarray' object cannot be interpreted as an integer")
    result = function(*_unwrap(args), **{key: _unwrap(value) for key, value in kwargs.items()})
    return _wrap(np.asarray(result) if name in ZERO_DIMENSIONAL.split() else result, given)


def _create(function, name, /, *args, **kwargs):
    """A new array from numbers alone: nothing is unwrapped, so that NumPy itself refuses ours as a
    length."""
    _check_keywords(name, kwargs)
    return _wrap(function(*args, **kwargs))


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """CuPy's array, over a NumPy array that nobody else sees."""

    __slots__ = ("_array",)
    __imatmul__ = None  # CuPy has none: a @= b would write in place here and rebind there

    def __init__(self, array: np.ndarray):
        if array.dtype.char not in "?bBhHiIlLqQefdFD":
            raise ValueError(f"Unsupported dtype {array.dtype}")
        self._array = array

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct "
            "one explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__" or not hasattr(cupy, ufunc.__name__):
            return NotImplemented
        if (
            ufunc.__name__ in COMPARISONS.split()
        ):  # np.float32(1) < x comes here as a 0-d array; CuPy takes the number out
            inputs = [x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in inputs]
        return getattr(cupy, ufunc.__name__)(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        try:  # numpy.linalg.norm -> cupy.linalg.norm
            ours = reduce(getattr, [*function.__module__.split(".")[1:], function.__name__], cupy)
        except AttributeError:
            return NotImplemented
        return ours(*args, **kwargs)

    def __getattr__(self, name):
        if (
            name.startswith("_")
            or name in f"{LACKING['numpy.ndarray']} {LEFT_OUT['numpy.ndarray']}".split()
        ):
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        attribute = getattr(np.ndarray, name)
        return (
            partial(_call, attribute, name, self)
            if callable(attribute)
            else _wrap(getattr(self._array, name), [self])
        )

    @property
    def flags(self):
        names = "c_contiguous f_contiguous owndata"  # and no writeable
        return namedtuple("Flags", names)(
            *(getattr(self._array.flags, name) for name in names.split())
        )

    def get(self) -> np.ndarray:
        return self._array.copy()

    def item(self):
        return self._array.item()

    def __copy__(self):
        return self.copy()

    def __getitem__(self, key):
        key = key if isinstance(key, tuple) else (key,)
        rest = (
            () if any(part is Ellipsis for part in key) else (...,)
        )  # so that a vector's a[0] is a view, as it is in CuPy
        return _call(np.ndarray.__getitem__, "index", self, key + rest)

    def __setitem__(self, key, value):
        _check_operand("assignment", value)
        parts = key if isinstance(key, tuple) else (key,)
        if np.size(value) > 1 and any(isinstance(part, list) or np.ndim(part) for part in parts):
            places = np.arange(self.size).reshape(self.shape)[_unwrap(key)]
            if np.unique(places).size < places.size:
                raise ValueError(
                    "different values are assigned to one place: which of them stays is undefined "
                    "on a GPU"
                )
        _call(np.ndarray.__setitem__, "assignment", self, key, value)

    def __iter__(self):
        return (self[i] for i in range(len(self)))


for _name in (
    "__len__",
    "__bool__",
    "__int__",
    "__float__",
    "__complex__",
    "__repr__",
    "__format__",
):
    setattr(ndarray, _name, lambda self, *args, _name=_name: getattr(self._array, _name)(*args))


class Mirror(ModuleType):
    """One of NumPy's modules, with what CuPy has of it."""

    def __init__(self, name: str, inner: ModuleType):
        super().__init__(name)
        self._inner = inner

    def __getattr__(self, name):
        if (
            name
            in (
                LACKING.get(self._inner.__name__, "") + " " + LEFT_OUT.get(self._inner.__name__, "")
            ).split()
        ):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        ours = self._mirrored(name, getattr(self._inner, name))
        setattr(self, name, ours)
        return ours

    def _mirrored(self, name, inner):
        if name in AS_THEY_ARE.split() or (
            isinstance(inner, type) and issubclass(inner, np.generic)
        ):
            return inner
        if name in CREATE.split():
            return partial(_create, inner, name)
        if (
            isinstance(inner, type(np.sum)) or name in ALSO_FUNCTIONS.split()
        ):  # type(np.sum): whatever dispatches on its arrays
            return partial(_call, inner, name)
        if isinstance(inner, np.ufunc):
            ours = partial(_call, inner, name)
            for method in (
                method for method, names in UFUNC_METHODS.items() if name in names.split()
            ):
                setattr(ours, method, partial(_call, getattr(inner, method), name))
            return ours
        if isinstance(inner, ModuleType) and inner.__name__ in SUBMODULES.split():
            return Mirror(f"{self.__name__}.{name}", inner)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def array(a, dtype=None, copy=True, order="K", *, ndmin=0) -> ndarray:
    """A new array from numbers or from arrays of one module. What was NumPy's is copied, as by the
    way to a GPU."""
    if any(isinstance(x, ndarray) for x in _arrays_in([a])):
        return _call(np.array, "array", a, dtype, copy=copy or None, order=order, ndmin=ndmin)
    return ndarray(np.array(a, dtype, order=order, ndmin=ndmin))


def asarray(a, dtype=None, order="K") -> ndarray:
    return array(a, dtype, copy=False, order=order)


def full(shape, fill_value, dtype=None) -> ndarray:
    filled = cupy.empty(shape, np.asarray(_unwrap(fill_value)).dtype if dtype is None else dtype)
    filled[...] = fill_value
    return filled


def asnumpy(a) -> np.ndarray:
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


class CUDARuntimeError(RuntimeError):
    pass


cupy = Mirror("cupy", np)
cupy.ndarray, cupy.array, cupy.asarray, cupy.asanyarray, cupy.full, cupy.asnumpy = (
    ndarray,
    array,
    asarray,
    asarray,
    full,
    asnumpy,
)
cupy.cuda = SimpleNamespace(
    runtime=SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=CUDARuntimeError)
)
