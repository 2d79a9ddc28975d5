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

A model is captured as it is, for inference: `predict = minicnn.capture(model.eval())`.

A recording serves one shape of inputs, the first that comes again; see `minicnn/recurrence.py`.

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

import copy
import functools
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from minicnn import graphs
from minicnn.autograd import Tensor, modes, no_grad
from minicnn.autograd.capturing import KEPT_OUTSIDE, StepCapture
from minicnn.autograd.nested import holds_tensors_only, mapped, tensors_in
from minicnn.backend import Array, xp_of
from minicnn.kernels import memory
from minicnn.kernels.capture import here
from minicnn.nn import (
    BatchNorm1d,
    BatchNorm2d,
    Dropout,
    Dropout1d,
    Dropout2d,
    Module,
    StochasticDepth,
)
from minicnn.nn.functional.checks import as_tensor
from minicnn.recurrence import Recurrence
from minicnn.rehearsal import MismatchError
from minicnn.replay import Replay, copied

DIFFER_IN_TRAINING = (BatchNorm1d, BatchNorm2d, Dropout, Dropout1d, Dropout2d, StochasticDepth)
"""Layers whose results in training mode depend on chance, or on the rest of the batch."""

CHANGES_INPUTS = "it changes one of its arguments in place"
"""Why a step cannot be replayed, which would change a copy."""


class CapturedStep:
    """A step that is recorded in one call and replayed in later ones; see `capture`.

    Attributes:
        problem: why the step always runs as usual; "" where it does not.
    """

    def __init__(self, step: Callable[..., Any], warm_up: int = 1):
        self.problem = ""
        self._step = step
        self._warm_up = warm_up
        self._recurrence = Recurrence()
        self._replay: Replay | None = None
        self._in_use = threading.Lock()
        self._user: int | None = None  # the thread that holds it
        functools.update_wrapper(self, step, updated=())

    def __get__(self, instance: object, owner: type) -> "CapturedStep":
        """Refuse to stand in a class: objects would take turns with one recording."""
        if instance is None:
            return self
        raise TypeError(
            f"capture: {owner.__name__}.{self._name} is a method, and each object needs a recording of its own; "
            f"capture it in __init__: self.{self._name} = minicnn.capture(self.{self._name})"
        )

    @property
    def is_recorded(self) -> bool:
        """Whether the next call with inputs of the same shapes replays a recording."""
        return self._replay is not None and not self.problem

    def __call__(self, *inputs: Tensor | Array) -> Any:
        """Carry out the step for new inputs.

        Args:
            inputs: tensors or arrays, as the step takes them, by position. Where one requires a gradient, the step
                runs as usual.

        Returns:
            What the step returns: tensors, detached from the tape, in memory of their own; None, or tuples, lists
            and dicts of these.

        Raises:
            TypeError: for an input that is neither, nor a number.
        """
        inputs = tuple(self._as_input(number, value) for number, value in enumerate(inputs))
        if isinstance(self._step, _Inference) and (advice := self._step.advice()):
            warnings.warn(advice, UserWarning, stacklevel=2)
        is_part = here.active is not None or here.may_end is not None  # of another captured step
        if self.problem or is_part or modes.state.anomaly_mode or not _are_replaceable(inputs):
            return self._as_usual(inputs)
        # Another thread may be in the recording's memory; or about to make it, for which weights are changed a while.
        must_wait = self._replay is None and self._user != threading.get_ident()
        if not self._in_use.acquire(blocking=must_wait):
            return self._as_usual(inputs)
        self._user = threading.get_ident()
        known = self.problem  # which another thread has found, and warned of, while this one waited
        try:
            return self._from_recording(inputs)
        finally:
            self._user = None
            problem = self.problem
            self._in_use.release()
            if problem and not known:
                warnings.warn(
                    f"capture: {self._name} runs as usual, not from a recording: {problem}",
                    RuntimeWarning,
                    stacklevel=2,
                )

    # --- Python's protocols -----------------------------------------------------------------------

    def __copy__(self) -> "CapturedStep":
        """The same step without a recording: two of them could not share one."""
        return CapturedStep(self._step, self._warm_up)

    def __deepcopy__(self, memo: dict) -> "CapturedStep":
        """The same for a copy of the model, or of the object whose method it is, without a recording.

        A function has no copies in Python: what it finds outside of its arguments, the copy finds too.
        """
        twin = memo[id(self)] = object.__new__(CapturedStep)  # the object may hold this very step
        twin.__init__(copy.deepcopy(self._step, memo), self._warm_up)
        return twin

    def __reduce__(self) -> str | tuple:
        """What `pickle` keeps: the step, without a recording.

        Raises:
            TypeError: for a function that pickle, which keeps only names of functions, would not find.
        """
        function = getattr(self._step, "__func__", self._step)
        if isinstance(function, FunctionType):
            found = _found_by_name(function)
            if found is self:  # decorated
                return function.__qualname__
            if found is not function:
                raise TypeError(
                    f"capture: {self._name} cannot be pickled: functions are kept by name, and none is found as "
                    f"{function.__module__}.{function.__qualname__}; define it at the top of a module, or capture "
                    "the model itself: minicnn.capture(model)"
                )
        owner = getattr(self._step, "__self__", None) if function is not self._step else None
        return object.__new__, (CapturedStep,), (function, owner, self._warm_up)

    def __setstate__(self, state: tuple[Callable[..., Any], object, int]) -> None:
        function, owner, warm_up = state
        self.__init__(function if owner is None else MethodType(function, owner), warm_up)

    @property
    def _name(self) -> str:
        return getattr(self, "__name__", "this step")

    def _as_input(self, number: int, value: Any) -> Tensor:
        try:
            return as_tensor(value)
        except TypeError as error:
            raise TypeError(
                f"capture: {self._name}: argument {number}: expected a tensor or an array, got {value!r:.80}; what "
                "else a step needs, it finds outside of its arguments"
            ) from error

    def _from_recording(self, inputs: tuple[Tensor, ...]) -> Any:
        """Replay the recording if there is one that suits, or make it."""
        if self.problem:  # found while this thread waited
            return self._as_usual(inputs)
        if self._replay is not None and not self._replay.holds():
            self.release()
            self._recurrence.forget()
            self._warm_up = max(self._warm_up, 1)  # not recorded in each step
        if self._replay is not None and not self._replay.suits(inputs):
            if not self._recurrence.gives_way(_arrays(inputs)):
                return self._as_usual(inputs)
            self.release()
            self._recurrence.forget()
        if self._replay is None:
            return self._record(inputs)
        self._recurrence.note_replay()
        try:
            returned = self._replay.run(inputs, self._step)
        except MismatchError as mismatch:
            self._give_up(str(mismatch))
            return self._as_usual(inputs)
        except BaseException:
            if not self._replay.is_whole:
                self.release()
            raise
        if self._replay.problem:
            self._give_up(self._replay.problem)
        return returned

    def release(self) -> None:
        """Forget the recording, and give its memory back. Gradients that it computed move to memory of their own."""
        if self._replay is not None:
            self._replay.move_gradients()
            self._replay = None

    def _as_usual(self, inputs: tuple[Tensor, ...]) -> Any:
        with nullcontext() if self.problem else graphs.kernels_for(inputs):
            returned = self._step(*inputs)
        if here.active is None:
            return copied(returned)
        return mapped(lambda tensor: tensor.detach(), returned)  # the other step notes no copies

    def _record(self, inputs: tuple[Tensor, ...]) -> Any:
        """Carry out the step and write down what it does."""
        on_gpu = graphs.suit(inputs)
        warm_up = max(self._warm_up, graphs.WARM_UP) if on_gpu else self._warm_up
        if not self._recurrence.is_due(_arrays(inputs), warm_up):
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
        for tensor, mine in zip(inputs, own, strict=True):
            if mine.version.count:
                tensor.array[...] = mine.array
                step.problem = step.problem or CHANGES_INPUTS
        if not holds_tensors_only(returned):
            step.problem = step.problem or (
                "it returns something else than tensors; return tensors, None, or tuples, lists and dicts of these"
            )
        if step.keeps_tensors_outside(tensors_in(returned)):
            step.problem = step.problem or KEPT_OUTSIDE
        if step.problem:
            self._give_up(step.problem)
        else:
            self._replay = Replay(step, own, returned)
            memory.release()  # what looking at each function needed
        return copied(returned)

    def _give_up(self, problem: str) -> None:
        self.release()
        self.problem = problem


