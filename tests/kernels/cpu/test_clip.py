"""Clipping of many gradients at once: compiled loops and NumPy."""

import numpy as np
import pytest

from minicnn.kernels import clip as numpy_clip
from minicnn.kernels.cpu import clip
from tests.kernels.clip_cases import grads

MODULES = pytest.mark.parametrize("module", [clip, numpy_clip], ids=["compiled", "numpy"])


@MODULES
@pytest.mark.parametrize("order", ["contiguous", "channels last", "strided"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_functions(module, dtype, order):
    arrays, plain = grads(dtype, order), np.concatenate([g.ravel() for g in grads(dtype)])
    norm = module.norm(arrays)
    assert norm.dtype == dtype
    np.testing.assert_allclose(norm, np.linalg.norm(plain), rtol=1e-5)
    module.scale(arrays, 0.5)
    module.clip(arrays, 0.25)
    expected = np.clip(0.5 * plain, -0.25, 0.25)
    np.testing.assert_allclose(np.concatenate([g.ravel() for g in arrays]), expected, rtol=1e-6)


@MODULES
def test_nan_and_infinity(module):
    array = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert np.isnan(module.norm([array]))
    assert module.norm([array[1:]]) == np.inf
    module.clip([array], 2.0)
    np.testing.assert_array_equal(array, [np.nan, 2, -2, 1])


def test_squares_may_be_larger_than_float32():
    np.testing.assert_allclose(clip.norm([np.full(4, 1e38, np.float32)]), 2e38, rtol=1e-6)
