"""What all schedules share: counting, writing, saving, errors."""

import numpy as np
import pytest

from minicnn.optim.lr_scheduler import ExponentialLR, LRScheduler, StepLR
from tests.optim.compare import param
from tests.optim.schedules import path, sgd


def test_creating_a_schedule_sets_epoch_zero():
    optimizer = sgd(0.5)
    scheduler = StepLR(optimizer, 2)
    assert (scheduler.last_epoch, scheduler.base_lrs) == (0, [0.5])
    assert optimizer.param_groups[0]["initial_lr"] == 0.5


def test_rates_reach_the_step():
    optimizer = sgd(1.0)
    p = optimizer.param_groups[0]["params"][0]
    p.grad = param([1.0])
    scheduler = ExponentialLR(optimizer, 0.5)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(p.array, [1 - 1 - 0.5 - 0.25])


def test_a_decayed_rate_is_not_decayed_again():
    optimizer = sgd(1.0)
    path(optimizer, ExponentialLR(optimizer, 0.5), 3)
    assert ExponentialLR(optimizer, 0.5).get_last_lr() == [1.0]


def test_a_run_is_continued_from_last_epoch():
    optimizer = sgd(1.0)
    path(optimizer, ExponentialLR(optimizer, 0.5), 3)  # epochs 0, 1 and 2 are over
    scheduler = ExponentialLR(optimizer, 0.5, last_epoch=2)
    assert (scheduler.last_epoch, scheduler.get_last_lr()) == (3, [0.125])


def test_continuing_without_the_first_rates_is_refused():
    with pytest.raises(ValueError, match=r"param_groups\[0\] has no 'initial_lr'"):
        StepLR(sgd(1.0), 2, last_epoch=3)


def test_rates_stay_python_floats():
    optimizer = sgd(np.float64(1.0))
    scheduler = ExponentialLR(optimizer, np.float64(0.5))
    optimizer.step()
    scheduler.step()
    assert type(optimizer.param_groups[0]["lr"]) is float


def test_get_last_lr_returns_a_copy():
    scheduler = StepLR(sgd(1.0), 2)
    scheduler.get_last_lr()[0] = 7.0
    assert scheduler.get_last_lr() == [1.0]


def test_stepping_before_the_optimizer_warns():
    scheduler = StepLR(sgd(1.0), 2)
    with pytest.warns(UserWarning, match=r"call optimizer.step\(\) first"):
        scheduler.step()


def test_group_added_after_the_schedule_is_refused():
    optimizer = sgd(1.0)
    scheduler = StepLR(optimizer, 2)
    optimizer.add_param_group({"params": [param([1.0])]})
    optimizer.step()
    with pytest.raises(ValueError, match="add groups before creating the schedule"):
        scheduler.step()


def test_state_of_another_schedule_is_refused():
    with pytest.raises(ValueError, match="another schedule; it differs in step_size"):
        StepLR(sgd(1.0), 2).load_state_dict(ExponentialLR(sgd(1.0), 0.5).state_dict())


def test_no_optimizer_is_refused():
    with pytest.raises(TypeError, match="StepLR: optimizer: expected an Optimizer, got a float"):
        StepLR(0.1, 2)


def test_a_schedule_of_ones_own_needs_only_rate():
    class InverseSquareRoot(LRScheduler):
        def rate(self, base_lr, epoch):
            return base_lr / (epoch + 1) ** 0.5

    optimizer = sgd(1.0)
    assert path(optimizer, InverseSquareRoot(optimizer), 3)[3] == [0.5]
