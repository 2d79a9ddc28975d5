"""Layers that follow one another, computed in fewer passes over memory.

An activation such as ReLU does next to nothing to each number, but as a layer of its own it reads
all of them from memory and writes them back, forwards and backwards. Where it follows a layer that
writes these numbers anyway, that layer can apply it on the way. RULES, below, is the whole list of
what `Sequential` joins; each rule calls a public function of `nn.functional`, which anybody can call
in a `forward` of their own:

    F.conv2d(..., activation="relu")
    F.linear(..., activation="relu")
    F.batch_norm(..., activation="relu")
    F.max_pool2d(..., activation="relu")    relu(max(x)) is max(relu(x)), on a quarter of the numbers

Results and gradients are the same up to rounding. A layer that has hooks is left alone, because they
have to see its own output; so are classes derived from those in the rules. `minicnn.fusion(False)`
switches all of it off.
"""

import threading
from collections.abc import Callable, Iterator

from minicnn.autograd import Tensor
from minicnn.nn.activation import ReLU
from minicnn.nn.conv import Conv2d
from minicnn.nn.linear import Linear
from minicnn.nn.module import Module
from minicnn.nn.norm import BatchNorm1d, BatchNorm2d
from minicnn.nn.pool import MaxPool2d

Step = Callable[[Tensor], Tensor]


def _with_relu(layer: Module, _: ReLU) -> Step:
    return lambda x: layer(x, activation="relu")


def _relu_after_pool(_: ReLU, pool: MaxPool2d) -> Step:
    return lambda x: pool(x, activation="relu")


def _layer_and_relu_after_pool(layer: Module, _: ReLU, pool: MaxPool2d) -> Step:
    return lambda x: pool(layer(x), activation="relu")


RULES: dict[tuple[type[Module], ...], Callable[..., Step]] = {
    (Conv2d, ReLU, MaxPool2d): _layer_and_relu_after_pool,
    (BatchNorm2d, ReLU, MaxPool2d): _layer_and_relu_after_pool,
    (ReLU, MaxPool2d): _relu_after_pool,
    (Conv2d, ReLU): _with_relu,
    (Linear, ReLU): _with_relu,
    (BatchNorm1d, ReLU): _with_relu,
    (BatchNorm2d, ReLU): _with_relu,
}
"""For layers that follow one another: what makes one step of them. The first rule that fits is taken."""

STARTS = frozenset(pattern[0] for pattern in RULES)


class _State(threading.local):
    """What is in force, for each thread by itself."""

    on = True


_state = _State()


class fusion:  # noqa: N801 (used like a function)
    """Say whether layers that follow one another are joined, from this call on, or inside a `with` block only.

    Args:
        on: True, which holds without this call; False computes layer by layer.
    """

    def __init__(self, on: bool):
        self.on, self.outer = bool(on), _state.on
        _state.on = self.on

    def __enter__(self) -> None:
        _state.on = self.on  # again: the block may be entered a second time

    def __exit__(self, *_: object) -> None:
        _state.on = self.outer


def steps(layers: dict[str, Module]) -> Iterator[tuple[str, Step]]:
    """Give the calls that a chain of layers takes, each with its first layer's name, joined where a rule fits."""
    names, modules = list(layers), list(layers.values())
    i = 0
    while i < len(modules):
        step, length = modules[i], 1
        if type(step) in STARTS and _state.on:
            step, length = _joined(modules[i:])
        yield names[i], step
        i += length


def _joined(modules: list[Module]) -> tuple[Step, int]:
    """Return the first step of a chain of layers, and how many of them it takes."""
    for pattern, join in RULES.items():
        group = modules[: len(pattern)]
        if tuple(map(type, group)) == pattern and not any(map(_has_hooks, group)):
            return join(*group), len(group)
    return modules[0], 1


def _has_hooks(module: Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
