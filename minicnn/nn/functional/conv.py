"""Convolution (in the field's sense: cross-correlation) in one and two dimensions, and its transpose.

Convolution is linear in its input and in its weight, so each of its gradients is again a
convolution of some kind; the three of them are kernels, and this file only decides which of them is
called with what. Transposed convolution is the input gradient of convolution, used as a forward.
"""

from minicnn import kernels
from minicnn.autograd import Tensor, apply
from minicnn.kernels import conv_pool, shapes
from minicnn.kernels.arrays import channels_first, channels_last
from minicnn.kernels.capture import contiguous
from minicnn.kernels.dispatch import sibling
from minicnn.kernels.shapes import IntOrPair, Padding
from minicnn.nn.functional.checks import check_activation, check_bias, check_dtypes
from minicnn.nn.functional.conv_pool import Conv2dMaxPool2d
from minicnn.nn.functional.pool import max_pool2d
from minicnn.nn.functional.precision import precision_in_force
from minicnn.ops.function import Function


class Conv2d(Function):
    """y[n, k, i, j] = b[k] + sum over c, r, s of w[k, c, r, s] x[n, c, i stride + r dilation - padding, ...].

    dL/dx and dL/dw are kernels of their own; dL/db[k] = sum over n, i, j of dL/dy[n, k, i, j]. With
    `relu`, negative results are replaced by 0 before they are written, and gradients pass where the
    result is positive. A `scale` multiplies the sum over c, r, s; it is for inference, and has no backward.
    """

    def __init__(
        self,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        algorithm="auto",
        precision="fast",
        relu=False,
    ):
        self.settings = (stride, padding, dilation, groups, algorithm, precision)
        self.relu = relu

    def forward(self, x, weight, bias, scale=None):
        if scale is not None and any(self.needs_grad):
            raise RuntimeError(
                "conv2d: scale is for inference, and has no gradient; compute under no_grad(), or leave "
                "it out and multiply the result: conv2d(...) * scale.reshape(-1, 1, 1)"
            )
        y = kernels.conv2d(x, weight, *self.settings, bias, self.relu, scale)  # (N, K, OH, OW)
        if self.relu:
            self.save(x, weight, y)
        else:
            self.save(x, weight)
        return y

    def backward(self, grad):
        x, weight, *output = self.saved
        need_x, need_weight, need_bias = self.needs_grad
        grad, grad_bias = _grad_before_bias(grad, output, need_bias)
        return (
            kernels.conv2d_grad_input(grad, weight, x.shape, *self.settings) if need_x else None,
            kernels.conv2d_grad_weight(grad, x, weight.shape, *self.settings)
            if need_weight
            else None,
            grad_bias,
        )


