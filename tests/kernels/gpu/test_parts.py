"""Into how many parts sums are split: the examples that the rule was made for, and its limits."""

import pytest

from minicnn.kernels.gpu.parts import MOST_BLOCKS, Split, split_of

TILE = 128 * 128


def split(steps, tiles, result_bytes=2**20, multiplied_in="float32"):
    return split_of(steps * 32, 32, tiles, TILE, result_bytes, multiplied_in)


@pytest.mark.parametrize(
    ("steps", "tiles", "size", "parts"),
    [
        (144, 13 * 4, 32 * 49 * 512, 5),  # 3x3, 512 channels, 7x7 pixels, 32 images: 260 blocks
        (72, 49 * 2, 32 * 196 * 256, 4),  # 3x3, 256 channels, 14x14: 392 blocks, 2.97 each
        (25, 2, 64 * 256, 25),  # a dense layer, 784 to 256, 64 rows
        (2, 1, 64 * 10, 1),  # 64 to 10: over before a second kernel would start
        (18, 784, 32 * 3136 * 64, 1),  # 3x3, 64 channels, 56x56: there are blocks enough
        (1, 1, 100, 1),
    ],
)
def test_layers_of_networks(steps, tiles, size, parts):
    assert split(steps, tiles, size * 4).parts == parts


def test_what_takes_longer_to_add_up_than_to_multiply_stays_whole():
    """Tensor cores multiply in a quarter of the time, and memory is as slow as before."""
    size = 32 * 196 * 256 * 4
    assert split(72, 98, size).parts > 1
    assert split(72, 98, size, "tf32").parts == 1


@pytest.mark.parametrize("steps", [1, 2, 7, 25, 144, 1000])
@pytest.mark.parametrize("tiles", [1, 2, 52, 131, 132, 133, 500, 5000])
def test_every_part_has_something_to_sum(steps, tiles):
    parts, terms = split(steps, tiles)
    assert terms % 32 == 0
    assert (parts - 1) * terms < steps * 32 <= parts * terms
    assert parts == 1 or parts * tiles <= MOST_BLOCKS


def test_a_remainder_of_terms_counts_as_a_step():
    assert split_of(1, 32, 1, TILE, 4, "float32") == Split(1, 32)
    assert split_of(33, 32, 10**6, TILE, 4, "float32") == Split(1, 64)
