"""The Tensor's methods that hand its numbers over: to Python, to NumPy, and to readers as text.

The tape ends here, and on a GPU the host waits: so these methods are where a captured step notices that a number
is read. NumPy's functions take tensors as arrays and give arrays, and refuse those that require a gradient;
operators between an array and a tensor are the tensor's.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.autograd.convert import default_dtype
from minicnn.backend import to_host, xp_of
from minicnn.kernels import capture

if TYPE_CHECKING:
    from minicnn.autograd.core import Tensor


class Reading:
    """Reading; `Tensor` supplies `array`, `shape` and the rest."""

    __slots__ = ()
    __array_priority__ = (
        1000  # above that of all arrays: `array + tensor` is left to Tensor.__radd__
    )

    def item(self) -> float | int | bool:
        """The only element, as a Python number."""
        if self.array.size != 1:
            raise ValueError(
                f"Tensor.item: expected one element, got shape {self.shape}; use tolist() or numpy()"
            )
        return self._on_host().item()

    def tolist(self) -> Any:
        """The elements as nested Python lists."""
        return self._on_host().tolist()

    def _on_host(self) -> np.ndarray:
        """The array, or a copy in main memory of one on a GPU, which the host waits for."""
        capture.refuse(
            "a number is read (item(), if, print); return the tensor, and read it outside"
        )
        return self.array if type(self.array) is np.ndarray else to_host(self.array)

    def numpy(self) -> np.ndarray:
        """The NumPy array, sharing memory.

        Raises:
            RuntimeError: for a tensor on a GPU, or one that requires a gradient (writing to it
                would go unnoticed).
        """
        if self.requires_grad:
            raise RuntimeError(
                "Tensor.numpy: this tensor requires a gradient; use tensor.detach().numpy()"
            )
        if xp_of(self.array) is not np:
            raise RuntimeError(
                f"Tensor.numpy: this tensor lives on {self.device}; use tensor.cpu().numpy()"
            )
        capture.refuse("an array is read (numpy()); return the tensor, and read it outside")
        return self.array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """What NumPy's functions compute with: `np.exp(tensor)` is `np.exp(tensor.numpy())`.

        Raises:
            RuntimeError: for a tensor on a GPU, or one that requires a gradient, which would be lost.
        """
        if self.requires_grad:
            raise RuntimeError(
                f"a function of NumPy got a tensor that requires a gradient, shape {self.shape}, and none would flow "
                "back through it; use the tensor's own functions (x.exp(), x.mean(), x + y), or "
                "x.detach().numpy() where no gradient is wanted"
            )
        if xp_of(self.array) is not np:
            raise RuntimeError(
                f"a function of NumPy got a tensor on {self.device}, shape {self.shape}; use the tensor's own "
                "functions (x.exp(), x.mean(), x + y), or x.cpu().numpy() to go on in main memory"
            )
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a tensor without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator["Tensor"]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ValueError(
                f"the truth of a tensor of shape {self.shape} is ambiguous; use .any() or .all()"
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.array.size != 1 or self.dtype.kind not in "iub":
            raise TypeError(
                f"only integer tensors with one element can be an index, got {self.dtype} {self.shape}"
            )
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.array.size == 1 else str(self)

    def __repr__(self) -> str:
        text = np.array2string(self._on_host(), separator=", ", prefix="tensor(", precision=4)
        extra = "" if self.dtype in (default_dtype, np.int64, bool) else f", dtype={self.dtype}"
        if self.array.size == 0 and self.ndim > 1:
            extra += f", shape={self.shape}"
        if self.grad_fn is not None:
            extra += f", grad_fn={self.grad_fn.name}"
        elif self.requires_grad:
            extra += ", requires_grad=True"
        device = "" if self.device == "cpu" else f', device="{self.device}"'
        return f"tensor({text}{extra}{device})"
