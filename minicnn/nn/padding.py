"""Padding layers; `padding` is one width for all sides, or (left, right, top, bottom)."""

from minicnn.autograd import Tensor
from minicnn.nn import functional as F
from minicnn.nn.module import Module


class _Pad2d(Module):
    """What padding layers share: widths and a mode."""

    mode: str

    def __init__(self, padding: int | tuple[int, int, int, int]):
        super().__init__()
        self.padding = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 4:
            raise ValueError(
                f"{type(self).__name__}: padding: expected one width or (left, right, top, bottom), got {padding!r}"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Pad `x`, (N, C, H, W)."""
        return F.pad(x, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(_Pad2d):
    """Surrounds images with zeros."""

    mode = "constant"


class ReflectionPad2d(_Pad2d):
    """Surrounds images with their mirror image, the edge not repeated."""

    mode = "reflect"


class ReplicationPad2d(_Pad2d):
    """Surrounds images with copies of their edge."""

    mode = "replicate"
