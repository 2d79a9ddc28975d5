"""Where the numbers are that a window looks at: tables of offsets, and the addresses made from them.

Images are channels-last, (N, H, W, C) and contiguous. Which numbers does output pixel (i, j) see
through tap (r, s)? Those at rows[i, r] + columns[j, s] elements from the start of its image: two
small tables, made once for a kind of window (stride, padding, dilation, phase), say it all. A sum
that is negative lies in the padding, and the address is then that of a row of zeros. So there is
no padded copy of the images, no matrix of patches, and no case distinction in the kernels.
"""

from functools import lru_cache

import numpy as np

from ..shapes import Pair, Window
from .compiled import compiled

OUTSIDE = -(2**56)
"""What stands in a table for a row or column that does not exist; any sum with it is negative, in bytes too."""

Tables = tuple[np.ndarray, np.ndarray]


@lru_cache(maxsize=1024)
def input_seen(window: Window, image_size: Pair, output_size: Pair, channels: int) -> Tables:
    """For each output row and tap row, the offset of the input row; columns likewise.

    Returns:
        (OH, R) and (S, OW), int64: offsets in an image (H, W, channels), or OUTSIDE
    """
    tables = []
    for size, count, kernel, stride, (before, _), dilation, step in zip(
        image_size, output_size, *window, _steps(image_size, channels), strict=True
    ):
        seen = np.arange(count)[:, None] * stride - before + np.arange(kernel) * dilation
        tables.append(_offsets(seen, size, step))
    return _rows_and_columns(*tables)


@lru_cache(maxsize=1024)
def output_that_saw(
    window: Window, phase: Pair, image_size: Pair, output_size: Pair, channels: int
) -> tuple[Tables, tuple[slice, slice]]:
    """For every `stride`-th input row from phase[0] on, the offset of the output row that saw it through each tap.

    All these rows were seen through the same taps: those where (row + padding - tap * dilation) is a
    multiple of the stride. Columns likewise.

    Returns:
        the tables (rows, R') and (S', columns), int64, of offsets in an image (OH, OW, channels), or
        OUTSIDE; and the taps R' and S' as slices. Where R' or S' is 0, nobody saw these pixels.
    """
    tables, slices = [], []
    for start, size, count, kernel, stride, (before, _), dilation, step in zip(
        phase, image_size, output_size, *window, _steps(output_size, channels), strict=True
    ):
        taps = np.arange(kernel)
        taps = taps[(start + before - taps * dilation) % stride == 0]
        seen = (np.arange(start, size, stride)[:, None] + before - taps * dilation) // stride
        tables.append(_offsets(seen, count, step))
        distance = int(taps[1] - taps[0]) if len(taps) > 1 else 1
        slices.append(slice(int(taps[0]) if len(taps) else 0, kernel, distance))
    return _rows_and_columns(*tables), tuple(slices)


@lru_cache(maxsize=1024)
def pixels(image_size: Pair, channels: int, first: Pair = (0, 0), stride: Pair = (1, 1)) -> Tables:
    """The offsets of every `stride`-th row and column of an image, from `first` on.

    Returns:
        (rows,) and (columns,), int64: offsets in an image (H, W, channels)
    """
    return tuple(
        np.arange(start, size, by) * step
        for size, start, by, step in zip(
            image_size, first, stride, _steps(image_size, channels), strict=True
        )
    )


def _steps(image_size: Pair, channels: int) -> Pair:
    """Elements from one row of an image to the next, and from one column to the next."""
    return image_size[1] * channels, channels


def _rows_and_columns(rows: np.ndarray, columns: np.ndarray) -> Tables:
    """Turn the table of columns around, so that neighbouring pixels' offsets are neighbours."""
    return rows, np.ascontiguousarray(columns.T)


def _offsets(places: np.ndarray, size: int, step: int) -> np.ndarray:
    return np.where((places >= 0) & (places < size), places * step, OUTSIDE)


@compiled
def point_at_inputs(pointers, count, first, last, images, zeros, tables):
    """Fill in, for output pixels first, first + 1, ..., the addresses of what they see through each tap.

    Args:
        pointers: int64, written at [(r * S + s) * count + p] for output pixel first + p.
        count: how many output pixels; those after `last` repeat the last one.
        first: number of the first output pixel, counted over (N, OH, OW).
        last: number of the last output pixel that exists.
        images: (address of the first image, bytes of an image, bytes of an element).
        zeros: address of a row of zeros, as long as what a tap looks at.
        tables: rows (OH, R) and columns (S, OW), see `input_seen`.
    """
    rows, columns = tables
    address, image_bytes, itemsize = images
    OH, R = rows.shape
    S, OW = columns.shape
    n, pixel = divmod(first, OH * OW)
    i, j = divmod(pixel, OW)
    address += n * image_bytes
    done, real = 0, min(count, last + 1 - first)
    while done < real:  # a run of pixels of one row at a time: vector instructions can work on it
        run = min(real - done, OW - j)
        for r in range(R):
            row = address + rows[i, r] * itemsize
            for s in range(S):
                to = (r * S + s) * count + done
                for t in range(run):
                    place = row + columns[s, j + t] * itemsize
                    pointers[to + t] = zeros if place < 0 else place
        done, j, i = done + run, 0, i + 1
        if i == OH:
            i, address = 0, address + image_bytes
    for tap in range(R * S):
        for p in range(real, count):
            pointers[tap * count + p] = pointers[tap * count + real - 1]


@compiled
def point_at_outputs(pointers, count, first, last, images, tables):
    """Fill in the addresses of output pixels first, first + 1, ...; after `last`, that of the last one.

    Args:
        pointers: int64, written at [p] for output pixel first + p.
        count: how many output pixels.
        first: number of the first output pixel, counted over (N, OH, OW).
        last: number of the last output pixel that exists.
        images: as for `point_at_inputs`, but of the output.
        tables: offsets of the output's rows (OH,) and columns (OW,), see `pixels`.
    """
    rows, columns = tables
    address, image_bytes, itemsize = images
    OH, OW = len(rows), len(columns)
    n, pixel = divmod(first, OH * OW)
    i, j = divmod(pixel, OW)
    address += n * image_bytes
    done, real = 0, min(count, last + 1 - first)
    while done < real:
        run = min(real - done, OW - j)
        row = address + rows[i] * itemsize
        for t in range(run):
            pointers[done + t] = row + columns[j + t] * itemsize
        done, j, i = done + run, 0, i + 1
        if i == OH:
            i, address = 0, address + image_bytes
    for p in range(real, count):
        pointers[p] = pointers[real - 1]
