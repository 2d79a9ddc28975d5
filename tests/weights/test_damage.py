"""Files of every format, cut and changed at random: refused in words, or harmless; never a crash, never much memory."""

import tracemalloc

import numpy as np
import pytest

from minicnn import read_weights, write_weights
from tests.weights.samples import entries, legacy_file, number, program, storage, tensor, zip_file

ARRAYS = {
    "w": np.arange(6, dtype="f4").reshape(2, 3),
    "bias": np.array(1.5),
    "n": np.zeros(2, "i8"),
}
KINDS = {"w": "Float", "bias": "Double", "n": "Long"}
ENOUGH = 2_000_000
"""Bytes: far more than these files need, far less than a lie asks for."""


def content(*more):
    """The tensors of ARRAYS, pickled."""
    return entries(
        {
            name: tensor(
                storage(KINDS[name], name, array.size, *more),
                array.shape,
                [step // array.itemsize for step in array.strides],
            )
            for name, array in ARRAYS.items()
        }
    )


def safetensors(path):
    pytest.importorskip("safetensors")
    write_weights(ARRAYS, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors").read_bytes()


def numpy(save):
    def contents(path):
        save(path.with_suffix(".npz"), **ARRAYS)
        return path.with_suffix(".npz").read_bytes()

    return contents


FORMATS = {
    "safetensors": safetensors,
    "npz": numpy(np.savez),
    "compressed": numpy(np.savez_compressed),
    "zip": lambda path: zip_file(content(), {k: a.tobytes() for k, a in ARRAYS.items()}),
    "legacy": lambda path: legacy_file(
        content(b"N"), {k: (a.size, a.tobytes()) for k, a in ARRAYS.items()}
    ),
}
CHECKSUMS = ("npz", "compressed", "zip")
each_format = pytest.mark.parametrize("form", FORMATS)


def outcome(path, contents):
    """Read a damaged file; return its arrays, or None where it was refused as it should be."""
    path.write_bytes(contents)
    message = ""
    tracemalloc.start()
    try:
        return read_weights(path)
    except ValueError as error:
        message = str(error)
    finally:
        assert tracemalloc.get_traced_memory()[1] < ENOUGH
        tracemalloc.stop()
    assert message.startswith(f"{path}: cannot be read as weights: ")
    return None


def same(found):
    return set(found) == set(ARRAYS) and all(
        np.array_equal(found[name], array) and found[name].dtype == array.dtype
        for name, array in ARRAYS.items()
    )


@each_format
def test_the_undamaged_file_is_read(tmp_path, form):
    assert same(outcome(tmp_path / "file", FORMATS[form](tmp_path / "sound")))


@each_format
def test_a_file_that_ends_early_is_refused(tmp_path, form):
    contents = FORMATS[form](tmp_path / "sound")
    for length in [*range(0, len(contents), 7), *range(len(contents) - 25, len(contents))]:
        assert outcome(tmp_path / "file", contents[:length]) is None, length


@each_format
def test_flipped_bits_are_refused_or_harmless(tmp_path, form):
    contents = FORMATS[form](tmp_path / "sound")
    refused = 0
    for position in range(0, len(contents), 3):
        damaged = bytearray(contents)
        damaged[position] ^= 1 << position % 8
        found = outcome(tmp_path / "file", damaged)
        refused += found is None
        assert found is None or same(found) or form not in CHECKSUMS, position
    assert refused > len(contents) / 10


@each_format
def test_wild_changes_are_refused_or_harmless(tmp_path, form):
    contents = FORMATS[form](tmp_path / "sound")
    random = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(contents)
        start, stop = sorted(random.integers(0, len(contents), 2))
        damaged[start : min(stop, start + 20)] = random.bytes(random.integers(0, 20))
        found = outcome(tmp_path / "file", damaged)
        assert found is None or same(found) or form not in CHECKSUMS


def test_changed_pickles_with_the_right_checksum_are_refused_or_harmless(tmp_path):
    """A damaged pickle in a sound archive: what an attacker would send, and not an accident."""
    random = np.random.default_rng(0)
    sound = content()
    storages = {name: array.tobytes() for name, array in ARRAYS.items()}
    for _ in range(300):
        damaged = bytearray(sound)
        for _ in range(random.integers(1, 4)):
            damaged[random.integers(len(damaged))] = random.integers(256)
        outcome(tmp_path / "file", zip_file(bytes(damaged), storages))


def test_the_samples_are_pickles():
    assert program(number(5)) == b"\x80\x02J\5\0\0\0."
