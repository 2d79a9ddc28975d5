"""The kernels that roofline.py places, with the arithmetic and the bytes that each of them needs.

To add a kernel, add a line to one of the lists below. A kernel that a version of minicnn does not
have raises AttributeError, ImportError or ValueError in `make`, and is reported as missing.
"""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from libraries import MINICNN
from operations import PARTS, Convolution, minicnn_convolution, weight_in

import minicnn
from minicnn import kernels, nn, optim
from minicnn.kernels.dispatch import sibling
from minicnn.nn import functional as F

FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Kernel:
    """A kernel on one shape.

    Attributes:
        name: how tables call it.
        family: its colour.
        flops: additions, multiplications, comparisons, divisions and roots that it asks for.
        moved: bytes that must be read or written.
        moves: what those bytes are.
        make: prepares the arrays, and returns what is timed.
    """

    name: str
    family: str
    flops: float
    moved: float
    moves: str
    make: Callable[[], Callable[[], object]]


# --- convolution: (shape, algorithm) --------------------------------------------------------------

CONVOLUTIONS = [
    Convolution(4, 56, 256, 256),
    Convolution(8, 56, 64, 64),
    Convolution(64, 28, 32, 32),
    Convolution(16, 6, 256, 256),
    Convolution(16, 24, 64, 128, stride=2),
    Convolution(8, 56, 64, 128, size=1),
    Convolution(8, 7, 1024, 1024, size=1),
    Convolution(16, 96, 3, 64, size=7, stride=2),
    Convolution(64, 28, 1, 6, size=5),
    Convolution(8, 14, 512, 512, groups=512),
    Convolution(8, 112, 32, 32, groups=32),
]

WINOGRAD = [
    Convolution(4, 56, 256, 256),
    Convolution(8, 56, 64, 64),
    Convolution(64, 28, 32, 32),
    Convolution(16, 12, 128, 128),
]


def convolution_kernels() -> Iterator[Kernel]:
    """Yield the three kernels of every convolution."""
    listed = [(case, "direct") for case in CONVOLUTIONS] + [(case, "winograd") for case in WINOGRAD]
    for case, algorithm in listed:
        family = "Winograd" if algorithm == "winograd" else "convolution"
        family = "depthwise" if case.groups > 1 else family
        label = "Winograd " if algorithm == "winograd" else ""
        moved = FLOAT * sum(array_size for array_size in sizes_of(case))
        for part in PARTS:
            if part == "input gradient" and case.C < 4:
                continue  # images need no gradient
            make = functools.partial(convolution, case, part, algorithm)
            yield Kernel(
                f"{label}{case.title}: {part}", family, case.flops, moved, "x, w, y once each", make
            )


