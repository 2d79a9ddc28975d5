"""EfficientNet-Lite0: count, names of the published weights, TensorFlow's padding, and that it learns."""

from functools import partial

import numpy as np
import pytest

from minicnn import no_grad
from minicnn.models.efficientnet import MBConvBlock, SamePad2d, efficientnet_lite0
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

small = partial(efficientnet_lite0, num_classes=3, dropout=0.0)


def test_number_of_parameters():
    assert count_parameters(efficientnet_lite0) == 4_652_008


def test_number_of_products():
    with without_drawing():
        table = summary(efficientnet_lite0(), (3, 224, 224))
    assert table.multiply_adds / 1e6 == pytest.approx(
        385, abs=25
    )  # 407 with what else is published


def test_names_of_the_state():
    with without_drawing():
        names = list(efficientnet_lite0().state_dict())
    weights = [name for name in names if name.endswith("weight")]
    assert weights[:6] == [
        "_conv_stem.weight",
        "_bn0.weight",
        "_blocks.0._depthwise_conv.weight",
        "_blocks.0._bn1.weight",
        "_blocks.0._project_conv.weight",
        "_blocks.0._bn2.weight",
    ]
    assert weights[6:8] == ["_blocks.1._expand_conv.weight", "_blocks.1._bn0.weight"]
    assert weights[-3:] == ["_conv_head.weight", "_bn1.weight", "_fc.weight"]


@pytest.mark.parametrize(
    ("size", "kernel_size", "before", "after"),
    [(8, 3, 0, 1), (7, 3, 1, 1), (8, 5, 1, 2), (7, 5, 2, 2), (1, 3, 1, 1)],
)
def test_padding_of_stride_two(size, kernel_size, before, after):
    x = images(1, 1, size, size) * 0 + 1
    padded = SamePad2d(kernel_size, 2)(x).array[0, 0]
    expected = np.pad(np.ones((size, size)), [(before, after)] * 2)
    np.testing.assert_array_equal(padded, expected)


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize(("stride", "expected"), [(1, (7, 8)), (2, (4, 4))])
def test_size_after_a_block(kernel_size, stride, expected):
    block = MBConvBlock(4, 6, kernel_size, stride, 6)
    assert block(images(2, 4, 7, 8)).shape == (2, 6, *expected)


def test_block_adds_its_input():
    block = MBConvBlock(4, 4, 3, 1, 6).eval()
    x = images(2, 4, 5, 5)
    with_input = block(x).array
    block.has_shortcut = False
    np.testing.assert_allclose(with_input, block(x).array + x.array, rtol=1e-5, atol=1e-6)


def test_output_shape():
    with without_drawing(), no_grad():
        network = small(in_channels=1).eval()
        for n in (2, 0):
            assert network(images(n, 1, 64, 64)).shape == (n, 3)


@pytest.mark.parametrize(("small_images", "stride"), [(False, 2), (True, 1)])
def test_padding_and_convolution_of_the_stem_have_one_stride(small_images, stride):
    with without_drawing():
        network = small(small_images=small_images)
    assert network.get_submodule("_pad").stride == stride
    assert network.get_submodule("_conv_stem").stride == (stride, stride)


def test_small_images_keep_their_size_in_the_stem():
    with without_drawing(), no_grad():
        network = small(small_images=True).eval()
        x = images(1, 3, 28, 28)
        assert network[:4](x).shape == (1, 32, 28, 28)
        assert network(x).shape == (1, 3)


def test_learns():
    check_learns(small(), images(8, 3, 64, 64), integers(3, 8))


def test_train_and_eval_differ():
    check_train_and_eval_differ(small(), images(4, 3, 64, 64))


def test_state_round_trip():
    check_state_round_trip(small, images(2, 3, 64, 64))


def test_channels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="channels"):
        small()(images(1, 1, 64, 64))
