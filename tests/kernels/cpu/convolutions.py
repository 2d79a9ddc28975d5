"""Convolutions that reach every part of the compiled loops, and a program that compares them with the definition.

    python -m tests.kernels.cpu.convolutions [VECTOR_BYTES TILE_ROWS [DTYPE]]

With numbers, the loops are compiled for tiles of another processor's shape; LLVM splits vectors that
this one does not have. So the tests see more processors than the one that they run on.
"""

import sys

import numpy as np

from minicnn.kernels import reference
from tests.kernels.conv_cases import FUNCTIONS, ConvCase, check_against, in_double, simple_case

CONVOLUTIONS = {
    "one number": {"N": 1, "C": 1, "K": 1, "size": 1, "kernel": 1},
    "several panels of weights": {"C": 16, "K": 70, "size": 5},
    "few pixels": {"C": 18, "K": 70, "size": 4},
    "channels that fill no vector": {"C": 13, "K": 19, "size": 5, "padding": 1},
    "channels that fill squares": {"C": 32, "K": 64, "size": 4, "padding": 1, "N": 1},
    "few channels, several taps": {"C": 3, "K": 5, "size": (5, 9), "kernel": 3, "padding": 1},
    "one channel and a large window": {"C": 1, "K": 6, "size": 9, "kernel": 5, "padding": 2, "stride": 2},
    "few channels and a window of one column": {"C": 2, "K": 3, "size": 7, "kernel": (3, 1)},
    "one pixel at a time": {"C": 20, "K": 24, "size": 5, "kernel": 1},
    "every second pixel": {"C": 9, "K": 17, "size": 7, "kernel": 1, "stride": 2},
    "every fourth pixel": {"C": 10, "K": 9, "size": 10, "kernel": 1, "stride": 4},
    "four phases": {"C": 10, "K": 12, "size": (8, 9), "stride": 2, "padding": 1},
    "phases and gaps": {"C": 8, "K": 9, "size": (10, 11), "kernel": 2, "stride": (3, 5), "padding": 1},
    "a dilation that is a multiple of the stride": {
        "C": 9, "K": 8, "size": 9, "stride": 2, "dilation": 2, "padding": 2
    },
    "a dilation that goes round the phases": {"C": 8, "K": 8, "size": 12, "stride": 2, "dilation": 3},
    "a stride larger than the image": {"C": 8, "K": 8, "size": 3, "kernel": 2, "stride": 9},
    "windows in the padding only": {"C": 8, "K": 9, "size": 2, "padding": ((4, 3), (2, 5))},
    "few channels, in the padding only": {"C": 2, "K": 9, "size": 2, "padding": ((4, 3), (2, 5))},
    "groups that fill no panel": {"C": 33, "K": 51, "size": 4, "padding": 1, "groups": 3},
    "a group for each channel": {"C": 5, "K": 10, "size": 5, "groups": 5},
    "a row longer than a strip": {"C": 2, "K": 3, "size": (2, 230), "kernel": (2, 7), "padding": (0, 3)},
    "a row of the window longer than a strip": {"C": 9, "K": 20, "size": (1, 150), "kernel": (1, 31)},
}  # fmt: skip

OF_FEW_CHANNELS = [
    name for name in CONVOLUTIONS if name.startswith(("few channels, ", "one channel"))
]
"""Those that stem.py computes too."""


def check_scaling(conv, dtype):
    """Weights of several panels are multiplied where they are packed."""
    case, scale = simple_case(dtype, C=9, K=70), np.linspace(-2, 3, 70, dtype=dtype)
    y = conv.conv2d(case.x, case.w, scale=scale)
    scaled = ConvCase(case.x, case.w * scale[:, None, None, None], case.grad, {})
    expected = in_double(scaled).run(reference, "conv2d")
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def main(vector_bytes=None, tile_rows=None, *dtypes):
    """Import the loops, and compare all convolutions, in float32 and float64 unless told otherwise."""
    from minicnn.kernels.cpu import target

    if vector_bytes is not None:
        target.VECTOR_BYTES, target.TILE_ROWS = int(vector_bytes), int(tile_rows)

    from minicnn.kernels.cpu import conv, stem

    print(target.CPU_NAME, target.VECTOR_BYTES, target.TILE_ROWS)
    for name, convolution in CONVOLUTIONS.items():
        for dtype in dtypes or ("float32", "float64"):
            for function in FUNCTIONS:
                try:
                    case = simple_case(dtype, **convolution)
                    check_against(reference, conv, function, case)
                    if name in OF_FEW_CHANNELS and function != "conv2d_grad_input":
                        check_against(reference, stem, function, case)
                except AssertionError as error:
                    raise AssertionError(f"{function}, {name}, {dtype}") from error
    for dtype in dtypes or ("float32", "float64"):
        check_scaling(conv, dtype)


if __name__ == "__main__":
    main(*sys.argv[1:])
