"""Convolution by cuDNN, NVIDIA's library, to compare the kernels in conv.cu with: `algorithm="cudnn"`.

cuDNN is told a problem, as a graph of operations on tensors of which it learns sizes, strides and
dtype only, and answers with plans: kernels of its own, the one that it expects to be quickest first.
To find and prepare them takes milliseconds to seconds; to execute one takes microseconds, and needs no
more than the addresses of the arrays and of some memory to work in. So plans are kept, one a problem.

The optional package nvidia-cudnn-frontend describes the graphs; the module is called `cudnn`, too.
Images and weights are given with channels innermost, the order for which cuDNN has its quickest
kernels, and the one that this library keeps images in.

What a plan does to numbers is said in its "numeric notes". Plans whose sums depend on the order in
which threads finish are refused always, and so are those that round factors; "tf32" lets float32 have
tensor cores, which do. "exact" refuses Winograd's and Fourier's transforms, which round more, too.

The facts about graphs, plans and notes are those of NVIDIA's documentation, "cuDNN Backend API" and
"cuDNN Frontend API".
"""

import functools
import importlib
import threading
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, channels_first, channels_last, xp_of
from ..shapes import IntOrPair, Padding, Shape, Window, conv2d_shape, window_of
from .launch import contiguous

TYPES = {"float16": "HALF", "float32": "FLOAT", "float64": "DOUBLE"}
"""What cuDNN calls the dtypes. In float16 products are added up in float32, as everywhere."""

REFUSED = ("NONDETERMINISTIC", "REDUCED_PRECISION_REDUCTION")
"""The numeric notes of plans that are never taken."""

ROUNDING = ("TENSOR_CORE", "DOWN_CONVERT_INPUTS")
"""Notes of plans that round factors in float32; tensor cores take those of float16 and float64 as they are."""

TRANSFORMS = ("FFT", "WINOGRAD", "WINOGRAD_TILE_4x4", "WINOGRAD_TILE_6x6", "WINOGRAD_TILE_13x13")
"""Notes of plans that transform images and weights, multiply there, and transform the products back."""

OPERATIONS = {
    "conv2d": ("conv_fprop", "image", "weight"),
    "conv2d_grad_input": ("conv_dgrad", "loss", "filter"),
    "conv2d_grad_weight": ("conv_wgrad", "image", "loss"),
}
"""What cuDNN calls the functions below, and their two arguments."""


def conv2d(
    x: Array,
    w: Array,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    precision: str = "fast",
) -> Array:
    """Convolution of float16, float32 or float64 arrays, see `reference.conv2d`.

    Args:
        x: (N, C, H, W).
        w: (K, C / groups, R, S).
        stride: see `kernels.conv2d`.
        padding: see `kernels.conv2d`.
        dilation: see `kernels.conv2d`.
        groups: see `kernels.conv2d`; cuDNN finds their number in the shapes.
        precision: "exact", "fast" or "tf32", see above.

    Returns:
        (N, K, OH, OW), a view of memory in the order (N, OH, OW, K)

    Raises:
        RuntimeError: where cuDNN is not installed, or has no plan.
    """
    shape = conv2d_shape(x.shape, w.shape, stride, padding, dilation, groups)
    window = window_of(w.shape[2:], stride, padding, dilation)
    return _compute("conv2d", x, w, shape, window, precision)


def conv2d_grad_input(
    grad: Array,
    w: Array,
    x_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    precision: str = "fast",
) -> Array:
    """Gradient with respect to x, see `reference.conv2d_grad_input`, and `conv2d` for the errors.

    Returns:
        (N, C, H, W), a view of memory in the order (N, H, W, C)
    """
    conv2d_shape(x_shape, w.shape, stride, padding, dilation, groups)
    window = window_of(w.shape[2:], stride, padding, dilation)
    return _compute("conv2d_grad_input", grad, w, tuple(x_shape), window, precision)


def conv2d_grad_weight(
    grad: Array,
    x: Array,
    w_shape: Shape,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    precision: str = "fast",
) -> Array:
    """Gradient with respect to w, see `reference.conv2d_grad_weight`, and `conv2d` for the errors.

    Returns:
        (K, C / groups, R, S), a view of memory in the order (K, R, S, C / groups)
    """
    conv2d_shape(x.shape, w_shape, stride, padding, dilation, groups)
    window = window_of(w_shape[2:], stride, padding, dilation)
    return _compute("conv2d_grad_weight", x, grad, tuple(w_shape), window, precision)


def _compute(
    function: str, first: Array, second: Array, shape: Shape, window: Window, precision: str
) -> Array:
    """Execute the plan for `function` of two arrays, whose result has this shape."""
    xp = xp_of(first)
    N, C, H, W = shape
    result = xp.empty((N, H, W, C), first.dtype)
    if not (first.size and second.size and result.size):
        result.fill(0)  # sums of nothing
        return channels_first(result)
    arrays = contiguous(channels_last(first)), contiguous(channels_last(second)), result
    problem = Problem(
        function, first.shape, second.shape, shape, window, first.dtype.name, precision
    )
    device = first.device.id
    with first.device:
        plan = _plan(problem, device)
        workspace = xp.empty(max(plan.workspace_bytes, 1), np.uint8)
        handle = _handles.on(device)
        library().set_stream(handle=handle, stream=xp.cuda.get_current_stream().ptr)
        places = {
            tensor: array.data.ptr for tensor, array in zip(plan.tensors, arrays, strict=True)
        }
        plan.graph.execute(places, workspace.data.ptr, handle=handle)
    return channels_first(result)


