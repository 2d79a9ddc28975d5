"""The table of a network: what each layer returns, what it learns, what it costs.

Shapes cannot be known without trying, so the network is run once on an example of zeros, and every
module reports as it is called. Multiply-adds follow from the shapes; memory is watched while the
network runs: an array that nobody needs any more is gone, and no longer counts.
"""

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backend import Array, to_device
from minicnn.kernels.memory import owner_of
from minicnn.kernels.shapes import conv_output_size, window_of
from minicnn.nn import Conv1d, Conv2d, ConvTranspose2d, Linear, Module
from minicnn.train.batches import device_of_model
from minicnn.train.evaluation import inference_mode


@dataclass(frozen=True)
class Row:
    """One call of one layer.

    Attributes:
        name: where the layer is in the network, such as "features.0".
        kind: its class.
        output_shape: what it returned for one example, with N for the batch axis.
        parameters: how many numbers it holds; 0 where an earlier row counts them.
        multiply_adds: for one example.
    """

    name: str
    kind: str
    output_shape: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """The table; `print(summary(...))` shows it.

    Attributes:
        rows: the layers in the order in which they were called.
        trainable: number of parameters that require a gradient.
        frozen: number of parameters that do not.
        statistics: number of floating-point buffers' elements: running means and variances.
        parameter_bytes: memory of all these.
        multiply_adds: for one example, all rows together.
        inference_bytes: the most memory that the outputs of layers took at one time.
        training_bytes: the memory of all outputs together, which training keeps for backward.
    """

    rows: tuple[Row, ...]
    trainable: int
    frozen: int
    statistics: int
    parameter_bytes: int
    multiply_adds: int
    inference_bytes: int
    training_bytes: int

    @property
    def non_trainable(self) -> int:
        """Frozen parameters and running statistics."""
        return self.frozen + self.statistics

    @property
    def total(self) -> int:
        """All parameters and running statistics."""
        return self.trainable + self.non_trainable

    def __str__(self) -> str:
        titles = ("Layer (type)", "Output Shape", "Param #", "Mult-Adds")
        lines = [
            (f"{r.name} ({r.kind})", r.output_shape, f"{r.parameters:,}", f"{r.multiply_adds:,}")
            for r in self.rows
        ]
        widths = [max(len(line[column]) for line in (titles, *lines)) for column in range(4)]
        table = [_aligned(line, widths) for line in (titles, *lines)]
        rule = "=" * (sum(widths) + 6)
        totals = [
            f"Total params: {self.total:,} ({_with_unit(self.parameter_bytes)})",
            f"Trainable params: {self.trainable:,}",
            f"Non-trainable params: {self.non_trainable:,}"
            f" (running statistics: {self.statistics:,})",
            f"Mult-adds: {self.multiply_adds:,} per example (a multiplication with its addition "
            "counts once)",
            f"Activations, inference: {_with_unit(self.inference_bytes)} per example (largest "
            "total alive at one time)",
            f"Activations, training: {_with_unit(self.training_bytes)} per example (all outputs, "
            "kept for backward)",
        ]
        return "\n".join([table[0], rule, *table[1:], rule, *totals])

    __repr__ = __str__


def summary(
    model: Module,
    input_size: tuple[int, ...] | list[tuple[int, ...]],
    dtype: Any = np.float32,
) -> Summary:
    """Describe `model` by running it once, in inference mode, on one example of zeros.

    There is a row for every call of a module that holds parameters itself or has no parts. Lazy
    layers take their sizes from this example, as from any first input, and stay so. The modes of
    all modules are as before afterwards.

    Multiply-adds are those of convolutions, transposed convolutions and dense layers; additions of
    biases, pooling, normalisation and activations are not counted, nor is work that a module does
    by calling functions. Likewise, memory is that of the modules' outputs and of the input, without
    what a kernel needs while it runs, and what training keeps besides (dropout masks, positions of
    maxima).

    Args:
        model: the network.
        input_size: the shape of one example, without the batch axis, such as (1, 28, 28); a list of
            shapes for a model with several inputs.
        dtype: of the input; integers for an Embedding.

    Raises:
        TypeError: `input_size` is no tuple of sizes, nor a list of such.
        ValueError: the model does not take inputs of this shape; the layer's message says why.
    """
    sizes = _checked_sizes(input_size)
    device = device_of_model(model)
    inputs = [Tensor(to_device(np.zeros((1, *size), dtype), device)) for size in sizes]
    memory = _Memory()
    for tensor in inputs:
        memory.note(tensor.array)
    calls: list[tuple[str, Module, str, int]] = []
    names = {module: name for name, module in model.named_modules()}

    def report(module: Module, _: tuple, output: Any) -> None:
        for tensor in _tensors(output):
            memory.note(tensor.array)
        if _has_row(module):
            shape = ", ".join(_shape_text(tensor.shape) for tensor in _tensors(output))
            calls.append((names[module], module, shape, _multiply_adds(module, output)))

    hooks = [module.register_forward_hook(report) for module in names]
    try:
        with inference_mode(model):
            model(*inputs)
    except ValueError as error:
        error.add_note(
            f"summary: input_size={input_size} does not fit: expected the shape of one example "
            "without the batch axis, (C, H, W) for images"
        )
        raise
    finally:
        for hook in hooks:
            hook.remove()

    rows = list(_rows(calls))
    called = {module for _, module, _, _ in calls}
    idle = [(names[m], m, "not called", 0) for m in names if m not in called and _own_tensors(m)]
    rows += _rows(idle)
    parameters = list(model.parameters())
    statistics = [buffer for buffer in model.buffers() if buffer.dtype.kind == "f"]
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return Summary(
        rows=tuple(rows),
        trainable=trainable,
        frozen=sum(p.numel() for p in parameters) - trainable,
        statistics=sum(buffer.numel() for buffer in statistics),
        parameter_bytes=sum(tensor.array.nbytes for tensor in (*parameters, *statistics)),
        multiply_adds=sum(row.multiply_adds for row in rows),
        inference_bytes=memory.peak,
        training_bytes=memory.total,
    )


