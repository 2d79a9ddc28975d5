"""Where the tensors of a test live: on the CPU, and again on a stand-in for a GPU, or on a GPU (gpu/library.py).

A test that takes the fixture `device`, or is marked with `on_every_device`, runs on both. What makes its
tensors, `leaf` of tests/checks.py and the helpers around it, asks here where to put them.
"""

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from minicnn import deferred
from minicnn.autograd import Tensor
from minicnn.backend import Array, to_device
from tests.gpu.library import gpu_library
from tests.gpu.strict_cupy import make_cupy

DEVICES = ["cpu", "cuda"]

on_every_device = pytest.mark.usefixtures("device")
"""Marks a test that makes its tensors with the helpers of this file and of tests/checks.py."""

EXAMPLES = 8
"""How many of the examples that hypothesis draws for a test are tried on the stand-in, to save time."""

_places = ["cpu"]
_tried = 0


with_own_kernels = pytest.mark.parametrize(
    "own_kernels",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                find_spec("tests.gpu.cuda_on_host") is None or shutil.which("g++") is None,
                reason="needs g++, to compile the CUDA kernels for the CPU",
            ),
        ),
    ],
    ids=["CuPy's functions", "own kernels"],
)
"""Runs a test with the functions of CuPy alone, and again with CUDA kernels, compiled for the CPU."""


@contextmanager
def tensors_on(device: str, own_kernels: bool = False) -> Iterator[None]:
    """Let tensors live on `device` inside the block; for "cuda", the library of gpu/library.py is there.

    The stand-in has `cupy.RawModule`, from which the CUDA kernels come, on request only.
    """
    global _tried
    gpu = contextlib.nullcontext()
    if device != "cpu":
        cupy = make_cupy()
        if own_kernels:
            cupy.RawModule = import_module("tests.gpu.cuda_on_host.host_module").HostModule
        gpu = gpu_library(cupy)
    _tried = 0
    _places.append(device)
    try:
        with gpu:
            yield
    finally:
        _places.pop()
        if device != "cpu":
            deferred.forget()


def on_gpu() -> bool:
    """Whether tensors live on the GPU, or its stand-in, now."""
    return _places[-1] != "cpu"


def enough_examples() -> bool:
    """Whether the test that asks, once for each of its examples, has seen enough of them where its tensors live."""
    global _tried
    _tried += 1
    return on_gpu() and _tried > EXAMPLES


def placed(array: Array | None) -> Array | None:
    """Return `array` where the tensors of this test live, in the same memory order."""
    return None if array is None else to_device(array, _places[-1])


def constant(array: Any) -> Tensor:
    """Return a tensor on an array or a list, where the tensors of this test live; it requires no gradient."""
    return Tensor(placed(array if hasattr(array, "shape") else Tensor(array).array))


def host(value: Any) -> np.ndarray:
    """Return the numbers of a tensor or an array in main memory."""
    array = value.array if isinstance(value, Tensor) else value
    return np.asarray(array) if isinstance(array, np.generic) else to_device(array, "cpu")
