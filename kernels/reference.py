"""The specification: every kernel as the loops of its definition.

Nothing here is clever or fast. The other files of this package must give the same numbers, up to
rounding; read this one to learn what they compute. An output pixel looks at the image through a
window; `_conv_windows` and `_pool_windows` list, for every output element, the part of the input
that it sees.

    N batch, C in-channels, H W input size, K out-channels, R S kernel size, OH OW output size
"""

from collections.abc import Iterator

import numpy as np

from .shapes import (
    IntOrPair,
    Padding,
    Shape,
    Sides,
    Window,
    conv2d_shape,
    pool2d_shape,
    window_of,
)

Index = tuple[int, int, int, int]


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """y[n, k, oh, ow] = sum over c, r, s of w[k, c, r, s] * x[n, c, oh*stride + r*dilation, ow*stride + s*dilation].

    Args:
        x: images (N, C, H, W).
        w: weights (K, C / groups, R, S).
        stride: steps of the window, an integer or (vertical, horizontal).
        padding: rows and columns of zeros around the image, see `shapes.resolve_padding`.
        dilation: distance between the taps of the window.
        groups: output channel k sees the C / groups input channels of its own group only.

    Returns:
        (N, K, OH, OW)

    Raises:
        TypeError, ValueError: see `shapes.conv2d_shape`.
    """
    y = np.zeros(conv2d_shape(x.shape, w.shape, stride, padding, dilation, groups), x.dtype)
    window = window_of(w.shape[2:], stride, padding, dilation)
    padded = _pad(x, window.padding)
    for index, seen in _conv_windows(y.shape, w.shape, window, groups):
        y[index] = np.sum(padded[seen] * w[index[1]])  # (C/groups, R, S) both
    return y


