"""Dropout layers: active in training mode, the identity in eval mode."""

from minicnn.autograd import Tensor
from minicnn.nn import functional as F
from minicnn.nn.functional.dropout import check_mode
from minicnn.nn.inplace import AcceptsInplace


class _Dropout(AcceptsInplace):
    """What dropout layers share: a probability."""

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__(inplace)
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: expected a probability p in [0, 1], got {p}")
        self.p = p

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout(_Dropout):
    """In training, sets each element to zero with probability `p` and scales the rest by 1 / (1 - p)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training)


class Dropout1d(_Dropout):
    """In training, sets whole channels of sequences (N, C, L) to zero with probability `p`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout1d(x, self.p, self.training)


class Dropout2d(_Dropout):
    """Spatial dropout: in training, sets whole channels of images (N, C, H, W) to zero with probability `p`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, self.p, self.training)


class StochasticDepth(_Dropout):
    """In training, drops the residual branch of whole examples with probability `p`.

    It stands at the end of the branch, before the sum: `x + drop(branch(x))`. See
    `functional.stochastic_depth`.

    Args:
        p: probability of dropping.
        mode: "row" decides for each example by itself, "batch" for all of them together.
    """

    def __init__(self, p: float, mode: str = "row"):
        super().__init__(p)
        check_mode("StochasticDepth", mode)
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        return F.stochastic_depth(x, self.p, self.mode, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode!r}"
