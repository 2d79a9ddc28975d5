"""The tape: how a result remembers where it came from, and how gradients travel back along it.

Each tensor that takes part in differentiation owns a `Node`: the function that made the tensor, and
the nodes of that function's inputs. Nodes are created in the order of computation, so every node
comes after its parents, and the nodes form a directed graph without cycles.

`backward` walks this graph from the result towards the leaves in reversed topological order: a node
is visited when all its users have been, that is, when its gradient is complete. Walking depth-first
instead would push incomplete gradients on and visit shared parts once per path, exponentially often
in b = a + a; c = b + b; ...
"""

import functools
import hashlib
import inspect
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minicnn.backend import Array, to_device, xp_of
from minicnn.ops.function import Function

FRAMEWORK = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder of minicnn itself: its lines are left out where a line of the user's is looked for."""


class _State(threading.local):
    """What the context managers below switch, for each thread by itself."""

    recording = True
    anomaly_mode = False

    def __init__(self) -> None:
        self.outer: list[bool] = []  # what was recorded around each block entered, outermost first


_state = _State()


def is_grad_enabled() -> bool:
    """Whether operations on tensors are being recorded in this thread."""
    return _state.recording


class _Recording:
    """Record operations, or not, inside a `with` block or a decorated function."""

    def __init__(self, mode: bool):
        self.mode = mode

    def __enter__(self) -> None:
        _state.outer.append(_state.recording)
        _state.recording = self.mode

    def __exit__(self, *_: object) -> None:
        _state.recording = _state.outer.pop()

    def __call__(self, function: Callable) -> Callable:
        """Decorate `function`: each call of it runs inside a block of its own."""
        if inspect.isgeneratorfunction(function):
            raise TypeError(
                f"{type(self).__name__}: cannot decorate {function.__name__}, a generator: its body runs "
                "after the call has returned; use a `with` block inside, between two yields"
            )

        @functools.wraps(function)
        def inside(*args: Any, **options: Any) -> Any:
            with _Recording(self.mode):
                return function(*args, **options)

        return inside


class no_grad(_Recording):  # noqa: N801 (PyTorch's name)
    """Record nothing: for inference, for updates of parameters, and to save memory."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(_Recording):  # noqa: N801
    """Record again inside a `no_grad` block."""

    def __init__(self) -> None:
        super().__init__(True)


class set_grad_enabled(_Recording):  # noqa: N801
    """Record operations, or not, from this call on; in a `with` block or as a decorator, inside only."""

    def __init__(self, mode: bool):
        super().__init__(mode)
        self.earlier = _state.recording
        _state.recording = mode

    def __enter__(self) -> None:
        _state.recording = self.earlier
        super().__enter__()

    def __call__(self, function: Callable) -> Callable:
        """Decorate `function`; around it, the earlier mode holds again."""
        _state.recording = self.earlier
        return super().__call__(function)


class detect_anomaly:  # noqa: N801
    """Check every operation inside the `with` block, and stop at the first that goes wrong.

    A function whose inputs hold no NaN and whose output, or whose gradients, do is named, with the
    line of the program that called it. Saved arrays are fingerprinted as well, so that a change
    made directly to the memory of an array (`x.numpy()[0] = 1`), which the version counters cannot
    see, is found by backward. Slow; for debugging.
    """

    def __enter__(self) -> None:
        self.outer = _state.anomaly_mode
        _state.anomaly_mode = True

    def __exit__(self, *_: object) -> None:
        _state.anomaly_mode = self.outer


def anomaly_mode_is_on() -> bool:
    """Whether the program is inside `detect_anomaly`."""
    return _state.anomaly_mode


class Version:
    """Counts the in-place changes of one piece of memory; shared by all tensors that view it."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Node:
    """One entry of the tape.

    Attributes:
        function: what made the tensor; None for a leaf, that is, a tensor that the user made.
        parents: the nodes of the function's inputs, None where an input needs no gradient.
        shape: the shape of the tensor.
        target: weak reference to the tensor whose `.grad` receives the gradient: a leaf, or one
            with `retain_grad`.
        hooks: called with the complete gradient, in order; each may return another one to use
            instead.
        guards: for every saved array, the version of its memory when it was saved.
    """

    __slots__ = (
        "fingerprints",
        "function",
        "guards",
        "hooks",
        "origin",
        "parents",
        "shape",
        "target",
    )

    def __init__(
        self, function: Function | None, parents: tuple["Node | None", ...], shape: tuple[int, ...]
    ):
        self.function = function
        self.parents: tuple[Node | None, ...] | None = parents
        self.shape = shape
        self.target: weakref.ref | None = None
        self.hooks: list[Callable] = []
        self.guards: list[tuple[Version, int]] = []
        self.fingerprints: list[bytes] = []
        self.origin = ""

    def watch(self, tensors: tuple) -> None:
        """Remember the versions of the saved arrays that belong to `tensors`, to notice later changes."""
        saved = self.function.saved
        memories = {id(_memory(array)) for array in saved}
        for tensor in tensors:
            if tensor is not None and id(_memory(tensor.array)) in memories:
                self.guards.append((tensor.version, tensor.version.count))
        if _state.anomaly_mode:
            self.fingerprints = [_fingerprint(array) for array in saved]
            self.origin = _callers()

    def check_saved_arrays(self) -> None:
        """Raise RuntimeError where a saved array has been changed in place since forward."""
        changed = any(version.count != count for version, count in self.guards)
        if self.fingerprints and not changed:
            changed = [_fingerprint(array) for array in self.function.saved] != self.fingerprints
        if changed:
            raise RuntimeError(
                f"backward of {self.function.name}: an array that it saved in forward has been "
                f"changed in place since, so its gradient would be wrong (output shape {self.shape})."
                " Compute a new tensor instead of writing into this one (fill_, copy_, x[...] =), clone() before the "
                "change, or change parameters only after backward()."
            )

    def free(self) -> None:
        """Give back what backward needed."""
        self.function.saved = ()
        self.parents = None


