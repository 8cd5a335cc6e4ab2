"""A batch cut into cache-sized chunks, and the chunks run on all cores.

NumPy computes on one core, but for its matrix products; and a whole batch's activations do not fit a core's cache. So a batch is cut into
chunks that do, each core takes the next one, and each matrix product stays on its core (one BLAS thread). NumPy lets go of the interpreter
lock while it computes, so threads are enough. How a batch is cut depends on the model and the batch alone, never on the machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache

import numpy as np
import threadpoolctl

from minadv.backend import array_module

__all__ = ["chunk_size", "map_chunks", "one_blas_thread", "run_chunks"]

CACHE = (
    16 * 2**20
)  # bytes of activations that one chunk may make; measured: with smaller chunks threads wait for the interpreter lock
LEAST, MOST = (
    16,
    512,
)  # examples per chunk: below, Python's own time shows; above, nothing is gained
GPU_CHUNK = 4096  # a GPU takes all at once, but its memory is bounded, too
UNKNOWN_MODEL = (
    32  # bytes of activations per byte of input that a model of unknown make is taken to need
)

_worker = threading.local()


def chunk_size(model: Callable, x) -> int:
    """How many examples of ``x`` one chunk takes: a power of two, so many that the activations of ``model`` stay in the cache."""
    if array_module(x) is not np:
        return GPU_CHUNK
    known = getattr(model, "activation_bytes", lambda shape, dtype: UNKNOWN_MODEL * x[:1].nbytes)
    per_example = known(x.shape[1:], x.dtype)
    return 2 ** int(np.log2(min(max(CACHE // max(per_example, 1), LEAST), MOST)))


def run_chunks(f: Callable, *arrays, chunk: int) -> list:
    """``[f(*parts), ...]`` for consecutive parts of ``chunk`` examples (the last may be shorter), in order, on all cores.

    An empty batch is one empty part. Inside a chunk, further calls run where they are, one after the other.
    """
    count = len(arrays[0])
    if any(len(a) != count for a in arrays):
        raise ValueError(f"all arrays must have the same length, got {[len(a) for a in arrays]}")
    _reuse_memory()
    parts = [tuple(a[i : i + chunk] for a in arrays) for i in range(0, max(count, 1), chunk)]
    if array_module(*arrays) is not np or getattr(_worker, "busy", False):
        return [f(*part) for part in parts]
    if len(parts) == 1 or _cores() == 1:
        with one_blas_thread():
            return [f(*part) for part in parts]

    def work(context, part):
        _worker.busy = True
        return context.run(f, *part)

    with one_blas_thread():
        return list(
            _pool().map(work, [copy_context() for _ in parts], parts)
        )  # the caller's context: np.errstate


def map_chunks(f: Callable, *arrays, chunk: int):
    """``f(*arrays)`` computed in chunks: for an ``f`` that returns one array, or a tuple of arrays, with one row per example."""
    results = run_chunks(f, *arrays, chunk=chunk)
    if len(results) == 1:
        return results[0]
    xp = array_module(*arrays)
    if isinstance(results[0], tuple):
        return tuple(xp.concatenate(column) for column in zip(*results, strict=True))
    return xp.concatenate(results)


def in_chunks(model: Callable, f: Callable, *arrays):
    """:func:`map_chunks` of ``f`` in chunks that suit ``model``, whose activations ``f`` computes."""
    return map_chunks(f, *arrays, chunk=chunk_size(model, arrays[0]))


# --------------------------------------------------------------------------------------------------------------- reused memory

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_REUSED, KEPT = (
    32 * 2**20,
    256 * 2**20,
)  # bytes: of one array (the most that glibc allows), and of all that wait for reuse


@cache
def _reuse_memory():
    """Let glibc keep the memory of freed arrays for the next ones; elsewhere nothing happens.

    By default each array above 128 KiB is given back to the system when it is freed, and the next one is handed out, and cleared, page by
    page. With activations that live for microseconds, half of all time went there.
    """
    with contextlib.suppress(
        OSError, AttributeError, TypeError
    ):  # no C library to be found, or none with mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_REUSED)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)


# ------------------------------------------------------------------------------------------------------------- threads and BLAS


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_cores(), thread_name_prefix="minadv")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


_blas = cache(threadpoolctl.ThreadpoolController)
_blas_lock = threading.Lock()
_blas_users = 0
_blas_limit = None


@contextmanager
def one_blas_thread():
    """Matrix products use one thread inside; nested and concurrent use share one limit, lifted by the last to leave."""
    global _blas_users, _blas_limit
    with _blas_lock:
        if _blas_users == 0:
            _take_control_of_blas()
            _blas_limit = _blas().limit(limits=1, user_api="blas")
        _blas_users += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0:
                _take_control_of_blas()
                _blas_limit.restore_original_limits()


def _take_control_of_blas():
    """Since threadpoolctl 3.8 only the thread that first set a limit may change it, but here the last to leave lifts it."""
    if hasattr(threadpoolctl.OpenBLASController, "clear_controlling_thread"):
        threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)
