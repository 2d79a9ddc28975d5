"""Dropout in CUDA: the same numbers are dropped as on the CPU, and keys may come from the device."""

import numpy as np
import pytest

from minicnn.kernels import dropout as numpy_dropout
from minicnn.kernels.gpu import dropout
from tests.checks import normal
from tests.kernels.gpu.on_device import OnDevice

KEY = 0x8123456789ABCDEF


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 512, 513, 5001])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_the_same_numbers_are_dropped_as_on_the_cpu(cupy, size, dtype, p):
    x = normal(size, dtype=dtype)
    y = OnDevice(dropout, cupy).dropout(x, p, KEY)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, numpy_dropout.dropout(x, p, KEY))


def test_a_single_number(cupy):
    y = dropout.dropout(cupy.ones((), np.float32), 0.5, KEY)
    assert (y.shape, y.item()) == ((), numpy_dropout.dropout(np.ones((), "f4"), 0.5, KEY).item())


def test_more_numbers_than_threads(cupy, monkeypatch):
    monkeypatch.setattr(dropout, "blocks_for", lambda count: (1,))
    x = normal(9001, dtype="float32")
    y = OnDevice(dropout, cupy).dropout(x, 0.5, KEY)
    np.testing.assert_array_equal(y, numpy_dropout.dropout(x, 0.5, KEY))


@pytest.mark.parametrize("size", [100, 101])
def test_nan_and_infinity_times_0_are_nan(cupy, size):
    dropped = numpy_dropout.dropout(np.ones(size), 0.5, KEY) == 0
    for value in (np.nan, np.inf):
        y = OnDevice(dropout, cupy).dropout(np.full(size, value), 0.5, KEY)
        np.testing.assert_array_equal(y, np.where(dropped, np.nan, value))


def test_a_view_that_begins_within_a_pair(cupy):
    x = cupy.asarray(normal(101, dtype="float32"))
    y = dropout.dropout(x[1:], 0.5, KEY)
    np.testing.assert_array_equal(y.get(), numpy_dropout.dropout(x.get()[1:], 0.5, KEY))


def test_keys_from_the_device(cupy, traffic):
    key = cupy.asarray(np.array(KEY, np.uint64))
    x = normal(600, dtype="float32")
    on_device = cupy.asarray(x)
    traffic.clear()
    results = []
    for _ in range(3):
        results.append(dropout.dropout(on_device, 0.5, key))
        key += 1
    assert not traffic.syncs
    assert not traffic.uploads
    for i, y in enumerate(results):
        np.testing.assert_array_equal(y.get(), numpy_dropout.dropout(x, 0.5, KEY + i))
