"""Modules that change their dtype in place; tests/nn/test_devices.py is about devices."""

import numpy as np
import pytest

import minicnn
from minicnn import nn


def test_to_dtype_converts_what_is_floating():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    weight = module[0].weight
    module(minicnn.rand(4, 3)).sum().backward()
    assert module.double() is module
    assert module[0].weight is weight
    assert weight.dtype == weight.grad.dtype == np.float64
    assert module[1].running_mean.dtype == np.float64
    assert module[1].num_batches_tracked.dtype == np.int64
    module.zero_grad()
    module(minicnn.rand(4, 3, dtype="float64")).sum().backward()
    assert weight.grad.dtype == np.float64
    assert module.to("float32")[0].weight.dtype == np.float32


@pytest.mark.parametrize("dtype", ["int64", bool])
def test_to_refuses_dtypes_without_gradients(dtype):
    with pytest.raises(TypeError, match="floating-point dtype"):
        nn.Linear(1, 1).to(dtype)


def test_to_keeps_shared_parameters_shared():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight = module[0].weight
    assert module.double()[1].weight is module[0].weight
