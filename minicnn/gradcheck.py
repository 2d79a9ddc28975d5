"""Check gradients: compare what `backward` computes with slopes measured on the function itself.

Let y = f(x) and let c be a random array of y's shape. The scalar L(x) = sum(c * f(x)) has the
gradient that `y.backward(c)` leaves in `x.grad`. Along any direction u its slope can be measured by
walking a small step h both ways (the central difference, exact but for terms in h^2):

    (L(x + h u) - L(x - h u)) / (2 h)   should equal   sum(x.grad * u)

Small inputs are checked completely: u is one element at a time. Large ones are checked along a few
random directions: if the gradient is wrong by e, a standard normal u sees sum(e * u), which is
normal with standard deviation |e|. The chance that it comes out below t |e| is less than 0.8 t, so
a wrong gradient slips through k directions with a probability of less than (0.8 t)^k.

c is random, never ones: the outputs of a softmax or of a normalisation sum to a constant, so with
ones the true gradient is 0 and a wrong backward may well pass.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from minicnn.autograd import Tensor, no_grad
from minicnn.autograd.tape import topological_order
from minicnn.backend import Array, is_array, to_device
from minicnn.gradcheck_report import GradcheckError, GradcheckReport, InputReport, explain

__all__ = ["GradcheckError", "GradcheckReport", "away_from_kinks", "distinct", "gradcheck"]

COMPLETE_UP_TO = 1000
"""Inputs with more elements than this, in all, are checked along random directions."""

DEFAULT_DIRECTIONS = 10

STREAM = 0x67726164
"""Goes into the seed, so that `manual_seed(0)` and `seed=0` do not draw the same numbers: inputs
equal to the cotangent would hide a transposed gradient."""


@dataclass
class Precision:
    """The step, and how far a measured slope may be from the computed one, for a dtype."""

    eps: float
    rtol: float
    atol: float

    def allowed(self, measured: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Return the tolerance for a slope, given the length of the gradient that it belongs to."""
        return self.atol + self.rtol * np.maximum(np.abs(measured), length)


# A central difference errs by about h^2 from the curve and by machine epsilon / h from rounding;
# the sum is smallest near h = epsilon^(1/3).
PRECISIONS = {
    "float64": Precision(eps=6e-6, rtol=1e-5, atol=1e-7),
    "float32": Precision(eps=5e-3, rtol=2e-2, atol=2e-3),
    "float16": Precision(eps=6e-2, rtol=2e-1, atol=5e-2),
}


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Tensor | Sequence[Tensor],
    *,
    eps: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    directions: int | None = None,
    seed: int = 0,
    raise_exception: bool = True,
) -> GradcheckReport:
    """Compare the gradients of `function` at `inputs` with measured slopes.

    >>> x = minicnn.randn(3, 4, dtype="float64", requires_grad=True)
    >>> print(gradcheck(minicnn.Tensor.tanh, x))
    gradcheck of tanh: passed
      input 0 (3, 4) float64: 12 elements, all right

    Use float64: in float32, rounding hides errors below some percent. A point where the slopes to
    the left and to the right differ (a kink, such as relu at 0) by enough to explain the difference
    proves nothing: it is counted as skipped. `away_from_kinks` and `distinct` draw safe points.

    Args:
        function: takes the tensors of `inputs` and returns one tensor. It may also use them through
            an object (the parameters of a layer), since they are changed in place of the originals.
        inputs: a tensor, or several; those that require no gradient are held constant.
        eps: the step h; None chooses by dtype (6e-6 for float64, 5e-3 for float32). Where rounding
            would drown the slope, an element x > 1 moves by h |x|.
        rtol: allowed difference as a fraction of the slope (1e-5 for float64, 2e-2 for float32).
        atol: allowed difference in addition (1e-7 for float64, 2e-3 for float32), beside rounding.
        directions: check along this many random directions; None checks all elements where there
            are at most 1000, else 10 directions.
        seed: of the random cotangent and directions.
        raise_exception: raise where the check fails; otherwise look at the report's truth.

    Returns:
        A report, true where the check passed; `print` shows it. Beside the values it holds the
        framework's promises: inputs and the incoming gradient unchanged, each gradient in its
        input's dtype and shape and in memory of its own, and the same result from the same inputs.

    Raises:
        GradcheckError: where the check fails; the message is the report.
        TypeError: where the function does not return a tensor.
        ValueError: for inputs that are no leaves, occur twice, or of which none requires a
            gradient.
    """
    tensors = [inputs] if isinstance(inputs, Tensor) or is_array(inputs) else list(inputs)
    checked = _checked_inputs(tensors)
    run = _Run(function, tensors, np.random.default_rng((seed, STREAM)))
    report = GradcheckReport(getattr(function, "__name__", type(function).__name__))
    report.problems += run.differentiate(checked)
    total = sum(tensor.numel() for _, tensor in checked)
    if directions is None and total > COMPLETE_UP_TO:
        directions = DEFAULT_DIRECTIONS
    if not report.problems:
        for index, tensor in checked:
            known = PRECISIONS.get(tensor.dtype.name, PRECISIONS["float64"])
            precision = Precision(
                known.eps if eps is None else eps,
                known.rtol if rtol is None else rtol,
                known.atol if atol is None else atol,
            )
            report.inputs.append(run.compare(index, tensor, precision, directions))
    if raise_exception and not report:
        raise GradcheckError(report)
    return report


