"""Whether training notices that Winograd's algorithm rounds more: the same network, trained both ways."""

import numpy as np
import pytest

import minicnn
from minicnn import nn, optim
from minicnn.data.mnist import load_fashion_mnist_sample
from minicnn.kernels.convolution import choose_algorithm
from minicnn.nn import functional as F

pytest.importorskip("numba")

CHANNELS, SIZE, BATCH, STEPS = 32, 14, 32, 60
SEEDS = [0, 1, 2]


@pytest.fixture(scope="module")
def data():
    """Images (N, 1, 28, 28) and labels (N,): STEPS * BATCH to train with, 300 others."""
    sample = load_fashion_mnist_sample()
    images = np.concatenate([sample.train_images[: STEPS * BATCH], sample.test_images[:300]])
    labels = np.concatenate([sample.train_labels[: STEPS * BATCH], sample.test_labels[:300]])
    return (images[:, None] / np.float32(128) - 0.5).astype(np.float32), labels


def trained(data, seed, precision):
    """Train for one pass over the images; return the mean loss of the others, and the share that is right."""
    images, labels = data
    minicnn.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),  # (N, CHANNELS, SIZE, SIZE)
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(CHANNELS * 49, 10),
    )
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    with minicnn.precision(precision):
        for start in range(0, STEPS * BATCH, BATCH):
            batch = slice(start, start + BATCH)
            optimizer.zero_grad()
            F.cross_entropy(model(minicnn.tensor(images[batch])), labels[batch]).backward()
            optimizer.step()
        with minicnn.no_grad():
            scores = model.eval()(minicnn.tensor(images[STEPS * BATCH :]))
    rest = labels[STEPS * BATCH :]
    return F.cross_entropy(scores, rest).item(), (scores.numpy().argmax(1) == rest).mean()


def test_the_network_is_computed_both_ways():
    x, shape = np.zeros((BATCH, CHANNELS, SIZE, SIZE), np.float32), (CHANNELS, CHANNELS, 3, 3)
    ways = [
        choose_algorithm(function, x, x.shape, shape, padding=1, precision=precision)
        for function in ("conv2d", "conv2d_grad_input", "conv2d_grad_weight")
        for precision in ("fast", "exact")
    ]
    assert ways == ["winograd", "direct"] * 3


def test_rounding_matters_less_than_the_seed(data):
    fast, exact = (
        np.array([trained(data, seed, precision) for seed in SEEDS])
        for precision in ("fast", "exact")
    )  # (seeds, 2) each: loss, accuracy
    assert (exact[:, 1] > 0.5).all()
    rounding = abs(fast - exact).max(axis=0)
    between_seeds = exact.max(axis=0) - exact.min(axis=0)
    assert rounding[0] < between_seeds[0] / 2
    assert rounding[1] <= max(between_seeds[1], 0.01)
