"""Activations in one pass: against the sibling in NumPy, in every memory order, for few and for many numbers."""

import numpy as np
import pytest

from minicnn.kernels import activation as numpy_activation
from minicnn.kernels.cpu import activation, flat
from tests.checks import MEMORY_ORDERS, in_memory, normal

NAMES = ["relu", "sigmoid", "tanh", "silu"]
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
SHAPES = [(), (0,), (5,), (2, 3, 4, 5), (3, 1, 2, 1), (4, 8, 25, 25)]


def assert_same(actual, expected):
    assert actual.dtype == expected.dtype
    tolerance = TOLERANCE[actual.dtype.name]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", NAMES)
def test_like_numpy(name, dtype, shape):
    x, grad = normal(*shape, dtype=dtype), normal(*shape, seed=1, dtype=dtype)
    assert_same(getattr(activation, name)(x), getattr(numpy_activation, name)(x))
    gradient = f"{name}_grad"
    assert_same(
        getattr(activation, gradient)(grad, x), getattr(numpy_activation, gradient)(grad, x)
    )


@pytest.mark.parametrize("grad_order", MEMORY_ORDERS)
@pytest.mark.parametrize("order", MEMORY_ORDERS)
def test_any_memory_order(order, grad_order):
    x = in_memory(normal(2, 3, 4, 5), order)
    grad = in_memory(normal(2, 3, 4, 5, seed=1), grad_order)
    assert_same(activation.relu(x), np.maximum(x, 0))
    assert_same(activation.relu_grad(grad, x), np.where(x > 0, grad, 0))


def test_the_memory_order_is_kept():
    x = in_memory(normal(2, 3, 4, 5), "channels last")
    y = activation.relu(x)
    assert y.strides == activation.relu_grad(x, y).strides == x.strides


@pytest.mark.parametrize("order", ["contiguous", "transposed", "channels last"])
def test_dense_arrays_are_not_copied(order):
    x = in_memory(normal(2, 3, 4, 5), order)
    assert np.shares_memory(flat.flat(x, np.empty_like(x)), x)


def test_nan_and_infinity():
    x = np.array([np.nan, np.inf, -np.inf, -0.0])
    np.testing.assert_array_equal(activation.relu(x), [np.nan, np.inf, 0, 0])
    np.testing.assert_array_equal(
        activation.relu_grad(np.full(4, np.inf), activation.relu(x)), [np.inf, np.inf, 0, 0]
    )
    np.testing.assert_array_equal(activation.sigmoid(x), [np.nan, 1, 0, 0.5])
    np.testing.assert_array_equal(activation.tanh(x), [np.nan, 1, -1, 0])


def test_a_gradient_of_another_dtype():
    grad = activation.relu_grad(np.ones(3), np.ones(3, np.float32))
    assert grad.dtype == np.float32


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("low", "high"), [(0, 6), (-1.0, 1.0), (0.5, 0.5), (-np.inf, 0.1)])
def test_limits_like_numpy(dtype, shape, low, high):
    x, grad = 4 * normal(*shape, dtype=dtype), normal(*shape, seed=1, dtype=dtype)
    y = activation.hardtanh(x, low, high)
    assert_same(y, numpy_activation.hardtanh(x, low, high))
    grad_x = activation.hardtanh_grad(grad, y, low, high)
    assert_same(grad_x, numpy_activation.hardtanh_grad(grad, y, low, high))


def test_limits_of_nan_and_infinity():
    x = np.array([np.nan, np.inf, -np.inf, 3, 6, 0])
    y = activation.hardtanh(x, 0.0, 6.0)
    np.testing.assert_array_equal(y, [np.nan, 6, 0, 3, 6, 0])
    grad = np.array([1, np.inf, np.nan, 2, 3, 4])
    np.testing.assert_array_equal(activation.hardtanh_grad(grad, y, 0.0, 6.0), [1, 0, 0, 2, 0, 0])


@pytest.mark.parametrize("size", [flat.SERIAL_SIZE - 1, flat.SERIAL_SIZE])
def test_few_and_many(size):
    x = normal(size, dtype="float32")
    assert_same(activation.relu(x), np.maximum(x, 0))
