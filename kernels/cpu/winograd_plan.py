"""When Winograd's convolution is worth its transforms, and how an output is cut into squares."""

from typing import NamedTuple

from ..shapes import IntOrPair, Padding, Pair, Shape, Window, window_of

TRANSFORM = 18
"""What a transformed number of an image or a result costs in multiplications for each point."""

TRANSFORM_WEIGHT = 24
"""The same of a weight: those of each input channel are gathered first, and lie far apart."""

GAIN = 1.3
"""So many times the multiplications `suits` wants to be saved, as an estimate is not exact."""

ENOUGH = 1.4e7
"""Multiplications of a direct convolution below which more steps take as long, whatever they save."""


class Squares(NamedTuple):
    """A convolution, cut into squares of m x m pixels of the output; see `SquaresOf2`, `SquaresOf4`.

    Attributes:
        m: height and width of a square.
        count: how many there are in all images.
        C: channels that are summed over.
        K: channels of the result.
        block: how many squares are worked on at a time.
    """

    m: int
    count: int
    C: int
    K: int
    block: int


class SquaresOf2(Squares):
    """F(2x2, 3x3): 16 multiplications where a direct convolution has 36."""


class SquaresOf4(Squares):
    """F(4x4, 3x3): 36 multiplications where a direct convolution has 144."""


def suits(function: str, x_shape: Shape, w_shape: Shape, window: Window, groups: int = 1) -> bool:
    """Whether this algorithm is the quicker one, compared with tiles of pixels (conv.py).

    An estimate, fitted to measurements (docs/08-winograd.md): the multiplications of both are
    counted, and what a transform costs is expressed in multiplications too.

    Args:
        function: "conv2d", "conv2d_grad_input" or "conv2d_grad_weight".
        x_shape: (N, C, H, W).
        w_shape: (K, C / groups, R, S).
        window: the kernel size, stride, padding and dilation.
        groups: number of groups.
    """
    if not _is_for(window, groups):
        return False
    N, C, H, W = x_shape
    K = w_shape[0]
    size = tuple(n + sum(sides) - 2 for n, sides in zip((H, W), window.padding, strict=True))
    OH, OW = size
    direct = 9 * N * OH * OW * C * K
    if function == "conv2d_grad_input":
        size = H, W
    m = _best_tile(size)
    squares = squares_of(m, N, size, C, K)
    if squares.count == 0:
        return False
    per_product = 1 + TRANSFORM * (1 / C + 1 / K) + TRANSFORM_WEIGHT / squares.count
    multiplications = (m + 2) ** 2 * squares.count * C * K * per_product
    return direct >= ENOUGH and direct > GAIN * multiplications


def window_for(
    w_shape: Shape, stride: IntOrPair, padding: Padding, dilation: IntOrPair, groups: int
) -> Window:
    """Spell out the settings, and raise ValueError for those that this algorithm is not for."""
    window = window_of(w_shape[2:], stride, padding, dilation)
    if not _is_for(window, groups):
        raise ValueError(
            'conv2d: algorithm="winograd" is for 3 x 3 taps with stride 1, dilation 1 and groups 1, got '
            f"w {tuple(w_shape)}, stride {stride!r}, dilation {dilation!r}, groups {groups!r}; "
            'use algorithm="auto" or "direct"'
        )
    return window


def _is_for(window: Window, groups: int) -> bool:
    return window.kernel == (3, 3) and window.stride == window.dilation == (1, 1) and groups == 1


def _best_tile(size: Pair) -> int:
    """The m that takes fewer multiplications for an output of this size; if both take as many, 2."""
    points = {m: (m + 2) ** 2 * -(-size[0] // m) * -(-size[1] // m) for m in (2, 4)}
    return min(points, key=points.get)


def squares_of(tile: int | None, N: int, size: Pair, C: int, K: int) -> Squares:
    """Cut N outputs of a size into squares; all are worked on at a time."""
    if tile not in (None, 2, 4):
        raise ValueError(f"conv2d: tile: expected 2, 4 or None, got {tile!r}")
    tile = tile or _best_tile(size)
    count = N * -(-size[0] // tile) * -(-size[1] // tile)
    return {2: SquaresOf2, 4: SquaresOf4}[tile](tile, count, C, K, count)
