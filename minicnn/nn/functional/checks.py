"""Checks of arguments that activations and losses share."""

from typing import Any

from minicnn.autograd import Tensor


def check_float(where: str, name: str, value: Any) -> None:
    """Refuse what is not a tensor of floating-point numbers.

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
    if value.dtype.kind != "f":
        raise TypeError(
            f"{where}: {name} must hold floating-point numbers, got {value.dtype} of shape "
            f"{value.shape}; convert with {name}.float()"
        )
