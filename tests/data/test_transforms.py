"""to_float, Standardize and rotate."""

import numpy as np
import pytest

from minicnn.data import transforms
from minicnn.data.transforms import Standardize, rotate, to_float


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_to_float_scales_and_adds_the_channel():
    out = to_float(np.array([[[0, 51], [102, 255]]], np.uint8))
    assert (out.shape, out.dtype) == ((1, 1, 2, 2), np.float32)
    np.testing.assert_allclose(out[0, 0], [[0, 0.2], [0.4, 1]], rtol=1e-7)


def test_to_float_refuses_floats_and_other_shapes():
    with pytest.raises(TypeError, match=r"expected uint8 .* got float32"):
        to_float(np.zeros((1, 2, 2), np.float32))
    with pytest.raises(ValueError, match=r"\(N, H, W\), got \(2, 2\)"):
        to_float(np.zeros((2, 2), np.uint8))


def test_to_float_says_how_one_image_is_given():
    with pytest.raises(ValueError, match=r"got \(2, 2\); for one image use images\[None\]"):
        to_float(np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardize_makes_mean_0_and_std_1_of_each_channel(rng, dtype):
    images = (rng.random((1100, 3, 4, 4)) * [[[1]], [[10]], [[0.1]]] + 5).astype(dtype)
    out = Standardize().fit(images)(images)
    assert out.dtype == dtype
    np.testing.assert_allclose(out.mean(axis=(0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(axis=(0, 2, 3)), 1, atol=1e-4)


def test_fit_measures_what_numpy_measures_in_float64(rng):
    images = rng.random((1100, 2, 3, 3), np.float32) + 100
    fitted = Standardize().fit(images)
    exact = images.astype(np.float64)
    np.testing.assert_allclose(fitted.mean, exact.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(fitted.std, exact.std(axis=(0, 2, 3)), rtol=1e-6)


def test_the_test_set_is_treated_with_the_training_sets_numbers():
    train = np.array([0.0, 2.0], np.float32).reshape(2, 1, 1, 1)
    test = np.array([4.0], np.float32).reshape(1, 1, 1, 1)
    assert Standardize().fit(train)(test).item() == 3


def test_inverse(rng):
    images = rng.random((5, 2, 3, 3), np.float32)
    standardize = Standardize().fit(images)
    back = standardize.inverse(standardize(images))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, images, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_channel_becomes_0(value, dtype):
    images = np.full((7, 1, 3, 3), value, dtype)
    standardize = Standardize().fit(images)
    assert standardize.std.tolist() == [1]
    np.testing.assert_allclose(standardize(images), 0, atol=1e-7 * value)


def test_given_numbers():
    out = Standardize(mean=[0.5], std=[0.25])(np.ones((1, 1, 1, 1), np.float32))
    assert (out.item(), out.dtype) == (2, np.float32)


def test_the_images_are_not_changed(rng):
    images = rng.random((3, 1, 2, 2), np.float32)
    before = images.copy()
    standardize = Standardize().fit(images)
    standardize.inverse(standardize(images))
    np.testing.assert_array_equal(images, before)


def test_standardize_refuses():
    images = np.zeros((2, 1, 3, 3), np.float32)
    with pytest.raises(RuntimeError, match="call fit"):
        Standardize()(images)
    with pytest.raises(ValueError, match=r"both mean and std"):
        Standardize(mean=[0])
    with pytest.raises(ValueError, match="positive std"):
        Standardize([0], [0])
    with pytest.raises(ValueError, match="one shape"):
        Standardize([0, 1], [1])
    with pytest.raises(TypeError, match="got uint8; see to_float"):
        Standardize().fit(images.astype(np.uint8))
    with pytest.raises(ValueError, match=r"\(N, C, H, W\), got \(2, 3, 3\)"):
        Standardize().fit(images[:, 0])
    with pytest.raises(ValueError, match="at least one pixel"):
        Standardize().fit(images[:0])
    with pytest.raises(ValueError, match="finite pixels"):
        Standardize().fit(np.full_like(images, np.inf))
    with pytest.raises(ValueError, match=r"expected 3 channel\(s\).* got the shape \(2, 1, 3, 3\)"):
        Standardize([0] * 3, [1] * 3)(images)


@pytest.mark.parametrize("turns", [-2, -1, 0, 1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 5, 28])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_quarter_turns_are_rot90(rng, turns, size, dtype):
    images = rng.integers(0, 256, (3, size, size)).astype(dtype)
    out = rotate(images, 90 * turns)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, np.rot90(images, turns, axes=(1, 2)), atol=2e-4)


def test_bytes_are_rounded(rng):
    images = rng.integers(0, 256, (2, 7, 7)).astype(np.uint8)
    exact = rotate(images.astype(np.float32), 30)
    np.testing.assert_array_equal(rotate(images, 30), np.rint(exact))


def test_positive_angles_turn_counter_clockwise():
    image = np.zeros((1, 5, 5), np.float32)
    image[0, 2, 4] = 1  # right of the centre
    out = rotate(image, 90)
    assert np.argwhere(out[0] > 0.5).tolist() == [[0, 2]]  # above it


@pytest.mark.parametrize("shape", [(9, 9), (8, 8), (6, 11)])
@pytest.mark.parametrize("degrees", [30, -45, 10.5, 170])
def test_against_scipy(rng, shape, degrees):
    ndimage = pytest.importorskip("scipy.ndimage")
    image = rng.random(shape)
    expected = ndimage.rotate(image, degrees, reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(rotate(image[None], degrees)[0], expected, atol=1e-12)
    single = rotate(image[None].astype(np.float32), degrees)[0]
    np.testing.assert_allclose(single, expected, atol=1e-5)


def test_each_image_has_its_own_angle_also_across_chunks(rng, monkeypatch):
    images = rng.random((5, 2, 6, 7), np.float32)
    angles = np.array([0, 10, -20, 45, 90])
    one_by_one = [rotate(images[i : i + 1], angles[i]) for i in range(5)]
    monkeypatch.setattr(transforms, "CHUNK", 2)
    np.testing.assert_array_equal(rotate(images, angles), np.concatenate(one_by_one))


def test_channels_turn_together(rng):
    images = rng.random((2, 3, 5, 5), np.float32)
    out = rotate(images, 33)
    assert out.dtype == np.float32
    for channel in range(3):
        np.testing.assert_array_equal(out[:, channel], rotate(images[:, channel], 33))


def test_outside_is_0():
    out = rotate(np.full((1, 20, 20), 200, np.uint8), 45)[0]
    assert out[0, 0] == out[-1, 0] == out[0, -1] == out[-1, -1] == 0
    assert np.all(out[5:15, 5:15] == 200)


def test_no_images():
    assert rotate(np.zeros((0, 3, 3), np.uint8), 45).shape == (0, 3, 3)
    assert rotate(np.zeros((2, 0, 3), np.float32), [45, 1]).shape == (2, 0, 3)


def test_rotate_refuses():
    images = np.zeros((2, 3, 3), np.float32)
    with pytest.raises(TypeError, match="got int64"):
        rotate(images.astype(np.int64), 1)
    with pytest.raises(ValueError, match=r"got \(3, 3\)"):
        rotate(images[0], 1)
    with pytest.raises(ValueError, match=r"one angle or 2, one an image, got the shape \(3,\)"):
        rotate(images, [1, 2, 3])
    with pytest.raises(ValueError, match="finite"):
        rotate(images, float("nan"))
