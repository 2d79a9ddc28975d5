"""The setting `inplace`, which every layer that has it accepts, and nothing else in its place."""

import inspect

import pytest

import minicnn
from minicnn import nn
from minicnn.nn.inplace import AcceptsInplace

LAYERS = [
    layer
    for layer in vars(nn).values()
    if inspect.isclass(layer) and "inplace" in inspect.signature(layer).parameters
]


def test_all_layers_share_it():
    assert {nn.ReLU, nn.LeakyReLU, nn.Dropout} < set(LAYERS)
    assert all(issubclass(layer, AcceptsInplace) for layer in LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("inplace", [True, False])
def test_it_changes_nothing(layer, inplace):
    module = layer(inplace=inplace).eval()
    x = minicnn.tensor([-2.0, 2.0]).reshape(1, 2, 1, 1)
    if layer is nn.Dropout1d:
        x = x.squeeze(3)
    module(x)
    assert x.flatten().tolist() == [-2, 2]
    assert module.inplace is inplace


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("value", [minicnn.tensor([1.0]), minicnn.tensor(1.0), 1, None])
def test_a_tensor_in_its_place_is_refused(layer, value):
    name = layer.__name__
    with pytest.raises(TypeError, match=rf"{name}: inplace: .*nn\.{name}\(\)\(x\).*F\.relu\(x\)"):
        layer(inplace=value)
