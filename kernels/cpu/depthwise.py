"""Depthwise convolution, one filter for each channel, in compiled loops (Numba).

    y[n, i, j, c] = sum over taps r, s of  x[n, i*stride - top + r*dilation, j*..., c] * w[r, s, c]

No sum runs over channels, so there is no matrix product in it: an output takes R * S products, and
the processor has little more to do than to load and to store. Channels are innermost in memory, and
a vector holds neighbouring channels of one pixel. PIXELS neighbouring pixels of a row are worked on
at once, so that a vector of weights (or of their gradient) is loaded once for all of them:

    forward          the pixels' sums stay in registers;       a tap adds  x[j] * w  to each
    weight gradient  the pixels' gradients stay in registers;  a tap adds  sum over j of x[j] * dy[j]

Pixels can go together if they see the same taps, those that do not lie in the padding. A row of
outputs is therefore cut into *runs* of equal pixels: short ones at its ends, a long one between.

The gradient with respect to x is the first of these sums once more: an input pixel collects from
the output pixels that saw it. At stride 2 these are every second tap only, and which ones depends
on whether the pixel's place is even or odd, so that a run takes every second pixel. Nothing is
multiplied by padded or inserted zeros anywhere, not even infinity or NaN: what meets them in the padding
only stays finite, where the definition has zero times infinity, NaN.
"""

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from ..arrays import channels_first
from ..capture import do, zeros
from ..memory import CACHE_LINE, empty
from ..shapes import IntOrPair, Padding, Pair, Shape, conv2d_shape, is_depthwise, window_of
from .compiled import compiled, on_threads, plain, thread_count
from .depthwise_simd import add_products, multiply_pixels
from .flat import SERIAL_PRODUCTS
from .images import images_in_order
from .simd import address_of, panel_width, prefetch
from .streaming import finish_streaming, is_streamed
from .table import address_of as address_of_data
from .target import TILE_VECTORS, VECTOR_BYTES

PIXELS = 4
"""Pixels of a run that are worked on at once.

With TILE_VECTORS vectors each and as many of weights this takes 10 registers. A tap loads 10 vectors
for 8 multiply-adds, of which a processor does two each in a cycle. More pixels would save little, and
rows of small images would be cut badly.
"""

FETCHED_BYTES = 2**23
"""At a stride, images of so many bytes and more are asked for ahead of time: they come from memory."""

STREAMED_BYTES = 2**24
"""Results from so many bytes on are written past the caches. Smaller ones are often still there when the next layer
reads them: to write 12 MB takes a fifth less time, but the BatchNorm behind takes as much more (measured)."""


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    bias: np.ndarray | None = None,
    relu: bool = False,
    scale: np.ndarray | None = None,
) -> np.ndarray:
    """Depthwise convolution of float32 or float64 arrays, see `reference.conv2d`.

    Args:
        x: (N, C, H, W)
        w: (C, 1, R, S)
        stride: steps of the window.
        padding: see `shapes.resolve_padding`.
        dilation: distance between the taps of the window.
        groups: C
        bias: (C,), added to the result.
        relu: whether negative results become 0, and NaN stays NaN.
        scale: (C,), by which the result is multiplied before the bias is added.

    Returns:
        (N, C, OH, OW), a view of memory in the order (N, OH, OW, C)

    Raises:
        ValueError: for a convolution that is not depthwise; otherwise as `reference.conv2d`.
    """
    plan, y_shape = _forward_plan(x.shape, w.shape, stride, padding, dilation, groups)
    return _multiply(x, _weight_rows(w, bias, scale), plan, y_shape, relu)


