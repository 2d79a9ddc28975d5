"""A captured step is recorded for the shape that comes again."""

import numpy as np
import pytest

from minicnn.captured import capture
from minicnn.recurrence import MOST_SHAPES, PATIENCE, Recurrence
from tests.capturing import NETWORKS, assert_same, batches, run, training

LARGE, SMALL = (np.zeros((8, 3)),), (np.zeros((2, 3)),)


def recorded_for(step):
    """The shape of the inputs that a step is recorded for."""
    (shape, _, _), *_ = step._recurrence._recorded
    return shape


def test_the_last_batch_of_a_tiny_epoch_is_not_recorded():
    data = batches(count=8)
    for i in range(1, 8, 2):  # two batches an epoch
        data[i] = data[i][0][:3], data[i][1][:3]
    usual, step = training(NETWORKS["norms"])
    expected = run(step, data)
    model, step = training(NETWORKS["norms"])
    captured = capture(step)
    assert_same(model, usual, run(captured, data), expected)
    assert recorded_for(captured)[0] == 8


@pytest.mark.parametrize("warm_up", [0, 1, 3])
def test_a_shape_is_recorded_after_as_many_calls_as_the_step_warms_up(warm_up):
    recurrence = Recurrence()
    due = [recurrence.is_due(inputs, warm_up) for inputs in (LARGE, SMALL) * warm_up]
    assert not any(due)
    assert recurrence.is_due(SMALL, warm_up)


def test_a_recording_gives_way_to_a_shape_that_has_come_often_enough():
    data = batches(count=PATIENCE + 6)
    few = [(x[:3], y[:3]) for x, y in batches(count=4)]
    usual, step = training(NETWORKS["norms"])
    expected = run(step, few + data)
    model, step = training(NETWORKS["norms"])
    captured = capture(step)
    found = run(captured, few)
    assert recorded_for(captured)[0] == 3
    found += run(captured, data[:-6])
    assert not captured.is_recorded  # it warms up for the other shape
    found += run(captured, data[-6:])
    assert recorded_for(captured)[0] == 8
    for a, b in zip(found[: len(few) * 2], expected, strict=False):
        np.testing.assert_array_equal(a, b)
    assert_same(model, usual, [], [])


def test_shapes_that_take_turns_do_not_displace_each_other():
    recurrence = Recurrence()
    assert recurrence.is_due(LARGE, 0)
    for _ in range(PATIENCE):
        assert not recurrence.gives_way(SMALL)
        recurrence.note_replay()
    for _ in range(PATIENCE):
        assert not recurrence.gives_way(SMALL[:1] * 2)
        assert not recurrence.gives_way(SMALL)


def test_calls_of_the_recorded_shape_do_not_displace_it():
    recurrence = Recurrence()
    assert recurrence.is_due(LARGE, 0)
    assert not any(recurrence.gives_way(LARGE) for _ in range(2 * PATIENCE))


def test_each_change_asks_for_twice_the_patience():
    recurrence, patience = Recurrence(), []
    for old, new in ((LARGE, SMALL), (SMALL, LARGE), (LARGE, SMALL)):
        assert recurrence.is_due(old, 0)
        patience.append(1)
        while not recurrence.gives_way(new):
            patience[-1] += 1
        recurrence.forget()
    assert patience == [PATIENCE, 2 * PATIENCE, 4 * PATIENCE]


def test_dtype_and_order_in_memory_belong_to_the_shape():
    recurrence, image = Recurrence(), np.zeros((2, 3, 4, 5), np.float32)
    assert not recurrence.is_due([image], 1)
    assert not recurrence.is_due([image.astype(np.float64)], 1)
    assert not recurrence.is_due([np.asfortranarray(image)], 1)
    assert recurrence.is_due([image.copy()], 1)


def test_shapes_that_never_come_again_are_not_all_remembered():
    recurrence = Recurrence()
    for size in range(3 * MOST_SHAPES):
        assert not recurrence.is_due([np.empty(size)], 1)
    assert len(recurrence._calls) <= MOST_SHAPES + 1
