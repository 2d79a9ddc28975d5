"""Convolutions as they are timed: their shapes, numbers and operations."""

from dataclasses import dataclass

import numpy as np

PARTS = ("forward", "input gradient", "weight gradient")


@dataclass(frozen=True)
class Convolution:
    """A convolution of square images with square filters; if it is padded, stride 1 keeps the size."""

    N: int
    H: int
    C: int
    K: int
    size: int = 3
    stride: int = 1
    groups: int = 1
    is_padded: bool = True

    @property
    def title(self) -> str:
        """Such as "3x3/2 64->128 at 24, batch 16"."""
        step = f"/{self.stride}" if self.stride > 1 else ""
        kind = "depthwise " if self.groups > 1 else ""
        channels = str(self.C) if self.groups > 1 else f"{self.C}->{self.K}"
        margin = "" if self.is_padded else ", no padding"
        return f"{kind}{self.size}x{self.size}{step} {channels} at {self.H}{margin}, batch {self.N}"

    @property
    def padding(self) -> int:
        """Rows and columns of zeros on each side."""
        return self.size // 2 if self.is_padded else 0

    @property
    def output_size(self) -> int:
        """OH and OW."""
        return (self.H + 2 * self.padding - self.size) // self.stride + 1

    @property
    def flops(self) -> int:
        """Additions and multiplications of the definition."""
        pixels = self.N * self.output_size**2
        return 2 * pixels * self.K * (self.C // self.groups) * self.size**2

    def arrays(self) -> dict[str, np.ndarray]:
        """Return images "x", weights "w" and a gradient "g" of the output, of standard normal numbers."""
        rng = np.random.default_rng(0)
        shapes = {
            "x": (self.N, self.C, self.H, self.H),
            "w": (self.K, self.C // self.groups, self.size, self.size),
            "g": (self.N, self.K, self.output_size, self.output_size),
        }
        return {
            name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()
        }
