"""What all learning-rate schedules share: counting epochs and writing rates into an optimizer.

A schedule here is a function of the epoch and of the rate at the start, never of the rate in
force. So it cannot decay what was decayed already, and epoch 90 can be computed without the 89
epochs before it.
"""

import warnings
from typing import Any

from minicnn.kernels.capture import as_a_whole
from minicnn.optim.optimizer import Optimizer


class LRScheduler:
    """Base class of the schedules; a sub-class defines `rate` (or `get_lr`).

    Creating a schedule sets the rates of epoch 0. Then, once an epoch (or once a batch, for
    schedules that count batches), *after* `optimizer.step()`:

        scheduler.step()

    Whatever else is written into a group's "lr" is overwritten by that; of two schedules on one
    optimizer, the last to step wins. To run one after the other, use `SequentialLR`.

    Args:
        optimizer: whose rates to set. Each group's own "lr" is its rate at the start; it is kept
            in the group as "initial_lr".
        last_epoch: the last epoch that is over, to continue a run; -1 starts one.

    Attributes:
        base_lrs: the rates at the start, one a group.
        last_epoch: the epoch whose rates are in force, counted from 0.

    Raises:
        TypeError: if `optimizer` is no optimizer.
        ValueError: if `last_epoch` continues a run and a group has no "initial_lr".
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(type(self).__name__, optimizer)
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{type(self).__name__}: last_epoch = {last_epoch} continues a run, but "
                    f"param_groups[{index}] has no 'initial_lr'; call optimizer.load_state_dict "
                    "with the saved state first, or leave last_epoch = -1 to start a run"
                )
        self.optimizer = optimizer
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self._go_to(last_epoch + 1)
        self._has_stepped = False

    def rate(self, base_lr: float, epoch: int) -> float:
        """Return the rate in `epoch` (0, 1, ...) of a group that starts with `base_lr`."""
        raise NotImplementedError(f"{type(self).__name__} has to define rate() or get_lr()")

    def get_lr(self) -> list[float]:
        """Compute the rates of epoch `last_epoch`, one a group."""
        return [self.rate(base_lr, self.last_epoch) for base_lr in self.base_lrs]

    def get_last_lr(self) -> list[float]:
        """Return the rates that are in force, one a group."""
        return list(self._last_lr)

    @as_a_whole
    def step(self) -> None:
        """Go to the next epoch and write its rates into the optimizer."""
        if not self._has_stepped and self.optimizer.step_count == 0:
            warnings.warn(
                "scheduler.step() was called before optimizer.step(), so the first rate of the "
                "schedule was never used; call optimizer.step() first",
                stacklevel=2,
            )
        self._has_stepped = True
        self._go_to(self.last_epoch + 1)

    def _go_to(self, epoch: int) -> None:
        """Write the rates of `epoch` into the optimizer."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__}: made for {len(self.base_lrs)} parameter group(s), but the "
                f"optimizer has {len(groups)}; add groups before creating the schedule"
            )
        self.last_epoch = epoch
        self._last_lr = [float(rate) for rate in self.get_lr()]
        for group, rate in zip(groups, self._last_lr, strict=True):
            group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """Return all settings and counters, but not the optimizer: plain numbers and lists."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned, and write the rates of that epoch.

        Raises:
            ValueError: if the state was saved by a schedule of another kind.
        """
        restore(self, state_dict)
        self._go_to(self.last_epoch)


def restore(schedule: Any, state_dict: dict[str, Any]) -> None:
    """Give a schedule the attributes that its `state_dict` returned.

    Raises:
        ValueError: if the state was saved by a schedule of another kind.
    """
    differing = sorted(schedule.state_dict().keys() ^ state_dict.keys())
    if differing:
        raise ValueError(
            f"{type(schedule).__name__}.load_state_dict: the saved state is of another schedule; "
            f"it differs in {', '.join(differing)}"
        )
    vars(schedule).update(state_dict)


def check_optimizer(where: str, optimizer: object) -> None:
    """Raise TypeError unless `optimizer` is one."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{where}: optimizer: expected an Optimizer, got a {type(optimizer).__name__}"
        )


def per_group(where: str, name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """Return `value` once a parameter group, or the list `value` itself if it has that length."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(
            f"{where}: {name}: expected one value, or one for each of the {groups} parameter "
            f"group(s), got {len(value)}"
        )
    return list(value)
