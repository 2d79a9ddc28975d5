"""Moving: a network on another device, or in another floating-point dtype, in place.

The arrays *inside* the parameters change, and the parameters stay the same objects. So an optimizer that
holds them goes on, and parts that share a parameter still share it.
"""

from typing import Any, Self

import numpy as np

from minicnn.backend import as_dtype, is_device_name, to_device


class Movable:
    """Moving all parameters and buffers; `Module` supplies the tree of parts."""

    def to(self, target: Any) -> Self:
        """Move all parameters and buffers to a device ("cpu", "cuda:0"), or floating ones to a dtype, in place.

        Parameters stay the same objects, so optimizers go on. Where something goes wrong, nothing has moved.

        Raises:
            TypeError: for a dtype that is not floating-point: nothing could be learned in it.
            RuntimeError, MemoryError: for a device that cannot be used, or has no room for all of it.
        """
        is_device = is_device_name(target)
        if not is_device and as_dtype(target).kind != "f":
            raise TypeError(
                f"{type(self).__name__}.to: expected a device or a floating-point dtype, got {target!r}"
            )
        members = [*self.parameters(), *self.buffers()]
        gradients = [tensor.grad for tensor in members if tensor.grad is not None]
        tensors = (*members, *gradients)
        if is_device:
            moved = [to_device(tensor.array, target) for tensor in tensors]
        else:
            tensors = [tensor for tensor in tensors if tensor.dtype.kind == "f"]
            moved = [tensor.array.astype(target) for tensor in tensors]
        for tensor, array in zip(tensors, moved, strict=True):
            tensor.array = array
        return self

    def float(self) -> Self:
        """Convert floating parameters and buffers to float32."""
        return self.to(np.float32)

    def double(self) -> Self:
        """Convert floating parameters and buffers to float64."""
        return self.to(np.float64)

    def cpu(self) -> Self:
        """Move all parameters and buffers to main memory."""
        return self.to("cpu")

    def cuda(self, index: int = 0) -> Self:
        """Move all parameters and buffers to GPU number `index`."""
        return self.to(f"cuda:{index}")
