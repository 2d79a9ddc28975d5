"""Steps of optimizers on a GPU: one launch for 64 parameters, see update.cu; the contracts are in ../update.py.

Learning rate and number of the step may be arrays of one number on the device, float64 and int64: a
step that is recorded as a graph reads them anew each time it is replayed. With such arrays, all
functions raise ValueError for a parameter that has gaps in memory.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import update as array_update
from ..arrays import Array
from ..update import chosen
from .launch import NO_ARRAY, struct
from .table import Arrays, run

SGD = "lr", "momentum", "dampening", "decay", "nesterov"
ADAM = "step", "lr", "beta1", "beta2", "eps", "decay", "decoupled"
RMSPROP = "lr", "alpha", "eps", "decay", "momentum", "centered", "moving"
"""The members of the structs of options in update.cu."""

Number = float | Array


def sgd(
    params: Arrays,
    grads: Arrays,
    velocities: Arrays | None,
    lr: Number,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """See ../update.py."""
    settings = momentum, dampening, weight_decay, nesterov
    rate, rate_at = _number(lr, np.float64)
    memory = [] if velocities is None else [velocities]
    left = run("update", "sgd", params, grads, memory, _options(SGD, rate, *settings), rate_at)
    if left:
        _refuse_arrays("sgd", params[left[0]], lr)
        array_update.sgd(*chosen(left, params, grads, velocities), lr, *settings)


def adam(
    params: Arrays,
    grads: Arrays,
    means: Arrays,
    squares: Arrays,
    largest: Arrays | None,
    step: int | Array,
    lr: Number,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """See ../update.py."""
    (count, count_at), (rate, rate_at) = _number(step, np.int64), _number(lr, np.float64)
    memory = [means, squares] if largest is None else [means, squares, largest]
    options = _options(ADAM, count, rate, *betas, eps, weight_decay, decoupled)
    left = run("update", "adam", params, grads, memory, options, count_at, rate_at)
    if left:
        _refuse_arrays("adam", params[left[0]], step, lr)
        columns = chosen(left, params, grads, means, squares, largest)
        array_update.adam(*columns, step, lr, betas, eps, weight_decay, decoupled)


def rmsprop(
    params: Arrays,
    grads: Arrays,
    squares: Arrays,
    means: Arrays | None,
    velocities: Arrays | None,
    lr: Number,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> None:
    """See ../update.py."""
    rate, rate_at = _number(lr, np.float64)
    memory = [column for column in (squares, means, velocities) if column is not None]
    flags = means is not None, velocities is not None
    options = _options(RMSPROP, rate, alpha, eps, weight_decay, momentum, *flags)
    left = run("update", "rmsprop", params, grads, memory, options, rate_at)
    if left:
        _refuse_arrays("rmsprop", params[left[0]], lr)
        columns = chosen(left, params, grads, squares, means, velocities)
        array_update.rmsprop(*columns, lr, alpha, eps, weight_decay, momentum)


def _options(names: Sequence[str], *values: float) -> np.ndarray:
    return struct(names, *values, dtype=np.float64)


def _number(value: Number, dtype: type) -> tuple[float, Any]:
    """Return a number and no array, or 0 and the array of one number that a kernel is to read."""
    if isinstance(value, float | int | np.generic):
        return float(value), NO_ARRAY
    return 0.0, value.astype(dtype, copy=False)


def _refuse_arrays(rule: str, param: Array, *numbers: Number) -> None:
    if not all(isinstance(number, float | int | np.generic) for number in numbers):
        raise ValueError(
            f"{rule}: lr and step can be arrays only if the numbers of each parameter lie side by side in "
            f"memory and belong to no other parameter; got one of shape {param.shape} and strides "
            f"{param.strides}; copy it once, e.g. param = param.copy()"
        )
