"""The rows of the table that are about whole networks: training steps, inference, an epoch."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from agreement import INFERENCE_TOLERANCE, STEP_TOLERANCE, TOLERANCE, require_recorded
from libraries import NETWORK_MODES, TIMED_MODES, Mode
from networks import NETWORKS
from starts import network_in, random_batch, weights_of
from timing import Contestant

import minicnn
from minicnn import data
from minicnn.captured import CapturedStep

LEARNING_RATE = 1e-3
MOMENTUM = 0.9
EPOCH_BATCH = 64

CHECKED_RATE = 1e3
"""The learning rate of the step that is compared: so large that weights do not round its change away."""

COMPARED_IMAGES = 4
"""Of how many images outputs are compared, at least: one alone does not tell outputs from a constant."""

STEP, INFERENCE, EPOCH = "training step", "inference", "epoch"


@dataclass(frozen=True)
class Entry:
    """A row in one mode, ready to be timed.

    Attributes:
        contestant: what is timed.
        results: computes what is compared between the libraries; called before anything is timed.
        warm_up: what is called between the two, if anything.
        recording: what must be recorded while it is timed, if anything.
    """

    contestant: Contestant
    results: Callable[[], dict[str, np.ndarray]]
    warm_up: Callable[[], None] | None = None
    recording: CapturedStep | None = None


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: what --only looks at.
        group: the kind of row, one table each.
        title: how the table calls it.
        prepare: makes the entry of one mode.
        least: PyTorch's time / ours that must be reached, or None.
        aim: what should be reached, or None.
        tolerance: how far results may be from PyTorch's in float64.
        network: the name of the network whose training step is timed, or None; for its memory.
        long: one call takes seconds, so that each turn is one call.
        modes: the contestants.
    """

    name: str
    group: str
    title: str
    prepare: Callable[[Mode], Entry]
    least: float | None = None
    aim: float | None = None
    tolerance: float = TOLERANCE
    network: str | None = None
    long: bool = False
    modes: tuple[Mode, ...] = TIMED_MODES


def network_rows(quick: bool = False) -> list[Row]:
    """Return the rows of all networks.

    Args:
        quick: infer with 16 images instead of 64 where they are 96 pixels wide or more, and
            shorten the epoch to a tenth.
    """
    rows = [
        Row(
            f"step {name}",
            STEP,
            f"{network.title}, batch {network.batch}",
            functools.partial(training_step, name),
            network.least,
            network.aim,
            STEP_TOLERANCE[name],
            network=name,
            modes=NETWORK_MODES,
        )
        for name, network in NETWORKS.items()
    ]
    for name, network in NETWORKS.items():
        for batch in (1, 16 if quick and network.image[-1] > 28 else 64):
            rows.append(
                Row(
                    f"inference {name} {batch}",
                    INFERENCE,
                    f"{network.title}, batch {batch}",
                    functools.partial(inference, name, batch),
                    *((1.0, 1.5) if network.least is not None else (None, None)),
                    INFERENCE_TOLERANCE,
                    long=batch > 16 and network.image[-1] > 100,
                    modes=NETWORK_MODES,
                )
            )
    images = 6_000 if quick else 60_000
    title = f"first CNN, {images:,} images of Fashion-MNIST"
    prepare = functools.partial(epoch, images)
    goals = 2.0, 4.0, STEP_TOLERANCE["first_cnn"]
    last = Row("epoch", EPOCH, title, prepare, *goals, long=True, modes=NETWORK_MODES)
    return [*rows, last]


