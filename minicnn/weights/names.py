"""Names that have changed since weights were published, and beginnings that do not belong to them."""

import os
import re
from collections.abc import Container, Mapping

import numpy as np

DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
"""The weights of torchvision's DenseNets are older than its names: norm.1 is norm1 by now."""


def fit_names(
    arrays: Mapping[str, np.ndarray], own: Container[str], prefix: str, path: str | os.PathLike
) -> dict[str, np.ndarray]:
    """Return the arrays of a file under the names that a network has for them, where these are known.

    No name begins with a dot, so a prefix that leaves one before every name is meant with the dot.

    Args:
        arrays: names and arrays of the file.
        own: the network's names.
        prefix: what all names in the file begin with, and is to be removed.
        path: of the file, for messages.

    Raises:
        ValueError: for a name without the prefix; if an old and a new name mean the same weight.
    """
    if prefix and all(name.startswith(f"{prefix}.") for name in arrays):
        prefix += "."
    for name in arrays:
        if not name.startswith(prefix):
            raise ValueError(
                f"{os.fspath(path)}: expected names that begin with {prefix!r}, got {name!r}"
            )
    fitted: dict[str, np.ndarray] = {}
    taken_from: dict[str, str] = {}
    for name, array in arrays.items():
        today = _today(name.removeprefix(prefix), own)
        if today in fitted:
            raise ValueError(
                f"{os.fspath(path)}: {taken_from[today]!r} and {name!r} are an old and a new name of "
                f"the same weight, {today!r}; remove one of them from the file"
            )
        fitted[today], taken_from[today] = array, name
    return fitted


def _today(name: str, own: Container[str]) -> str:
    """Return the present name of a weight, if that is one of the network's and `name` is not."""
    changed = DENSENET.sub(r"\1\2.", name)
    return changed if name not in own and changed in own else name
