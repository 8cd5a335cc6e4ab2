"""The child process: loads a student's file and answers calls with data. It knows no answer and no
grade.

Run as ``python -I -B worker.py NAME FOLDER FORBIDDEN LIMITS`` with the wire on descriptors 0 and 1.
A message is one JSON line and the raw bytes of the arrays that it names: nothing on the wire can
run code. The parent imports :func:`encode` and :func:`decode` from here; this file, all that the
child has of us, imports nothing of the homework.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import json
import math
import os
import sys
import traceback
import warnings

import numpy as np

MOST_HEADER, MOST_BYTES = 1 << 16, 1 << 25  # of one message
COMMON = """
abc bisect collections.abc concurrent.futures.thread contextlib copy dataclasses datetime
decimal enum fractions functools heapq io itertools linecache math numbers operator pathlib
pprint random re statistics string textwrap threading threadpoolctl time timeit tqdm types
typing uuid zipfile numpy.fft numpy.linalg numpy.ma numpy.polynomial numpy.random numpy.testing
""".split()  # noqa: SIM905 - what Python loads late
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # of unshare(2)
KINDS = "fiub"  # floating point, integers, truth values


class Malformed(Exception):
    """What came over the wire is no message."""


def encode(kind: str, *data, serve=None) -> bytes:
    """One message: its ``kind``, and ``data`` of numbers, text, lists, tuples, dicts and arrays.

    ``serve``: turns a function into the name that the other side asks for it by.
    """
    arrays = []

    def tree(v):
        if v is None or type(v) in (bool, int, str):
            return v
        if type(v) is float:
            return v if math.isfinite(v) else {"$": "float", "v": str(v)}
        if isinstance(v, (list, tuple)):
            return {"$": "tuple" if isinstance(v, tuple) else "list", "v": [tree(a) for a in v]}
        if isinstance(v, dict):
            return {"$": "dict", "v": [[str(k), tree(a)] for k, a in v.items()]}
        if isinstance(v, (np.ndarray, np.generic)):
            v = np.ascontiguousarray(np.asarray(v)).reshape(np.shape(v))
            if v.dtype.kind not in KINDS:
                raise TypeError(f"an array of {v.dtype} is not an array of numbers")
            arrays.append(v)
            return {"$": "array", "v": len(arrays) - 1}
        if serve is not None:
            return serve(v)
        raise TypeError(f"{type(v).__name__} is no number, text, array, tuple, list or dict")

    body = [tree(v) for v in data]
    header = {"kind": kind, "data": body, "arrays": [[a.dtype.str, list(a.shape)] for a in arrays]}
    line = json.dumps(header).encode() + b"\n"
    if len(line) > MOST_HEADER:
        raise TypeError("the answer is too long: return arrays, not long lists")
    return line + b"".join(a.tobytes() for a in arrays)


def decode(read_line, read, special=None) -> tuple[str, list]:
    """The next message as ``(kind, data)``; raises :class:`Malformed` for anything that is none."""
    try:
        header = json.loads(read_line(MOST_HEADER))
        kinds = [(np.dtype(d), tuple(shape)) for d, shape in header["arrays"]]
        sizes = [d.itemsize * math.prod(shape) for d, shape in kinds]
        good = all(d.kind in KINDS and all(type(n) is int and n >= 0 for n in s) for d, s in kinds)
        if not good or sum(sizes) > MOST_BYTES:
            raise Malformed
        arrays = [
            np.frombuffer(read(n), d).reshape(shape)
            for n, (d, shape) in zip(sizes, kinds, strict=True)
        ]

        def value(v):
            if not isinstance(v, dict):
                return v
            match v["$"]:
                case "array":
                    return arrays[v["v"]]
                case "tuple":
                    return tuple(value(a) for a in v["v"])
                case "list":
                    return [value(a) for a in v["v"]]
                case "dict":
                    return {k: value(a) for k, a in v["v"]}
                case "float":
                    return float(v["v"])
            if special is None:
                raise Malformed
            return special(v)

        kind = header["kind"]
        if type(kind) is not str:
            raise Malformed
        return kind, [value(v) for v in header["data"]]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise Malformed(str(error)) from None


def _limit(seconds: int, megabytes: int):
    """Take what a homework never needs; hard limits, so that no code can take them back."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    for name, most in (
        ("RLIMIT_AS", megabytes << 20),
        ("RLIMIT_CPU", seconds),
        ("RLIMIT_FSIZE", 1 << 24),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_NPROC", 64),
        ("RLIMIT_CORE", 0),
    ):
        resource_id = getattr(resource, name, None)
        if resource_id is not None:
            hard = resource.getrlimit(resource_id)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(resource_id, (most, most))


class _Fence:
    """Refuses every ``minadv`` that is not in the kit, and the homework itself."""

    def __init__(self, kit: str):
        self.kit = kit

    def find_spec(self, name, path=None, target=None):
        inside = os.path.join(self.kit, *name.split("."))
        if name.partition(".")[0] in ("minadv", "homework") and not any(
            map(os.path.exists, (inside, inside + ".py"))
        ):
            raise ImportError(f"{name} is not part of this homework's kit")


