"""`minicnn predict`: what a network sees, one trained here or one with published weights."""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np

from minicnn import models
from minicnn.autograd import Tensor
from minicnn.commands.datasets import load_dataset
from minicnn.data.imagenet import imagenet_classes
from minicnn.models.preprocessing import PUBLISHED
from minicnn.nn import Module
from minicnn.nn import functional as F
from minicnn.nn.init import without_drawing
from minicnn.photograph import prepare_photograph, read_photograph
from minicnn.train import predict
from minicnn.trained import Config, load_trained, read_image_file
from minicnn.weights import load_weights


def predict_command(options: argparse.Namespace) -> None:
    """Print what a network sees in images."""
    files = [*options.files, *options.image]
    if options.model is not None:
        model, names = _published(options), imagenet_classes()
        titles, inputs = files, _photographs(files, options)
    else:
        model, config = load_trained(options.weights)
        titles, inputs = _grey_images(files, options, config)
        names = config.class_names
    scores = predict(model.to(options.device), inputs)  # (N, K)
    shares = F.softmax(Tensor(scores), 1).numpy()  # (N, K)
    for title, probabilities in zip(titles, shares, strict=True):
        print(title)
        for k in np.argsort(-probabilities)[: options.top]:
            print(f"  {probabilities[k]:7.2%}  {names[k]}")


# --- a network with published weights, and photographs --------------------------------------------


def _published(options: argparse.Namespace) -> Module:
    """Build the network, with the weights in the file."""
    for name in ("index", "dataset", "data_dir", "invert", "download", "limit"):
        if getattr(options, name):
            raise ValueError(
                f"--{name.replace('_', '-')}: it is for networks that were trained here; with --model "
                "only photographs can be asked about"
            )
    with without_drawing():  # the file has all numbers
        model = models.create(options.model)
    load_weights(model, options.weights)
    return model


def _photographs(files: Sequence[str], options: argparse.Namespace) -> np.ndarray:
    """Read photographs and prepare them for the weights; (N, 3, H, W) float32."""
    if not files:
        raise ValueError("nothing to predict: name photographs with --image")
    recipe = PUBLISHED[options.model]
    return np.concatenate([prepare_photograph(read_photograph(path), recipe) for path in files])


# --- a network that was trained here, and grey images ---------------------------------------------


def _grey_images(
    files: Sequence[str], options: argparse.Namespace, config: Config
) -> tuple[list[str], np.ndarray]:
    """Gather titles and images, (N, 1, H, W) float32, from files and from test images."""
    asked = [*_images_in_files(files, options), *_test_images(options, config)]
    if not asked:
        raise ValueError("nothing to predict: name image files, or test images with --index 0 1 2")
    if options.invert and not files:
        raise ValueError(
            "--invert: it inverts image files, and none is named; the test images of --index are as "
            "the network expects them"
        )
    titles = [title for title, _ in asked]
    return titles, np.concatenate([config.to_inputs(image[None]) for _, image in asked])


def _images_in_files(
    files: Sequence[str], options: argparse.Namespace
) -> Iterator[tuple[str, np.ndarray]]:
    """Read the image files that were named: titles and images (H, W)."""
    for path in files:
        images = read_image_file(path)  # (N, H, W)
        for number, image in enumerate(255 - images if options.invert else images):
            yield (path if len(images) == 1 else f"{path}, image {number}"), image


def _test_images(options: argparse.Namespace, config: Config) -> Iterator[tuple[str, np.ndarray]]:
    """Find the test images whose numbers were given: titles and images (H, W)."""
    if not options.index:
        return
    data = load_dataset(options.dataset or config.dataset, options)
    for index in options.index:
        if not 0 <= index < len(data.test_images):
            last = len(data.test_images) - 1
            raise ValueError(f"--index: {data.name} has test images 0 to {last}, got {index}")
        label = data.class_names[data.test_labels[index]]
        yield f"{data.name}, test image {index}: {label}", data.test_images[index]
