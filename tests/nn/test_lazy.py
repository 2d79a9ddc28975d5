"""Lazy layers: sizes from the first input or from a state, then ordinary layers in every respect."""

import copy
import math

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim

LAYERS = {
    "linear": (lambda: nn.LazyLinear(4), nn.Linear, (2, 3)),
    "conv1d": (lambda: nn.LazyConv1d(4, 3), nn.Conv1d, (2, 3, 9)),
    "conv2d": (lambda: nn.LazyConv2d(4, 3, padding=1), nn.Conv2d, (2, 3, 5, 5)),
    "conv_transpose2d": (
        lambda: nn.LazyConvTranspose2d(4, 2, stride=2),
        nn.ConvTranspose2d,
        (2, 3, 5, 5),
    ),
    "batch_norm1d": (nn.LazyBatchNorm1d, nn.BatchNorm1d, (4, 3)),
    "batch_norm2d": (nn.LazyBatchNorm2d, nn.BatchNorm2d, (2, 3, 5, 5)),
}
each_layer = pytest.mark.parametrize(("make", "concrete", "shape"), LAYERS.values(), ids=LAYERS)


def network():
    return nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)
    )


@each_layer
def test_the_first_input_makes_an_ordinary_layer(make, concrete, shape):
    layer = make()
    assert all(type(p) is nn.UninitializedParameter for p in layer.parameters())
    y = layer(minicnn.rand(*shape))
    assert type(layer) is concrete
    assert all(type(p) is nn.Parameter for p in layer.parameters())
    assert "3" in repr(layer)
    y.sum().backward()
    assert all(p.grad.shape == p.shape for p in layer.parameters())
    assert layer(minicnn.rand(*shape)).shape == y.shape


@each_layer
def test_is_equal_to_the_ordinary_layer(make, concrete, shape):
    """The same seed gives the same layer, lazy or not: PyTorch's default distribution."""
    lazy = make()
    minicnn.manual_seed(1)
    x = minicnn.rand(*shape)
    minicnn.manual_seed(2)
    y = lazy(x)
    minicnn.manual_seed(2)
    if concrete in (nn.BatchNorm1d, nn.BatchNorm2d):
        eager = concrete(3)
    elif concrete is nn.Linear:
        eager = concrete(3, 4)
    else:
        eager = concrete(3, 4, lazy.kernel_size, lazy.stride, lazy.padding)
    np.testing.assert_array_equal(y.array, eager(x).array)
    assert repr(lazy) == repr(eager)
    for (name, mine), (other_name, twin) in zip(
        lazy.state_dict().items(), eager.state_dict().items(), strict=True
    ):
        assert name == other_name
        np.testing.assert_array_equal(mine.array, twin.array)


def test_default_distribution():
    layer = nn.LazyConv2d(64, 3)
    layer(minicnn.rand(1, 16, 5, 5))
    bound = 1 / math.sqrt(16 * 9)
    weight = layer.weight.array
    assert np.abs(weight).max() <= bound
    assert abs(weight.std() - bound / math.sqrt(3)) < 0.03 * bound


def test_optimizer_from_before_the_first_input():
    net = network()
    optimizer = optim.SGD(net.parameters(), lr=0.05)
    x = minicnn.rand(4, 1, 6, 6)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_hooks_run_once():
    layer, calls = nn.LazyLinear(2), []
    layer.register_forward_pre_hook(lambda module, inputs: calls.append("before"))
    layer.register_forward_hook(lambda module, inputs, output: calls.append("after"))
    layer(minicnn.rand(1, 3))
    assert calls == ["before", "after"]


def test_loading_a_state_decides_the_sizes():
    source, target = network(), network()
    x = minicnn.rand(2, 1, 6, 6)
    source(x)
    assert target.load_state_dict(source.state_dict()) == ([], [])
    assert [type(part) for part in target] == [type(part) for part in source]
    np.testing.assert_array_equal(target.eval()(x).array, source.eval()(x).array)


@each_layer
def test_every_layer_takes_its_size_from_a_state(make, concrete, shape):
    source, target = make(), make()
    source(minicnn.rand(*shape))
    target.load_state_dict(source.state_dict())
    assert type(target) is concrete
    assert repr(target) == repr(source)


def test_batch_norm_without_scale_takes_its_size_from_a_state():
    source, target = nn.LazyBatchNorm1d(affine=False), nn.LazyBatchNorm1d(affine=False)
    source(minicnn.rand(4, 3))
    target.load_state_dict(source.state_dict())
    assert target.running_mean.shape == (3,)


