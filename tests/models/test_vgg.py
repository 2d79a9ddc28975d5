"""VGG: parameter counts, blocks, shapes, and that it learns."""

from functools import partial

import pytest

from minicnn import nn, no_grad
from minicnn.models import vgg
from tests.models.checks import (
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
    without_drawing,
)

COUNTS = {
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
}

small = partial(vgg.vgg11, num_classes=3, small_images=True)


@pytest.mark.parametrize(("name", "expected"), COUNTS.items())
def test_number_of_parameters(name, expected):
    assert count_parameters(getattr(vgg, name)) == expected


def test_depth_counts_the_layers_with_weights():
    for depth in vgg.CONVOLUTIONS:
        with without_drawing():
            network = vgg.vgg(depth)
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert len(layers) == depth


def test_names_of_the_state():
    with without_drawing():
        names = [name for name in vgg.vgg11().state_dict() if name.endswith("weight")]
    features = [f"features.{i}.weight" for i in (0, 3, 6, 8, 11, 13, 16, 18)]
    assert names == [*features, *(f"classifier.{i}.weight" for i in (0, 3, 6))]


def test_output_shape_of_the_form_for_large_images():
    with without_drawing(), no_grad():
        network = vgg.vgg11(num_classes=5).eval()
        features = network.features(images(1, 3, 32, 32))
        assert features.shape == (1, 512, 1, 1)
        assert network.avgpool(features).shape == (1, 512, 7, 7)
        assert network.classifier[0].weight.shape == (4096, 512 * 7 * 7)


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3)])
def test_output_shape_for_small_images(side, channels):
    network = small(in_channels=channels).eval()
    for n in (2, 1, 0):
        assert network(images(n, channels, side, side)).shape == (n, 3)


def test_block_halves_the_image_and_sets_the_channels():
    block = nn.Sequential(*vgg.vgg_block(3, 8, convolutions=2))
    assert block(images(2, 3, 6, 10)).shape == (2, 8, 3, 5)
    block = nn.Sequential(*vgg.vgg_block(3, 8, convolutions=2, batch_norm=True, pool=False))
    assert block(images(2, 3, 6, 10)).shape == (2, 8, 6, 10)
    assert [type(layer) for layer in block[:3]] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_learns(batch_norm):
    network = small(batch_norm=batch_norm, dropout=0.0)
    check_learns(network, images(4, 3, 16, 16), integers(3, 4), lr=0.05, steps=8)


def test_dropout_acts_in_training_only():
    check_train_and_eval_differ(small(), images(2, 3, 32, 32))


def test_state_round_trip():
    check_state_round_trip(small, images(2, 3, 32, 32))


def test_unknown_depths_are_refused():
    with pytest.raises(ValueError, match="depth must be one of 11, 13, 16, 19, got 12"):
        vgg.vgg(12)


def test_empty_blocks_are_refused():
    with pytest.raises(ValueError, match="convolutions must be at least 1, got 0"):
        vgg.vgg_block(3, 8, convolutions=0)
