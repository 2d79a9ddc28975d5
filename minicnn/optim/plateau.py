"""Lower the learning rate when a measured quantity has stopped improving."""

import math
from typing import Any, Literal

from minicnn.kernels.capture import as_a_whole
from minicnn.optim.optimizer import Optimizer
from minicnn.optim.scheduler import check_optimizer, per_group, restore


class ReduceLROnPlateau:
    """Multiply the rates by `factor` after more than `patience` epochs without improvement.

        scheduler.step(validation_loss)     # once an epoch

    The only schedule that depends on how training goes instead of on the epoch, so here the rate
    in force is what is multiplied.

    Args:
        optimizer: whose rates to set.
        mode: "min" where smaller is better (a loss), "max" where larger is (an accuracy).
        factor: what the rates are multiplied by, below 1.
        patience: number of epochs without improvement that are tolerated.
        threshold: how much better than the best so far counts as improvement.
        threshold_mode: "rel": a share of the best, "abs": a difference.
        cooldown: number of epochs after a reduction in which bad epochs do not count.
        min_lr: no rate falls below it; one or a list with one a group.
        eps: a reduction by no more than this is not made.

    Attributes:
        best: the best measure so far.
        num_bad_epochs: epochs without improvement since the last one or the last reduction.
        last_epoch: number of calls of `step`.

    Raises:
        TypeError: if `optimizer` is no optimizer.
        ValueError: if factor >= 1, a mode is unknown, or `min_lr` has the wrong length.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        where = "ReduceLROnPlateau"
        check_optimizer(where, optimizer)
        if not 0 <= factor < 1:
            raise ValueError(f"{where}: expected 0 <= factor < 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"{where}: mode: expected 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"{where}: threshold_mode: expected 'rel' or 'abs', got {threshold_mode!r}"
            )
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = per_group(where, "min_lr", min_lr, optimizer)
        self.eps = eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0

    @as_a_whole
    def step(self, metrics: Any) -> None:
        """Take note of this epoch's measure, and lower the rates if it is time.

        Args:
            metrics: a number, or a tensor with one element; NaN counts as no improvement.
        """
        measure = float(metrics)
        self.last_epoch += 1
        if self._is_better(measure):
            self.best = measure
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def _is_better(self, measure: float) -> bool:
        margin = self.threshold
        if self.threshold_mode == "rel" and math.isfinite(self.best):
            margin *= self.best
        return measure < self.best - margin if self.mode == "min" else measure > self.best + margin

    def _reduce(self) -> None:
        for group, smallest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            reduced = max(group["lr"] * self.factor, smallest)
            if group["lr"] - reduced > self.eps:
                group["lr"] = reduced

    def get_last_lr(self) -> list[float]:
        """Return the rates that are in force, one a group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return all settings and counters, but not the optimizer: plain numbers and lists."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; the rates themselves are the optimizer's state.

        Raises:
            ValueError: if the state was saved by a schedule of another kind.
        """
        restore(self, state_dict)
