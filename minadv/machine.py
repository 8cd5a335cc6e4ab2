"""What the machine lends: processor cores, the threads of BLAS, and memory that is used again."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy  # noqa: F401  (so that its BLAS is loaded and found)
import threadpoolctl

__all__ = ["cores", "one_blas_thread", "reuse_memory"]

# --- cores


def cores() -> int:
    """How many cores this process may use: by its affinity and by its control groups' CPU quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return int(min(count, _quota()))


@cache
def _quota() -> float:
    return cgroup_quota(Path("/"))


def cgroup_quota(root: Path) -> float:
    """The cores that Linux' control groups grant, rounded up; infinite without a limit.

    Reads version 2 (``cpu.max``) and version 1 (``cpu.cfs_quota_us``) below ``root``. The limit of
    a group holds for the groups inside it, so the least on the way up counts. Inside a container
    the path may not exist, and the mount itself is the group.
    """
    quota = math.inf
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return quota
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        for mount in ["", "unified"] if number == "0" else [controllers, "cpu"]:
            top = root / "sys/fs/cgroup" / mount
            group = top / path.lstrip("/")
            for folder in (group, *group.parents):
                quota = min(quota, _cores_of(folder))
                if folder == top:
                    break
    return quota


def _cores_of(folder: Path) -> float:
    try:
        if (folder / "cpu.max").exists():
            most, period = (folder / "cpu.max").read_text().split()
        else:
            most = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return max(math.ceil(int(most) / int(period)), 1) if int(most) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max": no limit
        return math.inf


# --- BLAS

# The number of BLAS threads belongs to the whole process. While it is held at 1, whoever reads or
# sets it through threadpoolctl reads and sets what it will be afterwards (_after). So the limits of
# another library, around, inside or across ours, end as they would alone, in whatever order.

_lock = threading.RLock()
_holders: dict[int, int] = {}  # id of each one_blas_thread() that is entered -> its thread
_after: dict[str, int] = {}  # BLAS library -> the number of threads it gets back


def _is_held(library) -> bool:
    return library.filepath in _after


def _watch(kind: Any):
    """Make a class of threadpoolctl see and set what BLAS gets back, while it is held."""
    setter = "set_num_threads"
    if hasattr(kind, "_real_set_num_threads"):  # threadpoolctl 3.8: what is left of it for OpenBLAS
        setter = "_real_set_num_threads"  # behind the rule that one thread sets the number
    get, put = kind.get_num_threads, getattr(kind, setter)

    def get_num_threads(self):
        with _lock:
            return _after[self.filepath] if _is_held(self) else get(self)

    def set_num_threads(self, num_threads):
        with _lock:
            if _is_held(self):
                _after[self.filepath] = num_threads
                return None
            return put(self, num_threads)

    kind.get_num_threads = get_num_threads
    setattr(kind, setter, set_num_threads)
    return get, put


def _libraries() -> tuple[list, list]:
    """``(library, get, set)`` of all BLAS with one number for the process, then per thread."""
    shared, own = [], []
    watched: dict[type, tuple] = {}
    for library in threadpoolctl.ThreadpoolController().lib_controllers:
        if library.user_api != "blas":
            continue
        kind = type(library)
        if getattr(library, "threading_layer", "") == "openmp":
            own.append((library, kind.get_num_threads, kind.set_num_threads))
        else:
            if kind not in watched:
                watched[kind] = _watch(kind)
            shared.append((library, *watched[kind]))
    return shared, own


_SHARED, _OWN = _libraries()


class one_blas_thread:
    """Matrix products use one thread inside. Nested and concurrent uses share one limit.

    The last to leave lifts it. An interrupt at any moment leaves no limit behind: what is not left
    in order is left when it is no longer referred to.
    """

    def __enter__(self):
        self.own = [(library, put, get(library)) for library, get, put in _OWN]
        try:
            with _lock:
                _holders[id(self)] = threading.get_ident()
                for library, get, put in _SHARED:
                    if not _is_held(library):
                        _after[library.filepath] = get(library)
                        put(library, 1)
            for library, put, _ in self.own:
                put(library, 1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with _lock:
            _holders.pop(id(self), None)
            if not _holders:
                _lift()
        while self.own:
            library, put, before = self.own.pop()
            put(library, before)

    def __del__(self):
        if _holders and id(self) in _holders:
            self.__exit__()


def _lift():
    for library, get, put in _SHARED:
        after = _after.get(library.filepath)
        if after is not None and get(library) == 1:  # else another set it without threadpoolctl
            put(library, after)
        _after.pop(library.filepath, None)


def _after_fork():
    """The child has only the thread that forked: the limits of all others end here."""
    global _lock
    _lock = threading.RLock()
    here = threading.get_ident()
    for holder in [h for h, thread in _holders.items() if thread != here]:
        del _holders[holder]
    if not _holders and _after:
        _lift()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

# --- memory

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_REUSED = 32 * 2**20  # bytes of one array, the most that glibc allows
KEPT = 256 * 2**20  # bytes of all freed arrays that wait for reuse


@cache
def reuse_memory():
    """Let glibc keep the memory of freed arrays for the next ones; elsewhere nothing happens.

    By default each array above 128 KiB is given back to the system when it is freed, and the next
    one is handed out, and cleared, page by page. With activations that live for microseconds, half
    of all time went there.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no C library with mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_REUSED)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
