"""Where new arrays lie: in the C library's heap, or in arenas."""

import numpy as np
import pytest

from minicnn.kernels import memory
from minicnn.kernels.arena import CACHE_LINE, PAGE, Arena
from minicnn.kernels.memory import LARGE, MIDDLING, empty
from tests.checks import in_memory, normal

FLOAT32 = np.dtype(np.float32)
ROWS = LARGE // 4096  # of 1024 float32


@pytest.fixture
def arena():
    return Arena()


def new(arena, rows=ROWS):
    return arena.empty((rows, 1024), FLOAT32)


# --- the arrays -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("shape", [(0,), (), (3, 5), (1025, 1031), (7, 300_001)])
def test_arrays_are_plain_and_their_own(shape, dtype):
    array = empty(shape, dtype)
    assert type(array) is np.ndarray
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.flags.c_contiguous
    assert array.flags.aligned
    array[...] = 1
    assert array.all()


def test_small_arrays_do_not_come_from_the_arena():
    assert empty((MIDDLING - 1,), np.uint8).base is None
    assert empty((MIDDLING,), np.uint8).base is not None


def test_middling_and_large_arrays_have_arenas_of_their_own():
    middling, large = empty((LARGE - 1,), np.uint8), empty((LARGE,), np.uint8)
    assert middling.base.arena is not large.base.arena


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [MIDDLING, LARGE])
def test_release_of_the_common_arenas(size):
    array = empty((size,), np.uint8)
    arena = array.base.arena
    _, start, stop = array.base.place
    before = arena.lent
    del array
    memory.release()
    assert start + size <= stop
    assert arena.lent == before - (stop - start)


@pytest.mark.parametrize("size", [MIDDLING, LARGE, LARGE + 100])
def test_arrays_of_the_common_arenas_begin_at_different_places_of_their_pages(size):
    arrays = [empty((size,), np.uint8) for _ in range(8)]
    by_chunk = {}
    for array in arrays:
        chunk, start, _ = array.base.place
        by_chunk.setdefault(id(chunk), []).append(start % PAGE)
    for begins in by_chunk.values():
        assert len(set(begins)) == len(begins)
        assert all(begin % CACHE_LINE == 0 for begin in begins)


# --- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["contiguous", "transposed", "channels last", "reversed"])
@pytest.mark.parametrize("rows", [4, 400])
def test_empty_like_keeps_the_order_in_memory(order, rows):
    array = in_memory(normal(rows, 3, 8, 40), order)
    new = memory.empty_like(array)
    assert (new.shape, new.dtype) == (array.shape, array.dtype)
    assert new.strides == np.empty_like(array).strides


# --- owners ---------------------------------------------------------------------------------------


def test_arrays_of_the_arena_have_owners_of_their_own(arena):
    a, b = new(arena), new(arena)
    assert memory.owner_of(a) is not memory.owner_of(b)


@pytest.mark.parametrize("view", [lambda a: a[1:], lambda a: a.T[3], lambda a: a.base[8:]])
def test_views_have_the_owner_of_what_they_view(arena, view):
    array = new(arena)
    assert memory.owner_of(view(array)) is memory.owner_of(array) is array.base


def test_the_owner_of_no_array_and_of_foreign_memory():
    content = bytes(8)
    assert memory.owner_of(None) is None
    assert memory.owner_of(np.frombuffer(content, np.uint8)[2:]) is content
