"""The switch, where arrays are, and the stand-in for CuPy, which must be as strict."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import math
import operator
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minadv
from minadv.backend import BackendError, array_module, asarray, backend, like, to_numpy, use_backend
from tests import strict_cupy
from tests.strategies import float_arrays, shapes

minadv_backend = importlib.import_module(
    "minadv.backend"
)  # the module: minadv.backend may be the function
PACKAGE = Path(minadv.__file__).parent

on_cupy = pytest.mark.parametrize("xp", ["strict", "cupy"], indirect=True)
on_stand_in = pytest.mark.parametrize("xp", ["strict"], indirect=True)


# The switch ---------------------------------------------------------------------------------------


def test_numpy_unless_told_otherwise():
    assert backend() is np


@on_cupy
def test_switching_there_and_back(xp):
    assert backend() is xp is sys.modules["cupy"]
    assert use_backend("numpy") is np is backend()
    assert use_backend("cupy") is xp is backend()


@on_stand_in
@pytest.mark.parametrize(("name", "module"), [("cupy", "cupy"), ("numpy", "numpy"), ("", "numpy")])
def test_environment_variable(xp, monkeypatch, name, module):
    monkeypatch.setattr(minadv_backend, "_current", None)
    monkeypatch.setenv("MINADV_BACKEND", name)
    assert backend().__name__ == module
    monkeypatch.setenv("MINADV_BACKEND", "numpy")
    assert backend().__name__ == module  # read once
    assert use_backend("numpy") is np is backend()


def test_wrong_environment_variable(monkeypatch):
    monkeypatch.setenv("MINADV_BACKEND", "jax")
    with pytest.raises(ValueError, match="MINADV_BACKEND.*numpy, cupy.*'jax'"):
        backend()


@pytest.mark.parametrize("name", ["torch", "", "CuPy", None, np])
def test_unknown_name(xp, name):
    with pytest.raises(ValueError, match="numpy, cupy"):
        use_backend(name)
    assert backend() is xp


def without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # what the import system takes for "not there"


def with_broken_cupy(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "cupy":
                raise ImportError("libcublas.so.12: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])


def without_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy.cupy)
    monkeypatch.setattr(strict_cupy.cupy.cuda.runtime, "getDeviceCount", lambda: 0)


def without_driver(monkeypatch):
    def fail():
        raise strict_cupy.CUDARuntimeError("cudaErrorInsufficientDriver")

    monkeypatch.setitem(sys.modules, "cupy", strict_cupy.cupy)
    monkeypatch.setattr(strict_cupy.cupy.cuda.runtime, "getDeviceCount", fail)


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (without_cupy, r"pip install cupy-cuda12x"),
        (with_broken_cupy, r"libcublas.*pip install cupy-cuda12x"),
        (without_device, "this machine has none"),
        (without_driver, "cudaErrorInsufficientDriver"),
    ],
)
def test_no_cupy_to_use(monkeypatch, trouble, message):
    trouble(monkeypatch)
    with pytest.raises(BackendError, match=message):
        use_backend("cupy")
    assert backend() is np, "the switch stays as it was"
    monkeypatch.setattr(minadv_backend, "_current", None)
    monkeypatch.setenv("MINADV_BACKEND", "cupy")
    for _ in range(2):  # asked again, it fails again, and does not quietly go on with NumPy
        with pytest.raises(BackendError, match=message):
            backend()
    assert array_module(np.ones(2)) is np  # arrays that exist go on working


# Where arrays are ---------------------------------------------------------------------------------


@given(x=float_arrays())
def test_round_trip(xp, x):
    given_bits = x.tobytes()
    there = asarray(x)
    assert isinstance(there, xp.ndarray)
    assert array_module(there) is xp
    back = to_numpy(there)
    assert type(back) is np.ndarray
    assert (back.dtype, back.shape, back.tobytes()) == (x.dtype, x.shape, given_bits)
    assert like(x, there).dtype == x.dtype
    assert array_module(like(x, there)) is xp
    assert array_module(like(there, x)) is np


@pytest.mark.parametrize("x", [1.5, [1, 2], [[1.0], [2.0]], True, np.float32(3)])
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_numbers_and_lists_become_arrays(xp, x, dtype):
    there = asarray(x, dtype)
    assert isinstance(there, xp.ndarray)
    assert there.dtype == np.asarray(x, dtype).dtype
    np.testing.assert_array_equal(to_numpy(there, "float64"), np.asarray(x, "float64"))
    assert to_numpy(there, "float64").dtype == np.float64


def test_the_array_decides_and_not_the_switch(xp):
    there = asarray([1.0, 2.0])
    use_backend("numpy")
    assert array_module(there) is xp
    assert array_module(there, 2.0, None, np.float32(1)) is xp
    assert array_module() is array_module(1.0) is array_module(np.ones(1), 1.0) is np
    assert isinstance(like([0.0], there), xp.ndarray)


@on_cupy
def test_mixed_arrays(xp):
    for arrays in [(xp.ones(2), np.ones(2)), (1.0, np.ones(2), xp.ones(2))]:
        with pytest.raises(TypeError, match="mixed"):
            array_module(*arrays)


@on_cupy
def test_moving_copies(xp):
    x = np.zeros(3)
    there = asarray(x)
    there += 1
    back = to_numpy(there)
    back += 1
    assert x.tolist() == [0, 0, 0]
    assert there.tolist() == [1, 1, 1]


# The package as a whole ---------------------------------------------------------------------------


def test_importing_minadv_imports_nothing_heavy():
    modules = [
        module.name
        for module in pkgutil.walk_packages([str(PACKAGE)], "minadv.")
        if not module.name.endswith("__main__")
    ]
    code = f"""
