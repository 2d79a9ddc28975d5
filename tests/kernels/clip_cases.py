"""Gradients of several shapes, for the tests of all implementations of clipping."""

from tests.checks import in_memory, normal

SHAPES = [(3, 2, 5, 5), (), (0,), (300, 200)]


def grads(dtype, order="contiguous"):
    """Return an array of each shape, its axes in an order that `in_memory` knows."""
    return [in_memory(normal(*shape, dtype=dtype), order) for shape in SHAPES]
