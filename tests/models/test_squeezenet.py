"""SqueezeNet: parameter counts, fire modules, shapes, and that it learns."""

from functools import partial

import numpy as np
import pytest

from minicnn import no_grad
from minicnn.models.squeezenet import Fire, squeezenet1_0, squeezenet1_1
from tests.models.checks import (
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
)

BUILDERS = [squeezenet1_0, squeezenet1_1]
small = partial(squeezenet1_1, num_classes=3, small_images=True)


@pytest.mark.parametrize(
    ("build", "expected"), [(squeezenet1_0, 1_248_424), (squeezenet1_1, 1_235_496)]
)
def test_number_of_parameters(build, expected):
    assert count_parameters(build) == expected


def test_names_of_the_state():
    names = list(squeezenet1_0(num_classes=2).state_dict())
    parts = ("squeeze", "expand1x1", "expand3x3")
    fire = [f"{part}.{kind}" for part in parts for kind in ("weight", "bias")]
    expected = ["features.0.weight", "features.0.bias"]
    expected += [f"features.{i}.{name}" for i in (3, 4, 5, 7, 8, 9, 10, 12) for name in fire]
    assert names == [*expected, "classifier.1.weight", "classifier.1.bias"]


@pytest.mark.parametrize("build", BUILDERS)
def test_features_and_output_at_the_size_of_the_paper(build):
    network = build(num_classes=4).eval()
    with no_grad():
        features = network.features(images(1, 3, 224, 224))
        assert features.shape == (1, 512, 13, 13)
        assert network(images(2, 3, 64, 64)).shape == (2, 4)


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("side", [28, 32])
def test_output_shape_for_small_images(build, side):
    network = build(num_classes=3, in_channels=1, small_images=True).eval()
    for n in (2, 1, 0):
        assert network(images(n, 1, side, side)).shape == (n, 3)


def test_fire_puts_both_expansions_side_by_side():
    fire = Fire(4, 2, 3, 5)
    x = images(2, 4, 6, 6)
    y = fire(x).array
    squeezed = fire.squeeze(x).relu()
    assert y.shape == (2, 8, 6, 6)
    np.testing.assert_allclose(y[:, :3], fire.expand1x1(squeezed).relu().array, rtol=1e-5)
    np.testing.assert_allclose(y[:, 3:], fire.expand3x3(squeezed).relu().array, rtol=1e-5)


def test_parts_of_a_fire_module_can_be_watched():
    fire = Fire(4, 2, 3, 5)
    x = images(2, 4, 6, 6)
    names = ("squeeze", "squeeze_activation", "expand3x3", "expand3x3_activation")
    found = {name: fire.features_at(name)(x) for name in names}
    np.testing.assert_array_equal(found["squeeze"].array, fire.squeeze(x).array)
    squeezed = found["squeeze"].relu()
    np.testing.assert_array_equal(found["squeeze_activation"].array, squeezed.array)
    expanded = fire.expand3x3(squeezed)
    np.testing.assert_array_equal(found["expand3x3"].array, expanded.array)
    np.testing.assert_array_equal(found["expand3x3_activation"].array, expanded.relu().array)


@pytest.mark.parametrize("build", BUILDERS)
def test_learns(build):
    network = build(num_classes=3, dropout=0.0, small_images=True)
    check_learns(network, images(4, 3, 16, 16), integers(3, 4), lr=0.001)


def test_dropout_acts_in_training_only():
    check_train_and_eval_differ(small(), images(2, 3, 28, 28))


def test_state_round_trip():
    check_state_round_trip(small, images(2, 3, 28, 28))


def test_channels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="channels"):
        squeezenet1_0()(images(1, 1, 64, 64))
