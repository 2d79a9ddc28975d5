"""Photographs on their way into a network: decoded, cropped, resized and scaled as the weights expect."""

import sys

import numpy as np
import pytest

from minicnn import models
from minicnn.models.preprocessing import PUBLISHED, Preprocessing
from minicnn.photograph import prepare_photograph, read_photograph, resize_like_tensorflow

THIRDS = ((0.1, 0.2, 0.3), (0.5, 0.25, 0.125))
AVERAGING = Preprocessing(4, 5, "bilinear", *THIRDS)
SKIPPING = Preprocessing(4, 5, "tensorflow", *THIRDS)


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (30, 23, 3), dtype=np.uint8)


# --- reading --------------------------------------------------------------------------------------


def test_a_picture_is_read_as_red_green_and_blue(pillow, image, tmp_path):
    pillow.fromarray(image).save(tmp_path / "a.png")
    found = read_photograph(tmp_path / "a.png")
    np.testing.assert_array_equal(found, image)
    assert found.flags.writeable


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_other_kinds_of_pictures_are_converted(pillow, image, tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    pillow.fromarray(image).convert(mode).save(path)
    found = read_photograph(path)
    assert found.shape == image.shape
    assert found.dtype == np.uint8


def test_a_picture_is_turned_as_the_camera_was_held(pillow, image, tmp_path):
    picture = pillow.fromarray(image)
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned: the picture's right is above
    picture.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_photograph(tmp_path / "a.png"), np.rot90(image, -1))


