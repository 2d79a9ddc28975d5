"""Which input pixels a pixel of a depthwise convolution sees, and through which taps: what follows from shapes alone.

A row of outputs is cut into *runs* of pixels that see the same taps (depthwise.py). Rows that see the same
taps are of one kind, and so are columns: a plan has a table of taps for each kind of rows and columns.
Plans are made once for each kind of convolution, and kept.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..shapes import Pair, Shape, Window, conv2d_shape, is_depthwise, window_of


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
def forward_plan(x_shape: Shape, w_shape: Shape, *settings: object) -> tuple[Plan, Shape]:
    """The plan for output pixels, and the input pixels that they see; and the shape of the output.

    The settings are stride, padding, dilation and groups.
    """
    y_shape = conv2d_shape(x_shape, w_shape, *settings)
    window = _window_of(x_shape, w_shape, settings)
    tables = []
    for size, count, kernel, stride, (before, _), dilation in zip(
        x_shape[2:], y_shape[2:], *window, strict=True
    ):
        seen = np.arange(count)[:, None] * stride - before + np.arange(kernel) * dilation
        tables.append(np.where((seen >= 0) & (seen < size), seen, -1))
    steps = 1, window.stride[1]
    channels, width = x_shape[1], x_shape[3]
    return _plan_of(*tables, width * channels, channels, steps), y_shape


@lru_cache(maxsize=1024)
def grad_input_plan(x_shape: Shape, w_shape: Shape, *settings: object) -> Plan:
    """For input pixels, and the output pixels that saw them: "output" and "input" change places in the plan."""
    y_shape = conv2d_shape(x_shape, w_shape, *settings)
    window = _window_of(x_shape, w_shape, settings)
    tables = []
    for size, count, kernel, stride, (before, _), dilation in zip(
        x_shape[2:], y_shape[2:], *window, strict=True
    ):
        steps = np.arange(size)[:, None] + before - np.arange(kernel) * dilation  # output * stride
        exists = (steps % stride == 0) & (steps >= 0) & (steps < count * stride)
        tables.append(np.where(exists, steps // stride, -1))
    channels, width = x_shape[1], y_shape[3]
    return _plan_of(*tables, width * channels, channels, (window.stride[1], 1))


def _window_of(x_shape: Shape, w_shape: Shape, settings: tuple) -> Window:
    """The window of a depthwise convolution; raises where it is none."""
    groups = settings[-1]
    if not is_depthwise(x_shape, w_shape, groups):
        raise ValueError(
            "depthwise: groups: expected as many groups as input and output channels, got groups="
            f"{groups}, x {tuple(x_shape)}, w {tuple(w_shape)}; use the convolution of `conv`"
        )
    return window_of(w_shape[2:], *settings[:-1])


def _plan_of(
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
