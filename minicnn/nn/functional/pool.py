"""Pooling: one number for each window of an image, its maximum, mean or minimum.

Sequences (N, C, L) are images of height 1, and the minimum is the maximum of the negative: neither
needs a kernel.
"""

from minicnn import kernels
from minicnn.autograd import Tensor, apply
from minicnn.kernels.shapes import IntOrPair
from minicnn.nn.functional.checks import check_activation, check_float
from minicnn.ops.function import Function


class MaxPool2d(Function):
    """y = the largest element of each window; it alone, the first of equals, gets the window's gradient.

    With `relu`, y is 0 where that element is not positive, and nobody gets the gradient. The
    positions of the winners are all that backward needs.
    """

    def __init__(self, *window, relu=False):
        self.window = window
        self.relu = relu

    def forward(self, x):
        self.input_shape = x.shape
        y, winner = kernels.max_pool2d(x, *self.window, relu=self.relu)
        self.save(winner)
        return y

    def backward(self, grad):
        (winner,) = self.saved
        return (kernels.max_pool2d_grad(grad, winner, self.input_shape, *self.window),)


class AvgPool2d(Function):
    """y = the mean of each window; each of its n elements gets dL/dy / n."""

    def __init__(self, *window):
        self.window = window

    def forward(self, x):
        self.input_shape = x.shape
        return kernels.avg_pool2d(x, *self.window)

    def backward(self, grad):
        return (kernels.avg_pool2d_grad(grad, self.input_shape, *self.window),)


class AdaptiveMaxPool2d(Function):
    """Maximum over windows that divide the image into a given number of rows and columns."""

    def __init__(self, output_size):
        self.output_size = output_size

    def forward(self, x):
        self.input_shape = x.shape
        y, winner = kernels.adaptive_max_pool2d(x, self.output_size)
        self.save(winner)
        return y

    def backward(self, grad):
        (winner,) = self.saved
        return (kernels.adaptive_max_pool2d_grad(grad, winner, self.input_shape),)


class AdaptiveAvgPool2d(Function):
    """Mean over windows that divide the image into a given number of rows and columns."""

    def __init__(self, output_size):
        self.output_size = output_size

    def forward(self, x):
        self.input_shape = x.shape
        return kernels.adaptive_avg_pool2d(x, self.output_size)

    def backward(self, grad):
        return (kernels.adaptive_avg_pool2d_grad(grad, self.input_shape),)


def max_pool2d(
    x: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    activation: str | None = None,
) -> Tensor:
    """Maximum over windows.

    Args:
        x: (N, C, H, W).
        kernel_size: size of the window.
        stride: step of the window; None means kernel_size, windows side by side.
        padding: rows and columns of -inf on each side, at most half of the window.
        dilation: distance between the window's elements.
        ceil_mode: round the output size up, so that a last incomplete window counts.
        activation: "relu" is applied in the same pass; or None. Before the pooling or after it, the
            result would be the same, and so would the gradients.

    Returns:
        (N, C, OH, OW). The first of equal elements wins; NaN is larger than every number.

    Raises:
        ValueError: where the window does not fit, with the arithmetic.
    """
    check_float("max_pool2d", "x", x)
    relu = check_activation("max_pool2d", activation)
    return apply(MaxPool2d(kernel_size, stride, padding, dilation, ceil_mode, relu=relu), x)


