"""Sizes: how large the output of a convolution or of a pooling is, and why a request cannot be met.

A window of R x S taps moves over an image in steps of `stride`, its taps `dilation` pixels apart.
The image may be padded first. Along one axis the window then fits

    (size + before + after - dilation * (kernel - 1) - 1) // stride + 1

times. Every check of an argument is here, and every message shows the numbers of this sum. `stride`
and `dilation` are an integer or a pair (vertical, horizontal); `padding` may also be "same" or
"valid", or name each side: ((top, bottom), (left, right)).
"""

from functools import lru_cache
from numbers import Integral
from typing import NamedTuple

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]  # ((top, bottom), (left, right))
Shape = tuple[int, ...]
IntOrPair = int | Pair
Padding = str | int | Pair | Sides

AXES = (("vertical axis", "H", "top + bottom", "R"), ("horizontal axis", "W", "left + right", "S"))


class Window(NamedTuple):
    """How a kernel moves over an image: every setting written out as numbers."""

    kernel: Pair
    stride: Pair
    padding: Sides
    dilation: Pair

    @property
    def extent(self) -> Pair:
        """Pixels from the first tap to the last one, both included."""
        (R, S), (dh, dw) = self.kernel, self.dilation
        return dh * (R - 1) + 1, dw * (S - 1) + 1


def window_of(
    kernel: IntOrPair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    where: str = "window",
) -> Window:
    """Spell out the settings of a window; `where` is the function or layer that messages name.

    Raises:
        TypeError, ValueError: as `pair` and `resolve_padding` do; also for a kernel, stride or
            dilation below 1.
    """
    settings = hashable(kernel, stride, padding, dilation)
    try:
        return _find_window(settings)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from None


def _find_window(settings: tuple) -> Window:
    """Look a window up; what cannot be hashed is no setting, and is refused as such."""
    try:
        hash(settings)
    except TypeError:
        return _window_of.__wrapped__("", *settings)
    return _window_of(repr(settings), *settings)


@lru_cache(maxsize=1024)
def _window_of(
    _: str, kernel: IntOrPair, stride: IntOrPair, padding: Padding, dilation: IntOrPair
) -> Window:
    """As `window_of`, worked out once for all calls alike: a network asks for the same windows in every step.

    The text of the settings tells (1, 1) from (1.0, True), which are equal, but only one is right.
    """
    kernel = _positive(pair(kernel, "kernel"), "kernel")
    stride = _positive(pair(stride, "stride"), "stride")
    dilation = _positive(pair(dilation, "dilation"), "dilation")
    return Window(kernel, stride, resolve_padding(padding, kernel, dilation, stride), dilation)


def pair(value: IntOrPair, name: str) -> Pair:
    """Return `value` as (vertical, horizontal); an integer stands for both.

    Raises:
        TypeError: for anything but integers (True and 2.0 are no integers here).
        ValueError: for a sequence that has not two elements.
    """
    if _is_integer(value):
        return int(value), int(value)
    if not isinstance(value, tuple | list) or not all(map(_is_integer, value)):
        raise TypeError(f"{name}: expected an integer or two of them, got {value!r}")
    if len(value) != 2:
        raise ValueError(
            f"{name}: expected an integer or two of them (vertical, horizontal), "
            f"got {len(value)} numbers: {value!r}"
        )
    return int(value[0]), int(value[1])


def hashable(*settings: object) -> tuple:
    """Return settings with tuples in place of lists: settings are keys of caches."""
    if list not in map(type, settings):  # as nearly always, and quickly seen
        return settings
    return tuple(hashable(*one) if isinstance(one, list) else one for one in settings)


