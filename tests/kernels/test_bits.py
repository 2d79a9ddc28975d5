"""Bits are compared, digested, and made others."""

import numpy as np
import pytest

from minicnn.kernels import bits


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool])
def test_bits_are_compared_and_not_numbers(dtype):
    a = np.array([0, 1], dtype)
    assert bits.same_bits(a, a.copy())
    assert not bits.same_bits(a, a[::-1])
    assert not bits.same_bits(a, a[:1])


def test_nan_has_the_same_bits_as_itself_and_zeros_have_signs():
    assert bits.same_bits(np.array([np.nan]), np.array([np.nan]))
    assert not bits.same_bits(np.array([0.0]), np.array([-0.0]))


def test_a_digest_depends_on_numbers_shape_and_dtype():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = bits.digest(array)
    assert found == bits.digest(np.asfortranarray(array), like=array)
    for other in (array.reshape(4, 3), array.view(np.int32), array + 1, array.T, array[:, ::-1]):
        assert bits.digest(other) != found


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.uint64, bool, complex])
def test_no_number_stays_what_it_is(dtype):
    array = np.array([[0, 1], [1, 0]], dtype)[:, ::-1]
    before = array.copy()
    bits.garble(array)
    assert not (array == before).any()