def leaf(tensor: object) -> Node:
    """Return the node of a tensor made by the user."""
    node = Node(None, (), tensor.shape)
    node.target = weakref.ref(tensor)
    return node


def topological_order(root: Node) -> list[Node]:
    """Return `root` and all its ancestors, each after its parents.

    Depth-first with an explicit stack: a node goes to the list when all of its parents have. Long
    chains do not overflow Python's call stack.
    """
    order: list[Node] = []
    visited = {root}
    stack: list[tuple[Node, Iterator[Node | None]]] = [(root, iter(_parents(root)))]
    while stack:
        node, remaining = stack[-1]
        for parent in remaining:
            if parent is not None and parent not in visited:
                visited.add(parent)
                stack.append((parent, iter(_parents(parent))))
                break
        else:
            order.append(node)
            stack.pop()
    return order


def _parents(node: Node) -> tuple[Node | None, ...]:
    if node.parents is None:
        raise RuntimeError(
            f"backward: the tape of this result was freed by an earlier backward() (at {node.function.name}, output "
            f"shape {node.shape}). Compute the loss again, or keep the tape with backward(retain_graph=True)."
        )
    return node.parents


def run_backward(root: Node, gradient: Array, wrap: Callable, retain_graph: bool) -> None:
    """Send `gradient`, dL/d(root), back along the tape, and add dL/d(leaf) to each leaf's `.grad`.

    Args:
        root: where to start.
        gradient: an array of the root's shape and dtype.
        wrap: makes the tensors that hooks and `.grad` receive from arrays.
        retain_graph: keep the tape for another backward.
    """
    gradients = {root: gradient}
    for node in reversed(topological_order(root)):
        gradient = gradients.pop(node, None)
        if gradient is None:  # no user of this node had a gradient to give
            continue
        for hook in tuple(node.hooks):  # a hook may remove itself,
            replaced = hook(wrap(gradient.copy()))  # and write to what it gets
            gradient = gradient if replaced is None else _hooked(replaced, gradient, hook)
        if node.target is not None:
            accumulate(node.target(), gradient, wrap)
        if node.function is None:
            continue
        parents = _parents(node)  # gone if a hook has run backward through here
        for parent, part in zip(parents, _call_backward(node, gradient), strict=True):
            if parent is None or part is None:
                continue
            earlier = gradients.get(parent)
            # a sum in new memory: `earlier` may be on its way to other nodes too
            gradients[parent] = part if earlier is None else earlier + part
        if not retain_graph:
            node.free()


