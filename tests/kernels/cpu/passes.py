"""The loops beside those of convolutions.py, compared with their definitions: a program for tiles of another shape.

    python -m tests.kernels.cpu.passes VECTOR_BYTES TILE_ROWS

What differs between processors is how channels are cut into vectors: so there are few of them, whole vectors
of all sizes, and rests. In float32 only, and Winograd's squares of 4 x 4 only, because compiling takes 25 s.
"""

import sys

import numpy as np

from minicnn.kernels import reference
from tests.kernels.conv_cases import (
    FUNCTIONS,
    WINOGRAD_EPSILONS,
    check_against,
    largest_error,
    simple_case,
)

CHANNELS = (3, 37, 64)


def check_winograd():
    from minicnn.kernels.cpu import winograd

    case = simple_case(N=3, C=20, K=37, size=7, padding=1)
    for function in FUNCTIONS:
        y = getattr(winograd, function)(*case.arguments(function), tile=4, padding=1)
        assert largest_error(y, case, function) < WINOGRAD_EPSILONS[4], function


def check_depthwise():
    from minicnn.kernels.cpu import depthwise

    depthwise.STREAMED_BYTES = 0
    for C in CHANNELS:
        for stride in (1, 2):
            case = simple_case(N=2, C=C, K=C, groups=C, size=(9, 7), padding=1, stride=stride)
            for function in FUNCTIONS:
                check_against(reference, depthwise, function, case)


def check_norm():
    from minicnn.kernels.cpu import depthwise, norm
    from tests.kernels.test_norm import a_case, check_against_the_definition

    def aligned(shape, dtype):
        """An array that begins with a cache line, as all large results do."""
        return depthwise._aligned_empty(shape, np.dtype(dtype))

    norm.empty = aligned
    assert norm.is_streamed(aligned((75, 64), np.float32), norm.BLOCK_BYTES)
    for channels in CHANNELS:
        check_against_the_definition(norm, a_case((3, channels, 5, 5)))


def check_pool():
    from tests.kernels.cpu.test_pool import assert_same_avg_pool, assert_same_max_pool, images

    for channels in CHANNELS:
        assert_same_max_pool(images(channels), 2)
        assert_same_max_pool(images(channels), 3, stride=2, padding=1)
        assert_same_avg_pool(images(channels), 3, stride=2, padding=1)


def check_conv_pool():
    from tests.kernels.cpu.test_conv_pool import case

    case(C=3, K=40, size=(12, 20), padding=1).check()
    case(C=1, K=6, size=(9, 8), kernel=(5, 5)).check()


def main(vector_bytes, tile_rows):
    """Shape the tiles before any loop is imported, and run all checks, with streaming stores wherever they fit."""
    from minicnn.kernels.cpu import target

    target.VECTOR_BYTES, target.TILE_ROWS = int(vector_bytes), int(tile_rows)

    from minicnn.kernels.cpu import streaming

    streaming.LARGE = 0
    for check in (check_winograd, check_depthwise, check_norm, check_pool, check_conv_pool):
        check()
    print(target.CPU_NAME, target.VECTOR_BYTES, target.TILE_ROWS)


if __name__ == "__main__":
    main(*sys.argv[1:])
