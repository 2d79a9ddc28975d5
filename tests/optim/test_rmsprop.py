"""RMSprop against hand-computed steps and against PyTorch."""

import itertools

import numpy as np
import pytest

from minicnn.optim import RMSprop
from tests.devices import on_every_device
from tests.optim.compare import assert_continues_bit_equal, assert_same_path, param

OPTIONS = [
    {"lr": 0.01, "alpha": 0.9, "weight_decay": decay, "momentum": momentum, "centered": centered}
    for decay, momentum, centered in itertools.product([0, 0.1], [0, 0.9], [False, True])
] + [{"eps": 0.5}]


@on_every_device
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rmsprop_follows_pytorch(torch, options, dtype):
    assert_same_path(torch, RMSprop, torch.optim.RMSprop, options, dtype)


@on_every_device
def test_defaults_are_pytorchs(torch):
    assert_same_path(torch, RMSprop, torch.optim.RMSprop, {}, steps=3)


@on_every_device
@pytest.mark.parametrize("options", OPTIONS)
def test_saved_state_continues_bit_equal(options):
    assert_continues_bit_equal(RMSprop, options)


def test_first_step_by_hand():
    p = param([0.0], grad=[3.0])
    RMSprop([p], lr=0.1, alpha=0.75, eps=0).step()  # s = 9/4, g / sqrt(s) = 2
    np.testing.assert_allclose(p.array, [-0.2])


def test_centered_stays_finite_where_rounding_makes_the_variance_negative():
    constant = [0.1, 0.3, 0.7, 1.1, 3.3]  # so the variance tends to 0
    p = param([0.0] * 5, grad=constant, dtype=np.float32)
    optimizer = RMSprop([p], alpha=0.5, centered=True)
    for _ in range(60):
        optimizer.step()
    assert np.isfinite(p.array).all()


@pytest.mark.parametrize("name", ["lr", "eps", "weight_decay", "momentum", "alpha"])
def test_negative_options_are_refused(name):
    with pytest.raises(ValueError, match=f"RMSprop: expected 0 <= {name} <"):
        RMSprop([param([0.0])], **{name: -1})