import importlib, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        assert name.partition(".")[0] not in {{"cupy", "torch", "scipy", "pooch", "sklearn"}}, name
sys.meta_path.insert(0, Watch())
for name in {["minadv", *modules]}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_one_file_imports_cupy_and_one_pickles_for_other_processes():
    importers = {"cupy": set(), "pickle": set()}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += (
                ["pickle"]
                if isinstance(node, ast.keyword) and ast.unparse(node) == "allow_pickle=True"
                else []
            )
            for name in {"cupy", "pickle"} & {name.partition(".")[0] for name in names}:
                importers[name].add(path.relative_to(PACKAGE).as_posix())
    # A sweep's tasks travel to its workers in pickles; no file is one.
    assert importers == {"cupy": {"backend.py"}, "pickle": {"evaluation/parcels.py"}}


# The stand-in: right ... --------------------------------------------------------------------------

FUNCTIONS = [
    lambda x, xp: xp.exp(-x),
    lambda x, xp: xp.where(x > 1, x, 0),
    lambda x, xp: xp.clip(x, 1, 2),
    lambda x, xp: abs(-x),
    lambda x, xp: x.sum(),
    lambda x, xp: xp.sum(x, 0 if x.ndim else None, "float64"),
    lambda x, xp: (x > 1).any(),
    lambda x, xp: x.reshape(-1).T,
    lambda x, xp: x.astype("float32"),
    lambda x, xp: x[x > 1],
    lambda x, xp: xp.zeros_like(x),
    lambda x, xp: xp.stack([x, x], -1),
    lambda x, xp: xp.concatenate((x.ravel(), x.ravel())),
    lambda x, xp: xp.sort(x.ravel()),
    lambda x, xp: xp.nonzero(x.ravel() > 1)[0],
    lambda x, xp: xp.einsum("i->", x.ravel()),
    lambda x, xp: xp.linalg.norm(x.ravel()),
]


