"""Into how many parts the sums of a matrix product are split, so that all of a GPU has work.

A block works out one tile of the result (tiles.cuh). The last layers of a network have small results and
long sums: 3x3 windows over 512 channels of 7x7 pixels, for 32 images, make 13 x 4 tiles of 128 x 128, each
a sum of 144 steps, and leave 80 of the 132 multiprocessors of an H100 without work. Where several
blocks share the sum of a tile, each writes its part to memory, and a second kernel adds them up ("split-K").

That costs a launch, and a way to memory and back for each part. So the number of parts is the one
for which an estimate of the time is shortest:

    (blocks of the busiest multiprocessor) (start + steps of a part) + launch + parts (memory + waiting)

The figures below are those of NVIDIA's datasheet of the H100 (SXM), in clocks of 1.98 GHz, not measured
ones, and are used for all cards: the bits of a sum depend on how it is split, and so they stay the same.
For the example, 5 parts make 260 blocks, two for each multiprocessor, of 29 steps each: in float 0.4 times
the products' time for one part.
"""

import functools
from typing import NamedTuple

import numpy as np

MULTIPROCESSORS = 132

PRODUCTS_A_CLOCK = {"float32": 128, "float64": 64, "tf32": 512}
"""Products that a multiprocessor multiplies and adds in a clock; for TF32 half of what Hopper's own instruction
does, since the older one that the kernel uses (conv.cu) does not reach more."""

BYTES_A_CLOCK = 1690
"""What the card's memory gives or takes: 3.35 TB/s."""

CLOCKS_OF_A_START = 1500
"""From the start of a block until its first tiles are in shared memory: two ways to memory and back."""

CLOCKS_OF_A_LAUNCH = 4000
"""From the end of a kernel to the work of the next one: 2 microseconds."""

CLOCKS_OF_A_PART = 75
"""How long the second kernel waits for a number of each part: 600 clocks, of which eight parts share each."""

MOST_BLOCKS = 8 * MULTIPROCESSORS
"""More blocks come only from more tiles: beyond, the multiprocessors are evenly loaded anyway. This also limits the
memory for the parts, to 66 MiB with the largest tile."""


class Split(NamedTuple):
    """How a sum is split."""

    parts: int
    terms: int
    """That a part sums over, whole steps; the last part may have fewer."""


@functools.lru_cache(maxsize=4096)
def split_of(
    terms: int, depth: int, tiles: int, tile_size: int, result_bytes: int, multiplied_in: str
) -> Split:
    """Split the sums of a product of matrices.

    Args:
        terms: how many products are summed for each number of the result, at least 1.
        depth: how many of them a block sums in one step.
        tiles: of the result, each the work of one block.
        tile_size: numbers of a tile.
        result_bytes: of the whole result.
        multiplied_in: a key of `PRODUCTS_A_CLOCK`.
    """
    steps = -(-terms // depth)
    clocks_of_a_step = tile_size * depth / PRODUCTS_A_CLOCK[multiplied_in]

    def clocks(parts: int) -> float:
        busiest = -(-tiles * parts // MULTIPROCESSORS)
        products = busiest * (CLOCKS_OF_A_START + -(-steps // parts) * clocks_of_a_step)
        if parts == 1:
            return products
        to_memory_and_back = 2 * parts * result_bytes / BYTES_A_CLOCK
        return products + CLOCKS_OF_A_LAUNCH + to_memory_and_back + parts * CLOCKS_OF_A_PART

    most = max(1, min(steps, MOST_BLOCKS // tiles))
    steps_of_a_part = -(-steps // min(range(1, most + 1), key=clocks))
    return Split(-(-steps // steps_of_a_part), steps_of_a_part * depth)


def multiplied_in(dtype: np.dtype, precision: str) -> str:
    """In which of `PRODUCTS_A_CLOCK` the kernels of conv.cu multiply arrays of this dtype."""
    return "tf32" if precision == "tf32" and dtype == np.float32 else dtype.name
