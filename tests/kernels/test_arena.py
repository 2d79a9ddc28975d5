"""The arena: the places of arrays come back, and only when nobody can see them any more."""

import gc
import itertools
import mmap
import os
import sys
import threading

import numpy as np
import pytest

from minicnn.kernels.arena import CHUNK, Arena
from minicnn.kernels.memory import LARGE, MIDDLING, SMALL_CHUNK

FLOAT32 = np.dtype(np.float32)
ROWS = LARGE // 4096  # of 1024 float32


@pytest.fixture
def arena():
    return Arena()


def new(arena, rows=ROWS):
    return arena.empty((rows, 1024), FLOAT32)


def address(array):
    return array.__array_interface__["data"][0]


def size(rows):
    return rows * 4096


def holes(arena):
    """The sizes of the holes, the chunk's unused end left out, in order of address."""
    assert arena.lent >= 0  # enters what came back
    (chunk,) = arena.chunks
    return [stop - start for start, stop in chunk.holes if stop < chunk.size]


# --- the arrays -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [LARGE // 4 + 1, 3 * LARGE + 5])
def test_arrays_begin_with_a_cache_line(arena, count):
    arrays = [arena.empty((count,), FLOAT32) for _ in range(3)]
    assert [address(array) % 64 for array in arrays] == [0, 0, 0]


# --- reuse ----------------------------------------------------------------------------------------


def test_memory_is_used_again(arena):
    first = address(new(arena))
    assert address(new(arena)) == first


def test_the_smallest_hole_is_taken(arena):
    large, kept, small, kept_too = new(arena, 900), new(arena), new(arena, 500), new(arena)
    expected = address(small)
    del large, small
    taken = new(arena, 400)
    assert address(taken) == expected
    assert holes(arena) == [size(900), size(100)]
    del taken, kept, kept_too


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_neighbouring_holes_are_joined(arena, order):
    arrays = [new(arena, 100 + i) for i in range(3)]
    kept = new(arena)
    for i in order:
        arrays[i] = None
    assert holes(arena) == [size(303)]
    assert not np.shares_memory(new(arena, 303), kept)


def test_a_step_that_frees_backwards_leaves_no_holes(arena):
    for rows in ([300, 700, 500], [600, 200, 650], [1500]):  # three steps of different networks
        step = [new(arena, n) for n in rows]
        while step:
            step.pop()
        assert holes(arena) == []
        assert arena.reserved == CHUNK


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[1:],
        lambda a: a.T,
        lambda a: a.reshape(-1)[::2],
        lambda a: a.view(np.int32)[0, :1],
        lambda a: np.asarray(a.data),
        lambda a: np.broadcast_to(a[0], (3, 1024)),
        lambda a: a.base,
        lambda a: a.base[5:],
    ],
)
def test_a_place_is_kept_while_a_view_of_it_lives(arena, view):
    array = new(arena)
    kept = view(array)
    del array
    other = new(arena)
    assert not np.shares_memory(kept, other)
    assert arena.lent == 2 * size(ROWS)
    del kept
    assert arena.lent == size(ROWS)
    assert holes(arena) == [size(ROWS)]


def test_random_loans_never_overlap(arena):
    random = np.random.default_rng(0)
    alive = {}
    for step in range(2000):
        if alive and random.random() < 0.5:
            key = random.choice(list(alive))
            array = alive.pop(key)
            assert (array == key).all()
            del array
        else:
            array = new(arena, random.integers(1, 20))
            array[...] = step
            alive[step] = array[random.integers(0, len(array)) :]  # a view is enough to keep it
            del array
    assert all((array == step).all() for step, array in alive.items())
    alive.clear()
    assert arena.lent == 0


