"""The kernels that roofline.py places: products here, passes in roofline_passes.py.

To add a kernel, add a line to one of the lists. A kernel that a version of minicnn does not have raises
AttributeError, ImportError or ValueError in `make`, and is reported as missing.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from libraries import MINICNN
from operations import PARTS, Convolution, minicnn_convolution, weight_in
from roofline_passes import pass_kernels, random_features
from traffic import FLOAT, Kernel, Traffic

import minicnn
from minicnn import kernels, nn
from minicnn.kernels.cpu.winograd_plan import squares_of
from minicnn.kernels.dispatch import sibling
from minicnn.nn import functional as F

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
    Convolution(64, 28, 1, 32),
    Convolution(4, 224, 3, 64),
    Convolution(8, 224, 3, 32, stride=2),
    Convolution(8, 14, 512, 512, groups=512),
    Convolution(8, 112, 32, 32, groups=32),
    Convolution(8, 112, 64, 64, stride=2, groups=64),
]

WINOGRAD = [
    Convolution(4, 56, 256, 256),
    Convolution(8, 56, 64, 64),
    Convolution(64, 28, 32, 32),
    Convolution(16, 12, 128, 128),
]


PASSES = {"forward": "x w -> y", "input gradient": "y w -> x", "weight gradient": "x y -> w"}
"""What is read and written; of a gradient, the name is that of the array that it belongs to."""


def convolution_kernels() -> Iterator[Kernel]:
    """Yield the three kernels of every convolution."""
    listed = [(case, "direct") for case in CONVOLUTIONS] + [(case, "winograd") for case in WINOGRAD]
    for case, algorithm in listed:
        family = "Winograd" if algorithm == "winograd" else "convolution"
        family = "depthwise" if case.groups > 1 else family
        label = "Winograd " if algorithm == "winograd" else ""
        flops = winograd_flops(case) if algorithm == "winograd" else case.flops
        for part in PARTS:
            if part == "input gradient" and case.C < 4:
                continue  # images need no gradient
            make = functools.partial(convolution, case, part, algorithm)
            traffic = Traffic(PASSES[part], sizes_of(case))
            yield Kernel(f"{label}{case.title}: {part}", family, flops, traffic, make)


def sizes_of(case: Convolution) -> dict[str, int]:
    """Return the bytes of the input, the weights and the output."""
    return {
        "x": FLOAT * case.N * case.C * case.H**2,
        "w": FLOAT * case.K * (case.C // case.groups) * case.size**2,
        "y": FLOAT * case.N * case.K * case.output_size**2,
    }


def winograd_flops(case: Convolution) -> int:
    """Return the additions and multiplications of the products of transformed numbers, without the transforms."""
    squares = squares_of(None, case.N, (case.H, case.H), case.C, case.K)
    return 2 * (squares.m + 2) ** 2 * squares.count * case.C * case.K


def convolution(case: Convolution, part: str, algorithm: str) -> Callable[[], object]:
    """Return one kernel of a convolution, by one algorithm."""
    arrays = case.arrays()
    x, g = MINICNN.features(arrays["x"]), MINICNN.features(arrays["g"])
    w = weight_in(MINICNN, case, arrays["w"])
    return minicnn_convolution(case, x, w, g, algorithm=algorithm)[part]


# --- other convolutions ---------------------------------------------------------------------------


def other_convolutions() -> Iterator[Kernel]:
    """Yield convolutions of sequences, transposed ones, and one with all that may be fused with it."""
    N, L, C, K, R = 32, 1024, 64, 64, 5
    sizes = {"x": FLOAT * N * C * L, "w": FLOAT * K * C * R, "y": FLOAT * N * K * L}
    yield Kernel(
        f"conv1d {R} {C}->{K} at {L}, batch {N}: forward",
        "convolution",
        2 * N * L * C * K * R,
        Traffic("x w -> y", sizes),
        functools.partial(sequences, N, L, C, K, R),
    )
    case = Convolution(
        16, 48, 64, 128, size=4, stride=2
    )  # from y to x: 128 -> 64 channels, 24 -> 48 pixels
    yield Kernel(
        "transposed 4x4/2 128->64 at 24, batch 16: forward",
        "convolution",
        2 * 16 * 24**2 * 128 * 64 * 4**2,
        Traffic("y w -> x", sizes_of(case) | {"y": FLOAT * 16 * 128 * 24**2}),
        transposed,
    )
    case = Convolution(8, 56, 64, 128, size=1)
    yield Kernel(
        f"{case.title}, bias and ReLU: forward",
        "convolution",
        case.flops + 2 * sizes_of(case)["y"] // FLOAT,
        Traffic("x w -> y", sizes_of(case)),
        functools.partial(with_bias_and_relu, case),
    )


def sequences(N: int, L: int, C: int, K: int, R: int) -> Callable[[], object]:
    """Return a convolution of sequences (N, C, L), padded so that they keep their length."""
    x = minicnn.Tensor(random_features(N, C, 1, L).reshape(N, C, L))
    layer = nn.Conv1d(C, K, R, padding=R // 2, bias=False)
    return lambda: F.conv1d(x, layer.weight.detach(), padding=R // 2)


def transposed() -> Callable[[], object]:
    """Return a transposed convolution that doubles height and width."""
    x = minicnn.Tensor(random_features(16, 128, 24, 24))
    weight = nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False).weight.detach()
    return lambda: F.conv_transpose2d(x, weight, stride=2, padding=1)


def with_bias_and_relu(case: Convolution) -> Callable[[], object]:
    """Return a convolution that adds a bias and cuts off what is negative as it writes its result."""
    arrays = case.arrays()
    x, w = MINICNN.features(arrays["x"]).array, weight_in(MINICNN, case, arrays["w"]).array
    bias = np.ones(case.K, np.float32)
    return lambda: kernels.conv2d(x, w, case.stride, case.padding, bias=bias, relu=True)


# --- dense layers: (batch, inputs, outputs) -------------------------------------------------------

DENSE = [(64, 784, 256), (8, 1024, 1000), (4, 4096, 4096), (512, 512, 512)]


def dense_kernels() -> Iterator[Kernel]:
    """Yield the three products of each dense layer."""
    for N, inputs, outputs in DENSE:
        sizes = {"x": N * inputs, "w": inputs * outputs, "y": N * outputs}
        sizes = {name: FLOAT * size for name, size in sizes.items()}
        for part in PARTS:
            yield Kernel(
                f"dense {inputs}->{outputs}, batch {N}: {part}",
                "dense",
                2 * N * inputs * outputs,
                Traffic(PASSES[part], sizes),
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


KERNELS = [*convolution_kernels(), *other_convolutions(), *dense_kernels(), *pass_kernels()]