def _checked_sizes(input_size: Any) -> list[tuple[int, ...]]:
    """Return the shape of each input."""
    sizes = input_size if isinstance(input_size, list) else [input_size]
    if all(isinstance(size, tuple | list) for size in sizes):
        return sizes
    raise TypeError(
        "summary: input_size: expected the shape of one example without the batch axis, a tuple such "
        f"as (1, 28, 28) or (784,), or a list of tuples for several inputs, got {input_size!r}"
    )


# --- rows -----------------------------------------------------------------------------------------


def _rows(calls: list[tuple[str, Module, str, int]]) -> Iterator[Row]:
    """Make rows of calls, counting the parameters of a module that is called again only once."""
    counted: set[int] = set()
    for name, module, shape, multiply_adds in calls:
        fresh = [tensor for tensor in _own_tensors(module) if id(tensor) not in counted]
        counted.update(id(tensor) for tensor in fresh)
        count = sum(tensor.numel() for tensor in fresh)
        yield Row(name or "model", type(module).__name__, shape, count, multiply_adds)


def _has_row(module: Module) -> bool:
    return not any(module.children()) or bool(_own_tensors(module))


def _own_tensors(module: Module) -> list[Tensor]:
    """Return the module's parameters and running statistics, without those of its parts."""
    buffers = [b for b in module.buffers(recurse=False) if b.dtype.kind == "f"]
    return [*module.parameters(recurse=False), *buffers]


def _multiply_adds(module: Module, output: Any) -> int:
    """Return the multiply-adds of a call, for the layers that consist of them."""
    if isinstance(module, ConvTranspose2d):  # each input pixel meets all C (K / groups) R S weights
        return len(output) * _pixels_enlarged(module, output) * module.weight.numel()
    if isinstance(module, Conv1d | Conv2d | Linear):  # each output element meets (in / groups) R S
        return output.numel() * math.prod(module.weight.shape[1:])
    return 0


def _pixels_enlarged(module: ConvTranspose2d, output: Tensor) -> int:
    """Return the pixels of the image that the layer made `output` of."""
    window = window_of(module.kernel_size, module.stride, module.padding, module.dilation)
    return math.prod(
        conv_output_size(size - extra, *axis)
        for size, extra, *axis in zip(output.shape[2:], module.output_padding, *window, strict=True)
    )


def _tensors(output: Any) -> Iterator[Tensor]:
    """The tensors in what a module returned: one, or a collection of them."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from _tensors(list(output.values()))
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _tensors(part)


# --- memory ---------------------------------------------------------------------------------------


class _Memory:
    """Adds up the memory of arrays, and remembers the most that was alive at one time.

    Arrays that share memory, such as an array and its flattened view, count once.
    """

    def __init__(self) -> None:
        self.total = 0
        self.peak = 0
        self._alive: list[tuple[Callable[[], Array | None], int]] = []

    def note(self, array: Array) -> None:
        """Take note of an array that has just come into being."""
        owner = owner_of(array)
        if not isinstance(owner, type(array)):
            owner = array  # bytes, for example, own memory too, but take no weak references
        self._alive = [(ref, size) for ref, size in self._alive if ref() is not None]
        if all(ref() is not owner for ref, _ in self._alive):
            self._alive.append((weakref.ref(owner), array.nbytes))
            self.total += array.nbytes
        self.peak = max(self.peak, sum(size for _, size in self._alive))


# --- text -----------------------------------------------------------------------------------------


def _shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape with N for the batch axis, which has size 1 here."""
    axes = ["N" if i == 0 and size == 1 else str(size) for i, size in enumerate(shape)]
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    """Write a line of the table: text to the left, numbers to the right."""
    layer, shape, parameters, products = line
    return (
        f"{layer:<{widths[0]}}  {shape:<{widths[1]}}  {parameters:>{widths[2]}}  "
        f"{products:>{widths[3]}}"
    )


def _with_unit(size: int) -> str:
    """Write a number of bytes in the unit that leaves one to four digits before the point."""
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size} {unit}" if unit == "B" else f"{size:.2f} {unit}"
