"""The dense layer in NumPy, against its definition."""

import numpy as np
import pytest

from minicnn.kernels import linear

DTYPES = (np.float16, np.float32, np.float64)


def numbers(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_linear_is_a_weighted_sum_for_each_output():
    x, w, bias = numbers(2, 3), numbers(4, 3, seed=1), numbers(4, seed=2)
    expected = [[sum(x[n] * w[k]) + bias[k] for k in range(4)] for n in range(2)]
    np.testing.assert_allclose(linear.linear(x, w, bias), expected, rtol=1e-12)


def test_relu_comes_after_the_bias_and_keeps_nan():
    x, w = np.array([[1.0], [np.nan]]), np.array([[1.0], [1.0]])
    y = linear.linear(x, w, np.array([-3.0, 2.0]), relu=True)
    np.testing.assert_array_equal(y, [[0, 3], [np.nan, np.nan]])


def test_gradients_are_those_of_the_sum():
    x, w, grad = numbers(2, 3), numbers(4, 3, seed=1), numbers(2, 4, seed=2)

    def loss(x, w):
        return (linear.linear(x, w) * grad).sum()

    for n, c in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[n, c] = 1  # the function is linear: a step of 1 gives the slope
        slope = loss(x + step, w) - loss(x, w)
        np.testing.assert_allclose(linear.linear_grad_input(grad, w)[n, c], slope, rtol=1e-9)
    for k, c in np.ndindex(w.shape):
        step = np.zeros_like(w)
        step[k, c] = 1
        slope = loss(x, w + step) - loss(x, w)
        np.testing.assert_allclose(linear.linear_grad_weight(grad, x)[k, c], slope, rtol=1e-9)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_stays(dtype, relu):
    x, w, bias = numbers(2, 3, dtype=dtype), numbers(4, 3, dtype=dtype), numbers(4, dtype=dtype)
    assert linear.linear(x, w, bias, relu).dtype == dtype
    assert linear.linear_grad_input(linear.linear(x, w), w).dtype == dtype
    assert linear.linear_grad_weight(linear.linear(x, w), x).dtype == dtype


def test_no_rows():
    x, w, grad = np.zeros((0, 3)), np.ones((4, 3)), np.zeros((0, 4))
    assert linear.linear(x, w, np.ones(4), relu=True).shape == (0, 4)
    assert linear.linear_grad_input(grad, w).shape == (0, 3)
    np.testing.assert_array_equal(linear.linear_grad_weight(grad, x), np.zeros((4, 3)))
