"""Convolution on a GPU without a matrix of patches, see conv.cu; the sibling in compiled loops is cpu/conv.py.

Names, arguments and results are those of the sibling, with `precision` as one more argument: "tf32"
multiplies on tensor cores, which round both factors to 11 bits (the largest error is about 1e-3 of
the largest result), and anything else multiplies in the dtype of the arrays.
"""

import functools
import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, channels_first, channels_last, xp_of
from ..shapes import IntOrPair, Padding, Pair, Shape, Window, conv2d_shape, window_of
from . import divisor
from .launch import NO_ARRAY, THREADS, blocks_for, contiguous, function, parameter, struct
from .parts import multiplied_in, split_of

OTHER_SHARED_BYTES = 2**12
"""Shared memory that a kernel needs beside its tiles, and the driver for itself, at most."""

AXIS = "size", "out_size", "taps", "step", "start", "apart", "first", "out_step"
MEMBERS = (
    *(f"rows_{name}" for name in AXIS),
    *(f"columns_{name}" for name in AXIS),
    *("C", "group_C", "K", "group_K", "pixels"),
    *divisor.members_of("row_count", "column_count"),
)
"""The members of `Convolution` in conv.cu, those of its parts one after the other."""


def conv2d(
    x: Array,
    w: Array,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    bias: Array | None = None,
    relu: bool = False,
    scale: Array | None = None,
    precision: str = "exact",
) -> Array:
    """Convolution of float32 or float64 arrays, see `cpu.conv.conv2d`.

    Returns:
        (N, K, OH, OW), a view of memory in the order (N, OH, OW, K)
    """
    shape = conv2d_shape(x.shape, w.shape, stride, padding, dilation, groups)
    N, K, OH, OW = shape
    y = xp_of(x).empty((N, OH, OW, K), x.dtype)
    if y.size:
        window = window_of(w.shape[2:], stride, padding, dilation)
        plan = _forward_plan(x.shape, shape, window, groups)
        weights = contiguous(w.transpose(2, 3, 1, 0))  # (R, S, C / groups, K)
        images = contiguous(channels_last(x))
        _convolve(plan, images, weights, parameter(scale), parameter(bias), relu, y, precision)
    return channels_first(y)


