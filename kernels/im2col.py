"""Convolution as one matrix product (im2col), for NumPy and CuPy.

Write the window that each output pixel sees as a row of a matrix, and each output channel's weights
as a column of another: their product is the convolution. The rows are the *patches*,

    patches (G, N*OH*OW, R*S*C/G)  @  weights (G, R*S*C/G, K/G)  =  y (G, N*OH*OW, K/G)

with one product for each of the G groups. Both gradients follow from that of a matrix product:
weights get patches^T @ grad, patches get grad @ weights^T, and every input pixel sums the gradients
of all the patches it is in (col2im; at stride 1 there is a shorter way). K. Chellapilla, S. Puri,
P. Simard: "High Performance Convolutional Neural Networks for Document Processing", 2006.

Arrays have the logical order (N, C, H, W) in any memory order; results keep channels innermost in
memory.
"""

from .arrays import Array, channels_first, channels_last, xp_of
from .shapes import (
    IntOrPair,
    Padding,
    Pair,
    Shape,
    Sides,
    Window,
    conv2d_shape,
    window_of,
)
from .windows import crop, pad, taps, windows


def conv2d(
    x: Array,
    w: Array,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Array:
    """Convolution, see `reference.conv2d` for arguments and errors.

    Returns:
        (N, K, OH, OW), a view of memory in the order (N, OH, OW, K)
    """
    N, K, OH, OW = conv2d_shape(x.shape, w.shape, stride, padding, dilation, groups)
    window = window_of(w.shape[2:], stride, padding, dilation)
    patches = _patches(x, window, (OH, OW), groups)  # (G, N*OH*OW, R*S*C/G)
    xp = xp_of(x)
    y = xp.matmul(patches, _weight_matrices(w, groups))  # (G, N*OH*OW, K/G)
    y = xp.ascontiguousarray(y.transpose(1, 0, 2))  # (N*OH*OW, G, K/G); a copy only if G > 1
    return channels_first(y.reshape(N, OH, OW, K))


def conv2d_grad_input(
    grad: Array,
    w: Array,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Array:
    """Gradient with respect to x, see `reference.conv2d_grad_input`.

    At stride 1 it is a convolution itself: pixel x[i] was seen by output pixel y[i - r] through tap
    r, so the gradient of y is convolved with the filters turned round. Reading patches once is much
    quicker than adding them up.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    window = window_of(w.shape[2:], stride, padding, dilation)
    frame = _frame_of_gradient(window)
    if window.stride == (1, 1) and min(*frame[0], *frame[1]) >= 0:
        return conv2d(grad, _turned(w, groups), 1, frame, dilation, groups)
    return _col2im(grad, w, x_shape, window, groups)


def _frame_of_gradient(window: Window) -> Sides:
    """How far the windows of the gradient reach beyond it: what the padding left of the window's extent."""
    (height, width), ((top, bottom), (left, right)) = window.extent, window.padding
    return (height - 1 - top, height - 1 - bottom), (width - 1 - left, width - 1 - right)


def _turned(w: Array, groups: int) -> Array:
    """Turn every filter by 180 degrees and exchange inputs and outputs: (K, C/G, R, S) -> (C, K/G, R, S)."""
    K, C_per_group, R, S = w.shape
    filters = w.reshape(groups, K // groups, C_per_group, R, S)[..., ::-1, ::-1]
    return filters.transpose(0, 2, 1, 3, 4).reshape(groups * C_per_group, K // groups, R, S)


def _col2im(grad: Array, w: Array, x_shape: Shape, window: Window, groups: int) -> Array:
    """Gradient with respect to x in general: that of each patch, added up where patches overlap."""
    N, C, H, W = x_shape
    OH, OW = grad.shape[2:]
    R, S = window.kernel
    xp = xp_of(grad)
    grad_y = _split_channels(grad, groups)  # (G, N*OH*OW, K/G)
    grad_patches = xp.matmul(grad_y, _weight_matrices(w, groups).transpose(0, 2, 1))
    grad_patches = grad_patches.reshape(groups, N, OH, OW, R, S, C // groups)

    (top, bottom), (left, right) = window.padding
    grad_x = xp.zeros((N, top + H + bottom, left + W + right, C), dtype=grad.dtype)
    for g in range(groups):
        channels = slice(g * C // groups, (g + 1) * C // groups)
        seen = windows(grad_x[..., channels], window, (OH, OW))  # (N, OH, OW, R, S, C/G)
        for pixels, addends in zip(taps(seen), taps(grad_patches[g]), strict=True):
            pixels += addends  # (N, OH, OW, C/G) both; a tap's windows do not overlap
    return channels_first(crop(grad_x, window.padding))


def conv2d_grad_weight(
    grad: Array,
    x: Array,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Array:
    """Gradient with respect to w, see `reference.conv2d_grad_weight`.

    Returns:
        (K, C / groups, R, S), contiguous
    """
    K, C_per_group, R, S = w_shape
    window = window_of((R, S), stride, padding, dilation)
    patches = _patches(x, window, grad.shape[2:], groups)  # (G, N*OH*OW, R*S*C/G)
    grad_y = _split_channels(grad, groups)  # (G, N*OH*OW, K/G)
    grad_w = xp_of(x).matmul(grad_y.transpose(0, 2, 1), patches)  # (G, K/G, R*S*C/G)
    grad_w = channels_first(grad_w.reshape(K, R, S, C_per_group))
    return xp_of(x).ascontiguousarray(grad_w)


def _patches(x: Array, window: Window, output_size: Pair, groups: int) -> Array:
    """Write what every output pixel sees as a row: (N, C, H, W) -> (G, N*OH*OW, R*S*C/G)."""
    N, C = x.shape[:2]
    (R, S), (OH, OW) = window.kernel, output_size
    padded = pad(channels_last(x), window.padding)
    seen = windows(padded, window, output_size).reshape(N, OH, OW, R, S, groups, C // groups)
    rows = seen.transpose(5, 0, 1, 2, 3, 4, 6)  # (G, N, OH, OW, R, S, C/G)
    return rows.reshape(groups, N * OH * OW, R * S * (C // groups))


def _weight_matrices(w: Array, groups: int) -> Array:
    """Order weights like patches, an output channel a column: (K, C/G, R, S) -> (G, R*S*C/G, K/G)."""
    K, C_per_group, R, S = w.shape
    rows = channels_last(w).reshape(groups, K // groups, R * S * C_per_group)
    return rows.transpose(0, 2, 1)


def _split_channels(grad: Array, groups: int) -> Array:
    """Write the channels of each output pixel as a row: (N, K, OH, OW) -> (G, N*OH*OW, K/G)."""
    N, K, OH, OW = grad.shape
    rows = channels_last(grad).reshape(N * OH * OW, groups, K // groups)
    return rows.transpose(1, 0, 2)
