"""What a program switches for a while: whether operations are recorded, and how closely they are watched."""

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any


class _State(threading.local):
    """What the context managers below switch, for each thread by itself.

    Attributes:
        recording: whether operations on tensors are recorded.
        anomaly_mode: whether they are watched as `detect_anomaly` says.
    """

    recording = True
    anomaly_mode = False

    def __init__(self) -> None:
        self.outer: list[bool] = []  # what was recorded around each block entered, outermost first


state = _State()
"""What is in force; the tape, which asks in every operation, reads it here."""


def is_grad_enabled() -> bool:
    """Whether operations on tensors are being recorded in this thread."""
    return state.recording


class _Recording:
    """Record operations, or not, inside a `with` block or a decorated function."""

    def __init__(self, mode: bool):
        self.mode = mode

    def __enter__(self) -> None:
        state.outer.append(state.recording)
        state.recording = self.mode

    def __exit__(self, *_: object) -> None:
        state.recording = state.outer.pop()

    def __call__(self, function: Callable) -> Callable:
        """Decorate `function`: each call of it runs inside a block of its own."""
        if inspect.isgeneratorfunction(function):
            raise TypeError(
                f"{type(self).__name__}: cannot decorate {function.__name__}, a generator: its body runs "
                "after the call has returned; use a `with` block inside, between two yields"
            )

        @functools.wraps(function)
        def inside(*args: Any, **options: Any) -> Any:
            with _Recording(self.mode):
                return function(*args, **options)

        return inside


class no_grad(_Recording):  # noqa: N801 (PyTorch's name)
    """Record nothing: for inference, for updates of parameters, and to save memory."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(_Recording):  # noqa: N801
    """Record again inside a `no_grad` block."""

    def __init__(self) -> None:
        super().__init__(True)


class set_grad_enabled(_Recording):  # noqa: N801
    """Record operations, or not, from this call on; in a `with` block or as a decorator, inside only."""

    def __init__(self, mode: bool):
        super().__init__(mode)
        self.earlier = state.recording
        state.recording = mode

    def __enter__(self) -> None:
        state.recording = self.earlier
        super().__enter__()

    def __call__(self, function: Callable) -> Callable:
        """Decorate `function`; around it, the earlier mode holds again."""
        state.recording = self.earlier
        return super().__call__(function)


class detect_anomaly:  # noqa: N801
    """Check every operation inside the `with` block, and stop at the first that goes wrong.

    A function whose inputs hold no NaN and whose output, or whose gradients, do is named, with the
    line of the program that called it. Saved arrays are fingerprinted as well, so that a change
    made directly to the memory of an array (`x.numpy()[0] = 1`), which the version counters cannot
    see, is found by backward. Slow; for debugging.
    """

    def __enter__(self) -> None:
        self.outer = state.anomaly_mode
        state.anomaly_mode = True

    def __exit__(self, *_: object) -> None:
        state.anomaly_mode = self.outer
