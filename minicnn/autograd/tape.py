"""The tape: how a result remembers where it came from, and how gradients travel back along it.

Each tensor that takes part in differentiation owns a `Node`: the function that made the tensor, and
the nodes of that function's inputs. Nodes are created in the order of computation, so every node
comes after its parents, and the nodes form a directed graph without cycles.

`backward` walks this graph from the result towards the leaves in reversed topological order: a node
is visited when all its users have been, that is, when its gradient is complete. Walking depth-first
instead would push incomplete gradients on and visit shared parts once per path, exponentially often
in b = a + a; c = b + b; ...

Gradients can be as large as activations, and copying one costs as much as computing one. The walk
therefore copies a large one only if somebody else holds it too (see `is_new`), and lets go of every
array when its last reader has read it.
"""

import hashlib
import operator
import os
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from minicnn.autograd import capturing, modes
from minicnn.backend import Array, out_of_memory, to_device, xp_of
from minicnn.kernels import capture
from minicnn.kernels.arrays import keeping_order
from minicnn.kernels.memory import owner_of
from minicnn.ops.function import Function

FRAMEWORK = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder of minicnn itself: its lines are left out where a line of the user's is looked for."""

LARGE = 2**14
"""From how many elements on it is quicker to ask whether an array must be copied than to copy it."""

Parts = Sequence[Array | None]
"""What a function's backward returns: a gradient for each input, or None."""


class Version:
    """Counts the in-place changes of one piece of memory; shared by all tensors that view it."""

    count = 0


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
        fingerprints: in anomaly mode, digests of the saved arrays.
        origin: in anomaly mode, the lines of the program that led here.
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
        self.guards: Sequence[tuple[Version, int]] = ()
        self.fingerprints: Sequence[bytes] = ()
        self.origin = ""

    def watch(self, tensors: Sequence) -> None:
        """Remember the versions of the saved arrays that belong to `tensors`, to notice later changes."""
        owners = [id(owner_of(array)) for array in self.function.saved]
        self.guards = [
            (tensor.version, tensor.version.count)
            for tensor in tensors
            if tensor is not None and id(owner_of(tensor.array)) in owners
        ]

    def watch_closely(self) -> None:
        """In anomaly mode: remember what the saved arrays hold, and who called."""
        self.fingerprints = [_fingerprint(array) for array in self.function.saved]
        self.origin = _callers()

    def check_saved_arrays(self) -> None:
        """Raise RuntimeError where a saved array has been changed in place since forward."""
        for version, count in self.guards:
            if version.count != count:
                raise _changed(self)
        if self.fingerprints:
            found = [_fingerprint(array) for array in self.function.saved]
            if found != self.fingerprints:
                raise _changed(self)

    def free(self) -> None:
        """Give back what backward needed."""
        self.function.saved = ()
        self.parents = None


def _changed(node: Node) -> RuntimeError:
    """The error for a saved array that has been changed."""
    return RuntimeError(
        f"backward of {node.function.name}: an array that it saved in forward has been "
        f"changed in place since, so its gradient would be wrong (output shape {node.shape})."
        " Compute a new tensor instead of writing into this one (fill_, copy_, x[...] =), clone() before the "
        "change, or change parameters only after backward()."
    )


def leaf(tensor: object) -> Node:
    """Return the node of a tensor made by the user."""
    node = Node(None, (), tensor.shape)
    node.target = weakref.ref(tensor)
    return node


def topological_order(root: Node) -> list[Node]:
    """Return `root` and all its ancestors, each after its parents.

    Depth-first with an explicit stack: a node goes to the list when all of its parents have. Long
    chains do not overflow Python's call stack. A leaf has no parents, and goes there at once.
    """
    order: list[Node] = []
    visited = {root}
    stack: list[tuple[Node, Iterator[Node | None]]] = [(root, iter(_parents(root)))]
    while stack:
        node, remaining = stack[-1]
        for parent in remaining:
            if parent is None or parent in visited:
                continue
            visited.add(parent)
            if parent.function is not None:
                stack.append((parent, iter(_parents(parent))))
                break
            order.append(parent)
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


