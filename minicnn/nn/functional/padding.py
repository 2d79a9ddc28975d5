"""Padding: more rows and columns around an image."""

from numbers import Integral
from types import ModuleType

from minicnn.autograd import Tensor, apply
from minicnn.backend import Array, xp_of
from minicnn.ops.shape import Pad

MODES = ("constant", "reflect", "replicate", "circular")


def pad(x: Tensor, pad: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Pad the last axes of `x`.

    Args:
        x: any shape.
        pad: (before, after) of the last axis, then of the one before it, and so on: (left, right,
            top, bottom). Negative numbers cut.
        mode: "constant", "reflect" (mirror without the edge), "replicate" (repeat the edge) or
            "circular".
        value: the constant.

    Returns:
        `x` with each padded axis longer by before + after.

    Raises:
        TypeError: for widths that are no tuple of integers.
        ValueError: for an unknown mode, an odd number of widths, more than `x` has axes, or more
            than an axis has to cut, reflect or repeat.
    """
    if mode not in MODES:
        raise ValueError(f"pad: expected one of the modes {', '.join(MODES)}, got {mode!r}")
    if not isinstance(pad, (tuple, list)) or not all(isinstance(n, Integral) for n in pad):
        raise TypeError(
            f"pad: expected a tuple of integers (left, right, top, bottom), got {pad!r}"
        )
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ValueError(
            f"pad: expected (before, after) pairs for at most {x.ndim} axes of shape {x.shape}, got {pad}"
        )
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    widths = tuple([(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1])
    for n, (before, after) in zip(x.shape, widths, strict=True):
        if n + min(before, 0) + min(after, 0) < 0:
            raise ValueError(f"pad: {pad} cuts more than shape {x.shape} has")
    if mode == "constant":
        return apply(Pad(widths, value), x)
    for axis, (before, after) in enumerate(widths):
        if (before, after) != (0, 0):
            index = _source_positions(xp_of(x.array), mode, x.shape[axis], before, after)
            x = x[(slice(None),) * axis + (index,)]
    return x


def _source_positions(xp: ModuleType, mode: str, n: int, before: int, after: int) -> Array:
    """For each position along a padded axis, the position in the axis of size `n` that it repeats."""
    positions = xp.arange(-before, n + after)
    widest = max(before, after)
    if mode == "replicate" and n > 0:
        return positions.clip(0, n - 1)
    if mode == "reflect" and widest < n:
        return abs((n - 1) - abs((n - 1) - positions))
    if mode == "circular" and widest <= n:
        first, kept = max(-before, 0), n + min(before, 0) + min(after, 0)
        return first + (positions - first) % max(kept, 1)  # what is cut takes no part in the circle
    raise ValueError(
        f"pad: widths ({before}, {after}) are too large for {mode!r} on an axis of size {n}"
    )
