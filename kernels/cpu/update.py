"""Steps of optimizers, in one pass over memory and one call for all parameters; the contracts are in ../update.py.

Adam in NumPy walks 14 times over each parameter. Here every number is read once and written once,
see table.py.
"""

import math

from .. import update as numpy_update
from ..update import Arrays, adam_factors, chosen
from .compiled import compiled, on_threads
from .flat import share
from .table import END, GRAD, MEMORY, PARAM, part_of, run

# --- SGD ------------------------------------------------------------------------------------------


def sgd(
    params: Arrays,
    grads: Arrays,
    velocities: Arrays | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """See ../update.py."""
    options = float(lr), float(momentum), float(dampening), float(weight_decay), float(nesterov)
    memory = [] if velocities is None else [velocities]
    left = run(_sgd, params, grads, memory, options)
    if left:
        numpy_update.sgd(*chosen(left, params, grads, velocities), *options)


@on_threads
def _sgd(part, parts, table, options, like):
    number = like.dtype.type
    lr, momentum, share_of_grad = number(options[0]), number(options[1]), number(1 - options[2])
    decay, nesterov = number(options[3]), options[4] != 0
    mine = share(table[-1, END], part, parts)
    for row in range(len(table)):
        w, g = part_of(table, row, PARAM, mine, like), part_of(table, row, GRAD, mine, like)
        if table.shape[1] == MEMORY:
            for i in range(w.size):
                w[i] -= lr * _decayed(g[i], w[i], decay)
        else:
            v = part_of(table, row, MEMORY, mine, like)
            for i in range(w.size):
                slope = _decayed(g[i], w[i], decay)
                v[i] = momentum * v[i] + share_of_grad * slope
                w[i] -= lr * (slope + momentum * v[i] if nesterov else v[i])


@compiled
def _decayed(g, w, decay):
    """The gradient with that of the penalty decay/2 w^2; an infinite weight does not matter if decay is 0."""
    return g + decay * w if decay != 0 else g


# --- Adam -----------------------------------------------------------------------------------------


def adam(
    params: Arrays,
    grads: Arrays,
    means: Arrays,
    squares: Arrays,
    largest: Arrays | None,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """See ../update.py."""
    step_size, root_factor = adam_factors(step, lr, betas)
    shrink, decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    options = step_size, root_factor, float(betas[0]), float(betas[1]), float(eps)
    memory = [means, squares] if largest is None else [means, squares, largest]
    options = *options, float(shrink), float(decay)
    left = run(_adam, params, grads, memory, options)
    if left:
        columns = chosen(left, params, grads, means, squares, largest)
        numpy_update.adam(*columns, step, lr, betas, eps, weight_decay, decoupled)


@on_threads
def _adam(part, parts, table, options, like):
    number = like.dtype.type
    step_size, root_factor, eps = number(options[0]), number(options[1]), number(options[4])
    beta1, rest1 = number(options[2]), number(1 - options[2])
    beta2, rest2 = number(options[3]), number(1 - options[3])
    shrink, decay = number(options[5]), number(options[6])
    mine = share(table[-1, END], part, parts)
    for row in range(len(table)):
        w, g = part_of(table, row, PARAM, mine, like), part_of(table, row, GRAD, mine, like)
        m, v = part_of(table, row, MEMORY, mine, like), part_of(table, row, MEMORY + 1, mine, like)
        if table.shape[1] == MEMORY + 2:
            for i in range(w.size):
                slope = _decayed(g[i], w[i], decay)
                m[i] = beta1 * m[i] + rest1 * slope
                v[i] = beta2 * v[i] + rest2 * slope * slope
                root = math.sqrt(v[i]) * root_factor
                w[i] = shrink * w[i] - step_size * m[i] / (root + eps)
        else:
            largest = part_of(table, row, MEMORY + 2, mine, like)
            for i in range(w.size):
                slope = _decayed(g[i], w[i], decay)
                m[i] = beta1 * m[i] + rest1 * slope
                v[i] = beta2 * v[i] + rest2 * slope * slope
                largest[i] = v[i] if not largest[i] >= v[i] else largest[i]  # a NaN in v as well
                root = math.sqrt(largest[i]) * root_factor
                w[i] = shrink * w[i] - step_size * m[i] / (root + eps)


# --- RMSprop --------------------------------------------------------------------------------------


def rmsprop(
    params: Arrays,
    grads: Arrays,
    squares: Arrays,
    means: Arrays | None,
    velocities: Arrays | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> None:
    """See ../update.py."""
    settings = float(lr), float(alpha), float(eps), float(weight_decay), float(momentum)
    options = *settings, float(means is not None), float(velocities is not None)
    memory = [column for column in (squares, means, velocities) if column is not None]
    left = run(_rmsprop, params, grads, memory, options)
    if left:
        columns = chosen(left, params, grads, squares, means, velocities)
        numpy_update.rmsprop(*columns, *settings)


@on_threads
def _rmsprop(part, parts, table, options, like):
    number = like.dtype.type
    lr, decay, momentum = number(options[0]), number(options[3]), number(options[4])
    memory = number(options[1]), number(1 - options[1]), number(options[2])  # alpha, 1 - alpha, eps
    centered, moving = options[5] != 0, options[6] != 0
    mine = share(table[-1, END], part, parts)
    last = table.shape[1] - 1
    for row in range(len(table)):
        w, g = part_of(table, row, PARAM, mine, like), part_of(table, row, GRAD, mine, like)
        s, b = part_of(table, row, MEMORY, mine, like), part_of(table, row, last, mine, like)
        if centered:
            a = part_of(table, row, MEMORY + 1, mine, like)
            if moving:
                for i in range(w.size):
                    change = _over_deviation(_decayed(g[i], w[i], decay), i, s, a, memory)
                    b[i] = momentum * b[i] + change
                    w[i] -= lr * b[i]
            else:
                for i in range(w.size):
                    w[i] -= lr * _over_deviation(_decayed(g[i], w[i], decay), i, s, a, memory)
        elif moving:
            for i in range(w.size):
                b[i] = momentum * b[i] + _over_root(_decayed(g[i], w[i], decay), i, s, memory)
                w[i] -= lr * b[i]
        else:
            for i in range(w.size):
                w[i] -= lr * _over_root(_decayed(g[i], w[i], decay), i, s, memory)


@compiled
def _over_root(slope, i, s, memory):
    """Update the running mean s of squares; return the slope over its root."""
    alpha, rest, eps = memory
    s[i] = alpha * s[i] + rest * slope * slope
    return slope / (math.sqrt(s[i]) + eps)


@compiled
def _over_deviation(slope, i, s, a, memory):
    """Update the running means s of squares and a of slopes; return the slope over the standard deviation."""
    alpha, rest, eps = memory
    zero = s.dtype.type(0)
    s[i] = alpha * s[i] + rest * slope * slope
    a[i] = alpha * a[i] + rest * slope
    variance = s[i] - a[i] * a[i]
    variance = zero if variance < zero else variance  # rounding can leave less than 0
    return slope / (math.sqrt(variance) + eps)
