import operator

import numpy as np
import pytest

from minicnn.kernels import arrays
from tests.gpu.strict_cupy import installed, make_cupy


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_keep_where_leaves_no_trace_of_the_rest(dtype):
    values = np.array([1, -2, np.nan, np.inf, -0.5], dtype)
    kept = arrays.keep_where(np.array([True, True, False, False, True]), values)
    np.testing.assert_array_equal(kept, np.array([1, -2, 0, 0, -0.5], dtype))
    assert kept.dtype == dtype


def test_keep_where_keeps_nan_and_infinity():
    values = np.array([np.nan, np.inf])
    np.testing.assert_array_equal(arrays.keep_where(np.array([True, True]), values), values)


def test_channels_first_undoes_channels_last_without_a_copy():
    x = np.zeros((2, 3, 4, 5))
    assert arrays.channels_last(x).shape == (2, 4, 5, 3)
    assert arrays.channels_first(arrays.channels_last(x)).strides == x.strides
    assert np.shares_memory(arrays.channels_last(x), x)


def test_xp_of_is_numpy_without_cupy():
    assert arrays.xp_of(np.zeros(1)) is np


@pytest.mark.parametrize("dtype", [np.int32, np.complex64, np.longdouble, bool])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match="x: expected float16, float32 or float64"):
        arrays.check_float_array(np.zeros(1, dtype), "x")


@pytest.mark.parametrize(("dtype", "expected"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8")])
def test_sum_dtype(dtype, expected):
    assert arrays.sum_dtype(np.dtype(dtype)) == expected


@pytest.mark.parametrize("library", ["numpy", "cupy"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)])
def test_keeping_order(library, order):
    numbers = np.arange(120.0).reshape([(2, 3, 4, 5)[axis] for axis in order])
    back = np.argsort(order).tolist()
    with installed(make_cupy()) as cupy:
        xp = np if library == "numpy" else cupy
        x, mask = xp.asarray(numbers).transpose(back), xp.asarray(np.ones((2, 3, 1, 1)))
        y = arrays.keeping_order(operator.add, x, mask)
        assert y.strides == x.strides or xp is np  # NumPy looks at the mask too
        assert y.tolist() == (numbers.transpose(back) + 1).tolist()
        assert arrays.keeping_order(operator.add, x, xp.ones(5)).shape == x.shape


def test_memory_order_and_back():
    x = np.zeros((2, 3, 4, 5)).transpose(2, 0, 3, 1)
    in_order, order = arrays.in_memory_order(x)
    assert in_order.flags.c_contiguous
    assert in_order.transpose(arrays.inverse_order(order)).strides == x.strides


@pytest.mark.parametrize(
    ("mask", "place"),
    [([False, True, True], 1), ([False], -1), ([], -1), ([[False, False], [True, False]], 2)],
)
def test_first_true(mask, place):
    assert arrays.first_true(np.array(mask, bool)) == place
    with installed(make_cupy()) as cupy:
        found = arrays.first_true(cupy.asarray(np.array(mask, bool)))
        assert cupy.traffic.syncs == []
        assert (found.shape, found.item()) == ((), place)
