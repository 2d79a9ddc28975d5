"""SGD against hand-computed steps and against PyTorch."""

import itertools

import numpy as np
import pytest

from minicnn.optim import SGD
from tests.devices import on_every_device
from tests.optim.compare import assert_continues_bit_equal, assert_same_path, param

OPTIONS = [
    {"lr": 0.1, "momentum": momentum, "dampening": dampening, "weight_decay": decay}
    for momentum, dampening, decay in itertools.product([0, 0.9], [0, 0.5], [0, 0.01])
] + [{"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": decay} for decay in [0, 0.01]]


@on_every_device
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sgd_follows_pytorch(torch, options, dtype):
    assert_same_path(torch, SGD, torch.optim.SGD, options, dtype)


@on_every_device
def test_defaults_are_pytorchs(torch):
    assert_same_path(torch, SGD, torch.optim.SGD, {}, steps=3)


@on_every_device
@pytest.mark.parametrize("options", OPTIONS)
def test_saved_state_continues_bit_equal(options):
    assert_continues_bit_equal(SGD, options)


def test_plain_step():
    p = param([1.0, 2.0], grad=[10.0, -10.0])
    SGD([p], lr=0.1).step()
    np.testing.assert_allclose(p.array, [0.0, 3.0], atol=1e-15)


def test_weight_decay_alone_shrinks():
    p = param([2.0], grad=[0.0])
    SGD([p], lr=0.1, weight_decay=0.5).step()
    np.testing.assert_allclose(p.array, [1.9])


def test_two_momentum_steps():
    p = param([0.0], grad=[1.0])
    optimizer = SGD([p], lr=1.0, momentum=0.5)
    optimizer.step()  # v = 1
    optimizer.step()  # v = 1.5
    np.testing.assert_allclose(p.array, [-2.5])


def test_first_step_is_not_dampened():
    p = param([0.0], grad=[1.0])
    optimizer = SGD([p], lr=1.0, momentum=0.5, dampening=0.5)
    optimizer.step()  # v = 1
    np.testing.assert_allclose(p.array, [-1.0])
    optimizer.step()  # v = 0.5 + 0.5
    np.testing.assert_allclose(p.array, [-2.0])


def test_nesterov_looks_ahead():
    p = param([0.0], grad=[1.0])
    SGD([p], lr=1.0, momentum=0.5, nesterov=True).step()  # g + 0.5 v
    np.testing.assert_allclose(p.array, [-1.5])


def test_velocity_does_not_share_memory_with_the_gradient():
    p = param([0.0], grad=[1.0])
    optimizer = SGD([p], lr=1.0, momentum=0.5)
    optimizer.step()
    assert not np.shares_memory(optimizer.state[p]["momentum_buffer"], p.grad.array)


@pytest.mark.parametrize(
    "options", [{"nesterov": True}, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}]
)
def test_nesterov_without_its_conditions_is_refused(options):
    with pytest.raises(ValueError, match=r"nesterov=True needs momentum > 0 and dampening = 0"):
        SGD([param([0.0])], **options)


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
def test_negative_options_are_refused(name):
    with pytest.raises(ValueError, match=f"expected 0 <= {name} < inf, got {name} = -1"):
        SGD([param([0.0])], **{name: -1})
