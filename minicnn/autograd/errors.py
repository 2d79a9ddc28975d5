"""What `apply` says about functions and inputs that it cannot work with."""

import numpy as np

from minicnn.backend import Array, check_one_device, xp_of
from minicnn.ops.function import Function


def misused(function: object) -> Exception:
    """The error for something that `apply` cannot call."""
    if isinstance(function, Function):
        return RuntimeError(
            f"apply: this {function.name} has been called before, and keeps what its backward needs "
            "for that call; make an instance for each call"
        )
    return TypeError(f"apply: expected an instance of a Function (such as Exp()), got {function!r}")


def not_tensors(function: Function, inputs: tuple) -> TypeError:
    """The error for inputs that are no tensors."""
    kinds = ", ".join(type(value).__name__ for value in inputs)
    return TypeError(
        f"apply: {function.name}: expected tensors (or None), got {kinds}; wrap arrays: "
        "minicnn.tensor(array)"
    )


def check_devices(function: Function, arrays: list[Array | None]) -> None:
    """Refuse arrays of several devices, by the names that forward gives them."""
    places = {
        None if xp_of(array) is np else array.device.id for array in arrays if array is not None
    }
    if len(places) <= 1:
        return
    code = function.forward.__code__
    names = code.co_varnames[1 : code.co_argcount]  # without self
    if len(names) < len(arrays):  # forward(self, *arrays)
        names = [f"input {i}" for i in range(len(arrays))]
    check_one_device(function.name, **dict(zip(names, arrays, strict=False)))
