"""Run one of our schedules and PyTorch's beside each other."""

import numpy as np

from minicnn.optim import SGD
from tests.optim.compare import param


def sgd(*rates, momentum=0.0):
    """Return an SGD optimizer with one group for each rate."""
    return SGD([{"params": [param([1.0])], "lr": r} for r in rates], momentum=momentum)


def path(optimizer, scheduler, epochs):
    """Return the rates of all groups in epochs 0 to `epochs`."""
    rates = []
    for _ in range(epochs):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return [*rates, scheduler.get_last_lr()]


def assert_same_rates(torch, ours, theirs, epochs=30, rates=(0.5, 0.02)):
    """Assert that `ours(optimizer)` and `theirs(optimizer)` set equal rates for `epochs` epochs."""
    optimizer = sgd(*rates)
    twin = torch.optim.SGD(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": r} for r in rates], lr=1.0
    )
    actual = path(optimizer, ours(optimizer), epochs)
    expected = path(twin, theirs(twin), epochs)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-15)


def assert_continues(make, epochs=12, rates=(0.5, 0.02)):
    """Assert that a schedule with a loaded state goes on as the first one does."""
    optimizer, restored = sgd(*rates), sgd(*rates)
    scheduler = make(optimizer)
    path(optimizer, scheduler, epochs)
    fresh = make(restored)
    fresh.load_state_dict(scheduler.state_dict())
    assert path(restored, fresh, epochs) == path(optimizer, scheduler, epochs)
