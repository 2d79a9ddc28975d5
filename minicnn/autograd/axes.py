"""Axes counted from the front or, with negative numbers, from the back."""


def axis_of(dim: int, ndim: int, function: str) -> int:
    """Return axis `dim` of a tensor with `ndim` axes, counted from the front.

    A tensor without axes accepts 0 and -1, as in PyTorch.

    Args:
        dim: the axis, from -ndim to ndim - 1.
        ndim: the number of axes.
        function: who asks, for the error message.

    Raises:
        IndexError: where there is no such axis.
    """
    axes = max(ndim, 1)
    if not -axes <= dim < axes:
        raise IndexError(
            f"{function}: there is no axis {dim}; expected {-axes} to {axes - 1} for a tensor with "
            f"{ndim} axes"
        )
    return dim % axes
