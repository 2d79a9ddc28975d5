"""A stand-in for the module `cudnn` of nvidia-cudnn-frontend, over the arrays of the stand-in for CuPy.

It has the part of the module that kernels/gpu/cudnn.py uses, and is as strict as it can be without a
GPU: arguments by name, as both kinds of graphs in versions 1.18 to 1.28 have them; a graph is built in
the order that cuDNN asks for, before it is executed; it is executed on the stream that the
handle was told last, which has to be the current one; and it sees of an array no more than its address.
"""

import ctypes
import types
from typing import Any

import numpy as np

from minicnn.kernels import reference
from tests.gpu.strict_streams import Stream

NOTES = [
    *("TENSOR_CORE", "DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION", "NONDETERMINISTIC"),
    *("FFT", "WINOGRAD", "WINOGRAD_TILE_4x4", "WINOGRAD_TILE_6x6", "WINOGRAD_TILE_13x13"),
]
STEPS = [
    *("validate", "build_operation_graph", "create_execution_plans", "deselect_numeric_notes"),
    *("check_support", "build_plans"),
]
"""What has to be called before a graph is executed, in this order."""


class GraphNotSupportedError(RuntimeError):
    """What cuDNN raises where it has no plan."""


class GraphTensor:
    """What a graph knows of an array."""

    def __init__(self, dim=None, stride=None, data_type=None):
        self.dim, self.stride, self.data_type, self.is_output = dim, stride, data_type, False

    def set_output(self, is_output):
        self.is_output = is_output
        return self

    def set_dim(self, dim):
        self.dim = dim
        return self

    def set_stride(self, stride):
        self.stride = stride
        return self

    def set_data_type(self, data_type):
        self.data_type = data_type
        return self

    def at(self, address: int) -> np.ndarray:
        """The array that begins at an address."""
        assert isinstance(address, int)
        assert isinstance(self.dim, list)
        assert isinstance(self.stride, list)
        dtype = np.dtype(self.data_type)
        size = sum((n - 1) * s for n, s in zip(self.dim, self.stride, strict=True)) + 1
        numbers = np.frombuffer(
            (ctypes.c_char * (size * dtype.itemsize)).from_address(address), dtype
        )
        strides = [s * dtype.itemsize for s in self.stride]
        return np.lib.stride_tricks.as_strided(numbers, self.dim, strides)


class Handle:
    """What is remembered of a caller."""

    def __init__(self):
        self.stream = 0


class Graph:
    """See `cudnn.pygraph`; it holds one convolution."""

    workspace_bytes = 131

    def __init__(self, module, io_data_type, intermediate_data_type, compute_data_type, handle):
        assert isinstance(handle, Handle)
        half = io_data_type == "float16"
        assert intermediate_data_type == compute_data_type == ("float32" if half else io_data_type)
        self._module, self._done = module, []
        self.refused = ()

    def tensor(self, *, name, dim, stride, data_type):
        return GraphTensor(dim, stride, data_type)

    def conv_fprop(self, *, image, weight, **settings):
        return self._operation("conv2d", (image, weight), settings)

    def conv_dgrad(self, *, loss, filter, **settings):
        return self._operation("conv2d_grad_input", (loss, filter), settings)

    def conv_wgrad(self, *, image, loss, **settings):
        return self._operation("conv2d_grad_weight", (image, loss), settings)

    def _operation(self, function, tensors, settings):
        assert settings.keys() == {"pre_padding", "post_padding", "stride", "dilation"}
        assert all(len(numbers) == 2 for numbers in settings.values())
        self._function, self._settings = function, settings
        self._tensors = (*tensors, GraphTensor())
        return self._tensors[2]

    def __getattr__(self, name):
        if name not in STEPS:
            raise AttributeError(f"pygraph has no attribute {name!r} (or the stand-in lacks it)")

        def step(*arguments):
            assert STEPS[len(self._done)] == name, f"{name} was called after {self._done}"
            self._done.append(name)
            if name == "deselect_numeric_notes":
                (self.refused,) = arguments
                assert set(self.refused) <= set(NOTES)
            if name == "build_plans":
                self._module.built += 1
                if self._module.refuses:
                    raise GraphNotSupportedError("No valid execution plans built.")

        return step

    def get_workspace_size(self):
        assert self._done == STEPS
        return self.workspace_bytes

    def execute(self, places, workspace, *, handle):
        assert self._done == STEPS
        assert isinstance(workspace, int)
        assert handle.stream == Stream.current().ptr
        first, second, result = (tensor.at(places[tensor]) for tensor in self._tensors)
        assert self._tensors[2].is_output

        def compute() -> None:
            result[...] = self._compute(first, second)

        Stream.current().do(compute)

    def _compute(self, first, second):
        settings = {name: tuple(self._settings[name]) for name in ("stride", "dilation")}
        sides = self._settings["pre_padding"], self._settings["post_padding"]
        settings["padding"] = tuple(zip(*sides, strict=True))
        shape = tuple(self._tensors[2].dim)
        if self._function == "conv2d":
            settings["groups"] = first.shape[1] // second.shape[1]
            return reference.conv2d(first, second, **settings)
        if self._function == "conv2d_grad_input":
            settings["groups"] = shape[1] // second.shape[1]
            return reference.conv2d_grad_input(first, second, shape, **settings)
        settings["groups"] = first.shape[1] // shape[1]
        return reference.conv2d_grad_weight(second, first, shape, **settings)


def make_cudnn() -> types.ModuleType:
    """Make the module; it counts the plans that it has built, and refuses to build any where `refuses` is set."""
    module: Any = types.ModuleType("cudnn")
    module.built, module.refuses, module.handles = 0, False, []
    module.data_type = types.SimpleNamespace(HALF="float16", FLOAT="float32", DOUBLE="float64")
    module.numerical_note = types.SimpleNamespace(**{note: note for note in NOTES})
    module.heur_mode = types.SimpleNamespace(A="A", FALLBACK="FALLBACK")
    module.cudnnGraphNotSupportedError = GraphNotSupportedError
    module.graphs = []

    def create_handle() -> Handle:
        module.handles.append(Handle())
        return module.handles[-1]

    def set_stream(*, handle: Handle, stream: int) -> None:
        handle.stream = stream

    def pygraph(**options: Any) -> Graph:
        module.graphs.append(Graph(module, **options))
        return module.graphs[-1]

    module.create_handle, module.set_stream, module.pygraph = create_handle, set_stream, pygraph
    return module
