"""What is noted of a computation, and whether it can be done again."""

import threading

import numpy as np
import pytest

from minicnn.kernels import capture, memory
from minicnn.kernels.capture import Capture, EndOfRehearsal

FLOAT = np.dtype(np.float32)


def test_calls_are_noted_and_made_again():
    x, y = np.arange(3.0), np.empty(3)
    notes = Capture()
    with notes.in_force():
        capture.do(np.multiply, x, 2, y)
    x[...] = 5
    notes.replay()
    np.testing.assert_array_equal(y, [10, 10, 10])


def test_nothing_is_noted_outside():
    notes = Capture()
    with notes.in_force():
        pass
    capture.do(np.add, 1, 2)
    assert notes.notes == []


def test_other_threads_note_nothing():
    notes = Capture()
    with notes.in_force():
        thread = threading.Thread(target=capture.do, args=(np.add, 1, 2))
        thread.start()
        thread.join()
    assert notes.notes == []


def test_one_capture_at_a_time():
    with (
        Capture().in_force(),
        pytest.raises(RuntimeError, match="another one is in force"),
        Capture().in_force(),
    ):
        pass


def test_arrays_of_a_capture_use_the_memory_of_those_that_are_gone():
    notes = Capture()
    places = set()
    with notes.in_force():
        for _ in range(5):
            array = memory.empty((2**18,), FLOAT)
            capture.do(np.ndarray.fill, array, 1)
            places.add(array.__array_interface__["data"][0])
            del array
    assert len(places) == 1


def test_a_note_writes_to_the_place_of_an_array_that_is_gone():
    notes = Capture()
    with notes.in_force():
        array = memory.empty((100,), FLOAT)
        capture.do(np.ndarray.fill, array, 7)
        kept = notes._pool.borrowed(array)
        del array
    kept[...] = 0
    notes.replay()
    assert (kept == 7).all()


def test_zeros_are_written_again():
    notes = Capture()
    with notes.in_force():
        array = capture.zeros((4,), FLOAT)
    array[...] = 3
    notes.replay()
    assert not array.any()


def test_a_contiguous_array_is_not_copied():
    array = np.ones((2, 3))
    assert capture.contiguous(array) is array


def test_the_copy_of_a_transposed_array_is_made_again():
    x = np.zeros((2, 3))
    notes = Capture()
    with notes.in_force():
        copy = capture.contiguous(x.T)
    x[0, 1] = 4
    notes.replay()
    assert copy[1, 0] == 4


def run_step(compute, *held):
    """Carry out one step of a capture; return whether its notes repeat it."""
    notes = Capture()
    with notes.in_force():
        returned, left = notes.step(compute, list(held), lambda result: [result])
    return returned, not left


def test_notes_that_say_all_repeat_a_step():
    x = np.arange(6.0)

    def double():
        y = memory.empty((6,), x.dtype)
        capture.do(np.multiply, x, 2, y)
        return y

    y, repeats = run_step(double, x)
    assert repeats
    np.testing.assert_array_equal(y, 2 * np.arange(6.0))  # as if it had run once
    np.testing.assert_array_equal(x, np.arange(6.0))


def test_a_result_that_nobody_notes_is_noticed():
    x = np.arange(6.0)
    assert not run_step(lambda: x * 2, x)[1]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_a_result_that_nobody_notes_is_noticed_where_other_numbers_give_the_same(dtype):
    loss = np.array(5.0)
    assert not run_step(lambda: np.asarray(np.minimum(loss, 1), dtype), loss)[1]


def test_a_copy_on_the_way_that_nobody_notes_is_noticed():
    x = np.arange(6.0)

    def double():
        y = memory.empty((6,), x.dtype)
        capture.do(np.multiply, x.copy(), 2, y)
        return y

    assert not run_step(double, x)[1]


def test_a_sum_into_memory_that_nobody_clears_is_noticed():
    x = np.arange(6.0)

    def total():
        y = np.zeros(6)
        capture.do(np.add, y, x, y)
        return y

    assert not run_step(total, x)[1]


@pytest.mark.parametrize(
    ("again", "looks"),
    [
        ({"shape": (4, 3)}, 1),
        ({"order": "F"}, 2),
        ({"dtype": "f4"}, 2),
        ({"kind": "halve"}, 2),
        ({"function": np.add}, 2),
    ],
    ids=["another shape", "another order", "another dtype", "another program", "other notes"],
)
def test_one_step_of_each_kind_is_looked_at(again, looks):
    notes, calls = Capture(), []

    def carry_out(shape=(2, 3), order="C", dtype="f8", kind="double", function=np.multiply):
        x = np.ones(shape, dtype, order)

        def compute():
            calls.append(1)
            y = memory.empty_like(x)
            capture.do(function, x, 2, y)
            return y

        _, left = notes.step(compute, [x], lambda result: [result], kind=kind)
        assert not left

    with notes.in_force():
        carry_out()
        before = len(calls)
        carry_out()
        assert len(calls) == before + 1
        carry_out(**again)
    assert len(calls) == before + 1 + looks