def test_arrays_in_a_cycle_come_back_with_the_garbage(arena):
    cycle = [new(arena)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert arena.lent == 0


# --- bounds ---------------------------------------------------------------------------------------


def test_an_array_larger_than_a_chunk_gets_its_own(arena):
    held = [new(arena), arena.empty((CHUNK + 1,), np.dtype(np.uint8))]
    assert held[1].nbytes == CHUNK + 1
    assert arena.reserved >= 2 * CHUNK
    assert not np.shares_memory(*held)


def test_an_arena_may_ask_for_smaller_chunks():
    arena = Arena(SMALL_CHUNK)
    array = arena.empty((MIDDLING,), np.dtype(np.uint8))
    assert arena.reserved == SMALL_CHUNK
    del array


def test_chunks_double_what_is_reserved(arena):
    quarter = [arena.empty((CHUNK // 4,), np.dtype(np.uint8)) for _ in range(17)]
    assert [chunk.size // CHUNK for chunk in arena.chunks] == [1, 1, 2, 4]
    del quarter


def test_holes_of_the_first_chunk_are_used_before_what_was_never_written_to(arena):
    first = arena.empty((arena._chunk - LARGE,), np.dtype(np.uint8))
    second = arena.empty((LARGE,), np.dtype(np.uint8))  # fills the first chunk
    third = arena.empty((arena._chunk // 2,), np.dtype(np.uint8))  # begins another one
    expected = address(first)
    del first
    again = arena.empty(
        (LARGE,), np.dtype(np.uint8)
    )  # would fit into the smaller rest of the second, too
    assert address(again) == expected
    assert arena.reserved == 2 * arena._chunk
    del second, third


def test_chunks_that_are_too_small_do_not_stay(arena):
    for size in (CHUNK // 2, 2 * CHUNK, 5 * CHUNK):  # one after the other
        array = arena.empty((size,), np.dtype(np.uint8))
        del array
    assert len(arena.chunks) == 1
    assert arena.reserved == 5 * CHUNK


def test_where_no_chunk_can_be_had_a_smaller_one_will_do(arena, monkeypatch):
    get = mmap.mmap

    def scarce(file, count, **private):
        if count > 2 * LARGE:
            raise OSError("Cannot allocate memory")
        return get(file, count, **private)

    monkeypatch.setattr(mmap, "mmap", scarce)
    assert new(arena).shape == (ROWS, 1024)
    assert arena.reserved == size(ROWS)
    with pytest.raises(MemoryError, match="the system has no 3,"):
        arena.empty((3 * LARGE,), np.dtype(np.uint8))


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems take pages back when they need them"
)
def test_release_gives_free_pages_of_used_chunks_back():
    arena = Arena()
    first, freed, last = new(arena), arena.empty((2**24,), np.dtype(np.uint8)), new(arena)
    first[...], freed[...], last[...] = 1, 2, 3
    del freed
    chunk = arena.chunks[0]
    assert (np.asarray(chunk) == 2).sum() >= 2**24
    arena.release()
    assert not (np.asarray(chunk) == 2).any()  # new pages are zeros
    assert (first == 1).all()
    assert (last == 3).all()
    again = arena.empty((2**24,), np.dtype(np.uint8))
    again[...] = 4
    assert (first == 1).all()
    assert (last == 3).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_has_memory_of_its_own(arena):
    array = new(arena)
    array[...] = 1
    child = os.fork()
    if child == 0:
        array[...] = 2
        os._exit(0)
    os.waitpid(child, 0)
    assert (array == 1).all()


def test_release_gives_unused_chunks_back(arena):
    kept, freed = new(arena), arena.empty((CHUNK,), np.dtype(np.uint8))
    del freed
    arena.release()
    assert (arena.reserved, arena.lent) == (CHUNK, size(ROWS))
    del kept
    arena.release()
    assert (arena.reserved, arena.lent) == (0, 0)


def test_no_memory_leaves_the_books_right(arena):
    with pytest.raises(MemoryError):
        arena.empty((2**60,), np.dtype(np.uint8))
    assert arena.lent == 0
    assert new(arena).shape == (ROWS, 1024)


def test_a_place_that_was_handed_back_is_lent_again(arena):
    first, array, last = new(arena), new(arena), new(arena)
    array[...] = 7
    place = array.base.place
    del array
    again = arena.lend_again(place)
    assert (again.view(np.float32) == 7).all()
    assert arena.lent == 3 * size(ROWS)
    del again
    assert arena.lent == 2 * size(ROWS)
    del first, last
    assert arena.lent == 0


def test_a_place_in_use_is_not_lent_again(arena):
    array = new(arena)
    place = array.base.place
    with pytest.raises(LookupError, match="lent to somebody else"):
        arena.lend_again(place)
    del array
    part = new(arena, ROWS // 2)
    with pytest.raises(LookupError, match="lent to somebody else"):
        arena.lend_again(place)
    assert arena.lent == size(ROWS // 2)
    del part
    assert arena.lend_again(place).nbytes == size(ROWS)


def test_a_place_of_a_chunk_that_was_given_up_is_lent_again(arena):
    array = new(arena)
    place = array.base.place
    del array
    arena.release()
    assert arena.reserved == 0
    again = arena.lend_again(place)
    assert (arena.reserved, arena.lent) == (CHUNK, size(ROWS))
    del again
    assert arena.lent == 0


# --- threads --------------------------------------------------------------------------------------


def test_many_threads_share_an_arena(arena):
    spoilt = []

    def work(number):
        for _ in range(300):
            array = new(arena, 1 + number % 2)
            array[...] = number
            spoilt.extend(array[array != number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not spoilt
    arena.release()  # enters what came back while another thread was at the books
    assert (arena.lent, arena.reserved) == (0, 0)


def test_a_place_may_return_amid_another_call(arena):
    array = new(arena)
    with arena._lock:  # as if the garbage collector ran inside `empty`
        del array
    assert arena.lent == 0


def test_a_shape_that_is_none_leaves_the_books_as_they_are(arena):
    with pytest.raises(TypeError):
        arena.empty((ROWS + 0.0, 1024), np.dtype(np.float32))
    assert arena.lent == 0
    assert new(arena).shape == (ROWS, 1024)


def test_a_lock_that_was_held_during_a_fork_is_new_in_the_child(arena):
    with arena._lock:
        arena.after_fork()
        assert new(arena).shape == (ROWS, 1024)
