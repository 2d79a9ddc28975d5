"""AlexNet and ZFNet: parameter counts, the shapes of the papers, and that they learn."""

from functools import partial

import pytest

from minicnn import no_grad
from minicnn.models.alexnet import alexnet, zfnet
from tests.models.checks import (
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
    without_drawing,
)

small = partial(alexnet, num_classes=3, small_images=True)


@pytest.mark.parametrize(("build", "expected"), [(alexnet, 61_100_840), (zfnet, 62_357_608)])
def test_number_of_parameters(build, expected):
    assert count_parameters(build) == expected


def test_names_of_the_state():
    with without_drawing():
        names = [name for name in alexnet().state_dict() if name.endswith("weight")]
    features = [f"features.{i}.weight" for i in (0, 3, 6, 8, 10)]
    assert names == [*features, *(f"classifier.{i}.weight" for i in (1, 4, 6))]


@pytest.mark.parametrize("build", [alexnet, zfnet])
def test_features_at_the_size_of_the_papers(build):
    with without_drawing(), no_grad():
        features = build().eval().features(images(1, 3, 224, 224))
    assert features.shape == (1, 256, 6, 6)


def test_shapes_of_zfnet_are_those_of_its_figure_3():
    sides = []
    with without_drawing(), no_grad():
        x = images(1, 3, 224, 224)
        for layer in zfnet().eval().features:
            x = layer(x)
            if x.shape[2] not in sides:
                sides.append(x.shape[2])
    assert sides == [110, 55, 26, 13, 6]


@pytest.mark.parametrize("build", [alexnet, zfnet])
def test_output_shape_at_the_least_size(build):
    with without_drawing(), no_grad():
        network = build(num_classes=5, in_channels=1).eval()
        assert network(images(2, 1, 63, 63)).shape == (2, 5)


@pytest.mark.parametrize("build", [alexnet, zfnet])
@pytest.mark.parametrize("side", [28, 32])
def test_output_shape_for_small_images(build, side):
    network = build(num_classes=3, in_channels=1, small_images=True).eval()
    for n in (2, 1, 0):
        assert network(images(n, 1, side, side)).shape == (n, 3)


def test_alexnet_learns():
    check_learns(small(dropout=0.0), images(4, 3, 28, 28), integers(3, 4), lr=0.05, steps=8)


def test_zfnet_learns():
    network = zfnet(3, dropout=0.0, small_images=True)
    check_learns(network, images(4, 3, 28, 28), integers(3, 4), lr=0.05, steps=8)


def test_dropout_acts_in_training_only():
    check_train_and_eval_differ(small(), images(2, 3, 28, 28))


def test_state_round_trip():
    check_state_round_trip(small, images(2, 3, 28, 28))


def test_images_that_are_too_small_are_refused_by_the_layer():
    with without_drawing(), pytest.raises(ValueError, match=r"max_pool2d|MaxPool2d") as caught:
        alexnet()(images(1, 3, 32, 32))
    assert any("part " in note for note in caught.value.__notes__)
