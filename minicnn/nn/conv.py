"""Convolution layers: modules that hold a weight and a bias, and call one function."""

from minicnn.autograd import Tensor
from minicnn.autograd.creation import zeros
from minicnn.kernels.shapes import IntOrPair, Padding, pair, window_of
from minicnn.nn import functional as F
from minicnn.nn.functional.checks import check_whole
from minicnn.nn.linear import init_uniform_by_fan_in
from minicnn.nn.module import Module
from minicnn.nn.norm import BatchNorm2d
from minicnn.nn.parameter import Parameter


class _Convolution(Module):
    """What convolution layers share: settings, parameters and their initial values."""

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding,
        dilation,
        groups,
        algorithm,
        precision,
    ):
        super().__init__()
        name = type(self).__name__
        check_whole(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if out_channels < 1:
            raise ValueError(f"{name}: out_channels must be at least 1, got {out_channels}")
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups must divide in_channels and out_channels, got groups={groups}, "
                f"in_channels={in_channels}, out_channels={out_channels}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.algorithm = algorithm
        self.precision = precision

    def _create_parameters(
        self, weight_shape: tuple[int, ...], bias: bool, device: str | None
    ) -> None:
        # In memory, the order is (R, S, C, K): the kernels of the CPU read all filters' numbers of one tap together.
        K, C, *size = weight_shape
        in_memory = zeros(*size, C, K, device=device).array
        axes = range(in_memory.ndim)
        self.weight = Parameter(in_memory.transpose(*axes[:-3:-1], *axes[:-2]))  # (K, C, R, S)
        constants = Parameter(zeros(self.out_channels, device=device)) if bias else None
        self.register_parameter("bias", constants)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init_uniform_by_fan_in(self.weight, self.bias)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in (
            ("padding", 0),
            ("output_padding", 0),
            ("dilation", 1),
            ("groups", 1),
        ):
            value = getattr(self, name, default)
            if value not in (default, (default, default)):
                text += f", {name}={value!r}"
        text += "" if self.bias is not None else ", bias=False"
        text += "" if self.algorithm == "auto" else f", algorithm={self.algorithm!r}"
        return text if self.precision is None else f"{text}, precision={self.precision!r}"


class Conv2d(_Convolution):
    """2-D convolution, (N, in_channels, H, W) -> (N, out_channels, OH, OW); see `functional.conv2d`.

    Args:
        in_channels: channels of the input.
        out_channels: number of filters.
        kernel_size: size of the filters.
        stride: step of the filters.
        padding: rows and columns of zeros on each side, "same" or "valid".
        dilation: distance between the filters' taps.
        groups: number of independent channel groups.
        bias: whether each output channel has a constant.
        algorithm: "naive", "im2col", "direct", "winograd", "cudnn" (on a GPU) or "auto".
        precision: "fast", "exact" or None, see `minicnn.precision`.
        device: where the parameters are; None is the default device.

    Attributes:
        weight: (out_channels, in_channels / groups, R, S).
        bias: (out_channels,) or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        algorithm: str = "auto",
        precision: str | None = None,
        device: str | None = None,
    ):
        name = type(self).__name__
        size, step = pair(kernel_size, f"{name}: kernel_size"), pair(stride, f"{name}: stride")
        gap = pair(dilation, f"{name}: dilation")
        if isinstance(padding, int):
            padding = (padding, padding)
        window_of(size, step, padding, gap, name)  # refuses settings that do not go together
        super().__init__(
            in_channels, out_channels, size, step, padding, gap, groups, algorithm, precision
        )
        self._create_parameters((out_channels, in_channels // groups, *size), bias, device)

    def forward(
        self,
        x: Tensor,
        activation: str | None = None,
        max_pool: IntOrPair | None = None,
        norm: BatchNorm2d | None = None,
    ) -> Tensor:
        """Convolve `x` with the layer's filters.

        Args:
            x: (N, in_channels, H, W).
            activation: "relu", applied last; or None.
            max_pool: see `functional.conv2d`.
            norm: a layer whose running statistics normalise the result, before the activation, in
                the same pass; or None. For inference: there is no gradient.

        Raises:
            RuntimeError: for a `norm` where a gradient is wanted (the error calls it scale).
        """
        scale, bias = (None, self.bias) if norm is None else norm.scale_and_shift(self.bias)
        return F.conv2d(
            x,
            self.weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.algorithm,
            self.precision,
            activation,
            max_pool,
            scale,
        )


class Conv1d(_Convolution):
    """1-D convolution, (N, in_channels, L) -> (N, out_channels, OL); the arguments are those of `Conv2d`.

    Attributes:
        weight: (out_channels, in_channels / groups, S).
        bias: (out_channels,) or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        algorithm: str = "auto",
        precision: str | None = None,
        device: str | None = None,
    ):
        sides = padding if isinstance(padding, str) else (0, padding)
        name = type(self).__name__
        window_of((1, kernel_size), (1, stride), sides, (1, dilation), name)  # refuses, as above
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            algorithm,
            precision,
        )
        self._create_parameters((out_channels, in_channels // groups, kernel_size), bias, device)

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        """Convolve `x`, (N, in_channels, L); `activation` is "relu", applied last, or None."""
        settings = self.stride, self.padding, self.dilation, self.groups, self.algorithm
        return F.conv1d(x, self.weight, self.bias, *settings, self.precision, activation)


class ConvTranspose2d(_Convolution):
    """Transposed 2-D convolution, (N, in_channels, H, W) -> (N, out_channels, OH, OW), enlarging by its stride.

    The arguments are those of `Conv2d`, and `output_padding`; see `functional.conv_transpose2d`.

    Attributes:
        weight: (in_channels, out_channels / groups, R, S).
        bias: (out_channels,) or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrPair = 1,
        algorithm: str = "auto",
        precision: str | None = None,
        device: str | None = None,
    ):
        name = type(self).__name__
        size, step = pair(kernel_size, f"{name}: kernel_size"), pair(stride, f"{name}: stride")
        cut, gap = pair(padding, f"{name}: padding"), pair(dilation, f"{name}: dilation")
        extra = pair(output_padding, f"{name}: output_padding")
        window_of(size, step, cut, gap, name)  # refuses settings, as above
        super().__init__(
            in_channels, out_channels, size, step, cut, gap, groups, algorithm, precision
        )
        self.output_padding = extra
        self._create_parameters((in_channels, out_channels // groups, *size), bias, device)

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        """Apply the transposed convolution to `x`, (N, in_channels, H, W); `activation` as for `Conv1d`."""
        settings = (
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
            self.algorithm,
            self.precision,
            activation,
        )
        return F.conv_transpose2d(x, self.weight, self.bias, *settings)
