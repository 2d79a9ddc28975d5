"""A trained network in a folder: its weights, and what is needed to use them again.

Weights alone do not say which network they belong to, how images were scaled before they were
shown to it, or what its answers mean. `config.json`, beside the weights, does.
"""

import json
import os
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import models
from minicnn.data import Standardize, read_idx, to_float
from minicnn.files import replace_file
from minicnn.nn import Module
from minicnn.nn.init import without_drawing
from minicnn.serialization import load, save

WEIGHTS = "weights.npz"
CONFIG = "config.json"


@dataclass(frozen=True)
class Config:
    """Everything about a trained network but its weights.

    Attributes:
        model: its name in `minicnn.models`.
        dataset: what it was trained on, by its name on the command line.
        class_names: output k means class_names[k].
        image_size: (H, W) of its grey images.
        mean: of the training images, between 0 and 1; see `Standardize`.
        std: of the training images.
        settings: how it was trained, for the record.
    """

    model: str
    dataset: str
    class_names: list[str]
    image_size: list[int]
    mean: list[float]
    std: list[float]
    settings: dict[str, Any] = field(default_factory=dict)

    def build(self) -> Module:
        """Return the network with fresh weights."""
        return models.create(self.model, num_classes=len(self.class_names))

    def to_inputs(self, images: np.ndarray) -> np.ndarray:
        """Turn grey images (N, H, W) uint8 into what the network was trained on, (N, 1, H, W).

        Raises:
            ValueError: images of another size.
        """
        if images.shape[1:] != tuple(self.image_size):
            height, width = self.image_size
            raise ValueError(
                f"{self.model} was trained on images of {height} x {width} pixels, got "
                f"{' x '.join(map(str, images.shape[1:]))}; resize them"
            )
        return Standardize(self.mean, self.std)(to_float(images))


def save_trained(folder: Path, model: Module, config: Config) -> None:
    """Write the weights and the configuration into `folder`."""
    save(model.state_dict(), folder / WEIGHTS)
    with replace_file(folder / CONFIG) as file:
        file.write(json.dumps(asdict(config), indent=2).encode() + b"\n")


def load_trained(path: str | os.PathLike) -> tuple[Module, Config]:
    """Read a network from a folder, or from a weights file with the configuration beside it.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged, or the weights are of another network.
    """
    path = Path(path)
    weights = path / WEIGHTS if path.is_dir() else path
    for needed in (path, weights, weights.with_name(CONFIG)):
        if not needed.exists():
            raise FileNotFoundError(
                f"{path}: expected the folder that `minicnn train --out` wrote, but {needed} does "
                f"not exist{_advice(path)}"
            )
    config = _read_config(weights.with_name(CONFIG))
    with without_drawing():  # the file has all numbers
        model = config.build()
    state = load(weights)
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error
    return model, config


def _advice(path: Path) -> str:
    """Say what else a file could be meant for."""
    if not path.is_file():
        return ""
    return "; for published weights name the network too, with --model"


def _read_config(path: Path) -> Config:
    """Read and check a configuration."""
    try:
        config = _config_from(json.loads(path.read_bytes()))
        height, width = config.image_size
        Standardize(config.mean, config.std)
        sound = (
            config.model in models.list_models()
            and all(isinstance(name, str) for name in config.class_names)
            and min(height, width, len(config.class_names)) > 0
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a configuration of a trained network: {error}") from error
    if not sound:
        raise ValueError(
            f"{path}: not a configuration of a trained network: expected a model out of "
            f"{', '.join(models.list_models())}, names of classes, and the size of images"
        )
    return config


def _config_from(entries: Any) -> Config:
    """Make a configuration of what a JSON file holds, whose names must be those of the attributes."""
    if not isinstance(entries, dict):
        raise TypeError(f"expected names and values in {{}}, got a {type(entries).__name__}")
    known = [entry.name for entry in fields(Config)]
    needed = {entry.name for entry in fields(Config) if entry.default_factory is MISSING}
    if not needed <= entries.keys() <= set(known):
        raise ValueError(
            f"expected the entries {', '.join(known)}, got {', '.join(entries) or 'none'}"
        )
    return Config(**entries)


def read_image_file(path: str | os.PathLike) -> np.ndarray:
    """Read one or several grey images from a file.

    Args:
        path: a NumPy file (.npy) or an IDX file (idx or ubyte in its name), (H, W) or (N, H, W),
            with whole numbers 0 to 255; or a picture (.png, and with Pillow also .jpg and others),
            whose colours are averaged.

    Returns:
        (N, H, W) uint8.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not hold images.
        ImportError: a picture, and matplotlib is missing.
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                images = np.lib.format.read_array(file, allow_pickle=False)
        elif "idx" in path.name or "ubyte" in path.name:
            images = read_idx(path)
        else:
            images = _read_picture(path)
    except (ValueError, EOFError, SyntaxError, OSError) as error:
        if (
            isinstance(error, OSError) and error.errno is not None
        ):  # such as a missing file: the system's own words say it
            raise
        raise ValueError(  # what the readers raise for damaged files, and for files of other kinds
            f"{path}: cannot be read as images: {error}; expected a picture (.png), a NumPy file "
            '(.npy) or an IDX file ("idx" or "ubyte" in its name)'
        ) from error
    if images.dtype != np.uint8 or images.ndim not in (2, 3):
        hint = "; convert it: (255 * images).astype('uint8')" if images.dtype.kind == "f" else ""
        raise ValueError(
            f"{path}: expected grey images (H, W) or (N, H, W) of uint8, 0 to 255, got "
            f"{images.dtype} of shape {images.shape}{hint}"
        )
    return images[None] if images.ndim == 2 else images


def _read_picture(path: Path) -> np.ndarray:
    """Read a picture as (H, W) uint8."""
    try:
        from matplotlib.image import imread
    except ImportError as error:
        raise ImportError(
            f"{path}: pictures are read with matplotlib, which cannot be imported ({error}); "
            "install it: pip install minicnn[plot]"
        ) from error
    pixels = imread(path)  # (H, W) or (H, W, channels); floats 0 to 1, or uint8
    if pixels.dtype != np.uint8:
        pixels = pixels * 255
    if pixels.ndim == 3:
        colours = min(pixels.shape[2], 3)  # without transparency
        pixels = pixels[:, :, :colours].mean(axis=2)
    return np.rint(pixels).astype(np.uint8)
