"""Layers that follow one another, computed in fewer passes over memory.

An activation such as ReLU does next to nothing to each number, but as a layer of its own it reads
all of them from memory and writes them back, forwards and backwards. Where it follows a layer that
writes these numbers anyway, that layer can apply it on the way. RULES, below, is the whole list of
what `Sequential` joins; each rule calls a public function of `nn.functional`, which anybody can call
in a `forward` of their own:

    F.conv2d(..., activation="relu")
    F.conv2d(..., activation="relu", max_pool=2)    also without the activation
    F.linear(..., activation="relu")
    F.batch_norm(..., activation="relu")
    F.max_pool2d(..., activation="relu")    relu(max(x)) is max(relu(x)), on a quarter of the numbers

In inference, that is in eval mode and under `no_grad`, a BatchNorm multiplies each channel by a
number and adds another one. A convolution before it can take over both: scaled weights make scaled
results, and a bias is added anyway (`norm_folds` says when). The weights are scaled in each call, on
their way into the cache, and not kept: whoever changes weights or statistics need not tell anybody.

    scale, shift = norm.scale_and_shift()
    F.conv2d(x, weight, shift, scale=scale)

Results and gradients are the same up to rounding. A layer that has hooks is left alone, because they
have to see its own output; so are classes derived from those in the rules. `minicnn.fusion(False)`
switches all of it off.
"""

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from minicnn.autograd import Tensor, is_grad_enabled
from minicnn.kernels.dispatch import suits_compiled
from minicnn.nn.activation import ReLU
from minicnn.nn.conv import Conv2d
from minicnn.nn.linear import Linear
from minicnn.nn.module import Module
from minicnn.nn.norm import BatchNorm1d, BatchNorm2d
from minicnn.nn.pool import MaxPool2d


def _alone(x: Tensor, layer: Module) -> Tensor:
    return layer(x)


def _with_relu(x: Tensor, layer: Module, _: ReLU) -> Tensor:
    return layer(x, activation="relu")


def _relu_after_pool(x: Tensor, _: ReLU, pool: MaxPool2d) -> Tensor:
    return pool(x, activation="relu")


def _layer_and_relu_after_pool(x: Tensor, layer: Module, _: ReLU, pool: MaxPool2d) -> Tensor:
    return pool(layer(x), activation="relu")


def _conv_and_relu_after_pool(x: Tensor, conv: Conv2d, _: ReLU, pool: MaxPool2d) -> Tensor:
    if pool.lies_side_by_side:
        return conv(x, activation="relu", max_pool=pool.kernel_size)
    return pool(conv(x), activation="relu")


def _conv_and_pool(x: Tensor, conv: Conv2d, pool: MaxPool2d) -> Tensor:
    return conv(x, max_pool=pool.kernel_size) if pool.lies_side_by_side else pool(conv(x))


class FoldedNorm(BatchNorm2d):
    """Stands in the rules for a BatchNorm2d that folds into the Conv2d before it, see `norm_folds`."""


def _conv_and_norm(x: Tensor, conv: Conv2d, norm: BatchNorm2d) -> Tensor:
    return conv(x, norm=norm)


def _conv_norm_and_relu(x: Tensor, conv: Conv2d, norm: BatchNorm2d, _: ReLU) -> Tensor:
    return conv(x, activation="relu", norm=norm)


RULES: dict[tuple[type[Module], ...], Callable[..., Tensor]] = {
    (Conv2d, ReLU, MaxPool2d): _conv_and_relu_after_pool,
    (Conv2d, MaxPool2d): _conv_and_pool,
    (BatchNorm2d, ReLU, MaxPool2d): _layer_and_relu_after_pool,
    (ReLU, MaxPool2d): _relu_after_pool,
    (Conv2d, FoldedNorm, ReLU): _conv_norm_and_relu,
    (Conv2d, FoldedNorm): _conv_and_norm,
    (Conv2d, ReLU): _with_relu,
    (Linear, ReLU): _with_relu,
    (BatchNorm1d, ReLU): _with_relu,
    (BatchNorm2d, ReLU): _with_relu,
}
"""For layers that follow one another: what computes all of them in one step. The first rule that fits is taken."""


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


def norm_folds(conv: Conv2d, norm: BatchNorm2d) -> bool:
    """Whether `norm` uses its running statistics, and the compiled loops can apply them while they compute `conv`.

    Where shapes or dtypes do not fit together, the answer is no: the layer that they do not fit then
    raises its own error. It is also no without eps, where a variance of 0 would make weights infinite,
    and their sums NaN.
    """
    mean, variance, weight = norm.running_mean, norm.running_var, conv.weight.array
    if norm.training or not norm.track_running_stats or mean is None or variance is None:
        return False
    if norm.eps <= 0 or not suits_compiled(weight):
        return False
    channels, dtype = weight.shape[:1], weight.dtype
    for tensor in (conv.bias, mean, variance, norm.weight, norm.bias):
        if tensor is not None and (tensor.array.shape != channels or tensor.array.dtype != dtype):
            return False
    return True


class Step(NamedTuple):
    """One call out of those that a chain of layers takes: compute(x, *layers)."""

    name: str  # of its first layer
    compute: Callable[..., Tensor]
    layers: tuple[Module, ...]


class Plan(NamedTuple):
    """The steps of a chain of layers, and all that they depend on."""

    basis: list
    steps: list[Step]


def plan_of(layers: dict[str, Module], earlier: Plan | None = None) -> Plan:
    """Divide a chain of layers into steps, joined where a rule fits.

    Args:
        layers: the chain, by name.
        earlier: an earlier plan, which is returned if it still holds: if the same layers have the same
            names, kinds and hooks or none, and fusion is as it was.
    """
    chain = list(layers.values())
    hooks = [bool(layer._forward_hooks or layer._forward_pre_hooks) for layer in chain]
    kinds = _kinds(chain, hooks)
    basis = [_state.on, *layers, *chain, *kinds, *hooks]
    if earlier is not None and earlier.basis == basis:
        return earlier
    return Plan(basis, _steps(list(layers), chain, kinds, hooks))


def _kinds(chain: list[Module], hooks: list[bool]) -> list[type[Module]]:
    """The classes of layers (a lazy one changes its own), as RULES name them."""
    kinds = list(map(type, chain))
    if (
        is_grad_enabled() or not _state.on or BatchNorm2d not in kinds
    ):  # the last is the quick answer
        return kinds
    conv_and_norm = [Conv2d, BatchNorm2d]
    for i, pair in enumerate(pairwise(chain)):
        if kinds[i : i + 2] == conv_and_norm and not any(hooks[i : i + 2]) and norm_folds(*pair):
            kinds[i + 1] = FoldedNorm
    return kinds


def _steps(
    names: list[str], layers: list[Module], kinds: list[type[Module]], hooks: list[bool]
) -> list[Step]:
    """Divide a chain of layers into steps."""
    steps, done = [], 0
    while done < len(layers):
        compute, length = _alone, 1
        if _state.on:
            compute, length = _first_rule(tuple(kinds[done:]), hooks[done:])
        steps.append(Step(names[done], compute, tuple(layers[done : done + length])))
        done += length
    return steps


def _first_rule(
    kinds: tuple[type[Module], ...], hooks: list[bool]
) -> tuple[Callable[..., Tensor], int]:
    """Return what computes the first layers of a chain, and how many of them it takes."""
    for pattern, compute in RULES.items():
        length = len(pattern)
        if kinds[:length] == pattern and not any(hooks[:length]):
            return compute, length
    return _alone, 1
