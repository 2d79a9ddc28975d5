"""Reductions: one axis, several, none left over; ties, NaN, and nothing to reduce."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.autograd import Tensor
from minicnn.gradcheck import distinct, gradcheck
from minicnn.ops import reduction as ops
from tests.checks import arrays, assert_close, axes_of, check, check_contract, leaf, normal, shapes
from tests.devices import on_every_device

X = distinct(normal(2, 3, 4))
AXES = [None, 0, -1, (0, 2), (-1, 0), (0, 1, 2)]


@on_every_device
@pytest.mark.parametrize("function", [ops.Sum, ops.Mean, ops.Max, ops.Min])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_contract(function, axis, keepdims):
    check_contract(lambda: function(axis, keepdims), X)


@on_every_device
@pytest.mark.parametrize("function", [ops.Softmax, ops.LogSoftmax])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_contract_of_softmax(function, axis):
    check_contract(lambda: function(axis), X)


@on_every_device
@pytest.mark.parametrize(
    ("name", "oracle"), [("sum", np.sum), ("mean", np.mean), ("amax", np.max), ("amin", np.min)]
)
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdim", [False, True])
def test_value_and_gradient(name, oracle, axis, keepdim):
    check(
        lambda x: getattr(x, name)(axis, keepdim),
        X,
        oracle=lambda x: oracle(x, axis=axis, keepdims=keepdim),
        orders=["contiguous", "strided"],
    )


@given(st.data(), arrays(), st.booleans())
def test_sum_and_mean_of_any_shape(data, x, keepdim):
    axis = data.draw(axes_of(x))
    assert_close(Tensor(x).sum(axis, keepdim), x.sum(axis=axis, keepdims=keepdim))
    gradcheck(lambda x: x.sum(axis, keepdim), leaf(x))
    if x.size:
        assert_close(Tensor(x).mean(axis, keepdim), x.mean(axis=axis, keepdims=keepdim))
        gradcheck(lambda x: x.mean(axis, keepdim), leaf(x))


@given(st.data(), shapes(min_side=1), st.booleans())
def test_extremes_of_any_shape(data, shape, keepdim):
    x = distinct(normal(*shape))
    axis = data.draw(axes_of(x))
    assert_close(Tensor(x).amax(axis, keepdim), x.max(axis=axis, keepdims=keepdim))
    gradcheck(lambda x: x.amax(axis, keepdim) - x.amin(axis, keepdim), leaf(x))


def test_equal_elements_share_the_gradient_of_an_extreme():
    x = leaf(np.array([[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]]))
    x.amax(1).backward([1.0, 6.0])
    assert x.grad.tolist() == [[0.5, 0, 0.5], [2, 2, 2]]


def test_nan_is_the_extreme_and_takes_the_gradient():
    x = leaf(np.array([[1.0, np.nan], [1.0, 2.0]]))
    y = x.amax(1)
    y.backward(np.ones(2))
    assert np.isnan(y.array[0])
    assert x.grad.tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin"])
@pytest.mark.parametrize("axis", [0, -1])
def test_a_number_is_an_axis_of_length_one(name, axis):
    x = leaf(np.array(3.0))
    y = getattr(x, name)(axis)
    y.backward()
    assert y.item() == 3
    assert x.grad.item() == 1


@pytest.mark.parametrize("name", ["sum", "mean", "amax"])
def test_an_axis_that_is_not_there(name):
    with pytest.raises(IndexError, match="axis 2"):
        getattr(Tensor(normal(2, 3)), name)(2)


def test_the_mean_of_nothing_is_nan():
    x = leaf(np.zeros((0, 2)))
    y = x.mean()
    y.backward()
    assert np.isnan(y.item())
    assert x.grad.shape == (0, 2)


def test_the_sum_of_nothing_is_zero():
    assert Tensor(np.zeros((0, 2))).sum(0).tolist() == [0, 0]


def test_the_maximum_of_nothing_is_refused():
    with pytest.raises(ValueError, match="zero-size"):
        Tensor(np.zeros((0, 2))).amax()


@on_every_device
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax(torch, dim):
    def oracle(x):
        return torch.tensor(x.copy()).softmax(dim).numpy()

    check(lambda x: x.softmax(dim), X, oracle=oracle)


@on_every_device
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_log_softmax(torch, dim):
    def oracle(x):
        return torch.tensor(x.copy()).log_softmax(dim).numpy()

    check(lambda x: x.log_softmax(dim), X, oracle=oracle)


def test_softmax_of_huge_numbers():
    x = Tensor([[1000.0, 1000.0], [-1e30, 0.0]])
    assert x.softmax(1).tolist() == [[0.5, 0.5], [0, 1]]
    assert_close(x.log_softmax(1), np.array([[-np.log(2)] * 2, [-1e30, 0]], "float32"))


def test_softmax_of_an_empty_batch():
    x = leaf(np.zeros((0, 3)))
    x.softmax(1).sum().backward()
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("axis", [None, 0])
def test_the_mean_of_float16_is_taken_in_float32(axis):
    x = leaf(np.full((100_000, 1), 2, np.float16))
    y = x.mean(axis)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == np.float16
    assert (y.array == 2).all()
    np.testing.assert_array_equal(x.grad.array, np.float16(1e-5))
