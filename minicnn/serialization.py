"""Saving and loading weights: a state dict as a NumPy `.npz` file, which no reader can run.

A `.npz` file is a zip archive with one `.npy` file, a small header and the raw numbers, for each
array. Python's usual way to store objects, pickle, can execute code when a file is loaded, so it is
neither written nor read here: a file from a stranger can be refused, but cannot do harm.

Nothing in a file is believed before it is checked. The zip archive holds a checksum of every array,
so damaged numbers are found; and what arrays claim is held against the size of the file, see
`minicnn.archives`, so a header that claims terabytes is refused before the memory is asked for.
"""

import io
import math
import os
import zipfile
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from minicnn.archives import open_archive, read_entry
from minicnn.autograd import Tensor
from minicnn.backend import is_array, to_device
from minicnn.files import open_to_read, replace_file

SUFFIX = ".npy"
LONGEST = 300
"""Characters of a message of another library that are shown."""

ADVICE = "save the weights again with minicnn.save(model.state_dict(), path)"


def save(state_dict: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Write named tensors to `path`; the same tensors always give the same bytes.

    The file appears whole or not at all: whatever goes wrong, an older file at `path` is left as it
    was. `numpy.load` reads it too; there, characters of a name other than letters, digits and
    `_.-~` appear as in web addresses (`%2F` for a slash).

    Args:
        state_dict: names to tensors or arrays of any shape, on any device; see `Module.state_dict`.
        path: the file to write, usually called `something.npz`.

    Raises:
        TypeError: if `state_dict` is no mapping of names to tensors or arrays of numbers.
        OSError: if the file cannot be written.
    """
    arrays = arrays_to_save(state_dict)
    with replace_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(quote(name, safe="") + SUFFIX), entry.getbuffer())


def arrays_to_save(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return what is to be saved as arrays in main memory; for errors see `save`."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"save: state_dict: expected a dict of names and tensors, got a "
            f"{type(state_dict).__name__}; for a model write save(model.state_dict(), path)"
        )
    return {name: _array_to_save(name, value) for name, value in state_dict.items()}


def _array_to_save(name: object, value: object) -> np.ndarray:
    """Return `value` as an array of numbers in main memory."""
    if not isinstance(name, str):
        raise TypeError(f"save: state_dict: expected names of type str, got {name!r}")
    array = value.array if isinstance(value, Tensor) else value
    if not is_array(array) or array.dtype.kind not in "fiub":
        found = getattr(array, "dtype", type(array).__name__)
        hint = "; nested states, such as an optimizer's, cannot be saved" if found == "dict" else ""
        raise TypeError(
            f"save: {name}: expected a tensor or an array of numbers, got {found}{hint}"
        )
    return to_device(array, "cpu")


def load(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read named tensors, as `save`, `numpy.savez` or `numpy.savez_compressed` wrote them.

    Args:
        path: the file.

    Returns:
        Names to tensors on the CPU, with the shapes and dtypes that were saved, in that order; for
        `Module.load_state_dict`.

    Raises:
        OSError: if the file does not exist or cannot be read.
        ValueError: if it is no such file, or a damaged one; the message names it and the reason.
    """
    with open_to_read(path, "path", [".npz"]) as file:
        try:
            arrays = read_npz(file, size=os.fstat(file.fileno()).st_size)
        except Exception as error:  # a file made to do harm can provoke nearly any of them
            reason = in_words(error)
            raise ValueError(
                f"{os.fspath(path)}: cannot be read as weights: {reason}; {ADVICE}"
            ) from error
    return {name: Tensor(array) for name, array in arrays.items()}


def in_words(error: Exception) -> str:
    """Return what an error says, or its kind; messages that repeat half of the file are cut short."""
    reason = str(error) or type(error).__name__
    return reason if len(reason) <= LONGEST else f"{reason[:LONGEST]}..."


def read_npz(file: io.BufferedIOBase, size: int) -> dict[str, np.ndarray]:
    """Read all arrays of an open `.npz` file of `size` bytes.

    Raises:
        ValueError: if it is no such file, or a damaged one; zipfile.BadZipFile and others too.
    """
    with open_archive(file, size) as archive:
        entries = archive.infolist()
        for entry in entries:
            if not entry.filename.endswith(SUFFIX):
                raise ValueError(f"it holds {entry.filename!r}, which is no {SUFFIX} array")
        arrays = {}
        for entry in entries:
            name = unquote(entry.filename.removesuffix(SUFFIX), errors="strict")
            if name in arrays:
                raise ValueError(f"it holds two arrays called {name!r}")
            try:
                arrays[name] = _parse_npy(read_entry(archive, entry))
            except Exception as error:
                raise ValueError(f"array {name!r}: {in_words(error)}") from error
    return arrays


def _parse_npy(contents: bytes) -> np.ndarray:
    """Return the array in the bytes of a `.npy` file."""
    stream = io.BytesIO(contents)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version} of the .npy format is not known here")
    if dtype.kind not in "fiub":
        raise ValueError(f"expected plain numbers, got the dtype {dtype}")
    numbers = contents[stream.tell() :]
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(numbers):
        raise ValueError(
            f"its header promises {dtype} numbers of shape {shape}, but {len(numbers):,} bytes come"
        )
    array = np.frombuffer(numbers, dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="), order="C")  # copied: `numbers` is read-only
