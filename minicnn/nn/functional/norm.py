"""Normalisation: subtract a mean, divide by a standard deviation, scale and shift.

BatchNorm, LayerNorm and GroupNorm differ only in the axes over which mean and variance are taken.
LayerNorm and GroupNorm are one Function, in which the formulas can be read. BatchNorm has kernels of
its own, because it follows every convolution of the larger networks: they also add the other branch
of a residual block, and take the ReLU, on the way.
"""

import math

import numpy as np

from minicnn.autograd import Tensor, apply
from minicnn.backend import Array, xp_of
from minicnn.kernels import capture
from minicnn.kernels.dispatch import sibling
from minicnn.kernels.shapes import Shape
from minicnn.nn.functional.checks import check_activation, check_dtypes, check_float
from minicnn.ops.function import Function


class Normalize(Function):
    """y = w x_hat + b with x_hat = (x - mean) / sqrt(variance + eps), statistics over `axes`.

    With g = w dL/dy, and <.> the mean over `axes`:
    dL/dx = (g - <g> - x_hat <g x_hat>) / sqrt(variance + eps).

    Reference: Ioffe & Szegedy, arXiv 1502.03167, section 3. Sums are accumulated in float64,
    because a float32 sum over a batch of images loses digits that the subtraction then needs.

    Args:
        axes: over which mean and variance are taken.
        eps: added to the variance.
        parameter_shape: the shape with which weight and bias broadcast to x.
    """

    def __init__(self, axes: Shape, eps: float, parameter_shape: Shape):
        self.axes = axes
        self.eps = eps
        self.parameter_shape = parameter_shape

    def forward(self, x, weight, bias):
        self.mean = self._average(x)
        x_hat = x - self.mean
        self.variance = self._average(x_hat * x_hat)
        inverse_std = 1 / (self.variance + self.eps) ** 0.5
        x_hat *= inverse_std
        if weight is None:
            self.save(x_hat, inverse_std)
            y = x_hat.copy()
        else:
            self.save(x_hat, inverse_std, weight)
            y = x_hat * weight.reshape(self.parameter_shape)
        if bias is not None:
            self.bias_shape = bias.shape
            y += bias.reshape(self.parameter_shape)
        return y

    def backward(self, grad):
        x_hat, inverse_std, *rest = self.saved
        weight = rest[0] if rest else None
        need_x, need_weight, need_bias = self.needs_grad
        grad_x = grad_weight = grad_bias = None
        if need_x:
            g = grad if weight is None else grad * weight.reshape(self.parameter_shape)
            grad_x = g - self._average(g) - x_hat * self._average(g * x_hat)
            grad_x *= inverse_std
        if need_weight:
            grad_weight = self._total(grad * x_hat).reshape(weight.shape)
        if need_bias:
            grad_bias = self._total(grad).reshape(self.bias_shape)
        return grad_x, grad_weight, grad_bias

    def _average(self, array):
        count = math.prod(array.shape[axis] for axis in self.axes)
        total = array.sum(axis=self.axes, keepdims=True, dtype=np.float64)
        return (total / max(count, 1)).astype(array.dtype)  # of nothing: 0, which meets no element

    def _total(self, array):
        """Sum over the axes along which the parameters broadcast."""
        axes = tuple(i for i, n in enumerate(self.parameter_shape) if n == 1)
        return array.sum(axis=axes, keepdims=True, dtype=np.float64).astype(array.dtype)


class BatchNorm(Function):
    """y = act(w (x - mean) / sqrt(variance + eps) + b + r), per channel; act is ReLU or nothing.

    The statistics are those of the batch, or given. The equations of the gradients stand with the
    kernel, see `kernels.norm`.

    Args:
        eps: added to the variance.
        relu: whether act is ReLU.
        given: mean and variance (C,), constants; None for those of the batch.
    """

    def __init__(self, eps: float, relu: bool = False, given: tuple[Array, Array] | None = None):
        self.eps = eps
        self.relu = relu
        self.given = given

    def forward(self, x, weight, bias, residual):
        kernel = sibling("norm", x)
        if self.given is None:
            y, self.mean, self.inverse_std, self.variance = kernel.batch_norm(
                x, weight, bias, self.eps, residual, self.relu
            )
        else:
            mean, variance = self.given
            self.mean = xp_of(x).empty(mean.shape, np.float64)
            self.inverse_std = xp_of(x).empty(mean.shape, np.float64)
            capture.do(_prepare, mean, variance, self.eps, self.mean, self.inverse_std)
            y = kernel.apply_statistics(
                x, self.mean, self.inverse_std, weight, bias, residual, self.relu
            )
        is_sum = residual is not None and self.relu  # without a residual, x says where y is 0
        self.save(x, weight, bias, y if is_sum else None)
        return y

    def backward(self, grad):
        x, weight, bias, y = self.saved
        statistics = self.mean, self.inverse_std
        return sibling("norm", x).batch_norm_grad(
            grad, x, *statistics, weight, bias, self.relu, y, self.given is None
        )


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Array = 0.1,
    eps: float = 1e-5,
    residual: Tensor | None = None,
    activation: str | None = None,
) -> Tensor:
    """Batch normalisation, per channel over the batch and all positions.

    Args:
        x: (N, C), (N, C, L) or (N, C, H, W).
        running_mean: (C,); with `training` updated in place to (1 - momentum) running + momentum
            batch mean.
        running_var: (C,); updated likewise from the unbiased batch variance.
        weight: scale (C,), or None for 1.
        bias: shift (C,), or None for 0.
        training: normalise with the batch's statistics; otherwise with the running ones.
        momentum: the weight of the new batch in the running statistics; a number, or an array of no axes.
        eps: added to the variance.
        residual: a tensor of the shape of `x` that is added to the result, or None.
        activation: "relu", applied last; or None. Neither costs a pass over memory of its own.

    Returns:
        The shape of `x`.

    Raises:
        TypeError: for mixed dtypes.
        ValueError: for a wrong number of channels, and in training where a channel has only one
            value.
    """
    _check_batch(x, running_mean, running_var, weight, bias, residual)
    relu = check_activation("batch_norm", activation)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError(
                "batch_norm: without training=True the running statistics are needed, got None"
            )
        given = running_mean.array, running_var.array
        return apply(BatchNorm(eps, relu, given), x, weight, bias, residual)
    count = x.array.size // max(x.shape[1], 1)
    if count <= 1:
        raise ValueError(
            f"batch_norm: training needs more than one value per channel, got x of shape {x.shape}; use a larger batch "
            "(drop_last=True drops a last batch of one), or eval()"
        )
    function = BatchNorm(eps, relu)
    y = apply(function, x, weight, bias, residual)
    _update(running_mean, function.mean, 1, momentum)
    _update(running_var, function.variance, count / (count - 1), momentum)
    return y


