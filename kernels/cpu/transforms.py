"""Winograd's transforms of small squares of numbers, written as vector instructions.

Each is a product with a small constant matrix from both sides, L X L^T, for as many channels at a
time as a vector has lanes. The matrices are known when a kernel is compiled, so a product with 0 or
1 costs nothing, and rows (or columns) that differ in signs only share their sums.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .vectors import INT64, Vectors
from .winograd_plan import SquaresOf2, SquaresOf4

Matrices = dict[type, np.ndarray]
"""The matrix for each kind of squares. Each is a type of its own to Numba, so that only one is compiled."""

# Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4:
# y = A^T [(G g) * (B^T d)] correlates 3 numbers g with m + 2 numbers d. G and A (transposed) evaluate
# polynomials at the points 0, 1, -1, (2, -2,) and infinity; B^T interpolates.
INPUT: Matrices = {  # B^T
    SquaresOf2: np.array(
        [
            [1.0, 0, -1, 0],
            [0, 1, 1, 0],
            [0, -1, 1, 0],
            [0, 1, 0, -1],
        ]
    ),
    SquaresOf4: np.array(
        [
            [4.0, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    ),
}
WEIGHT: Matrices = {  # G
    SquaresOf2: np.array(
        [
            [1, 0, 0],
            [1 / 2, 1 / 2, 1 / 2],
            [1 / 2, -1 / 2, 1 / 2],
            [0, 0, 1],
        ]
    ),
    SquaresOf4: np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
}
OUTPUT: Matrices = {  # A^T
    SquaresOf2: np.array(
        [
            [1.0, 1, 1, 0],
            [0, 1, -1, -1],
        ]
    ),
    SquaresOf4: np.array(
        [
            [1.0, 1, 1, 1, 1, 0],
            [0, 1, -1, 2, -2, 0],
            [0, 1, 1, 4, 4, 0],
            [0, 1, -1, 8, -8, 1],
        ]
    ),
}


def transform_by(matrices: Matrices) -> Callable:
    """Make the intrinsic that multiplies squares of vectors by a matrix (rows, columns) from both sides.

    It is called as `transform(squares, like, source, target, more, relu)`:

        squares: `SquaresOf2` or `SquaresOf4`; its type chooses the matrix.
        like: an array, for its dtype.
        source: where the columns * columns vectors are: (table, first, step, offset). Vector
            number j has the address table[first + j * step] + offset.
        target: where the rows * rows results go, likewise.
        more: whether to add to what is in the target.
        relu: whether negative results become 0.
    """

    @intrinsic
    def transform(typing_context, squares, like, source, target, more, relu):
        signature = types.void(squares, like, source, target, types.int64, types.int64)

        def emit(context, builder, signature, arguments):
            _, _, source, target, more, relu = arguments
            matrix = matrices[signature.args[0].instance_class]
            vectors = Vectors(builder, signature.args[1].dtype)
            sources = _Places(context, builder, signature.args[2], source)
            targets = _Places(context, builder, signature.args[3], target)
            more, relu = (
                builder.icmp_signed("!=", flag, ir.Constant(INT64, 0)) for flag in (more, relu)
            )
            square = both_sides(vectors, matrix, lambda j: vectors.load(sources[j]))
            for j, result in enumerate(square):
                old = builder.select(more, vectors.load(targets[j]), vectors.constant(0))
                result = builder.fadd(result, old, flags=("nsz",))
                vectors.store(builder.select(relu, vectors.relu(result), result), targets[j])
            return context.get_dummy_value()

        return signature, emit

    return transform


@intrinsic
def copy_number(typing_context, target, source, like):
    """Copy one number of the dtype of array `like` from address to address."""

    def emit(context, builder, signature, arguments):
        target, source, _ = arguments
        vectors = Vectors(builder, signature.args[2].dtype)
        number = vectors.number(source)
        builder.store(number, builder.inttoptr(target, vectors.element.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, like), emit


class _Places:
    """The addresses that a tuple (table, first, step, offset) stands for."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: types.Tuple, value: ir.Value):
        table, self.first, self.step, self.offset = (
            builder.extract_value(value, i) for i in range(4)
        )
        self.table = context.make_array(kind[0])(context, builder, table).data
        self.builder = builder

    def __getitem__(self, j: int) -> ir.Value:
        builder = self.builder
        place = builder.add(self.first, builder.mul(self.step, ir.Constant(INT64, j)))
        return builder.add(builder.load(builder.gep(self.table, [place])), self.offset)


