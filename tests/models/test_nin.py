"""Network in Network: parameter counts, shapes, and that it learns."""

from functools import partial

import pytest

from minicnn import no_grad
from minicnn.models.nin import nin, nin_block
from tests.models.checks import (
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
    without_drawing,
)

small = partial(nin, num_classes=3, small_images=True)


def test_number_of_parameters():
    assert count_parameters(nin) == 7_439_608
    assert count_parameters(partial(nin, num_classes=10, in_channels=1)) == 1_992_166


def test_shapes_are_those_of_d2l():
    shapes = []
    with without_drawing(), no_grad():
        x = images(1, 1, 224, 224)
        for layer in nin(num_classes=10, in_channels=1).eval():
            x = layer(x)
            shapes.append(x.shape[1:])
    assert shapes == [
        (96, 54, 54),
        (96, 26, 26),
        (256, 26, 26),
        (256, 12, 12),
        (384, 12, 12),
        (384, 5, 5),
        (384, 5, 5),
        (10, 5, 5),
        (10, 1, 1),
        (10,),
    ]


@pytest.mark.parametrize("side", [28, 32])
def test_output_shape_for_small_images(side):
    network = small(in_channels=1).eval()
    for n in (2, 1, 0):
        assert network(images(n, 1, side, side)).shape == (n, 3)


def test_block_is_a_convolution_and_two_dense_layers_at_each_pixel():
    block = nin_block(3, 8, 5, stride=2, padding=1)
    assert block(images(2, 3, 9, 9)).shape == (2, 8, 4, 4)
    assert [p.shape for p in block.parameters() if p.ndim == 4] == [
        (8, 3, 5, 5),
        (8, 8, 1, 1),
        (8, 8, 1, 1),
    ]


def test_learns():
    check_learns(small(dropout=0.0), images(6, 3, 28, 28), integers(3, 6), lr=0.02)


def test_dropout_acts_in_training_only():
    check_train_and_eval_differ(small(), images(2, 3, 28, 28))


def test_state_round_trip():
    check_state_round_trip(small, images(2, 3, 28, 28))


def test_classes_that_are_no_whole_number_are_refused():
    with pytest.raises(TypeError, match=r"out_channels: expected a whole number, got 2\.5"):
        nin(num_classes=2.5)
