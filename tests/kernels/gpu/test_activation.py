"""Activations in CUDA: against the sibling for NumPy, for arrays of every memory order."""

import numpy as np
import pytest

from minicnn.kernels import activation as sibling
from minicnn.kernels.gpu import activation
from tests.checks import in_memory, normal
from tests.gpu.cuda_on_host.host_module import HostModule
from tests.kernels.gpu.on_device import OnDevice, up

NAMES = ["relu", "sigmoid", "tanh", "silu"]
ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 5, 7), (0, 4), (), (4097,)])
def test_like_numpy(cupy, name, dtype, shape):
    x, grad = normal(*shape, dtype=dtype), normal(*shape, seed=1, dtype=dtype)
    on_device = OnDevice(activation, cupy)
    y = getattr(on_device, name)(x)
    tolerance = {"rtol": 1e-5 if dtype == "float32" else 1e-13, "atol": 1e-7}
    np.testing.assert_allclose(y, getattr(sibling, name)(x), **tolerance)
    saved = x if name == "silu" else y
    grad_x = getattr(on_device, f"{name}_grad")(grad, saved)
    expected = getattr(sibling, f"{name}_grad")(grad, saved)
    np.testing.assert_allclose(grad_x, expected, **tolerance)
    assert y.dtype == grad_x.dtype == dtype


@pytest.mark.parametrize("name", NAMES)
def test_nan_and_infinity(cupy, name):
    with np.errstate(all="ignore"):
        expected = getattr(sibling, name)(ODD)
    np.testing.assert_allclose(getattr(OnDevice(activation, cupy), name)(ODD), expected, atol=1e-12)


@pytest.mark.parametrize("order", ["contiguous", "transposed", "channels last"])
@pytest.mark.parametrize("grad_order", ["contiguous", "channels last"])
def test_arrays_of_any_memory_order(cupy, order, grad_order):
    y, grad = (
        in_memory(normal(2, 3, 4, 5), order),
        in_memory(normal(2, 3, 4, 5, seed=1), grad_order),
    )
    grad_x = OnDevice(activation, cupy).relu_grad(grad, y)
    np.testing.assert_array_equal(grad_x, np.where(y <= 0, 0, grad))
    assert grad_x.strides == y.strides


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limits_like_numpy(cupy, dtype):
    x = np.concatenate([ODD, [6, 3.5], 4 * normal(4090)]).astype(dtype)
    grad, on_device = normal(x.size, seed=1, dtype=dtype), OnDevice(activation, cupy)
    y = on_device.hardtanh(x, 0, 6)
    np.testing.assert_array_equal(y, sibling.hardtanh(x, 0, 6))
    grad_x = on_device.hardtanh_grad(grad, y, 0, 6)
    np.testing.assert_array_equal(grad_x, sibling.hardtanh_grad(grad, y, 0, 6))
    assert y.dtype == grad_x.dtype == dtype


def test_arrays_with_gaps(cupy):
    x = normal(6, 10)
    y = activation.tanh(up(cupy, x)[:, ::3])
    np.testing.assert_allclose(y.get(), np.tanh(x[:, ::3]), rtol=1e-13)


def test_more_packs_than_threads(cupy, monkeypatch):
    monkeypatch.setattr(activation, "blocks_for", lambda size: (1,))
    monkeypatch.setattr(HostModule, "seed", 5)
    x = normal(5003, dtype="float32")
    np.testing.assert_array_equal(OnDevice(activation, cupy).relu(x), np.maximum(x, 0))
