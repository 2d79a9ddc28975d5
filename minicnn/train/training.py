"""The training loop.

For every batch: compute the outputs, compare them with the targets, send the gradient of the loss
back through the network, and let the optimizer move the parameters a little against it. `fit` does
this for some epochs and keeps the books; everything that can go wrong with numbers stops it with
the place and the likely reason.
"""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from minicnn import captured, random
from minicnn.autograd import Tensor, no_grad
from minicnn.backend import xp_of
from minicnn.data.prefetch import sent_ahead
from minicnn.nn import Module
from minicnn.nn import functional as F
from minicnn.nn.functional.checks import check_whole
from minicnn.nn.utils import clip_grad_norm_
from minicnn.optim import Adam, Optimizer
from minicnn.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from minicnn.train.auxiliary import main_scores
from minicnn.train.batches import Data, as_loader, device_of_model, inputs_and_targets
from minicnn.train.early_stopping import EarlyStopping
from minicnn.train.evaluation import Loss, inference_mode, measure_batches, mode
from minicnn.train.history import History
from minicnn.train.metrics import (
    Averages,
    Metric,
    Metrics,
    accuracy,
    are_class_labels,
    as_number,
    measure,
    named_metrics,
)
from minicnn.train.progress import Progress
from minicnn.train.recording import is_worthwhile, length_of, may_be_captured, recorded

LOOK_EVERY = 50
"""After how many batches `fit` reads the loss from a GPU: often enough to stop early, seldom enough not to be felt."""


def fit(
    model: Module,
    train_data: Data,
    validation_data: Data | None = None,
    *,
    epochs: int,
    batch_size: int = 64,
    optimizer: Optimizer | None = None,
    loss: Loss | None = None,
    metrics: Metrics | None = None,
    scheduler: Any = None,
    scheduler_step: Literal["epoch", "batch"] | None = None,
    early_stopping: EarlyStopping | None = None,
    callback: Callable[[int, dict[str, float]], None] | None = None,
    clip_norm: float | None = None,
    seed: int | None = None,
    progress: bool = True,
    capture: bool | None = None,
) -> History:
    """Train `model`, and return how it went.

    Afterwards every module is in the mode, training or inference, in which it was before. On
    Ctrl-C, KeyboardInterrupt is raised as usual, with the modes restored and the parameters as the
    last complete step left them; use `callback` to keep what must not be lost.

    Args:
        model: the network.
        train_data: a pair (inputs, targets) of tensors or arrays, a Dataset, or a DataLoader. The
            first two are shuffled anew every epoch, and a last batch of one example, which
            BatchNorm cannot normalise, is left out; a DataLoader keeps its own order and batches.
        validation_data: the same kinds, measured after every epoch and never trained on.
        epochs: how often to go through the training data, >= 1.
        batch_size: examples a step, where the data is no DataLoader.
        optimizer: Adam with learning rate 0.001 where left out, or the scheduler's.
        loss: a function of (outputs, targets) that returns the mean over a batch; cross-entropy
            where left out.
        metrics: further measures of that form, a list of functions or a dict with names; None is
            the accuracy where the targets are class labels. Measured on the outputs that training
            computes anyway, so during an epoch, with dropout at work.
        scheduler: a learning-rate schedule on `optimizer`. `ReduceLROnPlateau` gets the loss, or
            with mode="max" the accuracy, of the validation data if there is any.
        scheduler_step: when the schedule steps; None is "batch" for `OneCycleLR`, else "epoch".
        early_stopping: ends training before the last epoch.
        callback: called after every epoch with its number, from 1, and its measures.
        clip_norm: the largest norm of all gradients together; None does not limit it.
        seed: restarts `minicnn.random` first, so that shuffling, dropout and augmentation are the
            same on every run.
        progress: whether to show how far training has come, on standard error.
        capture: whether to record the computation of the gradients in the second batch and to replay it for
            later ones, which is quicker and gives the same bits, see `minicnn.capture`; and inference, if there
            are 100 batches to validate with in all epochs. None does so if all parts of the model, and the loss,
            are minicnn's own.

    Returns:
        The measures of every epoch.

    Raises:
        ValueError: no data, settings out of range, or shapes that do not fit.
        TypeError: data of another kind, or dtypes that do not fit.
        FloatingPointError: the loss, or with `clip_norm` a gradient, is NaN or infinite. The
            parameters are then as the step before left them, but running statistics, as of
            BatchNorm, have seen the batch. On a GPU, where to look at every loss would be a wait in
            every step, it is noticed some batches later, and the parameters have gone on.
    """
    check_whole("fit", epochs=epochs)
    if epochs < 1:
        raise ValueError(f"fit: epochs: expected a number >= 1, got {epochs}")
    loader = as_loader("fit: train_data", train_data, batch_size, training=True)
    validation = None
    if validation_data is not None:
        validation = as_loader("fit: validation_data", validation_data, batch_size)
    if seed is not None:
        random.manual_seed(seed)
    trainer = _Trainer(
        model=model,
        optimizer=_choose_optimizer(model, optimizer, scheduler),
        loss=loss or F.cross_entropy,
        metrics=None if metrics is None else named_metrics("fit", metrics),
        scheduler=scheduler,
        steps_every_batch=_steps_every_batch(scheduler, scheduler_step),
        clip_norm=clip_norm,
        is_captured=may_be_captured(model, loss) if capture is None else capture,
        validations=0 if validation is None else epochs * length_of(validation),
    )
    history, bar = History(), Progress(epochs, progress)
    if early_stopping is not None:
        if validation is None and early_stopping.monitor.startswith("val_"):
            raise ValueError(f"fit: {early_stopping.monitor!r} to stop by needs validation_data")
        early_stopping.reset()
    with trainer, mode(model, training=True):
        for epoch in range(1, epochs + 1):
            start = time.perf_counter()
            record = trainer.train_epoch(loader, epoch, bar)
            if validation is not None:
                measures = trainer.validate(validation)
                record |= {f"val_{name}": value for name, value in measures.items()}
            record["lr"] = trainer.optimizer.param_groups[0]["lr"]
            record["seconds"] = time.perf_counter() - start
            history.append(record)
            bar.finish(epoch, record)
            trainer.end_epoch(record)
            if callback is not None:
                callback(epoch, record)
            if early_stopping is not None and early_stopping.update(history, model):
                break
    if early_stopping is not None:
        early_stopping.restore(model)
    return history


