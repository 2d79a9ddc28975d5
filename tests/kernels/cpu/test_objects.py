"""Python's objects in machine code: where their parts lie, and which are taken for which."""

import ctypes
import sys
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("numba")
import numba

from minicnn.kernels.cpu.compiled import on_threads
from minicnn.kernels.cpu.objects import ArrayFields, DtypeFields, ObjectFields


@on_threads
def describe(part, parts, x, result):
    result[0] = x.ndim
    result[1] = x.size
    result[2] = x.itemsize
    result[3] = x.strides[0]


@on_threads
def write_number(part, parts, number, result):
    result[0] = number


def described(x):
    result = np.zeros(4, np.int64)
    describe(1, x, result)
    return tuple(result.tolist())


def test_the_parts_of_arrays_and_dtypes_lie_where_they_are_read():
    x = np.zeros((3, 4), np.float32)[:, ::2]
    array, thing = ArrayFields.from_address(id(x)), ObjectFields.from_address(id(x))
    assert thing.type == id(np.ndarray)
    assert (array.data, array.ndim) == (x.ctypes.data, 2)
    assert (ctypes.c_ssize_t * 2).from_address(array.shape)[:] == [3, 2]
    assert (ctypes.c_ssize_t * 2).from_address(array.strides)[:] == [16, 8]
    assert array.dtype == id(x.dtype)
    assert bool(array.flags & 0x400) == x.flags.writeable
    dtype = DtypeFields.from_address(id(x.dtype))
    assert (dtype.number, dtype.byteorder) == (x.dtype.num, b"=")


def test_the_members_of_a_tuple_lie_where_they_are_read():
    members = ("a", "b")
    first = ctypes.c_void_p.from_address(id(members) + tuple.__basicsize__)
    assert first.value == id(members[0])
    assert ctypes.c_ssize_t.from_address(id(members) + ctypes.sizeof(ObjectFields)).value == 2


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 3), np.float32),
        np.zeros((2, 3)),
        np.zeros((2, 3), np.uint8),
        np.zeros(6, np.float32),
        np.zeros((0, 3), np.float32),
        np.zeros((4, 6), np.float32)[::2, ::2],
        np.zeros((2, 3), np.float32, order="F"),
        np.zeros((2, 3), np.dtype(np.float32, metadata={"unit": "m"})),
        np.broadcast_to(np.zeros(3, np.float32), (2, 3)),
    ],
)
def test_arrays_of_every_kind_arrive_as_they_are(x):
    """Each needs machine code of its own, which refuses the others."""
    for _ in range(2):
        assert described(x) == (x.ndim, x.size, x.itemsize, x.strides[0])
        assert described(np.zeros((5, 1), np.float32)) == (2, 5, 4, 4)


@pytest.mark.parametrize(
    "number",
    [
        *(7, -1, True, 0.5, np.float64(0.1), np.int64(-3), np.float32(0.5)),
        *(np.uint64(2**63 + 2**60), np.uint8(200), np.int32(-5)),
    ],
)
def test_numbers_arrive_as_they_are(number):
    result = np.zeros(1)
    write_number(1, number, result)
    assert result[0] == number


@pytest.mark.parametrize("number", [None, "text", 1j])
def test_other_things_are_refused(number):
    with pytest.raises((TypeError, numba.errors.NumbaError)):
        write_number(1, number, np.zeros(1))


class Pair(NamedTuple):
    x: np.ndarray
    number: float


class Twins(NamedTuple):
    number: float
    x: np.ndarray


@on_threads
def add_members(part, parts, members, result):
    result[0] = members.x[0] + members.number


def test_named_tuples_are_told_apart():
    result = np.zeros(1)
    for _ in range(2):
        for members in (
            Pair(np.ones(2), 0.5),
            Twins(0.25, np.ones(2)),
            Pair(np.ones(2, "f4"), 0.5),
        ):
            add_members(1, members, result)
            assert result[0] == 1 + members.number


def test_an_array_of_a_class_of_its_own_is_refused():
    class Derived(np.ndarray):
        pass

    for _ in range(2):
        with pytest.raises(TypeError, match="describe: expected plain arrays"):
            described(np.zeros(3).view(Derived))


def test_a_number_that_is_too_large_is_refused():
    write_number(1, 1, np.zeros(1))
    with pytest.raises(OverflowError):
        write_number(1, 2**70, np.zeros(1))


def test_arguments_are_counted():
    write_number(1, 1, np.zeros(1))
    with pytest.raises(TypeError):
        write_number(1, 1, np.zeros(1), 1)


def test_foreign_byte_order_is_refused():
    described(np.zeros(3))
    with pytest.raises(numba.errors.NumbaError):
        described(np.zeros(3, np.dtype(np.float64).newbyteorder()))


def test_references_are_as_before():
    x, result = np.zeros((2, 3)), np.zeros(4, np.int64)
    describe(1, x, result)
    before = sys.getrefcount(x), sys.getrefcount(result), sys.getrefcount(x.dtype)
    for _ in range(5):
        describe(2, x, result)
    assert (sys.getrefcount(x), sys.getrefcount(result), sys.getrefcount(x.dtype)) == before
