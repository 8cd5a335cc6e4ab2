"""How a model, an attack or images travel to other processes: a small pickle, and arrays once.

Large arrays are left out of the pickle. They go by the digest of their content, so what two models
share is one array. A worker looks for an array in its memory and in the sweep's folder, and asks
for what it lacks. Nothing is pickled to a file: arrays are ``.npy``, read without pickle.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minadv.attacks.query_gradient import QueryGradient
from minadv.files import write_whole

LARGE = 1024  # bytes of an array that goes by its digest; smaller ones stay in the pickle
MEMORY = 2**31  # bytes of arrays that a worker keeps, the least recently used ones leaving first
HINT = (
    "a lambda, or a function or class inside a function, cannot be sent to another process: use a "
    "function of a module, functools.partial, or an object of a module's class"
)


@dataclass(frozen=True)
class Parcel:
    """``content``: the pickle; ``arrays``: digests of the arrays left out; ``digest``: of all."""

    content: bytes
    arrays: tuple[str, ...]
    digest: str


class _Packer(pickle.Pickler):
    """Leaves large arrays out, and keeps them in ``arrays``."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file, protocol=5)
        self.arrays: dict[str, np.ndarray] = {}
        # Of each array object, by its id: a number, and the object, so that no id is used twice.
        self.numbers: dict[int, tuple[int, np.ndarray]] = {}

    def persistent_id(self, thing):
        kind = isinstance(thing, np.ndarray) and not isinstance(thing, np.ma.MaskedArray)
        if not kind or thing.dtype.hasobject or thing.nbytes < LARGE:
            return None
        array = np.asarray(thing).view()  # of a memory map, say
        array.flags.writeable = False
        key = digest_of(array)
        self.arrays[key] = array
        return self.named(key, thing)

    def named(self, key: str, thing):
        """One array object stays one, and two equal ones stay two."""
        return key, self.numbers.setdefault(id(thing), (len(self.numbers), thing))[0]


class _Signer(_Packer):
    """Writes equal things as equal bytes, which a pickle for sending need not do.

    Nothing is remembered (``fast``), so it does not matter which equal parts are one object. A
    model that counts its queries stays the same model.
    """

    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.fast = True

    def named(self, key: str, thing):
        return key

    def reducer_override(self, thing):
        if type(thing) is QueryGradient:
            return QueryGradient, (thing.predict, thing.probabilities, thing.how)
        return NotImplemented


def pack(name: str, thing) -> tuple[Parcel, dict[str, np.ndarray]]:
    """``thing`` as a parcel, and its large arrays by digest.

    Raises :class:`TypeError` that names ``name`` if it cannot be pickled.
    """
    file, signature = io.BytesIO(), io.BytesIO()
    packer = _Packer(file)
    try:
        packer.dump(thing)
        _Signer(signature).dump(thing)
    except Exception as error:  # of a dozen kinds
        raise TypeError(f"{name} cannot be pickled ({error}): {HINT}") from None
    digest = hashlib.sha256(signature.getvalue()).hexdigest()
    return Parcel(file.getvalue(), tuple(packer.arrays), digest), packer.arrays


def unpack(parcel: Parcel, arrays: dict[str, np.ndarray], *, share: bool = False):
    """The thing that was packed. It owns its arrays, or shares those given, which are read-only."""
    made: dict[int, np.ndarray] = {}

    def load(name):
        key, number = name
        if number not in made:
            made[number] = arrays[key] if share else arrays[key].copy(order="K")
        return made[number]

    unpickler = pickle.Unpickler(io.BytesIO(parcel.content))
    unpickler.persistent_load = load  # type: ignore[method-assign]
    return unpickler.load()


def digest_of(array: np.ndarray) -> str:
    """SHA-256 of dtype, shape, layout and values."""
    columns = array.flags.f_contiguous and not array.flags.c_contiguous
    head = repr((array.dtype.str, array.shape, columns)).encode()
    flat = np.ascontiguousarray(array.T if columns else array)
    digest = hashlib.sha256(head)
    digest.update(flat.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


# --- where arrays are

_memory: OrderedDict[str, np.ndarray] = OrderedDict()  # what this process was sent or has read
_lock = threading.Lock()
running: list[dict[str, np.ndarray]] = []  # the arrays of the sweeps that this process runs


def keep(arrays: dict[str, np.ndarray]) -> None:
    """Remember arrays that came with a task."""
    with _lock:
        for key, array in arrays.items():
            _memory[key] = array.view()
            _memory[key].flags.writeable = False
            _memory.move_to_end(key)
        while len(_memory) > 1 and sum(a.nbytes for a in _memory.values()) > MEMORY:
            _memory.popitem(last=False)


def find(key: str, folder: Path | None) -> np.ndarray | None:
    """The array of this digest, from memory or from the folder; None if it is in neither."""
    with _lock:
        if key in _memory:
            _memory.move_to_end(key)
        for arrays in (_memory, *running):
            if key in arrays:
                return arrays[key]
    array = _read(key, folder) if folder else None
    if array is not None:
        keep({key: array})
    return array


def store(arrays: dict[str, np.ndarray], folder: Path) -> None:
    """Write arrays to the folder, those that are not there yet; a damaged file is replaced."""
    for key, array in arrays.items():
        if _read(key, folder) is None:
            file = io.BytesIO()
            np.lib.format.write_array(file, array, allow_pickle=False)
            write_whole(_path(key, folder), file.getvalue())


def _path(key: str, folder: Path) -> Path:
    return folder / "arrays" / f"{key}.npy"


def _read(key: str, folder: Path) -> np.ndarray | None:
    """The array in the file, if it is whole."""
    try:
        array = np.load(_path(key, folder), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if isinstance(array, np.ndarray) and digest_of(array) == key else None
