"""When results go past the caches. That they are the same numbers, the tests of BatchNorm say."""

import numpy as np
import pytest

pytest.importorskip("numba")
from minicnn.kernels.cpu.streaming import LARGE, is_streamed
from minicnn.kernels.memory import empty

BLOCK_BYTES = 64


def rows(size):
    return empty((size // (4 * 64), 64), np.float32)


def test_large_results_are_streamed():
    assert is_streamed(rows(LARGE), BLOCK_BYTES)


def test_small_results_stay_in_the_caches():
    assert not is_streamed(rows(LARGE // 2), BLOCK_BYTES)


def test_rows_must_be_whole_blocks():
    assert not is_streamed(empty((LARGE // 64, 20), np.float32), BLOCK_BYTES)


def test_blocks_must_be_whole_cache_lines():
    assert not is_streamed(rows(LARGE), BLOCK_BYTES // 2)


def test_results_must_begin_with_a_cache_line():
    memory = rows(LARGE + 4096).reshape(-1)
    assert not is_streamed(memory[4 : 4 + LARGE // 4].reshape(-1, 64), BLOCK_BYTES)


def test_an_empty_result_is_not_streamed():
    assert not is_streamed(np.empty((0, 64), np.float32), BLOCK_BYTES)
