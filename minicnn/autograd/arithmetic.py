"""The Tensor's operators: arithmetic, comparison, functions of each element, and in-place updates.

What the operands may be: a tensor, a NumPy or CuPy array, or a Python number. Numbers and 0-d arrays take the tensor's
dtype; integers meet floats as floats; float32 and float64 arrays do not mix, because one of them is there by mistake.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import random
from minicnn.autograd import tape
from minicnn.backend import is_array, xp_of
from minicnn.ops import arithmetic, elementwise
from minicnn.ops.function import Function
from minicnn.ops.matmul import MatMul

if TYPE_CHECKING:
    from minicnn.autograd.core import Tensor


class Arithmetic:
    """Operators; `Tensor` supplies `apply`, `array` and the rest."""

    __slots__ = ()

    # --- two operands -----------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> "Tensor":
        return self._binary(arithmetic.Add(), self, other)

    def __radd__(self, other: Any) -> "Tensor":
        return self._binary(arithmetic.Add(), other, self)

    def __sub__(self, other: Any) -> "Tensor":
        return self._binary(arithmetic.Sub(), self, other)

    def __rsub__(self, other: Any) -> "Tensor":
        return self._binary(arithmetic.Sub(), other, self)

    def __mul__(self, other: Any) -> "Tensor":
        return self._binary(arithmetic.Mul(), self, other)

    def __rmul__(self, other: Any) -> "Tensor":
        return self._binary(arithmetic.Mul(), other, self)

    def __truediv__(self, other: Any) -> "Tensor":
        return self._binary(arithmetic.Div(), self, other, floating=True)

    def __rtruediv__(self, other: Any) -> "Tensor":
        return self._binary(arithmetic.Div(), other, self, floating=True)

    def __pow__(self, exponent: Any) -> "Tensor":
        return self._binary(arithmetic.Pow(), self, exponent)

    def __rpow__(self, base: Any) -> "Tensor":
        return self._binary(arithmetic.Pow(), base, self)

    def maximum(self, other: Any) -> "Tensor":
        """The larger of two values, element by element."""
        return self._binary(arithmetic.Maximum(), self, other)

    def minimum(self, other: Any) -> "Tensor":
        """The smaller of two values, element by element."""
        return self._binary(arithmetic.Minimum(), self, other)

    def where(self, condition: Any, other: Any) -> "Tensor":
        """This tensor where `condition` holds, else `other`."""
        function = arithmetic.Where()
        a, b = _operands(function, self, other)
        condition = tensor_like(condition, self) != 0
        return _broadcasting(function, condition, a, b)

    def __matmul__(self, other: Any) -> "Tensor":
        return self.matmul(other)

    def __rmatmul__(self, other: Any) -> "Tensor":
        return type(self)._wrap(other).matmul(self)

    def matmul(self, other: Any) -> "Tensor":
        """The matrix product (..., m, k) @ (..., k, n) -> (..., m, n).

        A vector counts as a row on the left, and as a column on the right.
        """
        a, b = _operands(MatMul(), self, other)
        if a.ndim == 0 or b.ndim == 0:
            raise ValueError(
                f"matmul: expected tensors with axes, got shapes {a.shape} and {b.shape}; use *"
            )
        length, place = b.shape[-2 if b.ndim > 1 else 0], "second to last" if b.ndim > 1 else "only"
        if a.shape[-1] != length:
            raise ValueError(
                f"matmul: the last axis of {a.shape} must be as long as the {place} axis of "
                f"{b.shape}, but {a.shape[-1]} != {length}"
            )
        matrix_a = a if a.ndim > 1 else a.unsqueeze(0)
        matrix_b = b if b.ndim > 1 else b.unsqueeze(1)
        product = _broadcasting(MatMul(), matrix_a, matrix_b)
        if b.ndim == 1:
            product = product.squeeze(-1)
        return product if a.ndim > 1 else product.squeeze(-1 if b.ndim == 1 else -2)

    def _binary(self, function: Function, a: Any, b: Any, floating: bool = False) -> "Tensor":
        """Apply a function of two operands after they agree on a dtype (a floating one on request)."""
        a, b = _operands(function, a, b)
        if floating and a.dtype.kind != "f":
            a, b = a.float(), b.float()
        return _broadcasting(function, a, b)

    # --- comparisons: tensors of bool, without gradient ---------------------------------------------------------------

    def __eq__(self, other: Any) -> "Tensor":
        return self._compare(np.equal, other)

    def __ne__(self, other: Any) -> "Tensor":
        return self._compare(np.not_equal, other)

    def __lt__(self, other: Any) -> "Tensor":
        return self._compare(np.less, other)

    def __le__(self, other: Any) -> "Tensor":
        return self._compare(np.less_equal, other)

    def __gt__(self, other: Any) -> "Tensor":
        return self._compare(np.greater, other)

    def __ge__(self, other: Any) -> "Tensor":
        return self._compare(np.greater_equal, other)

    __hash__ = object.__hash__

    def __and__(self, other: Any) -> "Tensor":
        return self._compare(np.bitwise_and, other)

    def __or__(self, other: Any) -> "Tensor":
        return self._compare(np.bitwise_or, other)

    def __invert__(self) -> "Tensor":
        return type(self)._wrap(~self.array)

    def _compare(self, function: np.ufunc, other: Any) -> "Tensor":
        """Apply a ufunc to the arrays; CuPy arrays dispatch it to CuPy."""
        other = other.array if isinstance(other, Arithmetic) else other
        return type(self)._wrap(function(self.array, other))

    # --- one operand --------------------------------------------------------------------------------------------------

    def __neg__(self) -> "Tensor":
        return self.apply(elementwise.Neg())

    def __pos__(self) -> "Tensor":
        return self

    def __abs__(self) -> "Tensor":
        return self.abs()

    def abs(self) -> "Tensor":
        """|x|."""
        return self.apply(elementwise.Abs())

    def exp(self) -> "Tensor":
        """e^x."""
        return self._floating(elementwise.Exp())

    def log(self) -> "Tensor":
        """The natural logarithm; -inf at 0, NaN below."""
        return self._floating(elementwise.Log())

    def sqrt(self) -> "Tensor":
        """The square root; NaN below 0."""
        return self._floating(elementwise.Sqrt())

    def sin(self) -> "Tensor":
        """The sine of an angle in radians."""
        return self._floating(elementwise.Sin())

    def cos(self) -> "Tensor":
        """The cosine of an angle in radians."""
        return self._floating(elementwise.Cos())

    def tanh(self) -> "Tensor":
        """The hyperbolic tangent."""
        return self._floating(elementwise.Tanh())

    def sigmoid(self) -> "Tensor":
        """The logistic sigmoid 1 / (1 + e^-x)."""
        return self._floating(elementwise.Sigmoid())

    def relu(self) -> "Tensor":
        """max(x, 0)."""
        return self.apply(elementwise.ReLU())

    def clamp(self, min: float | None = None, max: float | None = None) -> "Tensor":
        """The elements limited to [min, max]; None leaves an end open."""
        if min is None and max is None:
            raise ValueError("clamp: expected min, max or both, got neither")
        low, high = (  # Python numbers, which never promote
            bound.item() if hasattr(bound, "item") else bound for bound in (min, max)
        )
        function = elementwise.Clamp(low, high)
        fraction = isinstance(low, float) or isinstance(high, float)
        return self._floating(function) if fraction else self.apply(function)

    def pow(self, exponent: Any) -> "Tensor":
        """This tensor to the power of `exponent`."""
        return self**exponent

    def _floating(self, function: Function) -> "Tensor":
        """Apply a function whose values are real numbers; integers become float32 first."""
        return (self if self.dtype.kind == "f" else self.float()).apply(function)

    # --- in place -----------------------------------------------------------------------------------------------------
    # A tensor on the tape is a value, like a Python number: `y += x` gives the name y to a new tensor. Outside the tape
    # (parameters under no_grad, plain data) the array itself changes.

    def __iadd__(self, other: Any) -> "Tensor":
        return self + other if self._is_a_value(other) else self._update(np.add, other)

    def __isub__(self, other: Any) -> "Tensor":
        return self - other if self._is_a_value(other) else self._update(np.subtract, other)

    def __imul__(self, other: Any) -> "Tensor":
        return self * other if self._is_a_value(other) else self._update(np.multiply, other)

    def __itruediv__(self, other: Any) -> "Tensor":
        return self / other if self._is_a_value(other) else self._update(np.true_divide, other)

    def __setitem__(self, index: Any, value: Any) -> None:
        if tape.is_grad_enabled() and (
            self.requires_grad or getattr(value, "requires_grad", False)
        ):
            raise RuntimeError(
                "x[...] = value: no gradient flows through an assignment (shape "
                f"{self.shape}); use where() or cat(), or assign inside no_grad()"
            )
        self.array[unwrap_index(index)] = value.array if isinstance(value, Arithmetic) else value
        self.bump_version()

    def zero_(self) -> "Tensor":
        """Set every element to 0."""
        return self.fill_(0)

    def fill_(self, value: float) -> "Tensor":
        """Set every element to `value`."""
        self._refuse_on_tape("fill_")
        self.array[...] = value
        self.bump_version()
        return self

    def copy_(self, source: Any) -> "Tensor":
        """Copy the values of `source`, which broadcasts to this shape."""
        self._refuse_on_tape("copy_")
        self.array[...] = source.array if isinstance(source, Arithmetic) else source
        self.bump_version()
        return self

    def add_(self, other: Any, alpha: float = 1) -> "Tensor":
        """Add `alpha * other` in place."""
        self._refuse_on_tape("add_")
        return self._update(np.add, other if alpha == 1 else alpha * other)

    def mul_(self, other: Any) -> "Tensor":
        """Multiply by `other` in place."""
        self._refuse_on_tape("mul_")
        return self._update(np.multiply, other)

    def normal_(self, mean: float = 0.0, std: float = 1.0) -> "Tensor":
        """Fill with normal random numbers of the given mean and standard deviation."""
        drawn = random.generator().normal(mean, std, self.shape)
        return self.copy_(xp_of(self.array).asarray(drawn, dtype=self.dtype))

    def uniform_(self, low: float = 0.0, high: float = 1.0) -> "Tensor":
        """Fill with random numbers spread evenly over [low, high)."""
        drawn = random.generator().uniform(low, high, self.shape)
        return self.copy_(xp_of(self.array).asarray(drawn, dtype=self.dtype))

    def _is_a_value(self, other: Any) -> bool:
        """Whether an in-place operator must make a new tensor; raises for a leaf that requires a gradient."""
        if not tape.is_grad_enabled():
            return False
        if self.requires_grad:
            self._refuse_on_tape("in-place operator", leaves_only=True)
            return True
        return getattr(other, "requires_grad", False)

    def _refuse_on_tape(self, operation: str, leaves_only: bool = False) -> None:
        if tape.is_grad_enabled() and self.requires_grad and (self.is_leaf or not leaves_only):
            raise RuntimeError(
                f"{operation}: a tensor that requires a gradient cannot be changed in place (shape "
                f"{self.shape}); do it inside no_grad(), or compute a new tensor (w = w - step)"
            )

    def _update(self, function: np.ufunc, other: Any) -> "Tensor":
        """Write function(array, other) into the array."""
        _, other = _operands(None, self, other)
        with np.errstate(all="ignore"):
            function(self.array, other.array, out=self.array, casting="same_kind")
        self.bump_version()
        return self


def _operands(function: Function | None, a: Any, b: Any) -> tuple["Tensor", "Tensor"]:
    """Return both operands as tensors of one dtype."""
    like = a if isinstance(a, Arithmetic) else b
    a, b = tensor_like(a, like), tensor_like(b, like)
    if a.dtype == b.dtype:
        return a, b
    if a.dtype.kind == "f" and b.dtype.kind == "f" and a.ndim and b.ndim:
        name = "in-place operator" if function is None else function.name
        raise TypeError(
            f"{name}: mixed dtypes, {a.dtype} of shape {a.shape} with {b.dtype} of shape {b.shape}; convert one with "
            ".to(dtype) (float32 is the default)"
        )
    if a.dtype.kind == "f" and (b.dtype.kind != "f" or (a.ndim and not b.ndim)):
        return a, b.to(a.dtype)
    if b.dtype.kind == "f" and (a.dtype.kind != "f" or (b.ndim and not a.ndim)):
        return a.to(b.dtype), b
    common = np.promote_types(a.dtype, b.dtype)
    return a.to(common), b.to(common)


def tensor_like(operand: Any, like: "Tensor") -> "Tensor":
    """Return a number as a 0-d tensor on the device of `like`, with its dtype unless that would lose a fraction."""
    if isinstance(operand, Arithmetic):
        return operand
    array = is_array(operand)
    if array and operand.ndim:
        return type(like)._wrap(operand)
    if array or isinstance(operand, (bool, int, float, np.generic)):
        kind = np.asarray(operand).dtype.kind if not array else operand.dtype.kind
        dtype = np.dtype(np.float32) if kind == "f" and like.dtype.kind != "f" else like.dtype
        if dtype == np.bool_ and kind != "b":
            dtype = np.int64
        return type(like)._wrap(xp_of(like.array).asarray(operand, dtype=dtype))
    if isinstance(operand, (list, tuple)):
        return type(like)(operand)
    raise TypeError(f"expected a tensor, an array or a number, got {type(operand).__name__}")


def _broadcasting(function: Function, first: "Tensor", *others: "Tensor") -> "Tensor":
    """Apply a function of tensors, with a message about shapes where they do not broadcast."""
    try:
        return first.apply(function, *others)
    except ValueError as error:
        if "broadcast" not in str(error):
            raise ValueError(f"{function.name}: {error}") from error
        shapes = " and ".join(str(tensor.shape) for tensor in (first, *others))
        raise ValueError(
            f"{function.name}: shapes {shapes} do not broadcast: counted from the right, two axes "
            "must be equally long, or one of them 1 or missing"
        ) from error


def unwrap_index(index: Any) -> Any:
    """Return an index with the arrays of its tensors, copied: backward needs them as they are."""
    if isinstance(index, tuple):
        return tuple(unwrap_index(part) for part in index)
    index = index.array if isinstance(index, Arithmetic) else index
    return index.copy() if is_array(index) else index