def _grad_before_bias(grad, output, need_bias):
    """From dL/dy (N, K, OH, OW) of y = z + bias, or of relu(z + bias) = output[0]: dL/dz and dL/dbias."""
    rows = contiguous(channels_last(grad))  # (N, OH, OW, K)
    K = rows.shape[-1]
    if output:
        y_rows = channels_last(output[0])
        bias = sibling("bias", grad)
        grad_rows, grad_bias = bias.bias_relu_grad(rows.reshape(-1, K), y_rows.reshape(-1, K))
        return channels_first(grad_rows.reshape(rows.shape)), grad_bias if need_bias else None
    grad_bias = sibling("bias", grad).bias_grad(rows.reshape(-1, K)) if need_bias else None
    return channels_first(rows), grad_bias


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    algorithm: str = "auto",
    precision: str | None = None,
    activation: str | None = None,
    max_pool: IntOrPair | None = None,
    scale: Tensor | None = None,
) -> Tensor:
    """2-D convolution of a batch of images.

    Args:
        x: images, (N, C, H, W).
        weight: filters, (K, C / groups, R, S).
        bias: (K,) or None.
        stride: step of the filter, in pixels.
        padding: rows and columns of zeros on each side, or "same" (output as large as the input;
            stride 1) or "valid".
        dilation: distance between the filter's taps, in pixels.
        groups: number of independent channel groups; C and K must be divisible by it.
        algorithm: "naive" (loops), "im2col" (patches and a matrix product), "direct" (compiled
            loops; start worker processes with "spawn", their threads do not survive a fork),
            "winograd" (likewise, with fewer multiplications for 3x3 filters), "cudnn" (NVIDIA's
            library, on a GPU, where nvidia-cudnn-frontend is installed) or "auto".
        precision: "exact" keeps "auto" from Winograd's algorithm, which rounds more; "fast" does
            not; None is what `minicnn.precision` says.
        activation: "relu", to replace negative results by 0 in the same pass; or None.
        max_pool: size of windows, side by side, of whose results only the largest is kept, as by
            `max_pool2d`: where that is quicker, in the same pass, and the others are never written.
        scale: (K,), by which each output channel is multiplied before the bias is added; or None. It costs
            no pass over memory, because the weights are multiplied by it on their way into the cache. For
            inference, as in a BatchNorm that follows (see `nn.BatchNorm2d.scale_and_shift`).

    Returns:
        (N, K, OH, OW) with OH = floor((H + 2 padding - dilation (R - 1) - 1) / stride) + 1, OW
        likewise; with `max_pool`, (N, K, OH // height, OW // width) of its windows.

    Raises:
        ValueError: where shapes and settings do not fit, with the arithmetic.
        TypeError: for mixed dtypes.
        RuntimeError: for a `scale` where a gradient is wanted.
    """
    check_dtypes("conv2d", x, weight=weight, bias=bias, scale=scale)
    check_bias("conv2d", bias, weight.shape[0])
    relu = check_activation("conv2d", activation)
    settings = (
        stride,
        padding,
        dilation,
        groups,
        algorithm,
        precision_in_force() if precision is None else precision,
    )
    if scale is not None:  # the joined pass of conv_pool does not scale
        y = apply(Conv2d(*settings, relu), x, weight, bias, scale)
        return y if max_pool is None else max_pool2d(y, max_pool)
    if max_pool is None:
        return apply(Conv2d(*settings, relu), x, weight, bias)
    if conv_pool.suits(x.array, weight.array, *settings, max_pool):
        return apply(Conv2dMaxPool2d(stride, padding, dilation, max_pool, relu), x, weight, bias)
    return max_pool2d(apply(Conv2d(*settings), x, weight, bias), max_pool, activation=activation)


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int | str = 0,
    dilation: int = 1,
    groups: int = 1,
    algorithm: str = "auto",
    precision: str | None = None,
    activation: str | None = None,
) -> Tensor:
    """1-D convolution of a batch of sequences: `conv2d` on images of height 1.

    Args:
        x: sequences, (N, C, L).
        weight: filters, (K, C / groups, S).
        bias: (K,) or None.
        stride: step of the filter.
        padding: zeros on each side, or "same" or "valid".
        dilation: distance between the filter's taps.
        groups: number of independent channel groups.
        algorithm: see `conv2d`.
        precision: see `conv2d`.
        activation: see `conv2d`.

    Returns:
        (N, K, OL).

    Raises:
        ValueError: where shapes and settings do not fit.
        TypeError: for mixed dtypes.
    """
    check_dtypes("conv1d", x, weight=weight, bias=bias)
    if x.ndim != 3 or weight.ndim != 3:
        raise ValueError(
            f"conv1d: expected x of shape (N, C, L) and weight of shape (K, C / groups, S), got {x.shape} and "
            f"{weight.shape}"
            + ("; add the channel axis with x.unsqueeze(1)" if x.ndim == 2 else "")
        )
    y = conv2d(
        x.unsqueeze(2),  # (N, C, 1, L)
        weight.unsqueeze(2),  # (K, C / groups, 1, S)
        bias,
        (1, stride),
        padding if isinstance(padding, str) else (0, padding),
        (1, dilation),
        groups,
        algorithm,
        precision,
        activation,
    )
    return y.squeeze(2)  # (N, K, OL)


