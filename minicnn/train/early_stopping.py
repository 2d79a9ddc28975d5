"""Early stopping: training ends when the validation set shows no improvement any more."""

import math
from typing import Literal

from minicnn.backend import Array
from minicnn.nn import Module
from minicnn.train.history import History


class EarlyStopping:
    """Stop when a measure has not improved for `patience` epochs, and go back to the best weights.

    While a network still learns what is common to all images, its loss on images that it does not
    train on falls; when it starts to learn its training images by heart, that loss rises.
    (Prechelt, "Early Stopping - But When?", in Neural Networks: Tricks of the Trade, 1998.)

    Args:
        monitor: the measure to watch, a name in the history.
        patience: epochs in a row without improvement after which training stops, >= 1.
        min_delta: how much better than the best so far counts as an improvement, >= 0.
        mode: "min" if less is better, "max" if more is; None takes "max" for an accuracy.
        restore_best_weights: whether the model gets back the parameters and buffers of its best
            epoch when training ends, for whatever reason but an error.

    Attributes:
        best: the best measure, or None before the first epoch.
        best_epoch: the epoch of it, counted from 1; 0 before the first.
        bad_epochs: epochs since.

    Raises:
        ValueError: a patience, min_delta or mode that is none of these.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Literal["min", "max"] | None = None,
        restore_best_weights: bool = True,
    ) -> None:
        if patience < 1:
            raise ValueError(f"EarlyStopping: expected patience >= 1, got {patience}")
        if not min_delta >= 0:
            raise ValueError(f"EarlyStopping: expected min_delta >= 0, got {min_delta}")
        if mode not in (None, "min", "max"):
            raise ValueError(f"EarlyStopping: mode: expected 'min', 'max' or None, got {mode!r}")
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode or ("max" if "accuracy" in monitor else "min")
        self.restore_best_weights = restore_best_weights
        self.reset()

    def reset(self) -> None:
        """Forget all epochs; `fit` calls this when it starts."""
        self.best: float | None = None
        self.best_epoch = 0
        self.bad_epochs = 0
        self._best_weights: dict[str, Array] = {}

    def update(self, history: History, model: Module) -> bool:
        """Look at the last epoch of `history`, and return whether training shall stop.

        Raises:
            ValueError: if the history has no such measure.
        """
        if self.monitor not in history:
            raise ValueError(
                f"EarlyStopping: monitor: {self.monitor!r} is not measured; known are "
                f"{', '.join(history)} (val_... needs validation_data)"
            )
        value = history[self.monitor][-1]
        if self._is_better(value):
            self.best, self.best_epoch, self.bad_epochs = value, history.epochs, 0
            if self.restore_best_weights:
                state = model.state_dict()
                self._best_weights = {name: tensor.array.copy() for name, tensor in state.items()}
        else:
            self.bad_epochs += 1
        return self.bad_epochs >= self.patience

    def _is_better(self, value: float) -> bool:
        """Whether `value` is an improvement; NaN never is."""
        if self.best is None:
            return not math.isnan(value)
        gain = self.best - value if self.mode == "min" else value - self.best
        return gain > self.min_delta

    def restore(self, model: Module) -> None:
        """Give `model` the weights of the best epoch, if that was asked for and there was one."""
        if self._best_weights:
            model.load_state_dict(self._best_weights)
            self._best_weights = {}
