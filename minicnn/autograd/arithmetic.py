"""The Tensor's operators: arithmetic, comparison, and functions of each element.

What the operands may be: a tensor, a NumPy or CuPy array, or a Python number. Numbers and 0-d
arrays take the tensor's dtype; integers meet floats as floats; float32 and float64 arrays do not
mix, because one of them is there by mistake.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.autograd import capturing
from minicnn.backend import (
    Array,
    check_one_device,
    device_of,
    is_array,
    number_like,
    to_device,
    xp_of,
)
from minicnn.ops import arithmetic, elementwise
from minicnn.ops.function import Function
from minicnn.ops.matmul import MatMul

if TYPE_CHECKING:
    from minicnn.autograd.core import Tensor


class Arithmetic:
    """Operators; `Tensor` supplies `apply`, `array` and the rest."""

    __slots__ = ()

    # --- two operands -----------------------------------------------------------------------------

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
        a, b = operands(function, self, other)
        condition = tensor_like(condition, self) != 0
        return _broadcasting(function, condition, a, b)

    def __matmul__(self, other: Any) -> "Tensor":
        return self.matmul(other)

    def __rmatmul__(self, other: Any) -> "Tensor":
        return tensor_like(other, self).matmul(self)

    def matmul(self, other: Any) -> "Tensor":
        """The matrix product (..., m, k) @ (..., k, n) -> (..., m, n).

        A vector counts as a row on the left, and as a column on the right.
        """
        function = MatMul()
        a, b = operands(function, self, other)
        axes_a, axes_b = a.array.ndim, b.array.ndim
        if axes_a == 0 or axes_b == 0:
            raise ValueError(
                f"matmul: expected tensors with axes, got shapes {a.shape} and {b.shape}; use *"
            )
        length, place = (b.shape[-2], "second to last") if axes_b > 1 else (b.shape[0], "only")
        if a.shape[-1] != length:
            raise ValueError(
                f"matmul: the last axis of {a.shape} must be as long as the {place} axis of "
                f"{b.shape}, but {a.shape[-1]} != {length}"
            )
        matrix_a = a if axes_a > 1 else a.unsqueeze(0)
        matrix_b = b if axes_b > 1 else b.unsqueeze(1)
        product = _broadcasting(function, matrix_a, matrix_b)
        if axes_b == 1:
            product = product.squeeze(-1)
        return product if axes_a > 1 else product.squeeze(-1 if axes_b == 1 else -2)

    def _binary(self, function: Function, a: Any, b: Any, floating: bool = False) -> "Tensor":
        """Apply a function of two operands after they agree on a dtype (a floating one on request)."""
        a, b = operands(function, a, b)
        if floating and a.array.dtype.kind != "f":
            a, b = a.float(), b.float()
        return _broadcasting(function, a, b)

    # --- comparisons: tensors of bool, without gradient -------------------------------------------

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
        return type(self)._wrap(capturing.computed(np.invert, self.array))

    def _compare(self, function: np.ufunc, other: Any) -> "Tensor":
        """Apply a ufunc to the arrays; CuPy arrays dispatch it to CuPy."""
        other = unwrapped(other)
        if isinstance(other, (list, tuple)):
            other = to_device(np.asarray(other), device_of(self.array))
        if is_array(other) and xp_of(other) is not xp_of(self.array):
            check_one_device(function.__name__, a=self.array, b=other)
        return type(self)._wrap(capturing.computed(function, self.array, other))

    # --- one operand ------------------------------------------------------------------------------

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
        bounds = (min, max)
        low, high = (b.item() if hasattr(b, "item") else b for b in bounds)  # numbers never promote
        function = elementwise.Clamp(low, high)
        fraction = isinstance(low, float) or isinstance(high, float)
        return self._floating(function) if fraction else self.apply(function)

    def pow(self, exponent: Any) -> "Tensor":
        """This tensor to the power of `exponent`."""
        return self**exponent

    def _floating(self, function: Function) -> "Tensor":
        """Apply a function whose values are real numbers; integers become float32 first."""
        return (self if self.dtype.kind == "f" else self.float()).apply(function)


def operands(function: Function | None, a: Any, b: Any) -> tuple["Tensor", "Tensor"]:
    """Return both operands as tensors of one dtype."""
    if not isinstance(a, Arithmetic):
        a = tensor_like(a, b)
    elif not isinstance(b, Arithmetic):
        b = tensor_like(b, a)
    if a.array.dtype == b.array.dtype:
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


def unwrapped(operand: Any) -> Any:
    """Return the array of a tensor, and anything else as it is.

    An array of a subclass becomes a plain one: * of an `np.matrix` is the matrix product.
    """
    if isinstance(operand, Arithmetic):
        return operand.array
    return np.asarray(operand) if isinstance(operand, np.ndarray) else operand


def tensor_like(operand: Any, like: "Tensor") -> "Tensor":
    """Return a number as a 0-d tensor on the device of `like`, with its dtype unless that would lose a fraction."""
    if isinstance(operand, Arithmetic):
        return operand
    if is_array(operand) and operand.ndim:
        return type(like)._wrap(unwrapped(operand))
    kind = _kind_of_number(operand)
    if kind:
        dtype = like.array.dtype
        if kind == "f" and dtype.kind != "f":
            dtype = np.float32
        elif kind != "b" and dtype.kind == "b":
            dtype = np.int64
        return type(like)._wrap(number_like(operand, like.array, dtype))
    if isinstance(operand, (list, tuple)):
        return type(like)(operand)
    raise TypeError(f"expected a tensor, an array or a number, got {type(operand).__name__}")


def _kind_of_number(operand: Any) -> str:
    """Return NumPy's letter for the kind of a number or a 0-d array, and nothing for anything else."""
    if isinstance(operand, float):
        return "f"
    if isinstance(operand, int):
        return "b" if isinstance(operand, bool) else "i"
    return operand.dtype.kind if is_array(operand) or isinstance(operand, np.generic) else ""


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


def unwrap_index(index: Any, like: Array) -> Any:
    """Return an index into `like` with the arrays of its tensors.

    Lists and arrays are copied, as backward needs them unchanged, and those in main memory to the
    device of `like`.

    Raises:
        RuntimeError: for indices on a GPU into an array in main memory.
    """
    if isinstance(index, (tuple, list)):
        parts = [unwrap_index(part, like) for part in index]
        return parts if isinstance(index, list) else tuple(parts)
    index = unwrapped(index)
    if not is_array(index):
        return index
    if xp_of(index) is xp_of(like):
        return index.copy()
    if xp_of(like) is np:
        check_one_device("x[index]", x=like, index=index)
    return to_device(index, device_of(like))
