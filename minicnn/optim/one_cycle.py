"""The one-cycle schedule: the rate rises and falls once in a run, momentum does the opposite."""

import math
from typing import Literal

from minicnn.optim.optimizer import Optimizer
from minicnn.optim.scheduler import LRScheduler, check_optimizer, per_group


class OneCycleLR(LRScheduler):
    """Rise from max_lr / div_factor to max_lr, then fall to a rate close to 0. Step every *batch*.

    In the first `pct_start` of all steps the rate rises and the momentum falls from
    `max_momentum` to `base_momentum`; in the rest the rate falls to max_lr / div_factor /
    final_div_factor and the momentum rises back. With `three_phase` the fall first mirrors the
    rise, and the last phase goes on from max_lr / div_factor at full momentum.

    A phase that goes from a to b is, where the share p of it is over:

        linear:  a + (b - a) p
        cos:     a + (b - a) (1 - cos(pi p)) / 2

    Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
    Rates" (2019). For Adam, the momentum is beta1.

    Args:
        optimizer: whose rates (and momenta) to set; its own "lr" is not used.
        max_lr: the largest rate, one or a list with one a group.
        total_steps: number of steps of the run, or give `epochs` and `steps_per_epoch` instead.
        epochs: number of epochs of the run.
        steps_per_epoch: number of batches of an epoch.
        pct_start: share of the steps in which the rate rises, in [0, 1].
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether to set the momentum too.
        base_momentum: the smallest momentum, one or a list with one a group.
        max_momentum: the largest momentum, one or a list with one a group.
        div_factor: max_lr divided by the first rate.
        final_div_factor: the first rate divided by the last.
        three_phase: see above.
        last_epoch: the last *step* that is over, to continue a run; -1 starts one.

    Raises:
        ValueError: if the number of steps is missing or not positive, `pct_start` or
            `anneal_strategy` is none of the above, the optimizer has no momentum to cycle, or
            `step` is called more often than `total_steps` times.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer("OneCycleLR", optimizer)
        if total_steps is None and epochs is not None and steps_per_epoch is not None:
            total_steps = epochs * steps_per_epoch
        if not isinstance(total_steps, int) or total_steps <= 0:
            raise ValueError(
                "OneCycleLR: expected a positive integer total_steps, or epochs and "
                f"steps_per_epoch, got total_steps={total_steps}, epochs={epochs}, "
                f"steps_per_epoch={steps_per_epoch}"
            )
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: expected 0 <= pct_start <= 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: anneal_strategy: expected 'cos' or 'linear', got {anneal_strategy!r}"
            )
        if cycle_momentum and not {"momentum", "betas"} & optimizer.defaults.keys():
            raise ValueError(
                f"OneCycleLR: {type(optimizer).__name__} has no momentum to cycle; pass "
                "cycle_momentum=False"
            )
        if three_phase and pct_start > 0.5:
            raise ValueError(
                f"OneCycleLR: three_phase rises and falls for pct_start of the steps each; "
                f"expected pct_start <= 0.5, got {pct_start}"
            )
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.max_lrs = per_group("OneCycleLR", "max_lr", max_lr, optimizer)
        self.base_momenta = per_group("OneCycleLR", "base_momentum", base_momentum, optimizer)
        self.max_momenta = per_group("OneCycleLR", "max_momentum", max_momentum, optimizer)
        self.final_div_factor = final_div_factor
        self.three_phase = three_phase
        rise = pct_start * total_steps - 1
        end = total_steps - 1
        self.knots = [0, rise, 2 * rise, end] if three_phase else [0, rise, end]
        if last_epoch == -1:
            for group, largest in zip(optimizer.param_groups, self.max_lrs, strict=True):
                group["initial_lr"] = largest / div_factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Compute the rates of step `last_epoch`, one a group."""
        rates = []
        for first, largest in zip(self.base_lrs, self.max_lrs, strict=True):
            last = first / self.final_div_factor
            ends = [first, largest, first, last] if self.three_phase else [first, largest, last]
            rates.append(self._at_step(ends))
        return rates

    def _go_to(self, epoch: int) -> None:
        """Write the rates and momenta of step `epoch` into the optimizer."""
        if epoch > self.total_steps:
            raise ValueError(
                f"OneCycleLR: step {epoch} lies behind the end of the run, total_steps = "
                f"{self.total_steps}; step once a batch, and count the batches of all epochs"
            )
        super()._go_to(epoch)
        if not self.cycle_momentum:
            return
        for group, low, high in zip(
            self.optimizer.param_groups, self.base_momenta, self.max_momenta, strict=True
        ):
            momentum = self._at_step([high, low, high, high])  # two phases use the first three
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum

    def _at_step(self, values: list[float]) -> float:
        """Return, at step `last_epoch`, the curve that takes `values` at the steps `knots`."""
        step, ends = self.last_epoch, self.knots[1:]
        phase = next((i for i, end in enumerate(ends) if step <= end), len(ends) - 1)
        start, end = self.knots[phase], self.knots[phase + 1]
        share = min((step - start) / (end - start), 1.0) if end > start else 1.0
        if self.anneal_strategy == "cos":
            share = (1 - math.cos(math.pi * share)) / 2
        return values[phase] + (values[phase + 1] - values[phase]) * share