def capture(step: Callable[..., Any] | None = None, *, warm_up: int = 1) -> Any:
    """Record a training step in one of its first calls, and replay the recording in later ones.

    Works as a decorator too. See the beginning of this file for what a step may do.

    Args:
        step: a function of tensors; typically forward, loss, backward and update. A module stands for its inference:
            it is called under `no_grad`.
        warm_up: calls that run as usual before one is recorded, at least 1 for layers and optimizers that get their
            shapes and memory in their first call.

    Returns:
        A function of the same arguments, a `CapturedStep`.
    """
    if step is None:
        return functools.partial(capture, warm_up=warm_up)
    if not callable(step):
        raise TypeError(
            f"capture: step: expected a function or a module, got {type(step).__name__}"
        )
    return CapturedStep(_Inference(step) if isinstance(step, Module) else step, warm_up)


class _Inference:
    """What a model computes, without a tape."""

    def __init__(self, model: Module):
        self.model = model
        self.has_run = False
        self.__name__ = type(model).__name__

    def __call__(self, *inputs: Tensor) -> Any:
        self.has_run = True
        with no_grad():
            return self.model(*inputs)

    def advice(self) -> str:
        """What to say before the first call: that `eval()` was probably forgotten; "" where all is well."""
        if self.has_run:
            return ""
        parts = [part for part in self.model.modules() if part.training]
        kinds = {
            type(part).__name__: None for part in parts if isinstance(part, DIFFER_IN_TRAINING)
        }
        if not kinds:
            return ""
        return (
            f"capture: {self.__name__}: a captured model is for inference, but this one is in training mode, which "
            f"matters to {', '.join(kinds)}: call its eval() first. If that is meant, capture a function that calls "
            "the model"
        )


def _found_by_name(function: Callable[..., Any]) -> object:
    """What a function's module has under its name; None for nothing, as for a function inside another."""
    found: object = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found


def _arrays(inputs: tuple[Tensor, ...]) -> list[Array]:
    return [tensor.array for tensor in inputs]


def _are_replaceable(inputs: tuple[Tensor, ...]) -> bool:
    """Whether inputs can be copied into those of a recording: they lie on one device and want no gradient."""
    on_cpu = all(xp_of(tensor.array) is np for tensor in inputs)
    return all(tensor.node is None for tensor in inputs) and (on_cpu or graphs.suit(inputs))
