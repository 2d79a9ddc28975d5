"""Every CUDA source through NVIDIA's compilers: accepted for Hopper, and no kernel spills registers."""

import pytest

from minicnn.kernels.gpu.launch import FOLDER, source
from tests.gpu.compilers import compile_with_nvcc, compile_with_nvrtc, nvcc, nvrtc
from tests.gpu.cuda_on_host.host_module import KERNEL

VARIANTS = {
    "pool": [{"WINNER": "unsigned char"}],
    "conv": [
        {"TENSOR_CORES": 0, "TILE_COLUMNS": 128, "CHUNK_X": 4, "CHUNK_K": 4, "STAGES": 3},
        {"TENSOR_CORES": 0, "TILE_COLUMNS": 64, "CHUNK_X": 1, "CHUNK_K": 1, "STAGES": 2},
        {"TENSOR_CORES": 1, "TILE_COLUMNS": 128, "CHUNK_X": 4, "CHUNK_K": 4, "STAGES": 3},
        {"TENSOR_CORES": 1, "TILE_COLUMNS": 64, "CHUNK_X": 1, "CHUNK_K": 4, "STAGES": 3},
    ],
}
"""What sources leave open, besides the dtype."""

IN_DOUBLE = {
    "conv": [{"TENSOR_CORES": 0, "TILE_COLUMNS": 64, "CHUNK_X": 2, "CHUNK_K": 2, "STAGES": 3}],
    "norm": [{}],
    "update": [{}],
}
"""Those that need the most registers."""

MOST_REGISTERS = 128
"""With more, a multiprocessor of 65,536 registers holds fewer than two blocks of 256 threads."""


def cases():
    for path in sorted(FOLDER.glob("*.cu")):
        for variant in VARIANTS.get(path.stem, [{}]):
            yield path.stem, {"REAL": "float", **variant}
        for variant in IN_DOUBLE.get(path.stem, []):
            yield path.stem, {"REAL": "double", **variant}


def check(compile_source, file, defines):
    code = source(f"{file}.cu")
    options = ["-std=c++17", *(f"-D{name}={value}" for name, value in defines.items())]
    reports = compile_source(code, options)
    assert set(reports) == set(KERNEL.findall(code))
    for name, report in reports.items():
        assert report.spilled == 0, name
        assert report.registers <= MOST_REGISTERS, name


@pytest.mark.parametrize(("file", "defines"), list(cases()))
def test_nvcc(file, defines):
    if nvcc() is None:
        pytest.skip("needs nvcc, of the CUDA toolkit")
    check(compile_with_nvcc, file, defines)


@pytest.mark.parametrize(("file", "defines"), list(cases()))
def test_nvrtc(file, defines):
    """The compiler that CuPy uses; it knows fewer headers than nvcc."""
    if nvcc() is not None:
        pytest.skip("nvcc has compiled the same")
    if nvrtc() is None:
        pytest.skip('needs NVRTC, of the extra "nvrtc"')
    check(compile_with_nvrtc, file, defines)


def test_errors_of_the_compiler_are_shown():
    compile_source = compile_with_nvcc if nvcc() else compile_with_nvrtc if nvrtc() else None
    if compile_source is None:
        pytest.skip("needs nvcc or NVRTC")
    with pytest.raises(RuntimeError, match="nonsense"):
        compile_source('extern "C" __global__ void kernel() { nonsense(); }', [])
