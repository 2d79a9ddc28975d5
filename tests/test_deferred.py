"""Errors that a GPU finds: raised when something is read, once, and the first of them."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, deferred
from minicnn.nn import functional as F
from tests.devices import constant, host, tensors_on
from tests.gpu.strict_cupy import ndarray


@pytest.fixture(autouse=True)
def gpu():
    with tensors_on("cuda"):
        yield


def error(place, number):
    return ValueError(f"{number} at {place}")


def note(place, number, key="a"):
    deferred.raise_later(key, constant(np.array([place, number])).array, error)


def test_what_was_found_is_raised_when_something_is_read():
    note(2, 7)
    with pytest.raises(ValueError, match="7 at 2"):
        constant(1.5).item()
    assert constant(1.5).item() == 1.5  # said once


@pytest.mark.parametrize(
    "read",
    [
        Tensor.item,
        Tensor.tolist,
        Tensor.cpu,
        float,
        bool,
        repr,
        host,
        lambda _: minicnn.cuda.synchronize(),
    ],
)
def test_all_ways_of_reading(read):
    x = constant(1.5)
    note(0, 5)
    with pytest.raises(ValueError, match="5 at 0"):
        read(x)


def test_nothing_found_is_no_error():
    note(-1, 7)
    assert constant(1.5).item() == 1.5


def test_of_many_calls_the_first_find_is_told():
    note(-1, 1)
    note(4, 2)
    note(3, 3)
    with pytest.raises(ValueError, match="2 at 4"):
        constant(0.0).item()


def test_notes_of_other_calls_are_kept():
    note(1, 1, "a")
    note(2, 2, "b")
    for words in ("1 at 1", "2 at 2"):
        with pytest.raises(ValueError, match=words):
            constant(0.0).item()


def test_a_note_is_no_wait():
    found = constant(np.array([3, 3])).array
    ndarray.cupy.traffic.clear()
    for _ in range(3):
        deferred.raise_later("a", found, error)
    assert ndarray.cupy.traffic.syncs == []


def test_many_steps_take_no_more_memory_than_one():
    x, labels = constant(np.zeros((2, 3))), constant(np.array([0, 2]))
    used = []
    for _ in range(4):
        F.cross_entropy(x, labels)
        used.append(minicnn.cuda.memory_allocated())
    assert used[-1] == used[1]


def test_notes_of_a_recorded_step_are_kept():
    with deferred.lasting():
        note(-1, 0)
    assert constant(0.0).item() == 0
    deferred._notes["a"].found[...] = 6  # as a replayed step would
    with pytest.raises(ValueError, match="6 at 6"):
        constant(0.0).item()


def test_other_notes_are_dropped_when_they_have_been_looked_at():
    note(-1, 0)
    constant(0.0).item()
    assert deferred._notes == {}


def test_an_index_that_is_no_row():
    y = F.embedding(constant([[0, 9]]), constant(np.zeros((3, 2))))
    with pytest.raises(ValueError, match=r"embedding: .* got 9 at index\[0, 1\]"):
        y.sum().item()


def test_the_error_comes_before_a_number_that_means_nothing():
    loss = F.cross_entropy(constant(np.zeros((2, 3))), constant(np.array([0, -1])))
    loss = loss * 2
    with pytest.raises(ValueError, match=r"label -1 at target\[1\]"):
        print(loss)
