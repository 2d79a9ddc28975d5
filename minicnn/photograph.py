"""From a photograph to the input of a network, in the way that the network's weights expect.

The recipes are numbers in `minicnn.models.preprocessing`; here they are carried out. Pictures are
decoded by Pillow.
"""

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from minicnn.data import Standardize
from minicnn.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from PIL import Image

LONGEST = 100
"""Times its shorter side: what is longer would take much memory, and show nothing."""

A = -0.75
"""The constant of TensorFlow's bicubic interpolation; more usual is -0.5."""

STEPS = 1024
"""TensorFlow rounds a place between two pixels to a multiple of 1 / STEPS."""


def read_photograph(path: str | os.PathLike) -> np.ndarray:
    """Read a picture (.jpg, .png, ...), upright as the camera was held.

    Returns:
        (H, W, 3) uint8: red, green and blue.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no picture, a damaged one, or one of more than 178 million pixels.
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(
            f"{os.fspath(path)}: pictures are read with Pillow, which cannot be imported ({error}); "
            "install it: pip install minicnn[plot]"
        ) from error
    with open(path, "rb") as file:  # what is wrong from here on is wrong with its contents
        try:
            picture = Image.open(file)
            picture.load()
            with suppress(Exception):  # damaged notes of the camera do not spoil the picture
                picture = ImageOps.exif_transpose(picture)
            return _red_green_blue(picture)
        except Exception as error:  # Pillow's decoders raise nearly any of them
            reason = str(error) or type(error).__name__
            raise ValueError(f"{os.fspath(path)}: cannot be read as a picture: {reason}") from error


def _red_green_blue(picture: "Image.Image") -> np.ndarray:
    """Convert a picture of Pillow of any kind; (H, W, 3) uint8."""
    if picture.mode in ("I", "F"):
        raise ValueError("its numbers have 32 bits, and nothing says which of them is white")
    if picture.mode.startswith("I;16"):  # Pillow's own conversion cuts off all above 255
        grey = (np.asarray(picture) >> 8).astype(np.uint8)  # (H, W)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if "transparency" in picture.info:  # Pillow asks for this way, with a warning
        picture = picture.convert("RGBA")
    return np.array(picture.convert("RGB"))


def prepare_photograph(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Crop, resize and standardise a photograph.

    Args:
        image: (H, W, 3) uint8.
        preprocessing: the recipe of the weights.

    Returns:
        (1, 3, size, size) float32.

    Raises:
        ValueError: another shape or dtype, a side of more than 100 times the other, or a recipe with
            another way of resampling.
        ImportError: Pillow is needed and not installed.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(
            f"prepare_photograph: image: expected (H, W, 3) uint8, got {image.dtype} of shape "
            f"{image.shape}"
        )
    if max(image.shape) > LONGEST * min(image.shape[:2]):
        raise ValueError(f"prepare_photograph: image: a strip of {image.shape} is no photograph")
    if preprocessing.resampling == "tensorflow":
        pixels = _crop_and_resize(image, preprocessing)  # (size, size, 3)
    elif preprocessing.resampling == "bilinear":
        pixels = _resize_and_crop(image, preprocessing)
    else:
        raise ValueError(f"prepare_photograph: unknown resampling {preprocessing.resampling!r}")
    planes = pixels.transpose(2, 0, 1)[None].astype(np.float32)  # (1, 3, size, size)
    planes /= 255
    return Standardize(preprocessing.mean, preprocessing.std)(planes)


# --- as torchvision does it -----------------------------------------------------------------------


def _resize_and_crop(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Bring the shorter side to its length, then cut out the middle; (size, size, 3) uint8."""
    from PIL import Image

    height, width = image.shape[:2]
    shorter, size = min(height, width), preprocessing.size
    new_height = height * preprocessing.resize // shorter
    new_width = width * preprocessing.resize // shorter
    resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    return np.asarray(resized)[top : top + size, left : left + size]


# --- as TensorFlow does it ------------------------------------------------------------------------


def _crop_and_resize(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Cut out the middle, then bring it to its size; (size, size, 3) float64."""
    height, width = image.shape[:2]
    side = max(int(preprocessing.size / preprocessing.resize * min(height, width)), 1)
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    cropped = image[top : top + side, left : left + side]
    return resize_like_tensorflow(cropped, preprocessing.size)


def resize_like_tensorflow(image: np.ndarray, size: int) -> np.ndarray:
    """Resize a square picture as `tf.compat.v1.image.resize_bicubic` does, with which Lite0 was trained.

    Two things set it apart from Pillow's and later TensorFlow's way. Pixel i of the output is taken at
    place i * side / size of the input: the upper left corners of the pictures lie on each other, not
    their middles. And it is a curve through four pixels however much the picture shrinks; those
    between are skipped, where others average over them. Halving a picture takes every second pixel.
    What a network saw in training it should see in use: these sharper pictures.

    Args:
        image: (side, side, C).
        size: height and width of the result.

    Returns:
        (size, size, C) float64; values may leave the range of those in `image` a little.
    """
    weights = _bicubic_weights(len(image), size)  # (size, side)
    rows = np.tensordot(weights, image, axes=(1, 0))  # (size, side, C)
    return np.tensordot(weights, rows, axes=(1, 1)).transpose(1, 0, 2)  # (size, size, C)


def _bicubic_weights(side: int, size: int) -> np.ndarray:
    """Return how much each of `side` pixels counts in each of `size`; (size, side)."""
    places = np.arange(size) * (side / size)  # in pixels of the input
    before = np.floor(places).astype(np.intp)
    weights = np.zeros((size, side))
    for step in (-1, 0, 1, 2):
        pixels = np.clip(before + step, 0, side - 1)  # the outermost pixels stand for those outside
        distances = np.abs(np.rint((places - before) * STEPS) / STEPS - step)
        np.add.at(weights, (np.arange(size), pixels), _cubic(distances))
    return weights


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution (1981, equation 4) for distances up to 2: the weight of a pixel so far away."""
    near = ((A + 2) * distance - (A + 3)) * distance**2 + 1
    far = A * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far)