def conv2d_grad_input(
    grad: Array,
    w: Array,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    precision: str = "exact",
) -> Array:
    """Gradient with respect to x, see `reference.conv2d_grad_input`.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    x_shape = tuple(x_shape)
    shape = conv2d_shape(x_shape, w.shape, stride, padding, dilation, groups)
    N, C, H, W = x_shape
    window = window_of(w.shape[2:], stride, padding, dilation)
    plans, has_gaps = _grad_input_plans(x_shape, shape, window, groups)
    xp = xp_of(grad)
    grad_x = (xp.zeros if has_gaps or not grad.size else xp.empty)((N, H, W, C), grad.dtype)
    if grad_x.size and grad.size:
        images = contiguous(channels_last(grad))
        for plan in plans:
            weights = _turned(w[:, :, plan.row_taps, plan.column_taps], groups)
            _convolve(plan, images, weights, NO_ARRAY, NO_ARRAY, False, grad_x, precision)
    return channels_first(grad_x)


def conv2d_grad_weight(
    grad: Array,
    x: Array,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    precision: str = "exact",
) -> Array:
    """Gradient with respect to w, see `reference.conv2d_grad_weight`.

    Returns:
        (K, C / groups, R, S), a view of memory in the order (R, S, C / groups, K)
    """
    K, C_per_group, R, S = w_shape
    shape = conv2d_shape(x.shape, tuple(w_shape), stride, padding, dilation, groups)
    xp = xp_of(x)
    if not grad.size:
        return xp.zeros((R, S, C_per_group, K), x.dtype).transpose(3, 2, 0, 1)
    plan = _forward_plan(x.shape, shape, window_of((R, S), stride, padding, dilation), groups)
    images, grads = contiguous(channels_last(x)), contiguous(channels_last(grad))
    terms = R * S * C_per_group  # the "rows" of the result; the sums run over pixels
    tile = _tile(x, K // groups)
    tiles = -(-terms // tile.rows), -(-K // groups // tile.columns)
    parts, pixels = _split(x, plan.pixels, tile, math.prod(tiles) * groups, terms * K, precision)
    sums = xp.empty((parts, R, S, C_per_group, K), x.dtype)
    compute = _function("convolve_grad_weight", images, grads, plan, tile, precision)
    arguments = grads, images, plan.struct, np.int32(parts), np.int32(pixels), sums
    compute((*tiles, groups * parts), (THREADS,), arguments, shared_mem=tile.bytes)
    grad_w = sums[0]
    if parts > 1:
        grad_w = xp.empty(sums.shape[1:], x.dtype)
        add = _function("add_parts", images, grads, plan, tile, precision)
        blocks = blocks_for(-(-grad_w.size // _lanes(x)))
        add(blocks, (THREADS,), (sums, np.int32(parts), np.int64(grad_w.size), grad_w))
    return grad_w.transpose(3, 2, 0, 1)


def _convolve(plan, images, weights, scale, bias, relu, result, precision) -> None:
    """Launch the kernels of a plan, which write all of `result` (N, ., ., K), or one phase of it."""
    K = plan.groups * plan.outputs
    tile = _tile(images, plan.outputs)
    tiles = -(-plan.pixels // tile.rows), -(-plan.outputs // tile.columns)
    blocks = math.prod(tiles) * plan.groups
    parts, terms = _split(images, plan.terms, tile, blocks, plan.pixels * K, precision)
    relu, parts, terms = np.int32(relu), np.int32(parts), np.int32(terms)
    grid = *tiles, plan.groups * int(parts)
    compute = _function("convolve", images, weights, plan, tile, precision)
    if parts == 1:
        arguments = images, weights, scale, bias, plan.struct, relu, parts, terms, result
        compute(grid, (THREADS,), arguments, shared_mem=tile.bytes)
        return
    sums = xp_of(images).empty((int(parts), plan.pixels, K), images.dtype)
    unfinished = NO_ARRAY, NO_ARRAY, plan.struct, np.int32(0)
    arguments = images, weights, *unfinished, parts, terms, sums
    compute(grid, (THREADS,), arguments, shared_mem=tile.bytes)
    finish = _function("finish_convolve", images, weights, plan, tile, precision)
    packs = -(-K // _lanes(images))
    arguments = sums, parts, scale, bias, plan.struct, divisor.struct_of(packs), relu, result
    finish(blocks_for(plan.pixels * packs), (THREADS,), arguments)


def _turned(w: Array, groups: int) -> Array:
    """Exchange inputs and outputs of filters: (K, C/G, R, S) -> (R, S, K/G, G, C/G), contiguous."""
    K, C_per_group, R, S = w.shape
    filters = w.reshape(groups, K // groups, C_per_group, R, S)
    return contiguous(filters.transpose(3, 4, 1, 0, 2))


# --- what follows from shapes and settings --------------------------------------------------------


class Tile(NamedTuple):
    """The part of a result that a block works out, see tiles.cuh."""

    rows: int
    columns: int
    depth: int
    stages: int
    bytes: int
    """Of shared memory."""


def _tile(array: Array, channels: int) -> Tile:
    """Choose a tile for so many output channels of a group, and the card of an array."""
    return _tile_for(array.dtype, channels > 64, _shared_bytes(xp_of(array), array.device.id))


@functools.cache
def _shared_bytes(xp: ModuleType, device: int) -> int:
    """How much shared memory a block may have: 227 KiB on Hopper, 99 KiB on cards for games."""
    return xp.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"]


@functools.cache
def _tile_for(dtype: np.dtype, is_wide: bool, shared_bytes: int) -> Tile:
    """Choose a tile: a narrow one where a wide one would be half empty, and three stages where they fit."""
    lanes = 16 // dtype.itemsize
    rows, depth = (128, 32) if lanes == 4 else (64, 16)
    columns = 128 if lanes == 4 and is_wide else 64
    a_size = max(rows * (depth + lanes), depth * (rows + 2 * lanes))
    b_size = depth * (columns + 2 * lanes)
    stage = (a_size + b_size) * dtype.itemsize
    stages = 3 if 3 * stage + OTHER_SHARED_BYTES <= shared_bytes else 2
    return Tile(rows, columns, depth, stages, stages * stage)


def _function(
    name: str, images: Array, others: Array, plan: "Plan", tile: Tile, precision: str
) -> Any:
    """Return a kernel that copies as much at a time as the places of the channels in memory allow."""
    lanes = _lanes(images)
    chunks = (
        lanes if array.data.ptr % 16 == 0 and channels % lanes == 0 else 1
        for array, channels in ((images, plan.inputs), (others, plan.outputs))
    )
    defines = dict(zip(("CHUNK_X", "CHUNK_K"), chunks, strict=True))
    on_tensor_cores = int(multiplied_in(images.dtype, precision) == "tf32")
    defines |= {"TENSOR_CORES": on_tensor_cores, "TILE_COLUMNS": tile.columns}
    defines["STAGES"] = tile.stages
    shared = 0 if name in ("add_parts", "finish_convolve") else tile.bytes
    return function("conv", name, images, shared, **defines)


def _split(
    array: Array, terms: int, tile: Tile, blocks: int, size: int, precision: str
) -> tuple[int, int]:
    """Split sums of so many terms for a result of `size` numbers, whose tiles are the work of so many blocks."""
    bytes_ = size * array.dtype.itemsize
    multiplied = multiplied_in(array.dtype, precision)
    return split_of(terms, tile.depth, blocks, tile.rows * tile.columns, bytes_, multiplied)


def _lanes(array: Array) -> int:
    """Numbers that a thread loads and stores at a time, sixteen bytes."""
    return 16 // array.dtype.itemsize


class Axis(NamedTuple):
    """The taps that count along one axis, and where they look; `place` are the members of `Axis` in conv.cu."""

    count: int
    taps: slice
    place: tuple[int, ...]


class Plan(NamedTuple):
    """What a kernel needs to know beside the arrays."""

    struct: np.ndarray
    pixels: int
    terms: int
    """Taps times channels of a group, that are summed over."""
    inputs: int
    """Channels of a group that are summed over."""
    outputs: int
    """Channels of a group that are worked out."""
    groups: int
    row_taps: slice
    column_taps: slice


@functools.lru_cache(maxsize=4096)
def _forward_plan(x_shape: Shape, y_shape: Shape, window: Window, groups: int) -> Plan:
    axes = [
        Axis(count, slice(None), (size, count, taps, step, -before, apart, 0, 1))
        for size, count, taps, step, (before, _), apart in zip(
            x_shape[2:], y_shape[2:], *window, strict=True
        )
    ]
    return _plan(x_shape[0], x_shape[1], y_shape[1], groups, *axes)


@functools.lru_cache(maxsize=4096)
def _grad_input_plans(
    x_shape: Shape, y_shape: Shape, window: Window, groups: int
) -> tuple[list[Plan], bool]:
    """One plan for each phase that sees anything, and whether there is one that sees nothing."""
    rows, columns = (
        [_phase(phase, size, count, *settings) for phase in range(min(settings[1], size))]
        for size, count, *settings in zip(x_shape[2:], y_shape[2:], *window, strict=True)
    )
    seeing = [(row, column) for row in rows for column in columns if row and column]
    sizes = x_shape[0], y_shape[1], x_shape[1], groups
    plans = [_plan(*sizes, row, column) for row, column in seeing]
    return plans, len(plans) < len(rows) * len(columns)


def _phase(
    phase: int, size: int, count: int, taps: int, step: int, padding: Pair, apart: int
) -> Axis | None:
    """The inputs at phase, phase + step, ...: through which taps they were seen, and by which outputs.

    Output `o` sees input `h` through tap `r` if h = o step - before + r apart. For one phase, every
    `every`-th tap gives a whole number o, and the next of them an output that is `back` further up.
    """
    before, every = padding[0], step // math.gcd(step, apart)
    first = next(
        (r for r in range(min(taps, every)) if (phase + before - r * apart) % step == 0), None
    )
    if first is None:
        return None
    chosen = range(first, taps, every)
    start, back = (phase + before - first * apart) // step, every * apart // step
    inputs = -(-(size - phase) // step)
    place = count, size, len(chosen), 1, start, -back, phase, step
    return Axis(inputs, slice(first, None, every), place)


def _plan(N: int, C: int, K: int, groups: int, rows: Axis, columns: Axis) -> Plan:
    pixels = N * rows.count * columns.count
    if pixels > 2**30:
        raise ValueError(
            f"conv2d: expected at most 2^30 pixels in a result, got {N} x {rows.count} x {columns.count}; "
            "split the batch"
        )
    sizes = C, C // groups, K, K // groups, pixels
    values = *rows.place, *columns.place, *sizes, *divisor.members((rows.count, columns.count))
    members = struct(MEMBERS, *(value % 2**32 for value in values), dtype=np.uint32)
    taps = rows.place[AXIS.index("taps")] * columns.place[AXIS.index("taps")]
    terms, places = taps * (C // groups), (rows.taps, columns.taps)
    return Plan(members, pixels, terms, C // groups, K // groups, groups, *places)
