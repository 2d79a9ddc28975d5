"""Data sets by the names that they have on the command line."""

import argparse
from dataclasses import replace

from minicnn.data import ImageData, load_fashion_mnist, load_fashion_mnist_sample, load_mnist
from minicnn.models import example_shape, list_models

DATASETS = ("fashion-mnist-sample", "fashion-mnist", "mnist")

NETWORKS = tuple(name for name in list_models() if example_shape(name) == (1, 28, 28))
"""The networks for grey images of 28 x 28 pixels, which all of these data sets hold. Others are for
photographs, in which images of 28 x 28 would shrink to nothing."""


def load_dataset(name: str, options: argparse.Namespace) -> ImageData:
    """Load a dataset, or the first images of it."""
    if name == "fashion-mnist-sample":
        if options.data_dir is not None:
            raise ValueError(
                f"--data-dir: {name} comes with minicnn and is read from nowhere else; for files of "
                "your own choose --dataset mnist or --dataset fashion-mnist"
            )
        data = load_fashion_mnist_sample()
    elif name in DATASETS:
        load = load_mnist if name == "mnist" else load_fashion_mnist
        data = load(options.data_dir, download=options.download)
    else:
        raise ValueError(f"the dataset {name!r} is unknown; choose one with --dataset")
    if options.limit is None:
        return data
    first = slice(options.limit)
    return replace(
        data,
        train_images=data.train_images[first],
        train_labels=data.train_labels[first],
        test_images=data.test_images[first],
        test_labels=data.test_labels[first],
    )
