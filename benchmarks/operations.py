"""The rows of the table that are about single operations: the shapes of the networks, and awkward ones."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from agreement import TOLERANCE
from convolutions import PARTS, Convolution
from libraries import Mode
from rows import Entry, Row
from timing import Contestant

from minicnn import kernels

OPERATION = "operation"
PARAMETERS = 10_000_000


CONVOLUTIONS = [
    Convolution(16, 24, 64, 64),
    Convolution(16, 12, 128, 128),
    Convolution(16, 6, 256, 256),
    Convolution(16, 3, 512, 512),
    Convolution(8, 56, 64, 64),
    Convolution(8, 28, 128, 128),
    Convolution(8, 7, 512, 512),
    Convolution(64, 28, 32, 32),
    Convolution(4, 56, 256, 256),
    Convolution(16, 24, 64, 128, stride=2),
    Convolution(8, 56, 64, 128, size=1),
    Convolution(8, 7, 1024, 1024, size=1),
    Convolution(16, 24, 64, 128, size=1, stride=2),
    Convolution(16, 96, 3, 64, size=7, stride=2),
    Convolution(64, 28, 1, 6, size=5),
    Convolution(64, 28, 1, 32),
    Convolution(8, 224, 3, 32, stride=2),
    Convolution(4, 224, 3, 64),
    Convolution(
        64, 13, 8, 16, is_padded=False
    ),  # the second layer of the first CNN, and of LeNet-5
    Convolution(64, 14, 6, 16, size=5, is_padded=False),
    Convolution(8, 112, 64, 64, size=1),
    Convolution(16, 24, 40, 72),  # channels that fill no vectors
    Convolution(16, 24, 20, 50),
    Convolution(16, 12, 96, 200),
    Convolution(8, 14, 512, 512, groups=512),
    Convolution(8, 112, 32, 32, groups=32),
    Convolution(8, 112, 64, 64, stride=2, groups=64),
    Convolution(8, 112, 8, 8, groups=8),
    Convolution(8, 112, 16, 16, groups=16),
]


def operation_rows() -> list[Row]:
    """Return the rows of all operations."""
    rows = [
        row(f"conv {part} {case.title}", f"{case.title}: {part}", convolution, case, part)
        for case in CONVOLUTIONS
        for part in PARTS
        if not (part == "input gradient" and case.C < 4)  # images need no gradient
    ]
    for name, (title, make) in LAYERS.items():
        for backward in (False, True):
            what = "forward and backward" if backward else "forward"
            rows.append(row(f"{name} {what}", f"{title}: {what}", make, backward))
    for name, options in OPTIMIZERS.items():
        title = f"{name} over {PARAMETERS // 10**6} M parameters"
        rows.append(row(f"optimizer {title}", title, optimizer, name, options))
    return rows


def row(name: str, title: str, make: Callable[..., Entry], *arguments: Any) -> Row:
    """Return a row whose entries `make(*arguments, mode)` prepares."""
    prepare = functools.partial(make, *arguments)
    return Row(name, OPERATION, title, prepare, 1.0, None, TOLERANCE)


def entry(mode: Mode, call: Callable[[], Any]) -> Entry:
    """Return an entry that times `call` and compares the arrays that it returns, one or several."""

    def results() -> dict[str, np.ndarray]:
        values = call()
        values = values if isinstance(values, tuple) else (values,)
        return {
            str(i): value if isinstance(value, np.ndarray) else mode.array(value)
            for i, value in enumerate(values)
        }

    return Entry(Contestant(call), results)


# --- convolution ----------------------------------------------------------------------------------


def convolution(case: Convolution, part: str, mode: Mode) -> Entry:
    """Return one of the three kernels of a convolution, on arrays as they lie inside a network."""
    arrays = case.arrays()
    x, g = mode.features(arrays["x"]), mode.features(arrays["g"])
    w = weight_in(mode, case, arrays["w"])
    if mode.ours:
        return entry(mode, minicnn_convolution(case, x, w, g, precision=mode.precision)[part])
    return entry(mode, torch_convolution(case, x, w, g)[part])


def weight_in(mode: Mode, case: Convolution, values: np.ndarray) -> Any:
    """Return weights as the library's layer keeps them in memory."""
    settings = case.size, case.stride, case.padding, 1, case.groups, False
    layer = mode.module(lambda nn: nn.Conv2d(case.C, case.K, *settings))
    layer.load_state_dict({"weight": values if mode.ours else torch.from_numpy(values)})
    return layer.weight.detach()


def minicnn_convolution(
    case: Convolution, x: Any, w: Any, g: Any, **choice: str
) -> dict[str, Callable]:
    """Return minicnn's kernels as functions without arguments; `choice` is an algorithm or a precision."""
    x, w, g = x.array, w.array, g.array
    settings = case.stride, case.padding, 1, case.groups
    return {
        "forward": lambda: kernels.conv2d(x, w, *settings, **choice),
        "input gradient": lambda: kernels.conv2d_grad_input(g, w, x.shape, *settings, **choice),
        "weight gradient": lambda: kernels.conv2d_grad_weight(g, x, w.shape, *settings, **choice),
    }


