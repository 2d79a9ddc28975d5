"""Every window of an image at once, as a view: the one idea behind patches and pooling.

Output pixel (oh, ow) sees input pixel (oh * stride + r * dilation, ow * stride + s * dilation) of
the padded image through tap (r, s). Both are linear in memory, so an array of six axes, (N, OH, OW,
R, S, C), can describe all windows without copying a number. For a fixed tap it is a strided slice
of the image:

    windows[:, :, :, r, s] == image[:, r * dilation :: stride, s * dilation :: stride]    (the first OH, OW of it)

Reading through it makes patches (im2col); adding to its slices, one tap at a time, puts gradients
back (col2im). Where windows overlap, elements of the view share memory: write to one tap at a time,
never to the whole view.
"""

from collections.abc import Iterator

from .arrays import Array, xp_of
from .shapes import Pair, Sides, Window


def windows(padded: Array, window: Window, output_size: Pair) -> Array:
    """View padded images (N, H, W, C) as all their windows (N, OH, OW, R, S, C)."""
    N, _, _, C = padded.shape
    (R, S), (sh, sw), _, (dh, dw) = window
    image, row, column, channel = padded.strides
    as_strided = xp_of(padded).lib.stride_tricks.as_strided
    return as_strided(
        padded,
        shape=(N, *output_size, R, S, C),
        strides=(image, sh * row, sw * column, dh * row, dw * column, channel),
    )


def taps(all_windows: Array) -> Iterator[Array]:
    """Give the slice (N, OH, OW, C) that each tap of the window sees, row by row."""
    R, S = all_windows.shape[3:5]
    for r in range(R):
        for s in range(S):
            yield all_windows[:, :, :, r, s]


def pad(x: Array, padding: Sides, value: float = 0.0) -> Array:
    """Frame images (N, H, W, C) with `value`; returns `x` itself where there is nothing to add."""
    if padding == ((0, 0), (0, 0)):
        return x
    (top, bottom), (left, right) = padding
    N, H, W, C = x.shape
    shape = N, top + H + bottom, left + W + right, C
    padded = xp_of(x).full(shape, value, dtype=x.dtype)
    padded[:, top : top + H, left : left + W] = x
    return padded


def crop(padded: Array, padding: Sides) -> Array:
    """Take the frame of `pad` away again; the result is contiguous."""
    (top, bottom), (left, right) = padding
    _, height, width, _ = padded.shape
    inner = padded[:, top : height - bottom, left : width - right]
    return xp_of(padded).ascontiguousarray(inner)  # (N, H, W, C)
