"""How a recording is tried: on a batch of other numbers, it is held against the step itself.

The step runs as usual up to its optimizer, in the memory of the recording, which is free between replays. Then all
is made as it was, and the recording is replayed. Gradients, running statistics and results must be the same bits.

All this takes hardly more memory than a step. Of what the usual way computes, only digests are kept. What it may
change is copied before, but not what is as large as the network itself:

- Parameters: before the optimizer, a step does not change them, and their digests show that it has not. If it has,
  in another way than when it was recorded, it runs on to its end, and the recording is given up.
- Gradients of the step before: a step forgets them (`zero_grad`) before it computes new ones, which then find
  their memory free. Whoever reads them first gets to see them; and a copy is made at that moment (`_Earlier`).
"""

import gc
import itertools
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from minicnn import random
from minicnn.autograd import Tensor
from minicnn.autograd.capturing import KEPT_OUTSIDE, StepCapture
from minicnn.autograd.nested import tensors_in
from minicnn.autograd.tape import Version
from minicnn.backend import Array
from minicnn.kernels import memory
from minicnn.kernels.arrays import in_memory_order
from minicnn.kernels.bits import digest
from minicnn.kernels.capture import EndOfRehearsal, rehearsal

OTHER_NUMBERS = (
    "for another batch, its recording gives other numbers than the step itself; something in the step depends on "
    "numbers in a way that is not recorded"
)

CHANGES_UNSEEN = (
    "it changes a parameter or an argument, and did not when it was recorded, or changes its array; change tensors, "
    "in each call"
)


class MismatchError(Exception):
    """A recording did not repeat what the step does."""


@dataclass(frozen=True)
class Recording:
    """A recorded step, and what it worked with.

    Attributes:
        capture: its notes.
        inputs: the tensors that it began with.
        returned: what it returned.
        tensors: all parameters and buffers, and other leaves.
        members: the attributes of modules, and dicts among them.
        lists: the lists among these attributes, such as hooks.
    """

    capture: StepCapture
    inputs: tuple[Tensor, ...]
    returned: Any
    tensors: list[Tensor]
    members: list[dict[str, Any]]
    lists: list[list[Any]]

    def begin(self, inputs: tuple[Tensor, ...]) -> None:
        """Copy new inputs to where the notes look for them."""
        for own, new in zip(self.inputs, inputs, strict=True):
            own.array[...] = new.array


