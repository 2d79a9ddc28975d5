"""The Tensor: an array, its gradient, and its place on the tape.

Tensor and array meet in one function, `apply`: it takes the arrays out of its tensors, calls
`Function.forward`, wraps the result, and writes down on the tape what backward needs. Everything
above works with tensors, everything below with arrays.
"""

import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn import ahead
from minicnn.autograd import capturing, modes, tape
from minicnn.autograd.arithmetic import Arithmetic
from minicnn.autograd.convert import as_array
from minicnn.autograd.copying import Copying
from minicnn.autograd.errors import check_devices, misused, not_tensors
from minicnn.autograd.inplace import InPlace
from minicnn.autograd.reading import Reading
from minicnn.autograd.reductions import Reductions
from minicnn.autograd.shaping import Shaping
from minicnn.autograd.tape import Node, RemovableHook, Version
from minicnn.backend import (
    Array,
    check_one_device,
    device,
    device_of,
    is_array,
    number_like,
    out_of_memory,
)
from minicnn.kernels import capture
from minicnn.ops.function import Function


def apply(function: Function, *inputs: "Tensor | None") -> "Tensor":
    """Call `function` on tensors and, where a gradient may be wanted, record the call on the tape.

    Args:
        function: a Function that has not been used yet.
        inputs: the arguments of its forward; None for an optional input that is absent.

    Returns:
        The result. It requires a gradient if an input does and recording is on.

    Raises:
        RuntimeError: where the inputs live on different devices.
    """
    if not isinstance(function, Function) or function.needs_grad:
        raise misused(function)
    nodes: tuple[Node | None, ...] = ()
    state = modes.state
    try:
        arrays = [None if tensor is None else tensor.array for tensor in inputs]
        if state.recording:
            nodes = tuple([None if tensor is None else tensor.node for tensor in inputs])
    except AttributeError:
        raise not_tensors(function, inputs) from None
    if "cupy" in sys.modules:  # otherwise there is one device
        check_devices(function, arrays)
    on_tape = any(nodes)
    function.needs_grad = tuple(map(bool, nodes)) if on_tape else (False,) * len(inputs)
    if on_tape:
        ahead.begin(function, arrays)
    try:
        if capture.here.active is not None:
            capturing.note_inputs(inputs)
            output = capturing.forward(function, arrays)
        elif function.returns_view:  # which computes nothing, and so cannot meet infinity or NaN
            output = function.forward(*arrays)
        else:
            output = _quietly(function, arrays)
    except MemoryError as error:
        out_of_memory(function.name, arrays, error)
    finally:
        ahead.underway = None
    if type(output) is not np.ndarray:
        output = _as_output(function, output)
    result = Tensor._wrap(output)
    if function.returns_view:
        result.version = inputs[0].version
    if on_tape:
        node = result.node = Node(function, nodes, output.shape)
        if function.saved:
            node.watch((*inputs, result))
    if state.anomaly_mode:
        tape.check_forward(function, arrays, output)
        if on_tape:
            node.watch_closely()
    return result


@np.errstate(all="ignore")
def _quietly(function: Function, arrays: list[Array | None]) -> Array:
    """Call forward; infinity and NaN are values, and no reason for a warning (see `detect_anomaly`)."""
    return function.forward(*arrays)


def _as_output(function: Function, output: Any) -> Array:
    """Return what forward returned as an array: of another library, or made from a NumPy scalar.

    Raises:
        TypeError: for anything else.
    """
    if is_array(output):
        return output
    if isinstance(output, np.generic):
        return np.asarray(output)
    raise TypeError(
        f"forward of {function.name}: expected to get an array back, got {type(output).__name__}; a Function "
        "takes and returns arrays (apply makes the tensors), and exactly one"
    )


