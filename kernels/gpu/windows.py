"""What kernels are told of the windows of a convolution or a pooling; see windows.cuh."""

import functools
from typing import NamedTuple

import numpy as np

from ..arrays import Array
from ..shapes import Pair, Shape, Window
from . import divisor
from .launch import struct

MEMBERS = (
    *("C", "H", "W", "OH", "OW", "R", "S"),
    *divisor.members_of("step_h", "step_w"),
    *("top", "bottom", "left", "right"),
    *divisor.members_of("apart_h", "apart_w", "packs", "columns", "rows"),
)
"""Those of `Windows` in windows.cuh, and of its parts, one after the other."""


class Pieces(NamedTuple):
    """What the threads share out among them: each makes a piece of a result at a time."""

    packs: int
    """Of channels, of a pixel."""
    columns: int
    """Pixels of a row, or groups of them."""
    rows: int
    number: np.int64
    """In all."""


def pieces_of(result: Array, pixels: int = 1) -> Pieces:
    """Divide a result (N, height, width, C) into packs of channels of `pixels` neighbours in a row."""
    N, height, width, C = result.shape
    packs, columns = -(-C * result.dtype.itemsize // 16), -(-width // pixels)
    return Pieces(packs, columns, height, np.int64(N * height * columns * packs))


@functools.lru_cache(maxsize=4096)
def windows_of(x_shape: Shape, output_size: Pair, window: Window, pieces: Pieces) -> np.ndarray:
    """Return the struct `Windows` for images (N, C, H, W), and for a result of which each thread makes a piece."""
    _, C, H, W = x_shape
    kernel, stride, padding, dilation = window
    sizes = C, H, W, *output_size, *kernel
    steps, apart, counts = map(divisor.members, (stride, dilation, pieces[:3]))
    values = *sizes, *steps, *padding[0], *padding[1], *apart, *counts
    return struct(MEMBERS, *(value % 2**32 for value in values), dtype=np.uint32)
