"""Which library stands behind "cuda" in the tests: the stand-in for CuPy, or CuPy itself.

    MINICNN_TEST_GPU=1 python -m pytest tests -k cuda

With this variable the tests of functions, layers and training run on the GPU of a machine that has one. What
only the stand-in can answer, such as how often the host waited, is skipped there. The tests of single
kernels (tests/kernels/gpu) take a GPU by themselves where there is one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NoReturn

import pytest

from tests.gpu.strict_cupy import installed, make_cupy, ndarray

VARIABLE = "MINICNN_TEST_GPU"


def is_real() -> bool:
    """Whether the tests were asked to run on a GPU."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


needs_stand_in = pytest.mark.skipif(is_real(), reason="asks what only the stand-in for CuPy knows")
"""Marks a test of what does not show, or not reliably, on a GPU."""


class NotCounted:
    """In the place of the stand-in's `traffic`: skips the test that asks for a count."""

    def __getattr__(self, name: str) -> NoReturn:
        pytest.skip(f"traffic.{name}: only the stand-in for CuPy counts what passes")


@contextmanager
def gpu_library(stand_in: ModuleType | None = None) -> Iterator[ModuleType]:
    """Let `import cupy` find the stand-in inside the block, a new one unless one is given; or give CuPy itself."""
    if not is_real():
        with installed(stand_in or make_cupy()) as library:
            yield library
        return
    import cupy

    before = getattr(ndarray, "cupy", None), vars(cupy).get("traffic")
    cupy.traffic = NotCounted()
    ndarray.cupy = cupy  # where tests look for the library that is in use
    try:
        yield cupy
    finally:
        ndarray.cupy, cupy.traffic = before
        if cupy.traffic is None:
            del cupy.traffic