def test_sixteen_bits_of_grey_become_eight(pillow, tmp_path):
    grey = np.array([[0, 255, 256], [32768, 65279, 65535]], np.uint16)
    pillow.fromarray(grey).save(tmp_path / "a.png")
    found = read_photograph(tmp_path / "a.png")
    np.testing.assert_array_equal(found, np.repeat((grey // 256)[:, :, None], 3, axis=2))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_of_which_none_is_known_to_be_white_are_refused(pillow, tmp_path, dtype):
    pillow.fromarray(np.ones((2, 3), dtype)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: .*its numbers have 32 bits"):
        read_photograph(tmp_path / "a.tif")


def test_a_palette_with_transparent_colours(pillow, image, tmp_path):
    palette = pillow.fromarray(image).quantize(4)
    palette.save(tmp_path / "a.png", transparency=bytes([0, 128, 255, 255]))
    found = read_photograph(tmp_path / "a.png")  # without a warning
    np.testing.assert_array_equal(found, np.asarray(palette.convert("RGB")))


def test_damaged_notes_of_the_camera_do_not_spoil_the_picture(pillow, image, tmp_path):
    pillow.fromarray(image).save(tmp_path / "a.png", exif=b"no notes")
    np.testing.assert_array_equal(read_photograph(tmp_path / "a.png"), image)


@pytest.mark.parametrize("length", [0, 10, 200])
def test_damaged_pictures_are_refused(pillow, image, tmp_path, length):
    path = tmp_path / "a.jpg"
    pillow.fromarray(image).save(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"a\.jpg: cannot be read as a picture: ."):
        read_photograph(path)


def test_a_missing_picture_is_named(pillow, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_photograph(tmp_path / "absent.jpg")


def test_pictures_of_absurd_size_are_refused(pillow, image, tmp_path, monkeypatch):
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 100)
    pillow.fromarray(image).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as a picture: .*exceeds limit"):
        read_photograph(tmp_path / "a.png")


def test_missing_pillow_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(
        ImportError, match=r"a\.jpg: pictures are read with Pillow.*minicnn\[plot\]"
    ):
        read_photograph("a.jpg")


# --- preparing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [AVERAGING, SKIPPING])
@pytest.mark.parametrize("size", [(30, 23), (23, 30), (5, 5), (3, 4), (1, 1), (300, 5)])
def test_the_result_is_an_input(pillow, recipe, size):
    image = np.full((*size, 3), (51, 102, 255), np.uint8)
    found = prepare_photograph(image, recipe)
    assert found.shape == (1, 3, 4, 4)
    assert found.dtype == np.float32
    colours = ((0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (1.0 - 0.3) / 0.125)
    np.testing.assert_allclose(found[0], np.broadcast_to(colours, (4, 4, 3)).T, rtol=1e-5)


@pytest.mark.parametrize("recipe", [AVERAGING, SKIPPING])
def test_the_middle_is_taken(pillow, recipe):
    image = np.zeros((50, 90, 3), np.uint8)
    image[5:45, 25:65] = 255  # 4/5 of the height, in the middle
    neutral = Preprocessing(4, 5, recipe.resampling, (0.0,) * 3, (1.0,) * 3)
    found = prepare_photograph(image, neutral)
    assert found[0, :, 1:3, 1:3].min() > 0.99
    assert prepare_photograph(255 - image, neutral)[0, :, 1:3, 1:3].max() < 0.01


def test_an_image_as_large_as_the_input_is_only_scaled(pillow):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for resampling in ("bilinear", "tensorflow"):
        recipe = Preprocessing(8, 8, resampling, (0.0,) * 3, (1.0,) * 3)
        expected = (image.astype(np.float32) / 255).transpose(2, 0, 1)[None]
        np.testing.assert_allclose(prepare_photograph(image, recipe), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 0, 3), np.uint8)],
)
def test_what_is_no_photograph_is_refused(image):
    with pytest.raises(ValueError, match=r"image: expected \(H, W, 3\) uint8, got"):
        prepare_photograph(image, SKIPPING)


@pytest.mark.parametrize("size", [(1, 1000), (1000, 9)])
def test_strips_are_refused(size):
    with pytest.raises(ValueError, match="is no photograph"):
        prepare_photograph(np.zeros((*size, 3), np.uint8), SKIPPING)


def test_other_ways_of_resampling_are_refused(image):
    with pytest.raises(ValueError, match="unknown resampling 'nearest'"):
        prepare_photograph(image, Preprocessing(4, 5, "nearest", *THIRDS))


@pytest.mark.parametrize("size", [(600, 512), (301, 977), (256, 256), (100, 140)])
def test_as_torchvision_does_it(size):
    transforms = pytest.importorskip("torchvision.transforms")
    pillow = pytest.importorskip("PIL.Image")
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    recipe = PUBLISHED["resnet50"]
    steps = (
        transforms.Resize(recipe.resize),
        transforms.CenterCrop(recipe.size),
        transforms.ToTensor(),
        transforms.Normalize(recipe.mean, recipe.std),
    )
    expected = transforms.Compose(steps)(pillow.fromarray(image)).numpy()[None]
    np.testing.assert_allclose(prepare_photograph(image, recipe), expected, rtol=1e-5, atol=1e-6)


# --- TensorFlow's bicubic interpolation -----------------------------------------------------------


def bicubic_by_loops(image, size):
    """One pixel after the other, by Keys' formula for A = -0.75."""

    def cubic(d):
        if d <= 1:
            return 1.25 * d**3 - 2.25 * d**2 + 1
        return -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3 if d < 2 else 0.0

    side = len(image)
    out = np.zeros((size, size, image.shape[2]))
    for i in range(size):
        for j in range(size):
            y, x = i * side / size, j * side / size
            for row in range(int(y) - 1, int(y) + 3):
                for column in range(int(x) - 1, int(x) + 3):
                    inside = image[min(max(row, 0), side - 1), min(max(column, 0), side - 1)]
                    out[i, j] += cubic(abs(y - row)) * cubic(abs(x - column)) * inside
    return out


@pytest.mark.parametrize(("side", "size"), [(9, 4), (8, 5), (4, 9), (3, 7), (1, 3), (16, 16)])
def test_the_formula(side, size):
    image = np.random.default_rng(0).standard_normal((side, side, 2))
    found = resize_like_tensorflow(image, size)
    np.testing.assert_allclose(found, bicubic_by_loops(image, size), atol=5e-3)  # 1024 places


def test_halving_takes_every_second_pixel(image):
    np.testing.assert_array_equal(resize_like_tensorflow(image[:22, :22], 11), image[:22:2, :22:2])


def test_a_plain_picture_stays_plain():
    np.testing.assert_allclose(resize_like_tensorflow(np.full((7, 7, 1), 3.0), 5), 3.0, rtol=1e-12)


# --- the recipes ----------------------------------------------------------------------------------


def test_every_recipe_is_one_of_a_network():
    assert set(PUBLISHED) <= set(models.list_models())


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_recipe_can_be_carried_out(pillow, name):
    recipe = PUBLISHED[name]
    found = prepare_photograph(np.full((50, 40, 3), 128, np.uint8), recipe)
    assert found.shape == (1, 3, recipe.size, recipe.size)
    assert abs(found).max() < 1
    assert 0.85 < recipe.size / recipe.resize < 0.9
