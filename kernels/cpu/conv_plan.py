"""What follows from the shapes and settings of a convolution alone: who sees whom, and through which weights.

A plan is a list of sums over taps, each with tables of addresses (pointers.py). The forward pass is
one such sum; the gradient with respect to the input has one for each phase of the stride. Plans are
made once for each kind of convolution, and kept.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..shapes import IntOrPair, Padding, Shape, conv2d_shape, window_of
from .compiled import compiled
from .pointers import Tables, input_seen, output_that_saw, pixels

FEW_PIXELS = 12
"""Up to so many output pixels, the weights are not worth being packed (conv_few.py; measured)."""


class Sum(NamedTuple):
    """A sum over the taps of windows: which numbers meet which weights, and where the results go.

    Attributes:
        seen: the offsets of what each output pixel sees (pointers.py).
        layout: int64 (2, 5), the shape (groups, R, S, C, K) of the weights as the sum sees them, and
            the strides that lead to each from there in the flat array.
        first: the first weight's place in the flat array.
        written: the offsets of the output pixels.
    """

    seen: Tables
    layout: np.ndarray
    first: int
    written: Tables


class Plan(NamedTuple):
    """All that follows from shapes and settings alone."""

    sums: tuple[Sum, ...]
    y_shape: Shape
    """That of the output in memory: (N, OH, OW, K), or (N, H, W, C) for gradients."""
    gaps: tuple[tuple[slice, ...], ...] = ()
    """The parts of the output that no window reaches: zeros."""
    is_small: bool = False
    """Whether the output has few pixels."""


@lru_cache(maxsize=1024)
def forward_plan(
    x_shape: Shape,
    w_shape: Shape,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    groups: int,
) -> Plan:
    """Which input pixels each output pixel sees, and through which weights."""
    N, K, OH, OW = conv2d_shape(x_shape, w_shape, stride, padding, dilation, groups)
    window = window_of(w_shape[2:], stride, padding, dilation)
    C, H, W = x_shape[1:]
    R, S = window.kernel
    seen = input_seen(window, (H, W), (OH, OW), C)
    shape = groups, R, S, C // groups, K // groups
    strides = K // groups, S * (C // groups) * K, C // groups * K, K, 1
    sums = (Sum(seen, np.array([shape, strides]), 0, pixels((OH, OW), K)),)
    is_small = groups == 1 and N * OH * OW <= FEW_PIXELS
    return Plan(sums, (N, OH, OW, K), is_small=is_small)


@lru_cache(maxsize=1024)
def grad_input_plan(
    x_shape: Shape,
    w_shape: Shape,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    groups: int,
) -> Plan:
    """Which output pixels saw each input pixel, and through which weights: a sum for each phase of the stride."""
    _, K, OH, OW = conv2d_shape(x_shape, w_shape, stride, padding, dilation, groups)
    window = window_of(w_shape[2:], stride, padding, dilation)
    N, C, H, W = x_shape
    C_per_group = C // groups
    _, S = window.kernel
    tap_strides = (S * C_per_group * K, C_per_group * K)
    sums, gaps = [], []
    for phase in np.ndindex(min(window.stride[0], H), min(window.stride[1], W)):
        seen, taps = output_that_saw(window, phase, (H, W), (OH, OW), K)
        if seen[0].size and seen[1].size:
            shape = groups, seen[0].shape[1], len(seen[1]), K // groups, C_per_group
            r_step, s_step = (by * tap.step for by, tap in zip(tap_strides, taps, strict=True))
            layout = np.array([shape, (K // groups, r_step, s_step, 1, K)])
            first = sum(by * tap.start for by, tap in zip(tap_strides, taps, strict=True))
            sums.append(Sum(seen, layout, first, pixels((H, W), C, phase, window.stride)))
        else:
            rows, columns = (
                slice(start, None, step) for start, step in zip(phase, window.stride, strict=True)
            )
            gaps.append((slice(None), rows, columns))
    return Plan(tuple(sums), (N, H, W, C), tuple(gaps))


@compiled
def unpack(numbers):
    """Unpack an array of five numbers, which Numba can do by hand only."""
    return numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