class ConvTranspose2d(Function):
    """y = the input gradient of a convolution with the same weight, at x; its own gradients are that convolution's.

    The bias is added, and with `relu` negative results are replaced by 0, in one more pass over y.

    Reference: Zeiler et al., "Deconvolutional networks" (2010); Dumoulin & Visin, arXiv 1603.07285,
        chapter 4.
    """

    def __init__(
        self,
        output_shape,
        stride,
        padding,
        dilation,
        groups,
        algorithm,
        precision="fast",
        relu=False,
    ):
        self.output_shape = output_shape
        self.settings = (stride, padding, dilation, groups, algorithm, precision)
        self.relu = relu

    def forward(self, x, weight, bias):
        y = kernels.conv2d_grad_input(x, weight, self.output_shape, *self.settings)
        if self.relu or bias is not None:
            rows = contiguous(channels_last(y))  # (N, OH, OW, K)
            sibling("bias", y).add_bias(rows.reshape(-1, rows.shape[-1]), bias, self.relu)
            y = channels_first(rows)
        if self.relu:
            self.save(x, weight, y)
        else:
            self.save(x, weight)
        return y

    def backward(self, grad):
        x, weight, *output = self.saved
        need_x, need_weight, need_bias = self.needs_grad
        grad, grad_bias = _grad_before_bias(grad, output, need_bias)
        return (
            kernels.conv2d(grad, weight, *self.settings) if need_x else None,
            kernels.conv2d_grad_weight(x, grad, weight.shape, *self.settings)
            if need_weight
            else None,
            grad_bias,
        )


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
    algorithm: str = "auto",
    precision: str | None = None,
    activation: str | None = None,
) -> Tensor:
    """Transposed 2-D convolution: enlarges where the convolution with the same settings reduces.

    Args:
        x: (N, C, H, W).
        weight: (C, K / groups, R, S).
        bias: (K,) or None.
        stride: distance of the input's pixels in the output.
        padding: rows and columns cut off on each side of the output.
        output_padding: rows and columns added at the end, to choose among the sizes that a strided
            convolution would map to the same H, W.
        groups: number of independent channel groups.
        dilation: distance between the filter's taps.
        algorithm: see `conv2d`.
        precision: see `conv2d`.
        activation: "relu", to replace negative results by 0 in the pass that adds the bias; or None.

    Returns:
        (N, K, OH, OW) with OH = (H - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1,
        OW likewise.

    Raises:
        ValueError: where shapes and settings do not fit.
        TypeError: for mixed dtypes.
    """
    check_dtypes("conv_transpose2d", x, weight=weight, bias=bias)
    output_shape = _transposed_shape(
        x.shape, weight.shape, stride, padding, output_padding, groups, dilation
    )
    check_bias("conv_transpose2d", bias, output_shape[1])
    relu = check_activation("conv_transpose2d", activation)
    precision = precision_in_force() if precision is None else precision
    settings = stride, padding, dilation, groups, algorithm, precision, relu
    return apply(ConvTranspose2d(output_shape, *settings), x, weight, bias)


def _transposed_shape(
    x_shape, w_shape, stride, padding, output_padding, groups, dilation
) -> tuple[int, ...]:
    """Check the arguments of a transposed convolution, and return the shape of its output."""
    if len(x_shape) != 4 or len(w_shape) != 4 or x_shape[1] != w_shape[0]:
        raise ValueError(
            "conv_transpose2d: expected x of shape (N, C, H, W) and weight of shape (C, K / groups, R, S), "
            f"got x {x_shape} and weight {w_shape}"
        )
    if groups < 1 or x_shape[1] % groups:
        raise ValueError(
            f"conv_transpose2d: groups must divide the {x_shape[1]} input channels, got {groups}"
        )
    window = shapes.window_of(w_shape[2:], stride, padding, dilation, "conv_transpose2d")
    extra = shapes.pair(output_padding, "conv_transpose2d: output_padding")
    for more, step in zip(extra, window.stride, strict=True):
        if not 0 <= more < step:
            raise ValueError(
                "conv_transpose2d: output_padding must be at least 0 and smaller than the stride, "
                f"got {extra} with stride {window.stride}"
            )
    size = tuple(
        shapes.conv_transpose_output_size(*axis)
        for axis in zip(
            x_shape[2:],
            window.kernel,
            window.stride,
            window.padding,
            window.dilation,
            extra,
            strict=True,
        )
    )
    if min(size) < 1:
        raise ValueError(
            f"conv_transpose2d: x {x_shape} with weight {w_shape} and padding {padding} leaves size {size}"
        )
    return (x_shape[0], w_shape[1] * groups, *size)
