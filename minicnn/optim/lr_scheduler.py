"""Learning-rate schedules that follow a formula of the epoch.

Each is one line of arithmetic in `rate`. `SequentialLR` runs several of them one after the other,
for instance a linear warm-up and then a cosine. `OneCycleLR` and `ReduceLROnPlateau` have files
of their own and can be imported from here as well.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

from minicnn.optim.one_cycle import OneCycleLR
from minicnn.optim.optimizer import Optimizer
from minicnn.optim.plateau import ReduceLROnPlateau
from minicnn.optim.scheduler import LRScheduler, per_group

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


class StepLR(LRScheduler):
    """Multiply the rate by gamma every `step_size` epochs: base_lr gamma^floor(epoch / step_size).

    Raises:
        ValueError: if `step_size` is no positive integer.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        _check_positive("StepLR", "step_size", step_size)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base_lr: float, epoch: int) -> float:
        return base_lr * self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """Multiply the rate by gamma at each epoch in `milestones`: base_lr gamma^(milestones past)."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base_lr: float, epoch: int) -> float:
        return base_lr * self.gamma ** bisect_right(self.milestones, epoch)


class ExponentialLR(LRScheduler):
    """Multiply the rate by gamma every epoch: base_lr gamma^epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base_lr: float, epoch: int) -> float:
        return base_lr * self.gamma**epoch


class CosineAnnealingLR(LRScheduler):
    """Follow half a cosine from base_lr (epoch 0) down to eta_min (epoch T_max).

        eta_min + (base_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2

    After T_max the rate rises again, as the cosine does. Loshchilov and Hutter, "SGDR: Stochastic
    Gradient Descent with Warm Restarts" (2017), equation 5, without the restarts.

    Raises:
        ValueError: if `T_max` is no positive integer.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        _check_positive("CosineAnnealingLR", "T_max", T_max)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, base_lr: float, epoch: int) -> float:
        share = (1 + math.cos(math.pi * epoch / self.T_max)) / 2
        return self.eta_min + (base_lr - self.eta_min) * share


class LinearLR(LRScheduler):
    """Go from base_lr start_factor to base_lr end_factor in `total_iters` epochs, then stay.

    With the defaults, a warm-up: large steps from random weights can ruin a run, so the first
    rates are small (Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2).

    Raises:
        ValueError: unless 0 < start_factor <= 1, 0 <= end_factor <= 1, and total_iters > 0.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: expected 0 < start_factor <= 1, got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: expected 0 <= end_factor <= 1, got {end_factor}")
        _check_positive("LinearLR", "total_iters", total_iters)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, base_lr: float, epoch: int) -> float:
        share = min(epoch, self.total_iters) / self.total_iters
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * share)


class LambdaLR(LRScheduler):
    """Multiply base_lr by a function of the epoch, or by one function for each group.

    Functions are not part of `state_dict`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = per_group("LambdaLR", "lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Compute the rates of epoch `last_epoch`, one a group."""
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base_lr * factor(self.last_epoch) for base_lr, factor in pairs]

    def state_dict(self) -> dict[str, Any]:
        """Return counters and rates, without the functions."""
        return {name: v for name, v in super().state_dict().items() if name != "lr_lambdas"}


class SequentialLR(LRScheduler):
    """Run schedules one after the other, each from its own epoch 0.

    Schedule i takes over at epoch `milestones[i - 1]`. Warm-up for 5 epochs, then a cosine:

        SequentialLR(opt, [LinearLR(opt, total_iters=5), CosineAnnealingLR(opt, T_max=85)], [5])

    Raises:
        TypeError: for a schedule that depends on more than the epoch (`ReduceLROnPlateau`).
        ValueError: for schedules of another optimizer, or a number of milestones that is not one
            less than that of the schedules, or milestones that do not rise.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        for index, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(
                    f"SequentialLR: schedulers[{index}]: expected a schedule that depends on the "
                    f"epoch alone, got a {type(scheduler).__name__}"
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError(
                    f"SequentialLR: schedulers[{index}] sets the rates of another optimizer; "
                    "create all schedules with the optimizer given to SequentialLR"
                )
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: {len(schedulers)} schedule(s) need {len(schedulers) - 1} "
                f"milestone(s), one for each change, got {len(milestones)}"
            )
        if list(milestones) != sorted(milestones):
            raise ValueError(f"SequentialLR: milestones: expected rising epochs, got {milestones}")
        self._schedulers = schedulers
        self._milestones = list(milestones)
        super().__init__(optimizer, last_epoch)

    def _go_to(self, epoch: int) -> None:
        """Let the schedule in charge of `epoch` write its rates."""
        self.last_epoch = epoch
        index = bisect_right(self._milestones, epoch)
        start = self._milestones[index - 1] if index else 0
        self._schedulers[index]._go_to(epoch - start)
        self._last_lr = self._schedulers[index].get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return the counters, and the states of the schedules as a list."""
        states = [scheduler.state_dict() for scheduler in self._schedulers]
        return {**super().state_dict(), "_schedulers": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned, and write the rates of that epoch."""
        schedulers = self._schedulers
        for scheduler, saved in zip(schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        super().load_state_dict({**state_dict, "_schedulers": schedulers})


def _check_positive(where: str, name: str, value: int) -> None:
    if not isinstance(value, int) or value <= 0:
        raise ValueError(f"{where}: {name}: expected a positive integer, got {value!r}")