def min_pool2d(
    x: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Minimum over windows; the arguments are those of `max_pool2d`."""
    return -max_pool2d(-x, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool2d(
    x: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean over windows.

    Args:
        x: (N, C, H, W).
        kernel_size: size of the window.
        stride: step of the window; None means kernel_size.
        padding: rows and columns of zeros on each side, at most half of the window.
        ceil_mode: round the output size up.
        count_include_pad: divide by the size of the window including padding, not by the number of
            pixels in it.

    Returns:
        (N, C, OH, OW).

    Raises:
        ValueError: where the window does not fit.
    """
    check_float("avg_pool2d", "x", x)
    return apply(AvgPool2d(kernel_size, stride, padding, ceil_mode, count_include_pad), x)


def adaptive_max_pool2d(x: Tensor, output_size: IntOrPair) -> Tensor:
    """Maximum over OH x OW windows; row i covers the image's rows floor(i H / OH) to ceil((i + 1) H / OH).

    Args:
        x: (N, C, H, W).
        output_size: (OH, OW), or one number for both; None keeps a size.

    Returns:
        (N, C, OH, OW).
    """
    check_float("adaptive_max_pool2d", "x", x)
    return apply(AdaptiveMaxPool2d(output_size), x)


def adaptive_avg_pool2d(x: Tensor, output_size: IntOrPair) -> Tensor:
    """Mean over OH x OW windows; see `adaptive_max_pool2d`."""
    check_float("adaptive_avg_pool2d", "x", x)
    return apply(AdaptiveAvgPool2d(output_size), x)


def global_max_pool2d(x: Tensor) -> Tensor:
    """The maximum of each channel: (N, C, H, W) -> (N, C, 1, 1)."""
    return adaptive_max_pool2d(x, 1)


def global_avg_pool2d(x: Tensor) -> Tensor:
    """The mean of each channel: (N, C, H, W) -> (N, C, 1, 1) (Lin et al., arXiv 1312.4400, section 3.2)."""
    return adaptive_avg_pool2d(x, 1)


# --- sequences: images of height 1 ----------------------------------------------------------------


def max_pool1d(
    x: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Maximum over windows of a sequence: (N, C, L) -> (N, C, OL); see `max_pool2d`."""
    image = as_image("max_pool1d", x)
    window = _row(kernel_size), _row(stride), (0, padding), (1, dilation)
    return max_pool2d(image, *window, ceil_mode).squeeze(2)


def min_pool1d(
    x: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Minimum over windows of a sequence; see `max_pool1d`."""
    return -max_pool1d(-x, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool1d(
    x: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean over windows of a sequence: (N, C, L) -> (N, C, OL); see `avg_pool2d`."""
    image = as_image("avg_pool1d", x)
    window = _row(kernel_size), _row(stride), (0, padding)
    return avg_pool2d(image, *window, ceil_mode, count_include_pad).squeeze(2)


def adaptive_max_pool1d(x: Tensor, output_size: int) -> Tensor:
    """Maximum over `output_size` windows of a sequence: (N, C, L) -> (N, C, output_size)."""
    return adaptive_max_pool2d(as_image("adaptive_max_pool1d", x), (1, output_size)).squeeze(2)


def adaptive_avg_pool1d(x: Tensor, output_size: int) -> Tensor:
    """Mean over `output_size` windows of a sequence: (N, C, L) -> (N, C, output_size)."""
    return adaptive_avg_pool2d(as_image("adaptive_avg_pool1d", x), (1, output_size)).squeeze(2)


def global_max_pool1d(x: Tensor) -> Tensor:
    """The maximum of each channel: (N, C, L) -> (N, C, 1)."""
    return adaptive_max_pool1d(x, 1)


def global_avg_pool1d(x: Tensor) -> Tensor:
    """The mean of each channel: (N, C, L) -> (N, C, 1)."""
    return adaptive_avg_pool1d(x, 1)


def as_image(where: str, x: Tensor) -> Tensor:
    """A sequence (N, C, L) as an image (N, C, 1, L)."""
    check_float(where, "x", x)
    if x.ndim != 3:
        hint = "; add the channel axis with x.unsqueeze(1)" if x.ndim == 2 else ""
        raise ValueError(f"{where}: expected a sequence of shape (N, C, L), got {x.shape}{hint}")
    return x.unsqueeze(2)


def _row(size: int | None) -> tuple[int, int] | None:
    return None if size is None else (1, size)
