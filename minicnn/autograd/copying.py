"""The Tensor's methods that copy it: into new memory, another memory order, dtype or device.

Gradients flow back through a copy, except where a dtype without gradients is involved.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.backend import as_dtype, is_device_name, to_device
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

    def to(self, target: Any) -> "Tensor":
        """Move to a device ("cpu", "cuda:0") or convert to a dtype; itself where nothing changes."""
        if is_device_name(target):
            same = to_device(self.array, target) is self.array
            return self if same else self.apply(ToDevice(target))
        dtype = as_dtype(target)
        if dtype == self.dtype:
            return self
        if dtype.kind == "f" and self.dtype.kind == "f":
            return self.apply(Copy(dtype))
        return type(self)._wrap(self.array.astype(dtype))

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
