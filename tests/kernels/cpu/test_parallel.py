"""Workers on threads: which parts run, with which arguments."""

import threading

import numpy as np
import pytest

pytest.importorskip("numba")
import numba

from minicnn.kernels.capture import Capture
from minicnn.kernels.cpu import compiled
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


# --- launches that a capture has noted ------------------------------------------------------------


@on_threads
def append(part, parts, number, found):
    found[found[0]] = number
    found[0] += 1


def noted(launches):
    """A capture of some calls."""
    notes = Capture()
    with notes.in_force():
        launches()
    return notes


@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_noted_launches_are_made_again_in_their_order(count):
    found = np.ones(42, np.int64)
    notes = noted(lambda: [append(1, number, found) for number in range(count)])
    for _ in range(2):
        found[:] = 1
        notes.replay()
        assert found.tolist() == [count + 1, *range(count), *[1] * (41 - count)]


def test_noted_launches_of_several_types_take_the_machine_code_of_each():
    arrays = [np.ones(3, dtype) for dtype in (np.float32, np.float64)]
    sums = [np.zeros(1, array.dtype) for array in arrays]
    notes = noted(lambda: [sum_up(1, *pair) for pair in zip(arrays, sums, strict=True)])
    notes.replay()
    assert [total[0] for total in sums] == [6, 6]


def test_the_noted_launch_of_a_worker_that_fails_is_noticed_and_ends_the_replay():
    numbers, done, calls = np.full(1, 9), np.zeros(1), np.zeros((1, 2), np.int64)

    def launches():
        fail_where_told(1, numbers, done)
        count_calls(1, calls)

    notes = noted(launches)
    numbers[:] = 0
    with pytest.raises(RuntimeError, match="fail_where_told: a compiled loop stopped"):
        notes.replay()
    assert calls[0, 0] == 1  # when it was noted
    numbers[:] = 9
    notes.replay()  # no lock is left behind
    assert calls[0, 0] == 2


@on_threads
def fail_where_told(part, parts, number, done):
    done[part] = 1
    if part == number[0]:
        raise ValueError("what a worker raises is lost on its way between threads")


def test_an_array_that_has_become_read_only_gets_other_machine_code():
    x, sums, calls = np.ones(4), np.zeros(1), np.zeros((1, 2), np.int64)

    def launches():
        count_calls(1, calls)
        sum_up(1, x, sums)
        count_calls(1, calls)

    notes = noted(launches)
    x.flags.writeable = False
    notes.replay()
    assert (sums[0], calls[0, 0]) == (8, 4)


def test_noted_launches_are_refused_where_a_fork_has_lost_the_threads(monkeypatch):
    calls = np.zeros((1, 2), np.int64)
    notes = noted(lambda: count_calls(1, calls))
    monkeypatch.setattr(compiled._threads, "lost_in_fork", True)
    with pytest.raises(RuntimeError, match="count_calls: this process was made by"):
        notes.replay()
    assert calls[0, 0] == 1


def test_replays_in_several_threads_take_turns():
    totals = [np.zeros(2) for _ in range(3)]
    x = np.arange(1000.0)
    captures = [noted(lambda own=own: [sum_up(2, x, own) for _ in range(20)]) for own in totals]
    threads = [
        threading.Thread(target=lambda one=one: [one.replay() for _ in range(30)])
        for one in captures
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [own.sum() for own in totals] == [31 * 20 * x.sum()] * 3
