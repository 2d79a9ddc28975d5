"""Dropout without a stored mask: which numbers are dropped follows from a key, and can be computed again.

The random numbers are those of Philox 4x32-7 (Salmon et al., "Parallel random numbers: as easy as 1, 2,
3", SC 2011). It is no sequence, but a function of a counter and a key: rounds of products and
exclusive ors turn each counter into four words of 32 bits. So any thread can begin anywhere, and the
result does not depend on how many there are. With 7 rounds Philox passes the tests of TestU01's
BigCrush; the 10 of other libraries are a margin that dropout does not need, and take 3 / 7 longer.
The same key drops the same numbers on every device, and nothing but the key gets there.

The sibling in compiled loops, which draws the same words, is cpu/dropout.py.
"""

from .arrays import Array, xp_of

ROUNDS = 7
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
WORD = 0xFFFFFFFF  # the lowest 32 bits

COUNTERS = 64
"""Counters of a block: their first words, then their second words, and so on, decide over 8 * 64 numbers.

Each half of a word decides over one number, the lower half first.
"""


def dropout(x: Array, p: float, key: int | Array) -> Array:
    """Multiply each number of `x` by 0 with probability `p`, and the rest by 1 / (1 - p).

    0 times NaN or infinity is NaN: what has gone wrong before is not hidden by chance (nor is it in PyTorch).
    The function is its own gradient: with the same key, dL/dx is dropout(dL/dy, p, key).

    Args:
        x: numbers of any float dtype, counted in row-major order.
        p: in [0, 1], rounded to a multiple of 2^-16.
        key: an integer in [0, 2^64); or where x lives, an array of one uint64 without axes.

    Returns:
        A new array of the same shape and dtype, in row-major order.
    """
    blocks = -(-x.size // (8 * COUNTERS))
    xp = xp_of(x)
    counters = xp.arange(blocks * COUNTERS, dtype="uint64").reshape(blocks, COUNTERS)
    words = xp.stack(philox(counters, key), axis=1)  # (blocks, 4, COUNTERS)
    halves = words.astype("<u4").view("<u2").reshape(-1)
    limit, factor = limit_and_factor(p)
    kept = halves[: x.size].reshape(x.shape) >= limit
    return x * (kept.astype(x.dtype) * x.dtype.type(factor))


def limit_and_factor(p: float) -> tuple[int, float]:
    """Return the number of 16 bits below which an element is dropped, and the factor of those that stay."""
    return round(p * 2**16), 1 / (1 - p) if p < 1 else 0.0


def philox(counters: Array, key: int | Array, rounds: int = ROUNDS) -> list[Array]:
    """Return four words of 32 random bits for each counter.

    Args:
        counters: uint64, any shape.
        key: see `dropout`.
        rounds: how often the words are mixed.

    Returns:
        Four arrays of uint64, of that shape.
    """
    a, b = counters & WORD, counters >> 32
    c = d = xp_of(counters).zeros_like(counters)
    key_a, key_b = key & WORD, key >> 32
    for _ in range(rounds):
        product_a, product_c = a * MULTIPLIERS[0], c * MULTIPLIERS[1]  # of 64 bits
        a, b = (product_c >> 32) ^ b ^ key_a, product_c & WORD
        c, d = (product_a >> 32) ^ d ^ key_b, product_a & WORD
        key_a, key_b = (key_a + KEY_STEPS[0]) & WORD, (key_b + KEY_STEPS[1]) & WORD
    return [a, b, c, d]
