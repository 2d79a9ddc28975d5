import numpy as np
import pytest

from minicnn.kernels import arrays


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
