"""When convolution and pooling are one kernel. What it computes is tested in cpu/test_conv_pool.py."""

import numpy as np
import pytest

from minicnn.kernels import conv_pool

pytest.importorskip("numba")

SETTINGS = {
    "stride": (1, 1),
    "padding": (0, 0),
    "dilation": (1, 1),
    "groups": 1,
    "algorithm": "auto",
    "precision": "fast",
    "pool": 2,
}


def suits(x_shape=(2, 4, 10, 10), w_shape=(8, 4, 3, 3), dtype=np.float32, **changed):
    x, w = np.zeros(x_shape, dtype), np.zeros(w_shape, dtype)
    return conv_pool.suits(x, w, **{**SETTINGS, **changed})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_first_layers_of_small_networks(dtype):
    assert suits((64, 1, 28, 28), (8, 1, 3, 3), dtype)
    assert suits((64, 6, 14, 14), (16, 6, 5, 5), dtype, algorithm="direct")


@pytest.mark.parametrize(
    "changed",
    [
        {"groups": 2, "w_shape": (8, 2, 3, 3)},
        {"dilation": (1, 2)},
        {"algorithm": "im2col"},
        {"algorithm": "winograd"},
        {"precision": "none that there is"},  # they refuse it
        {"dtype": np.float16},
        {"pool": 9},  # larger than the image
        {"x_shape": (0, 4, 10, 10)},
        {"w_shape": (1024, 4, 3, 3)},  # too many weights
    ],
    ids=str,
)
def test_what_is_left_to_the_two_of_them(changed):
    assert not suits(**changed)


def test_large_convolutions_are_left_to_winograd():
    large = {"x_shape": (64, 32, 28, 28), "w_shape": (28, 32, 3, 3), "padding": (1, 1)}
    assert not suits(**large)
    assert suits(**large, precision="exact")


def test_settings_may_be_lists():
    x, w = np.ones((2, 4, 10, 10), np.float32), np.ones((8, 4, 3, 3), np.float32)
    settings = [1, 1], [[1, 0], [2, 1]], [1, 1], [2, 2]
    lists = dict(zip(("stride", "padding", "dilation", "pool"), settings, strict=True))
    assert suits(**lists)
    y, winner, framed = conv_pool.conv2d_max_pool2d(x, w, None, *settings, True)
    grad_x, *_ = conv_pool.conv2d_max_pool2d_grad(
        y, winner, framed, w, x.shape, *settings, need_x=True
    )
    assert y.shape == (2, 8, 4, 5)
    assert grad_x.shape == x.shape


def test_winners_of_another_shape_are_refused():
    x, w = np.ones((2, 4, 10, 10), np.float32), np.ones((8, 4, 3, 3), np.float32)
    settings = 1, 0, 1, 2
    y, winner, framed = conv_pool.conv2d_max_pool2d(x, w, None, *settings, True)
    with pytest.raises(ValueError, match=r"winner.*\(2, 8, 4, 4\)"):
        conv_pool.conv2d_max_pool2d_grad(y, winner[:1], framed, w, x.shape, *settings, True)
