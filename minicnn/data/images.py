"""ImageData: the images and labels of a classification task, checked once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minicnn.data.idx import read_idx

FILE_NAMES = {
    "train_labels": ("train-labels", "idx1-ubyte"),
    "test_labels": ("t10k-labels", "idx1-ubyte"),
    "train_images": ("train-images", "idx3-ubyte"),
    "test_images": ("t10k-images", "idx3-ubyte"),
}
"""The four files of MNIST and its relatives, small ones first, to notice a wrong folder early."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """Grey images with their classes, cut into a training and a test set, as published.

    Attributes:
        name: what the dataset is called.
        class_names: the K classes; label k means class_names[k].
        train_images: (N, H, W) uint8, 0 to 255.
        train_labels: (N,) int64, 0 to K - 1.
        test_images: (M, H, W) uint8.
        test_labels: (M,) int64.

    Raises:
        TypeError: images that are not uint8, labels that are not whole numbers.
        ValueError: other shapes, unequal numbers of images and labels, labels without a class.
    """

    name: str
    class_names: tuple[str, ...]
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        self._check_part("train", self.train_images, self.train_labels)
        self._check_part("test", self.test_images, self.test_labels)
        train, test = self.train_images.shape[1:], self.test_images.shape[1:]
        if train != test:
            raise ValueError(
                f"{self.name}: training images are {train} pixels, test images are {test}"
            )

    def _check_part(self, part: str, images: np.ndarray, labels: np.ndarray) -> None:
        where = f"{self.name}: {part}"
        if images.dtype != np.uint8:
            raise TypeError(f"{where}_images: expected uint8, got {images.dtype}")
        if labels.dtype != np.int64:
            raise TypeError(f"{where}_labels: expected int64, got {labels.dtype}")
        if images.ndim != 3:
            raise ValueError(f"{where}_images: expected the shape (N, H, W), got {images.shape}")
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"{where}_labels: expected {images.shape[:1]}, one label an image, "
                f"got {labels.shape}"
            )
        classes = len(self.class_names)
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(
                f"{where}_labels: expected 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
            )

    def __repr__(self) -> str:
        """Show sizes instead of pixels."""
        return (
            f"ImageData({self.name!r}, {len(self.class_names)} classes, "
            f"train {self.train_images.shape}, test {self.test_images.shape})"
        )


def find_files(folder: Path) -> dict[str, Path]:
    """Return those of the four IDX files that `folder` holds, as {ImageData's attribute: path}.

    The last full stop or hyphen in "train-images-idx3-ubyte" varies from one source to another, and
    so does ".gz".
    """
    found = {}
    for part, (stem, kind) in FILE_NAMES.items():
        names = [f"{stem}{dot}{kind}{gz}" for dot in "-." for gz in ("", ".gz")]
        present = [folder / name for name in names if (folder / name).is_file()]
        if present:
            found[part] = present[0]
    return found


def find_all_files(folder: Path) -> dict[str, Path]:
    """Return all four files of `folder`, or raise FileNotFoundError naming those it lacks."""
    files = find_files(folder)
    missing = ["-".join(name) for part, name in FILE_NAMES.items() if part not in files]
    if missing:
        lacking = ", ".join(missing) + " (nor .gz)" if files else "any of the four files"
        raise FileNotFoundError(f"{folder}: expected IDX files, did not find {lacking}")
    return files


def load_idx_folder(folder: str | Path, class_names: tuple[str, ...], name: str = "") -> ImageData:
    """Read any dataset that comes as MNIST's four files: train/t10k - images/labels.

    Args:
        folder: where train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte are; ".idx3-ubyte" instead of "-idx3-ubyte" and a further ".gz"
            are fine too.
        class_names: one name a class.
        name: what to call the dataset; the folder's name where left out.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError, TypeError: a file is damaged, or the four do not belong together.
    """
    folder = Path(folder)
    arrays = {part: read_idx(path) for part, path in find_all_files(folder).items()}
    return from_arrays(name or folder.name, class_names, arrays)


def from_arrays(
    name: str, class_names: tuple[str, ...], arrays: dict[str, np.ndarray]
) -> ImageData:
    """Make ImageData from the arrays of the four files; labels become int64."""
    arrays = dict(arrays)
    for part in ("train_labels", "test_labels"):
        if arrays[part].dtype.kind in "iu":
            arrays[part] = arrays[part].astype(np.int64)
    return ImageData(name, tuple(class_names), **arrays)
