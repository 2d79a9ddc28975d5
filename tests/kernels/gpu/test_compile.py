"""Every CUDA source through NVIDIA's compilers: accepted for Hopper, and no kernel spills registers."""

from pathlib import Path

import pytest

from minicnn.kernels.gpu.launch import FOLDER, REALS, source
from tests.gpu.compilers import compile_with_nvcc, compile_with_nvrtc, nvcc, nvrtc
from tests.gpu.cuda_on_host.host_module import KERNEL

VARIANTS = {
    "pool": [{"WINNER": "unsigned char"}],
    "conv": [
        {"TENSOR_CORES": 0, "TILE_COLUMNS": 128, "CHUNK_X": 4, "CHUNK_K": 4},
        {"TENSOR_CORES": 0, "TILE_COLUMNS": 64, "CHUNK_X": 1, "CHUNK_K": 1},
        {"TENSOR_CORES": 1, "TILE_COLUMNS": 128, "CHUNK_X": 4, "CHUNK_K": 4},
        {"TENSOR_CORES": 1, "TILE_COLUMNS": 64, "CHUNK_X": 1, "CHUNK_K": 4},
    ],
}
"""What sources leave open, besides the dtype."""

IN_DOUBLE = {"conv": [{"TENSOR_CORES": 0, "TILE_COLUMNS": 64, "CHUNK_X": 2, "CHUNK_K": 2}]}

MOST_REGISTERS = 128
"""With more, a multiprocessor of 65,536 registers holds fewer than two blocks of 256 threads."""

CASES = [
    pytest.param(path.stem, real, variant, id=f"{path.stem}-{real}-{number}")
    for path in sorted(Path(FOLDER).glob("*.cu"))
    for real in REALS.values()
    for number, variant in enumerate(
        IN_DOUBLE.get(path.stem, VARIANTS.get(path.stem, [{}]))
        if real == "double"
        else VARIANTS.get(path.stem, [{}])
    )
]


def check(compile_source, file, real, variant):
    code = source(f"{file}.cu")
    defines = {"REAL": real, **variant}
    options = ["-std=c++17", *(f"-D{name}={value}" for name, value in defines.items())]
    reports = compile_source(code, options)
    assert set(reports) == set(KERNEL.findall(code))
    for name, report in reports.items():
        assert report.spilled == 0, name
        assert report.registers <= MOST_REGISTERS, name


@pytest.mark.parametrize(("file", "real", "variant"), CASES)
def test_nvcc(file, real, variant):
    if nvcc() is None:
        pytest.skip("needs nvcc, of the CUDA toolkit")
    check(compile_with_nvcc, file, real, variant)


@pytest.mark.parametrize(("file", "real", "variant"), CASES)
def test_nvrtc(file, real, variant):
    """The compiler that CuPy uses; it knows fewer headers than nvcc."""
    if nvcc() is not None:
        pytest.skip("nvcc has compiled the same")
    if nvrtc() is None:
        pytest.skip("needs NVRTC, for instance of pip install nvidia-cuda-nvrtc")
    check(compile_with_nvrtc, file, real, variant)


def test_errors_of_the_compiler_are_shown():
    compile_source = compile_with_nvcc if nvcc() else compile_with_nvrtc if nvrtc() else None
    if compile_source is None:
        pytest.skip("needs nvcc or NVRTC")
    with pytest.raises(RuntimeError, match="nonsense"):
        compile_source('extern "C" __global__ void kernel() { nonsense(); }', [])
