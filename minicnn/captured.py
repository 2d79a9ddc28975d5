"""A training step that is recorded once and then replayed.

    @minicnn.capture
    def step(images, labels):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    for images, labels in loader:
        loss = step(images, labels)

Python decides in every step anew which kernels to call, in which memory; and every step decides the same. In
networks for small images this takes longer than the arithmetic. A captured step decides once: its first call runs as
usual, the second is recorded, and later ones replay the recorded calls of compiled loops, with the numbers
of the new batch. The results are the same bits.

What a recording holds is what was *computed*, not the program. So the rules are those of CUDA graphs:

- Python's own statements in the step (a counter, a print) run only when it runs as usual. Optimizers, their schedules
  and gradient clipping do in each step what they always do.
- The step must not read numbers: what depends on `loss.item()` would be decided once and for all. It returns tensors,
  which are read outside.
- `.grad` is the same tensor in each replay: who wants to keep its numbers takes a copy.
- Random numbers are drawn by layers such as dropout, which draw new ones in each step.

What breaks these rules is noticed where that is possible: the step then runs as usual, and says so once. Before a
recording is trusted, it is held against the usual way, bit for bit, on the first batch of other numbers.
Changes between steps are noticed too: train() and eval(), frozen parameters, loaded weights, settings of layers, the
precision, the number of threads. For these, and for batches of another shape, such as the last one of an epoch,
the step runs as usual.
"""

import functools
import itertools
import operator
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from minicnn import graphs, random
from minicnn.autograd import Tensor, modes
from minicnn.autograd.capturing import StepCapture
from minicnn.autograd.nested import holds_tensors_only, mapped, tensors_in
from minicnn.backend import Array, xp_of
from minicnn.kernels import memory
from minicnn.kernels.capture import EndOfRehearsal, here, rehearsal, same_bits
from minicnn.nn.functional.checks import as_tensor
from minicnn.nn.functional.precision import precision_in_force
from minicnn.nn.fusion import fusion_in_force


class CapturedStep:
    """A step that is recorded in one call and replayed in later ones; see `capture`.

    Attributes:
        problem: why the step always runs as usual; "" where it does not.
    """

    def __init__(self, step: Callable[..., Any], warm_up: int = 1):
        self.problem = ""
        self._step = step
        self._warm_up = warm_up
        self._usual_calls = 0
        self._replay: Replay | None = None
        self._in_use = threading.Lock()
        functools.update_wrapper(self, step)

    @property
    def is_recorded(self) -> bool:
        """Whether the next call with inputs of the same shapes replays a recording."""
        return self._replay is not None and not self.problem

    def __call__(self, *inputs: Tensor | Array) -> Any:
        """Carry out the step for new inputs.

        Args:
            inputs: tensors or arrays, as the step takes them; none of them may require a gradient.

        Returns:
            What the step returns: tensors, detached from the tape, in memory of their own; None, or tuples, lists
            and dicts of these.
        """
        inputs = tuple(map(as_tensor, inputs))
        is_part = here.active is not None or here.is_rehearsal  # of another captured step
        if self.problem or is_part or modes.state.anomaly_mode or not _are_replaceable(inputs):
            return self._as_usual(inputs)
        if not self._in_use.acquire(blocking=False):  # another thread is in the recording's memory
            return self._as_usual(inputs)
        try:
            return self._from_recording(inputs)
        finally:
            self._in_use.release()

    def _from_recording(self, inputs: tuple[Tensor, ...]) -> Any:
        """Replay the recording if there is one that suits, or make it."""
        if self._replay is not None and not self._replay.holds():
            self.release()
            self._usual_calls, self._warm_up = 0, max(self._warm_up, 1)  # not recorded in each step
        if self._replay is None:
            return self._record(inputs)
        if not self._replay.suits(inputs):
            return self._as_usual(inputs)
        try:
            return self._replay.run(inputs, self._step)
        except MismatchError as mismatch:
            self._give_up(str(mismatch))
            return self._as_usual(inputs)

    def release(self) -> None:
        """Forget the recording, and give its memory back. Gradients that it computed move to memory of their own."""
        if self._replay is not None:
            self._replay.move_gradients()
            self._replay = None

    def _as_usual(self, inputs: tuple[Tensor, ...]) -> Any:
        with nullcontext() if self.problem else graphs.kernels_for(inputs):
            return mapped(lambda tensor: tensor.detach(), self._step(*inputs))

    def _record(self, inputs: tuple[Tensor, ...]) -> Any:
        """Carry out the step and write down what it does."""
        on_gpu = graphs.suit(inputs)
        if self._usual_calls < (max(self._warm_up, graphs.WARM_UP) if on_gpu else self._warm_up):
            self._usual_calls += 1
            with graphs.warming_up() if on_gpu else nullcontext():
                return self._as_usual(inputs)
        memory.release()  # what the usual way used
        own = tuple(Tensor(tensor.array.copy(order="K")) for tensor in inputs)
        step = graphs.GraphCapture(own[0].array) if on_gpu else StepCapture()
        try:
            with step.in_force():
                returned = self._step(*own)
        except Exception as error:
            if on_gpu:
                self._give_up(step.problem)
            if isinstance(error, graphs.CaptureFailedError):  # nothing has been computed yet
                return self._as_usual(inputs)
            raise
        if not holds_tensors_only(returned):
            step.problem = step.problem or "it returns something else than tensors"
        if step.keeps_tensors_outside(tensors_in(returned)):
            step.problem = step.problem or (
                "a tensor that it makes is kept outside of it, where a later step may read it; return it, or "
                "write it into a tensor made before (copy_)"
            )
        if step.problem:
            self._give_up(step.problem)
        else:
            self._replay = Replay(step, own, returned)
            memory.release()  # what looking at each function needed
        return _copied(returned)

    def _give_up(self, problem: str) -> None:
        self.release()
        self.problem = problem
        warnings.warn(
            f"capture: {getattr(self, '__name__', 'this step')} runs as usual, not from a recording: {problem}",
            RuntimeWarning,
            stacklevel=4,
        )


