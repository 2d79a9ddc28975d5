"""The dense layer by kernels of convolution: against the sibling for NumPy."""

import numpy as np
import pytest

from minicnn.kernels import linear as sibling
from minicnn.kernels.gpu import linear
from tests.checks import in_memory, normal
from tests.kernels.gpu.on_device import OnDevice

SIZES = [(5, 8, 12), (1, 1, 1), (200, 40, 10), (3, 7, 70), (0, 4, 2)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["contiguous", "transposed"])
def test_like_numpy(cupy, sizes, dtype, order):
    rows, inputs, outputs = sizes
    x, w = normal(rows, inputs, dtype=dtype), in_memory(normal(outputs, inputs, dtype=dtype), order)
    bias, grad = normal(outputs, seed=1, dtype=dtype), normal(rows, outputs, seed=2, dtype=dtype)
    on_device = OnDevice(linear, cupy)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    for name, arguments in (
        ("linear", (x, w)),
        ("linear", (x, w, bias, True)),
        ("linear_grad_input", (grad, w)),
        ("linear_grad_weight", (grad, x)),
    ):
        y, expected = getattr(on_device, name)(*arguments), getattr(sibling, name)(*arguments)
        assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
