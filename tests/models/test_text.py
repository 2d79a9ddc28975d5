"""The network for text: parameter count, shapes, lengths, and that it learns."""

from functools import partial

import numpy as np
import pytest

from minicnn import Tensor, nn, no_grad
from minicnn.models.text import text_cnn
from tests.models.checks import (
    check_learns,
    check_state_round_trip,
    count_parameters,
    integers,
)

small = partial(text_cnn, num_words=20, embedding_dim=6, channels=8)


def test_number_of_parameters():
    assert count_parameters(text_cnn) == 1_315_937


@pytest.mark.parametrize("length", [41, 100])
def test_output_shape(length):
    network = small(num_classes=2).eval()
    for n in (3, 1, 0):
        assert network(integers(20, n, length)).shape == (n, 2)


def test_shape_of_the_features_at_the_length_of_the_course():
    network = text_cnn()
    shapes = []
    with no_grad():
        x = network.embedding(integers(10_000, 2, 500)).transpose(1, 2)
        for layer in network.features:
            x = layer(x)
            shapes.append(x.shape[1:])
    assert shapes[:4] == [(32, 494), (32, 494), (32, 98), (32, 92)]
    assert shapes[-1] == (32,)


def test_a_phrase_counts_wherever_it_stands():
    """Moved by a whole number of pooling windows, a phrase among equal words gives the same score."""
    network = small().eval()
    first, second = np.zeros((2, 1, 120), dtype="int64")
    first[0, 30:37] = second[0, 60:67] = np.arange(1, 8)
    with no_grad():
        np.testing.assert_allclose(
            network(Tensor(first)).array, network(Tensor(second)).array, rtol=1e-5
        )


def test_learns():
    labels = Tensor(np.array([[0.0], [1], [0], [1]], dtype="float32"))
    words = integers(20, 4, 60)
    check_learns(small(), words, labels, lr=0.1, loss_function=nn.BCEWithLogitsLoss())


def test_state_round_trip():
    check_state_round_trip(small, integers(20, 2, 50))


def test_vector_of_the_padding_stays_zero():
    network = small(padding_idx=0)
    network(integers(20, 4, 60)).sum().backward()
    assert not network.embedding.weight.array[0].any()
    assert not network.embedding.weight.grad.array[0].any()


def test_texts_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match=r"at least 41 words, got shape \(2, 40\)"):
        small()(integers(20, 2, 40))
    with pytest.raises(ValueError, match=r"texts \(N, L\).* got shape \(50,\)"):
        small()(integers(20, 50))


def test_words_outside_the_vocabulary_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 20\)"):
        small()(integers(30, 2, 50))