def _checked_inputs(tensors: list[Tensor]) -> list[tuple[int, Tensor]]:
    """Return the inputs to differentiate by, with their positions."""
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"gradcheck: input {i} must be a tensor, got {type(tensor).__name__}; write minicnn.tensor("
                "array, requires_grad=True), or give the function its other arguments through a lambda"
            )
        if not tensor.is_leaf:
            raise ValueError(
                f"gradcheck: input {i} of shape {tensor.shape} is a result of {tensor.grad_fn.name}; "
                "pass tensors that you made, for instance x.detach().requires_grad_()"
            )
        if any(tensor is earlier for earlier in tensors[:i]):
            raise ValueError(
                f"gradcheck: input {i} was given before; pass a tensor once, and use it twice in the "
                "function"
            )
    checked = [(i, tensor) for i, tensor in enumerate(tensors) if tensor.requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck: no input requires a gradient; make one with requires_grad=True"
        )
    return checked


@dataclass
class _Run:
    """One check: the function, its inputs, and what was found at them."""

    function: Callable[..., Tensor]
    tensors: list[Tensor]
    rng: np.random.Generator
    gradients: dict[int, np.ndarray] = field(default_factory=dict)
    output: np.ndarray | None = None
    cotangent: np.ndarray | None = None

    def value(self) -> Tensor:
        """Call the function."""
        result = self.function(*self.tensors)
        if not isinstance(result, Tensor):
            raise TypeError(
                f"gradcheck: the function must return one tensor, got {type(result).__name__}; "
                "choose one of several outputs with a lambda"
            )
        return result

    def differentiate(self, checked: list[tuple[int, Tensor]]) -> list[str]:
        """Compute the output and the gradients; return the promises that were broken on the way."""
        before = [_host(tensor.array).copy() for tensor in self.tensors]
        output = self.value()
        self.output = _host(output.array).astype(np.float64)
        if not output.requires_grad:
            return ["the output depends on no input that requires a gradient"]
        with no_grad():
            again = _host(self.value().array)
        if not _same_bits(_host(output.array), again):
            return [
                "the function is not deterministic: called twice on the same inputs, it gave two "
                "results (random numbers, as in dropout, must be the same in every call)"
            ]
        if not np.isfinite(self.output).all():
            return [
                "the output is not finite (NaN or infinity), so it has no slopes; choose other inputs"
            ]

        self.cotangent = self.rng.standard_normal(output.shape).astype(output.dtype)
        sent = to_device(self.cotangent.copy(), output.device)
        gradients, dtypes = _backward(output, sent, checked)

        problems = []
        if not _same_bits(_host(sent), self.cotangent):
            problems.append("backward changed the gradient that it was given")
        for i, (tensor, old) in enumerate(zip(self.tensors, before, strict=True)):
            if not _same_bits(_host(tensor.array), old):
                problems.append(f"the function or its backward changed input {i} in place")
        for (index, tensor), gradient in zip(checked, gradients, strict=True):
            problems += _promises(index, tensor, gradient, dtypes.get(id(tensor)))
            self.gradients[index] = _host(
                np.zeros(tensor.shape) if gradient is None else gradient
            ).astype(np.float64)
        problems += _aliases(checked, gradients, self.tensors, sent)
        return problems

    @np.errstate(all="ignore")  # a step may leave the function's domain: that is for the report
    def compare(
        self, index: int, tensor: Tensor, precision: Precision, directions: int | None
    ) -> InputReport:
        """Compare computed with measured slopes of one input."""
        gradient, start = self.gradients[index], tensor.array
        many = directions if directions and tensor.numel() else tensor.numel()
        found = np.zeros((many, 5))
        size = np.abs(_host(start)).astype(np.float64)
        grain = 16 * np.finfo(tensor.dtype).eps * size  # shorter steps would be rounded away
        scales = np.maximum(1, grain / precision.eps), np.maximum(1, size)
        try:
            for k in range(many):
                u = self._direction(k, start.shape, directions is None)
                for scale in scales:  # longer steps only where rounding would drown the slope
                    found[k] = self._slopes(tensor, start, gradient, u, precision.eps * scale * u)
                    _, measured, _, length, rounding = found[k]
                    if rounding <= precision.allowed(measured, length):
                        break
        finally:
            _replace(tensor, start)
        computed, measured, gaps, lengths, rounding = found.T
        allowed = precision.allowed(measured, lengths) + rounding
        difference = np.abs(computed - measured)
        wrong = ~(difference <= allowed) | ~np.isfinite(measured)  # true for NaN as well
        skipped = wrong & (difference + 4 * rounding < gaps)  # a gap that is more than rounding
        return explain(index, tensor, computed, measured, wrong & ~skipped, skipped, directions)

    def _direction(self, k: int, shape: tuple[int, ...], one_element: bool) -> np.ndarray:
        """Return the k-th element's direction, or a random one."""
        if not one_element:
            return self.rng.standard_normal(shape)
        u = np.zeros(shape)
        u[np.unravel_index(k, shape)] = 1
        return u

    def _slopes(
        self, tensor: Tensor, start: Array, gradient: np.ndarray, u: np.ndarray, step: np.ndarray
    ) -> tuple[float, float, float, float, float]:
        """Return five numbers about the direction of `step`, whose length is h |u|.

        The computed slope, the measured one, how far the slopes before and behind the point are
        apart, the length of the weighted gradient, against which an error is judged, and what
        rounding may add to the measured slope.
        """
        x, h = _host(start), float(np.linalg.norm(step) / np.linalg.norm(u))
        ahead, behind = (x + step).astype(x.dtype), (x - step).astype(x.dtype)
        walked = (ahead.astype(np.float64) - behind) / (2 * h)  # as far as the dtype holds it
        up, rounding = self._change(tensor, to_device(ahead, tensor.device))
        down, _ = self._change(tensor, to_device(behind, tensor.device))
        return (
            float((gradient * walked).sum()),
            (up - down) / (2 * h),
            abs(up + down) / h,
            float(np.sqrt(((gradient * walked) ** 2).sum())),
            rounding / h,
        )

    def _change(self, tensor: Tensor, array: Array) -> tuple[float, float]:
        """Return by how much L grows when `tensor` holds `array`, and how much of it may be rounding."""
        _replace(tensor, array)
        with no_grad():
            output = _host(self.value().array)
        c = self.cotangent.astype(np.float64)
        rounding = 4 * np.finfo(output.dtype).eps * np.linalg.norm(c * output)  # sums round often
        return float((c * (output - self.output)).sum()), float(rounding)


