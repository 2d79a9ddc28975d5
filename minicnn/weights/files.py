"""Weights from a file into a network, and back.

What a file is shows in its first bytes, whatever it is called. Nothing in it is run and nothing is
believed: see `minicnn.weights.safetensors`, `minicnn.serialization` (npz) and
`minicnn.weights.pytorch`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minicnn.archives import open_archive
from minicnn.files import open_to_read, replace_file
from minicnn.nn import Module
from minicnn.nn.state import IncompatibleKeys
from minicnn.serialization import arrays_to_save, in_words, read_npz, save
from minicnn.weights import pytorch, safetensors
from minicnn.weights.advice import advice, in_a_row
from minicnn.weights.names import fit_names

ZIP = (b"PK\3\4", b"PK\5\6")
PICKLE = b"\x80"

ENDINGS = (".safetensors", ".npz", ".pth", ".pt")
"""What files of weights are usually called; their contents decide."""

COUNTER = "num_batches_tracked"

FOREIGN = {
    b"\x89HDF": "it is an HDF5 file, as Keras writes them",
    b"version https://git-lfs": "it only points to a file that Git LFS keeps: fetch it (git lfs pull)",
    b"<": "it is a web page: the download went wrong",
}
"""Beginnings of files that are often mistaken for weights."""


def load_weights(
    model: Module,
    path: str | os.PathLike,
    strict: bool = True,
    *,
    key: str | None = None,
    prefix: str = "",
    skip: Sequence[str] = (),
) -> IncompatibleKeys:
    """Read weights from a file into a network; nothing changes if anything does not fit.

    Names and shapes must agree as in `Module.load_state_dict`. Of counters of batches, which files from
    PyTorch before 0.4.1 do not have, the network keeps its own, as in PyTorch.

    Args:
        model: the network.
        path: a `.safetensors`, `.npz`, or `.pth`/`.pt` file; its contents decide, not its name.
        strict: refuse missing and unexpected names; otherwise they are returned, if any name fits.
        key: which entry of a checkpoint holds the weights, see `read_weights`.
        prefix: what names in the file begin with and those of the network do not, such as
            "module." after training with torch.nn.DataParallel; the last dot may be left out.
        skip: beginnings of names, such as ("fc.",), whose weights stay as they are in the network: for a
            head with another number of classes.

    Returns:
        The missing and the unexpected names that were passed over.

    Raises:
        TypeError: if `model` is no network, or another argument of the wrong kind.
        OSError: if the file does not exist or cannot be read.
        ValueError: if it is damaged, holds something else, or weights of another network.
    """
    if not isinstance(model, Module):
        raise TypeError(
            f"load_weights: model: expected a Module, got a {type(model).__name__}; for arrays by name "
            "there is read_weights(path)"
        )
    skip = (skip,) if isinstance(skip, str) else tuple(skip)
    for argument, text in (("prefix", prefix), *(("skip", beginning) for beginning in skip)):
        if not isinstance(text, str):
            raise TypeError(f"load_weights: {argument}: expected a str, got {text!r}")
    own = model.state_dict()
    arrays = fit_names(read_weights(path, key=key), own, prefix, path)
    for beginning in skip:
        if not any(name.startswith(beginning) for name in (*arrays, *own)):
            raise ValueError(f"load_weights: skip: no name begins with {beginning!r}")
    taken = {name: array for name, array in arrays.items() if not name.startswith(skip)}
    kept = {
        name: tensor
        for name, tensor in own.items()
        if name.startswith(skip) or (name.endswith(COUNTER) and name not in arrays)
    }
    if own and not taken.keys() & own.keys() and (not strict or not taken):
        raise ValueError(
            f"{os.fspath(path)}: nothing to load: strict={strict} and skip={skip} leave no name that "
            f"fits; the file has {in_a_row(arrays)}, the network {in_a_row(own)}{advice(own, taken)}"
        )
    try:
        return model.load_state_dict(taken | kept, strict)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}{advice(own, taken)}") from error


def read_weights(path: str | os.PathLike, *, key: str | None = None) -> dict[str, np.ndarray]:
    """Read the named arrays in a file.

    Args:
        path: a `.safetensors`, `.npz`, or `.pth`/`.pt` file; its contents decide, not its name.
        key: for a `.pth` file that holds more than weights, such as {"model": {...}, "epoch": 3}: under
            which name they are. Not needed where only one entry is a dict of tensors.

    Returns:
        Names to arrays with the shapes and dtypes in the file; bfloat16, which NumPy does not have,
        becomes float32. Arrays that share memory in a `.pth` file share it here too.

    Raises:
        OSError: if the file does not exist or cannot be read.
        ValueError: if it is damaged, holds something else, or asks for anything to be run; the message
            names the file and the reason.
        ImportError: a safetensors file, without the package safetensors.
    """
    with open_to_read(path, "path", ENDINGS) as file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size, key)
        except ImportError:
            raise
        except Exception as error:  # a file made to do harm can provoke nearly any of them
            raise ValueError(
                f"{os.fspath(path)}: cannot be read as weights: {in_words(error)}"
            ) from error


def _read(file: BinaryIO, size: int, key: str | None) -> dict[str, np.ndarray]:
    """Read a file of `size` bytes, by what it begins with."""
    beginning = file.read(24)
    file.seek(0)
    if beginning.startswith(ZIP) and _is_of_pytorch(file, size):
        return pytorch.read_zip(file, size, key)
    if beginning.startswith(PICKLE):
        return pytorch.read_legacy(file.read(), key)
    if key is not None:
        raise ValueError(f"key={key!r} is for .pth files, which this is not")
    if beginning.startswith(ZIP):
        return read_npz(file, size)
    if beginning[8:9] == b"{":
        return safetensors.from_bytes(file.read())
    reasons = [reason for start, reason in FOREIGN.items() if beginning.startswith(start)]
    raise ValueError(
        f"expected a safetensors, .npz or .pth file, got one that begins with {beginning[:8]!r}"
        + "".join(f"; {reason}" for reason in reasons)
    )


def _is_of_pytorch(file: BinaryIO, size: int) -> bool:
    """Whether a zip archive holds a pickle, as those of PyTorch do, and those of NumPy do not."""
    with open_archive(file, size) as archive:
        return any(name.endswith(".pkl") for name in archive.namelist())


def save_weights(model: Module, path: str | os.PathLike) -> None:
    """Write a network's parameters and buffers to a file, whole or not at all.

    Args:
        model: the network.
        path: ends in `.safetensors` or `.npz`, which says in which format.

    Raises:
        TypeError: if `model` is no network.
        ValueError: for another ending.
        OSError: if the file cannot be written.
    """
    if not isinstance(model, Module):
        raise TypeError(
            f"save_weights: model: expected a Module, got a {type(model).__name__}; for arrays by "
            "name there is write_weights(arrays, path)"
        )
    write_weights(model.state_dict(), path)


def write_weights(arrays: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Write named arrays or tensors to a file, whole or not at all; see `save_weights`."""
    suffix = Path(path).suffix.lower()
    if suffix == ".npz":
        save(arrays, path)
    elif suffix == ".safetensors":
        contents = safetensors.to_bytes(arrays_to_save(arrays))
        with replace_file(path) as file:
            file.write(contents)
    else:
        raise ValueError(
            f"{os.fspath(path)}: expected a name that ends in .safetensors or .npz, got {suffix!r}; "
            "PyTorch reads safetensors files with safetensors.torch.load_file"
        )
