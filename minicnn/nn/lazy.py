"""Lazy layers: the first input decides the number of input channels.

A lazy layer is created with parameters that have no shape yet. Its first call (or loading a state)
gives them one; from then on the object *is* an ordinary layer: its class changes, so that
`type(layer) == nn.Linear` holds. A first input that the ordinary layer refuses decides nothing: the
layer is lazy again.
"""

from collections.abc import Mapping

from minicnn.autograd import Tensor
from minicnn.backend import xp_of
from minicnn.kernels.shapes import IntOrPair, Padding, Shape
from minicnn.nn.conv import Conv1d, Conv2d, ConvTranspose2d
from minicnn.nn.linear import Linear
from minicnn.nn.module import Module
from minicnn.nn.norm import BatchNorm1d, BatchNorm2d
from minicnn.nn.parameter import UninitializedParameter


class _Lazy:
    """Mixed into a layer, before the layer's own class.

    A kind of lazy layer says three things: which channels a state is for (`_channels_of`), which
    shapes follow from the number of channels (`_shapes_for`), and where the number is noted
    (`_note`).
    """

    concrete: type[Module]
    """The class that the layer changes to."""

    input_axes: tuple[int, ...] = ()
    """How many axes an input may have; empty for any number from 1 on."""

    channel_axis = 1
    """The axis of the input that holds the number to learn."""

    def _wait(self) -> None:
        """Replace the layer's parameters by ones without a shape."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                self._parameters[name] = UninitializedParameter(device=parameter.device)

    def reset_parameters(self) -> None:
        """Wait for the first input."""

    def forward(self, x: Tensor) -> Tensor:
        """Take the sizes from `x`, become an ordinary layer, and do its work."""
        if x.ndim == 0 or (self.input_axes and x.ndim not in self.input_axes):
            expected = " or ".join(map(str, self.input_axes)) or "at least 1"
            hint = "; add the channel axis with x.unsqueeze(1)" if x.ndim == 3 else ""
            raise ValueError(
                f"{type(self).__name__}: expected an input with {expected} axes, got shape {x.shape}{hint}"
            )
        lazy, buffers = type(self), dict(self._buffers)
        self._materialize(x.shape[self.channel_axis])
        try:
            return self.forward(x)
        except Exception:
            self.__class__ = lazy
            self._buffers.update(buffers)
            self._wait_again()
            raise

    def _materialize(self, channels: int) -> None:
        """Create everything for inputs of this many channels."""
        for name, shape in self._shapes_for(channels).items():
            if name in self._parameters:
                self._parameters[name].materialize(shape)
            else:
                empty = self._buffers[name].array
                self._buffers[name] = Tensor(xp_of(empty).zeros(shape, empty.dtype))
        self._note(channels)
        self.__class__ = self.concrete
        self.reset_parameters()

    def _wait_again(self) -> None:
        """Let the parameters, which an optimizer may hold, wait for another first input."""
        for parameter in self._parameters.values():
            if parameter is not None:
                UninitializedParameter.undo(parameter)
        self._note(0)

    def _shapes_to_load(self, given: Mapping[str, Shape]) -> dict[str, Shape]:
        shapes = super()._shapes_to_load(given)
        channels = self._channels_of(given)
        return shapes if channels is None else {**shapes, **self._shapes_for(channels)}

    def _prepare_to_load(self, given: Mapping[str, Shape]) -> None:
        channels = self._channels_of(given)
        if channels is not None:
            self._materialize(channels)

    def _channels_of(self, given: Mapping[str, Shape]) -> int | None:
        """The number of channels that a state with these shapes is for; None where it does not tell."""
        raise NotImplementedError

    def _shapes_for(self, channels: int) -> dict[str, Shape]:
        """The shape of each parameter and buffer that depends on the number of channels."""
        raise NotImplementedError

    def _note(self, channels: int) -> None:
        """Write down the number of channels."""
        raise NotImplementedError

    def _with_bias(self, weight_shape: Shape, channels: int) -> dict[str, Shape]:
        """The shapes of a weight and, if the layer has one, of a bias."""
        shapes = {"weight": weight_shape, "bias": (channels,)}
        return {name: shapes[name] for name in shapes if self._parameters[name] is not None}


class LazyLinear(_Lazy, Linear):
    """A `Linear` that learns `in_features` from its first input."""

    concrete = Linear
    channel_axis = -1

    def __init__(self, out_features: int, bias: bool = True):
        super().__init__(0, out_features, bias)
        self._wait()

    def _channels_of(self, given: Mapping[str, Shape]) -> int | None:
        weight = given.get("weight", ())
        return weight[1] if len(weight) == 2 else None

    def _shapes_for(self, channels: int) -> dict[str, Shape]:
        return self._with_bias((self.out_features, channels), self.out_features)

    def _note(self, channels: int) -> None:
        self.in_features = channels


class _LazyConvolution(_Lazy):
    """What lazy convolutions share; their input has one axis for each axis of the weight."""

    def _channels_of(self, given: Mapping[str, Shape]) -> int | None:
        weight = given.get("weight", ())
        return weight[1] * self.groups if len(weight) == self.input_axes[0] else None

    def _shapes_for(self, channels: int) -> dict[str, Shape]:
        if channels < 1 or channels % self.groups:
            raise ValueError(
                f"{type(self).__name__}: groups={self.groups} must divide the number of input channels, got {channels}"
            )
        size = self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,)
        weight_shape = (self.out_channels, channels // self.groups, *size)
        return self._with_bias(weight_shape, self.out_channels)

    def _note(self, channels: int) -> None:
        self.in_channels = channels


class LazyConv2d(_LazyConvolution, Conv2d):
    """A `Conv2d` that learns `in_channels` from its first input."""

    concrete = Conv2d
    input_axes = (4,)

    def __init__(
        self,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        algorithm: str = "auto",
    ):
        super().__init__(
            0, out_channels, kernel_size, stride, padding, dilation, groups, bias, algorithm
        )
        self._wait()


class LazyConv1d(_LazyConvolution, Conv1d):
    """A `Conv1d` that learns `in_channels` from its first input."""

    concrete = Conv1d
    input_axes = (3,)

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
        super().__init__(
            0, out_channels, kernel_size, stride, padding, dilation, groups, bias, algorithm
        )
        self._wait()


class LazyConvTranspose2d(_LazyConvolution, ConvTranspose2d):
    """A `ConvTranspose2d` that learns `in_channels` from its first input."""

    concrete = ConvTranspose2d
    input_axes = (4,)

    def __init__(
        self,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrPair = 1,
        algorithm: str = "auto",
    ):
        settings = stride, padding, output_padding, groups, bias, dilation, algorithm
        super().__init__(0, out_channels, kernel_size, *settings)
        self._wait()

    def _channels_of(self, given: Mapping[str, Shape]) -> int | None:
        weight = given.get("weight", ())
        return weight[0] if len(weight) == 4 else None

    def _shapes_for(self, channels: int) -> dict[str, Shape]:
        weight_shape = (channels, self.out_channels // self.groups, *self.kernel_size)
        return self._with_bias(weight_shape, self.out_channels)


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

    def _channels_of(self, given: Mapping[str, Shape]) -> int | None:
        sizes = [shape[0] for shape in given.values() if len(shape) == 1]
        return sizes[0] if sizes and sizes[0] > 0 else None

    def _shapes_for(self, channels: int) -> dict[str, Shape]:
        names = [name for name, tensor in self._own_state().items() if tensor.ndim == 1]
        return dict.fromkeys(names, (channels,))

    def _note(self, channels: int) -> None:
        self.num_features = channels


class LazyBatchNorm1d(_LazyBatchNorm, BatchNorm1d):
    """A `BatchNorm1d` that learns `num_features` from its first input."""

    concrete = BatchNorm1d
    input_axes = BatchNorm1d.input_axes


class LazyBatchNorm2d(_LazyBatchNorm, BatchNorm2d):
    """A `BatchNorm2d` that learns `num_features` from its first input."""

    concrete = BatchNorm2d
    input_axes = BatchNorm2d.input_axes
