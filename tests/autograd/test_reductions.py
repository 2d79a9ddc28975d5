"""The Tensor's reductions: PyTorch's names, defaults and indices."""

import numpy as np
import pytest

from minicnn import Tensor
from minicnn.gradcheck import distinct
from tests.checks import assert_close, check, leaf, normal
from tests.devices import constant, on_every_device

X = distinct(normal(2, 3, 4))
DIMS = [None, 0, -1, (0, 2)]


@on_every_device
@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_var_and_std(torch, name, dim, correction, keepdim):
    def oracle(x):
        options = {"dim": dim, "correction": correction, "keepdim": keepdim}
        return getattr(torch.tensor(x.copy()), name)(**options).numpy()

    check(
        lambda x: getattr(x, name)(dim, correction, keepdim),
        X,
        oracle=oracle,
        orders=["contiguous"],
    )


@on_every_device
@pytest.mark.parametrize("dim", DIMS)
def test_norm(dim):
    check(lambda x: x.norm(dim), X, oracle=lambda x: np.sqrt((x * x).sum(axis=dim)))


def test_the_variance_of_one_element_is_nan():
    assert Tensor([1.0]).var().isnan().item()
    assert Tensor([1.0]).var(correction=0).item() == 0


def test_axis_and_keepdims_are_understood():
    x = Tensor(X)
    assert x.sum(axis=1, keepdims=True).shape == (2, 1, 4)
    assert x.mean(axis=(0, 2)).shape == (3,)
    assert x.var(axis=0).shape == (3, 4)


def test_a_list_of_axes():
    assert Tensor(X).sum([0, 1]).shape == (4,)


# --- extremes along an axis -----------------------------------------------------------------------


@on_every_device
@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_values_and_indices(torch, name, dim, keepdim):
    theirs = getattr(torch.tensor(X), name)(dim, keepdim)
    values, indices = getattr(constant(X), name)(dim, keepdim)
    assert_close(values, theirs.values.numpy())
    assert_close(indices, theirs.indices.numpy())
    check(lambda x: getattr(x, name)(dim, keepdim).values, X, orders=["transposed"])


def test_the_first_of_equals_takes_the_gradient_along_an_axis():
    x = leaf(np.array([[3.0, 1.0, 3.0]]))
    values, indices = x.max(1)
    values.backward([2.0])
    assert indices.tolist() == [0]
    assert x.grad.tolist() == [[2, 0, 0]]


@on_every_device
def test_the_extreme_of_everything_is_one_tensor():
    check(Tensor.max, X, oracle=np.max)
    check(Tensor.min, X, oracle=np.min)


def test_the_larger_of_two_tensors():
    x, y = Tensor([1.0, 5.0]), Tensor([2.0, 3.0])
    assert x.max(y).tolist() == [2, 5]
    assert x.min(y).tolist() == [1, 3]


@on_every_device
@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("dim", [None, 0, -1])
def test_positions(name, dim):
    index = getattr(constant(X), name)(dim)
    assert index.dtype == np.int64
    assert_close(index, getattr(np, name)(X, axis=dim))


@on_every_device
def test_positions_of_equals_and_of_nan():
    assert constant([1.0, 3.0, 3.0]).argmax().item() == 1
    assert constant([1.0, np.nan, 3.0]).argmax().item() == 1
    values, index = constant([1.0, np.nan, 3.0]).max(0)
    assert np.isnan(values.item())
    assert index.item() == 1


def test_the_extreme_of_a_number():
    values, index = leaf(np.array(3.0)).max(0)
    assert (values.item(), index.item()) == (3, 0)


def test_any_all_isnan():
    x = Tensor([[0.0, 1.0], [np.nan, 1.0]])
    assert x.any().item()
    assert x.all(0).tolist() == [False, True]
    assert x.isnan().tolist() == [[False, False], [True, False]]
    assert (x == 1).all(1).tolist() == [False, False]


def test_gather_along_an_axis_that_is_not_there():
    with pytest.raises(IndexError, match="gather: there is no axis 2"):
        Tensor(normal(2, 3)).gather(2, Tensor([[0]]))


@pytest.mark.parametrize("name", ["norm", "std"])
def test_the_gradient_of_a_root_is_0_at_0(torch, name):
    x = leaf(np.array([[0.0, 0.0], [3.0, 4.0]]))
    y = getattr(x, name)(dim=1)
    y.sum().backward()
    oracle = torch.tensor(x.tolist(), dtype=torch.float64, requires_grad=True)
    getattr(oracle, name)(dim=1).sum().backward()
    assert x.grad.array[0].tolist() == [0, 0]
    assert_close(x.grad, oracle.grad.numpy())


def test_the_gradient_of_sqrt_is_infinite_at_0():
    x = leaf(np.zeros(1))
    x.sqrt().sum().backward()
    assert x.grad.tolist() == [np.inf]


@pytest.mark.parametrize("correction", [3, 5])
def test_var_without_degrees_of_freedom_is_infinite(correction):
    assert Tensor([0.0, 1.0, 2.0]).var(correction=correction).item() == np.inf


@pytest.mark.parametrize("x", [np.zeros((2, 0)), np.ones((2, 1))])
def test_var_of_too_little_is_nan(x):
    assert Tensor(x).var(1).isnan().all()


@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "norm", "amax", "amin"])
@pytest.mark.parametrize("empty", [(), []])
def test_no_axes_are_all_axes(name, empty):
    x = Tensor(X)
    assert getattr(x, name)(empty).tolist() == getattr(x, name)().tolist()
