"""One task of a sweep, as a worker does it: an attack on a model, in numbers."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minadv.attacks.result import AttackResult
from minadv.backend import like, to_numpy
from minadv.evaluation import parcels
from minadv.evaluation.judging import correct, images_of, judged
from minadv.evaluation.parcels import Parcel
from minadv.parallel import is_thread_safe, on_one_core

MODELS = 8  # that a worker keeps ready
COUNTS = ("images", "right", "robust")
SIZES = ("linf", "l2", "l0", "queries")


@dataclass(frozen=True)
class Task:
    """What a worker is sent. ``enclosed``: the arrays that a worker asked for."""

    model: Parcel
    attack: Parcel
    images: Parcel  # x and y
    settings: dict[str, Any]  # of the attack
    folder: Path | None
    alone: bool  # whether it has the machine for itself
    enclosed: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Lacking:
    """A worker's answer: it has not got the arrays of these digests."""

    arrays: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """A worker's answer: the error in words, and where it came from."""

    error: str
    details: str


def do(task: Task) -> dict[str, Any] | Lacking | Failed:
    """Do a task, or say what it lacks, or why it failed."""
    try:
        parcels.keep(task.enclosed)
        sent = (task.model, task.attack, task.images)
        wanted = dict.fromkeys(key for parcel in sent for key in parcel.arrays)
        places = {key: parcels.find(key, task.folder) for key in wanted}
        found = {key: array for key, array in places.items() if array is not None}
        if lacking := tuple(key for key in wanted if key not in found):
            return Lacking(lacking)
        model, lock = _ready(task.model, found)
        attack = parcels.unpack(task.attack, found)
        x, y = parcels.unpack(task.images, found, share=True)
        with lock, contextlib.nullcontext() if task.alone else on_one_core():
            return measure(model, attack, x, y, task.settings)
    except (Exception, SystemExit) as error:
        return Failed(f"{type(error).__name__}: {error}", traceback.format_exc())


_models: OrderedDict[str, tuple] = OrderedDict()
_lock = threading.Lock()


def _ready(parcel: Parcel, arrays: dict) -> tuple[Callable, Any]:
    """The model, unpacked once, and what to hold while it is used: it may not be thread-safe."""
    with _lock:
        if parcel.digest not in _models:
            model = parcels.unpack(parcel, arrays)
            safe = is_thread_safe(model)
            _models[parcel.digest] = model, contextlib.nullcontext() if safe else threading.Lock()
        _models.move_to_end(parcel.digest)
        while len(_models) > MODELS:
            _models.popitem(last=False)
        return _models[parcel.digest]


def measure(model: Callable, attack: Callable, x, y, settings: dict) -> dict[str, Any]:
    """The numbers of one row: counts, medians over the images that were lost, queries per image."""
    right = correct(model, x, y)
    asked = getattr(model, "queries", None)
    result = attack(model, x, y=y, **settings)
    images = images_of(result, "attack(model, x, y=y)")
    if images.shape != x.shape:
        raise ValueError(f"attack must return images of shape {x.shape}, got {images.shape}")
    queries = getattr(result, "queries", None)
    if queries is not None:
        queries = float(to_numpy(queries).mean(dtype=float))
    elif isinstance(asked, int):  # a QueryGradient
        queries = (model.queries - asked) / len(x)  # type: ignore[attr-defined]
    z, labels = judged(model, images, y)
    lost = to_numpy(right & (z.argmax(axis=1) != labels))
    made = AttackResult(x, images, labels, like(lost, labels), labels)
    size = {
        name: float(np.median(to_numpy(getattr(made, name), dtype=float)[lost]))
        if lost.any()
        else None
        for name in ("linf", "l2", "l0")
    }
    right = int(right.sum())
    counts = {"images": len(x), "right": right, "robust": right - int(lost.sum())}
    return counts | size | {"queries": queries}


def are_numbers(value, images: int) -> bool:
    """Whether ``value`` is what :func:`measure` returns for so many images."""
    if not isinstance(value, dict) or list(value) != [*COUNTS, *SIZES]:
        return False
    counts, sizes = [value[k] for k in COUNTS], [value[k] for k in SIZES]
    return (
        all(type(n) is int for n in counts)
        and images == counts[0] >= counts[1] >= counts[2] >= 0
        and all(s is None or (type(s) is float and 0 <= s < float("inf")) for s in sizes)
    )