def _call_backward(node: Node, gradient: Array) -> tuple[Array | None, ...]:
    """Run a function's backward, and hold it to its promises."""
    function, parents = node.function, node.parents
    node.check_saved_arrays()
    parts = function.backward(gradient)
    if not isinstance(parts, (tuple, list)):
        raise TypeError(
            f"backward of {function.name}: expected a tuple of gradients, one for each input of "
            f"forward (mind the comma in `return (grad_x,)`), got {type(parts).__name__}"
        )
    if len(parts) != len(parents):
        raise RuntimeError(
            f"backward of {function.name}: expected {len(parents)} gradients, one for each input of forward "
            f"(None where there is none), got {len(parts)}"
        )
    for i, (parent, part) in enumerate(zip(parents, parts, strict=True)):
        if parent is not None and part is not None and part.shape != parent.shape:
            raise RuntimeError(
                f"backward of {function.name}: the gradient of input {i} must have that input's shape {parent.shape}, "
                f"got {part.shape}; sum over the axes that forward broadcast"
            )
    if _state.anomaly_mode and not has_nan(gradient):
        for i, part in enumerate(parts):
            if part is not None and has_nan(part):
                raise FloatingPointError(
                    f"backward of {function.name} made the first NaN, in the gradient of its input "
                    f"{i}, shape {part.shape}. The function was called here:\n{node.origin}"
                )
    return parts


def accumulate(tensor: object | None, gradient: Array, wrap: Callable) -> None:
    """Add `gradient` to the `.grad` of `tensor`, which may have been collected meanwhile.

    The first gradient is copied: the same array may be on its way to other tensors too.
    """
    if tensor is None:
        return
    if tensor.grad is None:
        tensor.grad = wrap(gradient.astype(tensor.dtype, copy=True))
    else:
        tensor.grad.array += gradient
        tensor.grad.bump_version()


def _hooked(replaced: object, gradient: Array, hook: Callable) -> Array:
    """Return what a hook returned in place of `gradient`, checked and in its dtype."""
    if not hasattr(replaced, "array") or replaced.shape != gradient.shape:
        got = f"{type(replaced).__name__} of shape {getattr(replaced, 'shape', None)}"
        raise RuntimeError(
            f"gradient hook {getattr(hook, '__name__', hook)!r}: must return None or a tensor of "
            f"shape {gradient.shape}, got {got}"
        )
    return replaced.array.astype(gradient.dtype, copy=False)


class RemovableHook:
    """The handle of a registered hook; `remove()` takes the hook away again."""

    def __init__(self, hooks: list[Callable], hook: Callable):
        self._hooks = hooks
        self._hook = hook
        hooks.append(hook)

    def remove(self) -> None:
        """Stop calling the hook."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)


def has_nan(array: Array) -> bool:
    """Whether `array` holds a NaN."""
    return array.dtype.kind == "f" and bool(xp_of(array).isnan(array).any())


def check_forward(function: Function, inputs: list[Array | None], output: Array) -> None:
    """In anomaly mode: raise where `output` holds a NaN although no input does."""
    if has_nan(output) and not any(array is not None and has_nan(array) for array in inputs):
        shapes = ", ".join("None" if array is None else str(array.shape) for array in inputs)
        raise FloatingPointError(
            f"forward of {function.name} made the first NaN: inputs of shape {shapes} hold none, its output of shape "
            f"{output.shape} does"
        )


def _fingerprint(array: Array) -> bytes:
    """A digest of an array's contents."""
    if array is None:
        return b""
    host = np.ascontiguousarray(to_device(array, "cpu"))
    return hashlib.blake2b(host, digest_size=16).digest()


def _memory(array: Array | None) -> object:
    """The object that owns the memory of an array or of a view."""
    while getattr(array, "base", None) is not None:  # several steps, where subclasses are involved
        array = array.base
    return array


def _callers() -> str:
    """The last lines of the user's program that led here, as text."""
    frames = traceback.extract_stack()
    outside = [frame for frame in frames if not frame.filename.startswith(FRAMEWORK + os.sep)]
    return "".join(traceback.format_list(outside[-3:]))