def same(ours, expected):
    """Equal to the last bit, in the dtype and shape, and an array throughout."""
    assert isinstance(ours, strict_cupy.ndarray)
    assert (ours.dtype, ours.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(ours.get(), expected)


@on_stand_in
@given(
    data=st.data(), shape=shapes(), dtypes=st.tuples(*[st.sampled_from(["float32", "float64"])] * 2)
)
def test_stand_in_computes_as_numpy_does(xp, data, shape, dtypes):
    a, b = (data.draw(float_arrays(shape, dtype, 0.5, 8.0)) for dtype in dtypes)
    A, B = xp.asarray(a), xp.asarray(b)
    for name in [
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "lt",
        "le",
        "eq",
        "ne",
        "gt",
        "ge",
    ]:
        operate = getattr(operator, name)
        same(operate(A, B), operate(a, b))
        same(operate(A, 2.0), operate(a, 2.0))
        same(operate(0.1, B), operate(0.1, b))
        same(operate(np.float32(3), B), operate(np.float32(3), b))
    for f in FUNCTIONS:
        same(f(A, xp), f(a, np))


@on_cupy
def test_slices_share_memory_and_results_do_not(xp):
    a = xp.zeros((3, 4), "float32")
    row, one = a[0], a[1, 1]
    row += 1
    one += 2  # NumPy's a[1, 1] would be a number, and a left as it was
    a.T[3, 2] = 3
    a.reshape(-1)[4] = 4
    assert a.tolist() == [[1, 1, 1, 1], [4, 2, 0, 0], [0, 0, 0, 3]]
    total, mask, copied, copied_too = a.sum(), a[a > 2], a.copy(), copy.copy(a)
    a[...] = 0
    assert (float(total), mask.tolist(), float(copied[0, 0]), float(copied_too[2, 3])) == (
        13,
        [4, 3],
        1,
        3,
    )


@on_cupy
def test_out_is_the_array_given(xp):
    a = xp.asarray([[0.0, 1.0], [2.0, 3.0]])
    out, total = xp.empty_like(a), xp.empty(2)
    assert xp.add(a, 1, out=out) is out
    assert out.tolist() == [[1, 2], [3, 4]]
    assert np.multiply(a, 2, out=out) is out
    assert xp.matmul(a, a, out=out) is out
    assert out.tolist() == [[2, 3], [6, 11]]
    assert a.sum(axis=0, out=total) is total
    assert total.tolist() == [2, 4]
    before = a
    a *= 2
    assert a is before


@on_cupy
def test_no_number_comes_back(xp):
    a = xp.asarray(np.arange(6.0).reshape(2, 3))
    for value in [
        a.sum(),
        a.max(),
        a.argmax(),
        a[0, 1],
        xp.mean(a),
        xp.linalg.norm(a),
        xp.count_nonzero(a),
        xp.exp(1.0),
        abs(a[1, 2]),
    ]:
        assert isinstance(value, xp.ndarray)
        assert value.shape == ()
        assert float(value) == value.item()
        assert f"{value:.3f}" == f"{float(value):.3f}"
    for value in [(a > 0).any(), xp.array_equal(a, a), xp.allclose(a, a), np.isfinite(a).all()]:
        assert isinstance(value, xp.ndarray)
        assert bool(value)
    assert int(a.argmax()) == 5
    assert math.sqrt(a[1, 1]) == 2
    assert len(a) == 2
    assert [row.tolist() for row in a] == a.tolist()
    assert (a.ndim, a.size, a.nbytes, a.strides, xp.shape(a), np.ndim(a)) == (
        2,
        6,
        48,
        (24, 8),
        (2, 3),
        2,
    )


@on_cupy
def test_numpy_functions_are_passed_on(xp):
    a = xp.asarray([1.0, 2.0])
    for value in [
        np.exp(a),
        np.concatenate([a, a]),
        np.linalg.norm(a),
        np.where(a > 1, a, 0.0),
        np.zeros_like(a),
        np.float32(2) * a,
    ]:
        assert isinstance(value, xp.ndarray)


@on_cupy
def test_lists_of_arrays(xp):
    total = xp.asarray([1.0, 2.0]).sum()
    assert xp.asarray([total, total]).tolist() == [3, 3]
    assert xp.stack([total, total]).tolist() == [3, 3]
    assert isinstance(xp.asarray([np.float32(1), np.ones(())]), xp.ndarray)


@on_cupy
def test_scattering(xp):
    a, i = xp.zeros(3), xp.asarray([0, 0, 2])
    xp.add.at(a, i, xp.asarray([1.0, 2.0, 4.0]))
    assert a.tolist() == [3, 0, 4]
    a[i] = 5.0  # the same everywhere, so that it does not matter which stays
    assert a.tolist() == [5, 0, 5]
    xp.copyto(a, 1.0, where=a > 2)
    assert a.tolist() == [1, 0, 1]


# ... and strict -----------------------------------------------------------------------------------

# Right on NumPy, an error on CuPy. a: (2, 3) floats, i: (2,) integers, k: one integer, all of xp;
# n: NumPy's copy of a.
NUMPY_ONLY = """
np.asarray(a)
np.array([a, a])
np.array([k, k])
np.float32(k)
np.testing.assert_allclose(a, a)
np.vectorize(abs)(a)
np.random.default_rng(0).permutation(a)
a + n
n + a
n - k
a @ n.T
n.T @ a
a == n
n < a
a ** n
divmod(a, n + 1)
operator.iadd(a, n)
operator.iadd(n, a)
operator.imul(n, k)
n[i]
n[k > 0]
n[:k]
operator.setitem(n, 0, a[0])
operator.setitem(n, n > 0, a[a > 0])
operator.setitem(a, 0, n[0])
operator.setitem(a, ..., n)
operator.setitem(a, 0, [1.0, 2.0, 3.0])
np.add(a, n)
np.add(a, a, out=n)
np.add(n, n, out=a)
np.where(a > 0, a, n)
np.concatenate([a, n])
np.copyto(n, a)
np.add.reduce(a)
np.multiply.outer(a, a)
np.spacing(a)
np.block([a, a])
xp.exp(n)
xp.exp([1.0, 2.0])
xp.add(a, n)
xp.maximum(a, [1.0])
a + [1.0]
a == [1.0]
xp.where(n > 0, a, a)
xp.concatenate([a, n])
xp.stack([n, n])
xp.matmul(a, n.T)
xp.dot(a, n.T)
a.dot(n.T)
xp.copyto(a, n)
xp.asarray([a[0], n[0]])
xp.clip(a, n, None)
xp.sum([1.0, 2.0])
xp.max([1.0, 2.0])
xp.broadcast_to(n, (2, 2, 3))
xp.nonzero(n)
xp.cumsum(n)
a.sum(where=True)
a.sum(initial=0)
xp.sum(a, where=a > 0)
xp.max(a, initial=0.0)
xp.mean(a, where=a > 0)
xp.add(a, a, where=True)
np.add(a, a, where=True)
np.sum(a, where=True)
xp.zeros(2, like=a)
xp.std(a, correction=1)
xp.sort(a, stable=True)
xp.count_nonzero(a, keepdims=True)
xp.lib.stride_tricks.as_strided(a, (2,), (8,), writeable=False)
a.astype("float64", casting="safe")
a.astype(object)
xp.asarray(["one"])
xp.asarray([None])
xp.zeros(2, object)
xp.zeros(2, str)
xp.zeros(k)
xp.zeros((k, 2))
a.reshape(k, -1)
a[:k]
range(k)
[1, 2, 3][k]
a.item(0)
a.ctypes
a.setflags(write=False)
setattr(a.flags, "writeable", False)
xp.errstate(all="ignore")
xp.nditer(a)
xp.ndenumerate(a)
xp.block([a, a])
xp.frompyfunc(abs, 1, 1)
xp.spacing(a)
xp.vecdot(a, a)
xp.insert(a, 0, 1.0)
xp.maximum.reduce(a)
xp.maximum.accumulate(a)
xp.logical_and.reduce(a)
xp.multiply.at(a, 0, 2.0)
xp.linalg.vector_norm(a)
xp.linalg.multi_dot([a, a.T])
xp.longdouble(1)
xp.object_
""".strip().splitlines()

WRONG_ON_BOTH = """
a + "1"
hash(a)
len(k)
list(k)
bool(a)
float(a)
a.item()
a.reshape(5)
a[2]
operator.setitem(a, a > 0, [1.0, 2.0])
""".strip().splitlines()

# What the stand-in alone refuses: hidden copies to the GPU, results that are undefined there, what
# CuPy 13 does not have, and what
# takes a GPU to be sure of. m: NumPy's copy of i.
STAND_IN_ONLY = """
a[m]
a[:, m]
operator.setitem(a, m, 0.0)
operator.setitem(a, [0, 0], a)
operator.setitem(a, i * 0, a)
operator.setitem(a, (slice(None), [1, 1]), a[:, :2])
operator.iadd(a[:], n)
a == None
a.take(m)
xp.take(a, m)
xp.sum(n)
xp.reshape(n, (6,))
xp.zeros_like(n)
xp.result_type(a, n)
xp.full(2, n[0, :2])
xp.arange(k)
xp.repeat(a, i + 1, axis=0)
xp.clip(a, min=0)
xp.random.default_rng(0)
xp.vectorize(abs)
xp.apply_along_axis(abs, 0, a)
xp.astype(a, "float32")
xp.concat([a, a])
xp.bool
a.mT
a.__array_interface__
a.data
operator.imatmul(a, xp.eye(3))
setattr(a, "shape", (3, 2))
""".strip().splitlines()

ERRORS = (TypeError, AttributeError, ValueError, IndexError, NotImplementedError)


def evaluate(expression, xp):
    n, m = np.arange(6.0).reshape(2, 3), np.arange(2)
    names = {
        "a": xp.asarray(n.copy()),
        "i": xp.asarray(m),
        "k": xp.asarray(2),
        "n": n.copy(),
        "m": m,
    }
    try:
        return eval(expression, {"xp": xp, "np": np, "operator": operator}, names)
    except ERRORS:  # whatever is refused is refused before anything has changed
        np.testing.assert_array_equal(to_numpy(names["a"]), n)
        np.testing.assert_array_equal(names["n"], n)
        raise


@pytest.mark.parametrize("expression", NUMPY_ONLY)
def test_right_on_numpy_refused_on_cupy(xp, expression):
    if xp is np:
        evaluate(expression, xp)  # no typing error: it is the arrays that are refused
    else:
        with pytest.raises(ERRORS):
            evaluate(expression, xp)


@pytest.mark.parametrize("expression", WRONG_ON_BOTH)
def test_wrong_everywhere(xp, expression):
    with pytest.raises(ERRORS):
        evaluate(expression, xp)


@on_stand_in
@pytest.mark.parametrize("expression", STAND_IN_ONLY)
def test_refused_by_the_stand_in(xp, expression):
    with pytest.raises(ERRORS):
        evaluate(expression, xp)


@on_stand_in
def test_refusals_say_why(xp):
    a, n = xp.ones(2), np.ones(2)
    with pytest.raises(
        TypeError, match=r"Implicit conversion to a NumPy array is not allowed.*\.get\(\)"
    ):
        np.asarray(a)
    with pytest.raises(TypeError, match=r"add: Unsupported type <class 'numpy.ndarray'>"):
        n + a
    with pytest.raises(TypeError, match=r"sum\(\) got an unexpected keyword argument 'where'"):
        a.sum(where=a > 0)
    with pytest.raises(AttributeError, match="module 'cupy.linalg' has no attribute 'multi_dot'"):
        xp.linalg.multi_dot([a, a])
    with pytest.raises(ValueError, match="Unsupported dtype object"):
        a.astype(object)
    with pytest.raises(ValueError, match="undefined on a GPU"):
        a[[1, 1]] = a


def public(namespace):
    return [name for name in dir(namespace) if not name.startswith("_")]


@pytest.mark.parametrize("path", ["", "linalg", "fft", "lib.stride_tricks", "ndarray"])
def test_stand_in_has_no_name_that_cupy_lacks(path):
    cupy = pytest.importorskip("cupy")
    ours, theirs, numpys = (
        operator.attrgetter(path)(m) if path else m for m in (strict_cupy.cupy, cupy, np)
    )
    offered = [
        name
        for name in public(numpys)
        if hasattr(strict_cupy.cupy.ones(1) if path == "ndarray" else ours, name)
    ]
    assert len(offered) > 1
    assert [name for name in offered if not hasattr(theirs, name)] == []


def test_stand_in_takes_no_keyword_that_cupy_does_not():
    cupy = pytest.importorskip("cupy")
    taken = []
    for name in (
        name
        for name in public(np)
        if hasattr(strict_cupy.cupy, name) and not isinstance(getattr(np, name), type)
    ):
        try:
            numpys, theirs = (
                inspect.signature(getattr(module, name)).parameters for module in (np, cupy)
            )
        except (TypeError, ValueError):  # a constant, or built in without a signature
            continue
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in theirs.values()):
            continue
        for keyword, parameter in numpys.items():
            if keyword not in theirs and parameter.default is not parameter.empty:
                try:
                    strict_cupy._check_keywords(name, [keyword])
                    taken.append(f"{name}({keyword}=)")
                except TypeError:
                    pass
    assert taken == []
