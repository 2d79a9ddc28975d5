"""Axes and sizes, in the forms in which callers may give them."""

from typing import Any


def axis_of(where: str, dim: int, ndim: int) -> int:
    """Return axis `dim` of a tensor with `ndim` axes, counted from the front.

    A tensor without axes accepts 0 and -1, as in PyTorch.

    Args:
        where: who asks, for the error message.
        dim: the axis, from -ndim to ndim - 1; negative numbers count from the back.
        ndim: the number of axes.

    Raises:
        IndexError: where there is no such axis.
    """
    axes = max(ndim, 1)
    if not -axes <= dim < axes:
        raise IndexError(
            f"{where}: there is no axis {dim}; expected {-axes} to {axes - 1} for a tensor with "
            f"{ndim} axes"
        )
    return dim % axes


def sizes_of(given: tuple[Any, ...]) -> tuple[int, ...]:
    """Return sizes given one by one, or as one tuple or list, as a tuple."""
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        return tuple(given[0])
    return given
