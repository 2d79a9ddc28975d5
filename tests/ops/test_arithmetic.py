"""Arithmetic between two arrays: values, gradients, broadcasting, and the contract of each Function."""

import numpy as np
import pytest
from hypothesis import given

from minicnn.autograd import Tensor
from minicnn.gradcheck import gradcheck
from minicnn.ops import arithmetic as ops
from tests.checks import (
    assert_close,
    broadcasting_arrays,
    check,
    check_contract,
    leaf,
    normal,
    positive,
)
from tests.devices import constant, on_every_device

A, B = normal(2, 3, seed=1), normal(2, 3, seed=2)
CONDITION = A > B

FUNCTIONS = [
    ops.Add,
    ops.Sub,
    ops.Mul,
    ops.Div,
    ops.Maximum,
    ops.Minimum,
]


@on_every_device
@pytest.mark.parametrize("function", FUNCTIONS)
def test_contract(function):
    check_contract(function, A, 3 + B)


@on_every_device
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 3)), ((0, 3), (1, 3))]
)
def test_contract_of_broadcasting(function, a, b):
    check_contract(function, normal(*a), 3 + normal(*b))


@on_every_device
def test_contract_of_pow():
    check_contract(ops.Pow, positive(2, 3), positive(3, seed=1))


@on_every_device
def test_contract_of_where():
    check_contract(ops.Where, CONDITION, A, normal(3))


@on_every_device
def test_add():
    check(lambda a, b: a + b, A, B, oracle=np.add)


@on_every_device
def test_sub():
    check(lambda a, b: a - b, A, B, oracle=np.subtract)


@on_every_device
def test_mul():
    check(lambda a, b: a * b, A, B, oracle=np.multiply)


@on_every_device
def test_div():
    check(lambda a, b: a / b, A, positive(2, 3), oracle=np.divide)


@on_every_device
def test_pow():
    check(lambda a, b: a**b, positive(2, 3), B, oracle=np.power)


@on_every_device
def test_pow_of_a_negative_base_to_an_integer():
    check(lambda a: a**3, A, oracle=lambda a: a * a * a)


@on_every_device
def test_maximum():
    check(lambda a, b: a.maximum(b), A, B, oracle=np.maximum)


@on_every_device
def test_minimum():
    check(lambda a, b: a.minimum(b), A, B, oracle=np.minimum)


@on_every_device
def test_where():
    check(
        lambda a, b: a.where(constant(CONDITION), b),
        A,
        B,
        oracle=lambda a, b: np.where(CONDITION, a, b),
    )


@given(broadcasting_arrays())
def test_binary_functions_broadcast(pair):
    a, b = pair
    for function in (lambda x, y: x * y, lambda x, y: x - y, lambda x, y: x / (3 + y * y)):
        assert_close(function(Tensor(a), Tensor(b)), function(a, b))
        gradcheck(function, [leaf(a), leaf(b)])


@given(broadcasting_arrays(number=3))
def test_where_broadcasts_over_its_condition(three):
    a, b, c = three
    condition = c > 0
    gradcheck(lambda x, y: x.where(Tensor(condition), y), [leaf(a), leaf(b)])
    assert_close(leaf(a).where(Tensor(condition), leaf(b)), np.where(condition, a, b))


@given(broadcasting_arrays(min_side=1))
def test_unbroadcast_undoes_broadcasting(pair):
    a, b = pair
    whole = np.ones(np.broadcast_shapes(a.shape, b.shape))
    total = ops.unbroadcast(whole, a.shape)
    assert total.shape == a.shape
    assert (total == whole.size / a.size).all()


def test_a_tie_splits_the_gradient_in_halves():
    a, b = leaf(np.array([1.0, 2.0])), leaf(np.array([1.0, 3.0]))
    a.maximum(b).backward([2.0, 4.0])
    assert a.grad.tolist() == [1, 0]
    assert b.grad.tolist() == [1, 4]


def test_an_infinite_gradient_goes_to_the_winner_only():
    a, b = leaf(np.array([1.0])), leaf(np.array([2.0]))
    a.maximum(b).backward([np.inf])
    assert a.grad.tolist() == [0]
    assert b.grad.tolist() == [np.inf]


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_nan_wins(name):
    a, b = Tensor([np.nan, 1.0]), Tensor([1.0, np.nan])
    assert getattr(a, name)(b).isnan().all()


def test_pow_at_zero_has_finite_gradients():
    x, exponent = leaf(np.zeros(3)), leaf(np.array([0.0, 1.0, 2.0]))
    (x**exponent).backward(np.ones(3))
    assert x.grad.tolist() == [0, 1, 0]
    assert exponent.grad.tolist() == [0, 0, 0]


def test_division_by_zero_is_infinity_without_a_warning():
    x = leaf(np.zeros(2))
    (1 / x).backward(np.ones(2))
    assert x.grad.tolist() == [-np.inf, -np.inf]
