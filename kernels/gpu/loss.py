"""Cross-entropy on a GPU in one kernel each way, see loss.cu; the contracts are in the sibling ../loss.py.

One thing differs: the weight and the first wrong row, arrays of no axes, lie on the device here, and
the host would have to wait to know them. So `wrong` is
not to be looked at in a training step, but when somebody reads the loss:

    losses, probabilities, weight, wrong = cross_entropy(scores, labels, weights, -100, 0.0)
    ...
    if int(wrong) >= 0:  # waits for the device
        raise ValueError(f"row {int(wrong)} has a label that is no class")

Until then nothing is wrong but the numbers: the loss of such a row is NaN, and a wrong label is never
used as an index.
"""

import numpy as np

from ..arrays import Array, xp_of
from ..loss import divided as divided
from ..loss import total as total
from .launch import THREADS, blocks_for, contiguous, function, struct

ROWS_OF_A_BLOCK = 8
"""A warp takes a row."""

MOST_BLOCKS = 1024
"""Of those that sum up weights: one block adds them up."""


def cross_entropy(
    scores: Array, labels: Array, weights: Array, ignore_index: int, smoothing: float
) -> tuple[Array, Array, Array, Array]:
    """See ../loss.py.

    Returns:
        The losses (rows,), the probabilities (rows, C), the sum of the weights (), and the first
        row with a wrong label (), int64: -1 if there is none.
    """
    xp, (rows, C) = xp_of(scores), scores.shape
    losses, probabilities = xp.empty(rows, scores.dtype), xp.empty((rows, C), scores.dtype)
    if not rows:
        return losses, probabilities, xp.zeros((), scores.dtype), xp.full((), -1, np.int64)
    weight, wrong = xp.empty((), scores.dtype), xp.empty((), np.int64)
    (blocks,) = _blocks(rows)
    weight_sums, wrong_rows = xp.empty(blocks), xp.empty(blocks, np.int64)
    given = contiguous(scores), _labels(labels), contiguous(weights)
    settings = _settings(rows, C, ignore_index), scores.dtype.type(smoothing)
    results = losses, probabilities, weight_sums, wrong_rows
    function("loss", "cross_entropy", scores)((blocks,), (THREADS,), (*given, *settings, *results))
    tallies = weight_sums, wrong_rows, np.int32(blocks), weight, wrong
    function("loss", "finish_tallies", scores)((1,), (THREADS,), tallies)
    return losses, probabilities, weight, wrong


def cross_entropy_grad(
    grad: Array,
    probabilities: Array,
    labels: Array,
    weights: Array,
    ignore_index: int,
    smoothing: float,
) -> Array:
    """See ../loss.py. A row with a wrong label has a gradient that means nothing."""
    rows, C = probabilities.shape
    grad_x = xp_of(probabilities).empty((rows, C), probabilities.dtype)
    if grad_x.size:
        step = np.int32(grad.size > 1)
        given = contiguous(probabilities), _labels(labels), contiguous(weights)
        settings = _settings(rows, C, ignore_index), probabilities.dtype.type(smoothing)
        compute = function("loss", "cross_entropy_grad", probabilities)
        arguments = contiguous(grad), step, *given, *settings, grad_x
        compute(_blocks(rows), (THREADS,), arguments)
    return grad_x


def _blocks(rows: int) -> tuple[int]:
    """How many blocks take the rows."""
    return (min(*blocks_for(rows, ROWS_OF_A_BLOCK), MOST_BLOCKS),)


def _labels(labels: Array) -> Array:
    return contiguous(labels.astype(np.int64, copy=False))


def _settings(rows: int, C: int, ignore_index: int) -> np.ndarray:
    return struct(("rows", "C", "ignore_index"), rows, C, ignore_index, dtype=np.int64)
