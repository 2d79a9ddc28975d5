"""Scores, labels and weights, and what the loss makes of them, for the tests of all implementations."""

import numpy as np

from tests.checks import normal

IGNORE = -100
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


def case(rows, C, dtype="float64"):
    """Return scores, labels with some ignored, and weights, one of them 0."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, C, rows)
    labels[::5] = IGNORE
    weights = rng.uniform(0.5, 2, C).astype(dtype)
    weights[0] = 0
    return 3 * normal(rows, C, dtype=dtype), labels, weights


def truth_of(labels, weights, smoothing):
    """Return t (rows, C) of the equations."""
    C = len(weights)
    truth = weights * ((1 - smoothing) * np.eye(C)[labels % C] + smoothing / C)
    return np.where(labels[:, None] == IGNORE, 0, truth)


def softmax(x):
    powers = np.exp(x.astype(np.float64))
    return powers / powers.sum(1, keepdims=True)
