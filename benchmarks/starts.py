"""What all contestants begin with: weights with which every layer counts, and images.

Fresh weights would let a comparison of outputs pass that shows nothing. Each layer of a deep network scales
its numbers down, and running statistics that no batch has touched do not scale them up again: what comes out
of a fresh MobileNet in eval mode is the bias of its last layer, whatever its convolutions compute. So weights are
drawn such that numbers keep their size from layer to layer, and running statistics are those of a batch.

Images are patches of several sizes upon noise. Of noise alone, the average over an image is the same for all, and so
would be what a network with global average pooling makes of them.
"""

import functools
from typing import Any

import numpy as np
import torch
from libraries import Mode
from networks import NETWORKS, Network

CALIBRATION_IMAGES = 4

SHIFT = 2.0
"""Of BatchNorm, in standard deviations. Rounding turns a few ReLUs the other way, which changes gradients
by far more than rounding itself. Shifted, one number in 44 is below zero, and there are fewer close to it."""

PATCHES = (2, 4, 7)
"""Patches to each side of an image."""


@functools.lru_cache(maxsize=1)
def weights_of(name: str) -> dict[str, np.ndarray]:
    """Return the weights that the network of this name starts with in every mode, and its running statistics."""
    torch.manual_seed(0)
    network = NETWORKS[name]
    model = network.build(torch.nn)
    with torch.no_grad():
        for part in model.modules():
            prepare(part)
        model(torch.from_numpy(random_batch(network, CALIBRATION_IMAGES, seed=1)[0]))
    return {key: tensor.numpy() for key, tensor in model.state_dict().items()}


def prepare(part: torch.nn.Module) -> None:
    """Draw weights after He et al. (arXiv 1502.01852); let BatchNorm note what the next batch has, and shift it."""
    if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
        torch.nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    if isinstance(part, torch.nn.BatchNorm2d):
        part.momentum = None  # the average over all batches, of which there is one
        torch.nn.init.constant_(part.bias, SHIFT)


def network_in(mode: Mode, name: str) -> Any:
    """Return the network in a mode, with those weights."""
    model = mode.module(NETWORKS[name].build)
    weights = weights_of(name)
    if not mode.ours:
        weights = {key: torch.from_numpy(array) for key, array in weights.items()}
    model.load_state_dict(weights)
    return model


def random_batch(network: Network, batch: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, C, H, W) float32, of mean 0 and variance 1, and labels (N,) int64."""
    rng = np.random.default_rng(seed)
    C, H, W = network.image
    images = rng.standard_normal((batch, C, H, W), dtype=np.float32)
    for count in PATCHES:
        patches = rng.standard_normal((batch, C, count, count), dtype=np.float32)
        rows, columns = np.arange(H) * count // H, np.arange(W) * count // W  # (H,), (W,)
        images += patches[:, :, rows[:, None], columns]  # (N, C, H, W)
    images /= np.float32((1 + len(PATCHES)) ** 0.5)
    return images, rng.integers(0, network.classes, batch)
