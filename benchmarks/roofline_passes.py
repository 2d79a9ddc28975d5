"""The kernels that roofline.py places, second part: what reads and writes, and computes little.

The arrays are larger than the caches, so that memory is the limit and not the time to start a loop.
"""

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np
from libraries import MINICNN
from traffic import FLOAT, Kernel, Traffic

import minicnn
from minicnn import kernels, optim
from minicnn.kernels.dispatch import sibling

MAPS = (64, 64, 56, 56)  # (N, C, H, W): 49 MiB
NUMBERS = math.prod(MAPS)
SCORES = (8192, 1000)  # rows, classes: 31 MiB
PARAMETERS = 10_000_000


def random_features(*shape: int) -> np.ndarray:
    """Return standard normal numbers, channels-last in memory."""
    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return MINICNN.features(values).array


def pass_kernels() -> Iterator[Kernel]:
    """Yield everything that goes over arrays a few times."""
    yield from elementwise_kernels()
    yield from norm_kernels()
    yield from pooling_kernels()
    yield from loss_kernels()
    yield from optimizer_kernels()


# --- activations, bias, dropout -------------------------------------------------------------------

ELEMENTWISE = [  # name, FLOP a number, passes over images, make
    ("ReLU: forward", 1, "x -> y", lambda: relu(False)),
    ("ReLU: backward", 1, "dy y -> dx", lambda: relu(True)),
    ("bias: backward", 1, "dy", lambda: bias(False)),
    ("bias + ReLU: backward", 2, "dy y -> dx", lambda: bias(True)),
    ("dropout: forward and backward, each", 1, "x -> y", lambda: dropout()),
]


def elementwise_kernels() -> Iterator[Kernel]:
    """Yield what treats each number alone, or nearly."""
    sizes = dict.fromkeys(("x", "y", "dy", "dx"), FLOAT * NUMBERS)
    for name, flops, passes, make in ELEMENTWISE:
        yield Kernel(name, "activation, loss", flops * NUMBERS, Traffic(passes, sizes), make)


def relu(backward: bool) -> Callable[[], object]:
    """Return ReLU or its gradient."""
    x, grad = random_features(*MAPS), random_features(*MAPS)
    activation = sibling("activation", x)
    y = activation.relu(x)
    return (lambda: activation.relu_grad(grad, y)) if backward else (lambda: activation.relu(x))


