"""The same seed gives the same bits: in a training with every kind of compiled loop, captured or not.

Sums are added up in another order by another number of threads, so the bits are those of a number of threads.
"""

import numpy as np
import pytest

from minicnn import nn
from minicnn.captured import capture
from minicnn.kernels.convolution import choose_algorithm
from tests.capturing import assert_same, batches, run, training
from tests.kernels.conv_cases import FUNCTIONS

pytest.importorskip("numba")
import numba

from minicnn.kernels.cpu import stem

IMAGES = (8, 3, 12, 12)


def network():
    """Convolutions by all algorithms, with and without pooling in one, and what stands between them in networks."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),  # few channels
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6(),  # depthwise
        nn.Conv2d(16, 64, 1), nn.GroupNorm(4, 64), nn.SiLU(),  # direct
        nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.Dropout2d(0.2),  # Winograd
        nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(64, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),  # in one
        nn.AvgPool2d(2, stride=1), nn.Flatten(), nn.Dropout(0.3), nn.LazyLinear(4),
    )  # fmt: skip


@pytest.fixture(params=[1, 2])
def threads(request):
    """So many threads, where there are as many cores."""
    before = numba.get_num_threads()
    if request.param > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("Numba has one thread here")
    numba.set_num_threads(request.param)
    yield request.param
    numba.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_the_same_seed_trains_a_network_to_the_same_bits():
    data = batches(IMAGES)
    first, step = training(network)
    expected = run(step, data)
    assert all(np.isfinite(numbers).all() for numbers in expected)

    again, step = training(network)
    assert_same(again, first, run(step, data), expected)

    for _ in range(2):
        replayed, step = training(network)
        captured = capture(step)
        assert_same(replayed, first, run(captured, data), expected)
        assert captured.is_recorded


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_network_has_convolutions_of_all_algorithms(function):
    like = np.empty(0, np.float32)
    assert choose_algorithm(function, like, (8, 64, 12, 12), (64, 64, 3, 3), 1, 1) == "winograd"
    assert choose_algorithm(function, like, (8, 16, 12, 12), (64, 16, 1, 1)) == "direct"
    assert stem.suits(IMAGES, (16, 3, 3, 3), stride=1, padding=1, dilation=1, groups=1)
