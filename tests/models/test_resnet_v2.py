"""ResNet v2: counts, shapes, its block, training."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn
from minicnn.models import resnet_v2
from minicnn.models.resnet_v2 import PreActivationBottleneck, ResNetV2
from tests.models.checks import (
    check_batch_statistics_in_training_only,
    check_learns,
    check_state_round_trip,
    count_parameters,
    images,
    integers,
    without_drawing,
)

KERAS = {"resnet50_v2": 25_613_800, "resnet101_v2": 44_675_560, "resnet152_v2": 60_380_648}


@pytest.mark.parametrize(("name", "expected"), KERAS.items())
def test_number_of_parameters_in_the_manner_of_keras(name, expected):
    assert count_parameters(getattr(resnet_v2, name), statistics=True) == expected


def test_number_of_parameters():
    assert count_parameters(resnet_v2.resnet50_v2) == 25_568_360


@pytest.mark.parametrize(
    ("small_images", "sizes"), [(False, (16, 8, 4, 2)), (True, (64, 32, 16, 8))]
)
def test_shapes(small_images, sizes):
    with without_drawing():
        network = ResNetV2((1, 1, 1, 1), 7, in_channels=1, small_images=small_images).eval()
    x = network[:2](minicnn.rand(1, 1, 64, 64))  # conv1, maxpool
    assert x.shape == (1, 64, sizes[0], sizes[0])
    for stage, channels, size in zip(
        list(network)[2:6], (256, 512, 1024, 2048), (*sizes[1:], sizes[-1]), strict=True
    ):
        x = stage(x)
        assert x.shape == (1, channels, size, size)
    assert network[6:](x).shape == (1, 7)


def shortcut_by_hand(block, x, active, stride):
    if isinstance(block.shortcut, nn.Conv2d):
        return block.shortcut(active)
    return Tensor(x.array[:, :, ::stride, ::stride])


@pytest.mark.parametrize(
    ("in_channels", "stride", "kind"),
    [(8, 1, nn.Identity), (8, 2, nn.MaxPool2d), (6, 1, nn.Conv2d), (6, 2, nn.Conv2d)],
)
def test_a_block_computes_its_equation(in_channels, stride, kind):
    block = PreActivationBottleneck(in_channels, 2, stride).double()
    assert isinstance(block.shortcut, kind)
    x = Tensor(np.random.default_rng(0).standard_normal((3, in_channels, 6, 6)))
    relu = nn.functional.relu
    for _ in ("train", "eval"):
        active = relu(block.preactivation[0](x))
        y = active
        for layer in block.body:
            y = layer(y)
        expected = y + shortcut_by_hand(block, x, active, stride)
        np.testing.assert_allclose(block(x).array, expected.array, atol=1e-12)
        block.eval()


def test_the_last_block_of_a_stage_has_the_stride():
    stage = resnet_v2.preactivation_stage(6, 2, blocks=3, stride=2)
    x = minicnn.rand(2, 6, 8, 8)
    assert stage[:2](x).shape == (2, 8, 8, 8)
    assert stage(x).shape == (2, 8, 4, 4)


def test_learns():
    network = nn.Sequential(
        resnet_v2.preactivation_stage(3, 4, blocks=3, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    check_learns(network, images(8, 3, 8, 8), integers(3, 8), lr=0.1)


def test_the_whole_network_learns():
    network = ResNetV2((1, 1, 1, 1), 3, small_images=True)
    check_learns(network, images(4, 3, 8, 8), integers(3, 4), lr=0.005, steps=3)


def test_state_round_trip_and_modes():
    def make():
        stage = resnet_v2.preactivation_stage(3, 4, blocks=2, stride=2)
        return nn.Sequential(stage, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    check_state_round_trip(make, images(4, 3, 8, 8))
    check_batch_statistics_in_training_only(make(), images(4, 3, 8, 8))


@pytest.mark.parametrize("layers", [(2, 2, 2), (2, 2, 0, 2)])
def test_refuses_other_stages(layers):
    with pytest.raises(ValueError, match=r"ResNetV2: layers: expected four numbers .* got \(2, 2"):
        ResNetV2(layers)