def conv2d_grad_input(
    grad: np.ndarray,
    w: np.ndarray,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Gradient with respect to x: each output pixel sends its gradient back through the weights it was made with.

    Args:
        grad: gradient with respect to y, (N, K, OH, OW).
        w: weights (K, C / groups, R, S).
        x_shape: shape of x, which `grad` alone does not determine.
        stride: as in `conv2d`, and so the others.
        padding: see `stride`.
        dilation: see `stride`.
        groups: see `stride`.

    Returns:
        (N, C, H, W)
    """
    window = window_of(w.shape[2:], stride, padding, dilation)
    grad_padded = _pad(np.zeros(x_shape, grad.dtype), window.padding)
    for index, seen in _conv_windows(grad.shape, w.shape, window, groups):
        grad_padded[seen] += grad[index] * w[index[1]]  # (C/groups, R, S) both
    return _crop(grad_padded, window.padding)


def conv2d_grad_weight(
    grad: np.ndarray,
    x: np.ndarray,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Gradient with respect to w: each output pixel adds the window it saw, times its own gradient.

    Args:
        grad: gradient with respect to y, (N, K, OH, OW).
        x: images (N, C, H, W).
        w_shape: shape of w, which `grad` and `x` alone do not determine.
        stride: as in `conv2d`, and so the others.
        padding: see `stride`.
        dilation: see `stride`.
        groups: see `stride`.

    Returns:
        (K, C / groups, R, S)
    """
    window = window_of(w_shape[2:], stride, padding, dilation)
    padded = _pad(x, window.padding)
    grad_w = np.zeros(w_shape, x.dtype)
    for index, seen in _conv_windows(grad.shape, w_shape, window, groups):
        grad_w[index[1]] += grad[index] * padded[seen]  # (C/groups, R, S) both
    return grad_w


def max_pool2d(
    x: np.ndarray,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    relu: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The largest element of each window, and which tap of the window holds it.

    The first of equals wins, row by row; NaN is larger than every number; pixels outside the image
    take no part (a dilated window that misses a small image altogether gives -inf).

    Args:
        x: images (N, C, H, W).
        kernel: size of the window, an integer or (vertical, horizontal).
        stride: steps of the window; None stands for `kernel`.
        padding: frame around the image, at most half of the window.
        dilation: distance between the taps of the window.
        ceil_mode: whether a last window may reach past the end, see `shapes.pool_output_size`.
        relu: whether maxima below 0 become 0. It is the same whether ReLU is taken before or after,
            but after it there are fewer elements. A window without a positive element has the
            winner R * S, a tap that does not exist: it sends no gradient back.

    Returns:
        the maxima (N, C, OH, OW), and the winners: r * S + s of the winning tap, (N, C, OH, OW)

    Raises:
        TypeError, ValueError: see `shapes.pool2d_shape`.
    """
    shape = pool2d_shape(x.shape, kernel, stride, padding, dilation, ceil_mode)
    window = window_of(kernel, kernel if stride is None else stride, padding, dilation)
    y, winner = np.full(shape, -np.inf, x.dtype), np.zeros(shape, np.int64)
    for index, seen in _pool_windows(x.shape, shape, window):
        if seen:
            values = [x[pixel] for _, pixel in seen]
            first = int(np.argmax(values))  # the first of equals; NaN before all others
            y[index], winner[index] = values[first], seen[first][0]
        if relu and y[index] <= 0:
            y[index], winner[index] = 0, window.kernel[0] * window.kernel[1]
    return y, winner


def max_pool2d_grad(
    grad: np.ndarray,
    winner: np.ndarray,
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> np.ndarray:
    """Gradient with respect to x: all of it goes to the winner of each window.

    Args:
        grad: gradient with respect to the maxima, (N, C, OH, OW).
        winner: the second result of `max_pool2d`.
        x_shape: (N, C, H, W).
        kernel: as in `max_pool2d`, and so the others.
        stride: see `kernel`.
        padding: see `kernel`.
        dilation: see `kernel`.
        ceil_mode: see `kernel`.

    Returns:
        (N, C, H, W)
    """
    window = window_of(kernel, kernel if stride is None else stride, padding, dilation)
    grad_x = np.zeros(x_shape, grad.dtype)
    for index, seen in _pool_windows(x_shape, grad.shape, window):
        for tap, pixel in seen:
            if tap == winner[index]:
                grad_x[pixel] += grad[index]
    return grad_x


def avg_pool2d(
    x: np.ndarray,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> np.ndarray:
    """The mean of each window.

    Args:
        x: images (N, C, H, W).
        kernel: size of the window, an integer or (vertical, horizontal).
        stride: steps of the window; None stands for `kernel`.
        padding: frame of zeros around the image, at most half of the window.
        ceil_mode: whether a last window may reach past the end, see `shapes.pool_output_size`.
        count_include_pad: whether the zeros of the frame count as elements; what lies past the
            frame never does.

    Returns:
        (N, C, OH, OW)

    Raises:
        TypeError, ValueError: see `shapes.pool2d_shape`.
    """
    shape = pool2d_shape(x.shape, kernel, stride, padding, 1, ceil_mode)
    window = window_of(kernel, kernel if stride is None else stride, padding)
    y = np.zeros(shape, x.dtype)
    for index, seen in _pool_windows(x.shape, shape, window):
        count = _pool_count(index, seen, x.shape, window, count_include_pad)
        y[index] = sum(float(x[pixel]) for _, pixel in seen) / count
    return y


def avg_pool2d_grad(
    grad: np.ndarray,
    x_shape: Shape,
    kernel: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair | Sides = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> np.ndarray:
    """Gradient with respect to x: equal shares for all elements of each window.

    Args:
        grad: gradient with respect to the means, (N, C, OH, OW).
        x_shape: (N, C, H, W).
        kernel: as in `avg_pool2d`, and so the others.
        stride: see `kernel`.
        padding: see `kernel`.
        ceil_mode: see `kernel`.
        count_include_pad: see `kernel`.

    Returns:
        (N, C, H, W)
    """
    window = window_of(kernel, kernel if stride is None else stride, padding)
    grad_x = np.zeros(x_shape, grad.dtype)
    for index, seen in _pool_windows(x_shape, grad.shape, window):
        count = _pool_count(index, seen, x_shape, window, count_include_pad)
        for _, pixel in seen:
            grad_x[pixel] += float(grad[index]) / count
    return grad_x


def _conv_windows(
    y_shape: Shape, w_shape: Shape, window: Window, groups: int
) -> Iterator[tuple[Index, tuple]]:
    """For every output element (n, k, oh, ow): the index of the (C/groups, R, S) block of the padded input it sees."""
    K, C_per_group = w_shape[:2]
    (sh, sw), (dh, dw) = window.stride, window.dilation
    height, width = window.extent
    for n, k, oh, ow in np.ndindex(*y_shape):
        c = k // (K // groups) * C_per_group  # the first channel of the group that k belongs to
        channels = slice(c, c + C_per_group)
        rows = slice(oh * sh, oh * sh + height, dh)
        columns = slice(ow * sw, ow * sw + width, dw)
        yield (n, k, oh, ow), (n, channels, rows, columns)


def _pool_windows(
    x_shape: Shape, y_shape: Shape, window: Window
) -> Iterator[tuple[Index, list[tuple[int, Index]]]]:
    """For every output element (n, c, oh, ow): the tap number and the index of each input pixel it sees."""
    (R, S), (sh, sw), ((top, _), (left, _)), (dh, dw) = window
    H, W = x_shape[2:]
    for n, c, oh, ow in np.ndindex(*y_shape):
        seen = []
        for r, s in np.ndindex(R, S):
            h, w = oh * sh - top + r * dh, ow * sw - left + s * dw
            if 0 <= h < H and 0 <= w < W:
                seen.append((r * S + s, (n, c, h, w)))
        yield (n, c, oh, ow), seen


def _pool_count(
    index: Index, seen: list, x_shape: Shape, window: Window, count_include_pad: bool
) -> int:
    """Number of elements that the mean of one window divides by."""
    if not count_include_pad:
        return len(seen)
    count = 1
    for i, size, kernel, stride, (before, after), _ in zip(
        index[2:], x_shape[2:], *window, strict=True
    ):
        start = i * stride - before
        count *= min(start + kernel, size + after) - start
    return count


def _pad(x: np.ndarray, padding: Sides) -> np.ndarray:
    """Frame images (N, C, H, W) with zeros: (N, C, top + H + bottom, left + W + right)."""
    return np.pad(x, ((0, 0), (0, 0), *padding))


def _crop(padded: np.ndarray, padding: Sides) -> np.ndarray:
    (top, bottom), (left, right) = padding
    height, width = padded.shape[2:]
    return padded[:, :, top : height - bottom, left : width - right].copy()
