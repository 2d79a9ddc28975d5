"""What kernels are told of the windows of a convolution or a pooling; see windows.cuh."""

import functools

import numpy as np

from ..arrays import Array
from ..shapes import Pair, Shape, Window
from .launch import struct

MEMBERS = (
    *("C", "H", "W", "OH", "OW", "R", "S", "step_h", "step_w"),
    *("top", "bottom", "left", "right", "apart_h", "apart_w"),
)
"""Those of `Windows` in windows.cuh."""


@functools.lru_cache(maxsize=4096)
def windows_of(x_shape: Shape, output_size: Pair, window: Window) -> np.ndarray:
    """Return the struct `Windows` for images (N, C, H, W)."""
    _, C, H, W = x_shape
    kernel, stride, padding, dilation = window
    sizes = C, H, W, *output_size
    return struct(MEMBERS, *sizes, *kernel, *stride, *padding[0], *padding[1], *dilation)


def packs_of(result: Array, pixels: int = 1) -> np.int64:
    """How many pieces a result (N, height, width, C) has: packs of channels of `pixels` neighbours in a row."""
    N, height, width, C = result.shape
    lanes = 16 // result.dtype.itemsize
    return np.int64(N * height * -(-width // pixels) * -(-C // lanes))
