"""Xception and its small relative: counts, blocks, shapes, and that they learn."""

from functools import partial

import numpy as np
import pytest

from minicnn import nn, no_grad
from minicnn.models.xception import (
    PreactivatedBlock,
    XceptionBlock,
    mini_xception,
    separable_pair,
    xception,
)
from tests.models.checks import (
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
    without_drawing,
)

small = partial(xception, num_classes=3, middle_blocks=1, dropout=0.0)
mini = partial(mini_xception, num_classes=3, channels=(8, 16), dropout=0.0)


@pytest.mark.parametrize(
    ("build", "parameters", "with_statistics"),
    [(xception, 22_855_952, 22_910_480), (mini_xception, 718_849, 721_857)],
)
def test_number_of_parameters(build, parameters, with_statistics):
    assert count_parameters(build) == parameters
    assert count_parameters(build, statistics=True) == with_statistics


def test_pair_has_one_filter_a_channel_and_then_mixes_them():
    depthwise, pointwise = separable_pair(4, 6)
    assert depthwise.weight.shape == (4, 1, 3, 3)
    assert pointwise.weight.shape == (6, 4, 1, 1)


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize(("side", "halved"), [(8, 4), (9, 5)])
def test_pair_with_a_stride_halves(kernel_size, side, halved):
    pair = nn.Sequential(*separable_pair(4, 6, kernel_size, stride=2))
    assert pair(images(2, 4, side, side)).shape == (2, 6, halved, halved)


def test_block_that_keeps_the_size_adds_its_input():
    block = XceptionBlock((4, 6, 4)).eval()
    x = images(2, 4, 5, 5)
    np.testing.assert_allclose(block(x).array, block.body(x).array + x.array, rtol=1e-6)


@pytest.mark.parametrize("block", [XceptionBlock((4, 5, 6), halve=True), PreactivatedBlock(4, 6)])
@pytest.mark.parametrize(("side", "halved"), [(7, 4), (8, 4)])
def test_size_after_a_block_that_halves(block, side, halved):
    assert block(images(2, 4, side, side)).shape == (2, 6, halved, halved)


def test_first_relu_can_be_left_out():
    kinds = [type(layer) for layer in XceptionBlock((4, 4), relu_first=False).body]
    assert kinds == [nn.Conv2d, nn.Conv2d, nn.BatchNorm2d]


def test_shapes_at_the_size_of_the_paper():
    with without_drawing(), no_grad():
        network = xception(num_classes=4, middle_blocks=0).eval()
        x = network.stem(images(1, 3, 299, 299))
        assert x.shape == (1, 64, 147, 147)
        x = network.entry(x)
        assert x.shape == (1, 728, 19, 19)
        assert network.exit(x).shape == (1, 2048, 10, 10)


def test_shapes_of_the_small_relative():
    with without_drawing(), no_grad():
        network = mini_xception().eval()
        x = images(1, 3, 180, 180)
        assert network.blocks(network.stem(x)).shape == (1, 512, 6, 6)
        assert network(x).shape == (1, 1)


@pytest.mark.parametrize("build", [small, mini])
def test_output_shape(build):
    network = build(in_channels=1).eval()
    for n in (2, 0):
        assert network(images(n, 1, 64, 64)).shape == (n, 3)


def test_small_images_keep_their_size_in_the_stem():
    network = small(small_images=True, in_channels=1).eval()
    x = images(2, 1, 28, 28)
    assert network.stem(x).shape == (2, 64, 28, 28)
    assert network(x).shape == (2, 3)


@pytest.mark.parametrize(("build", "lr"), [(small, 0.05), (mini, 0.2)])
def test_learns(build, lr):
    check_learns(build(), images(6, 3, 64, 64), integers(3, 6), lr=lr)


@pytest.mark.parametrize("build", [small, mini])
def test_train_and_eval_differ(build):
    check_train_and_eval_differ(build(), images(4, 3, 64, 64))


@pytest.mark.parametrize("build", [small, mini])
def test_state_round_trip(build):
    check_state_round_trip(build, images(2, 3, 64, 64))


def test_arguments_are_refused():
    with pytest.raises(ValueError, match=r"middle_blocks: expected a number of at least 0, got -1"):
        xception(middle_blocks=-1)
    with pytest.raises(ValueError, match=r"XceptionBlock: channels: .* got \(4, 6\)"):
        XceptionBlock((4, 6))
