"""The machine that runs CUDA threads on the CPU: what it computes, and which mistakes it finds."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn.kernels.gpu.launch import source
from tests.gpu.cuda_on_host.host_module import SANITIZE, HostModule, equip, has_compiler
from tests.gpu.strict_cupy import installed, make_cupy

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.skipif(not has_compiler(), reason="needs g++, to compile for the CPU")

BLOCK_SUM = """
extern "C" __global__ void block_sum(const float* x, int count, float* sum) {
    __shared__ float sums[8];
    float mine = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) mine += x[i];
    for (int step = 16; step > 0; step /= 2) mine += __shfl_down_sync(0xFFFFFFFFu, mine, step);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = mine;
    BARRIER
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < 8; warp++) mine += sums[warp];
        *sum = mine;
    }
}
"""
SEEDS = range(8)


@pytest.fixture
def cupy():
    """The stand-in for CuPy, with kernels on the host."""
    library = make_cupy()
    equip(library)
    with installed(library):
        yield library


@pytest.fixture
def run(cupy, monkeypatch):
    """A function that compiles a source, and runs one of its kernels in the order of a seed."""

    def run(code, name, *arguments, grid=(1,), block=(32,), options=(), seed=0, shared_mem=0):
        monkeypatch.setattr(HostModule, "seed", seed)
        kernel = HostModule(code=code, options=options).get_function(name)
        kernel(grid, block, arguments, shared_mem=shared_mem)

    return run


def sums_of_a_block(cupy, run, barrier):
    """The sum of 1,000 numbers in the orders of all seeds, and the right one."""
    numbers = np.arange(1000, dtype=np.float32)
    x, found = cupy.asarray(numbers), []
    for seed in SEEDS:
        total = cupy.zeros(1, np.float32)
        arguments = x, np.int32(1000), total
        run(
            BLOCK_SUM,
            "block_sum",
            *arguments,
            block=(256,),
            options=[f"-DBARRIER={barrier}"],
            seed=seed,
        )
        found.append(total.item())
    return found, numbers.sum()


def test_threads_share_memory_and_registers(cupy, run):
    found, expected = sums_of_a_block(cupy, run, "__syncthreads();")
    assert found == [expected] * len(SEEDS)


def test_a_missing_barrier_is_seen(cupy, run):
    found, expected = sums_of_a_block(cupy, run, "")
    assert any(total != expected for total in found)


def test_threads_know_their_place(cupy, run):
    code = """extern "C" __global__ void places(int* where) {
        int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        where[block * 64 + thread] = block * 64 + thread;
    }"""
    where = cupy.empty(24 * 64, np.int32)
    run(code, "places", where, grid=(2, 3, 4), block=(8, 4, 2))
    np.testing.assert_array_equal(where.get(), np.arange(24 * 64))


def test_a_barrier_that_some_threads_miss(cupy, run):
    code = """extern "C" __global__ void miss() { if (threadIdx.x < 32) __syncthreads(); }"""
    with pytest.raises(RuntimeError, match=r"32 threads wait at __syncthreads, 0 .* 32 have ended"):
        run(code, "miss", block=(64,))


def test_an_exchange_that_some_threads_miss(cupy, run):
    code = """extern "C" __global__ void miss(int* x) {
        if (threadIdx.x < 16) x[threadIdx.x] = __shfl_sync(0xFFFFFFFFu, 1, 0); }"""
    with pytest.raises(
        RuntimeError, match="16 at a barrier or exchange of their warp, 16 have end"
    ):
        run(code, "miss", cupy.zeros(32, np.int32))


@pytest.mark.parametrize("dynamic", [False, True])
def test_shared_memory_begins_as_nan(cupy, run, dynamic):
    memory = "DYNAMIC_SHARED(float, memory);" if dynamic else "__shared__ float memory[32];"
    code = f"""extern "C" __global__ void copy(float* y) {{
        {memory} y[threadIdx.x + 32 * blockIdx.x] = memory[threadIdx.x]; memory[threadIdx.x] = 1; }}"""
    y = cupy.zeros(64, np.float32)
    run(code, "copy", y, grid=(2,), shared_mem=128)
    assert np.isnan(y.get()).all()


@pytest.mark.parametrize("open_groups", [0, 1])
def test_asynchronous_copies_arrive_when_awaited(cupy, run, open_groups):
    code = f"""extern "C" __global__ void fetch(const float* x, float* y) {{
        __shared__ float memory[3];
        if (threadIdx.x == 0) {{
            copy_async(memory, x, 4, true); close_copies();
            copy_async(memory + 1, x + 1, 4, false); copy_async(memory + 2, x + 2, 4, true); close_copies();
            await_copies<{open_groups}>();
            for (int i = 0; i < 3; i++) y[i] = memory[i];
        }}
    }}"""
    y = cupy.zeros(3, np.float32)
    run(code, "fetch", cupy.asarray(np.ones(3, np.float32)), y)
    np.testing.assert_array_equal(y.get(), [1, np.nan, np.nan] if open_groups else [1, 0, 1])


def test_tensor_cores_multiply_with_eleven_bits(cupy, run):
    code = """extern "C" __global__ void multiply(const float* a, const float* b, float* c) {
        int row = threadIdx.x / 4, k = threadIdx.x % 4;
        unsigned left[4], right[2];
        for (int i = 0; i < 4; i++) left[i] = round_to_tf32(a[(row + i % 2 * 8) * 8 + k + i / 2 * 4]);
        for (int i = 0; i < 2; i++) right[i] = round_to_tf32(b[(k + i * 4) * 8 + row]);
        float sums[4] = {0, 0, 0, 0};
        multiply_tf32(sums, left, right);
        for (int i = 0; i < 4; i++) c[(row + i / 2 * 8) * 8 + 2 * k + i % 2] = sums[i];
    }"""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((16, 8)).astype("f4"), rng.standard_normal((8, 8)).astype("f4")
    c = cupy.zeros((16, 8), np.float32)
    run(code, "multiply", cupy.asarray(a), cupy.asarray(b), c)
    exact = a.astype(float) @ b
    error = np.abs(c.get() - exact).max()
    assert 1e-5 < error < 1e-2  # rounded to 2^-11, and no more
    short_a, short_b = (
        np.round(array * 64) / 64 for array in (a, b)
    )  # numbers that need no rounding
    run(code, "multiply", cupy.asarray(short_a), cupy.asarray(short_b), c)
    np.testing.assert_allclose(c.get(), short_a.astype(float) @ short_b, atol=1e-5)


TWO = 'extern "C" __global__ void two(float* x, int n) { }'


@pytest.mark.parametrize(
    "wrong", [np.int64(1), 1, np.float32(1), 1.5, np.zeros(1, [("n", np.int32)])]
)
def test_arguments_of_another_type_are_refused(cupy, run, wrong):
    with pytest.raises(TypeError, match=r"two: the kernel declares p8 i4, got p8 [ifs]\d"):
        run(TWO, "two", cupy.zeros(1, np.float32), wrong)


def test_no_array_is_the_address_0(cupy, run):
    run(TWO, "two", np.uint64(0), np.int32(1))
    with pytest.raises(TypeError, match="got i8 i4"):
        run(TWO, "two", np.uint64(8), np.int32(1))


def test_arrays_of_the_host_are_refused(cupy, run):
    with pytest.raises(TypeError, match="expected a device array or one struct, got a NumPy array"):
        run(TWO, "two", np.zeros(3, np.float32), np.int32(1))


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        ({"block": (33,)}, "a block of whole warps"),
        ({"block": (2048,)}, "at most 1024 threads"),
        ({"grid": (0,)}, "1 to .* blocks, got"),
        ({"grid": (1, 65536)}, "blocks, got"),
        ({"shared_mem": 50_000}, "max_dynamic_shared_size_bytes is 49152"),
    ],
)
def test_what_no_card_would_run_is_refused(cupy, run, geometry, words):
    with pytest.raises(ValueError, match=words):
        run(TWO, "two", cupy.zeros(1, np.float32), np.int32(1), **geometry)


def test_errors_of_the_compiler_are_shown(cupy, run):
    with pytest.raises(RuntimeError, match=r"g\+\+ refuses the source:\n(.|\n)*nonsense"):
        run('extern "C" __global__ void two() { nonsense; }', "two")


OVERRUN = """
import sys; sys.path[:0] = [{root!r}]
import numpy as np
from tests.gpu.strict_cupy import installed, make_cupy
from tests.gpu.cuda_on_host.host_module import HostModule
code = 'extern "C" __global__ void fill(float* x, int n) {{ if (threadIdx.x <= n) x[threadIdx.x] = 1; }}'
with installed(make_cupy()) as cupy:
    x = cupy.zeros({size}, np.float32)
    HostModule(code=code).get_function("fill")((1,), (32,), (x, np.int32(20)))
    print("in bounds", x.get().sum())
"""


@pytest.mark.parametrize(("size", "is_found"), [(21, False), (20, True)])
def test_a_write_out_of_bounds_is_found_by_the_address_sanitizer(size, is_found):
    library = subprocess.run(
        ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not os.path.isabs(library):
        pytest.skip("needs libasan, g++'s AddressSanitizer")
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",
        SANITIZE: "1",
    }
    program = OVERRUN.format(root=str(ROOT), size=size)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    if is_found:
        assert "heap-buffer-overflow" in done.stderr
        assert "kernel.cu:1" in done.stderr
    else:
        assert done.stdout.strip() == "in bounds 21.0", done.stderr


def test_sources_are_put_in_place_of_includes():
    text = source("pool.cu")
    assert "#include" not in text
    assert '#line 1 "device.cuh"' in text
    assert "typedef REAL real;" in text
