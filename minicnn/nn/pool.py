"""Pooling layers: modules without parameters; see `minicnn.nn.functional.pool`."""

from minicnn.autograd import Tensor
from minicnn.kernels.shapes import IntOrPair, adaptive_pool2d_shape, pool_window
from minicnn.nn import functional as F
from minicnn.nn.functional.checks import check_whole
from minicnn.nn.module import Module


class _WindowPool(Module):
    """What pooling with a moving window shares: its settings, refused at once where they make no window."""

    of_sequences = False  # one number a setting, not a pair

    def __init__(self, kernel_size, stride, padding, ceil_mode, dilation=1):
        super().__init__()
        name = type(self).__name__
        if self.of_sequences:
            step = kernel_size if stride is None else stride
            check_whole(
                name, kernel_size=kernel_size, stride=step, padding=padding, dilation=dilation
            )
        pool_window(kernel_size, stride, padding, dilation, name)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        text = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return text + (", ceil_mode=True" if self.ceil_mode else "")


class _ExtremePool(_WindowPool):
    """What maximum and minimum pooling share: a window that may be dilated."""

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        dilation: IntOrPair = 1,
        ceil_mode: bool = False,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode, dilation)
        self.dilation = dilation

    @property
    def window(self) -> tuple:
        """The settings in the order of the functions' arguments."""
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode


class MaxPool2d(_ExtremePool):
    """Maximum over windows: (N, C, H, W) -> (N, C, OH, OW)."""

    @property
    def lies_side_by_side(self) -> bool:
        """Whether the windows lie side by side, all within the image: then `kernel_size` says it all."""
        return (
            self.stride in (self.kernel_size, (self.kernel_size,) * 2)
            and self.padding in (0, (0, 0))
            and self.dilation in (1, (1, 1))
            and not self.ceil_mode
        )

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        return F.max_pool2d(x, *self.window, activation)


class MinPool2d(_ExtremePool):
    """Minimum over windows: (N, C, H, W) -> (N, C, OH, OW)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.min_pool2d(x, *self.window)


class MaxPool1d(_ExtremePool):
    """Maximum over windows of a sequence: (N, C, L) -> (N, C, OL)."""

    of_sequences = True

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool1d(x, *self.window)


class MinPool1d(_ExtremePool):
    """Minimum over windows of a sequence: (N, C, L) -> (N, C, OL)."""

    of_sequences = True

    def forward(self, x: Tensor) -> Tensor:
        return F.min_pool1d(x, *self.window)


class _AveragePool(_WindowPool):
    """What average pooling shares: how windows over the border are counted."""

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    @property
    def window(self) -> tuple:
        """The settings in the order of the functions' arguments."""
        return self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad


class AvgPool2d(_AveragePool):
    """Mean over windows: (N, C, H, W) -> (N, C, OH, OW)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, *self.window)


class AvgPool1d(_AveragePool):
    """Mean over windows of a sequence: (N, C, L) -> (N, C, OL)."""

    of_sequences = True

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool1d(x, *self.window)


class _AdaptivePool(Module):
    """What adaptive pooling shares: the size of its output."""

    of_sequences = False

    def __init__(self, output_size: int | tuple[int | None, int | None]):
        super().__init__()
        size = (1, output_size) if self.of_sequences else output_size
        adaptive_pool2d_shape((1, 1, 1, 1), size)  # refuses what no image could be pooled to
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(_AdaptivePool):
    """Maximum over windows chosen to give `output_size`: (N, C, H, W) -> (N, C, OH, OW)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_max_pool2d(x, self.output_size)


class AdaptiveAvgPool2d(_AdaptivePool):
    """Mean over windows chosen to give `output_size`: (N, C, H, W) -> (N, C, OH, OW)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveMaxPool1d(_AdaptivePool):
    """Maximum over windows chosen to give `output_size`: (N, C, L) -> (N, C, OL)."""

    of_sequences = True

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_max_pool1d(x, self.output_size)


class AdaptiveAvgPool1d(_AdaptivePool):
    """Mean over windows chosen to give `output_size`: (N, C, L) -> (N, C, OL)."""

    of_sequences = True

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool1d(x, self.output_size)


class GlobalMaxPool2d(Module):
    """The maximum of each channel: (N, C, H, W) -> (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.global_max_pool2d(x)


class GlobalAvgPool2d(Module):
    """The mean of each channel: (N, C, H, W) -> (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.global_avg_pool2d(x)


class GlobalMaxPool1d(Module):
    """The maximum of each channel: (N, C, L) -> (N, C, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.global_max_pool1d(x)


class GlobalAvgPool1d(Module):
    """The mean of each channel: (N, C, L) -> (N, C, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.global_avg_pool1d(x)
