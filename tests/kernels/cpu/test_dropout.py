"""Dropout by key: the random words against published ones, and the compiled loops against NumPy."""

import numba
import numpy as np
import pytest

from minicnn.kernels import dropout as numpy_dropout
from minicnn.kernels.cpu import dropout
from tests.checks import normal

KEY = 0x0123456789ABCDEF


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        (7, [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]),
        (10, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ],
)
def test_words_are_those_of_random123(rounds, words):
    drawn = numpy_dropout.philox(np.zeros(1, np.uint64), 0, rounds)
    assert [int(word[0]) for word in drawn] == words


@pytest.mark.parametrize("size", [0, 1, 3, 255, 256, 257, 5000, 50_001])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_compiled_loops_drop_the_same(size, dtype, p):
    x = normal(size, dtype=dtype)
    y = dropout.dropout(x, p, KEY)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, numpy_dropout.dropout(x, p, KEY))


def test_any_number_of_threads_drops_the_same():
    x = normal(100_000)
    expected = dropout.dropout(x, 0.5, KEY)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        np.testing.assert_array_equal(dropout.dropout(x, 0.5, KEY), expected)
    finally:
        numba.set_num_threads(threads)


def test_keys_differ():
    x = np.ones(1000)
    assert (dropout.dropout(x, 0.5, KEY) != dropout.dropout(x, 0.5, KEY + 2**40)).any()


def test_shape_and_order():
    x = normal(4, 6, 5).transpose(2, 0, 1)
    y = dropout.dropout(x, 0.5, KEY)
    assert y.shape == x.shape
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(y[y != 0], 2 * x[y != 0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("module", [numpy_dropout, dropout])
def test_nan_and_infinity_times_0_are_nan(module, dtype):
    dropped = module.dropout(np.ones(1000, dtype), 0.5, KEY) == 0
    assert dropped.any()
    for value in (np.nan, np.inf, -np.inf):
        with np.errstate(invalid="ignore"):
            y = module.dropout(np.full(1000, value, dtype), 0.5, KEY)
        np.testing.assert_array_equal(y, np.where(dropped, np.nan, value))
