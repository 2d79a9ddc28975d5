"""The pool of memory: blocks come back, and only when nobody can see them any more."""

import gc
import threading

import numpy as np
import pytest

from minicnn.kernels import memory
from minicnn.kernels.memory import LARGE, Pool, empty

FLOAT32 = np.dtype(np.float32)
ROWS = LARGE // 4096  # of 1024 float32


@pytest.fixture
def pool():
    return Pool()


def new(pool, rows=ROWS):
    return pool.empty((rows, 1024), FLOAT32)


def address(array):
    return array.__array_interface__["data"][0]


def size(rows):
    return rows * 4096


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


def test_small_arrays_do_not_come_from_the_pool():
    assert empty((LARGE - 1,), np.uint8).base is None
    assert empty((LARGE,), np.uint8).base is not None


@pytest.mark.parametrize("rows", [ROWS, ROWS + 1, 7 * ROWS])
def test_blocks_begin_with_a_cache_line(pool, rows):
    assert address(new(pool, rows)) % 64 == 0


# --- reuse ----------------------------------------------------------------------------------------


def test_memory_is_used_again(pool):
    first = address(new(pool))
    assert address(new(pool)) == first


def test_nearly_the_same_size_shares_a_block(pool):
    first = address(new(pool, 1000))
    assert address(new(pool, 990)) == first


def test_the_block_used_last_is_taken_first(pool):
    a, b = new(pool), new(pool)
    expected = address(a)
    del b, a
    assert address(new(pool)) == expected


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
def test_a_block_is_kept_while_a_view_of_it_lives(pool, view):
    array = new(pool)
    kept = view(array)
    del array
    other = new(pool)
    assert not np.shares_memory(kept, other)
    assert pool.lent == 2 * size(ROWS)
    del kept
    assert pool.lent == size(ROWS)
    assert pool.free == size(ROWS)


def test_random_loans_never_overlap(pool):
    random = np.random.default_rng(0)
    alive = {}
    for step in range(2000):
        if alive and random.random() < 0.5:
            key = random.choice(list(alive))
            array = alive.pop(key)
            assert (array == key).all()
            del array
        else:
            array = new(pool, random.integers(1, 20))
            array[...] = step
            alive[step] = array[random.integers(0, len(array)) :]  # a view is enough to keep it
            del array
    assert all((array == step).all() for step, array in alive.items())
    alive.clear()
    assert pool.lent == 0


def test_arrays_in_a_cycle_come_back_with_the_garbage(pool):
    cycle = [new(pool)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert pool.lent == 0


# --- bounds ---------------------------------------------------------------------------------------


def test_free_and_lent_stay_below_the_peak_of_what_was_lent(pool):
    several = [new(pool, 100) for _ in range(4)]
    del several
    for rows in (50, 200, 300, 100, 400):
        held = new(pool, rows)
        assert pool.lent + pool.free <= pool.peak
        del held
    assert pool.peak < 1.13 * size(400)


def test_the_block_that_waited_longest_is_given_up(pool):
    a, b = new(pool, 100), new(pool, 200)
    newest = address(b)
    del a
    del b
    held = new(pool, 90)  # in the place of the first, not of the second
    assert address(new(pool, 200)) == newest
    del held


def test_release_gives_everything_back(pool):
    kept, freed = new(pool), new(pool)
    del freed
    pool.release()
    assert (pool.free, pool.lent, pool.peak) == (0, size(ROWS), size(ROWS))
    del kept


def test_release_of_the_common_pool():
    empty((LARGE,), np.uint8)
    memory.release()
    assert memory._pool.free == 0


def test_no_memory_leaves_the_books_right(pool):
    with pytest.raises(MemoryError):
        pool.empty((2**60,), np.dtype(np.uint8))
    assert pool.lent == 0
    assert new(pool).shape == (ROWS, 1024)


# --- threads --------------------------------------------------------------------------------------


def test_many_threads_share_a_pool(pool):
    spoilt = []

    def work(number):
        for _ in range(300):
            array = new(pool, 1 + number % 2)
            array[...] = number
            spoilt.extend(array[array != number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not spoilt
    pool.release()  # enters what came back while another thread was at the books
    assert (pool.lent, pool.free) == (0, 0)


def test_a_block_may_return_amid_another_call(pool):
    array = new(pool)
    with pool._lock:  # as if the garbage collector ran inside `empty`
        del array
    assert pool.lent == size(ROWS)
    pool.release()
    assert pool.lent == 0
