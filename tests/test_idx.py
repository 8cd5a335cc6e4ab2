"""IDX files: every type and shape, and every way to be damaged."""

from __future__ import annotations

import gzip
import os
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minadv.data.idx import DataError, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
WIDTHS = {0x08: 1, 0x09: 1, 0x0B: 2, 0x0C: 4, 0x0D: 4, 0x0E: 8}
MNIST = os.environ.get("MINADV_DATA")


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim]) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def meaning(content: bytes) -> tuple[int, tuple[int, ...], bytes] | None:
    """(type code, shape, native elements) of a plain IDX file, worked out byte by byte, or None if
    it is damaged."""
    if (
        len(content) < 4
        or content[:2] != b"\0\0"
        or content[2] not in WIDTHS
        or content[3] > 64
        or len(content) < 4 + 4 * content[3]
    ):
        return None
    width, start = WIDTHS[content[2]], 4 + 4 * content[3]
    sizes = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    count = 1
    for n in sizes:
        count *= n
    body = content[start:]
    if len(body) != count * width:
        return None
    elements = [body[i : i + width] for i in range(0, len(body), width)]
    return (
        content[2],
        sizes,
        b"".join(each[::-1] if sys.byteorder == "little" else each for each in elements),
    )


def as_meaning(array: np.ndarray):
    assert array.dtype.isnative
    return CODES[array.dtype.str[1:]], array.shape, array.tobytes()


def read_or_error(path: Path) -> np.ndarray | None:
    """The array, or None for a DataError that names the file; anything else that is raised fails
    the test."""
    try:
        return read_idx(path)
    except DataError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert len(message) > len(f"{path}: ")
    return None


def assert_agrees(read: np.ndarray | None, content: bytes) -> None:
    expected = meaning(content)
    if read is None and expected is not None:
        assert (
            0 in expected[1]
        )  # no elements, but the other sizes multiply to more than NumPy can hold
    else:
        assert expected == (None if read is None else as_meaning(read))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "array.idx"


arrays = st.sampled_from(sorted(CODES)).flatmap(
    lambda code: hnp.arrays(
        np.dtype(code), hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
    )
)
SMALL = np.arange(-3, 3, dtype=np.int16).reshape(3, 2)


class TestValid:
    @given(arrays, st.booleans())
    def test_read_is_the_inverse_of_write(self, path, array, compressed):
        path.write_bytes(gzip.compress(idx_bytes(array), 1) if compressed else idx_bytes(array))
        read = read_idx(path)
        assert (read.dtype, read.shape, read.tobytes()) == (
            array.dtype,
            array.shape,
            array.tobytes(),
        )
        assert read.dtype.isnative
        assert read.flags.writeable
        assert read.flags.c_contiguous

    @pytest.mark.parametrize(
        ("content", "values", "dtype"),
        [
            ("00000801 00000003 00 80 ff", [0, 128, 255], "u1"),
            ("00000901 00000003 00 80 ff", [0, -128, -1], "i1"),
            ("00000b01 00000002 0102 fffe", [258, -2], "i2"),
            ("00000c01 00000002 00010000 ffffffff", [65536, -1], "i4"),
            ("00000d01 00000002 3f800000 c0200000", [1.0, -2.5], "f4"),
            ("00000e01 00000001 bff0000000000000", [-1.0], "f8"),
            ("00000802 00000002 00000003 010203040506", [[1, 2, 3], [4, 5, 6]], "u1"),
            ("00000b00 0102", 258, "i2"),
        ],
    )
    def test_bytes_written_by_hand(self, path, content, values, dtype):
        path.write_bytes(bytes.fromhex(content))
        read = read_idx(path)
        assert read.dtype == np.dtype(dtype)
        assert read.tolist() == values

    def test_path_may_be_a_string(self, path):
        path.write_bytes(idx_bytes(SMALL))
        np.testing.assert_array_equal(read_idx(str(path)), SMALL)

    def test_two_gzip_members_are_one_file(self, path):
        content = idx_bytes(SMALL)
        path.write_bytes(gzip.compress(content[:9]) + gzip.compress(content[9:]))
        np.testing.assert_array_equal(read_idx(path), SMALL)

    @pytest.mark.skipif(not MNIST, reason="MINADV_DATA is not set")
    @pytest.mark.parametrize(
        ("name", "header"), [("t10k-images-idx3-ubyte.gz", 16), ("train-labels-idx1-ubyte.gz", 8)]
    )
    def test_real_mnist_against_numpy(self, name, header):
        path = Path(MNIST) / "mnist" / name
        with gzip.open(path) as file:
            content = file.read()
        assert read_idx(path).tobytes() == content[header:]