@np.errstate(all="ignore")
def run_backward(root: Node, gradient: Array, wrap: Callable, retain_graph: bool) -> None:
    """Send `gradient`, dL/d(root), back along the tape, and add dL/d(leaf) to each leaf's `.grad`.

    A node leaves the list when its turn comes, a gradient when it is sent on, and what a function
    saved when its backward has run: at no time is more held than what is still to be read.

    Args:
        root: where to start.
        gradient: an array of the root's shape and dtype.
        wrap: makes the tensors that hooks and `.grad` receive from arrays.
        retain_graph: keep the tape for another backward.
    """
    order = topological_order(root)
    gradients = {root: gradient}
    unshared: set[Node] = set()  # leaves whose gradient nobody else holds
    while order:
        node = order.pop()
        gradient = gradients.pop(node, None)
        if gradient is None:  # no user of this node had a gradient to give
            continue
        if node.hooks:
            gradient = _call_hooks(node, gradient, wrap)
            unshared.discard(node)
        if node.target is not None:
            accumulate(node.target(), gradient, wrap, node in unshared)
        if node.function is not None:
            _send_on(node, gradient, gradients, unshared)
            if not retain_graph:
                node.free()


def _send_on(
    node: Node, gradient: Array, gradients: dict[Node, Array], unshared: set[Node]
) -> None:
    """Call a function's backward, and add what it returns to the `gradients` of the parents.

    A sum goes into the memory of the part that is added, where nobody else holds it. It never goes
    into the earlier one, which may be on its way to other nodes too.
    """
    parents = _parents(node)  # gone if a hook has run backward through here
    held = gradient, *node.function.saved  # before backward, which may let go of them
    parts = _call_backward(node, gradient)
    for parent, part in zip(parents, parts, strict=True):
        if parent is None or part is None:
            continue
        if part.shape != parent.shape:
            raise _wrong_shape(node, parts)
        earlier, is_leaf = gradients.get(parent), parent.function is None
        is_worth_it = part.size >= LARGE or capture.here.active is not None  # a recording asks once
        may_be_kept = is_worth_it and (is_leaf or earlier is not None)
        new = may_be_kept and is_new(part, held, parts)
        if earlier is not None:
            in_place = new and part.dtype == earlier.dtype
            part = _sum(part, earlier, part if in_place else None)
            new = True
        gradients[parent] = part
        if new and is_leaf:
            unshared.add(parent)


def _sum(a: Array, b: Array, out: Array | None) -> Array:
    """Return a + b, written to `out` if that is not None."""
    if out is None and capture.here.active is None:
        return keeping_order(operator.add, a, b)
    if out is None:
        out = xp_of(a).empty_like(a, np.result_type(a.dtype, b.dtype))
    return capture.do(xp_of(a).add, a, b, out)


def is_new(part: Array, held: Parts, parts: Parts) -> bool:
    """Whether `part`, one of the `parts` that a function's backward returned, is nobody else's, and may be kept.

    It is not where it shares memory with what is `held`, the gradient that came in and the arrays that
    the function saved, or with another part; nor where broadcasting made one number stand for many.
    """
    owner = owner_of(part)
    if any(owner_of(array) is owner for array in held):
        return False
    if sum([owner_of(other) is owner for other in parts]) > 1:
        return False
    return getattr(part.flags, "writeable", True) and 0 not in part.strides