# --- what follows from shapes and settings --------------------------------------------------------


class Problem(NamedTuple):
    """What cuDNN needs to know to make a plan; all shapes are (N, C, H, W) or (K, C / groups, R, S)."""

    function: str
    first_shape: Shape
    second_shape: Shape
    result_shape: Shape
    window: Window
    dtype: str
    precision: str


class Plan(NamedTuple):
    """What was found for a problem."""

    graph: Any
    tensors: tuple[Any, Any, Any]
    """Those of the graph: both arguments and the result."""
    workspace_bytes: int


@functools.lru_cache(maxsize=1024)
def _plan(problem: Problem, device: int) -> Plan:
    """Find a plan for the device, which must be the current one."""
    return find_plan(problem, handle=_handles.on(device))


def find_plan(problem: Problem, **target: Any) -> Plan:
    """Let cuDNN find a plan.

    Args:
        problem: what is to be computed.
        **target: for which card, as `cudnn.pygraph` takes it: `handle`, or the properties of a card
            that is not there.

    Raises:
        RuntimeError: if there is none.
    """
    cudnn = library()
    graph, tensors = _described(problem, target)
    try:
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        refused = refused_notes(problem.dtype, problem.precision)
        graph.deselect_numeric_notes([getattr(cudnn.numerical_note, note) for note in refused])
        graph.check_support()
        graph.build_plans()
    except (cudnn.cudnnGraphNotSupportedError, RuntimeError) as error:
        raise RuntimeError(
            f"{problem.function}: cuDNN has no plan for arrays {problem.first_shape} and {problem.second_shape} of "
            f'{problem.dtype} with precision="{problem.precision}"; use algorithm="direct" or "im2col" ({error})'
        ) from error
    return Plan(graph, tensors, graph.get_workspace_size())


def _described(problem: Problem, target: dict[str, Any]) -> tuple[Any, tuple[Any, Any, Any]]:
    """Describe a problem as a graph of one operation; return it, and its tensors: both arguments and the result."""
    cudnn = library()
    dtype = getattr(cudnn.data_type, TYPES[problem.dtype])
    sums = cudnn.data_type.FLOAT if problem.dtype == "float16" else dtype
    graph = cudnn.pygraph(
        io_data_type=dtype, intermediate_data_type=sums, compute_data_type=sums, **target
    )
    operation, *names = OPERATIONS[problem.function]
    first, second = (
        graph.tensor(
            name=name, dim=list(shape), stride=_channels_last_strides(shape), data_type=dtype
        )
        for name, shape in zip(names, (problem.first_shape, problem.second_shape), strict=True)
    )
    (top, bottom), (left, right) = problem.window.padding
    result = getattr(graph, operation)(
        **dict(zip(names, (first, second), strict=True)),
        pre_padding=[top, left],
        post_padding=[bottom, right],
        stride=list(problem.window.stride),
        dilation=list(problem.window.dilation),
    )
    result.set_output(True).set_data_type(dtype).set_dim(list(problem.result_shape))
    result.set_stride(_channels_last_strides(problem.result_shape))
    return graph, (first, second, result)


def refused_notes(dtype: str, precision: str) -> tuple[str, ...]:
    """Return the numeric notes of plans that do not suit `precision`."""
    rounding = ROUNDING if dtype == "float32" and precision != "tf32" else ()
    return (*REFUSED, *rounding, *(TRANSFORMS if precision == "exact" else ()))


def _channels_last_strides(shape: Shape) -> list[int]:
    """The distances between neighbours along each axis of (N, C, H, W), counted in elements."""
    _, C, H, W = shape
    return [C * H * W, 1, C * W, C]


# --- the library ----------------------------------------------------------------------------------


@functools.cache
def library() -> ModuleType:
    """Import the module `cudnn`.

    Raises:
        RuntimeError: where it is not installed, with what to install.
    """
    try:
        return importlib.import_module("cudnn")
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeError(
            'conv2d: algorithm: "cudnn" needs the package nvidia-cudnn-frontend and the library cuDNN: pip install '
            f'"minicnn[cudnn]"; or use "auto", "direct" or "im2col" ({error})'
        ) from error


class _Handles(threading.local):
    """What cuDNN knows of a thread and a device: whoever calls it needs one, and it remembers the stream."""

    def __init__(self) -> None:
        self._by_device: dict[int, Any] = {}

    def on(self, device: int) -> Any:
        """Return the handle of this thread on a device, which must be the current one."""
        if device not in self._by_device:
            self._by_device[device] = _new_handle()
        return self._by_device[device]


def _new_handle() -> Any:
    try:
        return library().create_handle()
    except RuntimeError as error:
        raise RuntimeError(
            'conv2d: algorithm: "cudnn" finds no cuDNN library that works here; install nvidia-cudnn-cu12 or '
            f'nvidia-cudnn-cu13, as CuPy\'s, or use "auto", "direct" or "im2col" ({error})'
        ) from error


_handles = _Handles()