class TestDamaged:
    @given(
        st.builds(
            bytes.__add__,
            st.sampled_from([b"", b"\0\0\x08\1", b"\0\0\x0b\0", b"\x1f\x8b"]),
            st.binary(max_size=16),
        )
    )
    @example(
        b"\0\0\x08\x03" + b"\0\0\0\0" + b"\xff" * 8
    )  # 0 x huge x huge: no elements, and NumPy cannot hold the shape
    def test_any_bytes_are_an_array_or_an_error(self, path, content):
        path.write_bytes(content)
        read = read_or_error(path)
        assert_agrees(read, content)

    @given(arrays, st.data())
    def test_a_byte_replaced(self, path, array, data):
        content = bytearray(idx_bytes(array))
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        read = read_or_error(path)
        assert_agrees(read, bytes(content))

    @given(arrays, st.data())
    def test_a_compressed_byte_replaced(self, path, array, data):
        content = bytearray(gzip.compress(idx_bytes(array), mtime=0))
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        read = read_or_error(path)
        assert read is None or as_meaning(read) == as_meaning(array)

    @pytest.mark.parametrize("compressed", [False, True])
    def test_cut_anywhere(self, path, compressed):
        whole = gzip.compress(idx_bytes(SMALL)) if compressed else idx_bytes(SMALL)
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert read_or_error(path) is None, length

    @pytest.mark.parametrize(
        "tail", [b"\0", b"x", b"\x1f\x8b", bytes(100), gzip.compress(b"x", mtime=0)]
    )
    @pytest.mark.parametrize("where", ["plain", "inside", "after"])
    def test_trailing_bytes(self, path, where, tail):
        content = idx_bytes(SMALL)
        path.write_bytes(
            {
                "plain": content + tail,
                "inside": gzip.compress(content + tail),
                "after": gzip.compress(content) + tail,
            }[where]
        )
        if where == "after" and not any(tail):  # gzip may be padded with zeros
            np.testing.assert_array_equal(read_idx(path), SMALL)
        else:
            assert read_or_error(path) is None

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (b"", "ends after 0"),
            (b"\0\0\x08", "ends after 3"),
            (b"PK\x03\x04rest", "not an IDX file: .* got 50 4b 03"),
            (b"\0\0\x0a\x01\0\0\0\0", "not an IDX file"),
            (b"\0\0\x08\x02\0\0\0\x01\0\0", "2 sizes in 8 bytes, and ends after 6"),
            (
                b"\0\0\x0c\x01\0\0\0\x02\0\0\0\0",
                r"int32 \(2,\), which is 8 bytes; the file holds only 4",
            ),
            (b"\0\0\x08\x01\0\0\0\x02abc", r"uint8 \(2,\), which is 2 bytes; the file holds more"),
            (b"\0\0\x08\x41" + b"\0\0\0\1" * 65 + b"x", "65"),
            (gzip.compress(b"", mtime=0), "ends after 0"),
            (b"\x1f\x8bnot gzip at all", "method"),
        ],
    )
    def test_the_error_says_what_is_wrong(self, path, content, complaint):
        path.write_bytes(content)
        with pytest.raises(DataError, match=complaint) as caught:
            read_idx(path)
        assert str(path) in str(caught.value)

    def test_bad_checksum_and_bad_length_in_gzip(self, path):
        content = gzip.compress(idx_bytes(SMALL))
        for position, complaint in ((-8, "CRC"), (-4, "length")):
            damaged = bytearray(content)
            damaged[position] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=complaint):
                read_idx(path)

    @pytest.mark.parametrize("compress", [bytes, gzip.compress])
    @pytest.mark.parametrize("sizes", [[2**32 - 1] * 4, [2**31 - 1], [2**32 - 1] * 64])
    def test_sizes_that_lie_cost_no_memory(self, path, compress, sizes):
        path.write_bytes(
            compress(
                bytes([0, 0, 0x0E, len(sizes)])
                + struct.pack(f">{len(sizes)}I", *sizes)
                + b"only this"
            )
        )
        assert memory_for_an_error(path) < 3e6
        with pytest.raises(DataError, match=f"{sizes[0]}.*the file holds only 9|at most|maximum"):
            read_idx(path)

    def test_a_gzip_bomb_costs_no_memory(self, path):
        path.write_bytes(gzip.compress(idx_bytes(np.zeros(3, np.uint8)) + bytes(50_000_000), 1))
        assert memory_for_an_error(path) < 3e6

    def test_missing_file_and_folder(self, tmp_path):
        for path in (tmp_path / "nothing", tmp_path):
            assert read_or_error(path) is None

    @pytest.mark.parametrize("path", [3, None, b"file", 1.5, ["file"]])
    def test_not_a_path(self, path):
        with pytest.raises(TypeError, match=f"path must be .* got {type(path).__name__}"):
            read_idx(path)

    def test_reading_changes_nothing(self, path):
        for content in (idx_bytes(SMALL), gzip.compress(idx_bytes(SMALL)), b"damaged"):
            path.write_bytes(content)
            before = path.stat().st_mtime_ns
            read_or_error(path)
            assert path.read_bytes() == content
            assert path.stat().st_mtime_ns == before


def memory_for_an_error(path: Path) -> int:
    tracemalloc.start()
    try:
        assert read_or_error(path) is None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
