"""DenseNet: parameter counts, dense blocks and transitions, shapes, and that it learns."""

from functools import partial

import numpy as np
import pytest

from minicnn import no_grad
from minicnn.models import densenet
from minicnn.models.densenet import DenseBlock, DenseLayer, Transition
from tests.models.checks import (
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
    without_drawing,
)

COUNTS = {  # parameters, and parameters with running statistics
    "densenet121": (7_978_856, 8_062_504),
    "densenet169": (14_149_480, 14_307_880),
    "densenet201": (20_013_928, 20_242_984),
}

small = partial(
    densenet.densenet,
    (2, 2, 2),
    growth_rate=8,
    num_init_features=16,
    num_classes=3,
    small_images=True,
)


@pytest.mark.parametrize(("name", "expected"), COUNTS.items())
def test_number_of_parameters(name, expected):
    build = getattr(densenet, name)
    assert (count_parameters(build), count_parameters(build, statistics=True)) == expected


def test_names_of_the_state():
    names = [name for name in small().state_dict() if name.endswith("weight")]
    layer = [f"{part}.weight" for part in ("norm1", "conv1", "norm2", "conv2")]
    assert names[:2] == ["features.conv0.weight", "features.norm0.weight"]
    assert names[2:6] == [f"features.denseblock1.denselayer1.{name}" for name in layer]
    assert names[6:10] == [f"features.denseblock1.denselayer2.{name}" for name in layer]
    assert names[10:12] == ["features.transition1.norm.weight", "features.transition1.conv.weight"]
    assert names[-2:] == ["features.norm5.weight", "classifier.weight"]


def test_output_shape_of_the_form_for_large_images():
    with without_drawing(), no_grad():
        network = densenet.densenet121(num_classes=5).eval()
        x = images(1, 3, 64, 64)
        assert network.features(x).shape == (1, 1024, 2, 2)
        assert network(x).shape == (1, 5)


@pytest.mark.parametrize("side", [28, 32])
def test_output_shape_for_small_images(side):
    network = small(in_channels=1).eval()
    assert network.features(images(1, 1, side, side)).shape[2:] == (side // 4, side // 4)
    for n in (2, 1, 0):
        assert network(images(n, 1, side, side)).shape == (n, 3)


def test_layer_returns_the_new_channels():
    assert DenseLayer(12, 5)(images(2, 12, 6, 7)).shape == (2, 5, 6, 7)


def test_block_keeps_what_it_got_and_adds_to_it():
    block = DenseBlock(layers=3, in_channels=4, growth_rate=2).eval()
    x = images(2, 4, 6, 7)
    y = block(x).array
    assert y.shape == (2, 10, 6, 7)
    np.testing.assert_array_equal(y[:, :4], x.array)
    np.testing.assert_allclose(y[:, 4:6], block["denselayer1"](x).array, rtol=1e-5)


def test_transition_halves_the_image():
    assert Transition(12, 6)(images(2, 12, 8, 6)).shape == (2, 6, 4, 3)


def test_dropout_acts_on_the_new_channels():
    layer = DenseLayer(4, 2, drop_rate=1.0)
    assert not layer(images(2, 4, 6, 6)).array.any()
    assert layer.eval()(images(2, 4, 6, 6)).array.any()


def test_learns():
    check_learns(small(), images(6, 3, 28, 28), integers(3, 6), lr=0.05)


def test_batch_statistics_act_in_training_only():
    check_train_and_eval_differ(small(), images(4, 3, 28, 28))


def test_state_round_trip():
    check_state_round_trip(small, images(2, 3, 28, 28))


def test_networks_without_blocks_are_refused():
    with pytest.raises(ValueError, match=r"block_config: expected at least one number, got \(\)"):
        densenet.densenet(())
