"""Lazy layers: the first input decides the number of input channels.

A lazy layer is created with parameters that have no shape yet. Its first call (or loading a state) gives them one; from
then on the object *is* an ordinary layer: its class changes, so that `type(layer) == nn.Linear` holds.
"""

from minicnn.nn.conv import Conv1d, Conv2d, ConvTranspose2d, Size
from minicnn.nn.linear import Linear
from minicnn.nn.module import Module
from minicnn.nn.norm import BatchNorm1d, BatchNorm2d
from minicnn.nn.parameter import UninitializedParameter
from minicnn.tensor import Tensor
from minicnn.tensor.creation import zeros


class _Lazy:
    """Mixed into a layer, before the layer's own class."""

    concrete: type[Module]
    """The class that the layer changes to."""

    channel_axis = 1
    """The axis of the input that holds the number to learn."""

    def _wait(self) -> None:
        """Replace the layer's parameters by ones without a shape."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                self._parameters[name] = UninitializedParameter()

    def reset_parameters(self) -> None:
        """Wait for the first input."""

    def forward(self, x: Tensor) -> Tensor:
        """Take the sizes from `x`, become an ordinary layer, and do its work."""
        if x.ndim <= self.channel_axis:
            raise ValueError(f"{type(self).__name__}: expected an input with channels in axis 1, got shape {x.shape}")
        self._materialize(x.shape[self.channel_axis])
        return self(x)

    def _materialize(self, channels: int) -> None:
        """Create everything for inputs of this many channels."""
        for name, shape in self._shapes(channels).items():
            if self._parameters.get(name) is not None:
                self._parameters[name].materialize(shape)
        self.__class__ = self.concrete
        self.reset_parameters()

    def _shapes(self, channels: int) -> dict[str, tuple[int, ...]]:
        """Note the number of channels, and return the shape of each parameter."""
        raise NotImplementedError

    def _prepare_to_load(self, weight_shape: tuple[int, ...]) -> None:
        self._materialize(weight_shape[self.channel_axis])


class LazyLinear(_Lazy, Linear):
    """A `Linear` that learns `in_features` from its first input."""

    concrete = Linear
    channel_axis = -1

    def __init__(self, out_features: int, bias: bool = True):
        super().__init__(0, out_features, bias)
        self._wait()

    def _shapes(self, channels: int) -> dict[str, tuple[int, ...]]:
        self.in_features = channels
        return {"weight": (self.out_features, channels), "bias": (self.out_features,)}


class _LazyConvolution(_Lazy):
    """What lazy convolutions share; `channels` must be divisible by `groups`."""

    def _shapes(self, channels: int) -> dict[str, tuple[int, ...]]:
        if channels % self.groups:
            raise ValueError(f"{type(self).__name__}: groups={self.groups} must divide the {channels} input channels")
        self.in_channels = channels
        size = self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,)
        return {"weight": (self.out_channels, channels // self.groups, *size), "bias": (self.out_channels,)}

    def _prepare_to_load(self, weight_shape: tuple[int, ...]) -> None:
        self._materialize(weight_shape[1] * self.groups)


class LazyConv2d(_LazyConvolution, Conv2d):
    """A `Conv2d` that learns `in_channels` from its first input."""

    concrete = Conv2d

    def __init__(
        self,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        algorithm: str = "auto",
    ):
        super().__init__(0, out_channels, kernel_size, stride, padding, dilation, groups, bias, algorithm)
        self._wait()


class LazyConv1d(_LazyConvolution, Conv1d):
    """A `Conv1d` that learns `in_channels` from its first input."""

    concrete = Conv1d

    def __init__(
        self,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        algorithm: str = "auto",
    ):
        super().__init__(0, out_channels, kernel_size, stride, padding, dilation, groups, bias, algorithm)
        self._wait()


class LazyConvTranspose2d(_Lazy, ConvTranspose2d):
    """A `ConvTranspose2d` that learns `in_channels` from its first input."""

    concrete = ConvTranspose2d

    def __init__(
        self,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        algorithm: str = "auto",
    ):
        settings = stride, padding, output_padding, groups, bias, dilation, algorithm
        super().__init__(0, out_channels, kernel_size, *settings)
        self._wait()

    def _shapes(self, channels: int) -> dict[str, tuple[int, ...]]:
        self.in_channels = channels
        shape = (channels, self.out_channels // self.groups, *self.kernel_size)
        return {"weight": shape, "bias": (self.out_channels,)}

    def _prepare_to_load(self, weight_shape: tuple[int, ...]) -> None:
        self._materialize(weight_shape[0])


class _LazyBatchNorm(_Lazy):
    """What lazy batch normalisations share: running statistics that wait, too."""

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        super().__init__(0, eps, momentum, affine, track_running_stats)
        self._wait()

    def _shapes(self, channels: int) -> dict[str, tuple[int, ...]]:
        self.num_features = channels
        if self.track_running_stats:
            self.running_mean = zeros(channels)
            self.running_var = zeros(channels)
        return {"weight": (channels,), "bias": (channels,)}

    def _prepare_to_load(self, weight_shape: tuple[int, ...]) -> None:
        self._materialize(weight_shape[0])


class LazyBatchNorm1d(_LazyBatchNorm, BatchNorm1d):
    """A `BatchNorm1d` that learns `num_features` from its first input."""

    concrete = BatchNorm1d


class LazyBatchNorm2d(_LazyBatchNorm, BatchNorm2d):
    """A `BatchNorm2d` that learns `num_features` from its first input."""

    concrete = BatchNorm2d