class Rehearsal:
    """One trial of a recording.

    Args:
        recording: what is tried.
        inputs: the new batch.

    Attributes:
        problem: why the recording cannot be used, if the step has run to its end as usual; "" otherwise.
        returned: what the step has returned then.
        is_whole: whether the recording still has all of its memory, and can be tried again.
    """

    def __init__(self, recording: Recording, inputs: tuple[Tensor, ...]):
        self.problem = ""
        self.is_whole = False
        self.returned: Any = None
        self._recording = recording
        self._inputs = inputs
        self._arrays = [(tensor, tensor.array) for tensor in recording.tensors]
        changed = recording.capture.changed
        self._varying = [t for t in recording.tensors if id(t.version) in changed]
        constant = [t for t in recording.tensors if id(t.version) not in changed]
        self._constant = [tensor.array for tensor in (*constant, *inputs)]
        self._digests = list(map(digest, self._constant))
        self._before = _State(recording, self._constant)

    def run(self, step: Callable[..., Any]) -> None:
        """Run the step as usual up to the optimizer, replay the recording up to it, compare, and replay the rest.

        Raises:
            MismatchError: where the results are not the same bits. All is then as before.
        """
        capture = self._recording.capture
        lent = capture.lent()
        try:
            expected, ended = self._usual_way(step)
        except BaseException:  # the step has gone as far as it would without a recording
            self._before.forget()
            raise
        if self.problem:
            self._before.forget()
            return
        is_replaced = any(tensor.array is not array for tensor, array in self._arrays)
        self.is_whole = self._before.restore()
        if not self.is_whole or is_replaced or self._has_lent_more_than(lent):
            raise MismatchError(KEPT_OUTSIDE)
        self._recording.begin(self._inputs)
        rest = capture.replay_to_first_whole()
        gradients = [leaf.grad for leaf, _ in capture.gradients.values()]
        returned = self._recording.returned if ended else None
        if self._fingerprints(gradients, returned) != expected or not self._is_constant():
            self._before.restore()
            raise MismatchError(OTHER_NUMBERS)
        self._before = None
        memory.release()  # what copies were kept in
        rest()
        capture.give_back()  # what only the usual way needed

    def _usual_way(self, step: Callable[..., Any]) -> tuple[list[bytes], bool]:
        """Run the step; return the fingerprints, and whether it ran to its end."""
        returned, ended = None, True
        try:
            with rehearsal(self._may_end), self._recording.capture.lending():
                returned = step(*self._inputs)
        except EndOfRehearsal:
            ended = False
        if self.problem or (ended and not self._may_end()):
            self.returned = returned
            return [], True
        gradients = [leaf.grad for leaf, _ in self._recording.capture.gradients.values()]
        return self._fingerprints(gradients, returned), ended

    def _may_end(self) -> bool:
        """Whether the usual way has left alone what there is no copy of; if not, it has to go on to its end."""
        if not self.problem and not self._is_constant():
            self.problem = CHANGES_UNSEEN
        return not self.problem

    def _is_constant(self) -> bool:
        """Whether what there is no copy of has the same numbers as in the beginning."""
        return list(map(digest, self._constant)) == self._digests

    def _fingerprints(self, gradients: list[Tensor | None], returned: Any) -> list[bytes]:
        """Digests of gradients, of what else changes, and of results, the results as far as there are any."""
        own = [gradient.tensor for _, gradient in self._recording.capture.gradients.values()]
        pairs = [*zip(gradients, own, strict=True)]
        pairs += [(tensor, tensor) for tensor in self._varying]
        pairs += itertools.zip_longest(tensors_in(returned), tensors_in(self._recording.returned))
        return [
            digest(tensor.array, None if like is None else like.array)
            if tensor is not None
            else b""
            for tensor, like in pairs
        ]

    def _has_lent_more_than(self, lent: int) -> bool:
        """Whether somebody has kept an array in the memory of the recording, where replays would overwrite it."""
        if self._recording.capture.lent() <= lent:
            return False
        gc.collect()  # what only waits for that
        return self._recording.capture.lent() > lent


class _State:
    """What a step may change: gradients, modules, chance, and all arrays outside the capture's memory but some.

    A rehearsal ends where the optimizer begins. What the step would have changed back after that, such as the mode of
    a module, must not stay as it was in between.

    Args:
        recording: of the step.
        constant: arrays that are not copied.
    """

    def __init__(self, recording: Recording, constant: list[Array]):
        capture = recording.capture
        leaves = [leaf for leaf, _ in capture.gradients.values()] + [*capture.cleared.values()]
        self._leaves = [(leaf, leaf.grad) for leaf in without_repeats(leaves)]
        self._tensors = [(tensor, tensor.array, tensor.node) for tensor in recording.tensors]
        self._members = [(names, names.copy()) for names in recording.members]
        self._lists = [(one, list(one)) for one in recording.lists]
        self._generator = random.generator()
        self._chance = self._generator.bit_generator.state
        gradients = without_repeats(grad for _, grad in self._leaves if grad is not None)
        arrays = [grad.array for grad in gradients if capture.loan_of(grad.array) is None]
        arrays += _outside(capture.outer_arrays(), constant)
        self._before = [(array, memory.copy_of(array)) for array in without_repeats(arrays)]
        self._earlier = {
            id(grad): _Earlier(grad, capture)
            for grad in gradients
            if capture.loan_of(grad.array) is not None
        }
        stand_ins = {key: earlier.stand_in() for key, earlier in self._earlier.items()}
        for leaf, grad in self._leaves:
            leaf.grad = stand_ins.get(id(grad), grad)

    def restore(self) -> bool:
        """Make all as it was; return False if somebody keeps an array where a gradient was."""
        for earlier in self._earlier.values():
            earlier.hold()
        for leaf, _ in self._leaves:
            leaf.grad = None  # which gives back the memory of new ones
        taken_back = [earlier.take_back() for earlier in self._earlier.values()]
        for leaf, grad in self._leaves:
            is_lost = id(grad) in self._earlier and self._earlier[id(grad)].is_lost
            leaf.grad = None if is_lost else grad
        for array, old in self._before:
            array[...] = old
        for tensor, array, node in self._tensors:
            tensor.array, tensor.node = array, node
        for names, old in self._members:
            for name in names.keys() - old.keys():
                del names[name]
            names.update(old)
        for one, old in self._lists:
            one[:] = old
        self._generator.bit_generator.state = self._chance
        return all(taken_back)

    def forget(self) -> None:
        """Leave all as the step has left it, but for stand-ins."""
        for earlier in self._earlier.values():
            earlier.forget()
        for leaf, _ in self._leaves:
            if isinstance(leaf.grad, _Watched):
                leaf.grad = leaf.grad.original()


