"""Tables and addresses against the definition: pixel by pixel, tap by tap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba")
from minicnn.kernels.cpu import pointers
from minicnn.kernels.shapes import Window, conv_output_size

ZEROS = 1
"""The address that stands for a row of zeros; no number has it."""


@st.composite
def windows(draw):
    """Draw a window, the size of an image that it fits into, and that of the output."""
    small = st.integers(1, 3)
    sides = st.integers(0, 3)
    kernel, stride, dilation = ((draw(small), draw(small)) for _ in range(3))
    padding = ((draw(sides), draw(sides)), (draw(sides), draw(sides)))
    size = tuple(
        draw(st.integers(max(1, d * (k - 1) + 1 - sum(p)), 9))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    axes = zip(size, kernel, stride, padding, dilation, strict=True)
    return (
        Window(kernel, stride, padding, dilation),
        size,
        tuple(conv_output_size(*a) for a in axes),
    )


def seen_by(window, i, j, r, s):
    """The input pixel that output pixel (i, j) sees through tap (r, s); it may lie outside the image."""
    return (
        i * window.stride[0] - window.padding[0][0] + r * window.dilation[0],
        j * window.stride[1] - window.padding[1][0] + s * window.dilation[1],
    )


@given(case=windows(), channels=st.integers(1, 3))
def test_every_output_pixel_sees_what_the_definition_says(case, channels):
    window, (H, W), (OH, OW) = case
    rows, columns = pointers.input_seen(window, (H, W), (OH, OW), channels)
    for i, j, r, s in np.ndindex(OH, OW, *window.kernel):
        y, x = seen_by(window, i, j, r, s)
        offset = rows[i, r] + columns[s, j]
        if 0 <= y < H and 0 <= x < W:
            assert offset == (y * W + x) * channels
        else:
            assert offset < 0


@given(case=windows(), channels=st.integers(1, 3))
def test_every_input_pixel_was_seen_as_the_definition_says(case, channels):
    """All pairs of an output pixel and a tap that saw an input pixel are in the tables of its phase, and no others."""
    window, (H, W), (OH, OW) = case
    expected = {pixel: set() for pixel in np.ndindex(H, W)}
    for i, j, r, s in np.ndindex(OH, OW, *window.kernel):
        pixel = seen_by(window, i, j, r, s)
        if pixel in expected:
            expected[pixel].add((r, s, (i * OW + j) * channels))
    for phase in np.ndindex(min(window.stride[0], H), min(window.stride[1], W)):
        (rows, columns), taps = pointers.output_that_saw(window, phase, (H, W), (OH, OW), channels)
        tap_rows, tap_columns = (range(k)[t] for k, t in zip(window.kernel, taps, strict=True))
        for a, b in np.ndindex(len(rows), columns.shape[1]):
            offsets = {
                (tap_rows[r], tap_columns[s], rows[a, r] + columns[s, b])
                for r, s in np.ndindex(rows.shape[1], len(columns))
            }
            pixel = phase[0] + a * window.stride[0], phase[1] + b * window.stride[1]
            assert {place for place in offsets if place[2] >= 0} == expected.pop(pixel)
    assert not expected  # the phases cover the image


def test_pixels_are_where_they_are():
    rows, columns = pointers.pixels((5, 7), 3, first=(1, 2), stride=(2, 3))
    np.testing.assert_array_equal(rows, [1 * 21, 3 * 21])
    np.testing.assert_array_equal(columns, [2 * 3, 5 * 3])


def test_tables_are_contiguous_so_that_they_have_one_type():
    window = Window((3, 2), (2, 3), ((1, 1), (0, 1)), (1, 2))
    tables = [pointers.input_seen(window, (9, 9), (5, 3), 4), pointers.pixels((9, 9), 4)]
    for phase in np.ndindex(2, 3):
        tables.append(pointers.output_that_saw(window, phase, (9, 9), (5, 3), 4)[0])
    for table in (table for pair in tables for table in pair):
        assert table.dtype == np.int64
        assert table.flags.c_contiguous


def test_a_row_or_column_outside_is_negative_whatever_is_added_to_it():
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    rows, columns = pointers.input_seen(window, (10**5, 10**5), (10**5, 10**5), 1000)
    assert (rows[0, 0] + columns.max()) * 8 + 2**57 < 0
    assert (rows[0, 0] + columns[0, 0]) * 8 < 0  # and no overflow


@given(
    case=windows(),
    N=st.integers(1, 3),
    count=st.integers(1, 40),
    channels=st.integers(1, 3),
    data=st.data(),
)
def test_addresses_of_what_pixels_see(case, N, count, channels, data):
    window, (H, W), (OH, OW) = case
    last = N * OH * OW - 1
    first = data.draw(st.integers(0, last))
    tables = pointers.input_seen(window, (H, W), (OH, OW), channels)
    base, itemsize = 10**6, 4
    images = base, H * W * channels * itemsize, itemsize
    R, S = window.kernel
    found = np.full(R * S * count, -1)
    pointers.point_at_inputs(found, count, first, last, images, ZEROS, tables)
    for r, s, p in np.ndindex(R, S, count):
        n, i, j = np.unravel_index(min(first + p, last), (N, OH, OW))
        y, x = seen_by(window, i, j, r, s)
        inside = 0 <= y < H and 0 <= x < W
        expected = base + ((n * H + y) * W + x) * channels * itemsize if inside else ZEROS
        assert found[(r * S + s) * count + p] == expected


@given(
    N=st.integers(1, 3),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    count=st.integers(1, 40),
    data=st.data(),
)
def test_addresses_of_output_pixels(N, rows, columns, count, data):
    last = N * rows * columns - 1
    first = data.draw(st.integers(0, last))
    size, stride, channels, itemsize = (2 * rows, 3 * columns), (2, 3), 5, 8
    tables = pointers.pixels(size, channels, (1, 2), stride)
    images = 10**6, size[0] * size[1] * channels * itemsize, itemsize
    found = np.full(count, -1)
    pointers.point_at_outputs(found, count, first, last, images, tables)
    for p in range(count):
        n, a, b = np.unravel_index(min(first + p, last), (N, rows, columns))
        place = (n * size[0] + 1 + 2 * a) * size[1] + 2 + 3 * b
        assert found[p] == 10**6 + place * channels * itemsize