def _shut_in(folder: str, user: int, group: int) -> bool:
    """Make ``folder`` all that the process sees of the disk, become ``user``; whether that worked.

    As root, ``chroot`` and then another user; else ``chroot`` in a user namespace (Linux), whose
    powers are given up again. No network, if the system lets us. What Python loads late, first.
    """
    for name in COMMON:
        importlib.import_module(name)
    threads = sys.modules["threadpoolctl"]
    found = threads.ThreadpoolController()  # it reads /proc, which is not in the folder
    threads.ThreadpoolController = lambda: found
    unshare = getattr(ctypes.CDLL(None), "unshare", None) if os.name == "posix" else None
    if unshare is not None:
        own = 0 if user >= 0 else _NEW_USER
        if unshare(own | _NEW_NETWORK) and own:
            unshare(own)
    try:
        os.chroot(folder)
        os.chdir("/home")
        inside = True
    except (OSError, AttributeError):
        inside = False
    if user >= 0:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    elif inside:  # give up what the namespace gave us: with CAP_SYS_CHROOT one gets out again
        libc = ctypes.CDLL(None)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        if libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()):
            os._exit(1)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: die with the judge
    return inside


def _refuse(forbidden: list):
    """Refuse to open what lies in ``forbidden``: a fence, where ``_shut_in`` has no wall."""
    real = os.path.realpath

    def hook(event, arguments):
        if event in ("open", "os.listdir", "os.scandir"):
            path = arguments[0]
            if isinstance(path, (str, bytes)):
                path = real(os.fsdecode(path))
                if any(path == f or path.startswith(f + os.sep) for f in forbidden):
                    raise PermissionError(f"{path} is not part of this homework")

    sys.addaudithook(hook)


def main(name: str, folder: str, forbidden: str, *numbers: int):
    """Serve calls of ``folder/home/NAME.py`` until the parent says stop.

    ``forbidden``: folders not to read, joined by ``os.pathsep``. ``numbers``: CPU seconds, MiB, and
    the user and the group to run as, or -1 to stay.
    """
    seconds, megabytes, user, group = numbers
    source, sink = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    printed = os.open("printed", os.O_WRONLY | os.O_CREAT)
    os.dup2(nothing, 0), os.dup2(printed, 1), os.dup2(printed, 2)
    sys.stdout.reconfigure(line_buffering=True)  # else what was printed before a crash is lost
    _limit(seconds, megabytes)
    if _shut_in(folder, user, group):
        folder = ""
        os.environ["HOME"] = "/home"
    path, kit = f"{folder}/home/{name}.py", f"{folder}/kit"

    def send(*message):
        data = encode(*message)
        while data:
            data = data[os.write(sink, data) :]

    def ask(name, *arguments):
        send("ask", name, *arguments)
        kind, data = receive()
        if kind == "error":
            raise ValueError(data[0])
        return data[0]

    def special(v):
        if v["$"] == "rng":
            return np.random.default_rng(v["v"])
        name = v["v"]
        if v["$"] == "model":
            from minadv.autograd import raw, record

            def model(x):
                z = ask(name, "logits", raw(x))
                return record(z, (x, lambda g: ask(name, "vjp", raw(x), g)))

            return model
        return lambda *arguments: ask(name, *arguments)

    def read(n):
        data = source.read(n)
        if len(data) < n:
            os._exit(0)  # the parent is gone
        return data

    def read_line(n):
        return source.readline(n) or os._exit(0)

    def receive():
        return decode(read_line, read, special)

    def trouble(error):
        if isinstance(error, SyntaxError) and error.filename == path:
            where = f"line {error.lineno}, column {error.offset}: {(error.text or '').strip()}"
            return type(error).__name__, str(error.msg), where
        own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        lines = "\n".join(f"line {f.lineno}, in {f.name}: {f.line}" for f in own[-6:])
        try:
            text = str(error)[:1000]
        except BaseException:
            text = "(an error without text)"
        return type(error).__name__, text, lines

    sys.path.insert(0, kit)
    sys.meta_path.insert(0, _Fence(kit))
    _refuse(forbidden.split(os.pathsep))
    try:
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        theirs = dict(vars(module))
        send("ready", sorted(k for k, v in theirs.items() if callable(v)))
    except BaseException as error:
        send("raised", *trouble(error), [])
        return
    while True:
        kind, data = receive()
        if kind != "call":
            return
        name, replaced, arguments, keywords = data
        caught = []
        try:
            vars(module).update(theirs)
            vars(module).update({k: special({"$": "f", "v": k}) for k in replaced})
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                value = theirs[name](*arguments, **keywords)
            said = [f"{w.category.__name__}: {w.message}"[:200] for w in caught[:5]]
            answer = encode("result", value, said)
        except BaseException as error:
            answer = encode("raised", *trouble(error), [str(w.message)[:200] for w in caught[:5]])
        while answer:
            answer = answer[os.write(sink, answer) :]


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:8]))
