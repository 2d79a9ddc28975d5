"""Copies: in new memory, another memory order, dtype or device."""

import numpy as np
import pytest

from minicnn import Tensor
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
