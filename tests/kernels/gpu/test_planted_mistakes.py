"""Mistakes planted in the real CUDA sources are found: removed barriers, and writes outside of arrays."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn.kernels.gpu import bias, clip, launch
from tests.gpu.cuda_on_host.host_module import SANITIZE, HostModule, has_compiler
from tests.gpu.library import is_real

ROOT = Path(__file__).resolve().parents[3]
SEEDS = range(4)


@pytest.fixture
def plant(on_host, monkeypatch):
    """A function that replaces a piece of the sources, which has to be there."""
    true_source = launch.source

    def forget():
        launch._module.cache_clear()
        launch._function.cache_clear()

    def plant(text, mistake):
        def source(file):
            code = true_source(file)
            assert code.count(text) == 1
            return code.replace(text, mistake)

        monkeypatch.setattr(launch, "source", source)
        forget()

    yield plant
    forget()


def sums_of_rows(cupy):
    grad = np.random.default_rng(0).standard_normal((70, 5)).astype(np.float32)
    return bias.bias_grad(cupy.asarray(grad)).get(), grad.sum(0)


def norm_of_gradients(cupy):
    grad = np.random.default_rng(0).standard_normal(3000).astype(np.float32)
    return clip.norm([cupy.asarray(grad)]).get(), np.linalg.norm(grad)


@pytest.mark.parametrize(
    ("compute", "barrier"),
    [
        (sums_of_rows, "        __syncthreads();\n        if (threadIdx.y < half)"),
        (norm_of_gradients, "= mine;\n    __syncthreads();\n    if (threadIdx.x == 0)"),
    ],
)
@pytest.mark.parametrize("is_removed", [False, True])
def test_a_missing_barrier(cupy, plant, compute, barrier, is_removed, monkeypatch):
    plant(barrier, barrier.replace("__syncthreads();", "") if is_removed else barrier)
    right = []
    for seed in SEEDS:
        monkeypatch.setattr(HostModule, "seed", seed)
        found, expected = compute(cupy)
        right.append(np.allclose(found, expected, rtol=1e-4))
    assert not all(right) if is_removed else all(right)


def run_sanitized(*arguments):
    """Run a Python program whose kernels are compiled with AddressSanitizer."""
    if not has_compiler() or is_real():
        pytest.skip("needs g++, to compile for the CPU, and no GPU")
    found = ["g++", "-print-file-name=libasan.so"]
    library = subprocess.run(found, capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(library):
        pytest.skip("needs libasan, g++'s AddressSanitizer")
    settings = {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0", SANITIZE: "1"}
    program = [sys.executable, "-m", "tests.kernels.gpu.every_kernel", *arguments]
    environment = {**os.environ, **settings}
    return subprocess.run(program, env=environment, capture_output=True, text=True, cwd=ROOT)


def test_no_kernel_reads_or_writes_outside_of_arrays():
    done = run_sanitized()
    assert done.stdout.splitlines()[-1:] == ["all kernels ran"], done.stderr


@pytest.mark.parametrize(
    ("file", "text", "mistake"),
    [
        ("pool.cu", "store(y + to, best, p.C - at.c)", "store(y + to, best, LANES)"),
        ("conv.cu", "number < p.pixels;", "number <= p.pixels;"),
        ("depthwise.cu", "column >= p.W", "column > p.W"),
    ],
)
def test_an_overrun_is_found(file, text, mistake):
    done = run_sanitized(file, text, mistake)
    assert "heap-buffer-overflow" in done.stderr, done.stdout + done.stderr
    assert file in done.stderr  # in a line of the source that it was planted in
