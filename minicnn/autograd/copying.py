"""The Tensor's methods that copy it: into new memory, another memory order, dtype or device.

Gradients flow back through a copy, except where a dtype without gradients is involved. The copies of
Python's `copy` and `pickle` are leaves: they know nothing of the tape, and only leaves have them.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.autograd import capturing
from minicnn.autograd.tape import Version
from minicnn.backend import Array, as_dtype, is_device_name, to_device
from minicnn.ops.elementwise import Copy, ToDevice

if TYPE_CHECKING:
    from minicnn.autograd.core import Tensor


class Copying:
    """Copies; `Tensor` supplies `apply`, `array` and the rest."""

    __slots__ = ()

    def clone(self) -> "Tensor":
        """A copy, through which gradients flow."""
        return self.apply(Copy(self.dtype))

    def contiguous(self) -> "Tensor":
        """The same values in row-major memory; the tensor itself where that is so already."""
        return self if self.array.flags.c_contiguous else self.apply(Copy(self.dtype, order="C"))

    def to(self, target: Any, non_blocking: bool = False) -> "Tensor":
        """Move to a device ("cpu", "cuda:0") or convert to a dtype; itself where nothing changes.

        `non_blocking` is accepted, as in PyTorch, and changes nothing: a copy to a GPU never waits, and
        one to the host does, so that nobody reads what has not arrived.

        Raises:
            ValueError, TypeError: for what is neither a device nor a dtype.
            RuntimeError: for a device that this machine cannot use, with the reason.
            MemoryError: where the device has no room for it.
        """
        if is_device_name(target):
            same = to_device(self.array, target) is self.array
            return self if same else self.apply(ToDevice(target))
        dtype = as_dtype(target)
        if dtype == self.dtype:
            return self
        if dtype.kind == "f" and self.dtype.kind == "f":
            return self.apply(Copy(dtype))
        return type(self)._wrap(capturing.computed(lambda a: a.astype(dtype), self.array))

    def cpu(self) -> "Tensor":
        """The tensor in main memory."""
        return self.to("cpu")

    def cuda(self, index: int = 0) -> "Tensor":
        """The tensor on GPU number `index`."""
        return self.to(f"cuda:{index}")

    def float(self) -> "Tensor":
        """The tensor as float32."""
        return self.to(np.float32)

    def double(self) -> "Tensor":
        """The tensor as float64."""
        return self.to(np.float64)

    def long(self) -> "Tensor":
        """The tensor as int64."""
        return self.to(np.int64)

    def type(self, dtype: Any) -> "Tensor":
        """The tensor as `dtype`."""
        return self.to(dtype)

    # --- Python's protocols -----------------------------------------------------------------------

    def __deepcopy__(self, memo: dict) -> "Tensor":
        """A leaf with copies of the array, in its memory order, and of `.grad`."""
        self._check_leaf("deep-copied")
        copied = type(self)(self.array.copy(order="K"))
        copied.requires_grad_(self.requires_grad)
        copied.grad = None if self.grad is None else self.grad.clone().detach()
        memo[id(self)] = copied
        return copied

    def __getstate__(self) -> tuple[Array, Version, bool]:
        """What `pickle` and `copy.copy` keep: no `.grad` and no hooks, as in PyTorch."""
        self._check_leaf("copied or pickled")
        return self.array, self.version, self.requires_grad

    def __setstate__(self, state: tuple[Array, Version, bool]) -> None:
        self.array, self.version, requires_grad = state
        self.grad = self.node = None
        self.requires_grad_(requires_grad)

    def _check_leaf(self, how: str) -> None:
        if not self.is_leaf:
            raise RuntimeError(
                f"only leaf tensors can be {how}, and this one of shape {self.shape} is a result of "
                f"{self.grad_fn.name}; use tensor.detach()"
            )
