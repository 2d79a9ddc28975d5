"""Parameters: the tensors that a module learns."""

from typing import Any

import numpy as np

from minicnn.autograd import Tensor, default_dtype
from minicnn.backend import xp_of


class Parameter(Tensor):
    """A tensor that a Module finds by itself, and that requires a gradient unless told otherwise.

    Args:
        data: initial values; see `Tensor`.
        requires_grad: False freezes the parameter.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class UninitializedParameter(Parameter):
    """A parameter of a lazy layer, whose shape the first input will decide."""

    __slots__ = ()

    def __init__(self, requires_grad: bool = True):
        super().__init__(np.empty(0, default_dtype), requires_grad)

    def materialize(self, shape: tuple[int, ...]) -> None:
        """Get a shape, zeros for values, and become an ordinary Parameter; dtype and device stay."""
        wanted = self.requires_grad
        self.requires_grad_(False)  # the place on the tape knows the old shape
        self.array = xp_of(self.array).zeros(shape, self.dtype)
        self.__class__ = Parameter
        self.requires_grad_(wanted)

    def __deepcopy__(self, memo: dict) -> "UninitializedParameter":
        copied = UninitializedParameter(self.requires_grad)
        copied.array = self.array.copy()
        memo[id(self)] = copied
        return copied

    def __repr__(self) -> str:
        return "UninitializedParameter"
