"""Results that are too large to wait in the caches go past them.

A processor that stores to memory first fetches the line, because it does not know that all of the line
will be written; later the line is written back. A pass that reads an array and writes another thus moves
three arrays. A *streaming* store collects a line and sends it off: nothing is fetched, and what the caches
hold, such as the numbers that are still to be read, stays there. Small results are better left in the
caches, where the next layer finds them.

Only whole lines are worth it: half a line costs as much as several whole ones.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..memory import CACHE_LINE

LARGE = 2**22
"""Bytes of a result from which on it is streamed: a BatchNorm and what reads its result are then quicker (measured)."""


def is_streamed(result: np.ndarray, block_bytes: int) -> bool:
    """Whether a result is to be written by streaming stores.

    Args:
        result: contiguous.
        block_bytes: what is written at once. A row, the last axis, must be whole blocks, and a block whole lines.
    """
    return (
        result.nbytes >= LARGE
        and block_bytes % CACHE_LINE == 0
        and result.shape[-1] * result.itemsize % block_bytes == 0
        and result.ctypes.data % CACHE_LINE == 0
    )


def store_streaming(builder: ir.IRBuilder, vector: ir.Value, pointer: ir.Value, align: int) -> None:
    """Emit a streaming store of a vector, to an address that is a multiple of `align`, the size of a register."""
    store = builder.store(vector, pointer)
    store.align = align
    yes = ir.Constant(ir.IntType(32), 1)
    store.set_metadata("nontemporal", builder.module.add_metadata([yes]))


@intrinsic
def finish_streaming(typing_context):
    """Wait until all threads can see what this one has stored: streaming stores may be late otherwise."""

    def emit(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), emit
