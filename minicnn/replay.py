"""A recorded step: what must hold for it to be replayed, how it is tried first, and how it is replayed.

`minicnn.captured` makes recordings and says what they are for. Before each replay, everything that was decided
when the step was recorded is looked at: settings, the modules' attributes, where their tensors lie. On the first
batch of other numbers the recording is held against the step itself (`Replay.run`), in the memory of the
recording, which is free between replays.
"""

import gc
import hashlib
import itertools
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from minicnn import random
from minicnn.autograd import Tensor, modes
from minicnn.autograd.capturing import KEPT_OUTSIDE, StepCapture
from minicnn.autograd.nested import mapped, tensors_in
from minicnn.backend import Array
from minicnn.kernels import memory
from minicnn.kernels.arrays import in_memory_order
from minicnn.kernels.capture import EndOfRehearsal, rehearsal, same_bits
from minicnn.nn import Module
from minicnn.nn.functional.precision import precision_in_force
from minicnn.nn.fusion import fusion_in_force


class MismatchError(Exception):
    """A recording did not repeat what the step does."""


class Replay:
    """A recorded step.

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
        # Inputs whose numbers have always been those of the recording.
        self._doubted = {
            i for i, own in enumerate(inputs) if step.needs_rehearsal and own.array.size > 0
        }
        modules = _without_repeats(
            part for module in step.modules.values() for part in module.modules()
        )
        tensors = [
            tensor
            for module in modules
            for tensor in (*module._parameters.values(), *module._buffers.values())
            if tensor is not None
        ]
        tensors = _without_repeats([*tensors, *(tensor for tensor, _ in step.leaves.values())])
        self._members = [members for part in modules for members in _of_kind(dict, part)]
        self._values = list(_values_of(self._members))
        self._lists = [members for part in modules for members in _of_kind(list, part)]
        self._listed = list(itertools.chain.from_iterable(self._lists))  # hooks, for example
        gradients = [gradient.tensor for _, gradient in step.gradients.values()]
        self._gradients = [(tensor, tensor.array, False) for tensor in gradients]
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

    def suits(self, inputs: tuple[Tensor, ...]) -> bool:
        """Whether the recording is for inputs like these, and for gradients as they are now."""
        if len(inputs) != len(self._inputs):
            return False
        for new, own in zip(inputs, self._inputs, strict=True):
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
        new = {i for i in self._doubted if not same_bits(inputs[i].array, self._inputs[i].array)}
        if new or not self._is_tried:
            self._rehearse(inputs, step)
            self._is_tried = True
            self._doubted -= new
        else:
            self._begin(inputs)
            self._step.replay()
        return copied(self._returned)

    def _begin(self, inputs: tuple[Tensor, ...]) -> None:
        for own, new in zip(self._inputs, inputs, strict=True):
            own.array[...] = new.array

    def _rehearse(self, inputs: tuple[Tensor, ...], step: Callable[..., Any]) -> None:
        """Replay the recording up to the optimizer, compare with the usual way, and go on if all bits are the same.

        The usual way comes first, in the memory of the recording: what lies there between replays is needed by
        nobody. If it were, the replay would give other numbers now, and be found out.
        """
        state = _State(
            self._step,
            inputs,
            self._members,
            self._lists,
            [tensor for tensor, _, _ in self._tensors],
        )
        lent = self._step.lent()
        try:
            expected, is_whole = self._usual_way(inputs, step)
        finally:
            is_replaced = any(tensor.array is not array for tensor, array, _ in self._tensors)
            state.restore()
        if is_replaced or self._has_lent_more_than(lent):
            raise MismatchError(KEPT_OUTSIDE)

        self._begin(inputs)
        rest = self._step.replay_to_first_whole()
        gradients = [gradient.tensor for _, gradient in self._step.gradients.values()]
        if self._fingerprints(gradients, self._returned if is_whole else None) != expected:
            state.restore()
            raise MismatchError(
                "for another batch, its recording gives other numbers than the step itself; something in the step "
                "depends on numbers in a way that is not recorded"
            )
        del state
        memory.release()  # what it was kept in
        rest()
        self._step.give_back()  # what only the usual way needed

    def _has_lent_more_than(self, lent: int) -> bool:
        """Whether somebody has kept an array in the memory of the recording, where replays would overwrite it."""
        if self._step.lent() <= lent:
            return False
        gc.collect()  # what only waits for that
        return self._step.lent() > lent

    def _usual_way(
        self, inputs: tuple[Tensor, ...], step: Callable[..., Any]
    ) -> tuple[list[bytes], bool]:
        """Run the step up to the optimizer; return the fingerprints, and whether it ran to its end."""
        returned, is_whole = None, True
        try:
            with rehearsal(), self._step.lending():
                returned = step(*inputs)
        except EndOfRehearsal:
            is_whole = False
        gradients = [leaf.grad for leaf, _ in self._step.gradients.values()]
        return self._fingerprints(gradients, returned if is_whole else None), is_whole

    def _fingerprints(self, gradients: list[Tensor | None], returned: Any) -> list[bytes]:
        """Digests of gradients, parameters, running statistics and results, the results as far as there are any."""
        own = [gradient.tensor for _, gradient in self._step.gradients.values()]
        pairs = [*zip(gradients, own, strict=True)]
        pairs += [(tensor, tensor) for tensor, _, _ in self._tensors]
        pairs += itertools.zip_longest(tensors_in(returned), tensors_in(self._returned))
        return [_fingerprint(tensor, like) for tensor, like in pairs]


class _State:
    """What a step may change: inputs, arrays outside the capture's memory, gradients, modules, chance.

    A rehearsal ends where the optimizer begins. What the step would have changed back after that, such as the mode of
    a module, must not stay as it was in between.
    """

    def __init__(
        self,
        step: StepCapture,
        inputs: tuple[Tensor, ...],
        members: list[dict[str, Any]],
        lists: list[list[Any]],
        tensors: list[Tensor],
    ):
        leaves = [leaf for leaf, _ in step.gradients.values()] + [*step.cleared.values()]
        self._leaves = [(leaf, leaf.grad) for leaf in leaves]
        self._tensors = [(tensor, tensor.array, tensor.node) for tensor in tensors]
        self._members = [(names, names.copy()) for names in members]
        self._lists = [(one, list(one)) for one in lists]
        arrays = step.outer_arrays()
        arrays += [grad.array for _, grad in self._leaves if grad is not None]
        arrays += [tensor.array for tensor in inputs if tensor.array.flags.writeable]
        self._before = [(array, memory.copy_of(array)) for array in _without_repeats(arrays)]
        self._generator = random.generator()
        self._chance = self._generator.bit_generator.state

    def restore(self) -> None:
        """Make all as it was."""
        for array, old in self._before:
            array[...] = old
        for leaf, grad in self._leaves:
            leaf.grad = grad
        for tensor, array, node in self._tensors:
            tensor.array, tensor.node = array, node
        for names, old in self._members:
            for name in names.keys() - old.keys():
                del names[name]
            names.update(old)
        for one, old in self._lists:
            one[:] = old
        self._generator.bit_generator.state = self._chance


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


def _fingerprint(tensor: Tensor | None, like: Tensor | None) -> bytes:
    """A digest of shape, dtype and numbers, read in the memory order of `like`, so that nothing is copied."""
    if tensor is None:
        return b""
    array = tensor.array
    if like is not None and array.shape == like.shape:
        array = array.transpose(in_memory_order(like.array)[1])
    digest = hashlib.blake2b(np.ascontiguousarray(array), digest_size=16)
    digest.update(repr((tensor.shape, array.dtype)).encode())
    return digest.digest()


def _without_repeats(things: Iterable[Any]) -> list[Any]:
    return list({id(thing): thing for thing in things}.values())
