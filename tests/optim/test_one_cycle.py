"""The one-cycle schedule against hand-computed values and against PyTorch."""

import itertools

import numpy as np
import pytest

from minicnn.optim import SGD, Adam, RMSprop
from minicnn.optim.lr_scheduler import OneCycleLR
from tests.optim.compare import param
from tests.optim.schedules import assert_continues, sgd

OPTIONS = [
    {"total_steps": 30},
    {"epochs": 6, "steps_per_epoch": 5, "pct_start": 0.0},
    {"total_steps": 30, "max_lr": [0.2], "base_momentum": 0.5, "max_momentum": 0.6},
    *(
        {"total_steps": 30, "anneal_strategy": strategy, "three_phase": phases, "pct_start": 0.4}
        for strategy, phases in itertools.product(["cos", "linear"], [False, True])
    ),
    {"total_steps": 30, "div_factor": 5.0, "final_div_factor": 10.0, "cycle_momentum": False},
]


def path(optimizer, scheduler, key, steps):
    group = optimizer.param_groups[0]
    values = []
    for step in range(steps):
        values.append((group["lr"], group[key] if key == "momentum" else group[key][0]))
        if step < steps - 1:
            optimizer.step()
            scheduler.step()
    return values


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("name", "key"), [("SGD", "momentum"), ("Adam", "betas")])
def test_rates_and_momenta_are_pytorchs(torch, options, name, key):
    options = {"max_lr": 0.1, **options}
    optimizer = {"SGD": SGD, "Adam": Adam}[name]([param([1.0])])
    twin = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)])
    actual = path(optimizer, OneCycleLR(optimizer, **options), key, 30)
    expected = path(twin, torch.optim.lr_scheduler.OneCycleLR(twin, **options), key, 30)
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_linear_cycle_by_hand():
    optimizer = sgd(7.0)
    scheduler = OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=5,
        pct_start=0.6,
        anneal_strategy="linear",
        base_momentum=0.8,
        max_momentum=0.9,
        div_factor=5.0,
        final_div_factor=2.0,
    )
    expected = [(0.2, 0.9), (0.6, 0.85), (1.0, 0.8), (0.55, 0.85), (0.1, 0.9)]
    np.testing.assert_allclose(path(optimizer, scheduler, "momentum", 5), expected)


def test_rate_stays_positive_after_the_last_step():
    optimizer = sgd(1.0)
    scheduler = OneCycleLR(optimizer, 1.0, total_steps=4, anneal_strategy="linear")
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([1 / 25 / 1e4])
    with pytest.raises(ValueError, match="step 5 lies behind the end of the run, total_steps = 4"):
        scheduler.step()


def test_rise_of_a_single_step():
    optimizer = sgd(1.0)
    OneCycleLR(optimizer, 1.0, total_steps=10, pct_start=0.1)
    assert optimizer.param_groups[0]["lr"] == 1.0


def test_saved_state_continues():
    assert_continues(lambda opt: OneCycleLR(opt, [0.1, 0.2], total_steps=30))


def test_loading_restores_the_momentum():
    optimizer = sgd(1.0)
    scheduler = OneCycleLR(optimizer, 1.0, total_steps=10, pct_start=0.5)
    path(optimizer, scheduler, "momentum", 5)
    restored = sgd(1.0)
    OneCycleLR(restored, 1.0, total_steps=10).load_state_dict(scheduler.state_dict())
    assert restored.param_groups[0]["momentum"] == optimizer.param_groups[0]["momentum"] == 0.85


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected a positive integer total_steps, or epochs and steps_per_epoch"),
        ({"epochs": 3}, "expected a positive integer total_steps"),
        ({"total_steps": 0}, "expected a positive integer total_steps"),
        ({"total_steps": 9, "pct_start": 1.5}, "expected 0 <= pct_start <= 1, got 1.5"),
        ({"total_steps": 9, "pct_start": 0.6, "three_phase": True}, "expected pct_start <= 0.5"),
        ({"total_steps": 9, "anneal_strategy": "step"}, "expected 'cos' or 'linear', got 'step'"),
        ({"total_steps": 9, "max_momentum": [0.9, 0.9]}, "max_momentum: expected one value"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        OneCycleLR(sgd(1.0), 1.0, **options)


def test_optimizer_without_momentum_is_refused():
    class Bare(SGD):
        def __init__(self, params):
            super(SGD, self).__init__(params, {"lr": 0.1})

        def check_options(self, group):
            pass

    with pytest.raises(ValueError, match="Bare has no momentum to cycle; pass cycle_momentum=F"):
        OneCycleLR(Bare([param([1.0])]), 1.0, total_steps=9)


def test_rmsprop_cycles_its_momentum():
    optimizer = RMSprop([param([1.0])])
    OneCycleLR(optimizer, 1.0, total_steps=9)
    assert optimizer.param_groups[0]["momentum"] == 0.95
