"""Padding: more rows and columns around an image."""

import numpy as np

from minicnn.ops.shape import Pad
from minicnn.tensor import Tensor, apply


def pad(x: Tensor, pad: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Pad the last axes of `x`.

    Args:
        x: any shape.
        pad: (before, after) of the last axis, then of the one before it, and so on: (left, right, top, bottom). With mode
            "constant" negative numbers cut.
        mode: "constant", "reflect" (mirror without the edge), "replicate" (repeat the edge) or "circular".
        value: the constant.

    Returns:
        `x` with each padded axis longer by before + after.

    Raises:
        ValueError: for an odd number of widths, more than `x` has axes, or a reflection wider than the axis.
    """
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ValueError(f"pad: expected (before, after) pairs for at most {x.ndim} axes of shape {x.shape}, got {pad}")
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    widths = tuple([(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1])
    if any(n + before + after < 0 for n, (before, after) in zip(x.shape, widths, strict=True)):
        raise ValueError(f"pad: {pad} cuts more than shape {x.shape} has")
    if mode == "constant":
        return apply(Pad(widths, value), x)
    for axis, (before, after) in enumerate(widths):
        if (before, after) != (0, 0):
            index = _source_positions(mode, x.shape[axis], before, after)
            x = x[(slice(None),) * axis + (index,)]
    return x


def _source_positions(mode: str, n: int, before: int, after: int) -> np.ndarray:
    """For each position along a padded axis, the position in the axis of size `n` that it repeats."""
    positions = np.arange(-before, n + after)
    widest = max(before, after)
    if mode == "replicate" and n > 0:
        return positions.clip(0, n - 1)
    if mode == "circular" and widest <= n:
        return positions % n
    if mode == "reflect" and widest < n:
        return np.abs((n - 1) - np.abs((n - 1) - positions))
    if mode in ("replicate", "circular", "reflect"):
        raise ValueError(f"pad: widths ({before}, {after}) are too large for {mode!r} on an axis of size {n}")
    raise ValueError(f'pad: expected mode "constant", "reflect", "replicate" or "circular", got {mode!r}')