class _Earlier:
    """The gradient that the step before has left, while the step runs as usual.

    A stand-in takes its place. When the step forgets it, the memory is free for new gradients; when somebody looks at
    its array, the numbers are copied first.

    Args:
        gradient: as it was recorded.
        capture: in whose memory its array is.

    Attributes:
        gradient: the first of these.
        is_lost: whether it was forgotten unread, and its numbers are gone.
    """

    def __init__(self, gradient: Tensor, capture: StepCapture):
        self.is_lost = False
        self.gradient = gradient
        loan = capture.loan_of(gradient.array)
        self._arena, self._place = loan.arena, loan.place
        self._loan = weakref.ref(loan)
        self._held: np.ndarray | None = None  # the loan, or what is in its place
        self._numbers: np.ndarray | None = None

    def stand_in(self) -> Tensor:
        """Return what is `.grad` for the time being. Nothing here keeps it, nor the memory of its array."""
        array = self.gradient.array
        self.gradient.array = memory.view_in(self._place[0], array)
        return _Watched.of(array, self)

    def copy(self) -> None:
        """Copy the numbers, unless that has been done."""
        if self._numbers is None:
            with memory.used_by_this_thread(None):  # the recording's own will be overwritten
                self._numbers = memory.copy_of(self.gradient.array)

    def hold(self) -> None:
        """Keep the memory, if it has not been given back."""
        self._held = self._loan()

    def take_back(self) -> bool:
        """Give the gradient its memory and, if there is a copy, its numbers; return False if the memory is in use."""
        if self._held is None:
            self.is_lost = self._numbers is None
            try:
                self._held = self._arena.lend_again(self._place)
            except LookupError:
                self.forget()
                return False
            self._loan = weakref.ref(self._held)
        self.gradient.array = memory.view_in(self._held, self.gradient.array)
        self._held = None
        if self._numbers is not None:
            self.gradient.array[...] = self._numbers
        return True

    def forget(self) -> None:
        """Let the gradient be what the step has made of it; if its memory is gone, it holds no numbers."""
        loan = self._loan()
        if loan is not None:
            self.gradient.array = memory.view_in(loan, self.gradient.array)
        else:
            nan = np.array(np.nan, self.gradient.dtype)
            self.gradient.array = np.broadcast_to(nan, self.gradient.shape)


class _Watched(Tensor):
    """A tensor that stands in for a gradient, and has it copied before somebody gets its array."""

    __slots__ = ("_earlier",)

    @staticmethod
    def of(array: Array, earlier: _Earlier) -> "_Watched":
        """Return one with the array of `earlier.gradient`."""
        tensor = object.__new__(_Watched)
        tensor._earlier = earlier
        Tensor.array.__set__(tensor, array)
        tensor.grad = tensor.node = None
        tensor.version = Version()
        return tensor

    def original(self) -> Tensor:
        """Return the gradient, with the array that stands here now."""
        gradient = self._earlier.gradient
        gradient.array = Tensor.array.__get__(self)
        return gradient

    @property
    def array(self) -> Array:
        """The array."""
        self._earlier.copy()
        return Tensor.array.__get__(self)

    @array.setter
    def array(self, array: Array) -> None:
        self._earlier.copy()
        Tensor.array.__set__(self, array)


def _outside(arrays: list[np.ndarray], others: list[np.ndarray]) -> list[np.ndarray]:
    """The arrays that do not lie within one of the others."""
    regions = [
        byte_bounds(other) for other in others if in_memory_order(other)[0].flags.c_contiguous
    ]
    return [
        array
        for array, (start, stop) in zip(arrays, map(byte_bounds, arrays), strict=True)
        if not any(first <= start and stop <= last for first, last in regions)
    ]


def without_repeats(things: Iterable[Any]) -> list[Any]:
    """Return the things, each once, whatever they call equal."""
    return list({id(thing): thing for thing in things}.values())
