"""The vector instructions, one intrinsic at a time, against NumPy in float64."""

import numpy as np
import pytest

pytest.importorskip("numba")
from minicnn.kernels.cpu import simd
from minicnn.kernels.cpu.compiled import compiled
from minicnn.kernels.cpu.simd import TILE_ROWS, panel_width
from minicnn.kernels.cpu.target import TILE_VECTORS, VECTOR_BYTES

DTYPES = (np.float32, np.float64)
UNTOUCHED = -77.0


@compiled
def multiply(x_rows, pitch, weights, first, y_rows, y_offset, start, taps, channels, relu, columns):
    simd.multiply_tile(
        x_rows, pitch, weights, first, y_rows, y_offset, start, taps, channels, relu, columns
    )


@compiled
def multiply_narrow(
    x_rows, pitch, weights, first, y_rows, y_offset, start, taps, channels, relu, columns
):
    simd.multiply_narrow_tile(
        x_rows, pitch, weights, first, y_rows, y_offset, start, taps, channels, relu, columns
    )


@compiled
def add(x_pixels, first, x_offset, rows, grads, sums, row_bytes, pixels, more, columns):
    panel = grads, simd.address_of(grads, 0)
    simd.add_outer_products(
        x_pixels, first, x_offset, rows, panel, sums, row_bytes, pixels, more, columns
    )


@compiled
def copy(to, source, columns, like):
    simd.copy_row(to, source, columns, like)


@compiled
def transpose(to, to_step, source, source_step, like):
    simd.transpose_square(to, to_step, source, source_step, like)


@compiled
def address(array, index):
    return simd.address_of(array, index)


@compiled
def look_ahead(place):
    simd.prefetch(place)


TILES = {
    "wide": (multiply, TILE_ROWS, TILE_VECTORS),
    "narrow": (multiply_narrow, TILE_ROWS * TILE_VECTORS, 1),
}


