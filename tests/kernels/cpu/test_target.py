"""The shape of a tile on several processors, and loops compiled for them.

Convolutions are compiled for four processors, and the other loops for two sizes of vectors, 200 s of a
core together; the machine code is kept in pytest's cache folder for the next run.
"""

import os
import platform
import re
import subprocess
import sys

import pytest

pytest.importorskip("numba")
from llvmlite.binding import get_host_cpu_features

from minicnn.kernels.cpu import target
from tests.kernels.cpu.assembly import NO_SUCH_TARGET

X86 = platform.machine().lower() in ("x86_64", "amd64")
HASWELL = (
    "+64bit,+avx,+avx2,+bmi,+bmi2,+cmov,+cx16,+f16c,+fma,+fxsr,+lzcnt,+mmx,+movbe,+popcnt,"
    "+sse,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3"
)

GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}

PROCESSORS = {
    "SSE2": ("convolutions", GENERIC, ()),
    "AVX2": ("convolutions", {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL}, ()),
    "AVX-512": ("convolutions", {}, (64, 12)),
    "NEON": ("convolutions", {}, (16, 12, "float32")),
}
"""The program, the environment, and what to compute with where it is not the processor's own tile in both dtypes."""

PASSES = {
    f"{vector_bytes}-byte vectors": ("passes", {}, (vector_bytes, tile_rows))
    for vector_bytes, tile_rows in {16: 12, 32: 6, 64: 12}.items()
    if vector_bytes != target.VECTOR_BYTES
}
"""The same for the other loops. All other tests compute with this processor's own vectors."""

PROGRAMS = PROCESSORS | PASSES

LINE = re.compile(r"(\w+): (\d+) multiply-adds, vectors on the stack: (.*)")


@pytest.mark.parametrize(
    ("features", "triple", "expected"),
    [
        ("+sse2,+avx,+avx2,+avx512f", "x86_64-unknown-linux-gnu", (64, 32)),
        ("+sse2,+avx,+avx2,-avx512f", "x86_64-unknown-linux-gnu", (32, 16)),
        ("+sse2,+avx,-avx2", "x86_64-unknown-linux-gnu", (16, 16)),
        ("", "x86_64-unknown-linux-gnu", (16, 16)),
        ("+neon", "aarch64-unknown-linux-gnu", (16, 32)),
        ("+neon", "arm64-apple-darwin", (16, 32)),
    ],
)
def test_vector_registers_follow_from_the_features(monkeypatch, features, triple, expected):
    monkeypatch.setattr(target, "CPU_FEATURES", features)
    monkeypatch.setattr(target, "TRIPLE", triple)
    assert target._vector_registers() == expected


def test_avx_may_be_switched_off(monkeypatch):
    monkeypatch.setattr(target, "CPU_FEATURES", "+avx,+avx2")
    monkeypatch.setattr(target, "TRIPLE", "x86_64-unknown-linux-gnu")
    monkeypatch.setattr(target.config, "ENABLE_AVX", 0)
    assert target._vector_registers() == (16, 16)


def test_a_tile_leaves_registers_for_a_row_and_a_number():
    sums = target.TILE_ROWS * target.TILE_VECTORS
    assert sums + target.TILE_VECTORS + 1 <= target.VECTOR_REGISTERS


def test_the_second_level_cache_has_a_plausible_size():
    assert 128 * 1024 <= target.L2_BYTES <= 64 * 1024 * 1024


@pytest.fixture(scope="module")
def programs(request, tmp_path_factory):
    """A running program for each processor that can be emulated here."""
    started = {}
    cache = getattr(request.config, "cache", None)  # pytest -p no:cacheprovider has none
    for name, (program, processor, options) in PROGRAMS.items():
        if name == "AVX2" and not (X86 and get_host_cpu_features().get("avx2")):
            continue
        folder = cache.mkdir(f"minicnn-{name}") if cache else tmp_path_factory.mktemp(name)
        environment = {**processor, "NUMBA_CACHE_DIR": str(folder), "NUMBA_NUM_THREADS": "2"}
        started[name] = start(program, options, environment)
    yield started
    for program in started.values():
        program.kill()
        program.wait()
        program.stdout.close()


def start(program, options, environment):
    """Start one of the programs beside this file."""
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.kernels.cpu.{program}", *map(str, options)],
        env={**os.environ, **path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(program):
    """What a program wrote, when it has ended well."""
    output, _ = program.communicate()
    assert program.returncode == 0, output
    return output


@pytest.mark.parametrize(
    ("name", "shape"),
    [("SSE2", "16 6"), ("AVX2", "haswell 32 6"), ("AVX-512", "64 12"), ("NEON", "16 12")],
)
def test_convolutions_on_other_processors(programs, name, shape):
    if name not in programs or (name == "SSE2" and not X86):
        pytest.skip("this processor cannot do that")
    assert shape in output_of(programs[name])


@pytest.mark.parametrize("name", PASSES)
def test_other_loops_with_other_vectors(programs, name):
    """Winograd's algorithm, depthwise convolutions, BatchNorm, pooling, convolution and pooling in one."""
    _, _, shape = PASSES[name]
    assert "{} {}".format(*shape) in output_of(programs[name])


@pytest.mark.parametrize(
    ("shape", "triple", "cpu"),
    [
        ((16, 12), "aarch64-unknown-linux-gnu", "generic"),
        ((64, 12), "x86_64-unknown-linux-gnu", "skylake-avx512"),
        ((32, 6), "x86_64-unknown-linux-gnu", "haswell"),
    ],
    ids=["NEON", "AVX-512", "AVX2"],
)
def test_the_building_block_stays_in_the_registers(shape, triple, cpu):
    """Compiled for the processor itself, whichever this one is: no sum of a tile is on the stack between products."""
    program = start("assembly", (*shape, triple, cpu), {})
    output, _ = program.communicate()
    if program.returncode == NO_SUCH_TARGET:
        pytest.skip(f"LLVM was built without this processor: {output}")
    assert program.returncode == 0, output
    results = output.splitlines()
    assert len(results) == 2
    for result in results:
        name, multiply_adds, spills = LINE.fullmatch(result).groups()
        assert int(multiply_adds) >= shape[1] * target.TILE_VECTORS, name
        assert spills == "[]", result
