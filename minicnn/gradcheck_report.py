"""What a gradient check found, in words, with the most likely mistake where it failed."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from minicnn.autograd import Tensor


@dataclass
class InputReport:
    """The findings about one input.

    Attributes:
        index: the position among the inputs.
        shape: its shape.
        dtype: the name of its dtype.
        unit: what was compared, "elements" or "directions".
        compared: how many of them.
        wrong: how many slopes disagree.
        skipped: how many lie at a kink, where there is no one slope to compare with.
        worst: where the difference is largest: the element's index, or the direction's number.
        analytic: what backward says there.
        numeric: what was measured there.
        error: the relative error there.
        hint: the most likely mistake; empty where there is none.
    """

    index: int
    shape: tuple[int, ...]
    dtype: str
    unit: str
    compared: int
    wrong: int
    skipped: int
    worst: tuple[int, ...] | int | None
    analytic: float
    numeric: float
    error: float
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong, and not everything was skipped."""
        return self.wrong == 0 and (self.compared == 0 or self.skipped < self.compared)

    def __str__(self) -> str:
        text = f"input {self.index} {self.shape} {self.dtype}: "
        kinks = f", {self.skipped} at a kink skipped" if self.skipped else ""
        if self.compared == 0:
            return text + "empty, nothing to compare"
        if self.passed:
            return text + f"{self.compared} {self.unit}, all right{kinks}"
        if not self.wrong:
            return (
                text
                + f"every one of {self.compared} {self.unit} lies at a kink; choose other points"
            )
        lines = [
            text + f"{self.wrong} of {self.compared} {self.unit} wrong{kinks}",
            f"  worst at {self.unit[:-1]} {self.worst}: expected {self.numeric:.6g} (measured), "
            f"got {self.analytic:.6g} (backward), relative error {self.error:.2g}",
        ]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


@dataclass
class GradcheckReport:
    """The findings about a function; true where the check passed.

    Attributes:
        function: the function's name.
        problems: promises that were broken; where there are any, no slopes were compared.
        inputs: one report for each input that requires a gradient.
    """

    function: str
    problems: list[str] = field(default_factory=list)
    inputs: list[InputReport] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether there is nothing to object to."""
        return not self.problems and all(report.passed for report in self.inputs)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        head = f"gradcheck of {self.function}: {'passed' if self.passed else 'FAILED'}"
        lines = [*self.problems, *(line for r in self.inputs for line in str(r).splitlines())]
        return "\n".join([head, *("  " + line for line in lines)])


class GradcheckError(AssertionError):
    """A gradient check failed; `.report` holds the findings."""

    def __init__(self, report: GradcheckReport):
        super().__init__(str(report))
        self.report = report


def explain(
    index: int,
    tensor: Tensor,
    analytic: np.ndarray,
    numeric: np.ndarray,
    wrong: np.ndarray,
    skipped: np.ndarray,
    directions: int | None,
) -> InputReport:
    """Sum up the comparison of one input.

    Args:
        index: the input's position.
        tensor: the input.
        analytic: the slopes according to backward; one for each element or direction.
        numeric: the measured slopes.
        wrong: where the two disagree.
        skipped: where they disagree at a kink.
        directions: the number of directions, or None where elements were compared.
    """
    differences = np.where(skipped, -1, np.nan_to_num(np.abs(analytic - numeric), nan=np.inf))
    worst, place, error = 0, None, 0.0
    if differences.size:
        worst = int(differences.argmax())
        place = tuple(int(i) for i in np.unravel_index(worst, tensor.shape))
        place = place if directions is None else worst
        got, expected = float(analytic[worst]), float(numeric[worst])  # either may be infinite
        largest = max(abs(got), abs(expected), np.finfo(np.float64).tiny)
        error = float(abs(got - expected) / largest)
    return InputReport(
        index=index,
        shape=tensor.shape,
        dtype=tensor.dtype.name,
        unit="elements" if directions is None else "directions",
        compared=differences.size,
        wrong=int(wrong.sum()),
        skipped=int(skipped.sum()),
        worst=place,
        analytic=float(analytic[worst]) if differences.size else 0.0,
        numeric=float(numeric[worst]) if differences.size else 0.0,
        error=error,
        hint=_hint(tensor, analytic, numeric, wrong, directions is None) if wrong.any() else "",
    )


def _hint(
    tensor: Tensor, analytic: np.ndarray, numeric: np.ndarray, wrong: np.ndarray, elements: bool
) -> str:
    """Guess the mistake from the pattern of the wrong slopes."""
    if not np.isfinite(analytic).all():
        return "the gradient holds NaN or infinity: a division by 0, or the logarithm of 0?"
    if not np.isfinite(numeric).all():
        return "a step away from these points the function is not finite; choose a smaller eps"
    got, expected = analytic[wrong], numeric[wrong]
    if not analytic.any():
        return "the gradient is zero everywhere: did backward return None, or detach cut the graph?"
    close = _closeness(numeric)
    if close(expected, 0):
        return "the function does not depend on these elements, but backward says that it does"
    if close(got, 0):
        return "the gradient is zero at the wrong elements: backward does not reach them"
    factor = _common_factor(got, expected)
    if factor is not None:
        return _about_factor(factor, tensor)
    if elements and _is_transposed(analytic, numeric, tensor.shape, close):
        return "this is the transpose of the gradient"
    if elements and close(np.sort(analytic), np.sort(numeric)):
        return "the right values at the wrong places: flipped, shifted or permuted"
    if wrong.sum() < wrong.size / 2:
        return (
            "most are right: look at borders, at ties, and at elements that are used several times "
            "(their gradients must be added, not assigned)"
        )
    return ""


def _closeness(numeric: np.ndarray) -> Callable[[np.ndarray, np.ndarray | float], bool]:
    """Return a comparison that forgives a thousandth of the largest slope."""
    tolerance = 1e-3 * np.abs(numeric).max()
    return lambda a, b: bool(np.all(np.abs(a - b) <= tolerance))


def _common_factor(got: np.ndarray, expected: np.ndarray) -> float | None:
    """Return the number that `expected` must be multiplied by to make `got`, if there is one."""
    factor = float((got * expected).sum() / (expected * expected).sum())
    fits = np.abs(got - factor * expected) <= 1e-3 * np.abs(got).max()
    return factor if fits.all() else None


def _about_factor(factor: float, tensor: Tensor) -> str:
    """Say where a constant factor may come from."""
    causes = {
        2: "the gradient is counted twice",
        0.5: "a factor of 2 is missing, or one of two paths to this input",
        -1: "the sign is flipped",
    }
    n = tensor.numel()
    if n > 2:
        causes |= {
            n: f"the division by the {n} elements is missing",
            1 / n: f"divided by {n} once too often",
        }
    for value, cause in causes.items():
        if abs(factor / value - 1) < 2e-3:
            return f"every wrong gradient is {value:.4g} times what it should be: {cause}"
    return f"every wrong gradient is {factor:.4g} times what it should be: a constant is off"


def _is_transposed(
    analytic: np.ndarray, numeric: np.ndarray, shape: tuple[int, ...], close: Callable
) -> bool:
    """Whether the gradient of a square matrix came out transposed."""
    if len(shape) != 2 or shape[0] != shape[1]:
        return False
    return close(analytic.reshape(shape).T, numeric.reshape(shape))
