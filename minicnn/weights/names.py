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

    Args:
        arrays: names and arrays of the file.
        own: the network's names.
        prefix: what all names in the file begin with, and is to be removed.
        path: of the file, for messages.

    Raises:
        ValueError: for a name without the prefix.
    """
    for name in arrays:
        if not name.startswith(prefix):
            raise ValueError(
                f"{os.fspath(path)}: expected names that begin with {prefix!r}, got {name!r}"
            )
    return {_today(name.removeprefix(prefix), own): array for name, array in arrays.items()}


def _today(name: str, own: Container[str]) -> str:
    """Return the present name of a weight, if that is one of the network's and `name` is not."""
    changed = DENSENET.sub(r"\1\2.", name)
    return changed if name not in own and changed in own else name
