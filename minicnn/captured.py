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
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from minicnn import graphs
from minicnn.autograd import Tensor, modes, no_grad
from minicnn.autograd.capturing import KEPT_OUTSIDE, StepCapture
from minicnn.autograd.nested import holds_tensors_only, mapped, tensors_in
from minicnn.backend import Array, xp_of
from minicnn.kernels import memory
from minicnn.kernels.capture import here
from minicnn.nn import Module
from minicnn.nn.functional.checks import as_tensor
from minicnn.rehearsal import MismatchError
from minicnn.replay import Replay, copied

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
        self._usual_calls = 0
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
        is_part = here.active is not None or here.may_end is not None  # of another captured step
        if self.problem or is_part or modes.state.anomaly_mode or not _are_replaceable(inputs):
            return self._as_usual(inputs)
        # Another thread may be in the recording's memory; or about to make it, for which weights are changed a while.
        must_wait = self._replay is None and self._user != threading.get_ident()
        if not self._in_use.acquire(blocking=must_wait):
            return self._as_usual(inputs)
        self._user = threading.get_ident()
        try:
            return self._from_recording(inputs)
        finally:
            self._user = None
            problem = self.problem
            self._in_use.release()
            if problem:  # found in this call
                warnings.warn(
                    f"capture: {self._name} runs as usual, not from a recording: {problem}",
                    RuntimeWarning,
                    stacklevel=2,
                )

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
            self._usual_calls, self._warm_up = 0, max(self._warm_up, 1)  # not recorded in each step
        if self._replay is None:
            return self._record(inputs)
        if not self._replay.suits(inputs):
            return self._as_usual(inputs)
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
    return CapturedStep(_inference(step) if isinstance(step, Module) else step, warm_up)


def _inference(model: Module) -> Callable[..., Any]:
    """What a model computes, without a tape."""

    def infer(*inputs: Tensor) -> Any:
        with no_grad():
            return model(*inputs)

    infer.__name__ = type(model).__name__
    return infer


def _are_replaceable(inputs: tuple[Tensor, ...]) -> bool:
    """Whether inputs can be copied into those of a recording: they lie on one device and want no gradient."""
    on_cpu = all(xp_of(tensor.array) is np for tensor in inputs)
    return all(tensor.node is None for tensor in inputs) and (on_cpu or graphs.suit(inputs))
