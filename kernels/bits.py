"""Numbers as bits: whether two computations gave the same ones, and other numbers to try computations with."""

import hashlib

import numpy as np

from .arrays import Array, in_memory_order


def change(array: np.ndarray) -> None:
    """Make other numbers of floating-point numbers, of the same order of magnitude."""
    array *= 0.5
    array += 0.125  # zeros too
    if array.ndim:  # one half once more, for functions that scaling does not change
        array[: len(array) // 2] *= 0.5


def garble(array: np.ndarray) -> None:
    """Overwrite numbers with such as hardly any function computes."""
    if array.dtype.kind in "biu":
        np.invert(array, out=array)
    else:
        array.fill(np.nan)


def digest(array: Array, like: Array | None = None) -> bytes:
    """Return a digest of shape, dtype and numbers, read in the memory order of `like`, so that nothing is copied."""
    order = in_memory_order(array if like is None or like.ndim != array.ndim else like)[1]
    found = hashlib.sha1(np.ascontiguousarray(array.transpose(order)), usedforsecurity=False)
    found.update(repr((array.shape, array.dtype)).encode())
    return found.digest()


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays hold the same bits, NaN included."""
    return a.shape == b.shape and a.dtype == b.dtype and bool((bits_of(a) == bits_of(b)).all())


def bits_of(array: np.ndarray) -> np.ndarray:
    """View numbers as unsigned integers with the same bits."""
    return array.view(f"u{array.dtype.itemsize}")
