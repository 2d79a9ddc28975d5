"""Normalisation layers: BatchNorm with its running statistics, LayerNorm, GroupNorm."""

import numpy as np

from minicnn.autograd import Tensor
from minicnn.autograd.creation import full, ones, zeros
from minicnn.backend import Array, xp_of
from minicnn.kernels import capture
from minicnn.nn import functional as F
from minicnn.nn.functional.checks import check_whole
from minicnn.nn.module import Module
from minicnn.nn.parameter import Parameter


def _register_scale_and_shift(
    layer: Module, shape: int | tuple[int, ...], scale: bool, shift: bool, device: str | None
) -> None:
    """Give a layer the parameters `weight`, initially 1, and `bias`, initially 0, or None in their places."""
    weight = Parameter(ones(shape, device=device)) if scale else None
    bias = Parameter(zeros(shape, device=device)) if shift else None
    layer.register_parameter("weight", weight)
    layer.register_parameter("bias", bias)


class _BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d share: everything but the number of axes of their input."""

    input_axes: tuple[int, ...]
    """How many axes an input may have."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
    ):
        super().__init__()
        check_whole(type(self).__name__, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        _register_scale_and_shift(self, num_features, affine, affine, device)
        mean, variance, batches = None, None, None
        if track_running_stats:
            mean, variance = zeros(num_features, device=device), ones(num_features, device=device)
            batches = full((), 0, device=device)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", variance)
        self.register_buffer("num_batches_tracked", batches)

    def reset_parameters(self) -> None:
        """Return to scale 1, shift 0 and fresh running statistics."""
        if self.weight is not None:
            self.weight.data.fill_(1)
        if self.bias is not None:
            self.bias.data.fill_(0)
        if self.track_running_stats:
            self.running_mean.fill_(0)
            self.running_var.fill_(1)
            self.num_batches_tracked.fill_(0)

    def forward(
        self, x: Tensor, residual: Tensor | None = None, activation: str | None = None
    ) -> Tensor:
        """Normalise `x` and, in training mode, update the running statistics.

        Args:
            x: see the class.
            residual: a tensor of the same shape that is added to the result, or None.
            activation: "relu", applied last; or None.
        """
        if x.ndim not in self.input_axes:
            expected = " or ".join(str(n) for n in self.input_axes)
            raise ValueError(
                f"{type(self).__name__}: expected an input with {expected} axes, got shape {x.shape}"
            )
        momentum = self.momentum
        updating = self.training and self.track_running_stats
        if updating and momentum is None:
            counted = self.num_batches_tracked.array
            momentum = xp_of(counted).empty((), self.running_mean.dtype)
            capture.do(_weight_of_the_next, counted, momentum)  # on a GPU, too, without a wait
        y = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            momentum,
            self.eps,
            residual,
            activation,
        )
        if updating:
            # In place: += on the attribute would register it again in every step.
            tracked = self.num_batches_tracked
            capture.do(xp_of(tracked.array).add, tracked.array, 1, tracked.array)
            tracked.bump_version()
        return y

    def scale_and_shift(self, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return all that inference does, as two numbers a channel: y = scale x + shift.

        Args:
            bias: (C,), of a layer before this one, which is left to the shift:
                scale (x + bias) + old shift = scale x + new shift; or None.

        Returns:
            scale and shift, (C,) both, of the dtype of the statistics. No gradient flows through them.

        Raises:
            ValueError: for a layer without running statistics.
        """
        if self.running_mean is None or self.running_var is None:
            raise ValueError(
                f"{type(self).__name__}: scale and shift follow from running statistics, and this layer has none "
                "(track_running_stats=False)"
            )
        arrays = [
            None if tensor is None else tensor.array
            for tensor in (self.running_mean, self.running_var, self.weight, self.bias, bias)
        ]
        xp = xp_of(arrays[0])
        scale, shift = xp.empty_like(arrays[0]), xp.empty_like(arrays[0])
        capture.do(_fold, *arrays, float(self.eps), scale, shift)  # a replay looks at them anew
        return Tensor._wrap(scale), Tensor._wrap(shift)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        )


def _weight_of_the_next(counted: Array, weight: Array) -> None:
    """Write what the next batch weighs in the average of all."""
    weight[...] = 1 / (counted + 1)


@np.errstate(all="ignore")  # odd statistics end in inf and NaN, as in the layer itself
def _fold(
    mean: Array,
    variance: Array,
    weight: Array | None,
    bias: Array | None,
    earlier: Array | None,
    eps: float,
    scale: Array,
    shift: Array,
) -> None:
    """Write scale = weight / sqrt(variance + eps) and shift = scale (earlier - mean) + bias, all of them (C,).

    `earlier` is the bias of the layer before. None stands for a weight of 1, and a bias of 0.
    """
    xp = xp_of(scale)
    xp.sqrt(variance + eps, scale)
    xp.divide(1 if weight is None else weight, scale, scale)
    xp.multiply(scale, -mean if earlier is None else earlier - mean, shift)
    if bias is not None:
        xp.add(shift, bias, shift)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features (N, C) or sequences (N, C, L), per channel; see `BatchNorm2d`."""

    input_axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, C, H, W), per channel (Ioffe & Szegedy, arXiv 1502.03167).

    See `functional.batch_norm`.

    Args:
        num_features: number of channels C.
        eps: added to the variance.
        momentum: the weight of the new batch in the running statistics; None averages over all
            batches seen.
        affine: whether there are a learned scale and shift.
        track_running_stats: whether inference uses running statistics; otherwise it uses the
            batch's.
        device: where the parameters and statistics are; None is the default device.

    Attributes:
        weight: scale (C,), initially 1; None without `affine`.
        bias: shift (C,), initially 0; None without `affine`.
        running_mean: (C,) buffer, initially 0.
        running_var: (C,) buffer, initially 1; of the unbiased batch variance.
        num_batches_tracked: 0-d int64 buffer.
    """

    input_axes = (4,)


class LayerNorm(Module):
    """Layer normalisation over the last axes (Ba et al., arXiv 1607.06450).

    Args:
        normalized_shape: sizes of the axes over which mean and variance are taken.
        eps: added to the variance.
        elementwise_affine: whether there are a learned scale and shift.
        bias: whether there is a shift.
        device: where the parameters are; None is the default device.

    Attributes:
        weight: scale of shape normalized_shape, or None.
        bias: shift of shape normalized_shape, or None.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
    ):
        super().__init__()
        self.normalized_shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        self.eps = eps
        has_bias = elementwise_affine and bias
        _register_scale_and_shift(self, self.normalized_shape, elementwise_affine, has_bias, device)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x`."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Module):
    """Group normalisation over groups of channels (Wu & He, arXiv 1803.08494).

    Args:
        num_groups: number of groups.
        num_channels: number of channels, divisible by `num_groups`.
        eps: added to the variance.
        affine: whether there are a learned scale and shift.
        device: where the parameters are; None is the default device.

    Attributes:
        weight: scale (num_channels,), or None.
        bias: shift (num_channels,), or None.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | None = None,
    ):
        super().__init__()
        check_whole("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups must divide num_channels, got {num_groups} and {num_channels}"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        _register_scale_and_shift(self, num_channels, affine, affine, device)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x`."""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"