def _backward(
    output: Tensor, cotangent: Array, checked: list[tuple[int, Tensor]]
) -> tuple[list[Array | None], dict[int, np.dtype]]:
    """Return the gradients of `checked`, and the dtypes in which backward delivered them.

    The `.grad` of every tensor involved is put back afterwards.
    """
    targets = [node.target() for node in topological_order(output.node) if node.target is not None]
    involved = {id(tensor): tensor for _, tensor in checked}
    involved |= {id(tensor): tensor for tensor in targets if tensor is not None}
    kept = [(tensor, tensor.grad) for tensor in involved.values()]
    dtypes: dict[int, np.dtype] = {}
    hooks = [_note_dtype(tensor, dtypes) for _, tensor in checked]
    try:
        for tensor, _ in kept:
            tensor.grad = None
        output.backward(Tensor(cotangent))
        gradients = [None if tensor.grad is None else tensor.grad.array for _, tensor in checked]
    finally:
        for tensor, gradient in kept:
            tensor.grad = gradient
        for hook in hooks:
            hook.remove()
    return gradients, dtypes


def _note_dtype(tensor: Tensor, dtypes: dict[int, np.dtype]):
    """Write down the dtype of the gradient that reaches `tensor`, before `.grad` converts it."""

    def note(gradient: Tensor) -> None:
        dtypes[id(tensor)] = gradient.dtype

    return tensor.register_hook(note)