class MismatchError(Exception):
    """A recording did not repeat what the step does."""


class Replay:
    """A recorded step, and what must hold for it to be replayed.

    Args:
        step: the capture that has ended, with its notes.
        inputs: the tensors that it began with.
        returned: what the step returned.
    """

    def __init__(self, step: StepCapture, inputs: tuple[Tensor, ...], returned: Any):
        self._step = step
        self._inputs = inputs
        self._returned = returned
        self._is_tried = not step.needs_rehearsal
        self._doubted = [step.needs_rehearsal and tensor.array.size > 0 for tensor in inputs]
        modules = [part for module in step.modules.values() for part in module.modules()]
        tensors = [
            tensor
            for module in modules
            for tensor in (*module._parameters.values(), *module._buffers.values())
            if tensor is not None
        ] + [tensor for tensor, _ in step.leaves.values()]
        self._members = [members for part in modules for members in (vars(part), part._modules)]
        self._values = _values_of(self._members)
        self._hooks = [
            hooks for part in modules for hooks in (part._forward_pre_hooks, part._forward_hooks)
        ]
        self._tensors = [(tensor, tensor.array, tensor.requires_grad) for tensor in tensors]
        self._settings = _settings()

    def holds(self) -> bool:
        """Whether the step would still do what was recorded."""
        return (
            self._settings == _settings()
            and self._step.holds()
            and not any(self._hooks)
            and _are_the_same(self._values, _values_of(self._members))
            and all(
                tensor.array is array
                and (tensor.node is not None) == requires_grad
                and not (requires_grad and tensor.node.hooks)
                for tensor, array, requires_grad in self._tensors
            )
        )

    def suits(self, inputs: tuple[Tensor, ...]) -> bool:
        """Whether the recording is for inputs like these, and for gradients as they are now."""
        if len(inputs) != len(self._inputs) or any(
            new.array.shape != own.array.shape
            or new.array.dtype != own.array.dtype
            or not _lie_alike(new.array, own.array)
            for new, own in zip(inputs, self._inputs, strict=True)
        ):
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

        Raises:
            MismatchError: where inputs differ from the recorded ones for the first time, and the results from those of
                `step`. All is then as before.
        """
        new = [
            i
            for i, doubted in enumerate(self._doubted)
            if doubted and not _same_bits(inputs[i].array, self._inputs[i].array)
        ]
        if new or not self._is_tried:
            self._rehearse(inputs, step)
            memory.release()  # what the usual way used
            self._is_tried = True
            for i in new:
                self._doubted[i] = False
        else:
            self._replay(inputs)
        return _copied(self._returned)

    def _replay(self, inputs: tuple[Tensor, ...]) -> None:
        self._begin(inputs)
        self._step.replay()

    def _begin(self, inputs: tuple[Tensor, ...]) -> None:
        for own, new in zip(self._inputs, inputs, strict=True):
            own.array[...] = new.array

    def _rehearse(self, inputs: tuple[Tensor, ...], step: Callable[..., Any]) -> None:
        """Replay the recording up to the optimizer, compare with the usual way, and go on if all bits are the same."""
        state = _State(self._step, self._members, [tensor for tensor, _, _ in self._tensors])
        try:
            try:
                with rehearsal():
                    returned = step(*inputs)
                expected = [tensor.array.copy() for tensor in tensors_in(returned)]
            except EndOfRehearsal:
                expected = None
            gradients = [_copy_of(leaf.grad) for leaf, _ in self._step.gradients.values()]
            changed = [array.copy() for _, array, _ in self._tensors]
        finally:
            state.restore()

        self._begin(inputs)
        rest = self._step.replay_to_first_whole()
        found = [gradient.tensor.array for _, gradient in self._step.gradients.values()]
        found += [array for _, array, _ in self._tensors]
        same = all(map(_same_bits, found, gradients + changed))
        if expected is not None:
            own = [tensor.array for tensor in tensors_in(self._returned)]
            same = same and len(own) == len(expected) and all(map(_same_bits, own, expected))
        if not same:
            state.restore()
            raise MismatchError(
                "for another batch, its recording gives other numbers than the step itself; something in the step "
                "depends on numbers in a way that is not recorded"
            )
        rest()


class _State:
    """What a step may change: arrays outside the capture's memory, gradients, modules, frozen parameters, chance.

    A rehearsal ends where the optimizer begins. What the step would have changed back after that, such as the mode of
    a module, must not stay as it was in between.
    """

    def __init__(self, step: StepCapture, members: list[dict[str, Any]], tensors: list[Tensor]):
        leaves = [leaf for leaf, _ in step.gradients.values()] + [*step.cleared.values()]
        self._leaves = [(leaf, leaf.grad) for leaf in leaves]
        self._nodes = [(tensor, tensor.node) for tensor in tensors]
        self._members = [(names, names.copy()) for names in members]
        self._arrays = step.outer_arrays()
        self._arrays += [grad.array for _, grad in self._leaves if grad is not None]
        self._generator = random.generator()
        self._chance = self._generator.bit_generator.state
        self._before = [array.copy() for array in self._arrays]

    def restore(self) -> None:
        """Make all as it was."""
        for array, old in zip(self._arrays, self._before, strict=True):
            array[...] = old
        for leaf, grad in self._leaves:
            leaf.grad = grad
        for tensor, node in self._nodes:
            tensor.node = node
        for names, old in self._members:
            for name in names.keys() - old.keys():
                del names[name]
            names.update(old)
        self._generator.bit_generator.state = self._chance


def capture(step: Callable[..., Any] | None = None, *, warm_up: int = 1) -> Any:
    """Record a training step in one of its first calls, and replay the recording in later ones.

    Works as a decorator too. See the beginning of this file for what a step may do.

    Args:
        step: a function of tensors; typically forward, loss, backward and update.
        warm_up: calls that run as usual before one is recorded, at least 1 for layers and optimizers that get their
            shapes and memory in their first call.

    Returns:
        A function of the same arguments, a `CapturedStep`.
    """
    if step is None:
        return functools.partial(capture, warm_up=warm_up)
    if not callable(step):
        raise TypeError(f"capture: step: expected a function, got {type(step).__name__}")
    return CapturedStep(step, warm_up)


def _settings() -> tuple:
    """What else decides over how a step is computed."""
    loops = sys.modules.get("minicnn.kernels.cpu.compiled")
    threads = 1 if loops is None else loops.thread_count()  # each sums its part
    return precision_in_force(), modes.state.recording, fusion_in_force(), threads


def _values_of(dictionaries: list[dict[str, Any]]) -> list[Any]:
    """All values, in order."""
    return list(itertools.chain.from_iterable(map(dict.values, dictionaries)))


def _are_the_same(values: list[Any], others: list[Any]) -> bool:
    """Whether two lists hold the same objects."""
    return len(values) == len(others) and all(map(operator.is_, values, others))


def _lie_alike(a: Array, b: Array) -> bool:
    """Whether the axes of two arrays follow one another alike in memory."""
    return a.strides == b.strides or _order(a) == _order(b)


def _order(array: Array) -> list[int]:
    """The axes from the outermost in memory to the innermost, without those of one element."""
    axes = [axis for axis, size in enumerate(array.shape) if size > 1]
    return sorted(axes, key=lambda axis: -abs(array.strides[axis]))


def _are_replaceable(inputs: tuple[Tensor, ...]) -> bool:
    """Whether inputs can be copied into those of a recording: they lie on one device and want no gradient."""
    on_cpu = all(xp_of(tensor.array) is np for tensor in inputs)
    return all(tensor.node is None for tensor in inputs) and (on_cpu or graphs.suit(inputs))


def _copied(returned: Any) -> Any:
    return mapped(lambda tensor: Tensor(tensor.array.copy(order="K")), returned)


def _copy_of(grad: Tensor | None) -> Array | None:
    return None if grad is None else grad.array.copy()


def _same_bits(a: Array | None, b: Array | None) -> bool:
    """Whether two arrays of one dtype hold the same bits."""
    if a is None or b is None:
        return a is b
    return same_bits(a, b)
