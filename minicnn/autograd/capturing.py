"""What a capture sees of functions and tensors; `minicnn.capture` tells what captures are for.

A function of the tape is one step of a recording. If everything that it computes is noted while it runs
(compiled loops are), these notes repeat it, without the Python around them. Otherwise, and for functions that
users write, the step is noted as a call of the function's own forward or backward, whose results are then copied to
where they were when the recording was made.
"""

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from minicnn.backend import Array, is_array
from minicnn.kernels import capture
from minicnn.kernels.capture import Capture
from minicnn.ops.function import Function

Arrays = list[Array | None]

KEPT_OUTSIDE = (
    "a tensor that it makes is kept outside of it, where a later step may read it; return it, or write it into a "
    "tensor made before (copy_)"
)
"""Why some steps cannot be replayed."""


class Gradient(NamedTuple):
    """What became of the `.grad` of a leaf.

    Attributes:
        tensor: that it is now.
        is_sum: whether the gradient was added to the tensor that was there before.
        had_one: whether there was one when the capture began.
    """

    tensor: Any
    is_sum: bool
    had_one: bool


class StepCapture(Capture):
    """A capture of operations on tensors.

    Attributes:
        leaves: tensors that the user made and that require a gradient, with their arrays.
        modules: what was called.
        gradients: leaves, and what became of their `.grad`.
        had_gradient: for each leaf, whether it had a `.grad` when it was first used or cleared.
        cleared: tensors whose `.grad` was forgotten.
        cleared_first: those of them for which it was before the first function of `as_a_whole`, by identity.
        run_again: functions whose forward is called again in each replay.
        changed: what counts the changes of tensors that were changed in place before the first function of
            `as_a_whole`, by identity.
        made: the tensors that the step has made, as far as they are still there.
        needs_rehearsal: whether something may have been computed that was not noted.
    """

    needs_rehearsal = True

    def __init__(self) -> None:
        super().__init__()
        self.leaves: dict[int, tuple[Any, Array]] = {}
        self.modules: dict[int, Any] = {}
        self.gradients: dict[int, tuple[Any, Gradient]] = {}
        self.had_gradient: dict[int, bool] = {}
        self.cleared: dict[int, Any] = {}
        self.cleared_first: set[int] = set()
        self.run_again: set[Function] = set()
        self.changed: dict[int, Any] = {}
        self.made: list[weakref.ref] = []

    def note_change(self, version: Any) -> None:
        """Note that tensors which share `version` were changed."""
        if self._first_whole is None:
            self.changed[id(version)] = version

    def note_cleared(self, tensor: Any) -> None:
        """Note that the `.grad` of a tensor is about to be forgotten."""
        self.had_gradient.setdefault(id(tensor), tensor.grad is not None)
        self.cleared[id(tensor)] = tensor
        if self._first_whole is None:
            self.cleared_first.add(id(tensor))

    def awaits(self, tensor: Any) -> bool:
        """Whether an optimizer of the next step may find the `.grad` that `tensor` gets now."""
        may_be_found = self._first_whole is not None and id(tensor) not in self.cleared_first
        return may_be_found and self.had_gradient.get(id(tensor), False)

    def holds(self) -> bool:
        """Whether what the capture has taken for constant still is."""
        return True

    def keeps_tensors_outside(self, returned: list) -> bool:
        """Whether a tensor that the step has made is still there, and neither returned nor a gradient.

        Somebody else has it then, perhaps for a later step to begin with, and a replay would not make a new one.
        """
        known = {id(tensor) for tensor in returned}
        known |= self.leaves.keys() | self.gradients.keys()
        known |= {id(gradient.tensor) for _, gradient in self.gradients.values()}
        known |= {id(args[1]) for function, args in self.notes if function is _set_gradient}
        if not self._others(known):
            return False
        gc.collect()  # what only waits for that
        return self._others(known)

    def _others(self, known: set[int]) -> bool:
        found = [made() for made in self.made]
        return any(tensor is not None and id(tensor) not in known for tensor in found)


