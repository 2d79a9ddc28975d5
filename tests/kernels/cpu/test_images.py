import numpy as np
import pytest

from tests.checks import MEMORY_ORDERS
from tests.kernels.conv_cases import array_in

pytest.importorskip("numba")
from minicnn.kernels.cpu.compiled import is_plain, plain
from minicnn.kernels.cpu.images import images_in_order


@pytest.mark.parametrize("frame", [((0, 0), (0, 0)), ((1, 2), (0, 3)), ((0, 1), (2, 0))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", MEMORY_ORDERS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 20), (1, 1, 1, 1), (3, 20, 2, 3), (0, 2, 3, 3)])
def test_in_order_and_framed(shape, layout, dtype, frame):
    x = array_in(layout, shape, dtype, np.random.default_rng(0))
    result = images_in_order(x, frame)
    expected = np.pad(x.transpose(0, 2, 3, 1), ((0, 0), *frame, (0, 0)))
    np.testing.assert_array_equal(result, expected)
    assert is_plain(result)
    assert result.dtype == dtype


def test_channels_last_images_are_not_copied():
    images = np.ones((2, 4, 4, 3), np.float32)
    assert np.shares_memory(images_in_order(images.transpose(0, 3, 1, 2)), images)


def test_plain_copies_what_cannot_be_written_to():
    array = np.ones(3)
    assert plain(array) is array
    array.flags.writeable = False
    assert plain(array) is not array
    assert is_plain(plain(array))
