"""Files that `torch.save` wrote (`.pth`, `.pt`), read without PyTorch and without running anything.

There are two forms. Since version 1.6 a file is a zip archive, in which nothing is compressed:

    NAME/data.pkl     a pickle with everything but the numbers, see `minicnn.weights.claims`
    NAME/data/0       the numbers of storage "0", and so on
    NAME/byteorder    "little" or "big"; missing in older files, which are little

The legacy form is a row of five pickles and the numbers: a magic number, the version of the
protocol, the writer's byte order, the tensors, the keys of the storages in the order in which they
follow, and for each storage a count (8 bytes) and its numbers. It has no checksums: a flipped bit in
a number cannot be noticed.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from minicnn.archives import open_archive, read_entry
from minicnn.weights.claims import Storage, TensorClaim, read_claims, to_arrays
from minicnn.weights.pickles import run

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

Arrays = dict[str, np.ndarray]


def read_zip(file: io.BufferedIOBase, size: int, key: str | None) -> Arrays:
    """Read the zip form; for `key` see `minicnn.weights.read_weights`.

    Raises:
        ValueError, zipfile.BadZipFile: for a damaged file, or one that holds something else.
    """
    with open_archive(file, size) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if any(entry.compress_type for entry in entries.values()):
            raise ValueError("its entries are compressed, which those of PyTorch are not")
        folder = _folder_of(list(entries))
        claims, _ = read_claims(io.BytesIO(read_entry(archive, entries[f"{folder}/data.pkl"])))

        def read(storage: Storage) -> bytes:
            name = f"{folder}/data/{storage.key}"
            found = entries[name].file_size if name in entries else "no such entry"
            if found != storage.nbytes:
                raise ValueError(f"expected {storage.nbytes:,} bytes at {name!r}, got {found}")
            return read_entry(archive, entries[name])

        byteorder = "little"
        if f"{folder}/byteorder" in entries:
            byteorder = read_entry(archive, entries[f"{folder}/byteorder"]).decode("ascii")
        if byteorder not in ("little", "big"):
            raise ValueError(f"its byte order is stated as {byteorder!r}")
        return to_arrays(choose_state(claims, key), read, byteorder)


def _folder_of(names: list[str]) -> str:
    """Return the one folder in which a file of PyTorch keeps everything."""
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise ValueError("it is a zip archive, but holds neither .npy arrays nor one data.pkl")
    folder = pickles[0].removesuffix("/data.pkl")
    if f"{folder}/constants.pkl" in names:
        raise ValueError(
            "it is a TorchScript program; save its weights alone: torch.save(model.state_dict(), path)"
        )
    return folder


def read_legacy(contents: bytes, key: str | None) -> Arrays:
    """Read the legacy form; for `key` see `minicnn.weights.read_weights`.

    Raises:
        ValueError: for a damaged file, or one that holds something else.
    """
    stream = io.BytesIO(contents)
    if run(stream, {}) != LEGACY_MAGIC:
        raise ValueError("it is a pickle, but not one that PyTorch wrote")
    version, system = run(stream, {}), run(stream, {})
    if version != LEGACY_PROTOCOL or not isinstance(system, dict):
        raise ValueError("it is not of the version of the legacy form that is known here (1001)")
    if system.get("little_endian") is not True:
        raise ValueError("it was written on a big-endian machine; save it again in the zip form")
    claims, storages = read_claims(stream)
    order = run(stream, {})
    if not isinstance(order, list) or not all(isinstance(name, str) for name in order):
        raise ValueError("its list of storages is damaged")
    if sorted(order) != sorted(storages):
        raise ValueError("its tensors use other storages than it lists")
    places = dict(_places(contents, stream.tell(), [storages[name] for name in order]))

    def read(storage: Storage) -> bytes:
        return contents[places[storage.key] : places[storage.key] + storage.nbytes]

    return to_arrays(choose_state(claims, key), read)


def _places(contents: bytes, start: int, storages: list[Storage]) -> Iterator[tuple[str, int]]:
    """Find where the numbers of each storage begin; every byte up to the end must belong to one."""
    for storage in storages:
        count = int.from_bytes(contents[start : start + 8], "little")
        if count != storage.count:
            raise ValueError(f"storage {storage.key}: expected {storage.count:,}, got {count:,}")
        yield storage.key, start + 8
        start += 8 + storage.nbytes
    if start != len(contents):
        raise ValueError(f"its storages take {start:,} bytes, but it has {len(contents):,}")


# --- where in a checkpoint the weights are --------------------------------------------------------


def choose_state(saved: Any, key: str | None) -> dict[str, TensorClaim]:
    """Return the names and tensors in what was saved.

    Training scripts save more than weights, such as {"epoch": 3, "state_dict": {...}}. If there is
    one dict of tensors among the values, it is taken; otherwise `key` has to say which.

    Raises:
        ValueError: if nothing, or more than one thing, could be meant.
    """
    if not isinstance(saved, dict):
        raise ValueError(
            "it holds no state dict; save it with torch.save(model.state_dict(), path)"
        )
    if key is not None:
        if not _is_state(saved.get(key)):
            raise ValueError(f"key={key!r} names no dict of tensors in it; {_content(saved)}")
        return saved[key]
    if _is_state(saved):
        return saved
    states = [name for name, value in saved.items() if _is_state(value) and value]
    if len(states) != 1:
        advice = "choose one with key=" if states else "none of them is a dict of tensors"
        raise ValueError(f"{_content(saved)}; {advice}")
    return saved[states[0]]


def _is_state(value: Any) -> bool:
    """Whether a value is a dict of names and tensors."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, TensorClaim) for name, tensor in value.items()
    )


def _content(saved: dict) -> str:
    """Say what a dict holds, at most ten of its keys."""
    names = [repr(name) for name in saved][:10]
    return f"it holds {', '.join(names)}{', ...' if len(saved) > 10 else ''}"
