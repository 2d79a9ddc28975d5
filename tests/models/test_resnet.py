"""ResNet, wide ResNet, ResNeXt: counts, shapes, blocks, stochastic depth, training."""

from functools import partial

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn
from minicnn.models import resnet
from minicnn.models.resnet import BasicBlock, Bottleneck, ResNet
from tests.models.checks import (
    check_batch_statistics_in_training_only,
    check_learns,
    check_state_round_trip,
    count_parameters,
    images,
    integers,
    without_drawing,
)

COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "wide_resnet50_2": 68_883_240,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
}

KERAS = {"resnet50": 25_636_712, "resnet101": 44_707_176, "resnet152": 60_419_944}


def small(**options):
    """A ResNet of one block a stage, for images of any size and three classes."""
    return ResNet(BasicBlock, (1, 1, 1, 1), 3, small_images=True, **options)


@pytest.mark.parametrize(("name", "expected"), COUNTS.items())
def test_number_of_parameters(name, expected):
    assert count_parameters(getattr(resnet, name)) == expected


@pytest.mark.parametrize(("name", "expected"), KERAS.items())
def test_number_of_parameters_in_the_manner_of_keras(name, expected):
    build = partial(getattr(resnet, name), conv_bias=True)
    assert count_parameters(build, statistics=True) == expected


# --- shapes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "small_images", "expected"),
    [
        (BasicBlock, False, [(64, 16), (64, 16), (128, 8), (256, 4), (512, 2)]),
        (BasicBlock, True, [(64, 64), (64, 64), (128, 32), (256, 16), (512, 8)]),
        (Bottleneck, False, [(64, 16), (256, 16), (512, 8), (1024, 4), (2048, 2)]),
    ],
)
def test_shapes(block, small_images, expected):
    with without_drawing():
        network = ResNet(block, (1, 1, 1, 1), 7, small_images=small_images).eval()
    x = network[:4](minicnn.rand(1, 3, 64, 64))  # conv1, bn1, relu, maxpool
    shapes = [x.shape]
    for stage in list(network)[4:8]:
        x = stage(x)
        shapes.append(x.shape)
    assert shapes == [(1, channels, size, size) for channels, size in expected]
    assert network[8:](x).shape == (1, 7)


def test_odd_sizes_grey_images_and_empty_batches():
    network = resnet.resnet18(num_classes=5, in_channels=1).eval()
    assert network(minicnn.rand(2, 1, 45, 70)).shape == (2, 5)
    assert network(minicnn.rand(0, 1, 64, 64)).shape == (0, 5)


def test_widths_and_groups():
    block = Bottleneck(256, 128, stride=2, groups=32, width_per_group=4)
    assert block.conv1.weight.shape == (256, 256, 1, 1)
    assert block.conv2.weight.shape == (256, 8, 3, 3)
    assert block.conv3.weight.shape == (512, 256, 1, 1)
    assert block(minicnn.rand(2, 256, 6, 6)).shape == (2, 512, 3, 3)


# --- blocks -------------------------------------------------------------------------------------------


def test_a_block_computes_its_equation():
    block = BasicBlock(4, 6, stride=2).double()
    x = Tensor(np.random.default_rng(0).standard_normal((3, 4, 6, 6)))
    relu = nn.functional.relu
    for _ in ("train", "eval"):
        y = relu(block.bn1(block.conv1(x)))
        expected = relu(block.bn2(block.conv2(y)) + block.downsample(x))
        np.testing.assert_allclose(block(x).array, expected.array, atol=1e-12)
        block.eval()


def test_a_bottleneck_computes_its_equation():
    block = Bottleneck(8, 2).double()
    assert block.downsample is None
    x = Tensor(np.random.default_rng(0).standard_normal((3, 8, 6, 6)))
    relu = nn.functional.relu
    for _ in ("train", "eval"):
        y = relu(block.bn1(block.conv1(x)))
        y = relu(block.bn2(block.conv2(y)))
        expected = relu(block.bn3(block.conv3(y)) + x)
        np.testing.assert_allclose(block(x).array, expected.array, atol=1e-12)
        block.eval()


def test_names_of_the_state():
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    expected = []
    for conv, bn in (("conv1", "bn1"), ("conv2", "bn2"), ("downsample.0", "downsample.1")):
        expected += [f"{conv}.weight", *(f"{bn}.{key}" for key in norm)]
    assert list(BasicBlock(4, 6).state_dict()) == expected
    names = list(small().state_dict())
    assert names[0] == "conv1.weight"
    assert names[6] == "layer1.0.conv1.weight"
    assert names[-1] == "fc.bias"


def test_blocks_that_start_as_the_identity():
    block = small(zero_init_residual=True).layer1[0].eval()
    x = minicnn.rand(2, 64, 4, 4)
    np.testing.assert_array_equal(block(x).array, x.array)


# --- stochastic depth ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
def test_a_dropped_branch_leaves_the_shortcut(kind):
    block = kind(8, 8 // kind.expansion, stochastic_depth=1.0)
    x = minicnn.randn(3, 8, 4, 4)
    np.testing.assert_array_equal(block(x).array, np.maximum(x.array, 0))
    assert (block.eval()(x).array != np.maximum(x.array, 0)).any()


def test_stochastic_depth_rises_linearly():
    network = small(stochastic_depth=0.2)
    drops = [m.p for m in network.modules() if isinstance(m, nn.StochasticDepth)]
    np.testing.assert_allclose(drops, [0.05, 0.1, 0.15, 0.2])
    assert not any(isinstance(m, nn.StochasticDepth) for m in small().modules())


def test_stochastic_depth_drops_in_training_only():
    network = small(stochastic_depth=0.5)
    x = minicnn.rand(8, 3, 8, 8)
    assert (network(x).array != network(x).array).any()
    network.eval()
    np.testing.assert_array_equal(network(x).array, network(x).array)


# --- training, state, errors --------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"stochastic_depth": 0.1}], ids=str)
def test_learns(options):
    network = small(**options)
    check_learns(network, images(8, 3, 8, 8), integers(3, 8), lr=0.02, steps=4)


def test_bottlenecks_learn():
    network = nn.Sequential(
        resnet.residual_stage(Bottleneck, 3, 4, 2, groups=2, width_per_group=64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    check_learns(network, images(8, 3, 8, 8), integers(3, 8), lr=0.1)


def test_state_round_trip_and_modes():
    check_state_round_trip(small, images(4, 3, 8, 8))
    check_batch_statistics_in_training_only(small(), images(4, 3, 8, 8))


@pytest.mark.parametrize("layers", [(2, 2, 2), (2, 2, 0, 2)])
def test_refuses_other_stages(layers):
    with pytest.raises(ValueError, match=r"ResNet: layers: expected four numbers .* got \(2, 2"):
        ResNet(BasicBlock, layers)


def test_refuses_what_is_no_probability_and_options_of_other_blocks():
    with pytest.raises(ValueError, match=r"ResNet: stochastic_depth: .* in \[0, 1\], got 1.5"):
        resnet.resnet18(stochastic_depth=1.5)
    with pytest.raises(TypeError, match=r"BasicBlock.*'groups'"):
        resnet.resnet18(groups=32)


def test_errors_name_the_layer():
    with pytest.raises(ValueError, match="channels") as caught:
        small()(minicnn.rand(2, 1, 8, 8))
    assert any("part conv1" in note for note in caught.value.__notes__)
