"""AdamW against hand-computed steps and against PyTorch."""

import itertools

import numpy as np
import pytest

from minicnn.optim import Adam, AdamW
from tests.devices import on_every_device
from tests.optim.compare import assert_continues_bit_equal, assert_same_path, param

OPTIONS = [
    {"lr": 0.01, "betas": betas, "weight_decay": decay, "amsgrad": amsgrad}
    for betas, decay, amsgrad in itertools.product([(0.9, 0.999), (0.5, 0.6)], [0, 0.1], [0, 1])
]


@on_every_device
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_adamw_follows_pytorch(torch, options, dtype):
    assert_same_path(torch, AdamW, torch.optim.AdamW, options, dtype)


@on_every_device
def test_defaults_are_pytorchs(torch):
    assert_same_path(torch, AdamW, torch.optim.AdamW, {}, steps=3)


@on_every_device
@pytest.mark.parametrize("options", OPTIONS)
def test_saved_state_continues_bit_equal(options):
    assert_continues_bit_equal(AdamW, options)


def test_decay_is_not_scaled_by_the_gradient():
    p = param([10.0, 10.0], grad=[0.0, 1e3])
    AdamW([p], lr=0.1, weight_decay=0.5, eps=1e-8).step()
    np.testing.assert_allclose(p.array, [9.5, 9.4])  # 5% taken away; then a step of 0 and of lr


def test_without_decay_it_is_adam():
    p, q = param([1.0], grad=[2.0]), param([1.0], grad=[2.0])
    AdamW([p], weight_decay=0).step()
    Adam([q]).step()
    np.testing.assert_array_equal(p.array, q.array)


def test_errors_name_the_class():
    with pytest.raises(ValueError, match="AdamW: expected 0 <= lr"):
        AdamW([param([0.0])], lr=-1)
