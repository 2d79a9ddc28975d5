"""Where the tensors of a test live: on the CPU, and again on a stand-in for a GPU, or on a GPU (gpu/library.py).

A test that takes the fixture `device`, or is marked with `on_every_device`, runs on both. What makes its
tensors, `leaf` of tests/checks.py and the helpers around it, asks here where to put them.
"""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from minicnn import deferred
from minicnn.autograd import Tensor
from minicnn.backend import Array, to_device
from tests.gpu.library import gpu_library

DEVICES = ["cpu", "cuda"]

on_every_device = pytest.mark.usefixtures("device")
"""Marks a test that makes its tensors with the helpers of this file and of tests/checks.py."""

_places = ["cpu"]


@contextmanager
def tensors_on(device: str) -> Iterator[None]:
    """Let tensors live on `device` inside the block; for "cuda", the library of gpu/library.py is there."""
    gpu = gpu_library() if device != "cpu" else contextlib.nullcontext()
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