def _prepare(mean: Array, variance: Array, eps: float, mean64: Array, inverse_std: Array) -> None:
    """Write running statistics (C,), which will change, as the kernels take them: in float64."""
    mean64[...] = mean
    inverse_std[...] = variance
    inverse_std += eps
    inverse_std **= -0.5


def _update(running: Tensor | None, batch: Array, factor: float, momentum: float | Array) -> None:
    """Move a running statistic (C,) towards `factor` times that of the batch."""
    if running is not None:
        move = sibling("norm", running.array).move_statistic
        move(running.array, batch, factor, momentum)
        running.bump_version()


def _check_batch(x, running_mean, running_var, weight, bias, residual) -> None:
    check_float("batch_norm", "x", x)
    array = x.array
    if array.ndim < 2:
        raise ValueError(f"batch_norm: expected x of shape (N, C, ...), got {x.shape}")
    channels, dtype = (array.shape[1],), array.dtype
    for tensor in (running_mean, running_var, weight, bias):
        if tensor is not None and (tensor.shape != channels or tensor.dtype != dtype):
            running = {"running_mean": running_mean, "running_var": running_var}
            fix = f"; num_features should be {channels[0]}"
            _check("batch_norm", x, channels, fix, weight=weight, bias=bias, **running)
    if residual is not None:
        _check("batch_norm", x, array.shape, residual=residual)


def layer_norm(
    x: Tensor,
    normalized_shape: tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalisation over the last axes (Ba et al., arXiv 1607.06450).

    Args:
        x: (..., *normalized_shape).
        normalized_shape: the sizes of the axes over which mean and variance are taken.
        weight: scale of shape normalized_shape, or None.
        bias: shift of shape normalized_shape, or None.
        eps: added to the variance.

    Returns:
        The shape of `x`.

    Raises:
        TypeError: for mixed dtypes.
        ValueError: where the last axes of `x` are not `normalized_shape`.
    """
    shape = tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"layer_norm: the last axes of x must be {shape}, got x of shape {x.shape}"
        )
    _check("layer_norm", x, shape, weight=weight, bias=bias)
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    return apply(Normalize(axes, eps, (1,) * (x.ndim - len(shape)) + shape), x, weight, bias)


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Group normalisation: over groups of channels of one image (Wu & He, arXiv 1803.08494).

    Args:
        x: (N, C, ...).
        num_groups: number of groups; C must be divisible by it.
        weight: scale (C,), or None.
        bias: shift (C,), or None.
        eps: added to the variance.

    Returns:
        The shape of `x`.

    Raises:
        TypeError: for mixed dtypes.
        ValueError: where the channels cannot be divided into groups.
    """
    if x.ndim < 2 or num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(
            f"group_norm: the channels (axis 1) of x {x.shape} cannot be divided into {num_groups} groups"
        )
    batch, channels = x.shape[:2]
    _check("group_norm", x, (channels,), weight=weight, bias=bias)
    grouped = x.reshape(batch, num_groups, channels // num_groups, math.prod(x.shape[2:]))
    y = apply(
        Normalize((2, 3), eps, (1, num_groups, channels // num_groups, 1)), grouped, weight, bias
    )
    return y.reshape(x.shape)


def _check(where: str, x: Tensor, shape: Shape, fix: str = "", **parameters: Tensor | None) -> None:
    """Refuse arrays not of `x`'s floating dtype, or not of the `shape` that belongs to `x`, with a `fix`."""
    check_float(where, "x", x)
    check_dtypes(where, x, **parameters)
    for name, tensor in parameters.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"{where}: for x of shape {x.shape} expected {name} of shape {shape}, got "
                f"{tensor.shape}{fix}"
            )