def note_inputs(tensors: Iterable) -> None:
    """Remember which leaves an operation was applied to while a step is captured."""
    step = capture.here.active
    for tensor in tensors:
        if tensor is not None and tensor.node is not None and tensor.node.function is None:
            step.leaves[id(tensor)] = tensor, tensor.array
            step.had_gradient.setdefault(id(tensor), tensor.grad is not None)


def clear_gradients(tensors: Iterable, set_to_none: bool) -> None:
    """Forget the `.grad` of tensors, or fill it with zeros; a replay does so at the same moment.

    It is done for all tensors then: those that this step gives no gradient may have one from elsewhere.
    """
    step = capture.here.active
    if step is None:
        _clear(tensors, set_to_none)
        return
    tensors = list(tensors)
    for tensor in tensors:
        step.note_cleared(tensor)
    if set_to_none:
        _clear(tensors, set_to_none)
    else:
        with step.paused():
            _clear(tensors, set_to_none)
    step.note(_clear, tensors, set_to_none)


def _clear(tensors: Iterable, set_to_none: bool) -> None:
    for tensor in tensors:
        if set_to_none:
            tensor.grad = None
        elif tensor.grad is not None:
            tensor.grad.zero_()


def on_tensors(function: Callable) -> bool:
    """Whether a noted function changes the `.grad` of tensors, and is repeated by the host even for a GPU."""
    return function in (_clear, _set_gradient)


def note_made(tensor: Any) -> None:
    """Remember a tensor made while somebody is recording, as long as it is there."""
    capture.here.active.made.append(weakref.ref(tensor))


def note_change(tensor: Any) -> None:
    """Remember that the array of a tensor was changed in place while somebody is recording."""
    capture.here.active.note_change(tensor.version)


def note_module(module: Any) -> None:
    """Remember a module that was called while a step is captured."""
    capture.here.active.modules[id(module)] = module


def is_awaited(tensor: Any) -> bool:
    """Whether the gradient that a tensor gets now must outlast the beginning of the next step.

    So it is where there are several optimizers, and the step forgets gradients after the first has run, as that of a
    generator and its critic may. The gradient then needs memory that is not the recording's: a replay writes to it.
    """
    return capture.here.active.awaits(tensor)


def note_gradient(tensor: Any, is_sum: bool) -> None:
    """Remember what became of the `.grad` of a tensor."""
    step = capture.here.active
    if step is not None:
        known = step.gradients.get(id(tensor))
        is_sum = is_sum if known is None or known[1].tensor is not tensor.grad else known[1].is_sum
        had_one = step.had_gradient.get(id(tensor), False)
        step.gradients[id(tensor)] = tensor, Gradient(tensor.grad, is_sum, had_one)
        if not is_sum:
            step.note(_set_gradient, tensor, tensor.grad)


def _set_gradient(tensor: Any, gradient: Any) -> None:
    tensor.grad = gradient


def _set_gradients(pairs: list[tuple[Any, Any]]) -> None:
    for tensor, gradient in pairs:
        tensor.grad = gradient


# Of several such notes, a replay makes one (kernels/joining.py).
_set_gradient.together = lambda notes: (_set_gradients, ([pair for _, pair in notes],))


@np.errstate(all="ignore")
def forward(function: Function, arrays: Arrays) -> Array:
    """Call a function's forward while a capture is in force; for infinity and NaN, without warnings."""
    step = capture.here.active
    held = [array for array in (*arrays, *_arrays_of(function)) if array is not None]
    compute = _Repeatable(function, lambda: _as_array(function.forward(*arrays)))
    kind = type(function), "forward"
    output, left = step.step(
        compute, held, lambda output: [output, *_arrays_of(function)], kind=kind
    )
    compute.restore()
    kept = [output, *_arrays_of(function)]
    if left:
        left = list(map(_memory_of_its_own, left))
        output = output if left[0] is None else left[0]
        step.note(_forward_again, function, arrays, kept, left)
        step.run_again.add(function)
    return output


