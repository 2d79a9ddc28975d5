"""Steps of optimizers as parts of CUDA graphs, see minicnn/graphs.py.

A graph launches the kernels of a step again, with the arguments that they were captured with. What changes from
step to step has to lie in device memory then: gradients and what is remembered of parameters do, and learning
rate and number of steps are written there before each launch (`kernels.capture.number`). What the host keeps
itself, it counts as if the optimizer had been called; and options that are arguments of the kernels must not
change, or the graph is captured anew.
"""

from collections.abc import Callable, Iterator
from typing import Any

from minicnn.autograd import Tensor
from minicnn.backend import Array, device_of, is_array
from minicnn.kernels.arrays import in_memory_order
from minicnn.kernels.dispatch import suits_cuda
from minicnn.optim.optimizer import Optimizer, State, plain_options


def capturable(rule: Callable) -> Callable:
    """Decorate an `update_all` that launches kernels, and takes learning rate and steps as arrays of a GPU, too.

    Then it can be a part of a CUDA graph. The mark is one of the function: a sub-class that defines another one has
    to say so for itself.
    """
    rule.is_capturable = True
    return rule


def is_capturable(optimizer: Optimizer, moved: dict[int, Any]) -> bool:
    """Whether a step of an optimizer can be a part of a graph.

    Its rule must be one of minicnn's own, all gradients must come from the graph, and all memory must be there, on the
    GPU, without gaps and in the order of the parameters: what the kernels in gpu/update.cu take.

    Args:
        optimizer: of any kind.
        moved: whose keys are the ids of the parameters that the graph computes gradients of.
    """
    if not getattr(type(optimizer).update_all, "is_capturable", False):
        return False
    for group in optimizer.param_groups:
        for p in group["params"]:
            if (p.grad is not None) != (id(p) in moved):
                return False
            if p.grad is not None and not (
                optimizer.is_complete(optimizer.state[p], group)
                and suits_cuda(p.array)
                and in_memory_order(p.array)[0].flags.c_contiguous
                and all(_lie_alike(a, p.array) for a in _arrays(optimizer.state[p]))
            ):
                return False
    return True


class StepInGraph:
    """One step of an optimizer in a graph, and what must hold for it to be repeated.

    Args:
        optimizer: whose step is about to be captured.

    Attributes:
        optimizer: the same.
        arrays: what the kernels work on, beside the gradients.
    """

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer
        self._moved = {
            id(p): p
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        }
        states = [optimizer.state[p] for p in self._moved.values()]
        self._before = [(state, dict(state)) for state in states], optimizer.step_count
        self.arrays: list[Array] = [p.array for p in self._moved.values()]
        self.arrays += [array for state in states for array in _arrays(state)]
        self._captured = self._constants()

    def holds(self) -> bool:
        """Whether the optimizer would still do what was captured."""
        return self._constants() == self._captured

    def count(self) -> None:
        """Do what the host does in a step."""
        self.optimizer.step_count += 1
        for group in self.optimizer.param_groups:
            moved = [p for p in group["params"] if id(p) in self._moved]
            self.optimizer.count([self.optimizer.state[p] for p in moved])
            for p in moved:
                p.bump_version()

    def undo(self) -> None:
        """Make what the host has counted as it was: nothing has been computed."""
        states, self.optimizer.step_count = self._before
        for state, old in states:
            state.update(old)

    def _constants(self) -> list[Any]:
        """What the graph has taken for constant: the groups, their options but the learning rate, and `_places`."""
        return [
            (id(group), plain_options(group) | {"lr": None}, [*self._places(group["params"])])
            for group in self.optimizer.param_groups
        ]

    def _places(self, params: list[Tensor]) -> Iterator[Any]:
        """Who moves with whom, and the identities of what is read and written; of others, whether they stay."""
        phases = []
        for p in params:
            if id(p) in self._moved:
                state = self.optimizer.state[p]
                phases.append(self.optimizer.phase(state) if state else None)
                yield phases.index(phases[-1])  # the first that it moves with
                yield from map(id, (p.array, state, *_arrays(state)))
            else:
                yield p.grad is None


def _arrays(state: State) -> list[Array]:
    return [value for value in state.values() if is_array(value)]


def _lie_alike(a: Array, b: Array) -> bool:
    return a.strides == b.strides and a.dtype == b.dtype and device_of(a) == device_of(b)
