"""Small stand-ins for MNIST's four files, and a source that describes them."""

import dataclasses
import hashlib

import numpy as np

from minicnn.data.idx import to_bytes, write_idx
from minicnn.data.images import FILE_NAMES
from minicnn.data.mnist import Source


def tiny_arrays(seed=0, train=6, test=4):
    """Return {part: array} with `train` and `test` images of 28 x 28 in ten classes."""
    rng = np.random.default_rng(seed)
    return {
        "train_labels": rng.integers(0, 10, train).astype(np.uint8),
        "test_labels": rng.integers(0, 10, test).astype(np.uint8),
        "train_images": rng.integers(0, 256, (train, 28, 28)).astype(np.uint8),
        "test_images": rng.integers(0, 256, (test, 28, 28)).astype(np.uint8),
    }


def write_folder(folder, arrays, dot="-", suffix=""):
    """Write the arrays as IDX files with the given spelling of the names."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, (stem, kind) in FILE_NAMES.items():
        write_idx(folder / f"{stem}{dot}{kind}{suffix}", arrays[part])


def source_of(arrays, **changes):
    """Return a Source named "Tiny" whose published files are `arrays`."""
    source = Source(
        name="Tiny",
        class_names=tuple("abcdefghij"),
        folder="tiny",
        torchvision_folder="Tiny/raw",
        installed=("node_modules/tiny",),
        package="apt install tiny",
        url="http://127.0.0.1:9/",
        sha256={
            part: hashlib.sha256(to_bytes(array)).hexdigest() for part, array in arrays.items()
        },
    )
    return dataclasses.replace(source, **changes)
