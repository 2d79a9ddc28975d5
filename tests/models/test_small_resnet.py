"""Plain stacks and small residual networks: counts, shapes, training."""

from functools import partial

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.models.small_resnet import plain_stack, resnet_small_v1, resnet_small_v2
from tests.models.checks import (
    check_batch_statistics_in_training_only,
    check_learns,
    check_state_round_trip,
    count_parameters,
    images,
    integers,
)

ALL = [plain_stack, resnet_small_v1, resnet_small_v2]
each_network = pytest.mark.parametrize("build", ALL, ids=lambda build: build.__name__)


@pytest.mark.parametrize(
    ("convolutions", "expected"), [(1, 6_274), (2, 18_482), (6, 67_314), (10, 116_146)]
)
def test_parameters_of_plain_stacks(convolutions, expected):
    build = partial(plain_stack, convolutions=convolutions)
    assert count_parameters(build) == expected
    assert sum(isinstance(layer, nn.Conv2d) for layer in build()) == 3 * convolutions


@pytest.mark.parametrize(("blocks", "expected"), [(1, 19_810), (3, 68_642), (5, 117_474)])
def test_parameters_of_small_resnets(blocks, expected):
    assert count_parameters(partial(resnet_small_v1, blocks=blocks)) == expected


def test_parameters_of_the_small_resnet_with_bottlenecks():
    assert count_parameters(resnet_small_v2) == 22_554
    assert count_parameters(resnet_small_v2, statistics=True) == 23_690


@each_network
def test_shapes(build):
    assert build().eval()(minicnn.rand(2, 1, 28, 28)).shape == (2, 10)
    assert build(num_classes=4, in_channels=3).eval()(minicnn.rand(0, 3, 20, 30)).shape == (0, 4)


@each_network
def test_three_sizes(build):
    sizes = set()
    network = build()
    for layer in network.modules():
        layer.register_forward_hook(lambda _, __, y: sizes.add(y.shape[2:]))
    network.eval()(minicnn.rand(1, 1, 28, 28))
    assert sizes >= {(28, 28), (14, 14), (7, 7)}
    assert max(sizes) == (28, 28)


@each_network
def test_learns(build):
    check_learns(build(num_classes=3), images(8, 1, 28, 28), integers(3, 8), steps=8)


@each_network
def test_state_round_trip_and_modes(build):
    check_state_round_trip(build, images(4, 1, 12, 12))
    check_batch_statistics_in_training_only(build(), images(4, 1, 12, 12))


def test_refuses_stages_of_nothing():
    with pytest.raises(
        ValueError, match=r"plain_stack: convolutions: expected at least 1 .* got 0"
    ):
        plain_stack(convolutions=0)
    with pytest.raises(ValueError, match=r"resnet_small_v1: blocks: expected at least 1 .* got 0"):
        resnet_small_v1(blocks=0)


def test_weights_start_small_in_the_last_layer():
    assert np.abs(resnet_small_v1()[-1].weight.array).max() < 0.06
