"""The Tensor itself: what it is made from, what it is, and how it copies."""

import copy

import numpy as np
import pytest

from minicnn import Tensor, no_grad
from minicnn.backend import device_of
from tests.checks import leaf, normal

# --- making one -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        (2, "int64"),
        (True, "bool"),
        ([1.0, 2], "float32"),
        ([[1, 2], [3, 4]], "int64"),
        ([], "float32"),
        (np.float64(1.5), "float64"),
        (np.ones(2), "float64"),
        (np.ones(2, np.float16), "float16"),
        (np.zeros(2, np.uint8), "uint8"),
        ([Tensor(1.0), Tensor(2.0)], "float32"),
    ],
)
def test_dtypes(data, dtype):
    assert Tensor(data).dtype == dtype


def test_an_array_is_shared():
    array = normal(3)
    assert Tensor(array).array is array


def test_a_tensor_is_shared():
    x = Tensor(normal(3))
    y = Tensor(x)
    assert y.array is x.array
    assert y.version is x.version


def test_dtype_on_request():
    assert Tensor([1, 2], dtype="float64").dtype == np.float64


@pytest.mark.parametrize("data", ["text", None, {"a": 1}, [1j], [object()]])
def test_only_numbers(data):
    with pytest.raises(TypeError, match="Tensor: expected numbers"):
        Tensor(data)


def test_ragged_lists():
    with pytest.raises(ValueError, match="nested lists must be of equal lengths"):
        Tensor([[1, 2], [3]])


def test_integers_have_no_gradient():
    with pytest.raises(TypeError, match=r"only floating-point tensors have gradients.*int64"):
        Tensor([1, 2], requires_grad=True)


# --- what it is -----------------------------------------------------------------------------------


def test_measures():
    x = Tensor(normal(2, 3))
    assert (x.shape, x.size(), x.size(1), x.size(-1)) == ((2, 3), (2, 3), 3, 3)
    assert (x.ndim, x.dim(), x.numel(), len(x)) == (2, 2, 6, 2)
    assert x.device == device_of(x.array) == "cpu"


def test_leaves_and_results():
    x = leaf(normal(2))
    y = x * 2
    assert x.is_leaf
    assert x.grad_fn is None
    assert not y.is_leaf
    assert y.grad_fn.name == "Mul"
    assert Tensor([1.0]).is_leaf


def test_requires_grad_can_be_switched_on_a_leaf():
    x = Tensor(normal(2))
    x.requires_grad = True
    assert x.requires_grad
    assert x.requires_grad_() is x
    x.requires_grad = False
    assert not x.requires_grad


def test_requires_grad_cannot_be_switched_off_on_a_result():
    y = leaf(normal(2)) * 2
    assert y.requires_grad_() is y
    with pytest.raises(RuntimeError, match=r"only a leaf .* use detach\(\)"):
        y.requires_grad = False


def test_data_is_a_detached_tensor_on_the_same_memory():
    x = leaf(normal(2))
    assert not x.data.requires_grad
    assert x.data.array is x.array


def test_assigning_data_replaces_the_array():
    x = leaf(normal(2))
    x.data = np.zeros(2)
    assert x.tolist() == [0, 0]
    assert x.requires_grad


def test_assigned_data_must_have_the_shape():
    with pytest.raises(ValueError, match=r"Tensor.data: expected an array of shape \(2,\)"):
        leaf(normal(2)).data = np.zeros(3)


# --- copies ---------------------------------------------------------------------------------------


def test_deepcopy_of_a_leaf():
    x = leaf(normal(2))
    (x * 3).sum().backward()
    y = copy.deepcopy(x)
    assert y.requires_grad
    assert y.tolist() == x.tolist()
    assert y.grad.tolist() == [3, 3]
    assert not np.shares_memory(x.array, y.array)
    assert not np.shares_memory(x.grad.array, y.grad.array)


def test_deepcopy_keeps_the_order_in_memory():
    x = Tensor(np.asfortranarray(normal(2, 3)))
    assert copy.deepcopy(x).array.strides == x.array.strides


def test_deepcopy_keeps_what_is_shared_shared():
    x = Tensor(normal(2))
    a, b = copy.deepcopy([x, x])
    assert a is b


def test_deepcopy_of_a_result():
    with pytest.raises(RuntimeError, match="only leaf tensors can be deep-copied"):
        copy.deepcopy(leaf(normal(2)) * 2)


def test_equal_tensors_are_different_keys():
    a, b = Tensor([1.0]), Tensor([1.0])
    assert len({a, b}) == 2


def test_version_counts_changes():
    x = leaf(normal(2))
    before = x.version.count
    with no_grad():
        x += 1
    assert x.version.count == before + 1
