"""A trained network on disk, and the images that it is asked about."""

import json

import numpy as np
import pytest

from minicnn import models
from minicnn.data import Standardize, to_float, write_idx
from minicnn.train import predict
from minicnn.trained import Config, load_trained, read_image_file, save_trained

CONFIG = Config(
    model="first_cnn",
    dataset="mnist",
    class_names=["zero", "one", "two"],
    image_size=[28, 28],
    mean=[0.5],
    std=[0.25],
    settings={"epochs": 1},
)
IMAGE = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 28, 28), dtype=np.uint8)


def test_a_network_comes_back_with_its_answers(tmp_path, images):
    model = CONFIG.build()
    save_trained(tmp_path, model, CONFIG)
    for path in (tmp_path, tmp_path / "weights.npz"):
        loaded, config = load_trained(path)
        assert config == CONFIG
        inputs = config.to_inputs(images)
        np.testing.assert_array_equal(predict(loaded, inputs), predict(model, inputs))


def test_inputs_are_standardised_as_in_training(images):
    expected = Standardize([0.5], [0.25])(to_float(images))
    np.testing.assert_array_equal(CONFIG.to_inputs(images), expected)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="28 x 28 pixels, got 32 x 32; resize them"):
        CONFIG.to_inputs(np.zeros((1, 32, 32), np.uint8))


def test_weights_of_another_network_are_refused(tmp_path):
    save_trained(tmp_path, models.mlp(num_classes=3), CONFIG)
    with pytest.raises(ValueError, match=r"weights\.npz: .*does not fit(.|\n)*unexpected"):
        load_trained(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "no_such_net"},
        {"class_names": []},
        {"class_names": [1, 2]},
        {"image_size": [28]},
        {"image_size": [28, -1]},
        {"std": [0.0]},
        {"surprise": 1},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path, change):
    save_trained(tmp_path, CONFIG.build(), CONFIG)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"config\.json: not a configuration of a trained network"):
        load_trained(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_a_damaged_configuration_is_refused(tmp_path, text):
    save_trained(tmp_path, CONFIG.build(), CONFIG)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: not a configuration"):
        load_trained(tmp_path)


def test_a_configuration_lists_its_entries(tmp_path):
    save_trained(tmp_path, CONFIG.build(), CONFIG)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected the entries model, dataset, .*, got none"):
        load_trained(tmp_path)


@pytest.mark.parametrize("path", ["", "weights.npz"])
def test_what_is_no_folder_of_a_network_is_refused(tmp_path, path):
    (tmp_path / "weights.npz").write_text("")
    with pytest.raises(FileNotFoundError, match=r"minicnn train --out` wrote, but .*config\.json"):
        load_trained(tmp_path / path)


# --- image files ----------------------------------------------------------------------------------


def test_numpy_and_idx_files_hold_one_image_or_several(tmp_path):
    np.save(tmp_path / "one.npy", IMAGE)
    write_idx(tmp_path / "two-idx3-ubyte", np.stack([IMAGE, IMAGE + 1]))
    np.testing.assert_array_equal(read_image_file(tmp_path / "one.npy"), IMAGE[None])
    np.testing.assert_array_equal(read_image_file(tmp_path / "two-idx3-ubyte")[1], IMAGE + 1)


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_a_picture_are_averaged(tmp_path, channels):
    image = pytest.importorskip("matplotlib.image")
    colours = np.stack([IMAGE, IMAGE, IMAGE, np.full_like(IMAGE, 255)], axis=2)[:, :, :channels]
    image.imsave(tmp_path / "a.png", np.ascontiguousarray(colours))
    np.testing.assert_array_equal(read_image_file(tmp_path / "a.png"), IMAGE[None])


@pytest.mark.parametrize("array", [IMAGE.astype("f4"), IMAGE[0], IMAGE[None, None]])
def test_arrays_that_are_no_grey_images_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=r"a\.npy: expected grey images"):
        read_image_file(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a-idx3-ubyte", "a.png"])
def test_damaged_files_are_refused(tmp_path, name):
    pytest.importorskip("matplotlib")
    (tmp_path / name).write_bytes(b"this is no image")
    with pytest.raises((ValueError, OSError), match=name):
        read_image_file(tmp_path / name)


def test_an_archive_called_npy_is_refused(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, images=IMAGE)
    with pytest.raises(ValueError, match=r"a\.npy: cannot be read as images: the magic string"):
        read_image_file(tmp_path / "a.npy")


def test_the_shape_of_an_array_is_named_as_it_is(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"got float64 of shape \(2, 3\); convert it"):
        read_image_file(tmp_path / "a.npy")


def test_a_file_of_another_kind_is_told_what_is_expected(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "README.md").write_text("words")
    with pytest.raises(
        ValueError, match=r"README\.md: .*expected a picture \(\.png\), a NumPy file"
    ):
        read_image_file(tmp_path / "README.md")


def test_a_missing_picture_is_named(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(FileNotFoundError, match=r"a\.png"):
        read_image_file(tmp_path / "a.png")
