"""Work that threads share as they find time.

To give each thread the same share of the work is fair only if all are equally fast. On a busy machine
they are not: a core that serves somebody else as well computes a tenth more slowly for a while, and the
others wait at the end. Where a result does not depend on who computes it, each thread therefore takes
its share piece by piece, and then takes pieces of the shares that are not finished (Blumofe & Leiserson,
"Scheduling multithreaded computations by work stealing", 1999). A thread that is on time works on
neighbouring pieces of its own, as if the shares were fixed.

What is taken is counted for each share, by an instruction that reads a number and adds to it at once.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from ..capture import zeros
from ..memory import CACHE_LINE

INT64 = ir.IntType(64)

COUNTERS_APART = CACHE_LINE // 8
"""Numbers from one share's counter to the next one's: two in one cache line would slow each other down."""


def nothing_taken(shares: int) -> np.ndarray:
    """Return the counters of so many shares, int64; a replay sets them to 0 again, see `capture.zeros`."""
    return zeros((shares * COUNTERS_APART,), np.int64)


@register_jitable
def take_next(taken, share):
    """Take the next piece of a share: 0, 1, 2 and so on, each for one thread, and on beyond the last piece.

    Args:
        taken: counters, see `nothing_taken`.
        share: its number.
    """
    return _fetch_and_add(taken, share * COUNTERS_APART)


@intrinsic
def _fetch_and_add(typing_context, numbers, index):
    """Add 1 to an element of an int64 array, and return what it was, with no other thread coming between."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(data, [arguments[1]])
        return builder.atomic_rmw("add", place, ir.Constant(INT64, 1), "monotonic")

    return types.int64(numbers, types.int64), emit
