"""Layers and networks on a device: forward, backward and update, to be called one after the other."""

import gc
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from device_timing import clock_of, host_milliseconds, milliseconds
from networks import NETWORKS
from timing import Pace

import minicnn
from minicnn import cuda, nn, optim
from minicnn.backend import to_device
from minicnn.costs import cost
from minicnn.kernels.shapes import Shape

LEARNING_RATE, MOMENTUM = 1e-3, 0.9


@dataclass(frozen=True)
class Subject:
    """A layer or a network that is timed.

    Attributes:
        title: how tables call it.
        build: makes it from a namespace of layers.
        shape: of one example, (C, H, W) or (features,).
        classes: number of outputs of a network, which ends in cross-entropy; None for a layer.
    """

    title: str
    build: Callable[[ModuleType], Any]
    shape: Shape
    classes: int | None = None

    @property
    def multiply_adds(self) -> int:
        """Of one example, forwards; a multiplication with its addition counts once."""
        return cost(self.build(nn), self.shape).multiply_adds


LAYERS = {
    "conv 3x3": Subject(
        "Conv2d 3x3, 32 -> 32 at 28", lambda nn: nn.Conv2d(32, 32, 3, padding=1), (32, 28, 28)
    ),
    "conv 3x3 deep": Subject(
        "Conv2d 3x3, 128 -> 128 at 14", lambda nn: nn.Conv2d(128, 128, 3, padding=1), (128, 14, 14)
    ),
    "conv 1x1": Subject(
        "Conv2d 1x1, 64 -> 128 at 28", lambda nn: nn.Conv2d(64, 128, 1), (64, 28, 28)
    ),
    "depthwise": Subject(
        "depthwise 3x3, 64 at 28",
        lambda nn: nn.Conv2d(64, 64, 3, padding=1, groups=64),
        (64, 28, 28),
    ),
    "linear": Subject("Linear 784 -> 256", lambda nn: nn.Linear(784, 256), (784,)),
    "batch norm": Subject("BatchNorm2d, 64 at 28", lambda nn: nn.BatchNorm2d(64), (64, 28, 28)),
    "relu": Subject("ReLU, 64 at 28", lambda nn: nn.ReLU(), (64, 28, 28)),
    "max pool": Subject("MaxPool2d 2x2, 64 at 28", lambda nn: nn.MaxPool2d(2), (64, 28, 28)),
}

NETWORKS_OF_A_COURSE = ("mlp", "first_cnn", "lenet5", "vgg_like", "resnet18", "mobilenet")

WHOLE_NETWORKS = {
    name: Subject(
        NETWORKS[name].title, NETWORKS[name].build, NETWORKS[name].image, NETWORKS[name].classes
    )
    for name in NETWORKS_OF_A_COURSE
}


