"""CUDA kernels without a GPU: the stand-in for CuPy, and kernels that g++ compiled."""

import pytest

from tests.gpu.cuda_on_host.host_module import HostModule, equip, has_compiler
from tests.gpu.strict_cupy import installed, make_cupy


@pytest.fixture
def cupy(monkeypatch):
    """A library whose arrays are "on a GPU", and whose kernels run on the CPU, threads in an order by seed."""
    if not has_compiler():
        pytest.skip("needs g++, to compile the CUDA kernels for the CPU")
    stand_in = LIBRARY
    stand_in.traffic.clear()
    monkeypatch.setattr(HostModule, "seed", 1)
    with installed(stand_in):
        yield stand_in


LIBRARY = make_cupy()
equip(LIBRARY)
