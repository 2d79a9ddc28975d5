"""Receptive fields: which pixels of the input a position of a feature map can depend on.

Along one axis, the positions of a feature map see pieces of the input that lie `jump` pixels apart;
the first position sees the pixels from `first` to `last`. The input itself has first = last = 0 and
jump = 1. A window of k taps with dilation d, stride s and padding p, which reads this feature map,
turns that into

    first - p jump        last + (d (k - 1) - p) jump        jump s

so that the size, last - first + 1, grows by d (k - 1) jump: a window adds the more, the more often
the image has been halved before it. (Araujo, Norris & Sim, "Computing Receptive Fields of
Convolutional Neural Networks", Distill 2019, sections 2 and 3; the arithmetic of windows is that of
Dumoulin & Visin, arXiv 1603.07285.) Where branches meet, the result sees what any of them sees. A dense
layer, or a mean over the image, sees all positions at once.

Pixels in the padding count, so that `first` may be negative, and the size may exceed the image's. What
depends on all pixels in principle, but not on their places, is left out, as usual: the statistics
of normalisations, and softmax over an image. After a transposed convolution, the positions no longer
see pieces of one size, and the figures are about right only.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, Self

from minicnn.costs.rules import rule_for
from minicnn.kernels.shapes import Pair, Shape, pool_window, window_of
from minicnn.nn.functional.conv import Conv2d, ConvTranspose2d
from minicnn.nn.functional.conv_pool import Conv2dMaxPool2d
from minicnn.nn.functional.embedding import Embedding
from minicnn.nn.functional.linear import Linear
from minicnn.nn.functional.pool import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool2d
from minicnn.ops.function import Function
from minicnn.ops.matmul import MatMul
from minicnn.ops.reduction import Reduction
from minicnn.ops.shape import GetItem, Pad

Number = int | Fraction


class Extent(NamedTuple):
    """What the positions of a feature map see along one axis of the input, in pixels.

    Attributes:
        first: the first pixel that position 0 sees.
        last: the last one.
        jump: how far apart the pieces are that neighbouring positions see; 0 where all see the same.
        count: the number of positions.
        exact: False after a transposed convolution, whose positions see pieces of different sizes: then
            `first`, `last` and `size` are those of a position between them, give or take a jump.
    """

    first: Number
    last: Number
    jump: Number
    count: int
    exact: bool = True

    @property
    def size(self) -> Number:
        """How many pixels a position sees."""
        return self.last - self.first + 1

    @property
    def center(self) -> Number:
        """The middle of what position 0 sees; 0 is the middle of the first pixel."""
        return Fraction(self.first + self.last) / 2

    def through(self, taps: int, stride: Number, before: Number, dilation: int, count: int) -> Self:
        """What a window that moves over these positions sees, with `before` positions of padding in front."""
        first = self.first - before * self.jump
        last = self.last + (dilation * (taps - 1) - before) * self.jump
        return type(self)(first, last, self.jump * stride, count, self.exact)

    def enlarged(self, taps: int, stride: int, before: int, dilation: int, count: int) -> Self:
        """What a transposed convolution sees.

        Output o reads the positions i with o + before = i stride + t dilation for a tap t: those in a
        piece of length dilation (taps - 1) / stride, of which only whole numbers count.
        """
        reach = dilation * (taps - 1)
        middle = Fraction(2 * before - reach, 2 * stride)
        side = Fraction(reach // stride, 2)
        first = self.first + (middle - side) * self.jump
        last = self.last + (middle + side) * self.jump
        return type(self)(
            first, last, self.jump / Fraction(stride), count, stride == 1 and self.exact
        )

    def all(self) -> Self:
        """What all positions together see."""
        last = self.last + (self.count - 1) * self.jump
        return type(self)(self.first, last, 0, 1, self.exact)

    def joined(self, other: Self) -> Self:
        """What either of two sees: beside a number for the whole image, every position sees all of it."""
        count = max(self.count, other.count)
        if (self.jump == 0) != (other.jump == 0):
            self, other = self.all(), other.all()
        first, last = min(self.first, other.first), max(self.last, other.last)
        return type(self)(
            first, last, max(self.jump, other.jump), count, self.exact and other.exact
        )


class ReceptiveField(NamedTuple):
    """What a feature map sees of an image; of a sequence (N, C, L) as of an image of height 1."""

    vertical: Extent
    horizontal: Extent

    @property
    def size(self) -> tuple[int | float, int | float]:
        """Height and width of what one position sees, in pixels."""
        return plain(self.vertical.size), plain(self.horizontal.size)

    @property
    def jump(self) -> tuple[int | float, int | float]:
        """How far apart neighbouring positions look, in pixels: the product of all strides so far."""
        return plain(self.vertical.jump), plain(self.horizontal.jump)

    @property
    def start(self) -> tuple[int | float, int | float]:
        """The middle of what the first position sees: row and column, where (0, 0) is the first pixel."""
        return plain(self.vertical.center), plain(self.horizontal.center)


def plain(number: Number) -> int | float:
    """Return a whole number as an int, another one as a float."""
    return int(number) if number == int(number) else float(number)


def whole_image(shape: Shape) -> ReceptiveField | None:
    """What an input of `shape` sees of itself: each pixel itself. None for what is no (N, C, H, W) or (N, C, L)."""
    if len(shape) not in (3, 4):
        return None
    height, width = shape[2:] if len(shape) == 4 else (1, shape[2])
    return ReceptiveField(Extent(0, 0, 1, height), Extent(0, 0, 1, width))


def receptive_field(
    function: Function,
    fields: Sequence[ReceptiveField | None],
    input_shape: Shape | None,
    output_shape: Shape,
) -> ReceptiveField | None:
    """Return what the result of a function sees.

    Args:
        function: after its forward, with its saved arrays.
        fields: what its inputs see; None for those that are no images: weights, constants, vectors.
        input_shape: shape of the first input; None where that is not recorded.
        output_shape: shape of the result.
    """
    known = [field for field in fields if field is not None]
    if isinstance(function, Embedding):
        words = output_shape[1] if len(output_shape) == 3 else 1
        return whole_image((1, 1, words))
    if not known:
        return None
    field = known[0]
    for other in known[1:]:
        field = ReceptiveField(
            field.vertical.joined(other.vertical), field.horizontal.joined(other.horizontal)
        )
    if isinstance(function, MatMul) and len(known) > 1:
        # as in attention, every position meets every other
        return ReceptiveField(*(extent.all() for extent in field))
    rule = rule_for(function, RULES)
    if rule is None:
        return _counted(field, output_shape)
    return rule(function, field, input_shape, output_shape)


def _counted(field: ReceptiveField, shape: Shape) -> ReceptiveField:
    """The same, with the number of positions that an array of `shape` has."""
    if len(shape) != 4:
        return field
    return ReceptiveField(
        *(extent._replace(count=count) for extent, count in zip(field, shape[2:], strict=True))
    )


# --- one rule for each function that looks at neighbours ------------------------------------------


def _through(field: ReceptiveField, window: tuple, counts: Pair) -> ReceptiveField:
    """Pass through a `kernels.shapes.Window`."""
    extents = [
        extent.through(taps, stride, before, dilation, count)
        for extent, taps, stride, (before, _), dilation, count in zip(
            field, *window, counts, strict=True
        )
    ]
    return ReceptiveField(*extents)


def _conv(
    conv: Conv2d, field: ReceptiveField, _: Shape | None, output_shape: Shape
) -> ReceptiveField:
    stride, padding, dilation = conv.settings[:3]
    window = window_of(conv.saved[1].shape[2:], stride, padding, dilation)
    return _through(field, window, output_shape[2:])


def _conv_and_pool(
    joined: Conv2dMaxPool2d, field: ReceptiveField, _: Shape | None, output_shape: Shape
) -> ReceptiveField:
    stride, padding, dilation, pool = joined.settings
    window = window_of(joined.saved[1].shape[2:], stride, padding, dilation)
    field = _through(field, window, output_shape[2:])
    return _through(field, pool_window(pool, None, 0, 1, "pooling"), output_shape[2:])


def _conv_transpose(
    conv: ConvTranspose2d, field: ReceptiveField, _: Shape | None, output_shape: Shape
) -> ReceptiveField:
    stride, padding, dilation = conv.settings[:3]
    window = window_of(conv.saved[1].shape[2:], stride, padding, dilation)
    extents = [
        extent.enlarged(taps, step, before, gap, count)
        for extent, taps, step, (before, _), gap, count in zip(
            field, *window, output_shape[2:], strict=True
        )
    ]
    return ReceptiveField(*extents)


def _max_pool(
    pool: MaxPool2d, field: ReceptiveField, _: Shape | None, output_shape: Shape
) -> ReceptiveField:
    return _through(field, pool_window(*pool.window[:4], "pooling"), output_shape[2:])


def _average_pool(
    pool: AvgPool2d, field: ReceptiveField, _: Shape | None, output_shape: Shape
) -> ReceptiveField:
    return _through(field, pool_window(*pool.window[:3], 1, "pooling"), output_shape[2:])


def _adaptive_pool(
    _: Function, field: ReceptiveField, __: Shape | None, output_shape: Shape
) -> ReceptiveField:
    """Window i of OH covers the rows from floor(i H / OH) to ceil((i + 1) H / OH): as wide as the widest of them."""
    extents = []
    for extent, count in zip(field, output_shape[2:], strict=True):
        starts = [i * extent.count // count for i in range(count)]
        ends = [-(-(i + 1) * extent.count // count) for i in range(count)]
        taps = max(end - start for start, end in zip(starts, ends, strict=True))
        stride = Fraction(extent.count, count)
        extents.append(extent.all() if count == 1 else extent.through(taps, stride, 0, 1, count))
    return ReceptiveField(*extents)


def _dense(
    _: Function, field: ReceptiveField, input_shape: Shape | None, __: Shape
) -> ReceptiveField:
    """A flattened image (N, C H W) is seen as a whole; of (N, L, E), each row of E numbers by itself."""
    is_flat = input_shape is not None and len(input_shape) == 2
    return ReceptiveField(*(extent.all() for extent in field)) if is_flat else field


def _reduction(
    reduction: Reduction, field: ReceptiveField, input_shape: Shape | None, output_shape: Shape
) -> ReceptiveField:
    """The last axes of (N, C, H, W) or (N, C, L) that are reduced are seen as a whole."""
    if input_shape is None or len(input_shape) < 3:
        return field
    axes = reduction.reduced_axes(len(input_shape))
    first_axis = len(input_shape) - 2
    return ReceptiveField(
        *(
            extent.all() if first_axis + i in axes and first_axis + i >= 2 else extent
            for i, extent in enumerate(field)
        )
    )


def _pad(
    padding: Pad, field: ReceptiveField, _: Shape | None, output_shape: Shape
) -> ReceptiveField:
    """Padding moves position 0 outwards."""
    if len(output_shape) < 3:
        return field
    widths = padding.widths[2:] if len(output_shape) == 4 else ((0, 0), padding.widths[2])
    moved = [
        extent.through(1, 1, before, 1, extent.count + before + after)
        for extent, (before, after) in zip(field, widths, strict=True)
    ]
    return ReceptiveField(*moved)


def _part(
    part: GetItem, field: ReceptiveField, input_shape: Shape | None, output_shape: Shape
) -> ReceptiveField:
    """Crops move position 0 inwards, and steps multiply the jump; indices of other forms change nothing."""
    index = part.index if isinstance(part.index, tuple) else (part.index,)
    if any(entry is None for entry in index) or input_shape is None or len(input_shape) != 4:
        return _counted(field, output_shape)
    extents = []
    for axis, extent in zip((2, 3), field, strict=True):
        start, step, count = _places(_entry(index, axis, len(input_shape)), input_shape[axis])
        extents.append(extent.through(1, step, -start, 1, count))
    return ReceptiveField(*extents)


def _entry(index: tuple, axis: int, ndim: int) -> Any:
    """The entry of an index that says what is taken of an axis."""
    dots = [place for place, entry in enumerate(index) if entry is Ellipsis]
    if dots:
        missing = ndim - len(index) + 1
        index = (*index[: dots[0]], *[slice(None)] * missing, *index[dots[0] + 1 :])
    return index[axis] if axis < len(index) else slice(None)


def _places(entry: Any, size: int) -> tuple[int, int, int]:
    """First place, step and number of what an entry of an index takes of an axis of `size` places."""
    if isinstance(entry, slice):
        places = range(size)[entry]
        return places.start, places.step, len(places)
    if getattr(entry, "ndim", None) == 1 and entry.dtype.kind in "iu" and len(entry):
        middle = len(entry) // 2  # of an image with a reflected frame: where it was before
        return int(entry[middle]) - middle, 1, len(entry)
    if hasattr(entry, "__index__"):
        return int(entry) % size, 1, 1
    return 0, 1, size


RULES: dict[type[Function], Callable[..., ReceptiveField]] = {
    Conv2d: _conv,
    Conv2dMaxPool2d: _conv_and_pool,
    ConvTranspose2d: _conv_transpose,
    MaxPool2d: _max_pool,
    AvgPool2d: _average_pool,
    AdaptiveMaxPool2d: _adaptive_pool,
    AdaptiveAvgPool2d: _adaptive_pool,
    Linear: _dense,
    MatMul: _dense,
    Reduction: _reduction,
    Pad: _pad,
    GetItem: _part,
}
"""What a function does to a field; all others work position by position."""
