"""Checks of arguments that the functions of this package share."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np

from minicnn import deferred
from minicnn.autograd import Tensor
from minicnn.backend import Array, device_of, xp_of
from minicnn.kernels.arrays import first_true


def as_tensor(value: Any, like: Any = None) -> Tensor:
    """Return a tensor as it is, with its place on the tape, and anything else wrapped.

    Python's numbers and lists live nowhere, and so are brought to the device of the tensor `like`.
    """
    if isinstance(value, Tensor):
        return value
    tensor = Tensor(value)
    if isinstance(like, Tensor) and isinstance(value, (int, float, list, tuple)):
        tensor = tensor.to(like.device)
    return tensor


def check_tensor(where: str, name: str, value: Any) -> None:
    """Refuse what is not a tensor.

    Args:
        where: the function to name in the message.
        name: the argument to name in the message.
        value: the argument.

    Raises:
        TypeError: with what came, and the conversion that helps.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{where}: {name} must be a Tensor, got {type(value).__name__}; "
            f"wrap it: minicnn.tensor({name})"
        )


def check_float(where: str, name: str, value: Any) -> None:
    """Refuse what is not a tensor of floating-point numbers; arguments and errors as in `check_tensor`."""
    check_tensor(where, name, value)
    if value.dtype.kind != "f":
        raise TypeError(
            f"{where}: {name} must hold floating-point numbers, got {value.dtype} of shape "
            f"{value.shape}; convert with {name}.float()"
        )


def check_dtypes(where: str, x: Tensor, **parameters: Tensor | None) -> None:
    """Refuse an `x` that is no tensor, and parameters of another dtype; None is an absent parameter.

    Raises:
        TypeError: naming all of them, and the conversion that helps.
    """
    if not isinstance(x, Tensor):
        check_tensor(where, "x", x)
    dtype = x.array.dtype
    for tensor in parameters.values():
        if tensor is not None and tensor.dtype != dtype:
            raise _mixed_dtypes(where, x, parameters)


def _mixed_dtypes(where: str, x: Tensor, parameters: dict[str, Tensor | None]) -> TypeError:
    """The error for dtypes that differ."""
    found = ", ".join(
        f"{name} {tensor.dtype}" for name, tensor in parameters.items() if tensor is not None
    )
    fix = "convert the input with x.to(weight.dtype), or the module with .double() or .float()"
    if x.dtype == "uint8":
        fix = (
            "pixels from 0 to 255 must be scaled as for training, see data.to_float and Standardize"
        )
    return TypeError(
        f"{where}: x and parameters must have one dtype, got x {x.dtype} of shape {x.shape}, "
        f"{found}; {fix}"
    )


def refuse_where(
    outside: Array, where: str, values: Array, error: Callable[[int, int], Exception], *calls: Any
) -> None:
    """Raise `error(place, value)` for the first place where `outside` is true, in row-major order.

    On the CPU at once. On a GPU, as soon as the host reads something, see `minicnn.deferred`.

    Args:
        outside: what must not be, booleans of any shape.
        where: who asks.
        values: integers of that shape.
        error: makes the exception; must not depend on anything but `where`, the shape and `calls`.
        calls: what else distinguishes calls of `where` whose errors differ.
    """
    place = first_true(outside)
    if xp_of(outside) is np:
        if place >= 0:
            raise error(int(place), int(values.reshape(-1)[place]))
        return
    note_place(place, where, values, error, *calls)


def note_place(
    place: Array | int,
    where: str,
    values: Array,
    error: Callable[[int, int], Exception],
    *calls: Any,
) -> None:
    """Raise `error(place, value)` when next the host reads something, if a `place` on a GPU is not -1; see above."""
    if values.size:
        found = xp_of(values).stack([place.reshape(()), values.reshape(-1)[place].reshape(())])
        key = where, values.shape, device_of(values), *calls
        deferred.raise_later(key, found, error)


def check_bias(where: str, bias: Tensor | None, channels: int) -> None:
    """Refuse a bias that has not one number for each output channel (or feature).

    Raises:
        ValueError: with both shapes.
    """
    if bias is not None and bias.shape != (channels,):
        raise ValueError(
            f"{where}: expected a bias of shape ({channels},), one per output channel, "
            f"got {bias.shape}"
        )


def check_activation(where: str, activation: str | None) -> bool:
    """Return whether `activation` is "relu"; refuse what is neither that nor None.

    Raises:
        ValueError: with the names that are known.
    """
    if activation is not None and activation != "relu":
        raise ValueError(
            f'{where}: activation must be "relu" or None, got {activation!r}; other activations are layers '
            "of their own"
        )
    return activation is not None


def check_whole(where: str, **sizes: Any) -> None:
    """Refuse sizes that are no whole numbers, such as the 4.0 of 8 / 2.

    Raises:
        TypeError: with the name of the size.
    """
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool):
            hint = "; use // to divide" if isinstance(size, float) else ""
            raise TypeError(f"{where}: {name}: expected a whole number, got {size!r}{hint}")