def both_sides(
    vectors: Vectors, matrix: np.ndarray, element: Callable[[int], ir.Value]
) -> list[ir.Value]:
    """Emit matrix X matrix^T, where X[i, j] is element(i * columns + j); return it row by row."""
    _, columns = matrix.shape
    half = [  # for each column of X: matrix times the column
        times_matrix(vectors, matrix, [element(i * columns + j) for i in range(columns)])
        for j in range(columns)
    ]
    rows = zip(*half, strict=True)
    return [result for row in rows for result in times_matrix(vectors, matrix, list(row))]


def times_matrix(vectors: Vectors, matrix: np.ndarray, x: list[ir.Value]) -> list[ir.Value]:
    """Emit matrix times x. What belongs to the points 1 and -1, or 2 and -2, is worked out together."""
    matrix, x = _without_mirrored_columns(vectors, matrix, x)
    results, i = [], 0
    while i < len(matrix):
        if i + 1 < len(matrix) and _is_mirrored(matrix[i], matrix[i + 1]):
            even, odd = (_dot(vectors, row, x) for row in _even_and_odd(matrix[i]))
            results += [vectors.builder.fadd(even, odd), vectors.builder.fsub(even, odd)]
            i += 2
        else:
            results.append(_dot(vectors, matrix[i], x))
            i += 1
    return results


def _without_mirrored_columns(
    vectors: Vectors, matrix: np.ndarray, x: list[ir.Value]
) -> tuple[np.ndarray, list[ir.Value]]:
    """Where columns differ in the signs of the odd rows only, exchange their x for sum and difference."""
    matrix, x = matrix.copy(), list(x)
    for j in range(len(x) - 1):
        if _is_mirrored(matrix[:, j], matrix[:, j + 1]):
            matrix[:, j], matrix[:, j + 1] = _even_and_odd(matrix[:, j])
            total = vectors.builder.fadd(x[j], x[j + 1])
            x[j], x[j + 1] = total, vectors.builder.fsub(x[j], x[j + 1])
    return matrix, x


def _even_and_odd(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a row into two, of its elements 0, 2, 4 and its elements 1, 3, 5; the others are 0."""
    is_even = np.arange(len(row)) % 2 == 0
    return row * is_even, row * ~is_even


def _is_mirrored(row: np.ndarray, other: np.ndarray) -> bool:
    even, odd = _even_and_odd(row)
    return bool(even.any() and odd.any() and (other == even - odd).all())


def _dot(vectors: Vectors, row: np.ndarray, x: list[ir.Value]) -> ir.Value:
    """Emit the sum of row[j] * x[j] over what is not 0 in `row`, a factor of 1 first if there is one."""
    terms = sorted((j for j in range(len(x)) if row[j] != 0), key=lambda j: row[j] != 1)
    total = None
    for j in terms:
        if total is None:
            is_one = row[j] == 1
            total = x[j] if is_one else vectors.builder.fmul(vectors.constant(float(row[j])), x[j])
        elif row[j] == 1:
            total = vectors.builder.fadd(total, x[j])
        else:
            total = vectors.multiply_add(vectors.constant(float(row[j])), x[j], total)
    return total


transform_input = transform_by(INPUT)
transform_weight = transform_by(WEIGHT)
transform_product = transform_by(OUTPUT)
transform_grad = transform_by({kind: matrix.T for kind, matrix in OUTPUT.items()})
transform_sum = transform_by({kind: matrix.T for kind, matrix in WEIGHT.items()})
