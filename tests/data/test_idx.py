"""IDX files: round trips, and damage of every kind."""

import gzip
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minicnn.data.idx import TYPES, read_idx, to_bytes, write_idx

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train-images-idx3-ubyte"


@pytest.mark.parametrize("name", ["a", "a.gz"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_round_trip_keeps_shape_dtype_and_bits(name, data, tmp_path_factory):
    dtype = data.draw(st.sampled_from(list(TYPES.values())))
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)))
    path = tmp_path_factory.getbasetemp() / name
    write_idx(path, array)
    back = read_idx(path)
    assert back.dtype == dtype
    assert back.dtype.isnative
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()  # NaN too


def test_known_bytes(path):
    path.write_bytes(bytes.fromhex("0000 0b02 00000001 00000002 0102 fffe"))
    np.testing.assert_array_equal(read_idx(path), np.array([[258, -2]], np.int16))


def test_big_endian_and_strided_arrays_are_written_by_value(path):
    array = np.arange(12, dtype=">i4").reshape(3, 4).T[::2]
    write_idx(path, array)
    np.testing.assert_array_equal(read_idx(path), array)


def test_result_is_writeable(path):
    write_idx(path, IMAGES)
    assert read_idx(path).flags.writeable


def test_gzip_is_recognised_by_content_not_by_name(path):
    path.write_bytes(gzip.compress(to_bytes(IMAGES)))
    np.testing.assert_array_equal(read_idx(path), IMAGES)
    plain = path.with_suffix(".gz")
    plain.write_bytes(to_bytes(IMAGES))
    np.testing.assert_array_equal(read_idx(plain), IMAGES)


def test_every_truncation_of_a_plain_file_is_an_error(path):
    whole = to_bytes(IMAGES)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="truncated"):
            read_idx(path)


def test_every_truncation_of_a_gzip_file_is_an_error(path):
    whole = gzip.compress(to_bytes(IMAGES))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=path.name):
            read_idx(path)


def test_a_flipped_bit_in_a_gzip_file_is_an_error_or_changes_nothing(path):
    """The header's time stamp and the like are not covered by gzip's checksum, the data are."""
    whole = gzip.compress(to_bytes(IMAGES))
    refused = set()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(read_idx(path), IMAGES)
        except ValueError:
            refused.add(bit // 8)
    assert refused >= {0, 1, 2, *range(10, len(whole))}


@given(st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_give_an_array_or_a_value_error(tmp_path_factory, contents):
    path = tmp_path_factory.getbasetemp() / "noise"
    for prefix in (b"", b"\0\0\x08"):
        path.write_bytes(prefix + contents)
        try:
            array = read_idx(path)
        except ValueError:
            continue
        assert to_bytes(array) == prefix + contents


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "truncated header: expected at least 4 bytes, got 0"),
        (b"\x89PNG\r\n", "expected two zero bytes first, got 89 50"),
        (b"\0\0\x0a\x01\0\0\0\0", "unknown type code 0x0A: expected one of 0x08 uint8"),
        (b"\0\0\x08\x03\0\0\0\x01", r"expected 12 bytes for 3 dimension\(s\), got 4"),
        (
            b"\0\0\x0b\x01\0\0\0\x03abcd",
            "int16 numbers of shape .3,., 6 bytes; .* more than 4 bytes",
        ),
        (b"\0\0\x08\x01\0\0\0\x01ab", "trailing bytes"),
        (b"\0\0\x08\x41" + b"\0\0\0\x01" * 65 + b"a", "NumPy cannot hold the shape"),
    ],
)
def test_message_says_what_is_wrong(path, contents, message):
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_header_that_claims_terabytes_fails_at_once(path, pack):
    path.write_bytes(pack(b"\0\0\x0e\x03" + b"\x00\xff\xff\xff" * 3 + b"\0" * 100))
    with pytest.raises(ValueError, match="truncated data"):
        read_idx(path)


def test_trailing_bytes_in_gzip(path):
    path.write_bytes(gzip.compress(to_bytes(IMAGES) + b"x"))
    with pytest.raises(ValueError, match="trailing bytes"):
        read_idx(path)


def test_missing_file(path):
    with pytest.raises(FileNotFoundError):
        read_idx(path)


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.float16, bool, complex])
def test_write_refuses_other_dtypes(path, dtype):
    with pytest.raises(TypeError, match="expected one of the types uint8, int8"):
        write_idx(path, np.zeros(3, dtype))
    assert not path.exists()


def test_writing_twice_gives_the_same_bytes(tmp_path):
    first, second = tmp_path / "a.gz", tmp_path / "b.gz"
    write_idx(first, IMAGES)
    write_idx(second, IMAGES)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[4:8] == bytes(4)  # gzip's time stamp


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(path, monkeypatch):
    write_idx(path, IMAGES)

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_idx(path, IMAGES + 1)
    np.testing.assert_array_equal(read_idx(path), IMAGES)
    assert os.listdir(path.parent) == [path.name]
