"""What the processor offers, as far as the kernels' shapes depend on it."""

from pathlib import Path

from numba import config
from numba.core.registry import cpu_target

TRIPLE, CPU_NAME, CPU_FEATURES = cpu_target.target_context.codegen().magic_tuple()
"""What Numba compiles for: this machine, or $NUMBA_CPU_NAME with $NUMBA_CPU_FEATURES."""


def _has(feature: str) -> bool:
    return f"+{feature}" in CPU_FEATURES.split(",")


def _vector_registers() -> tuple[int, int]:
    """Return the size of a vector register in bytes, and how many there are."""
    if _has("avx512f"):
        return 64, 32
    if _has("avx2") and config.ENABLE_AVX:
        return 32, 16
    if TRIPLE.startswith(("aarch64", "arm64")):  # NEON
        return 16, 32
    return 16, 16  # SSE2, and a guess for the rest


VECTOR_BYTES, VECTOR_REGISTERS = _vector_registers()

TILE_VECTORS = 2
TILE_ROWS = 12 if VECTOR_REGISTERS == 32 else 6
"""The block of results that is held in registers: TILE_ROWS rows of TILE_VECTORS vectors.

A step of the product loads TILE_VECTORS vectors and TILE_ROWS numbers for TILE_ROWS * TILE_VECTORS
multiply-adds. The processors in question do two of either in a cycle, so the loads stay hidden where
1/TILE_ROWS + 1/TILE_VECTORS < 1; 12 sums of a latency of 4 cycles keep both multiply-add units busy,
8 would; and all sums, the vectors and one number must fit into the registers: 6 * 2 + 2 + 1 = 15
of 16, 12 * 2 + 2 + 1 = 27 of 32 (measured: 14 rows spill).
"""


def _second_level_cache() -> int:
    """Bytes of the L2 cache of a core, as Linux tells it, or a guess."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
    except OSError:
        return 512 * 1024
    return int(text.removesuffix("K")) * 1024 if text.endswith("K") else 512 * 1024


L2_BYTES = _second_level_cache()
