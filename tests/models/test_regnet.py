"""AnyNet and RegNet: counts, the widths of the paper, blocks, shapes, and that they learn."""

from functools import partial

import numpy as np
import pytest

from minicnn import no_grad
from minicnn.models.regnet import (
    AnyNet,
    Stage,
    XBlock,
    regnet_stages,
    regnet_x_32,
    regnet_x_400mf,
    whole_groups,
)
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

small = partial(AnyNet, [Stage(1, 8, 4), Stage(2, 16, 4, 2)], 3, stem_width=8)


@pytest.mark.parametrize(
    ("build", "expected"), [(regnet_x_400mf, 5_495_976), (regnet_x_32, 177_322)]
)
def test_number_of_parameters(build, expected):
    assert count_parameters(build) == expected


@pytest.mark.parametrize(
    ("line", "depths", "widths"),
    [  # the paper's table of RegNetX models: 200MF, 400MF, 1.6GF, 32GF
        ((13, 24, 36.44, 2.49, 8), (1, 1, 4, 7), (24, 56, 152, 368)),
        ((22, 24, 24.48, 2.54, 16), (1, 2, 7, 12), (32, 64, 160, 400)),
        ((18, 80, 34.01, 2.25, 24), (2, 4, 10, 2), (72, 168, 408, 912)),
        ((23, 320, 69.86, 2.0, 168), (2, 7, 13, 1), (336, 672, 1344, 2520)),
    ],
)
def test_stages_of_the_published_networks(line, depths, widths):
    stages = regnet_stages(*line)
    assert tuple(stage.depth for stage in stages) == depths
    assert tuple(stage.width for stage in stages) == widths


def test_a_flat_line_is_one_stage():
    assert regnet_stages(5, 32, 0, 2, 8) == [Stage(5, 32, 8)]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((1, 24, 16, 1), Stage(1, 32, 16, 1)),  # rounded up: 16 would lose a third
        ((1, 8, 16, 1), Stage(1, 8, 8, 1)),  # one group, as wide as the channels
        ((2, 64, 16, 4), Stage(2, 64, 16, 4)),
        ((2, 8, 4, 16), Stage(2, 16, 1, 16)),
    ],
)
def test_groups_are_made_whole(numbers, expected):
    assert whole_groups(*numbers) == expected


def test_a_block_computes_its_equation():
    block = XBlock(4, 8, 2, group_width=2, bottleneck=2).double()
    assert block.f.b[0].weight.shape == (4, 2, 3, 3)
    x = images(3, 4, 6, 6).double()
    for _ in ("train", "eval"):
        expected = F.relu(block.proj(x) + block.f(x))
        np.testing.assert_allclose(block(x).array, expected.array, atol=1e-12)
        block.eval()


def test_a_block_that_keeps_shape_adds_its_input():
    block = XBlock(4, 4, 1, group_width=2).eval()
    assert block.proj is None
    x = images(2, 4, 5, 5)
    expected = F.relu(x + block.f(x)).array
    np.testing.assert_allclose(block(x).array, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_parts_of_a_block_can_be_watched(training):
    block = XBlock(4, 8, 2, group_width=2).double().train(training)
    x = images(3, 4, 6, 6).double()
    names = ("f.a", "f.b.0", "f.c.0", "f.c.1", "f.c", "f", "activation")
    found = {name: block.features_at(name)(x).array for name in names}
    for name in ("f.c", "f.c.1"):
        np.testing.assert_allclose(found[name], found["f"], atol=1e-12)
    expected = {"f.a": block.f.a(x), "f": block.f(x), "activation": block(x)}
    for name, output in expected.items():
        np.testing.assert_allclose(found[name], output.array, atol=1e-12)
    assert found["f.b.0"].min() < 0  # before BatchNorm and ReLU


def test_shapes_at_the_size_of_the_paper():
    shapes = []
    with without_drawing(), no_grad():
        network = regnet_x_400mf(num_classes=4).eval()
        for part in (network.stem, *network.trunk_output):
            part.register_forward_hook(lambda _, __, y: shapes.append(y.shape[1:]))
        assert network(images(1, 3, 224, 224)).shape == (1, 4)
    expected = [(32, 112), (32, 56), (64, 28), (160, 14), (400, 7)]
    assert shapes == [(channels, side, side) for channels, side in expected]


def test_names_of_the_state():
    names = [name for name in small().state_dict() if name.endswith("weight")]
    assert names[:4] == [
        "stem.0.weight",
        "stem.1.weight",
        "trunk_output.block1.block1-0.proj.0.weight",
        "trunk_output.block1.block1-0.proj.1.weight",
    ]
    assert names[-2:] == ["trunk_output.block2.block2-1.f.c.1.weight", "fc.weight"]


@pytest.mark.parametrize("stem", [True, False])
def test_output_shape(stem):
    network = small(in_channels=1, small_images=stem).eval()
    for shape in ((2, 1, 28, 28), (1, 1, 5, 9), (0, 1, 28, 28)):
        assert network(images(*shape)).shape == (shape[0], 3)


@pytest.mark.parametrize("build", [small, partial(regnet_x_32, 3, 3)])
def test_learns(build):
    check_learns(build(), images(8, 3, 16, 16), integers(3, 8), lr=0.05)


def test_train_and_eval_differ():
    check_train_and_eval_differ(small(), images(4, 3, 16, 16))


def test_state_round_trip():
    check_state_round_trip(small, images(2, 3, 16, 16))


def test_arguments_are_refused():
    with pytest.raises(ValueError, match=r"Stage: expected a width that is a multiple of .* = 8"):
        Stage(1, 20, 4, 2)
    with pytest.raises(ValueError, match=r"Stage: expected numbers of at least 1, got .*depth=0"):
        Stage(0, 8, 4)
    with pytest.raises(ValueError, match=r"AnyNet: stages: expected at least one, got \[\]"):
        AnyNet([])
    with pytest.raises(ValueError, match=r"regnet_stages: expected .* w_m > 1, got .*w_m=1"):
        regnet_stages(4, 8, 8, 1, 4)
