"""Biases: their gradients against sums in float64, for rows of every length; and their addition."""

import numpy as np
import pytest

from minicnn.kernels import bias as numpy_bias
from minicnn.kernels.cpu import bias
from tests.checks import normal

MODULES = pytest.mark.parametrize("module", [bias, numpy_bias], ids=["compiled", "numpy"])
SHAPES = [(64, 10), (1, 1), (7, 3), (0, 5), (5, 0), (9000, 6), (3000, 16), (50, 1001), (4, 8192)]


@MODULES
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-12)])
def test_sums(module, shape, dtype, tolerance):
    grad, y = normal(*shape, dtype=dtype), normal(*shape, seed=1, dtype=dtype)
    tolerance = {"rtol": tolerance, "atol": tolerance * max(shape[0], 1) ** 0.5}
    sums = module.bias_grad(grad)
    assert (sums.dtype, sums.shape) == (grad.dtype, shape[1:])
    np.testing.assert_allclose(sums, grad.sum(0, dtype=np.float64), **tolerance)
    grad_z, sums = module.bias_relu_grad(grad, y)
    masked = np.where(y > 0, grad, 0)
    np.testing.assert_array_equal(grad_z, masked)
    assert (grad_z.dtype, sums.dtype) == (grad.dtype, grad.dtype)
    np.testing.assert_allclose(sums, masked.sum(0, dtype=np.float64), **tolerance)


@MODULES
def test_any_memory_order(module):
    grad, y = normal(6, 50).T, normal(50, 12, seed=1)[:, ::2]
    masked = np.where(y > 0, grad, 0)
    np.testing.assert_array_equal(module.bias_relu_grad(grad, y)[0], masked)
    np.testing.assert_allclose(module.bias_relu_grad(grad, y)[1], masked.sum(0), rtol=1e-13)
    np.testing.assert_allclose(module.bias_grad(grad), grad.sum(0), rtol=1e-13)


@MODULES
def test_a_dropped_infinity_does_not_matter_and_nan_stays(module):
    grad, y = np.array([[np.inf, 1.0], [2.0, 3.0]]), np.array([[0.0, np.nan], [1.0, 1.0]])
    grad_z, sums = module.bias_relu_grad(grad, y)
    np.testing.assert_array_equal(grad_z, [[0, 1], [2, 3]])
    np.testing.assert_array_equal(sums, [2, 4])


def test_long_sums_keep_their_digits():
    grad = np.full((4_000_000, 1), 0.1, np.float32)
    np.testing.assert_allclose(bias.bias_grad(grad), grad.sum(dtype=np.float64), rtol=1e-6)


# --- adding a bias ----------------------------------------------------------------------------------


@MODULES
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_bias_is_added_in_place(module, shape, dtype, relu, has_bias):
    rows, numbers = normal(*shape, dtype=dtype), normal(shape[1], seed=1, dtype=dtype)
    expected = rows + numbers if has_bias else rows.copy()
    module.add_bias(rows, numbers if has_bias else None, relu)
    np.testing.assert_array_equal(rows, np.maximum(expected, 0) if relu else expected)


@MODULES
def test_a_bias_may_be_infinite_and_nan_stays(module):
    rows = np.array([[np.nan, 1.0, -1.0]])
    module.add_bias(rows, np.array([0.0, -np.inf, np.inf]), relu=True)
    np.testing.assert_array_equal(rows, [[np.nan, 0, np.inf]])


@MODULES
def test_a_bias_in_any_memory_order(module):
    rows = np.zeros((4, 3))
    module.add_bias(rows, np.arange(6.0)[::-2])
    np.testing.assert_array_equal(rows, np.tile([5.0, 3.0, 1.0], (4, 1)))
