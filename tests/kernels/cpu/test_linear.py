import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import linear as numpy_linear
from tests.checks import MEMORY_ORDERS, in_memory

pytest.importorskip("numba")
from minicnn.kernels.cpu import linear as compiled_linear

DTYPES = (np.float32, np.float64)


def numbers(*shape, dtype=np.float32, seed=0, order="contiguous"):
    return in_memory(np.random.default_rng(seed).standard_normal(shape).astype(dtype), order)


def assert_same(actual, expected, terms):
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    tolerance = 8 * np.finfo(expected.dtype).eps * max(4, terms)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=4 * tolerance)


@given(
    rows=st.integers(0, 20),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    dtype=st.sampled_from(DTYPES),
    orders=st.tuples(*[st.sampled_from(MEMORY_ORDERS)] * 3),
    relu=st.booleans(),
)
def test_equals_the_sibling(rows, inputs, outputs, dtype, orders, relu):
    x = numbers(rows, inputs, dtype=dtype, order=orders[0])
    w = numbers(outputs, inputs, dtype=dtype, seed=1, order=orders[1])
    grad = numbers(rows, outputs, dtype=dtype, seed=2, order=orders[2])
    bias = numbers(outputs, dtype=dtype, seed=3)
    for call, terms in (
        (lambda kernel: kernel.linear(x, w), inputs),
        (lambda kernel: kernel.linear(x, w, bias, relu), inputs),
        (lambda kernel: kernel.linear_grad_input(grad, w), outputs),
        (lambda kernel: kernel.linear_grad_weight(grad, x), rows),
    ):
        assert_same(call(compiled_linear), call(numpy_linear), terms)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_layer_whose_weights_the_threads_share(dtype):
    x, grad = numbers(7, 1500, dtype=dtype), numbers(7, 333, dtype=dtype, seed=1)
    expected = numpy_linear.linear_grad_weight(grad, x)
    assert_same(compiled_linear.linear_grad_weight(grad, x), expected, 7)


def test_weights_as_a_layer_holds_them_give_gradients_that_lie_likewise():
    x, grad = numbers(5, 12), numbers(5, 9)
    assert compiled_linear.linear_grad_weight(grad, x).T.flags.c_contiguous


@pytest.mark.parametrize("kernel", [numpy_linear, compiled_linear])
def test_relu_keeps_nan(kernel):
    x, w = numbers(3, 4), numbers(5, 4)
    x[1, 1] = np.nan
    y = kernel.linear(x, w, relu=True)
    assert np.isnan(y[1]).all()
    assert (y[[0, 2]] >= 0).all()


def test_results_share_no_memory_with_the_arguments():
    x, w = numbers(4, 4), np.eye(4, dtype=np.float32)
    before = x.copy()
    for result in (compiled_linear.linear(x, w), compiled_linear.linear_grad_input(x, w)):
        assert not np.shares_memory(result, x)
        np.testing.assert_allclose(result, before, rtol=1e-6)
    np.testing.assert_array_equal(x, before)
