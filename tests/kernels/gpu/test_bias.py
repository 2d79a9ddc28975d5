"""The gradient of a bias in CUDA: sums of rows, with and without ReLU."""

import numpy as np
import pytest

from minicnn.kernels.gpu import bias
from tests.checks import normal
from tests.gpu.cuda_on_host.host_module import HostModule
from tests.kernels.gpu.on_device import OnDevice, up

SHAPES = [(1, 1), (0, 4), (3, 0), (64, 6), (900, 8), (37, 300)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_rows(cupy, shape, dtype):
    grad, y = normal(*shape, dtype=dtype), normal(*shape, seed=1, dtype=dtype)
    on_device = OnDevice(bias, cupy)
    tolerance = {"rtol": 1e-6 if dtype == "float32" else 1e-13, "atol": 1e-6}
    np.testing.assert_allclose(on_device.bias_grad(grad), grad.sum(0), **tolerance)
    grad_z, sums = on_device.bias_relu_grad(grad, y)
    np.testing.assert_array_equal(grad_z, np.where(y <= 0, 0, grad))
    np.testing.assert_allclose(sums, np.where(y <= 0, 0, grad).sum(0), **tolerance)
    assert grad_z.dtype == sums.dtype == dtype


def test_nan_in_y_lets_the_gradient_pass(cupy):
    grad_z, _ = OnDevice(bias, cupy).bias_relu_grad(np.ones((1, 2)), np.array([[np.nan, -1.0]]))
    np.testing.assert_array_equal(grad_z, [[1, 0]])


def test_rows_in_another_order(cupy):
    grad = normal(6, 50).T
    np.testing.assert_allclose(OnDevice(bias, cupy).bias_grad(grad), grad.sum(0))


def test_the_sum_is_the_same_bits_for_all_orders_of_threads(cupy, monkeypatch):
    sums = set()
    for seed in range(4):
        monkeypatch.setattr(HostModule, "seed", seed)
        sums.add(OnDevice(bias, cupy).bias_grad(normal(700, 12, dtype="float32")).tobytes())
    assert len(sums) == 1


@pytest.mark.parametrize("relu", [False, True])
def test_a_bias_is_added_in_place(cupy, relu):
    rows, numbers = normal(7, 5), normal(5, seed=1)
    on_device = up(cupy, rows)
    bias.add_bias(on_device, up(cupy, numbers), relu)
    expected = rows + numbers
    np.testing.assert_array_equal(on_device.get(), np.maximum(expected, 0) if relu else expected)
