"""Parameters: they require gradients, are copied as parameters, and can wait for their shape."""

import copy

import numpy as np
import pytest

import minicnn
from minicnn import nn


def test_requires_a_gradient_unless_told_otherwise():
    assert nn.Parameter(minicnn.ones(2)).requires_grad
    assert not nn.Parameter(minicnn.ones(2), requires_grad=False).requires_grad
    assert nn.Parameter([1.0, 2.0]).dtype == np.float32


def test_refuses_integers():
    with pytest.raises(TypeError, match="floating-point"):
        nn.Parameter(minicnn.arange(3))


def test_is_a_leaf_even_of_a_computed_tensor():
    w = minicnn.ones(2, requires_grad=True)
    p = nn.Parameter(w * 2)
    (p * p).sum().backward()
    assert p.grad.tolist() == [4, 4]
    assert w.grad is None


def test_operations_give_plain_tensors():
    p = nn.Parameter(minicnn.ones(2))
    assert type(p + 1) is type(p.detach()) is type(p.data) is minicnn.Tensor


def test_text():
    assert repr(nn.Parameter(minicnn.ones(1))).startswith("Parameter containing:\ntensor([1.]")


@pytest.mark.parametrize("wanted", [True, False])
def test_an_uninitialized_parameter_becomes_an_ordinary_one(wanted):
    p = nn.UninitializedParameter(requires_grad=wanted)
    same = p
    p.materialize((2, 3))
    assert p is same
    assert type(p) is nn.Parameter
    assert p.shape == (2, 3)
    assert p.requires_grad is wanted
    if wanted:
        (p + 1).sum().backward()
        assert p.grad.shape == (2, 3)


def test_an_uninitialized_parameter_keeps_its_dtype():
    module = nn.LazyLinear(2).double()
    module.weight.materialize((2, 3))
    assert module.weight.dtype == np.float64


def test_a_copy_of_an_uninitialized_parameter_waits_too():
    p = nn.UninitializedParameter(requires_grad=False)
    twin = copy.deepcopy(p)
    assert type(twin) is nn.UninitializedParameter
    twin.materialize((2,))
    assert type(p) is nn.UninitializedParameter
    assert not twin.requires_grad
