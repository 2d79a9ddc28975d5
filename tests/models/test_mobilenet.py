"""MobileNet v1 and v2: counts of both papers, blocks, shapes, and that they learn."""

from functools import partial

import numpy as np
import pytest

import minicnn
from minicnn import nn
from minicnn.models.mobilenet import (
    InvertedResidual,
    mobilenet_v1,
    mobilenet_v2,
    separable_conv,
)
from minicnn.summary import summary
from tests.models.checks import (
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
    without_drawing,
)

BUILDERS = [mobilenet_v1, mobilenet_v2]
thin_v1 = partial(mobilenet_v1, num_classes=3, width=0.25, small_images=True)
thin_v2 = partial(mobilenet_v2, num_classes=3, width_mult=0.35, dropout=0.0, small_images=True)


@pytest.mark.parametrize(
    ("build", "parameters", "with_statistics"),
    [(mobilenet_v1, 4_231_976, 4_253_864), (mobilenet_v2, 3_504_872, 3_538_984)],
)
def test_number_of_parameters(build, parameters, with_statistics):
    assert count_parameters(build) == parameters
    assert count_parameters(build, statistics=True) == with_statistics


@pytest.mark.parametrize(
    ("width", "side", "millions_of_products", "millions_of_parameters"),
    [
        (1.0, 224, 569, 4.2),
        (0.75, 224, 325, 2.6),
        (0.5, 224, 149, 1.3),
        (0.25, 224, 41, 0.5),
        (1.0, 192, 418, 4.2),
        (1.0, 160, 290, 4.2),
        (1.0, 128, 186, 4.2),
    ],
)
def test_rows_of_the_paper_on_v1(width, side, millions_of_products, millions_of_parameters):
    with without_drawing():
        table = summary(mobilenet_v1(width=width), (3, side, side))
    # The paper rounds 568.7 up and 290.7 down.
    assert table.multiply_adds / 1e6 == pytest.approx(millions_of_products, abs=0.7)
    assert table.trainable / 1e6 == pytest.approx(millions_of_parameters, abs=0.05)


def test_v1_with_ordinary_convolutions():
    count = count_parameters(partial(mobilenet_v1, separable=False))
    assert count / 1e6 == pytest.approx(29.3, abs=0.05)


def test_widths_of_v2_are_multiples_of_eight():
    with without_drawing():
        network = mobilenet_v2(width_mult=0.35)
    channels = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert min(channels) == 8
    assert all(number % 8 == 0 for number in channels)
    assert network.classifier[1].in_features == 1280


def test_names_of_the_state_of_v2():
    with without_drawing():
        names = list(mobilenet_v2().state_dict())
    weights = [name for name in names if name.endswith("weight")]
    assert weights[:6] == [
        "features.0.0.weight",
        "features.0.1.weight",
        "features.1.conv.0.0.weight",
        "features.1.conv.0.1.weight",
        "features.1.conv.1.weight",
        "features.1.conv.2.weight",
    ]
    assert "features.2.conv.1.0.weight" in weights
    assert names[-2:] == ["classifier.1.weight", "classifier.1.bias"]


@pytest.mark.parametrize("build", BUILDERS)
def test_features_and_output_at_the_size_of_the_papers(build):
    with without_drawing(), minicnn.no_grad():
        network = build(num_classes=4).eval()
        x = images(1, 3, 224, 224)
        assert network.features(x).shape[2:] == (7, 7)
        assert network(x).shape == (1, 4)


@pytest.mark.parametrize("build", [thin_v1, thin_v2])
@pytest.mark.parametrize("side", [28, 32])
def test_output_shape_for_small_images(build, side):
    network = build(in_channels=1).eval()
    for n in (2, 1, 0):
        assert network(images(n, 1, side, side)).shape == (n, 3)


def test_separable_conv_has_one_filter_a_channel_and_then_mixes_them():
    depthwise, norm, _, pointwise, *_ = separable_conv(4, 6, stride=2)
    assert depthwise.weight.shape == (4, 1, 3, 3)
    assert norm.num_features == 4
    assert pointwise.weight.shape == (6, 4, 1, 1)
    assert nn.Sequential(*separable_conv(4, 6, stride=2))(images(2, 4, 7, 7)).shape == (2, 6, 4, 4)


@pytest.mark.parametrize("expand_ratio", [1, 6])
def test_inverted_residual_adds_its_input(expand_ratio):
    block = InvertedResidual(4, 4, 1, expand_ratio).eval()
    x = images(2, 4, 5, 5)
    np.testing.assert_allclose(block(x).array, (block.conv(x) + x).array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("out_channels", "stride"), [(6, 1), (4, 2)])
def test_inverted_residual_without_shortcut(out_channels, stride):
    block = InvertedResidual(4, out_channels, stride, 2).eval()
    x = images(2, 4, 5, 5)
    np.testing.assert_array_equal(block(x).array, block.conv(x).array)


def test_ends_of_an_inverted_residual_are_linear():
    assert (InvertedResidual(4, 4, 1, 2).eval().conv(images(2, 4, 5, 5)).array < 0).any()


@pytest.mark.parametrize("build", [thin_v1, thin_v2])
def test_learns(build):
    check_learns(build(), images(8, 3, 32, 32), integers(3, 8), lr=0.02, steps=15)


@pytest.mark.parametrize("build", [thin_v1, thin_v2])
def test_train_and_eval_differ(build):
    check_train_and_eval_differ(build(), images(4, 3, 28, 28))


@pytest.mark.parametrize("build", [thin_v1, thin_v2])
def test_state_round_trip(build):
    check_state_round_trip(build, images(2, 3, 28, 28))


def test_arguments_are_refused():
    with pytest.raises(ValueError, match=r"mobilenet_v1: width: expected a number above 0, got 0"):
        mobilenet_v1(width=0)
    with pytest.raises(ValueError, match=r"mobilenet_v2: width_mult: expected a number above 0"):
        mobilenet_v2(width_mult=-1.0)
    with pytest.raises(ValueError, match=r"InvertedResidual: stride: expected 1 or 2, got 3"):
        InvertedResidual(4, 4, 3, 6)
