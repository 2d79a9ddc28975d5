"""The Tensor's in-place changes: operators such as +=, assignment to a part, and methods that end in _.

A tensor on the tape is a value, like a Python number: `y += x` gives the name y to a new tensor.
Outside the tape (parameters under no_grad, plain data) the array itself changes, and the version
that the tape compares is counted up.
"""

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import random
from minicnn.autograd import modes
from minicnn.autograd.arithmetic import operands, unwrap_index, unwrapped
from minicnn.backend import Array, check_one_device, is_array, to_device
from minicnn.kernels import capture

if TYPE_CHECKING:
    from minicnn.autograd.core import Tensor


class InPlace:
    """In-place changes; `Tensor` supplies `array`, `bump_version` and the rest."""

    __slots__ = ()

    def __iadd__(self, other: Any) -> "Tensor":
        return self + other if self._is_a_value(other) else self._update(np.add, other)

    def __isub__(self, other: Any) -> "Tensor":
        return self - other if self._is_a_value(other) else self._update(np.subtract, other)

    def __imul__(self, other: Any) -> "Tensor":
        return self * other if self._is_a_value(other) else self._update(np.multiply, other)

    def __itruediv__(self, other: Any) -> "Tensor":
        return self / other if self._is_a_value(other) else self._update(np.true_divide, other)

    def __setitem__(self, index: Any, value: Any) -> None:
        if modes.is_grad_enabled() and (
            self.requires_grad or getattr(value, "requires_grad", False)
        ):
            raise RuntimeError(
                "x[...] = value: no gradient flows through an assignment (shape "
                f"{self.shape}); use where() or cat(), or assign inside no_grad()"
            )
        value = self._values(value)
        if is_array(value):
            check_one_device("x[...] = value", x=self.array, value=value)
        capture.do(operator.setitem, self.array, unwrap_index(index, self.array), value)
        self.bump_version()

    def zero_(self) -> "Tensor":
        """Set every element to 0."""
        return self.fill_(0)

    def fill_(self, value: float) -> "Tensor":
        """Set every element to `value`."""
        self._refuse_on_tape("fill_")
        capture.do(operator.setitem, self.array, ..., value)
        self.bump_version()
        return self

    def copy_(self, source: Any) -> "Tensor":
        """Copy the values of `source`, which broadcasts to this shape."""
        self._refuse_on_tape("copy_")
        source = self._values(source)
        source = to_device(source, self.device) if is_array(source) else source
        capture.do(operator.setitem, self.array, ..., source)
        self.bump_version()
        return self

    def add_(self, other: Any, alpha: float = 1) -> "Tensor":
        """Add `alpha * other` in place."""
        self._refuse_on_tape("add_")
        return self._update(np.add, other if alpha == 1 else alpha * other)

    def sub_(self, other: Any, alpha: float = 1) -> "Tensor":
        """Subtract `alpha * other` in place."""
        self._refuse_on_tape("sub_")
        return self._update(np.subtract, other if alpha == 1 else alpha * other)

    def mul_(self, other: Any) -> "Tensor":
        """Multiply by `other` in place."""
        self._refuse_on_tape("mul_")
        return self._update(np.multiply, other)

    def div_(self, other: Any) -> "Tensor":
        """Divide by `other` in place."""
        self._refuse_on_tape("div_")
        return self._update(np.true_divide, other)

    def normal_(self, mean: float = 0.0, std: float = 1.0) -> "Tensor":
        """Fill with normal random numbers of the given mean and standard deviation."""
        drawn = random.generator().normal(mean, std, self.shape)
        return self.copy_(np.asarray(drawn, self.dtype))

    def uniform_(self, low: float = 0.0, high: float = 1.0) -> "Tensor":
        """Fill with random numbers spread evenly over [low, high)."""
        drawn = random.generator().uniform(low, high, self.shape)
        return self.copy_(np.asarray(drawn, self.dtype))

    def _values(self, given: Any) -> Any:
        """Return the array of what is to be assigned; lists live nowhere, and go to this tensor's device."""
        if isinstance(given, (list, tuple)):
            return to_device(np.asarray(given, self.dtype), self.device)
        return unwrapped(given)

    def _is_a_value(self, other: Any) -> bool:
        """Whether an in-place operator must make a new tensor; raises for a leaf that requires a gradient."""
        if not modes.is_grad_enabled():
            return False
        if self.requires_grad:
            self._refuse_on_tape("in-place operator", leaves_only=True)
            return True
        return getattr(other, "requires_grad", False)

    def _refuse_on_tape(self, operation: str, leaves_only: bool = False) -> None:
        if modes.is_grad_enabled() and self.requires_grad and (self.is_leaf or not leaves_only):
            raise RuntimeError(
                f"{operation}: a tensor that requires a gradient cannot be changed in place (shape "
                f"{self.shape}); do it inside `with no_grad():`"
            )

    def _update(self, function: np.ufunc, other: Any) -> "Tensor":
        """Write function(array, other) into the array."""
        _, other = operands(None, self, other)
        check_one_device(f"in-place {function.__name__}", x=self.array, other=other.array)
        with np.errstate(all="ignore"):
            capture.do(_into_first, function, self.array, other.array)
        self.bump_version()
        return self


def _into_first(function: np.ufunc, array: Array, other: Array) -> None:
    """Write function(array, other) into `array`."""
    function(array, other, out=array, casting="same_kind")