def test_a_state_that_does_not_fit_leaves_it_lazy():
    source, target = network(), network()
    source(minicnn.rand(2, 1, 6, 6))
    state = source.state_dict()
    state["4.weight"] = minicnn.zeros(5, 64)
    with pytest.raises(ValueError, match=r"4\.weight: expected shape \(3, 64\)"):
        target.load_state_dict(state)
    assert type(target[0]) is nn.LazyConv2d
    assert type(target[4]) is nn.LazyLinear


def test_the_state_of_a_lazy_network_can_be_loaded():
    target = network()
    target.load_state_dict(network().state_dict())
    assert target(minicnn.rand(2, 1, 6, 6)).shape == (2, 3)


def test_strict_false_without_a_weight_leaves_it_lazy():
    layer = nn.LazyLinear(2)
    assert layer.load_state_dict({}, strict=False).missing_keys == ["weight", "bias"]
    assert type(layer) is nn.LazyLinear


@pytest.mark.parametrize("used", [False, True])
def test_deepcopy(used):
    net = network()
    x = minicnn.rand(2, 1, 6, 6)
    if used:
        net(x)
    twin = copy.deepcopy(net)
    twin(x)
    assert type(twin[0]) is nn.Conv2d
    assert type(net[0]) is (nn.Conv2d if used else nn.LazyConv2d)
    assert not np.shares_memory(net[0].weight.array, twin[0].weight.array)


def test_frozen_and_converted_before_the_first_input():
    layer = nn.LazyLinear(2).double().requires_grad_(False)
    y = layer(minicnn.rand(1, 3, dtype="float64"))
    assert y.dtype == layer.weight.dtype == np.float64
    assert not layer.weight.requires_grad
    norm = nn.LazyBatchNorm1d().double()
    assert norm(minicnn.rand(4, 3, dtype="float64")).dtype == norm.running_var.dtype == np.float64


def test_without_bias_and_in_groups():
    layer = nn.LazyConv2d(4, 3, groups=2, bias=False)
    layer(minicnn.rand(1, 6, 5, 5))
    assert layer.weight.shape == (4, 3, 3, 3)
    assert layer.bias is None
    with pytest.raises(
        ValueError, match="groups=2 must divide the number of input channels, got 3"
    ):
        nn.LazyConv2d(4, 3, groups=2)(minicnn.rand(1, 3, 5, 5))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.LazyConv2d(4, 3), (64, 28, 28)),
        (lambda: nn.LazyConv1d(4, 3), (8, 20)),
        (lambda: nn.LazyConvTranspose2d(4, 3), (8, 20, 20)),
        (lambda: nn.LazyBatchNorm2d(), (8, 20)),
        (lambda: nn.LazyBatchNorm1d(), (8, 3, 2, 2)),
        (lambda: nn.LazyLinear(2), ()),
    ],
)
def test_an_input_of_the_wrong_kind_leaves_it_lazy(make, shape):
    layer = make()
    kind = type(layer)
    with pytest.raises(ValueError, match="axes, got shape"):
        layer(minicnn.zeros(shape))
    assert type(layer) is kind


@pytest.mark.parametrize(
    ("make", "refused"),
    [
        (lambda: nn.LazyConv2d(4, 5), (8, 28, 28, 1)),
        (lambda: nn.LazyConv1d(4, 5), (8, 28, 1)),
        (lambda: nn.LazyConvTranspose2d(4, 1, padding=1), (8, 28, 2, 2)),
        (nn.LazyBatchNorm2d, (1, 28, 1, 1)),
        (nn.LazyBatchNorm1d, (1, 28)),
    ],
)
def test_an_input_that_is_refused_decides_nothing(make, refused):
    layer = make()
    before = repr(layer), type(layer)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    held = list(layer.parameters())
    with pytest.raises(ValueError, match="28"):
        layer(minicnn.zeros(refused))
    assert (repr(layer), type(layer)) == before
    y = layer(minicnn.rand(8, 3, *[6] * (len(refused) - 2)))
    y.sum().backward()
    optimizer.step()
    assert all(p is other for p, other in zip(layer.parameters(), held, strict=True))
    assert all(type(p) is nn.Parameter and p.grad.shape == p.shape for p in held)


def test_an_input_of_another_dtype_decides_nothing():
    layer = nn.LazyLinear(2)
    with pytest.raises(TypeError, match="float64"):
        layer(minicnn.zeros(4, 28, dtype="float64"))
    assert layer(minicnn.zeros(4, 3)).shape == (4, 2)
    assert layer.weight.requires_grad


def test_a_refused_input_leaves_a_frozen_layer_frozen():
    layer = nn.LazyConv2d(4, 5).double().requires_grad_(False)
    with pytest.raises(ValueError, match="window is larger"):
        layer(minicnn.zeros(8, 28, 28, 1, dtype="float64"))
    assert all(p.dtype == np.float64 and not p.requires_grad for p in layer.parameters())
