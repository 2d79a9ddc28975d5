"""Max and average pooling, for NumPy and CuPy.

Pooling looks at the image through the windows of a convolution, and keeps of each channel the
largest element or the mean. The loops below go over the taps of the window only: tap (r, s) of
*all* windows is one strided slice of the image. Max pooling remembers which tap won, so that its
gradient can be sent there. Means are taken in float32 at least.

Arrays have the logical order (N, C, H, W) in any memory order; results keep channels innermost in
memory.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .arrays import (
    Array,
    channels_first,
    channels_last,
    check_float_array,
    check_shape,
    index_dtype,
    keep_where,
    sum_dtype,
    xp_of,
)
from .shapes import IntOrPair, Pair, Shape, Sides, Window, pool2d_shape, window_of
from .windows import crop, pad, taps, windows


def max_pool2d(
    x: Array,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    relu: bool = False,
) -> tuple[Array, Array]:
    """The largest element of each window, see `reference.max_pool2d` for arguments and errors.

    Returns:
        the maxima (N, C, OH, OW), and the winners: r * S + s of the winning tap, (N, C, OH, OW), in
        the smallest unsigned integers that hold R * S - 1, or R * S with `relu`. Both are views of
        memory in the order (N, OH, OW, C).
    """
    check_float_array(x, "max_pool2d: x")
    layout = pool_layout(x.shape, kernel, stride, padding, dilation, ceil_mode)
    xp = xp_of(x)
    padded = pad(channels_last(x), layout.reach, -np.inf)
    seen_by_tap = windows(padded, layout.window, layout.output_size)
    shape = seen_by_tap.shape[:3] + seen_by_tap.shape[5:]  # (N, OH, OW, C)

    best = xp.full(shape, -np.inf, dtype=x.dtype)
    winner = xp.empty(shape, dtype=index_dtype(layout.number_of_taps - 1 + relu))
    winner[...] = _first_taps_inside(layout, xp)  # (OH, OW, 1)
    for tap, seen in enumerate(taps(seen_by_tap)):
        seen = xp.ascontiguousarray(seen)  # (N, OH, OW, C); compared several times
        first_nan = (seen != seen) & (best == best)
        better = (seen > best) | first_nan
        winner = xp.maximum(winner, better * winner.dtype.type(tap))  # taps come in rising order
        best = xp.maximum(best, seen)  # NaN if either is
    if relu:
        nobody = winner.dtype.type(layout.number_of_taps)
        winner = xp.where(best <= 0, nobody, winner)
        best = xp.maximum(best, 0)
    return channels_first(best), channels_first(winner)


def max_pool2d_grad(
    grad: Array,
    winner: Array,
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Array:
    """Gradient with respect to x, see `reference.max_pool2d_grad`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    layout = pool_layout(x_shape, kernel, stride, padding, dilation, ceil_mode)
    check_shape(grad, (*x_shape[:2], *layout.output_size), "max_pool2d_grad: grad")
    check_shape(winner, grad.shape, "max_pool2d_grad: winner")
    grad_y, winner = channels_last(grad), channels_last(winner)  # (N, OH, OW, C)
    grad_x, seen_by_tap = _empty_gradient(grad, x_shape, layout)
    for tap, pixels in enumerate(taps(seen_by_tap)):
        pixels += keep_where(winner == tap, grad_y)  # (N, OH, OW, C)
    return channels_first(crop(grad_x, layout.reach))


