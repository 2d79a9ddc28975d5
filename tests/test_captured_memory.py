"""What a recording keeps in memory, and what it gives back."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn
from minicnn.captured import capture
from minicnn.kernels import memory
from tests.capturing import NETWORKS, batches, run, training


def test_gradients_outlive_the_recording_and_keep_nothing_of_it():
    model, step = training(NETWORKS["residual"])
    captured = capture(step)
    run(captured, batches())
    before = [p.grad.array.copy() for p in model.parameters()]
    pool = captured._replay._step._pool
    captured.release()
    assert not captured.is_recorded
    for parameter, grad in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.grad.array, grad)
    assert pool.lent == 0
    run(captured, batches())  # and it is recorded again
    assert captured.is_recorded


def test_a_recording_takes_no_more_memory_in_later_steps():
    _, step = training(NETWORKS["sigmoids and winograd"])
    captured = capture(step)
    run(captured, batches())
    pool = captured._replay._step._pool
    before = [arena.reserved for arena in pool._arenas]
    run(captured, batches())
    assert [arena.reserved for arena in pool._arenas] == before


@pytest.mark.parametrize("keep_at", [2, 3])
def test_what_a_step_keeps_now_and_then_is_not_overwritten(keep_at):
    minicnn.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 16), nn.Tanh())
    kept, calls = [], []

    def step(images, labels):
        calls.append(1)
        hidden = model(images)
        if len(calls) == keep_at + 1:  # when it is tried, or later, if it ever runs again
            kept.append(hidden.detach())
        return (hidden * hidden).sum(), hidden

    captured = capture(step)
    data = batches()
    if keep_at == 2:
        with pytest.warns(RuntimeWarning, match="a tensor that it makes is kept outside of it"):
            run(captured, data)
        expected = model(Tensor(data[2][0])).array
        np.testing.assert_array_equal(kept[0].array, expected)
    else:
        run(captured, data)
    assert captured.is_recorded == (keep_at == 3)


def test_trying_a_recording_takes_no_memory_beside_its_own():
    _, step = training(NETWORKS["sigmoids and winograd"])
    captured = capture(step)
    data = batches(shape=(64, 1, 24, 24))
    run(captured, data[:2])
    recording = captured._replay._step._pool._large.reserved
    memory.release()
    before = memory._common._large.reserved
    run(captured, data[2:3])
    assert recording > 0
    assert captured._replay._step._pool._large.reserved == recording
    assert memory._common._large.reserved == before
