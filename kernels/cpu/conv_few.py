"""Sums over taps for a handful of pixels: dense layers, and deep layers of a network that sees one image.

The tiles of conv.py pack each weight before they use it, which pays if many pixels are multiplied
with it. With few pixels, hardly more happens to a weight than that it comes from memory. So weights
are read here in the order in which they lie, some rows of a tap at a time,

    sums[p, :] += x[p, c : c + ROWS] @ weights[tap, c : c + ROWS, :]    for all pixels p,

and what is kept in the L1 cache are the sums. Each thread works out some of the columns.
"""

import numpy as np

from .compiled import compiled, on_threads
from .conv_plan import unpack
from .pointers import point_at_inputs
from .simd import add_rows, address_of, panel_width, prefetch

SUMS_BYTES = 16 * 1024
"""The sums of all pixels, for as many columns at a time, take half of an L1 cache."""

ROWS = 4
"""Rows of weights at a time: a sum is loaded and stored once for as many products."""


@on_threads
def multiply_few(part, parts, x, weights, layout, y, seen, _, bias, relu, scale):
    """As `_multiply` of conv.py, for one group, outputs in order, and weights whose output channels are neighbours."""
    _, R, S, C, K = unpack(layout[0])
    _, r_step, s_step, c_step, _ = unpack(layout[1])
    itemsize = x.itemsize
    width = panel_width(itemsize)
    panels = (K + width - 1) // width
    pixels = y.size // K
    most = max(1, SUMS_BYTES // (pixels * width * itemsize))
    zero = x.dtype.type(0)
    zeros = np.zeros(C, x.dtype)
    sums = np.empty(pixels * most * width, x.dtype)
    x_rows = np.empty(R * S * pixels, np.int64)
    images = address_of(x, 0), x.size // x.shape[0] * itemsize, itemsize
    point_at_inputs(x_rows, pixels, 0, pixels - 1, images, address_of(zeros, 0), seen)
    last_panel = (part + 1) * panels // parts
    for panel in range(part * panels // parts, last_panel, most):
        columns = min(K - panel * width, min(most, last_panel - panel) * width)
        for i in range(len(sums)):
            sums[i] = zero
        for tap in range(R * S):
            first = tap // S * r_step + tap % S * s_step + panel * width
            _add_tap(sums, most * width, x_rows, tap, weights, first, c_step, C, columns)
        _finish(sums, most * width, scale, bias, relu, y, panel * width, columns)


@compiled
def _add_tap(sums, pitch, x_rows, tap, weights, first, c_step, C, columns):
    """Add what a tap contributes to sums[p * pitch :][:columns]; its weights begin at weights[first]."""
    pixels = len(sums) // pitch
    itemsize = sums.itemsize
    width = panel_width(itemsize)
    whole = C // ROWS * ROWS
    for c in range(0, whole, ROWS):
        for k in range(0, columns, width):
            source = address_of(weights, first + c * c_step + k)
            for i in range(ROWS, 2 * ROWS):
                prefetch(source + i * c_step * itemsize)
            target = address_of(sums, k), pitch * itemsize
            rows = sums, source, c_step * itemsize
            add_rows(ROWS, x_rows, tap * pixels, c * itemsize, pixels, rows, target, columns - k)
    for c in range(whole, C):
        for k in range(0, columns, width):
            source = address_of(weights, first + c * c_step + k)
            target = address_of(sums, k), pitch * itemsize
            rows = sums, source, c_step * itemsize
            add_rows(1, x_rows, tap * pixels, c * itemsize, pixels, rows, target, columns - k)


@compiled
def _finish(sums, pitch, scale, bias, relu, y, first, columns):
    """Write the sums, scaled and with a bias where these are not empty, to columns `first`, ... of y (N, OH, OW, K)."""
    zero = sums.dtype.type(0)
    N, OH, OW, _ = y.shape
    place = 0
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                for k in range(columns):
                    total = sums[place + k]
                    if scale.size:
                        total *= scale[first + k]
                    if bias.size:
                        total += bias[first + k]
                    y[n, i, j, first + k] = zero if relu and total < zero else total
                place += pitch
