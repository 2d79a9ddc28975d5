"""Workers on threads: which parts run, with which arguments."""

import threading

import numpy as np
import pytest

pytest.importorskip("numba")
import numba

from minicnn.kernels.cpu.compiled import on_threads


@on_threads
def count_calls(part, parts, calls):
    calls[part, 0] += 1
    calls[part, 1] = parts


@on_threads
def take_all_kinds(part, parts, x, number, whole, yes, several, result):
    (factor, more), _ = several
    if yes:
        result[part] = x[part] * number + whole + factor + more[part]


@on_threads
def sum_up(part, parts, x, sums):
    for i in range(part, len(x), parts):
        sums[part] += x[i]


@pytest.mark.parametrize("parts", [0, 1, 2, 3, 100])
def test_each_part_runs_once(parts):
    calls = np.zeros((101, 2), np.int64)
    count_calls(parts, calls)
    assert (calls[:parts] == (1, parts)).all()
    assert not calls[parts:].any()


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arguments_of_every_kind(parts, dtype):
    x, more, result = np.arange(3, dtype=dtype), np.array([10, 20, 30]), np.zeros(3, dtype)
    take_all_kinds(parts, x, dtype(0.5), 7, True, ((1.5, more), 0), result)
    np.testing.assert_array_equal(result[:parts], (x * 0.5 + 7 + 1.5 + more)[:parts])


def test_as_many_threads_as_numba_has():
    x = np.arange(100_000, dtype=np.float64)
    for parts in (1, numba.get_num_threads()):
        sums = np.zeros(parts)
        sum_up(parts, x, sums)
        assert sums.sum() == x.sum()


def test_several_programs_at_once():
    """Threads of a program may call the same loop with arguments of their own."""
    results = {}

    def work(number):
        sums = np.zeros(2)
        for _ in range(50):
            sums[:] = 0
            sum_up(2, np.full(1000, float(number)), sums)
        results[number] = sums.sum()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: 1000.0 * number for number in range(4)}


@on_threads
def fail_in_one_part(part, parts, number, done):
    done[part] = 1
    if part == number:
        raise ValueError("what a worker raises is lost on its way between threads")


@pytest.mark.parametrize("parts", [1, 3])
def test_a_worker_that_fails_is_noticed(parts):
    done = np.zeros(3)
    with pytest.raises(RuntimeError, match="fail_in_one_part: a compiled loop stopped"):
        fail_in_one_part(parts, parts - 1, done)
    assert done[parts - 1] == 1
    done[:] = 0
    fail_in_one_part(parts, 9, done)
    assert done.sum() == parts


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError):
        count_calls(2)
