"""Free functions: the same as the methods, and those that join several tensors."""

import numpy as np
import pytest

from minicnn import Tensor
from minicnn.autograd import functions as mf
from tests.checks import assert_close, check, normal, positive
from tests.devices import on_every_device

X = positive(2, 3)


@pytest.mark.parametrize(
    "name",
    [
        "exp",
        "log",
        "sqrt",
        "abs",
        "sin",
        "cos",
        "tanh",
        "sigmoid",
        "relu",
        "sum",
        "mean",
        "flatten",
    ],
)
def test_functions_are_the_methods(name):
    assert_close(getattr(mf, name)(Tensor(X)), getattr(Tensor(X), name)().array)


def test_functions_with_arguments():
    x, y = Tensor(X), Tensor(X[::-1])
    assert_close(mf.softmax(x, 1), x.softmax(1).array)
    assert_close(mf.sum(x, 1, True), x.sum(1, True).array)
    assert_close(mf.mean(x, 0), x.mean(0).array)
    assert_close(mf.argmax(x, 1), x.argmax(1).array)
    assert_close(mf.maximum(x, y), np.maximum(X, X[::-1]))
    assert_close(mf.minimum(x, y), np.minimum(X, X[::-1]))
    assert_close(mf.matmul(x, y.T), X @ X[::-1].T)


# --- cat and stack --------------------------------------------------------------------------------


@on_every_device
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cat(dim):
    a, b = normal(2, 2), normal(2, 2, seed=1)
    check(lambda a, b: mf.cat([a, b], dim), a, b, oracle=lambda a, b: np.concatenate([a, b], dim))


@on_every_device
@pytest.mark.parametrize("dim", [0, 1, -1, 2])
def test_stack(dim):
    a, b = normal(2, 3), normal(2, 3, seed=1)
    check(lambda a, b: mf.stack([a, b], dim), a, b, oracle=lambda a, b: np.stack([a, b], dim))


@on_every_device
def test_cat_of_one_tensor_twice():
    check(lambda a: mf.cat([a, a]), normal(2), oracle=lambda a: np.concatenate([a, a]))


def test_cat_of_nothing():
    with pytest.raises(ValueError, match="cat: expected at least one tensor"):
        mf.cat([])


def test_cat_of_shapes_that_differ():
    with pytest.raises(ValueError, match=r"off axis 0 the shapes must agree .*\(2, 3\), \(2, 4\)"):
        mf.cat([Tensor(normal(2, 3)), Tensor(normal(2, 4))])


def test_cat_of_numbers():
    with pytest.raises(ValueError, match="have axes"):
        mf.cat([Tensor(1.0), Tensor(2.0)])


def test_cat_along_an_axis_that_is_not_there():
    with pytest.raises(IndexError, match="cat: there is no axis 2"):
        mf.cat([Tensor(normal(2, 3))] * 2, 2)


def test_cat_of_mixed_dtypes():
    with pytest.raises(TypeError, match=r"cat: mixed dtypes \['float32', 'float64'\]"):
        mf.cat([Tensor([1.0]), Tensor(normal(1))])


def test_stack_of_different_shapes():
    with pytest.raises(ValueError, match=r"stack: .* must agree, got \[\(2, 3\), \(2, 4\)\]"):
        mf.stack([Tensor(normal(2, 3)), Tensor(normal(2, 4))])


def test_stack_of_nothing():
    with pytest.raises(ValueError, match="stack: expected at least one tensor"):
        mf.stack([])


# --- where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition", [Tensor([True, False]), np.array([True, False]), Tensor([3, 0])]
)
def test_where_takes_numbers_on_either_side(condition):
    x = Tensor([1.0, 2.0])
    assert mf.where(condition, x, 7).tolist() == [1, 7]
    assert mf.where(condition, 7, x).tolist() == [7, 2]
    assert mf.where(condition, 7, x).dtype == np.float32


def test_where_keeps_fractions_beside_integers():
    assert mf.where(Tensor([True, False]), 0.5, Tensor([1, 2])).tolist() == [0.5, 2]


def test_where_of_two_numbers():
    y = mf.where(Tensor([True, False]), 1.5, 0)
    assert y.tolist() == [1.5, 0]
    assert y.dtype == np.float32
