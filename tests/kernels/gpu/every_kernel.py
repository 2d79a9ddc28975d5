"""A program that runs every CUDA kernel once, on arrays whose last numbers fill no pack, and no tile.

    python -m tests.kernels.gpu.every_kernel [FILE TEXT MISTAKE]

With arguments, TEXT in the source FILE is replaced by MISTAKE first, and only that file's kernels run.
test_planted_mistakes.py runs it with AddressSanitizer, which has to be loaded before Python.
"""

import sys
from types import ModuleType

import numpy as np

from minicnn.kernels.gpu import (
    activation,
    bias,
    clip,
    conv,
    depthwise,
    dropout,
    launch,
    loss,
    norm,
    pool,
    update,
)
from minicnn.kernels.gpu.parts import Split
from tests.gpu.cuda_on_host.host_module import equip
from tests.gpu.strict_cupy import installed, make_cupy


def normal(cupy: ModuleType, *shape: int) -> object:
    return cupy.asarray(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def convolutions(cupy: ModuleType) -> None:
    """Whole, with several numbers at a time, in parts, and on tensor cores."""
    for C, K, options in (3, 5, {}), (8, 12, {"stride": 2}), (12, 8, {"precision": "tf32"}):
        x, w = normal(cupy, 2, C, 9, 7), normal(cupy, K, C, 3, 3)
        y = conv.conv2d(x, w, padding=1, **options)
        conv.conv2d_grad_input(y, w, x.shape, padding=1, **options)
        conv.conv2d_grad_weight(y, x, w.shape, padding=1, **options)
        conv.split_of = lambda terms, depth, *rest: Split(-(-terms // depth), depth)


def depthwise_convolutions(cupy: ModuleType) -> None:
    for C, kernel in (5, 3), (8, 4):
        x, w = normal(cupy, 2, C, 9, 7), normal(cupy, C, 1, kernel, kernel)
        y = depthwise.conv2d(x, w, padding=1, groups=C)
        depthwise.conv2d_grad_input(y, w, x.shape, padding=1, groups=C)
        depthwise.conv2d_grad_weight(y, x, w.shape, padding=1, groups=C)


def poolings(cupy: ModuleType) -> None:
    x = cupy.ascontiguousarray(normal(cupy, 2, 9, 7, 5)).transpose(0, 3, 1, 2)
    y, winner = pool.max_pool2d(x, 3, 2, 1)
    pool.max_pool2d_grad(y, winner, x.shape, 3, 2, 1)
    pool.avg_pool2d_grad(pool.avg_pool2d(x, 2), x.shape, 2)


def normalisations(cupy: ModuleType) -> None:
    x, weight, shift = normal(cupy, 3, 5, 7, 3), normal(cupy, 5), normal(cupy, 5)
    y, mean, inverse_std, _ = norm.batch_norm(x, weight, shift, 1e-5, x, True)
    norm.batch_norm_grad(y, x, mean, inverse_std, weight, shift, True, y)
    norm.apply_statistics(x, mean, inverse_std, weight, shift)


def single_numbers(cupy: ModuleType) -> None:
    x = normal(cupy, 13, 7)
    for name in ("relu", "sigmoid", "tanh", "silu"):
        getattr(activation, f"{name}_grad")(x, getattr(activation, name)(x))
    dropout.dropout(x, 0.5, 17)
    bias.bias_grad(x)
    bias.bias_relu_grad(x, x)


def losses(cupy: ModuleType) -> None:
    labels, weights = cupy.asarray(np.arange(13) % 7), normal(cupy, 7)
    losses, probabilities, *_ = loss.cross_entropy(normal(cupy, 13, 7), labels, weights, -100, 0.1)
    loss.cross_entropy_grad(losses, probabilities, labels, weights, -100, 0.1)


def steps(cupy: ModuleType) -> None:
    def arrays() -> list:
        return [normal(cupy, 1025), normal(cupy, 3), normal(cupy, 7, 5)]

    update.sgd(arrays(), arrays(), arrays(), 0.1, 0.9, 0.0, 0.0, True)
    betas = 0.9, 0.99
    update.adam(arrays(), arrays(), arrays(), arrays(), arrays(), 1, 0.1, betas, 1e-8, 0.1, True)
    update.rmsprop(arrays(), arrays(), arrays(), arrays(), arrays(), 0.1, 0.9, 1e-8, 0.0, 0.9)
    clip.norm(arrays())
    clip.scale(arrays(), 2.0)
    clip.clip(arrays(), 0.5)


RUNS = {
    "conv.cu": convolutions,
    "depthwise.cu": depthwise_convolutions,
    "pool.cu": poolings,
    "norm.cu": normalisations,
    "activation.cu": single_numbers,
    "loss.cu": losses,
    "update.cu": steps,
}
"""Those of bias.cu and dropout.cu run with activation.cu, those of clip.cu with update.cu."""


def plant(file: str, text: str, mistake: str) -> None:
    """Replace a piece of a source, which has to be there."""
    true_source = launch.source

    def source(name: str) -> str:
        code = true_source(name)
        if name == file and text not in code:
            raise ValueError(f"{file} has no {text!r}")
        return code.replace(text, mistake) if name == file else code

    launch.source = source


if __name__ == "__main__":
    library = make_cupy()
    equip(library)
    if sys.argv[1:]:
        plant(*sys.argv[1:])
    with installed(library):
        for source_file, run in RUNS.items():
            if sys.argv[1:2] in ([], [source_file]):
                run(library)
    print("all kernels ran")
