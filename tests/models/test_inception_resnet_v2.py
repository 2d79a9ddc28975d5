"""Inception-ResNet v2: counts, the residual block's equation, shapes, and that it learns."""

from functools import partial

import numpy as np
import pytest

from minicnn import nn, no_grad
from minicnn.models.inception_resnet_v2 import block8, block17, block35, inception_resnet_v2
from minicnn.nn import functional as F
from tests.models.checks import (
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
    without_drawing,
)

small = partial(
    inception_resnet_v2, num_classes=3, blocks=(1, 1, 1), dropout=0.0, small_images=True
)


def test_number_of_parameters():
    assert count_parameters(inception_resnet_v2) == 55_843_464


def test_number_of_parameters_as_keras_counts():
    build = partial(inception_resnet_v2, norm_scale=False)
    assert count_parameters(build, statistics=True) == 55_873_736


@pytest.mark.parametrize(("build", "channels"), [(block35, 320), (block17, 1088), (block8, 2080)])
def test_a_block_computes_its_equation(build, channels):
    block = build(scale=0.5)
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    x = images(1, channels, 3, 3)
    expected = F.relu(x + block.up(block.branches(x)) * 0.5)
    assert block(x).shape == x.shape
    np.testing.assert_allclose(block(x).array, expected.array, rtol=1e-5, atol=1e-6)


def test_shapes_at_the_size_of_the_paper():
    with without_drawing(), no_grad():
        network = inception_resnet_v2(num_classes=4, blocks=(1, 1, 1)).eval()
        shapes = []
        for part in (network.stem, network.block35, network.block17, network.block8):
            part.register_forward_hook(lambda _, __, y: shapes.append(y.shape[1:]))
        assert network(images(1, 3, 299, 299)).shape == (1, 4)
    assert shapes == [(192, 35, 35), (320, 35, 35), (1088, 17, 17), (2080, 8, 8)]


def test_last_sum_has_no_relu_and_no_factor():
    with without_drawing():
        scales = [(block.scale, block.activation) for block in inception_resnet_v2().block8]
    assert scales == [(0.2, True)] * 9 + [(1.0, False)]


@pytest.mark.parametrize(("side", "stem"), [(75, False), (28, True)])
def test_output_shape_for_the_smallest_images(side, stem):
    network = inception_resnet_v2(3, 1, (1, 1, 1), small_images=stem).eval()
    for n in (2, 0):
        assert network(images(n, 1, side, side)).shape == (n, 3)


@pytest.mark.parametrize("norm_scale", [True, False])
def test_learns(norm_scale):
    network = small(norm_scale=norm_scale)
    check_learns(network, images(4, 3, 16, 16), integers(3, 4), lr=0.005, steps=4)


def test_train_and_eval_differ():
    check_train_and_eval_differ(small(), images(4, 3, 16, 16))


def test_state_round_trip():
    check_state_round_trip(small, images(2, 3, 16, 16))


@pytest.mark.parametrize("blocks", [(1, 1), (1, 0, 1)])
def test_refuses_other_stages(blocks):
    with pytest.raises(
        ValueError, match=r"inception_resnet_v2: blocks: expected three .* got \(1, "
    ):
        inception_resnet_v2(blocks=blocks)
