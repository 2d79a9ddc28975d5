"""Do two libraries compute the same? Errors of float32 results against PyTorch in float64."""

from collections.abc import Collection, Mapping

import numpy as np

TOLERANCE = 1e-4
"""Allowed distance of one operation's results from the float64 ones: the norm of the difference
divided by the norm of the result. Winograd's F(4,3) comes to 2e-5 at most."""

NETWORK_TOLERANCE = 2e-2
"""The same for outputs and gradients of whole networks. Rounding turns a few ReLUs and maxima of
pooling the other way, in either library, and deep networks carry that on: PyTorch's own gradients of
MobileNet are up to 0.13 away from its float64 ones. A wrong gradient is off by about 1."""


def relative_error(result: np.ndarray, reference: np.ndarray) -> float:
    """The norm of the difference / the norm of the reference, in float64; infinite where a shape differs."""
    if result.shape != reference.shape:
        return float("inf")
    difference = np.linalg.norm(result.astype(np.float64).ravel() - reference.ravel())
    norm = np.linalg.norm(reference.ravel())
    if norm == 0:
        return 0.0 if difference == 0 else float("inf")
    return float(difference / norm)


def worst(results: Mapping[str, np.ndarray], references: Mapping[str, np.ndarray]) -> float:
    """The largest error of all results, which must have the same names."""
    if results.keys() != references.keys():
        return float("inf")
    return max((relative_error(results[name], references[name]) for name in references), default=0)


def require(errors: Mapping[str, float], ours: Collection[str], tolerance: float, row: str) -> None:
    """Refuse to time what computes something else.

    Args:
        errors: of each mode.
        ours: the modes that are checked.
        tolerance: the largest error allowed, or else the largest that PyTorch itself makes.
        row: named in the message.

    Raises:
        ValueError: naming the row and the mode.
    """
    theirs = [error for mode, error in errors.items() if mode not in ours]
    allowed = max([tolerance, *theirs])
    for mode in ours:
        if not errors[mode] <= allowed:  # NaN is refused too
            raise ValueError(
                f"{row}: the results of {mode} are {errors[mode]:.2g} away from PyTorch's in float64, relative to "
                f"their norm; expected at most {allowed:.2g}"
            )
