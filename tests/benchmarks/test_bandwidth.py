"""The loops that kernels are compared with: they move what they say, all of it."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")
from bandwidth import LINE, BarePasses, move
from traffic import Traffic

from minicnn.kernels.memory import CACHE_LINE

UNTOUCHED = -77


def lines_of_memory(count):
    """Return (count, words) of memory that begins with a cache line."""
    words = np.full((count + 1) * LINE, UNTOUCHED, np.int64)
    start = -words.ctypes.data % CACHE_LINE // words.itemsize
    return words[start : start + count * LINE].reshape(count, LINE)


def test_moved_counts_what_is_changed_in_place_twice():
    sizes = {"w": 100, "g": 10, "unused": 1}
    assert Traffic("g; w g -> w", sizes).moved == 10 + 100 + 10 + 100


def test_the_footprint_counts_each_array_once():
    assert Traffic("x; x r -> y", {"x": 1, "r": 10, "y": 100, "unused": 1000}).footprint == 111


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("piece", [1, 8, 1000])
def test_all_lines_are_written_and_no_other(threads, streaming, piece):
    sizes = {name: count * CACHE_LINE for name, count in (("x", 100), ("y", 100), ("z", 25))}
    table = BarePasses(Traffic("x -> y z", sizes), threads).table(
        {"x": 0, "y": 101, "z": 203}, piece
    )
    memory = lines_of_memory(230)
    memory[:100] = 0
    move(threads, 1, memory.reshape(-1), table, streaming, np.empty(threads, np.int64))
    gaps = memory[[100, 201, 202, 228, 229]]
    assert (gaps == UNTOUCHED).all()
    assert (memory[101:201] == 0).all()
    assert (memory[203:228] == 0).all()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("passes", ["x", "x; x; x", "x; x"])
def test_all_words_are_read_in_every_pass(threads, passes):
    memory = lines_of_memory(40)
    memory[:] = np.random.default_rng(0).integers(0, 2**60, memory.shape)
    table = BarePasses(Traffic(passes, {"x": memory.nbytes}), threads).table({"x": 0}, 7)
    totals = np.empty(threads, np.int64)
    move(threads, 1, memory.reshape(-1), table, False, totals)
    once = np.bitwise_xor.reduce(memory, axis=None)
    assert np.bitwise_xor.reduce(totals) == (0 if passes == "x; x" else once)


def test_what_only_reads_has_no_streaming_stores():
    ways = BarePasses(Traffic("x", {"x": 640}), 1).calls()
    assert not any("streaming" in way for way in ways)
