"""The schedules that follow a formula, against hand-computed rates and against PyTorch."""

import math

import numpy as np
import pytest

from minicnn.optim import lr_scheduler
from minicnn.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from tests.optim.schedules import assert_continues, assert_same_rates, path, sgd


def inverse(epoch):
    return 1 / (1 + epoch)


CASES = [
    ("StepLR", {"step_size": 4}),
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [5, 11, 11, 20]}),
    ("MultiStepLR", {"milestones": [20, 5], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 30}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.01, "end_factor": 0.5, "total_iters": 10}),
    ("LambdaLR", {"lr_lambda": inverse}),
    ("LambdaLR", {"lr_lambda": [inverse, math.cos]}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_rates_are_pytorchs(torch, name, options):
    theirs = getattr(torch.optim.lr_scheduler, name)
    ours = getattr(lr_scheduler, name)
    assert_same_rates(torch, lambda opt: ours(opt, **options), lambda opt: theirs(opt, **options))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_saved_state_continues(name, options):
    assert_continues(lambda opt: getattr(lr_scheduler, name)(opt, **options))


def rates(make, epochs):
    optimizer = sgd(1.0)
    return np.ravel(path(optimizer, make(optimizer), epochs))


def test_step_by_hand():
    actual = rates(lambda opt: StepLR(opt, step_size=2, gamma=0.5), 5)
    np.testing.assert_allclose(actual, [1, 1, 0.5, 0.5, 0.25, 0.25])


def test_milestones_by_hand():
    actual = rates(lambda opt: MultiStepLR(opt, [1, 3], gamma=0.5), 4)
    np.testing.assert_allclose(actual, [1, 0.5, 0.5, 0.25, 0.25])


def test_exponential_by_hand():
    actual = rates(lambda opt: ExponentialLR(opt, 0.5), 3)
    np.testing.assert_allclose(actual, [1, 0.5, 0.25, 0.125])


def test_cosine_by_hand():
    actual = rates(lambda opt: CosineAnnealingLR(opt, T_max=4, eta_min=0.5), 4)
    half = 0.25 * math.sqrt(0.5)
    np.testing.assert_allclose(actual, [1, 0.75 + half, 0.75, 0.75 - half, 0.5])


def test_linear_by_hand():
    actual = rates(lambda opt: LinearLR(opt, start_factor=0.25, total_iters=3), 5)
    np.testing.assert_allclose(actual, [0.25, 0.5, 0.75, 1, 1, 1])


def warm_up_then_cosine(module, optimizer):
    warm_up = module.LinearLR(optimizer, start_factor=0.1, total_iters=5)
    cosine = module.CosineAnnealingLR(optimizer, T_max=25)
    return module.SequentialLR(optimizer, [warm_up, cosine], milestones=[5])


def test_sequence_follows_pytorch(torch):
    assert_same_rates(
        torch,
        lambda opt: warm_up_then_cosine(lr_scheduler, opt),
        lambda opt: warm_up_then_cosine(torch.optim.lr_scheduler, opt),
    )


@pytest.mark.parametrize("epochs", [2, 5, 12])
def test_saved_sequence_continues(epochs):
    assert_continues(lambda opt: warm_up_then_cosine(lr_scheduler, opt), epochs)


def test_sequence_by_hand():
    def make(opt):
        parts = [LinearLR(opt, 0.5, total_iters=2), ExponentialLR(opt, 0.5), StepLR(opt, 1, 0.1)]
        return SequentialLR(opt, parts, milestones=[2, 4])

    np.testing.assert_allclose(rates(make, 6), [0.5, 0.75, 1, 0.5, 1, 0.1, 0.01])


def test_sequence_inside_a_sequence():
    def make(opt):
        inner = SequentialLR(opt, [LinearLR(opt, 0.5, total_iters=2), StepLR(opt, 1)], [2])
        return SequentialLR(opt, [ExponentialLR(opt, 0.5), inner], milestones=[2])

    np.testing.assert_allclose(rates(make, 5), [1, 0.5, 0.5, 0.75, 1, 0.1])


def test_sequence_refuses_a_schedule_that_needs_a_measure():
    optimizer = sgd(1.0)
    with pytest.raises(TypeError, match=r"schedulers\[0\].*got a ReduceLROnPlateau"):
        SequentialLR(optimizer, [ReduceLROnPlateau(optimizer)], [])


def test_sequence_refuses_schedules_of_another_optimizer():
    with pytest.raises(ValueError, match=r"schedulers\[0\] sets the rates of another optimizer"):
        SequentialLR(sgd(1.0), [StepLR(sgd(1.0), 2)], [])


@pytest.mark.parametrize(
    ("milestones", "message"), [([], r"need 2 milestone\(s\)"), ([4, 2], "rising epochs")]
)
def test_sequence_refuses_wrong_milestones(milestones, message):
    optimizer = sgd(1.0)
    with pytest.raises(ValueError, match=message):
        SequentialLR(optimizer, [StepLR(optimizer, 2) for _ in range(3)], milestones)


def test_functions_are_not_saved():
    assert "lr_lambdas" not in LambdaLR(sgd(1.0), inverse).state_dict()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("StepLR", {"step_size": 0}, "step_size: expected a positive integer, got 0"),
        ("CosineAnnealingLR", {"T_max": 0.5}, "T_max: expected a positive integer, got 0.5"),
        ("LinearLR", {"total_iters": 0}, "total_iters: expected a positive integer"),
        ("LinearLR", {"start_factor": 0}, "expected 0 < start_factor <= 1, got 0"),
        ("LinearLR", {"end_factor": 2}, "expected 0 <= end_factor <= 1, got 2"),
        ("LambdaLR", {"lr_lambda": [inverse, inverse]}, "one for each of the 1 parameter group"),
    ],
)
def test_settings_out_of_range_are_refused(name, options, message):
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        getattr(lr_scheduler, name)(sgd(1.0), **options)