def same_padding(kernel: IntOrPair, dilation: IntOrPair = 1) -> Sides:
    """Padding that keeps an image's size at stride 1: dilation * (kernel - 1) pixels along each axis.

    Where that number is odd, the extra pixel goes to the end (bottom, right), as in PyTorch.
    """
    kernel, dilation = pair(kernel, "kernel"), pair(dilation, "dilation")
    height, width = (d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
    return (height // 2, height - height // 2), (width // 2, width - width // 2)


def resolve_padding(
    padding: Padding, kernel: IntOrPair, dilation: IntOrPair = 1, stride: IntOrPair = 1
) -> Sides:
    """Return `padding` as ((top, bottom), (left, right)).

    Args:
        padding: pixels on every side; or (vertical, horizontal); or ((top, bottom), (left, right));
            or "valid" for none; or "same" for `same_padding`.
        kernel: size of the window, which "same" depends on.
        dilation: distance between taps, which "same" depends on.
        stride: must be 1 for "same".

    Raises:
        TypeError: for anything else.
        ValueError: for other words, negative numbers, and "same" with a stride above 1.
    """
    if isinstance(padding, str):
        return _padding_of_word(padding, kernel, dilation, stride)
    if isinstance(padding, tuple | list) and any(
        isinstance(side, tuple | list) for side in padding
    ):
        if len(padding) != 2:
            raise ValueError(f"padding: expected ((top, bottom), (left, right)), got {padding!r}")
        sides = pair(padding[0], "padding (top, bottom)"), pair(padding[1], "padding (left, right)")
    else:
        vertical, horizontal = pair(padding, "padding")
        sides = (vertical, vertical), (horizontal, horizontal)
    if min(*sides[0], *sides[1]) < 0:
        raise ValueError(f"padding: expected numbers >= 0, got {padding!r}")
    return sides


def _padding_of_word(word: str, kernel: IntOrPair, dilation: IntOrPair, stride: IntOrPair) -> Sides:
    if word == "valid":
        return (0, 0), (0, 0)
    if word != "same":
        raise ValueError(f'padding: expected a number, a pair, "same" or "valid", got {word!r}')
    if pair(stride, "stride") != (1, 1):
        raise ValueError(
            f'padding: "same" needs stride 1, got stride {stride!r}; give the padding as a number'
        )
    return same_padding(kernel, dilation)


def conv_output_size(
    size: int, kernel: int, stride: int = 1, padding: Pair = (0, 0), dilation: int = 1
) -> int:
    """Positions of the window along one axis; 0 or less where it does not fit (`padding`: (before, after))."""
    return (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1


def pool_output_size(
    size: int,
    kernel: int,
    stride: int = 1,
    padding: Pair = (0, 0),
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    """Positions of a pooling window along one axis (`padding`: (before, after)).

    With `ceil_mode` a last window (it may be the only one) may reach past the padded end by less
    than a stride, if it starts inside the image or in the padding before it (PyTorch's rule).
    """
    count = conv_output_size(size, kernel, stride, padding, dilation)
    if not ceil_mode:
        return count
    missed = size + sum(padding) - dilation * (kernel - 1) - 1 - (count - 1) * stride
    starts_inside = count * stride < size + padding[0]
    return count + 1 if missed > 0 and starts_inside else count


def conv_transpose_output_size(
    size: int,
    kernel: int,
    stride: int = 1,
    padding: Pair = (0, 0),
    dilation: int = 1,
    output_padding: int = 0,
) -> int:
    """Size, along one axis, of the image that a convolution with these settings would turn into `size`.

    A stride above 1 makes several sizes possible: `output_padding` (0 to stride - 1) is added to
    the smallest.
    """
    return (size - 1) * stride - sum(padding) + dilation * (kernel - 1) + output_padding + 1


def conv2d_shape(
    x_shape: Shape,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Shape:
    """Check the arguments of a convolution, and return the shape of its output.

    Args:
        x_shape: images (N, C, H, W); N may be 0.
        w_shape: weights (K, C / groups, R, S).
        stride: steps of the window.
        padding: see `resolve_padding`.
        dilation: distance between the taps of the window.
        groups: number of parts that the channels are split into; part g of the output sees part g
            of the input.

    Returns:
        (N, K, OH, OW)

    Raises:
        TypeError: for settings that are no integers.
        ValueError: for shapes and settings that do not go together.
    """
    _check_images(x_shape, "conv2d")
    if len(w_shape) != 4 or min(w_shape) < 1:
        raise ValueError(
            "conv2d: w: expected weights (out channels, in channels / groups, kernel height, "
            f"kernel width), none of them 0, got shape {w_shape}"
        )
    _check_channels(x_shape, w_shape, groups)
    window = window_of(w_shape[2:], stride, padding, dilation, "conv2d")
    OH, OW = (conv_output_size(*settings) for settings in _per_axis(x_shape, window))
    _check_window_fits(x_shape, window, "conv2d")
    return x_shape[0], w_shape[0], OH, OW


def is_depthwise(x_shape: Shape, w_shape: Shape, groups: int) -> bool:
    """Whether a convolution has one input and one output channel a group."""
    return groups == x_shape[1] == w_shape[0]


def pool2d_shape(
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Shape:
    """Check the arguments of a pooling, and return the shape (N, C, OH, OW) of its output.

    Args:
        x_shape: images (N, C, H, W); N may be 0.
        kernel: size of the window.
        stride: steps of the window; None stands for `kernel`.
        padding: at most half of the window, so that no window lies wholly in the padding.
        dilation: distance between the taps of the window.
        ceil_mode: see `pool_output_size`.

    Raises:
        TypeError, ValueError: as `conv2d_shape`.
    """
    _check_images(x_shape, "pooling")
    window = pool_window(kernel, stride, padding, dilation, "pooling")
    OH, OW = (pool_output_size(*axis, ceil_mode) for axis in _per_axis(x_shape, window))
    _check_window_fits(x_shape, window, "pooling", ceil_mode)
    return x_shape[0], x_shape[1], OH, OW


def pool_window(
    kernel: IntOrPair,
    stride: IntOrPair | None,
    padding: IntOrPair,
    dilation: IntOrPair,
    where: str,
) -> Window:
    """Spell out the settings of a pooling window, see `pool2d_shape`; `where` is what messages name.

    Raises:
        TypeError, ValueError: as `window_of` does; also for a padding of more than half of the window.
    """
    if isinstance(padding, str):
        raise TypeError(f"{where}: padding: expected an integer or two of them, got {padding!r}")
    window = window_of(kernel, kernel if stride is None else stride, padding, dilation, where)
    for sides, extent in zip(window.padding, window.extent, strict=True):
        if max(sides) > extent // 2:
            raise ValueError(
                f"{where}: padding: expected at most half of the window, {extent} // 2 = {extent // 2} "
                f"pixels, got {padding!r} with kernel {kernel!r} and dilation {dilation!r}"
            )
    return window


def adaptive_pool2d_shape(
    x_shape: Shape, output_size: int | tuple[int | None, int | None]
) -> Shape:
    """Return the shape (N, C, OH, OW) of an adaptive pooling of `x_shape` (N, C, H, W).

    Args:
        x_shape: images (N, C, H, W); N may be 0.
        output_size: OH and OW; None keeps the size of that axis.

    Raises:
        TypeError, ValueError: as `conv2d_shape`.
    """
    where = "adaptive pooling"
    _check_images(x_shape, where)
    if isinstance(output_size, tuple | list) and len(output_size) == 2:
        output_size = tuple(
            old if new is None else new for new, old in zip(output_size, x_shape[2:], strict=True)
        )
    name = f"{where}: output_size"
    return (*x_shape[:2], *_positive(pair(output_size, name), name))


def _is_integer(value: object) -> bool:
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))


def _positive(numbers: Pair, name: str) -> Pair:
    if min(numbers) < 1:
        raise ValueError(f"{name}: expected numbers >= 1, got {numbers}")
    return numbers


def _per_axis(x_shape: Shape, window: Window) -> list[tuple[int, int, int, Pair, int]]:
    """For each axis: size, kernel, stride, padding, dilation."""
    kernel, stride, padding, dilation = window
    return list(zip(x_shape[2:], kernel, stride, padding, dilation, strict=True))


def _check_images(x_shape: Shape, where: str) -> None:
    if len(x_shape) == 3:
        those = "this is one image" if x_shape[0] == 1 else f"these are {x_shape[0]} images"
        raise ValueError(
            f"{where}: x: expected images (N, C, H, W), got shape {x_shape}. If {those} without a channel axis, add "
            "one with x[:, None] or x.unsqueeze(1); if it is one image (C, H, W), add the batch axis with x[None] or "
            "x.unsqueeze(0)"
        )
    if len(x_shape) != 4:
        one = "; for one grey image use x[None, None], for flattened images x.reshape(-1, C, H, W)"
        hint = one if len(x_shape) == 2 else ""
        raise ValueError(f"{where}: x: expected images (N, C, H, W), got shape {x_shape}{hint}")
    if min(x_shape[1:]) < 1:
        raise ValueError(f"{where}: x: only the batch may be empty, got shape {x_shape}")


def _check_channels(x_shape: Shape, w_shape: Shape, groups: int) -> None:
    if not _is_integer(groups):
        raise TypeError(f"conv2d: groups: expected an integer, got {groups!r}")
    C, K, per_group = x_shape[1], w_shape[0], w_shape[1]
    if groups < 1 or C % groups or K % groups:
        raise ValueError(
            f"conv2d: groups: expected a number >= 1 that divides the {C} input channels and the "
            f"{K} output channels, got {groups} (x {x_shape}, w {w_shape})"
        )
    if per_group * groups != C:
        hint = f"in_channels should be {C}"
        if x_shape[3] == per_group * groups:
            hint = f"if x is (N, H, W, C), write x.permute(0, 3, 1, 2), otherwise {hint}"
        raise ValueError(
            f"conv2d: x: expected {per_group * groups} channels, as the weight was made for, got "
            f"{C}: x {x_shape}, weight {w_shape}, groups {groups}; {hint}"
        )


def _check_window_fits(x_shape: Shape, window: Window, where: str, ceil_mode: bool = False) -> None:
    for names, (size, kernel, stride, sides, dilation) in zip(
        AXES, _per_axis(x_shape, window), strict=True
    ):
        count = pool_output_size(size, kernel, stride, sides, dilation, ceil_mode)
        if count < 1:
            axis, H, both_sides, R = names
            quotient = "ceil({} / {})" if ceil_mode else "{}//{}"
            in_words = quotient.format(f"({H} + {both_sides} - dilation*({R}-1) - 1)", "stride")
            in_numbers = quotient.format(
                f"({size} + {sides[0]} + {sides[1]} - {dilation}*({kernel}-1) - 1)", stride
            )
            raise ValueError(
                f"{where}: the window is larger than the padded image of shape {x_shape} along the {axis}: "
                f"{in_words} + 1 = {in_numbers} + 1 = {count}; use a smaller kernel, more padding or larger images"
            )
