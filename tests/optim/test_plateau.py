"""ReduceLROnPlateau against hand-computed rates and against PyTorch."""

import itertools

import numpy as np
import pytest

from minicnn.autograd import Tensor
from minicnn.optim.lr_scheduler import ReduceLROnPlateau
from tests.optim.schedules import sgd

OPTIONS = [
    {"patience": patience, "cooldown": cooldown, "mode": mode, "threshold_mode": kind}
    for patience, cooldown, mode, kind in itertools.product(
        [0, 2], [0, 3], ["min", "max"], ["rel", "abs"]
    )
] + [{"factor": 0.5, "patience": 0, "min_lr": [0.05, 0.001]}, {"patience": 0, "eps": 0.01}]


def path(scheduler, optimizer, measures):
    rates = []
    for measure in measures:
        optimizer.step()
        scheduler.step(measure)
        rates.append([group["lr"] for group in optimizer.param_groups])
    return rates


@pytest.mark.parametrize("options", OPTIONS)
def test_rates_are_pytorchs(torch, options):
    measures = np.random.default_rng(0).normal(size=40).round(2).tolist()
    measures[20] = float("nan")
    options = {"threshold": 0.1, **options}
    optimizer = sgd(0.5, 0.02)
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (0.5, 0.02)]
    twin = torch.optim.SGD(groups)
    actual = path(ReduceLROnPlateau(optimizer, **options), optimizer, measures)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(twin, **options)
    np.testing.assert_allclose(actual, path(theirs, twin, measures), rtol=1e-12)


def test_patience_by_hand():
    optimizer = sgd(1.0)
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    rates = path(scheduler, optimizer, [3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0])
    assert np.ravel(rates).tolist() == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_rate_stops_at_the_minimum():
    optimizer = sgd(1.0)
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=0, min_lr=0.3)
    path(scheduler, optimizer, [1.0] * 5)
    assert scheduler.get_last_lr() == [0.3]


def test_measure_may_be_a_tensor():
    scheduler = ReduceLROnPlateau(sgd(1.0))
    scheduler.step(Tensor(np.array(2.0)))
    assert scheduler.best == 2.0


def test_saved_state_continues():
    optimizer, restored = sgd(1.0), sgd(1.0)
    scheduler = ReduceLROnPlateau(optimizer, patience=2)
    path(scheduler, optimizer, [1.0, 1.0, 1.0])
    fresh = ReduceLROnPlateau(restored)
    fresh.load_state_dict(scheduler.state_dict())
    assert path(fresh, restored, [1.0, 1.0]) == path(scheduler, optimizer, [1.0, 1.0])
    assert restored.param_groups[0]["lr"] == pytest.approx(0.1)


def test_state_of_another_schedule_is_refused():
    with pytest.raises(ValueError, match="the saved state is of another schedule"):
        ReduceLROnPlateau(sgd(1.0)).load_state_dict({"last_epoch": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 1.0}, "expected 0 <= factor < 1, got 1.0"),
        ({"mode": "low"}, "mode: expected 'min' or 'max', got 'low'"),
        ({"threshold_mode": "low"}, "threshold_mode: expected 'rel' or 'abs', got 'low'"),
        ({"min_lr": [0, 0]}, "min_lr: expected one value"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=f"ReduceLROnPlateau: .*{message}"):
        ReduceLROnPlateau(sgd(1.0), **options)