class Tensor(Arithmetic, InPlace, Reductions, Shaping, Copying, Reading):
    """An n-dimensional array that can remember how it was computed.

    Args:
        data: a number, a nested list, a NumPy or CuPy array (not copied) or a tensor (its array is
            shared).
        requires_grad: whether `backward` shall leave dL/d(this) in `.grad`.
        dtype: None keeps an array's dtype, and makes Python floats float32 and Python integers
            int64.

    Attributes:
        array: the NumPy or CuPy array, for code that works on arrays.
        grad: the gradient as a tensor, or None.
        node: the place on the tape, or None for a tensor that requires no gradient.
        version: counts in-place changes; tensors that share memory through views share it.
    """

    __slots__ = ("__weakref__", "array", "grad", "node", "version")

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None):
        if not isinstance(data, Tensor):
            capture.refuse(
                "a tensor is made from numbers; make it before the step, or hand it over as an argument"
            )
        self.array = as_array(data, dtype)
        self.grad: Tensor | None = None
        self.node: Node | None = None
        self.version = data.version if isinstance(data, Tensor) else Version()
        if capture.here.active is not None:
            capturing.note_made(self)
        if requires_grad:
            self.requires_grad_()

    @staticmethod
    def _wrap(array: Array) -> "Tensor":
        """Wrap an array that is known to be fine; a NumPy scalar becomes a 0-d array."""
        tensor = object.__new__(Tensor)
        tensor.array = np.asarray(array) if isinstance(array, np.generic) else array
        tensor.grad = tensor.node = None
        tensor.version = Version()
        if capture.here.active is not None:
            capturing.note_made(tensor)
        return tensor

    # --- what it is -------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        """The type of the elements."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    @property
    def device(self) -> device:
        """Where the array lives: "cpu", "cuda:0", ..."""
        return device_of(self.array)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to or through this tensor."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> bool:
        """Whether the user made this tensor, and no recorded operation."""
        return self.node is None or self.node.function is None

    @property
    def grad_fn(self) -> Function | None:
        """The function that made this tensor; None for a leaf."""
        return None if self.node is None else self.node.function

    @property
    def data(self) -> "Tensor":
        """A tensor on the same memory that the tape does not know; assigning replaces the array."""
        return self.detach()

    @data.setter
    def data(self, value: "Tensor | Array") -> None:
        array = as_array(value, None)
        if array.shape != self.shape:
            raise ValueError(
                f"Tensor.data: expected an array of shape {self.shape}, got {array.shape}"
            )
        if array.dtype != self.dtype:
            raise TypeError(f"Tensor.data: expected dtype {self.dtype}, got {array.dtype}")
        if array is not self.array:
            capture.refuse(
                "a tensor gets another array (.data = ...); write into it instead: copy_"
            )
        self.array = array
        self.bump_version()

    def size(self, dim: int | None = None) -> tuple[int, ...] | int:
        """The shape, or the size of axis `dim`."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """The number of elements."""
        return self.array.size

    def dim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    # --- differentiation --------------------------------------------------------------------------

    def backward(
        self, gradient: "Tensor | Array | None" = None, retain_graph: bool = False
    ) -> None:
        """Add to the `.grad` of every leaf below this tensor the gradient of this tensor with respect to it.

        Args:
            gradient: dL/d(this), of this tensor's shape; may be left out where this tensor has one
                element.
            retain_graph: keep the tape, for a second backward through it.

        Raises:
            RuntimeError: for a tensor that requires no gradient; for one with several elements and
                no `gradient`; for a tape that an earlier backward freed; for a saved array that was
                changed in place.
        """
        if self.node is None:
            raise RuntimeError(
                "backward: this tensor requires no gradient and was made by no recorded operation; set "
                "requires_grad=True on an input, and compute outside no_grad() (of what a captured step returns, no "
                "backward is possible: call it in the step)"
            )
        if gradient is None:
            if self.array.size != 1:
                raise RuntimeError(
                    f"backward: only a tensor with one element has an implied gradient of 1, this one has shape "
                    f"{self.shape}; reduce it first (.sum(), .mean()) or pass backward(gradient=...) of that shape"
                )
            seed = number_like(1, self.array, self.dtype).reshape(self.shape)
        else:
            seed = as_array(gradient, self.dtype)
            check_one_device("backward", result=self.array, gradient=seed)
            if seed.shape != self.shape:
                raise RuntimeError(
                    f"backward: expected a gradient of shape {self.shape}, got {seed.shape}"
                )
        with modes.no_grad():
            tape.run_backward(self.node, seed, Tensor._wrap, retain_graph)

    def detach(self) -> "Tensor":
        """A tensor on the same memory that the tape does not know."""
        detached = Tensor._wrap(self.array)
        detached.version = self.version
        return detached

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Start or stop asking for the gradient of this leaf; return the tensor itself."""
        if not self.is_leaf:
            if requires_grad:
                return self
            raise RuntimeError(
                "requires_grad: only a leaf can stop requiring a gradient; use detach()"
            )
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(
                f"requires_grad: only floating-point tensors have gradients, this one is {self.dtype}"
            )
        if requires_grad != self.requires_grad:
            self.node = tape.leaf(self) if requires_grad else None
        return self

    def retain_grad(self) -> None:
        """Ask for `.grad` of this tensor although it is not a leaf."""
        if self.node is None:
            raise RuntimeError("retain_grad: this tensor requires no gradient")
        self.node.target = weakref.ref(self)

    def register_hook(self, hook: Callable[["Tensor"], "Tensor | None"]) -> RemovableHook:
        """Call `hook(gradient)` when this tensor's gradient is complete; a tensor that it returns is used instead."""
        if self.node is None:
            raise RuntimeError("register_hook: this tensor requires no gradient")
        return RemovableHook(self.node.hooks, hook)

    def apply(self, function: Function, *others: "Tensor | None") -> "Tensor":
        """`function` of this tensor and `others`; see `minicnn.apply`."""
        return apply(function, self, *others)

    def bump_version(self) -> None:
        """Tell the tape that the array has been changed in place."""
        self.version.count += 1
        if capture.here.active is not None:
            capturing.note_change(self)
