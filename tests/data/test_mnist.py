"""Where MNIST and Fashion-MNIST are looked for, and that nothing wrong is taken for them."""

import numpy as np
import pytest

from minicnn.data import mnist
from tests.data.folders import source_of, tiny_arrays, write_folder

ARRAYS = tiny_arrays()
OTHER = tiny_arrays(seed=1)


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path, monkeypatch):
    """An empty current folder and cache, no MINICNN_DATA, and no way to the web."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MINICNN_DATA", raising=False)

    def no_web(*_):
        raise AssertionError("went to the web")

    monkeypatch.setattr(mnist, "fetch_file", no_web)


@pytest.fixture
def load(monkeypatch):
    monkeypatch.setattr(mnist, "MNIST", source_of(ARRAYS))
    return mnist.load_mnist


PLACES = ["root", "env", "node_modules/tiny", "cache/minicnn/tiny"]


@pytest.mark.parametrize("place", PLACES)
def test_each_place_is_found(load, tmp_path, monkeypatch, place):
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "env"))
    (tmp_path / "root").mkdir()
    write_folder(tmp_path / place, ARRAYS)
    data = load(root=tmp_path / "root")
    assert data.name == "Tiny"
    np.testing.assert_array_equal(data.train_images, ARRAYS["train_images"])


def test_places_are_tried_in_the_documented_order(load, tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "env"))
    for place in PLACES:
        write_folder(tmp_path / place, ARRAYS)
    read = []
    original = mnist.read_idx
    monkeypatch.setattr(mnist, "read_idx", lambda path: read.append(path) or original(path))
    for place in PLACES:
        read.clear()
        load(root=tmp_path / "root")
        assert {path.resolve().parent for path in read} == {tmp_path / place}
        for path in (tmp_path / place).iterdir():
            path.unlink()


@pytest.mark.parametrize("layout", [".", "tiny", "Tiny/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_each_layout_below_root_is_found(load, tmp_path, layout, suffix):
    write_folder(tmp_path / "root" / layout, ARRAYS, suffix=suffix)
    assert load("root").train_labels.dtype == np.int64


def test_root_may_hold_another_dataset_beside_the_right_one(load, tmp_path):
    write_folder(tmp_path / "root", OTHER)
    write_folder(tmp_path / "root/tiny", ARRAYS)
    np.testing.assert_array_equal(load("root").test_images, ARRAYS["test_images"])


def test_wrong_files_in_root_are_an_error_even_if_right_ones_are_elsewhere(load, tmp_path):
    write_folder(tmp_path / "root", OTHER)
    write_folder(tmp_path / "cache/minicnn/tiny", ARRAYS)
    with pytest.raises(ValueError, match=r"root='root' are not Tiny:\n .*expected the SHA-256"):
        load("root")


def test_a_root_that_does_not_exist_is_an_error_even_if_right_files_are_elsewhere(load, tmp_path):
    write_folder(tmp_path / "node_modules/tiny", ARRAYS)
    with pytest.raises(FileNotFoundError, match="mistyped: does not exist; root"):
        load(tmp_path / "mistyped")


def test_wrong_files_elsewhere_are_passed_over(load, tmp_path):
    write_folder(tmp_path / "node_modules/tiny", OTHER)
    write_folder(tmp_path / "cache/minicnn/tiny", ARRAYS)
    np.testing.assert_array_equal(load().test_labels, ARRAYS["test_labels"])


@pytest.mark.parametrize("part", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_one_changed_byte_is_noticed(load, tmp_path, part):
    write_folder(tmp_path / "root", ARRAYS)
    path = tmp_path / "root" / part
    contents = bytearray(path.read_bytes())
    contents[-1] ^= 1
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=f"{part}: not the file of Tiny"):
        load("root")


def test_found_nowhere_lists_the_places_and_the_ways(load, tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "env"))
    write_folder(tmp_path / "node_modules/tiny", OTHER)
    (tmp_path / "root").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        load(root="root")
    message = str(caught.value)
    for text in (
        "root: expected IDX files",
        "root/tiny: ",
        "root/Tiny/raw: ",
        f"{tmp_path}/env: ",
        "not the file of Tiny",
        f"{tmp_path}/cache/minicnn/tiny: ",
        "download=True",
        "apt install tiny",
        "root=",
        "MINICNN_DATA",
    ):
        assert text in message


def test_the_published_checksums_are_complete():
    for source in (mnist.MNIST, mnist.FASHION_MNIST):
        assert set(source.sha256) == set(mnist.FILE_NAMES)
        assert all(len(digest) == 64 for digest in source.sha256.values())
        assert len(source.class_names) == 10


def test_the_sample_has_the_same_number_of_every_class():
    data = mnist.load_fashion_mnist_sample()
    assert data.train_images.shape == (5000, 28, 28)
    assert data.test_images.shape == (1000, 28, 28)
    assert np.bincount(data.train_labels).tolist() == [500] * 10
    assert np.bincount(data.test_labels).tolist() == [100] * 10
    assert data.class_names[9] == "Ankle boot"


def test_the_sample_is_a_part_of_fashion_mnist():
    try:
        whole = mnist.load_fashion_mnist()
    except FileNotFoundError:
        pytest.skip("Fashion-MNIST is not installed")
    sample = mnist.load_fashion_mnist_sample()
    for part in ("train", "test"):
        published = {
            (image.tobytes(), label)
            for image, label in zip(
                getattr(whole, f"{part}_images"), getattr(whole, f"{part}_labels"), strict=True
            )
        }
        for image, label in zip(
            getattr(sample, f"{part}_images"), getattr(sample, f"{part}_labels"), strict=True
        ):
            assert (image.tobytes(), label) in published
