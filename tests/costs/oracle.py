"""Receptive fields by experiment: which pixels make an output position light up."""

import numpy as np

from minicnn import Tensor, nn, no_grad


def box_seen(model: nn.Module, shape: tuple[int, int, int], position: tuple[int, int]):
    """Return (first row, last row, first column, last column) of the pixels that reach `position` of the output.

    With positive weights and no biases, an output is positive if and only if some pixel in its
    receptive field is. So each pixel in turn is the only one that is not 0.

    Args:
        model: maps images to (N, K, OH, OW), or (N, K), whose only position is (0, 0).
        shape: (C, H, W).
        position: row and column of the output.
    """
    C, H, W = shape
    for parameter in model.parameters():
        parameter.array[...] = 0 if parameter.ndim == 1 else 1
    pixels = np.repeat(np.eye(H * W, dtype=np.float32).reshape(H * W, 1, H, W), C, axis=1)
    with no_grad():
        output = model.eval()(Tensor(pixels)).array
    lit = output.reshape(*output.shape[:2], *(output.shape[2:] or (1, 1)))[:, :, *position] > 0
    rows, columns = np.nonzero(lit.any(axis=1).reshape(H, W))
    return rows.min(), rows.max(), columns.min(), columns.max()


def box_computed(field, shape: tuple[int, int, int], position: tuple[int, int]):
    """The same from a computed field: what lies in the padding is cut off."""
    box = []
    for extent, place, size in zip(field, position, shape[1:], strict=True):
        shift = place * extent.jump
        box += [max(extent.first + shift, 0), min(extent.last + shift, size - 1)]
    return tuple(box)
