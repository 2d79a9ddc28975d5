"""CUDA kernels without a GPU: the stand-in for CuPy, and kernels that g++ compiled. See tests/gpu/library.py."""

import pytest

from tests.gpu.cuda_on_host.host_module import HostModule, has_compiler
from tests.gpu.library import gpu_library, is_real
from tests.gpu.strict_cupy import make_cupy


@pytest.fixture
def cupy(monkeypatch):
    """A library whose arrays are "on a GPU", and whose kernels run on the CPU, threads in an order by seed."""
    if not is_real() and not has_compiler():
        pytest.skip("needs g++, to compile the CUDA kernels for the CPU")
    LIBRARY.traffic.clear()
    monkeypatch.setattr(HostModule, "seed", 1)
    with gpu_library(LIBRARY) as library:
        yield library


LIBRARY = make_cupy()
LIBRARY.RawModule = HostModule