class Trainer:
    """A network of one library, and a step of its training with SGD and momentum."""

    def __init__(self, mode: Mode, model: Any):
        self.mode = mode
        self.model = model
        self.optimizer = mode.library.optim.SGD(
            model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM
        )
        self.step = minicnn.capture(self.train) if mode.captured else self.train

    def train(self, images: Any, labels: Any) -> Any:
        """Train on one batch of tensors; return the loss."""
        self.optimizer.zero_grad()
        loss = self.mode.nn.functional.cross_entropy(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss

    @property
    def recording(self) -> CapturedStep | None:
        """The captured step, if steps are captured."""
        return self.step if self.mode.captured else None

    def compared_step(
        self, images: Any, labels: Any, start: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return the loss, and what one step as it is timed changes; then put everything back.

        Where steps are captured, this one is a replay: others come before it, with a learning rate of 0, which
        changes no parameter. Dropout is off, since each library draws other numbers; with it, the step has to be
        recorded again.

        Args:
            images: (N, C, H, W).
            labels: (N,).
            start: the parameters that the model has now, by name.

        Raises:
            ValueError: if the step is to be captured and runs as usual.
        """
        fresh = self.optimizer.state_dict()
        dropouts = [part for part in self.model.modules() if isinstance(part, self.mode.nn.Dropout)]
        for part in dropouts:
            part.eval()
        if self.mode.captured:
            self.set_rate(0.0)
            record(self.step, images, labels)
            self.optimizer.load_state_dict(fresh)  # no momentum
        self.set_rate(CHECKED_RATE)
        loss = self.step(images, labels)
        require_recorded("the step that is compared", {self.mode.name: self.recording})
        results = {"loss": self.mode.array(loss).copy()} | self.changes(start)
        self.optimizer.load_state_dict(fresh)
        for part in dropouts:
            part.train()
        return results

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def changes(self, start: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return for each parameter how far it is from the start, float64, and put it back there."""
        changes = {}
        with self.mode.without_recording():
            for name, parameter in self.model.named_parameters():
                changes[name] = self.mode.array(parameter).astype(np.float64) - start[name]
                parameter.copy_(self.mode.tensor(start[name]))
        return changes


def training_step(name: str, mode: Mode) -> Entry:
    """Return a training step of a network: zero_grad, forward, cross-entropy, backward, SGD."""
    network = NETWORKS[name]
    images, labels = random_batch(network, network.batch)
    batch = mode.tensor(images), mode.tensor(labels)
    trainer = Trainer(mode, network_in(mode, name))
    return Entry(
        Contestant(lambda: trainer.step(*batch)),
        lambda: trainer.compared_step(*batch, weights_of(name)),
        lambda: record(trainer.step, *batch),
        trainer.recording,
    )


def record(call: Callable[..., Any], images: Any, *labels: Any) -> None:
    """Call what may be captured until it is recorded and tried: the third batch has other images than the second."""
    for share in (1.0, 1.0, 0.5):
        call(images * share, *labels)


def inference(name: str, size: int, mode: Mode) -> Entry:
    """Return the forward pass of a network in eval mode, nothing recorded on the tape."""
    batches = -(-COMPARED_IMAGES // size)
    array, _ = random_batch(NETWORKS[name], batches * size)
    images, *others = (mode.tensor(part) for part in np.split(array, batches))
    model = network_in(mode, name).eval()
    if mode.captured:
        model = minicnn.capture(model)

    def call(images: Any = images) -> Any:
        with mode.without_recording():
            return model(images)

    with mode.without_recording():  # at once, so that what is compared comes from a recording, too
        record(model, images)

    def results() -> dict[str, np.ndarray]:
        outputs = np.concatenate([mode.array(call(part)) for part in (images, *others)])
        return {"outputs": outputs, "outputs less their mean": outputs - outputs.mean(axis=0)}

    return Entry(Contestant(call), results, recording=model if mode.captured else None)


@functools.cache
def fashion_mnist() -> tuple[np.ndarray, np.ndarray]:
    """Return the training images (60000, 1, 28, 28) float32, standardised, and their labels (60000,)."""
    images = data.load_fashion_mnist()
    train = data.prepare(images).train
    return tuple(tensor.array for tensor in train.tensors)


def epoch(count: int, mode: Mode) -> Entry:
    """Return an epoch of the first CNN on the first `count` images of Fashion-MNIST."""
    images, labels = (array[:count] for array in fashion_mnist())
    loader = loader_in(mode, images, labels)
    trainer = Trainer(mode, network_in(mode, "first_cnn"))
    first = mode.tensor(images[:EPOCH_BATCH]), mode.tensor(labels[:EPOCH_BATCH])

    def call() -> None:
        for batch in loader:
            trainer.step(*to_layout(mode, batch))

    return Entry(
        Contestant(call, settle=lambda: trainer.step(*first)),
        lambda: trainer.compared_step(*first, weights_of("first_cnn")),
        lambda: record(trainer.step, *first),
        trainer.recording,
    )


def loader_in(mode: Mode, images: np.ndarray, labels: np.ndarray) -> Any:
    """Return the library's loader of shuffled batches of these arrays."""
    if mode.ours:
        dataset = data.TensorDataset(images, labels)
        return data.DataLoader(dataset, batch_size=EPOCH_BATCH, shuffle=True)
    tensors = torch.from_numpy(images.astype(mode.dtype, copy=False)), torch.from_numpy(labels)
    dataset = torch.utils.data.TensorDataset(*tensors)
    return torch.utils.data.DataLoader(dataset, batch_size=EPOCH_BATCH, shuffle=True)


def to_layout(mode: Mode, batch: tuple) -> tuple:
    """Return a batch of PyTorch's with the images channels-last, where the mode wants that."""
    if not mode.channels_last:
        return batch
    images, labels = batch
    return images.contiguous(memory_format=torch.channels_last), labels