def sizes_of(case: Convolution) -> tuple[int, int, int]:
    """Return the elements of the input, the weights and the output."""
    return (
        case.N * case.C * case.H**2,
        case.K * (case.C // case.groups) * case.size**2,
        case.N * case.K * case.output_size**2,
    )


def convolution(case: Convolution, part: str, algorithm: str) -> Callable[[], object]:
    """Return one kernel of a convolution, by one algorithm."""
    arrays = case.arrays()
    x, g = MINICNN.features(arrays["x"]), MINICNN.features(arrays["g"])
    w = weight_in(MINICNN, case, arrays["w"])
    return minicnn_convolution(case, x, w, g, algorithm=algorithm)[part]


# --- passes over images ---------------------------------------------------------------------------

MAPS = (16, 64, 48, 48)  # (N, C, H, W)
NUMBERS = math.prod(MAPS)


def random_features(*shape: int) -> np.ndarray:
    """Return standard normal numbers, channels-last in memory."""
    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return MINICNN.features(values).array


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


def max_pool(size: int, stride: int, padding: int, backward: bool) -> Callable[[], object]:
    """Return max-pooling or its gradient."""
    x = random_features(*MAPS)
    y, winner = kernels.max_pool2d(x, size, stride, padding)
    if not backward:
        return lambda: kernels.max_pool2d(x, size, stride, padding)
    grad = random_features(*y.shape)
    return lambda: kernels.max_pool2d_grad(grad, winner, x.shape, size, stride, padding)


def cross_entropy(N: int, K: int) -> Callable[[], object]:
    """Return forward and backward of softmax and cross-entropy, through the tape."""
    scores = minicnn.Tensor(random_features(N, K), requires_grad=True)
    labels = minicnn.Tensor(np.random.default_rng(0).integers(0, K, N))

    def call() -> None:
        scores.grad = None
        F.cross_entropy(scores, labels).backward()

    return call


def gradient_norm() -> Callable[[], object]:
    """Return the norm of ten gradients together."""
    grads = [random_features(PARAMETERS // 1000, 100) for _ in range(10)]
    return lambda: sibling("clip", grads[0]).norm(grads)


PASSES = [  # name, family, FLOP, numbers moved, what they are, make
    ("ReLU: forward", "activation, loss", NUMBERS, 2 * NUMBERS, "x, y", lambda: relu(False)),
    ("ReLU: backward", "activation, loss", NUMBERS, 3 * NUMBERS, "dy, y, dx", lambda: relu(True)),
    ("bias: backward", "activation, loss", NUMBERS, NUMBERS, "dy", lambda: bias(False)),
    (
        "bias + ReLU: backward",
        "activation, loss",
        2 * NUMBERS,
        3 * NUMBERS,
        "dy, y, dx",
        lambda: bias(True),
    ),
    (
        "softmax cross-entropy 1024x1000: forward and backward",
        "activation, loss",
        8 * 1024 * 1000,
        4 * 1024 * 1000,
        "scores, probabilities twice, gradient",
        lambda: cross_entropy(1024, 1000),
    ),
]

NORMS = [  # name, ReLU, sum, FLOP and numbers moved, each forward and backward, for each number
    ("BatchNorm", False, False, (5, 3), (9, 5)),
    ("BatchNorm + ReLU", True, False, (6, 3), (10, 7)),
    ("BatchNorm + sum + ReLU", True, True, (7, 4), (10, 7)),
]

POOLINGS = [(3, 2, 1), (2, 2, 0)]  # size, stride, padding


def passes() -> Iterator[Kernel]:
    """Yield everything that goes over images once or twice."""
    for name, family, flops, numbers, moves, make in PASSES:
        yield Kernel(name, family, flops, FLOAT * numbers, moves, make)
    for name, with_relu, with_sum, forward, backward in NORMS:
        for part, (flops, numbers) in (("forward", forward), ("backward", backward)):
            moves = "x twice, y" if part == "forward" else "dy and x twice, dx"
            moves += ", the summand" if with_sum and part == "forward" else ""
            moves += ", y twice (or dz)" if with_relu and part == "backward" else ""
            make = functools.partial(norm, with_relu, with_sum, part == "backward")
            yield Kernel(
                f"{name}: {part}", "norm", flops * NUMBERS, FLOAT * numbers * NUMBERS, moves, make
            )
    for size, stride, padding in POOLINGS:
        outputs = NUMBERS // stride**2
        moved = FLOAT * NUMBERS + (FLOAT + 1) * outputs  # the place of a winner fits into a byte
        for part, flops in (("forward", outputs * size**2), ("backward", outputs)):
            moves = "x, y, winners" if part == "forward" else "dy, winners, dx"
            make = functools.partial(max_pool, size, stride, padding, part == "backward")
            yield Kernel(
                f"max-pool {size}x{size}/{stride}: {part}", "pooling", flops, moved, moves, make
            )


# --- dense layers: (batch, inputs, outputs) -------------------------------------------------------

DENSE = [(64, 784, 256), (8, 1024, 1000), (4, 4096, 4096), (512, 512, 512)]


def dense_kernels() -> Iterator[Kernel]:
    """Yield the three products of each dense layer."""
    for N, inputs, outputs in DENSE:
        moved = FLOAT * (N * inputs + inputs * outputs + N * outputs)
        for part in PARTS:
            yield Kernel(
                f"dense {inputs}->{outputs}, batch {N}: {part}",
                "dense",
                2 * N * inputs * outputs,
                moved,
                "x, w, y once each",
                functools.partial(dense, N, inputs, outputs, part),
            )


def dense(N: int, inputs: int, outputs: int, part: str) -> Callable[[], object]:
    """Return one product of a dense layer."""
    x, grad = random_features(N, inputs), random_features(N, outputs)
    w = nn.Linear(inputs, outputs).weight.array
    module = sibling("linear", x)
    return {
        "forward": lambda: module.linear(x, w),
        "input gradient": lambda: module.linear_grad_input(grad, w),
        "weight gradient": lambda: module.linear_grad_weight(grad, x),
    }[part]


# --- optimizers: (name, options, FLOP a parameter, numbers moved a parameter, what) ---------------

OPTIMIZERS = [
    ("SGD", {"lr": 1e-3, "momentum": 0.9}, 4, 5, "w, velocity read and written, dw"),
    ("Adam", {"lr": 1e-3}, 12, 7, "w, two moments read and written, dw"),
]
PARAMETERS = 10_000_000


def optimizer_kernels() -> Iterator[Kernel]:
    """Yield one step of each rule over ten arrays."""
    for name, options, flops, numbers, moves in OPTIMIZERS:
        make = functools.partial(optimizer, name, options)
        title = f"{name} over {PARAMETERS // 10**6} M parameters"
        moved = FLOAT * numbers * PARAMETERS
        yield Kernel(title, "optimizer", flops * PARAMETERS, moved, moves, make)
    title = f"norm of {PARAMETERS // 10**6} M gradients"
    yield Kernel(title, "optimizer", 2 * PARAMETERS, FLOAT * PARAMETERS, "dw", gradient_norm)


def optimizer(name: str, options: dict[str, float]) -> Callable[[], object]:
    """Return a step of an optimizer."""
    values = np.random.default_rng(0).standard_normal((10, PARAMETERS // 10), dtype=np.float32)
    params = [minicnn.Tensor(row.copy(), requires_grad=True) for row in values]
    for param in params:
        param.grad = minicnn.Tensor(param.array.copy())
    return getattr(optim, name)(params, **options).step


KERNELS = [*convolution_kernels(), *dense_kernels(), *passes(), *optimizer_kernels()]
