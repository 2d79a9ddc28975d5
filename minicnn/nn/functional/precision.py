"""What convolutions may round: a choice for a whole program, or for the lines of a `with` block."""

import threading

from minicnn.kernels.convolution import PRECISIONS


class _State(threading.local):
    """What is in force, for each thread by itself."""

    name = "fast"


_state = _State()


def precision_in_force() -> str:
    """Return "fast", "exact" or "tf32"."""
    return _state.name


class precision:  # noqa: N801 (used like a function)
    """Say what convolutions may round, from this call on, or inside a `with` block only.

    Args:
        name: "fast", which holds without this call, allows Winograd's algorithm for 3x3 filters. Its
            largest error is about 1e-5 of the largest result, in float32. "exact" stays with sums of
            products, about 1e-6, at the price of up to three times the time. "tf32" is as "fast", but
            lets a GPU multiply on its tensor cores, which round factors in float32 to 11 bits: about
            1e-3. Without it, a GPU multiplies in float32.

    Raises:
        ValueError: for another name.
    """

    def __init__(self, name: str):
        if name not in PRECISIONS:
            raise ValueError(f'precision: expected "fast", "exact" or "tf32", got {name!r}')
        self.name, self.outer = name, _state.name
        _state.name = name

    def __enter__(self) -> None:
        _state.name = self.name  # again: the block may be entered a second time

    def __exit__(self, *_: object) -> None:
        _state.name = self.outer
