"""Convolution: checks the arguments, chooses how to compute, and hands the arrays over.

A convolution can be computed in several ways, which give the same numbers up to rounding:

    "naive"     the loops of the definition (reference.py): the specification, for tiny inputs
    "im2col"    patches and a matrix product (im2col.py): NumPy on the CPU, CuPy on a GPU
    "direct"    tiles of pixels (cpu/conv.py, stem.py, depthwise.py): Numba on the CPU; CUDA on a GPU (gpu/)
    "winograd"  fewer multiplications for 3x3 windows (cpu/winograd.py): Numba on the CPU; rounds more
    "cudnn"     NVIDIA's library (gpu/cudnn.py): on a GPU, to compare with; an optional package
    "auto"      the quickest of im2col, direct and winograd, see `choose_algorithm`
"""

from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from typing import NamedTuple

import numpy as np

from . import activation
from .arrays import Array, check_float_array, check_shape, xp_of
from .dispatch import COMPILED_DTYPES, LEAST_CAPABILITY, can_compile, place_of, suits_cuda
from .shapes import (
    IntOrPair,
    Padding,
    Shape,
    conv2d_shape,
    hashable,
    is_depthwise,
    window_of,
)

ALGORITHMS = ("auto", "im2col", "direct", "winograd", "cudnn", "naive")
PRECISIONS = ("fast", "exact", "tf32")


def conv2d(
    x: Array,
    w: Array,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    algorithm: str = "auto",
    precision: str = "fast",
    bias: Array | None = None,
    relu: bool = False,
    scale: Array | None = None,
) -> Array:
    """Convolution (cross-correlation, as in all deep-learning libraries), see `reference.conv2d`.

    Args:
        x: images (N, C, H, W), float, in any memory order.
        w: weights (K, C / groups, R, S), of the same dtype.
        stride: steps of the window, an integer or (vertical, horizontal).
        padding: an integer, a pair, ((top, bottom), (left, right)), "same" or "valid".
        dilation: distance between the taps of the window.
        groups: number of parts that the channels are split into.
        algorithm: "auto", "im2col", "direct", "winograd", "cudnn" or "naive".
        precision: what "auto" may choose. "fast" allows Winograd's algorithm, whose largest error is
            about 1e-5 of the largest result in float32; "exact" stays with sums of products, about
            1e-6, at the price of up to three times the time for 3x3 windows. "tf32" is as "fast", but
            allows the tensor cores of a GPU too, which round factors in float32 to 11 bits: about 1e-3.
        bias: (K,) of the same dtype, added to each output pixel; or None.
        relu: whether negative results become 0 (and NaN stays).
        scale: (K,) of the same dtype, by which each output channel is multiplied before the bias is
            added; or None. The compiled loops multiply the weights by it, where they copy them anyway.

    Returns:
        (N, K, OH, OW), of the same dtype, never sharing memory with the arguments

    Raises:
        TypeError: for arrays that are not of one float dtype.
        ValueError: for shapes, settings and algorithms that do not go together.
    """
    _check_arrays("conv2d", "x", x, "w", w)
    if bias is not None:
        check_bias(bias, w)
    if scale is not None:
        check_bias(scale, w, "scale")
    settings = hashable(stride, padding, dilation, groups)
    way = _choose("conv2d", algorithm, precision, x, x.shape, w.shape, settings)
    if way.fuses:
        return way.compute(x, w, *settings, bias, relu, scale)
    y = way.compute(x, w, *settings)
    if scale is not None:
        y *= scale[:, None, None]
    if bias is not None:
        y += bias[:, None, None]
    return activation.relu(y) if relu else y


def conv2d_grad_input(
    grad: Array,
    w: Array,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    algorithm: str = "auto",
    precision: str = "fast",
) -> Array:
    """Gradient of `conv2d` with respect to x (N, C, H, W), see `reference.conv2d_grad_input`.

    `grad` (N, K, OH, OW) is the gradient with respect to the output. The other arguments and errors
    are those of `conv2d`.

    NaN and infinity in `grad` reach what the definition says, and so do those in `w`, but for one thing: for a
    pixel near the border, which not every tap saw, "direct" and "im2col" add zeros in the place of outputs that
    do not exist. Zero times infinity is NaN, where the definition ("naive") leaves the tap out, as the loops for
    depthwise convolutions do. To look for infinity would cost a pass over all weights. Winograd's transforms
    spread NaN and infinity over a tile.
    """
    _check_arrays("conv2d_grad_input", "grad", grad, "w", w)
    settings = hashable(stride, padding, dilation, groups)
    x_shape = tuple(x_shape)
    way = _choose("conv2d_grad_input", algorithm, precision, grad, x_shape, w.shape, settings)
    check_shape(grad, way.output_shape, "conv2d_grad_input: grad")
    return way.compute(grad, w, x_shape, *settings)


