"""Counting what a network costs, layer by layer: `cost`, and the `Cost` that it returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.autograd import Tensor
from minicnn.backend import Array, is_array, to_device
from minicnn.costs.receptive_field import ReceptiveField
from minicnn.costs.table import field_texts, framed, shape_text, with_unit
from minicnn.costs.trace import Call, Trace, trace
from minicnn.nn import Module
from minicnn.train.batches import device_of_model

Size = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One call of one layer; numbers are those of one example.

    Attributes:
        name: where the layer is in the network, such as "features.0".
        kind: its class.
        output_shape: what it returned, with N for the batch axis.
        parameters: how many numbers it holds; 0 where an earlier row counts them.
        multiply_adds: a multiplication with its addition counts once, see `costs.rules`.
        activations: how many numbers it returned.
        activation_bytes: their memory, which may be that of the row above: a view takes none of its own.
        tape_bytes: the memory that it keeps for backward in training, and no row above keeps.
        im2col_bytes: the patches that im2col would write; 0 for what is no convolution.
        field: what its output sees of the image; None where the input is no image.
    """

    name: str
    kind: str
    output_shape: str
    parameters: int
    multiply_adds: int
    activations: int
    activation_bytes: int
    tape_bytes: int
    im2col_bytes: int
    field: ReceptiveField | None


@dataclass(frozen=True)
class Cost:
    """What a network costs for one example; `print(cost(...))` shows a table.

    Attributes:
        rows: the layers in the order in which they were called.
        trainable: number of parameters that require a gradient.
        frozen: number of parameters that do not.
        statistics: number of floating-point buffers' elements: running means and variances.
        parameter_bytes: memory of all these.
        gradient_bytes: memory of the gradients: that of the trainable parameters.
        multiply_adds: all rows together.
        inference_bytes: the most memory that the input and the outputs of layers took at one time.
        training_bytes: the memory of the input and all outputs together, the textbook's estimate of
            what training keeps for backward.
        tape_bytes: what the tape keeps for backward. Less than that, as a layer needs its input
            or its output, and rarely both.
        im2col_bytes: the patches of the convolution that has most of them; they can share memory.
        field: what the output sees of the image; None where the input is no image.
    """

    rows: tuple[Row, ...]
    trainable: int
    frozen: int
    statistics: int
    parameter_bytes: int
    gradient_bytes: int
    multiply_adds: int
    inference_bytes: int
    training_bytes: int
    tape_bytes: int
    im2col_bytes: int
    field: ReceptiveField | None

    @property
    def non_trainable(self) -> int:
        """Frozen parameters and running statistics."""
        return self.frozen + self.statistics

    @property
    def total(self) -> int:
        """All parameters and running statistics."""
        return self.trainable + self.non_trainable

    @property
    def activations(self) -> int:
        """How many numbers all rows return together; those of views are counted as well."""
        return sum(row.activations for row in self.rows)

    def training_step_bytes(self, batch_size: int, moments: int = 1) -> int:
        """Estimate the memory that a training step holds at its peak, in bytes.

        That is: parameters, their gradients, the optimizer's averages, and the tape. Scratch memory of
        kernels, and the gradients on their way, come on top; benchmarks/memory_limits.py shows how
        near this is.

        Args:
            batch_size: number of examples.
            moments: numbers that the optimizer remembers of each parameter: 1 for SGD with momentum, 2
                for Adam, 0 for plain SGD.
        """
        learned = (1 + moments) * self.gradient_bytes
        return self.parameter_bytes + learned + batch_size * self.tape_bytes

    def __str__(self) -> str:
        titles = (
            *("Layer (type)", "Output Shape", "Params", "Mult-Adds"),
            *("Activations", "Tape", "im2col", "Field", "Jump"),
        )
        totals = [
            "For one example:",
            f"Parameters: {self.total:,} ({with_unit(self.parameter_bytes)}), {self.trainable:,} of them trainable",
            f"Mult-adds: {self.multiply_adds:,} (a multiplication with its addition counts once)",
            f"Activations, inference: {with_unit(self.inference_bytes)} (largest total alive at one time)",
            f"Activations, training: {with_unit(self.training_bytes)} (all outputs), "
            f"{with_unit(self.tape_bytes)} (what the tape keeps of them)",
            f"im2col: {with_unit(self.im2col_bytes)} (patches of the convolution with most of them)",
        ]
        return framed(titles, [_cells(row) for row in self.rows], totals, self.field)

    __repr__ = __str__


def cost(
    model: Module,
    example: Size | list[Size] | Tensor | Array | list[Tensor],
    dtype: Any = np.float32,
) -> Cost:
    """Measure what `model` costs for one example, by running it once in inference mode.

    There is a row for every call of a module that has no parts, or that holds parameters, computes
    or keeps something itself. Functions that a module calls (`F.conv2d`, `@`) count like layers.
    Lazy layers take their sizes from this example, as from any first input, and stay so. The modes of
    all modules are as before afterwards.

    Multiply-adds are those of convolutions, dense layers and matrix products, see `costs.rules`. Memory
    is that of arrays, layer by layer: of inference, what modules return; of training, what functions
    save for backward. Not counted: what a kernel needs while it runs, dropout's masks, parts that are used in
    training only, and what is saved by computing layers together (see `nn.fusion`).

    Args:
        model: the network.
        example: the shape of one example, without the batch axis, such as (3, 224, 224), which is then
            filled with zeros; or a batch, of which the first example is taken. A list of these for a model
            with several inputs.
        dtype: of zeros; integers for an Embedding.

    Raises:
        TypeError: `model` or `example` is nothing of the kind.
        ValueError: the model does not take inputs of this shape; the layer's message says why.

    Reference: Sze et al., "Efficient Processing of Deep Neural Networks", arXiv 1703.09039, section 3,
        for what is counted.
    """
    return measure("cost: example", model, example, dtype)