def torch_convolution(case: Convolution, x: Any, w: Any, g: Any) -> dict[str, Callable]:
    """Return PyTorch's kernels as functions without arguments."""
    step, around = [case.stride] * 2, [case.padding] * 2
    geometry = (step, around, [1, 1], False, [0, 0], case.groups)

    def gradient(index: int) -> Any:
        wanted = [index == i for i in range(3)]
        return torch.ops.aten.convolution_backward(g, x, w, None, *geometry, wanted)[index]

    return {
        "forward": lambda: torch.conv2d(x, w, None, step, around, 1, case.groups),
        "input gradient": lambda: gradient(0),
        "weight gradient": lambda: gradient(1),
    }


# --- other layers ---------------------------------------------------------------------------------


def layer(build: Callable[[Any], Any], shape: tuple[int, ...], backward: bool, mode: Mode) -> Entry:
    """Return a layer's forward, or forward and backward, through the tape, on random numbers."""
    rng = np.random.default_rng(0)
    x = mode.features(rng.standard_normal(shape, dtype=np.float32), requires_grad=True)
    module = mode.module(build)
    with mode.without_recording():
        for parameter in module.parameters():
            values = rng.standard_normal(tuple(parameter.shape), dtype=np.float32)
            parameter.copy_(mode.tensor(values))
        output_shape = tuple(module(x).shape)
    g = mode.features(rng.standard_normal(output_shape, dtype=np.float32))
    leaves = [x, *module.parameters()]

    def forward() -> Any:
        return module(x)

    def both() -> tuple:
        for leaf in leaves:
            leaf.grad = None
        y = module(x)
        y.backward(g)
        return y, *(leaf.grad for leaf in leaves)

    return entry(mode, both if backward else forward)


def norm_relu(nn: Any) -> Any:
    """BatchNorm and ReLU over 64 channels."""
    return nn.Sequential(nn.BatchNorm2d(64), nn.ReLU(inplace=True))


LAYERS = {
    "norm_relu": (
        "BatchNorm + ReLU 64 at 48, batch 16",
        functools.partial(layer, norm_relu, (16, 64, 48, 48)),
    ),
    "max_pool_3": (
        "max-pool 3x3/2 64 at 48, batch 16",
        functools.partial(layer, lambda nn: nn.MaxPool2d(3, 2, 1), (16, 64, 48, 48)),
    ),
    "max_pool_2": (
        "max-pool 2x2 32 at 28, batch 64",
        functools.partial(layer, lambda nn: nn.MaxPool2d(2), (64, 32, 28, 28)),
    ),
    "avg_pool_global": (
        "global average 1024 at 7, batch 8",
        functools.partial(layer, lambda nn: nn.AdaptiveAvgPool2d(1), (8, 1024, 7, 7)),
    ),
    "linear_784": (
        "dense 784->256, batch 64",
        functools.partial(layer, lambda nn: nn.Linear(784, 256), (64, 784)),
    ),
    "linear_1024": (
        "dense 1024->1000, batch 8",
        functools.partial(layer, lambda nn: nn.Linear(1024, 1000), (8, 1024)),
    ),
    "linear_1024_2": (
        "dense 1024->1000, batch 2",
        functools.partial(layer, lambda nn: nn.Linear(1024, 1000), (2, 1024)),
    ),
    "linear_1024_1": (
        "dense 1024->1000, batch 1",
        functools.partial(layer, lambda nn: nn.Linear(1024, 1000), (1, 1024)),
    ),
    "linear_4096": (
        "dense 4096->4096, batch 4",
        functools.partial(layer, lambda nn: nn.Linear(4096, 4096), (4, 4096)),
    ),
    "linear_4096_1": (
        "dense 4096->4096, batch 1",
        functools.partial(layer, lambda nn: nn.Linear(4096, 4096), (1, 4096)),
    ),
    "conv1d": (
        "conv1d 5 64->128 over 200, batch 32",
        functools.partial(layer, lambda nn: nn.Conv1d(64, 128, 5, padding=2), (32, 64, 200)),
    ),
    "conv_transpose_2": (
        "transposed 2x2/2 128->64 at 28, batch 8",
        functools.partial(layer, lambda nn: nn.ConvTranspose2d(128, 64, 2, 2), (8, 128, 28, 28)),
    ),
    "conv_transpose_4": (
        "transposed 4x4/2 256->128 at 14, batch 8",
        functools.partial(
            layer, lambda nn: nn.ConvTranspose2d(256, 128, 4, 2, 1), (8, 256, 14, 14)
        ),
    ),
}


# --- optimizers -----------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": {"lr": 1e-3, "momentum": 0.9},
    "Adam": {"lr": 1e-3},
}


def optimizer(name: str, options: dict[str, float], mode: Mode) -> Entry:
    """Return a step over parameters in ten arrays; PyTorch's column "channels-last" is its fused variant."""
    rng = np.random.default_rng(0)
    shape = (10, PARAMETERS // 1000, 100)
    starts, gradients = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    params = [mode.tensor(start, requires_grad=True) for start in starts]
    for param, gradient in zip(params, gradients, strict=True):
        param.grad = mode.tensor(gradient)
    fused = {"fused": True} if mode.channels_last else {}
    rule = getattr(mode.library.optim, name)(params, **options, **fused)

    def results() -> dict[str, np.ndarray]:
        for _ in range(2):  # the second with a momentum of before
            rule.step()
        return {str(i): mode.array(param) for i, param in enumerate(params)}

    return Entry(Contestant(rule.step), results)