def conv2d_grad_weight(
    grad: Array,
    x: Array,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    algorithm: str = "auto",
    precision: str = "fast",
) -> Array:
    """Gradient of `conv2d` with respect to w (K, C / groups, R, S), see `reference.conv2d_grad_weight`.

    `grad` (N, K, OH, OW) is the gradient with respect to the output. The other arguments and errors
    are those of `conv2d`.
    """
    _check_arrays("conv2d_grad_weight", "grad", grad, "x", x)
    settings = hashable(stride, padding, dilation, groups)
    w_shape = tuple(w_shape)
    way = _choose("conv2d_grad_weight", algorithm, precision, grad, x.shape, w_shape, settings)
    check_shape(grad, way.output_shape, "conv2d_grad_weight: grad")
    return way.compute(grad, x, w_shape, *settings)


def choose_algorithm(
    function: str,
    array: Array,
    x_shape: Shape,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    precision: str = "fast",
) -> str:
    """Return what "auto" stands for: "winograd", "direct" or "im2col".

    Where neither the compiled loops nor the kernels in gpu/ suit `array` (see `dispatch.place_of`; they never
    compute in float16), that is im2col. Otherwise it is direct; or Winograd, on the CPU, where
    `cpu.winograd.suits` says that it is quicker and `precision` is not "exact".

    Args:
        function: "conv2d", "conv2d_grad_input" or "conv2d_grad_weight".
        array: one of its arguments.
        x_shape: (N, C, H, W).
        w_shape: (K, C / groups, R, S).
        stride: see `conv2d`.
        padding: see `conv2d`.
        dilation: see `conv2d`.
        groups: see `conv2d`.
        precision: see `conv2d`.
    """
    settings = stride, padding, dilation, groups
    conv2d_shape(x_shape, w_shape, *settings)  # refuses what does not fit, in its own words
    return quickest(function, place_of(array), precision, x_shape, w_shape, settings)


def quickest(
    function: str, place: str, precision: str, x_shape: Shape, w_shape: Shape, settings: tuple
) -> str:
    """Return what "auto" stands for; `place` is that of `dispatch.place_of`, shapes must fit."""
    if not place:
        return "im2col"
    if place == "gpu" or precision == "exact":
        return "direct"
    from .cpu import winograd

    *window_settings, groups = settings
    window = window_of(w_shape[2:], *window_settings)
    return "winograd" if winograd.suits(function, x_shape, w_shape, window, groups) else "direct"


class _Way(NamedTuple):
    """How a convolution is computed."""

    compute: Callable[..., Array]
    fuses: bool
    """Whether it scales, adds a bias and applies ReLU itself."""
    output_shape: Shape
    """That of the forward pass, (N, K, OH, OW)."""


def _choose(
    function: str,
    algorithm: str,
    precision: str,
    array: Array,
    x_shape: Shape,
    w_shape: Shape,
    settings: tuple,
) -> _Way:
    """Return how to compute `function`, after checks of everything but the arrays."""
    if algorithm != "auto" and algorithm in ALGORITHMS:
        _check_algorithm(algorithm, array)
    return _way(function, algorithm, precision, place_of(array), x_shape, w_shape, *settings)


@lru_cache(maxsize=4096, typed=True)
def _way(
    function: str,
    algorithm: str,
    precision: str,
    place: str,
    x_shape: Shape,
    w_shape: Shape,
    *settings: object,
) -> _Way:
    """Check and choose once for all calls alike: a network convolves the same shapes in every step."""
    output_shape = conv2d_shape(x_shape, w_shape, *settings)
    if precision not in PRECISIONS:
        raise ValueError(f'precision: expected "fast", "exact" or "tf32", got {precision!r}')
    if algorithm not in ALGORITHMS:
        names = '"auto", "im2col", "direct", "winograd", "cudnn" or "naive"'
        raise ValueError(f"conv2d: algorithm: expected {names}, got {algorithm!r}")
    if algorithm == "auto":
        algorithm = quickest(function, place, precision, x_shape, w_shape, settings)
    module = _module(function, algorithm, place, x_shape, w_shape, settings)
    compute = getattr(import_module(module, __package__), function)
    if module in (".gpu.conv", ".gpu.cudnn"):
        compute = partial(compute, precision=precision)
    fuses = module.startswith((".cpu.", ".gpu.")) and algorithm != "cudnn"
    return _Way(compute, fuses, output_shape)


