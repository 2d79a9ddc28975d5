"""U-Net: parameter count, encoder and decoder, the sizes it takes, and that it learns."""

from functools import partial

import pytest

from minicnn import Tensor, nn, no_grad
from minicnn.models.unet import Decoder, Encoder, unet
from tests.models.checks import (
    check_learns,
    check_state_round_trip,
    check_train_and_eval_differ,
    count_parameters,
    images,
    integers,
)

small = partial(unet, num_classes=3, channels=(4, 8, 16))


def test_number_of_parameters():
    assert count_parameters(unet) == 31_037_698


def test_encoder_returns_features_of_every_size():
    features = Encoder(3, (4, 8, 16))(images(2, 3, 8, 12))
    assert [f.shape for f in features] == [(2, 4, 8, 12), (2, 8, 4, 6), (2, 16, 2, 3)]


def test_decoder_goes_back_to_the_finest_size():
    features = [images(2, 4, 8, 12), images(2, 8, 4, 6), images(2, 16, 2, 3)]
    assert Decoder((4, 8, 16))(features).shape == (2, 4, 8, 12)


def test_output_has_the_size_of_the_image():
    network = small(in_channels=1).eval()
    for n, height, width in ((2, 8, 12), (1, 4, 4), (0, 16, 8)):
        assert network(images(n, 1, height, width)).shape == (n, 3, height, width)


def test_one_size_has_neither_poolings_nor_skips():
    assert unet(2, 3, channels=(4,))(images(2, 3, 5, 7)).shape == (2, 2, 5, 7)


def test_skips_reach_the_output():
    """Without what comes from below, the output still depends on the pixel at its place."""
    network = small().eval()
    nn.init.zeros_(network.decoder.steps[-1].enlarge.weight)
    x = images(1, 3, 8, 8)
    changed = Tensor(x.array.copy())
    changed.array[0, :, 2, 3] += 1
    with no_grad():
        difference = network(changed).array - network(x).array
    assert difference[0, :, 2, 3].any()
    assert not difference[0, :, 7, 7].any()


def test_learns():
    check_learns(small(), images(2, 3, 16, 16), integers(3, 2, 16, 16), lr=0.05)


def test_batch_statistics_act_in_training_only():
    check_train_and_eval_differ(small(), images(2, 3, 8, 8))


def test_state_round_trip():
    check_state_round_trip(small, images(2, 3, 8, 8))


def test_sizes_that_cannot_be_halved_are_refused():
    network = small()
    with pytest.raises(
        ValueError, match=r"multiples of 4, .* got shape \(1, 3, 10, 12\); .* \(0, 0, 0, 2\)"
    ):
        network(images(1, 3, 10, 12))
    with pytest.raises(ValueError, match=r"\(N, C, H, W\).* got shape \(3, 8, 8\)"):
        network(images(3, 8, 8))


def test_padding_as_the_message_says_helps():
    x = nn.functional.pad(images(1, 3, 10, 12), (0, 0, 0, 2))
    assert small()(x).shape == (1, 3, 12, 12)


def test_networks_without_channels_are_refused():
    with pytest.raises(ValueError, match=r"channels: expected at least one number, got \(\)"):
        unet(channels=())
