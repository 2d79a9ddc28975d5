"""The safetensors format: what the library refuses, and the three traps around it."""

import json
import struct
import sys

import numpy as np
import pytest

from minicnn import read_weights
from minicnn.weights.safetensors import from_bytes, library, to_bytes

pytest.importorskip("safetensors")

NUMBERS = np.array([1.0, -2.0], "<f4")
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def file_of(header, numbers=b"", length=None):
    """A file: the length of its header, the header, the numbers."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + numbers


GOOD = file_of({"w": ENTRY}, NUMBERS.tobytes())


def test_a_file_is_a_header_and_numbers():
    found = from_bytes(GOOD)
    np.testing.assert_array_equal(found["w"], NUMBERS)
    assert found["w"].dtype == np.float32
    assert found["w"].flags.writeable


def test_bfloat16_is_widened():
    entry = {"dtype": "BF16", "shape": [2, 1], "data_offsets": [0, 4]}
    found = from_bytes(file_of({"w": entry}, bytes.fromhex("803f40c0")))["w"]
    assert found.dtype == np.float32
    assert found.tolist() == [[1.0], [-3.0]]


def test_bytes_of_booleans_are_false_only_where_they_are_0():
    entry = {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]}
    assert from_bytes(file_of({"w": entry}, b"\0\1\2"))["w"].tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("dtype", "numbers"), [("BF16", b"\x80\x3f"), ("BOOL", b"\1"), ("F16", b"\0\x3c")]
)
def test_a_single_number_is_an_array_too(dtype, numbers):
    entry = {"dtype": dtype, "shape": [], "data_offsets": [0, len(numbers)]}
    found = from_bytes(file_of({"w": entry}, numbers))["w"]
    assert isinstance(found, np.ndarray)
    assert found.flags.writeable
    assert (found.shape, found.item()) == ((), 1)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_dtypes_that_numpy_lacks_are_refused(dtype):
    entry = {"dtype": dtype, "shape": [2], "data_offsets": [0, 2]}
    with pytest.raises(ValueError, match=f"tensor 'w' is of the dtype {dtype}"):
        from_bytes(file_of({"w": entry}, b"ab"))


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", ">f4", ">i8"]
)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_every_dtype_comes_back(dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    found = from_bytes(to_bytes({"w": array}))["w"]
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.shape == shape
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.T,
        lambda x: x[::-1, 1::2],
        lambda x: x.reshape(2, 3, 2, 2).transpose(0, 3, 1, 2),
        np.asfortranarray,
        lambda x: np.broadcast_to(x[0], (5, 4)),
    ],
)
def test_arrays_that_are_not_contiguous_keep_their_numbers_in_place(change):
    array = change(np.arange(24.0).reshape(6, 4))
    np.testing.assert_array_equal(from_bytes(to_bytes({"w": array}))["w"], array)


def test_the_same_arrays_give_the_same_bytes():
    arrays = {"b": NUMBERS, "a": NUMBERS[:1]}
    assert to_bytes(arrays) == to_bytes(arrays)


# --- what is refused ------------------------------------------------------------------------------

LIES = {
    "truncated": GOOD[:-1],
    "too long": GOOD + b"\0",
    "header cut": GOOD[:20],
    "overlap": file_of({"a": ENTRY, "b": ENTRY}, NUMBERS.tobytes()),
    "hole": file_of({"a": ENTRY, "b": {**ENTRY, "data_offsets": [16, 24]}}, bytes(24)),
    "another shape": file_of({"w": {**ENTRY, "shape": [3]}}, bytes(8)),
    "negative": file_of({"w": {**ENTRY, "shape": [-2]}}, bytes(8)),
    "terabytes": file_of({"w": {**ENTRY, "shape": [2**40], "data_offsets": [0, 2**42]}}, bytes(8)),
    "overflow": file_of({"w": {**ENTRY, "shape": [2**62, 2**62]}}, bytes(8)),
    "huge header": file_of({"w": ENTRY}, bytes(8), length=2**50),
    "no json": file_of(b"{not json}", bytes(8)),
    "deep": file_of(b'{"a":' + b"[" * 100_000),
    "a dtype of its own": file_of({"w": {**ENTRY, "dtype": "F128"}}, bytes(8)),
}


@pytest.mark.parametrize("lie", LIES)
def test_files_that_lie_are_refused_with_their_name(lie, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(LIES[lie])
    with pytest.raises(ValueError, match=r"weights\.safetensors: cannot be read as weights: .{10}"):
        read_weights(path)


def test_the_name_that_the_format_uses_itself_is_refused():
    with pytest.raises(ValueError, match="'__metadata__' is reserved"):
        to_bytes({"__metadata__": NUMBERS})


def test_dtypes_that_the_format_lacks_are_refused():
    with pytest.raises(ValueError, match="w: safetensors files cannot hold"):
        to_bytes({"w": np.ones(2, np.longdouble)})


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match="pip install safetensors"):
        library()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(GOOD)
    with pytest.raises(ImportError, match="pip install safetensors"):
        read_weights(path)
