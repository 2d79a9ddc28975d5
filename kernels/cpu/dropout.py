"""Dropout in one pass over memory; the contract, and the random numbers, are those of ../dropout.py.

The words of one block of numbers are drawn into memory that stays in the fastest cache, 8 counters at
a time by vector instructions; then they decide over the numbers.
"""

import numpy as np

from ..dropout import COUNTERS, KEY_STEPS, MULTIPLIERS, ROUNDS, limit_and_factor
from ..memory import empty_like
from .compiled import compiled, on_threads, plain
from .flat import share, threads_for

MULTIPLIER_A, MULTIPLIER_C = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
STEP_A, STEP_B = np.uint32(KEY_STEPS[0]), np.uint32(KEY_STEPS[1])
HALF = np.uint64(32)
BLOCK = 8 * COUNTERS


def dropout(x: np.ndarray, p: float, key: int) -> np.ndarray:
    """See ../dropout.py."""
    x = plain(x)
    y = empty_like(x)
    limit, factor = limit_and_factor(p)
    threads = threads_for(x.size)
    words = np.empty((threads, 4, COUNTERS), np.uint32)
    halves = words.reshape(threads, -1).view(np.uint16)  # (threads, BLOCK), lower halves first
    arguments = x.reshape(-1), y.reshape(-1), words, halves, limit, factor, np.uint64(key)
    _dropout(threads, *arguments)
    return y


@compiled
def _draw(words, block, key):
    """Write the words of the counters of one block: a, b, c, d (COUNTERS,) uint32."""
    a, b, c, d = words[0], words[1], words[2], words[3]
    for j in range(COUNTERS):
        counter = block * COUNTERS + j
        a[j], b[j], c[j], d[j] = counter, counter >> 32, 0, 0
    key_a, key_b = np.uint32(key), np.uint32(key >> HALF)
    for _ in range(ROUNDS):
        for j in range(COUNTERS):
            product_a, product_c = np.uint64(a[j]) * MULTIPLIER_A, np.uint64(c[j]) * MULTIPLIER_C
            a[j] = np.uint32(product_c >> HALF) ^ b[j] ^ key_a
            b[j] = np.uint32(product_c)
            c[j] = np.uint32(product_a >> HALF) ^ d[j] ^ key_b
            d[j] = np.uint32(product_a)
        key_a, key_b = np.uint32(key_a + STEP_A), np.uint32(key_b + STEP_B)


@on_threads
def _dropout(part, parts, x, y, words, halves, limit, factor, key):
    zero, kept, limit_of_half = x.dtype.type(0), x.dtype.type(factor), np.uint32(limit)
    mine = share((x.size + BLOCK - 1) // BLOCK, part, parts)
    half = halves[part]
    for block in range(mine.start, mine.stop):
        _draw(words[part], block, key)
        here = slice(block * BLOCK, (block + 1) * BLOCK)  # the last block may be short
        x_block, y_block = x[here], y[here]
        for i in range(x_block.size):
            # Not zero itself: NaN stays.
            y_block[i] = x_block[i] * (kept if np.uint32(half[i]) >= limit_of_half else zero)