def _module(
    function: str, algorithm: str, place: str, x_shape: Shape, w_shape: Shape, settings: tuple
) -> str:
    """Name the module of an algorithm, which is imported when it is first needed: Numba takes its time to load."""
    if algorithm == "naive":
        return ".reference"
    if algorithm == "im2col":
        return ".im2col"
    if algorithm == "winograd":
        return ".cpu.winograd"
    if algorithm == "cudnn":
        return ".gpu.cudnn"
    if is_depthwise(x_shape, w_shape, settings[-1]):
        return f".{place or 'cpu'}.depthwise"
    if place == "gpu":
        return ".gpu.conv"
    from .cpu import stem

    is_stem = function != "conv2d_grad_input" and stem.suits(x_shape, w_shape, *settings)
    return ".cpu.stem" if is_stem else ".cpu.conv"


def _check_algorithm(algorithm: str, array: Array) -> None:
    """Refuse an algorithm for arrays that it cannot compute with."""
    on_gpu = xp_of(array) is not np
    if on_gpu and algorithm in ("naive", "winograd"):
        raise ValueError(
            f'conv2d: algorithm: "{algorithm}" computes on the CPU, but the arrays are on a GPU; '
            'use "auto", "direct" or "im2col", or move the arrays to the CPU'
        )
    if not on_gpu and algorithm == "cudnn":
        raise ValueError(
            'conv2d: algorithm: "cudnn" computes on a GPU, but the arrays are on the CPU; '
            'use "auto", "direct", "winograd" or "im2col", or move the arrays to the GPU'
        )
    if algorithm not in ("direct", "winograd") or suits_cuda(array):
        return
    if array.dtype not in COMPILED_DTYPES:
        raise TypeError(
            f'conv2d: algorithm: "{algorithm}" computes in float32 or float64, got {array.dtype}; '
            'convert the arrays or use "im2col"'
        )
    if on_gpu:
        raise RuntimeError(
            f'conv2d: algorithm: "{algorithm}" needs the kernels in gpu/, which are switched off, or need a card of '
            f'compute capability {LEAST_CAPABILITY} or later; use "auto" or "im2col"'
        )
    if not can_compile():
        raise RuntimeError(
            f'conv2d: algorithm: "{algorithm}" needs Numba, which is not installed or is switched off by '
            'NUMBA_DISABLE_JIT; use "auto" or "im2col"'
        )


def check_bias(bias: Array, w: Array, name: str = "bias") -> None:
    """A bias must be a number for each output channel: the compiled loops read what stands in its place."""
    if bias.shape != w.shape[:1]:
        check_shape(bias, w.shape[:1], f"conv2d: {name}")
    if bias.dtype != w.dtype:
        raise TypeError(
            f"conv2d: {name}: expected {w.dtype}, the dtype of w, got {bias.dtype}; convert one of them, "
            f"e.g. {name}.astype(w.dtype)"
        )


def _check_arrays(where: str, a_name: str, a: Array, b_name: str, b: Array) -> None:
    """Both arguments must be float arrays of one dtype, in one place."""
    if type(a) is type(b) is np.ndarray and a.dtype == b.dtype and a.dtype in COMPILED_DTYPES:
        return
    check_float_array(a, f"{where}: {a_name}")
    check_float_array(b, f"{where}: {b_name}")
    if a.dtype != b.dtype:
        raise TypeError(
            f"{where}: expected {a_name} and {b_name} of the same dtype, got {a_name} {a.dtype} and {b_name} "
            f"{b.dtype}; convert one of them, e.g. {a_name}.astype({b_name}.dtype)"
        )
    if xp_of(a) is not xp_of(b):
        raise TypeError(
            f"{where}: expected {a_name} and {b_name} on the same device, got one on the CPU and one on a GPU"
        )