def lanes_of(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def rows_of(array):
    """The addresses of an array's rows, all but the last axis."""
    offsets = np.arange(array.size // array.shape[-1]) * array.shape[-1] * array.itemsize
    return array.ctypes.data + offsets


def product(tile, dtype, taps=2, channels=3, columns=None, relu=False, change=None, seed=0):
    """Compute a tile; return the memory around it, and what should be in the tile."""
    function, rows, vectors = TILES[tile]
    width = vectors * lanes_of(dtype)
    columns = width if columns is None else columns
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((taps, rows, channels)).astype(dtype)
    weights = rng.standard_normal(5 + taps * channels * width).astype(dtype)
    start = rng.standard_normal(width).astype(dtype)
    if change is not None:
        change(x, weights, start)
    y = np.full((rows, 3 + width + 4), UNTOUCHED, dtype)  # the tile begins in column 3
    function(
        rows_of(x), rows, weights, 5, rows_of(y), 3 * y.itemsize, start.ctypes.data, taps, channels, relu, columns
    )  # fmt: skip
    panel = weights[5:].reshape(taps, channels, width).astype(np.float64)
    expected = start + np.einsum("tic,tck->ik", x.astype(np.float64), panel)
    return y, expected, slice(3, 3 + columns)


@pytest.mark.parametrize(("taps", "channels"), [(1, 1), (1, 50), (9, 3), (4, 16), (0, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tile", TILES)
def test_tile_is_a_sum_of_products(tile, dtype, taps, channels):
    y, expected, tile_columns = product(tile, dtype, taps, channels)
    tolerance = 10 * np.finfo(dtype).eps * max(1, taps * channels)
    np.testing.assert_allclose(y[:, tile_columns], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tile", TILES)
def test_tile_writes_the_columns_that_exist_and_nothing_else(tile, dtype):
    width = TILES[tile][2] * lanes_of(dtype)
    for columns in [*range(1, width + 1), width + 1, 1000]:
        y, expected, _ = product(tile, dtype, columns=columns)
        written = slice(3, 3 + min(columns, width))
        np.testing.assert_allclose(y[:, written], expected[:, :columns], rtol=1e-4, atol=1e-5)
        y[:, written] = UNTOUCHED
        assert (y == UNTOUCHED).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tile", TILES)
def test_relu_replaces_negative_sums_only(tile, dtype):
    def put_nan_and_infinity(x, weights, start):
        x[0, 0, 0], x[0, 1, 0], x[0, 2, 0] = np.nan, np.inf, -np.inf

    y, expected, tile_columns = product(tile, dtype, relu=True, change=put_nan_and_infinity)
    with np.errstate(invalid="ignore"):
        expected = np.where(expected < 0, 0, expected)
    assert np.isnan(expected[0]).all()
    assert (expected[1] == np.inf).any()
    np.testing.assert_allclose(y[:, tile_columns], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_several_rows_may_be_the_same(dtype):
    width = panel_width(np.dtype(dtype).itemsize)
    x, weights = np.ones((1, 3), dtype), np.ones(3 * width, dtype)
    y, start = np.zeros((1, width), dtype), np.zeros(width, dtype)
    x_rows, y_rows = np.repeat(rows_of(x), TILE_ROWS), np.repeat(rows_of(y), TILE_ROWS)
    multiply(x_rows, TILE_ROWS, weights, 0, y_rows, 0, start.ctypes.data, 1, 3, False, width)
    np.testing.assert_array_equal(y, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_taps_may_lie_further_apart_than_a_tile(dtype):
    width = panel_width(np.dtype(dtype).itemsize)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3 * TILE_ROWS, 4)).astype(
        dtype
    )  # three tiles' addresses in a table
    weights = rng.standard_normal((2, 4, width)).astype(dtype)
    y, start = np.zeros((TILE_ROWS, width), dtype), np.zeros(width, dtype)
    multiply(
        rows_of(x)[TILE_ROWS:], 3 * TILE_ROWS, weights.reshape(-1), 0, rows_of(y), 0, start.ctypes.data, 2, 4, False,
        width,
    )  # fmt: skip
    second = x[:, TILE_ROWS : 2 * TILE_ROWS].astype(np.float64)
    expected = np.einsum("tic,tck->ik", second, weights.astype(np.float64))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def outer_products(dtype, rows, pixels=7, more=False, columns=None):
    """Add up outer products; return the memory around the sums, and what should be in them."""
    width = panel_width(np.dtype(dtype).itemsize)
    columns = width if columns is None else columns
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((2 + pixels, rows + 3)).astype(dtype)
    grads = rng.standard_normal((max(1, pixels), width)).astype(dtype)
    sums = np.full((TILE_ROWS + 1, width + 5), UNTOUCHED, dtype)
    expected = sums[:rows, :columns].astype(np.float64) if more else 0
    add(
        rows_of(x), 2, 3 * x.itemsize, rows, grads.reshape(-1), sums.ctypes.data, sums.strides[0], pixels, more,
        columns,
    )  # fmt: skip
    x, grads = x[2:, 3:].astype(np.float64), grads[:pixels, :columns].astype(np.float64)
    return sums, expected + x.T @ grads


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_outer_products_of_every_number_of_rows(dtype, more):
    for rows in range(1, TILE_ROWS + 1):
        sums, expected = outer_products(dtype, rows, more=more)
        width = expected.shape[1]
        np.testing.assert_allclose(sums[:rows, :width], expected, rtol=1e-4, atol=1e-5)
        assert (sums[rows:] == UNTOUCHED).all()
        assert (sums[:, width:] == UNTOUCHED).all()


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_outer_products_of_part_of_a_panel(dtype, more):
    rows = min(5, TILE_ROWS)
    for columns in range(1, panel_width(np.dtype(dtype).itemsize) + 1):
        sums, expected = outer_products(dtype, rows, more=more, columns=columns)
        np.testing.assert_allclose(sums[:rows, :columns], expected, rtol=1e-4, atol=1e-5)
        assert (sums[rows:] == UNTOUCHED).all()
        assert (sums[:, columns:] == UNTOUCHED).all()


@pytest.mark.parametrize("pixels", [0, 1, 200])
@pytest.mark.parametrize("dtype", DTYPES)
def test_outer_products_of_few_and_many_pixels(dtype, pixels):
    sums, expected = outer_products(dtype, 3, pixels)
    np.testing.assert_allclose(sums[:3, : expected.shape[1]], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_is_copied_and_filled_up_with_zeros(dtype):
    width = panel_width(np.dtype(dtype).itemsize)
    source = np.arange(1, 2 * width + 1).astype(dtype)
    for columns in [*range(width + 1), 2 * width]:
        to = np.full(width + 4, UNTOUCHED, dtype)
        copy(to.ctypes.data, source[1:].ctypes.data, columns, source)
        expected = np.where(np.arange(width) < columns, source[1 : width + 1], 0)
        np.testing.assert_array_equal(to[:width], expected)
        np.testing.assert_array_equal(to[width:], UNTOUCHED)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_square_is_transposed(dtype):
    lanes = lanes_of(dtype)
    source = np.random.default_rng(0).standard_normal((lanes, lanes + 3)).astype(dtype)
    to = np.full((lanes, lanes + 5), UNTOUCHED, dtype)
    transpose(to.ctypes.data, to.strides[0], source.ctypes.data, source.strides[0], source)
    np.testing.assert_array_equal(to[:, :lanes], source[:, :lanes].T)
    np.testing.assert_array_equal(to[:, lanes:], UNTOUCHED)


def test_address_of_an_element():
    array = np.zeros((3, 4), np.float32)
    assert address(array, 0) == array.ctypes.data
    assert address(array, 7) == array[1, 3:].ctypes.data


def test_prefetching_what_does_not_exist_does_no_harm():
    look_ahead(8)
    look_ahead(2**62)