def conv2d_grad_input(
    grad: np.ndarray,
    w: np.ndarray,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Gradient of `conv2d` with respect to x, see `reference.conv2d_grad_input`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    plan = _grad_input_plan(tuple(x_shape), w.shape, stride, padding, dilation, groups)
    return _multiply(grad, _weight_rows(w), plan, x_shape)


def conv2d_grad_weight(
    grad: np.ndarray,
    x: np.ndarray,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Gradient of `conv2d` with respect to w, see `reference.conv2d_grad_weight`.

    Returns:
        (C, 1, R, S), a view of memory in the order (R, S, 1, C)
    """
    C, _, R, S = w_shape
    plan, _ = _forward_plan(x.shape, tuple(w_shape), stride, padding, dilation, groups)
    threads = 1 if grad.size * R * S < SERIAL_PRODUCTS else thread_count()
    sums = zeros((threads, R * S, _row_length(C, x.itemsize)), x.dtype)
    _add_products_of_rows(threads, images_in_order(x), images_in_order(grad), sums, *plan)
    grad_w = empty((R * S, C), x.dtype)
    if threads == 1:
        do(np.copyto, grad_w, sums[0, :, :C])
    else:
        do(np.add.reduce, sums[:, :, :C], 0, None, grad_w)
    return grad_w.reshape(R, S, 1, C).transpose(3, 2, 0, 1)


def _check_suits(x_shape: Shape, w_shape: Shape, groups: int) -> None:
    if not is_depthwise(x_shape, w_shape, groups):
        raise ValueError(
            "depthwise: groups: expected as many groups as input and output channels, got groups="
            f"{groups}, x {tuple(x_shape)}, w {tuple(w_shape)}; use the convolution of `conv`"
        )


def _multiply(
    x: np.ndarray, rows: np.ndarray, plan: "Plan", y_shape: Shape, relu: bool = False
) -> np.ndarray:
    N, C, OH, OW = y_shape
    y = _aligned_empty((N, OH, OW, C), x.dtype)
    streams = y.nbytes >= STREAMED_BYTES and is_streamed(y, TILE_VECTORS * VECTOR_BYTES)
    threads = 1 if y.size * (len(rows) - 1) < SERIAL_PRODUCTS else thread_count()
    _multiply_rows(threads, images_in_order(x), rows, y, *plan, int(relu), int(streams))
    return channels_first(y)


def _weight_rows(
    w: np.ndarray, bias: np.ndarray | None = None, scale: np.ndarray | None = None
) -> np.ndarray:
    """Write weights (C, 1, R, S) as rows of channels, one for each tap, and the bias (or zeros) as the last one.

    If there is a `scale` (C,), the weights are multiplied by it.
    """
    C, _, R, S = w.shape
    rows = _aligned_empty((R * S + 1, _row_length(C, w.itemsize)), w.dtype)
    do(np.ndarray.fill, rows, 0)
    taps = plain(w.transpose(2, 3, 1, 0)).reshape(R * S, C)
    do(np.multiply, taps, 1 if scale is None else scale, rows[:-1, :C])
    if bias is not None:
        do(np.copyto, rows[-1, :C], bias)
    return rows


def _row_length(channels: int, itemsize: int) -> int:
    """Room for `channels` in whole blocks, and one block more.

    That one keeps apart what the cache would put in one place: the rows of a power of 2 of channels.
    """
    width = panel_width(itemsize)
    return (-(-channels // width) + 1) * width


def _aligned_empty(shape: Shape, dtype: np.dtype) -> np.ndarray:
    """An array that begins with a cache line, as NumPy's do not: no vector of it then lies in two lines."""
    count = prod(shape)
    memory = empty((count + CACHE_LINE // dtype.itemsize,), dtype)
    first = -address_of_data(memory) % CACHE_LINE // dtype.itemsize
    return memory[first : first + count].reshape(shape)


class Plan(NamedTuple):
    """What every pixel of the output sees of the input. Offsets count elements; arrays are int64.

    Attributes:
        rows: (OH, 2), for each row the offset of the first input row it sees, and its kind.
        runs: (runs, 4), each a first column, how many columns, the offset of the first input column
            that the first one sees, and their kind.
        taps: (kinds of rows, kinds of columns, R * S, 2), for the taps of pixels of these kinds: the
            offset from the first input pixel that they see, ascending, and the tap's number.
        counts: (kinds of rows, kinds of columns), how many taps these are.
        steps: columns from a pixel of a run to the next, in the output and in the input.
    """

    rows: np.ndarray
    runs: np.ndarray
    taps: np.ndarray
    counts: np.ndarray
    steps: Pair


@lru_cache(maxsize=1024)
def _forward_plan(x_shape: Shape, w_shape: Shape, *settings: object) -> tuple[Plan, Shape]:
    """The plan for output pixels, and the input pixels that they see; and the shape of the output.

    The settings are stride, padding, dilation and groups.
    """
    y_shape = conv2d_shape(x_shape, w_shape, *settings)
    _check_suits(x_shape, w_shape, settings[-1])
    window = window_of(w_shape[2:], *settings[:-1])
    image_size, output_size, channels = x_shape[2:], y_shape[2:], x_shape[1]
    tables = []
    for size, count, kernel, stride, (before, _), dilation in zip(
        image_size, output_size, *window, strict=True
    ):
        seen = np.arange(count)[:, None] * stride - before + np.arange(kernel) * dilation
        tables.append(np.where((seen >= 0) & (seen < size), seen, -1))
    steps = 1, window.stride[1]
    return _plan(*tables, image_size[1] * channels, channels, steps), y_shape


@lru_cache(maxsize=1024)
def _grad_input_plan(x_shape: Shape, w_shape: Shape, *settings: object) -> Plan:
    """For input pixels, and the output pixels that saw them: "output" and "input" change places in the plan."""
    y_shape = conv2d_shape(x_shape, w_shape, *settings)
    _check_suits(x_shape, w_shape, settings[-1])
    window = window_of(w_shape[2:], *settings[:-1])
    image_size, output_size, channels = x_shape[2:], y_shape[2:], x_shape[1]
    tables = []
    for size, count, kernel, stride, (before, _), dilation in zip(
        image_size, output_size, *window, strict=True
    ):
        steps = np.arange(size)[:, None] + before - np.arange(kernel) * dilation  # output * stride
        exists = (steps % stride == 0) & (steps >= 0) & (steps < count * stride)
        tables.append(np.where(exists, steps // stride, -1))
    return _plan(*tables, output_size[1] * channels, channels, (window.stride[1], 1))


def _plan(
    rows: np.ndarray, columns: np.ndarray, row_step: int, column_step: int, steps: Pair
) -> Plan:
    """Make a plan of tables (OH, R) and (OW, S): the input row, or column, behind each tap; -1 for none.

    Args:
        rows: see above.
        columns: see above.
        row_step: elements from one input row to the next.
        column_step: elements from one input column to the next.
        steps: see `Plan`.
    """
    first_rows, row_kinds = _kinds(rows, row_step)
    first_columns, column_kinds = _kinds(columns, column_step)
    R, S = rows.shape[1], columns.shape[1]
    taps = np.zeros((len(row_kinds), len(column_kinds), R * S, 2), np.int64)
    counts = np.zeros(taps.shape[:2], np.int64)
    for i, row_kind in enumerate(row_kinds):
        for j, column_kind in enumerate(column_kinds):
            pairs = [(a + b, r * S + s) for a, r in row_kind for b, s in column_kind]
            taps[i, j, : len(pairs)] = np.reshape(pairs, (-1, 2))
            counts[i, j] = len(pairs)
    runs = _runs(first_columns, steps[0])
    return Plan(np.array(first_rows), np.array(runs), taps, counts, steps)


def _kinds(table: np.ndarray, step: int) -> tuple[list[Pair], list[tuple[Pair, ...]]]:
    """Find rows (or columns) of a table that look alike.

    Returns:
        for each row the offset of what it sees first, and the number of its kind; and the kinds, each
        its taps: (offset from what is seen first, tap)
    """
    kinds = {}
    rows = []
    for places in table.tolist():
        seen = sorted((place * step, tap) for tap, place in enumerate(places) if place >= 0)
        first = seen[0][0] if seen else 0
        kind = tuple((offset - first, tap) for offset, tap in seen)
        rows.append((first, kinds.setdefault(kind, len(kinds))))
    return rows, list(kinds)


def _runs(columns: list[Pair], step: int) -> list[tuple[int, int, int, int]]:
    """Cut every `step`-th column into runs of one kind: (first column, how many, its offset, their kind)."""
    runs = []
    for phase in range(min(step, len(columns))):
        start = phase
        for column in range(phase, len(columns), step):
            if column + step >= len(columns) or columns[column + step][1] != columns[start][1]:
                runs.append((start, (column - start) // step + 1, *columns[start]))
                start = column + step
    return runs


@on_threads
def _multiply_rows(part, parts, x, weights, y, rows, runs, taps, counts, steps, relu, streams):
    """Compute one part of the rows of y (N, OH, OW, C) from x (N, H, W, C) and weights (R * S + 1, C and more)."""
    N, OH, OW, C = y.shape
    y_step, x_step = steps[0] * C * x.itemsize, steps[1] * C * x.itemsize
    fetches = steps[0] == steps[1] == 1 or x.size * x.itemsize >= FETCHED_BYTES
    fetched, x_row = (PIXELS * x_step if fetches else 0), x.shape[2] * C
    row_bytes = weights.shape[1] * x.itemsize
    tap_rows = address_of(weights, 0), row_bytes
    bias = address_of(weights, 0) + (len(weights) - 1) * row_bytes
    for row in range(part * N * OH // parts, (part + 1) * N * OH // parts):
        n, i = divmod(row, OH)
        image = address_of(x, n * (x.size // N))
        for run in range(len(runs)):
            column, count, offset, kind = runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3]
            y_first = address_of(y, (row * OW + column) * C)
            x_first = image + (rows[i, 0] + offset) * x.itemsize
            first_new, new_rows = _new_rows(i, kind, rows, taps, counts, x_row)
            new_row = image + (first_new + offset) * x.itemsize
            seen = _taps_of(rows[i, 1], kind, taps, counts)
            if count < PIXELS:
                for j in range(count):
                    xs, ys = (x_first + j * x_step, x_step), (y_first + j * y_step, y_step)
                    multiply_pixels(1, xs, seen, tap_rows, bias, ys, C, relu, streams, x)
            else:
                for start in range(0, count, PIXELS):
                    j = min(start, count - PIXELS)  # the last ones may be computed twice
                    xs, ys = (x_first + j * x_step, x_step), (y_first + j * y_step, y_step)
                    multiply_pixels(PIXELS, xs, seen, tap_rows, bias, ys, C, relu, streams, x)
                    _fetch(new_row + j * x_step, fetched, new_rows, x_row * x.itemsize)
    if streams:
        finish_streaming()


@on_threads
def _add_products_of_rows(part, parts, x, grad, sums, rows, runs, taps, counts, steps):
    """Add to sums[part] (R * S, C and more) what a part of the rows of grad (N, OH, OW, C) gives with x."""
    N, OH, OW, C = grad.shape
    grad_step, x_step = steps[0] * C * x.itemsize, steps[1] * C * x.itemsize
    fetches = steps[0] == steps[1] == 1 or x.size * x.itemsize >= FETCHED_BYTES
    fetched, x_row = (PIXELS * x_step if fetches else 0), x.shape[2] * C
    tap_rows = address_of(sums, part * (sums.size // parts)), sums.shape[2] * x.itemsize
    for row in range(part * N * OH // parts, (part + 1) * N * OH // parts):
        n, i = divmod(row, OH)
        image = address_of(x, n * (x.size // N))
        for run in range(len(runs)):
            column, count, offset, kind = runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3]
            grad_first = address_of(grad, (row * OW + column) * C)
            x_first = image + (rows[i, 0] + offset) * x.itemsize
            first_new, new_rows = _new_rows(i, kind, rows, taps, counts, x_row)
            new_row = image + (first_new + offset) * x.itemsize
            seen = _taps_of(rows[i, 1], kind, taps, counts)
            whole = count - count % PIXELS
            for j in range(0, whole, PIXELS):
                xs, grads = (x_first + j * x_step, x_step), (grad_first + j * grad_step, grad_step)
                add_products(PIXELS, xs, seen, tap_rows, grads, C, x)
                _fetch(new_row + j * x_step, fetched, new_rows, x_row * x.itemsize)
            for j in range(whole, count):
                xs, grads = (x_first + j * x_step, x_step), (grad_first + j * grad_step, grad_step)
                add_products(1, xs, seen, tap_rows, grads, C, x)


@compiled
def _taps_of(row_kind, column_kind, taps, counts):
    """Where the taps of pixels of these kinds stand, and how many there are."""
    _, column_kinds, size, _ = taps.shape
    first = address_of(taps, (row_kind * column_kinds + column_kind) * size * 2)
    return first, counts[row_kind, column_kind]


@compiled
def _new_rows(i, column_kind, rows, taps, counts, x_row):
    """Which input rows output row i + 1 is the first to see: the offset of the first, and how many."""
    following = min(i + 1, len(rows) - 1)
    first = _last_seen(i, column_kind, rows, taps, counts) + x_row
    last = _last_seen(following, column_kind, rows, taps, counts)
    return first, (last - first) // x_row + 1


@compiled
def _last_seen(i, column_kind, rows, taps, counts):
    """The offset of the last input row that output row i sees."""
    row_kind = rows[i, 1]
    last = max(0, counts[row_kind, column_kind] - 1)
    return rows[i, 0] + taps[row_kind, column_kind, last, 0]


@compiled
def _fetch(address, size, rows, row_bytes):
    """Ask for bytes that will be needed soon, `size` of each row that the next row of outputs is the first to see.

    The processor does that by itself for memory that is read in order, but here pixels are read in
    turn, a block of channels of each (8 images of 56x56x128: a quarter less time; at stride 2 a sixth).
    """
    for row in range(rows):
        for line in range(0, size, CACHE_LINE):
            prefetch(address + row * row_bytes + line)