def avg_pool2d(
    x: Array,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window, see `reference.avg_pool2d` for arguments and errors.

    Returns:
        (N, C, OH, OW), a view of memory in the order (N, OH, OW, C)
    """
    check_float_array(x, "avg_pool2d: x")
    layout = pool_layout(x.shape, kernel, stride, padding, 1, ceil_mode)
    padded = pad(channels_last(x), layout.reach)
    first, *others = taps(windows(padded, layout.window, layout.output_size))
    total = first.astype(sum_dtype(x.dtype), order="C")  # (N, OH, OW, C), a copy
    for seen in others:
        total += seen
    total /= counts(total, layout, count_include_pad)
    return channels_first(total.astype(x.dtype, copy=False))


def avg_pool2d_grad(
    grad: Array,
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Gradient with respect to x, see `reference.avg_pool2d_grad`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    layout = pool_layout(x_shape, kernel, stride, padding, 1, ceil_mode)
    check_shape(grad, (*x_shape[:2], *layout.output_size), "avg_pool2d_grad: grad")
    grad_y = channels_last(grad).astype(sum_dtype(grad.dtype), copy=False)
    share = grad_y / counts(grad_y, layout, count_include_pad)  # (N, OH, OW, C)
    grad_x, seen_by_tap = _empty_gradient(share, x_shape, layout)
    for pixels in taps(seen_by_tap):
        pixels += share
    return channels_first(crop(grad_x, layout.reach).astype(grad.dtype, copy=False))


class PoolLayout(NamedTuple):
    """Where the windows of a pooling lie. `reach` is the padding, enlarged for a last window that runs past it."""

    window: Window
    image_size: Pair
    output_size: Pair
    reach: Sides

    @property
    def number_of_taps(self) -> int:
        """How many elements a window has."""
        return self.window.kernel[0] * self.window.kernel[1]


def cached(function: Callable) -> Callable:
    """Remember what `function` returned for its last settings: a network pools the same shapes in every step."""
    remembered = functools.lru_cache(maxsize=1024, typed=True)(function)

    def call(*settings: Any) -> Any:
        try:
            return remembered(*settings)
        except TypeError:  # a list cannot be looked up; what is wrong is refused again
            return function(*settings)

    return functools.update_wrapper(call, function)


@cached
def pool_layout(
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None,
    padding: IntOrPair | Sides,
    dilation: IntOrPair,
    ceil_mode: bool,
) -> PoolLayout:
    """Check the arguments of a pooling, see `shapes.pool2d_shape`, and find where its windows lie."""
    *_, OH, OW = pool2d_shape(x_shape, kernel, stride, padding, dilation, ceil_mode)
    window = window_of(kernel, kernel if stride is None else stride, padding, dilation)
    reach = tuple(
        (before, max(after, (count - 1) * step + extent - before - size))
        for size, count, step, extent, (before, after) in zip(
            x_shape[2:], (OH, OW), window.stride, window.extent, window.padding, strict=True
        )
    )
    return PoolLayout(window, x_shape[2:], (OH, OW), reach)


def _first_taps_inside(layout: PoolLayout, xp: ModuleType) -> Array:
    """For each output pixel, the first tap that is not in the padding: it wins where all elements are -inf."""
    (_, S), stride, padding, dilation = layout.window
    r, s = (
        xp.maximum(0, -((xp.arange(count) * step - before) // spacing))  # ceil(distance / spacing)
        for count, step, (before, _), spacing in zip(
            layout.output_size, stride, padding, dilation, strict=True
        )
    )
    return (r[:, None] * S + s)[:, :, None]  # (OH, OW, 1)


def counts(like: Array, layout: PoolLayout, count_include_pad: bool) -> Array | float:
    """Number of elements that each mean divides by: (OH, OW, 1), or one number if it is the same everywhere."""
    (R, S), stride, padding, _ = layout.window
    axes = [*zip(layout.image_size, layout.output_size, (R, S), stride, padding, strict=True)]
    rows, columns = (_count_along_axis(np, *axis, count_include_pad) for axis in axes)
    if rows.min() == rows.max() and columns.min() == columns.max():
        return float(rows[0] * columns[0])
    xp = xp_of(like)  # a GPU counts again: numbers of the host would have to be copied
    rows, columns = (_count_along_axis(xp, *axis, count_include_pad) for axis in axes)
    return (rows[:, None] * columns)[:, :, None].astype(like.dtype)


def _count_along_axis(
    xp: ModuleType,
    size: int,
    count: int,
    kernel: int,
    stride: int,
    padding: Pair,
    count_include_pad: bool,
) -> Array:
    before, after = padding if count_include_pad else (0, 0)
    start = xp.arange(count) * stride - padding[0]
    return xp.minimum(start + kernel, size + after) - xp.maximum(start, -before)  # (count,)


def _empty_gradient(grad: Array, x_shape: Shape, layout: PoolLayout) -> tuple[Array, Array]:
    """Zeros for the padded image (N, H+, W+, C), and the windows (N, OH, OW, R, S, C) to add gradients through."""
    N, C, H, W = x_shape
    (top, bottom), (left, right) = layout.reach
    grad_x = xp_of(grad).zeros((N, top + H + bottom, left + W + right, C), dtype=grad.dtype)
    return grad_x, windows(grad_x, layout.window, layout.output_size)
