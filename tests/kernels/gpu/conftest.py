"""Where the CUDA kernels are tested: on a GPU if there is one, and otherwise compiled for the CPU by g++."""

import functools
from types import ModuleType

import pytest

from minicnn.backend import cuda_is_available
from tests.gpu.cuda_on_host.host_module import HostModule, equip, has_compiler
from tests.gpu.strict_cuda import Traffic
from tests.gpu.strict_cupy import installed, make_cupy


@pytest.fixture
def cupy(monkeypatch):
    """CuPy; without a GPU, a stand-in whose kernels run on the CPU, their threads in an order by seed."""
    if cuda_is_available():
        import cupy

        yield cupy
        return
    if not has_compiler():
        pytest.skip("needs a GPU and CuPy, or g++, to compile the CUDA kernels for the CPU")
    monkeypatch.setattr(HostModule, "seed", 1)
    library = stand_in()
    library.traffic.clear()
    with installed(library):
        yield library


@functools.cache
def stand_in() -> ModuleType:
    """The same for all tests, as the kernels remember what they compiled for a library."""
    library = make_cupy()
    equip(library)
    return library


@pytest.fixture
def traffic(cupy):
    """What passes between host and device; on a GPU, nobody counts, and it is always nothing."""
    return getattr(cupy, "traffic", Traffic())


@pytest.fixture
def on_host(cupy):
    """The stand-in, for what cannot be tried on a GPU."""
    if not hasattr(cupy, "traffic"):
        pytest.skip("this is about the stand-in for a GPU")
    return cupy
