"""The shape of a tile on several processors, and convolutions compiled for them.

The loops are compiled for four processors, 150 s of a core together; the machine code is kept in
pytest's cache folder for the next run.
"""

import os
import platform
import subprocess
import sys

import pytest

pytest.importorskip("numba")
from llvmlite.binding import get_host_cpu_features

from minicnn.kernels.cpu import target

X86 = platform.machine().lower() in ("x86_64", "amd64")
HASWELL = (
    "+64bit,+avx,+avx2,+bmi,+bmi2,+cmov,+cx16,+f16c,+fma,+fxsr,+lzcnt,+mmx,+movbe,+popcnt,"
    "+sse,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3"
)

PROCESSORS = {
    "SSE2": ({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, ()),
    "AVX2": ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL}, ()),
    "AVX-512": ({}, (64, 12)),
    "NEON": ({}, (16, 12, "float32")),
}
"""The environment, and what to compute with where it is not the processor's own tile in both dtypes."""


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
    for name, (processor, options) in PROCESSORS.items():
        if name == "AVX2" and not (X86 and get_host_cpu_features().get("avx2")):
            continue
        folder = cache.mkdir(f"minicnn-{name}") if cache else tmp_path_factory.mktemp(name)
        environment = {
            **os.environ,
            **processor,
            "NUMBA_CACHE_DIR": str(folder),
            "NUMBA_NUM_THREADS": "2",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        started[name] = subprocess.Popen(
            [sys.executable, "-m", "tests.kernels.cpu.convolutions", *map(str, options)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    yield started
    for program in started.values():
        program.kill()
        program.wait()
        program.stdout.close()


@pytest.mark.parametrize(
    ("name", "shape"),
    [("SSE2", "16 6"), ("AVX2", "haswell 32 6"), ("AVX-512", "64 12"), ("NEON", "16 12")],
)
def test_convolutions_on_other_processors(programs, name, shape):
    if name not in programs or (name == "SSE2" and not X86):
        pytest.skip("this processor cannot do that")
    output, _ = programs[name].communicate()
    assert programs[name].returncode == 0, output
    assert shape in output