def test_a_view_needs_no_notes():
    x = np.arange(6.0)
    view, repeats = run_step(lambda: x.reshape(2, 3), x)
    assert repeats
    assert view.base is x


def test_a_step_that_refuses_is_not_repeated_by_notes():
    x = np.arange(6.0)

    def double():
        capture.refuse("chance")
        y = memory.empty((6,), x.dtype)
        capture.do(np.multiply, x, 2, y)
        return y

    assert not run_step(double, x)[1]


def test_refusing_outside_a_step_is_a_problem():
    notes = Capture()
    with notes.in_force():
        capture.refuse("a number is read")
        capture.refuse("another one")
    assert notes.problem == "a number is read"


def test_a_function_as_a_whole_is_one_note():
    @capture.as_a_whole
    def twice(array, by=1):
        capture.do(np.add, array, by, array)
        capture.do(np.add, array, by, array)

    notes, array = Capture(), np.zeros(2)
    with notes.in_force():
        twice(array, by=3)
    assert len(notes.notes) == 1
    notes.replay()
    np.testing.assert_array_equal(array, [12, 12])


def test_a_function_as_a_whole_goes_through_its_arguments_in_each_replay():
    @capture.as_a_whole
    def count(first, second):
        for array in (*first, *second):
            capture.do(np.add, array, 1, array)

    notes, arrays = Capture(), [np.zeros(1), np.zeros(1)]
    with notes.in_force():
        count(iter(arrays[:1]), second=(array for array in arrays[1:]))
    notes.replay()
    assert arrays == [2, 2]


def test_a_rehearsal_ends_at_the_first_function_as_a_whole():
    calls = []
    function = capture.as_a_whole(lambda: calls.append(1))
    with pytest.raises(EndOfRehearsal), capture.rehearsal(lambda: True):
        function()
    function()
    assert calls == [1]


def test_named_tuples_stay_what_they_are():
    from minicnn.kernels.shapes import Window

    window = Window((1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1))
    notes = Capture()
    notes.note(print, window, [1])
    ((_, (noted, _)),) = notes.notes
    assert noted == window
    assert type(noted) is Window


def test_an_array_of_others_stays_theirs_as_long_as_a_note_has_it():
    size = (memory.LARGE,)
    array = memory.empty(size, np.dtype(np.uint8))
    notes = Capture()
    with notes.in_force():
        capture.do(np.ndarray.fill, array, 1)
    del array
    new = memory.empty(size, np.dtype(np.uint8))
    new.fill(5)
    notes.replay()
    assert (new == 5).all()


class Holder:
    """Has an array, as tensors have."""

    def __init__(self, array):
        self.array = array


def test_the_result_of_a_function_as_a_whole_is_new_in_each_replay():
    numbers = np.ones(3)
    total = capture.as_a_whole(lambda array: Holder(np.asarray(array.sum())))
    notes = Capture()
    with notes.in_force():
        result = total(numbers)
    numbers[...] = 2
    notes.replay()
    assert result.array == 6


def test_a_number_of_a_function_as_a_whole_is_refused():
    notes = Capture()
    with notes.in_force():
        capture.as_a_whole(lambda: 3.0)()
    assert "something else than a tensor" in notes.problem


@pytest.mark.parametrize("transposed", [False, True])
def test_each_is_noted_and_keeps_the_order_in_memory(transposed):
    a = np.arange(6.0).reshape(3, 2).T if transposed else np.arange(6.0).reshape(2, 3)
    b = np.ones_like(a)
    notes = Capture()
    with notes.in_force():
        y = capture.each(np.subtract, a, b)
    assert y.flags.f_contiguous == transposed
    a[...] = 5
    notes.replay()
    assert (y == 4).all()


def test_each_of_arrays_without_axes():
    a = np.array(3.0, np.float32)
    notes = Capture()
    with notes.in_force():
        y = capture.each(np.multiply, a, a)
    a[...] = 4
    notes.replay()
    assert (y.shape, y.dtype, float(y)) == ((), np.float32, 16)


@pytest.mark.parametrize("transposed", [False, True])
def test_reshaped_is_noted_where_it_copies(transposed):
    a = np.zeros((2, 3)).T if transposed else np.zeros((3, 2))
    notes = Capture()
    with notes.in_force():
        y = capture.reshaped(a, (6,))
    assert len(notes.notes) == transposed
    a[...] = np.arange(6).reshape(3, 2)
    notes.replay()
    assert y.tolist() == [0, 1, 2, 3, 4, 5]
