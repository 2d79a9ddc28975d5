import numpy as np

from minicnn.kernels.shapes import window_of
from minicnn.kernels.windows import crop, pad, taps, windows


def test_windows_are_the_slices_of_the_image():
    x = np.arange(2 * 7 * 9 * 3).reshape(2, 7, 9, 3)
    seen = windows(x, window_of((3, 2), stride=(2, 3), dilation=(1, 2)), (3, 3))
    for oh, ow in np.ndindex(3, 3):
        expected = x[:, 2 * oh : 2 * oh + 3, 3 * ow : 3 * ow + 3 : 2]  # (N, R, S, C)
        np.testing.assert_array_equal(seen[:, oh, ow], expected)


def test_windows_are_a_view():
    x = np.zeros((1, 3, 3, 1))
    for tap in taps(windows(x, window_of(2), (2, 2))):
        tap += 1
    np.testing.assert_array_equal(x[0, :, :, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])


def test_taps_come_row_by_row():
    x = np.arange(4).reshape(1, 2, 2, 1)
    assert [int(tap[0, 0, 0, 0]) for tap in taps(windows(x, window_of(2), (1, 1)))] == [0, 1, 2, 3]


def test_crop_undoes_pad():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    sides = ((1, 2), (0, 3))
    padded = pad(x, sides, -np.inf)
    assert padded.shape == (2, 6, 7, 5)
    assert padded.dtype == np.float32
    assert np.isneginf(padded).sum() == padded.size - x.size
    np.testing.assert_array_equal(crop(padded, sides), x)


def test_no_padding_is_no_copy():
    x = np.zeros((1, 2, 2, 1))
    assert pad(x, ((0, 0), (0, 0))) is x
