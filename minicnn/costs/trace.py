"""One pass over a network, watched: what each call computes, what it returns, what backward would need.

Nothing is guessed from the classes of layers. The network runs on one example in inference mode,
while the tape records, as if a backward were to follow. After each layer, the tape is read: which
functions were called, on which shapes, and which arrays they saved for backward. What was read is then cut
off and let go of, so that the pass holds no more memory than inference does, and memory can be
watched at the same time.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minicnn.autograd import Tensor, enable_grad, is_grad_enabled, set_grad_enabled
from minicnn.autograd.tape import Node, topological_order
from minicnn.backend import Array
from minicnn.costs.receptive_field import ReceptiveField, receptive_field, whole_image
from minicnn.costs.rules import im2col_bytes, multiply_adds
from minicnn.kernels.memory import owner_of
from minicnn.nn import Module
from minicnn.train.evaluation import mode


@dataclass
class Call:
    """One call of one module. The work of its parts belongs to their own calls.

    Attributes:
        module: what was called.
        outputs: the shapes of what it returned.
        activations: how many numbers these are.
        activation_bytes: the memory of these.
        multiply_adds: of the functions that it called.
        tape_bytes: the arrays that its functions saved for backward, and none before them had saved.
        im2col_bytes: the patches that im2col would write for the largest of its convolutions.
        field: what its first output sees of the input; None where that is no image.
        is_recorded: whether training would record it; a network may compute parts of itself under `no_grad`.
    """

    module: Module
    outputs: tuple[tuple[int, ...], ...] = ()
    activations: int = 0
    activation_bytes: int = 0
    multiply_adds: int = 0
    tape_bytes: int = 0
    im2col_bytes: int = 0
    field: ReceptiveField | None = None
    is_recorded: bool = True


@dataclass(frozen=True)
class Trace:
    """What one pass has shown.

    Attributes:
        calls: in the order in which they ended.
        inference_bytes: the most memory that the input and the outputs of modules took at one time.
        output_bytes: the memory of the input and of all outputs together.
    """

    calls: tuple[Call, ...]
    inference_bytes: int
    output_bytes: int


def trace(model: Module, inputs: Sequence[Tensor]) -> Trace:
    """Run `model` on `inputs` in inference mode, and write down what happens.

    Lazy layers take their sizes from the inputs. The modes of all modules are as before afterwards.

    Args:
        model: the network.
        inputs: its inputs. Those of floats are put on the tape, so that it begins there, and not at the
            first weight; so a network may not write into them.
    """
    hooks = []
    try:
        with mode(model, training=False), enable_grad():
            watch = _Watch(model, inputs)
            for module in model.modules():
                hooks.append(module.register_forward_pre_hook(watch.begin))
                hooks.append(module.register_forward_hook(watch.end))
            model(*watch.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return Trace(tuple(watch.calls), watch.memory.peak, watch.memory.total)


class _Watch:
    """What the hooks before and after each module do.

    Attributes:
        calls: those that have ended.
        memory: of what modules return.
        inputs: what the model is to be called with.
    """

    def __init__(self, model: Module, inputs: Sequence[Tensor]) -> None:
        self.calls: list[Call] = []
        self.memory = Memory()
        self._open: list[Call] = []
        self._recording: list[bool] = []  # whether the tape recorded before each of these calls
        self._fields: dict[Node, ReceptiveField | None] = {}  # of all that was read from the tape
        self._trained: set[Node] = set()  # what depends on a parameter that learns
        for tensor in inputs:
            self.memory.note(tensor.array)
        self.inputs = [self._on_tape(tensor, whole_image(tensor.shape)) for tensor in inputs]
        self.memory.leave_out(member.array for member in _members(model.modules()))

    def begin(self, module: Module, inputs: tuple) -> tuple:
        """Give what was computed since the last call to the module that is at work, and open a call.

        Returns the inputs, put on the tape where they are not: else nothing would show what a frozen
        layer computes behind a `detach`.
        """
        if self._open:
            self._read(inputs, self._open[-1])
        within = self._open[-1].is_recorded if self._open else True
        self._open.append(Call(module, is_recorded=within and is_grad_enabled()))
        self._recording.append(is_grad_enabled())
        set_grad_enabled(True)
        return tuple(map(self._on_tape, inputs))

    def _on_tape(self, value: Any, field: ReceptiveField | None = None) -> Any:
        """Return a tensor of the same array that requires a gradient, for one of floats that does not."""
        if not isinstance(value, Tensor) or value.node is not None or value.dtype.kind != "f":
            return value
        leaf = Tensor(value.array, requires_grad=True)
        self._fields[leaf.node] = field
        return leaf[...]  # a view of it: a leaf refuses x += 1

    def end(self, module: Module, _: tuple, output: Any) -> None:
        """Close a call: read the tape, and take note of the output."""
        call = self._open.pop()
        set_grad_enabled(self._recording.pop())
        self.memory.leave_out(member.array for member in _members([module]))  # lazy until now
        self._read(output, call)
        tensors = list(tensors_in(output))
        for tensor in tensors:
            self.memory.note(tensor.array)
        call.outputs = tuple(tensor.shape for tensor in tensors)
        call.activations = sum(tensor.numel() for tensor in tensors)
        call.activation_bytes = sum(tensor.array.nbytes for tensor in tensors)
        call.field = self._fields.get(tensors[0].node) if tensors else None
        self.calls.append(call)

    def _read(self, value: Any, call: Call) -> None:
        """Charge `call` with all functions behind the tensors in `value` that have not been read yet."""
        for tensor in tensors_in(value):
            if tensor.node is None:
                continue
            for node in topological_order(tensor.node):
                if node not in self._fields:
                    self._read_node(node, call)

    def _read_node(self, node: Node, call: Call) -> None:
        function = node.function
        if function is None:  # a leaf that is no input: a parameter
            self._fields[node] = None
            self._trained.add(node)
            return
        parents = node.parents
        fields = [self._fields.get(parent) for parent in parents]
        first_shape = parents[0].shape if parents[0] is not None else None
        self._fields[node] = receptive_field(function, fields, first_shape, node.shape)
        call.multiply_adds += multiply_adds(function, node.shape)
        call.im2col_bytes = max(call.im2col_bytes, im2col_bytes(function, node.shape))
        if call.is_recorded and not self._trained.isdisjoint(parents):
            self._trained.add(node)
            call.tape_bytes += sum(self.memory.keep(array) for array in function.saved)
        function.saved, node.parents = (), ()  # the tape ends here now


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in what a module takes or returns: one, or a collection of them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)


def _members(modules: Iterable[Module]) -> Iterator[Tensor]:
    """The parameters and buffers of modules, without those of their parts."""
    for module in modules:
        yield from module.parameters(recurse=False)
        yield from module.buffers(recurse=False)


# --- memory ---------------------------------------------------------------------------------------


@dataclass
class _Piece:
    """Memory that one or several arrays share.

    Attributes:
        owner: weak reference to the object that owns it.
        size: in bytes.
        is_output: whether a module returned it.
        is_kept: whether it was saved for backward.
    """

    owner: Callable[[], Array | None]
    size: int
    is_output: bool = False
    is_kept: bool = False


class Memory:
    """Adds up the memory of arrays, and remembers the most that was alive at one time.

    Arrays that share memory, such as an array and its flattened view, count once.

    Attributes:
        total: bytes of all outputs together.
        peak: the most bytes of outputs that were alive at one time.
    """

    def __init__(self) -> None:
        self.total = 0
        self.peak = 0
        self._alive: list[_Piece] = []
        self._left_out: set[int] = set()

    def leave_out(self, arrays: Iterable[Array]) -> None:
        """Never count these as kept: they stay alive anyway, being parameters."""
        self._left_out.update(id(owner_of(array)) for array in arrays)

    def note(self, array: Array) -> None:
        """Take note of an output that has just come into being."""
        piece = self._piece_of(array)
        if not piece.is_output:
            piece.is_output = True
            self.total += piece.size
        self.peak = max(self.peak, sum(piece.size for piece in self._alive if piece.is_output))

    def keep(self, array: Array | None) -> int:
        """Take note that `array` is saved for backward; return the bytes that this adds."""
        if array is None or id(owner_of(array)) in self._left_out:
            return 0
        piece = self._piece_of(array)
        if piece.is_kept:
            return 0
        piece.is_kept = True
        return piece.size

    def _piece_of(self, array: Array) -> _Piece:
        """Find the memory that `array` lies in, or add it."""
        owner = owner_of(array)
        if not isinstance(owner, type(array)):
            owner = array  # bytes, for example, own memory too, but take no weak references
        self._alive = [piece for piece in self._alive if piece.owner() is not None]
        for piece in self._alive:
            if piece.owner() is owner:
                return piece
        self._alive.append(_Piece(weakref.ref(owner), array.nbytes))
        return self._alive[-1]
