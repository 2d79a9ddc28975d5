"""Adam against hand-computed steps and against PyTorch."""

import itertools

import numpy as np
import pytest

from minicnn.optim import Adam
from tests.devices import on_every_device
from tests.optim.compare import assert_continues_bit_equal, assert_same_path, param

OPTIONS = [
    {"lr": 0.01, "betas": betas, "weight_decay": decay, "amsgrad": amsgrad}
    for betas, decay, amsgrad in itertools.product([(0.9, 0.999), (0.5, 0.6)], [0, 0.1], [0, 1])
] + [{"lr": 0.01, "eps": 0.5}]


@on_every_device
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_adam_follows_pytorch(torch, options, dtype):
    assert_same_path(torch, Adam, torch.optim.Adam, options, dtype)


@on_every_device
def test_defaults_are_pytorchs(torch):
    assert_same_path(torch, Adam, torch.optim.Adam, {}, steps=3)


@on_every_device
@pytest.mark.parametrize("options", OPTIONS)
def test_saved_state_continues_bit_equal(options):
    assert_continues_bit_equal(Adam, options)


def test_first_step_has_the_size_of_the_rate():
    p = param([0.0, 0.0], grad=[1e-3, -1e3])
    Adam([p], lr=0.1, eps=0).step()  # m_hat / sqrt(v_hat) = sign of g
    np.testing.assert_allclose(p.array, [-0.1, 0.1])


def test_second_step_by_hand():
    p = param([0.0], grad=[1.0])
    optimizer = Adam([p], lr=1.0, betas=(0.5, 0.5), eps=0)
    optimizer.step()  # m = v = 1/2, both hats 1
    p.grad.array[:] = 3.0
    optimizer.step()  # m = 1.75, v = 4.75, divided by 3/4
    np.testing.assert_allclose(p.array, [-1 - (1.75 / 0.75) / np.sqrt(4.75 / 0.75)])


def test_amsgrad_keeps_the_largest_mean_square():
    p = param([0.0], grad=[3.0])
    optimizer = Adam([p], betas=(0.9, 0.5), amsgrad=True)
    optimizer.step()
    p.grad.array[:] = 0.0
    optimizer.step()
    np.testing.assert_allclose(optimizer.state[p]["max_exp_avg_sq"], [4.5])
    np.testing.assert_allclose(optimizer.state[p]["exp_avg_sq"], [2.25])


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9)])
def test_betas_out_of_range_are_refused(betas):
    with pytest.raises(ValueError, match=r"expected 0 <= betas\[[01]\] < 1"):
        Adam([param([0.0])], betas=betas)


def test_three_betas_are_refused():
    with pytest.raises(ValueError, match="expected two numbers"):
        Adam([param([0.0])], betas=(0.9, 0.9, 0.9))


@pytest.mark.parametrize("name", ["lr", "eps", "weight_decay"])
def test_negative_options_are_refused(name):
    with pytest.raises(ValueError, match=f"Adam: expected 0 <= {name} < inf"):
        Adam([param([0.0])], **{name: -1})
