"""ImageData's checks, and folders of IDX files."""

import numpy as np
import pytest

from minicnn.data.images import ImageData, load_idx_folder
from tests.data.folders import tiny_arrays, write_folder

CLASSES = tuple("0123456789")


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_every_spelling_of_the_names(tmp_path, dot, suffix):
    arrays = tiny_arrays()
    write_folder(tmp_path, arrays, dot, suffix)
    data = load_idx_folder(tmp_path, CLASSES)
    assert data.name == tmp_path.name
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    for part, array in arrays.items():
        np.testing.assert_array_equal(getattr(data, part), array)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="did not find any of the four"):
        load_idx_folder(tmp_path, CLASSES)
    write_folder(tmp_path, tiny_arrays())
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"find t10k-labels-idx1-ubyte \(nor .gz\)"):
        load_idx_folder(tmp_path, CLASSES)


@pytest.mark.parametrize(
    ("part", "change", "error", "message"),
    [
        (
            "train_labels",
            lambda a: a[1:],
            ValueError,
            r"train_labels: expected \(6,\).* got \(5,\)",
        ),
        ("test_labels", lambda a: a * 0 + 10, ValueError, "test_labels: expected 0 to 9, got 10"),
        ("train_labels", lambda a: a.astype(np.int8) * 0 - 1, ValueError, "got -1 to -1"),
        ("train_labels", lambda a: a.astype(np.float32), TypeError, "int64, got float32"),
        ("train_labels", lambda a: a[:, None], ValueError, r"got \(6, 1\)"),
        ("test_images", lambda a: a[:, 1:], ValueError, r"test images are \(27, 28\)"),
        ("test_images", lambda a: a.reshape(4, 784), ValueError, r"\(N, H, W\), got \(4, 784\)"),
        ("test_images", lambda a: a.astype(np.float32), TypeError, "uint8, got float32"),
    ],
)
def test_parts_that_do_not_belong_together(tmp_path, part, change, error, message):
    arrays = tiny_arrays()
    arrays[part] = change(arrays[part])
    write_folder(tmp_path, arrays)
    with pytest.raises(error, match=message):
        load_idx_folder(tmp_path, CLASSES)


def test_it_is_frozen_and_prints_sizes(tmp_path):
    write_folder(tmp_path, tiny_arrays())
    data = load_idx_folder(tmp_path, CLASSES, "Tiny")
    assert repr(data) == "ImageData('Tiny', 10 classes, train (6, 28, 28), test (4, 28, 28))"
    with pytest.raises(AttributeError):
        data.train_images = None
    assert isinstance(data, ImageData)
