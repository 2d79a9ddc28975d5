"""Rows times factors, column by column: how weights are scaled where they have just been packed."""

from numba import types
from numba.extending import intrinsic

from .compiled import compiled
from .target import VECTOR_BYTES
from .vectors import Vectors


@compiled
def scale_rows(rows, count, width, factors, like):
    """Multiply `count` rows of a panel, in place, by a row of factors.

    Args:
        rows: the address of the first row.
        count: how many rows.
        width: numbers in a row, a whole number of vectors.
        factors: the address of as many factors.
        like: an array that tells the dtype.
    """
    row_bytes = width * like.itemsize
    for row in range(count):
        for offset in range(0, row_bytes, VECTOR_BYTES):
            _scale_vector(rows + row * row_bytes + offset, factors + offset, like)


@intrinsic
def _scale_vector(typing_context, numbers, factors, like):
    """Multiply a vector in memory by another one; both are addresses."""

    def emit(context, builder, signature, arguments):
        numbers, factors, _ = arguments
        vectors = Vectors(builder, signature.args[2].dtype)
        product = builder.fmul(vectors.load(numbers), vectors.load(factors))
        vectors.store(product, numbers)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, like), emit
