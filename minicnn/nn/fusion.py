"""Layers that follow one another, computed in fewer passes over memory.

An activation such as ReLU does next to nothing to each number, but as a layer of its own it reads
all of them from memory and writes them back, forwards and backwards. Where it follows a layer that
writes these numbers anyway, that layer can apply it on the way. RULES, below, is the whole list of
what `Sequential` joins, and `chain` joins the same in a `forward` whose layers are attributes:

    y = chain(x, self.conv1, self.bn1, self.relu, self.conv2)
    y = add_residual(y, self.bn2, x, self.relu)

Each rule calls a public function of `nn.functional`, which anybody can call:

    F.conv2d(..., activation="relu")                also conv1d and conv_transpose2d
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

import functools
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from minicnn.autograd import Tensor, is_grad_enabled
from minicnn.autograd.capturing import note_module
from minicnn.kernels.capture import here
from minicnn.kernels.dispatch import place_of
from minicnn.nn.activation import ReLU
from minicnn.nn.conv import Conv1d, Conv2d, ConvTranspose2d
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
    (Conv1d, ReLU): _with_relu,
    (ConvTranspose2d, ReLU): _with_relu,
    (Linear, ReLU): _with_relu,
    (BatchNorm1d, ReLU): _with_relu,
    (BatchNorm2d, ReLU): _with_relu,
}
"""For layers that follow one another: what computes all of them in one step. The first rule that fits is taken."""

_KINDS = {kind for pattern in RULES for kind in pattern}
"""The classes that the rules know."""


class _State(threading.local):
    """What is in force, for each thread by itself."""

    on = True


_state = _State()


def fusion_in_force() -> bool:
    """Whether layers that follow one another are joined."""
    return _state.on


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
    """Whether `norm` uses its running statistics, and the kernels can apply them while they compute `conv`.

    Where shapes or dtypes do not fit together, the answer is no: the layer that they do not fit then
    raises its own error. It is also no without eps, where a variance of 0 would make weights infinite,
    and their sums NaN.
    """
    mean, variance, weight = norm.running_mean, norm.running_var, conv.weight.array
    if norm.training or not norm.track_running_stats or mean is None or variance is None:
        return False
    if norm.eps <= 0 or not place_of(weight):
        return False
    channels, dtype = weight.shape[:1], weight.dtype
    for tensor in (conv.bias, mean, variance, norm.weight, norm.bias):
        if tensor is not None and (tensor.array.shape != channels or tensor.array.dtype != dtype):
            return False
    return True


def chain(x: Tensor, *layers: Module) -> Tensor:
    """Pass `x` through `layers`, one after the other, joined as in a Sequential.

    Args:
        x: what the first layer takes.
        layers: parts of a module, in the order of its `forward`; one may come several times.

    Returns:
        What the last layer returns; `x` itself if there is none.
    """
    for compute, part in steps_of(layers):
        x = compute(x, *layers[part])
    return x


def add_residual(y: Tensor, norm: Module, residual: Tensor, activation: Module) -> Tensor:
    """Return activation(norm(y) + residual), the end of a residual block: for BatchNorm and ReLU in one pass.

    Args:
        y: (N, C, H, W), what the block's last convolution returned.
        norm: a BatchNorm2d, or another layer that keeps the shape.
        residual: (N, C, H, W), what the shortcut returned.
        activation: a ReLU, or another layer.
    """
    _note(norm, activation)
    if _state.on and _kind(norm) is BatchNorm2d and _kind(activation) is ReLU:
        return norm(y, residual=residual, activation="relu")
    return activation(norm(y) + residual)


class Step(NamedTuple):
    """One call out of those that a chain of layers takes: compute(x, *layers[part])."""

    compute: Callable[..., Tensor]
    part: slice


def steps_of(layers: Sequence[Module]) -> tuple[Step, ...]:
    """Divide a chain of layers into steps, joined where a rule fits.

    Each call looks at the layers anew, since their hooks, modes and classes (a lazy one changes its
    own) may have changed; which steps that makes is remembered for each sequence of kinds.
    """
    _note(*layers)
    if not _state.on:
        return _divided((None,) * len(layers))
    kinds = list(map(_kind, layers))
    if BatchNorm2d in kinds and not is_grad_enabled():
        for i, pair in enumerate(pairwise(layers)):
            if kinds[i : i + 2] == [Conv2d, BatchNorm2d] and norm_folds(*pair):
                kinds[i + 1] = FoldedNorm
    return _divided(tuple(kinds))


def _note(*layers: Module) -> None:
    """Tell a capture of the layers, of which those that are joined to others are never called."""
    if here.active is not None:
        for layer in layers:
            note_module(layer)


def _kind(layer: Module) -> type[Module] | None:
    """The class of a layer as RULES name it; None if it is called alone in any case."""
    return type(layer) if type(layer) in _KINDS and not has_hooks(layer) else None


def has_hooks(module: Module) -> bool:
    """Whether somebody waits for what this very module gets or returns, so that it has to be called itself."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


@functools.lru_cache(maxsize=1024)
def _divided(kinds: tuple[type[Module] | None, ...]) -> tuple[Step, ...]:
    """Divide a chain of layers of these kinds into steps."""
    steps, done = [], 0
    while done < len(kinds):
        compute, length = _first_rule(kinds[done:])
        steps.append(Step(compute, slice(done, done + length)))
        done += length
    return tuple(steps)


def _first_rule(kinds: tuple[type[Module] | None, ...]) -> tuple[Callable[..., Tensor], int]:
    """Return what computes the first layers of a chain, and how many of them it takes."""
    for pattern, compute in RULES.items():
        if kinds[: len(pattern)] == pattern:
            return compute, len(pattern)
    return _alone, 1
