"""IDX, the file format of MNIST and its relatives.

======  ======  ====================================================
offset  bytes   meaning
======  ======  ====================================================
0       2       zero
2       1       type code of the elements
3       1       number of dimensions, d
4       4 d     the d sizes, unsigned, big-endian
4 + 4d  rest    the elements, big-endian, the last dimension fastest
======  ======  ====================================================
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib

import numpy as np

__all__ = ["DataError", "read_idx"]

ELEMENT_TYPES: dict[int, np.dtype] = {  # type code -> big-endian dtype
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
GZIP_MAGIC = b"\x1f\x8b"
CHUNK = (
    1 << 20
)  # bytes read at a time: memory grows with what the file holds, not with what its header says


class DataError(ValueError):
    """A data file is missing, damaged or not what it should be; the message names the file and what
    is wrong."""


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file, plain or compressed by gzip.

    ``path``: the file; any of the six element types, any number of dimensions.

    Returns a NumPy array of the shape and element type that the header states, in native byte
    order.

    Raises :class:`TypeError` if ``path`` is no path, and :class:`DataError` if the file cannot be
    read, is not IDX, holds fewer or more bytes than its header says, or fails gzip's own check.

    Format: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section "The IDX
    file format".
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path object, got {type(path).__name__}")
    try:
        with open(path, "rb") as file:
            compressed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            return _parse(gzip.GzipFile(fileobj=file) if compressed else file)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{os.fspath(path)}: {error}") from error


def _parse(stream) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4:
        raise ValueError(
            f"an IDX file begins with 4 bytes of magic number, and this one ends after {len(magic)}"
        )
    if magic[:2] != b"\0\0" or magic[2] not in ELEMENT_TYPES:
        codes = ", ".join(f"{code:02x}" for code in ELEMENT_TYPES)
        raise ValueError(
            f"not an IDX file: it should begin with 00 00 and a type code ({codes}), got "
            f"{magic[:3].hex(' ')}"
        )
    dtype, dimensions = ELEMENT_TYPES[magic[2]], magic[3]

    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError(
            f"the header should state {dimensions} sizes in {4 * dimensions} bytes, and ends after "
            f"{len(sizes)}"
        )
    shape = struct.unpack(f">{dimensions}I", sizes)

    expected = math.prod(shape) * dtype.itemsize  # a Python integer: it does not overflow
    elements = _read_at_most(
        stream, expected + 1
    )  # one byte more, to see trailing bytes and to reach gzip's checksum
    if len(elements) != expected:
        held = f"only {len(elements)}" if len(elements) < expected else "more"
        raise ValueError(
            f"the header states {dtype.newbyteorder('=')} {shape}, which is {expected} bytes; the "
            f"file holds {held}"
        )
    return np.frombuffer(elements, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_at_most(stream, count: int) -> bytearray:
    content = bytearray()
    while len(content) < count and (chunk := stream.read(min(CHUNK, count - len(content)))):
        content += chunk
    return content