def _promises(
    index: int, tensor: Tensor, gradient: Array | None, dtype: np.dtype | None
) -> list[str]:
    """Return what is wrong with the form of one gradient."""
    if gradient is None:
        return []
    problems = []
    if gradient.shape != tensor.shape:
        problems.append(
            f"the gradient of input {index} has shape {gradient.shape}, the input {tensor.shape}"
        )
    if dtype is not None and dtype != tensor.dtype:
        problems.append(
            f"the gradient of input {index} is {dtype}, the input is {tensor.dtype}: somewhere a "
            "NumPy scalar or an array of another dtype changes it (np.sqrt(2) is a float64)"
        )
    return problems


def _aliases(
    checked: list[tuple[int, Tensor]],
    gradients: list[Array | None],
    tensors: list[Tensor],
    cotangent: Array,
) -> list[str]:
    """Return which gradients lie in the memory of something else."""
    places = [(f"input {i}", tensor.array) for i, tensor in enumerate(tensors)]
    places.append(("the incoming gradient", cotangent))
    mine = [
        (f"the gradient of input {index}", gradient)
        for (index, _), gradient in zip(checked, gradients, strict=True)
        if gradient is not None
    ]
    pairs = [*itertools.product(mine, places), *itertools.combinations(mine, 2)]
    return [
        f"{a_name} shares memory with {b_name}; writing to one would change the other"
        for (a_name, a), (b_name, b) in pairs
        if np.may_share_memory(_host(a), _host(b))
    ]


def _replace(tensor: Tensor, array: Array) -> None:
    """Let `tensor` hold `array`, and tell those who remember its values."""
    tensor.array = array
    tensor.bump_version()


def _host(array: Array) -> np.ndarray:
    """Return `array` in main memory."""
    return np.asarray(to_device(array, "cpu"))


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal, NaN counting as equal to NaN."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def away_from_kinks(
    array: np.ndarray, kinks: Sequence[float] = (0.0,), gap: float = 0.1
) -> np.ndarray:
    """Return a copy of `array` in which no element is nearer than `gap` to one of `kinks`.

    Elements that are too near move to a distance of `gap`, on their side. The kinks should be more
    than 2 `gap` apart: (0,) for relu, (-1, 1) for a clamp to [-1, 1].
    """
    moved = np.array(array)
    for kink in kinks:
        distance = moved - kink
        near = np.abs(distance) < gap
        moved[near] = (kink + np.where(distance < 0, -gap, gap)[near]).astype(moved.dtype)
    return moved


def distinct(array: np.ndarray, gap: float = 0.1) -> np.ndarray:
    """Return values `gap` apart and centred on 0, in the order of the elements of `array`.

    For max, min, median, sorting and pooling, which have a kink where two elements are equal.
    """
    array = np.asarray(array)
    ranks = np.empty(array.size)
    ranks[np.argsort(array, axis=None, kind="stable")] = np.arange(array.size)
    return ((ranks - (array.size - 1) / 2) * gap).reshape(array.shape).astype(array.dtype)
