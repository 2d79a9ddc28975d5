"""Steps of optimizers, for arrays of either library; the sibling for the CPU is cpu/update.py.

A network has many parameters, most of them small. The functions therefore take lists of arrays of
one dtype: parameters, their gradients, of the same shapes, and what a rule remembers of each of them.
Parameters and memory are changed in place. The equations are those of the classes in minicnn/optim.
"""

import math
from collections.abc import Sequence

from .arrays import Array, xp_of

Arrays = Sequence[Array]


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
    """Step against the gradient, or along the velocity where there are velocities."""
    for index, (param, grad) in enumerate(zip(params, grads, strict=True)):
        if weight_decay:
            grad = grad + weight_decay * param
        if velocities is not None:
            velocity = velocities[index]
            velocity *= momentum
            velocity += (1 - dampening) * grad
            grad = grad + momentum * velocity if nesterov else velocity
        param -= lr * grad


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
    """Adam's step number `step`, the first being 1; AdamW's if `decoupled`, amsgrad's if `largest` squares are kept."""
    beta1, beta2 = betas
    step_size, root_factor = adam_factors(step, lr, betas)
    for index, (param, grad) in enumerate(zip(params, grads, strict=True)):
        mean, square = means[index], squares[index]
        if decoupled:
            param *= 1 - lr * weight_decay
        elif weight_decay:
            grad = grad + weight_decay * param
        mean *= beta1
        mean += (1 - beta1) * grad
        square *= beta2
        square += (1 - beta2) * (grad * grad)
        if largest is not None:
            square = xp_of(param).maximum(largest[index], square, out=largest[index])
        change = xp_of(param).sqrt(square)
        change *= root_factor
        change += eps
        param -= step_size * (mean / change)


def adam_factors(step: int, lr: float, betas: tuple[float, float]) -> tuple[float, float]:
    """Return lr / (1 - beta1^step) and 1 / sqrt(1 - beta2^step), which undo the bias of means that start at 0."""
    beta1, beta2 = betas
    return lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step)


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
    """RMSprop's step; centered where `means` are kept, with momentum where `velocities` are."""
    for index, (param, grad) in enumerate(zip(params, grads, strict=True)):
        square = squares[index]
        if weight_decay:
            grad = grad + weight_decay * param
        square *= alpha
        square += (1 - alpha) * (grad * grad)
        if means is not None:
            mean = means[index]
            mean *= alpha
            mean += (1 - alpha) * grad
            square = xp_of(param).maximum(square - mean * mean, 0)  # rounding can leave less than 0
        change = xp_of(param).sqrt(square)
        change += eps
        change = grad / change
        if velocities is not None:
            velocity = velocities[index]
            velocity *= momentum
            velocity += change
            change = velocity
        param -= lr * change


def chosen(indices: Sequence[int], *columns: Arrays | None) -> list[Arrays | None]:
    """Return these rows of each column, for the parameters that a sibling leaves to this file; None stays None."""
    return [column and [column[index] for index in indices] for column in columns]
