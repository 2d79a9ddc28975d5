"""The error function: against Python's own, in every dtype and memory order."""

import math

import numpy as np
import pytest

from minicnn.kernels.special import erf

POINTS = np.linspace(-6, 6, 60).reshape(3, 4, 5)


@pytest.mark.parametrize(
    ("dtype", "rtol"), [("float16", 1e-3), ("float32", 3e-7), ("float64", 1e-15)]
)
def test_like_python(dtype, rtol):
    x = POINTS.astype(dtype)
    y = erf(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, np.vectorize(math.erf)(x.astype("float64")), rtol=rtol)


def test_extremes():
    y = erf(np.array([-np.inf, -0.0, 0.0, 1e-300, np.inf, np.nan]))
    np.testing.assert_array_equal(y, [-1, 0, 0, 2 / math.sqrt(math.pi) * 1e-300, 1, np.nan])
    assert np.signbit(y[1])


def test_memory_order_is_kept():
    x = POINTS.transpose(2, 0, 1)
    assert erf(x).strides == x.strides


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_any_shape(shape):
    assert erf(np.zeros(shape)).shape == shape
