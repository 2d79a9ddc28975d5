"""Parameters: the tensors that a module learns."""

from typing import Any

from minicnn.autograd import Tensor
from minicnn.autograd.creation import zeros
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

    def __init__(self, requires_grad: bool = True, device: str | None = None):
        super().__init__(zeros(0, device=device), requires_grad)

    def materialize(self, shape: tuple[int, ...]) -> None:
        """Get a shape, zeros for values, and become an ordinary Parameter; dtype and device stay."""
        _become(self, Parameter, shape)

    @staticmethod
    def undo(parameter: Parameter) -> None:
        """Take back what `materialize` did to `parameter`, which waits for a shape again."""
        _become(parameter, UninitializedParameter, (0,))

    def __deepcopy__(self, memo: dict) -> "UninitializedParameter":
        copied = UninitializedParameter(self.requires_grad)
        copied.array = self.array.copy()
        memo[id(self)] = copied
        return copied

    def __repr__(self) -> str:
        return "UninitializedParameter"


def _become(parameter: Parameter, kind: type[Parameter], shape: tuple[int, ...]) -> None:
    """Give `parameter` another class and shape, with zeros for values."""
    wanted = parameter.requires_grad
    parameter.requires_grad_(False)  # the place on the tape knows the old shape
    parameter.array = xp_of(parameter.array).zeros(shape, parameter.dtype)
    parameter.__class__ = kind
    parameter.requires_grad_(wanted)
