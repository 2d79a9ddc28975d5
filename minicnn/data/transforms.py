"""From stored images to network inputs: scaling, standardising and rotating whole arrays at once.

Everything here takes and gives NumPy arrays, so that a dataset is prepared once, before training.
"""

import numpy as np

CHUNK = 512
"""Images treated at a time, where intermediate results take much more memory than the images."""


def to_float(images: np.ndarray) -> np.ndarray:
    """Return grey images as network inputs between 0 and 1.

    Args:
        images: (N, H, W) uint8, 0 to 255.

    Returns:
        (N, 1, H, W) float32, 0 to 1: a channel axis is added, and every pixel is divided by 255.

    Raises:
        TypeError: `images` is not uint8 (floats would already be scaled).
        ValueError: `images` does not have three axes.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"to_float: images: expected uint8 (0 to 255), got {images.dtype}")
    if images.ndim != 3:
        hint = "; for one image use images[None]" if images.ndim == 2 else ""
        raise ValueError(
            f"to_float: images: expected the shape (N, H, W), got {images.shape}{hint}"
        )
    out = images[:, None].astype(np.float32)  # (N, 1, H, W)
    out /= 255
    return out


class Standardize:
    """Shift and scale each channel to mean 0 and standard deviation 1: y = (x - mean) / std.

    `fit` must see the *training* images only; the test images are then treated with the training
    set's numbers, as any image is that the network meets later. A channel in which every pixel is
    the same has nothing to scale: its std counts as 1, so it becomes 0 throughout.

    Args:
        mean: one number a channel, (C,); left out when `fit` is to find it.
        std: one positive number a channel, (C,).

    Attributes:
        mean, std: (C,) float32, or None before `fit`.
    """

    def __init__(self, mean: np.ndarray | None = None, std: np.ndarray | None = None) -> None:
        if (mean is None) != (std is None):
            raise ValueError("Standardize: give both mean and std, or neither and call fit")
        self.mean = None if mean is None else np.atleast_1d(np.asarray(mean, np.float32))
        self.std = None if std is None else np.atleast_1d(np.asarray(std, np.float32))
        if self.mean is None or self.std is None:
            return
        if self.mean.ndim != 1 or self.mean.shape != self.std.shape:
            raise ValueError(
                f"Standardize: expected mean and std of one shape (C,), "
                f"got {self.mean.shape} and {self.std.shape}"
            )
        if not np.isfinite([self.mean, self.std]).all() or not (self.std > 0).all():
            raise ValueError(
                f"Standardize: expected finite mean and positive std, got {mean} and {std}"
            )

    def fit(self, images: np.ndarray) -> "Standardize":
        """Measure mean and std of each channel, and return self.

        Args:
            images: the training images, (N, C, H, W), float32 or float64.

        Raises:
            TypeError: `images` is not floating point (see `to_float`).
            ValueError: not four axes, no pixels, or a pixel that is NaN or infinite.
        """
        self._check_images(images)
        if images.size == 0:
            raise ValueError(
                f"Standardize.fit: images: expected at least one pixel, got {images.shape}"
            )
        if not np.isfinite(images).all():
            raise ValueError("Standardize.fit: images: expected finite pixels, got NaN or infinity")
        mean = images.mean(axis=(0, 2, 3), dtype=np.float64)  # (C,)
        squares = np.zeros_like(mean)
        for start in range(0, len(images), CHUNK):
            centred = images[start : start + CHUNK] - mean[:, None, None]  # float64
            squares += (centred**2).sum(axis=(0, 2, 3))
        std = np.sqrt(squares / (images.size // len(mean)))  # (C,)
        constant = std <= np.finfo(np.float32).eps * np.abs(mean)  # no more than rounding
        self.mean = mean.astype(np.float32)
        self.std = np.where(constant, 1.0, std).astype(np.float32)
        return self

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (images - mean) / std for images (N, C, H, W); a new array of the same dtype."""
        mean, std = self._parameters(images)
        out = images - mean  # (N, C, H, W)
        out /= std
        return out

    def inverse(self, images: np.ndarray) -> np.ndarray:
        """Undo the call: return images * std + mean for images (N, C, H, W), to look at them."""
        mean, std = self._parameters(images)
        out = images * std  # (N, C, H, W)
        out += mean
        return out

    def __repr__(self) -> str:
        """Show the numbers in use."""
        return f"Standardize(mean={self.mean}, std={self.std})"

    def _parameters(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Check `images`, and return mean and std as (C, 1, 1) of their dtype."""
        if self.mean is None or self.std is None:
            raise RuntimeError(
                "Standardize: mean and std are unknown; call fit(train_images) first"
            )
        self._check_images(images)
        if images.shape[1] != len(self.mean):
            raise ValueError(
                f"Standardize: images: expected {len(self.mean)} channel(s), "
                f"(N, {len(self.mean)}, H, W), got the shape {images.shape}"
            )
        mean = self.mean.astype(images.dtype)[:, None, None]  # (C, 1, 1)
        return mean, self.std.astype(images.dtype)[:, None, None]

    @staticmethod
    def _check_images(images: np.ndarray) -> None:
        if not isinstance(images, np.ndarray) or images.dtype not in (np.float32, np.float64):
            came = getattr(images, "dtype", type(images).__name__)
            raise TypeError(
                f"Standardize: images: expected float32 or float64, got {came}; see to_float"
            )
        if images.ndim != 4:
            raise ValueError(
                f"Standardize: images: expected the shape (N, C, H, W), got {images.shape}"
            )


def rotate(images: np.ndarray, degrees: float | np.ndarray) -> np.ndarray:
    """Turn each image about its centre; positive angles turn counter-clockwise, as one sees it.

    The output pixel at p shows what lay at R(-angle) p in the input. That place is rarely the
    centre of an input pixel, so the four pixels around it are blended by their nearness (bilinear
    interpolation). Outside the image all is 0, and the size stays as it is: corners that turn out
    of the frame are lost. `rotate(x, 90)` is `np.rot90` for squares.

    Args:
        images: (N, H, W) or (N, C, H, W); uint8, float32 or float64.
        degrees: one angle for all, or (N,) angles, in degrees.

    Returns:
        A new array of the shape and dtype of `images` (uint8 is rounded).

    Raises:
        TypeError: another dtype.
        ValueError: wrong number of axes, number of angles, or an angle that is not finite.
    """
    images = np.asarray(images)
    if images.dtype not in (np.uint8, np.float32, np.float64):
        raise TypeError(f"rotate: images: expected uint8, float32 or float64, got {images.dtype}")
    if images.ndim not in (3, 4):
        raise ValueError(f"rotate: images: expected (N, H, W) or (N, C, H, W), got {images.shape}")
    angles = np.asarray(degrees, np.float64)
    if angles.shape not in ((), (len(images),)):
        raise ValueError(
            f"rotate: degrees: expected one angle or {len(images)}, one an image, "
            f"got the shape {angles.shape}"
        )
    if not np.isfinite(angles).all():
        raise ValueError("rotate: degrees: expected finite angles, got NaN or infinity")
    radians = np.deg2rad(np.broadcast_to(angles, len(images)))  # (N,)
    channels = images if images.ndim == 4 else images[:, None]  # (N, C, H, W)
    out = np.empty_like(channels)
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = _rotate(channels[part], radians[part])
    return out.reshape(images.shape)


def _rotate(images: np.ndarray, radians: np.ndarray) -> np.ndarray:
    """Rotate (N, C, H, W) images by (N,) angles."""
    n, c, h, w = images.shape
    dtype = np.dtype("float32") if images.dtype == np.uint8 else images.dtype
    cos = np.cos(radians).astype(dtype)[:, None, None]  # (N, 1, 1)
    sin = np.sin(radians).astype(dtype)[:, None, None]  # (N, 1, 1)
    middle_row, middle_col = (h - 1) / 2, (w - 1) / 2
    # The output pixels, seen from the centre:
    up = middle_row - np.arange(h, dtype=dtype)[:, None]  # (H, 1)
    right = np.arange(w, dtype=dtype) - middle_col  # (W,)

    # Where they come from, in a picture with a frame of zeros one pixel wide around it; places
    # further out are moved onto the frame.
    row = np.clip(middle_row - (up * cos - right * sin) + 1, 0, h + 1)  # (N, H, W)
    col = np.clip(middle_col + (right * cos + up * sin) + 1, 0, w + 1)  # (N, H, W)
    top = np.minimum(row.astype(np.intp), h)  # the pixel above, or the last but one
    left = np.minimum(col.astype(np.intp), w)
    down_weight = (row - top.astype(dtype)).reshape(n, 1, h * w)  # (N, 1, HW), 0 to 1
    right_weight = (col - left.astype(dtype)).reshape(n, 1, h * w)

    framed = np.zeros((n, c, h + 2, w + 2), dtype)
    framed[:, :, 1:-1, 1:-1] = images
    framed = framed.reshape(n, c, (h + 2) * (w + 2))
    corner = (top * (w + 2) + left).reshape(n, 1, h * w)  # the upper left one of the four pixels

    def pixels(offset: int) -> np.ndarray:
        return np.take_along_axis(framed, corner + offset, axis=2)  # (N, C, HW)

    upper = pixels(0) * (1 - right_weight) + pixels(1) * right_weight
    lower = pixels(w + 2) * (1 - right_weight) + pixels(w + 3) * right_weight
    out = upper * (1 - down_weight) + lower * down_weight
    if images.dtype == np.uint8:
        out = np.rint(out)
    return out.astype(images.dtype).reshape(n, c, h, w)