@dataclass
class _Trainer:
    """The settings of a run, and what one epoch does with them."""

    model: Module
    optimizer: Optimizer
    loss: Loss
    metrics: dict[str, Metric] | None
    scheduler: Any
    steps_every_batch: bool
    clip_norm: float | None
    is_captured: bool
    validations: int
    """How many batches will be validated with, as far as that is known."""

    def __post_init__(self) -> None:
        self.where = "fit"  # which batch of which epoch, for messages
        self.gradients, self.infer = self.compute_gradients, self.model
        self.recordings = ExitStack()
        if self.is_captured:
            self.gradients = self.record(self.compute_gradients)
        if self.is_captured and is_worthwhile(self.model, self.validations):
            self.infer = self.record(self.model)

    def record(self, step: Callable) -> captured.CapturedStep:
        """Capture a step until training ends."""
        return self.recordings.enter_context(recorded(captured.capture(step)))

    def __enter__(self) -> "_Trainer":
        return self

    def __exit__(self, *_: object) -> None:
        """Give the memory of recordings back."""
        self.recordings.close()
        del self.gradients, self.infer

    def train_epoch(self, loader: Iterable, epoch: int, bar: Progress) -> dict[str, float]:
        """Go through the training data once, and return the averages over it."""
        averages, device = Averages(), device_of_model(self.model)
        try:
            batches = sent_ahead(bar.watch(loader, epoch), device)
            for number, batch in enumerate(batches, start=1):
                inputs, targets = inputs_and_targets("fit: train_data", batch, device)
                where = f"fit: epoch {epoch}, batch {number}"
                values = self.train_batch(inputs, targets, where)
                averages.add(values, len(targets))
                if device != "cpu" and number % LOOK_EVERY == 0:
                    self.check_loss(averages.means()["loss"], inputs, f"{where} or before")
                bar.note(values["loss"])
            if device != "cpu" and averages.means():
                self.check_loss(averages.means()["loss"], inputs, f"{where} or before")
        finally:
            bar.close()
        if not averages.means():
            raise ValueError("fit: train_data: there is no batch")
        return averages.means()

    def train_batch(self, inputs: Tensor, targets: Tensor, where: str) -> dict[str, float]:
        """Take one step, and return the loss and the metrics from before it."""
        self.where = where
        loss, outputs = self.gradients(inputs, targets)
        values = {"loss": as_number(loss)}
        on_cpu = isinstance(values["loss"], float)
        if on_cpu:
            self.check_loss(values["loss"], inputs, where)
        if self.clip_norm is not None:
            try:
                clip_grad_norm_(
                    self.trained_parameters(), self.clip_norm, error_if_nonfinite=on_cpu
                )
            except RuntimeError as error:
                raise FloatingPointError(f"{where}: {error}") from error
        self.optimizer.step()
        if self.steps_every_batch:
            self.scheduler.step()
        scores = main_scores(outputs)
        if self.metrics is None:
            self.metrics = {"accuracy": accuracy} if are_class_labels(scores, targets) else {}
        with no_grad():
            return values | measure(self.metrics, scores.detach(), targets)

    def compute_gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Any]:
        """Compute the gradients of all parameters; return the loss and the outputs."""
        outputs = self.model(inputs)
        if isinstance(outputs, tuple) and self.loss is F.cross_entropy:
            raise TypeError(
                f"{self.where}: in training the model returns {type(outputs).__name__}, the scores of several heads; "
                "use loss=minicnn.train.auxiliary_loss(), or build it with aux_logits=False"
            )
        loss = self.loss(outputs, targets)
        if loss.numel() != 1:
            raise ValueError(
                f"{self.where}: loss: expected one number, got shape {loss.shape}; use reduction='mean'"
            )
        self.optimizer.zero_grad()
        loss.backward()
        return loss, outputs

    def check_loss(self, loss: float, inputs: Tensor, where: str) -> None:
        """Stop where a loss, or the mean of several, is not finite."""
        if not math.isfinite(loss):
            raise FloatingPointError(f"{where}: the loss is {loss}; {self.blame(inputs)}")

    def trained_parameters(self) -> list[tuple[str, Tensor]]:
        """Return the parameters that the optimizer changes, with their names in the model."""
        trained = _parameters_of(self.optimizer)
        return [(name, p) for name, p in self.model.named_parameters() if id(p) in trained]

    def blame(self, inputs: Tensor) -> str:
        """Say where NaN or infinity in the loss is likely to come from."""
        if not _is_finite(inputs):
            return f"the batch itself, shape {inputs.shape}, holds NaN or infinity: clean the data"
        broken = [name for name, p in self.model.named_parameters() if not _is_finite(p)]
        if broken:
            return (
                f"NaN or infinity is already in {', '.join(broken[:3])}, from an earlier step: "
                "lower the learning rate, or limit the gradients with clip_norm=1.0, which names "
                "the first gradient that goes wrong"
            )
        return (
            "batch and parameters are finite, so the numbers grew too large in between: lower the "
            "learning rate, scale the inputs to about [-1, 1], or find the operation with "
            "minicnn.detect_anomaly()"
        )

    def validate(self, loader: Iterable) -> dict[str, float]:
        """Return the averages over the validation data."""
        with inference_mode(self.model):
            device, metrics = device_of_model(self.model), self.metrics or {}
            return measure_batches(self.infer, loader, device, self.loss, metrics, top_k=())

    def end_epoch(self, record: dict[str, float]) -> None:
        """Let the schedule step, if it steps now."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            measure = "loss" if self.scheduler.mode == "min" else "accuracy"
            measure = f"val_{measure}" if f"val_{measure}" in record else measure
            if measure not in record:
                raise ValueError(
                    "fit: scheduler: ReduceLROnPlateau with mode='max' follows the accuracy, which "
                    f"is not measured; measured are {', '.join(record)}"
                )
            self.scheduler.step(record[measure])
        elif self.scheduler is not None and not self.steps_every_batch:
            self.scheduler.step()


def _choose_optimizer(model: Module, optimizer: Optimizer | None, scheduler: Any) -> Optimizer:
    """Return the optimizer to use, after checking that all three belong together."""
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            "fit: optimizer: expected an Optimizer, such as optim.Adam(model.parameters()), got "
            f"{optimizer!r}"
        )
    if scheduler is not None and not hasattr(scheduler, "optimizer"):
        raise TypeError(
            "fit: scheduler: expected a schedule of minicnn.optim.lr_scheduler, built on the "
            f"optimizer, got {scheduler!r}"
        )
    if optimizer is None:
        optimizer = Adam(model.parameters()) if scheduler is None else scheduler.optimizer
    if scheduler is not None and scheduler.optimizer is not optimizer:
        raise ValueError("fit: scheduler: it sets the rates of another optimizer than `optimizer`")
    held = _parameters_of(optimizer)
    trained = [p for p in model.parameters() if id(p) in held]
    if not trained:
        raise ValueError(
            "fit: optimizer: it holds no parameter of this model; create it with "
            "model.parameters(), after the model"
        )
    if not any(p.requires_grad for p in trained):
        raise ValueError(
            "fit: optimizer: all of its parameters are frozen, so there is nothing to train; "
            "call model.unfreeze(...) for some, such as the head"
        )
    return optimizer


def _parameters_of(optimizer: Optimizer) -> set[int]:
    """Return the identities of the parameters that an optimizer changes."""
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def _steps_every_batch(scheduler: Any, scheduler_step: str | None) -> bool:
    """Decide when the schedule steps."""
    if scheduler_step not in (None, "epoch", "batch"):
        raise ValueError(
            f"fit: scheduler_step: expected 'epoch' or 'batch', got {scheduler_step!r}"
        )
    if scheduler_step is None:
        return isinstance(scheduler, OneCycleLR)
    return scheduler is not None and scheduler_step == "batch"


def _is_finite(tensor: Tensor) -> bool:
    return bool(xp_of(tensor.array).isfinite(tensor.array).all())
