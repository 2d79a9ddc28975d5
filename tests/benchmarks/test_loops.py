import numpy as np
import pytest

pytest.importorskip("numba")
from loops import calls_of, is_loop

import minicnn
from minicnn import nn, optim
from minicnn.nn import functional as F
from tests.checks import normal


@pytest.fixture
def x():
    return minicnn.Tensor(normal(2, 4, 4, 4, dtype="float32"))


def test_calls_are_made_again_and_without_loops_change_nothing(x):
    kept = []
    calls = calls_of(lambda: kept.append(F.relu(x)))
    result, expected = kept[-1].array, np.maximum(x.array, 0)
    result.fill(7)
    calls.emptied().replay()
    assert (result == 7).all()
    calls.replay()
    np.testing.assert_array_equal(result, expected)


def test_every_loop_has_an_empty_one_with_the_same_number_of_parts(x):
    layer = nn.Conv2d(4, 4, 3, padding=1)
    calls = calls_of(lambda: layer(x).sum().backward())
    loops = [(function, args) for function, args in calls.notes if is_loop(function)]
    assert len(loops) > 1
    emptied = calls.emptied().notes
    assert len(emptied) == len(calls.notes)
    for (function, args), (other, others) in zip(calls.notes, emptied, strict=True):
        if is_loop(function):
            assert "nothing" in other.__name__
            assert args[0] == others[0]
        else:
            assert other is function


def test_the_loops_of_an_optimizer_are_found(x):
    layer = nn.Linear(4, 4)
    optimizer = optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        layer(x).sum().backward()
        optimizer.step()

    calls = calls_of(step)
    weight = layer.weight.array.copy()
    calls.replay()
    assert (layer.weight.array != weight).all()


def test_functions_of_numpy_are_no_loops():
    assert not is_loop(np.copyto)
