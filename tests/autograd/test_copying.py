"""Copies: in new memory, another memory order, dtype or device."""

import copy
import pickle

import numpy as np
import pytest

from minicnn import Tensor, nn, no_grad
from tests.checks import leaf, normal


def test_clone_is_differentiable():
    x = leaf(normal(2))
    y = x.clone()
    (y * 2).sum().backward()
    assert x.grad.tolist() == [2, 2]
    assert not np.shares_memory(x.array, y.array)


def test_contiguous():
    x = Tensor(normal(2, 3))
    assert x.contiguous() is x
    y = x.T.contiguous()
    assert y.array.flags.c_contiguous
    assert y.tolist() == x.T.tolist()


# --- other dtypes and devices ---------------------------------------------------------------------


def test_conversions_keep_the_gradient_between_floats():
    x = leaf(normal(2, dtype="float32"))
    x.double().sum().backward()
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize(
    ("method", "dtype"), [("float", "float32"), ("double", "float64"), ("long", "int64")]
)
def test_conversions(method, dtype):
    assert getattr(Tensor([1.5, 2.5]), method)().dtype == dtype


def test_conversion_to_integers_leaves_the_tape():
    assert not leaf(normal(2)).long().requires_grad


def test_conversion_to_the_same_dtype_is_the_tensor_itself():
    x = Tensor([1.0])
    assert x.to("float32") is x
    assert x.type(np.float32) is x
    assert x.to("cpu") is x
    assert x.cpu() is x


@pytest.mark.parametrize("device", ["cuda:x", "cpu:1"])
def test_devices_that_do_not_exist(device):
    with pytest.raises(ValueError, match='expected "cpu", "cuda" or "cuda:<index>"'):
        Tensor([1.0]).to(device)


# --- Python's protocols ---------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_a_leaf_can_be_pickled(protocol, requires_grad):
    x = nn.Parameter(normal(2, 3), requires_grad)
    x.grad = Tensor(normal(2, 3))
    y = pickle.loads(pickle.dumps(x, protocol))
    assert type(y) is nn.Parameter
    assert y.requires_grad is requires_grad
    assert y.grad is None
    np.testing.assert_array_equal(y.array, x.array)


def test_an_unpickled_leaf_collects_gradients():
    y = pickle.loads(pickle.dumps(leaf(normal(2))))
    (y * 3).sum().backward()
    assert y.grad.tolist() == [3, 3]


def test_a_module_can_be_pickled():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU())
    loaded = pickle.loads(pickle.dumps(model))
    for a, b in zip(model.parameters(), loaded.parameters(), strict=True):
        np.testing.assert_array_equal(a.array, b.array)
    x = Tensor(normal(4, 3, dtype="float32"))
    assert loaded(x).tolist() == model(x).tolist()


def test_a_shallow_copy_has_memory_in_common_and_nothing_on_the_tape():
    x = leaf(normal(2))
    y = copy.copy(x)
    (y * 3).sum().backward()
    assert x.grad is None
    assert y.grad.tolist() == [3, 3]
    assert np.shares_memory(x.array, y.array)


def test_a_change_through_a_shallow_copy_is_noticed():
    x = leaf(normal(2))
    y = (x * x).sum()
    with no_grad():
        copy.copy(x).zero_()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize("action", [pickle.dumps, copy.copy])
def test_results_can_be_neither_pickled_nor_copied(action):
    with pytest.raises(RuntimeError, match=r"only leaf tensors .* shape \(2,\) is a result of Mul"):
        action(leaf(normal(2)) * 2)
