"""Inception v3: counts with and without head and scale, the blocks, and that it learns."""

from functools import partial

import pytest

from minicnn import nn, no_grad
from minicnn.models.inception_v3 import (
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
    InceptionOutputs,
    inception_v3,
)
from tests.models.checks import (
    check_gradients,
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
    without_drawing,
)

small = partial(inception_v3, num_classes=3, aux_logits=False, dropout=0.0)


@pytest.mark.parametrize(("aux_logits", "expected"), [(True, 27_161_264), (False, 23_834_568)])
def test_number_of_parameters(aux_logits, expected):
    assert count_parameters(partial(inception_v3, aux_logits=aux_logits)) == expected


def test_number_of_parameters_as_keras_counts():
    build = partial(inception_v3, aux_logits=False, norm_scale=False)
    assert count_parameters(build, statistics=True) == 23_851_784


def test_names_of_the_state():
    with without_drawing():
        names = [name for name in inception_v3().state_dict() if name.endswith("conv.weight")]
    layers = [name.removesuffix(".conv.weight") for name in names]
    assert layers[:3] == ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"]
    assert layers[5:12] == [
        "Mixed_5b.branch1x1",
        "Mixed_5b.branch5x5_1",
        "Mixed_5b.branch5x5_2",
        "Mixed_5b.branch3x3dbl_1",
        "Mixed_5b.branch3x3dbl_2",
        "Mixed_5b.branch3x3dbl_3",
        "Mixed_5b.branch_pool",
    ]
    head = layers.index("AuxLogits.conv0")
    assert layers[head - 1] == "Mixed_6e.branch_pool"
    assert layers[head + 2] == "Mixed_7a.branch3x3_1"
    assert layers[-3:] == [
        "Mixed_7c.branch3x3dbl_3a",
        "Mixed_7c.branch3x3dbl_3b",
        "Mixed_7c.branch_pool",
    ]


@pytest.mark.parametrize(
    ("block", "channels", "side"),
    [
        (InceptionA(8, 16), 240, 7),
        (InceptionB(8), 488, 3),
        (InceptionC(8, 4), 768, 7),
        (InceptionD(8), 520, 3),
        (InceptionE(8), 2048, 7),
    ],
    ids="ABCDE",
)
def test_shape_after_a_block(block, channels, side):
    assert block(images(2, 8, 7, 7)).shape == (2, channels, side, side)


def test_shapes_at_the_size_of_the_paper():
    with without_drawing(), no_grad():
        network = inception_v3(num_classes=4).eval()
        shapes = []
        for part in (network.maxpool2, network.Mixed_5d, network.Mixed_6e, network.Mixed_7c):
            part.register_forward_hook(lambda _, __, y: shapes.append(y.shape[1:]))
        assert network(images(1, 3, 299, 299)).shape == (1, 4)
    assert shapes == [(192, 35, 35), (288, 35, 35), (768, 17, 17), (2048, 8, 8)]


def test_output_shape_for_the_smallest_images():
    network = small(in_channels=1).eval()
    for n in (1, 0):
        assert network(images(n, 1, 75, 75)).shape == (n, 3)


def test_head_answers_in_training_only():
    network = inception_v3(num_classes=3)
    x, labels = images(2, 3, 299, 299), integers(3, 2)
    outputs = network(x)
    assert isinstance(outputs, InceptionOutputs)
    assert [scores.shape for scores in outputs] == [(2, 3)] * 2
    loss = nn.CrossEntropyLoss()
    (loss(outputs.logits, labels) + 0.4 * loss(outputs.aux_logits, labels)).backward()
    check_gradients(network)
    with no_grad():
        assert network.eval()(images(1, 3, 75, 75)).shape == (1, 3)


# The last BatchNorms see 6 numbers a channel here, so the loss falls slowly and not in every step.


def test_learns():
    check_learns(small(), images(6, 3, 75, 75), integers(3, 6), lr=0.002, falls_to=0.99)


def test_learns_without_scales():
    network = small(norm_scale=False)
    check_learns(network, images(6, 3, 75, 75), integers(3, 6), lr=0.002, falls_to=0.99)


def test_train_and_eval_differ():
    check_train_and_eval_differ(small(), images(4, 3, 75, 75))


def test_state_round_trip():
    check_state_round_trip(small, images(1, 3, 75, 75))


def test_small_images_keep_their_size_up_to_the_first_halving():
    with without_drawing(), no_grad():
        network = small(small_images=True, in_channels=1).eval()
        shapes = []
        for part in (network.maxpool2, network.Mixed_6a, network.Mixed_7a):
            part.register_forward_hook(lambda _, __, y: shapes.append(y.shape[1:]))
        assert network(images(1, 1, 28, 28)).shape == (1, 3)
    assert shapes == [(192, 28, 28), (768, 13, 13), (1280, 6, 6)]


def test_images_too_small_for_the_head_are_refused():
    with pytest.raises(ValueError, match=r"17x17 .* got \(2, 8, 3, 3\).*aux_logits=False"):
        InceptionAux(8, 3)(images(2, 8, 3, 3))
