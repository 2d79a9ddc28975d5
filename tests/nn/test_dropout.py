"""Dropout layers: active in training, the identity in inference."""

import numpy as np
import pytest

import minicnn
from minicnn import nn

LAYERS = [
    (nn.Dropout, (50, 40)),
    (nn.Dropout1d, (50, 40, 2)),
    (nn.Dropout2d, (50, 40, 2, 2)),
    (nn.StochasticDepth, (2000, 2)),
]
each_layer = pytest.mark.parametrize(("kind", "shape"), LAYERS)


@each_layer
def test_drops_in_training_only(kind, shape):
    layer = kind(0.3)
    x = minicnn.ones(shape)
    assert abs((layer(x).array == 0).mean() - 0.3) < 0.05
    assert layer.eval()(x) is x
    assert (layer.train()(x).array == 0).any()


@each_layer
def test_draws_anew_each_time(kind, shape):
    layer, x = kind(0.5), minicnn.ones(shape)
    assert (layer(x).array != layer(x).array).any()


def test_channels_as_a_whole():
    y = nn.Dropout2d(0.5)(minicnn.ones(20, 10, 3, 3)).array.reshape(200, 9)
    assert set(np.unique(y)) == {0, 2}
    assert (y == y[:, :1]).all()


@each_layer
def test_probability(kind, shape):
    assert not kind(1.0)(minicnn.ones(shape)).array.any()
    assert kind(0.0)(minicnn.ones(shape)).array.all()
    for p in (-0.5, 1.5):
        with pytest.raises(ValueError, match=rf"{kind.__name__}: expected a probability"):
            kind(p)


def test_text_and_inplace():
    assert repr(nn.Dropout(0.2, inplace=True)) == "Dropout(p=0.2)"
    x = minicnn.ones(100)
    nn.Dropout(0.5, inplace=True)(x)
    assert x.array.all()


def test_branches_as_a_whole():
    y = nn.StochasticDepth(0.5)(minicnn.ones(200, 3, 2, 2)).array.reshape(200, 12)
    assert set(np.unique(y)) == {0, 2}
    assert (y == y[:, :1]).all()


def test_branches_of_a_batch_together():
    layer, x = nn.StochasticDepth(0.5, mode="batch"), minicnn.ones(5, 3)
    drawn = [np.unique(layer(x).array) for _ in range(50)]
    assert {values.item() for values in drawn} == {0, 2}


def test_text_and_modes_of_stochastic_depth():
    assert repr(nn.StochasticDepth(0.2)) == "StochasticDepth(p=0.2, mode='row')"
    with pytest.raises(ValueError, match="StochasticDepth: mode: expected 'row' or 'batch', got 1"):
        nn.StochasticDepth(0.2, 1)