def _call_backward(node: Node, gradient: Array) -> Parts:
    """Run a function's backward, and hold it to its promises; `_send_on` looks at the shapes."""
    node.check_saved_arrays()
    try:
        if capture.here.active is None:
            parts = node.function.backward(gradient)
        else:  # noted, to be replayed
            parts = capturing.backward(node.function, gradient)
    except MemoryError as error:
        out_of_memory(f"backward of {node.function.name}", [gradient, *node.function.saved], error)
    if not isinstance(parts, (tuple, list)) or len(parts) != len(node.parents):
        raise _not_one_each(node, parts)
    if modes.state.anomaly_mode:
        _check_for_new_nan(node, gradient, parts)
    return parts


def _not_one_each(node: Node, parts: object) -> Exception:
    """The error for a backward that did not return one gradient for each input."""
    function = node.function
    if not isinstance(parts, (tuple, list)):
        return TypeError(
            f"backward of {function.name}: expected a tuple of gradients, one for each input of "
            f"forward (mind the comma in `return (grad_x,)`), got {type(parts).__name__}"
        )
    return RuntimeError(
        f"backward of {function.name}: expected {len(node.parents)} gradients, one for each input of forward "
        f"(None where there is none), got {len(parts)}"
    )


def _wrong_shape(node: Node, parts: Parts) -> RuntimeError:
    """The error for the first gradient that has not the shape of its input."""
    i, parent, part = next(
        (i, parent, part)
        for i, (parent, part) in enumerate(zip(node.parents, parts, strict=True))
        if parent is not None and part is not None and part.shape != parent.shape
    )
    return RuntimeError(
        f"backward of {node.function.name}: the gradient of input {i} must have that input's shape {parent.shape}, "
        f"got {part.shape}; sum over the axes that forward broadcast"
    )


def _check_for_new_nan(node: Node, gradient: Array, parts: Parts) -> None:
    """In anomaly mode: raise where a gradient holds a NaN although what came in does not."""
    if has_nan(gradient):
        return
    for i, part in enumerate(parts):
        if part is not None and has_nan(part):
            raise FloatingPointError(
                f"backward of {node.function.name} made the first NaN, in the gradient of its input "
                f"{i}, shape {part.shape}. The function was called here:\n{node.origin}"
            )


def accumulate(tensor: object | None, gradient: Array, wrap: Callable, unshared: bool) -> None:
    """Add `gradient` to the `.grad` of `tensor`, which may have been collected meanwhile.

    Args:
        tensor: a leaf, or a result that retains its gradient.
        gradient: dL/d(tensor).
        wrap: makes a tensor from an array.
        unshared: whether nobody else holds the array: then it becomes the `.grad` as it is, and
            otherwise a copy of it does.
    """
    if tensor is None:
        return
    is_sum = tensor.grad is not None
    if is_sum:
        array = tensor.grad.array
        capture.do(xp_of(array).add, array, gradient, array)
        tensor.grad.bump_version()
    elif capture.here.active is None or (
        unshared and gradient.dtype == tensor.array.dtype and not capturing.is_awaited(tensor)
    ):
        tensor.grad = wrap(gradient.astype(tensor.array.dtype, copy=not unshared))
    else:
        copy = xp_of(gradient).empty_like(gradient, tensor.array.dtype)
        capture.do(xp_of(gradient).copyto, copy, gradient)
        tensor.grad = wrap(copy)
    if capture.here.active is not None:
        capturing.note_gradient(tensor, is_sum)


def _call_hooks(node: Node, gradient: Array, wrap: Callable) -> Array:
    """Show the gradient to the hooks of a node, and return what they make of it."""
    capture.refuse("a gradient has hooks")
    for hook in tuple(node.hooks):  # a hook may remove itself,
        replaced = hook(wrap(gradient.copy()))  # and write to what it gets
        gradient = gradient if replaced is None else _hooked(replaced, gradient, hook)
    return gradient


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


def _callers() -> str:
    """The last lines of the user's program that led here, as text."""
    frames = traceback.extract_stack()
    outside = [frame for frame in frames if not frame.filename.startswith(FRAMEWORK + os.sep)]
    return "".join(traceback.format_list(outside[-3:]))