def _forward_again(function: Function, arrays: Arrays, kept: Arrays, left: Arrays) -> None:
    """Call forward again; what it saves and other attributes are then as its backward needs them."""
    found = [function.forward(*arrays), *_arrays_of(function)]
    if [np.shape(array) for array in found] != [np.shape(array) for array in kept]:
        found, left = found[:1], left[:1]  # other numbers may need other arrays
    _copy(found, left)


def backward(function: Function, grad: Array) -> tuple[Array | None, ...]:
    """Call a function's backward while a capture is in force."""
    step = capture.here.active
    compute = _Repeatable(function, lambda: _as_arrays(function.backward(grad)))
    # A forward that is called again decides anew what backward does, such as which numbers to drop.
    is_pure = function not in step.run_again
    saved = function.saved if is_pure else None  # None: what forward has saved in the replay
    kind = type(function), "backward"
    parts, left = step.step(compute, [grad, *_arrays_of(function)], _members, is_pure, kind)
    compute.restore()
    if left:
        left = list(map(_memory_of_its_own, left))
        parts = [a if b is None else b for a, b in zip(parts, left, strict=True)]
        step.note(_backward_again, function, saved, grad, left)
    return parts


def _backward_again(function: Function, saved: tuple | None, grad: Array, left: Arrays) -> None:
    if saved is not None:
        function.saved = saved
    _copy(_as_arrays(function.backward(grad)), left)


class _Repeatable:
    """A method of a function that can be called again, and the function is then what it was before the first call.

    Args:
        function: whose attributes the method may change.
        method: what to call.
    """

    def __init__(self, function: Function, method: Callable[[], Any]):
        self._attributes = function.__dict__
        self._method = method
        self._before = self._attributes.copy()
        self._after: dict[str, Any] | None = None

    def __call__(self) -> Any:
        self._set(self._before)
        result = self._method()
        if self._after is None:
            self._after = self._attributes.copy()
        return result

    def restore(self) -> None:
        """Make the function what it was after the first call."""
        self._set(self._after)

    def _set(self, attributes: dict[str, Any]) -> None:
        self._attributes.clear()
        self._attributes.update(attributes)


def computed(compute: Callable[..., Array], *arrays: Any) -> Array:
    """Return what `compute` makes of arrays outside a function, such as a comparison."""
    result = _as_array(compute(*arrays))
    if capture.here.active is not None:
        capture.here.active.note(_compute_again, compute, arrays, result)
    return result


def _compute_again(compute: Callable[..., Array], arrays: tuple, result: Array) -> None:
    result[...] = compute(*arrays)


def _copy(arrays: Iterable[Array | None], targets: Arrays) -> None:
    """Copy arrays to where they were when the recording was made."""
    for array, target in zip(arrays, targets, strict=True):
        if target is not None:
            target[...] = array


def _memory_of_its_own(array: Array | None) -> Array | None:
    """Return an array, or a copy if it cannot be written to or has one number stand for many."""
    if array is None or (array.flags.writeable and 0 not in array.strides):
        return array
    return array.copy()


def _as_array(result: Any) -> Any:
    """NumPy makes a number of an array without axes: make it an array again."""
    return np.asarray(result) if isinstance(result, np.generic) else result


def _as_arrays(parts: Any) -> Any:
    """The same for each member of a tuple or list; the tape refuses anything else."""
    return tuple(map(_as_array, parts)) if isinstance(parts, tuple | list) else parts


def _members(parts: Any) -> Arrays:
    return list(parts) if isinstance(parts, tuple | list) else []


def _arrays_of(function: Function) -> list[Array]:
    """The arrays that a function keeps: what it has saved, and its attributes."""
    found: list[Array] = []
    for value in vars(function).values():
        members = value if isinstance(value, tuple | list) else (value,)
        found += [member for member in members if is_array(member)]
    return found
