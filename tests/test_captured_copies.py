"""Copies of captured steps, and of what holds one, are steps without a recording."""

import copy
import pickle

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.captured import capture

X = np.ones((2, 3), np.float32)


@capture
def decorated(x):
    return x * 2


def tripled(x):
    return x * 3


class Own(nn.Module):
    """A module with a captured method, and its own inference."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.step = capture(self.step)
        self.infer = capture(self)

    def forward(self, x):
        return self.linear(x)

    def step(self, x):
        return self.linear(x) * 2


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


COPIERS = [copy.deepcopy, through_pickle]


def recorded(step):
    """A step with a recording."""
    for number in range(4):
        step(X * number)
    assert step.is_recorded
    return step


@pytest.mark.parametrize("copier", [*COPIERS, copy.copy])
def test_a_copy_has_no_recording_and_makes_its_own(copier):
    step = recorded(capture(tripled, warm_up=2))
    twin = copier(step)
    assert (twin.is_recorded, twin.__name__) == (False, "tripled")
    assert twin(X).tolist() == [[3, 3, 3]] * 2
    assert not twin.is_recorded
    assert recorded(twin)._replay is not step._replay


@pytest.mark.parametrize("copier", COPIERS)
def test_the_copy_of_a_captured_model_has_a_model_of_its_own(copier):
    model = nn.Linear(3, 2)
    step = recorded(capture(model))
    twin = copier(step)
    expected = step(X).tolist()
    with minicnn.no_grad():
        model.weight *= 2
    assert twin(X).tolist() == expected
    assert step(X).tolist() != expected


@pytest.mark.parametrize("copier", COPIERS)
def test_captured_methods_belong_to_the_copy_of_their_object(copier):
    model = Own()
    for step in (model.step, model.infer):
        recorded(step)
    twin = copier(model)
    expected = model(minicnn.tensor(X)).tolist()
    with minicnn.no_grad():
        for parameter in model.parameters():
            parameter *= 2
    assert twin.infer(X).tolist() == expected
    assert twin.step(X).tolist() == (2 * np.array(expected)).tolist()
    assert not twin.step.is_recorded


@pytest.mark.parametrize("copier", COPIERS)
def test_an_object_that_is_copied_through_its_step_holds_the_copy(copier):
    twin = copier(recorded(Own().step))
    owner = twin._step.__self__
    assert owner.step is twin
    assert twin(X).tolist() == (2 * owner.infer(X)).tolist()


def test_a_decorated_function_is_pickled_by_its_name():
    assert through_pickle(recorded(decorated)) is decorated


def test_a_function_inside_another_cannot_be_pickled():
    step = capture(lambda x: x * 2)
    with pytest.raises(TypeError, match=r"<lambda> cannot be pickled.*capture the model itself"):
        pickle.dumps(step)
    assert copy.deepcopy(step)(X).tolist() == [[2, 2, 2]] * 2
