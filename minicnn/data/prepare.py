"""From published images to datasets that a network can train on, in one call."""

from dataclasses import dataclass

import numpy as np

from minicnn.data.dataset import TensorDataset
from minicnn.data.images import ImageData
from minicnn.data.split import train_val_test_split
from minicnn.data.transforms import Standardize, to_float


@dataclass(frozen=True)
class Prepared:
    """Datasets of (image (1, H, W) float32, label int64), and how the images were standardised.

    Attributes:
        train: the training set.
        validation: the part of the published training set that was set aside, or None.
        test: the published test set.
        standardize: fitted on `train`; its `inverse` gives back images between 0 and 1.
        class_names: label k means class_names[k].
    """

    train: TensorDataset
    validation: TensorDataset | None
    test: TensorDataset
    standardize: Standardize
    class_names: tuple[str, ...]


def prepare(
    data: ImageData, validation: float = 0.0, seed: int | np.random.Generator | None = 0
) -> Prepared:
    """Scale and standardise the images (by the training set's mean and std), and set some aside.

    Args:
        data: images and labels as published.
        validation: the share of the training images to set aside, 0 <= validation < 1, the same of
            every class.
        seed: decides which images are set aside.

    Raises:
        TypeError: `data` is no ImageData.
        ValueError: `validation` is not in that range, or leaves no image to train on or to set
            aside.
    """
    if not isinstance(data, ImageData):
        raise TypeError(
            f"prepare: data: expected ImageData, as load_mnist() returns it, got {type(data).__name__}"
        )
    if not 0 <= validation < 1:
        raise ValueError(
            f"prepare: validation: expected a share 0 <= validation < 1, such as 0.1, "
            f"got {validation}"
        )
    images, labels = to_float(data.train_images), data.train_labels  # (N, 1, H, W), (N,)
    kept, aside = train_val_test_split(labels, (1 - validation, validation), labels, seed)
    if len(kept) == 0 or (validation and len(aside) == 0):
        raise ValueError(
            f"prepare: validation: a share of {validation} of {len(images)} images leaves {len(kept)} "
            f"to train on and sets {len(aside)} aside; choose another share, 0 for none, or more images"
        )
    standardize = Standardize().fit(images[kept])
    held_out = TensorDataset(standardize(images[aside]), labels[aside]) if validation else None
    return Prepared(
        train=TensorDataset(standardize(images[kept]), labels[kept]),
        validation=held_out,
        test=TensorDataset(standardize(to_float(data.test_images)), data.test_labels),
        standardize=standardize,
        class_names=data.class_names,
    )