def measure(where: str, model: Module, example: Any, dtype: Any) -> Cost:
    """As `cost`; `where` is the function and argument that messages name."""
    if not isinstance(model, Module):
        hint = "; call it first, to build the network" if callable(model) else ""
        raise TypeError(f"{where.partition(':')[0]}: model: expected a module, got {model!r}{hint}")
    device = device_of_model(model)
    arrays = [_first_example(where, part, dtype) for part in _parts(example)]
    inputs = [Tensor(to_device(array, device)) for array in arrays]
    names = {module: name for name, module in model.named_modules()}
    try:
        seen = trace(model, inputs)
    except ValueError as error:
        error.add_note(
            f"{where}={_described(example)} does not fit: expected the shape of one example "
            "without the batch axis, (C, H, W) for images"
        )
        raise
    return _cost_of(model, names, seen)


def _parts(example: Any) -> list:
    """The inputs: those in a list, or a single one."""
    return example if isinstance(example, list) else [example]


def _first_example(where: str, part: Any, dtype: Any) -> Array:
    """Return an input with a batch axis of size 1: zeros of a given shape, or the first example of a batch."""
    array = part.array if isinstance(part, Tensor) else part
    if is_array(array) and array.ndim > 0:
        if len(array) == 0:
            raise ValueError(f"{where}: expected at least one example, got shape {array.shape}")
        return array[:1]
    is_size = isinstance(part, tuple | list)
    if is_size and all(isinstance(n, int | np.integer) and n >= 0 for n in part):
        return np.zeros((1, *part), dtype)
    raise TypeError(
        f"{where}: expected the shape of one example without the batch axis, a tuple such as (1, 28, 28) "
        f"or (784,), or a batch (N, ...) of examples, or a list of these for several inputs, got {part!r}"
    )


def _described(example: Any) -> str:
    """An example in an error message: arrays by their shape."""
    texts = [
        f"a batch {tuple(part.shape)}" if hasattr(part, "shape") else repr(part)
        for part in _parts(example)
    ]
    return f"[{', '.join(texts)}]" if isinstance(example, list) else texts[0]


# --- from calls to rows ---------------------------------------------------------------------------


def _cost_of(model: Module, names: dict[Module, str], seen: Trace) -> Cost:
    """Put together what the pass has shown."""
    parameters = list(model.parameters())
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    statistics = [buffer for buffer in model.buffers() if buffer.dtype.kind == "f"]
    rows = _rows(names, seen.calls)
    trainable = sum(parameter.numel() for parameter in learned)
    return Cost(
        rows=rows,
        trainable=trainable,
        frozen=sum(parameter.numel() for parameter in parameters) - trainable,
        statistics=sum(buffer.numel() for buffer in statistics),
        parameter_bytes=sum(tensor.array.nbytes for tensor in (*parameters, *statistics)),
        gradient_bytes=sum(parameter.array.nbytes for parameter in learned),
        multiply_adds=sum(row.multiply_adds for row in rows),
        inference_bytes=seen.inference_bytes,
        training_bytes=seen.output_bytes,
        tape_bytes=sum(row.tape_bytes for row in rows),
        im2col_bytes=max((row.im2col_bytes for row in rows), default=0),
        field=seen.calls[-1].field if seen.calls else None,
    )


def _rows(names: dict[Module, str], calls: Sequence[Call]) -> tuple[Row, ...]:
    """Make rows of the calls that do something, and of the layers that were not called."""
    shown = [call for call in calls if _has_row(call)]
    called = {call.module for call in shown}
    idle = [Call(module) for module in names if module not in called and _own_tensors(module)]
    counted: set[int] = set()
    return tuple(_row(names[call.module], call, counted) for call in (*shown, *idle))


def _has_row(call: Call) -> bool:
    """Whether a call is one of a layer, or of a module that does more than calling its parts."""
    works = call.multiply_adds or call.tape_bytes or _own_tensors(call.module)
    return bool(works) or not any(call.module.children())


def _row(name: str, call: Call, counted: set[int]) -> Row:
    """Make the row of a call; parameters that are `counted` already count no more."""
    fresh = [tensor for tensor in _own_tensors(call.module) if id(tensor) not in counted]
    counted.update(id(tensor) for tensor in fresh)
    return Row(
        name=name or "model",
        kind=type(call.module).__name__,
        output_shape=", ".join(map(shape_text, call.outputs)) or "not called",
        parameters=sum(tensor.numel() for tensor in fresh),
        multiply_adds=call.multiply_adds,
        activations=call.activations,
        activation_bytes=call.activation_bytes,
        tape_bytes=call.tape_bytes,
        im2col_bytes=call.im2col_bytes,
        field=call.field,
    )


def _own_tensors(module: Module) -> list[Tensor]:
    """Return the module's parameters and running statistics, without those of its parts."""
    buffers = [b for b in module.buffers(recurse=False) if b.dtype.kind == "f"]
    return [*module.parameters(recurse=False), *buffers]


def _cells(row: Row) -> tuple[str, ...]:
    """The texts of a row's columns."""
    numbers = row.parameters, row.multiply_adds, row.activations
    memory = row.tape_bytes, row.im2col_bytes
    return (
        f"{row.name} ({row.kind})",
        row.output_shape,
        *(f"{number:,}" for number in numbers),
        *(with_unit(size) if size else "-" for size in memory),
        *field_texts(row.field),
    )
