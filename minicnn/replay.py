"""A recorded step: what must hold for it to be replayed, how it is tried first, and how it is replayed.

`minicnn.captured` makes recordings and says what they are for. Before each replay, everything that was decided
when the step was recorded is looked at: settings, the modules' attributes, where their tensors lie. On the first
batch of other numbers the recording is held against the step itself, see `minicnn.rehearsal`.
"""

import itertools
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any

from minicnn.autograd import Tensor, modes
from minicnn.autograd.capturing import StepCapture
from minicnn.autograd.nested import mapped
from minicnn.backend import Array
from minicnn.kernels.bits import same_bits
from minicnn.nn import Module
from minicnn.nn.functional.precision import precision_in_force
from minicnn.nn.fusion import fusion_in_force
from minicnn.rehearsal import Recording, Rehearsal, without_repeats


class Replay:
    """A recorded step.

    Args:
        step: the capture that has ended, with its notes.
        inputs: the tensors that it began with.
        returned: what the step returned.

    Attributes:
        problem: why the recording cannot be used, found in the last call; "" where nothing is known.
        is_whole: whether it still has all of its memory.
    """

    def __init__(self, step: StepCapture, inputs: tuple[Tensor, ...], returned: Any):
        self.problem = ""
        self.is_whole = True
        self._step = step
        self._is_tried = not step.needs_rehearsal
        # Inputs whose numbers have always been those of the recording.
        self._doubted = {
            i for i, own in enumerate(inputs) if step.needs_rehearsal and own.array.size > 0
        }
        modules = without_repeats(
            part for module in step.modules.values() for part in module.modules()
        )
        tensors = [
            tensor
            for module in modules
            for tensor in (*module._parameters.values(), *module._buffers.values())
            if tensor is not None
        ]
        tensors = without_repeats([*tensors, *(tensor for tensor, _ in step.leaves.values())])
        self._members = [members for part in modules for members in _of_kind(dict, part)]
        self._values = list(_values_of(self._members))
        self._lists = [members for part in modules for members in _of_kind(list, part)]
        self._listed = list(itertools.chain.from_iterable(self._lists))  # hooks, for example
        self._recording = Recording(step, inputs, returned, tensors, self._members, self._lists)
        self._gradients = self._gradients_now()
        self._tensors = [(tensor, tensor.array, tensor.requires_grad) for tensor in tensors]
        self._settings = _settings()

    def holds(self) -> bool:
        """Whether the step would still do what was recorded."""
        return (
            self._settings == _settings()
            and self._step.holds()
            and sum(map(len, self._members)) == len(self._values)
            and all(map(operator.is_, self._values, _values_of(self._members)))
            and sum(map(len, self._lists)) == len(self._listed)
            and all(map(operator.is_, self._listed, itertools.chain.from_iterable(self._lists)))
            and _are_as_before(self._tensors)
            and _are_as_before(self._gradients)
        )

    def _gradients_now(self) -> list[tuple[Tensor, Array, bool]]:
        gradients = [gradient.tensor for _, gradient in self._step.gradients.values()]
        return [(tensor, tensor.array, False) for tensor in gradients]

    def suits(self, inputs: tuple[Tensor, ...]) -> bool:
        """Whether the recording is for inputs like these, and for gradients as they are now."""
        recorded = self._recording.inputs
        if len(inputs) != len(recorded):
            return False
        for new, own in zip(inputs, recorded, strict=True):
            if not _are_alike(new.array, own.array):
                return False
        return all(
            leaf.grad is gradient.tensor
            if gradient.is_sum
            else gradient.had_one or leaf.grad is None
            for leaf, gradient in self._step.gradients.values()
        )

    def move_gradients(self) -> None:
        """Copy the gradients, which would keep the memory of the whole recording."""
        for _, gradient in self._step.gradients.values():
            gradient.tensor.array = gradient.tensor.array.copy(order="K")

    def run(self, inputs: tuple[Tensor, ...], step: Callable[..., Any]) -> Any:
        """Replay the recording for new inputs.

        Returns:
            What the step returns, in memory of its own.

        Raises:
            MismatchError: where inputs differ from the recorded ones for the first time, and the results from those of
                `step`. All is then as before.
        """
        recording = self._recording
        pairs = [*zip(inputs, recording.inputs, strict=True)]
        new = {i for i in self._doubted if not same_bits(pairs[i][0].array, pairs[i][1].array)}
        if not new and self._is_tried:
            recording.begin(inputs)
            self._step.replay()
            return copied(recording.returned)
        self._gradients = []  # which would keep memory that the rehearsal needs
        rehearsal = Rehearsal(recording, inputs)
        try:
            rehearsal.run(step)
        finally:
            self._gradients = self._gradients_now()
            self.is_whole = rehearsal.is_whole
        self.problem = rehearsal.problem
        self._is_tried = True
        self._doubted -= new
        return copied(rehearsal.returned if self.problem else recording.returned)


def copied(returned: Any) -> Any:
    """Return what a step returned, with its tensors in memory of their own."""
    return mapped(_copy, returned)


def _copy(tensor: Tensor) -> Tensor:
    return Tensor._wrap(tensor.array.copy(order="K"))


def _settings() -> tuple:
    """What else decides over how a step is computed."""
    loops = sys.modules.get("minicnn.kernels.cpu.compiled")
    threads = 1 if loops is None else loops.thread_count()  # each sums its part
    return precision_in_force(), modes.state.recording, fusion_in_force(), threads


def _values_of(dictionaries: list[dict[str, Any]]) -> Iterator[Any]:
    """All values, in order."""
    return itertools.chain.from_iterable(map(dict.values, dictionaries))


def _of_kind(kind: type, module: Module) -> list[Any]:
    """The dicts of a module's attributes, or the lists among them: who changes one replaces no attribute."""
    found = [vars(module)] if kind is dict else []
    return found + [value for value in vars(module).values() if isinstance(value, kind)]


def _are_as_before(tensors: list[tuple[Tensor, Array, bool]]) -> bool:
    """Whether tensors have the same arrays, and require a gradient if they did; hooks would have to be called."""
    for tensor, array, requires_grad in tensors:
        node = tensor.node
        if tensor.array is not array or (node is not None) is not requires_grad:
            return False
        if node is not None and node.hooks:
            return False
    return True


def _are_alike(a: Array, b: Array) -> bool:
    """Whether two arrays have one shape and dtype, and their axes follow one another alike in memory."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return a.strides == b.strides or axes_in_memory(a) == axes_in_memory(b)


def axes_in_memory(array: Array) -> list[int]:
    """The axes from the outermost in memory to the innermost, without those of one element."""
    axes = [axis for axis, size in enumerate(array.shape) if size > 1]
    return sorted(axes, key=lambda axis: -abs(array.strides[axis]))
