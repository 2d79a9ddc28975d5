"""Do two libraries compute the same? Errors of float32 results against PyTorch in float64."""

from collections.abc import Mapping

import numpy as np

from minicnn.captured import CapturedStep

TOLERANCE = 1e-4
"""Allowed distance of one operation's results from the float64 ones: the norm of the difference
divided by the norm of the result. Winograd's F(4,3) comes to 2e-5 at most."""

INFERENCE_TOLERANCE = 1e-4
"""The same for the outputs of whole networks less their mean over the images, the part that tells images apart.
Rounding comes to 2e-5 of it at most, Winograd's and PyTorch's own included: most of the outputs is the
same for all images, and is rounded too. A network in which a convolution gives zeros is off by 0.1 to 1."""

ONE_KINK = 5e-3
"""What a gradient may change where rounding turns one ReLU, or one maximum of pooling, the other way."""

STEP_TOLERANCE = {
    "mlp": 1e-4,  # 20,000 ReLUs: none of them is that close to zero
    "first_cnn": ONE_KINK,
    "lenet5": ONE_KINK,
    "lenet5_sigmoid": 1e-4,  # smooth: nothing but rounding
    "vgg_like": ONE_KINK,
    "resnet18": ONE_KINK,
    "mobilenet": 5e-2,  # one ReLU of the 392 in a channel changes the gradient of its BatchNorm by 3e-2
    "vgg11": 2e-2,  # 30 million ReLUs without BatchNorm, whose shift keeps the others away from zero
}
"""The same for the loss and for what one step of training changes, the worst of all parameters, by network.
Without kinks the error is 1e-6 to 1e-5. A gradient that is wrong is off by about 1, of one channel in 100 by 0.1."""


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


def require(errors: Mapping[str, float], tolerance: float, row: str) -> None:
    """Refuse to time what computes something else.

    Args:
        errors: of each mode that is checked.
        tolerance: the largest error allowed.
        row: named in the message.

    Raises:
        ValueError: naming the row and the mode.
    """
    for mode, error in errors.items():
        if not error <= tolerance:  # NaN is refused too
            raise ValueError(
                f"{row}: the results of {mode} are {error:.2g} away from PyTorch's in float64, relative to "
                f"their norm; expected at most {tolerance:.2g}"
            )


def require_recorded(row: str, recordings: Mapping[str, CapturedStep | None]) -> None:
    """Refuse to time as captured what runs as usual.

    Args:
        row: named in the message.
        recordings: what must be recorded, of each mode; None where nothing is captured.

    Raises:
        ValueError: naming the row and the mode, and why there is no recording.
    """
    for mode, recording in recordings.items():
        if recording is not None and not recording.is_recorded:
            reason = recording.problem or "it has not been recorded since it changed"
            raise ValueError(f"{row}: {mode} does not run from a recording: {reason}")