def random_batch(subject: Subject, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return examples (N, ...) float32 of standard normal numbers, and labels (N,) int64.

    What a layer gets inside a network lies channels-last in memory; images come as they are read.
    """
    rng = np.random.default_rng(0)
    examples = rng.standard_normal((batch, *subject.shape), dtype=np.float32)
    if subject.classes is None:
        examples = channels_last_in_memory(examples)
    return examples, rng.integers(0, subject.classes or 1, batch)


def channels_last_in_memory(array: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) as a view of memory in the order (N, H, W, C), and other arrays as they are."""
    if array.ndim != 4:
        return array
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


class Pass:
    """A layer or network of minicnn's on a device, with a batch, and what a training step does with them.

    Args:
        subject: what is built, with the same numbers each time.
        batch: number of examples.
        device: "cpu" or "cuda".
        dtype: of all numbers.
    """

    def __init__(self, subject: Subject, batch: int, device: str, dtype: str = "float32"):
        minicnn.manual_seed(0)
        examples, labels = random_batch(subject, batch)
        self.host_batch = examples.astype(dtype, copy=False), labels
        self.device = device
        self.is_layer = subject.classes is None
        self.model = subject.build(nn).to(dtype).to(device)
        self.inputs = minicnn.Tensor(to_device(self.host_batch[0], device), self.is_layer)
        self.labels = minicnn.Tensor(to_device(labels, device))
        parameters = list(self.model.parameters())
        self.optimizer = (
            optim.SGD(parameters, LEARNING_RATE, momentum=MOMENTUM) if parameters else None
        )
        self.outputs: Any = None
        self._grad: Any = None

    def forward(self) -> None:
        """Compute the outputs, or the loss."""
        self.outputs = self.model(self.inputs)
        if not self.is_layer:
            self.outputs = nn.functional.cross_entropy(self.outputs, self.labels)
        elif self._grad is None:
            numbers = np.random.default_rng(1).standard_normal(self.outputs.shape)
            numbers = channels_last_in_memory(numbers.astype(self.host_batch[0].dtype))
            self._grad = minicnn.Tensor(to_device(numbers, self.device))

    def backward(self) -> None:
        """Compute the gradients of all parameters; for a layer, that of its input too."""
        self.outputs.backward(self._grad)

    def update(self) -> None:
        """Change the parameters by SGD with momentum, and forget the gradients."""
        if self.optimizer is not None:
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.inputs.grad = None
        self.outputs = None

    @property
    def phases(self) -> list[tuple[str, Callable[[], None]]]:
        """The three of them, with their names."""
        return [("forward", self.forward), ("backward", self.backward), ("update", self.update)]

    def whole(self) -> None:
        """Carry out all three, as a training step does."""
        for _, call in self.phases:
            call()

    def step(self, inputs: Any, labels: Any) -> Any:
        """Train a network on one batch of tensors; return the loss."""
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(inputs), labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def captured(self) -> "Captured | None":
        """Return a captured training step (`minicnn.capture`), ready to be timed; None for a layer."""
        return None if self.is_layer else Captured(self)

    def gradients(self) -> dict[str, np.ndarray]:
        """Return the loss, or a layer's outputs, and the gradients as NumPy arrays; no parameter is changed."""
        self.forward()
        self.backward()
        found = {"outputs": self.outputs.detach().cpu().numpy()}
        for name, parameter in self.model.named_parameters():
            found[name] = parameter.grad.cpu().numpy()
        if self.is_layer:
            found["input"] = self.inputs.grad.cpu().numpy()
        return found


class Captured:
    """A training step of a network, run until it is recorded and was replayed once; or the reason why it is not.

    A graph has its memory from a pool of its own, and none of what CuPy keeps for later: before each of these
    calls, that is given back.
    """

    CALLS = 4
    """On a GPU two run as usual, the third is recorded, and the fourth replayed."""

    def __init__(self, work: Pass):
        self._step = minicnn.capture(work.step)
        self._batch = work.inputs, work.labels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # it says what `problem` says
            for _ in range(self.CALLS):
                release_memory(work.device)
                self()

    def __call__(self) -> None:
        """Train on the batch."""
        self._step(*self._batch)

    @property
    def problem(self) -> str:
        """Why it is not replayed; "" where it is."""
        if self._step.is_recorded:
            return ""
        return self._step.problem or f"it was not recorded in its first {self.CALLS} calls"


def captured_time(work: Pass, pace: Pace) -> tuple[float | None, float | None, str]:
    """Return the milliseconds of a replayed training step, for the device and for the host, and "".

    Where there is no replay: None, None and the reason; which is "" for a layer, as it has no training step.
    """
    step = work.captured()
    if step is None:
        return None, None, ""
    if step.problem:
        return None, None, step.problem
    clock = clock_of(work.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        ms, host_ms = milliseconds(clock, step, pace), host_milliseconds(clock, step)
    if step.problem:  # found while it was timed
        return None, None, step.problem
    return ms, host_ms, ""


def release_memory(device: str) -> None:
    """Give back what libraries keep of a GPU's memory for their next arrays."""
    gc.collect()
    if device == "cpu":
        return
    cuda.synchronize()
    cuda.empty_cache()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether a library says that the device has no room: CuPy's pool, the driver, cuBLAS, cuDNN and PyTorch differ."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "alloc_failed" in text
