"""The chain of convolution, BatchNorm and activation; initial weights."""

import numpy as np
import pytest

import minicnn
from minicnn import models, nn
from minicnn.models.blocks import (
    PhotographNetwork,
    conv_norm,
    initialize,
    leave_out_norm_scale,
    to_multiple,
)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, (1, 7), (3, 1)])
def test_keeps_the_size(kernel_size):
    chain = nn.Sequential(*conv_norm(2, 6, kernel_size))
    assert chain(minicnn.rand(2, 2, 9, 8)).shape == (2, 6, 9, 8)


def test_halves_the_size():
    assert nn.Sequential(*conv_norm(2, 6, stride=2))(minicnn.rand(2, 2, 8, 6)).shape == (2, 6, 4, 3)


def test_parts():
    conv, norm, activation = conv_norm(4, 8, 3, 2, 0, groups=4, activation=nn.ReLU6, eps=1e-3)
    assert conv.bias is None
    assert conv.weight.shape == (8, 1, 3, 3)
    assert conv.stride == (2, 2)
    assert conv.padding == (0, 0)
    assert norm.eps == 1e-3
    assert isinstance(activation, nn.ReLU6)


def test_without_activation_and_with_bias():
    conv, norm = conv_norm(4, 8, activation=None, bias=True)
    assert conv.bias.shape == (8,)
    assert isinstance(norm, nn.BatchNorm2d)


def test_refuses_to_guess_the_padding_of_an_even_size():
    with pytest.raises(ValueError, match=r"conv_norm: kernel_size: expected odd .* got \(3, 2\)"):
        conv_norm(4, 8, (3, 2))
    assert len(conv_norm(4, 8, 2, padding=0)) == 3


def test_initial_weights():
    model = nn.Sequential(
        nn.Sequential(*conv_norm(64, 32, bias=True)),
        nn.Conv2d(64, 64, 3, groups=64),
        nn.BatchNorm1d(5),
        nn.Linear(300, 200),
        nn.Embedding(4, 4),
    )
    table = model[4].weight.array.copy()
    for parameter in model[2].parameters():
        parameter.data.fill_(3)
    initialize(model, dense_std=0.05)
    chain, depthwise, norm, dense, embedding = model
    assert chain[0].weight.array.std() == pytest.approx(np.sqrt(2 / (32 * 9)), rel=0.03)
    assert depthwise.weight.array.std() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.15)
    assert dense.weight.array.std() == pytest.approx(0.05, rel=0.03)
    for layer in (chain[0], chain[1], depthwise, norm, dense):
        assert not layer.bias.array.any()
    assert (norm.weight.array == 1).all()
    np.testing.assert_array_equal(embedding.weight.array, table)


def test_initializes_layers_without_bias_and_scale():
    model = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Linear(3, 2, bias=False))
    initialize(model)
    assert model[1].weight.array.any()


def test_shift_stays_without_scale():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    leave_out_norm_scale(network)
    assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    initialize(network)
    assert network(minicnn.rand(2, 1, 5, 5)).shape == (2, 2, 3, 3)


@pytest.mark.parametrize(
    ("channels", "multiple", "expected"),
    [(32, 8, 32), (35, 8, 32), (36, 8, 40), (3, 8, 8), (11, 8, 16), (392, 16, 400), (7.0, 7, 7)],
)
def test_rounds_to_a_multiple_and_not_far_down(channels, multiple, expected):
    assert to_multiple(channels, multiple) == expected


@pytest.mark.parametrize(
    "name", ["alexnet", "zfnet", "nin", "vgg11", "densenet121", "inception_v3"]
)
def test_an_image_that_is_too_small_is_told_about_the_option(name):
    with nn.init.without_drawing(), minicnn.no_grad():
        network = models.create(name, in_channels=1).eval()
        with pytest.raises(ValueError, match="larger than the padded image") as caught:
            network(minicnn.zeros(2, 1, 28, 28))
    hint = (
        "this network is made for larger images than 28 x 28; for such, build it with small_images"
    )
    assert hint in caught.value.__notes__[-1]


@pytest.mark.parametrize(("channels", "small"), [(2, False), (1, True)])
def test_other_errors_are_not_told_about_it(channels, small):
    network = PhotographNetwork(nn.Conv2d(1, 1, 100), small_images=small)
    with pytest.raises(ValueError, match="channels" if channels == 2 else "larger") as caught:
        network(minicnn.zeros(1, channels, 28, 28))
    assert not any("small_images" in note for note in caught.value.__notes__)
