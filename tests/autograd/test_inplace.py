"""In-place changes: what they write, and that the tape hears of them or refuses them."""

import numpy as np
import pytest

from minicnn import Tensor, no_grad
from tests.checks import leaf, normal


def add(x):
    x += 1


def subtract(x):
    x -= 1


def multiply(x):
    x *= 2


def divide(x):
    x /= 2


IN_PLACE = [(add, [2, 3]), (subtract, [0, 1]), (multiply, [2, 4]), (divide, [0.5, 1])]


@pytest.mark.parametrize(("update", "expected"), IN_PLACE)
def test_in_place_operators_write_to_the_array(update, expected):
    x = Tensor(np.array([1.0, 2.0]))
    array = x.array
    update(x)
    assert x.array is array
    assert array.tolist() == expected


@pytest.mark.parametrize(("update", "expected"), IN_PLACE)
def test_in_place_operators_on_a_parameter_under_no_grad(update, expected):
    x = leaf(np.array([1.0, 2.0]))
    array = x.array
    with no_grad():
        update(x)
    assert array.tolist() == expected
    assert x.requires_grad


@pytest.mark.parametrize(("update", "_"), IN_PLACE)
def test_in_place_operators_refuse_a_leaf_on_the_tape(update, _):
    with pytest.raises(RuntimeError, match=r"requires a gradient cannot be changed.*no_grad\(\)"):
        update(leaf(normal(2)))


def test_an_in_place_operator_gives_a_result_on_the_tape_a_new_value():
    x = leaf(np.array([1.0, 2.0]))
    y = x * x
    before = y
    y += 1
    y *= 2
    assert y is not before
    assert before.tolist() == [1, 4]
    y.sum().backward()
    assert x.grad.tolist() == [4, 8]


def test_adding_a_parameter_to_plain_data_makes_a_new_value():
    w, total = leaf(normal(2)), Tensor(np.zeros(2))
    array = total.array
    total += w
    assert total.requires_grad
    assert array.tolist() == [0, 0]


def test_in_place_operators_keep_the_dtype():
    x = Tensor([1.0, 2.0])
    x *= np.float64(2)
    x += np.array(1.0)
    assert x.dtype == np.float32
    with pytest.raises(TypeError, match="in-place operator: mixed dtypes"):
        x += normal(2)


def test_integers_cannot_hold_a_fraction():
    x = Tensor([1, 2])
    with pytest.raises(TypeError, match="Cannot cast"):
        x += 0.5


def test_assignment():
    x = Tensor(np.zeros((2, 3)))
    x[0] = 1
    x[1, Tensor([0, 2])] = Tensor(np.array([2.0, 3.0]))
    x[x == 0] = 9
    assert x.tolist() == [[1, 1, 1], [2, 9, 3]]


def test_assignment_is_refused_on_the_tape():
    x, y = leaf(normal(2)), Tensor(normal(2))
    with pytest.raises(RuntimeError, match=r"no gradient flows through an assignment"):
        x[0] = 1
    with pytest.raises(RuntimeError, match=r"no gradient flows through an assignment"):
        y[0] = x[1]


def test_updating_a_part_under_no_grad():
    x = leaf(np.array([1.0, 2.0]))
    with no_grad():
        x[0] += 5
    assert x.tolist() == [6, 2]


def test_methods_that_write():
    x = Tensor(np.ones(3))
    assert x.add_(2).tolist() == [3, 3, 3]
    assert x.add_(1, alpha=-2).tolist() == [1, 1, 1]
    assert x.mul_(4).tolist() == [4, 4, 4]
    assert x.sub_(1).tolist() == [3, 3, 3]
    assert x.sub_(1, alpha=-3).tolist() == [6, 6, 6]
    assert x.div_(2).tolist() == [3, 3, 3]
    assert x.fill_(5).tolist() == [5, 5, 5]
    assert x.copy_(Tensor([1, 2, 3])).tolist() == [1, 2, 3]
    assert x.zero_().tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "write",
    [
        Tensor.zero_,
        lambda x: x.fill_(1),
        lambda x: x.copy_(x),
        lambda x: x.add_(1),
        lambda x: x.sub_(1),
        lambda x: x.mul_(2),
        lambda x: x.div_(2),
    ],
)
def test_methods_that_write_refuse_the_tape(write):
    for x in (leaf(normal(2)), leaf(normal(2)) * 2):
        with pytest.raises(RuntimeError, match="cannot be changed in place"):
            write(x)