def bias(with_relu: bool) -> Callable[[], object]:
    """Return the gradient of a bias, or that of a bias followed by ReLU."""
    grad, y = (random_features(NUMBERS // 64, 64) for _ in range(2))  # (N H W, K)
    module = sibling("bias", grad)
    return (
        (lambda: module.bias_relu_grad(grad, y)) if with_relu else (lambda: module.bias_grad(grad))
    )


def dropout() -> Callable[[], object]:
    """Return dropout, which is its own gradient."""
    x = random_features(NUMBERS // 64, 64)
    return lambda: sibling("dropout", x).dropout(x, 0.5, 1)


# --- BatchNorm ------------------------------------------------------------------------------------

NORMS = [  # name, ReLU, sum, then FLOP a number and passes: forward, backward
    ("BatchNorm", False, False, (5, "x; x -> y"), (9, "dy x; dy x -> dx")),
    ("BatchNorm + ReLU", True, False, (6, "x; x -> y"), (14, "dy x; dy x -> dx")),
    ("BatchNorm + sum + ReLU", True, True, (7, "x; x r -> y"), (10, "dy x y -> dz; dz x -> dx")),
]


def norm_kernels() -> Iterator[Kernel]:
    """Yield BatchNorm with the batch's statistics. The first pass is for sums, the second writes."""
    sizes = dict.fromkeys(("x", "r", "y", "dy", "dz", "dx"), FLOAT * NUMBERS)
    for name, with_relu, with_sum, *parts in NORMS:
        for backward, (flops, passes) in enumerate(parts):
            part = "backward" if backward else "forward"
            make = functools.partial(norm, with_relu, with_sum, bool(backward))
            traffic = Traffic(passes, sizes)
            yield Kernel(f"{name}: {part}", "norm", flops * NUMBERS, traffic, make)


def norm(with_relu: bool, with_sum: bool, backward: bool) -> Callable[[], object]:
    """Return BatchNorm with the batch's statistics, what follows it, or the gradients of both."""
    x, grad, other = (random_features(*MAPS) for _ in range(3))
    weight, shift = np.ones(64, np.float32), np.zeros(64, np.float32)
    module = sibling("norm", x)
    residual = other if with_sum else None

    def forward() -> tuple:
        return module.batch_norm(x, weight, shift, 1e-5, residual, with_relu)

    y, mean, inverse_std, _ = forward()
    result = y if with_relu and with_sum else None
    if not backward:
        return forward
    return lambda: module.batch_norm_grad(
        grad, x, mean, inverse_std, weight, shift, with_relu, result
    )


# --- pooling --------------------------------------------------------------------------------------

POOLINGS = [("max", 3, 2, 1), ("max", 2, 2, 0), ("average", 2, 2, 0)]  # size, stride, padding


def pooling_kernels() -> Iterator[Kernel]:
    """Yield max-pooling and average pooling. The place of a winner fits into a byte."""
    for kind, size, stride, padding in POOLINGS:
        outputs = NUMBERS // stride**2
        sizes = dict.fromkeys(("x", "dx"), FLOAT * NUMBERS)
        sizes |= {"y": FLOAT * outputs, "dy": FLOAT * outputs, "winner": outputs}
        winner = " winner" if kind == "max" else ""
        for part, flops, passes in (
            ("forward", outputs * size**2, f"x -> y{winner}"),
            ("backward", outputs, f"dy{winner} -> dx"),
        ):
            pool = max_pool if kind == "max" else average_pool
            make = functools.partial(pool, size, stride, padding, part == "backward")
            name = f"{kind}-pool {size}x{size}/{stride}: {part}"
            yield Kernel(name, "pooling", flops, Traffic(passes, sizes), make)


def max_pool(size: int, stride: int, padding: int, backward: bool) -> Callable[[], object]:
    """Return max-pooling or its gradient."""
    x = random_features(*MAPS)
    y, winner = kernels.max_pool2d(x, size, stride, padding)
    if not backward:
        return lambda: kernels.max_pool2d(x, size, stride, padding)
    grad = random_features(*y.shape)
    return lambda: kernels.max_pool2d_grad(grad, winner, x.shape, size, stride, padding)


def average_pool(size: int, stride: int, padding: int, backward: bool) -> Callable[[], object]:
    """Return average pooling or its gradient."""
    x = random_features(*MAPS)
    grad = random_features(*kernels.avg_pool2d(x, size, stride, padding).shape)
    if not backward:
        return lambda: kernels.avg_pool2d(x, size, stride, padding)
    return lambda: kernels.avg_pool2d_grad(grad, x.shape, size, stride, padding)


# --- loss -----------------------------------------------------------------------------------------


def loss_kernels() -> Iterator[Kernel]:
    """Yield softmax with cross-entropy, which keeps the probabilities, and its gradient."""
    count = math.prod(SCORES)
    sizes = dict.fromkeys(("x", "p", "dx"), FLOAT * count)
    title = f"softmax cross-entropy {SCORES[0]}x{SCORES[1]}"
    for part, flops, passes in (("forward", 5, "x -> p"), ("backward", 2, "p -> dx")):
        make = functools.partial(cross_entropy, part == "backward")
        yield Kernel(
            f"{title}: {part}", "activation, loss", flops * count, Traffic(passes, sizes), make
        )


def cross_entropy(backward: bool) -> Callable[[], object]:
    """Return the losses and the probabilities, or the gradient of the mean loss."""
    rows, classes = SCORES
    scores, weights = random_features(rows, classes), np.ones(classes, np.float32)
    labels = np.random.default_rng(0).integers(0, classes, rows)
    loss, truth = sibling("loss", scores), (labels, weights, -100, 0.0)
    if not backward:
        return lambda: loss.cross_entropy(scores, *truth)
    _, probabilities, *_ = loss.cross_entropy(scores, *truth)
    grad = np.full(1, 1 / rows, np.float32)
    return lambda: loss.cross_entropy_grad(grad, probabilities, *truth)


# --- optimizers, clipping -------------------------------------------------------------------------

OPTIMIZERS = [  # name, options, FLOP a parameter, passes
    ("SGD", {"lr": 1e-3}, 2, "w g -> w"),
    ("SGD", {"lr": 1e-3, "momentum": 0.9}, 4, "w v g -> w v"),
    ("Adam", {"lr": 1e-3}, 12, "w m v g -> w m v"),
]
ARRAYS = 1, 50  # a flat buffer; the parameters of a network


def optimizer_kernels() -> Iterator[Kernel]:
    """Yield one step of each rule, and what clips gradients."""
    sizes = dict.fromkeys(("w", "m", "v", "g"), FLOAT * PARAMETERS)
    millions = f"{PARAMETERS // 10**6} M"
    for arrays in ARRAYS:
        where = f"in {arrays} array{'s' if arrays > 1 else ''}"
        for name, options, flops, passes in OPTIMIZERS:
            momentum = " with momentum" if "momentum" in options else ""
            make = functools.partial(optimizer, name, options, arrays)
            title = f"{name}{momentum}, {millions} parameters {where}"
            yield Kernel(title, "optimizer", flops * PARAMETERS, Traffic(passes, sizes), make)
        for kind, flops, passes in (("norm", 3, "g; g -> g"), ("value", 2, "g -> g")):
            make = functools.partial(clipping, kind, arrays)
            title = f"clipping by {kind}, {millions} gradients {where}"
            yield Kernel(title, "optimizer", flops * PARAMETERS, Traffic(passes, sizes), make)


def parameters(arrays: int) -> list[minicnn.Tensor]:
    """Return PARAMETERS random numbers in so many arrays, with gradients."""
    values = np.random.default_rng(0).standard_normal((2, arrays, PARAMETERS // arrays), np.float32)
    params = [minicnn.Tensor(row.copy(), requires_grad=True) for row in values[0]]
    for param, gradient in zip(params, values[1], strict=True):
        param.grad = minicnn.Tensor(gradient.copy())
    return params


def optimizer(name: str, options: dict[str, float], arrays: int) -> Callable[[], object]:
    """Return a step of an optimizer."""
    return getattr(optim, name)(parameters(arrays), **options).step


def clipping(kind: str, arrays: int) -> Callable[[], object]:
    """Return what limits gradients: their norm, for which all are multiplied by a number, or each value."""
    grads = [param.grad.array for param in parameters(arrays)]
    module = sibling("clip", grads[0])
    if kind == "value":
        return lambda: module.clip(grads, 0.5)

    def by_norm() -> None:
        module.scale(grads, min(1.0, 3000.0 / float(module.norm(grads))))

    return by_norm
