"""The matrix product: vectors, matrices, batches that broadcast."""

import numpy as np
import pytest

from minicnn.autograd import Tensor
from minicnn.ops.matmul import MatMul
from tests.checks import check, check_contract, normal
from tests.devices import on_every_device

SHAPES = [
    ((2, 3), (3, 4)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((3,), (3,)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (4, 3, 2)),
    ((3,), (5, 3, 4)),
    ((5, 2, 3), (3,)),
    ((2, 0), (0, 3)),
    ((0, 3), (3, 2)),
]


@on_every_device
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_value_and_gradient(a, b):
    check(Tensor.matmul, normal(*a), normal(*b, seed=1), oracle=np.matmul)


@on_every_device
@pytest.mark.parametrize(("a", "b"), [pair for pair in SHAPES if min(map(len, pair)) > 1])
def test_contract(a, b):
    check_contract(MatMul, normal(*a), normal(*b))


def test_only_the_wanted_gradient_is_computed():
    function = MatMul()
    function.needs_grad = (False, True)
    function.forward(normal(2, 3), normal(3, 4))
    assert function.backward(normal(2, 4))[0] is None


def test_an_array_on_the_left():
    product = np.eye(2, 3, dtype="float32") @ Tensor(normal(3, 4, dtype="float32"))
    assert isinstance(product, Tensor)
    assert product.shape == (2, 4)


def test_integers():
    assert (Tensor([[1, 2]]) @ Tensor([[3], [4]])).tolist() == [[11]]


def test_lengths_that_differ():
    with pytest.raises(ValueError, match=r"last axis of \(2, 3\) .* \(4, 5\), but 3 != 4"):
        Tensor(normal(2, 3)) @ Tensor(normal(4, 5))


def test_a_vector_that_is_too_long():
    with pytest.raises(ValueError, match=r"only axis of \(4,\), but 3 != 4"):
        Tensor(normal(2, 3)) @ Tensor(normal(4))


def test_batches_that_do_not_broadcast():
    with pytest.raises(ValueError, match="do not broadcast"):
        Tensor(normal(2, 3, 4)) @ Tensor(normal(3, 4, 5))


def test_numbers_are_no_matrices():
    with pytest.raises(ValueError, match=r"use \*"):
        Tensor(normal(2, 3)) @ 2.0
